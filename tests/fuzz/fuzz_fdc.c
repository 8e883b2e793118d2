/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller with two drives, and the DMA controllers, under a guest that writes
 * registers and commands as it likes, and resets what is under way, from any state that could have
 * been loaded.
 */
#include <stdint.h>
#include "block/backend.h"
#include "board.h"
#include "devices/pci.h"

extern const DeviceClass i440fx_pcihost_class, piix3_class, i8257_class, isa_fdc_class,
    floppy_class;

enum { OPS_MAX = 300, DMA_PORT = 0x00, PAGE_PORT = 0x81, FDC_PORT = 0x3f0, FIFO_PORT = 0x3f5 };

static Device *fdc;

static void add_drive(const char *unit, const char *size, const char *type)
{
    GError *err = NULL;
    g_autofree char *id = g_strdup_printf("f%s", unit);
    json_t *drive = json_pack("{s:s, s:s, s:s, s:s}", "id", id, "if", "none", "driver", "null-co",
                              "size", size);

    g_assert(block_backend_new_drive(drive, &err));
    json_decref(drive);
    g_assert(device_new(board.vm, "floppy", bus_find(board.vm, NULL, "floppy-bus", NULL), NULL,
                        &err, "drive", id, "unit", unit, "drive-type", type, NULL));
}

static void init(void)
{
    static const DeviceClass *const classes[] = {&i440fx_pcihost_class, &piix3_class,  &i8257_class,
                                                 &isa_fdc_class,        &floppy_class, NULL};
    GError *err = NULL;
    Device *piix3;
    Bus *isa;

    board_init(classes);
    piix3 = device_new(board.vm, "PIIX3", board_add("i440FX-pcihost", NULL)->buses->pdata[0], NULL,
                       &err, "addr", "1.0", NULL);
    g_assert(piix3);
    isa = piix3->buses->pdata[0];
    board_add("i8257", isa);
    fdc = board_add("isa-fdc", isa);
    add_drive("0", "1474560", "auto");
    add_drive("1", "100000", "144");
    device_lock(fdc);
    isa_fdc_class.run_state(fdc, true);
    device_unlock(fdc);
}

static void out(uint16_t port, uint64_t value)
{
    cpu_access(board.vm, IO_SPACE_PIO, port, &value, 1, true);
}

static uint8_t in_byte(uint16_t port)
{
    uint64_t value = 0;

    cpu_access(board.vm, IO_SPACE_PIO, port, &value, 1, false);
    return value;
}

/* What passes the check of a load becomes the state. */
static void load(uint32_t seed)
{
    const StateSection *s = isa_fdc_class.state;
    const StateDesc *desc = s->desc();
    g_autofree void *state = g_malloc0(desc->size);

    memcpy(state, (char *)fdc + s->offset, desc->size);
    state_scramble(desc, state, &seed);
    if (isa_fdc_class.check_state(fdc, 0, state, NULL)) {
        memcpy((char *)fdc + s->offset, state, desc->size);
        isa_fdc_class.post_load(fdc);
        isa_fdc_class.run_state(fdc, true);
    }
}

static void start(uint32_t seed)
{
    device_lock(fdc);
    device_reset(fdc, RESET_COLD);
    if (seed) {
        load(seed);
    }
    device_unlock(fdc);
    out(FDC_PORT + 7, 0);
}

/* A channel in one go, since few of single writes make one that is ready. */
static void program(Input *in)
{
    out(DMA_PORT + 0x0b, (input_take(in, 1) & 0xfc) | 2);
    out(DMA_PORT + 0x0c, 0);
    for (unsigned i = 0; i < 2; i++) {
        out(DMA_PORT + 4, input_take(in, 1));
    }
    for (unsigned i = 0; i < 2; i++) {
        out(DMA_PORT + 5, input_take(in, 1));
    }
    out(DMA_PORT + 0x0a, 2);
}

static void fifo(unsigned n, bool write, uint8_t value)
{
    for (unsigned i = 0; i < n; i++) {
        if (write) {
            out(FIFO_PORT, value);
        } else {
            in_byte(FIFO_PORT);
        }
    }
}

static void coroutine_fn operate(Input *in)
{
    uint8_t op = input_take(in, 1);

    switch (op & 7) {
    case 0:
        in_byte(FDC_PORT + (op >> 3 & 7));
        break;
    case 1:
        out(FDC_PORT + (op >> 3 & 7), input_take(in, 1));
        break;
    case 2: /* a command */
        for (unsigned n = (op >> 3 & 15) + 1; n; n--) {
            out(FIFO_PORT, input_take(in, 1));
        }
        break;
    case 3:
        fifo((op >> 4) * 37 + 1, op & 8, input_take(in, 1));
        break;
    case 4:
        out(DMA_PORT + (op >> 3 & 15), input_take(in, 1));
        break;
    case 5:
        in_byte(op & 0x80 ? PAGE_PORT + (op >> 3 & 7) : DMA_PORT + (op >> 3 & 15));
        break;
    case 6:
        if (op & 8) {
            out(PAGE_PORT + (op >> 4 & 7), input_take(in, 1));
        } else {
            program(in);
        }
        break;
    default:
        coroutine_sleep(CLOCK_REALTIME_NS, 1);
        break;
    }
}

static void coroutine_fn guest(Input *in)
{
    start(input_take(in, 1) & 1 ? input_take(in, 4) : 0);
    for (unsigned n = 0; in->left && n < OPS_MAX; n++) {
        operate(in);
    }
    out(FDC_PORT + 2, 0x0c);
    out(FDC_PORT + 2, 0); /* waits for requests */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!fdc) {
        init();
    }
    return board_fuzz(data, size, guest);
}
