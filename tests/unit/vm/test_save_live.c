/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saving while the guest runs: passes one by one, their end, and when that comes. */
#include <string.h>

#include "../../../src/vm/live_plan.h"
#include "../../../src/vm/save_live.h"
#include "base/error.h"
#include "base/util.h"
#include "fixture.h"

enum { PAGE = 4096, PAGES = 96 };

/* A stream in memory, which is as long as its last byte. */
typedef struct {
    VmStream stream;
    GByteArray *bytes;
    uint64_t pos, writes;
    int fails; /* the write that fails; -1: none */
} Memory;

static bool memory_seek(VmStream *s, uint64_t pos, GError **err)
{
    ((Memory *)s)->pos = pos;
    return true;
}

static bool memory_write(VmStream *s, const void *buf, size_t len, GError **err)
{
    Memory *m = (Memory *)s;
    guint before = m->bytes->len;

    if (m->fails-- == 0) {
        return error_set(err, "the stream is full");
    }
    m->writes += len;
    if (m->pos + len > before) {
        g_byte_array_set_size(m->bytes, m->pos + len);
        memset(m->bytes->data + before, 0xee, m->bytes->len - before);
    }
    memcpy(m->bytes->data + m->pos, buf, len);
    m->pos += len;
    return true;
}

static bool memory_read(VmStream *s, void *buf, size_t len, GError **err)
{
    Memory *m = (Memory *)s;

    if (m->pos > m->bytes->len || len > m->bytes->len - m->pos) {
        return error_set(err, "the stream ends");
    }
    memcpy(buf, m->bytes->data + m->pos, len);
    m->pos += len;
    return true;
}

static bool memory_left(VmStream *s, uint64_t *left)
{
    Memory *m = (Memory *)s;

    *left = m->bytes->len - MIN(m->pos, m->bytes->len);
    return true;
}

static Memory memory;
static Probe *probe;
static RamBlock *ram;
static SaveLive *live;
static uint64_t collected, size;
static bool ok;
static GError *error;

static RamBlock *ram_new(const char *name)
{
    GError *err = NULL;
    RamBlock *b = ram_block_new(vm, name, PAGES * PAGE, &err);

    ck_assert_msg(b != NULL, "%s", err ? err->message : "");
    return b;
}

static void setup(void)
{
    fixture_setup();
    probe = probe_new("p0");
    ram = ram_new("ram");
    memory = (Memory){.stream = {.write = memory_write,
                                 .read = memory_read,
                                 .seek = memory_seek,
                                 .left = memory_left},
                      .bytes = g_byte_array_new(),
                      .fails = -1};
    live = save_live_new(vm);
}

static void teardown(void)
{
    save_live_free(live);
    g_byte_array_unref(memory.bytes);
    g_clear_error(&error);
    fixture_teardown();
}

/* As the guest does it: the log knows. */
static void put(RamBlock *b, unsigned page, uint8_t byte)
{
    memset(b->host + page * PAGE, byte, PAGE);
    memory_mark_dirty(vm, b, page * PAGE, PAGE);
}

static void coroutine_fn collect_in_coroutine(void *data)
{
    collected = save_live_collect(live);
}

static uint64_t collect(void)
{
    run_in_coroutine(collect_in_coroutine, NULL);
    return collected / PAGE;
}

static void coroutine_fn pass_in_coroutine(void *data)
{
    ok = save_live_pass(live, &memory.stream, NULL, NULL, &error);
}

/* Pages that a pass has written. */
static uint64_t pass(void)
{
    uint64_t before = memory.writes;

    run_in_coroutine(pass_in_coroutine, NULL);
    return (memory.writes - before) / PAGE;
}

static void coroutine_fn finish_in_coroutine(void *data)
{
    ok = vm_hold(vm, RUN_STATE_SAVE_VM, NULL) &&
         save_live_finish(live, &memory.stream, NULL, NULL, &size, &error);
    vm_release(vm);
}

