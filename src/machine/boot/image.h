/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel images and boot plans. Nothing here needs a Vm, and images can be files or memory, so that
 * tests and fuzzers can run the parsers.
 */
#ifndef BOOT_IMAGE_H
#define BOOT_IMAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include "../pc.h"
#include "x86/x86.h"

typedef struct BootImage {
    char *name;
    int fd;              /* -1: the image is 'data' */
    const uint8_t *data; /* borrowed */
    uint64_t size;
} BootImage;
/* Opens a file; 'what' ("kernel", "initrd") is for the error text. */
BootImage *boot_image_open(const char *what, const char *path, GError **err);
BootImage *boot_image_memory(const char *name, const uint8_t *data, uint64_t size);
void boot_image_free(BootImage *image);
/* false: the range is not wholly inside the image, or the file cannot be read. */
bool boot_image_read(const BootImage *image, uint64_t offset, void *buf, uint64_t len);

/* Guest memory [gpa, gpa+len): 'file_len' bytes of an image or of 'bytes', then zeros. */
typedef struct {
    uint64_t gpa, len, file_len;
    uint64_t offset;        /* in the image */
    const BootImage *image; /* one of the plan's; NULL: 'bytes' */
    uint8_t *bytes;         /* owned */
} BootSegment;

struct BootPlan {
    const char *protocol; /* "Linux", "PVH", "Multiboot" */
    BootImage *kernel;
    GPtrArray *images;    /* of BootImage: initrd, modules */
    GArray *segments;     /* of BootSegment */
    GArray *e820;         /* of E820Entry */
    uint64_t ram_end;     /* end of the RAM below 4 GiB that may be loaded to; tables follow */
    uint64_t total_low;   /* guest RAM below 4 GiB */
    uint64_t kernel_end;  /* address after the kernel's last byte, zeroed memory included */
    uint64_t rsdp;        /* address of the RSDP; 0: no ACPI */
    bool long_mode;       /* the CPU has long mode */
    bool has_vga;         /* the machine has one, in text mode */
    uint32_t seed_offset; /* Linux: of the random seed in segment seed_segment; 0: no seed */
    unsigned seed_segment;
    X86BootState cpu;
};

/* An empty plan, which takes ownership of 'kernel' and 'e820'. */
BootPlan *boot_plan_empty(BootImage *kernel, uint64_t ram_end, uint64_t total_low, GArray *e820);
void boot_plan_free(BootPlan *plan);
/*
 * Adds a segment. It must lie in [0x1000, 0x9fc00) or in [1 MiB, ram_end) and overlap no other.
 * 'what' is for the error text.
 */
bool boot_plan_add_file(BootPlan *plan, const char *what, uint64_t gpa, const BootImage *image,
                        uint64_t offset, uint64_t file_len, uint64_t len, GError **err);
bool boot_plan_add_bytes(BootPlan *plan, const char *what, uint64_t gpa, const void *bytes,
                         uint64_t len, GError **err);

/*
 * Adds an initrd, as high in RAM as possible, above the kernel and below the kernel's 'limit'. An
 * empty file is accepted: *at and *size are 0 then.
 */
bool boot_plan_add_initrd(BootPlan *plan, const char *path, uint64_t limit, uint64_t *at,
                          uint64_t *size, GError **err);

/*
 * Boot protocols. Each sets *is if the kernel speaks it, and then fills the plan. false and *err:
 * the kernel speaks the protocol but cannot be loaded.
 */
bool boot_linux(BootPlan *plan, const char *cmdline, const char *initrd, bool *is, GError **err);
bool boot_multiboot(BootPlan *plan, const char *cmdline, const char *modules, bool *is,
                    GError **err);
bool boot_elf(BootPlan *plan, const char *cmdline, const char *initrd, bool *is, GError **err);
/* Fills the plan by the first protocol that the kernel speaks. */
bool boot_plan_fill(BootPlan *plan, const char *cmdline, const char *initrd, GError **err);

/* ELF files, for PVH and Multiboot. */
typedef struct {
    bool is_elf, is64;
    uint16_t machine; /* EM_386, EM_X86_64 */
    uint64_t entry;
    bool has_pvh;
    uint32_t pvh_entry;
} ElfInfo;
bool boot_elf_probe(const BootImage *image, ElfInfo *info, GError **err);
/* Adds the file's loadable segments at their physical addresses. */
bool boot_elf_load(BootPlan *plan, const ElfInfo *info, GError **err);

/* Addresses in low memory that direct boots use. */
#define BOOT_GDT         0x1000
#define BOOT_START_INFO  0x2000 /* PVH */
#define BOOT_PARAMS      0x7000 /* Linux' zero page */
#define BOOT_SETUP_DATA  0x8000
#define BOOT_PAGE_TABLES 0x9000 /* six pages */
#define BOOT_CMDLINE     0x20000
#define BOOT_CMDLINE_END 0x90000
/* Writes a GDT with flat segments: 0x10 code, 0x18 data. */
bool boot_plan_add_gdt(BootPlan *plan, uint64_t gpa, bool long_mode, GError **err);
bool boot_plan_add_page_tables(BootPlan *plan, GError **err);

#endif
