/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest protocol: a line is a command and its words, answered by a line that begins with OK or
 * FAIL; 'IRQ raise N' and 'IRQ lower N' come in between, before the answer to what caused them.
 *
 * A coroutine runs the commands one after the other, since an access may wait for a device's
 * deferred work; input that comes meanwhile is kept in 'in'. Any thread may raise an interrupt, so
 * output is collected in 'out', by whole lines, and written at the chardev's pace.
 */
#include "vm/qtest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "chardev/chardev.h"

/* While a command runs, at most about this many bytes of input are buffered. */
#define IN_MAX MiB
/* Bulk commands go through guest memory in pieces of this size. */
#define CHUNK (64 * KiB)
/* The most bytes that one command may move; a larger size is a client's mistake. */
#define BULK_MAX (1 * GiB)

struct QtestServer {
    Vm *vm;
    CharFrontend fe;
    GByteArray *in;
    bool busy;   /* the coroutine qtest_serve() is running */
    GMutex lock; /* a leaf; guards 'out' */
    GString *out;
    BottomHalf flush_bh;
    char *intercepted; /* name of the device whose interrupts are intercepted */
    bool (*intercept)(Vm *vm, const char *name, IrqIntercept intercept); /* inputs or outputs */
    FILE *log;
    int64_t start;
};

static void log_line(QtestServer *q, char kind, const char *text)
{
    if (q->log) {
        double t = (clock_ns(CLOCK_REALTIME_NS) - q->start) / 1e9;
        fprintf(q->log, "[%c +%f] %s%s", kind, t, text, g_str_has_suffix(text, "\n") ? "" : "\n");
        fflush(q->log);
    }
}

/* Output. */

static void flush_out(void *data)
{
    QtestServer *q = data;
    g_mutex_lock(&q->lock);
    size_t n = char_write(&q->fe, (const uint8_t *)q->out->str, q->out->len);
    g_string_erase(q->out, 0, n);
    g_mutex_unlock(&q->lock);
}

/* Any thread. */
static void send_line(QtestServer *q, const char *line)
{
    g_mutex_lock(&q->lock);
    log_line(q, 'S', line);
    g_string_append(q->out, line);
    g_string_append_c(q->out, '\n');
    g_mutex_unlock(&q->lock);
    bh_schedule(&q->flush_bh);
}

static void G_GNUC_PRINTF(2, 3) qtest_reply(QtestServer *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    send_line(q, line);
}

/* Under the routing lock. */
static void irq_edge(void *data, unsigned n, bool level)
{
    char line[32];
    snprintf(line, sizeof line, "IRQ %s %u", level ? "raise" : "lower", n);
    send_line(data, line);
}

/* Commands. */

typedef struct {
    QtestServer *q;
    char **words; /* words[0] is the command */
    unsigned n;
    bool failed; /* answered with FAIL already */
} Command;

/* Word i as an integer in C notation, sign included; answers FAIL if it is none. */
static uint64_t qtest_number(Command *c, unsigned i)
{
    char *end;
    errno = 0;
    uint64_t v = strtoull(c->words[i], &end, 0);
    if ((*end || end == c->words[i] || errno) && !c->failed) {
        qtest_reply(c->q, "FAIL '%s' is no number", c->words[i]);
        c->failed = true;
    }
    return v;
}

static uint64_t bulk_size(Command *c, unsigned i)
{
    uint64_t len = qtest_number(c, i);
    if (len > BULK_MAX && !c->failed) {
        qtest_reply(c->q, "FAIL %" G_GUINT64_FORMAT " bytes are more than one command may move",
                    len);
        c->failed = true;
    }
    return len;
}

