/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hostfwd= and guestfwd= rules. */
#include <arpa/inet.h>
#include <string.h>
#include "fixture.h"
#include "internal.h"

START_TEST(host_rules)
{
    GError *err = NULL;
    HostForward f;

    ck_assert(host_forward_parse("tcp:127.0.0.1:2222-10.0.2.15:22", &f, &err));
    ck_assert(!f.udp);
    ck_assert_uint_eq(f.host_addr.s_addr, htonl(INADDR_LOOPBACK));
    ck_assert_int_eq(f.host_port, 2222);
    ck_assert_uint_eq(f.guest_addr.s_addr, htonl(0x0a00020f));
    ck_assert_int_eq(f.guest_port, 22);
    ck_assert(host_forward_parse("::2222-:22", &f, &err));
    ck_assert(!f.udp);
    ck_assert_uint_eq(f.host_addr.s_addr, 0);
    ck_assert_uint_eq(f.guest_addr.s_addr, 0);
    ck_assert(host_forward_parse("udp::0-:53", &f, &err));
    ck_assert(f.udp);
}
END_TEST

START_TEST(host_rules_that_are_wrong)
{
    static const struct {
        const char *rule, *reason;
    } cases[] = {
        {"zz", "No : separators"},
        {"sctp::1-:2", "Bad protocol name"},
        {"tcp:1", "Missing : separator"},
        {"tcp:localhost:1-:2", "Bad host address"},
        {"tcp::1", "Bad host port separator"},
        {"tcp::1x-:22", "Bad host port"},
        {"tcp::99999-:22", "Bad host port"},
        {"tcp::-1-:22", "Bad host port"},
        {"tcp::1-22", "Missing guest address"},
        {"tcp::1-guest:22", "Bad guest address"},
        {"tcp::1-:0", "Bad guest port"},
        {"tcp::1-:", "Bad guest port"},
        {"tcp::1-:22:", "Bad guest port"},
        {"", "No : separators"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;
        HostForward f;
        g_autofree char *text = g_strdup_printf("Invalid host forwarding rule '%s' (%s)",
                                                cases[i].rule, cases[i].reason);

        ck_assert(!host_forward_parse(cases[i].rule, &f, &err));
        ck_error(err, text);
    }
}
END_TEST

START_TEST(host_part)
{
    HostForward f;

    ck_assert(host_forward_parse_host("udp:127.0.0.1:53", &f));
    ck_assert(f.udp);
    ck_assert_int_eq(f.host_port, 53);
    ck_assert(host_forward_parse_host("::22", &f));
    ck_assert(!host_forward_parse_host("22", &f));
    ck_assert(!host_forward_parse_host("tcp::x", &f));
    ck_assert(!host_forward_parse_host("tcp::22-:22", &f));
}
END_TEST

START_TEST(guest_rules)
{
    static const char *const wrong[] = {
        "foo",           "udp:10.0.2.100:1-cmd:x", "tcp::1-cmd:x",      "tcp:10.0.2.100:0-cmd:x",
        "tcp:a:1-cmd:x", "tcp:10.0.2.100:1",       "tcp:10.0.2.100:1-", "",
    };
    GError *err = NULL;
    GuestForward f;

    ck_assert(guest_forward_parse("tcp:10.0.2.100:1234-cmd:nc -x a:b-c", &f, &err));
    ck_assert_str_eq(f.target, "cmd:nc -x a:b-c");
    ck_assert_int_eq(f.port, 1234);
    g_free(f.target);
    ck_assert(guest_forward_parse(":10.0.2.100:1-tcp:h:1", &f, &err));
    g_free(f.target);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        ck_assert_msg(!guest_forward_parse(wrong[i], &f, &err), "'%s'", wrong[i]);
        ck_error(err, "Invalid guest forwarding rule");
        ck_assert_ptr_null(f.target);
    }
}
END_TEST

int main(void)
{
    static const TTest *tests[8];
    unsigned n = 0;

    tests[n++] = host_rules;
    tests[n++] = host_rules_that_are_wrong;
    tests[n++] = host_part;
    tests[n++] = guest_rules;
    return run_suite("rules", tests);
}
