/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's 8254 timer, as a device with state. (Linux Documentation/virt/kvm/api.rst, 4.71 to
 * 4.73: KVM_CREATE_PIT2, KVM_GET_PIT2, KVM_SET_PIT2.)
 */
#include <string.h>
#include "x86_internal.h"

#define KVM_PIT_CHANNEL_STATE(X)                                                                   \
    X(F, uint32_t, count)                                                                          \
    X(F, uint16_t, latched_count)                                                                  \
    X(F, uint8_t, count_latched)                                                                   \
    X(F, uint8_t, status_latched)                                                                  \
    X(F, uint8_t, status)                                                                          \
    X(F, uint8_t, read_state)                                                                      \
    X(F, uint8_t, write_state)                                                                     \
    X(F, uint8_t, write_latch)                                                                     \
    X(F, uint8_t, rw_mode)                                                                         \
    X(F, uint8_t, mode)                                                                            \
    X(F, uint8_t, bcd)                                                                             \
    X(F, uint8_t, gate)
STATE_STRUCT(KvmPitChannelState, KVM_PIT_CHANNEL_STATE);
STATE_DESC(kvm_pit_channel, KvmPitChannelState, KVM_PIT_CHANNEL_STATE, 1);

#define KVM_PIT_STATE(X)                                                                           \
    X(SA, KvmPitChannelState, channel, kvm_pit_channel, 3)                                         \
    X(F, uint32_t, flags)
STATE_STRUCT(KvmPitState, KVM_PIT_STATE);
STATE_DESC(kvm_pit, KvmPitState, KVM_PIT_STATE, 1);

static const char *const lost_tick_policies[] = {"discard", "delay", "merge", "slew", NULL};
enum { LOST_TICK_DISCARD, LOST_TICK_DELAY };

typedef struct {
    Device dev;
    int lost_tick_policy;
    bool made;    /* the kernel has it */
    bool stopped; /* the state below is current, the kernel's is not */
    KvmPitState s;
} KvmPit;

/* Between the kernel's struct and the saved one, whose fields have the same names. */
#define COPY_FIELD(kind, type, name) to->name = from->name;

static void pit_get(Device *dev)
{
    KvmPit *pit = (KvmPit *)dev;
    struct kvm_pit_state2 k = {0};

    if (pit->stopped) {
        return;
    }
    x86_kvm_chip_ioctl(dev, KVM_GET_PIT2, &k, "KVM_GET_PIT2");
    pit->s.flags = k.flags;
    for (unsigned i = 0; i < 3; i++) {
        const struct kvm_pit_channel_state *from = &k.channels[i];
        KvmPitChannelState *to = &pit->s.channel[i];

        KVM_PIT_CHANNEL_STATE(COPY_FIELD)
    }
}

/* The kernel starts the counts anew: a period in flight is the longer by the pause. */
static void pit_put(Device *dev)
{
    KvmPit *pit = (KvmPit *)dev;
    struct kvm_pit_state2 k = {.flags = pit->s.flags};

    if (!pit->made) {
        return; /* it starts with this state */
    }
    for (unsigned i = 0; i < 3; i++) {
        const KvmPitChannelState *from = &pit->s.channel[i];
        struct kvm_pit_channel_state *to = &k.channels[i];

        KVM_PIT_CHANNEL_STATE(COPY_FIELD)
    }
    x86_kvm_chip_set(dev, KVM_SET_PIT2, &k, "KVM_SET_PIT2");
}

static void kvm_pit_reset(Device *dev, ResetKind kind)
{
    KvmPit *pit = (KvmPit *)dev;

    (void)kind;
    memset(&pit->s, 0, sizeof pit->s);
    for (unsigned i = 0; i < 3; i++) {
        /* 0xff: KVM's word for a counter that was never programmed */
        pit->s.channel[i] = (KvmPitChannelState){.mode = 0xff, .gate = i != 2, .count = 0x10000};
    }
    pit_put(dev);
}

static void pit_make(Device *dev)
{
    KvmPit *pit = (KvmPit *)dev;
    struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY}; /* port 0x61 too */
    struct kvm_reinject_control control = {.pit_reinject =
                                               pit->lost_tick_policy == LOST_TICK_DELAY};

    x86_kvm_chip_ioctl(dev, KVM_CREATE_PIT2, &config, "KVM_CREATE_PIT2");
    if (kvm_check_extension(dev->vm, KVM_CAP_REINJECT_CONTROL) > 0) {
        x86_kvm_chip_ioctl(dev, KVM_REINJECT_CONTROL, &control, "KVM_REINJECT_CONTROL");
    }
    pit->made = true;
}

/*
 * Ticks of the time that the VM stands are nobody's. The kernel's PIT is a thread of its own, and
 * ending it waits for grace periods (15 ms and more): a VM that never runs, because somebody only
 * asks it what it can do, goes without.
 */
static void pit_run_state(Device *dev, bool running)
{
    KvmPit *pit = (KvmPit *)dev;

    if (!running) {
        pit_get(dev);
        pit->stopped = true;
    } else {
        if (!pit->made) {
            pit_make(dev);
        }
        if (pit->stopped) {
            pit_put(dev);
        }
        pit->stopped = false;
    }
}

static bool kvm_pit_realize(Device *dev, GError **err)
{
    KvmPit *pit = (KvmPit *)dev;

    if (pit->lost_tick_policy > LOST_TICK_DELAY) {
        return error_set(err, "kvm-pit: lost_tick_policy=%s is not supported (discard, delay)",
                         lost_tick_policies[pit->lost_tick_policy]);
    }
    if (kvm_check_extension(dev->vm, KVM_CAP_PIT2) <= 0) {
        return error_set(err, "kvm-pit: this KVM has no PIT: use kernel-irqchip=split");
    }
    if (pit->lost_tick_policy == LOST_TICK_DISCARD &&
        kvm_check_extension(dev->vm, KVM_CAP_REINJECT_CONTROL) <= 0) {
        return error_set(err, "kvm-pit: this KVM cannot lost_tick_policy=discard");
    }
    pit->stopped = true;
    return true;
}

static const Property pit_props[] = {
    PROP_E("lost_tick_policy", KvmPit, lost_tick_policy, "delay", lost_tick_policies,
           "timer interrupts that the guest could not take: discard or delay"),
    PROP_END,
};

const DeviceClass kvm_pit_class = {
    .name = "kvm-pit",
    .bus = "System",
    .desc = "8254 timer in the kernel",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(KvmPit),
    .props = pit_props,
    .state = (const StateSection[]){{kvm_pit_state_desc, offsetof(KvmPit, s)}, {0}},
    .realize = kvm_pit_realize,
    .reset = kvm_pit_reset,
    .pre_save = pit_get,
    .post_load = pit_put,
    .run_state = pit_run_state,
    .internal = true,
    .object_parent = "pit-common",
};

bool x86_kvm_create_pit(Vm *vm, GError **err)
{
    X86Vm *x = x86_vm(vm);

    x->pit = device_new(vm, "kvm-pit", NULL, NULL, err, NULL);
    return x->pit != NULL;
}

/* A timer that ticks 18.2 times a second. */
void x86_kvm_pit_firmware_state(Device *dev)
{
    KvmPit *pit = (KvmPit *)dev;

    pit->s.channel[0] = (KvmPitChannelState){.mode = 2, .rw_mode = 3, .gate = 1, .count = 0x10000};
    pit_put(dev);
}
