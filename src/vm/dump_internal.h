/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A dump under way, which dump.c and dump_file.c share. Main loop. */
#ifndef VM_DUMP_INTERNAL_H
#define VM_DUMP_INTERNAL_H

#include <sys/types.h>
#include "base/coroutine.h"
#include "vm/dump.h"

typedef enum { DUMP_NONE, DUMP_ACTIVE, DUMP_COMPLETED, DUMP_FAILED } DumpStatus;

/* Memory that is dumped, by ascending address. */
typedef struct {
    uint64_t pa, len;
    const struct RamBlock *block;
    uint64_t offset; /* in the block */
    const uint8_t *host;
    uint64_t at; /* in the file's memory */
} DumpRange;

/* A part of the file's memory that is read; the rest holds zeroes, and reading would allocate it.
 */
typedef struct {
    uint64_t start, end;
} DumpTouched;

typedef struct Kdump Kdump;

typedef struct {
    uint64_t va, pa, len;
} DumpMapping;

typedef struct Dump {
    DumpStatus status;
    uint64_t completed, total; /* bytes of memory */
    CoQueue changed;           /* the file is open, or the dump over */
    /* While it is active. */
    GArray *ranges, *mappings; /* of DumpRange, DumpMapping */
    GArray *touched;           /* of DumpTouched, ascending */
    bool too_many;             /* mappings */
    unsigned cpus;
    GByteArray *status_notes, *own_notes;
    GByteArray *head; /* what comes before the memory; whole pages */
    int fd;
    char *path; /* that dump_open() has opened; NULL: the descriptor was given */
    bool holes; /* zeroes need not be written */
    uint64_t written;
    unsigned next_touched; /* the first of 'touched' that 'written' has not passed */
    Kdump *kdump;          /* NULL: the format is ELF */
} Dump;

void dump_free(Vm *vm);

/* dump_file.c */
void dump_begin(Dump *d, int fd); /* takes fd */
void dump_end(Dump *d);
/* Makes 'head' of ranges, mappings and notes. */
bool dump_make_head(Dump *d, uint16_t elf_machine, GError **err);
bool dump_open(Dump *d, const char *path, GError **err);
typedef enum { DUMP_MORE, DUMP_DONE, DUMP_ERROR } DumpProgress;
DumpProgress coroutine_fn dump_write_some(Dump *d, GError **err);
/*
 * Closes the file; 'ok': all is written. Gives that, or false and *err where it fails now. What did
 * not become whole is removed.
 */
bool dump_close(Dump *d, bool ok, GError **err);

/*
 * Whether 'at' lies in a touched part. *cursor is the first part that may: 0 at first; 'at'
 * ascends.
 */
static inline bool dump_is_touched(const Dump *d, unsigned *cursor, uint64_t at)
{
    while (*cursor < d->touched->len && g_array_index(d->touched, DumpTouched, *cursor).end <= at) {
        (*cursor)++;
    }
    return *cursor < d->touched->len && g_array_index(d->touched, DumpTouched, *cursor).start <= at;
}

/* dump_kdump.c: makes the file piece by piece. */
bool kdump_available(GError **err); /* without zlib it is not */
Kdump *kdump_new(Dump *d);
void kdump_free(Kdump *k);
/* For the pool: makes the next piece, when all of the last one is sent. Gives 0. */
int kdump_make(void *k);
const uint8_t *kdump_next(const Kdump *k, size_t *len); /* the rest of the piece; may be empty */
void kdump_sent(Kdump *k, size_t len);
bool kdump_over(const Kdump *k);
uint64_t kdump_done(const Kdump *k); /* bytes of memory */

#endif
