/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitors on character devices: their list, their output, events. */
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/trace.h"
#include "base/util.h"
#include "internal.h"

/* A command's output is written whenever this much is gathered, and at its end. */
#define FLUSH_AT         4096
#define QMP_REQUESTS_MAX 64
/* Unsent output past OUT_MAX holds back further commands; past OUT_EVENT_MAX events are dropped. */
#define OUT_MAX       (64 * KiB)
#define OUT_EVENT_MAX MiB
/* How long monitor_free() waits for a running command, and for the client to read. */
#define END_WAIT_NS (2 * NS_PER_SEC)

Vm *monitor_vm;
static const MonitorHost *host;
static GPtrArray *monitors;

const MonitorHost *monitor_host(void)
{
    return host;
}

void monitor_foreach(void (*fn)(Monitor *mon, void *data), void *data)
{
    for (unsigned i = 0; monitors && i < monitors->len; i++) {
        fn(monitors->pdata[i], data);
    }
}

/* Output. */

static size_t monitor_unsent(const Monitor *mon)
{
    return mon->out->len - mon->out_sent;
}

static void drop_output(Monitor *mon)
{
    g_string_truncate(mon->out, 0);
    mon->out_sent = 0;
}

void monitor_flush(Monitor *mon)
{
    if (mon->detached || mon->hushed || !monitor_unsent(mon)) {
        return;
    }
    mon->out_sent +=
        char_write(&mon->fe, (const uint8_t *)mon->out->str + mon->out_sent, monitor_unsent(mon));
    if (!monitor_unsent(mon)) {
        drop_output(mon);
    } else if (mon->out_sent > mon->out->len / 2) {
        g_string_erase(mon->out, 0, mon->out_sent);
        mon->out_sent = 0;
    }
}

bool monitor_out_full(const Monitor *mon)
{
    return !mon->detached && monitor_unsent(mon) > OUT_MAX;
}

void monitor_puts(Monitor *mon, const char *text)
{
    for (; *text; text++) {
        /* Terminals in raw mode need the carriage return; QEMU sends it to everyone. */
        if (*text == '\n') {
            g_string_append_c(mon->out, '\r');
        }
        g_string_append_c(mon->out, *text);
    }
    if (mon->out->len >= FLUSH_AT) {
        monitor_flush(mon);
    }
}

void monitor_printf(Monitor *mon, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    monitor_puts(mon, text);
}

/* Character device callbacks. */

static size_t on_can_read(void *data)
{
    Monitor *mon = data;

    if (monitor_out_full(mon)) {
        return 0;
    }
    /* Keys and requests that come while a command runs wait, up to a limit. */
    if (mon->mode == MONITOR_HMP) {
        return HMP_INPUT_MAX - MIN(mon->in->len, HMP_INPUT_MAX);
    }
    return mon->requests.length < QMP_REQUESTS_MAX ? 4096 : 0;
}

static void on_read(void *data, const uint8_t *buf, size_t len)
{
    Monitor *mon = data;

    if (mon->mode == MONITOR_HMP) {
        hmp_input(mon, buf, len);
    } else {
        qmp_input(mon, buf, len);
    }
}

/* The character device takes output again. */
static void on_writable(void *data)
{
    Monitor *mon = data;

    monitor_flush(mon);
    if (!monitor_out_full(mon)) {
        qmp_go_on(mon);
        char_accept_input(&mon->fe);
    }
}

static void on_event(void *data, CharEvent event)
{
    Monitor *mon = data;

    if (event == CHAR_EVENT_CLOSED) {
        drop_output(mon); /* its reader is gone */
    }
    if (mon->mode != MONITOR_HMP) {
        if (event == CHAR_EVENT_OPENED) {
            qmp_opened(mon);
        } else if (event == CHAR_EVENT_CLOSED) {
            qmp_closed(mon);
        }
        return;
    }
    hmp_event(mon, event);
}

static const CharFrontendOps frontend_ops = {
    .can_read = on_can_read,
    .read = on_read,
    .event = on_event,
    .writable = on_writable,
};

/* Events of the machine go to every QMP monitor that has negotiated. */

