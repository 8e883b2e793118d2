/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The map: overlaps, slots, DMA, ioeventfds, dirty pages. */
#include <sys/eventfd.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/reclaim.h"
#include "fixture.h"

static RamBlock *ram;
static IoRegion low, rom, hole;

static void setup(void)
{
    fixture_setup();
    ram = ram_block_new(vm, "ram", 1 * MiB, NULL);
    ck_assert(ram != NULL);
    io_region_init_ram(&low, NULL, ram, 0, 1 * MiB, false, "low");
    io_region_map(vm, &low, IO_SPACE_MEM, 0, 0);
}

static const Slot *slot_at(uint64_t gpa)
{
    for (unsigned i = 0; i < slots->len; i++) {
        Slot *s = &g_array_index(slots, Slot, i);

        if (gpa >= s->gpa && gpa < s->gpa + s->size) {
            return s;
        }
    }
    return NULL;
}

static uint64_t more_than_the_host_has(void)
{
    struct sysinfo info;

    ck_assert_int_eq(sysinfo(&info), 0);
    return ROUND_UP(((uint64_t)info.totalram + info.totalswap) * info.mem_unit, GiB) + 8 * GiB;
}

/* The kernel's overcommit policy decides: where it allows any size, so does ram_block_new(). */
START_TEST(more_memory_than_there_is)
{
    g_autofree char *policy = NULL;
    GError *err = NULL;

    ck_assert(g_file_get_contents("/proc/sys/vm/overcommit_memory", &policy, NULL, NULL));
    RamBlock *big = ram_block_new(vm, "big", more_than_the_host_has(), &err);
    ck_assert((big != NULL) == (*policy == '1'));
    if (!big) {
        ck_error(err, "cannot set up guest memory 'big'");
    }
}
END_TEST

/* Refused before it is tried, since the kernel would kill a process. */
START_TEST(more_memory_at_once_than_there_is)
{
    RamBlockOptions opts = {.fd = -1, .prealloc = true, .dump = true};
    GError *err = NULL;

    /* More than a process can have, lest a failure of this test takes the host's memory. */
    ck_assert_ptr_null(ram_block_new_opts(vm, "big", BIT64(47), &opts, &err));
    ck_error(err, "at once (prealloc), which has");
    g_clear_error(&err);
    RamBlock *small = ram_block_new_opts(vm, "small", MiB, &opts, &err);
    ck_no_error(err);
    ck_assert_ptr_nonnull(small);
}
END_TEST

START_TEST(aligned)
{
    RamBlockOptions opts = {.fd = -1, .dump = true, .align = 64 * MiB};

    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *name = g_strdup_printf("aligned%u", i);
        RamBlock *block = ram_block_new_opts(vm, name, MiB, &opts, NULL);

        ck_assert_ptr_nonnull(block);
        ck_assert(IS_ALIGNED((uintptr_t)block->host, opts.align));
    }
}
END_TEST

START_TEST(priorities)
{
    RamBlock *bios = ram_block_new(vm, "bios", 64 * KiB, NULL);
    Probe *p = probe_new(NULL);

    io_region_init_ram(&rom, NULL, bios, 0, 64 * KiB, true, "rom");
    io_region_map(vm, &rom, IO_SPACE_MEM, 0xf0000, 1);
    io_region_map(vm, &p->region, IO_SPACE_MEM, 0xb8000, 1);
    ck_assert_uint_eq(slot_at(0xf1000)->readonly, true);
    ck_assert_ptr_eq(slot_at(0xf1000)->block, bios);
    ck_assert_ptr_eq(slot_at(0x1000)->block, ram);
    ck_assert_ptr_null(slot_at(0xb8000) && slot_at(0xb8000)->gpa == 0xb8000 ? slot_at(0xb8000)
                                                                            : NULL);
    /* Shadow RAM over the ROM and away again. */
    io_region_init_ram(&hole, NULL, ram, 0xf0000, 32 * KiB, false, "shadow");
    io_region_map(vm, &hole, IO_SPACE_MEM, 0xf0000, 2);
    ck_assert_ptr_eq(slot_at(0xf0000)->block, ram);
    ck_assert_ptr_eq(slot_at(0xf8000)->block, bios);
    ck_assert_uint_eq(slot_at(0xf8000)->offset, 0x8000);
    io_region_unmap(vm, &hole);
    ck_assert_ptr_eq(slot_at(0xf0000)->block, bios);
    io_region_unmap(vm, &rom);
    ck_assert_ptr_eq(slot_at(0xf0000)->block, ram);
}
END_TEST

