/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace points: table, patterns, lines, switches from another thread; and a log that nobody reads.
 */
#include "base/trace.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/host.h"
#include "base/log.h"
#include "unit.h"

static char *path; /* of the log */

static void setup(void)
{
    int fd = g_file_open_tmp("unit-trace-XXXXXX", &path, NULL);

    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert(log_set_file(path, NULL));
}

static void teardown(void)
{
    ck_assert(log_set_file(NULL, NULL));
    unlink(path);
    g_clear_pointer(&path, g_free);
}

/* What was logged since the last call (caller frees). */
static char *logged(void)
{
    char *text;

    ck_assert(g_file_get_contents(path, &text, NULL, NULL));
    ck_assert_int_eq(truncate(path, 0), 0);
    return text;
}

#define ck_logged(expected)                                                                        \
    do {                                                                                           \
        g_autofree char *text_ = logged();                                                         \
        ck_assert_str_eq(text_, expected);                                                         \
    } while (0)

START_TEST(table)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    for (unsigned i = 0; i < TRACE_POINT_COUNT; i++) {
        g_autofree char *fields = trace_fields_text(i);

        ck_assert_msg(g_hash_table_add(names, (char *)trace_name(i)), "%s twice", trace_name(i));
        ck_assert_msg(g_regex_match_simple("^[a-z][a-z0-9_]*$", trace_name(i), 0, 0), "%s",
                      trace_name(i));
        ck_assert_msg(strlen(trace_help(i)) > 5 && *fields, "%s", trace_name(i));
        ck_assert_msg(trace_is_of_vcpu(i) == g_str_has_prefix(fields, "cpu"), "%s: %s",
                      trace_name(i), fields);
        ck_assert(!trace_get(i, -1));
        ck_assert(trace_matches(i, trace_name(i)) && trace_matches(i, "*"));
    }
    ck_assert_int_ge(TRACE_POINT_COUNT, 40);
    log_set_program_name("vmm");
    g_autofree char *ours = trace_help_text();
    ck_assert(strstr(ours, "irq_gsi                      the level of a global system interrupt "
                           "changes (gsi, level)\n"));
    log_set_program_name("qemu-system-x86_64");
    g_autofree char *names_alone = trace_help_text();
    ck_assert(strstr(names_alone, "\nirq_gsi\nirq_pin\n"));
    log_set_program_name("vmm");
}
END_TEST

START_TEST(patterns)
{
    static const struct {
        const char *pattern;
        bool matches; /* virtio_queue_notify */
    } cases[] = {
        {"virtio_queue_notify", true},
        {"virtio_queue_notif", false},
        {"virtio_queue_notifyy", false},
        {"virtio_*", true},
        {"*notify", true},
        {"*queue*", true},
        {"v*o*q*y", true},
        {"v*o*q*x", false},
        {"**", true},
        {"virtio_queue_notify**", true},
        {"", false},
        {"*_*_*_*", false},
        {"virtio?queue_notify", false},
        {"*io_*io_*", false},
        {"*notify*y", false},
        {"*t*ify", true}, /* the first 't' that does is not the last */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        ck_assert_msg(trace_matches(TRACE_virtio_queue_notify, cases[i].pattern) ==
                          cases[i].matches,
                      "%s", cases[i].pattern);
    }
    ck_assert(trace_is_pattern("a*") && !trace_is_pattern("a?"));
    ck_assert_str_eq(trace_nearest_name("virtio_queue_notfy"), "virtio_queue_notify");
    ck_assert_ptr_null(trace_nearest_name("zebra"));
}
END_TEST

static unsigned evaluated;

static uint64_t evaluate(void)
{
    return ++evaluated;
}

