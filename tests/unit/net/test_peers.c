/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Peers, queues, hubs, options, -net and -nic. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fixture.h"

START_TEST(netdevs_that_are_wrong)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"hubport,hubid=0", "Parameter 'id' is missing"},
        {"id=a", "Parameter 'type' is missing"},
        {"foo,id=a", "Parameter 'type' does not accept value 'foo'"},
        {"taps,id=a", "did you mean 'tap'"},
        {"hubport,id=a b,hubid=0", "expects an identifier"},
        {"hubport,id=1a,hubid=0", "expects an identifier"},
        {"hubport,id=a", "hubid"},
        {"hubport,id=a,hubid=0,netdev=zz", "zz"},
        {"hubport,id=a,hubid=0,bogus=1", "bogus"},
        {"tap,id=a,ifname=x,fd=3", "are invalid with fd="},
        {"tap,id=a,fd=nofd", "No file descriptor named 'nofd' found"},
        {"tap,id=a,fd=0", "not a tap interface"},
        {"tap,id=a,vhost=on", "vhost=on is not supported"},
        {"tap,id=a,queues=0", "queues"},
        {"tap,id=a,ifname=a-name-that-is-too-long", "too long"},
        {"tap,id=a,br=br7", "br="},
        {"bridge,id=a,helper=/nonexistent/helper", "bridge helper failed"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;

        ck_assert(!netdev_text(cases[i].text, &err));
        /* Where /dev/net/tun is missing, the error is about that. */
        if (!strstr(err->message, "/dev/net/tun")) {
            ck_error(err, cases[i].message);
        }
        g_clear_error(&err);
        ck_assert_ptr_null(net_find("a"));
    }
}
END_TEST

START_TEST(connecting)
{
    GError *err = NULL;
    Nic *a, *b;

    ck_assert(netdev_text("hubport,id=h0,hubid=0", &err));
    ck_assert(!netdev_text("hubport,id=h0,hubid=1", &err));
    ck_error(err, "Duplicate ID 'h0' for netdev");
    a = nic_new(NULL, "h0");
    ck_assert_str_eq(a->peer.name, "test-nic.0");
    b = nic_new(NULL, NULL);
    ck_assert_str_eq(b->peer.name, "test-nic.1");
    ck_assert(!net_nic_connect(&b->peer, "zz", 0, &err));
    ck_error(err, "Property 'test-nic.netdev' can't find value 'zz'");
    ck_assert(!net_nic_connect(&b->peer, "h0", 0, &err));
    ck_error(err, "Property 'test-nic.netdev' can't take value 'h0', it's in use");
    ck_assert_uint_eq(net_backend_queues("h0"), 1);
    ck_assert_uint_eq(net_backend_queues("zz"), 0);

    /* Deleting the backend takes the NIC's link down. A backend without its NIC is free again. */
    ck_assert(netdev_del("h0", &err));
    ck_assert(a->peer.link_down);
    ck_assert_int_eq(a->link_changes, 1);
    ck_assert(!netdev_del("h0", &err));
    ck_error(err, "Device 'h0' not found");
    ck_assert(netdev_text("hubport,id=h1,hubid=0", &err));
    ck_assert(net_nic_connect(&b->peer, "h1", 0, &err));
    nic_free(b);
    nic_free(a);
    a = nic_new("n", "h1");
    nic_send(a, "to nobody at all", 16);
}
END_TEST

