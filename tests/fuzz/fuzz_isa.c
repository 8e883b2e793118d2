/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices behind the ISA bus, and the HPET, under a guest that reads and writes their ports as
 * it likes, while time passes, from any state that could have been loaded.
 */
#include <stdint.h>
#include "board.h"
#include "chardev/chardev.h"
#include "devices/hpet.h"

extern const DeviceClass isa_serial_class, i8042_class, mc146818rtc_class, port80_class,
    port92_class, pvpanic_class, ib700_class, hpet_class;

enum { OPS_MAX = 400, DEVICES_MAX = 9, IN_MEMORY = 0 };

static Device *devices[DEVICES_MAX];
static unsigned device_count;

static const uint16_t ports[] = {
    0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, /* serial */
    0x60,  0x64,  0x70,  0x71,  0x80,  0x92,  0x505, IN_MEMORY, 0x441, 0x443,
};

static void init(void)
{
    static const DeviceClass *const classes[] = {
        &isa_serial_class, &i8042_class, &mc146818rtc_class, &port80_class, &port92_class,
        &pvpanic_class,    &ib700_class, &hpet_class,        NULL,
    };
    board_init(classes);
    for (const DeviceClass *const *c = classes; *c; c++) {
        devices[device_count++] = board_add((*c)->name, *c == &hpet_class ? NULL : &board.isa.bus);
    }
}

/* Whether a load would take the state. */
static bool state_is_good(Device *dev)
{
    const StateSection *s = dev->class->state;

    for (unsigned i = 0; dev->class->check_state && s[i].desc; i++) {
        g_autoptr(GError) err = NULL;

        if (!dev->class->check_state(dev, i, (char *)dev + s[i].offset, &err)) {
            return false;
        }
    }
    return true;
}

/* Whether a timer may run from the beginning, as the state is one that could have been loaded. */
static bool reset_all(Input *in)
{
    uint32_t seed = input_take(in, 4);
    bool loaded = seed;
    for (unsigned i = 0; i < device_count; i++) {
        Device *dev = devices[i];
        device_lock(dev);
        device_reset(dev, RESET_COLD);
        for (const StateSection *s = dev->class->state; seed && s->desc; s++) {
            state_scramble(s->desc(), (char *)dev + s->offset, &seed);
        }
        if (seed && !state_is_good(dev)) {
            device_reset(dev, RESET_COLD);
        } else if (seed && dev->class->post_load) {
            dev->class->post_load(dev);
        }
        device_unlock(dev);
    }
    return loaded;
}

static void access_memory(Input *in, bool write, unsigned width)
{
    uint64_t addr = HPET_BASE + 4 * input_take(in, 1), value = write ? input_take(in, width) : 0;

    cpu_access(board.vm, IO_SPACE_MEM, addr, &value, width, write);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};
    if (!device_count) {
        init();
    }
    bool ticking = reset_all(&in);
    for (unsigned n = 0; in.left && n < OPS_MAX; n++) {
        uint8_t op = input_take(&in, 1);
        uint16_t port = ports[(op >> 3) % ARRAY_SIZE(ports)];
        unsigned width = 1u << (op % 8 == 7 ? 1 : 0);
        uint64_t value = 0;
        if (port == IN_MEMORY && (op & 7) != 3) {
            access_memory(&in, op & 4, op & 1 ? 8 : 4);
            ticking = true;
            continue;
        }
        switch (op & 7) {
        case 0:
        case 1:
        case 2:
            cpu_access(board.vm, IO_SPACE_PIO, port, &value, width, false);
            break;
        case 3:
            /* 2^n nanoseconds pass: at most 18 minutes, or 0.1 s of an HPET's 20000 ticks each. */
            value = input_take(&in, 1);
            virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + (1ll << (value % (ticking ? 28 : 41))));
            break;
        default:
            value = input_take(&in, width);
            cpu_access(board.vm, IO_SPACE_PIO, port, &value, width, true);
            break;
        }
    }
    board_turn();
    return 0;
}
