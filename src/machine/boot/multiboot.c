/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Multiboot 1 (GNU, Multiboot Specification 0.6.96): small kernels and test programs. */
#include <elf.h>
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "image.h"

#define HEADER_MAGIC  0x1badb002u
#define LOADER_MAGIC  0x2badb002u
#define HEADER_SEARCH 8192
#define MAX_MODULES   64

enum {
    FLAG_PAGE_ALIGN = BIT(0),
    FLAG_MEMORY = BIT(1),
    FLAG_VIDEO = BIT(2),
    FLAG_ADDRESSES = BIT(16)
};
/* Of the information structure. */
enum {
    INFO_MEMORY = BIT(0),
    INFO_BOOT_DEVICE = BIT(1),
    INFO_CMDLINE = BIT(2),
    INFO_MODULES = BIT(3),
    INFO_MAP = BIT(6),
    INFO_LOADER_NAME = BIT(9),
    INFO_SIZE = 88,
    MODULE_SIZE = 16,
    MAP_ENTRY_SIZE = 24,
};

typedef struct {
    uint32_t offset; /* in the file */
    uint32_t flags, header_addr, load_addr, load_end, bss_end, entry;
} Header;

static bool multiboot_refuse(const BootPlan *plan, const char *why, GError **err)
{
    return error_set(err, "could not load kernel '%s': bad Multiboot image: %s", plan->kernel->name,
                     why);
}

static bool find_header(const BootImage *image, Header *h)
{
    uint64_t len = MIN(image->size, HEADER_SEARCH);
    g_autofree uint8_t *start = g_malloc0(HEADER_SEARCH);

    if (!boot_image_read(image, 0, start, len)) {
        return false;
    }
    for (uint32_t at = 0; at + 12 <= len; at += 4) {
        const uint8_t *p = start + at;

        if (ldle32(p) == HEADER_MAGIC && ldle32(p) + ldle32(p + 4) + ldle32(p + 8) == 0) {
            *h = (Header){.offset = at, .flags = ldle32(p + 4)};
            if (at + 32 <= len) {
                h->header_addr = ldle32(p + 12);
                h->load_addr = ldle32(p + 16);
                h->load_end = ldle32(p + 20);
                h->bss_end = ldle32(p + 24);
                h->entry = ldle32(p + 28);
            } else if (h->flags & FLAG_ADDRESSES) {
                return false;
            }
            return true;
        }
    }
    return false;
}

/* Loads an image whose Multiboot header holds the addresses. */
static bool load_flat(BootPlan *plan, const Header *h, GError **err)
{
    uint64_t skip = h->header_addr - (uint64_t)h->load_addr; /* from the start to the header */
    uint64_t offset, len, memory;

    if (h->header_addr < h->load_addr || skip > h->offset) {
        return multiboot_refuse(plan, "its load address lies behind its header", err);
    }
    offset = h->offset - skip;
    len = plan->kernel->size - offset;
    if (h->load_end) {
        if (h->load_end < h->load_addr || h->load_end - h->load_addr > len) {
            return multiboot_refuse(plan, "it is shorter than its header says", err);
        }
        len = h->load_end - h->load_addr;
    }
    memory = len;
    if (h->bss_end) {
        if (h->bss_end < h->load_addr || h->bss_end - (uint64_t)h->load_addr < len) {
            return multiboot_refuse(plan, "its bss ends before its data does", err);
        }
        memory = h->bss_end - h->load_addr;
    }
    plan->cpu.rip = h->entry;
    plan->kernel_end = h->load_addr + memory;
    return boot_plan_add_file(plan, "image", h->load_addr, plan->kernel, offset, len, memory, err);
}

static bool load_elf(BootPlan *plan, GError **err)
{
    ElfInfo elf;

    if (!boot_elf_probe(plan->kernel, &elf, err)) {
        return false;
    }
    if (!elf.is_elf) {
        return multiboot_refuse(plan, "it is no ELF file, and its header says no addresses", err);
    }
    if (elf.is64 || elf.machine != EM_386) {
        return multiboot_refuse(plan, "Cannot load x86-64 image, give a 32bit one.", err);
    }
    plan->cpu.rip = elf.entry;
    return boot_elf_load(plan, &elf, err);
}

/* The boot information structure and all that it points to, in one block of memory. */
typedef struct {
    BootPlan *plan;
    uint64_t base; /* the block's address in the guest */
    GByteArray *block;
} Info;

static uint32_t multiboot_append(Info *info, const void *bytes, size_t len)
{
    uint32_t at = info->base + info->block->len;

    g_byte_array_append(info->block, bytes, len);
    return at;
}

static uint32_t append_string(Info *info, const char *text)
{
    return multiboot_append(info, text, strlen(text) + 1);
}