static void finish(void)
{
    run_in_coroutine(finish_in_coroutine, NULL);
    ck_assert_msg(ok, "%s", error ? error->message : "");
    ck_assert_uint_eq(size, memory.bytes->len);
}

static bool load(void)
{
    memory.pos = 0;
    g_clear_error(&error);
    return vm_load(vm, &memory.stream, &error);
}

static void must_have(const RamBlock *b, unsigned page, uint8_t byte)
{
    ck_assert_uint_eq(b->host[page * PAGE], byte);
    ck_assert_uint_eq(b->host[page * PAGE + PAGE - 1], byte);
}

START_TEST(pages_of_passes)
{
    put(ram, 1, 1);
    put(ram, 2, 2);
    put(ram, 70, 3);
    ck_assert_uint_eq(collect(), 3);
    ck_assert_uint_eq(pass(), 3);
    ck_assert_uint_eq(collect(), 0);
    ck_assert_uint_eq(pass(), 0);
    put(ram, 1, 0);   /* written, and zeroes at the end */
    put(ram, 2, 22);  /* written twice */
    put(ram, 95, 95); /* a hole so far */
    put(ram, 80, 80); /* written by the next pass alone */
    put(ram, 90, 0);  /* nothing */
    ck_assert_uint_eq(collect(), 5);
    ck_assert_uint_eq(pass(), 3);
    put(ram, 80, 0);
    put(ram, 71, 71); /* a neighbour of 70, in the last pass of all */
    probe->s.writes = 5;
    finish();
    for (unsigned page = 0; page < PAGES; page++) {
        put(ram, page, 99);
    }
    probe->s.writes = 6;
    ck_assert_msg(load(), "%s", error ? error->message : "");
    for (unsigned page = 0; page < PAGES; page++) {
        must_have(ram, page, page == 2 ? 22 : page == 70 ? 3 : page == 71 || page == 95 ? page : 0);
    }
    ck_assert_uint_eq(probe->s.writes, 5);
}
END_TEST

/* What is written between the fetch of the log and the end of the pass is in the next one. */
START_TEST(written_during_a_pass)
{
    put(ram, 1, 1);
    collect();
    put(ram, 1, 2);
    put(ram, 3, 3);
    ck_assert_uint_eq(pass(), 1);
    ck_assert_uint_eq(collect(), 2);
    ck_assert_uint_eq(pass(), 2);
    finish();
    put(ram, 1, 9);
    ck_assert(load());
    must_have(ram, 1, 2);
    must_have(ram, 3, 3);
}
END_TEST

/* Devices come and go with their memory, which may be another's afterwards. */
START_TEST(blocks_come_and_go)
{
    RamBlock *gone = ram_new("gone"), *fresh;

    put(gone, 4, 4);
    put(ram, 1, 1);
    collect();
    pass();
    put(gone, 5, 5);
    ram_block_retire(vm, gone);
    ck_assert_uint_eq(collect(), 0);
    fresh = ram_new("fresh");
    ck_assert_ptr_eq(fresh, gone);
    put(fresh, 7, 7);
    ck_assert_uint_eq(collect(), 1);
    ck_assert_uint_eq(pass(), 1);
    put(fresh, 8, 8);
    finish();
    put(fresh, 4, 9);
    put(fresh, 7, 9);
    put(ram, 1, 9);
    ck_assert_msg(load(), "%s", error ? error->message : "");
    must_have(fresh, 4, 0);
    must_have(fresh, 7, 7);
    must_have(fresh, 8, 8);
    must_have(ram, 1, 1);
}
END_TEST

START_TEST(write_that_fails)
{
    for (unsigned page = 0; page < 10; page += 2) {
        put(ram, page, 1);
    }
    collect();
    memory.fails = 2;
    pass();
    ck_assert(!ok);
    ck_assert_str_eq(error->message, "the stream is full");
}
END_TEST

