/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A 93C46: an EEPROM of 64 words behind three wires, of which two are a clock and a select. */
#ifndef DEVICES_NET_MICROWIRE_H
#define DEVICES_NET_MICROWIRE_H

#include "vm/state.h"

#define MICROWIRE_WORDS 64

#define MICROWIRE_STATE(X)                                                                         \
    X(A, uint16_t, words, MICROWIRE_WORDS)                                                         \
    X(F, uint32_t, in) /* bits that were shifted in, and how many */                               \
    X(F, uint8_t, bits)                                                                            \
    X(F, uint32_t, out) /* bits to be shifted out, the next one at the top */                      \
    X(F, bool, clock)                                                                              \
    X(F, bool, writable)
STATE_STRUCT(Microwire, MICROWIRE_STATE);
const StateDesc *microwire_state_desc(void);

/* The levels of the wires have changed. */
void microwire_set(Microwire *m, bool select, bool clock, bool in);
/* The level of the data output, which is pulled up. */
bool microwire_out(const Microwire *m);

#endif
