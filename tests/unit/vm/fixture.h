/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A Vm with an accelerator that only records memory slots, and a device for it. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "../base/unit.h"
#include "vm/vcpu.h"
#include "vm/vm.h"

extern EventLoop *loop;
extern Vm *vm;

/* The accelerator's record: the memory slots that exist now. */
typedef struct {
    uint64_t gpa, size, offset;
    RamBlock *block;
    bool readonly, log;
} Slot;
extern GArray *slots;
extern unsigned slot_changes;
/* The page of the block that the accelerator's log tells of at the next fetch; -1: none. */
extern int64_t logged_page;
extern bool gsi_level[IRQ_GSI_COUNT];

void fixture_setup(void);
void fixture_teardown(void);

/* A device with 16 byte registers behind one region; register 15 defers. */
#define PROBE_STATE(X)                                                                             \
    X(A, uint8_t, regs, 16)                                                                        \
    X(F, uint32_t, writes)
STATE_STRUCT(ProbeState, PROBE_STATE);

typedef struct {
    Device dev;
    ProbeState s;
    IoRegion region;
    IrqLine irq;
    DeviceTimer *timer;
    unsigned resets, deferred, timer_runs, last_size;
    int inside; /* the number of threads in a handler; must never be 2 */
    bool fail;
    uint32_t level;
    Bus bus;
} Probe;
extern const DeviceClass probe_class;
Probe *probe_new(const char *id);

/* Runs fn in a coroutine, and the loop until fn has ended. */
void run_in_coroutine(CoroutineFn fn, void *data);
void run_until_flag(bool *flag);

#endif
