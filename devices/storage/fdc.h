/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller isa-fdc (fdc*.c) and its drives (floppy.c). All share the
 * lock of the ISA bus, which functions here want held, but where said otherwise.
 *
 * The controller has one command at a time, and that one request to a disk at a time; the
 * controller's state describes both in full. Requests are made on the main loop alone.
 */
#ifndef DEVICES_STORAGE_FDC_H
#define DEVICES_STORAGE_FDC_H

#include "base/wait_list.h"
#include "block/parking.h"
#include "devices/disk.h"
#include "devices/isa_dma.h"

#define FDC_DRIVES       2u /* on the bus; commands can name four */
#define FDC_SECTOR       512u
#define FDC_SIZE_CODE    2 /* of FDC_SECTOR, in commands and sector IDs */
#define FDC_ID_SIZE      4 /* of a sector's ID, as FORMAT TRACK takes it */
#define FDC_FIFO_SIZE    16
#define FDC_PARKED_WORDS 8

/* Values of the properties drive-type and fdtypeA. */
typedef enum { FLOPPY_144, FLOPPY_288, FLOPPY_120, FLOPPY_NONE, FLOPPY_AUTO } FloppyType;
extern const char *const floppy_type_names[];

/* A data rate as DSR and CCR name it. */
enum { FDC_RATE_500K, FDC_RATE_300K, FDC_RATE_250K, FDC_RATE_1M };

/* How a medium is formatted. */
typedef struct {
    uint8_t type; /* FloppyType: of the drive that it is made for */
    uint8_t secs, cyls, heads;
    uint8_t rate;
} FloppyFormat;

#define FLOPPY_STATE(X)                                                                            \
    X(F, bool, changed)   /* the medium may be another since the heads moved last (DIR) */         \
    X(F, uint8_t, turned) /* the sector that went by last, for READ ID */                          \
    X(F, uint32_t, parked_words)                                                                   \
    X(V, uint32_t, parked, parked_words, FDC_PARKED_WORDS)
STATE_STRUCT(FloppyState, FLOPPY_STATE);

/* A drive: the device 'floppy'. */
typedef struct {
    Device dev;
    FloppyState s;
    DiskConf conf;
    uint32_t unit;
    int type;                   /* FloppyType */
    const FloppyFormat *format; /* of the medium; NULL: there is none */
    BlockRequest io;
    struct iovec iov;
    /* Written on the main loop only, atomic: without the lock where a request is parked. */
    bool in_flight, parked;
    WaitList idle; /* until !in_flight */
    /* For parking, made when the request begins: park() may not look at the state. */
    uint32_t words[FDC_PARKED_WORDS];
} FloppyDrive;

typedef struct {
    Bus bus;
    int default_type[FDC_DRIVES], fallback; /* FloppyType */
    Device *taken[FDC_DRIVES];              /* main loop: whose place it is */
    FloppyDrive *drives[FDC_DRIVES];        /* those that the controller finds */
} FdcBus;

void fdc_bus_init(FdcBus *fdc, Vm *vm, Device *controller);
/* For atomic flags of FloppyDrive. */
bool floppy_flag(const bool *flag);
void floppy_set_flag(bool *flag, bool on);
/* Yields until no request is in flight. Main loop, without the lock. */
void coroutine_fn floppy_wait(FloppyDrive *d);

/* The controller. */

/* Where a command is. */
typedef enum {
    FDC_PHASE_COMMAND, /* the host writes a command; none is in progress without a first byte */
    FDC_PHASE_DISK,    /* a request from or to 'buffer' */
    FDC_PHASE_HOST,    /* data between 'buffer' and the host, by DMA or by the FIFO */
    FDC_PHASE_RESULT,  /* the host reads the result */
    FDC_PHASE_COUNT,
} FdcPhase;

/* What a command does with the disk. */
typedef enum {
    FDC_KIND_NONE,
    FDC_KIND_READ,
    FDC_KIND_WRITE,
    FDC_KIND_VERIFY,
    FDC_KIND_SCAN,
    FDC_KIND_FORMAT,
} FdcKind;

#define FDC_STATE(X)                                                                               \
    X(F, uint8_t, dor)                                                                             \
    X(F, uint8_t, tdr)                                                                             \
    X(F, uint8_t, rate)                                                                            \
    X(F, uint8_t, srt_hut) /* of SPECIFY */                                                        \
    X(F, uint8_t, hlt_nd)                                                                          \
    X(F, uint8_t, config) /* of CONFIGURE */                                                       \
    X(F, uint8_t, pretrk)                                                                          \
    X(F, bool, lock)                                                                               \
    X(F, uint8_t, perpendicular)                                                                   \
    X(F, uint8_t, eot)     /* of the last command that has one */                                  \
    X(A, uint8_t, spec, 4) /* of DRIVE SPECIFICATION */                                            \
    X(A, uint8_t, track, 4)                                                                        \
    X(F, bool, interrupt)      /* asked for */                                                     \
    X(F, uint8_t, sense)       /* drives that SENSE INTERRUPT STATUS tells of: a bit each */       \
    X(F, bool, sense_of_reset) /* ... because of a reset, not of a seek */                         \
    X(A, uint8_t, sense_st0, 4)                                                                    \
    X(F, uint8_t, phase)                                                                           \
    X(F, uint8_t, command_len) /* bytes of the command that have come */                           \
    X(A, uint8_t, command, FDC_FIFO_SIZE)                                                          \
    X(F, uint8_t, result_len)                                                                      \
    X(F, uint8_t, result_position)                                                                 \
    X(A, uint8_t, result, FDC_FIFO_SIZE)                                                           \
    X(F, uint8_t, cyl) /* the sector that the command is at */                                     \
    X(F, uint8_t, head)                                                                            \
    X(F, uint8_t, sector)                                                                          \
    X(F, uint8_t, size_code)                                                                       \
    X(F, uint8_t, st0)                                                                             \
    X(F, uint8_t, st1)                                                                             \
    X(F, uint8_t, st2)                                                                             \
    X(F, bool, terminal)       /* DMA has said that this is the last of the data */                \
    X(F, uint16_t, left)       /* sectors, of commands that count them */                          \
    X(F, uint16_t, position)   /* in 'buffer' */                                                   \
    X(F, uint16_t, buffer_len) /* of what the host moves */                                        \
    X(A, uint8_t, buffer, FDC_SECTOR)