/* A retired block can still be read, by requests in flight. */
START_TEST(retired)
{
    RamBlock *old = ram_block_new(vm, "old", 64 * KiB, NULL), *new;
    uint64_t len = 4096;
    uint8_t *host;

    old->host[0] = 0x55;
    io_region_init_ram(&rom, NULL, old, 0, 64 * KiB, true, "rom");
    io_region_map(vm, &rom, IO_SPACE_MEM, 0x800000, 0);
    host = dma_map(vm, 0x800000, &len, false);
    ck_assert_uint_eq(*host, 0x55);
    io_region_unmap(vm, &rom);
    ram_block_retire(vm, old);
    ck_assert_uint_eq(*host, 0);
    ck_assert(!ram_block_find(vm, "old"));
    /* Another size does not fit; the same has its place. */
    new = ram_block_new(vm, "old", 32 * KiB, NULL);
    ck_assert_ptr_ne(new->host, host);
    new = ram_block_new(vm, "new", 64 * KiB, NULL);
    ck_assert_ptr_eq(new->host, host);
    ck_assert_ptr_eq(ram_block_find(vm, "new"), new);
    ck_assert(new->migratable);
}
END_TEST

START_TEST(nothing_changes_nothing)
{
    unsigned before = slot_changes;

    memory_transaction_begin(vm);
    io_region_unmap(vm, &low);
    io_region_map(vm, &low, IO_SPACE_MEM, 0, 0);
    memory_transaction_commit(vm);
    ck_assert_uint_eq(slot_changes, before);
}
END_TEST

START_TEST(accesses)
{
    uint32_t v = 0x11223344;
    uint8_t bytes[16];
    Probe *p = probe_new(NULL);

    cpu_access(vm, IO_SPACE_MEM, 0x1ffe, &v, 4, true);
    v = 0;
    cpu_access(vm, IO_SPACE_MEM, 0x1ffe, &v, 4, false);
    ck_assert_uint_eq(v, 0x11223344);
    /* Unmapped addresses read all ones. */
    cpu_access(vm, IO_SPACE_MEM, 0x40000000, &v, 4, false);
    ck_assert_uint_eq(v, 0xffffffff);
    cpu_access(vm, IO_SPACE_PIO, 0x1234, &v, 2, false);
    ck_assert_uint_eq(v & 0xffff, 0xffff);
    /* An access from the last bytes of RAM into unmapped addresses. */
    memset(bytes, 0, sizeof bytes);
    cpu_access(vm, IO_SPACE_MEM, 0xffffc, bytes, 8, false);
    ck_assert_uint_eq(bytes[3], 0);
    ck_assert_uint_eq(bytes[4], 0xff);
    /* Registers: 8 bytes are two handler calls of 4. */
    io_region_map(vm, &p->region, IO_SPACE_MEM, 0xfe000000, 0);
    cpu_access(vm, IO_SPACE_MEM, 0xfe000000, (uint64_t[]){0x0807060504030201}, 8, true);
    ck_assert_uint_eq(p->s.writes, 2);
    ck_assert_uint_eq(p->s.regs[7], 8);
    /* The last byte of the address space. */
    io_region_map(vm, &p->region, IO_SPACE_MEM, UINT64_MAX - 15, 0);
    cpu_access(vm, IO_SPACE_MEM, UINT64_MAX, bytes, 1, false);
    ck_assert_uint_eq(p->last_size, 1);
}
END_TEST

