/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registry of character devices, and what lies between frontends and backends: the write
 * queue, flow control in both directions, logging, and events.
 */
#include "chardev/console.h"
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"

/* Limit of the queue for char_write(), which is short beyond it. */
#define GUEST_QUEUE_MAX (16 * KiB)
/* Limit of the queue for char_write_all(): beyond it the oldest bytes are dropped. */
#define QUEUE_MAX MiB
/* How long chardev_close_all() waits for backends to take queued output. */
#define CLOSE_PATIENCE_US (1000 * 1000)

/* The registry. Written on the main loop only. */
static GPtrArray *chardevs;
static bool all_muted;

static size_t chardev_queued(const Chardev *chr)
{
    return chr->out->len - chr->out_start;
}

/* Lock held. */
static void queue_drop_front(Chardev *chr, size_t n)
{
    chr->out_start += n;
    if (chr->out_start == chr->out->len) {
        g_byte_array_set_size(chr->out, 0);
        chr->out_start = 0;
    } else if (chr->out_start > 64 * KiB) {
        g_byte_array_remove_range(chr->out, 0, chr->out_start);
        chr->out_start = 0;
    }
}

/* Lock held. */
static void log_output(Chardev *chr, const uint8_t *buf, size_t len)
{
    while (chr->log_fd >= 0 && len) {
        ssize_t n = write(chr->log_fd, buf, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            log_warn("chardev '%s': writing log file '%s' failed: %s; no more is logged",
                     chr->label, chr->logfile, g_strerror(errno));
            fd_close(&chr->log_fd);
            return;
        }
        buf += n;
        len -= n;
    }
}

/* Returns how many bytes were written or dropped. Lock held; main loop. */
static size_t backend_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = chr->class->write ? chr->class->write(chr, buf + done, len - done)
                                      : (ssize_t)(len - done);

        if (n < 0) {
            /* The other end is gone: the rest is dropped. */
            chr->dropped += len - done;
            n = len - done;
        }
        if (n == 0) {
            break;
        }
        log_output(chr, buf + done, n);
        done += n;
    }
    if (done) {
        chr->stalled = false;
        timer_cancel(chr->stall);
    }
    if (done < len && !chr->stalled && !timer_armed(chr->stall)) {
        timer_arm(chr->stall, clock_ns(CLOCK_REALTIME_NS) + CHAR_STALL_NS);
    }
    return done;
}

/* Writes what the backend takes now, where no output is queued before it. Lock held; any thread. */
static size_t write_now(Chardev *chr, const uint8_t *buf, size_t len)
{
    const ChardevClass *class = chr->class;
    ssize_t n = 0;

    if (chardev_queued(chr)) {
        return 0;
    }
    if (event_loop_in_thread(chr->loop)) {
        return backend_write(chr, buf, len);
    }
    if (!class->write || class->write_anywhere) {
        n = class->write ? class->write(chr, buf, len) : (ssize_t)len;
    } else if (chr->direct) {
        n = char_io_write_now(chr->direct, buf, len);
    }
    n = MAX(n, 0);
    log_output(chr, buf, n);
    return n;
}

/* Lock held; main loop. */
static void flush_queue(Chardev *chr)
{
    while (chardev_queued(chr)) {
        size_t len = chardev_queued(chr);
        size_t n = backend_write(chr, chr->out->data + chr->out_start, len);

        queue_drop_front(chr, n);
        if (n < len) {
            return;
        }
    }
}

/* Whether this frontend's output is dropped, because the backend is stalled. Lock held. */
static bool gives_up(const Chardev *chr, const CharFrontend *fe)
{
    return chr->stalled && !fe->always_on && !fe->patient;
}

