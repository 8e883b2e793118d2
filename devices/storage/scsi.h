/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SCSI logical unit: a disk (SPC-4, SBC-3) or a CD/DVD drive (SPC-4, MMC-5) over a BlockBackend.
 * A transport carries commands and data: ATAPI, USB mass storage.
 *
 * The life of a command. The transport has a ScsiRequest and calls scsi_begin() with the CDB. The
 * request's phase then says what is next, until it is SCSI_PHASE_DONE:
 *   DATA  'direction' says which way; 'length' - 'position' bytes are left. The transport calls
 *         scsi_move() with memory for all or some of them.
 *   WORK  the disk is needed, and no data of the transport's: scsi_work().
 *   DONE  'status' is SCSI_GOOD, or SCSI_CHECK_CONDITION with 'sense'.
 * A transport that has no room for the rest of the data calls scsi_stop().
 *
 * What scsi_move() and scsi_work() begin ends at once (they return true), or ends later: then the
 * transport's progress() is called. The request's state changes only when a step has ended, so that
 * state, and not what is under way, is all that is saved; a step that failed and was parked is made
 * again from it.
 *
 * The device lends its lock, which all functions here want held but where said otherwise.
 * scsi_begin() is for any thread. scsi_move() and scsi_work() are for the loop of the requests, but
 * where the data is in the request's buffer (scsi_buffered()): then for any thread.
 */
#ifndef DEVICES_STORAGE_SCSI_H
#define DEVICES_STORAGE_SCSI_H

#include "base/wait_list.h"
#include "block/parking.h"
#include "vm/device.h"

#define SCSI_CDB_MAX      16
#define SCSI_SENSE_LENGTH 18   /* fixed format */
#define SCSI_BUFFER_SIZE  4096 /* of data that is not a disk's: parameters */
/* Of a parked request: what describes it, and what the transport may add. */
#define SCSI_DESCRIBED_WORDS 6
#define SCSI_PARKED_WORDS    12

enum { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02 };

typedef enum {
    SCSI_PHASE_IDLE, /* no command */
    SCSI_PHASE_DATA,
    SCSI_PHASE_WORK,
    SCSI_PHASE_DONE,
    SCSI_PHASE_COUNT,
} ScsiPhase;

typedef enum { SCSI_DATA_NONE, SCSI_DATA_IN, SCSI_DATA_OUT } ScsiDirection; /* the initiator's */

#define SCSI_SENSE_STATE(X)                                                                        \
    X(F, uint8_t, key)                                                                             \
    X(F, uint8_t, asc)                                                                             \
    X(F, uint8_t, ascq)                                                                            \
    X(F, bool, information_valid)                                                                  \
    X(F, uint32_t, information) /* a logical block address, mostly */
STATE_STRUCT(ScsiSense, SCSI_SENSE_STATE);
const StateDesc *scsi_sense_state_desc(void);

#define SCSI_REQUEST_STATE(X)                                                                      \
    X(A, uint8_t, cdb, SCSI_CDB_MAX)                                                               \
    X(F, uint8_t, phase)                                                                           \
    X(F, uint8_t, direction)                                                                       \
    X(F, uint8_t, status)                                                                          \
    X(F, uint8_t, lun)                                                                             \
    X(F, uint32_t, granule) /* scsi_move() wants a multiple of it, or all that is left */          \
    X(F, uint64_t, length)  /* bytes of data, and those that have been moved */                    \
    X(F, uint64_t, position)                                                                       \
    X(F, uint64_t, lba)        /* of the first block; in phase WORK of the next one, */            \
    X(F, uint64_t, blocks)     /* and how many are left; UNMAP: entries of the list */             \
    X(F, uint32_t, buffer_len) /* not 0: the data is in 'buffer' */                                \
    X(V, uint8_t, buffer, buffer_len, SCSI_BUFFER_SIZE)                                            \
    X(S, ScsiSense, sense, scsi_sense)
STATE_STRUCT(ScsiRequestState, SCSI_REQUEST_STATE);
const StateDesc *scsi_request_state_desc(void);

#define SCSI_UNIT_STATE(X)                                                                         \
    X(S, ScsiSense, sense, scsi_sense) /* of the last command; for REQUEST SENSE */                \
    X(F, uint32_t, attention)          /* unit attention conditions that were not told yet */      \
    X(F, uint32_t, events)             /* of media; for GET EVENT STATUS NOTIFICATION */           \
    X(F, bool, tray_open) /* changes with events and attention; the backend's comes first */       \
    X(F, bool, locked)    /* of the saved state only: the lock is the backend's */                 \
    X(F, bool, stopped)   /* by START STOP UNIT */                                                 \
    X(F, bool, write_cache)                                                                        \
    X(F, uint32_t, parked_words)                                                                   \
    X(V, uint32_t, parked, parked_words, SCSI_PARKED_WORDS)
STATE_STRUCT(ScsiUnitState, SCSI_UNIT_STATE);
const StateDesc *scsi_unit_state_desc(void);

typedef struct ScsiUnit ScsiUnit;
typedef struct ScsiRequest ScsiRequest;
typedef struct ScsiType ScsiType;
extern const ScsiType scsi_disk_type, scsi_cd_type;

