/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the board's tables say of the high precision event timer (devices/timer/hpet.c). */
#ifndef DEVICES_HPET_H
#define DEVICES_HPET_H

#include <stdint.h>

#define HPET_BASE    0xfed00000ull
#define HPET_TIMERS  3
#define HPET_TICK_NS 10
/* Revision 1, three timers, 64 bits, Intel, 10 ns in units of 1 fs (2.3.4). */
#define HPET_CAPABILITIES (10000000ull << 32 | 0x8086u << 16 | 1 << 13 | (HPET_TIMERS - 1) << 8 | 1)
/*
 * The shortest time between two interrupts of a periodic timer. A guest can program one of a tick,
 * which neither host nor guest could keep up with: interrupts in between are dropped.
 */
#define HPET_MIN_PERIOD_TICKS 5000

#endif
