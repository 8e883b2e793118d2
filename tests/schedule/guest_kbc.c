/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs at the keyboard controller: any commands, to it, the keyboard and the mouse, while keys
 * and movements come; then what a driver does that begins, which has to be answered.
 */
#include "guest.h"

enum {
    DATA = 0x60,
    STATUS = 0x64,
    OUTPUT_FULL = 0x01,
    FROM_AUX = 0x20,
    WRITE_CONFIG = 0x60,
    TO_AUX = 0xd4,
    PULSE_RESET = 0xfe,
    ACK = 0xfa,
    RESEND = 0xfe,
    ANYTHING_MAX = 20,
    LOOKS_MAX = 400, /* for an answer */
};

/* Of the controller; D1h is left out, as its bit 0 resets the machine. */
static const uint8_t kbc_commands[] = {0x20, 0x60, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad,
                                       0xae, 0xc0, 0xd0, 0xd2, 0xd3, 0xd4, 0xd4, 0xd4};
/* Of keyboard and mouse. */
static const uint8_t kbc_bytes[] = {0xed, 0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6,
                                    0xff, 0xe6, 0xe8, 0xe9, 0xea, 0xeb, 0xf0, 0xfe};

/* Twice what may be taken for an argument; ECh ends a mouse's wrap mode. */
static const struct {
    uint8_t byte, answer;
    bool aux;
} kbc_handshake[] = {
    {0xf5, ACK},       {0xf5, ACK},       {0xee, 0xee},      {0xf4, ACK},
    {0xec, ACK, true}, {0xec, ACK, true}, {0xf4, ACK, true},
};

bool guest_kbc_begin(Cpu *c)
{
    guest.s.kbc = (KbcGuest){.anything = rand_below(&c->rand, ANYTHING_MAX)};
    return true;
}

static void kbc_anything(Cpu *c)
{
    switch (rand_below(&c->rand, 4)) {
    case 0:
        guest_out(STATUS, kbc_commands[rand_below(&c->rand, sizeof kbc_commands)], 1);
        break;
    case 1:
        guest_out(DATA, kbc_bytes[rand_below(&c->rand, sizeof kbc_bytes)], 1);
        break;
    case 2:
        guest_out(DATA, rand_below(&c->rand, 256), 1);
        break;
    default:
        guest_in(STATUS, 1);
        guest_in(DATA, 1);
        guest_wait(c, 700 /* a scan code comes */);
        break;
    }
}

static void kbc_send(KbcGuest *g)
{
    if (kbc_handshake[g->stage].aux) {
        guest_out(STATUS, TO_AUX, 1);
    }
    guest_out(DATA, kbc_handshake[g->stage].byte, 1);
    g->sent = true;
    g->looks = 0;
}

/* The answer may come behind scan codes and packets that were there before. */
static void kbc_look(Cpu *c, KbcGuest *g)
{
    uint8_t status = guest_in(STATUS, 1), byte;

    if (++g->looks > LOOKS_MAX) {
        guest_fail("keyboard controller: no answer to byte %u, 0x%02x", g->stage,
                   kbc_handshake[g->stage].byte);
    }
    if (!(status & OUTPUT_FULL)) {
        guest_wait(c, 300);
        return;
    }
    byte = guest_in(DATA, 1);
    if (!(status & FROM_AUX) == kbc_handshake[g->stage].aux) {
        return;
    }
    if (byte == RESEND) {
        g->sent = false;
    } else if (byte == kbc_handshake[g->stage].answer) {
        g->sent = false;
        g->stage++;
    }
}

bool guest_kbc_step(Cpu *c, unsigned n)
{
    KbcGuest *g = &guest.s.kbc;

    if (n < g->anything) {
        kbc_anything(c);
    } else if (n == g->anything) {
        guest_out(STATUS, WRITE_CONFIG, 1);
        guest_out(DATA, rand_below(&c->rand, 4), 1); /* interrupts of both, or not */
    } else if (!g->sent) {
        kbc_send(g);
    } else {
        kbc_look(c, g);
    }
    if (g->stage < G_N_ELEMENTS(kbc_handshake)) {
        return false;
    }
    baton_note("keyboard and mouse have answered");
    return true;
}

bool guest_kbc_reset_step(Cpu *c, unsigned n)
{
    guest_out(STATUS, PULSE_RESET, 1);
    return true;
}
