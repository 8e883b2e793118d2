/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io's commands on one node (read, write, map, ...): a line of text in, lines of text out. For
 * vmm-io, and for whoever has a node that is to be exercised. Main loop.
 */
#ifndef BLOCK_IO_COMMANDS_H
#define BLOCK_IO_COMMANDS_H

#include "block/node.h"

typedef struct IoSession IoSession;
typedef struct IoCommand IoCommand;

/* A line that was taken apart. Options are looked up by their letter. */
typedef struct {
    const IoCommand *command;
    bool has[128];
    const char *value[128];
    char **operands;
    unsigned n;
} IoCall;

struct IoCommand {
    const char *name, *short_name; /* short_name may be NULL */
    const char *letters;           /* as getopt() has them: "qP:" */
    int min, max;                  /* words behind the name, options too; max -1: any number */
    int operands;                  /* that are wanted; -1: the command looks itself */
    bool without_file;             /* needs no open file */
    const char *synopsis, *help;   /* "[-q] off len", "reads ..." */
    const char *details;           /* for 'help NAME'; may be NULL */
    int coroutine_fn (*run)(IoSession *s, const IoCall *c); /* 0 or -errno, which was explained */
};

struct IoSession {
    BlockNode *node;                                  /* borrowed; NULL: no file is open */
    void (*print)(IoSession *s, const char *text);    /* what a command says */
    void (*complain)(IoSession *s, const char *text); /* of a line that is wrong, with a newline */
    void (*fail)(IoSession *s, const char *text);     /* the node's error, without a newline */
    bool misalign;                                    /* buffers of direct I/O are not aligned */
    const IoCommand *const *more; /* further commands, NULL-terminated; may be NULL */
    /* Private. */
    unsigned in_flight; /* requests of aio_read and aio_write */
    CoQueue settled;
};

void io_session_init(IoSession *s);
/* No request is in flight. */
void io_session_destroy(IoSession *s);
/* Carries out one line: 0 or -errno. What went wrong was printed. */
int coroutine_fn io_session_run(IoSession *s, const char *line);
/* Waits for the requests of aio_read and aio_write. */
void coroutine_fn io_session_settle(IoSession *s);

struct BlockBackend;
/*
 * Carries out one line on a drive, or on a node ('blk' NULL) of a running machine, and gives what
 * it says (caller frees). NULL and *err: there is no medium, or others deny what the line needs.
 * Requests of aio_read and aio_write go on; what they say goes to standard output.
 */
char *coroutine_fn block_io_command(struct BlockBackend *blk, BlockNode *n, const char *line,
                                    GError **err);

/* For commands. */
void io_print(IoSession *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void io_complain(IoSession *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Prints the error and frees it; returns 'ret'. */
int io_fail(IoSession *s, GError *err, int ret);
/* Prints the command's synopsis; returns -EINVAL. */
int io_usage(IoSession *s, const IoCommand *command);
/* "1.5k". False: it is no number, and that was printed. */
bool io_parse_number(IoSession *s, const char *text, uint64_t *value);

#endif