typedef struct {
    /*
     * A step that did not end at once has ended, and 'moved' bytes of the memory that scsi_move()
     * got have been used, which is the transport's again. The phase says what is next; it is IDLE
     * where scsi_abort() has come meanwhile, and nobody wants the result. On the step's loop.
     */
    void (*progress)(ScsiRequest *r, uint32_t moved);
    /*
     * The step is parked (block/parking.h): gives up the memory of scsi_move(), and writes at most
     * 'max' words that find the request again. Returns their number. As BlockDeviceOps.park():
     * under a leaf lock, without the device's. May be NULL: there are none, and the memory is the
     * transport's own.
     */
    size_t (*park)(ScsiRequest *r, uint32_t *words, size_t max);
    /*
     * Makes the step again by scsi_move() or scsi_work(). 'words' are those of scsi_describe(), and
     * then those of park(). False: the transport has no such request, and is broken in the way of
     * its kind. Called by scsi_unpark(), with the lock.
     */
    bool (*rebuild)(ScsiUnit *u, const uint32_t *words, size_t n);
} ScsiTransport;

/* What the unit tells of itself. Strings are padded and cut; a NULL serial is not told. */
typedef struct {
    const char *vendor, *product, *version, *serial;
    uint64_t wwn; /* 0: none */
    uint32_t cyls, heads, secs;
    uint32_t block_size, physical_block_size;
    uint32_t min_io_size, opt_io_size, discard_granularity; /* bytes; 0: not told, no discard */
    uint16_t rotation_rate;
    bool removable; /* of a disk; CDs are */
    bool atapi;     /* INQUIRY data as ATAPI's */
} ScsiIdentity;

struct ScsiUnit {
    Device *dev;
    const ScsiType *type;
    const ScsiTransport *transport;
    BlockBackend *blk;
    ScsiIdentity identity;
    ScsiUnitState s;
    bool original_write_cache;
    /*
     * The guest has closed the tray, and the host's drive does not know the disc yet: its coming is
     * no news. Not saved: afterwards the guest hears of the disc once too often.
     */
    bool own_load;
    /* Written on the requests' loop only, atomic: without the lock where a request is parked. */
    unsigned in_flight;
    WaitList idle; /* until !in_flight */
};

/* The transport embeds it, and sets 'unit' once. It saves 's' with its own state. */
struct ScsiRequest {
    ScsiUnit *unit;
    ScsiRequestState s;
    /* Private. */
    BlockRequest io;
    bool in_flight;
    uint32_t step; /* bytes of the step that is under way */
    const struct iovec *iov;
    unsigned niov;
    struct iovec own_iov;
    uint8_t *bounce; /* where data is not the disk's as it is */
    uint32_t words[SCSI_DESCRIBED_WORDS];
};

/*
 * The unit's life. Before scsi_init() the caller has set identity and original_write_cache; 'blk'
 * was attached with scsi_disk_block_ops or scsi_cd_block_ops, whose 'data' is the ScsiUnit.
 */
void scsi_init(ScsiUnit *u, Device *dev, const ScsiType *type, BlockBackend *blk,
               const ScsiTransport *transport);
void scsi_destroy(ScsiUnit *u);
extern const BlockDeviceOps scsi_disk_block_ops, scsi_cd_block_ops;
/* A disk that may be taken out (identity.removable), as the host does with 'eject'. */
extern const BlockDeviceOps scsi_removable_disk_block_ops;
/* Main loop, the machine stands still: as after power on. Requests are the transport's to reset. */
void scsi_power_on(ScsiUnit *u);
/* A reset by the transport: the guest is told of it by a unit attention. */
void scsi_bus_reset(ScsiUnit *u);
void scsi_pre_save(ScsiUnit *u);
bool scsi_check_state(const ScsiUnitState *s, GError **err);
void scsi_post_load(ScsiUnit *u);

/* Whether a reset has to wait in scsi_quiesce(): requests are in flight or parked. */
bool scsi_busy(const ScsiUnit *u);
/* Main loop: parked requests are forgotten, and those that a drain holds end. */
void scsi_take_back(ScsiUnit *u);
/*
 * Main loop, without the lock. scsi_quiesce() gives up the requests of the unit; scsi_wait() lets
 * those in flight end. Both yield until there is none.
 */
void coroutine_fn scsi_quiesce(ScsiUnit *u);
void coroutine_fn scsi_wait(ScsiUnit *u);
/* Where the transport begins to work: makes what was parked again. On the requests' loop. */
void scsi_unpark(ScsiUnit *u);

/* Requests. A CDB may be longer than its command; what is too short is refused. */
void scsi_begin(ScsiRequest *r, unsigned lun, const uint8_t *cdb, size_t len);
/*
 * Moves data from or to the 'bytes' of iov, which are a multiple of 'granule' or all that is left;
 * where they are more than scsi_step_bytes(), only as many. True: the step has ended at once, with
 * *moved bytes. The iovec is borrowed until the step ends. A step that fails has moved nothing.
 */
bool scsi_move(ScsiRequest *r, const struct iovec *iov, unsigned niov, uint32_t bytes,
               uint32_t *moved);
/* The most bytes that one scsi_move() moves now: all that are left, or a multiple of 'granule'. */
uint32_t scsi_step_bytes(const ScsiRequest *r);
/* True: the step has ended at once. */
bool scsi_work(ScsiRequest *r);
bool scsi_buffered(const ScsiRequest *r);
/* In phase DATA: the transport moves no more. What has been moved counts. */
void scsi_stop(ScsiRequest *r);
/* The request is forgotten: its phase is IDLE. A step that is under way still calls progress(). */
void scsi_abort(ScsiRequest *r);
/* Which step the request is at; of a parked one park() may not look at the state. */
void scsi_describe(const ScsiRequest *r, uint32_t words[SCSI_DESCRIBED_WORDS]);
bool scsi_check_request(const ScsiUnit *u, const ScsiRequestState *s, GError **err);
/* Fixed format sense data, at most SCSI_SENSE_LENGTH bytes. */
void scsi_sense_data(const ScsiSense *sense, uint8_t data[SCSI_SENSE_LENGTH]);

#endif
