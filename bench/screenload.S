/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A boot sector that prints to the screen: the guest's side of bench/screen. Prints '~' on the serial
 * line when it is ready, and sleeps. Each character that comes by the serial line fills the next
 * line of the text screen; 'G' sets a graphics mode, of which characters fill the topmost 64 KiB.
 */
    .set COM1, 0x3f8
    .set GRAPHICS, 0x4144 /* Bochs VBE: 1024x768, 32 bits a pixel, linear */
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    ljmp $0, $1f
1:  cld
    movw $0x0003, %ax
    int $0x10
    movb $1, %ah /* no cursor, which would blink */
    movw $0x2000, %cx
    int $0x10
    movw $received, 4 * 0x0c
    movw %ds, 4 * 0x0c + 2
    movb $0xef, %al /* IRQ 4 alone */
    outb %al, $0x21
    movb $0xff, %al
    outb %al, $0xa1
    movw $COM1 + 4, %dx
    movb $0x0b, %al
    outb %al, %dx
    movw $COM1 + 1, %dx
    movb $1, %al
    outb %al, %dx
    movw $COM1, %dx
    movb $'~', %al
    outb %al, %dx
sleep:
    sti
    hlt
    cli
    cmpb $'G', character
    jne sleep
    movb $0, character
    movw $0x4f02, %ax
    movw $GRAPHICS, %bx
    int $0x10
    movw $0xa000, where
    movw $0x8000, words
    movw $0, next
    movw $0, last
    jmp sleep

received:
    pushaw
    pushw %es
    movw $COM1, %dx
    inb %dx, %al
    movb %al, character
    movw where, %es
    movw next, %di
    movw words, %cx
    movb $0x07, %ah
    rep stosw
    cmpw last, %di
    jb 1f
    xorw %di, %di
1:  movw %di, next
    movb $0x20, %al
    outb %al, $0x20
    popw %es
    popaw
    iretw

character: .byte 0
where:  .word 0xb800
words:  .word 80
next:   .word 0
last:   .word 80 * 25 * 2
    .org 510
    .word 0xaa55