/* Calls writable() of the frontends that can write again. Main loop; lock not held. */
static void wake_writers(Chardev *chr)
{
    for (unsigned i = 0; i < chr->frontends->len; i++) {
        CharFrontend *fe = g_ptr_array_index(chr->frontends, i);
        bool wake;

        g_mutex_lock(&chr->lock);
        wake = fe->blocked && (gives_up(chr, fe) || chardev_queued(chr) < GUEST_QUEUE_MAX / 2);
        if (wake) {
            fe->blocked = false;
        }
        g_mutex_unlock(&chr->lock);
        if (wake && fe->ops->writable) {
            fe->ops->writable(fe->data);
        }
    }
}

void chardev_writable(Chardev *chr)
{
    g_mutex_lock(&chr->lock);
    flush_queue(chr);
    g_mutex_unlock(&chr->lock);
    wake_writers(chr);
}

void chardev_hand_over(Chardev *from, Chardev *to)
{
    g_mutex_lock(&from->lock);
    flush_queue(from);
    if (chardev_queued(from)) {
        g_mutex_lock(&to->lock);
        g_byte_array_append(to->out, from->out->data + from->out_start, chardev_queued(from));
        g_mutex_unlock(&to->lock);
        queue_drop_front(from, chardev_queued(from));
    }
    g_mutex_unlock(&from->lock);
    bh_schedule(&to->service);
}

static void stall_timeout(void *data)
{
    Chardev *chr = data;

    log_item(LOG_UNIMP, "chardev '%s': the other side does not read; output is dropped",
             chr->label);
    g_mutex_lock(&chr->lock);
    chr->stalled = true;
    g_mutex_unlock(&chr->lock);
    wake_writers(chr);
}

/*
 * A monitor behind a mux gets OPENED when it first has the focus: else its banner would come in the
 * middle of the guest's output.
 */
static bool greets_later(const Chardev *chr, const CharFrontend *fe)
{
    return fe->always_on && fe != chr->frontend;
}

static void chardev_greet(Chardev *chr, CharFrontend *fe)
{
    if (!fe->greet || greets_later(chr, fe)) {
        return;
    }
    fe->greet = false;
    if (fe->ops->event && fe != chr->frontend) {
        fe->ops->event(fe->data, CHAR_EVENT_MUX_OUT);
    }
    if (fe->ops->event && chr->be_open) {
        fe->ops->event(fe->data, CHAR_EVENT_OPENED);
    }
}

/* The bottom half: work that other threads, or calls by frontends, have left to the main loop. */
static void chardev_service(void *data)
{
    Chardev *chr = data;

    for (unsigned i = 0; i < chr->frontends->len; i++) {
        chardev_greet(chr, g_ptr_array_index(chr->frontends, i));
    }
    if (g_atomic_int_get(&chr->starved) && chr->class->accept_input) {
        chr->class->accept_input(chr);
    }
    chardev_writable(chr);
}

/* Life. */

char *chardev_announcement(const Chardev *chr)
{
    if (!g_str_has_prefix(chr->filename, "pty:")) {
        return NULL;
    }
    return g_strdup_printf("char device redirected to %s (label %s)\n",
                           chr->filename + strlen("pty:"), chr->label);
}

