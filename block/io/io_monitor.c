/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-io's commands on a disk of a running machine (the monitor's 'qemu-io'). A command counts as
 * a request of its backend, so a drain waits for it. Requests of aio_read and aio_write go on after
 * the command.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "../core.h"
#include "io_internal.h"

typedef struct {
    IoSession session;
    BlockBackend *blk; /* with a reference */
    bool temporary;    /* made for the command */
    GString *out;      /* what the command says; NULL: it is over */
} MonitorIo;

static void monitor_io_print(IoSession *s, const char *text)
{
    MonitorIo *m = container_of(s, MonitorIo, session);

    if (m->out) {
        g_string_append(m->out, text);
    } else {
        fputs(text, stdout);
    }
}

static void monitor_io_fail(IoSession *s, const char *text)
{
    monitor_io_print(s, text);
    monitor_io_print(s, "\n");
}

static bool is_one_of(const char *line, const char *const *names)
{
    g_autofree char *word = g_strndup(line, strcspn(line, " \t"));

    return g_strv_contains(names, word);
}

/* A backend for a node that is no drive's; NULL: others deny what the command needs. */
static BlockBackend *backend_for(BlockNode *n, const char *line, GError **err)
{
    static const char *const readers[] = {
        "read",         "r",     "readv", "aio_read", "aio_flush", "length", "l",
        "map",          "alloc", "a",     "info",     "i",         "flush",  "f",
        "sleep",        "break", "help",  "?",        "h",         "resume", "wait_break",
        "remove_break", NULL};
    BlockBackend *blk = block_backend_alloc(NULL);

    blk->flags = BLOCK_DEVICE_SHARE_RW | (is_one_of(line, readers) ? BLOCK_DEVICE_READ_ONLY : 0);
    if (!block_backend_set_root(blk, n, err)) {
        block_backend_forget(g_steal_pointer(&blk));
    }
    return blk;
}

static void coroutine_fn monitor_io_end(MonitorIo *m)
{
    BlockNode *root = NULL;

    io_session_settle(&m->session);
    block_backend_leave(m->blk);
    if (m->temporary) {
        root = block_backend_take_root(m->blk);
        block_backend_forget(m->blk);
    } else {
        block_backend_unref(m->blk);
    }
    io_session_destroy(&m->session);
    g_free(m);
    block_node_unref(root);
}

static void coroutine_fn monitor_io_rest(void *data)
{
    monitor_io_end(data);
}

static char *coroutine_fn monitor_io_run(MonitorIo *m, const char *line, GError **err)
{
    char *text = NULL;

    block_backend_enter(m->blk);
    if (m->blk->root) {
        m->session.node = m->blk->root;
        m->out = g_string_new(NULL);
        io_session_run(&m->session, line);
        text = g_string_free(g_steal_pointer(&m->out), FALSE);
    } else { /* taken out while the command waited */
        error_set(err, "No medium found");
    }
    if (m->session.in_flight) {
        coroutine_start(monitor_io_rest, m);
    } else {
        monitor_io_end(m);
    }
    return text;
}

char *coroutine_fn block_io_command(BlockBackend *blk, BlockNode *n, const char *line, GError **err)
{
    static const char *const refused[] = {"truncate", "t", NULL};
    MonitorIo *m;

    if (is_one_of(line, refused)) {
        error_set(err, "A disk in use gets another length by 'block_resize'");
        return NULL;
    }
    if (blk && !block_backend_node(blk)) {
        error_set(err, "No medium found");
        return NULL;
    }
    m = g_new0(MonitorIo, 1);
    m->temporary = !blk;
    if (blk) {
        block_backend_ref(blk);
        m->blk = blk;
    } else {
        m->blk = backend_for(n, line, err);
    }
    if (!m->blk) {
        g_free(m);
        return NULL;
    }
    m->session.print = m->session.complain = monitor_io_print;
    m->session.fail = monitor_io_fail;
    io_session_init(&m->session);
    return monitor_io_run(m, line, err);
}
