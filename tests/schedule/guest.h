/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the guest share: guest.c (the CPUs), guest_ops.c (what they do),
 * guest_driver.c (the driver of a virtio disk, its requests and registers), guest_nic.c (what is
 * different with a network card), and a file for each driver of another device.
 */
#ifndef TESTS_SCHEDULE_GUEST_H
#define TESTS_SCHEDULE_GUEST_H

#include "world.h"

#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include "../unit/virtio/ring_driver.h"
#include "devices/pci.h"

enum {
    SLOTS = 12, /* requests of a disk */
    BLOCKS_MAX = 4,
    CANARY = 0x5a,
    NIC = DISK_MAX, /* the network card's driver, behind those of the disks */
    DRIVER_MAX,
    MSI_BASE = 0x40, /* data of a queue's message: driver * QUEUE_MAX + queue above this */
    MSI_CONFIG = 0x30,
    INTX_BASE = 0x40, /* what wait_in_guest() gives for a disk's line */
    /* Registers that some systems' headers lack (virtio 1.2, 4.1.4.3). */
    COMMON_Q_RESET = 58,
    MODERN_ISR = 0x1000, /* where this program's devices have what their capabilities say */
    MODERN_DEVICE = 0x2000,
    MODERN_NOTIFY = 0x3000,
    MSIX_BAR = 1,
    MODERN_BAR = 4,
};

typedef struct {
    bool busy, write;
    unsigned queue, sector, count;
    uint32_t value;   /* of a packet: its number */
    bool steady;      /* a packet: the wire and the links were up */
    unsigned changes; /* wire_changes() then */
} Request;

typedef struct {
    RingDriver ring;
    uint16_t kicked;              /* split, event indices: the index at the last look */
    int slot[VIRTQUEUE_SIZE_MAX]; /* by head or id; -1: none */
    bool off;                     /* being reset */
} Queue;

typedef enum { DOWN, STARTING, UP, STOPPING } DriverState;

typedef struct {
    unsigned index;
    DriverState state;
    unsigned generation; /* of the state: an operation of an older one is void */
    bool claimed;        /* by an operation of several register accesses */
    bool moving, moved;  /* its registers; they are at the other place */
    Queue queue[QUEUE_MAX];
    Request request[SLOTS];
} Driver;

/* What an operation is about, other than c->driver. One CPU at a time uses such a device. */
typedef enum { UNIT_DRIVER, UNIT_CD, UNIT_IDE, UNIT_USB, UNIT_FDC, UNIT_KBC, UNIT_ANY } Unit;

/* guest_sectors.c: what a driver of IDE disks, the stick or the floppy reads or writes. */
typedef struct {
    unsigned disk; /* of 'disks' */
    unsigned lba, count;
    uint32_t value;         /* of the first sector that is written */
    uint32_t memory, bytes; /* for the data */
    bool writing;           /* a command is under way that writes */
    bool canary;            /* the memory is not the disk's any more */
} Sectors;

/* guest_ide.c: a command on the first IDE channel. */
typedef struct {
    Sectors io;
    unsigned command; /* of its table */
    unsigned done;
    bool nien;
    uint8_t broken; /* an IdeBroken, its PRD table */
    bool cache_off[DISK_IDE_MAX];
    uint8_t multiple[DISK_IDE_MAX];
} IdeGuest;

/* guest_usb.c: the stick, and a controller. */
enum { USB_RINGS = 4 };

typedef struct {
    uint32_t at; /* where the next TRB comes */
    bool cycle;
} UsbRing;

typedef struct {
    Sectors io;
    uint8_t stage;    /* a UsbStage */
    uint8_t kind;     /* of the command, a StickKind */
    unsigned substep; /* of a reset of the port, and of what makes the device usable */
    uint32_t tag;
    unsigned tds; /* of the transfer that is under way */
    /* xHCI alone. */
    UsbRing ring[USB_RINGS];
    unsigned of, first; /* the transfer's ring, and where it begins there */
    unsigned event;
    bool event_cycle, had_slot;
    uint8_t slot; /* 0: none */
} UsbGuest;

/* guest_fdc.c: a command of the floppy controller. */
typedef struct {
    Sectors io;
    bool ready; /* the controller is out of its reset */
    bool write;
    unsigned changes; /* world.floppy_changes, when the command began */
} FdcGuest;

/* guest_kbc.c: the keyboard controller. */
typedef struct {
    unsigned anything; /* accesses before what a driver does */
    unsigned stage, looks;
    bool sent; /* the stage's byte: its answer is waited for */
} KbcGuest;

typedef struct Cpu Cpu;
typedef struct {
    const char *name;
    unsigned weight;
    bool exact;        /* its accesses must arrive: not while the registers move */
    const char *fault; /* that it brings out, see explore.c */
    /* Under the lock: whether it may begin on c->driver; claims what it needs. */
    bool (*begin)(Cpu *c);
    /* Step n; true: it is over. Not under the lock. */
    bool (*step)(Cpu *c, unsigned n);
    Unit unit;
} GuestOp;

struct Cpu {
    Rand rand;
    const GuestOp *op;
    unsigned step, left;
    unsigned steps; /* of this operation, however it counts its own */
    Driver *driver;
    unsigned generation, queue;
    gint64 halted_until; /* us: it has nothing to do before */
    bool failed;
};