START_TEST(off_costs_nothing_and_says_nothing)
{
    trace(irq_gsi, evaluate(), true);
    ck_assert_uint_eq(evaluated, 0);
    ck_logged("");
    trace_set(TRACE_irq_gsi, true, -1);
    trace(irq_gsi, evaluate(), true);
    trace(irq_pin, "pic", evaluate(), true); /* another one */
    ck_assert_uint_eq(evaluated, 1);
    ck_logged("irq_gsi gsi 1 level 1\n");
    trace_set(TRACE_irq_gsi, false, -1);
    trace(irq_gsi, evaluate(), true);
    ck_logged("");
}
END_TEST

START_TEST(lines)
{
    g_autofree char *longest = g_strnfill(100000, 'x'), *half = g_strnfill(256, 'x');
    g_autofree char *expected =
        g_strdup_printf("net_drop from \"%s...\" to %s bytes 1\n", half, half);

    ck_assert_ptr_null(trace_switch("*"));
    trace(msi_send, UINT64_MAX, 0);
    ck_logged("msi_send addr 0xffffffffffffffff data 0x0\n");
    trace(net_receive, "a", "n0", UINT64_MAX, INT64_MIN);
    ck_logged("net_receive from a to n0 bytes 18446744073709551615 ret -9223372036854775808\n");
    trace(runstate_set, "", NULL);
    ck_logged("runstate_set current_run_state \"\" new_state -\n");
    /* A guest's or a client's string reaches a terminal: no control characters, no second line. */
    trace(runstate_set, "two words", "a\nvmm: b\x1b[2J\x7f\xc2\x9b\"\\");
    ck_logged("runstate_set current_run_state \"two words\" new_state "
              "\"a\\x0avmm: b\\x1b[2J\\x7f\\xc2\\x9b\\\"\\\\\"\n");
    trace(net_drop, longest, half, 1);
    ck_logged(expected);
    /* Strings of nothing but escapes are longer than a line. It is cut, and ends. */
    memset(longest, '\n', 100000);
    trace(block_edge_move, longest, longest, longest, longest);
    g_autofree char *cut = logged();
    ck_assert_uint_eq(strlen(cut), 2048);
    ck_assert_ptr_eq(strchr(cut, '\n'), cut + 2047);
    ck_assert_ptr_null(trace_switch("-*"));
    for (unsigned i = 0; i < TRACE_POINT_COUNT; i++) {
        ck_assert(!trace_get(i, -1));
    }
}
END_TEST

START_TEST(stamps)
{
    g_autofree char *expected =
        g_strdup_printf("^%d@\\d{9,}\\.\\d{6}:irq_gsi gsi 9 level 0\n$", (int)gettid());

    trace_set(TRACE_irq_gsi, true, -1);
    log_set_timestamps(true);
    trace(irq_gsi, 9, false);
    log_set_timestamps(false);
    g_autofree char *text = logged();
    ck_assert_msg(g_regex_match_simple(expected, text, 0, 0), "%s", text);
}
END_TEST

START_TEST(vcpus)
{
    trace_set(TRACE_kvm_run_exit, true, 3);
    trace_set(TRACE_kvm_run_exit, true, 200);
    ck_assert(trace_get(TRACE_kvm_run_exit, -1) && trace_get(TRACE_kvm_run_exit, 3) &&
              trace_get(TRACE_kvm_run_exit, 200));
    ck_assert(!trace_get(TRACE_kvm_run_exit, 0) && !trace_get(TRACE_kvm_run_exit, 67));
    trace(kvm_run_exit, 0, 1, NULL);
    trace(kvm_run_exit, 3, 2, NULL);
    trace(kvm_run_exit, 67, 3, NULL);
    trace(kvm_run_exit, 200, 4, NULL);
    trace(kvm_run_exit, -1, 5, NULL);   /* no vCPU's thread */
    trace(kvm_run_exit, 5000, 6, NULL); /* more than can be told apart */
    ck_logged("kvm_run_exit cpu 3 reason 2 name -\nkvm_run_exit cpu 200 reason 4 name -\n"
              "kvm_run_exit cpu -1 reason 5 name -\nkvm_run_exit cpu 5000 reason 6 name -\n");
    trace_set(TRACE_kvm_run_exit, false, 3);
    ck_assert(trace_get(TRACE_kvm_run_exit, -1) && !trace_get(TRACE_kvm_run_exit, 3));
    trace_set(TRACE_kvm_run_exit, false, 200);
    ck_assert(!trace_get(TRACE_kvm_run_exit, -1));
    trace_set(TRACE_kvm_run_exit, true, -1);
    trace_set(TRACE_kvm_run_exit, false, 3);
    trace(kvm_run_exit, 3, 2, NULL);
    trace(kvm_run_exit, 4, 2, NULL);
    ck_logged("kvm_run_exit cpu 4 reason 2 name -\n");
}
END_TEST

