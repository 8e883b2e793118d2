/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is derived from the table of options of a sub-command, or of a program that has none: the
 * parser, help, the synopsis.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/event_loop.h"
#include "base/keyval.h"
#include "base/object.h"
#include "base/trace.h"
#include "img.h"

enum { HELP = 'h', LONG_BASE = 256 };

static const char *option_argument(const ImgOption *o)
{
    return o->arg ? o->arg : "";
}

/* "[-f fmt]", "[--output=ofmt]" */
static void option_synopsis(const ImgOption *o, GString *out)
{
    if (o->letter) {
        g_string_append_printf(out, " [-%c%s%s]", o->letter, o->arg ? " " : "", option_argument(o));
    } else {
        g_string_append_printf(out, " [--%s%s%s]", o->name, o->arg ? "=" : "", option_argument(o));
    }
}

char *img_synopsis(const ImgCommand *command)
{
    GString *out = g_string_new(command->name ? command->name : log_program_name());

    for (const ImgOption *o = command->options; o->help; o++) {
        if (o->kind != IMG_ABSENT) {
            option_synopsis(o, out);
        }
    }
    g_string_append_printf(out, " %s", command->operands);
    return g_string_free(out, FALSE);
}

static void option_help(const ImgOption *o)
{
    g_autoptr(GString) words = g_string_new("  ");

    if (o->letter) {
        g_string_append_printf(words, "-%c", o->letter);
    }
    if (o->name) {
        g_string_append_printf(words, "%s--%s", o->letter ? ", " : "", o->name);
    }
    if (o->arg) {
        g_string_append_printf(words, "%s%s", o->name ? "=" : " ", o->arg);
    }
    printf("%-28s %s\n", words->str, o->help);
}

static void command_help(const ImgCommand *command)
{
    g_autofree char *synopsis = img_synopsis(command);

    printf("usage: %s%s%s\n%s\n\n", command->name ? log_program_name() : "",
           command->name ? " " : "", synopsis, command->help);
    for (const ImgOption *o = command->options; o->help; o++) {
        if (o->kind != IMG_ABSENT) {
            option_help(o);
        }
    }
    printf("  -h, --help                   this text\n");
}

/* The two tables of getopt_long(). The n-th option's long form has the code LONG_BASE + n. */
static char *getopt_tables(const ImgOption *options, struct option **longs)
{
    GString *shorts = g_string_new(":h");
    GArray *list = g_array_new(TRUE, TRUE, sizeof(struct option));
    struct option help = {"help", no_argument, NULL, HELP};

    for (unsigned i = 0; options[i].help; i++) {
        const ImgOption *o = &options[i];
        struct option one = {o->name, o->arg ? required_argument : no_argument, NULL,
                             LONG_BASE + (int)i};

        if (o->letter) {
            g_string_append_printf(shorts, "%c%s", o->letter, o->arg ? ":" : "");
        }
        if (o->name) {
            g_array_append_val(list, one);
        }
    }
    g_array_append_val(list, help);
    *longs = (struct option *)g_array_free(list, FALSE);
    return g_string_free(shorts, FALSE);
}

static const ImgOption *option_find(const ImgOption *options, int code)
{
    if (code >= LONG_BASE) {
        return &options[code - LONG_BASE];
    }
    for (; options->help; options++) {
        if (options->letter == code) {
            return options;
        }
    }
    return NULL;
}

/* False: help or an error was printed. */
static bool option_object(const char *text, int *status)
{
    g_autofree char *help = NULL;
    GError *err = NULL;

    if (!object_option(text, &help, &err)) {
        *status = img_fail(err, NULL);
        return false;
    }
    if (help) {
        printf("%s", help);
        *status = 0;
    }
    return !help;
}

bool img_option_trace(const char *text, int *status)
{
    GError *err = NULL;

    if (keyval_is_help(text)) {
        g_autofree char *help = trace_help_text();

        printf("%s", help);
        *status = 0;
        return false;
    }
    if (!trace_option(text, &err)) {
        *status = img_fail(err, NULL);
        return false;
    }
    return true;
}

/* False: the option is refused, and the error was printed; or it asked for help. */
static bool option_apply(const ImgOption *o, bool is_long, void *args, int *status)
{
    switch (o->kind) {
    case IMG_FLAG:
        *(bool *)((char *)args + o->offset) = true;
        return true;
    case IMG_TEXT:
        *(const char **)((char *)args + o->offset) = optarg;
        return true;
    case IMG_CALL:
        return o->call(args, optarg);
    case IMG_OBJECT:
        return option_object(optarg, status);
    case IMG_TRACE:
        return img_option_trace(optarg, status);
    case IMG_ABSENT:
        break;
    }
    if (is_long) {
        img_usage("option '--%s' is not in this program yet", o->name);
    } else {
        img_usage("option '-%c' is not in this program yet", o->letter);
    }
    return false;
}

