/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels: the file format (System V ABI, chapter 4 and 5), and the PVH protocol by which a
 * vmlinux starts (Xen, docs/misc/pvh.pandoc; xen/include/public/arch-x86/hvm/start_info.h).
 */
#include <elf.h>
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "image.h"

#define MAX_PROGRAM_HEADERS 64
#define MAX_NOTES           (64 * KiB)
#define NOTE_PHYS32_ENTRY   18 /* XEN_ELFNOTE_PHYS32_ENTRY */

typedef struct {
    uint64_t phoff;
    unsigned phnum, phentsize;
} Headers;

static bool elf_corrupt(const BootImage *image, const char *what, GError **err)
{
    return error_set(err, "could not load kernel '%s': bad ELF file: %s", image->name, what);
}

/* Reads an ELF header of either class. A file that is no ELF file leaves info->is_elf false. */
static bool read_headers(const BootImage *image, ElfInfo *info, Headers *h, GError **err)
{
    union {
        unsigned char ident[EI_NIDENT];
        Elf32_Ehdr e32;
        Elf64_Ehdr e64;
    } e;

    if (!boot_image_read(image, 0, e.ident, sizeof e.ident) || memcmp(e.ident, ELFMAG, SELFMAG)) {
        return true; /* not an ELF file */
    }
    info->is64 = e.ident[EI_CLASS] == ELFCLASS64;
    if (e.ident[EI_DATA] != ELFDATA2LSB ||
        !boot_image_read(image, 0, &e, info->is64 ? sizeof e.e64 : sizeof e.e32)) {
        return elf_corrupt(image, "its header", err);
    }
    if (info->is64) {
        info->machine = le16toh(e.e64.e_machine);
        info->entry = le64toh(e.e64.e_entry);
        *h = (Headers){le64toh(e.e64.e_phoff), le16toh(e.e64.e_phnum), le16toh(e.e64.e_phentsize)};
    } else {
        info->machine = le16toh(e.e32.e_machine);
        info->entry = le32toh(e.e32.e_entry);
        *h = (Headers){le32toh(e.e32.e_phoff), le16toh(e.e32.e_phnum), le16toh(e.e32.e_phentsize)};
    }
    if (!h->phnum || h->phnum > MAX_PROGRAM_HEADERS ||
        h->phentsize != (info->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr))) {
        return elf_corrupt(image, "its program headers", err);
    }
    info->is_elf = true;
    return true;
}

static bool read_segment(const BootImage *image, const ElfInfo *info, const Headers *h, unsigned i,
                         Elf64_Phdr *p, GError **err)
{
    uint64_t at = h->phoff + (uint64_t)i * h->phentsize;
    Elf32_Phdr p32;

    if (at < h->phoff ||
        !boot_image_read(image, at, info->is64 ? (void *)p : (void *)&p32, h->phentsize)) {
        return elf_corrupt(image, "it ends inside of its program headers", err);
    }
    if (info->is64) {
        *p = (Elf64_Phdr){.p_type = le32toh(p->p_type),
                          .p_offset = le64toh(p->p_offset),
                          .p_paddr = le64toh(p->p_paddr),
                          .p_filesz = le64toh(p->p_filesz),
                          .p_memsz = le64toh(p->p_memsz)};
    } else {
        *p = (Elf64_Phdr){.p_type = le32toh(p32.p_type),
                          .p_offset = le32toh(p32.p_offset),
                          .p_paddr = le32toh(p32.p_paddr),
                          .p_filesz = le32toh(p32.p_filesz),
                          .p_memsz = le32toh(p32.p_memsz)};
    }
    return true;
}

/* Looks for Xen's note with the 32-bit entry point. Names and contents are padded to 4. */
static void scan_notes(const BootImage *image, const Elf64_Phdr *p, ElfInfo *info)
{
    uint64_t len = MIN(p->p_filesz, MAX_NOTES), pos = 0;
    g_autofree uint8_t *notes = g_malloc0(len + 1);

    if (!boot_image_read(image, p->p_offset, notes, len)) {
        return;
    }
    while (pos + 12 <= len) {
        uint64_t name_len = ldle32(notes + pos), desc_len = ldle32(notes + pos + 4);
        uint32_t type = ldle32(notes + pos + 8);
        uint64_t name = pos + 12, desc = name + ROUND_UP(name_len, 4);

        if (desc > len || desc_len > len - desc) {
            return;
        }
        if (type == NOTE_PHYS32_ENTRY && name_len == 4 && !memcmp(notes + name, "Xen", 4) &&
            (desc_len == 4 || desc_len == 8)) {
            info->has_pvh = true;
            info->pvh_entry = ldle32(notes + desc);
            return;
        }
        pos = desc + ROUND_UP(desc_len, 4);
    }
}

