/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the bare-metal test programs share: ports, the serial line, the end. They run in 32-bit mode
 * without paging, as a Multiboot loader starts them. Exit codes are isa-debug-exit's: the process
 * ends with (code << 1) | 1, so that 0 here is status 1 there.
 */
#ifndef PAYLOAD_LIB_H
#define PAYLOAD_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEBUG_EXIT 0xf4
#define COM1       0x3f8

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline uint16_t inw(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline uint32_t inl(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline void pause_cpu(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline uint32_t rd32(uintptr_t addr)
{
    __asm__("" : "+r"(addr));
    return *(volatile uint32_t *)addr;
}
static inline void wr32(uintptr_t addr, uint32_t v)
{
    __asm__("" : "+r"(addr)); /* low addresses are no mistake here */
    *(volatile uint32_t *)addr = v;
}

/* Multiboot information (the fields used here). */
typedef struct {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
} MultibootInfo;
typedef struct {
    uint32_t start, end, string, reserved;
} MultibootModule;

void put_char(char c);
void print(const char *text);
void print_hex(uint32_t v);
void print_dec(uint32_t v);
_Noreturn void finish(uint8_t code);
/* Says what failed and ends with code 1. */
_Noreturn void fail(const char *what);
#define CHECK(what, condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail(what);                                                                            \
        }                                                                                          \
    } while (0)

bool same_bytes(const void *a, const void *b, size_t len);
size_t text_length(const char *s);
bool text_contains(const char *s, const char *part);
void *memset(void *p, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);

uint8_t cmos_read(uint8_t index);
void cmos_write(uint8_t index, uint8_t v);
uint32_t pci_read(unsigned slot, unsigned fn, unsigned reg);

/* RSDP between 0xe0000 and 0xfffff; a table by its signature. Their checksums are checked. */
uintptr_t find_rsdp(void);
uintptr_t find_table(const char *signature);

int payload_main(uint32_t magic, const MultibootInfo *info);
void payload_start(uint32_t magic, const MultibootInfo *info);

#endif