typedef struct {
    GMutex lock;
    GCond cond;
    bool kicked[CPU_MAX];
    bool looks[CPU_MAX]; /* an ISA line has changed since it last looked */
    bool intx[DISK_MAX]; /* lines that are high; the devices know it, so it is not saved */
    /* Saved and loaded. */
    struct {
        uint64_t interrupts; /* a bit for each queue of each disk */
        bool asleep;         /* a CPU has asked for S3 */
        Cpu cpu[CPU_MAX];
        Driver driver[DRIVER_MAX];
        uint32_t nic_sent, nic_received; /* numbers of the last packets */
        IdeGuest ide;
        UsbGuest usb;
        FdcGuest fdc;
        KbcGuest kbc;
    } s;
} Guest;

extern Guest guest;

static inline bool is_nic(const Driver *d)
{
    return d->index == NIC;
}

/* guest_ops.c: ends with an operation without a name. */
extern const GuestOp guest_ops[];

/* The CPU's operation goes on after at most so many microseconds. */
void guest_wait(Cpu *c, unsigned us);
void guest_out(uint16_t port, uint32_t v, unsigned len);
uint32_t guest_in(uint16_t port, unsigned len);

/* guest_sectors.c. */
uint32_t sectors_value(const Sectors *s, unsigned i);
/* Under the lock: the command's sectors were written, or may have been; and one was read. */
void sectors_written(Sectors *s);
void sectors_forget(Sectors *s);
void sectors_read(const Sectors *s, unsigned i, const uint8_t *data);
void sectors_check_flushed(const Sectors *s, unsigned first, unsigned count);
/* The memory is the guest's again: whoever writes to it, from a byte on, is found out. */
void sectors_set_canary(Sectors *s);
void sectors_check_canary(const Sectors *s, unsigned from);
/* The memory is the command's, with the data that it writes. */
void sectors_prepare(Sectors *s, bool write);

/* guest_ide.c: the disks on the first IDE channel. Under the lock: all is forgotten. */
bool guest_ide_begin(Cpu *c);
bool guest_ide_step(Cpu *c, unsigned n);
bool guest_ide_look_step(Cpu *c, unsigned n);
void guest_ide_forget(void);
void guest_ide_start(void);

/* guest_usb.c: the same for a USB controller, and a stick. */
bool guest_usb_begin(Cpu *c);
bool guest_usb_step(Cpu *c, unsigned n);
void guest_usb_forget(void);
bool guest_uhci_hid_begin(Cpu *c);
bool guest_uhci_hid_step(Cpu *c, unsigned n);

/* guest_fdc.c: the same for the floppy controller. */
bool guest_fdc_begin(Cpu *c);
bool guest_fdc_step(Cpu *c, unsigned n);
void guest_fdc_forget(void);

/* Another CPU, at any of their registers. */
bool guest_poke_step(Cpu *c, unsigned n);
/* What is wrong with these devices, unless another CPU is at them. */
void guest_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* guest_kbc.c: the keyboard controller, keyboard and mouse. */
bool guest_kbc_begin(Cpu *c);
bool guest_kbc_step(Cpu *c, unsigned n);
bool guest_kbc_reset_step(Cpu *c, unsigned n);

/* guest_cd.c: reading from the CD drive. */
bool guest_cd_begin(Cpu *c);
bool guest_cd_pio_step(Cpu *c, unsigned n);
bool guest_cd_dma_step(Cpu *c, unsigned n);
bool guest_cd_tray_step(Cpu *c, unsigned n);

/* guest_driver.c. Requests are touched under guest.lock, registers without. */
uint32_t driver_read(const Driver *d, unsigned offset, unsigned len);
void driver_write(const Driver *d, unsigned offset, uint32_t v, unsigned len);
uint32_t driver_config_read(const Driver *d, unsigned offset, unsigned len);
void driver_config_write(const Driver *d, unsigned offset, uint32_t v, unsigned len);
void driver_slot_free(Driver *d, unsigned slot);
void driver_slot_check(const Driver *d, unsigned slot);
void driver_queue_forget(Driver *d, unsigned queue);
bool driver_request_choose(Cpu *c, Driver *d, unsigned *slot);
void driver_request_fill(Driver *d, unsigned slot);
void driver_request_expose(Driver *d, unsigned slot);
bool driver_wants_kick(Queue *q);
void driver_reap(Driver *d, unsigned queue);
void driver_ring_prepare(Driver *d, unsigned queue);
void driver_write_queue(Driver *d, unsigned queue, unsigned part);
void driver_write_bars(Driver *d);
void driver_write_msix(Driver *d);
void driver_write_features(Driver *d);
uint64_t driver_modern_bar(const Driver *d);
void driver_forget(Driver *d);
unsigned driver_queues(const Driver *d);
void driver_expose(Driver *d, unsigned slot, const RingPiece *pieces, unsigned n);

/*
 * guest_nic.c: queue 0 receives into the first slots, queue 1 sends from the others. Under the
 * lock. They give whether the queue is to be kicked.
 */
bool driver_nic_fill(Driver *d);
bool driver_nic_send(Cpu *c, Driver *d);
bool driver_nic_done(Driver *d, unsigned slot, uint32_t len);

#endif
