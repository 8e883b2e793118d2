/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * USB mass storage, bulk-only: a transport of one SCSI logical unit. (Universal Serial Bus Mass
 * Storage Class, Bulk-Only Transport, Revision 1.0; sections below are this one's.)
 *
 * Data goes through a buffer, since a packet may be taken back by the controller while the disk is
 * still at it, and since packets are smaller than blocks at full speed. A step of the SCSI request
 * reads or writes whole blocks there.
 *
 * A packet that waits for a step is not part of the saved state: its controller submits it again,
 * as it does after a cancel. Until a packet ends, no byte of it counts as moved. The buffer keeps
 * what was read for it; the bytes of a write are in the buffer once ('taken'), however often their
 * packet comes.
 */
#include <string.h>

#include "../storage/scsi.h"
#include "base/error.h"
#include "base/iov.h"
#include "devices/disk.h"
#include "usb.h"

enum {
    STORAGE_IN = 1, /* endpoints */
    STORAGE_OUT = 2,

    /* 3: class requests. */
    STORAGE_GET_MAX_LUN = 0xfe,
    STORAGE_RESET = 0xff,

    /* 5.1: the command block wrapper. */
    CBW_SIGNATURE = 0x43425355,
    CBW_LENGTH = 31,
    CBW_IN = 0x80,
    /* 5.2: the command status wrapper. */
    CSW_SIGNATURE = 0x53425355,
    CSW_LENGTH = 13,
    CSW_PASSED = 0,
    CSW_FAILED = 1,
    CSW_PHASE_ERROR = 2,

    STORAGE_BLOCK_MAX = 4096,
    /* A packet, and what is left over of a block. */
    STORAGE_BUFFER = USB_PACKET_MAX + STORAGE_BLOCK_MAX,
};

typedef enum { MODE_CBW, MODE_IN, MODE_OUT, MODE_CSW, MODE_COUNT } StorageMode;

#define STORAGE_STATE(X)                                                                           \
    X(F, uint8_t, mode)                                                                            \
    X(F, uint8_t, status)                                                                          \
    X(F, uint32_t, tag)                                                                            \
    X(F, uint32_t, expected) /* bytes that the host still wants to move */                         \
    X(F, uint32_t, residue)  /* of dCBWDataTransferLength, not moved by the device */              \
    X(F, uint32_t, taken)    /* bytes of an OUT packet that has not ended, in 'buffer' */          \
    X(F, uint32_t, left)     /* bytes in 'buffer': read and not sent, or come and not written */   \
    X(V, uint8_t, buffer, left, STORAGE_BUFFER)
STATE_STRUCT(StorageState, STORAGE_STATE);
STATE_DESC(usb_storage, StorageState, STORAGE_STATE, 1);

typedef struct {
    UsbDevice usb;
    StorageState s;
    ScsiUnit unit;
    ScsiRequest request;
    DiskConf conf;
    bool removable;
    UsbPacket *packet; /* that waits for a step */
    /* The bytes of s.buffer from 'start' on, s.left of them, are to be sent or to be written. */
    uint32_t start;
    struct iovec iov;
} UsbStorage;

static UsbStorage *storage_of(UsbDevice *usb)
{
    return container_of(usb, UsbStorage, usb);
}

static const uint8_t storage_device_descriptor[] = {
    18, USB_DT_DEVICE, 0x00, 0x02, 0, 0, 0, 64, 0xf4, 0x46, 0x01, 0x00, 0x00, 0x00, 1, 2, 3, 1,
};

/* 4.3 to 4.5: class 8, subclass 6 (SCSI), protocol 0x50; two bulk endpoints. */
#define STORAGE_CONFIG(packet_low, packet_high)                                                    \
    9, USB_DT_CONFIG, 32, 0, 1, 1, 0, 0xc0, 0, 9, USB_DT_INTERFACE, 0, 0, 2, 0x08, 0x06, 0x50, 0,  \
        7, USB_DT_ENDPOINT, USB_DIR_IN | STORAGE_IN, 0x02, packet_low, packet_high, 0, 7,          \
        USB_DT_ENDPOINT, STORAGE_OUT, 0x02, packet_low, packet_high, 0
static const uint8_t storage_full[] = {STORAGE_CONFIG(64, 0)};
static const uint8_t storage_high[] = {STORAGE_CONFIG(0, 2)}; /* 512 bytes */
static const uint8_t storage_super[] = {
    9,
    USB_DT_CONFIG,
    44,
    0,
    1,
    1,
    0,
    0xc0,
    0,
    9,
    USB_DT_INTERFACE,
    0,
    0,
    2,
    0x08,
    0x06,
    0x50,
    0,
    7,
    USB_DT_ENDPOINT,
    USB_DIR_IN | STORAGE_IN,
    0x02,
    0,
    4,
    0,
    6,
    USB_DT_ENDPOINT_COMPANION,
    15,
    0,
    0,
    0,
    7,
    USB_DT_ENDPOINT,
    STORAGE_OUT,
    0x02,
    0,
    4,
    0,
    6,
    USB_DT_ENDPOINT_COMPANION,
    15,
    0,
    0,
    0,
};
/* USB 3.0, 9.6.2: the USB 2.0 extension and SuperSpeed capabilities. */
static const uint8_t storage_bos[] = {
    5, USB_DT_BOS, 22, 0, 2, 7, 16, 2, 2, 0, 0, 0, 10, 16, 3, 0, 0x0e, 0, 1, 10, 0xff, 0x07,
};
static const char *const storage_strings[] = {NULL, "QEMU", "QEMU USB HARDDRIVE", "1", NULL};

/* The buffer. */

static void storage_drop(UsbStorage *st)
{
    st->start = st->s.left = 0;
}

static void storage_use(UsbStorage *st, uint32_t bytes)
{
    st->start += bytes;
    st->s.left -= bytes;
}

/* Makes room behind what is left. */
static void storage_compact(UsbStorage *st)
{
    memmove(st->s.buffer, st->s.buffer + st->start, st->s.left);
    st->start = 0;
}

/* Steps of the SCSI request. */

static uint64_t storage_unmoved(const ScsiRequest *r)
{
    return r->s.length - r->s.position;
}

static bool storage_wants(const UsbStorage *st, ScsiDirection direction)
{
    return st->request.s.phase == SCSI_PHASE_DATA && st->request.s.direction == direction;
}

/* True: it has ended, with *moved bytes. */
static bool storage_move(UsbStorage *st, uint8_t *data, uint32_t bytes, uint32_t *moved)
{
    st->iov = (struct iovec){data, bytes};
    return scsi_move(&st->request, &st->iov, 1, bytes, moved);
}

/* Reads so many bytes, in whole blocks, behind what is left. False: it ends later. */
static bool storage_fetch(UsbStorage *st, uint32_t wanted)
{
    uint32_t granule = MAX(st->request.s.granule, 1), moved;
    uint64_t bytes = MIN(ROUND_UP(wanted, granule), storage_unmoved(&st->request));

    storage_compact(st);
    bytes = MIN(bytes, STORAGE_BUFFER - st->s.left);
    if (!storage_move(st, st->s.buffer + st->s.left, bytes, &moved)) {
        return false;
    }
    st->s.left += moved;
    return true;
}

/* Bytes of the buffer that can be written: whole blocks, or all that the command still wants. */
static uint32_t storage_writable(const UsbStorage *st)
{
    uint32_t granule = MAX(st->request.s.granule, 1);

    if (!storage_wants(st, SCSI_DATA_OUT)) {
        return 0;
    }
    return MIN(st->s.left - st->s.left % granule, storage_unmoved(&st->request));
}

static void storage_written(UsbStorage *st, uint32_t moved)
{
    storage_use(st, moved);
    st->s.residue -= moved;
}

/* Writes all that can be. False: it ends later. */
static bool storage_flush(UsbStorage *st)
{
    uint32_t bytes, moved;

    while ((bytes = storage_writable(st))) {
        if (!storage_move(st, st->s.buffer + st->start, bytes, &moved)) {
            return false;
        }
        storage_written(st, moved);
    }
    return true;
}

/* The command's end (5.2, 6.6). */

/*
 * The device has more data than the host has asked for, or less: or the command has no result,
 * since the disk has given it up.
 */
static bool storage_out_of_phase(const UsbStorage *st)
{
    return st->request.s.phase != SCSI_PHASE_DONE ||
           (st->s.left && st->request.s.status == SCSI_GOOD);
}

static UsbStatus storage_send_status(UsbStorage *st, UsbPacket *p)
{
    uint8_t csw[CSW_LENGTH];

    while (st->request.s.phase == SCSI_PHASE_WORK) {
        if (!scsi_work(&st->request)) {
            return USB_PENDING;
        }
    }
    if (p->length < CSW_LENGTH) {
        return USB_BABBLE;
    }
    if (storage_out_of_phase(st)) {
        scsi_stop(&st->request);
        st->s.status = CSW_PHASE_ERROR;
    } else if (st->request.s.status != SCSI_GOOD && st->s.status == CSW_PASSED) {
        st->s.status = CSW_FAILED;
    }
    stle32(csw, CSW_SIGNATURE);
    stle32(csw + 4, st->s.tag);
    stle32(csw + 8, st->s.residue);
    csw[12] = st->s.status;
    p->actual = iov_from_buf(p->iov, p->niov, 0, csw, sizeof csw);
    st->s.mode = MODE_CBW;
    storage_drop(st);
    return USB_OK;
}

/* Gathers data for the host. False: it goes on later. */
static bool storage_gather(UsbStorage *st, uint32_t wanted)
{
    while (st->s.left < wanted) {
        if (st->request.s.phase == SCSI_PHASE_WORK) {
            if (!scsi_work(&st->request)) {
                return false;
            }
        } else if (!storage_wants(st, SCSI_DATA_IN)) {
            return true;
        } else if (!storage_fetch(st, wanted - st->s.left)) {
            return false;
        }
    }
    return true;
}

/* Data to the host. A packet that is not filled ends them (6.7.2). */
static UsbStatus storage_in(UsbStorage *st, UsbPacket *p)
{
    StorageState *s = &st->s;
    uint32_t wanted = MIN(p->length, s->expected);

    if (!storage_gather(st, wanted)) {
        return USB_PENDING;
    }
    p->actual = iov_from_buf(p->iov, p->niov, 0, s->buffer + st->start, MIN(s->left, wanted));
    storage_use(st, p->actual);
    s->expected -= p->actual;
    s->residue -= p->actual;
    if (!s->expected || p->actual < wanted) {
        s->expected = 0;
        s->mode = MODE_CSW;
    }
    return USB_OK;
}

/* The bytes of a packet go behind those that are left over. Nobody wants them: they are dropped. */
static void storage_take_packet(UsbStorage *st, UsbPacket *p)
{
    StorageState *s = &st->s;

    uint32_t room;

    if (!storage_wants(st, SCSI_DATA_OUT)) {
        storage_drop(st);
    }
    storage_compact(st);
    room = MIN(s->expected, STORAGE_BUFFER - s->left);
    s->taken = iov_to_buf(p->iov, p->niov, 0, s->buffer + s->left, MIN(p->length, room));
    if (storage_wants(st, SCSI_DATA_OUT)) {
        s->left += s->taken;
    } else if (st->request.s.phase == SCSI_PHASE_DATA) {
        s->status = CSW_PHASE_ERROR;
        scsi_stop(&st->request);
    }
}

static void storage_end_packet(UsbStorage *st)
{
    st->s.expected -= st->s.taken;
    st->s.taken = 0;
    if (!st->s.expected) {
        st->s.mode = MODE_CSW;
    }
}

/*
 * Data from the host. A command that has ended drops what still comes (6.7.3). A packet as long as
 * the one that was taken and has not ended is that one, sent again.
 */
static UsbStatus storage_out(UsbStorage *st, UsbPacket *p)
{
    StorageState *s = &st->s;

    while (st->request.s.phase == SCSI_PHASE_WORK) {
        if (!scsi_work(&st->request)) {
            return USB_PENDING;
        }
    }
    if (!storage_flush(st)) {
        return USB_PENDING;
    }
    if (s->taken != MIN(p->length, s->expected)) {
        storage_end_packet(st);
        if (s->mode != MODE_OUT) {
            return USB_STALL;
        }
        storage_take_packet(st, p);
        if (!storage_flush(st)) {
            return USB_PENDING;
        }
    }
    if (!storage_wants(st, SCSI_DATA_OUT)) {
        storage_drop(st);
    }
    p->actual = s->taken;
    storage_end_packet(st);
    return USB_OK;
}

static void storage_forget(UsbStorage *st)
{
    StorageState *s = &st->s;

    s->mode = MODE_CBW;
    s->status = CSW_PASSED;
    s->tag = s->expected = s->residue = s->taken = 0;
    storage_drop(st);
}

/* A command that is not valid halts both endpoints, until a reset (5.3.1, 6.6.1). */
static UsbStatus storage_command(UsbStorage *st, UsbPacket *p)
{
    StorageState *s = &st->s;
    uint8_t cbw[CBW_LENGTH];

    if (p->length != CBW_LENGTH || iov_to_buf(p->iov, p->niov, 0, cbw, sizeof cbw) != sizeof cbw ||
        ldle32(cbw) != CBW_SIGNATURE || cbw[14] < 1 || cbw[14] > SCSI_CDB_MAX) {
        usb_halt(&st->usb, STORAGE_IN, true);
        usb_halt(&st->usb, STORAGE_OUT, false);
        return USB_STALL;
    }
    p->actual = CBW_LENGTH;
    storage_forget(st);
    s->tag = ldle32(cbw + 4);
    s->expected = s->residue = ldle32(cbw + 8);
    s->mode = !s->expected ? MODE_CSW : cbw[12] & CBW_IN ? MODE_IN : MODE_OUT;
    scsi_begin(&st->request, cbw[13] & 0x0f, cbw + 15, cbw[14]);
    return USB_OK;
}

static UsbStatus storage_packet(UsbStorage *st, UsbPacket *p)
{
    bool in = p->pid == USB_PID_IN;

    switch (st->s.mode) {
    case MODE_IN:
        return in ? storage_in(st, p) : USB_STALL;
    case MODE_OUT:
        return in ? USB_STALL : storage_out(st, p);
    case MODE_CSW:
        return in ? storage_send_status(st, p) : USB_STALL;
    default:
        return in ? USB_STALL : storage_command(st, p);
    }
}

static UsbStatus storage_data(UsbDevice *usb, UsbPacket *p)
{
    UsbStorage *st = storage_of(usb);
    UsbStatus status;

    if (p->endpoint != (p->pid == USB_PID_IN ? STORAGE_IN : STORAGE_OUT)) {
        return USB_STALL;
    }
    if (p->length > USB_PACKET_MAX) {
        return USB_ERROR;
    }
    if (st->packet) {
        return USB_NAK; /* the pipes are used one at a time */
    }
    if (st->request.in_flight || scsi_busy(&st->unit)) {
        /* A step that goes on from before a load, a reset or a cancel: its end is waited for. */
        st->packet = p;
        p->actual = 0;
        return USB_PENDING;
    }
    status = storage_packet(st, p);
    if (status == USB_PENDING) {
        st->packet = p;
    }
    return status;
}

/* A step has ended: the packet that waits goes on. */
static void storage_go_on(UsbStorage *st)
{
    UsbPacket *p = st->packet;
    UsbStatus status;

    if (!p || st->request.in_flight || scsi_busy(&st->unit)) {
        return;
    }
    status = storage_packet(st, p);
    if (status != USB_PENDING) {
        st->packet = NULL;
        usb_complete(p, status);
    }
}

static void storage_progress(ScsiRequest *r, uint32_t moved)
{
    UsbStorage *st = container_of(r, UsbStorage, request);

    if (r->s.phase != SCSI_PHASE_IDLE && st->s.mode == MODE_IN) {
        st->s.left += moved;
    } else if (r->s.phase != SCSI_PHASE_IDLE && st->s.mode == MODE_OUT) {
        storage_written(st, moved);
    }
    storage_go_on(st);
}

/* A step that was parked is made again; all of its data are in the buffer. */
static bool storage_rebuild(ScsiUnit *u, const uint32_t *words, size_t n)
{
    UsbStorage *st = container_of(u, UsbStorage, unit);
    uint32_t own[SCSI_DESCRIBED_WORDS];
    bool ended = false;

    scsi_describe(&st->request, own);
    if (n != SCSI_DESCRIBED_WORDS || memcmp(words, own, sizeof own)) {
        return false;
    }
    if (st->request.s.phase == SCSI_PHASE_WORK) {
        ended = scsi_work(&st->request);
    } else if (storage_wants(st, SCSI_DATA_IN)) {
        uint32_t wanted = MIN(st->packet ? st->packet->length : STORAGE_BLOCK_MAX, st->s.expected);

        ended = storage_gather(st, wanted);
    } else {
        ended = storage_flush(st);
    }
    if (ended) {
        storage_go_on(st);
    }
    return true;
}

static const ScsiTransport storage_transport = {
    .progress = storage_progress,
    .rebuild = storage_rebuild,
};

static void storage_cancel(UsbDevice *usb, UsbPacket *p)
{
    UsbStorage *st = storage_of(usb);

    if (st->packet == p) {
        st->packet = NULL;
    }
}

/* Requests and resets (3.1, 5.3.4). */

static void storage_bus_reset(UsbDevice *usb)
{
    UsbStorage *st = storage_of(usb);

    scsi_abort(&st->request);
    scsi_take_back(&st->unit);
    storage_forget(st);
}

/* The host gives the command up (3.1): a packet that still waits for it has no result. */
static void storage_recover(UsbStorage *st)
{
    UsbPacket *p = st->packet;

    storage_bus_reset(&st->usb);
    st->packet = NULL;
    if (p) {
        p->actual = 0;
        usb_complete(p, USB_STALL);
    }
}

static UsbStatus storage_control(UsbDevice *usb, const UsbSetup *setup, uint8_t *data,
                                 uint32_t *length)
{
    bool in = setup->type & USB_DIR_IN;

    if ((setup->type & ~USB_DIR_IN) != (USB_TYPE_CLASS | USB_RECIPIENT_INTERFACE) || setup->index) {
        return USB_STALL;
    }
    switch (setup->request) {
    case STORAGE_GET_MAX_LUN:
        data[0] = 0;
        *length = 1;
        return in ? USB_OK : USB_STALL;
    case STORAGE_RESET:
        if (in) {
            return USB_STALL;
        }
        storage_recover(storage_of(usb));
        return USB_OK;
    default:
        return USB_STALL;
    }
}

/* Life. */

static bool storage_realize(Device *dev, GError **err)
{
    UsbStorage *st = container_of(dev, UsbStorage, usb.dev);
    DiskConf *conf = &st->conf;
    BlockDeviceOps const *ops =
        st->removable ? &scsi_removable_disk_block_ops : &scsi_disk_block_ops;

    if (conf->logical_block_size > STORAGE_BLOCK_MAX) {
        return error_set(err, "logical_block_size of USB storage is at most %u", STORAGE_BLOCK_MAX);
    }
    if (conf->discard_granularity == 0) {
        conf->discard_granularity = DISK_GRANULARITY_AUTO;
    }
    if (!disk_check(conf, 65535, 255, 255, err) ||
        !disk_attach(conf, dev, 0, ops, &st->unit, err)) {
        return false;
    }
    if (conf->serial && !st->usb.serial) {
        st->usb.serial = g_strdup(conf->serial);
    }
    st->unit.original_write_cache = conf->original_write_cache;
    st->unit.identity = (ScsiIdentity){
        .vendor = "QEMU",
        .product = "QEMU HARDDISK",
        .version = "2.5+",
        .serial = conf->serial,
        .block_size = conf->logical_block_size,
        .physical_block_size = conf->physical_block_size,
        .removable = st->removable,
    };
    scsi_init(&st->unit, dev, &scsi_disk_type, conf->blk, &storage_transport);
    st->request.unit = &st->unit;
    return true;
}

static void storage_unrealize(Device *dev)
{
    UsbStorage *st = container_of(dev, UsbStorage, usb.dev);

    disk_detach(&st->conf, true);
    scsi_destroy(&st->unit);
}

static void storage_reset(Device *dev, ResetKind kind)
{
    UsbStorage *st = container_of(dev, UsbStorage, usb.dev);

    usb_device_reset(&st->usb);
    storage_bus_reset(&st->usb);
    scsi_power_on(&st->unit);
}

static void storage_pre_save(Device *dev)
{
    UsbStorage *st = container_of(dev, UsbStorage, usb.dev);

    storage_compact(st);
    scsi_pre_save(&st->unit);
}

enum { SECTION_USB, SECTION_STORAGE, SECTION_REQUEST, SECTION_UNIT };

static bool storage_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const StorageState *s = state;

    switch (section) {
    case SECTION_USB:
        return usb_device_check_state(dev, section, state, err);
    case SECTION_STORAGE:
        return (s->mode < MODE_COUNT && s->taken <= s->expected &&
                s->expected - s->taken <= s->residue && s->taken <= USB_PACKET_MAX &&
                (s->mode == MODE_IN || s->mode == MODE_OUT) == (s->expected > 0)) ||
               error_set(err, "%s: mode %u with %u and %u bytes to come", dev->path, s->mode,
                         s->expected, s->residue);
    case SECTION_REQUEST:
        return scsi_check_request(&container_of(dev, UsbStorage, usb.dev)->unit, state, err);
    default:
        return scsi_check_state(state, err);
    }
}

