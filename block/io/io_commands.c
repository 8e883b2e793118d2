/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-io's commands: a line is taken apart and carried out. */
#include "io_internal.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/util.h"

static int coroutine_fn io_help(IoSession *s, const IoCall *c);

static const IoCommand io_command_help = {
    .name = "help",
    .short_name = "?",
    .letters = "",
    .max = 1,
    .operands = -1,
    .without_file = true,
    .synopsis = "[command]",
    .help = "help for one or all commands",
    .run = io_help,
};

static const IoCommand *const io_commands[] = {
    &io_command_abort,
    &io_command_aio_flush,
    &io_command_aio_read,
    &io_command_aio_write,
    &io_command_alloc,
    &io_command_break,
    &io_command_discard,
    &io_command_flush,
    &io_command_help,
    &io_command_info,
    &io_command_length,
    &io_command_map,
    &io_command_read,
    &io_command_readv,
    &io_command_remove_break,
    &io_command_resume,
    &io_command_sigraise,
    &io_command_sleep,
    &io_command_truncate,
    &io_command_wait_break,
    &io_command_write,
    &io_command_writev,
    NULL,
};

void io_session_init(IoSession *s)
{
    co_queue_init(&s->settled);
}

void io_session_destroy(IoSession *s)
{
    g_assert(!s->in_flight);
    co_queue_destroy(&s->settled);
}

void coroutine_fn io_session_settle(IoSession *s)
{
    while (s->in_flight) {
        co_queue_wait(&s->settled, NULL);
    }
}

void io_print(IoSession *s, const char *fmt, ...)
{
    va_list ap;
    g_autofree char *text = NULL;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    s->print(s, text);
}

void io_complain(IoSession *s, const char *fmt, ...)
{
    va_list ap;
    g_autofree char *text = NULL;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    s->complain(s, text);
}

int io_fail(IoSession *s, GError *err, int ret)
{
    s->fail(s, err->message);
    g_error_free(err);
    return ret;
}

/* Help. */

static void io_print_synopsis(IoSession *s, const IoCommand *command)
{
    io_print(s, "%s %s%s-- %s\n", command->name, command->synopsis, *command->synopsis ? " " : "",
             command->help);
}

int io_usage(IoSession *s, const IoCommand *command)
{
    io_print_synopsis(s, command);
    return -EINVAL;
}

static int io_compare_names(const void *a, const void *b)
{
    return strcmp((*(const IoCommand *const *)a)->name, (*(const IoCommand *const *)b)->name);
}

static void io_add(GPtrArray *all, const IoCommand *const *commands)
{
    for (; commands && *commands; commands++) {
        g_ptr_array_add(all, (gpointer)*commands);
    }
}

/* Both tables, by name. */
static GPtrArray *io_all(const IoSession *s)
{
    GPtrArray *all = g_ptr_array_new();

    io_add(all, io_commands);
    io_add(all, s->more);
    g_ptr_array_sort(all, io_compare_names);
    return all;
}

static const IoCommand *io_find(const IoSession *s, const char *name)
{
    g_autoptr(GPtrArray) all = io_all(s);

    for (guint i = 0; i < all->len; i++) {
        const IoCommand *command = all->pdata[i];

        if (!strcmp(command->name, name) || !g_strcmp0(command->short_name, name)) {
            return command;
        }
    }
    return NULL;
}

static int coroutine_fn io_help(IoSession *s, const IoCall *c)
{
    if (c->n) {
        const IoCommand *command = io_find(s, c->operands[0]);

        if (!command) {
            io_print(s, "command %s not found\n", c->operands[0]);
            return -EINVAL;
        }
        io_print_synopsis(s, command);
        if (command->details) {
            io_print(s, "%s", command->details);
        }
    } else {
        g_autoptr(GPtrArray) all = io_all(s);

        for (guint i = 0; i < all->len; i++) {
            io_print_synopsis(s, all->pdata[i]);
        }
        io_print(s, "\nUse 'help commandname' for extended help.\n");
    }
    return 0;
}

/* A line. */

static bool io_count_is_right(IoSession *s, const IoCommand *command, const char *name, int n)
{
    if (n >= command->min && (command->max < 0 || n <= command->max)) {
        return true;
    }
    if (command->max < 0) {
        io_complain(s, "bad argument count %d to %s, expected at least %d arguments\n", n, name,
                    command->min);
    } else if (command->max == command->min) {
        io_complain(s, "bad argument count %d to %s, expected %d arguments\n", n, name,
                    command->min);
    } else {
        io_complain(s, "bad argument count %d to %s, expected between %d and %d arguments\n", n,
                    name, command->min, command->max);
    }
    return false;
}

