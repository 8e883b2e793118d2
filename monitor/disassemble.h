/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Machine code as text, by libcapstone, which is loaded when first needed. Main thread. */
#ifndef MONITOR_DISASSEMBLE_H
#define MONITOR_DISASSEMBLE_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#define DISASSEMBLE_MAX 15 /* bytes of the longest instruction (SDM 2A, 2.3.11) */

typedef struct Disassembler Disassembler;

/* For code of 16, 32 or 64 bits. NULL and *err: there is no library. */
Disassembler *disassembler_new(unsigned bits, GError **err);
void disassembler_free(Disassembler *d);
/*
 * Appends, in QEMU's form, the instruction with which 'code' begins: address, bytes, AT&T's syntax.
 * Returns its length. A byte that begins no instruction is one of ".byte". 0: 'code' ends too
 * early, being shorter than DISASSEMBLE_MAX.
 */
unsigned disassembler_line(Disassembler *d, uint64_t pc, const uint8_t *code, size_t len,
                           GString *out);

#endif
