/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gdb stub's server: its character device, what comes in and what goes out. Bytes are taken
 * apart as they come; packets are served one at a time by a coroutine. Neither a client that sends
 * without end nor one that does not read holds up anything but itself.
 */
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "gdb.h"
#include "monitor/gdb.h"

/* Packets that wait to be served, and output that waits to be read, before no more is taken. */
#define PACKETS_MAX 16
#define OUT_MAX     (64 * KiB)
#define READ_MAX    4096
/* How often gdb_still() stops a machine that others let go on at once. */
#define STILL_TRIES 10

static Gdb *server;

/* Output. */

static size_t gdb_unsent(const Gdb *g)
{
    return g->out->len - g->out_sent;
}

static void gdb_drop_output(Gdb *g)
{
    g_string_truncate(g->out, 0);
    g->out_sent = 0;
}

static void gdb_flush(Gdb *g)
{
    if (!gdb_unsent(g)) {
        return;
    }
    g->out_sent += char_write(&g->fe, (const uint8_t *)g->out->str + g->out_sent, gdb_unsent(g));
    if (!gdb_unsent(g)) {
        gdb_drop_output(g);
    }
}

void gdb_send(Gdb *g, const char *content, size_t len)
{
    if (!g->connected) {
        return;
    }
    g_string_truncate(g->last, 0);
    gdb_frame(g->last, content, len);
    g_string_append_len(g->out, g->last->str, (gssize)g->last->len);
    gdb_flush(g);
}

void gdb_send_text(Gdb *g, const char *text)
{
    size_t len = strlen(text);

    while (len) {
        g_autoptr(GString) packet = g_string_new("O");
        size_t n = MIN(len, (size_t)(GDB_PACKET_MAX - 1) / 2);

        gdb_append_hex(packet, (const uint8_t *)text, n);
        gdb_send(g, packet->str, packet->len);
        text += n;
        len -= n;
    }
}

/* The machine. */

bool coroutine_fn gdb_still(Gdb *g)
{
    for (unsigned i = 0; i < STILL_TRIES; i++) {
        if (vm_hold_paused(g->vm, NULL)) {
            return true;
        }
        if (vm_exiting(g->vm)) {
            return false;
        }
        vm_pause(g->vm, RUN_STATE_PAUSED);
    }
    return false;
}

bool gdb_choose_arch(Gdb *g, const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const DebugLayout *l = g->vm->arch->debug->layouts; l->name; l++) {
        if (g_str_equal(l->name, name)) {
            g->arch = l;
            return true;
        }
        g_ptr_array_add(names, (gpointer)l->name);
    }
    g_ptr_array_add(names, (gpointer) "auto");
    g_ptr_array_add(names, NULL);
    if (g_str_equal(name, "auto")) {
        g->arch = NULL;
        return true;
    }
    return error_unknown_name(err, "architecture", name, (const char *const *)names->pdata);
}

/* The coroutine. */

static void coroutine_fn client_came(Gdb *g)
{
    g->came = false;
    g->running = g->physical = g->tells_break = g->tells_break_hw = false;
    g->step_flags = GDB_STEP_ENABLE | GDB_STEP_NO_IRQ;
    g->cpu = g->move_cpu = 0;
    g->stop_told = true;
    g->interrupted = false;
    g_clear_pointer(&g->warned, g_free);
    g_string_truncate(g->last, 0);
    vm_pause(g->vm, RUN_STATE_PAUSED);
    gdb_take_layout(g);
}

static void coroutine_fn client_left(Gdb *g)
{
    g->left = false;
    g->running = false;
    vm_debug_clear(g->vm);
    if (!vm_running(g->vm) && !vm_exiting(g->vm) && !g->detached) {
        log_warn("gdb: the client has gone; the virtual machine stands still, and 'cont' in a "
                 "monitor lets it go on");
    }
    g->detached = false;
}

static bool gdb_has_work(const Gdb *g)
{
    return g->left || g->came || (g->connected && !g->stop_told) ||
           (g->packets.length && gdb_unsent(g) <= OUT_MAX);
}

static void packet_free(gpointer packet)
{
    g_string_free(packet, TRUE);
}

