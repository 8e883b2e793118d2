/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saved machines: a load takes all of one or nothing, and never leaves half a machine to run. */
#include <string.h>

#include "base/error.h"
#include "fixture.h"

enum { PAGE = 4096, PAGES = 8 };

/* A stream in memory. */
typedef struct {
    VmStream stream;
    GByteArray *bytes;
    size_t pos;
    unsigned commits;
    bool refuses;
} MemoryStream;

static bool memory_write(VmStream *s, const void *buf, size_t len, GError **err)
{
    g_byte_array_append(((MemoryStream *)s)->bytes, buf, len);
    return true;
}

static bool memory_read(VmStream *s, void *buf, size_t len, GError **err)
{
    MemoryStream *m = (MemoryStream *)s;

    if (m->bytes->len - m->pos < len) {
        return error_set(err, "the stream ends");
    }
    memcpy(buf, m->bytes->data + m->pos, len);
    m->pos += len;
    return true;
}

static bool memory_left(VmStream *s, uint64_t *bytes)
{
    *bytes = ((MemoryStream *)s)->bytes->len - ((MemoryStream *)s)->pos;
    return true;
}

static void stream_init(MemoryStream *m, bool seekable)
{
    *m = (MemoryStream){.stream = {.write = memory_write, .read = memory_read},
                        .bytes = g_byte_array_new()};
    m->stream.left = seekable ? memory_left : NULL;
}

/* The machine: a device, a block of RAM, two parts of which the second can refuse. */

static Probe *probe;
static RamBlock *ram;
static uint32_t part_values[2];
static bool part_refuses; /* what is saved of the second part */

#define PART_STATE(X) X(F, uint32_t, value)
STATE_STRUCT(PartState, PART_STATE);
STATE_DESC(part, PartState, PART_STATE, 1);

static bool part_get(Vm *v, unsigned instance, void *state, GError **err)
{
    ((PartState *)state)->value = part_values[instance];
    return true;
}

static bool part_set(Vm *v, unsigned instance, const void *state, GError **err)
{
    if (part_refuses && ((const PartState *)state)->value == 2 && instance == 1) {
        return error_set(err, "the part refuses");
    }
    part_values[instance] = ((const PartState *)state)->value;
    return true;
}

static void setup(void)
{
    GError *err = NULL;

    fixture_setup();
    probe = probe_new("p0");
    ram = ram_block_new(vm, "ram", PAGES * PAGE, &err);
    ck_assert_msg(ram != NULL, "%s", err ? err->message : "");
    part_refuses = false;
    for (unsigned i = 0; i < 2; i++) {
        VmStatePart part = {.name = "part",
                            .instance = i,
                            .desc = part_state_desc,
                            .get = part_get,
                            .set = part_set};
        vm_register_state(vm, &part);
    }
}

/* All that a load may change, set to something that 'n' says. */
static void fill(uint8_t n)
{
    memset(probe->s.regs, n, sizeof probe->s.regs);
    probe->s.writes = n;
    memset(ram->host, 0, PAGES * PAGE);
    for (unsigned i = n; i < PAGES; i += 3) {
        memset(ram->host + i * PAGE, n, PAGE);
    }
    part_values[0] = n;
    part_values[1] = n + 1;
}

static void assert_is(uint8_t n)
{
    ck_assert_uint_eq(probe->s.writes, n);
    ck_assert_uint_eq(probe->s.regs[15], n);
    for (unsigned i = 0; i < PAGES; i++) {
        uint8_t want = i >= n && (i - n) % 3 == 0 ? n : 0;

        ck_assert_uint_eq(ram->host[i * PAGE], want);
        ck_assert_uint_eq(ram->host[i * PAGE + PAGE - 1], want);
    }
    ck_assert_uint_eq(part_values[0], n);
    ck_assert_uint_eq(part_values[1], n + 1);
}

static void save_as(MemoryStream *m, uint8_t n)
{
    fill(n);
    ck_assert(vm_save(vm, &m->stream, NULL));
    fill(2);
}

static bool load(MemoryStream *m, GError **err)
{
    m->pos = 0;
    return vm_load(vm, &m->stream, err);
}

/* The machine's disks, which go back to their snapshot. */
static bool memory_commit(VmStream *s, GError **err)
{
    MemoryStream *m = (MemoryStream *)s;

    m->commits++;
    ck_assert_uint_eq(probe->s.writes, 2);
    ck_assert_uint_eq(ram->host[2 * PAGE], 2);
    return !m->refuses || error_set(err, "a disk refuses");
}

static void resume(void *data)
{
    ck_assert(vm_resume(vm, NULL));
}

static void run_once(void *data)
{
    resume(NULL);
    vm_pause(vm, RUN_STATE_PAUSED);
}

START_TEST(what_was_saved)
{
    MemoryStream m;

    stream_init(&m, true);
    run_in_coroutine(run_once, NULL);
    save_as(&m, 1);
    ck_assert(load(&m, NULL));
    assert_is(1);
    g_byte_array_unref(m.bytes);
}
END_TEST

/* Where the padding begins, or a bit behind that: the contents of memory are 'contents' long. */
static unsigned padding_start(const MemoryStream *m, unsigned contents)
{
    unsigned head = m->bytes->len - contents, used = head;

    while (used && !m->bytes->data[used - 1]) {
        used--;
    }
    return MIN(used + 64, head);
}