/* 1, 2, 4 or 8 by the last letter of the command. */
static unsigned qtest_width(const Command *c)
{
    switch (c->words[0][strlen(c->words[0]) - 1]) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

static void coroutine_fn cmd_out(Command *c)
{
    uint64_t port = qtest_number(c, 1), value = htole64(qtest_number(c, 2));
    if (!c->failed) {
        cpu_access(c->q->vm, IO_SPACE_PIO, port & 0xffff, &value, qtest_width(c), true);
        qtest_reply(c->q, "OK");
    }
}

static void coroutine_fn cmd_in(Command *c)
{
    uint64_t port = qtest_number(c, 1), value = 0;
    if (!c->failed) {
        cpu_access(c->q->vm, IO_SPACE_PIO, port & 0xffff, &value, qtest_width(c), false);
        qtest_reply(c->q, "OK 0x%04x", (unsigned)le64toh(value));
    }
}

static void coroutine_fn cmd_mem_write(Command *c)
{
    uint64_t addr = qtest_number(c, 1), value = htole64(qtest_number(c, 2));
    if (!c->failed) {
        cpu_access(c->q->vm, IO_SPACE_MEM, addr, &value, qtest_width(c), true);
        qtest_reply(c->q, "OK");
    }
}

static void coroutine_fn cmd_mem_read(Command *c)
{
    uint64_t addr = qtest_number(c, 1), value = 0;
    if (!c->failed) {
        cpu_access(c->q->vm, IO_SPACE_MEM, addr, &value, qtest_width(c), false);
        qtest_reply(c->q, "OK 0x%016" G_GINT64_MODIFIER "x", le64toh(value));
    }
}

static void coroutine_fn access_bulk(Command *c, uint64_t addr, uint8_t *data, uint64_t len,
                                     bool write)
{
    for (uint64_t done = 0; done < len; done += CHUNK) {
        cpu_access(c->q->vm, IO_SPACE_MEM, addr + done, data + done, MIN(len - done, CHUNK), write);
    }
}

static void coroutine_fn cmd_bulk_read(Command *c)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t addr = qtest_number(c, 1), len = bulk_size(c, 2);
    if (c->failed) {
        return;
    }
    g_autofree uint8_t *data = g_malloc(len + 1);
    access_bulk(c, addr, data, len, false);
    GString *line = g_string_sized_new(len * 2 + 8);
    g_string_append(line, "OK 0x");
    for (uint64_t i = 0; i < len; i++) {
        g_string_append_c(line, digits[data[i] >> 4]);
        g_string_append_c(line, digits[data[i] & 15]);
    }
    send_line(c->q, line->str);
    g_string_free(line, TRUE);
}

static void coroutine_fn cmd_b64read(Command *c)
{
    uint64_t addr = qtest_number(c, 1), len = bulk_size(c, 2);
    if (c->failed) {
        return;
    }
    g_autofree uint8_t *data = g_malloc(len + 1);
    access_bulk(c, addr, data, len, false);
    g_autofree char *text = g_base64_encode(data, len);
    g_autofree char *line = g_strconcat("OK ", text, NULL);
    send_line(c->q, line);
}

/* The data are 0x and two digits a byte; missing bytes are zero. */
static void coroutine_fn cmd_bulk_write(Command *c)
{
    uint64_t addr = qtest_number(c, 1), len = bulk_size(c, 2);
    const char *hex = c->words[3];
    if (c->failed) {
        return;
    }
    if (!g_str_has_prefix(hex, "0x")) {
        qtest_reply(c->q, "FAIL the data does not begin with 0x");
        return;
    }
    g_autofree uint8_t *data = g_malloc0(len + 1);
    hex += 2;
    for (uint64_t i = 0; i < len && *hex; i++, hex += 2) {
        int high = g_ascii_xdigit_value(hex[0]), low = g_ascii_xdigit_value(hex[1]);
        if (high < 0 || low < 0) {
            qtest_reply(c->q, "FAIL the data is not hexadecimal");
            return;
        }
        data[i] = high << 4 | low;
    }
    access_bulk(c, addr, data, len, true);
    qtest_reply(c->q, "OK");
}

