/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User networking: options, addresses, UDP, fragments, and what is forwarded to the guest. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "user.h"
#include "user_guest.h"

START_TEST(options_that_are_wrong)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"hostfwd=zz", "Invalid host forwarding rule 'zz' (No : separators)"},
        {"guestfwd=foo", "Invalid guest forwarding rule 'foo'"},
        {"guestfwd=tcp:10.0.2.100:1-nonsense", "Invalid guest forwarding rule"},
        {"net=foo", "Failed to parse netmask"},
        {"net=10.0.0.0/2", "Invalid netmask"},
        {"net=10.0.0.0/255.0.255.0", "not together"},
        {"host=1.2.3.4", "Host doesn't belong to network"},
        {"dhcpstart=1.2.3.4", "DHCP doesn't belong to network"},
        {"dns=10.0.2.2", "DNS must be different from host"},
        {"dhcpstart=10.0.2.3", "DHCP must be different from host and DNS"},
        {"ipv4=off,ipv6=off", "IPv4 and IPv6 disabled"},
        {"ipv4=off,net=10.0.0.0/8", "IPv4 disabled but"},
        {"ipv6=off,ipv6-host=fec0::2", "IPv6 disabled but"},
        {"ipv6-net=zz", "Failed to parse IPv6 prefix"},
        {"ipv6-net=fec0::/200", "prefix"},
        {"ipv6-host=fe00::1", "IPv6 Host doesn't belong to network"},
        {"tftp=/nonexistent/dir", "is not a directory"},
        {"domainname=", "cannot be empty"},
        {"bogus=1", "bogus"},
        {"smb=/nonexistent/dir", ""},
        {"guestfwd=tcp:10.0.2.100:1-tcp:127.0.0.1", "is not HOST:PORT"},
        {"guestfwd=tcp:10.0.2.100:1-unix:", "Invalid guest forwarding rule"},
        {"guestfwd=tcp:10.0.2.100:1-unix:/nonexistent/socket",
         "Failed to connect to '/nonexistent/socket': No such file or directory"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;
        g_autofree char *text = g_strdup_printf("user,id=n0,%s", cases[i].text);

        ck_assert_msg(!netdev_text(text, &err), "%s", text);
        ck_error(err, cases[i].message);
        ck_assert_ptr_null(net_find("n0"));
    }
}
END_TEST

START_TEST(configuration)
{
    UserOptions o;
    UserConfig c;
    GError *err = NULL;
    json_t *values = json_pack("{s:s, s:[s, s], s:s}", "net", "192.168.76.0/24", "dnssearch",
                               "a.example", "b.example", "hostname", "guest");

    properties_init(user_props, &o);
    ck_assert(properties_apply(user_props, &o, values, NULL, "netdev", &err));
    ck_assert(user_config(&o, &c, &err));
    ck_no_error(err);
    ck_assert_uint_eq(ntohl(c.slirp.vhost.s_addr), 0xc0a84c02);
    ck_assert_uint_eq(ntohl(c.slirp.vnameserver.s_addr), 0xc0a84c03);
    ck_assert_uint_eq(ntohl(c.slirp.vdhcp_start.s_addr), 0xc0a84c0f);
    ck_assert_uint_eq(ntohl(c.smb_server.s_addr), 0xc0a84c04);
    ck_assert_str_eq(c.slirp.vdnssearch[1], "b.example");
    ck_assert_ptr_null(c.slirp.vdnssearch[2]);
    ck_assert_int_eq(c.slirp.vprefix_len, 64);
    ck_assert(c.slirp.in_enabled && c.slirp.in6_enabled);
    user_config_clear(&c);
    /* ipv4=on alone switches IPv6 off. */
    o.ipv4 = o.has_ipv4 = true;
    ck_assert(user_config(&o, &c, &err));
    ck_assert(c.slirp.in_enabled && !c.slirp.in6_enabled);
    user_config_clear(&c);
    properties_clear(user_props, &o);
    json_decref(values);
}
END_TEST

START_TEST(arp_of_the_gateway)
{
    static const uint8_t expected[6] = {0x52, 0x55, 10, 0, 2, 2};

    start("");
    ck_assert(arp(GATEWAY, gateway_mac));
    ck_assert_mem_eq(gateway_mac, expected, 6);
    ck_assert(arp(0x0a000203, gateway_mac));
    ck_assert(!arp(0x0a000237, gateway_mac));
    /* Frames that make no sense are ignored. */
    for (size_t len = 14; len < 200; len += 3) {
        uint8_t frame[200];

        memset(frame, 0xff, 6);
        for (size_t i = 6; i < len; i++) {
            frame[i] = i * 31 + len;
        }
        frame[12] = 8;
        frame[13] = len % 7;
        nic_send(nic, frame, len);
    }
    run_for_ms(10);
    ck_assert(arp(GATEWAY, gateway_mac));
}
END_TEST