/* Whatever is missing, the machine is as it was, and goes on. */
START_TEST(truncated_file)
{
    MemoryStream m;
    unsigned len, padding;

    stream_init(&m, true);
    run_in_coroutine(run_once, NULL);
    save_as(&m, 1);
    len = m.bytes->len;
    padding = padding_start(&m, 3 * PAGE); /* pages 1, 4 and 7 are the contents */
    for (unsigned cut = 0; cut < len; cut += cut < padding ? 1 : 61) {
        GError *err = NULL;

        m.bytes->len = cut;
        ck_assert(!load(&m, &err));
        ck_assert_ptr_nonnull(err);
        g_error_free(err);
        assert_is(2);
    }
    m.bytes->len = len;
    run_in_coroutine(resume, NULL);
    g_byte_array_unref(m.bytes);
}
END_TEST

static void refused_resume(void *data)
{
    ck_assert(!vm_resume(vm, NULL));
}

/* How much a pipe brings is known at its end: only a machine with nothing to lose is filled by it.
 */
START_TEST(from_a_pipe)
{
    GError *err = NULL;
    MemoryStream m;

    stream_init(&m, false);
    save_as(&m, 1);
    ck_assert(load(&m, NULL));
    assert_is(1);
    m.bytes->len--;
    ck_assert(!load(&m, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "has to be reset"));
    g_clear_error(&err);
    run_in_coroutine(refused_resume, NULL);
    m.bytes->len++;
    g_byte_array_unref(m.bytes);
}
END_TEST

START_TEST(pipe_into_a_machine_that_ran)
{
    GError *err = NULL;
    MemoryStream m;

    stream_init(&m, false);
    run_in_coroutine(run_once, NULL);
    save_as(&m, 1);
    ck_assert(!load(&m, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "file"));
    g_error_free(err);
    assert_is(2);
    g_byte_array_unref(m.bytes);
}
END_TEST

/* A part that refuses: those that had taken theirs have the old one again. */
START_TEST(part_that_refuses)
{
    GError *err = NULL;
    MemoryStream m;

    stream_init(&m, true);
    save_as(&m, 1);
    part_refuses = true;
    ck_assert(!load(&m, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "refuses"));
    g_error_free(err);
    assert_is(2);
    g_byte_array_unref(m.bytes);
}
END_TEST

/* What goes with the machine changes once all is checked and nobody refuses any more; or it
 * refuses, and the machine is as it was. */
START_TEST(disks_go_with_it)
{
    GError *err = NULL;
    MemoryStream m;

    stream_init(&m, true);
    m.stream.commit = memory_commit;
    save_as(&m, 1);
    m.bytes->len--;
    ck_assert(!load(&m, NULL));
    m.bytes->len++;
    part_refuses = true;
    ck_assert(!load(&m, NULL));
    ck_assert_uint_eq(m.commits, 0);
    part_refuses = false;
    m.refuses = true;
    ck_assert(!load(&m, &err));
    ck_assert_str_eq(err->message, "a disk refuses");
    g_error_free(err);
    assert_is(2);
    m.refuses = false;
    ck_assert(load(&m, NULL));
    ck_assert_uint_eq(m.commits, 2);
    assert_is(1);
    g_byte_array_unref(m.bytes);
}
END_TEST

/* Bytes of the stream changed one by one: a load is right, or refused with nothing touched. */
START_TEST(changed_bytes)
{
    MemoryStream m;
    unsigned head, padding;

    stream_init(&m, true);
    run_in_coroutine(run_once, NULL);
    save_as(&m, 1);
    head = m.bytes->len - 3 * PAGE;
    padding = padding_start(&m, 3 * PAGE);
    for (unsigned i = 0; i < head; i += i < padding ? 1 : 997) {
        m.bytes->data[i] ^= 0x81;
        if (!load(&m, NULL)) {
            assert_is(2);
        }
        fill(2);
        m.bytes->data[i] ^= 0x81;
    }
    ck_assert(load(&m, NULL));
    assert_is(1);
    g_byte_array_unref(m.bytes);
}
END_TEST

static void asleep_and_paused(void *data)
{
    vm_pause(vm, RUN_STATE_PAUSED);
}

/* A guest that was saved asleep is asleep when it goes on. */
START_TEST(asleep)
{
    MemoryStream m;

    stream_init(&m, true);
    run_in_coroutine(resume, NULL);
    vm_request_suspend(vm);
    for (int i = 0; i < 20; i++) {
        event_loop_iterate(loop, 0);
    }
    run_in_coroutine(asleep_and_paused, NULL);
    save_as(&m, 1);
    vm_request_wakeup(vm, "test");
    for (int i = 0; i < 20; i++) {
        event_loop_iterate(loop, 0);
    }
    ck_assert(!vm_asleep(vm));
    ck_assert(load(&m, NULL));
    run_in_coroutine(resume, NULL);
    ck_assert_int_eq(vm_run_state(vm), RUN_STATE_SUSPENDED);
    g_byte_array_unref(m.bytes);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("save");

    tcase_add_checked_fixture(tc, setup, fixture_teardown);
    tcase_add_test(tc, what_was_saved);
    tcase_add_test(tc, truncated_file);
    tcase_add_test(tc, from_a_pipe);
    tcase_add_test(tc, pipe_into_a_machine_that_ran);
    tcase_add_test(tc, part_that_refuses);
    tcase_add_test(tc, disks_go_with_it);
    tcase_add_test(tc, changed_bytes);
    tcase_add_test(tc, asleep);
    return unit_run_case("vm_save", tc);
}
