/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pair of 8259A interrupt controllers, with their edge/level control registers, in user space:
 * for qtest and kernel-irqchip=split. (Intel 8259A data sheet, 231468; for the ELCR: 82371SB data
 * sheet, 290550, 2.5.5.)
 *
 * The interrupt routing lock guards the state: input pins change under it, and vCPU 0 acknowledges
 * from its own thread.
 */
#include "chipset.h"
#include "vm/vcpu.h"

#define I8259_CHIP_STATE(X)                                                                        \
    X(F, uint8_t, lines) /* levels of the inputs */                                                \
    X(F, uint8_t, edges) /* inputs whose rising edge is not acknowledged yet */                    \
    X(F, uint8_t, elcr)  /* level-triggered inputs */                                              \
    X(F, uint8_t, imr)                                                                             \
    X(F, uint8_t, isr)                                                                             \
    X(F, uint8_t, top)        /* the input of highest priority */                                  \
    X(F, uint8_t, base)       /* vector of input 0 */                                              \
    X(F, uint8_t, init_state) /* number of the ICW that is written next; 0: initialized */         \
    X(F, bool, wants_icw4)                                                                         \
    X(F, bool, single)                                                                             \
    X(F, bool, read_isr)                                                                           \
    X(F, bool, poll)                                                                               \
    X(F, bool, special_mask)                                                                       \
    X(F, bool, auto_eoi)                                                                           \
    X(F, bool, rotate_on_auto_eoi)                                                                 \
    X(F, bool, fully_nested)
STATE_STRUCT(I8259Chip, I8259_CHIP_STATE);
STATE_DESC(i8259_chip, I8259Chip, I8259_CHIP_STATE, 1);

#define I8259_STATE(X) X(SA, I8259Chip, chip, i8259_chip, 2)
STATE_STRUCT(I8259State, I8259_STATE);
STATE_DESC(i8259, I8259State, I8259_STATE, 1);

typedef struct {
    Device dev;
    I8259State s;
    IrqPin pins[16];
    IoRegion io[2], elcr_io;
    bool output;
} I8259;

enum {
    MASTER = 0,
    SLAVE = 1,
    CASCADE = 2, /* the slave's output is this input of the master */
    SPURIOUS = 7,

    ICW1 = 0x10,
    ICW1_IC4 = 0x01,
    ICW1_SNGL = 0x02,
    OCW3 = 0x08,
    OCW3_RR = 0x02,
    OCW3_RIS = 0x01,
    OCW3_POLL = 0x04,
    OCW3_ESMM = 0x40,
    OCW3_SMM = 0x20,
    ICW4_AEOI = 0x02,
    ICW4_SFNM = 0x10,
    OCW2_ROTATE = 0x80,
    OCW2_SPECIFIC = 0x40,
    OCW2_EOI = 0x20,
};
/* Inputs that can be level-triggered: all but IRQ 0, 1, 2 (timer, keyboard, cascade), 8 and 13. */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

static uint8_t pic_requests(const I8259Chip *c)
{
    return (c->edges & ~c->elcr) | (c->lines & c->elcr);
}

/* The priority of the best of these inputs: 0 is that of input 'top'. 8: no input. */
static unsigned best_priority(const I8259Chip *c, uint8_t inputs)
{
    for (unsigned p = 0; p < 8; p++) {
        if (inputs >> ((p + c->top) & 7) & 1) {
            return p;
        }
    }
    return 8;
}

/* The input whose request is to be served: it ranks above all inputs in service. -1: none. */
static int pending_input(const I8259Chip *c, bool master)
{
    uint8_t in_service = c->isr;
    unsigned p = best_priority(c, pic_requests(c) & ~c->imr);

    if (c->special_mask) {
        in_service &= ~c->imr;
    }
    if (c->fully_nested && master) {
        in_service &= ~BIT(CASCADE); /* the slave may have a request of higher priority by now */
    }
    return p < best_priority(c, in_service) ? (int)((p + c->top) & 7) : -1;
}

/* Follows any change: sets the master's cascade input and the output to the CPU. Lock held. */
static void pic_update(I8259 *d)
{
    I8259Chip *master = &d->s.chip[MASTER];
    bool output;

    if (pending_input(&d->s.chip[SLAVE], false) >= 0) {
        master->edges |= BIT(CASCADE);
    } else {
        master->edges &= ~BIT(CASCADE);
    }
    output = pending_input(master, true) >= 0;
    if (output && !d->output && kvm_enabled(d->dev.vm)) {
        kvm_extint_raised(d->dev.vm);
    }
    d->output = output;
}

static void pic_pin_set(Device *owner, unsigned n, bool level)
{
    I8259 *d = container_of(owner, I8259, dev);
    I8259Chip *c = &d->s.chip[n / 8];
    uint8_t bit = BIT(n % 8);

    if (level && !(c->lines & bit)) {
        c->edges |= bit;
    }
    c->lines = level ? c->lines | bit : c->lines & ~bit;
    pic_update(d);
}

