/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An 8237 DMA controller with its page registers; the board has two of them. The first one moves
 * bytes on channels 0 to 3, the second one words on channels 5 to 7. (Intel 8237A data sheet,
 * 231466; 82371SB data sheet, 290550. The name is QEMU's.)
 *
 * Nothing moves by itself: a device asks for a transfer when it has data (devices/isa_dma.h). That
 * channel 4 has to cascade the first controller is not looked at, as firmware sees to it.
 */
#include "devices/isa_dma.h"

#include "base/error.h"

#define I8257_CHANNEL_STATE(X)                                                                     \
    X(F, uint16_t, base_addr)                                                                      \
    X(F, uint16_t, base_count)                                                                     \
    X(F, uint16_t, addr)                                                                           \
    X(F, uint16_t, count) /* units to move, less one */                                            \
    X(F, uint8_t, mode)
STATE_STRUCT(I8257Channel, I8257_CHANNEL_STATE);
STATE_DESC(i8257_channel, I8257Channel, I8257_CHANNEL_STATE, 1);

/* The bit sets have channel n of the controller in bit n. */
#define I8257_STATE(X)                                                                             \
    X(SA, I8257Channel, ch, i8257_channel, 4)                                                      \
    X(A, uint8_t, pages, 8) /* by port; those that no channel has are memory for anything */       \
    X(F, uint8_t, command)                                                                         \
    X(F, uint8_t, reached)       /* terminal counts since the last read of the status */           \
    X(F, uint8_t, requests)      /* of devices */                                                  \
    X(F, uint8_t, soft_requests) /* of the guest */                                                \
    X(F, uint8_t, mask)                                                                            \
    X(F, bool, high_byte) /* the next access to an address or count is to its high byte */
STATE_STRUCT(I8257State, I8257_STATE);
STATE_DESC(i8257, I8257State, I8257_STATE, 1);

typedef struct {
    Device dev;
    I8257State s;
    int32_t base, page_base, dshift;
    IoRegion channel_io, control_io, page_io;
    struct {
        Device *dev; /* NULL: there is none on the channel */
        DeviceFn ready;
    } user[4];
} I8257;

enum {
    MODE_TYPE = 0x0c,
    MODE_TO_MEMORY = 0x04,
    MODE_FROM_MEMORY = 0x08,
    MODE_AUTO_INIT = 0x10,
    MODE_DECREMENT = 0x20,
    MODE_SERVICE = 0xc0,
    MODE_BLOCK = 0x80,
    MODE_CASCADE = 0xc0,
    COMMAND_DISABLE = 0x04,
    SELECT_SET = 0x04, /* in writes of single requests and masks; bits 1:0 are the channel */
    ALL_CHANNELS = 0x0f,
};

/* Registers of the control half. */
enum {
    REG_STATUS, /* written: command */
    REG_REQUEST,
    REG_SINGLE_MASK,
    REG_MODE,
    REG_CLEAR_BYTE,
    REG_MASTER_CLEAR,
    REG_CLEAR_MASK,
    REG_ALL_MASK,
};

static I8257 *i8257(Device *dev)
{
    return container_of(dev, I8257, dev);
}

/* The unit that is moved at a time, in bytes. */
static uint32_t i8257_unit(const I8257 *c)
{
    return 1u << c->dshift;
}

/* A word's address has no bit 0, and bit 16 is the counter's. */
static uint64_t i8257_address(const I8257 *c, unsigned n)
{
    static const uint8_t page_of[4] = {7, 3, 1, 2};
    uint32_t page = c->s.pages[page_of[n]] & ~(i8257_unit(c) - 1);

    return page << 16 | (uint32_t)c->s.ch[n].addr << c->dshift;
}

static bool i8257_ready(const I8257 *c, unsigned n)
{
    return !(c->s.mask & BIT(n)) && !(c->s.command & COMMAND_DISABLE) &&
           (c->s.ch[n].mode & MODE_SERVICE) != MODE_CASCADE;
}

/* Tells devices that wait for their channel, after a change of what made them wait. */
static void i8257_tell(I8257 *c)
{
    for (unsigned n = 0; n < ARRAY_SIZE(c->user); n++) {
        if (c->user[n].dev && (c->s.requests & BIT(n)) && i8257_ready(c, n)) {
            c->user[n].ready(c->user[n].dev);
        }
    }
}

/* Transfers. */

/* Between consecutive guest memory and the data. 'to': to memory, the data is only read. */
static void i8257_copy(I8257 *c, uint64_t addr, uint8_t *data, uint32_t len, bool to)
{
    if (to) {
        dma_write(c->dev.vm, addr, data, len);
    } else {
        memset(data, 0xff, len);
        dma_read(c->dev.vm, addr, data, len);
    }
}

/* The same where the addresses go down with each unit. */
static void i8257_copy_down(I8257 *c, unsigned n, uint8_t *data, uint32_t units, bool to)
{
    uint64_t addr = i8257_address(c, n);

    for (uint32_t i = 0; i < units; i++) {
        i8257_copy(c, addr - (uint64_t)i * i8257_unit(c), data + i * i8257_unit(c), i8257_unit(c),
                   to);
    }
}

/* Address and count go on by 'units'; the terminal count, if that is reached. */
static bool i8257_advance(I8257 *c, unsigned n, uint32_t units)
{
    I8257Channel *ch = &c->s.ch[n];
    bool terminal = units == ch->count + 1u;

    ch->addr += ch->mode & MODE_DECREMENT ? -units : units;
    ch->count -= units;
    if (!terminal) {
        return false;
    }
    c->s.reached |= BIT(n);
    c->s.soft_requests &= ~BIT(n);
    if (ch->mode & MODE_AUTO_INIT) {
        ch->addr = ch->base_addr;
        ch->count = ch->base_count;
    } else {
        c->s.mask |= BIT(n);
    }
    return true;
}

/* The page does not change where the address wraps. */
static IsaDmaResult i8257_move(I8257 *c, unsigned n, uint8_t *data, uint32_t len, bool to)
{
    const I8257Channel *ch = &c->s.ch[n];
    uint8_t type = ch->mode & MODE_TYPE;
    bool moves = type == (to ? MODE_TO_MEMORY : MODE_FROM_MEMORY);
    IsaDmaResult r = {.wrong_way = type == (to ? MODE_FROM_MEMORY : MODE_TO_MEMORY)};

    if (!moves && !to) {
        memset(data, 0xff, len);
    }
    while (!r.wrong_way && !r.terminal && len - r.moved >= i8257_unit(c)) {
        bool down = ch->mode & MODE_DECREMENT;
        uint32_t units = MIN((len - r.moved) / i8257_unit(c), ch->count + 1u);

        units = MIN(units, down ? ch->addr + 1u : 0x10000u - ch->addr);
        if (moves && down) {
            i8257_copy_down(c, n, data + r.moved, units, to);
        } else if (moves) {
            i8257_copy(c, i8257_address(c, n), data + r.moved, units * i8257_unit(c), to);
        }
        r.moved += units * i8257_unit(c);
        r.terminal = i8257_advance(c, n, units);
    }
    return r;
}

/* A guest's own request in block mode runs to the end. No device answers, so the bus has ones. */
static void i8257_run_soft(I8257 *c, unsigned n)
{
    I8257Channel *ch = &c->s.ch[n];
    bool to = (ch->mode & MODE_TYPE) == MODE_TO_MEMORY;
    uint8_t ones[64];
    IsaDmaResult r;

    if ((ch->mode & MODE_SERVICE) != MODE_BLOCK || c->s.command & COMMAND_DISABLE) {
        return;
    }
    do {
        memset(ones, 0xff, sizeof ones);
        r = i8257_move(c, n, ones, sizeof ones, to);
    } while (!r.terminal && r.moved);
}

/* For devices. */

/*
 * The controller of a channel of the device's bus, and the channel's number there. NULL: there is
 * none, as when the machine ends.
 */
static I8257 *i8257_of(Device *dev, unsigned channel, unsigned *n)
{
    Device *dma = container_of(dev->bus, IsaBus, bus)->dma[channel >= 4];

    *n = channel & 3;
    return dma ? i8257(dma) : NULL;
}

bool isa_dma_claim(Device *dev, unsigned channel, DeviceFn ready, GError **err)
{
    unsigned n;
    I8257 *c = channel < 8 && channel != 4 ? i8257_of(dev, channel, &n) : NULL;

    if (!c) {
        return error_set(err, "there is no ISA DMA channel %u (0 to 3, 5 to 7)", channel);
    }
    if (c->user[n].dev) {
        return error_set(err, "ISA DMA channel %u is in use by '%s'", channel,
                         c->user[n].dev->class->name);
    }
    c->user[n].dev = dev;
    c->user[n].ready = ready;
    return true;
}

void isa_dma_release(Device *dev, unsigned channel)
{
    unsigned n;
    I8257 *c = i8257_of(dev, channel, &n);

    if (c && c->user[n].dev == dev) {
        c->user[n].dev = NULL;
        c->s.requests &= ~BIT(n);
    }
}

void isa_dma_set_request(Device *dev, unsigned channel, bool level)
{
    unsigned n;
    I8257 *c = i8257_of(dev, channel, &n);

    if (c) {
        c->s.requests = level ? c->s.requests | BIT(n) : c->s.requests & ~BIT(n);
    }
}

bool isa_dma_ready(Device *dev, unsigned channel)
{
    unsigned n;
    const I8257 *c = i8257_of(dev, channel, &n);

    return c && i8257_ready(c, n);
}

static IsaDmaResult isa_dma_transfer(Device *dev, unsigned channel, void *data, uint32_t len,
                                     bool to)
{
    unsigned n;
    I8257 *c = i8257_of(dev, channel, &n);

    return c && i8257_ready(c, n) ? i8257_move(c, n, data, len, to) : (IsaDmaResult){0};
}

IsaDmaResult isa_dma_to_memory(Device *dev, unsigned channel, const void *data, uint32_t len)
{
    return isa_dma_transfer(dev, channel, (void *)data, len, true);
}

IsaDmaResult isa_dma_from_memory(Device *dev, unsigned channel, void *data, uint32_t len)
{
    return isa_dma_transfer(dev, channel, data, len, false);
}

/* Addresses and counts: a pair of ports a channel, two bytes each. */

static uint64_t i8257_channel_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I8257 *c = container_of(region, I8257, channel_io);
    unsigned reg = offset >> c->dshift;
    const I8257Channel *ch = &c->s.ch[reg >> 1];
    uint16_t value = reg & 1 ? ch->count : ch->addr;

    c->s.high_byte = !c->s.high_byte;
    return c->s.high_byte ? value & 0xff : value >> 8;
}