/* Loads modules, each at the next free page. The list is "FILE ARGS,FILE ARGS", ',,' a comma. */
static bool add_modules(BootPlan *plan, const char *list, GPtrArray *lines, GArray *ranges,
                        GError **err)
{
    uint64_t at = ROUND_UP(MAX(plan->kernel_end, MiB), 4096ull);
    const char *p = list;

    while (*p) {
        g_autoptr(GString) line = g_string_new(NULL);
        g_autofree char *path = NULL;
        uint32_t range[2];
        BootImage *module;

        for (; *p && (*p != ',' || p[1] == ','); p++) {
            g_string_append_c(line, *p);
            p += *p == ',';
        }
        p += *p == ',';
        path = g_strndup(line->str, strcspn(line->str, " "));
        if (lines->len == MAX_MODULES) {
            return multiboot_refuse(plan, "it is given more than 64 modules", err);
        }
        module = boot_image_open("module", path, err);
        if (!module) {
            return false;
        }
        g_ptr_array_add(plan->images, module);
        if (!boot_plan_add_file(plan, "module", at, module, 0, module->size, module->size, err)) {
            return false;
        }
        range[0] = at;
        range[1] = at + module->size;
        g_array_append_vals(ranges, range, 2);
        g_ptr_array_add(lines, g_strdup(line->str));
        at = ROUND_UP(at + module->size, 4096ull);
    }
    plan->kernel_end = at;
    return true;
}

static bool add_info(BootPlan *plan, const char *cmdline, GPtrArray *lines, GArray *ranges,
                     GError **err)
{
    g_autofree char *line = *cmdline ? g_strdup_printf("%s %s", plan->kernel->name, cmdline)
                                     : g_strdup(plan->kernel->name);
    g_autoptr(GByteArray) block = g_byte_array_new();
    g_autoptr(GByteArray) modules = g_byte_array_new();
    uint64_t base = ROUND_UP(MAX(plan->kernel_end, MiB), 4096ull);
    Info info = {plan, base, block};
    uint8_t head[INFO_SIZE] = {0};
    uint64_t upper = plan->total_low > MiB ? (plan->total_low - MiB) / KiB : 0;

    multiboot_append(&info, head, sizeof head);
    for (unsigned i = 0; i < lines->len; i++) {
        uint8_t m[MODULE_SIZE] = {0};

        stle32(m, g_array_index(ranges, uint32_t, 2 * i));
        stle32(m + 4, g_array_index(ranges, uint32_t, 2 * i + 1));
        stle32(m + 8, append_string(&info, lines->pdata[i]));
        g_byte_array_append(modules, m, sizeof m);
    }
    stle32(head, INFO_MEMORY | INFO_BOOT_DEVICE | INFO_CMDLINE | INFO_MODULES | INFO_MAP |
                     INFO_LOADER_NAME);
    stle32(head + 4, 640);
    stle32(head + 8, upper);
    stle32(head + 12, 0x8000ffff); /* the first hard disk, no partition */
    stle32(head + 16, append_string(&info, line));
    stle32(head + 20, lines->len);
    stle32(head + 64, append_string(&info, "vmm"));
    g_byte_array_set_size(block, ROUND_UP(block->len, 16u));
    stle32(head + 24, multiboot_append(&info, modules->data, modules->len));
    stle32(head + 44, MAP_ENTRY_SIZE * plan->e820->len);
    stle32(head + 48, base + block->len);
    for (unsigned i = 0; i < plan->e820->len; i++) {
        const E820Entry *e = &g_array_index(plan->e820, E820Entry, i);
        uint8_t entry[MAP_ENTRY_SIZE];

        stle32(entry, MAP_ENTRY_SIZE - 4); /* the size field is not included */
        stle64(entry + 4, e->addr);
        stle64(entry + 12, e->len);
        stle32(entry + 20, e->type);
        multiboot_append(&info, entry, sizeof entry);
    }
    memcpy(block->data, head, sizeof head);
    g_byte_array_set_size(block, ROUND_UP(block->len, 16u));
    plan->cpu.rbx = base;
    return boot_plan_add_bytes(plan, "boot information", base, block->data, block->len, err) &&
           boot_plan_add_gdt(plan, base + ROUND_UP(block->len, 4096u), false, err);
}

bool boot_multiboot(BootPlan *plan, const char *cmdline, const char *modules, bool *is,
                    GError **err)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    Header h;

    if (!find_header(plan->kernel, &h)) {
        return true;
    }
    *is = true;
    plan->protocol = "Multiboot";
    /* Bits 0..15 are features that the kernel requires. */
    if (h.flags & 0xffff & ~(FLAG_PAGE_ALIGN | FLAG_MEMORY | FLAG_VIDEO)) {
        return multiboot_refuse(plan, "it requires features that do not exist", err);
    }
    plan->cpu.enabled = true;
    plan->cpu.rax = LOADER_MAGIC;
    plan->cpu.cr0 = 1;
    if (!(h.flags & FLAG_ADDRESSES ? load_flat(plan, &h, err) : load_elf(plan, err))) {
        return false;
    }
    return (!modules || add_modules(plan, modules, lines, ranges, err)) &&
           add_info(plan, cmdline, lines, ranges, err);
}