START_TEST(dma_is_for_ram)
{
    Probe *p = probe_new(NULL);
    uint8_t buf[64];
    uint64_t len = 4096;
    struct iovec iov[4];
    unsigned n = 0;

    io_region_map(vm, &p->region, IO_SPACE_MEM, 0xfe000000, 0);
    ck_assert(!dma_read(vm, 0xfe000000, buf, 4));
    ck_assert(!dma_write(vm, 0xfe000000, buf, 4));
    ck_assert(!dma_read(vm, UINT64_MAX - 2, buf, 8));
    ck_assert(!dma_write(vm, 1 * MiB - 4, buf, 8));
    ck_assert(dma_write(vm, 1 * MiB - 8, buf, 8));
    ck_assert_ptr_eq(dma_map(vm, 1 * MiB - 16, &len, true), ram->host + 1 * MiB - 16);
    ck_assert_uint_eq(len, 16);
    ck_assert(!dma_map_iov(vm, 1 * MiB - 16, 32, true, iov, &n, 4));
    io_region_set_readonly(vm, &low, true);
    ck_assert(!dma_write(vm, 0x1000, buf, 4));
    ck_assert(dma_read(vm, 0x1000, buf, 4));
}
END_TEST

START_TEST(caches_notice)
{
    DmaCache c;

    ck_assert(dma_cache_init(&c, vm, 0x2000, 0x1000));
    ck_assert(dma_cache_valid(&c));
    ck_assert(!dma_cache_init(&c, vm, 0xff800, 0x1000));
    ck_assert(dma_cache_init(&c, vm, 0x2000, 0x1000));
    io_region_map(vm, &low, IO_SPACE_MEM, 0x100000, 0);
    ck_assert(!dma_cache_valid(&c));
}
END_TEST

START_TEST(eventfd_in_user_space)
{
    Probe *p = probe_new(NULL);
    int fd = eventfd(0, EFD_NONBLOCK);
    uint64_t count = 0;
    IoEventFd *e = io_eventfd_add(vm, &p->region, 4, 2, true, 0x77, fd);

    io_region_map(vm, &p->region, IO_SPACE_PIO, 0xc000, 0);
    cpu_access(vm, IO_SPACE_PIO, 0xc004, (uint16_t[]){0x77}, 2, true);
    cpu_access(vm, IO_SPACE_PIO, 0xc004, (uint16_t[]){0x78}, 2, true);
    cpu_access(vm, IO_SPACE_PIO, 0xc006, (uint16_t[]){0x77}, 2, true);
    ck_assert_int_eq(read(fd, &count, 8), 8);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(p->s.writes, 2);
    io_eventfd_remove(vm, e);
    cpu_access(vm, IO_SPACE_PIO, 0xc004, (uint16_t[]){0x77}, 2, true);
    ck_assert_uint_eq(p->s.writes, 3);
    close(fd);
}
END_TEST

static bool all_slots_log(bool log)
{
    for (unsigned i = 0; i < slots->len; i++) {
        if (g_array_index(slots, Slot, i).log != log) {
            return false;
        }
    }
    return slots->len > 0;
}

static uint64_t fetch_word(DirtyReader *r)
{
    uint64_t bits[4] = {0};

    memory_dirty_reader_fetch(r, bits);
    return bits[0];
}

/* What one reader takes, the other still gets: writes by CPU and DMA, and the accelerator's log. */
START_TEST(dirty_pages)
{
    DirtyReader *all, *part;

    ck_assert(all_slots_log(false));
    dma_set(vm, 0x5000, 1, 4);
    all = memory_dirty_reader_new(vm, ram, 0, ram->size);
    ck_assert(all_slots_log(true));
    ck_assert_uint_eq(fetch_word(all), 0);
    part = memory_dirty_reader_new(vm, ram, 0x4000, 0x8000);
    dma_set(vm, 0x3ffe, 1, 4);
    cpu_access(vm, IO_SPACE_MEM, 0x9000, (uint8_t[]){1}, 1, true);
    dma_set(vm, 0xc000, 1, 4);
    ck_assert_uint_eq(fetch_word(all), BIT64(3) | BIT64(4) | BIT64(9) | BIT64(12));
    ck_assert_uint_eq(fetch_word(all), 0);
    ck_assert_uint_eq(fetch_word(part), BIT64(0) | BIT64(5));
    logged_page = 6;
    ck_assert_uint_eq(fetch_word(part), BIT64(2));
    ck_assert_uint_eq(fetch_word(all), BIT64(6));
    /* A slot that comes is logged like the others of its block. */
    io_region_map(vm, &low, IO_SPACE_MEM, 0x100000, 0);
    ck_assert(all_slots_log(true));
    memory_dirty_reader_free(all);
    ck_assert(all_slots_log(true));
    memory_mark_dirty(vm, ram, 0xb000, 0x100000 - 0xb000);
    ck_assert_uint_eq(fetch_word(part), BIT64(7));
    memory_dirty_reader_free(part);
    ck_assert(all_slots_log(false));
}
END_TEST

