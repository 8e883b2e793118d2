/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network bootstrap program (Preboot Execution Environment 2.1, 3.4.3): loaded at 0:7c00 in real
 * mode. Says so on the serial port.
 */
.code16
.globl _start
_start:
    mov $text, %si
    mov $0x3f8, %dx
1:  lodsb %cs:(%si)
    test %al, %al
    jz 2f
    out %al, %dx
    jmp 1b
2:  hlt
    jmp 2b
text:
    .asciz "booted from the network\r\n"
