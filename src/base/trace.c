/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace points: the table, what is on, and how a line is put together. */
#include "base/trace.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"

enum { FIELD_MAX = 8, LINE_MAX_BYTES = 2048, STRING_MAX = 256, EVENTS_FILE_MAX = 1 << 20 };

typedef enum { TRACE_HEX, TRACE_UINT, TRACE_INT, TRACE_BOOL, TRACE_STR } TraceType;

typedef union {
    uint64_t u;
    int64_t i;
    bool b;
    const char *s;
} TraceValue;

typedef struct {
    TraceType type;
    const char *name;
} TraceField;

typedef enum { TRACE_SCOPE_VM, TRACE_SCOPE_VCPU } TraceScope;

typedef struct {
    const char *name, *help;
    TraceScope scope;
    TraceField fields[FIELD_MAX + 1]; /* ends with a NULL name */
} TraceInfo;

/* The table. */

static const TraceInfo points[] = {
#define TRACE_FIELD(type, field)                                                                   \
    {                                                                                              \
        TRACE_##type, #field                                                                       \
    }
#define TRACE_POINT(name, scope, help, ...)                                                        \
    {#name, help, TRACE_SCOPE_##scope, {TRACE_EACH(TRACE_FIELD, __VA_ARGS__)}},
#include "base/trace_points.def"
#undef TRACE_POINT
};

const char *trace_name(TracePoint point)
{
    return points[point].name;
}

const char *trace_help(TracePoint point)
{
    return points[point].help;
}

bool trace_is_of_vcpu(TracePoint point)
{
    return points[point].scope == TRACE_SCOPE_VCPU;
}

char *trace_fields_text(TracePoint point)
{
    GString *text = g_string_new(NULL);

    for (const TraceField *f = points[point].fields; f->name; f++) {
        g_string_append_printf(text, "%s%s", text->len ? ", " : "", f->name);
    }
    return g_string_free(text, FALSE);
}

bool trace_is_pattern(const char *text)
{
    return strchr(text, '*');
}

bool trace_matches(TracePoint point, const char *pattern)
{
    const char *name = points[point].name, *star = NULL, *resume = NULL;

    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            /* The last '*' takes one more character. Those before it need not be tried again. */
            pattern = star;
            name = ++resume;
        } else {
            return false;
        }
    }
    return !pattern[strspn(pattern, "*")];
}

const char *trace_nearest_name(const char *name)
{
    const char *names[TRACE_POINT_COUNT + 1];

    for (unsigned i = 0; i < TRACE_POINT_COUNT; i++) {
        names[i] = points[i].name;
    }
    names[TRACE_POINT_COUNT] = NULL;
    return nearest_name(name, names);
}

/* What is on. */

uint8_t trace_states[TRACE_POINT_COUNT];

/* For points of vCPUs. Words are atomic, and written on the main thread. */
enum { VCPU_WORDS = TRACE_VCPU_MAX / 64 };
static uint64_t vcpu_states[TRACE_POINT_COUNT][VCPU_WORDS];

static bool trace_vcpu_on(TracePoint point, unsigned vcpu)
{
    return vcpu >= TRACE_VCPU_MAX ||
           __atomic_load_n(&vcpu_states[point][vcpu / 64], __ATOMIC_RELAXED) & BIT64(vcpu % 64);
}

bool trace_get(TracePoint point, int vcpu)
{
    return trace_enabled(point) &&
           (vcpu < 0 || !trace_is_of_vcpu(point) || trace_vcpu_on(point, vcpu));
}

void trace_set(TracePoint point, bool on, int vcpu)
{
    uint64_t *words = vcpu_states[point];
    bool any = false;

    g_assert(vcpu < 0 || (trace_is_of_vcpu(point) && vcpu < TRACE_VCPU_MAX));
    for (int i = 0; i < VCPU_WORDS; i++) {
        uint64_t bits = vcpu < 0 ? UINT64_MAX : vcpu / 64 == i ? BIT64(vcpu % 64) : 0;
        uint64_t word = on ? words[i] | bits : words[i] & ~bits;

        __atomic_store_n(&words[i], word, __ATOMIC_RELAXED);
        any |= word != 0;
    }
    __atomic_store_n(&trace_states[point], any, __ATOMIC_RELAXED);
}

