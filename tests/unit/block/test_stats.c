/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Statistics of a drive: stats-intervals, stats-account-invalid, stats-account-failed. */
#include <errno.h>
#include "block/node.h"
#include "fixture.h"

/* The "stats" of the only drive. Borrowed from 'all'. */
static json_t *only_stats(json_t *all)
{
    ck_assert_uint_eq(json_array_size(all), 1);
    return json_object_get(json_array_get(all, 0), "stats");
}

static int64_t stat_of(json_t *stats, const char *key)
{
    json_t *value = json_object_get(stats, key);

    ck_assert(json_is_integer(value));
    return json_integer_value(value);
}

static int coroutine_fn failing_preadv(BlockNode *n, uint64_t off, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov)
{
    coroutine_sleep(CLOCK_REALTIME_NS, 10 * NS_PER_MS);
    return -EIO;
}

/* One request that the drive refuses, two that take 20 ms, one that fails after 10 ms. */
static void make_requests(BlockBackend *blk)
{
    static BlockDriver failing;
    BlockNode *n = block_backend_node(blk);
    const BlockDriver *driver = n->driver;
    char buf[512];

    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, sizeof buf), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, sizeof buf), 0);
    failing = *driver;
    failing.preadv = failing_preadv;
    failing.map_cached = NULL;
    n->driver = &failing;
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, sizeof buf), -EIO);
    n->driver = driver;
}

static void check_interval(json_t *timed, int64_t seconds, bool with_failed)
{
    int64_t min = stat_of(timed, "min_rd_latency_ns"), max = stat_of(timed, "max_rd_latency_ns");

    ck_assert_int_eq(stat_of(timed, "interval_length"), seconds);
    ck_assert_int_ge(max, 20 * NS_PER_MS);
    ck_assert_int_ge(min, with_failed ? 10 * NS_PER_MS : 20 * NS_PER_MS);
    ck_assert_int_ge(stat_of(timed, "avg_rd_latency_ns"), min);
    ck_assert_int_le(stat_of(timed, "avg_rd_latency_ns"), max);
    ck_assert_int_eq(stat_of(timed, "max_wr_latency_ns"), 0);
    ck_assert(json_real_value(json_object_get(timed, "avg_rd_queue_depth")) > 0);
    ck_assert(json_real_value(json_object_get(timed, "avg_wr_queue_depth")) == 0);
}

static void set_flag(void *data)
{
    *(bool *)data = true;
}

static void turn_for(int64_t ns)
{
    bool over = false;
    Timer *timer = timer_new(main_loop, CLOCK_REALTIME_NS, set_flag, &over);

    timer_arm(timer, clock_ns(CLOCK_REALTIME_NS) + ns);
    turn_until(&over);
    timer_free(timer);
}

static void intervals(bool account)
{
    const char *word = account ? "on" : "off";
    BlockBackend *blk =
        new_drive(NULL,
                  "driver=null-co,if=none,id=d,size=1M,latency-ns=20000000,stats-intervals.0=1,"
                  "stats-intervals.1=3600,stats-account-failed=%s,stats-account-invalid=%s",
                  word, word);
    json_t *all, *stats, *timed;
    char buf[512];

    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, MiB, buf, sizeof buf), -EIO);
    all = block_query_stats();
    ck_assert_int_eq(stat_of(only_stats(all), "invalid_rd_operations"), 1);
    ck_assert((json_object_get(only_stats(all), "idle_time_ns") != NULL) == account);
    json_decref(all);

    make_requests(blk);
    all = block_query_stats();
    stats = only_stats(all);
    ck_assert_int_eq(stat_of(stats, "rd_operations"), 2);
    ck_assert_int_eq(stat_of(stats, "failed_rd_operations"), 1);
    ck_assert_int_ge(stat_of(stats, "rd_total_time_ns"), (account ? 50 : 40) * NS_PER_MS);
    ck_assert(json_is_true(json_object_get(stats, "account_failed")) == account);
    ck_assert(json_is_true(json_object_get(stats, "account_invalid")) == account);
    timed = json_object_get(stats, "timed_stats");
    ck_assert_uint_eq(json_array_size(timed), 2);
    check_interval(json_array_get(timed, 0), 1, account);
    check_interval(json_array_get(timed, 1), 3600, account);
    json_decref(all);

    /* After the interval its statistics are empty, and the hour's are not. */
    turn_for(1100 * NS_PER_MS);
    all = block_query_stats();
    timed = json_object_get(only_stats(all), "timed_stats");
    ck_assert_int_eq(stat_of(json_array_get(timed, 0), "max_rd_latency_ns"), 0);
    check_interval(json_array_get(timed, 1), 3600, account);
    json_decref(all);
}

START_TEST(intervals_with_failed_requests)
{
    intervals(true);
}
END_TEST

START_TEST(intervals_without_failed_requests)
{
    intervals(false);
}
END_TEST

/* A device's own words win over the drive's. */
START_TEST(device_decides)
{
    BlockBackend *blk = new_drive(NULL, "driver=null-co,if=none,id=d,stats-account-failed=off");
    json_t *all;

    block_backend_set_accounting(blk, ON_OFF_AUTO_OFF, ON_OFF_AUTO_AUTO);
    all = block_query_stats();
    ck_assert(json_is_false(json_object_get(only_stats(all), "account_failed")));
    ck_assert(json_is_false(json_object_get(only_stats(all), "account_invalid")));
    json_decref(all);
    block_backend_set_accounting(blk, ON_OFF_AUTO_ON, ON_OFF_AUTO_ON);
    all = block_query_stats();
    ck_assert(json_is_true(json_object_get(only_stats(all), "account_failed")));
    ck_assert(json_is_true(json_object_get(only_stats(all), "account_invalid")));
    json_decref(all);
}
END_TEST

START_TEST(intervals_that_make_no_sense)
{
    GError *err = NULL;

    ck_assert_ptr_null(new_drive(&err, "driver=null-co,if=none,stats-intervals.0=0"));
    ck_error(err, "Invalid interval length: 0");
    ck_assert_ptr_null(new_drive(&err, "driver=null-co,if=none,stats-intervals.0=x"));
    ck_error(err, "Invalid interval length: x");
    ck_assert_ptr_null(new_drive(&err, "driver=null-co,if=none,stats-intervals.1=5"));
    ck_error(err, "'stats-intervals.0' is missing");
    ck_assert_ptr_null(new_drive(&err, "driver=null-co,if=none,stats-intervals=5"));
    ck_error(err, "The specification of stats-intervals is invalid");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        intervals_with_failed_requests,
        intervals_without_failed_requests,
        device_decides,
        intervals_that_make_no_sense,
        NULL,
    };

    return fixture_run("stats", tests);
}