/* The value of a DHCP option in a reply; NULL where it is not there. */
static const uint8_t *dhcp_option(const uint8_t *bootp, size_t len, uint8_t want)
{
    for (size_t i = 240; i + 1 < len && bootp[i] != 255; i += 2 + bootp[i + 1]) {
        if (bootp[i] == want) {
            return bootp + i + 2;
        }
    }
    return NULL;
}

static const uint8_t *dhcp(uint8_t type, size_t *len)
{
    uint8_t m[300] = {1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78};
    static const uint8_t magic[] = {99, 130, 83, 99, 53, 1};
    unsigned from = 0;
    const uint8_t *udp = NULL;

    memcpy(m + 28, guest_mac, 6);
    memcpy(m + 236, magic, 6);
    m[242] = type;
    memcpy(m + 243, "\x32\x04\x0a\x00\x02\x0f\xff", 7);
    nic_clear(nic);
    memset(gateway_mac, 0xff, 6);
    send_udp(0, 0xffffffff, 68, 67, m, sizeof m);
    run_until((udp = find_ip(&from, 17, len)));
    *len -= 8;
    return udp + 8;
}

START_TEST(dhcp_gives_an_address)
{
    size_t len;
    const uint8_t *reply, *value;

    start(",hostname=guest,domainname=example.org,dnssearch=one.example,bootfile=/pxe.0");
    reply = dhcp(1, &len);
    ck_assert_uint_eq(dhcp_option(reply, len, 53)[0], 2); /* an offer */
    ck_assert_mem_eq(reply + 16, "\x0a\x00\x02\x0f", 4);
    ck_assert_str_eq((const char *)reply + 108, "/pxe.0");
    reply = dhcp(3, &len);
    ck_assert_uint_eq(dhcp_option(reply, len, 53)[0], 5); /* acknowledged */
    ck_assert_mem_eq(dhcp_option(reply, len, 3), "\x0a\x00\x02\x02", 4);
    ck_assert_mem_eq(dhcp_option(reply, len, 6), "\x0a\x00\x02\x03", 4);
    ck_assert_mem_eq(dhcp_option(reply, len, 1), "\xff\xff\xff\x00", 4);
    ck_assert_mem_eq(dhcp_option(reply, len, 12), "guest", 5);
    value = dhcp_option(reply, len, 15);
    ck_assert_mem_eq(value, "example.org", 11);
}
END_TEST

START_TEST(udp_to_the_host)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    char buf[16];
    unsigned from = 0;
    size_t n;
    const uint8_t *udp = NULL;

    ck_assert_int_eq(bind(s, (struct sockaddr *)&sin, sizeof sin), 0);
    getsockname(s, (struct sockaddr *)&sin, &len);
    start("");
    ck_assert(arp(GATEWAY, gateway_mac));
    nic_clear(nic);
    send_udp(GUEST, GATEWAY, 5000, ntohs(sin.sin_port), "question", 8);
    ssize_t got;
    run_until((got = recvfrom(s, buf, sizeof buf, 0, (struct sockaddr *)&sin, &len)) == 8);
    ck_assert_int_eq(sendto(s, "answer", 6, 0, (struct sockaddr *)&sin, len), 6);
    run_until((udp = find_ip(&from, 17, &n)));
    ck_assert_mem_eq(udp + 8, "answer", 6);
    close(s);
}
END_TEST

/* Fragments. */

#define PING_ID 7

/* Sends an echo request of 8 + len bytes in fragments, which begin at the given offsets. */
static void ping_in_pieces(const uint8_t *icmp, size_t len, const unsigned *starts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned at = starts[i], end = MIN(at + 1480, len);

        send_fragment(1, PING_ID, at, end < len, icmp + at, end - at);
    }
}

/* Collects the fragments of the echo reply; true where all have come. */
static bool take_pong(uint8_t *out, size_t len)
{
    size_t got = 0, n;
    unsigned from = 0;
    const uint8_t *p;

    while ((p = find_ip(&from, 1, &n))) {
        unsigned at = ((p[-14] & 0x1f) << 8 | p[-13]) * 8;

        ck_assert_uint_le(at + n, len);
        memcpy(out + at, p, n);
        got += n;
    }
    return got == len;
}