bool boot_elf_probe(const BootImage *image, ElfInfo *info, GError **err)
{
    Headers h;

    *info = (ElfInfo){0};
    if (!read_headers(image, info, &h, err)) {
        return false;
    }
    for (unsigned i = 0; info->is_elf && i < h.phnum && !info->has_pvh; i++) {
        Elf64_Phdr p;

        if (!read_segment(image, info, &h, i, &p, err)) {
            return false;
        }
        if (p.p_type == PT_NOTE) {
            scan_notes(image, &p, info);
        }
    }
    return true;
}

bool boot_elf_load(BootPlan *plan, const ElfInfo *info, GError **err)
{
    ElfInfo again = {0};
    unsigned loaded = 0;
    Headers h;

    (void)info;
    if (!read_headers(plan->kernel, &again, &h, err)) {
        return false;
    }
    for (unsigned i = 0; i < h.phnum; i++) {
        Elf64_Phdr p;

        if (!read_segment(plan->kernel, &again, &h, i, &p, err)) {
            return false;
        }
        if (p.p_type != PT_LOAD || !p.p_memsz) {
            continue;
        }
        if (p.p_filesz > p.p_memsz) {
            return elf_corrupt(plan->kernel, "a segment has more bytes in the file than in memory",
                               err);
        }
        if (!boot_plan_add_file(plan, "segment", p.p_paddr, plan->kernel, p.p_offset, p.p_filesz,
                                p.p_memsz, err)) {
            return false;
        }
        plan->kernel_end = MAX(plan->kernel_end, p.p_paddr + p.p_memsz);
        loaded++;
    }
    return loaded || elf_corrupt(plan->kernel, "it has nothing to load", err);
}

/* PVH. */

bool boot_elf(BootPlan *plan, const char *cmdline, const char *initrd, bool *is, GError **err)
{
    enum { INFO_SIZE = 56, MODULE_SIZE = 32, MAP_ENTRY_SIZE = 24 };
    uint8_t info[INFO_SIZE] = {0}, module[MODULE_SIZE] = {0};
    unsigned module_at = INFO_SIZE, map_at = INFO_SIZE + MODULE_SIZE;
    g_autoptr(GByteArray) block = g_byte_array_new();
    uint64_t at = 0, size = 0;
    ElfInfo elf;

    if (!boot_elf_probe(plan->kernel, &elf, err)) {
        return false;
    }
    if (!elf.is_elf) {
        return true;
    }
    if (!elf.has_pvh) {
        return error_set(
            err,
            "could not load kernel '%s': Error loading uncompressed kernel without PVH "
            "ELF Note",
            plan->kernel->name);
    }
    *is = true;
    plan->protocol = "PVH";
    if (!boot_elf_load(plan, &elf, err) ||
        (initrd && !boot_plan_add_initrd(plan, initrd, 4 * GiB, &at, &size, err)) ||
        !boot_plan_add_bytes(plan, "command line", BOOT_CMDLINE, cmdline, strlen(cmdline) + 1,
                             err)) {
        return false;
    }
    stle64(module, at);
    stle64(module + 8, size);
    stle32(info, 0x336ec578);
    stle32(info + 4, 1); /* version */
    stle32(info + 12, initrd ? 1 : 0);
    stle64(info + 16, BOOT_START_INFO + module_at);
    stle64(info + 24, BOOT_CMDLINE);
    stle64(info + 32, plan->rsdp);
    stle64(info + 40, BOOT_START_INFO + map_at);
    stle32(info + 48, plan->e820->len);
    g_byte_array_append(block, info, sizeof info);
    g_byte_array_append(block, module, sizeof module);
    for (unsigned i = 0; i < plan->e820->len; i++) {
        const E820Entry *e = &g_array_index(plan->e820, E820Entry, i);
        uint8_t entry[MAP_ENTRY_SIZE] = {0};

        stle64(entry, e->addr);
        stle64(entry + 8, e->len);
        stle32(entry + 16, e->type);
        g_byte_array_append(block, entry, sizeof entry);
    }
    plan->cpu.enabled = true;
    plan->cpu.cr0 = 1;
    plan->cpu.rip = elf.pvh_entry;
    plan->cpu.rbx = BOOT_START_INFO;
    return boot_plan_add_bytes(plan, "start info", BOOT_START_INFO, block->data, block->len, err) &&
           boot_plan_add_gdt(plan, BOOT_GDT, false, err);
}