static void storage_post_load(Device *dev)
{
    UsbStorage *st = container_of(dev, UsbStorage, usb.dev);

    st->packet = NULL;
    st->start = 0;
    scsi_post_load(&st->unit);
}

static void storage_run_state(Device *dev, bool running)
{
    UsbStorage *st = container_of(dev, UsbStorage, usb.dev);

    if (running) {
        scsi_unpark(&st->unit);
        storage_go_on(st);
    }
}

static void coroutine_fn storage_drain(Device *dev)
{
    scsi_wait(&container_of(dev, UsbStorage, usb.dev)->unit);
}

static const Property storage_props[] = {
    DISK_PROPS(UsbStorage, conf),
    PROP("removable", PROP_BOOL, UsbStorage, removable, "off", "the medium may be taken out"),
    PROP_END,
};

static const StateSection storage_state[] = {
    [SECTION_USB] = USB_STATE(UsbStorage, usb),
    [SECTION_STORAGE] = {usb_storage_state_desc, offsetof(UsbStorage, s)},
    [SECTION_REQUEST] = {scsi_request_state_desc, offsetof(UsbStorage, request.s)},
    [SECTION_UNIT] = {scsi_unit_state_desc, offsetof(UsbStorage, unit.s)},
    {0},
};

static const UsbClass storage_usb = {
    .device = storage_device_descriptor,
    .config = {[USB_SPEED_FULL] = storage_full,
               [USB_SPEED_HIGH] = storage_high,
               [USB_SPEED_SUPER] = storage_super},
    .bos = storage_bos,
    .strings = storage_strings,
    .serial_string = 3,
    .is_storage = true,
    .reset = storage_bus_reset,
    .control = storage_control,
    .data = storage_data,
    .cancel = storage_cancel,
};

const DeviceClass usb_storage_class = {
    .name = "usb-storage",
    .bus = "usb-bus",
    .desc = "QEMU USB MSD",
    .category = DEVICE_CATEGORY_STORAGE,
    .size = sizeof(UsbStorage),
    .props = storage_props,
    .bus_props = usb_device_props,
    .bus_data = &storage_usb,
    .state = storage_state,
    .realize = storage_realize,
    .unrealize = storage_unrealize,
    .reset = storage_reset,
    .pre_save = storage_pre_save,
    .check_state = storage_check_state,
    .post_load = storage_post_load,
    .run_state = storage_run_state,
    .drain = storage_drain,
    .hotpluggable = true,
    .object_parent = "usb-storage-dev",
};
