/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "base/trace.h"
#include "log_private.h"

enum { SITE_LINES_PER_WINDOW = 10 };

/* One for the process, like stderr. */
static struct {
    const char *program;
    char *guest_name; /* or NULL; set before there are threads */
    unsigned mask;    /* atomic: bit N is LogItem N */
    unsigned errors;  /* atomic */
    int timestamps;   /* atomic */
    GMutex lock;      /* guards what follows */
    int fd;           /* of -D FILE, or -1 */
    bool opened;      /* 'output' is that of fd, or of stderr */
    bool never_waits;
    LogOutput output;
} the_log = {.program = "vmm", .fd = -1};

void log_set_program_name(const char *name)
{
    the_log.program = name;
}

void log_set_guest_name(const char *name)
{
    g_free(the_log.guest_name);
    the_log.guest_name = g_strdup(name);
}

int log_file_fd(void)
{
    return the_log.fd;
}

const char *log_program_name(void)
{
    return the_log.program;
}

bool log_program_is_qemu(void)
{
    return strstr(the_log.program, "qemu") || !strcmp(the_log.program, "kvm");
}

/* Writes a line by one write(2), so that lines of several threads and processes do not mix. */
static void write_line(int fd, const GString *line)
{
    size_t done = 0;

    while (done < line->len) {
        ssize_t n = write(fd, line->str + done, line->len - done);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return; /* an error of the log itself cannot be reported */
        }
        done += n;
    }
}

static void put_timestamp(GString *line)
{
    if (!g_atomic_int_get(&the_log.timestamps)) {
        return;
    }
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *text = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
    g_string_append_printf(line, "%s.%06dZ ", text, g_date_time_get_microsecond(now));
}

static void log_message(const char *kind, const char *fmt, va_list ap) G_GNUC_PRINTF(2, 0);

static void log_message(const char *kind, const char *fmt, va_list ap)
{
    g_autoptr(GString) line = g_string_sized_new(160);

    put_timestamp(line);
    if (the_log.guest_name) {
        g_string_append_printf(line, "%s ", the_log.guest_name);
    }
    g_string_append_printf(line, "%s: %s", the_log.program, kind);
    g_string_append_vprintf(line, fmt, ap);
    g_string_append_c(line, '\n');
    write_line(STDERR_FILENO, line);
}

void log_error(const char *fmt, ...)
{
    va_list ap;

    __atomic_add_fetch(&the_log.errors, 1, __ATOMIC_RELAXED);
    va_start(ap, fmt);
    log_message("", fmt, ap);
    va_end(ap);
}

unsigned log_error_count(void)
{
    return __atomic_load_n(&the_log.errors, __ATOMIC_RELAXED);
}

void log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_message("warning: ", fmt, ap);
    va_end(ap);
}

void log_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_message("info: ", fmt, ap);
    va_end(ap);
}

bool log_item_enabled(LogItem item)
{
    return __atomic_load_n(&the_log.mask, __ATOMIC_RELAXED) & (1u << item);
}

void log_item_write(LogItem item, const char *fmt, ...)
{
    g_autoptr(GString) line = g_string_sized_new(160);
    va_list ap;

    put_timestamp(line);
    va_start(ap, fmt);
    g_string_append_vprintf(line, fmt, ap);
    va_end(ap);
    if (line->len == 0 || line->str[line->len - 1] != '\n') {
        g_string_append_c(line, '\n');
    }
    log_write_line(line->str, line->len);
}

void log_write_line(const char *line, size_t len)
{
    g_mutex_lock(&the_log.lock);
    if (!the_log.opened) {
        the_log.opened = true;
        log_output_open(&the_log.output, the_log.fd >= 0 ? the_log.fd : STDERR_FILENO,
                        the_log.never_waits);
    }
    log_output_line(&the_log.output, line, len);
    g_mutex_unlock(&the_log.lock);
}

static void close_output_locked(void)
{
    if (the_log.opened) {
        the_log.opened = false;
        log_output_close(&the_log.output);
    }
}

void log_never_wait(void)
{
    g_mutex_lock(&the_log.lock);
    close_output_locked();
    the_log.never_waits = true;
    g_mutex_unlock(&the_log.lock);
}

void log_stderr_changed(void)
{
    g_mutex_lock(&the_log.lock);
    close_output_locked();
    g_mutex_unlock(&the_log.lock);
}