IrqPin *i8259_inputs(Device *pic)
{
    return container_of(pic, I8259, dev)->pins;
}

/* Interrupt acknowledge. */

static void pic_acknowledge(I8259Chip *c, unsigned input)
{
    c->edges &= ~BIT(input);
    if (!c->auto_eoi) {
        c->isr |= BIT(input);
    } else if (c->rotate_on_auto_eoi) {
        c->top = (input + 1) & 7;
    }
}

static int pic_cpu_acknowledge(Device *pic)
{
    I8259 *d = container_of(pic, I8259, dev);
    I8259Chip *master = &d->s.chip[MASTER], *slave = &d->s.chip[SLAVE];
    int input, vector;

    irq_lock(pic->vm);
    input = pending_input(master, true);
    if (input == CASCADE) {
        int second = pending_input(slave, false);

        pic_acknowledge(master, CASCADE);
        if (second >= 0) {
            pic_acknowledge(slave, second);
        }
        vector = slave->base + (second >= 0 ? second : SPURIOUS);
    } else {
        /* If the request was withdrawn, the 8259A gives the vector of input 7 (page 18). */
        if (input >= 0) {
            pic_acknowledge(master, input);
        }
        vector = master->base + (input >= 0 ? input : SPURIOUS);
    }
    pic_update(d);
    irq_unlock(pic->vm);
    return vector;
}

static bool pic_cpu_pending(Device *pic)
{
    I8259 *d = container_of(pic, I8259, dev);
    bool output;

    irq_lock(pic->vm);
    output = d->output;
    irq_unlock(pic->vm);
    return output;
}

/* Command words. */

static void begin_init(I8259Chip *c, uint8_t icw1)
{
    uint8_t lines = c->lines, elcr = c->elcr;

    *c = (I8259Chip){.lines = lines, .elcr = elcr, .init_state = 2};
    c->wants_icw4 = icw1 & ICW1_IC4;
    c->single = icw1 & ICW1_SNGL;
}

static void pic_end_of_interrupt(I8259Chip *c, uint8_t ocw2)
{
    unsigned input = ocw2 & 7;

    if (!(ocw2 & OCW2_SPECIFIC)) {
        uint8_t in_service = c->special_mask ? c->isr & ~c->imr : c->isr;
        unsigned p = best_priority(c, in_service);

        if (p == 8) {
            return;
        }
        input = (p + c->top) & 7;
    }
    c->isr &= ~BIT(input);
    if (ocw2 & OCW2_ROTATE) {
        c->top = (input + 1) & 7;
    }
}

static void write_ocw2(I8259Chip *c, uint8_t value)
{
    if (value & OCW2_EOI) {
        pic_end_of_interrupt(c, value);
    } else if (!(value & OCW2_SPECIFIC)) {
        c->rotate_on_auto_eoi = value & OCW2_ROTATE;
    } else if (value & OCW2_ROTATE) {
        c->top = ((value & 7) + 1) & 7; /* set priority: that input is the lowest */
    }
}

static void write_ocw3(I8259Chip *c, uint8_t value)
{
    if (value & OCW3_POLL) {
        c->poll = true;
    }
    if (value & OCW3_RR) {
        c->read_isr = value & OCW3_RIS;
    }
    if (value & OCW3_ESMM) {
        c->special_mask = value & OCW3_SMM;
    }
}

static void pic_write_data(I8259Chip *c, uint8_t value)
{
    switch (c->init_state) {
    case 0:
        c->imr = value;
        break;
    case 2:
        c->base = value & 0xf8;
        c->init_state = !c->single ? 3 : c->wants_icw4 ? 4 : 0;
        break;
    case 3: /* ICW3 describes the cascade, whose wiring is fixed here */
        c->init_state = c->wants_icw4 ? 4 : 0;
        break;
    default:
        c->fully_nested = value & ICW4_SFNM;
        c->auto_eoi = value & ICW4_AEOI;
        c->init_state = 0;
        break;
    }
}

static IoResult pic_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    I8259 *d = container_of(region->owner, I8259, dev);
    I8259Chip *c = &d->s.chip[region->index];

    irq_lock(d->dev.vm);
    if (offset) {
        pic_write_data(c, value);
    } else if (value & ICW1) {
        begin_init(c, value);
    } else if (value & OCW3) {
        write_ocw3(c, value);
    } else {
        write_ocw2(c, value);
    }
    pic_update(d);
    irq_unlock(d->dev.vm);
    return IO_OK;
}

/* A poll acknowledges as the CPU does and returns the input's number (page 17). */
static uint8_t pic_poll(I8259 *d, unsigned which)
{
    I8259Chip *c = &d->s.chip[which];
    int input = pending_input(c, which == MASTER);

    c->poll = false;
    if (input < 0) {
        return SPURIOUS;
    }
    pic_acknowledge(c, input);
    return 0x80 | input;
}

