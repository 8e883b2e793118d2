/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of disassemble.c, in a build without libcapstone. */
#include "disassemble.h"

#include "base/error.h"

Disassembler *disassembler_new(unsigned bits, GError **err)
{
    error_set(err, "format 'i': this program was built without libcapstone (Debian's package "
                   "libcapstone-dev)");
    return NULL;
}

void disassembler_free(Disassembler *d)
{
}

unsigned disassembler_line(Disassembler *d, uint64_t pc, const uint8_t *code, size_t len,
                           GString *out)
{
    return 0;
}