static void send_event(Monitor *mon, void *data)
{
    /* Events for a client that does not read are dropped: in QEMU they fill all memory. */
    if (mon->mode != MONITOR_HMP && mon->negotiated && monitor_unsent(mon) < OUT_EVENT_MAX) {
        qmp_send(mon, json_incref(data));
    }
}

static void on_vm_event(const VmEvent *vm_event, json_t *data, void *user)
{
    struct timespec now;
    json_t *event = json_object();

    trace(monitor_protocol_event_emit, vm_event->name);
    clock_gettime(CLOCK_REALTIME, &now);
    json_object_set_new(event, "timestamp",
                        json_pack("{s:I,s:I}", "seconds", (json_int_t)now.tv_sec, "microseconds",
                                  (json_int_t)(now.tv_nsec / NS_PER_US)));
    json_object_set_new(event, "event", json_string(vm_event->name));
    if (data) {
        json_object_set(event, "data", data);
    }
    monitor_foreach(send_event, event);
    json_decref(event);
}

void monitor_init(Vm *vm, const MonitorHost *h)
{
    monitor_vm = vm;
    host = h;
    monitors = g_ptr_array_new();
    vm_set_event_listener(vm, on_vm_event, NULL);
}

static void close_fd(gpointer fd)
{
    close(GPOINTER_TO_INT(fd));
}

static Monitor *monitor_new(MonitorMode mode)
{
    Monitor *mon = g_new0(Monitor, 1);

    mon->mode = mode;
    mon->out = g_string_new(NULL);
    mon->in = g_byte_array_new();
    mon->history = g_ptr_array_new_with_free_func(g_free);
    mon->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_fd);
    g_queue_init(&mon->requests);
    return mon;
}

Monitor *monitor_new_detached(void)
{
    Monitor *mon = monitor_new(MONITOR_HMP);

    mon->detached = true;
    return mon;
}

void monitor_free(Monitor *mon)
{
    json_t *request;
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + END_WAIT_NS;

    mon->closing = true;
    while ((mon->busy || mon->session) && !mon->detached && clock_ns(CLOCK_REALTIME_NS) < end) {
        if (mon->reader) {
            coroutine_wake(mon->reader);
        }
        event_loop_iterate(monitor_vm->loop, 10 * NS_PER_MS);
    }
    if (!mon->detached) {
        while (char_frontend_connected(&mon->fe) && !mon->hushed && monitor_unsent(mon) &&
               clock_ns(CLOCK_REALTIME_NS) < end) {
            monitor_flush(mon);
            event_loop_iterate(monitor_vm->loop, 10 * NS_PER_MS);
        }
        char_frontend_disconnect(&mon->fe);
    }
    if (mon->mode != MONITOR_HMP) {
        qmp_closed(mon);
    }
    while ((request = g_queue_pop_head(&mon->requests))) {
        json_decref(request);
    }
    if (mon->busy || mon->session) {
        return; /* a command hangs, and still uses 'mon' */
    }
    g_ptr_array_unref(mon->history);
    g_hash_table_unref(mon->fds);
    g_string_free(mon->out, TRUE);
    g_byte_array_unref(mon->in);
    g_free(mon);
}

bool monitor_add(Chardev *chr, MonitorMode mode, GError **err)
{
    Monitor *mon = monitor_new(mode);

    g_ptr_array_add(monitors, mon);
    /* A monitor reads while the machine is paused, and is not the first to have a mux's focus. */
    mon->fe.always_on = true;
    if (!char_frontend_connect(&mon->fe, chr, &frontend_ops, mon, err)) {
        g_ptr_array_remove(monitors, mon);
        mon->detached = true;
        monitor_free(mon);
        return false;
    }
    if (mode != MONITOR_HMP) {
        char_set_echo(&mon->fe, true); /* QMP has no line editor: the terminal edits and echoes */
    }
    return true;
}

void monitor_cleanup(void)
{
    if (!monitors) {
        return;
    }
    vm_set_event_listener(monitor_vm, NULL, NULL);
    chardev_cancel_openings();
    for (unsigned i = 0; i < monitors->len; i++) {
        monitor_free(monitors->pdata[i]);
    }
    g_clear_pointer(&monitors, g_ptr_array_unref);
}
