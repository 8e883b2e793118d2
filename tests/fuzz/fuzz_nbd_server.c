/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client of the NBD server's, from its first byte on. The input is what the client sends; it
 * reads what it gets, and closes. Two exports: one that can be written, a read-only one. The server
 * must get rid of the client, and be there for the next.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/event_loop.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "block/export.h"
#include "block/nbd_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    unsigned gone;
    bool done;
} World;

static World world;

static void client_gone(bool served, unsigned left, void *data)
{
    world.gone++;
}

static void add(const char *name, bool writable)
{
    json_t *tree = json_pack("{s:s,s:s,s:s,s:b}", "driver", "null-co", "node-name", name, "size",
                             "1M", "read-zeroes", true);
    json_t *options =
        json_pack("{s:s,s:s,s:s,s:s,s:b,s:b}", "type", "nbd", "id", name, "node-name", name,
                  "description", "text", "writable", writable, "allocation-depth", writable);
    g_autoptr(GError) err = NULL;

    if (!block_node_add_monitor_owned(tree, &err) ||
        !block_export_add(options, event_loop_current(), NULL, NULL, &err)) {
        g_error("%s", err->message);
    }
    json_decref(tree);
    json_decref(options);
}

static void coroutine_fn stop(void *data)
{
    nbd_server_stop();
    world.done = true;
}

/* Sends all, reads and forgets, closes at the end. */
static void client(int fd, const uint8_t *data, size_t size)
{
    static uint8_t sink[65536];

    while (!world.gone) {
        ssize_t n = size ? send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

        if (n > 0) {
            data += n;
            size -= n;
        } else if (!size || errno != EAGAIN) {
            size = 0;
            shutdown(fd, SHUT_WR);
        }
        event_loop_iterate(event_loop_current(), size ? 0 : 1000000);
        while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0) {
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static EventLoop *loop;
    NbdServerOptions options = {.client_gone = client_gone};
    int fds[2];

    if (!loop) {
        loop = event_loop_new("fuzz", NULL);
        event_loop_bind(loop);
    }
    world = (World){0};
    g_assert(nbd_server_start(&options, NULL));
    add("disk", true);
    add("rom", false);
    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    nbd_server_add_client(fds[0]);
    client(fds[1], data, size);
    close(fds[1]);
    coroutine_start(stop, NULL);
    while (!world.done) {
        event_loop_iterate(loop, -1);
    }
    block_node_close_all();
    reclaim_poll();
    return 0;
}
