/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What debug.c and debug_stop.c share. */
#ifndef VM_DEBUG_INTERNAL_H
#define VM_DEBUG_INTERNAL_H

#include "vm/debug.h"

typedef struct {
    DebugKind kind;
    uint64_t addr, len;
    bool in_register;
    bool passed;  /* a CPU goes on from it: it is in a register this time */
    uint64_t gpa; /* where not in a register */
} DebugPoint;

/* A breakpoint instruction in guest memory. */
typedef struct {
    uint64_t addr, gpa;
    uint8_t original;
} DebugPlanted;

struct VmDebug {
    bool probed;
    unsigned can;
    GArray *points; /* of DebugPoint */
    bool armed;
    GMutex lock;     /* a leaf */
    GArray *planted; /* of DebugPlanted; under the lock, and changed only while the CPUs stand */
    int stops;       /* atomic: counts them */
};

struct VcpuDebug {
    DebugMove move;
    DebugSetup setup; /* in force, or the last that was */
    bool applied;     /* KVM was given a setup that is not empty */
    /* A step off the breakpoint at 'pass_addr', without that; 'setup' follows. */
    bool passing;
    uint64_t pass_addr;
    DebugSetup pass;
    DebugStop stop;
    int stop_order;
    bool told;
};

#endif