static uint16_t i8257_replace(uint16_t old, uint8_t byte, bool high)
{
    return high ? (old & 0xff) | byte << 8 : (old & 0xff00) | byte;
}

static IoResult i8257_channel_write(IoRegion *region, uint64_t offset, uint64_t value,
                                    unsigned size)
{
    I8257 *c = container_of(region, I8257, channel_io);
    unsigned reg = offset >> c->dshift;
    I8257Channel *ch = &c->s.ch[reg >> 1];

    if (reg & 1) {
        ch->count = ch->base_count = i8257_replace(ch->base_count, value, c->s.high_byte);
    } else {
        ch->addr = ch->base_addr = i8257_replace(ch->base_addr, value, c->s.high_byte);
    }
    c->s.high_byte = !c->s.high_byte;
    return IO_OK;
}

static const IoRegionOps i8257_channel_ops = {
    .read = i8257_channel_read,
    .write = i8257_channel_write,
    .valid_min = 1,
    .valid_max = 1,
};

/* Control. */

static void i8257_master_clear(I8257 *c)
{
    c->s.command = c->s.reached = c->s.soft_requests = 0;
    c->s.high_byte = false;
    c->s.mask = ALL_CHANNELS;
}

static uint64_t i8257_control_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I8257 *c = container_of(region, I8257, control_io);
    uint8_t value = 0;

    switch (offset >> c->dshift) {
    case REG_STATUS:
        value = (c->s.requests | c->s.soft_requests) << 4 | c->s.reached;
        c->s.reached = 0;
        break;
    case REG_ALL_MASK:
        value = c->s.mask;
        break;
    }
    return value;
}