static void coroutine_fn cmd_b64write(Command *c)
{
    uint64_t addr = qtest_number(c, 1), len = bulk_size(c, 2);
    if (c->failed) {
        return;
    }
    gsize given;
    g_autofree uint8_t *data = g_base64_decode(c->words[3], &given);
    if (given < len) {
        qtest_reply(c->q, "FAIL %zu bytes were given, not %" G_GUINT64_FORMAT, given, len);
        return;
    }
    access_bulk(c, addr, data, len, true);
    qtest_reply(c->q, "OK");
}

static void coroutine_fn cmd_memset(Command *c)
{
    uint64_t addr = qtest_number(c, 1), len = bulk_size(c, 2), byte = qtest_number(c, 3);
    if (c->failed) {
        return;
    }
    g_autofree uint8_t *data = g_malloc(CHUNK);
    memset(data, (int)byte, CHUNK);
    for (uint64_t done = 0; done < len; done += CHUNK) {
        cpu_access(c->q->vm, IO_SPACE_MEM, addr + done, data, MIN(len - done, CHUNK), true);
    }
    qtest_reply(c->q, "OK");
}

static void coroutine_fn cmd_endianness(Command *c)
{
    qtest_reply(c->q, "OK little");
}

/* 'IRQ raise N' does not name a device, so only one can be intercepted, until the end. */
static void coroutine_fn cmd_irq_intercept(Command *c)
{
    QtestServer *q = c->q;
    const char *name = c->words[1];
    bool in = g_str_has_suffix(c->words[0], "_in");
    bool (*intercept)(Vm *, const char *, IrqIntercept) =
        in ? irq_intercept_inputs : irq_intercept_outputs;

    if (q->intercepted) {
        bool same = q->intercept == intercept && g_str_equal(q->intercepted, name);
        qtest_reply(q, same ? "OK" : "FAIL IRQ intercept already enabled");
    } else if (intercept(q->vm, name, (IrqIntercept){irq_edge, q})) {
        q->intercepted = g_strdup(name);
        q->intercept = intercept;
        qtest_reply(q, "OK");
    } else {
        qtest_reply(q, "FAIL Unknown device");
    }
}

/* NAME is a group of inputs; a device has only one group here, so it is not looked at. */
static void coroutine_fn cmd_set_irq_in(Command *c)
{
    uint64_t n = qtest_number(c, 3), level = qtest_number(c, 4);
    if (c->failed) {
        return;
    }
    IrqPin *pin = irq_find_input(c->q->vm, c->words[1], n);
    if (!pin) {
        qtest_reply(c->q, "FAIL Unknown device");
        return;
    }
    irq_force_input(c->q->vm, pin, level != 0);
    qtest_reply(c->q, "OK");
}

/* Timers of I/O threads fire on their own loops: waits (a second at most) until all due have. */
static void coroutine_fn wait_for_timers(void)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + NS_PER_SEC;
    while (!virtual_clock_frozen() && clock_ns(CLOCK_REALTIME_NS) < end) {
        int64_t next = virtual_clock_next_deadline();
        if (next < 0 || next > clock_ns(CLOCK_VIRTUAL_NS)) {
            break;
        }
        coroutine_sleep(CLOCK_REALTIME_NS, 20 * NS_PER_US);
    }
}

/*
 * Moves the clock in steps, since a periodic timer fires for each period on the way. The main loop
 * runs between the steps, so that signals and monitors are served even if a client asks for years.
 */
static void coroutine_fn move_clock(Command *c, int64_t ns)
{
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS), next = virtual_clock_next_deadline();

    while (!virtual_clock_frozen() && next >= 0 && MAX(next, now + NS_PER_SEC) < ns) {
        virtual_clock_set(MAX(next, now + NS_PER_SEC));
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
        now = clock_ns(CLOCK_VIRTUAL_NS);
        next = virtual_clock_next_deadline();
    }
    virtual_clock_set(MAX(ns, now));
    wait_for_timers();
    qtest_reply(c->q, "OK %" G_GINT64_FORMAT, clock_ns(CLOCK_VIRTUAL_NS));
}