/* Names the option that getopt refused. In a group of letters (-qZ) only optopt tells which. */
static void option_blame(char **argv, const char *what)
{
    if (optopt && optopt < LONG_BASE) {
        img_usage("%s option '-%c'", what, optopt);
    } else {
        img_usage("%s option '%s'", what, argv[optind - 1]);
    }
}

bool img_parse(const ImgCommand *command, int argc, char **argv, void *args, int *status)
{
    g_autofree struct option *longs = NULL;
    g_autofree char *shorts = getopt_tables(command->options, &longs);
    bool ok = true;
    int c;

    *status = 1;
    optind = 0;
    while (ok && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == HELP) {
            command_help(command);
            *status = 0;
            ok = false;
        } else if (c == ':' || c == '?') {
            option_blame(argv, c == ':' ? "missing argument for" : "unrecognized");
            ok = false;
        } else {
            ok = option_apply(option_find(command->options, c), c >= LONG_BASE, args, status);
        }
    }
    return ok;
}

bool img_parse_one_file(const ImgCommand *command, int argc, char **argv, void *args, int *status)
{
    if (!img_parse(command, argc, argv, args, status)) {
        return false;
    }
    if (optind != argc - 1) {
        *status = img_usage("Expecting one image file name");
        return false;
    }
    return true;
}

bool img_option_no_named_files(void *args, const char *text)
{
    block_forbid_named_files();
    return true;
}

bool img_parse_number(const char *text, const char *what, uint64_t *value)
{
    return img_parse_number_in(text, what, 0, INT64_MAX, value);
}

bool img_parse_number_in(const char *text, const char *what, uint64_t min, uint64_t max,
                         uint64_t *value)
{
    text += strspn(text, " \t");
    text += *text == '+';
    if (!parse_size(text, 1, value)) {
        log_error("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what);
        log_error("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
        return false;
    }
    if (*value < min || *value > max) {
        log_error("Invalid %s specified. Must be between %" PRIu64 " and %" PRIu64 ".", what, min,
                  max);
        return false;
    }
    return true;
}

bool img_parse_output(const char *text, bool *json)
{
    *json = g_str_equal(text, "json");
    if (!*json && !g_str_equal(text, "human")) {
        log_error("--output must be used with human or json as argument.");
        return false;
    }
    return true;
}

/* --- progress --- */

static struct {
    bool on, terminal;
    double printed, step;
    int64_t start_ns, printed_ns;
    uint64_t total;
} progress;

static volatile sig_atomic_t progress_asked;

static void progress_signal(int sig)
{
    progress_asked = 1;
}

void img_progress_begin(bool on, double step)
{
    signal(SIGUSR1, progress_signal);
    progress.on = on;
    progress.terminal = on && isatty(STDOUT_FILENO);
    progress.step = step;
    progress.printed = -1;
    progress.total = 0;
    progress.start_ns = clock_ns(CLOCK_REALTIME_NS);
    img_progress(0);
}

void img_progress_total(uint64_t bytes)
{
    progress.total = bytes;
}

/* For a terminal: how fast it was so far, and how long the rest takes at that speed. */
static char *progress_pace(double percent, int64_t ns)
{
    double seconds = ns / 1e9, left = percent > 0 ? seconds * (100 - percent) / percent : 0;
    GString *out = g_string_new(NULL);

    if (percent <= 0 || ns <= 0) {
        return g_string_free(out, FALSE);
    }
    if (progress.total) {
        g_autofree char *speed = size_to_text(progress.total * (percent / 100) / seconds);

        g_string_append_printf(out, "  %s/s", speed);
    }
    if (percent < 100) {
        uint64_t whole = MIN(left, 1e15);

        g_string_append_printf(out, "  %" PRIu64 ":%02u left", whole / 60, (unsigned)(whole % 60));
    } else {
        g_string_append_printf(out, "  %.1f s", seconds);
    }
    return g_string_free(out, FALSE);
}

static void progress_print(double percent)
{
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    if (progress.terminal) {
        g_autofree char *pace = progress_pace(percent, now - progress.start_ns);

        /* The end of a longer line is cleared. */
        printf("    (%3.2f/100%%)%s\033[K\r", percent, pace);
    } else {
        printf("    (%3.2f/100%%)\r", percent);
    }
    fflush(stdout);
    progress.printed = percent;
    progress.printed_ns = now;
}

void img_progress(double percent)
{
    bool due;

    percent = MIN(percent, 100);
    due = percent > progress.printed + progress.step || percent == 100 || percent == 0;
    /* A step may take minutes, and many of them less than a second. */
    due = due || (progress.terminal && percent > progress.printed &&
                  clock_ns(CLOCK_REALTIME_NS) > progress.printed_ns + 500000000);
    if (progress.on && due) {
        progress_print(percent);
    }
    if (progress_asked) {
        progress_asked = 0;
        if (!progress.on) {
            fprintf(stderr, "    (%3.2f/100%%)\n", percent);
        }
    }
}

void img_progress_end(void)
{
    if (progress.on) {
        printf("\n");
    }
    progress.on = false;
}
