/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rng-builtin, on a host whose kernel has no entropy at times. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include "../vm/fixture.h"
#include "base/log.h"
#include "devices/rng.h"

static unsigned failures;

/* In the place of the C library's. */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
    if (failures) {
        failures--;
        errno = ENOSYS;
        return -1;
    }
    memset(buf, 0x5a, len);
    return len;
}

static void rng_count(RngRequest *req, size_t got)
{
    ck_assert_uint_eq(got, req->len);
    ck_assert_uint_eq(req->buf[0], 0x5a);
    ++*(unsigned *)req->data;
}

static void turn(void)
{
    for (unsigned i = 0; i < 10; i++) {
        event_loop_iterate(loop, 0);
    }
}

/* A request that could not be served waits, and is served with the next one. */
START_TEST(request_is_kept)
{
    uint8_t buf[2][16] = {0};
    unsigned done = 0;
    RngRequest a = {.buf = buf[0], .len = 16, .done = rng_count, .data = &done}, b = a;
    RngBackend *rng = rng_backend_get(NULL, NULL);

    b.buf = buf[1];
    failures = 1;
    rng_backend_read(rng, &a);
    turn();
    ck_assert_uint_eq(done, 0);
    rng_backend_read(rng, &b);
    turn();
    ck_assert_uint_eq(done, 2);
    failures = 1;
    rng_backend_read(rng, &a);
    turn();
    rng_backend_cancel(&a);
    turn();
    ck_assert_uint_eq(done, 2);
    rng_backend_put(rng);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("rng");

    log_set_file("/dev/null", NULL);
    tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
    tcase_add_test(tc, request_is_kept);
    return unit_run_case("devices_rng", tc);
}
