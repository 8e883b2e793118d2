/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry of the bare-metal test programs: Multiboot 1, ELF32. */
        .section .multiboot, "a"
        .balign 4
        .long 0x1badb002
        .long 0
        .long -0x1badb002

        .section .bss
        .balign 16
        .skip 16384
stack_top:

        .text
        .globl start
start:
        mov $stack_top, %esp
        push $0
        popf
        push %ebx
        push %eax
        call payload_start
1:      cli
        hlt
        jmp 1b

        .section .note.GNU-stack, "", @progbits
