/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Described structs through the stream and back; hostile streams. */
#include "../base/unit.h"
#include "vm/state.h"

#define INNER_STATE(X)                                                                             \
    X(F, uint16_t, a)                                                                              \
    X(A, int32_t, b, 3)
STATE_STRUCT(Inner, INNER_STATE);
STATE_DESC(inner, Inner, INNER_STATE, 1);

#define OUTER_STATE(X)                                                                             \
    X(F, bool, flag)                                                                               \
    X(F, uint8_t, u8)                                                                              \
    X(F, int64_t, i64)                                                                             \
    X(F, uint32_t, used)                                                                           \
    X(V, uint16_t, list, used, 20)                                                                 \
    X(S, Inner, one, inner)                                                                        \
    X(SA, Inner, many, inner, 4)
STATE_STRUCT(Outer, OUTER_STATE);
STATE_DESC(outer, Outer, OUTER_STATE, 1);

/* The same struct in a later release: one more field, with a default. */
#define NEWER_STATE(X) OUTER_STATE(X) X(FS, uint32_t, extra, 2, 77)
STATE_STRUCT(Newer, NEWER_STATE);

static const StateDesc *newer_desc(void)
{
    typedef Newer StateT_;
    static const StateField fields[] = {NEWER_STATE(STATE_D_)};
    static const StateDesc desc = {"outer", 2, sizeof(Newer), fields, G_N_ELEMENTS(fields)};

    return &desc;
}

static GByteArray *save(const Outer *o)
{
    GByteArray *out = g_byte_array_new();

    state_write(out, outer_state_desc(), o);
    return out;
}

START_TEST(round_trip)
{
    for (uint32_t i = 1; i < 200; i++) {
        uint32_t seed = i;
        Outer o = {0}, back = {0};
        g_autoptr(GByteArray) first = NULL, second = NULL;
        size_t pos = 0;
        GError *err = NULL;

        state_scramble(outer_state_desc(), &o, &seed);
        first = save(&o);
        ck_assert_msg(
            state_read(first->data, first->len, &pos, outer_state_desc(), &back, "x", &err), "%s",
            err ? err->message : "");
        ck_assert_uint_eq(pos, first->len);
        second = save(&back);
        ck_assert_uint_eq(first->len, second->len);
        ck_assert_mem_eq(first->data, second->data, first->len);
    }
}
END_TEST

START_TEST(every_field_counts)
{
    Outer o = {0}, changed;
    g_autoptr(GByteArray) first = save(&o);

    for (uint32_t f = 0; f < outer_state_desc()->field_count; f++) {
        const StateField *field = &outer_state_desc()->fields[f];
        g_autoptr(GByteArray) second = NULL;

        changed = o;
        ((uint8_t *)&changed)[field->offset] ^= 1;
        if (field->count_offset >= 0) {
            changed.used = 1;
        }
        second = save(&changed);
        ck_assert_msg(first->len != second->len || memcmp(first->data, second->data, first->len),
                      "%s is not saved", field->name);
    }
}
END_TEST

START_TEST(truncated_and_flipped)
{
    Outer o = {0}, back;
    uint32_t seed = 3;
    g_autoptr(GByteArray) good = NULL;

    state_scramble(outer_state_desc(), &o, &seed);
    good = save(&o);
    for (size_t len = 0; len < good->len; len++) {
        size_t pos = 0;
        GError *err = NULL;
        g_autofree uint8_t *copy = g_memdup2(good->data, MAX(len, 1));

        memset(&back, 0, sizeof back);
        ck_assert(!state_read(copy, len, &pos, outer_state_desc(), &back, "x", &err));
        ck_assert(err != NULL);
        g_error_free(err);
    }
    for (size_t i = 0; i < good->len * 8; i++) {
        size_t pos = 0;
        GError *err = NULL;
        g_autofree uint8_t *copy = g_memdup2(good->data, good->len);

        copy[i / 8] ^= 1 << (i % 8);
        memset(&back, 0, sizeof back);
        if (state_read(copy, good->len, &pos, outer_state_desc(), &back, "x", &err)) {
            ck_assert_uint_le(back.used, 20);
        }
        g_clear_error(&err);
    }
}
END_TEST

START_TEST(older_and_newer)
{
    Outer o = {.u8 = 9};
    Newer n = {0};
    GError *err = NULL;
    size_t pos = 0;
    g_autoptr(GByteArray) old = save(&o), new = g_byte_array_new();

    ck_assert(state_read(old->data, old->len, &pos, newer_desc(), &n, "x", &err));
    ck_assert_uint_eq(n.u8, 9);
    ck_assert_uint_eq(n.extra, 77);
    state_write(new, newer_desc(), &n);
    pos = 0;
    ck_assert(!state_read(new->data, new->len, &pos, outer_state_desc(), &o, "the thing", &err));
    ck_assert_ptr_nonnull(strstr(err->message, "the thing"));
    ck_assert_ptr_nonnull(strstr(err->message, "version 2"));
    g_error_free(err);
}
END_TEST

START_TEST(json_shape)
{
    Outer o = {.flag = true, .i64 = -5, .used = 2, .list = {3, 4}};
    json_t *j = state_to_json(outer_state_desc(), &o);

    ck_assert(json_is_true(json_object_get(j, "flag")));
    ck_assert_int_eq(json_integer_value(json_object_get(j, "i64")), -5);
    ck_assert_uint_eq(json_array_size(json_object_get(j, "list")), 2);
    json_decref(j);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("state");

    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, every_field_counts);
    tcase_add_test(tc, truncated_and_flipped);
    tcase_add_test(tc, older_and_newer);
    tcase_add_test(tc, json_shape);
    return unit_run_case("vm_state", tc);
}