/* libslirp 4.7 crashes where some of these fragments reach it. */
START_TEST(fragments_are_put_together)
{
    enum { LEN = 3008 };
    static const unsigned orders[][3] = {{0, 1480, 2960}, {2960, 0, 1480}, {1480, 2960, 0}};
    uint8_t icmp[LEN] = {8, 0, 0, 0, 0, 1, 0, 1}, reply[LEN];

    for (unsigned i = 8; i < LEN; i++) {
        icmp[i] = i * 5 + (i >> 8);
    }
    uint16_t sum = checksum(icmp, LEN, 0);
    memcpy(icmp + 2, &sum, 2);
    start("");
    ck_assert(arp(GATEWAY, gateway_mac));
    for (unsigned i = 0; i < G_N_ELEMENTS(orders); i++) {
        nic_clear(nic);
        ping_in_pieces(icmp, LEN, orders[i], 3);
        run_until(take_pong(reply, LEN));
        ck_assert_uint_eq(reply[0], 0);
        ck_assert_mem_eq(reply + 4, icmp + 4, LEN - 4);
    }
}
END_TEST

START_TEST(fragments_that_lead_nowhere)
{
    uint8_t data[1480] = {0};

    start("");
    ck_assert(arp(GATEWAY, gateway_mac));
    for (unsigned i = 0; i < 200; i++) {
        send_fragment(i & 1 ? 17 : 1, i / 4, (i * 37 % 8192) * 8, i % 3 == 0, data,
                      i % 5 ? (i & ~7u) + 8 : i);
    }
    send_fragment(17, 3, 0x800, false, data, 100);
    run_for_ms(10);
    ck_assert(arp(GATEWAY, gateway_mac));
}
END_TEST

/* TCP. */

static int port_of_rule(const char *kind)
{
    g_autofree char *text = net_info_usernet(NULL);
    const char *line = strstr(text, kind);
    char addr[64];
    int fd, port;

    ck_assert_ptr_nonnull(line);
    ck_assert_int_eq(sscanf(line + strlen(kind), " %d %63s %d", &fd, addr, &port), 3);
    return port;
}

static int client(int port)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof sin), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

START_TEST(tcp_forwarded_to_the_guest)
{
    Tcp t = {.peer = GATEWAY, .seq = 7000, .in = g_string_new(NULL)};
    char buf[16] = "";

    start(",hostfwd=tcp:127.0.0.1:0-:22");
    ck_assert(arp(GATEWAY, gateway_mac));
    int fd = client(port_of_rule("TCP[HOST_FORWARD]"));
    tcp_wait(&t, TH_SYN);
    ck_assert_int_eq(t.port, 22);
    tcp_send(&t, TH_SYN | TH_ACK, NULL, 0);
    tcp_wait(&t, TH_ACK);
    ck_assert_int_eq(write(fd, "SSH-2.0-client\n", 15), 15);
    uint8_t flags;
    run_until(tcp_take(&t, &flags) && t.in->len == 15);
    ck_assert_str_eq(t.in->str, "SSH-2.0-client\n");
    tcp_send(&t, TH_ACK | TH_PUSH, "SSH-2.0-guest\n", 14);
    run_until(read(fd, buf, 14) == 14);
    ck_assert_str_eq(buf, "SSH-2.0-guest\n");
    close(fd);
    run_until(tcp_take(&t, &flags) && t.fin);
    g_string_free(t.in, TRUE);
}
END_TEST

START_TEST(a_guest_without_driver_is_waited_for)
{
    Tcp t = {.peer = GATEWAY, .seq = 7000, .in = g_string_new(NULL)};

    start(",hostfwd=tcp:127.0.0.1:0-:22");
    nic->peer.receive_enabled = false;
    nic->room = 0;
    run_for_ms(20);
    int fd = client(port_of_rule("TCP[HOST_FORWARD]"));
    run_for_ms(50);
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 200000000);
    ck_assert_uint_le(event_loop_turns(loop) - turns, 3);
    nic->peer.receive_enabled = true;
    nic->room = 1000;
    net_peer_ready(&nic->peer);
    tcp_wait(&t, TH_SYN);
    close(fd);
    g_string_free(t.in, TRUE);
}
END_TEST

