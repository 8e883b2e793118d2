/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of numbers, as bits in atomic words: the bits of a dirty bitmap. Leaves of 4 KiB are made
 * where bits are first set, and each counts its bits: so little memory holds a sparse set, and
 * empty stretches are passed 32768 bits at a time. Any thread may do anything but free.
 */
#ifndef BLOCK_DIRTY_BITS_H
#define BLOCK_DIRTY_BITS_H

#include <stdbool.h>
#include <stdint.h>

/* Greater numbers are refused: the table of leaves alone would take 16 MiB and more. */
#define DIRTY_BITS_MAX (1ULL << 36)

typedef struct DirtyBits DirtyBits;

DirtyBits *dirty_bits_new(void);
void dirty_bits_free(DirtyBits *b);
/* Bits of [first, end), which lie below DIRTY_BITS_MAX. */
void dirty_bits_set(DirtyBits *b, uint64_t first, uint64_t end);
void dirty_bits_reset(DirtyBits *b, uint64_t first, uint64_t end);
/*
 * The first run of set bits in [*first, end): true, and [*first, *last). At most 'max' bits. 'take'
 * clears them: a bit that is set again meanwhile is either taken, or left for the next call.
 */
bool dirty_bits_next(DirtyBits *b, uint64_t *first, uint64_t *last, uint64_t end, uint64_t max,
                     bool take);
/* The first clear bit in [first, end), or 'end'. */
uint64_t dirty_bits_next_clear(DirtyBits *b, uint64_t first, uint64_t end);
/* While others change bits this may be too much for a moment, and is never too little. */
uint64_t dirty_bits_count(DirtyBits *b);
/* Bits 64 * index to 64 * index + 63. */
uint64_t dirty_bits_word(DirtyBits *b, uint64_t index);
/* Sets those bits to this value. */
void dirty_bits_put_word(DirtyBits *b, uint64_t index, uint64_t value);

#endif
