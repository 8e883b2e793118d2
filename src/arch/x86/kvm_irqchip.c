/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What KVM has of the board's interrupt controllers in the kernel: PICs and IOAPIC, as devices with
 * state. (Linux Documentation/virt/kvm/api.rst, 4.24, 4.26.)
 *
 * The kernel does their work; a device here only resets, saves and loads it, on the main loop with
 * the VM paused.
 */
#include <inttypes.h>
#include <string.h>
#include "vm/end.h"
#include "x86_internal.h"

void x86_kvm_chip_ioctl(Device *dev, unsigned long request, void *arg, const char *what)
{
    int r = kvm_vm_ioctl(dev->vm, request, arg);

    if (r < 0) {
        log_error("%s: %s: %s", dev->class->name, what, g_strerror(-r));
    }
}

void x86_kvm_chip_set(Device *dev, unsigned long request, void *arg, const char *what)
{
    int r = kvm_vm_ioctl(dev->vm, request, arg);

    if (r < 0) {
        log_error("%s: %s: %s; the virtual machine has to be reset", dev->class->name, what,
                  g_strerror(-r));
        vm_failed(dev->vm, VM_END_KVM_ERROR);
    }
}

/* 8259A, two of them. */

#define KVM_PIC_STATE(X)                                                                           \
    X(F, uint8_t, last_irr)                                                                        \
    X(F, uint8_t, irr)                                                                             \
    X(F, uint8_t, imr)                                                                             \
    X(F, uint8_t, isr)                                                                             \
    X(F, uint8_t, priority_add)                                                                    \
    X(F, uint8_t, irq_base)                                                                        \
    X(F, uint8_t, read_reg_select)                                                                 \
    X(F, uint8_t, poll)                                                                            \
    X(F, uint8_t, special_mask)                                                                    \
    X(F, uint8_t, init_state)                                                                      \
    X(F, uint8_t, auto_eoi)                                                                        \
    X(F, uint8_t, rotate_on_auto_eoi)                                                              \
    X(F, uint8_t, special_fully_nested_mode)                                                       \
    X(F, uint8_t, init4)                                                                           \
    X(F, uint8_t, elcr)
STATE_STRUCT(KvmPicState, KVM_PIC_STATE);
STATE_DESC(kvm_pic, KvmPicState, KVM_PIC_STATE, 1);

typedef struct {
    Device dev;
    bool master;
    KvmPicState s;
} KvmPic;

/* Which lines may be made level-triggered: not the timer, keyboard, cascade, RTC and FPU. */
static uint8_t elcr_mask(const KvmPic *pic)
{
    return pic->master ? 0xf8 : 0xde;
}

static void pic_get(Device *dev)
{
    KvmPic *pic = (KvmPic *)dev;
    struct kvm_irqchip chip = {.chip_id =
                                   pic->master ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE};
    const struct kvm_pic_state *k = &chip.chip.pic;

    x86_kvm_chip_ioctl(dev, KVM_GET_IRQCHIP, &chip, "KVM_GET_IRQCHIP");
    pic->s = (KvmPicState){.last_irr = k->last_irr,
                           .irr = k->irr,
                           .imr = k->imr,
                           .isr = k->isr,
                           .priority_add = k->priority_add,
                           .irq_base = k->irq_base,
                           .read_reg_select = k->read_reg_select,
                           .poll = k->poll,
                           .special_mask = k->special_mask,
                           .init_state = k->init_state,
                           .auto_eoi = k->auto_eoi,
                           .rotate_on_auto_eoi = k->rotate_on_auto_eoi,
                           .special_fully_nested_mode = k->special_fully_nested_mode,
                           .init4 = k->init4,
                           .elcr = k->elcr};
}

static void pic_put(Device *dev)
{
    KvmPic *pic = (KvmPic *)dev;
    const KvmPicState *s = &pic->s;
    struct kvm_irqchip chip = {
        .chip_id = pic->master ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
        .chip.pic = {.last_irr = s->last_irr,
                     .irr = s->irr,
                     .imr = s->imr,
                     .isr = s->isr,
                     .priority_add = s->priority_add,
                     .irq_base = s->irq_base,
                     .read_reg_select = s->read_reg_select,
                     .poll = s->poll,
                     .special_mask = s->special_mask,
                     .init_state = s->init_state,
                     .auto_eoi = s->auto_eoi,
                     .rotate_on_auto_eoi = s->rotate_on_auto_eoi,
                     .special_fully_nested_mode = s->special_fully_nested_mode,
                     .init4 = s->init4,
                     .elcr = s->elcr & elcr_mask(pic),
                     .elcr_mask = elcr_mask(pic)}};

    x86_kvm_chip_set(dev, KVM_SET_IRQCHIP, &chip, "KVM_SET_IRQCHIP");
}

