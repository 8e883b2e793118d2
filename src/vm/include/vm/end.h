/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a run ends, as the program's exit status says it. Those of isa-debug-exit are odd, and the
 * guest's to choose; all others are even, and listed here once: -help and docs/harness.md have the
 * same list.
 */
#ifndef VM_END_H
#define VM_END_H

#include <stdbool.h>

/* Status, and what has happened. */
#define VM_ENDS(X)                                                                                 \
    X(POWEROFF, 0,                                                                                 \
      "the guest powered off, or was reset under -action reboot=shutdown; 'quit'; a signal")       \
    X(START, 2, "the machine could not be started (1 where the program has a name of QEMU's)")     \
    X(PANIC, 4, "the guest reported a panic")                                                      \
    X(TRIPLE_FAULT, 6,                                                                             \
      "a CPU of the guest shut down (triple fault), under -action reboot=shutdown")                \
    X(WATCHDOG, 8, "a watchdog fired, and -action watchdog= ends the run")                         \
    X(DEADLINE, 10, "-deadline was reached")                                                       \
    X(KVM_ERROR, 12, "KVM could not run the guest on")                                             \
    X(HOST_ERROR, 14, "the host failed: a disk, memory, a file that can no longer be read")        \
    X(EXPECT, 16, "the run ended before the output came that an -expect waits for")                \
    X(GRACE, 18, "the guest did not obey the power button in time, after SIGTERM")

typedef enum {
#define X(id, status, help) VM_END_##id = (status),
    VM_ENDS(X)
#undef X
} VmEnd;

/* The list as text, a line for each; caller frees. */
char *vm_end_help(void);
/* Whether the status is one of isa-debug-exit's. */
bool vm_end_is_guests(int status);
/* What the list says of the status; NULL: it is not in the list. */
const char *vm_end_text(int status);
/* Whether something has gone wrong, rather than that the guest said how it went. */
bool vm_end_is_bad(int status);

#endif
