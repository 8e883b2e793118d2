/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of qemu-io's commands share. */
#ifndef BLOCK_IO_INTERNAL_H
#define BLOCK_IO_INTERNAL_H

#include "block/io_commands.h"

/* The longest request: the last sector below 2 GiB. */
#define IO_REQUEST_MAX ((uint64_t)INT32_MAX / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE)

extern const IoCommand io_command_abort, io_command_aio_flush, io_command_aio_read,
    io_command_aio_write, io_command_alloc, io_command_break, io_command_discard, io_command_flush,
    io_command_info, io_command_length, io_command_map, io_command_read, io_command_readv,
    io_command_remove_break, io_command_resume, io_command_sigraise, io_command_sleep,
    io_command_truncate, io_command_wait_break, io_command_write, io_command_writev;

/* "64 KiB", "1.500 MiB", "12 bytes"; caller frees. */
char *io_size_text(double bytes);
/* A length, which may be at most IO_REQUEST_MAX. False: the error was printed. */
bool io_parse_length(IoSession *s, const char *text, uint64_t *value);
/* The lines of a request that has ended: -q none, -C for machines. */
void io_report(IoSession *s, const IoCall *c, const char *verb, int64_t start_ns, uint64_t offset,
               uint64_t bytes);

#endif