/* Fills 'c' from the words. getopt()'s state is global: nothing here yields. */
static int io_parse(IoSession *s, IoCall *c, int argc, char **argv)
{
    g_autofree char *letters = g_strdup_printf(":%s", c->command->letters);
    int letter;

    optind = 0;
    while ((letter = getopt(argc, argv, letters)) != -1) {
        if (letter == ':' || letter == '?') {
            io_complain(s,
                        letter == ':' ? "%s: option requires an argument -- '%c'\n"
                                      : "%s: invalid option -- '%c'\n",
                        argv[0], optopt);
            return io_usage(s, c->command);
        }
        c->has[letter] = true;
        c->value[letter] = optarg;
    }
    c->operands = argv + optind;
    c->n = argc - optind;
    if (c->command->operands >= 0 && c->n != (unsigned)c->command->operands) {
        return io_usage(s, c->command);
    }
    return 0;
}

/* The words between blanks, without empty ones. There is no quoting. */
static GPtrArray *io_words(const char *line)
{
    g_auto(GStrv) parts = g_strsplit_set(line, " \t\r\n", -1);
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);

    for (char **p = parts; *p; p++) {
        if (**p) {
            g_ptr_array_add(words, g_strdup(*p));
        }
    }
    g_ptr_array_add(words, NULL);
    return words;
}

int coroutine_fn io_session_run(IoSession *s, const char *line)
{
    g_autoptr(GPtrArray) words = io_words(line);
    /* getopt() moves words about: the array keeps those to be freed. */
    g_autofree char **argv = g_memdup2(words->pdata, words->len * sizeof *words->pdata);
    int argc = words->len - 1, ret;
    IoCall c = {0};

    if (!argc) {
        return 0;
    }
    c.command = io_find(s, argv[0]);
    if (!c.command) {
        io_complain(s, "command \"%s\" not found\n", argv[0]);
        return -EINVAL;
    }
    if (!io_count_is_right(s, c.command, argv[0], argc - 1)) {
        return -EINVAL;
    }
    if (!s->node && !c.command->without_file) {
        io_complain(s, "no file open, try 'help open'\n");
        return -EINVAL;
    }
    ret = io_parse(s, &c, argc, argv);
    return ret < 0 ? ret : c.command->run(s, &c);
}

/* Numbers and sizes. */

bool io_parse_number(IoSession *s, const char *text, uint64_t *value)
{
    if (!parse_size(text, 1, value)) {
        io_print(s,
                 "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n",
                 text);
        return false;
    }
    if (*value > INT64_MAX) {
        io_print(s, "Parsing error: argument too large -- %s\n", text);
        return false;
    }
    return true;
}

bool io_parse_length(IoSession *s, const char *text, uint64_t *value)
{
    if (!io_parse_number(s, text, value)) {
        return false;
    }
    if (*value > IO_REQUEST_MAX) {
        io_print(s, "length cannot exceed %" PRIu64 ", given %s\n", IO_REQUEST_MAX, text);
        return false;
    }
    return true;
}

char *io_size_text(double bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    const char *unit = NULL;
    g_autofree char *number = NULL;
    char *point;

    for (unsigned i = 0; i < G_N_ELEMENTS(units) && bytes >= 1024; i++) {
        unit = units[i];
        bytes /= 1024;
    }
    number = unit ? g_strdup_printf("%.3f", bytes) : g_strdup_printf("%f", bytes);
    point = strchr(number, '.');
    if (strspn(point + 1, "0") == strlen(point + 1)) {
        *point = 0;
    }
    return g_strdup_printf("%s %s", number, unit ? unit : "bytes");
}

static char *io_time_text(double seconds, bool fixed)
{
    unsigned whole = seconds;
    double rest = seconds - whole / 60 * 60;

    if (fixed || whole >= 3600) {
        return g_strdup_printf("%u:%02u:%05.2f", whole / 3600, whole / 60 % 60, rest);
    }
    return whole >= 60 ? g_strdup_printf("%02u:%05.2f min", whole / 60, rest)
                       : g_strdup_printf("%05.2f sec", rest);
}

void io_report(IoSession *s, const IoCall *c, const char *verb, int64_t start_ns, uint64_t offset,
               uint64_t bytes)
{
    double seconds = MAX(clock_ns(CLOCK_REALTIME_NS) - start_ns, 1) / (double)NS_PER_SEC;
    g_autofree char *time = io_time_text(seconds, c->has['C']), *size = NULL, *rate = NULL;

    if (c->has['q']) {
        return;
    }
    if (c->has['C']) {
        io_print(s, "%" PRIu64 ",1,%s,%.3f,%.3f\n", bytes, time, bytes / seconds, 1 / seconds);
        return;
    }
    size = io_size_text(bytes);
    rate = io_size_text(bytes / seconds);
    io_print(s, "%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", verb, bytes, bytes,
             offset);
    io_print(s, "%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", size, time, rate, 1 / seconds);
}
