/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that is mapped from a file: which pages are, and what discards them. */
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fixture.h"
#include "ram_mapped.h"

enum { PAGES = 200, FILE_BYTE = 0xf0 };

static uint8_t elsewhere[8];
static uint64_t page;
static RamBlock *ram;
static int file;

static void setup(void)
{
    g_autofree uint8_t *content = NULL;

    fixture_setup();
    page = getpagesize();
    ram = ram_block_new(vm, "ram", PAGES * page, NULL);
    ck_assert_ptr_nonnull(ram);
    file = memfd_create("file", MFD_CLOEXEC);
    content = g_malloc(ram->size);
    memset(content, FILE_BYTE, ram->size);
    ck_assert_int_eq(write(file, content, ram->size), ram->size);
}

static void teardown(void)
{
    close(file);
    fixture_teardown();
}

static void map(unsigned first, unsigned count)
{
    ck_assert(ram_map_file(ram, first * page, count * page, file, first * page));
}

/* The ranges that are mapped, in pieces of at most 'max' bytes. */
static void expect_ranges(uint64_t max, const char *want)
{
    g_autoptr(GString) found = g_string_new("");
    uint64_t start = 0, len, bytes = 0;

    while (ram_next_mapped(ram, &start, &len, max)) {
        g_string_append_printf(found, "%u+%u ", (unsigned)(start / page), (unsigned)(len / page));
        start += len;
        bytes += len;
    }
    ck_assert_str_eq(found->str, want);
    ck_assert_uint_eq(ram_mapped_bytes(ram), bytes);
}

/* Of two pieces, one of which is not of the block. */
static bool touches_mapped(uint64_t offset, uint64_t len)
{
    struct iovec iov[] = {{elsewhere, sizeof elsewhere}, {ram->host + offset, len}};

    ck_assert(!ram_any_is_mapped(iov, 1));
    return ram_any_is_mapped(iov, 2);
}

START_TEST(ranges)
{
    expect_ranges(UINT64_MAX, "");
    map(3, 130);
    map(150, 50);
    expect_ranges(UINT64_MAX, "3+130 150+50 ");
    expect_ranges(60 * page, "3+60 63+60 123+10 150+50 ");
    map(100, 60); /* over what is there */
    expect_ranges(UINT64_MAX, "3+197 ");
    ram_discard_in(ram, 64 * page, 64 * page);
    ram_discard_in(ram, 199 * page, page);
    expect_ranges(UINT64_MAX, "3+61 128+71 ");
    ck_assert(ram_page_is_mapped(ram, 63 * page) && !ram_page_is_mapped(ram, 64 * page));
    ck_assert_int_eq(ram->host[63 * page], FILE_BYTE);
    ck_assert_int_eq(ram->host[64 * page], 0);
    ck_assert(!touches_mapped(0, 3 * page) && touches_mapped(page, 2 * page + 1));
    ck_assert(!touches_mapped(64 * page, 64 * page) && touches_mapped(64 * page - 1, 10));
    ck_assert(touches_mapped(64 * page, 64 * page + 1));
    ck_assert(!touches_mapped(199 * page, 2 * page)); /* beyond the block's end */
    ck_assert(ram_make_private(ram, 3 * page, 61 * page));
    expect_ranges(UINT64_MAX, "128+71 ");
    ck_assert_int_eq(ram->host[63 * page], FILE_BYTE);
    ck_assert(ram_make_anonymous(ram, 0, ram->size));
    expect_ranges(UINT64_MAX, "");
    ck_assert_int_eq(ram->host[198 * page], 0);
}
END_TEST

/* Moves the block's memory; nobody uses it yet. */
static void put_at(RamBlock *b, uint8_t *host)
{
    ck_assert_ptr_eq(mremap(b->host, b->size, b->size, MREMAP_MAYMOVE | MREMAP_FIXED, host), host);
    b->host = host;
}