char *trace_switch(const char *text)
{
    bool on = *text != '-', found = false;
    const char *name = on ? text : text + 1, *near;

    for (unsigned i = 0; i < TRACE_POINT_COUNT; i++) {
        if (trace_matches(i, name)) {
            trace_set(i, on, -1);
            found = true;
        }
    }
    if (found) {
        return NULL;
    }
    if (trace_is_pattern(name)) {
        return g_strdup_printf("no trace event is called '%s'", name);
    }
    near = trace_nearest_name(name);
    return g_strdup_printf("trace event '%s' does not exist%s%s%s", name,
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* A line. */

typedef struct {
    size_t len;
    char text[LINE_MAX_BYTES]; /* without a NUL; the last byte is kept for the newline */
} TraceLine;

static void put_bytes(TraceLine *line, const char *bytes, size_t len)
{
    len = MIN(len, LINE_MAX_BYTES - 1 - line->len);
    memcpy(line->text + line->len, bytes, len);
    line->len += len;
}

static void put_text(TraceLine *line, const char *text)
{
    put_bytes(line, text, strlen(text));
}

static void put_number(TraceLine *line, const char *format, uint64_t value) G_GNUC_PRINTF(2, 0);

static void put_number(TraceLine *line, const char *format, uint64_t value)
{
    char digits[32];

    g_snprintf(digits, sizeof digits, format, value);
    put_text(line, digits);
}

static bool is_plain(char c)
{
    return g_ascii_isgraph(c) && c != '"' && c != '\\';
}

/*
 * A string that is one word stands as it is; others stand in quotes. It may be the guest's or a
 * client's, and the log a terminal: what is not ASCII, and control characters, become \xNN.
 */
static void put_string(TraceLine *line, const char *s)
{
    size_t len = s ? strnlen(s, STRING_MAX + 1) : 0, plain = 0;

    if (!s) {
        put_text(line, "-");
        return;
    }
    while (plain < len && is_plain(s[plain])) {
        plain++;
    }
    if (len && len <= STRING_MAX && plain == len) {
        put_bytes(line, s, len);
        return;
    }
    put_text(line, "\"");
    for (size_t i = 0; i < MIN(len, STRING_MAX); i++) {
        char escape[8];

        if (is_plain(s[i]) || s[i] == ' ') {
            put_bytes(line, s + i, 1);
            continue;
        }
        g_snprintf(escape, sizeof escape, s[i] == '"' || s[i] == '\\' ? "\\%c" : "\\x%02x",
                   (unsigned char)s[i]);
        put_text(line, escape);
    }
    put_text(line, len > STRING_MAX ? "...\"" : "\"");
}

static void put_value(TraceLine *line, TraceType type, TraceValue v)
{
    switch (type) {
    case TRACE_HEX:
        put_number(line, "0x%" PRIx64, v.u);
        break;
    case TRACE_UINT:
        put_number(line, "%" PRIu64, v.u);
        break;
    case TRACE_INT:
        put_number(line, "%" PRId64, v.i);
        break;
    case TRACE_BOOL:
        put_text(line, v.b ? "1" : "0");
        break;
    case TRACE_STR:
        put_string(line, v.s);
        break;
    }
}

static void put_stamp(TraceLine *line)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    put_number(line, "%" PRIu64, gettid());
    put_number(line, "@%" PRIu64, now.tv_sec);
    put_number(line, ".%06" PRIu64 ":", now.tv_nsec / 1000);
}

static void trace_write(TracePoint point, const TraceValue *values) __attribute__((cold));

static void trace_write(TracePoint point, const TraceValue *values)
{
    const TraceInfo *info = &points[point];
    TraceLine line;

    /* Outside of vCPUs' threads 'cpu' is -1. */
    if (info->scope == TRACE_SCOPE_VCPU && values[0].i >= 0 && !trace_vcpu_on(point, values[0].i)) {
        return;
    }
    line.len = 0;
    if (log_timestamps()) {
        put_stamp(&line);
    }
    put_text(&line, info->name);
    for (unsigned i = 0; info->fields[i].name; i++) {
        put_text(&line, " ");
        put_text(&line, info->fields[i].name);
        put_text(&line, " ");
        put_value(&line, info->fields[i].type, values[i]);
    }
    line.text[line.len++] = '\n';
    log_write_line(line.text, line.len);
}

#define TRACE_MEMBER_HEX  u
#define TRACE_MEMBER_UINT u
#define TRACE_MEMBER_INT  i
#define TRACE_MEMBER_BOOL b
#define TRACE_MEMBER_STR  s

#define TRACE_VALUE(type, field)                                                                   \
    {                                                                                              \
        .TRACE_MEMBER_##type = field                                                               \
    }
#define TRACE_POINT(name, scope, help, ...)                                                        \
    void trace_emit_##name(TRACE_EACH(TRACE_PARAM, __VA_ARGS__))                                   \
    {                                                                                              \
        const TraceValue values[] = {TRACE_EACH(TRACE_VALUE, __VA_ARGS__)};                        \
                                                                                                   \
        trace_write(TRACE_##name, values);                                                         \
    }
#include "base/trace_points.def"
#undef TRACE_POINT

/* Options. */

const Property trace_params[] = {
    PROP("enable", PROP_STRING, TraceOptions, enable, NULL,
         "a trace event, or a pattern with '*'; '-' before it switches off ('help' lists them)"),
    PROP("events", PROP_STRING, TraceOptions, events, NULL, "a file of these, one a line"),
    PROP("file", PROP_STRING, TraceOptions, file, NULL, "where the lines go, as -D"), PROP_END};

static bool switch_by_file(const char *path, GError **err)
{
    g_autofree char *text = host_read_file(path, EVENTS_FILE_MAX, NULL, err);
    g_auto(GStrv) lines = text ? g_strsplit(text, "\n", -1) : NULL;

    if (!text) {
        return false;
    }
    for (unsigned i = 0; lines[i]; i++) {
        g_autofree char *unknown = NULL;

        g_strchomp(lines[i]);
        if (lines[i][0] && lines[i][0] != '#') {
            unknown = trace_switch(lines[i]);
        }
        if (unknown) {
            log_warn("%s:%u: %s", path, i + 1, unknown);
        }
    }
    return true;
}

static bool trace_apply(const TraceOptions *o, GError **err)
{
    g_autofree char *unknown = NULL;

    if (o->file && !log_set_file(o->file, err)) {
        return false;
    }
    if (o->events && !switch_by_file(o->events, err)) {
        return false;
    }
    unknown = o->enable ? trace_switch(o->enable) : NULL;
    if (unknown) {
        log_warn("%s", unknown);
    }
    return true;
}

bool trace_option(const char *text, GError **err)
{
    json_auto_t *tree = keyval_parse(text, "enable", NULL, false, err);

    return tree && trace_from_config(tree, err);
}

bool trace_from_config(json_t *tree, GError **err)
{
    TraceOptions o;
    bool ok;

    properties_init(trace_params, &o);
    ok = properties_apply(trace_params, &o, tree, NULL, "trace", err) && trace_apply(&o, err);
    properties_clear(trace_params, &o);
    return ok;
}

char *trace_help_text(void)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < TRACE_POINT_COUNT; i++) {
        g_autofree char *fields = trace_fields_text(i);

        if (log_program_is_qemu()) {
            g_string_append_printf(text, "%s\n", points[i].name);
        } else {
            g_string_append_printf(text, "%-28s %s (%s)\n", points[i].name, points[i].help, fields);
        }
    }
    return g_string_free(text, FALSE);
}