/* Whatever is changed: all of it is loaded, or nothing. */
START_TEST(changed_bytes)
{
    uint64_t rest;
    unsigned refused = 0;

    put(ram, 1, 1);
    put(ram, 5, 5);
    collect();
    pass();
    finish();
    rest = save_live_contents_end(live);
    for (uint64_t i = 0; i < size; i = i == 19 ? rest : i + 1) {
        memory.bytes->data[i] ^= 0x81;
        put(ram, 1, 9);
        if (!load()) {
            refused++;
            must_have(ram, 1, 9);
        }
        memory.bytes->data[i] ^= 0x81;
    }
    ck_assert_uint_gt(refused, 20);
    for (uint64_t len = 0; len < size; len = len < 24 ? len + 1 : len < rest ? rest : len + 1) {
        g_byte_array_set_size(memory.bytes, len);
        put(ram, 1, 9);
        ck_assert(!load());
        must_have(ram, 1, 9);
        g_byte_array_set_size(memory.bytes, size);
    }
    memory.stream.seek = NULL;
    ck_assert(!load());
    ck_assert_str_eq(error->message, "a machine that was saved live cannot be loaded from here");
}
END_TEST

/* The plan. */

START_TEST(plan_that_converges)
{
    LivePlan p = {0};

    /* 4 GiB in 4 s; then 400 MiB in 0.4 s; then 10 MiB: stop. */
    live_plan_passed(&p, 4096 * MiB, 4000 * NS_PER_MS, 0);
    ck_assert(!live_plan_stops(&p, 400 * MiB));
    live_plan_passed(&p, 400 * MiB, 350 * NS_PER_MS, 50 * NS_PER_MS);
    ck_assert(!live_plan_stops(&p, 60 * MiB));
    live_plan_passed(&p, 60 * MiB, 60 * NS_PER_MS, 10 * NS_PER_MS);
    ck_assert(live_plan_stops(&p, 10 * MiB));
    ck_assert_int_le(live_plan_stop_ns(&p), 70 * NS_PER_MS);
    ck_assert_int_ge(live_plan_stop_ns(&p), 20 * NS_PER_MS);
    p.clusters = 1000000;
    ck_assert_int_ge(live_plan_stop_ns(&p), 200 * NS_PER_MS);
}
END_TEST

START_TEST(plan_of_nothing)
{
    LivePlan p = {0};

    live_plan_passed(&p, 0, 0, 400 * NS_PER_MS);
    ck_assert(live_plan_stops(&p, 0));
}
END_TEST

/* As much is left as before, or hardly less: it is stopped, however long that takes. */
START_TEST(plan_that_is_stuck)
{
    LivePlan p = {0};
    unsigned passes = 0;

    do {
        live_plan_passed(&p, 1024 * MiB, 1000 * NS_PER_MS, 0);
        passes++;
    } while (!live_plan_stops(&p, 1000 * MiB));
    ck_assert_uint_eq(passes, 4);
    ck_assert_int_ge(live_plan_stop_ns(&p), 900 * NS_PER_MS);
}
END_TEST

/* Less each time, but not enough. */
START_TEST(plan_that_is_slow)
{
    LivePlan p = {0};
    uint64_t left = 1ull << 62;
    unsigned passes = 0;

    do {
        live_plan_passed(&p, left, INT64_MAX / 4, 0);
        left = left / 10 * 7;
        passes++;
    } while (!live_plan_stops(&p, left));
    ck_assert_uint_eq(passes, 30);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("save_live");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, pages_of_passes);
    tcase_add_test(tc, written_during_a_pass);
    tcase_add_test(tc, blocks_come_and_go);
    tcase_add_test(tc, write_that_fails);
    tcase_add_test(tc, changed_bytes);
    tcase_add_test(tc, plan_that_converges);
    tcase_add_test(tc, plan_of_nothing);
    tcase_add_test(tc, plan_that_is_stuck);
    tcase_add_test(tc, plan_that_is_slow);
    return unit_run_case("save_live", tc);
}