static void gdb_free(Gdb *g)
{
    bh_cancel(&g->work);
    gdb_parser_clear(&g->parser);
    g_queue_clear_full(&g->packets, packet_free);
    g_string_free(g->out, TRUE);
    g_string_free(g->last, TRUE);
    g_free(g->own_chardev);
    g_free(g->warned);
    g_free(g);
}

static void coroutine_fn gdb_run(void *data)
{
    Gdb *g = data;

    while (gdb_has_work(g)) {
        if (g->left) {
            client_left(g);
        } else if (g->came) {
            client_came(g);
        } else if (!g->stop_told) {
            gdb_tell_stop(g);
        } else {
            GString *packet = g_queue_pop_head(&g->packets);

            gdb_serve(g, packet);
            g_string_free(packet, TRUE);
            char_accept_input(&g->fe);
        }
    }
    g->interrupted = false;
    g->busy = false;
    if (g->closing) {
        gdb_free(g);
    }
}

static void gdb_work(void *data)
{
    Gdb *g = data;

    if (!g->busy) {
        g->busy = true;
        coroutine_start(gdb_run, g);
    }
}

/* Input. */

static void gdb_interrupt(Gdb *g)
{
    if (g->busy || g->packets.length) {
        g->interrupted = true; /* the packet before it may let the machine go on */
    } else if (g->running) {
        vm_request_pause(g->vm, RUN_STATE_PAUSED);
    }
}

static void gdb_acknowledge(Gdb *g, char c)
{
    if (!g->no_ack) {
        g_string_append_c(g->out, c);
    }
}

static void gdb_take_byte(Gdb *g, uint8_t byte)
{
    GString *packet;

    switch (gdb_parser_take(&g->parser, byte)) {
    case GDB_INPUT_PACKET:
        gdb_acknowledge(g, '+');
        packet = g_string_new_len((const char *)g->parser.data->data, g->parser.data->len);
        g_queue_push_tail(&g->packets, packet);
        /* What follows is not acknowledged any more. */
        g->no_ack |= g_str_equal(packet->str, "QStartNoAckMode");
        break;
    case GDB_INPUT_TOO_LONG:
        gdb_acknowledge(g, '+');
        g_queue_push_tail(&g->packets, g_string_new(NULL));
        break;
    case GDB_INPUT_BAD:
        gdb_acknowledge(g, '-');
        break;
    case GDB_INPUT_NACK:
        if (!g->no_ack && gdb_unsent(g) <= OUT_MAX) {
            g_string_append_len(g->out, g->last->str, (gssize)g->last->len);
        }
        break;
    case GDB_INPUT_INTERRUPT:
        gdb_interrupt(g);
        break;
    default:
        break;
    }
}

static size_t gdb_can_read(void *data)
{
    Gdb *g = data;

    return g->packets.length < PACKETS_MAX && gdb_unsent(g) <= OUT_MAX ? READ_MAX : 0;
}

static void gdb_read(void *data, const uint8_t *buf, size_t len)
{
    Gdb *g = data;

    for (size_t i = 0; i < len; i++) {
        gdb_take_byte(g, buf[i]);
    }
    gdb_flush(g);
    bh_schedule(&g->work);
}

static void gdb_writable(void *data)
{
    Gdb *g = data;

    gdb_flush(g);
    bh_schedule(&g->work);
    char_accept_input(&g->fe);
}

/* What a client that has gone, or another one, has no use for. */
static void gdb_forget_client(Gdb *g)
{
    g->client++;
    g_queue_clear_full(&g->packets, packet_free);
    gdb_parser_reset(&g->parser);
    gdb_drop_output(g);
    g->no_ack = false;
}

static void gdb_event(void *data, CharEvent event)
{
    Gdb *g = data;

    if (event == CHAR_EVENT_OPENED) {
        gdb_forget_client(g);
        g->connected = g->came = true;
        bh_schedule(&g->work);
    } else if (event == CHAR_EVENT_CLOSED && g->connected) {
        gdb_forget_client(g);
        g->connected = g->came = false;
        g->left = true;
        bh_schedule(&g->work);
    }
}

static void gdb_on_pause(void *data)
{
    Gdb *g = data;

    gdb_stopped(g);
    bh_schedule(&g->work);
}