START_TEST(rules_at_run_time)
{
    GError *err = NULL;

    start("");
    ck_assert(net_hostfwd_add(NULL, "tcp:127.0.0.1:0-:80", &err));
    int port = port_of_rule("TCP[HOST_FORWARD]");
    g_autofree char *again = g_strdup_printf("tcp:127.0.0.1:%d-:81", port);
    ck_assert(!net_hostfwd_add("n0", again, &err));
    ck_error(err, "Could not set up host forwarding rule");
    ck_assert(!net_hostfwd_add("n0", again, &err));
    ck_error(err, "Address already in use");
    close(client(port));
    g_autofree char *rule = g_strdup_printf("tcp:127.0.0.1:%d", port);
    ck_assert(net_hostfwd_remove("n0", rule, &err));
    ck_assert(!net_hostfwd_remove("n0", rule, &err));
    ck_error(err, "not found");
    ck_assert(!net_hostfwd_remove(NULL, "nonsense", &err));
    ck_error(err, "invalid format");
    ck_assert(!net_hostfwd_add("zz", "tcp::0-:1", &err));
    ck_error(err, "zz");
    g_autofree char *text = net_info_usernet("n0");
    ck_assert(g_str_has_prefix(text, "Hub -1 (n0):\n  Protocol[State]"));
    ck_assert_ptr_null(strstr(text, "HOST_FORWARD"));
}
END_TEST

START_TEST(restricted)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    char buf[16];

    ck_assert_int_eq(bind(s, (struct sockaddr *)&sin, sizeof sin), 0);
    getsockname(s, (struct sockaddr *)&sin, &len);
    start(",restrict=on");
    ck_assert(arp(GATEWAY, gateway_mac));
    send_udp(GUEST, GATEWAY, 5000, ntohs(sin.sin_port), "question", 8);
    run_for_ms(50);
    ck_assert_int_lt(recv(s, buf, sizeof buf, 0), 0);
    g_autofree char *text = net_info_text();
    ck_assert_str_eq(text, "nic: index=0,type=nic,model=test-nic,macaddr=00:00:00:00:00:00\n"
                           " \\ n0: index=0,type=user,net=10.0.2.0,restrict=on\n");
    close(s);
}
END_TEST

/* With forwarding rules but no traffic, the loop soon takes no turns. */
START_TEST(idleness)
{
    start(",hostfwd=tcp:127.0.0.1:0-:22,hostfwd=udp:127.0.0.1:0-:53");
    ck_assert(arp(GATEWAY, gateway_mac));
    run_for_ms(12000);
    uint64_t turns = event_loop_turns(loop);
    gint64 start_us = g_get_monotonic_time();
    while (g_get_monotonic_time() - start_us < 5000000) {
        event_loop_iterate(loop, 5000000000 - (g_get_monotonic_time() - start_us) * 1000);
    }
    ck_assert_uint_le(event_loop_turns(loop) - turns, 4);
}
END_TEST

START_TEST(smb)
{
    GError *err = NULL;

    if (access("/usr/sbin/smbd", X_OK) == 0) {
        start(",smb=/tmp");
        return;
    }
    ck_assert(!netdev_text("user,id=n0,smb=/tmp", &err));
    ck_error(err, "Could not find '/usr/sbin/smbd', please install it");
}
END_TEST

START_TEST(short_options)
{
    GError *err = NULL;
    json_t *config = config_text("user,model=virtio-net-pci,mac=52:54:00:00:00:07,id=short");

    ck_assert(net_option_nic(config, &err));
    json_decref(config);
    ck_no_error(err);
    NetNicRequest *r = g_ptr_array_index(net_nic_requests(), 0);
    ck_assert_str_eq(r->netdev, "short");
    ck_assert_str_eq(r->model, "virtio-net-pci");
    nic_new("a", r->netdev);
    r->used = true;

    config = config_text("nic");
    ck_assert(net_option_net(config, &err));
    json_decref(config);
    config = config_text("user,hostfwd=tcp:127.0.0.1:0-:22");
    ck_assert(net_option_net(config, &err));
    json_decref(config);
    r = g_ptr_array_index(net_nic_requests(), 1);
    nic = nic_new("b", r->netdev);
    r->used = true;
    ck_assert(arp(GATEWAY, gateway_mac));
    g_autofree char *text = net_info_usernet(NULL);
    ck_assert_ptr_nonnull(strstr(text, "Hub 0 (#net"));
    ck_assert(net_add_default(&err));
    ck_assert_uint_eq(net_nic_requests()->len, 3);
}
END_TEST

int main(void)
{
    static const TTest *tests[16];
    unsigned n = 0;

    tests[n++] = options_that_are_wrong;
    tests[n++] = configuration;
    tests[n++] = arp_of_the_gateway;
    tests[n++] = dhcp_gives_an_address;
    tests[n++] = udp_to_the_host;
    tests[n++] = fragments_are_put_together;
    tests[n++] = fragments_that_lead_nowhere;
    tests[n++] = tcp_forwarded_to_the_guest;
    tests[n++] = a_guest_without_driver_is_waited_for;
    tests[n++] = rules_at_run_time;
    tests[n++] = restricted;
    tests[n++] = idleness;
    tests[n++] = smb;
    tests[n++] = short_options;
    return run_suite("user", tests);
}
