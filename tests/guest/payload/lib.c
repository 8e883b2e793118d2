/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lib.h"

void put_char(char c)
{
    while (!(inb(COM1 + 5) & 0x20)) {
        pause_cpu();
    }
    outb(COM1, c);
}

void print(const char *text)
{
    for (; *text; text++) {
        put_char(*text);
    }
}

void print_hex(uint32_t v)
{
    for (int shift = 28; shift >= 0; shift -= 4) {
        put_char("0123456789abcdef"[v >> shift & 15]);
    }
}

void print_dec(uint32_t v)
{
    char digits[10];
    unsigned n = 0;

    do {
        digits[n++] = '0' + v % 10;
        v /= 10;
    } while (v);
    while (n) {
        put_char(digits[--n]);
    }
}

_Noreturn void finish(uint8_t code)
{
    outl(DEBUG_EXIT, code);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

_Noreturn void fail(const char *what)
{
    print("FAIL: ");
    print(what);
    print("\n");
    finish(1);
}

void *memset(void *p, int c, size_t n)
{
    for (uint8_t *b = p; n--; b++) {
        *b = c;
    }
    return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
    uint8_t *t = to;

    for (const uint8_t *f = from; n--;) {
        *t++ = *f++;
    }
    return to;
}

bool same_bytes(const void *a, const void *b, size_t len)
{
    const uint8_t *x = a, *y = b;

    while (len--) {
        if (*x++ != *y++) {
            return false;
        }
    }
    return true;
}

size_t text_length(const char *s)
{
    size_t n = 0;

    while (s[n]) {
        n++;
    }
    return n;
}

bool text_contains(const char *s, const char *part)
{
    size_t len = text_length(part);

    for (; *s; s++) {
        if (same_bytes(s, part, len)) {
            return true;
        }
    }
    return false;
}

uint8_t cmos_read(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

void cmos_write(uint8_t index, uint8_t v)
{
    outb(0x70, index);
    outb(0x71, v);
}

uint32_t pci_read(unsigned slot, unsigned fn, unsigned reg)
{
    outl(0xcf8, 0x80000000 | slot << 11 | fn << 8 | reg);
    return inl(0xcfc);
}

static void check_sum(const char *what, uintptr_t at, uint32_t len)
{
    uint8_t sum = 0;

    for (uint32_t i = 0; i < len; i++) {
        sum += *(volatile uint8_t *)(at + i);
    }
    CHECK(what, sum == 0);
}

uintptr_t find_rsdp(void)
{
    for (uintptr_t at = 0xe0000; at < 0x100000; at += 16) {
        if (same_bytes((const void *)at, "RSD PTR ", 8)) {
            check_sum("RSDP checksum", at, 20);
            return at;
        }
    }
    fail("no RSDP between 0xe0000 and 0xfffff");
}

uintptr_t find_table(const char *signature)
{
    uintptr_t rsdt = rd32(find_rsdp() + 16);

    CHECK("RSDT signature", same_bytes((const void *)rsdt, "RSDT", 4));
    check_sum("RSDT checksum", rsdt, rd32(rsdt + 4));
    for (uint32_t at = 36; at < rd32(rsdt + 4); at += 4) {
        uintptr_t table = rd32(rsdt + at);

        if (same_bytes((const void *)table, signature, 4)) {
            check_sum("table checksum", table, rd32(table + 4));
            return table;
        }
    }
    return 0;
}

void payload_start(uint32_t magic, const MultibootInfo *info)
{
    finish(payload_main(magic, info));
}