static void pic_reset(Device *dev, ResetKind kind)
{
    KvmPic *pic = (KvmPic *)dev;

    (void)kind;
    memset(&pic->s, 0, sizeof pic->s);
    pic_put(dev);
}

static const Property pic_props[] = {
    PROP("master", PROP_BOOL, KvmPic, master, "off", "the first of the two"),
    PROP_END,
};

const DeviceClass kvm_i8259_class = {
    .name = "kvm-i8259",
    .bus = "System",
    .desc = "8259A interrupt controller in the kernel",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(KvmPic),
    .props = pic_props,
    .state = (const StateSection[]){{kvm_pic_state_desc, offsetof(KvmPic, s)}, {0}},
    .realize = device_no_realize,
    .reset = pic_reset,
    .pre_save = pic_get,
    .post_load = pic_put,
    .internal = true,
    .object_parent = "pic-common",
};

/* IOAPIC. */

#define KVM_IOAPIC_STATE(X)                                                                        \
    X(F, uint64_t, base_address)                                                                   \
    X(F, uint32_t, ioregsel)                                                                       \
    X(F, uint32_t, id)                                                                             \
    X(F, uint32_t, irr)                                                                            \
    X(A, uint64_t, redirtbl, KVM_IOAPIC_NUM_PINS)
STATE_STRUCT(KvmIoapicState, KVM_IOAPIC_STATE);
STATE_DESC(kvm_ioapic, KvmIoapicState, KVM_IOAPIC_STATE, 1);

typedef struct {
    Device dev;
    KvmIoapicState s;
} KvmIoapic;

static void ioapic_get(Device *dev)
{
    KvmIoapic *io = (KvmIoapic *)dev;
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    const struct kvm_ioapic_state *k = &chip.chip.ioapic;

    x86_kvm_chip_ioctl(dev, KVM_GET_IRQCHIP, &chip, "KVM_GET_IRQCHIP");
    io->s.base_address = k->base_address;
    io->s.ioregsel = k->ioregsel;
    io->s.id = k->id;
    io->s.irr = k->irr;
    for (unsigned i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
        io->s.redirtbl[i] = k->redirtbl[i].bits;
    }
}

static void ioapic_put(Device *dev)
{
    KvmIoapic *io = (KvmIoapic *)dev;
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC,
                               .chip.ioapic = {.base_address = io->s.base_address,
                                               .ioregsel = io->s.ioregsel,
                                               .id = io->s.id,
                                               .irr = io->s.irr}};

    for (unsigned i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
        chip.chip.ioapic.redirtbl[i].bits = io->s.redirtbl[i];
    }
    x86_kvm_chip_set(dev, KVM_SET_IRQCHIP, &chip, "KVM_SET_IRQCHIP");
}

static void kvm_ioapic_reset(Device *dev, ResetKind kind)
{
    KvmIoapic *io = (KvmIoapic *)dev;

    (void)kind;
    io->s = (KvmIoapicState){.base_address = 0xfec00000};
    for (unsigned i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
        io->s.redirtbl[i] = BIT64(16); /* masked */
    }
    ioapic_put(dev);
}

const DeviceClass kvm_ioapic_class = {
    .name = "kvm-ioapic",
    .bus = "System",
    .desc = "I/O APIC in the kernel",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(KvmIoapic),
    .state = (const StateSection[]){{kvm_ioapic_state_desc, offsetof(KvmIoapic, s)}, {0}},
    .realize = device_no_realize,
    .reset = kvm_ioapic_reset,
    .pre_save = ioapic_get,
    .post_load = ioapic_put,
    .internal = true,
    .object_parent = "ioapic-common",
};

/* What the boards call. */

static void route_all(Vm *vm)
{
    for (unsigned gsi = 0; gsi < IRQ_GSI_COUNT; gsi++) {
        if (gsi < 16) {
            kvm_route_irqchip(vm, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                              gsi % 8);
        }
        /* the timer is at pin 2 of the IOAPIC, as the MADT says too; IRQ 2 is the cascade */
        if (gsi != 2) {
            kvm_route_irqchip(vm, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi);
        }
    }
    kvm_commit_routes(vm);
}

/*
 * First of all that a machine has: KVM then waits, before the next change of its memory slots, for
 * what this leaves behind (an SRCU grace period, some milliseconds), and until there is memory
 * there is other work to do.
 */
