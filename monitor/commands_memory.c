/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at memory, ports and registers: x, xp, print, i, o; memsave, pmemsave. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/util.h"
#include "commands.h"
#include "disassemble.h"
#include "expression.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

/* Arguments. */

#define SAVED_MEMORY                                                                               \
    {.name = "val", .type = PROP_INT64, .help = "its address", .flags = PROP_FLAG_REQUIRED},       \
        {.name = "size", .type = PROP_INT64, .help = "bytes", .flags = PROP_FLAG_REQUIRED},        \
        MEMBER("filename", PROP_STRING, .help = "where it goes")
const Property memsave_args[] = {
    SAVED_MEMORY,
    {.name = "cpu-index", .type = PROP_INT64, .help = "the CPU whose addresses are meant"},
    PROP_END};
const Property pmemsave_args[] = {SAVED_MEMORY, PROP_END};

/* "/COUNT FORMAT SIZE": what x takes after its name (qemu(1), monitor commands). */
typedef struct {
    unsigned count, size;
    unsigned code_bits; /* format i: the mode that the size asked for (h, w, g); 0: the CPU's */
    char format;
} Format;

/* The last format and size given are the defaults of the next command. Main thread. */
static char last_format = 'x';
static unsigned last_size = 4;

#define COUNT_MAX  65536
#define SAVE_PIECE MiB

static bool parse_format(const char **text, Format *f, GError **err)
{
    const char *p = *text;
    bool sized = false;

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
            sized = true;
        } else if (strchr("xduoci", *p)) {
            f->format = *p;
        } else {
            return error_set(
                err, "invalid char in format: '%c'; it is [count][x|d|u|o|c|i][b|h|w|g]", *p);
        }
    }
    last_format = f->format;
    if (f->format != 'i') {
        last_size = f->size;
    } else if (sized && f->size > 1) {
        f->code_bits = f->size * 8;
    }
    *text = p + strspn(p, " \t");
    return true;
}

typedef struct {
    const char *name;
    uint64_t *value;
    bool ok;
} RegisterCall;

static void memory_cmd_read_register(Vcpu *cpu, void *data)
{
    RegisterCall *c = data;

    c->ok = cpu->vm->arch->read_register(cpu, c->name, c->value);
}

static bool lookup_register(void *data, const char *name, uint64_t *value)
{
    Monitor *mon = data;
    RegisterCall call = {.name = name, .value = value};

    if (!monitor_vm->vcpu_count) {
        return false;
    }
    vcpu_call(monitor_vm->vcpus[MIN(mon->cpu, monitor_vm->vcpu_count - 1)],
              memory_cmd_read_register, &call);
    return call.ok;
}

bool monitor_evaluate(Monitor *mon, const char **text, uint64_t *value, GError **err)
{
    return expression_parse(text, lookup_register, mon, value, err);
}

/*
 * Reads "/FORMAT" and n expressions, which have to be all of the line. On failure mon->misread
 * stays set, so that the error points to 'help'.
 */
static bool parse_line(Monitor *mon, json_t *args, const char *command, Format *f,
                       uint64_t *values[], unsigned n, GError **err)
{
    const char *text = json_str(args, "text");

    text = text ? text : "";
    mon->misread = true;
    if (!parse_format(&text, f, err)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!monitor_evaluate(mon, &text, values[i], err)) {
            return false;
        }
    }
    if (*text) {
        return error_set(err, "%s: extraneous characters at the end of line", command);
    }
    mon->misread = false;
    return true;
}

/* Prints a character as a literal of C. */
static void print_char(Monitor *mon, uint32_t c)
{
    static const char escapes[][2] = {{'\'', '\''}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}};

    for (unsigned i = 0; i < G_N_ELEMENTS(escapes); i++) {
        if (c == (uint8_t)escapes[i][0]) {
            monitor_printf(mon, "'\\%c'", escapes[i][1]);
            return;
        }
    }
    if (c < 0x80 && g_ascii_isprint(c)) {
        monitor_printf(mon, "'%c'", (char)c);
    } else {
        monitor_printf(mon, "'\\x%02x'", c);
    }
}

/* 'padded': all values of one size have the same width. */
static void print_value(Monitor *mon, uint64_t v, const Format *f, bool padded)
{
    int width = !padded ? 0 : f->format == 'o' ? (f->size * 8 + 2) / 3 : (f->size * 80 + 32) / 33;
    unsigned bits = f->size * 8;
    int64_t s = bits == 64 ? (int64_t)v : (int64_t)(v << (64 - bits)) >> (64 - bits);

    switch (f->format) {
    case 'd':
    case 'i':
        monitor_printf(mon, "%*" G_GINT64_MODIFIER "d", width, s);
        break;
    case 'u':
        monitor_printf(mon, "%*" G_GINT64_MODIFIER "u", width, v);
        break;
    case 'o':
        monitor_printf(mon, "%#*" G_GINT64_MODIFIER "o", width, v);
        break;
    case 'c':
        print_char(mon, v);
        break;
    default:
        if (padded) {
            monitor_printf(mon, "0x%0*" G_GINT64_MODIFIER "x", f->size * 2, v);
        } else {
            monitor_printf(mon, "%#" G_GINT64_MODIFIER "x", v);
        }
    }
}