START_TEST(default_macs)
{
    uint8_t mac[6];
    static const uint8_t first[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    Nic *nic = nic_new("n", NULL);

    net_default_mac(mac);
    ck_assert_mem_eq(mac, first, 6);
    memcpy(nic->peer.mac, first, 6);
    nic->peer.mac[5] = 0x57; /* another NIC has the next MAC */
    net_default_mac(mac);
    ck_assert_int_eq(mac[5], 0x58);
}
END_TEST

static void two_on_a_hub(Nic **a, Nic **b)
{
    GError *err = NULL;

    ck_assert(netdev_text("hubport,id=h0,hubid=0", &err));
    ck_assert(netdev_text("hubport,id=h1,hubid=0", &err));
    *a = nic_new("a", "h0");
    *b = nic_new("b", "h1");
}

START_TEST(hub)
{
    GError *err = NULL;
    Nic *a, *b, *c, *other;

    two_on_a_hub(&a, &b);
    ck_assert(netdev_text("hubport,id=h2,hubid=0", &err));
    ck_assert(netdev_text("hubport,id=x0,hubid=1", &err));
    c = nic_new("c", "h2");
    other = nic_new("other", "x0");
    nic_send(a, "a frame of no kind", 18);
    /* The packet comes from a bottom half, not on the sender's stack. */
    ck_assert_uint_eq(b->frames->len, 0);
    run_until(b->frames->len && c->frames->len);
    size_t len;
    ck_assert_mem_eq(nic_frame(b, 0, &len), "a frame of no kind", 18);
    ck_assert_uint_eq(len, 18);
    ck_assert_uint_eq(a->frames->len + other->frames->len, 0);
    ck_assert_uint_eq(a->peer.tx_packets, 1);
    ck_assert_uint_eq(b->peer.rx_bytes, 18);

    g_autofree char *text = net_info_text();
    ck_assert_ptr_nonnull(strstr(text, "hub 0\n \\ h0: a: index=0,type=nic,model="));
    ck_assert_ptr_nonnull(strstr(text, ",macaddr="));
    ck_assert_ptr_nonnull(strstr(text, "hub 1\n \\ x0: other:"));
}
END_TEST

/* Makes a hubport from 'text'; with 'message', that must fail with this error. */
static void join_hubs(const char *text, const char *message)
{
    GError *err = NULL;
    g_autofree char *full = g_strdup_printf("hubport,%s", text);

    ck_assert_msg(netdev_text(full, &err) == !message, "%s", text);
    if (message) {
        ck_error(err, message);
        g_clear_error(&err);
    }
}

/* A packet would go round a cycle of hubs for ever: a cycle is refused. */
START_TEST(hubs_in_a_cycle)
{
    Nic *a, *b;

    join_hubs("id=a0,hubid=0", NULL);
    join_hubs("id=a1,hubid=0", NULL);
    join_hubs("id=self,hubid=0,netdev=a0", "netdev 'a0' is itself a port of hub 0");
    ck_assert_ptr_null(net_find("self"));
    join_hubs("id=b0,hubid=4294967295,netdev=a0", NULL);
    join_hubs("id=b1,hubid=4294967295,netdev=a1",
              "hub 4294967295 and hub 0 (netdev 'a1') are joined already");
    join_hubs("id=b2,hubid=4294967295", NULL);
    join_hubs("id=c0,hubid=2,netdev=b2", NULL);
    join_hubs("id=c1,hubid=2,netdev=a1", "hub 2 and hub 0 (netdev 'a1') are joined already");
    /* A chain of three hubs is allowed: a packet reaches each. */
    join_hubs("id=c2,hubid=2", NULL);
    a = nic_new("a", "a1");
    b = nic_new("b", "c2");
    nic_send(a, "a frame of no kind", 18);
    run_until(b->frames->len);
    run_for_ms(5);
    ck_assert_uint_eq(b->frames->len, 1);
    ck_assert_uint_eq(a->frames->len, 0);
    /* After a port is deleted, its hubs may be joined again. */
    ck_assert(netdev_del("c0", &(GError *){NULL}));
    nic_free(a);
    join_hubs("id=c0,hubid=2,netdev=a1", NULL);
}
END_TEST

START_TEST(a_full_nic_is_waited_for)
{
    Nic *a, *b;

    two_on_a_hub(&a, &b);
    b->room = 3;
    for (int i = 0; i < 10; i++) {
        uint8_t frame[20] = {i};

        nic_send(a, frame, sizeof frame);
    }
    run_for_ms(20);
    ck_assert_uint_eq(b->frames->len, 3);
    b->room = 100;
    net_peer_ready(&b->peer);
    run_until(b->frames->len == 10);
    for (int i = 0; i < 10; i++) {
        size_t len;

        ck_assert_uint_eq(nic_frame(b, i, &len)[0], i);
    }
    /* More packets than the queue holds: the rest is dropped. A card may have no driver. */
    b->room = 0;
    for (int i = 0; i < 1000; i++) {
        uint8_t frame[20] = {0};

        nic_send(a, frame, sizeof frame);
    }
    ck_assert_uint_lt(g_queue_get_length(b->peer.queue), 300);
    ck_assert_uint_gt(b->peer.dropped, 700);
}
END_TEST

static void frame_of(uint8_t frame[20], unsigned i)
{
    memset(frame, 0, 20);
    frame[0] = i;
    frame[1] = i >> 8;
}

static void check_order(Nic *nic, unsigned count)
{
    ck_assert_uint_eq(nic->frames->len, count);
    for (unsigned i = 0; i < count; i++) {
        size_t len;
        const uint8_t *frame = nic_frame(nic, i, &len);

        ck_assert_uint_eq(frame[0] | frame[1] << 8, i);
    }
}

/* A NIC that is full loses packets; the other ports of its hub lose none, and nobody waits. */
START_TEST(a_full_nic_stops_nobody)
{
    GError *err = NULL;
    uint8_t frame[20];
    Nic *a, *b, *c;

    two_on_a_hub(&a, &b);
    ck_assert(netdev_text("hubport,id=h2,hubid=0", &err));
    c = nic_new("c", "h2");
    b->room = 5;
    for (unsigned i = 0; i < 1000; i++) {
        frame_of(frame, i);
        nic_send(a, frame, sizeof frame); /* is taken, each */
        event_loop_iterate(loop, 0);
    }
    run_until(c->frames->len == 1000);
    check_order(c, 1000);
    check_order(b, 5);
    b->room = 1000;
    net_peer_ready(&b->peer);
    run_for_ms(5);
    ck_assert_uint_lt(b->frames->len, 300); /* what its queue has held, in order */
    check_order(b, b->frames->len);
}
END_TEST

/* A socket on hub 0 whose other end the test has. */
static int socket_on_hub(const char *id)
{
    g_autofree char *text = NULL, *port = NULL;
    GError *err = NULL;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    text = g_strdup_printf("socket,id=%s,fd=%d", id, pair[1]);
    port = g_strdup_printf("hubport,id=p%s,hubid=0,netdev=%s", id, id);
    netdev_text(text, &err);
    ck_no_error(err);
    netdev_text(port, &err);
    ck_no_error(err);
    return pair[0];
}

/* The same with a backend that is full: it gets what its queue has held. */
START_TEST(a_full_backend_stops_nobody)
{
    int fd = socket_on_hub("s");
    uint8_t frame[20], got[20];
    unsigned n = 0;
    Nic *a, *b;

    two_on_a_hub(&a, &b);
    for (unsigned i = 0; i < 1000; i++) {
        frame_of(frame, i);
        nic_send(a, frame, sizeof frame);
        event_loop_iterate(loop, 0);
    }
    run_until(b->frames->len == 1000);
    check_order(b, 1000);
    for (unsigned idle = 0; idle < 20; idle++) {
        while (recv(fd, got, sizeof got, MSG_DONTWAIT) == sizeof got) {
            ck_assert_uint_eq(got[0] | got[1] << 8, n);
            n++;
            idle = 0;
        }
        run_for_ms(1);
    }
    ck_assert_uint_ge(n, 256);
    ck_assert_uint_lt(n, 1000);
    close(fd);
}
END_TEST

/* A NIC and a backend alone on a hub wait for each other, and lose nothing. */
START_TEST(a_hub_of_two_loses_nothing)
{
    int fd = socket_on_hub("s");
    uint8_t frame[20], got[20];
    struct iovec iov = {frame, sizeof frame};
    unsigned sent = 0, n = 0;
    GError *err = NULL;
    Nic *a;

    ck_assert(netdev_text("hubport,id=h0,hubid=0", &err));
    a = nic_new("a", "h0");
    a->room = 3;
    while (sent < 1000) {
        frame_of(frame, sent);
        if (send(fd, frame, sizeof frame, MSG_DONTWAIT) == sizeof frame) {
            sent++;
        } else if (n++ == 50) {
            a->room = UINT32_MAX;
            net_peer_ready(&a->peer);
        }
        event_loop_iterate(loop, 0);
    }
    ck_assert_uint_gt(n, 50); /* it did wait */
    run_until(a->frames->len == 1000);
    check_order(a, 1000);
    for (sent = n = 0; n < 1000;) {
        frame_of(frame, sent);
        if (sent < 1000 && net_send(&a->peer, &iov, 1)) {
            sent++;
            continue;
        }
        while (recv(fd, got, sizeof got, MSG_DONTWAIT) == sizeof got) {
            ck_assert_uint_eq(got[0] | got[1] << 8, n);
            n++;
        }
        event_loop_iterate(loop, 1000000);
    }
    ck_assert_int_gt(a->ready, 0);
    close(fd);
}
END_TEST

/* A sender that waits goes on where what it waits for is deleted, or its link is down. */
START_TEST(what_a_hub_waits_for_goes)
{
    uint8_t frame[20] = {0};
    struct iovec iov = {frame, sizeof frame};
    GError *err = NULL;
    Nic *a;

    ck_assert(netdev_text("hubport,id=h0,hubid=0", &err));
    a = nic_new("a", "h0");
    for (unsigned round = 0; round < 3; round++) {
        static const char *const gone[] = {"s", "ps", NULL};
        int fd = socket_on_hub("s");

        while (net_send(&a->peer, &iov, 1)) {
        }
        a->ready = 0;
        run_for_ms(5);
        ck_assert_int_eq(a->ready, 0);
        if (gone[round]) {
            ck_assert(netdev_del(gone[round], &err));
        } else {
            net_set_link(net_find("s"), false);
        }
        run_until(a->ready);
        nic_send(a, frame, sizeof frame);
        netdev_del("s", NULL);
        netdev_del("ps", NULL);
        close(fd);
    }
}
END_TEST

START_TEST(pause_link_and_driver)
{
    Nic *a, *b;

    two_on_a_hub(&a, &b);
    run_for_ms(5);
    net_mute_all(true);
    /* The sender is told to wait; it keeps the packet. */
    struct iovec iov = {(void *)"a frame of no kind", 18};
    ck_assert_int_eq(net_send(&a->peer, &iov, 1), 0);
    run_for_ms(10);
    ck_assert_uint_eq(b->frames->len, 0);
    net_mute_all(false);
    run_until(a->ready);
    nic_send(a, iov.iov_base, 18);
    run_until(b->frames->len == 1);

    net_set_link(&b->peer, false);
    ck_assert_int_eq(b->link_changes, 1);
    nic_send(a, iov.iov_base, 18);
    run_for_ms(10);
    ck_assert_uint_eq(b->frames->len, 1);
    net_set_link(&b->peer, true);
    /* Taking down the backend takes the NIC down, too. */
    net_set_link(net_find("h1"), false);
    ck_assert(b->peer.link_down);
    ck_assert_int_eq(b->link_changes, 3);
    net_set_link(net_find("h1"), true);

    b->peer.receive_enabled = false;
    nic_send(a, iov.iov_base, 18);
    run_for_ms(10);
    ck_assert_uint_eq(b->frames->len, 1);
    ck_assert(!net_peer_can_receive(&b->peer));
    b->peer.receive_enabled = true;
    net_peer_ready(&b->peer);
    run_until(b->frames->len == 2);

    /* Packets that were queued with another header length are dropped. */
    b->room = 0;
    nic_send(a, iov.iov_base, 18);
    run_for_ms(10);
    b->peer.vnet_hdr_len = 12;
    b->room = 10;
    net_peer_ready(&b->peer);
    run_for_ms(10);
    ck_assert_uint_eq(b->frames->len, 2);
}
END_TEST

/* send_ready() runs when the backend is deleted: else the NIC would keep its packet for ever. */
START_TEST(a_backend_goes_while_it_is_waited_for)
{
    struct iovec iov = {(void *)"a frame of no kind", 18};
    Nic *a, *b;

    two_on_a_hub(&a, &b);
    run_for_ms(5);
    net_mute_all(true);
    ck_assert_int_eq(net_send(&a->peer, &iov, 1), 0);
    ck_assert(netdev_del("h0", &(GError *){NULL}));
    ck_assert_int_eq(a->ready, 1);
    ck_assert_int_eq(net_send(&a->peer, &iov, 1), 18);
    net_mute_all(false);
    run_for_ms(5);
    ck_assert_int_eq(a->ready, 1);
}
END_TEST

static bool option(bool (*fn)(json_t *, GError **), const char *text, GError **err)
{
    json_t *config = config_text(text);
    bool ok = fn(config, err);

    json_decref(config);
    return ok;
}

START_TEST(old_options)
{
    GError *err = NULL;

    ck_assert(
        option(net_option_net, "nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01,vlan=3", &err));
    ck_no_error(err);
    ck_assert(option(net_option_net, "nic", &err));
    ck_assert(option(net_option_net, "none", &err));
    ck_assert(option(net_option_nic, "none", &err));
    ck_assert_uint_eq(net_nic_requests()->len, 2);
    NetNicRequest *r = g_ptr_array_index(net_nic_requests(), 0);
    ck_assert_str_eq(r->model, "virtio-net-pci");
    ck_assert_str_eq(r->macaddr, "52:54:00:00:00:01");
    ck_assert_str_eq(r->netdev, "hub3port0");
    ck_assert_int_eq(r->vectors, -1);
    r = g_ptr_array_index(net_nic_requests(), 1);
    ck_assert_str_eq(r->netdev, "hub0port0");
    ck_assert_ptr_null(r->model);

    ck_assert(!option(net_option_net, "foo", &err));
    ck_error(err, "Parameter 'type' does not accept value 'foo'");
    ck_assert(!option(net_option_nic, "foo", &err));
    ck_error(err, "Parameter 'type' does not accept value 'foo'");
    ck_assert(!option(net_option_net, "nic,mac=52:54:00:zz", &err));
    ck_error(err, "invalid syntax for ethernet address '52:54:00:zz'");
    ck_assert(!option(net_option_net, "nic,mac=53:54:00:00:00:01", &err));
    ck_error(err, "multicast");
    ck_assert(!option(net_option_net, "nic,bogus=1", &err));
    ck_error(err, "Invalid parameter 'bogus'");
    ck_assert(!option(net_option_net, "nic,vlan=x", &err));
    ck_error(err, "vlan");
    ck_assert(!option(net_option_net, "nic,vectors=x", &err));
    ck_error(err, "vectors");
    ck_assert(!option(net_option_net, "nic,netdev=zz", &err));
    ck_error(err, "netdev 'zz' not found");
    net_check_peers();
}
END_TEST

START_TEST(query)
{
    Nic *a, *b;

    two_on_a_hub(&a, &b);
    json_t *list = net_query();
    ck_assert_uint_eq(json_array_size(list), 4);
    g_autofree char *text = json_dumps(json_array_get(list, 2), JSON_SORT_KEYS);
    ck_assert_ptr_nonnull(strstr(text, "\"name\": \"a\""));
    ck_assert_ptr_nonnull(strstr(text, "\"peer\": \"h0\""));
    json_decref(list);
    ck_assert(!net_hostfwd_add(NULL, "tcp::1-:1", NULL));
}
END_TEST

int main(void)
{
    static const TTest *tests[20];
    unsigned n = 0;

    tests[n++] = netdevs_that_are_wrong;
    tests[n++] = connecting;
    tests[n++] = default_macs;
    tests[n++] = hub;
    tests[n++] = hubs_in_a_cycle;
    tests[n++] = a_full_nic_is_waited_for;
    tests[n++] = a_full_nic_stops_nobody;
    tests[n++] = a_full_backend_stops_nobody;
    tests[n++] = a_hub_of_two_loses_nothing;
    tests[n++] = what_a_hub_waits_for_goes;
    tests[n++] = pause_link_and_driver;
    tests[n++] = a_backend_goes_while_it_is_waited_for;
    tests[n++] = old_options;
    tests[n++] = query;
    return run_suite("peers", tests);
}
