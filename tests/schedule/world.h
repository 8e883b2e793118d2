/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The explorer's scenario: a small 'pc' with disks that come and go, CPUs whose program is a table
 * of operations (guest_ops.c), monitors whose commands are another (operator.c), and what must hold
 * at the end (world.c). An operation is added by an entry in its table.
 *
 * Operations that bring faults out which are not mended yet name the fault (explore.c has the
 * list): the ordinary run leaves them out, --all does not.
 */
#ifndef TESTS_SCHEDULE_WORLD_H
#define TESTS_SCHEDULE_WORLD_H

#include "baton.h"
#include "disk.h"
#include "vm/vcpu.h"

enum {
    CPU_MAX = 3,
    MONITOR_MAX = 2,
    QUEUE_MAX = 3,
    IOTHREAD_MAX = 2,
    SLOT_FIRST = 4,
    SLOT_NIC = 8, /* behind the disks */
    SLOT_CONSOLE = 9,
    RAM_SIZE = 8 << 20,
    IDE_MEMORY = 0x600000, /* behind that of the virtio drivers */
    USB_MEMORY = 0x680000,
    FDC_MEMORY = 0x700000,
    CD_MEMORY = RAM_SIZE - (256 << 10), /* of the CD drive's driver */
    CD_FIRST = 0x11,                    /* what the discs consist of */
    CD_SECOND = 0x22,
    CD_ANY = 0x100
};

/* Where the stick is. */
typedef enum { USB_IS_NONE, USB_IS_UHCI, USB_IS_UHCI_HUB, USB_IS_EHCI, USB_IS_XHCI } UsbKind;

/* What the seed made of the machine. */
typedef struct {
    uint64_t seed;
    bool all;         /* operations that bring known faults out, too */
    const char *only; /* ",a,b,": operations by name, or NULL */
    const char *skip; /* the same of those that are left out */
    unsigned cpus, monitors, iothreads, disks, queues, queue_size;
    bool packed, event_idx, ioeventfd;
    bool intx;                           /* the functions have no MSI-X */
    unsigned absent;                     /* bits: disks that are not there at first */
    unsigned guest_quota, monitor_quota; /* operations of each */
    unsigned error_in, nospace_in;
    bool stops; /* each failed request stops the machine, and is parked */
    bool saves; /* the machine is saved and loaded */
    bool nic;   /* there is a network card */
    unsigned ide_disks;
    unsigned pace; /* how many times as long guests and monitors wait: for USB's frames */
    UsbKind usb;
    bool floppy;
    bool chain;  /* virtio disk 0 has a backing chain (chain.h) */
    bool points; /* all trace points are on; nobody reads what they say */
    bool wild;   /* a CPU writes anything to registers of IDE, floppy, keyboard and USB */
} WorldConfig;

typedef struct {
    WorldConfig config;
    Vm *vm;
    uint8_t *ram; /* the guest's */
    struct PciBus *pci;
    /* Main loop only. */
    bool nic_present;       /* as 'present' */
    bool present[DISK_MAX]; /* device_add was asked for and DEVICE_DELETED has not come */
    unsigned plugged;       /* changes of 'present' */
    unsigned monitors_left;
    /* Atomic. */
    bool ending;                 /* guests submit nothing new */
    bool ide_lost[DISK_IDE_MAX]; /* drive_del was asked for */
    unsigned floppy_changes;     /* of the disk in the drive; odd: there is none */
    bool suspended;              /* from SUSPEND to WAKEUP or RESET: no CPU may run */
} World;

extern World world;

/* The seed's world. */
void world_configure(WorldConfig *config, uint64_t seed);
/* Runs a scenario and checks it; a fault ends the process. */
void world_run(void);
/* While the machine is made: what fails is told, and ends the process. */
void world_must(bool ok, GError **err);
/* Whether what brings a known fault out is in the mix. */
bool world_shows(const char *fault);
/* Whether an operation is; fault: that it brings out, or NULL. */
bool world_mixes(const char *name, const char *fault);
json_t *world_disk_config(unsigned disk, const char *node);
json_t *world_nic_config(void);

/* operator.c: a coroutine on the main loop that gives commands until its quota is used up. */
void coroutine_fn operator_run(void *rand);

/* guest_memory.c: memset() and memcpy() without a call that a sanitizer sees. */
void guest_fill(void *to, uint8_t value, size_t bytes);
void guest_copy(void *to, const void *from, size_t bytes);
/* Whether the memory is the guest's. */
bool guest_owns(const void *p);

/* guest.c. */
void guest_init(void);
VcpuExit guest_step(Vcpu *cpu);
void guest_kick(Vcpu *cpu);
void guest_interrupt(uint64_t addr, uint32_t data);
/* A disk's interrupt line. Called with the routing lock held. */
void guest_set_intx(unsigned disk, bool level);
/* An ISA interrupt line has changed: CPUs that wait look at their devices. The same. */
void guest_look(void);
/* What the guest had in flight on a disk or the NIC (-1: on all) is taken back, and its driver
 * starts anew. */
void guest_forget(int disk);
/* Nothing is in flight and no operation is under way, or why not. */
bool guest_idle(GString *why);
/* The guest's memory of what it does, as registers and RAM hold it. */
void *guest_save(void);
void guest_load(const void *saved);
/* Undoes guest_load(), before anybody has run. */
void guest_back(const void *saved);
/* The driver of the network card, and the number of the last packet that it has received. */
bool guest_nic_is_up(void);
uint32_t guest_nic_received(void);

#endif