typedef struct {
    uint64_t va, pa;
    bool ok;
} TranslateCall;

static void memory_cmd_translate(Vcpu *cpu, void *data)
{
    TranslateCall *c = data;

    c->ok = cpu->vm->arch->translate(cpu, c->va, &c->pa);
}

bool monitor_translate(Vcpu *cpu, uint64_t va, uint64_t *pa)
{
    TranslateCall c = {.va = va, .pa = va, .ok = true};

    if (cpu) {
        vcpu_call(cpu, memory_cmd_translate, &c);
    }
    *pa = c.pa;
    return c.ok;
}

/*
 * Reads guest memory at a virtual address of 'cpu', or at a physical one where 'cpu' is NULL.
 * Returns how many bytes come before the first page that cannot be read.
 */
static size_t memory_cmd_read_memory(Vcpu *cpu, uint64_t addr, uint8_t *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        uint64_t page_left = 4096 - ((addr + done) & 4095);
        size_t n = MIN(len - done, page_left);
        uint64_t pa;

        if (!monitor_translate(cpu, addr + done, &pa) ||
            !debug_access(monitor_vm, pa, buf + done, n, false)) {
            break;
        }
        done += n;
    }
    return done;
}

Vcpu *monitor_cpu(Monitor *mon)
{
    return monitor_vm->vcpu_count ? monitor_vm->vcpus[MIN(mon->cpu, monitor_vm->vcpu_count - 1)]
                                  : NULL;
}

static uint64_t memory_cmd_load(const uint8_t *p, unsigned size)
{
    uint8_t b[8] = {0};

    memcpy(b, p, size);
    return ldle64(b);
}

/* Format 'c' prints the bytes of 'count' items as single characters. */
static void as_characters(Format *f, size_t *per_line)
{
    *per_line = f->size == 1 ? 8 : 16;
    f->count *= f->size;
    f->size = 1;
}

typedef struct {
    unsigned bits;
} CodeBitsCall;

static void memory_cmd_code_bits(Vcpu *cpu, void *data)
{
    CodeBitsCall *c = data;

    c->bits = cpu->vm->arch->code_bits(cpu);
}

/* The instructions at an address, virtual where 'cpu' is not NULL. */
static bool memory_cmd_disassemble(Monitor *mon, const Format *f, bool virtual, uint64_t addr,
                                   GError **err)
{
    CodeBitsCall call = {.bits = 16}; /* of a CPU that never runs (qtest) */
    Vcpu *cpu = monitor_cpu(mon);
    Disassembler *d;

    if (cpu && !f->code_bits) {
        vcpu_call(cpu, memory_cmd_code_bits, &call);
    }
    d = disassembler_new(f->code_bits ? f->code_bits : call.bits, err);
    if (!d) {
        return false;
    }
    for (unsigned i = 0; i < f->count; i++) {
        uint8_t code[DISASSEMBLE_MAX];
        size_t got = memory_cmd_read_memory(virtual ? cpu : NULL, addr, code, sizeof code);
        g_autoptr(GString) line = g_string_new(NULL);
        unsigned len = disassembler_line(d, addr, code, got, line);

        if (!len) {
            monitor_printf(mon, "0x%08" G_GINT64_MODIFIER "x: unable to read memory\n", addr);
            break;
        }
        monitor_puts(mon, line->str);
        addr += len;
    }
    disassembler_free(d);
    return true;
}