static uint64_t pic_read(IoRegion *region, uint64_t offset, unsigned size)
{
    I8259 *d = container_of(region->owner, I8259, dev);
    I8259Chip *c = &d->s.chip[region->index];
    uint8_t value;

    irq_lock(d->dev.vm);
    if (c->poll) {
        value = pic_poll(d, region->index);
        pic_update(d);
    } else if (offset) {
        value = c->imr;
    } else {
        value = c->read_isr ? c->isr : pic_requests(c);
    }
    irq_unlock(d->dev.vm);
    return value;
}

static const IoRegionOps pic_ops = {
    .read = pic_read,
    .write = pic_write,
    .valid_min = 1,
    .valid_max = 2,
    .impl_min = 1,
    .impl_max = 1,
};

static uint64_t elcr_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return container_of(region->owner, I8259, dev)->s.chip[offset].elcr;
}

static IoResult elcr_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    I8259 *d = container_of(region->owner, I8259, dev);

    irq_lock(d->dev.vm);
    d->s.chip[offset].elcr = value & elcr_mask[offset];
    pic_update(d);
    irq_unlock(d->dev.vm);
    return IO_OK;
}

static const IoRegionOps elcr_ops = {
    .read = elcr_read,
    .write = elcr_write,
    .valid_min = 1,
    .valid_max = 2,
    .impl_min = 1,
    .impl_max = 1,
};

char *i8259_info_text(Device *pic)
{
    I8259 *d = container_of(pic, I8259, dev);
    GString *out = g_string_new(NULL);

    irq_lock(pic->vm);
    for (unsigned i = 0; i < 2; i++) {
        const I8259Chip *c = &d->s.chip[i];

        g_string_append_printf(
            out,
            "pic%u: irr=%02x imr=%02x isr=%02x hprio=%d irq_base=%02x rr_sel=%d elcr=%02x fnm=%d\n",
            i, pic_requests(c), c->imr, c->isr, c->top, c->base, c->read_isr, c->elcr,
            c->fully_nested);
    }
    irq_unlock(pic->vm);
    return g_string_free(out, FALSE);
}

/* Life. */

static bool i8259_realize(Device *dev, GError **err)
{
    static const uint16_t ports[2] = {0x20, 0xa0};
    I8259 *d = container_of(dev, I8259, dev);

    for (unsigned i = 0; i < 2; i++) {
        io_region_init(&d->io[i], dev, &pic_ops, "pic", 2);
        d->io[i].index = i;
        isa_map_ports(dev, &d->io[i], ports[i]);
    }
    io_region_init(&d->elcr_io, dev, &elcr_ops, "elcr", 2);
    isa_map_ports(dev, &d->elcr_io, 0x4d0);
    for (unsigned i = 0; i < 16; i++) {
        irq_pin_init(&d->pins[i], dev, pic_pin_set, i);
    }
    irq_export_inputs(dev, d->pins, 16);
    if (kvm_enabled(dev->vm)) {
        kvm_set_extint(dev->vm, dev, pic_cpu_pending, pic_cpu_acknowledge);
    }
    return true;
}

static void i8259_unrealize(Device *dev)
{
    I8259 *d = container_of(dev, I8259, dev);

    if (kvm_enabled(dev->vm)) {
        kvm_set_extint(dev->vm, NULL, NULL, NULL);
    }
    io_region_unmap(dev->vm, &d->io[0]);
    io_region_unmap(dev->vm, &d->io[1]);
    io_region_unmap(dev->vm, &d->elcr_io);
}

static void i8259_reset(Device *dev, ResetKind kind)
{
    I8259 *d = container_of(dev, I8259, dev);

    irq_lock(dev->vm);
    for (unsigned i = 0; i < 2; i++) {
        d->s.chip[i] = (I8259Chip){.lines = d->s.chip[i].lines};
    }
    pic_update(d);
    irq_unlock(dev->vm);
}

static void i8259_post_load(Device *dev)
{
    I8259 *d = container_of(dev, I8259, dev);

    irq_lock(dev->vm);
    for (unsigned i = 0; i < 2; i++) {
        d->s.chip[i].top &= 7; /* whatever the stream said */
    }
    pic_update(d);
    irq_unlock(dev->vm);
}

static const StateSection i8259_sections[] = {
    {i8259_state_desc, offsetof(I8259, s)},
    {0},
};

const DeviceClass i8259_class = {
    .name = "isa-i8259",
    .bus = "ISA",
    .desc = "pair of interrupt controllers (8259A), in user space",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(I8259),
    .state = i8259_sections,
    .realize = i8259_realize,
    .unrealize = i8259_unrealize,
    .reset = i8259_reset,
    .post_load = i8259_post_load,
    .internal = true,
    .object_parent = "pic-common",
};
