/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/keyval.h"

EventLoop *loop;
char *dir;

void fixture_setup(void)
{
    GError *err = NULL;

    loop = event_loop_new("main", &err);
    ck_no_error(err);
    event_loop_bind(loop);
    dir = g_dir_make_tmp("vmm-chardev-XXXXXX", NULL);
    ck_assert_ptr_nonnull(dir);
}

void fixture_teardown(void)
{
    GDir *d;
    const char *name;

    chardev_close_all();
    event_loop_free(loop);
    d = g_dir_open(dir, 0, NULL);
    while ((name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_unlink(path);
    }
    g_dir_close(d);
    g_rmdir(dir);
    g_free(dir);
}

char *tmp_path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static size_t front_can_read(void *data)
{
    return ((Front *)data)->room;
}

static void front_read(void *data, const uint8_t *buf, size_t len)
{
    Front *f = data;

    ck_assert_uint_le(len, f->room);
    g_string_append_len(f->in, (const char *)buf, len);
}

static void front_event(void *data, CharEvent event)
{
    g_string_append_c(((Front *)data)->events, "OCBioR"[event]);
}

static void front_writable(void *data)
{
    ((Front *)data)->writable++;
}

static const CharFrontendOps front_ops = {
    .can_read = front_can_read,
    .read = front_read,
    .event = front_event,
    .writable = front_writable,
};

void front_connect(Front *f, Chardev *chr)
{
    GError *err = NULL;

    if (f->in) { /* of an earlier connection */
        g_string_free(f->in, TRUE);
        g_string_free(f->events, TRUE);
    }
    f->in = g_string_new(NULL);
    f->events = g_string_new(NULL);
    f->room = f->room ? f->room : 4096;
    char_frontend_connect(&f->fe, chr, &front_ops, f, &err);
    ck_no_error(err);
}

void front_write(Front *f, const char *text)
{
    ck_assert_uint_eq(char_write(&f->fe, (const uint8_t *)text, strlen(text)), strlen(text));
}

Chardev *add_short(const char *id, const char *text)
{
    GError *err = NULL;
    Chardev *chr = chardev_from_short(id, text, &err);

    ck_no_error(err);
    ck_assert_ptr_nonnull(chr);
    return chr;
}

Chardev *add_text(const char *text, GError **err)
{
    json_t *config = keyval_parse(text, "backend", NULL, false, err);
    Chardev *chr = config ? chardev_add(config, err) : NULL;

    json_decref(config);
    return chr;
}

void run_for_ms(int ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < end) {
        event_loop_iterate(loop, 5000000);
    }
}

int connect_unix(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    g_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    return fd;
}

char *read_bytes(int fd, size_t len)
{
    char *buf = g_malloc0(len + 1);
    size_t got = 0;
    gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (got < len) {
        ssize_t n = read(fd, buf + got, len - got);

        if (n > 0) {
            got += n;
        } else {
            event_loop_iterate(loop, 5000000);
        }
        ck_assert_msg(g_get_monotonic_time() < end, "only '%s' came", buf);
    }
    return buf;
}

int run_suite(const char *name, const TTest *const *tests)
{
    return unit_run_with(name, tests, fixture_setup, fixture_teardown);
}
