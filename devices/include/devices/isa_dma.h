/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ISA DMA for devices on the ISA bus: a request line, and the transfer of bytes to or from guest
 * memory, which the controllers (devices/platform/i8257.c) address and count.
 *
 * A device raises its request line when it has data, or wants some, and calls isa_dma_transfer().
 * Where the channel is not ready (masked, or its controller disabled) the device waits, with its
 * line raised: its 'ready' is called when the guest has made the channel ready. The lock of the ISA
 * bus is held in all of these; any thread.
 */
#ifndef DEVICES_ISA_DMA_H
#define DEVICES_ISA_DMA_H

#include "devices/isa.h"

/* For realize and unrealize. False and *err: no such channel on this bus, or another's. */
bool isa_dma_claim(Device *dev, unsigned channel, DeviceFn ready, GError **err);
void isa_dma_release(Device *dev, unsigned channel);

void isa_dma_set_request(Device *dev, unsigned channel, bool level);
bool isa_dma_ready(Device *dev, unsigned channel);

typedef struct {
    uint32_t moved; /* bytes; 0 where the channel is not ready */
    bool terminal;  /* the terminal count was reached, with the last byte moved */
    bool wrong_way; /* the guest has programmed the other direction; nothing was moved */
} IsaDmaResult;
/*
 * Moves at most 'len' bytes, whole words on channels 5 to 7. Ends at the terminal count, too. What
 * is no RAM takes nothing and gives ones, as does a channel that is programmed to verify.
 */
IsaDmaResult isa_dma_to_memory(Device *dev, unsigned channel, const void *data, uint32_t len);
IsaDmaResult isa_dma_from_memory(Device *dev, unsigned channel, void *data, uint32_t len);

#endif
