/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Described structs to and from a self-describing stream.
 *
 * record: name (u8 length, bytes), version u32, fields u16, then each field: name, type u8,
 * count u32, and 'count' elements: scalars little-endian in their own size, or records.
 */
#include "vm/state.h"

#include <string.h>

#include "base/error.h"
#include "base/util.h"

static const char *const type_names[] = {
    [STATE_BOOL] = "bool", [STATE_U8] = "u8",         [STATE_U16] = "u16", [STATE_U32] = "u32",
    [STATE_U64] = "u64",   [STATE_I8] = "i8",         [STATE_I16] = "i16", [STATE_I32] = "i32",
    [STATE_I64] = "i64",   [STATE_NESTED] = "struct",
};

static void put_le(GByteArray *out, uint64_t v, unsigned size)
{
    uint8_t b[8];

    stle64(b, v);
    g_byte_array_append(out, b, size);
}

static void put_name(GByteArray *out, const char *name)
{
    size_t len = strlen(name);

    g_assert(len < 256);
    put_le(out, len, 1);
    g_byte_array_append(out, (const uint8_t *)name, len);
}

static uint64_t load_scalar(const void *p, unsigned size)
{
    switch (size) {
    case 1:
        return *(const uint8_t *)p;
    case 2:
        return *(const uint16_t *)p;
    case 4:
        return *(const uint32_t *)p;
    case 8:
        return *(const uint64_t *)p;
    }
    g_assert_not_reached();
}

static void store_scalar(void *p, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        *(uint8_t *)p = v;
        return;
    case 2:
        *(uint16_t *)p = v;
        return;
    case 4:
        *(uint32_t *)p = v;
        return;
    case 8:
        *(uint64_t *)p = v;
        return;
    }
    g_assert_not_reached();
}

static uint32_t used_count(const StateField *f, const void *obj)
{
    uint32_t used;

    if (f->count_offset < 0) {
        return f->count;
    }
    memcpy(&used, (const char *)obj + f->count_offset, sizeof used);
    return MIN(used, f->count);
}

void state_write(GByteArray *out, const StateDesc *desc, const void *obj)
{
    put_name(out, desc->name);
    put_le(out, desc->version, 4);
    put_le(out, desc->field_count, 2);
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const StateField *f = &desc->fields[i];
        const char *p = (const char *)obj + f->offset;
        uint32_t count = used_count(f, obj);

        put_name(out, f->name);
        put_le(out, f->type, 1);
        put_le(out, count, 4);
        for (uint32_t n = 0; n < count; n++, p += f->size) {
            if (f->type == STATE_NESTED) {
                state_write(out, f->nested(), p);
            } else {
                put_le(out, load_scalar(p, f->size), f->size);
            }
        }
    }
}

typedef struct {
    const uint8_t *data;
    size_t len, *pos;
    const char *what;
} Reader;

static bool state_need(Reader *r, size_t n, GError **err)
{
    if (r->len - *r->pos < n) {
        return error_set(err, "saved state of %s ends too early", r->what);
    }
    return true;
}

static bool get_le(Reader *r, unsigned size, uint64_t *v, GError **err)
{
    uint8_t b[8] = {0};

    *v = 0;
    if (!state_need(r, size, err)) {
        return false;
    }
    memcpy(b, r->data + *r->pos, size);
    *r->pos += size;
    *v = ldle64(b);
    return true;
}

static bool get_name(Reader *r, char name[256], GError **err)
{
    uint64_t len;

    if (!get_le(r, 1, &len, err) || !state_need(r, len, err)) {
        return false;
    }
    memcpy(name, r->data + *r->pos, len);
    name[len] = '\0';
    *r->pos += len;
    return true;
}

static void state_set_default(const StateField *f, void *obj)
{
    char *p = (char *)obj + f->offset;

    for (uint32_t n = 0; n < f->count && f->type != STATE_NESTED; n++, p += f->size) {
        store_scalar(p, f->size, f->defval);
    }
}

static bool read_record(Reader *r, const StateDesc *desc, void *obj, GError **err);

static bool read_field(Reader *r, const StateDesc *desc, const StateField *f, void *obj,
                       GError **err)
{
    uint64_t type, count;
    char *p = (char *)obj + f->offset;

    if (!get_le(r, 1, &type, err) || !get_le(r, 4, &count, err)) {
        return false;
    }
    if (type != f->type) {
        return error_set(err, "saved state of %s: field %s.%s is a %s there and a %s here", r->what,
                         desc->name, f->name,
                         type < G_N_ELEMENTS(type_names) ? type_names[type] : "unknown type",
                         type_names[f->type]);
    }
    if (f->count_offset < 0 ? count != f->count : count > f->count) {
        return error_set(err,
                         "saved state of %s: field %s.%s has %" G_GUINT64_FORMAT
                         " elements there and %u here",
                         r->what, desc->name, f->name, count, f->count);
    }
    for (uint64_t n = 0; n < count; n++, p += f->size) {
        uint64_t v;

        if (f->type == STATE_NESTED) {
            if (!read_record(r, f->nested(), p, err)) {
                return false;
            }
            continue;
        }
        if (!get_le(r, f->size, &v, err)) {
            return false;
        }
        if (f->type == STATE_BOOL && v > 1) {
            return error_set(
                err, "saved state of %s: field %s.%s is a bool and holds %" G_GUINT64_FORMAT,
                r->what, desc->name, f->name, v);
        }
        store_scalar(p, f->size, v);
    }
    return true;
}

