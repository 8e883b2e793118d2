/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules of 'blkdebug': what happens at which event, in which state. */
#ifndef BLOCK_BLKDEBUG_H
#define BLOCK_BLKDEBUG_H

#include "../core.h"
#include "block/debug.h"

typedef enum {
    BLKDEBUG_READ,
    BLKDEBUG_WRITE,
    BLKDEBUG_WRITE_ZEROES,
    BLKDEBUG_DISCARD,
    BLKDEBUG_FLUSH,
    BLKDEBUG_BLOCK_STATUS,
} BlkdebugIo;

typedef enum { BLKDEBUG_INJECT, BLKDEBUG_SET_STATE, BLKDEBUG_SUSPEND } BlkdebugAction;

typedef struct BlkdebugRule {
    BlkdebugAction action;
    int event;
    int32_t state; /* 0: any */
    /* INJECT */
    int iotype;
    bool has_iotype;
    int32_t error;
    int64_t sector; /* -1: any */
    bool once, immediately;
    bool active; /* the rule's event was the last that had rules of this kind */
    /* SET_STATE */
    int32_t new_state;
    char *tag; /* SUSPEND */
} BlkdebugRule;

/* A request that waits at a breakpoint; on its coroutine's stack. */
typedef struct BlkdebugWaiter {
    struct BlkdebugWaiter *next;
    Coroutine *co;
    char *tag;
    bool resumed;
} BlkdebugWaiter;

typedef struct {
    GMutex guard;     /* of all below */
    GPtrArray *rules; /* BlkdebugRule, the newest last */
    int32_t state;
    BlkdebugWaiter *waiters;
    WaitList suspended; /* somebody waits for a waiter */
} BlkdebugRules;

extern const PropertyShape blkdebug_inject_shape, blkdebug_set_state_shape;

void blkdebug_rules_init(BlkdebugRules *r);
void blkdebug_rules_destroy(BlkdebugRules *r);
/* From the options 'inject-error' and 'set-state', which are lists; NULL: none. */
bool blkdebug_rules_add(BlkdebugRules *r, BlkdebugAction action, json_t *list, GError **err);
/* From a file of '[inject-error]' and '[set-state]' groups with 'key = "value"' lines. */
bool blkdebug_rules_read(BlkdebugRules *r, const char *path, GError **err);
void coroutine_fn blkdebug_rules_event(BlkdebugRules *r, BlockDebugEvent event);
/* 0, or the error that the active rules have for the request. */
int coroutine_fn blkdebug_rules_check(BlkdebugRules *r, uint64_t offset, uint64_t bytes,
                                      BlkdebugIo io);
int blkdebug_rules_break(BlkdebugRules *r, const char *event, const char *tag);
int blkdebug_rules_remove_break(BlkdebugRules *r, const char *tag);
int blkdebug_rules_resume(BlkdebugRules *r, const char *tag);
int coroutine_fn blkdebug_rules_wait(BlkdebugRules *r, const char *tag);

#endif