/* The text on stderr of what 'fn' does (caller frees). */
static char *captured(void (*fn)(void))
{
    char name[] = "/tmp/unit-trace-XXXXXX";
    int file = mkstemp(name), old = dup(STDERR_FILENO);
    char *text;

    dup2(file, STDERR_FILENO);
    fn();
    dup2(old, STDERR_FILENO);
    close(old);
    close(file);
    ck_assert(g_file_get_contents(name, &text, NULL, NULL));
    unlink(name);
    return text;
}

static void unknown_names(void)
{
    ck_assert(trace_option("irq_gsj", NULL));
    ck_assert(log_set_items("trace:-zebra*,trace:nosuch_point", NULL, NULL));
}

static char *events;

static void by_file(void)
{
    g_autofree char *option = g_strdup_printf("events=%s", events);

    ck_assert(trace_option(option, NULL));
}

START_TEST(switches)
{
    GError *err = NULL;

    log_set_program_name("vmm");
    g_autofree char *said = captured(unknown_names);
    ck_assert_str_eq(said, "vmm: warning: trace event 'irq_gsj' does not exist; did you mean "
                           "'irq_gsi'?\n"
                           "vmm: warning: no trace event is called 'zebra*'\n"
                           "vmm: warning: trace event 'nosuch_point' does not exist\n");
    ck_assert(trace_option("irq_*", &err) && trace_get(TRACE_irq_pin, -1));
    ck_assert(trace_option("enable=-irq_pin", &err) && !trace_get(TRACE_irq_pin, -1));
    ck_assert(trace_get(TRACE_irq_gsi, -1));
    /* Items of the log and points are apart, as in QEMU. */
    ck_assert(log_set_items("trace:net_*,unimp,trace:msi_send", NULL, &err));
    ck_assert(trace_get(TRACE_net_drop, -1) && trace_get(TRACE_msi_send, -1));
    ck_assert(log_item_enabled(LOG_UNIMP) && !log_item_enabled(LOG_NET));
    ck_assert(log_set_items("none", NULL, &err) && trace_get(TRACE_net_drop, -1));
    /* An unknown item switches nothing on. */
    ck_assert(!log_set_items("trace:blk_*,unimpl", NULL, &err) && !trace_get(TRACE_blk_submit, -1));
    g_clear_error(&err);

    ck_assert_int_ge(g_file_open_tmp("unit-events-XXXXXX", &events, NULL), 0);
    ck_assert(
        g_file_set_contents(events, "# points\n\nblk_*  \n-blk_fast\nnone_such\n*fill", -1, NULL));
    g_autofree char *of_file = captured(by_file);
    g_autofree char *expected =
        g_strdup_printf("vmm: warning: %s:5: trace event 'none_such' does not exist\n", events);
    ck_assert_str_eq(of_file, expected);
    ck_assert(trace_get(TRACE_blk_submit, -1) && !trace_get(TRACE_blk_fast, -1) &&
              trace_get(TRACE_virtqueue_fill, -1));
    unlink(events);
    g_free(events);

    ck_assert(!trace_option("events=/nowhere/at/all", &err));
    ck_error(err, "/nowhere/at/all");
    ck_assert(!trace_option("file=/nowhere/at/all", &err));
    ck_error(err, "/nowhere/at/all");
    ck_assert(!trace_option("irq_gsi,evnts=a", &err));
    ck_error(err, "evnts");
    g_autofree char *to = g_strdup_printf("%s.2", path), *option = NULL, *text = NULL;
    option = g_strdup_printf("irq_gsi,file=%s", to);
    ck_assert(trace_option(option, &err));
    trace(irq_gsi, 1, false);
    ck_assert(g_file_get_contents(to, &text, NULL, NULL));
    ck_assert_str_eq(text, "irq_gsi gsi 1 level 0\n");
    unlink(to);
}
END_TEST

