/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disassemble.h"

#include <capstone.h>
#include <inttypes.h>

#include "base/error.h"
#include "base/library.h"

#define CAPSTONE_FUNCTIONS(F) F(cs_open) F(cs_option) F(cs_disasm) F(cs_free) F(cs_close)
static struct {
    CAPSTONE_FUNCTIONS(LIBRARY_POINTER)
} capstone;
static const char *const capstone_names[] = {CAPSTONE_FUNCTIONS(LIBRARY_NAME) NULL};
static Library capstone_library = {"libcapstone.so.4", "libcapstone4", capstone_names, &capstone};

#define BYTES_PER_LINE 8

struct Disassembler {
    csh handle;
};

Disassembler *disassembler_new(unsigned bits, GError **err)
{
    cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;
    Disassembler *d;
    csh handle;

    if (!library_load(&capstone_library, err)) {
        return NULL;
    }
    if (capstone.cs_open(CS_ARCH_X86, mode, &handle) != CS_ERR_OK) {
        error_set(err, "format 'i': libcapstone cannot disassemble x86 code of %u bits", bits);
        return NULL;
    }
    capstone.cs_option(handle, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
    d = g_new0(Disassembler, 1);
    d->handle = handle;
    return d;
}

void disassembler_free(Disassembler *d)
{
    capstone.cs_close(&d->handle);
    g_free(d);
}

static void disassemble_bytes(GString *out, uint64_t pc, const uint8_t *code, unsigned n)
{
    g_string_append_printf(out, "0x%08" PRIx64 ": ", pc);
    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(out, " %02x", code[i]);
    }
}

unsigned disassembler_line(Disassembler *d, uint64_t pc, const uint8_t *code, size_t len,
                           GString *out)
{
    g_autofree char *byte = NULL;
    const char *mnemonic = ".byte", *operands;
    unsigned size = 1, first;
    cs_insn *insn = NULL;

    if (capstone.cs_disasm(d->handle, code, len, pc, 1, &insn)) {
        size = insn->size;
        mnemonic = insn->mnemonic;
        operands = insn->op_str;
    } else if (len < DISASSEMBLE_MAX) {
        return 0;
    } else {
        operands = byte = g_strdup_printf("0x%02x", code[0]);
    }
    first = MIN(size, BYTES_PER_LINE);
    disassemble_bytes(out, pc, code, first);
    g_string_append_printf(out, "%*s  %-8s %s\n", 3 * (int)(BYTES_PER_LINE - first), "", mnemonic,
                           operands);
    if (size > first) {
        disassemble_bytes(out, pc + first, code + first, size - first);
        g_string_append_c(out, '\n');
    }
    if (insn) {
        capstone.cs_free(insn, 1);
    }
    return size;
}
