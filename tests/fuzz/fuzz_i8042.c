/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard controller between a guest that reads and writes its ports as it likes and a host
 * that presses keys and moves the mouse, while time passes, from any state that a load lets pass.
 */
#include <linux/input-event-codes.h>
#include <stdint.h>

#include "board.h"
#include "ui/input.h"

extern const DeviceClass i8042_class;

enum { OPS_MAX = 400 };

static Device *dev;

static void init(void)
{
    static const DeviceClass *const classes[] = {&i8042_class, NULL};

    board_init(classes);
    board.vm->state = RUN_STATE_RUNNING;
    dev = board_add("i8042", &board.isa.bus);
}

/* Puts any values into the device's state, section by section, if they pass the check of a load. */
static void scramble(uint32_t seed)
{
    unsigned n = 0;

    for (const StateSection *s = dev->class->state; s->desc; s++, n++) {
        g_autofree void *copy = g_malloc0(s->desc()->size);

        state_scramble(s->desc(), copy, &seed);
        if (dev->class->check_state(dev, n, copy, NULL)) {
            memcpy((char *)dev + s->offset, copy, s->desc()->size);
        }
    }
    dev->class->post_load(dev);
}

static void begin(Input *in)
{
    uint32_t seed = input_take(in, 4);

    device_lock(dev);
    device_reset(dev, RESET_COLD);
    if (seed) {
        scramble(seed);
    }
    device_unlock(dev);
}

static void host_input(Input *in)
{
    uint8_t what = input_take(in, 1);

    switch (what & 7) {
    case 0:
    case 1:
    case 2:
        input_send(board.vm, INPUT_KEY, input_take(in, 1), what >> 7);
        break;
    case 3:
        input_send(board.vm, INPUT_BUTTON, BTN_MOUSE + (what >> 3) % 8, what >> 7);
        break;
    case 4:
        input_send(board.vm, INPUT_REL, (what >> 3) % (REL_MAX + 1), (int32_t)input_take(in, 4));
        break;
    case 5:
        /* Everything that was sent comes at once. */
        for (unsigned i = 0; i < 300; i++) {
            input_send(board.vm, INPUT_KEY, KEY_PAUSE, 1);
        }
        break;
    case 6:
        input_sync(board.vm);
        break;
    default:
        input_sync(board.vm);
        board_turn();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};

    if (!dev) {
        init();
    }
    begin(&in);
    for (unsigned n = 0; in.left && n < OPS_MAX; n++) {
        uint8_t op = input_take(&in, 1);
        uint16_t port = op & 0x80 ? 0x64 : 0x60;
        uint64_t value = 0;

        switch (op & 3) {
        case 0:
            cpu_access(board.vm, IO_SPACE_PIO, port, &value, 1, false);
            break;
        case 1:
            value = input_take(&in, 1);
            cpu_access(board.vm, IO_SPACE_PIO, port, &value, 1, true);
            break;
        case 2:
            host_input(&in);
            break;
        default:
            /* 2^n nanoseconds pass, which are 18 minutes at most. */
            value = input_take(&in, 1);
            virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + (1ll << (value % 41)));
            break;
        }
    }
    board_turn();
    return 0;
}
