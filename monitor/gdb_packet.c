/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets of gdb's remote protocol. */
#include "gdb_packet.h"

#define ESCAPE     '}'
#define ESCAPE_XOR 0x20
#define RUN        '*'
#define RUN_BASE   29 /* a run's length is that of its character, less this */

void gdb_parser_init(GdbParser *p)
{
    *p = (GdbParser){.data = g_byte_array_new()};
}

void gdb_parser_clear(GdbParser *p)
{
    g_clear_pointer(&p->data, g_byte_array_unref);
}

void gdb_parser_reset(GdbParser *p)
{
    p->state = GDB_IDLE;
    g_byte_array_set_size(p->data, 0);
    p->sum = 0;
    p->too_long = false;
}

static void parser_add(GdbParser *p, uint8_t byte, unsigned times)
{
    while (times--) {
        if (p->data->len >= GDB_PACKET_MAX) {
            p->too_long = true;
            return;
        }
        g_byte_array_append(p->data, &byte, 1);
    }
}

static void parser_begin(GdbParser *p)
{
    gdb_parser_reset(p);
    p->state = GDB_DATA;
}

static GdbInput parser_idle(GdbParser *p, uint8_t byte)
{
    switch (byte) {
    case '$':
        parser_begin(p);
        return GDB_INPUT_NONE;
    case '+':
        return GDB_INPUT_ACK;
    case '-':
        return GDB_INPUT_NACK;
    case 3:
        return GDB_INPUT_INTERRUPT;
    default:
        return GDB_INPUT_NONE; /* noise on the line */
    }
}

static void parser_content(GdbParser *p, uint8_t byte)
{
    p->sum += byte;
    if (p->state == GDB_ESCAPE) {
        parser_add(p, byte ^ ESCAPE_XOR, 1);
        p->state = GDB_DATA;
    } else if (p->state == GDB_RUN) {
        if (byte > RUN_BASE && p->data->len) {
            parser_add(p, p->data->data[p->data->len - 1], byte - RUN_BASE);
        }
        p->state = GDB_DATA;
    } else if (byte == ESCAPE) {
        p->state = GDB_ESCAPE;
    } else if (byte == RUN) {
        p->state = GDB_RUN;
    } else {
        parser_add(p, byte, 1);
    }
}

static GdbInput parser_end(GdbParser *p, uint8_t byte)
{
    int low = g_ascii_xdigit_value(byte);
    bool right = p->told_high >= 0 && low >= 0 && p->told_high * 16 + low == p->sum;

    p->state = GDB_IDLE;
    return !right ? GDB_INPUT_BAD : p->too_long ? GDB_INPUT_TOO_LONG : GDB_INPUT_PACKET;
}

GdbInput gdb_parser_take(GdbParser *p, uint8_t byte)
{
    switch (p->state) {
    case GDB_IDLE:
        return parser_idle(p, byte);
    case GDB_DATA:
    case GDB_ESCAPE:
    case GDB_RUN:
        if (byte == '$') { /* inside of a packet it would be escaped: the end of one was lost */
            parser_begin(p);
            return GDB_INPUT_BAD;
        }
        if (byte == '#') {
            p->state = GDB_SUM_HIGH;
        } else {
            parser_content(p, byte);
        }
        return GDB_INPUT_NONE;
    case GDB_SUM_HIGH:
        p->told_high = g_ascii_xdigit_value(byte);
        p->state = GDB_SUM_LOW;
        return GDB_INPUT_NONE;
    default:
        return parser_end(p, byte);
    }
}

void gdb_frame(GString *out, const char *content, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += (uint8_t)content[i];
    }
    g_string_append_c(out, '$');
    g_string_append_len(out, content, (gssize)len);
    g_string_append_printf(out, "#%02x", sum);
}

void gdb_append_escaped(GString *out, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = data[i];

        if (byte == '$' || byte == '#' || byte == ESCAPE || byte == RUN) {
            g_string_append_c(out, ESCAPE);
            byte ^= ESCAPE_XOR;
        }
        g_string_append_c(out, (char)byte);
    }
}

void gdb_append_hex(GString *out, const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        g_string_append_c(out, digits[data[i] >> 4]);
        g_string_append_c(out, digits[data[i] & 15]);
    }
}

bool gdb_parse_hex(const char **p, const char *end, uint64_t *value)
{
    uint64_t v = 0;
    const char *at = *p;

    for (; at < end && g_ascii_isxdigit(*at); at++) {
        if (v >> 60) {
            return false;
        }
        v = v << 4 | (uint64_t)g_ascii_xdigit_value(*at);
    }
    if (at == *p) {
        return false;
    }
    *p = at;
    *value = v;
    return true;
}

bool gdb_parse_next(const char **p, const char *end, char c, uint64_t *value)
{
    if (*p >= end || **p != c) {
        return false;
    }
    ++*p;
    return gdb_parse_hex(p, end, value);
}

bool gdb_parse_bytes(const char *p, const char *end, uint8_t *out, size_t len)
{
    if ((size_t)(end - p) / 2 != len || (end - p) % 2) {
        return false;
    }
    for (size_t i = 0; i < len; i++, p += 2) {
        int high = g_ascii_xdigit_value(p[0]), low = g_ascii_xdigit_value(p[1]);

        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}
