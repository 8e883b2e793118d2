/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel images and the plan of their boot. No Vm here: what parses hostile files works on memory,
 * for tests and fuzzing, as on files.
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
    int fd;              /* or -1 and: */
    const uint8_t *data; /* borrowed */
    uint64_t size;
} BootImage;
/* "could not load WHAT 'PATH': ..." */
BootImage *boot_image_open(const char *what, const char *path, GError **err);
BootImage *boot_image_memory(const char *name, const uint8_t *data, uint64_t size);
void boot_image_free(BootImage *image);
/* false where not all of it is inside the image, or it cannot be read. */
bool boot_image_read(const BootImage *image, uint64_t offset, void *buf, uint64_t len);

/* [gpa, gpa+len): 'file_len' bytes from an image or from memory, then zeros. */
typedef struct {
    uint64_t gpa, len, file_len, offset;
    const BootImage *image; /* the plan's, or NULL: */
    uint8_t *bytes;         /* owned */
} BootSegment;

struct BootPlan {
    const char *protocol; /* "Linux", "PVH", "Multiboot" */
    BootImage *kernel;
    GPtrArray *images;    /* of BootImage: initrd, modules */
    GArray *segments;     /* of BootSegment */
    GArray *e820;         /* of E820Entry */
    uint64_t ram_end;     /* what lies below here may be loaded to: RAM below 4 GiB less tables */
    uint64_t total_low;   /* guest RAM below 4 GiB */
    uint64_t kernel_end;  /* behind the highest byte of the kernel, zeroed memory included */
    uint64_t rsdp;        /* where the RSDP will be; 0: no ACPI */
    bool long_mode;       /* the CPU has it */
    uint32_t seed_offset; /* Linux: of the random seed in the segment below; 0: none */
    unsigned seed_segment;
    X86BootState cpu;
};

/* An empty plan for that much RAM. Takes the image. */
BootPlan *boot_plan_empty(BootImage *kernel, uint64_t ram_end, uint64_t total_low, GArray *e820);
void boot_plan_free(BootPlan *plan);
/*
 * A piece. It must lie in RAM from 0x1000 on, outside of [0xa0000, 0x100000), and overlap no other;
 * 'what' is for the error text.
 */
bool boot_plan_add_file(BootPlan *plan, const char *what, uint64_t gpa, const BootImage *image,
                        uint64_t offset, uint64_t file_len, uint64_t len, GError **err);
bool boot_plan_add_bytes(BootPlan *plan, const char *what, uint64_t gpa, const void *bytes,
                         uint64_t len, GError **err);

/*
 * The initrd of this path: as high in RAM as there is room above the kernel and below 'limit', of
 * the kernel's own. An empty one is at 0.
 */
bool boot_plan_add_initrd(BootPlan *plan, const char *path, uint64_t limit, uint64_t *at,
                          uint64_t *size, GError **err);

/* Which protocols a file speaks. Each fills the plan; 'false' without an error: not this one. */
bool boot_linux(BootPlan *plan, const char *cmdline, const char *initrd, bool *is, GError **err);
bool boot_multiboot(BootPlan *plan, const char *cmdline, const char *modules, bool *is,
                    GError **err);
bool boot_elf(BootPlan *plan, const char *cmdline, const char *initrd, bool *is, GError **err);
/* Tries all of them. */
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

/* Low memory that a direct boot uses for itself. */
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
