/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets of gdb's remote protocol (gdb's manual, Appendix E): framing, checksums, escapes, numbers
 * in hex. Pure functions that know of no machine. Any thread.
 */
#ifndef GDB_PACKET_H
#define GDB_PACKET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The longest content of a packet, either way; told to gdb as PacketSize. */
#define GDB_PACKET_MAX 0x4000

typedef enum {
    GDB_INPUT_NONE,      /* nothing is complete yet */
    GDB_INPUT_PACKET,    /* parser->data has it, with its escapes and runs undone */
    GDB_INPUT_BAD,       /* its checksum is wrong, or it was cut off */
    GDB_INPUT_TOO_LONG,  /* more than GDB_PACKET_MAX; the checksum is right */
    GDB_INPUT_ACK,       /* + */
    GDB_INPUT_NACK,      /* - */
    GDB_INPUT_INTERRUPT, /* Ctrl-C */
} GdbInput;

typedef struct {
    enum { GDB_IDLE, GDB_DATA, GDB_ESCAPE, GDB_RUN, GDB_SUM_HIGH, GDB_SUM_LOW } state;
    GByteArray *data;
    uint8_t sum;
    int told_high; /* the first digit of the checksum; -1: it is none */
    bool too_long;
} GdbParser;

void gdb_parser_init(GdbParser *p);
void gdb_parser_clear(GdbParser *p);
/* Forgets what a client has begun. */
void gdb_parser_reset(GdbParser *p);
GdbInput gdb_parser_take(GdbParser *p, uint8_t byte);

/* Appends "$CONTENT#SUM". 'content' has been escaped where it may hold any bytes. */
void gdb_frame(GString *out, const char *content, size_t len);
/* Appends bytes of which those that the protocol uses are escaped. */
void gdb_append_escaped(GString *out, const uint8_t *data, size_t len);
void gdb_append_hex(GString *out, const uint8_t *data, size_t len);

/*
 * A number in hex, at *p, which moves behind it; false: there is none, or it has more than 64 bits.
 */
bool gdb_parse_hex(const char **p, const char *end, uint64_t *value);
/* The same behind 'c', which has to come first. */
bool gdb_parse_next(const char **p, const char *end, char c, uint64_t *value);
/* Bytes in hex, from p to its end; false: it is not twice 'len' digits. */
bool gdb_parse_bytes(const char *p, const char *end, uint8_t *out, size_t len);

#endif
