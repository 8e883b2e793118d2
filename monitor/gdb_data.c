/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gdb stub's packets for registers, memory and breakpoints. */
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "gdb.h"

/* Bytes of memory in one packet: in hex, with a margin for the packet's name. */
#define MEMORY_MAX (GDB_PACKET_MAX / 2 - 32)

bool gdb_say(GString *reply, const char *text)
{
    g_string_assign(reply, text);
    return true;
}

/*
 * An error: older gdbs do not show the text, so the user finds it in the program's own messages,
 * too, once where it is the same again.
 */
bool gdb_say_error(Gdb *g, GString *reply, GError *err)
{
    g_string_assign(reply, "E.");
    gdb_append_escaped(reply, (const uint8_t *)err->message, strlen(err->message));
    if (g_strcmp0(g->warned, err->message)) {
        log_warn("gdb: %s", err->message);
        g_free(g->warned);
        g->warned = g_strdup(err->message);
    }
    g_error_free(err);
    return true;
}

/* Registers. */

GDB_HANDLER(gdb_cmd_read_registers)
{
    g_autofree uint8_t *values = g_malloc0(g->bytes);

    if (!gdb_registers_get(g, values)) {
        return gdb_say(reply, "E01");
    }
    gdb_append_hex(reply, values, g->bytes);
    return true;
}

static bool write_registers(Gdb *g, const uint8_t *values, GString *reply)
{
    GError *err = NULL;

    return gdb_registers_set(g, values, &err) ? gdb_say(reply, "OK") : gdb_say_error(g, reply, err);
}

GDB_HANDLER(gdb_cmd_write_registers)
{
    g_autofree uint8_t *values = g_malloc0(g->bytes);

    if (!gdb_parse_bytes(p, end, values, g->bytes)) {
        return gdb_say(reply, "E22");
    }
    return write_registers(g, values, reply);
}

/* Where the register lies among all; false: there is none of that number. */
static bool find_register(Gdb *g, uint64_t number, size_t *offset, unsigned *bytes)
{
    if (number >= g->count) {
        return false;
    }
    *offset = 0;
    for (unsigned i = 0; i < number; i++) {
        *offset += g->layout->registers[i].bytes;
    }
    *bytes = g->layout->registers[number].bytes;
    return true;
}

GDB_HANDLER(gdb_cmd_read_register)
{
    g_autofree uint8_t *values = g_malloc0(g->bytes);
    uint64_t number;
    size_t offset;
    unsigned bytes;

    if (!gdb_parse_hex(&p, end, &number) || p != end ||
        !find_register(g, number, &offset, &bytes)) {
        return gdb_say(reply, "E22");
    }
    if (!gdb_registers_get(g, values)) {
        return gdb_say(reply, "E01");
    }
    gdb_append_hex(reply, values + offset, bytes);
    return true;
}

GDB_HANDLER(gdb_cmd_write_register)
{
    g_autofree uint8_t *values = g_malloc0(g->bytes);
    uint64_t number;
    size_t offset;
    unsigned bytes;

    if (!gdb_parse_hex(&p, end, &number) || p == end || *p != '=' ||
        !find_register(g, number, &offset, &bytes)) {
        return gdb_say(reply, "E22");
    }
    if (!gdb_registers_get(g, values)) {
        return gdb_say(reply, "E01");
    }
    if (!gdb_parse_bytes(p + 1, end, values + offset, bytes)) {
        return gdb_say(reply, "E22");
    }
    return write_registers(g, values, reply);
}

/* Memory. */

GDB_HANDLER(gdb_cmd_read_memory)
{
    g_autofree uint8_t *buf = g_malloc(MEMORY_MAX);
    uint64_t addr, len;
    size_t done;

    if (!gdb_parse_hex(&p, end, &addr) || !gdb_parse_next(&p, end, ',', &len) || p != end) {
        return gdb_say(reply, "E22");
    }
    len = MIN(len, MEMORY_MAX);
    done = gdb_memory(g, addr, buf, len, false);
    if (len && !done) {
        return gdb_say(reply, "E14");
    }
    gdb_append_hex(reply, buf, done);
    return true;
}

static bool write_memory(Gdb *g, uint64_t addr, uint8_t *data, size_t len, GString *reply)
{
    return gdb_say(reply, gdb_memory(g, addr, data, len, true) == len ? "OK" : "E14");
}

static bool parse_range(const char **p, const char *end, uint64_t *addr, uint64_t *len)
{
    return gdb_parse_hex(p, end, addr) && gdb_parse_next(p, end, ',', len) && *p < end &&
           *(*p)++ == ':' && *len <= GDB_PACKET_MAX;
}

GDB_HANDLER(gdb_cmd_write_memory)
{
    uint64_t addr, len;
    g_autofree uint8_t *data = NULL;

    if (!parse_range(&p, end, &addr, &len)) {
        return gdb_say(reply, "E22");
    }
    data = g_malloc(len + 1);
    return gdb_parse_bytes(p, end, data, len) ? write_memory(g, addr, data, len, reply)
                                              : gdb_say(reply, "E22");
}

/* The same with the bytes as they are. */
GDB_HANDLER(gdb_cmd_write_binary)
{
    uint64_t addr, len;
    g_autofree uint8_t *data = NULL;

    if (!parse_range(&p, end, &addr, &len) || (uint64_t)(end - p) != len) {
        return gdb_say(reply, "E22");
    }
    data = g_memdup2(p, len);
    return write_memory(g, addr, data, len, reply);
}

/* "Z0,ADDR,KIND": the kind is a watchpoint's length. Conditions and commands were not offered. */
static bool parse_point(const char *p, const char *end, DebugKind *kind, uint64_t *addr,
                        uint64_t *len)
{
    uint64_t type;

    if (!gdb_parse_hex(&p, end, &type) || type >= DEBUG_KIND_COUNT ||
        !gdb_parse_next(&p, end, ',', addr) || !gdb_parse_next(&p, end, ',', len) || p != end) {
        return false;
    }
    *kind = type;
    return true;
}

GDB_HANDLER(gdb_cmd_insert)
{
    GError *err = NULL;
    DebugKind kind;
    uint64_t addr, len;

    if (!parse_point(p, end, &kind, &addr, &len)) {
        return gdb_say(reply, "E22");
    }
    if (kind == DEBUG_WATCH_READ) {
        return true; /* not there: gdb makes it of an access watchpoint */
    }
    return vm_debug_insert(g->vm, gdb_cpu(g, g->cpu), kind, addr, len, &err)
               ? gdb_say(reply, "OK")
               : gdb_say_error(g, reply, err);
}

GDB_HANDLER(gdb_cmd_remove)
{
    DebugKind kind;
    uint64_t addr, len;

    if (!parse_point(p, end, &kind, &addr, &len)) {
        return gdb_say(reply, "E22");
    }
    if (kind == DEBUG_WATCH_READ) {
        return true;
    }
    vm_debug_remove(g->vm, kind, addr, len);
    return gdb_say(reply, "OK");
}