/* One run of pages over three blocks that the host has placed side by side. */
START_TEST(neighbours)
{
    RamBlockOptions shared = {.fd = -1, .share = true, .dump = true};
    RamBlock *before = ram_block_new(vm, "before", 4 * page, NULL);
    RamBlock *between = ram_block_new_opts(vm, "between", 4 * page, &shared, NULL);
    uint8_t *area = mmap(NULL, 8 * page + ram->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(area, MAP_FAILED);
    put_at(before, area);
    put_at(between, area + 4 * page);
    put_at(ram, area + 8 * page);
    memset(before->host, 1, before->size);
    memset(between->host, 2, between->size);
    map(0, PAGES);
    ram_discard(vm, before->host + page, (3 + 4 + 2) * page);
    ck_assert_int_eq(before->host[page - 1], 1);
    for (uint8_t *at = before->host + page; at < ram->host + 2 * page; at++) {
        ck_assert_int_eq(*at, 0);
    }
    ck_assert_int_eq(ram->host[2 * page], FILE_BYTE);
    expect_ranges(UINT64_MAX, "2+198 ");
    /* A retired block counts, too. */
    memset(between->host, 3, between->size);
    ram_block_retire(vm, before);
    ram_discard(vm, before->host + 3 * page, 3 * page);
    ck_assert_int_eq(between->host[2 * page - 1], 0);
    ck_assert_int_eq(between->host[2 * page], 3);
}
END_TEST

static GString *events;

static void note_event(const VmEvent *event, json_t *data, void *user)
{
    g_string_append_printf(events, "%s ", event->name);
}

static void resume(void *data)
{
    ck_assert(vm_resume(vm, NULL));
}

static void resume_refused(void *data)
{
    ck_assert(!vm_resume(vm, NULL));
}

/* What the machine tells of when the loop has turned. */
static void expect_events(const char *want)
{
    for (unsigned i = 0; i < 20; i++) {
        event_loop_iterate(loop, 0);
    }
    ck_assert_str_eq(events->str, want);
    g_string_truncate(events, 0);
}

/*
 * A CPU that could not reach memory pauses the machine, in which a page is lost then, of which the
 * user hears, too; but not of what was before all was loaded anew.
 */
START_TEST(unreadable)
{
    events = g_string_new("");
    vm_set_event_listener(vm, note_event, NULL);
    ck_assert(ram_fault_watch(vm, NULL));
    run_in_coroutine(resume, NULL);
    expect_events("RESUME ");
    ck_assert(!ram_fault_of_cpu(vm));
    expect_events("");
    map(0, PAGES);
    ck_assert_int_eq(ftruncate(file, 100 * page), 0);
    ck_assert(ram_fault_of_cpu(vm));
    ck_assert(ram_fault_of_cpu(vm)); /* another CPU */
    expect_events("BLOCK_IO_ERROR STOP ");
    ck_assert_str_eq(run_state_name(vm_run_state(vm)), "io-error");
    expect_ranges(UINT64_MAX, "0+200 ");
    run_in_coroutine(resume, NULL);
    ck_assert(ram_fault_of_cpu(vm));
    expect_events("RESUME BLOCK_IO_ERROR STOP ");
    ck_assert_int_eq(ram->host[150 * page], 0);
    expect_events("BLOCK_IO_ERROR ");
    expect_ranges(UINT64_MAX, "0+150 151+49 ");
    run_in_coroutine(resume_refused, NULL);
    ck_assert(ram_fault_of_cpu(vm));
    ram_fault_forget();
    run_in_coroutine(resume, NULL);
    expect_events("RESUME ");
    ck_assert_str_eq(run_state_name(vm_run_state(vm)), "running");
    ram_fault_unwatch(vm);
    g_string_free(events, TRUE);
    vm_set_event_listener(vm, NULL, NULL);
}
END_TEST

START_TEST(no_eventfd)
{
    struct rlimit before, none;
    GError *err = NULL;
    bool ok;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ok = ram_fault_watch(vm, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert(!ok);
    ck_error(err, "cannot make an eventfd for pages that cannot be read: Too many open files");
    g_clear_error(&err);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("ram_mapped");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ranges);
    tcase_add_test(tc, neighbours);
    tcase_add_test(tc, unreadable);
    tcase_add_test(tc, no_eventfd);
    return unit_run_case("vm_ram_mapped", tc);
}