/* Threads. */

enum { THREADS = 4, LINES = 3000 };

static void *write_lines(void *data)
{
    for (unsigned i = 0; i < LINES; i++) {
        trace(blk_submit, "a drive", "read", GPOINTER_TO_UINT(data), i, 0);
        trace(kvm_run_exit, GPOINTER_TO_INT(data), i, NULL);
    }
    return NULL;
}

/* Each line is whole, and a thread's are in order, while the points are switched. */
START_TEST(threads)
{
    GThread *thread[THREADS];
    unsigned next[THREADS] = {0}, count = 0;

    trace_set(TRACE_blk_submit, true, -1);
    for (unsigned i = 0; i < THREADS; i++) {
        thread[i] = g_thread_new("trace", write_lines, GUINT_TO_POINTER(i));
    }
    for (unsigned i = 0; i < 2000; i++) {
        trace_set(TRACE_kvm_run_exit, i % 2, i % 3 ? (int)(i % THREADS) : -1);
        if (i == 500) {
            ck_assert(log_set_file(path, NULL)); /* made anew, under the writers */
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        g_thread_join(thread[i]);
    }
    g_autofree char *text = logged();
    g_auto(GStrv) line = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; line[i + 1]; i++) {
        unsigned who, n, end = 0;

        if (g_str_has_prefix(line[i], "kvm_run_exit ")) {
            ck_assert_msg(
                sscanf(line[i], "kvm_run_exit cpu %u reason %u name -%n", &who, &n, &end) == 2 &&
                    !line[i][end],
                "'%s'", line[i]);
            continue;
        }
        ck_assert_msg(sscanf(line[i],
                             "blk_submit drive \"a drive\" op read offset %u bytes %u flags 0x0%n",
                             &who, &n, &end) == 2 &&
                          !line[i][end] && who < THREADS && n >= next[who],
                      "'%s'", line[i]);
        next[who] = n + 1;
        count++;
    }
    ck_assert_str_eq(line[g_strv_length(line) - 1], "");
    ck_assert_uint_gt(count, 0);
}
END_TEST

/* A log that nobody reads. */

/* More lines than there is room for; then all is read, and there is one more line. */
static char *read_after_stall(int reader)
{
    GString *all = g_string_new(NULL);
    char buffer[4096];
    ssize_t n;

    for (unsigned i = 0; i < 10000; i++) {
        trace(irq_gsi, i, true);
    }
    ck_assert(fd_set_nonblock(reader, true));
    for (unsigned turn = 0; turn < 2; turn++) {
        while ((n = read(reader, buffer, sizeof buffer)) > 0) {
            g_string_append_len(all, buffer, n);
        }
        if (!turn) {
            trace(irq_gsi, 10000, false);
        }
    }
    return g_string_free(all, FALSE);
}