void chardev_set_filename(Chardev *chr, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_free(chr->filename);
    chr->filename = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

static void chardev_free(Chardev *chr)
{
    timer_free(chr->stall);
    bh_cancel(&chr->service);
    fd_close(&chr->log_fd);
    g_byte_array_unref(chr->out);
    g_ptr_array_unref(chr->frontends);
    g_mutex_clear(&chr->lock);
    g_free(chr->logfile);
    g_free(chr->filename);
    g_free(chr->label);
    g_free(chr);
}

Chardev *chardev_new(const ChardevClass *class, const char *id, void *options, const char *logfile,
                     bool logappend, GError **err)
{
    Chardev *chr;

    if (chardev_find(id)) {
        error_set(err, "Duplicate ID '%s' for chardev", id);
        return NULL;
    }
    g_assert(class->size >= sizeof *chr);
    chr = g_malloc0(class->size);
    chr->class = class;
    chr->label = g_strdup(id);
    chr->filename = g_strdup(class->name);
    chr->log_fd = -1;
    chr->loop = event_loop_current();
    g_assert(chr->loop);
    chr->frontends = g_ptr_array_new();
    chr->out = g_byte_array_new();
    g_mutex_init(&chr->lock);
    bh_init(&chr->service, chr->loop, chardev_service, chr);
    chr->stall = timer_new(chr->loop, CLOCK_REALTIME_NS, stall_timeout, chr);

    if (logfile) {
        chr->logfile = g_strdup(logfile);
        chr->log_fd =
            host_open(logfile, O_WRONLY | O_CREAT | (logappend ? O_APPEND : O_TRUNC), 0666, err);
        if (chr->log_fd < 0) {
            chardev_free(chr);
            return NULL;
        }
    }
    if (!chardev_open(chr, options, err)) {
        chardev_free(chr);
        return NULL;
    }
    if (chardev_find(id)) { /* open() may have waited, and another command been faster */
        if (class->close) {
            class->close(chr);
        }
        chardev_free(chr);
        error_set(err, "Duplicate ID '%s' for chardev", id);
        return NULL;
    }
    if (!chardevs) {
        chardevs = g_ptr_array_new();
    }
    g_ptr_array_add(chardevs, chr);
    return chr;
}

void chardev_destroy(Chardev *chr)
{
    while (chr->frontends->len) {
        char_frontend_disconnect(g_ptr_array_index(chr->frontends, 0));
    }
    g_ptr_array_remove(chardevs, chr);
    if (chr->class->close) {
        chr->class->close(chr);
    }
    chardev_free(chr);
}

Chardev *chardev_find(const char *id)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(chardevs, i);

        if (g_str_equal(chr->label, id)) {
            return chr;
        }
    }
    return NULL;
}

void chardev_foreach(void (*fn)(Chardev *chr, void *data), void *data)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        fn(g_ptr_array_index(chardevs, i), data);
    }
}

bool chardev_remove(const char *id, GError **err)
{
    g_autofree char *changed = g_strdup_printf("%s" CHARDEV_CHANGED, id);
    Chardev *chr = chardev_find(id);
    bool cancelled = opening_remove(chr ? changed : id);

    if (!chr) {
        return cancelled || error_set(err, "Chardev '%s' not found", id);
    }
    if (chr->frontends->len || chr->users) {
        return cancelled || error_set(err, "Chardev '%s' is busy", id);
    }
    if (chr->class == &chardev_mux) {
        g_autofree char *base = g_strdup_printf("%s-base", id);

        chardev_destroy(chr);
        return chardev_remove(base, err);
    }
    chardev_destroy(chr);
    return true;
}

void chardev_close_all(void)
{
    gint64 end = g_get_monotonic_time() + CLOSE_PATIENCE_US;
    bool waiting = true;

    while (waiting && chardevs) {
        waiting = false;
        /* The newest first: a mux passes its queue on to the device below it. */
        for (unsigned i = chardevs->len; i-- > 0;) {
            Chardev *chr = g_ptr_array_index(chardevs, i);

            g_mutex_lock(&chr->lock);
            flush_queue(chr);
            waiting |= chardev_queued(chr) && !chr->stalled;
            g_mutex_unlock(&chr->lock);
        }
        if (g_get_monotonic_time() >= end) {
            break;
        }
        if (waiting) {
            g_usleep(5000);
        }
    }
    while (chardevs && chardevs->len) {
        chardev_destroy(g_ptr_array_index(chardevs, chardevs->len - 1));
    }
    g_clear_pointer(&chardevs, g_ptr_array_unref);
    opening_reset();
    terminal_release();
}

/* For backends. */

size_t chardev_can_read(Chardev *chr)
{
    CharFrontend *fe = chr->frontend;
    size_t room;

    /* Set before can_read(): char_accept_input() looks at it, and room may appear in between. */
    g_atomic_int_set(&chr->starved, 1);
    /* A frontend that has not got OPENED yet gets no input. */
    room = fe && !fe->muted && !fe->greet && fe->ops->can_read ? fe->ops->can_read(fe->data) : 0;
    if (room) {
        g_atomic_int_set(&chr->starved, 0);
    }
    return room;
}