/* Readers come and go while others write. */
typedef struct {
    bool stop;
    unsigned rounds;
} Writer;

static gpointer write_pages(gpointer data)
{
    Writer *w = data;

    reclaim_thread_register();
    while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
        dma_set(vm, 0x7000, 1, 1);
        __atomic_fetch_add(&w->rounds, 1, __ATOMIC_RELEASE);
        reclaim_offline();
        reclaim_online();
    }
    reclaim_thread_unregister();
    return NULL;
}

START_TEST(dirty_readers_race)
{
    Writer w = {0};
    GThread *t = g_thread_new("writer", write_pages, &w);

    for (unsigned i = 0; i < 200; i++) {
        DirtyReader *a = memory_dirty_reader_new(vm, ram, 0, 0x10000);
        DirtyReader *b = memory_dirty_reader_new(vm, ram, 0, 0x10000);
        unsigned from = __atomic_load_n(&w.rounds, __ATOMIC_ACQUIRE);

        while (__atomic_load_n(&w.rounds, __ATOMIC_ACQUIRE) < from + 2) {
            g_thread_yield();
        }
        ck_assert_uint_eq(fetch_word(a), BIT64(7));
        memory_dirty_reader_free(a);
        ck_assert_uint_eq(fetch_word(b), BIT64(7));
        memory_dirty_reader_free(b);
        reclaim_poll();
    }
    __atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
    g_thread_join(t);
}
END_TEST

START_TEST(wired_or)
{
    Device dev = {.vm = vm};
    IrqLine a = {0}, b = {0};

    irq_connect(&dev, &a, irq_gsi(vm, 11));
    irq_connect(&dev, &b, irq_gsi(vm, 11));
    irq_raise(vm, &a);
    irq_raise(vm, &b);
    irq_lower(vm, &a);
    ck_assert(gsi_level[11]);
    irq_connect(&dev, &b, irq_gsi(vm, 10));
    ck_assert(!gsi_level[11]);
    ck_assert(gsi_level[10]);
    irq_lower(vm, &b);
    irq_lower(vm, &b);
    ck_assert(!gsi_level[10]);
    g_ptr_array_unref(dev.irq_outputs);
}
END_TEST

/* A board that goes takes no slot back, each of which would take a grace period. */
START_TEST(slots_at_the_end)
{
    unsigned before = slot_changes;

    vcpus_destroy(vm);
    io_region_unmap(vm, &low);
    ck_assert_uint_eq(slot_changes, before);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("memory");

    tcase_add_checked_fixture(tc, setup, fixture_teardown);
    tcase_add_test(tc, more_memory_than_there_is);
    tcase_add_test(tc, more_memory_at_once_than_there_is);
    tcase_add_test(tc, aligned);
    tcase_add_test(tc, priorities);
    tcase_add_test(tc, nothing_changes_nothing);
    tcase_add_test(tc, accesses);
    tcase_add_test(tc, dma_is_for_ram);
    tcase_add_test(tc, caches_notice);
    tcase_add_test(tc, eventfd_in_user_space);
    tcase_add_test(tc, dirty_pages);
    tcase_add_test(tc, dirty_readers_race);
    tcase_add_test(tc, retired);
    tcase_add_test(tc, wired_or);
    tcase_add_test(tc, slots_at_the_end);
    return unit_run_case("vm_memory", tc);
}