/* The count field of a V field must not exceed the array. */
static bool check_counts(Reader *r, const StateDesc *desc, const void *obj, GError **err)
{
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const StateField *f = &desc->fields[i];
        uint32_t used;

        if (f->count_offset < 0) {
            continue;
        }
        memcpy(&used, (const char *)obj + f->count_offset, sizeof used);
        if (used > f->count) {
            return error_set(err, "saved state of %s: %s.%s claims %u elements, at most %u fit",
                             r->what, desc->name, f->name, used, f->count);
        }
    }
    return true;
}

static bool read_record(Reader *r, const StateDesc *desc, void *obj, GError **err)
{
    char name[256];
    uint64_t version, fields;
    g_autofree bool *seen = g_new0(bool, desc->field_count + 1);

    if (!get_name(r, name, err) || !get_le(r, 4, &version, err) || !get_le(r, 2, &fields, err)) {
        return false;
    }
    if (strcmp(name, desc->name)) {
        return error_set(err, "saved state of %s: found '%s' where '%s' belongs", r->what, name,
                         desc->name);
    }
    if (version > desc->version) {
        return error_set(err,
                         "saved state of %s: '%s' has version %" G_GUINT64_FORMAT
                         ", this program knows up to %u; use the release that saved it",
                         r->what, desc->name, version, desc->version);
    }
    while (fields--) {
        uint32_t i = 0;

        if (!get_name(r, name, err)) {
            return false;
        }
        while (i < desc->field_count && strcmp(desc->fields[i].name, name)) {
            i++;
        }
        if (i == desc->field_count || seen[i]) {
            return error_set(err, "saved state of %s: %s field %s.%s", r->what,
                             i == desc->field_count ? "unknown" : "repeated", desc->name, name);
        }
        seen[i] = true;
        if (!read_field(r, desc, &desc->fields[i], obj, err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < desc->field_count; i++) {
        if (seen[i]) {
            continue;
        }
        if (desc->fields[i].since <= version) {
            return error_set(err, "saved state of %s: field %s.%s is missing", r->what, desc->name,
                             desc->fields[i].name);
        }
        state_set_default(&desc->fields[i], obj);
    }
    return check_counts(r, desc, obj, err);
}

bool state_read(const uint8_t *data, size_t len, size_t *pos, const StateDesc *desc, void *obj,
                const char *what, GError **err)
{
    Reader r = {.data = data, .len = len, .pos = pos, .what = what};

    return read_record(&r, desc, obj, err);
}

static json_t *scalar_to_json(const StateField *f, const void *p)
{
    uint64_t v = load_scalar(p, f->size);

    switch (f->type) {
    case STATE_BOOL:
        return json_boolean(v);
    case STATE_I8:
        return json_integer((int8_t)v);
    case STATE_I16:
        return json_integer((int16_t)v);
    case STATE_I32:
        return json_integer((int32_t)v);
    default:
        return json_integer(v);
    }
}

json_t *state_to_json(const StateDesc *desc, const void *obj)
{
    json_t *out = json_object();

    for (uint32_t i = 0; i < desc->field_count; i++) {
        const StateField *f = &desc->fields[i];
        const char *p = (const char *)obj + f->offset;
        bool scalar = f->count == 1 && f->count_offset < 0;
        json_t *list = scalar ? NULL : json_array();
        uint32_t count = used_count(f, obj);

        for (uint32_t n = 0; n < count; n++, p += f->size) {
            json_t *v =
                f->type == STATE_NESTED ? state_to_json(f->nested(), p) : scalar_to_json(f, p);

            if (scalar) {
                json_object_set_new(out, f->name, v);
            } else {
                json_array_append_new(list, v);
            }
        }
        if (list) {
            json_object_set_new(out, f->name, list);
        }
    }
    return out;
}

/* xorshift32: the same sequence on every host. */
static uint32_t next_random(uint32_t *seed)
{
    uint32_t x = *seed ? *seed : 1;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *seed = x;
}

void state_scramble(const StateDesc *desc, void *obj, uint32_t *seed)
{
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const StateField *f = &desc->fields[i];
        char *p = (char *)obj + f->offset;

        for (uint32_t n = 0; n < f->count; n++, p += f->size) {
            if (f->type == STATE_NESTED) {
                state_scramble(f->nested(), p, seed);
            } else if (f->type == STATE_BOOL) {
                store_scalar(p, f->size, next_random(seed) & 1);
            } else {
                store_scalar(p, f->size, (uint64_t)next_random(seed) << 32 | next_random(seed));
            }
        }
    }
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const StateField *f = &desc->fields[i];

        if (f->count_offset >= 0) {
            uint32_t used = next_random(seed) % (f->count + 1);

            memcpy((char *)obj + f->count_offset, &used, sizeof used);
        }
    }
}