void chardev_deliver(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (chr->frontend && chr->frontend->ops->read) {
        chr->frontend->ops->read(chr->frontend->data, buf, len);
    }
}

void chardev_event(Chardev *chr, CharEvent event)
{
    static const char *const names[] = {
        [CHAR_EVENT_OPENED] = "opened",   [CHAR_EVENT_CLOSED] = "closed",
        [CHAR_EVENT_BREAK] = "break",     [CHAR_EVENT_MUX_IN] = "mux-in",
        [CHAR_EVENT_MUX_OUT] = "mux-out", [CHAR_EVENT_RESUMED] = "resumed",
    };

    trace(chardev_event, chr->label, names[event]);
    if (event == CHAR_EVENT_OPENED) {
        chr->be_open = true;
    } else if (event == CHAR_EVENT_CLOSED) {
        chr->be_open = false;
    } else {
        /* Breaks and focus concern only the frontend that gets the input. */
        if (chr->frontend && chr->frontend->ops->event) {
            chr->frontend->ops->event(chr->frontend->data, event);
        }
        return;
    }
    for (unsigned i = 0; i < chr->frontends->len; i++) {
        CharFrontend *fe = g_ptr_array_index(chr->frontends, i);

        if (event == CHAR_EVENT_OPENED && greets_later(chr, fe)) {
            fe->greet = true;
        }
        /* chardev_greet() sends the event to the others. */
        if (!fe->greet && fe->ops->event) {
            fe->ops->event(fe->data, event);
        }
    }
}

/* Frontends. */

bool char_frontend_connect(CharFrontend *fe, Chardev *chr, const CharFrontendOps *ops, void *data,
                           GError **err)
{
    g_assert(!fe->chr);
    if (chr->frontends->len && chr->class != &chardev_mux) {
        return error_set(err, "Device '%s' is in use", chr->label);
    }
    if (chr->users) {
        return error_set(err, "Device '%s' is in use by a mux; use that instead", chr->label);
    }
    fe->ops = ops;
    fe->data = data;
    fe->mux_tag = chr->frontends->len;
    fe->muted = all_muted && !fe->always_on;
    fe->guest_open = true;
    fe->blocked = false;
    fe->greet = true;
    fe->chr = chr;
    g_ptr_array_add(chr->frontends, fe);
    /* The guest's frontend gets the focus, whether it connects before or after a monitor. */
    if (!chr->frontend || !fe->always_on) {
        CharFrontend *before = chr->frontend;

        chr->frontend = fe;
        if (before && !before->greet && before->ops->event) {
            before->ops->event(before->data, CHAR_EVENT_MUX_OUT);
        }
    }
    bh_schedule(&chr->service);
    return true;
}

void char_frontend_disconnect(CharFrontend *fe)
{
    Chardev *chr = fe->chr;

    if (!chr) {
        return;
    }
    g_ptr_array_remove(chr->frontends, fe);
    for (unsigned i = 0; i < chr->frontends->len; i++) {
        ((CharFrontend *)g_ptr_array_index(chr->frontends, i))->mux_tag = i;
    }
    if (chr->frontend == fe) {
        chr->frontend = chr->frontends->len ? g_ptr_array_index(chr->frontends, 0) : NULL;
        if (chr->frontend && !chr->frontend->greet && chr->frontend->ops->event) {
            chr->frontend->ops->event(chr->frontend->data, CHAR_EVENT_MUX_IN);
        }
        bh_schedule(&chr->service);
    }
    fe->chr = NULL;
    fe->blocked = fe->greet = false;
    g_clear_pointer(&fe->typed, g_byte_array_unref);
}

bool char_frontend_connected(const CharFrontend *fe)
{
    return fe->chr && fe->chr->be_open;
}

/* What a guest has written, and nobody will write again. */
static void frontend_said(CharFrontend *fe, const uint8_t *buf, size_t len)
{
    if (fe->console) {
        char_console_put(fe->console, buf, len);
    }
}