bool x86_kvm_open_irqchip(Vm *vm, GError **err)
{
    int r;

    if (vm->smp.maxcpus > 255 && !kvm_enable_cap(vm, KVM_CAP_X2APIC_API, 3)) {
        return error_set(err, "this KVM has no 32-bit APIC ids: at most 255 CPUs");
    }
    if (kvm_irqchip_mode(vm) == KVM_IRQCHIP_SPLIT) {
        return kvm_enable_cap(vm, KVM_CAP_SPLIT_IRQCHIP, KVM_IOAPIC_NUM_PINS) ||
               error_set(err, "this KVM cannot kernel-irqchip=split: use kernel-irqchip=on");
    }
    r = kvm_vm_ioctl(vm, KVM_CREATE_IRQCHIP, NULL);
    if (r < 0) {
        return error_set_errno(err, -r, "KVM cannot make its interrupt controllers");
    }
    return true;
}

bool x86_kvm_create_irqchip(Vm *vm, GError **err)
{
    X86Vm *x = x86_vm(vm);

    if (kvm_check_extension(vm, KVM_CAP_ADJUST_CLOCK) > 0 &&
        !device_new(vm, "kvmclock", NULL, NULL, err, NULL)) {
        return false;
    }
    if (kvm_irqchip_mode(vm) == KVM_IRQCHIP_SPLIT) {
        return true;
    }
    x->pic[0] = device_new(vm, "kvm-i8259", NULL, NULL, err, "master", "on", NULL);
    x->pic[1] = x->pic[0] ? device_new(vm, "kvm-i8259", NULL, NULL, err, NULL) : NULL;
    x->ioapic = x->pic[1] ? device_new(vm, "kvm-ioapic", NULL, "ioapic", err, NULL) : NULL;
    if (!x->ioapic) {
        return false;
    }
    route_all(vm);
    return true;
}

void x86_kvm_firmware_state(Vm *vm)
{
    X86Vm *x = x86_vm(vm);

    for (unsigned i = 0; i < 2 && x->pic[i]; i++) {
        KvmPic *pic = (KvmPic *)x->pic[i];

        pic_get(x->pic[i]);
        pic->s.irq_base = i ? 0x70 : 0x08;
        pic->s.imr = i ? 0xff : 0xfa; /* the timer and the cascade */
        pic->s.init4 = 1;
        pic->s.elcr = i ? 0x0c : 0; /* IRQ 10 and 11 are PCI's */
        pic_put(x->pic[i]);
    }
    if (x->pit) {
        x86_kvm_pit_firmware_state(x->pit);
    }
}

static void ioapic_text(GString *out, const KvmIoapicState *s)
{
    static const char *const delivery[] = {"fixed", "lowest", "SMI",  "...",
                                           "NMI",   "INIT",   "SIPI", "ExtINT"};

    g_string_append_printf(out, "ioapic0: ver=0x11 id=0x%02x sel=0x%02x\n", s->id & 0xf,
                           s->ioregsel & 0xff);
    for (unsigned i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
        uint64_t e = s->redirtbl[i];

        g_string_append_printf(
            out, "  pin %-2u 0x%016" PRIx64 " dest=%" PRIu64 " vec=%-3u %s %-5s %-6s %-6s %s\n", i,
            e, e >> 56, (unsigned)(e & 0xff), e & BIT64(13) ? "active-lo" : "active-hi",
            e & BIT64(15) ? "level" : "edge", e & BIT64(16) ? "masked" : "", delivery[e >> 8 & 7],
            e & BIT64(11) ? "logical" : "physical");
    }
    g_string_append_printf(out, "  IRR      0x%06x\n", s->irr);
}

char *x86_kvm_pic_text(Vm *vm)
{
    X86Vm *x = x86_vm(vm);
    GString *out = g_string_new(NULL);

    for (int i = 1; i >= 0 && x->pic[i]; i--) {
        const KvmPicState *s = &((KvmPic *)x->pic[i])->s;

        pic_get(x->pic[i]);
        g_string_append_printf(
            out,
            "pic%d: irr=%02x imr=%02x isr=%02x hprio=%d irq_base=%02x rr_sel=%d elcr=%02x "
            "fnm=%d\n",
            i, s->irr, s->imr, s->isr, s->priority_add, s->irq_base, s->read_reg_select, s->elcr,
            s->special_fully_nested_mode);
    }
    if (x->ioapic) {
        ioapic_get(x->ioapic);
        ioapic_text(out, &((KvmIoapic *)x->ioapic)->s);
    }
    return g_string_free(out, FALSE);
}
