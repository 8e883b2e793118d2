# SPDX-License-Identifier: GPL-2.0-or-later
# The smallest disk there is: a boot sector of 512 bytes. Says which drive the BIOS has it from, and
# ends by port 0xf4.
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $text_floppy, %si
    testb $0x80, %dl
    jz 1f
    movw $text_disk, %si
1:  ljmp $0, $2f
2:  lodsb
    testb %al, %al
    jz 4f
    movb %al, %ah
    movw $0x3fd, %dx
3:  inb %dx, %al
    testb $0x20, %al
    jz 3b
    movb %ah, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 2b
4:  xorb %al, %al
    outb %al, $0xf4
5:  hlt
    jmp 5b

text_floppy: .asciz "booted from a floppy disk\n"
text_disk: .asciz "booted from a hard disk\n"
    .org 510
    .word 0xaa55
