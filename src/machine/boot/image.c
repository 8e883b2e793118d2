/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"

BootImage *boot_image_open(const char *what, const char *path, GError **err)
{
    g_autoptr(GError) why = NULL;
    int fd = host_open(path, O_RDONLY, 0, &why);
    BootImage *image;
    struct stat st;

    if (fd < 0) {
        error_set(err, "could not load %s '%s': %s", what, path,
                  why->code > 0 && why->code < 4096 ? g_strerror(why->code) : why->message);
        return NULL;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        error_set(err, "could not load %s '%s': it is no regular file", what, path);
        close(fd);
        return NULL;
    }
    image = g_new0(BootImage, 1);
    image->name = g_strdup(path);
    image->fd = fd;
    image->size = st.st_size;
    return image;
}

BootImage *boot_image_memory(const char *name, const uint8_t *data, uint64_t size)
{
    BootImage *image = g_new0(BootImage, 1);

    image->name = g_strdup(name);
    image->fd = -1;
    image->data = data;
    image->size = size;
    return image;
}

void boot_image_free(BootImage *image)
{
    if (image) {
        fd_close(&image->fd);
        g_free(image->name);
        g_free(image);
    }
}

bool boot_image_read(const BootImage *image, uint64_t offset, void *buf, uint64_t len)
{
    uint8_t *p = buf;

    if (offset > image->size || len > image->size - offset) {
        return false;
    }
    if (image->fd < 0) {
        memcpy(buf, image->data + offset, len);
        return true;
    }
    while (len) {
        ssize_t n = pread(image->fd, p, len, offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        p += n;
        offset += n;
        len -= n;
    }
    return true;
}

static void segment_clear(void *data)
{
    g_free(((BootSegment *)data)->bytes);
}

BootPlan *boot_plan_empty(BootImage *kernel, uint64_t ram_end, uint64_t total_low, GArray *e820)
{
    BootPlan *plan = g_new0(BootPlan, 1);

    plan->kernel = kernel;
    plan->images = g_ptr_array_new_with_free_func((GDestroyNotify)boot_image_free);
    plan->segments = g_array_new(FALSE, TRUE, sizeof(BootSegment));
    g_array_set_clear_func(plan->segments, segment_clear);
    plan->e820 = e820;
    plan->ram_end = ram_end;
    plan->total_low = total_low;
    return plan;
}

void boot_plan_free(BootPlan *plan)
{
    boot_image_free(plan->kernel);
    g_ptr_array_unref(plan->images);
    g_array_unref(plan->segments);
    g_array_unref(plan->e820);
    g_free(plan);
}

/* Below 0x1000 are interrupt vectors and BIOS data, at 0x9fc00 begins the EBDA. */
static bool check_place(const BootPlan *plan, const char *what, uint64_t gpa, uint64_t len,
                        GError **err)
{
    uint64_t end = gpa + len;
    bool low = gpa >= 0x1000 && end <= 0x9fc00;
    bool high = gpa >= MiB && end <= plan->ram_end;

    if (end < gpa || (!low && !high)) {
        return error_set(err,
                         "could not load kernel '%s': its %s, %" PRIu64 " bytes at 0x%" PRIx64
                         ", does not fit into the guest's memory (%llu MiB, see -m)",
                         plan->kernel->name, what, len, gpa, plan->total_low / MiB);
    }
    for (unsigned i = 0; i < plan->segments->len; i++) {
        const BootSegment *s = &g_array_index(plan->segments, BootSegment, i);

        if (gpa < s->gpa + s->len && s->gpa < end) {
            return error_set(err,
                             "could not load kernel '%s': its %s at 0x%" PRIx64
                             " and what lies at 0x%" PRIx64 " overlap",
                             plan->kernel->name, what, gpa, s->gpa);
        }
    }
    return true;
}

bool boot_plan_add_file(BootPlan *plan, const char *what, uint64_t gpa, const BootImage *image,
                        uint64_t offset, uint64_t file_len, uint64_t len, GError **err)
{
    BootSegment s = {
        .gpa = gpa, .len = len, .file_len = file_len, .offset = offset, .image = image};

    g_assert(file_len <= len);
    if (offset > image->size || file_len > image->size - offset) {
        return error_set(err, "could not load kernel '%s': it ends inside of its %s",
                         plan->kernel->name, what);
    }
    if (!len) {
        return true;
    }
    if (!check_place(plan, what, gpa, len, err)) {
        return false;
    }
    g_array_append_val(plan->segments, s);
    return true;
}

bool boot_plan_add_bytes(BootPlan *plan, const char *what, uint64_t gpa, const void *bytes,
                         uint64_t len, GError **err)
{
    BootSegment s = {.gpa = gpa, .len = len, .file_len = len};

    if (!len) {
        return true;
    }
    if (!check_place(plan, what, gpa, len, err)) {
        return false;
    }
    s.bytes = g_memdup2(bytes, len);
    g_array_append_val(plan->segments, s);
    return true;
}

/* The error names the bound: the kernel's limit, RAM below 4 GiB, or all RAM. */
static bool initrd_too_large(const BootPlan *plan, const BootImage *initrd, uint64_t limit,
                             GError **err)
{
    unsigned long long size = initrd->size / MiB;
    bool more = false;

    for (unsigned i = 0; i < plan->e820->len; i++) {
        const E820Entry *e = &g_array_index(plan->e820, E820Entry, i);

        more |= e->type == E820_RAM && e->addr >= 4 * GiB;
    }
    if (limit < plan->ram_end) {
        return error_set(err,
                         "could not load initrd '%s': it (%llu MiB) does not fit between the "
                         "kernel and %llu MiB, below which this kernel takes it",
                         initrd->name, size, limit / MiB);
    }
    if (more) {
        return error_set(err,
                         "could not load initrd '%s': the kernel and it (%llu MiB) do not fit into "
                         "the %llu MiB of memory below 4 GiB",
                         initrd->name, size, plan->total_low / MiB);
    }
    return error_set(err,
                     "could not load initrd '%s': the kernel and it (%llu MiB) do not fit into "
                     "%llu MiB of memory (see -m)",
                     initrd->name, size, plan->total_low / MiB);
}

bool boot_plan_add_initrd(BootPlan *plan, const char *path, uint64_t limit, uint64_t *at,
                          uint64_t *size, GError **err)
{
    BootImage *initrd = boot_image_open("initrd", path, err);
    uint64_t end = MIN(plan->ram_end, limit);

    *at = *size = 0;
    if (!initrd) {
        return false;
    }
    g_ptr_array_add(plan->images, initrd);
    if (!initrd->size) {
        return true;
    }
    *size = initrd->size;
    *at = initrd->size < end ? ROUND_DOWN(end - initrd->size, 4096) : 0;
    if (*at < MAX(plan->kernel_end, MiB)) {
        return initrd_too_large(plan, initrd, limit, err);
    }
    return boot_plan_add_file(plan, "initrd", *at, initrd, 0, initrd->size, initrd->size, err);
}

bool boot_plan_add_gdt(BootPlan *plan, uint64_t gpa, bool long_mode, GError **err)
{
    uint8_t gdt[32] = {0};

    /* 0x10: code, 0x18: data; base 0, limit 4 GiB, DPL 0 (SDM 3A 3.4.5) */
    stle64(gdt + 16, long_mode ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull);
    stle64(gdt + 24, 0x00cf93000000ffffull);
    plan->cpu.gdt_base = gpa;
    plan->cpu.gdt_limit = sizeof gdt - 1;
    plan->cpu.cs = 0x10;
    plan->cpu.ds = 0x18;
    return boot_plan_add_bytes(plan, "descriptor table", gpa, gdt, sizeof gdt, err);
}

/* Identity-maps the first 4 GiB with pages of 2 MiB. */
bool boot_plan_add_page_tables(BootPlan *plan, GError **err)
{
    enum { PRESENT_WRITABLE = 3, LARGE = 0x80, PAGE = 4096 };
    g_autofree uint8_t *tables = g_malloc0(6 * PAGE);

    stle64(tables, (BOOT_PAGE_TABLES + PAGE) | PRESENT_WRITABLE);
    for (unsigned gib = 0; gib < 4; gib++) {
        uint8_t *directory = tables + (2 + gib) * PAGE;

        stle64(tables + PAGE + 8 * gib, (BOOT_PAGE_TABLES + (2 + gib) * PAGE) | PRESENT_WRITABLE);
        for (unsigned i = 0; i < 512; i++) {
            stle64(directory + 8 * i, gib * GiB + i * 2 * MiB + (PRESENT_WRITABLE | LARGE));
        }
    }
    plan->cpu.cr3 = BOOT_PAGE_TABLES;
    return boot_plan_add_bytes(plan, "page tables", BOOT_PAGE_TABLES, tables, 6 * PAGE, err);
}

bool boot_plan_fill(BootPlan *plan, const char *cmdline, const char *initrd, GError **err)
{
    static bool (*const protocols[])(BootPlan * plan, const char *cmdline, const char *initrd,
                                     bool *is,
                                     GError **err) = {boot_linux, boot_multiboot, boot_elf};

    for (unsigned i = 0; i < ARRAY_SIZE(protocols); i++) {
        bool is = false;

        if (!protocols[i](plan, cmdline, initrd, &is, err)) {
            return false;
        }
        if (is) {
            return true;
        }
    }
    return error_set(err,
                     "could not load kernel '%s': it is neither a Linux bzImage, nor a Multiboot "
                     "image, nor an ELF file with a PVH note",
                     plan->kernel->name);
}