static json_t *memory_cmd_examine(Monitor *mon, Vm *vm, json_t *args, bool virtual, GError **err)
{
    Format f = {0};
    uint64_t addr;
    g_autofree uint8_t *buf = NULL;
    size_t got, per_line;
    const int digits = 16;

    if (!parse_line(mon, args, virtual ? "x" : "xp", &f, (uint64_t *[]){&addr}, 1, err)) {
        return NULL;
    }
    if (virtual && !vm->vcpu_count) {
        error_set(err, "Can not dump without CPU");
        return NULL;
    }
    if (f.format == 'i') {
        return memory_cmd_disassemble(mon, &f, virtual, addr, err) ? json_object() : NULL;
    }
    per_line = f.size >= 8 ? 2 : f.size == 4 ? 4 : 8;
    if (f.format == 'c') {
        as_characters(&f, &per_line);
    }
    buf = g_malloc((size_t)f.count * f.size + 1);
    got = memory_cmd_read_memory(virtual ? monitor_cpu(mon) : NULL, addr, buf,
                                 (size_t)f.count * f.size);
    for (size_t i = 0; i < f.count && (i + 1) * f.size <= got; i++) {
        if (i % per_line == 0) {
            monitor_printf(mon, "%s%0*" G_GINT64_MODIFIER "x:", i ? "\n" : "", digits,
                           addr + i * f.size);
        }
        monitor_puts(mon, " ");
        print_value(mon, memory_cmd_load(buf + i * f.size, f.size), &f, true);
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
    return memory_cmd_examine(mon, vm, args, true, err);
}

MONITOR_HANDLER(cmd_xp)
{
    return memory_cmd_examine(mon, vm, args, false, err);
}

MONITOR_HANDLER(cmd_print)
{
    Format f = {0};
    uint64_t v;

    if (!parse_line(mon, args, "print|p", &f, (uint64_t *[]){&v}, 1, err)) {
        return NULL;
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
    Format f = {0};
    uint64_t port;
    uint8_t b[8] = {0};

    if (!parse_line(mon, args, "i", &f, (uint64_t *[]){&port}, 1, err)) {
        return NULL;
    }
    cpu_access(vm, IO_SPACE_PIO, port & 0xffff, b, port_size(&f), false);
    monitor_printf(mon, "port%c[0x%04x] = 0x%0*" G_GINT64_MODIFIER "x\n", "bw?l"[port_size(&f) - 1],
                   (unsigned)port & 0xffff, port_size(&f) * 2, memory_cmd_load(b, port_size(&f)));
    return json_object();
}

MONITOR_HANDLER(cmd_port_out)
{
    Format f = {0};
    uint64_t port, value;
    uint8_t b[8];

    if (!parse_line(mon, args, "o", &f, (uint64_t *[]){&port, &value}, 2, err)) {
        return NULL;
    }
    stle64(b, value);
    cpu_access(vm, IO_SPACE_PIO, port & 0xffff, b, port_size(&f), true);
    return json_object();
}

/* Saving memory. */

/* The file may be slow, or a pipe that nobody reads: a pool thread opens and writes it. */
typedef struct {
    const char *path;
    int fd;
    uint8_t *buf;
    size_t used;
    GError *err;
} SaveFile;

static int save_file_open(void *data)
{
    SaveFile *f = data;

    f->fd = host_open(f->path, O_WRONLY | O_CREAT | O_TRUNC, 0666, &f->err);
    return 0;
}

static int save_file_write(void *data)
{
    SaveFile *f = data;

    for (size_t done = 0; done < f->used;) {
        ssize_t n = write(f->fd, f->buf + done, f->used - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            error_set_errno(&f->err, n < 0 ? errno : ENOSPC, "cannot write '%s'", f->path);
            break;
        }
        done += n;
    }
    return 0;
}

static bool coroutine_fn save_file_run(SaveFile *f, int (*fn)(void *data), GError **err)
{
    co_pool_run(fn, f);
    if (f->err) {
        g_propagate_error(err, g_steal_pointer(&f->err));
        return false;
    }
    return true;
}

/* At addresses where nothing is mapped: zeroes of physical memory, an error of a CPU's. */
static bool coroutine_fn save_memory(Vcpu *cpu, uint64_t addr, uint64_t size, SaveFile *f,
                                     GError **err)
{
    for (uint64_t done = 0; done < size; done += f->used) {
        size_t most = MIN(size - done, SAVE_PIECE), n;

        for (f->used = 0; f->used < most; f->used += n) {
            uint64_t at = addr + done + f->used;

            n = MIN(most - f->used, 4096 - (at & 4095));
            if (memory_cmd_read_memory(cpu, at, f->buf + f->used, n) < n) {
                if (cpu) {
                    return error_set(err,
                                     "Invalid addr 0x%016" G_GINT64_MODIFIER
                                     "x/size %" G_GUINT64_FORMAT " specified",
                                     addr, size);
                }
                memset(f->buf + f->used, 0, n);
            }
        }
        if (!save_file_run(f, save_file_write, err)) {
            return false;
        }
    }
    return true;
}

bool monitor_check_memory_size(Vm *vm, json_int_t size, GError **err)
{
    uint64_t most = 4 * GiB + vm->ram_size;

    return (size >= 0 && (uint64_t)size <= most) ||
           error_set(err,
                     "Parameter 'size' expects a number of bytes up to %" G_GUINT64_FORMAT
                     ", as much as this guest can have",
                     most);
}

static json_t *coroutine_fn save_to_file(Vcpu *cpu, json_t *args, GError **err)
{
    uint64_t addr = json_integer_value(json_object_get(args, "val"));
    json_int_t size = json_integer_value(json_object_get(args, "size"));
    SaveFile f = {.path = json_str(args, "filename"), .fd = -1};
    bool ok;

    if (!monitor_check_memory_size(monitor_vm, size, err)) {
        return NULL;
    }
    f.buf = g_malloc(SAVE_PIECE);
    ok = save_file_run(&f, save_file_open, err) && save_memory(cpu, addr, size, &f, err);
    fd_close(&f.fd);
    g_free(f.buf);
    return ok ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_memsave)
{
    json_t *index = json_object_get(args, "cpu-index");
    json_int_t n = index ? json_integer_value(index) : mon->cpu;

    if (n < 0 || n >= x86_cpu_count(vm)) {
        error_set(err, "Parameter 'cpu-index' expects a CPU number");
        return NULL;
    }
    /* A CPU that never runs (qtest) has no paging: its addresses are those of memory. */
    return save_to_file(n < vm->vcpu_count ? vm->vcpus[n] : NULL, args, err);
}

MONITOR_HANDLER(cmd_pmemsave)
{
    return save_to_file(NULL, args, err);
}
