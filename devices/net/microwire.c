/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A 93C46 (Microchip's data sheet 21749). */
#include "microwire.h"

#include <string.h>
#include "base/util.h"

STATE_DESC_PUBLIC(microwire, Microwire, MICROWIRE_STATE, 1);

enum {
    /* A start bit, two of the command, six of the address; a write has 16 of data. */
    COMMAND_BITS = 9,
    WRITE_BITS = 25,
    OP_OTHERS = 0,
    OP_WRITE = 1,
    OP_READ = 2,
    OP_ERASE = 3,
    /* Commands without an address have a second part of the command in its place. */
    OTHER_EWDS = 0,
    OTHER_WRAL = 1,
    OTHER_ERAL = 2,
    OTHER_EWEN = 3,
};

bool microwire_out(const Microwire *m)
{
    /* A part that is ready, or has nothing to say, shows 1. */
    return m->bits < COMMAND_BITS || m->out >> 31;
}

static void microwire_other(Microwire *m, unsigned address)
{
    switch (address >> 4) {
    case OTHER_EWDS:
        m->writable = false;
        break;
    case OTHER_EWEN:
        m->writable = true;
        break;
    case OTHER_ERAL:
        if (m->writable) {
            memset(m->words, 0xff, sizeof m->words);
        }
        break;
    default:
        break;
    }
}

static void microwire_command(Microwire *m)
{
    unsigned address = m->in & 0x3f;

    m->out = UINT32_MAX;
    switch (m->in >> 6 & 3) {
    case OP_READ:
        m->out = (uint32_t)m->words[address] << 15; /* a 0 comes first */
        break;
    case OP_ERASE:
        if (m->writable) {
            m->words[address] = 0xffff;
        }
        break;
    case OP_OTHERS:
        microwire_other(m, address);
        break;
    default:
        break;
    }
}

/* The data of WRITE, or of WRAL, which writes all words. */
static void microwire_data(Microwire *m)
{
    unsigned op = m->in >> 22 & 3, address = m->in >> 16 & 0x3f;

    if (!m->writable) {
        return;
    }
    if (op == OP_WRITE) {
        m->words[address] = m->in;
    } else if (op == OP_OTHERS && address >> 4 == OTHER_WRAL) {
        for (unsigned i = 0; i < MICROWIRE_WORDS; i++) {
            m->words[i] = m->in;
        }
    }
}

/* A rising edge of the clock. */
static void microwire_clock(Microwire *m, bool in)
{
    if (!m->bits && !in) {
        return; /* before the start bit */
    }
    if (m->bits == WRITE_BITS && (m->in >> 22 & 3) == OP_READ) {
        /* A read that goes on: the next word, whose first bit comes at once. */
        unsigned next = ((m->in >> 16) + 1) & 0x3f;

        m->in = (BIT(8) | OP_READ << 6 | next) << 1;
        m->bits = COMMAND_BITS + 1;
        m->out = (uint32_t)m->words[next] << 16;
        return;
    }
    if (m->bits < WRITE_BITS) {
        m->in = m->in << 1 | in;
        if (++m->bits == COMMAND_BITS) {
            microwire_command(m);
            return;
        }
        if (m->bits == WRITE_BITS) {
            microwire_data(m);
        }
    }
    m->out = m->out << 1 | (m->out & 1);
}

void microwire_set(Microwire *m, bool select, bool clock, bool in)
{
    bool rising = clock && !m->clock;

    m->clock = clock;
    if (!select) {
        m->in = m->out = m->bits = 0;
    } else if (rising) {
        microwire_clock(m, in);
    }
}
