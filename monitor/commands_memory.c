/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at memory, ports and registers: x, xp, print, i, o, sum. */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "base/util.h"
#include "commands.h"
#include "expression.h"
#include "vm/vcpu.h"

/* "/COUNT FORMAT SIZE": what x takes after its name (qemu(1), monitor commands). */
typedef struct {
    unsigned count, size;
    char format;
} Format;

/* What the last one said holds until another is said. Main loop. */
static char last_format = 'x';
static unsigned last_size = 4;

#define COUNT_MAX 65536

static bool parse_format(const char **text, Format *f, GError **err)
{
    const char *p = *text;

    f->count = 1;
    f->format = last_format;
    f->size = last_size;
    if (*p != '/') {
        return true;
    }
    p++;
    if (g_ascii_isdigit(*p)) {
        char *end;
        uint64_t count = g_ascii_strtoull(p, &end, 10);

        if (count > COUNT_MAX) {
            return error_set(err, "at most %u items at once", COUNT_MAX);
        }
        f->count = count;
        p = end;
    }
    for (; *p && !g_ascii_isspace(*p); p++) {
        const char *sizes = "bhwg", *s = strchr(sizes, *p);

        if (s) {
            f->size = 1u << (s - sizes);
        } else if (strchr("xduocr", *p)) {
            f->format = *p;
        } else if (*p == 'i') {
            return error_set(err, "format 'i' is not supported: there is no disassembler here");
        } else {
            return error_set(err, "invalid char in format: '%c'; it is [count][x|d|u|o|c][b|h|w|g]",
                             *p);
        }
    }
    last_format = f->format;
    last_size = f->size;
    *text = p + strspn(p, " \t");
    return true;
}

typedef struct {
    const char *name;
    uint64_t *value;
    bool ok;
} RegisterCall;

static void read_register(Vcpu *cpu, void *data)
{
    RegisterCall *c = data;

    c->ok = cpu->vm->arch->read_register && cpu->vm->arch->read_register(cpu, c->name, c->value);
}

static bool lookup_register(void *data, const char *name, uint64_t *value)
{
    Monitor *mon = data;
    RegisterCall call = {.name = name, .value = value};

    if (!monitor_vm->vcpu_count) {
        return false;
    }
    vcpu_call(monitor_vm->vcpus[MIN(mon->cpu, monitor_vm->vcpu_count - 1)], read_register, &call);
    return call.ok;
}

static bool evaluate(Monitor *mon, const char **text, uint64_t *value, GError **err)
{
    return expression_parse(text, lookup_register, mon, value, err);
}

static bool at_end(const char *text, GError **err)
{
    return !*text || error_set(err, "extraneous characters at the end of line: '%s'", text);
}

/* 'padded': decimal and octal as wide as the widest value of that size. */
static void print_value(Monitor *mon, uint64_t v, const Format *f, bool padded)
{
    int width = !padded ? 0 : f->format == 'o' ? (f->size * 8 + 2) / 3 : (f->size * 80 + 32) / 33;
    unsigned bits = f->size * 8;
    int64_t s = bits == 64 ? (int64_t)v : (int64_t)(v << (64 - bits)) >> (64 - bits);

    switch (f->format) {
    case 'd':
        monitor_printf(mon, "%*" G_GINT64_MODIFIER "d", width, s);
        break;
    case 'u':
        monitor_printf(mon, "%*" G_GINT64_MODIFIER "u", width, v);
        break;
    case 'o':
        monitor_printf(mon, "%#*" G_GINT64_MODIFIER "o", width, v);
        break;
    case 'c':
        if (g_ascii_isprint(v)) {
            monitor_printf(mon, "'%c'", (char)v);
        } else {
            monitor_printf(mon, "'\\x%02x'", (unsigned)(v & 0xff));
        }
        break;
    default:
        monitor_printf(mon, "0x%0*" G_GINT64_MODIFIER "x", f->size * 2, v);
    }
}

typedef struct {
    uint64_t va, pa;
    bool ok;
} TranslateCall;

static void translate(Vcpu *cpu, void *data)
{
    TranslateCall *c = data;

    c->ok = cpu->vm->arch->translate(cpu, c->va, &c->pa);
}

/* Reads guest memory at a virtual or physical address; stops where nothing is mapped. */
static size_t read_memory(Monitor *mon, uint64_t addr, uint8_t *buf, size_t len, bool virtual)
{
    size_t done = 0;

    while (done < len) {
        uint64_t page_left = 4096 - ((addr + done) & 4095);
        size_t n = MIN(len - done, page_left);
        TranslateCall c = {.va = addr + done, .pa = addr + done, .ok = true};

        if (virtual) {
            vcpu_call(monitor_vm->vcpus[MIN(mon->cpu, monitor_vm->vcpu_count - 1)], translate, &c);
        }
        if (!c.ok || !debug_access(monitor_vm, c.pa, buf + done, n, false)) {
            break;
        }
        done += n;
    }
    return done;
}

