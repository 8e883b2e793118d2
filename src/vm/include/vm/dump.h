/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dump-guest-memory: guest memory and the CPUs' registers as an ELF core file, for gdb and crash,
 * or in kdump's compressed format, for crash and makedumpfile. The machine stands still meanwhile,
 * and goes on where it ran. Memory that the guest has not touched is not read. Main loop.
 *
 * The ELF file: ELF header, program headers, notes, and memory once, by ascending physical address.
 * p_paddr is physical. With 'paging' each run of pages that a CPU's page tables map has a segment
 * at its virtual address; memory that none of them maps has one at its physical address.
 */
#ifndef VM_DUMP_H
#define VM_DUMP_H

#include "base/shape.h"
#include "vm/vm.h"

typedef struct {
    /* One of the two. Where the dump fails, no file of this name is left. */
    const char *path;
    int fd;     /* taken, also where the dump is refused; -1: none */
    bool kdump; /* the format, by zlib; neither 'paging' nor 'filter' then */
    bool paging;
    bool filter; /* only what lies in [begin, begin + length) */
    uint64_t begin, length;
    bool detach; /* returns when the file is open; the event DUMP_COMPLETED tells of the end */
} VmDumpRequest;

/* False and *err: refused, or (unless detached) failed. */
bool coroutine_fn vm_dump(Vm *vm, const VmDumpRequest *r, GError **err);
/* Whether kdump's format is there: it needs zlib. */
bool vm_dump_has_kdump(GError **err);
/* QAPI's DumpQueryResult: the dump that is under way, or was the last; new reference. */
json_t *vm_dump_query(Vm *vm);
extern const PropertyShape dump_result_shape;

/* For the CPU family: appends a note of an ELF file. */
void dump_append_note(GByteArray *out, const char *name, uint32_t type, const GByteArray *desc);

#endif