bool log_site_allows(LogSite *site)
{
    gint64 now = g_get_monotonic_time();
    gint64 start = __atomic_load_n(&site->window_start, __ATOMIC_RELAXED);

    if (start == 0 || now - start >= G_USEC_PER_SEC) {
        /* Several threads may see that the window has ended: one of them opens the next. */
        if (__atomic_compare_exchange_n(&site->window_start, &start, now, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            int dropped =
                __atomic_exchange_n(&site->count, 0, __ATOMIC_RELAXED) - SITE_LINES_PER_WINDOW;
            if (dropped > 0) {
                log_item_write(LOG_GUEST_ERRORS, "(%d more like the next one were dropped)",
                               dropped);
            }
        }
    }
    return __atomic_add_fetch(&site->count, 1, __ATOMIC_RELAXED) <= SITE_LINES_PER_WINDOW;
}

static const char *const item_names[] = {
#define X(id, name, help) name, help,
    LOG_ITEMS(X)
#undef X
        NULL,
};

const char *const *log_item_names(void)
{
    return item_names;
}

/* The log items of QEMU's translator (TCG). */
static const char *const translator_items[] = {
    "out_asm", "in_asm", "op",    "op_opt", "op_ind", "int",     "exec",   "cpu",
    "fpu",     "mmu",    "pcall", "page",   "strace", "nochain", "plugin", NULL,
};

/* Items of QEMU's that are not ours: true where accepted without effect, or refused with *err. */
static bool take_foreign_item(const char *item, GError **err)
{
    static bool said;

    if (g_strv_contains(translator_items, item)) {
        if (!said) {
            log_warn("log item '%s' is about QEMU's translator: it has no meaning under KVM", item);
        }
        said = true;
        return true;
    }
    return qemu_name_refused(QEMU_LOG_ITEM, item, err);
}

static void log_switch_points(const char *pattern, GString *said)
{
    bool help = said && keyval_is_help(pattern); /* of the command line: src/help.c */
    g_autofree char *text = help ? trace_help_text() : trace_switch(pattern);

    if (help) {
        g_string_append(said, text);
    } else if (said && text) {
        g_string_append_printf(said, "warning: %s\n", text);
    } else if (text) {
        log_warn("%s", text);
    }
}

bool log_set_items(const char *items, GString *said, GError **err)
{
    g_auto(GStrv) words = g_strsplit(items, ",", -1);
    const char *names[LOG_ITEM_COUNT + 3] = {0};
    g_autoptr(GPtrArray) patterns = g_ptr_array_new();
    GError *foreign = NULL;
    unsigned mask = 0;

    for (int i = 0; i < LOG_ITEM_COUNT; i++) {
        names[i] = item_names[2 * i];
    }
    names[LOG_ITEM_COUNT] = "all";
    names[LOG_ITEM_COUNT + 1] = "none";
    for (char **word = words; *word; word++) {
        int i = 0;
        while (names[i] && strcmp(names[i], *word) != 0) {
            i++;
        }
        if (g_str_has_prefix(*word, LOG_TRACE_PREFIX)) {
            g_ptr_array_add(patterns, *word + strlen(LOG_TRACE_PREFIX));
        } else if (i < LOG_ITEM_COUNT) {
            mask |= 1u << i;
        } else if (i == LOG_ITEM_COUNT) {
            mask |= (1u << LOG_ITEM_COUNT) - 1;
        } else if (i > LOG_ITEM_COUNT + 1 && !take_foreign_item(*word, &foreign)) {
            return error_unknown_name(err, "log item", *word, names);
        }
        if (foreign) {
            g_propagate_error(err, foreign);
            return false;
        }
    }
    __atomic_store_n(&the_log.mask, mask, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < patterns->len; i++) {
        log_switch_points(patterns->pdata[i], said);
    }
    return true;
}

bool log_set_file(const char *path, GError **err)
{
    int fd = -1;

    if (path) {
        fd = host_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666, err);
        if (fd < 0) {
            return false;
        }
    }
    g_mutex_lock(&the_log.lock);
    int old = the_log.fd;
    close_output_locked();
    the_log.fd = fd;
    g_mutex_unlock(&the_log.lock);
    if (old >= 0) {
        close(old);
    }
    return true;
}

void log_set_timestamps(bool on)
{
    g_atomic_int_set(&the_log.timestamps, on);
}

bool log_timestamps(void)
{
    return g_atomic_int_get(&the_log.timestamps);
}