static bool clock_is_ours(Command *c)
{
    if (!virtual_clock_is_manual()) {
        qtest_reply(c->q, "FAIL the clock runs by itself without -accel qtest");
        return false;
    }
    return true;
}

static int64_t qtest_nanoseconds(Command *c, unsigned i)
{
    uint64_t ns = qtest_number(c, i);

    if (ns > INT64_MAX / 4 && !c->failed) {
        qtest_reply(c->q, "FAIL '%s' nanoseconds: the clock goes forward, and not so far",
                    c->words[i]);
        c->failed = true;
    }
    return (int64_t)ns;
}

/* Without an argument: to the next deadline. */
static void coroutine_fn cmd_clock_step(Command *c)
{
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS), next = virtual_clock_next_deadline();
    int64_t to = c->n > 1 ? qtest_nanoseconds(c, 1) : next < 0 ? 0 : next - now;
    if (!c->failed && clock_is_ours(c)) {
        move_clock(c, now + to);
    }
}

static void coroutine_fn cmd_clock_set(Command *c)
{
    int64_t to = qtest_nanoseconds(c, 1);
    if (!c->failed && clock_is_ours(c)) {
        move_clock(c, to);
    }
}

static const struct {
    const char *name;
    void coroutine_fn (*run)(Command *c);
    unsigned args;
    const char *usage;
} commands[] = {
    {"inb", cmd_in, 1, "PORT"},
    {"inw", cmd_in, 1, "PORT"},
    {"inl", cmd_in, 1, "PORT"},
    {"outb", cmd_out, 2, "PORT VALUE"},
    {"outw", cmd_out, 2, "PORT VALUE"},
    {"outl", cmd_out, 2, "PORT VALUE"},
    {"readb", cmd_mem_read, 1, "ADDRESS"},
    {"readw", cmd_mem_read, 1, "ADDRESS"},
    {"readl", cmd_mem_read, 1, "ADDRESS"},
    {"readq", cmd_mem_read, 1, "ADDRESS"},
    {"writeb", cmd_mem_write, 2, "ADDRESS VALUE"},
    {"writew", cmd_mem_write, 2, "ADDRESS VALUE"},
    {"writel", cmd_mem_write, 2, "ADDRESS VALUE"},
    {"writeq", cmd_mem_write, 2, "ADDRESS VALUE"},
    {"read", cmd_bulk_read, 2, "ADDRESS SIZE"},
    {"write", cmd_bulk_write, 3, "ADDRESS SIZE 0xDATA"},
    {"memset", cmd_memset, 3, "ADDRESS SIZE BYTE"},
    {"b64read", cmd_b64read, 2, "ADDRESS SIZE"},
    {"b64write", cmd_b64write, 3, "ADDRESS SIZE DATA"},
    {"endianness", cmd_endianness, 0, ""},
    {"irq_intercept_in", cmd_irq_intercept, 1, "PATH"},
    {"irq_intercept_out", cmd_irq_intercept, 1, "PATH"},
    {"set_irq_in", cmd_set_irq_in, 4, "PATH NAME NUMBER LEVEL"},
    {"clock_step", cmd_clock_step, 0, "[NS]"},
    {"clock_set", cmd_clock_set, 1, "NS"},
};

static void coroutine_fn run_line(QtestServer *q, char *line)
{
    log_line(q, 'R', line);
    g_auto(GStrv) words = g_strsplit_set(line, " \r", -1);
    Command c = {.q = q, .words = words};
    /* Drops the empty words that g_strsplit_set() makes of several blanks. */
    for (char **from = words; *from; from++) {
        if (**from) {
            char *word = *from;
            *from = words[c.n]; /* an empty word, or the same one */
            words[c.n++] = word;
        }
    }
    if (!c.n) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(commands[i].name, words[0])) {
            if (c.n - 1 < commands[i].args) {
                qtest_reply(q, "FAIL usage: %s %s", commands[i].name, commands[i].usage);
            } else {
                commands[i].run(&c);
            }
            return;
        }
    }
    qtest_reply(q, "FAIL Unknown command '%s'", words[0]);
}

