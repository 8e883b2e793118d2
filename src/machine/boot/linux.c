/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Linux boot protocol (Linux, Documentation/arch/x86/boot.rst and zero-page.rst). A bzImage is
 * entered at its 64-bit entry point if it has one and the CPU has long mode, else at the 32-bit
 * one. Its real-mode code, which would query firmware, is skipped: boot_linux() fills in the zero
 * page.
 */
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "image.h"

#define KERNEL_AT 0x100000 /* where the protected-mode part of a bzImage goes */

/* The setup header, as offsets in the file and in the zero page. */
enum {
    HDR_START = 0x1f1,
    HDR_SETUP_SECTS = 0x1f1,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200, /* a jump over the header, whose second byte gives the header's length */
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_TYPE_OF_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32_START = 0x214,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_CMD_LINE_PTR = 0x228,
    HDR_INITRD_ADDR_MAX = 0x22c,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_SETUP_DATA = 0x250,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END = 0x290,
    /* the rest of the zero page */
    ZP_VIDEO_MODE = 0x006,
    ZP_VIDEO_COLS = 0x007,
    ZP_VIDEO_EGA_BX = 0x00a,
    ZP_VIDEO_LINES = 0x00e,
    ZP_VIDEO_IS_VGA = 0x00f,
    ZP_VIDEO_POINTS = 0x010,
    ZP_ACPI_RSDP_ADDR = 0x070,
    ZP_ALT_MEM_K = 0x1e0,
    ZP_E820_ENTRIES = 0x1e8,
    ZP_E820_TABLE = 0x2d0,
    ZP_E820_MAX = 128,
};
enum { LOADED_HIGH = BIT(0), SETUP_RNG_SEED = 9, SEED_SIZE = 32 };
enum { XLF_KERNEL_64 = BIT(0), XLF_CAN_BE_LOADED_ABOVE_4G = BIT(1) };

typedef struct {
    uint8_t h[HDR_END]; /* the first bytes of the file; zero after the end of its header */
    uint16_t version;
    uint64_t code_offset, code_size; /* in the file */
    uint64_t end; /* of the memory that the kernel uses before it has read the memory map */
} Bzimage;

static bool linux_refuse(const BootPlan *plan, const char *why, GError **err)
{
    return error_set(err, "could not load kernel '%s': %s", plan->kernel->name, why);
}

static bool linux_parse(BootPlan *plan, Bzimage *bz, bool *is, GError **err)
{
    unsigned sectors, end;

    if (!boot_image_read(plan->kernel, 0, bz->h, MIN(plan->kernel->size, (uint64_t)HDR_END)) ||
        plan->kernel->size < HDR_START + 0x40 || memcmp(bz->h + HDR_MAGIC, "HdrS", 4) ||
        ldle16(bz->h + HDR_BOOT_FLAG) != 0xaa55) {
        return true;
    }
    *is = true;
    bz->version = ldle16(bz->h + HDR_VERSION);
    end = HDR_MAGIC + bz->h[HDR_JUMP + 1];
    if (end < HDR_END) {
        memset(bz->h + end, 0, HDR_END - end); /* these bytes are code */
    }
    if (bz->version < 0x0203) {
        return linux_refuse(plan, "its boot protocol is older than 2.03 (Linux 2.4)", err);
    }
    if (!(bz->h[HDR_LOADFLAGS] & LOADED_HIGH)) {
        return linux_refuse(plan, "it is a zImage; only a bzImage can be booted", err);
    }
    sectors = bz->h[HDR_SETUP_SECTS] ? bz->h[HDR_SETUP_SECTS] : 4;
    bz->code_offset = (sectors + 1) * 512;
    if (bz->code_offset >= plan->kernel->size) {
        return linux_refuse(plan, "it ends inside of its setup code", err);
    }
    bz->code_size = plan->kernel->size - bz->code_offset;
    bz->end = KERNEL_AT + bz->code_size;
    if (bz->version >= 0x020a) {
        /* The kernel unpacks itself to pref_address, or to where it is loaded if that is higher. */
        uint64_t preferred = MIN(ldle64(bz->h + HDR_PREF_ADDRESS), (uint64_t)4 * GiB);

        bz->end = MAX(bz->end, MAX(preferred, KERNEL_AT) + ldle32(bz->h + HDR_INIT_SIZE));
    }
    return true;
}

/*
 * The end of the range for the initrd. A kernel that can be loaded above 4 GiB accepts an initrd
 * anywhere below 4 GiB, although initrd_addr_max in its header still says 2 GiB.
 */
static uint64_t linux_initrd_limit(const Bzimage *bz)
{
    bool above =
        bz->version >= 0x020c && ldle16(bz->h + HDR_XLOADFLAGS) & XLF_CAN_BE_LOADED_ABOVE_4G;

    return above ? 4 * GiB : (uint64_t)ldle32(bz->h + HDR_INITRD_ADDR_MAX) + 1;
}

static bool linux_add_initrd(BootPlan *plan, const Bzimage *bz, const char *path,
                             uint8_t *zero_page, GError **err)
{
    uint64_t at, size;

    if (!boot_plan_add_initrd(plan, path, linux_initrd_limit(bz), &at, &size, err)) {
        return false;
    }
    stle32(zero_page + HDR_RAMDISK_IMAGE, at);
    stle32(zero_page + HDR_RAMDISK_SIZE, size);
    return true;
}