static void i8257_set_bit(uint8_t *bits, uint8_t value)
{
    *bits = value & SELECT_SET ? *bits | BIT(value & 3) : *bits & ~BIT(value & 3);
}

static IoResult i8257_control_write(IoRegion *region, uint64_t offset, uint64_t value,
                                    unsigned size)
{
    I8257 *c = container_of(region, I8257, control_io);
    unsigned n = value & 3;

    switch (offset >> c->dshift) {
    case REG_STATUS:
        c->s.command = value;
        break;
    case REG_REQUEST:
        i8257_set_bit(&c->s.soft_requests, value);
        if (value & SELECT_SET) {
            i8257_run_soft(c, n);
        }
        break;
    case REG_SINGLE_MASK:
        i8257_set_bit(&c->s.mask, value);
        break;
    case REG_MODE:
        c->s.ch[n].mode = value & ~3u;
        break;
    case REG_CLEAR_BYTE:
        c->s.high_byte = false;
        break;
    case REG_MASTER_CLEAR:
        i8257_master_clear(c);
        break;
    case REG_CLEAR_MASK:
        c->s.mask = 0;
        break;
    case REG_ALL_MASK:
        c->s.mask = value & ALL_CHANNELS;
        break;
    }
    i8257_tell(c);
    return IO_OK;
}