STATE_STRUCT(FdcState, FDC_STATE);

typedef struct {
    Device dev;
    FdcState s;
    FdcBus bus;
    DeviceBh *bh;
    IoRegion io, dir_io;
    IrqLine irq_line;
    bool running; /* requests may begin */
    /* Properties. */
    uint32_t iobase, irq, dma;
    int32_t bootindex[FDC_DRIVES];
} Fdc;

/* Registers' bits that commands look at, and status bytes (82077AA data sheet, 2.1 and 6). */
enum {
    FDC_DOR_NRESET = 0x04,
    FDC_DOR_GATE = 0x08, /* the interrupt and DMA are connected */
    FDC_CONFIG_EIS = 0x40,
    FDC_CONFIG_EFIFO = 0x20, /* the FIFO is off */
    FDC_CONFIG_NO_POLL = 0x10,
    FDC_ND = 0x01, /* of hlt_nd: no DMA */

    FDC_ST0_ABNORMAL = 0x40,
    FDC_ST0_INVALID = 0x80,
    FDC_ST0_READY_CHANGED = 0xc0,
    FDC_ST0_SEEK_END = 0x20,
    FDC_ST0_EQUIPMENT = 0x10,
    FDC_ST0_HEAD = 0x04,
    FDC_ST1_END_OF_CYL = 0x80,
    FDC_ST1_DATA = 0x20,
    FDC_ST1_OVERRUN = 0x10,
    FDC_ST1_NO_DATA = 0x04,
    FDC_ST1_NOT_WRITABLE = 0x02,
    FDC_ST1_NO_ADDRESS = 0x01,
    FDC_ST2_CONTROL_MARK = 0x40,
    FDC_ST2_DATA = 0x20,
    FDC_ST2_WRONG_CYL = 0x10,
    FDC_ST2_SCAN_HIT = 0x08,
    FDC_ST2_SCAN_FAILED = 0x04,
};

typedef struct FdcCommand FdcCommand;
struct FdcCommand {
    uint8_t code, mask; /* a first byte is this command's if it equals 'code' under 'mask' */
    uint8_t params;     /* bytes that follow */
    FdcKind kind;
    bool track;   /* READ TRACK */
    bool deleted; /* looks for, or makes, sectors with a deleted mark */
    void (*run)(Fdc *f, const FdcCommand *c);
};

/* fdc_command.c. The command of a first byte, which may be "invalid". */
const FdcCommand *fdc_find_command(uint8_t code);
/* That of the command in progress. */
const FdcCommand *fdc_command(const Fdc *f);
/* Whether the command has all its bytes. */
bool fdc_command_complete(const Fdc *f);

/* fdc.c. */
/* The drive that a command names; NULL: there is none. */
FloppyDrive *fdc_drive(const Fdc *f, unsigned unit);
/* Data goes through the FIFO, not by DMA. */
bool fdc_pio(const Fdc *f);
void fdc_set_phase(Fdc *f, FdcPhase phase);
/* The command is over, or has so many bytes of result in 'result'. */
void fdc_no_result(Fdc *f);
void fdc_result(Fdc *f, unsigned len);
void fdc_set_interrupt(Fdc *f, bool level);
/* Of the interrupt after a reset nobody has to ask any more: another one comes. */
void fdc_forget_reset(Fdc *f);

/* fdc_transfer.c. */
FdcKind fdc_kind(const Fdc *f); /* of the command in progress */
bool fdc_to_host(const Fdc *f); /* in FDC_PHASE_HOST: the host reads */
/* A command that moves data begins. */
void fdc_begin(Fdc *f, const FdcCommand *c);
/* ... or ends, with result and interrupt: well (0, 0), or with these status bits. */
void fdc_end(Fdc *f, uint8_t st0, uint8_t st1, uint8_t st2);
/* The host has moved what it had to, or has said that there is no more. */
void fdc_host_done(Fdc *f);
/* SCAN: a byte of the host's, beside the disk's at 'position'. Ones are equal to everything. */
void fdc_scan_byte(Fdc *f, uint8_t byte);
void fdc_dma_ready(Device *dev); /* the DMA channel is */
/* Whether a reset has to wait for a request. */
bool fdc_busy(const Fdc *f);
/* Main loop: what the state describes goes on, if it may. */
void fdc_run(Device *dev);
/* Moves the heads, as a step makes a drive forget that its medium was changed. */
void fdc_move_heads(Fdc *f, unsigned unit, uint8_t track);
/* Whether a medium is in the drive that can be read at the rate that is set. */
bool fdc_readable(const Fdc *f, const FloppyDrive *d);

/* For the drives. */
extern const BlockDeviceOps fdc_block_ops; /* 'data' is the FloppyDrive */
/* floppy.c: the medium is another, or gone. */
void floppy_look_at_medium(FloppyDrive *d);

#endif