static bool add_cmdline(BootPlan *plan, const Bzimage *bz, const char *cmdline, uint8_t *zero_page,
                        GError **err)
{
    uint32_t max = bz->version >= 0x0206 ? ldle32(bz->h + HDR_CMDLINE_SIZE) : 255;

    if (strlen(cmdline) > MIN(max, BOOT_CMDLINE_END - BOOT_CMDLINE - 1)) {
        return error_set(err,
                         "could not load kernel '%s': -append has %zu characters, this kernel "
                         "takes %u",
                         plan->kernel->name, strlen(cmdline), max);
    }
    stle32(zero_page + HDR_CMD_LINE_PTR, BOOT_CMDLINE);
    return boot_plan_add_bytes(plan, "command line", BOOT_CMDLINE, cmdline, strlen(cmdline) + 1,
                               err);
}

static void fill_e820(const BootPlan *plan, uint8_t *zero_page)
{
    unsigned n = MIN(plan->e820->len, (unsigned)ZP_E820_MAX);
    uint64_t above_1m = plan->total_low > MiB ? plan->total_low - MiB : 0;

    for (unsigned i = 0; i < n; i++) {
        const E820Entry *e = &g_array_index(plan->e820, E820Entry, i);
        uint8_t *entry = zero_page + ZP_E820_TABLE + 20 * i;

        stle64(entry, e->addr);
        stle64(entry + 8, e->len);
        stle32(entry + 16, e->type);
    }
    zero_page[ZP_E820_ENTRIES] = n;
    stle32(zero_page + ZP_ALT_MEM_K, above_1m / KiB);
}

/* A seed for the kernel's random numbers, which boot_apply() renews at every boot. */
static bool add_seed(BootPlan *plan, const Bzimage *bz, uint8_t *zero_page, GError **err)
{
    uint8_t node[16 + SEED_SIZE] = {0};

    if (bz->version < 0x0209) {
        return true;
    }
    stle32(node + 8, SETUP_RNG_SEED);
    stle32(node + 12, SEED_SIZE);
    stle64(zero_page + HDR_SETUP_DATA, BOOT_SETUP_DATA);
    plan->seed_segment = plan->segments->len;
    plan->seed_offset = 16;
    return boot_plan_add_bytes(plan, "setup data", BOOT_SETUP_DATA, node, sizeof node, err);
}

static bool set_entry(BootPlan *plan, const Bzimage *bz, GError **err)
{
    bool entry64 =
        plan->long_mode && bz->version >= 0x020c && ldle16(bz->h + HDR_XLOADFLAGS) & XLF_KERNEL_64;
    X86BootState *cpu = &plan->cpu;

    cpu->enabled = true;
    cpu->rsi = BOOT_PARAMS;
    cpu->rip = KERNEL_AT;
    cpu->cr0 = 1;
    if (entry64) {
        cpu->long_mode = true;
        cpu->rip = KERNEL_AT + 0x200;
        cpu->cr0 = 0x80000001;
        cpu->cr4 = 0x20;   /* PAE */
        cpu->efer = 0x500; /* LME, LMA */
        if (!boot_plan_add_page_tables(plan, err)) {
            return false;
        }
    }
    return boot_plan_add_gdt(plan, BOOT_GDT, entry64, err);
}

/* What the real-mode code would find by int 10h: vga_init_as_firmware()'s text mode. */
static void fill_screen_info(uint8_t *zero_page)
{
    zero_page[ZP_VIDEO_MODE] = 3;
    zero_page[ZP_VIDEO_COLS] = 80;
    stle16(zero_page + ZP_VIDEO_EGA_BX, 3); /* as much memory as an EGA can have */
    zero_page[ZP_VIDEO_LINES] = 25;
    zero_page[ZP_VIDEO_IS_VGA] = 1;
    stle16(zero_page + ZP_VIDEO_POINTS, 16);
}

bool boot_linux(BootPlan *plan, const char *cmdline, const char *initrd, bool *is, GError **err)
{
    g_autofree Bzimage *bz = g_new0(Bzimage, 1);
    g_autofree uint8_t *zero_page = g_malloc0(4096);

    if (!linux_parse(plan, bz, is, err)) {
        return false;
    }
    if (!*is) {
        return true;
    }
    plan->protocol = "Linux";
    if (bz->end > plan->ram_end) {
        return error_set(err,
                         "could not load kernel '%s': it needs %llu MiB of memory, the guest has "
                         "%llu (see -m)",
                         plan->kernel->name, bz->end / MiB + 1, plan->total_low / MiB);
    }
    memcpy(zero_page + HDR_START, bz->h + HDR_START, HDR_END - HDR_START);
    zero_page[HDR_TYPE_OF_LOADER] = 0xff; /* a loader without an assigned number */
    stle32(zero_page + HDR_CODE32_START, KERNEL_AT);
    stle32(zero_page + HDR_RAMDISK_IMAGE, 0);
    stle32(zero_page + HDR_RAMDISK_SIZE, 0);
    stle64(zero_page + HDR_SETUP_DATA, 0);
    stle64(zero_page + ZP_ACPI_RSDP_ADDR, plan->rsdp);
    if (plan->has_vga) {
        fill_screen_info(zero_page);
    }
    fill_e820(plan, zero_page);
    plan->kernel_end = bz->end;
    return boot_plan_add_file(plan, "code", KERNEL_AT, plan->kernel, bz->code_offset, bz->code_size,
                              bz->code_size, err) &&
           (!initrd || linux_add_initrd(plan, bz, initrd, zero_page, err)) &&
           add_cmdline(plan, bz, cmdline, zero_page, err) && add_seed(plan, bz, zero_page, err) &&
           boot_plan_add_bytes(plan, "zero page", BOOT_PARAMS, zero_page, 4096, err) &&
           set_entry(plan, bz, err);
}