/* What was read is a first part of the lines, one that tells of the rest, and the last line. */
static void check_stall(char *text)
{
    g_auto(GStrv) line = g_strsplit(text, "\n", -1);
    unsigned i = 0, dropped, end = 0;

    for (; line[i] && !g_str_has_prefix(line[i], "("); i++) {
        g_autofree char *expected = g_strdup_printf("irq_gsi gsi %u level 1", i);

        ck_assert_str_eq(line[i], expected);
    }
    ck_assert_uint_gt(i, 100);
    ck_assert_ptr_nonnull(line[i]);
    ck_assert_int_eq(sscanf(line[i],
                            "(%u lines of the log could not be written: the reader was too slow)%n",
                            &dropped, &end),
                     1);
    ck_assert_uint_gt(end, 0);
    ck_assert_uint_eq(i + dropped, 10000);
    ck_assert_str_eq(line[i + 1], "irq_gsi gsi 10000 level 0");
    ck_assert_str_eq(line[i + 2], "");
    ck_assert_ptr_null(line[i + 3]);
}

static int stalled[2], saved_stderr;

static void to_stderr(int fd)
{
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    log_stderr_changed();
}

static void from_stderr(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    log_stderr_changed();
}

START_TEST(full_pipe)
{
    ck_assert(log_set_file(NULL, NULL));
    log_never_wait();
    trace_set(TRACE_irq_gsi, true, -1);
    ck_assert_int_eq(pipe(stalled), 0);
    to_stderr(stalled[1]);
    g_autofree char *text = read_after_stall(stalled[0]);
    from_stderr();
    check_stall(text);
    /* The pipe's other users still wait for it: O_NONBLOCK is not theirs. */
    ck_assert(!(fcntl(stalled[1], F_GETFL) & O_NONBLOCK));
    /* Nothing of the log's keeps the pipe open: its reader finds the end. */
    close(stalled[1]);
    char byte;
    ck_assert_int_eq(read(stalled[0], &byte, 1), 0);
    close(stalled[0]);
}
END_TEST

START_TEST(full_socket)
{
    ck_assert(log_set_file(NULL, NULL));
    log_never_wait();
    trace_set(TRACE_irq_gsi, true, -1);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, stalled), 0);
    to_stderr(stalled[1]);
    g_autofree char *text = read_after_stall(stalled[0]);
    from_stderr();
    check_stall(text);
    close(stalled[0]);
    close(stalled[1]);
}
END_TEST

START_TEST(full_disk)
{
    log_never_wait();
    trace_set(TRACE_irq_gsi, true, -1);
    ck_assert(log_set_file("/dev/full", NULL));
    for (unsigned i = 0; i < 10; i++) {
        trace(irq_gsi, i, true);
    }
    ck_assert(log_set_file(path, NULL));
    trace(irq_gsi, 10, true);
    ck_logged("irq_gsi gsi 10 level 1\n");
}
END_TEST

/* Tools wait: none of their lines is lost. */
static void *read_all(void *data)
{
    GString *all = g_string_new(NULL);
    char buffer[4096];
    ssize_t n;

    while ((n = read(stalled[0], buffer, sizeof buffer)) > 0) {
        g_string_append_len(all, buffer, n);
    }
    return g_string_free(all, FALSE);
}

START_TEST(tools_wait)
{
    GThread *reader;

    ck_assert(log_set_file(NULL, NULL));
    trace_set(TRACE_irq_gsi, true, -1);
    ck_assert_int_eq(pipe(stalled), 0);
    to_stderr(stalled[1]);
    reader = g_thread_new("reader", read_all, NULL);
    for (unsigned i = 0; i < 20000; i++) {
        trace(irq_gsi, i, true);
    }
    from_stderr();
    close(stalled[1]);
    g_autofree char *text = g_thread_join(reader);
    g_auto(GStrv) line = g_strsplit(text, "\n", -1);
    ck_assert_uint_eq(g_strv_length(line), 20001);
    ck_assert_str_eq(line[19999], "irq_gsi gsi 19999 level 1");
    close(stalled[0]);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {table,       patterns,  off_costs_nothing_and_says_nothing,
                                  lines,       stamps,    vcpus,
                                  switches,    threads,   full_pipe,
                                  full_socket, full_disk, tools_wait,
                                  NULL};

    return unit_run_with("trace", tests, setup, teardown);
}