static const IoRegionOps i8257_control_ops = {
    .read = i8257_control_read,
    .write = i8257_control_write,
    .valid_min = 1,
    .valid_max = 1,
};

/* Pages. The first port of eight is another device's. */

static uint64_t i8257_page_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return container_of(region, I8257, page_io)->s.pages[offset + 1];
}

static IoResult i8257_page_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    container_of(region, I8257, page_io)->s.pages[offset + 1] = value;
    return IO_OK;
}

static const IoRegionOps i8257_page_ops = {
    .read = i8257_page_read,
    .write = i8257_page_write,
    .valid_min = 1,
    .valid_max = 1,
};

/* Life. */

static bool i8257_realize(Device *dev, GError **err)
{
    I8257 *c = i8257(dev);
    IsaBus *isa = container_of(dev->bus, IsaBus, bus);

    if (c->dshift < 0 || c->dshift > 1 || c->base < 0 || c->base > 0xff00 || c->page_base < 0 ||
        c->page_base > 0xff00) {
        return error_set(err, "i8257: base and page-base must be ports, and dshift 0 or 1");
    }
    if (isa->dma[c->dshift]) {
        return error_set(err, "there is an i8257 with dshift=%d already", c->dshift);
    }
    isa->dma[c->dshift] = dev;
    io_region_init(&c->channel_io, dev, &i8257_channel_ops, "dma-chan", 8u << c->dshift);
    io_region_init(&c->control_io, dev, &i8257_control_ops, "dma-cont", 8u << c->dshift);
    io_region_init(&c->page_io, dev, &i8257_page_ops, "dma-page", 7);
    isa_map_ports(dev, &c->channel_io, c->base);
    isa_map_ports(dev, &c->control_io, c->base + (8 << c->dshift));
    isa_map_ports(dev, &c->page_io, c->page_base + 1);
    return true;
}

static void i8257_unrealize(Device *dev)
{
    I8257 *c = i8257(dev);

    io_region_unmap(dev->vm, &c->channel_io);
    io_region_unmap(dev->vm, &c->control_io);
    io_region_unmap(dev->vm, &c->page_io);
    container_of(dev->bus, IsaBus, bus)->dma[c->dshift] = NULL;
}

static void i8257_reset(Device *dev, ResetKind kind)
{
    I8257 *c = i8257(dev);

    c->s = (I8257State){0};
    i8257_master_clear(c);
}

static bool i8257_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const I8257State *s = state;

    return (s->reached | s->requests | s->soft_requests | s->mask) <= ALL_CHANNELS ||
           error_set(err, "device 'i8257': there are no such channels");
}

#define D(n, t, f, d, h) PROP(n, t, I8257, f, d, h)
static const Property i8257_props[] = {
    D("base", PROP_INT32, base, "0", "first port"),
    D("page-base", PROP_INT32, page_base, "128", "first port of the page registers"),
    D("dshift", PROP_INT32, dshift, "0", "0: moves bytes, 1: moves words"),
    PROP_END,
};

static const StateSection i8257_sections[] = {
    {i8257_state_desc, offsetof(I8257, s)},
    {0},
};

const DeviceClass i8257_class = {
    .name = "i8257",
    .bus = "ISA",
    .desc = "DMA controller (8237)",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(I8257),
    .props = i8257_props,
    .state = i8257_sections,
    .realize = i8257_realize,
    .unrealize = i8257_unrealize,
    .reset = i8257_reset,
    .check_state = i8257_check_state,
    .internal = true,
    .object_parent = "isa-device",
};