static const CharFrontendOps gdb_ops = {
    .can_read = gdb_can_read,
    .read = gdb_read,
    .event = gdb_event,
    .writable = gdb_writable,
};

/* The server's life. */

static void gdb_server_end(Gdb *g)
{
    server = NULL;
    vm_notifier_remove(g->vm, VM_NOTIFY_PAUSE, gdb_on_pause, g);
    gdb_event(g, CHAR_EVENT_CLOSED);
    char_frontend_disconnect(&g->fe);
    if (g->own_chardev) {
        chardev_remove(g->own_chardev, NULL);
    }
    g->closing = true;
    bh_schedule(&g->work); /* it ends what the client had begun, and frees */
}

void gdb_server_cleanup(int status)
{
    Gdb *g = server;
    char exited[4];

    if (!g) {
        return;
    }
    server = NULL;
    if (g->connected) {
        g_snprintf(exited, sizeof exited, "W%02x", (unsigned)status & 0xff);
        gdb_send(g, exited, 3);
        char_write_all(&g->fe, (const uint8_t *)g->out->str + g->out_sent, gdb_unsent(g));
    }
    vm_notifier_remove(g->vm, VM_NOTIFY_PAUSE, gdb_on_pause, g);
    char_frontend_disconnect(&g->fe);
    if (g->busy) {
        bh_cancel(&g->work); /* the coroutine never goes on, and has 'g' on its stack */
        return;
    }
    gdb_free(g);
}

/* Takes arch=NAME out of the options in 'text'; NULL: there is none. The caller frees both. */
static char *split_arch(const char *text, char **rest)
{
    const char *at = strstr(text, ",arch="), *end;

    if (!at) {
        *rest = g_strdup(text);
        return NULL;
    }
    end = strchrnul(at + 1, ',');
    *rest = g_strdup_printf("%.*s%s", (int)(at - text), text, end);
    at += strlen(",arch=");
    return g_strndup(at, (size_t)(end - at));
}

/* The stub is the server, which waits for nobody, where gdb's user does not say otherwise. */
static char *device_text(const char *text)
{
    if (g_str_has_prefix(text, "tcp:")) {
        return g_strconcat(text, ",wait=off,nodelay=on,server=on", NULL);
    }
    if (g_str_has_prefix(text, "unix:") && !strstr(text, ",server")) {
        return g_strconcat(text, ",server=on,wait=off", NULL);
    }
    return g_strdup(text);
}

static Gdb *gdb_new(Vm *vm)
{
    Gdb *g = g_new0(Gdb, 1);

    g->vm = vm;
    g->fe.always_on = true; /* it is used while the machine stands still */
    g->stop_told = true;
    g->out = g_string_new(NULL);
    g->last = g_string_new(NULL);
    g_queue_init(&g->packets);
    gdb_parser_init(&g->parser);
    bh_init(&g->work, vm->loop, gdb_work, g);
    return g;
}

static bool gdb_connect(Gdb *g, const char *text, GError **err)
{
    bool own = !g_str_has_prefix(text, "chardev:");
    g_autofree char *device = device_text(text);
    Chardev *chr = chardev_from_short("gdb", device, err);

    if (!chr) {
        return false;
    }
    g->own_chardev = own ? g_strdup("gdb") : NULL;
    if (char_frontend_connect(&g->fe, chr, &gdb_ops, g, err)) {
        return true;
    }
    if (own) {
        chardev_remove("gdb", NULL);
    }
    return false;
}

bool gdb_server_start(Vm *vm, const char *device, GError **err)
{
    g_autofree char *text = NULL, *arch = split_arch(device, &text);
    Gdb *g;

    if (server) {
        gdb_server_end(server);
    }
    if (g_str_equal(device, "none")) {
        return true;
    }
    if (!vm->vcpu_count || !vm->arch || !vm->arch->debug) {
        return error_set(err, "gdb: there is nothing to debug: this machine has no CPU that runs");
    }
    g = gdb_new(vm);
    if ((arch && !gdb_choose_arch(g, arch, err)) || !gdb_connect(g, text, err)) {
        g_prefix_error(err, "gdb: '%s': ", device);
        gdb_free(g);
        return false;
    }
    vm_notifier_add(vm, VM_NOTIFY_PAUSE, gdb_on_pause, g);
    server = g;
    return true;
}