size_t char_write(CharFrontend *fe, const uint8_t *buf, size_t len)
{
    Chardev *chr = fe->chr;
    size_t done;

    if (!chr) {
        frontend_said(fe, buf, len);
        return len;
    }
    g_mutex_lock(&chr->lock);
    done = write_now(chr, buf, len);
    if (done < len) {
        size_t used = chardev_queued(chr);
        size_t n = used < GUEST_QUEUE_MAX ? MIN(len - done, GUEST_QUEUE_MAX - used) : 0;

        if (n) {
            g_byte_array_append(chr->out, buf + done, n);
            done += n;
        }
        if (done < len && gives_up(chr, fe)) {
            chr->dropped += len - done;
            log_output(chr, buf + done, len - done);
            done = len;
        }
        fe->blocked |= done < len;
        bh_schedule(&chr->service);
    }
    trace(chardev_write, chr->label, len, done);
    g_mutex_unlock(&chr->lock);
    frontend_said(fe, buf, done);
    return done;
}

void char_write_all(CharFrontend *fe, const uint8_t *buf, size_t len)
{
    Chardev *chr = fe->chr;
    size_t done;

    frontend_said(fe, buf, len);
    if (!chr) {
        return;
    }
    g_mutex_lock(&chr->lock);
    trace(chardev_write, chr->label, len, len);
    done = write_now(chr, buf, len);
    if (done < len) {
        if (len - done > QUEUE_MAX) {
            chr->dropped += len - done - QUEUE_MAX;
            done = len - QUEUE_MAX;
        }
        g_byte_array_append(chr->out, buf + done, len - done);
        if (chardev_queued(chr) > QUEUE_MAX) {
            size_t excess = chardev_queued(chr) - QUEUE_MAX;

            chr->dropped += excess;
            queue_drop_front(chr, excess);
        }
        bh_schedule(&chr->service);
    }
    g_mutex_unlock(&chr->lock);
}

void char_accept_input(CharFrontend *fe)
{
    if (fe->chr && g_atomic_int_get(&fe->chr->starved)) {
        bh_schedule(&fe->chr->service);
    }
}

void char_set_echo(CharFrontend *fe, bool echo)
{
    if (fe->chr && fe->chr->class->set_echo) {
        fe->chr->class->set_echo(fe->chr, echo);
    }
}

void char_send_break(CharFrontend *fe)
{
    if (fe->chr && fe->chr->class->send_break) {
        fe->chr->class->send_break(fe->chr);
    }
}

void char_set_open(CharFrontend *fe, bool open)
{
    fe->guest_open = open;
}

int char_get_msgfds(CharFrontend *fe, int *fds, int max)
{
    return fe->chr && fe->chr->class->get_msgfds ? fe->chr->class->get_msgfds(fe->chr, fds, max)
                                                 : 0;
}

void char_mute_all(bool muted)
{
    all_muted = muted;
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(chardevs, i);

        for (unsigned j = 0; j < chr->frontends->len; j++) {
            CharFrontend *fe = g_ptr_array_index(chr->frontends, j);

            fe->muted = muted && !fe->always_on;
            if (!fe->muted) {
                char_accept_input(fe);
            }
        }
    }
}

/* For the monitor. */

static bool guest_open(const Chardev *chr)
{
    /* A device below a mux counts as open. */
    bool open = chr->users > 0;

    for (unsigned i = 0; i < chr->frontends->len; i++) {
        open |= ((CharFrontend *)g_ptr_array_index(chr->frontends, i))->guest_open;
    }
    return open;
}

json_t *chardev_query(void)
{
    json_t *list = json_array();

    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(chardevs, i);

        json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "label", chr->label, "filename",
                                              chr->filename, "frontend-open", guest_open(chr)));
    }
    return list;
}

char *chardev_info_text(void)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(chardevs, i);

        g_string_append_printf(text, "%s: filename=%s\n", chr->label, chr->filename);
    }
    return g_string_free(text, FALSE);
}