/* Input. */

/* The first line of the input without its newline; NULL: none is complete. Caller frees. */
static char *take_line(QtestServer *q)
{
    uint8_t *end = memchr(q->in->data, '\n', q->in->len);
    if (!end) {
        return NULL;
    }
    size_t len = end - q->in->data;
    char *line = g_strndup((char *)q->in->data, len);
    g_byte_array_remove_range(q->in, 0, len + 1);
    return line;
}

static void coroutine_fn qtest_serve(void *data)
{
    QtestServer *q = data;
    char *line;
    while ((line = take_line(q))) {
        run_line(q, line);
        g_free(line);
        flush_out(q); /* now, not at the loop's next turn */
    }
    q->busy = false;
    char_accept_input(&q->fe);
}

static size_t qtest_fe_can_read(void *data)
{
    QtestServer *q = data;
    return q->busy && q->in->len >= IN_MAX ? 0 : 64 * KiB;
}

static void qtest_fe_read(void *data, const uint8_t *buf, size_t len)
{
    QtestServer *q = data;
    g_byte_array_append(q->in, buf, len);
    if (!q->busy && memchr(buf, '\n', len)) {
        q->busy = true;
        coroutine_start(qtest_serve, q);
    }
}

/* The client has left: its last line stays incomplete. Whole lines that wait are still run. */
static void drop_half_line(QtestServer *q)
{
    const uint8_t *end = q->in->len ? memrchr(q->in->data, '\n', q->in->len) : NULL;

    g_byte_array_set_size(q->in, end ? end + 1 - q->in->data : 0);
}

static void qtest_fe_event(void *data, CharEvent event)
{
    QtestServer *q = data;
    if (event == CHAR_EVENT_OPENED) {
        log_line(q, 'I', "OPENED");
    } else if (event == CHAR_EVENT_CLOSED) {
        log_line(q, 'I', "CLOSED");
        drop_half_line(q);
    }
}

static const CharFrontendOps fe_ops = {
    .can_read = qtest_fe_can_read,
    .read = qtest_fe_read,
    .event = qtest_fe_event,
    .writable = flush_out,
};

/* Life. */

static bool open_log(QtestServer *q, const char *path, GError **err)
{
    if (path && g_str_equal(path, "none")) {
        return true;
    }
    int fd = path ? host_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666, err) : dup(STDERR_FILENO);
    if (fd < 0) {
        return path ? false : error_set_errno(err, errno, "cannot log to stderr");
    }
    q->log = fdopen(fd, "w");
    if (!q->log) {
        error_set_errno(err, errno, "cannot log to '%s'", path ? path : "stderr");
        close(fd);
    }
    return q->log;
}

QtestServer *qtest_server_new(Vm *vm, const char *chardev, const char *log, GError **err)
{
    QtestServer *q = g_new0(QtestServer, 1);
    q->vm = vm;
    q->in = g_byte_array_new();
    q->out = g_string_new(NULL);
    q->start = clock_ns(CLOCK_REALTIME_NS);
    q->fe.always_on = true;
    g_mutex_init(&q->lock);
    bh_init(&q->flush_bh, vm->loop, flush_out, q);
    Chardev *chr = open_log(q, log, err) ? chardev_from_short("qtest", chardev, err) : NULL;
    if (!chr || !char_frontend_connect(&q->fe, chr, &fe_ops, q, err)) {
        qtest_server_free(q);
        return NULL;
    }
    return q;
}

void qtest_server_free(QtestServer *q)
{
    if (!q) {
        return;
    }
    if (q->intercepted) {
        q->intercept(q->vm, q->intercepted, (IrqIntercept){0}); /* unless it was unplugged */
    }
    char_frontend_disconnect(&q->fe);
    bh_cancel(&q->flush_bh);
    g_byte_array_unref(q->in);
    g_string_free(q->out, TRUE);
    g_mutex_clear(&q->lock);
    g_free(q->intercepted);
    if (q->log) {
        fclose(q->log);
    }
    g_free(q);
}
