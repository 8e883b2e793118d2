# SPDX-License-Identifier: GPL-2.0-or-later
# A boot sector, and what it loads from its disk: reads, writes, verifies and formats by int 13h and
# CHS, as systems of the DOS kind do. Sector n of the disk, from 8 on, begins with n as 16 bits and
# holds n's low byte else. Says what it does on COM1, and ends by port 0xf4.
#
# run-floppy makes the disk, and looks at what has become of it.

    .code16
    .set SECS, 18
    .set BUFFER, 0x8000         # a page of 64 KiB ends far behind it
    .set STAGE_SECTORS, 4

    .globl _start
_start:
    ljmp $0, $1f
1:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    cld
    movb %dl, drive
    movw $(0x0200 + STAGE_SECTORS), %ax
    movw $0x0002, %cx
    movb $0, %dh
    movw $stage, %bx
    int $0x13
    jc fail
    jmp stage

fail:                           # %ah: the BIOS's code
    movb %ah, %al
    call hex
    movw $text_failed, %si
    call puts
    movb $1, %al
quit:
    outb %al, $0xf4
1:  hlt
    jmp 1b

check_failed:
    movb $0xee, %ah
    jmp fail

hex:
    pushw %ax
    shrb $4, %al
    call 1f
    popw %ax
    andb $15, %al
1:  addb $'0', %al
    cmpb $'9', %al
    jbe putc
    addb $('a' - '9' - 1), %al
putc:
    pushw %dx
    pushw %ax
    movw $0x3fd, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    popw %ax
    movw $0x3f8, %dx
    outb %al, %dx
    popw %dx
    ret
puts:
    lodsb
    testb %al, %al
    jz 1f
    call putc
    jmp puts
1:  ret

drive: .byte 0
text_failed: .asciz ": FAIL\n"

    .org 510
    .word 0xaa55

stage:
    movw $text_geometry, %si
    call puts
    movb $8, %ah
    movb drive, %dl
    xorw %di, %di
    int $0x13
    jc fail
    movb %bl, %al
    call hex
    movb %ch, %al
    call hex
    movb %cl, %al
    call hex
    movb %dh, %al
    call hex
    xorw %ax, %ax
    movw %ax, %es

    movw $text_reads, %si
    call puts
    movb $0, %ah
    movb drive, %dl
    int $0x13
    jc fail
    # Two sectors; a track; the end of the disk; back.
    movw $0x0202, %ax
    movw $0x0502, %cx
    movw $(5 * 36 + 18 + 1), %di
    movb $1, %dh
    call read_and_check
    movw $(0x0200 + SECS), %ax
    movw $0x0a01, %cx
    movw $(10 * 36), %di
    movb $0, %dh
    call read_and_check
    movw $0x0201, %ax
    movw $(79 << 8 | SECS), %cx
    movw $2879, %di
    movb $1, %dh
    call read_and_check
    movw $0x0201, %ax
    movw $0x0009, %cx
    movw $8, %di
    movb $0, %dh
    call read_and_check

    movw $text_writes, %si
    call puts
    movw $BUFFER, %di
    movw $512, %cx
    movw $0xa55a, %ax
    rep stosw
    movw $0x0302, %ax
    movw $(40 << 8 | 8), %cx
    call chs_1
    jc fail
    # Over what is in memory, with another sector in between.
    movw $0x0201, %ax
    movw $0x0009, %cx
    movw $8, %di
    movb $0, %dh
    call read_and_check
    movw $0x0202, %ax
    movw $(40 << 8 | 8), %cx
    call chs_1
    jc fail
    movw $BUFFER, %di
    movw $512, %cx
    movw $0xa55a, %ax
    repe scasw
    jne check_failed

    movw $text_verifies, %si
    call puts
    movw $0x0404, %ax
    movw $(40 << 8 | 6), %cx
    call chs_1
    jc fail

    # A track of the disk's end, whose sectors have their order turned round.
    movw $text_formats, %si
    call puts
    movw $BUFFER, %di
    movb $SECS, %al
1:  movb $78, (%di)
    movb $1, 1(%di)
    movb %al, 2(%di)
    movb $2, 3(%di)
    addw $4, %di
    decb %al
    jnz 1b
    movw $(0x0500 + SECS), %ax
    movw $(78 << 8 | 1), %cx
    call chs_1
    jc fail

    # A sector that no track has.
    movw $text_errors, %si
    call puts
    movw $0x0201, %ax
    movw $(3 << 8 | (SECS + 1)), %cx
    call chs_1
    jnc check_failed
    movb %ah, %al
    call hex

    movw $text_passed, %si
    call puts
    movb $0, %al
    jmp quit

chs_1:                          # head 1
    movb $1, %dh
    movb drive, %dl
    movw $BUFFER, %bx
    int $0x13
    ret

# %ax, %cx, %dh as int 13h wants them; %di: the first sector's number
read_and_check:
    pushw %ax
    movb drive, %dl
    movw $BUFFER, %bx
    int $0x13
    popw %ax
    jc fail
    movzbw %al, %cx
    movw $BUFFER, %bx
1:  cmpw %di, (%bx)
    jne check_failed
    movw %di, %ax
    cmpb %al, 511(%bx)
    jne check_failed
    incw %di
    addw $512, %bx
    loop 1b
    ret

text_geometry: .asciz "geometry "
text_reads: .asciz "\nreads\n"
text_writes: .asciz "writes\n"
text_verifies: .asciz "verifies\n"
text_formats: .asciz "formats\n"
text_errors: .asciz "errors "
text_passed: .asciz "\nPASS\n"

    .org 512 * (1 + STAGE_SECTORS)
