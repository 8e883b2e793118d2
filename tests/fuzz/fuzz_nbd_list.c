/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server of vmm-nbd --list, from its first byte on, which then hangs up. The first byte of the
 * input says of the rest: it is what the server sends, as it stands; or it is a list of replies,
 * each of which may come many times over, behind a greeting. Either way the client ends, and all
 * that it prints a terminal can show.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../../block/tools/nbd_list.h"
#include "base/event_loop.h"
#include "base/util.h"
#include "nbd_proto.h"

enum { SENT_MAX = 1024 * 1024, TIMES_MAX = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    int fd;
    FILE *out;
    bool done, ok;
} Client;

static void check_text(const char *text, size_t len)
{
    g_assert(!len || g_utf8_validate(text, len, NULL));
    for (const char *p = text; p < text + len; p = g_utf8_next_char(p)) {
        g_assert(*p == '\n' || !g_unichar_iscntrl(g_utf8_get_char(p)));
    }
}

static void coroutine_fn list(void *data)
{
    Client *c = data;
    GError *err = NULL;

    c->ok = nbd_list_socket(c->fd, NULL, NULL, c->out, &err);
    g_assert(c->ok == !err);
    if (err) {
        g_assert(*err->message);
        check_text(err->message, strlen(err->message));
    }
    g_clear_error(&err);
    c->done = true;
}

/* --- what the server sends --- */

static void append_be(GByteArray *to, uint64_t value, unsigned bytes)
{
    uint8_t buf[8];

    stbe64(buf, value);
    g_byte_array_append(to, buf + 8 - bytes, bytes);
}

/* How often, to which option, which reply, how many bytes of data; and these. */
static size_t append_reply(GByteArray *to, const uint8_t *data, size_t size)
{
    static const uint32_t options[] = {NBD_OPT_STRUCTURED_REPLY, NBD_OPT_LIST, NBD_OPT_INFO,
                                       NBD_OPT_LIST_META_CONTEXT};
    static const uint32_t types[] = {NBD_REP_ACK,          NBD_REP_SERVER,      NBD_REP_INFO,
                                     NBD_REP_META_CONTEXT, NBD_REP_ERR_UNSUP,   NBD_REP_ERR_POLICY,
                                     NBD_REP_ERR_UNKNOWN,  NBD_REP_ERR_SHUTDOWN};
    unsigned times = data[0] + 1, len = MIN(ldbe16(data + 2), size - 4);

    for (unsigned i = 0; i < MIN(times, TIMES_MAX) && to->len < SENT_MAX; i++) {
        append_be(to, NBD_OPT_REPLY_MAGIC, 8);
        append_be(to, options[data[1] % ARRAY_SIZE(options)], 4);
        append_be(to, types[data[1] / ARRAY_SIZE(options) % ARRAY_SIZE(types)], 4);
        append_be(to, len, 4);
        g_byte_array_append(to, data + 4, len);
    }
    return 4 + len;
}

static GByteArray *sent_by(const uint8_t *data, size_t size)
{
    GByteArray *to = g_byte_array_new();
    bool replies = size && data[0] & 1;

    data += size > 0;
    size -= size > 0;
    if (!replies) {
        g_byte_array_append(to, data, size);
        return to;
    }
    append_be(to, NBD_MAGIC, 8);
    append_be(to, NBD_OPTION_MAGIC, 8);
    append_be(to, NBD_HAND_FIXED_NEWSTYLE, 2);
    for (size_t n; size >= 4; data += n, size -= n) {
        n = append_reply(to, data, size);
    }
    return to;
}

static void serve(Client *c, EventLoop *loop, int fd, const GByteArray *bytes)
{
    static uint8_t sink[65536];
    size_t sent = 0;

    while (!c->done) {
        ssize_t n = sent < bytes->len ? send(fd, bytes->data + sent, bytes->len - sent,
                                             MSG_NOSIGNAL | MSG_DONTWAIT)
                                      : 0;

        sent += MAX(n, 0);
        if (sent == bytes->len || (n < 0 && errno != EAGAIN)) {
            shutdown(fd, SHUT_WR);
        }
        event_loop_iterate(loop, 0);
        while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0) {
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static EventLoop *loop;
    g_autoptr(GByteArray) bytes = sent_by(data, size);
    char *text = NULL;
    size_t len = 0;
    Client c = {.out = open_memstream(&text, &len)};
    int fds[2];

    if (!loop) {
        loop = event_loop_new("fuzz", NULL);
        event_loop_bind(loop);
    }
    g_assert(c.out && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    c.fd = fds[0];
    coroutine_start(list, &c);
    serve(&c, loop, fds[1], bytes);
    close(fds[1]);
    fclose(c.out);
    g_assert(c.ok == (len > 0));
    check_text(text, len);
    free(text);
    return 0;
}
