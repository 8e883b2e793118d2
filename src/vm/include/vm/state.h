/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device state: what the guest can see of a device, declared once by an X-macro that emits both
 * the struct and its field table, so that a field that exists cannot be forgotten.
 *
 *     #define UART_STATE(X)             \
 *         X(F, uint8_t, ier)            \
 *         X(F, uint8_t, lcr)            \
 *         X(A, uint8_t, rx_fifo, 16)    \
 *         X(V, uint8_t, out, out_len, 64) \
 *         X(S, FifoState, tx, fifo)     \
 *         X(SA, ChannelState, chan, channel, 3)
 *     STATE_STRUCT(UartState, UART_STATE);            the struct type
 *     STATE_DESC(uart, UartState, UART_STATE, 1);     static const StateDesc uart_state_desc
 *
 * F: scalar. A: fixed array. V: array of scalars, with the field that holds the number in use (here
 * out_len) and the maximum. S: nested struct, described by NAME_state_desc. SA: fixed array of
 * nested structs. FS, AS: like F and A, with two more arguments, since and default: streams of a
 * version below 'since' lack the field, which then gets the default.
 *
 * Scalars are bool and the stdint types. The stream is self-describing and little-endian.
 */
#ifndef VM_STATE_H
#define VM_STATE_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    STATE_BOOL,
    STATE_U8,
    STATE_U16,
    STATE_U32,
    STATE_U64,
    STATE_I8,
    STATE_I16,
    STATE_I32,
    STATE_I64,
    STATE_NESTED
} StateType;

typedef struct StateDesc StateDesc;
/* A function, since its address is a constant that tables can hold. */
typedef const StateDesc *(*StateDescFn)(void);

typedef struct StateField {
    const char *name;
    StateType type;
    uint32_t offset;
    uint32_t size;        /* of one element */
    uint32_t count;       /* elements; 1 for a scalar */
    int32_t count_offset; /* V: offset of the uint32_t that holds the number in use; else -1 */
    StateDescFn nested;
    uint32_t since;
    int64_t defval;
} StateField;

struct StateDesc {
    const char *name;
    uint32_t version;
    uint32_t size; /* of the struct */
    const StateField *fields;
    uint32_t field_count;
};

#define STATE_TYPE_OF_(t)                                                                          \
    _Generic((t){0}, bool                                                                          \
             : STATE_BOOL, uint8_t                                                                 \
             : STATE_U8, uint16_t                                                                  \
             : STATE_U16, uint32_t                                                                 \
             : STATE_U32, uint64_t                                                                 \
             : STATE_U64, int8_t                                                                   \
             : STATE_I8, int16_t                                                                   \
             : STATE_I16, int32_t                                                                  \
             : STATE_I32, int64_t                                                                  \
             : STATE_I64)

#define STATE_M_(kind, ...)               STATE_M_##kind(__VA_ARGS__)
#define STATE_M_F(t, n)                   t n;
#define STATE_M_FS(t, n, since, def)      t n;
#define STATE_M_A(t, n, len)              t n[len];
#define STATE_M_AS(t, n, len, since, def) t n[len];
#define STATE_M_V(t, n, cnt, len)         t n[len];
#define STATE_M_S(t, n, desc)             t n;
#define STATE_M_SA(t, n, desc, len)       t n[len];

#define STATE_STRUCT(type, LIST)                                                                   \
    typedef struct type {                                                                          \
        LIST(STATE_M_)                                                                             \
    } type

#define STATE_D_(kind, ...) STATE_D_##kind(__VA_ARGS__)
#define STATE_D_FULL_(t, n, st, cnt, cofs, nest, snc, def)                                         \
    {.name = #n,                                                                                   \
     .type = (st),                                                                                 \
     .offset = offsetof(StateT_, n),                                                               \
     .size = sizeof(t),                                                                            \
     .count = (cnt),                                                                               \
     .count_offset = (cofs),                                                                       \
     .nested = (nest),                                                                             \
     .since = (snc),                                                                               \
     .defval = (def)},
#define STATE_D_F(t, n)            STATE_D_FULL_(t, n, STATE_TYPE_OF_(t), 1, -1, NULL, 0, 0)
#define STATE_D_FS(t, n, snc, def) STATE_D_FULL_(t, n, STATE_TYPE_OF_(t), 1, -1, NULL, snc, def)
#define STATE_D_A(t, n, len)       STATE_D_FULL_(t, n, STATE_TYPE_OF_(t), len, -1, NULL, 0, 0)
#define STATE_D_AS(t, n, len, snc, def)                                                            \
    STATE_D_FULL_(t, n, STATE_TYPE_OF_(t), len, -1, NULL, snc, def)
#define STATE_D_V(t, n, cnt, len)                                                                  \
    STATE_D_FULL_(t, n, STATE_TYPE_OF_(t), len, (int32_t)offsetof(StateT_, cnt), NULL, 0, 0)
#define STATE_D_S(t, n, desc) STATE_D_FULL_(t, n, STATE_NESTED, 1, -1, desc##_state_desc, 0, 0)
#define STATE_D_SA(t, n, desc, len)                                                                \
    STATE_D_FULL_(t, n, STATE_NESTED, len, -1, desc##_state_desc, 0, 0)

/* STATE_DESC for this file alone; STATE_DESC_PUBLIC where a header declares 'id_state_desc()'. */
#define STATE_DESC_(linkage, id, stype, LIST, ver)                                                 \
    linkage const StateDesc *id##_state_desc(void)                                                 \
    {                                                                                              \
        typedef stype StateT_;                                                                     \
        static const StateField fields[] = {LIST(STATE_D_)};                                       \
        static const StateDesc desc = {                                                            \
            .name = #id,                                                                           \
            .version = (ver),                                                                      \
            .size = sizeof(stype),                                                                 \
            .fields = fields,                                                                      \
            .field_count = sizeof fields / sizeof fields[0],                                       \
        };                                                                                         \
        return &desc;                                                                              \
    }                                                                                              \
    typedef stype id##_state_desc_type_
#define STATE_DESC(id, stype, LIST, ver)        STATE_DESC_(static, id, stype, LIST, ver)
#define STATE_DESC_PUBLIC(id, stype, LIST, ver) STATE_DESC_(, id, stype, LIST, ver)

/* A described struct inside a device. DeviceClass.state is a list of these that ends with {0}. */
typedef struct StateSection {
    StateDescFn desc;
    size_t offset; /* of the struct, from the start of the device */
} StateSection;

/*
 * Streams. state_write() appends a record. state_read() checks names, types, counts and bounds;
 * callers let it fill a fresh copy, so that bad input is refused before the device changes.
 */
void state_write(GByteArray *out, const StateDesc *desc, const void *obj);
/*
 * Reads one record at *pos into obj (zeroed by the caller) and advances. False and *err naming the
 * field; 'what' names the device.
 */
bool state_read(const uint8_t *data, size_t len, size_t *pos, const StateDesc *desc, void *obj,
                const char *what, GError **err);
/* The state as JSON, for tests; a new reference. */
json_t *state_to_json(const StateDesc *desc, const void *obj);
/* Fills obj with pseudo-random values of the seed, for tests of save and load. */
void state_scramble(const StateDesc *desc, void *obj, uint32_t *seed);

#endif