static uint64_t load(const uint8_t *p, unsigned size)
{
    uint8_t b[8] = {0};

    memcpy(b, p, size);
    return ldle64(b);
}

static json_t *examine(Monitor *mon, Vm *vm, json_t *args, bool virtual, GError **err)
{
    const char *text = json_str(args, "text");
    Format f = {0};
    uint64_t addr;
    g_autofree uint8_t *buf = NULL;
    size_t got, per_line;
    const int digits = 16;

    if (!text) {
        error_set(err, "an address is missing: x /fmt addr");
        return NULL;
    }
    if (virtual && !vm->vcpu_count) {
        error_set(err, "No CPU available");
        return NULL;
    }
    if (!parse_format(&text, &f, err) || !evaluate(mon, &text, &addr, err) || !at_end(text, err)) {
        return NULL;
    }
    f.size = f.format == 'c' ? 1 : f.size;
    buf = g_malloc((size_t)f.count * f.size + 1);
    got = read_memory(mon, addr, buf, (size_t)f.count * f.size, virtual);
    per_line = f.size >= 8 ? 2 : f.size == 4 ? 4 : 8;
    if (f.format == 'c') {
        per_line = 8;
    }
    for (size_t i = 0; i < f.count && (i + 1) * f.size <= got; i++) {
        if (i % per_line == 0) {
            monitor_printf(mon, "%s%0*" G_GINT64_MODIFIER "x:", i ? "\n" : "", digits,
                           addr + i * f.size);
        }
        monitor_puts(mon, " ");
        print_value(mon, load(buf + i * f.size, f.size), &f, true);
    }
    if (got) {
        monitor_puts(mon, "\n");
    }
    if (got < (size_t)f.count * f.size) {
        monitor_printf(mon, "%0*" G_GINT64_MODIFIER "x: Cannot access memory\n", digits,
                       addr + got);
    }
    return json_object();
}

MONITOR_HANDLER(cmd_x)
{
    return examine(mon, vm, args, true, err);
}

MONITOR_HANDLER(cmd_xp)
{
    return examine(mon, vm, args, false, err);
}

MONITOR_HANDLER(cmd_print)
{
    const char *text = json_str(args, "text");
    Format f = {0};
    uint64_t v;

    if (!text) {
        error_set(err, "an expression is missing: print /fmt expr");
        return NULL;
    }
    if (!parse_format(&text, &f, err) || !evaluate(mon, &text, &v, err) || !at_end(text, err)) {
        return NULL;
    }
    if (f.format == 'x') {
        monitor_printf(mon, "0x%" G_GINT64_MODIFIER "x\n", v);
        return json_object();
    }
    f.size = 8;
    print_value(mon, v, &f, false);
    monitor_puts(mon, "\n");
    return json_object();
}

static unsigned port_size(const Format *f)
{
    return MIN(f->size, 4);
}

MONITOR_HANDLER(cmd_port_in)
{
    const char *text = json_str(args, "text");
    Format f = {0};
    uint64_t port;
    uint8_t b[8] = {0};

    if (!text || !parse_format(&text, &f, err) || !evaluate(mon, &text, &port, err) ||
        !at_end(text, err)) {
        if (!text) {
            error_set(err, "a port is missing: i /fmt addr");
        }
        return NULL;
    }
    cpu_access(vm, IO_SPACE_PIO, port & 0xffff, b, port_size(&f), false);
    monitor_printf(mon, "port%c[0x%04x] = 0x%0*" G_GINT64_MODIFIER "x\n", "bw?l"[port_size(&f) - 1],
                   (unsigned)port & 0xffff, port_size(&f) * 2, load(b, port_size(&f)));
    return json_object();
}

MONITOR_HANDLER(cmd_port_out)
{
    const char *text = json_str(args, "text");
    Format f = {0};
    uint64_t port, value;
    uint8_t b[8];

    if (!text || !parse_format(&text, &f, err) || !evaluate(mon, &text, &port, err) ||
        !evaluate(mon, &text, &value, err) || !at_end(text, err)) {
        if (!text) {
            error_set(err, "a port and a value are missing: o /fmt addr value");
        }
        return NULL;
    }
    stle64(b, value);
    cpu_access(vm, IO_SPACE_PIO, port & 0xffff, b, port_size(&f), true);
    return json_object();
}
