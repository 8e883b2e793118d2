/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The explorer's network: a backend that says 'not now' and comes back as the seed says, sends
 * packets of its own, and checks those of the guest. Packets have numbers, which only grow.
 * Main loop, but where it says otherwise.
 */
#ifndef TESTS_SCHEDULE_WIRE_H
#define TESTS_SCHEDULE_WIRE_H

#include "baton.h"
#include "base/coroutine.h"

enum { WIRE_PACKET = 64 };

void wire_start(uint64_t seed);
void wire_create(void); /* the netdev "wire" */
bool wire_present(void);
/* From now on it takes each packet at once, and all links are up. */
void wire_heal(void);
/* The machine was loaded: packets that it has sent before may come again. */
void wire_forget(void);
/* The end: a packet reaches the guest, where there is a way. */
void coroutine_fn wire_check(bool nic_present);

/* Something was done for which packets may be lost; and how often it was. Any thread. */
void wire_changed(void);
unsigned wire_changes(void);
/* Whether a packet that is sent now must arrive. Any thread. */
bool wire_is_steady(void);
/* The number of the last packet of the guest that was taken. Any thread. */
uint32_t wire_taken(void);

/* What a packet of that number looks like. Any thread. */
void wire_fill(uint8_t packet[WIRE_PACKET], uint32_t number);
/* Its number; 0: its bytes are not one packet. */
uint32_t wire_number(const uint8_t packet[WIRE_PACKET]);

#endif
