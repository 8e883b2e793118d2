/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User networking on loopback: the tests make and parse the guest's frames. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/host.h"
#include "fixture.h"
#include "user.h"

static Nic *nic;
static uint8_t gateway_mac[6];
static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

#define GUEST   0x0a00020fu
#define GATEWAY 0x0a000202u

static void start(const char *options)
{
    GError *err = NULL;
    g_autofree char *text = g_strdup_printf("user,id=n0%s", options);

    netdev_text(text, &err);
    ck_no_error(err);
    nic = nic_new("nic", "n0");
    run_for_ms(5);
}

/* Frames. */

static uint16_t checksum(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : p[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons(~sum);
}

/* 'fragment' is the fragment field of the header. */
static void send_ip_as(uint8_t protocol, uint32_t src, uint32_t dst, uint16_t id, uint16_t fragment,
                       const void *payload, size_t len)
{
    uint8_t frame[2000] = {0};
    struct iphdr head = {0}, *ip = &head;

    memcpy(frame, gateway_mac, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = 0x08;
    ip->version = 4;
    ip->ihl = 5;
    ip->tot_len = htons(20 + len);
    ip->id = htons(id);
    ip->frag_off = htons(fragment);
    ip->ttl = 64;
    ip->protocol = protocol;
    ip->saddr = htonl(src);
    ip->daddr = htonl(dst);
    ip->check = checksum((uint8_t *)ip, 20, 0);
    memcpy(frame + 14, ip, 20);
    memcpy(frame + 34, payload, len);
    nic_send(nic, frame, 34 + len);
}

static void send_ip(uint8_t protocol, uint32_t src, uint32_t dst, const void *payload, size_t len)
{
    send_ip_as(protocol, src, dst, 0, 0, payload, len);
}

static void send_fragment(uint8_t protocol, uint16_t id, unsigned offset, bool more,
                          const void *payload, size_t len)
{
    send_ip_as(protocol, GUEST, GATEWAY, id, offset / 8 | (more ? 0x2000 : 0), payload, len);
}

static uint32_t pseudo(uint32_t src, uint32_t dst, uint8_t protocol, size_t len)
{
    return (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + protocol + len;
}

static void send_udp(uint32_t src, uint32_t dst, int sport, int dport, const void *data, size_t len)
{
    uint8_t buf[1500] __attribute__((aligned(4))) = {0};
    struct udphdr *udp = (void *)buf;

    udp->source = htons(sport);
    udp->dest = htons(dport);
    udp->len = htons(8 + len);
    memcpy(buf + 8, data, len);
    udp->check = checksum(buf, 8 + len, pseudo(src, dst, 17, 8 + len));
    send_ip(17, src, dst, buf, 8 + len);
}

/* The first IP packet of that protocol since 'from'; NULL where there is none. */
static const uint8_t *find_ip(unsigned *from, uint8_t protocol, size_t *len)
{
    for (; *from < nic->frames->len; ++*from) {
        size_t n;
        const uint8_t *f = nic_frame(nic, *from, &n);

        if (n >= 34 && f[12] == 8 && f[13] == 0 && f[23] == protocol) {
            ++*from;
            *len = 14 + ((f[16] << 8) | f[17]) - 34;
            return f + 34;
        }
    }
    return NULL;
}

/* Asks who has 'addr'; the answer's MAC. */
static bool arp(uint32_t addr, uint8_t mac[6])
{
    uint8_t frame[42] = {0};
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint32_t spa = htonl(GUEST), tpa = htonl(addr);

    memset(frame, 0xff, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = 8;
    frame[13] = 6;
    memcpy(frame + 14, head, 8);
    memcpy(frame + 22, guest_mac, 6);
    memcpy(frame + 28, &spa, 4);
    memcpy(frame + 38, &tpa, 4);
    nic_clear(nic);
    nic_send(nic, frame, sizeof frame);
    for (int i = 0; i < 20; i++) {
        run_for_ms(2);
        for (unsigned k = 0; k < nic->frames->len; k++) {
            size_t len;
            const uint8_t *f = nic_frame(nic, k, &len);

            if (len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 &&
                memcmp(f + 28, &tpa, 4) == 0) {
                ck_assert_uint_ge(len, 60);
                memcpy(mac, f + 22, 6);
                return true;
            }
        }
    }
    return false;
}

/* Answers slirp's ARP requests for the guest, as a guest does. */
static void answer_arp(void)
{
    for (unsigned k = 0; k < nic->frames->len; k++) {
        size_t len;
        const uint8_t *f = nic_frame(nic, k, &len);
        uint8_t reply[42];

        if (len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 1) {
            memcpy(reply, f, 42);
            memcpy(reply, f + 6, 6);
            memcpy(reply + 6, guest_mac, 6);
            reply[21] = 2;
            memcpy(reply + 22, guest_mac, 6);
            memcpy(reply + 28, f + 38, 4);
            memcpy(reply + 32, f + 22, 10);
            g_ptr_array_remove_index(nic->frames, k);
            nic_send(nic, reply, sizeof reply);
            return;
        }
    }
}

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

/* One end of a TCP connection, as a guest would have it. */

typedef struct {
    uint32_t peer, seq, ack;
    int port, peer_port;
    unsigned from;
    GString *in;
    bool fin;
} Tcp;

static void tcp_send(Tcp *t, uint8_t flags, const void *data, size_t len)
{
    uint8_t buf[1500] __attribute__((aligned(4))) = {0};
    struct tcphdr *tcp = (void *)buf;

    tcp->source = htons(t->port);
    tcp->dest = htons(t->peer_port);
    tcp->seq = htonl(t->seq);
    tcp->ack_seq = htonl(t->ack);
    tcp->doff = 5;
    buf[13] = flags;
    tcp->window = htons(60000);
    if (len) {
        memcpy(buf + 20, data, len);
    }
    tcp->check = checksum(buf, 20 + len, pseudo(GUEST, t->peer, 6, 20 + len));
    send_ip(6, GUEST, t->peer, buf, 20 + len);
    t->seq += len + !!(flags & (TH_SYN | TH_FIN));
}

/* Takes the next segment; false where there is none. */
static bool tcp_take(Tcp *t, uint8_t *flags)
{
    size_t len;
    const uint8_t *p;

    answer_arp();
    p = find_ip(&t->from, 6, &len);
    if (!p) {
        return false;
    }
    struct tcphdr copy, *tcp = &copy;

    memcpy(tcp, p, sizeof copy);
    size_t head = tcp->doff * 4, data = len - head;

    *flags = p[13];
    if (*flags & TH_SYN) {
        t->peer_port = ntohs(tcp->source);
        t->port = ntohs(tcp->dest);
        t->ack = ntohl(tcp->seq) + 1;
    } else if (ntohl(tcp->seq) == t->ack) {
        g_string_append_len(t->in, (const char *)p + head, data);
        t->ack += data;
        if (*flags & TH_FIN) {
            t->ack++;
            t->fin = true;
        }
        if (data || (*flags & TH_FIN)) {
            tcp_send(t, TH_ACK, NULL, 0);
        }
    }
    return true;
}

static void tcp_wait(Tcp *t, uint8_t want)
{
    uint8_t flags = 0;

    run_until(tcp_take(t, &flags) && (flags & want) == want);
}

static void tcp_connect(Tcp *t, uint32_t addr, int port)
{
    *t = (Tcp){
        .peer = addr, .port = 40000, .peer_port = port, .seq = 1000, .in = g_string_new(NULL)};
    ck_assert(arp(GATEWAY, gateway_mac));
    nic_clear(nic);
    tcp_send(t, TH_SYN, NULL, 0);
    tcp_wait(t, TH_SYN | TH_ACK);
    tcp_send(t, TH_ACK, NULL, 0);
}

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

START_TEST(tcp_to_a_command)
{
    Tcp t;
    uint8_t flags;

    start(",guestfwd=tcp:10.0.2.100:1234-cmd:echo hello from a command");
    tcp_connect(&t, 0x0a000264, 1234);
    run_until(tcp_take(&t, &flags) && t.in->len >= 21);
    ck_assert(g_str_has_prefix(t.in->str, "hello from a command\n"));
    g_string_free(t.in, TRUE);
}
END_TEST

/* Asked by the guest, the server that listens at 'l' answers. */
static void question_and_answer(int l)
{
    int fd = accept(l, NULL, NULL);
    char buf[16] = "";
    uint8_t flags;
    Tcp t;

    ck_assert_int_ge(fd, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    tcp_connect(&t, 0x0a000264, 1234);
    tcp_send(&t, TH_ACK | TH_PUSH, "question", 8);
    run_until(read(fd, buf, 8) == 8);
    ck_assert_str_eq(buf, "question");
    ck_assert_int_eq(write(fd, "answer", 6), 6);
    run_until(tcp_take(&t, &flags) && t.in->len == 6);
    close(fd);
    close(l);
    g_string_free(t.in, TRUE);
}

/* The connection to the server is made at start, as that to a TCP server. */
START_TEST(tcp_to_a_unix_socket)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    g_autofree char *dir = g_dir_make_tmp("net-user.XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-unix:%s", path);
    int l = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    ck_assert_int_eq(bind(l, (struct sockaddr *)&sun, sizeof sun) | listen(l, 1), 0);
    start(text);
    question_and_answer(l);
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(tcp_to_a_server)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int l = socket(AF_INET, SOCK_STREAM, 0);
    GError *err = NULL;

    ck_assert_int_eq(bind(l, (struct sockaddr *)&sin, sizeof sin) | listen(l, 1), 0);
    getsockname(l, (struct sockaddr *)&sin, &len);
    g_autofree char *text =
        g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-tcp:127.0.0.1:%d", ntohs(sin.sin_port));
    start(text);
    question_and_answer(l);
    /* A server that is not there is an error, where the host says so at once. */
    g_autofree char *gone = g_strdup_printf("user,id=n1%s", text);
    if (!netdev_text(gone, &err)) {
        ck_error(err, "Connection refused");
    }
}
END_TEST

/* Guest data whose bytes are told by their place in the stream. */
static void fill_segment(uint8_t *data, size_t len, size_t at)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = (at + i) * 7 + ((at + i) >> 8) * 13;
    }
}

enum { SEGMENT = 1400 };

/* A guest's stream to the target, which sends again what is not acknowledged. */
typedef struct {
    Tcp tcp;
    uint32_t first; /* sequence number of the first byte */
    size_t acked, received;
} Upload;

static void upload_see_acks(Upload *u)
{
    size_t len;
    const uint8_t *p;

    while ((p = find_ip(&u->tcp.from, 6, &len))) {
        struct tcphdr tcp;

        memcpy(&tcp, p, sizeof tcp);
        u->acked = MAX(u->acked, ntohl(tcp.ack_seq) - u->first);
    }
}

static void upload_segment(Upload *u)
{
    uint8_t data[SEGMENT];

    fill_segment(data, sizeof data, u->acked);
    u->tcp.seq = u->first + u->acked;
    tcp_send(&u->tcp, TH_ACK | TH_PUSH, data, sizeof data);
    event_loop_iterate(loop, 0);
    upload_see_acks(u);
}

static void upload_receive(Upload *u, int fd)
{
    uint8_t got[65536], expected[65536];
    ssize_t n;

    while ((n = recv(fd, got, sizeof got, MSG_DONTWAIT)) > 0) {
        fill_segment(expected, n, u->received);
        ck_assert_mem_eq(got, expected, n);
        u->received += n;
    }
}

static void upload_start(Upload *u)
{
    *u = (Upload){.received = 0};
    tcp_connect(&u->tcp, 0x0a000264, 1234);
    u->first = u->tcp.seq;
}

static int listen_unix(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int l = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    ck_assert_int_eq(bind(l, (struct sockaddr *)&sun, sizeof sun) | listen(l, 4), 0);
    return l;
}

/* A server that does not read makes the guest wait; then it gets every byte, in order. */
START_TEST(slow_server_gets_all_bytes)
{
    g_autofree char *dir = g_dir_make_tmp("net-user.XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-unix:%s", path);
    int l = listen_unix(path);
    Upload u;

    start(text);
    int fd = accept(l, NULL, NULL);
    upload_start(&u);
    for (int i = 0; i < 1000; i++) {
        upload_segment(&u);
    }
    /* 1000 segments are more than socket and buffer hold: some were refused. */
    size_t held = u.acked;
    ck_assert_uint_lt(held, 1000 * SEGMENT);
    ck_assert_uint_gt(held, 256 * 1024);
    run_until((upload_receive(&u, fd), u.received == held));
    for (int i = 0; i < 300; i++) {
        upload_segment(&u);
        upload_receive(&u, fd);
    }
    ck_assert_uint_gt(u.acked, held);
    run_until((upload_receive(&u, fd), u.received == u.acked));
    close(fd);
    close(l);
    unlink(path);
    rmdir(dir);
    g_string_free(u.tcp.in, TRUE);
}
END_TEST

/* Bytes that the guest sends while there is no server are kept for the next one. */
START_TEST(bytes_wait_for_the_server)
{
    g_autofree char *dir = g_dir_make_tmp("net-user.XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-unix:%s", path);
    int l = listen_unix(path);
    Upload u;

    start(text);
    close(accept(l, NULL, NULL));
    close(l);
    unlink(path);
    upload_start(&u); /* the turns of this show the target that its connection has ended */
    run_for_ms(5);
    for (int i = 0; i < 20; i++) {
        upload_segment(&u);
    }
    ck_assert_uint_eq(u.acked, 20 * SEGMENT);
    l = listen_unix(path);
    fcntl(l, F_SETFL, O_NONBLOCK);
    int fd;
    run_until((fd = accept(l, NULL, NULL)) >= 0);
    run_until((upload_receive(&u, fd), u.received == u.acked));
    close(fd);
    close(l);
    unlink(path);
    rmdir(dir);
    g_string_free(u.tcp.in, TRUE);
}
END_TEST

static bool was_logged(int log_fd, const char *text)
{
    char log[4096] = "";

    return pread(log_fd, log, sizeof log - 1, 0) > 0 && strstr(log, text);
}

/* Names are resolved on another thread: the option does not wait, and a bad one is a warning. */
START_TEST(names_are_resolved_later)
{
    /* Both families: "localhost" may be ::1. */
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    GError *err = NULL;
    int l = host_tcp_listen(NULL, "0", true, true, &err);
    int log_fd = memfd_create("log", MFD_CLOEXEC);

    ck_no_error(err);
    getsockname(l, (struct sockaddr *)&ss, &len);
    int port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                              : ((struct sockaddr_in *)&ss)->sin_port);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-tcp:localhost:%d,"
                                            "guestfwd=tcp:10.0.2.100:1235-tcp:localhost:no-such",
                                            port);
    int saved = dup(2);
    dup2(log_fd, 2);
    start(text);
    run_until(was_logged(log_fd, "address resolution failed for localhost:no-such"));
    dup2(saved, 2);
    close(saved);
    close(log_fd);
    fd_set_nonblock(l, false);
    question_and_answer(l);
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
    static const TTest *tests[24];
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
    tests[n++] = tcp_to_a_command;
    tests[n++] = tcp_to_a_server;
    tests[n++] = slow_server_gets_all_bytes;
    tests[n++] = bytes_wait_for_the_server;
    tests[n++] = names_are_resolved_later;
    tests[n++] = tcp_to_a_unix_socket;
    tests[n++] = restricted;
    tests[n++] = idleness;
    tests[n++] = smb;
    tests[n++] = short_options;
    return run_suite("user", tests);
}
