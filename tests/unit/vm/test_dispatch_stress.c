/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUs' accesses and DMA from several threads, while regions are mapped, moved and unmapped, work
 * is deferred, and devices are reset, added and removed. ThreadSanitizer and AddressSanitizer find
 * the faults; other builds only find crashes and two threads in one handler.
 */
#include <pthread.h>

#include "fixture.h"

#include "base/reclaim.h"

#define THREADS 4
#define ROUNDS  4000
#define MOVES   300

static int running = THREADS;
static int stop;
static bool all_done;
static unsigned moves;

static uint32_t next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* A CPU: ports and memory, with registers among them that defer. */
static void *cpu_thread(void *data)
{
    uint32_t seed = 1 + GPOINTER_TO_UINT(data);
    uint8_t buf[8];

    reclaim_thread_register();
    for (int i = 0; i < ROUNDS || __atomic_load_n(&moves, __ATOMIC_RELAXED) < MOVES; i++) {
        uint32_t r = next(&seed);
        uint64_t reg = r >> 8 & 15;

        /* Register 15 waits for the main loop: now and then is enough. */
        if (reg == 15 && (r >> 16) % 64) {
            reg = 14;
        }
        cpu_access(vm, r & 1 ? IO_SPACE_MEM : IO_SPACE_PIO,
                   (r & 2 ? 0x4000 : 0x8000) + (r & 4 ? 0x100 : 0) + reg, buf, 1u << (r >> 3 & 1),
                   r & 16);
        cpu_access(vm, IO_SPACE_MEM, 0x100000 + (r & 0xfff8), buf, 8, r & 32);
        reclaim_offline();
        reclaim_online();
    }
    reclaim_thread_unregister();
    if (__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST) == 0) {
        __atomic_store_n(&all_done, true, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* An I/O thread: DMA and cached windows. */
static void *dma_thread(void *data)
{
    uint32_t seed = 99;
    uint8_t buf[64];

    reclaim_thread_register();
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        DmaCache c;
        uint64_t gpa = 0x120000 + (next(&seed) & 0xffc0);

        dma_read(vm, gpa, buf, sizeof buf);
        if (dma_cache_init(&c, vm, gpa, 64)) {
            dma_cache_valid(&c);
        }
        reclaim_offline();
        reclaim_online();
    }
    reclaim_thread_unregister();
    return NULL;
}

static Probe *movers[2], *comer;
static uint32_t main_seed = 7;

/* Changes to map and devices, once per turn of the main loop. */
static void move_things(void)
{
    uint32_t r = next(&main_seed);
    Probe *p = movers[r & 1];

    switch (r >> 4 & 7) {
    case 0:
        io_region_unmap(vm, &p->region);
        break;
    case 1:
    case 2:
        io_region_map(vm, &p->region, r & 2 ? IO_SPACE_MEM : IO_SPACE_PIO,
                      (r & 4 ? 0x4000 : 0x8000), r >> 8 & 3);
        break;
    case 3:
        device_reset(&p->dev, RESET_WARM);
        break;
    case 4:
        device_timer_arm(p->timer, clock_ns(CLOCK_REALTIME_NS));
        break;
    case 5:
        if (comer) {
            device_destroy(&g_steal_pointer(&comer)->dev);
        } else {
            comer = probe_new(NULL);
            io_region_map(vm, &comer->region, IO_SPACE_MEM, 0x4100, 5);
        }
        break;
    case 6:
        irq_set(vm, &p->irq, r >> 9 & 1);
        break;
    }
    __atomic_add_fetch(&moves, 1, __ATOMIC_RELAXED);
}

static void coroutine_fn pause_and_resume(void *data)
{
    while (!__atomic_load_n(&all_done, __ATOMIC_ACQUIRE)) {
        vm_resume(vm, NULL);
        coroutine_sleep(CLOCK_REALTIME_NS, 3 * NS_PER_MS);
        vm_pause(vm, RUN_STATE_PAUSED);
        coroutine_sleep(CLOCK_REALTIME_NS, 1 * NS_PER_MS);
    }
    *(bool *)data = true;
}

START_TEST(stress)
{
    pthread_t threads[THREADS], dma;
    RamBlock *ram = ram_block_new(vm, "ram", 4 * MiB, NULL);
    IoRegion low;
    bool paused = false;

    io_region_init_ram(&low, NULL, ram, 0, 4 * MiB, false, "low");
    io_region_map(vm, &low, IO_SPACE_MEM, 0, -1);
    movers[0] = probe_new(NULL);
    movers[1] = probe_new(NULL);
    io_region_map(vm, &movers[0]->region, IO_SPACE_PIO, 0x4000, 1);
    io_region_map(vm, &movers[1]->region, IO_SPACE_MEM, 0x8000, 1);
    pthread_create(&dma, NULL, dma_thread, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, cpu_thread, GUINT_TO_POINTER(i));
    }
    coroutine_start(pause_and_resume, &paused);
    while (!__atomic_load_n(&all_done, __ATOMIC_ACQUIRE)) {
        move_things();
        event_loop_iterate(loop, 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(dma, NULL);
    run_until_flag(&paused);
    ck_assert_uint_ge(moves, MOVES);
    io_region_unmap(vm, &low);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("dispatch");

    tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
    tcase_set_timeout(tc, 200);
    tcase_add_test(tc, stress);
    return unit_run_case("vm_dispatch_stress", tc);
}
