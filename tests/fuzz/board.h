/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A board for fuzz targets that poke devices in this process: RAM from address 0, an ISA bus
 * without a bridge, the qtest accelerator. It lives as long as the process; each input begins with
 * a cold reset.
 */
#ifndef TESTS_FUZZ_BOARD_H
#define TESTS_FUZZ_BOARD_H

#include "base/coroutine.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "devices/isa.h"
#include "vm/vcpu.h"

#define BOARD_RAM (256 * KiB)

static struct {
    EventLoop *loop;
    Vm *vm;
    RamBlock *ram;
    IoRegion ram_region;
    IsaBus isa;
} board;

static inline void board_init(const DeviceClass *const *classes)
{
    GError *err = NULL;
    json_t *accel = json_pack("[{s:s}]", "accel", "qtest");
    board.loop = event_loop_new("main", &err);
    g_assert(board.loop);
    event_loop_bind(board.loop);
    reclaim_thread_register();
    reclaim_set_loop(board.loop);
    device_set_classes(classes);
    board.vm = vm_new(board.loop);
    bool ok = accel_configure(board.vm, accel, &err);
    g_assert(ok);
    json_decref(accel);
    board.ram = ram_block_new(board.vm, "ram", BOARD_RAM, &err);
    g_assert(board.ram);
    io_region_init_ram(&board.ram_region, NULL, board.ram, 0, BOARD_RAM, false, "ram");
    io_region_map(board.vm, &board.ram_region, IO_SPACE_MEM, 0, 0);
    isa_bus_init(&board.isa, board.vm, NULL);
}

static inline Device *board_add(const char *class, Bus *bus)
{
    GError *err = NULL;
    Device *dev = device_new(board.vm, class, bus, NULL, &err, NULL);
    if (!dev) {
        g_error("%s: %s", class, err->message);
    }
    device_lock(dev);
    device_reset(dev, RESET_COLD);
    device_unlock(dev);
    return dev;
}

/* The fuzzer's input, read as a row of little-endian numbers; past its end they are 0. */
typedef struct {
    const uint8_t *data;
    size_t left;
} Input;

static inline uint64_t input_take(Input *in, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && in->left; i++, in->left--) {
        v |= (uint64_t)*in->data++ << (8 * i);
    }
    return v;
}

/* Runs the main loop until nothing is ready. */
static inline void board_turn(void)
{
    while (event_loop_iterate(board.loop, 0)) {
    }
}

/* A guest that may wait, and so is a coroutine. */
typedef struct {
    Input in;
    void (*run)(Input *in);
    bool over;
} BoardGuest;

static inline void coroutine_fn board_guest(void *data)
{
    BoardGuest *g = data;

    g->run(&g->in);
    g->over = true;
}

/* Runs a guest on one input: until it has returned, and then until nothing is ready. */
static inline int board_fuzz(const uint8_t *data, size_t size, void (*run)(Input *in))
{
    BoardGuest g = {.in = {.data = data, .left = size}, .run = run};

    coroutine_start(board_guest, &g);
    while (!g.over) {
        event_loop_iterate(board.loop, -1);
    }
    board_turn();
    return 0;
}

#endif
