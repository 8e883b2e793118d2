/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qwire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define TAP "vmmtap"

const uint8_t card_mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};
const uint8_t peer_mac[6] = {0x52, 0x54, 0x00, 0x11, 0x22, 0x33};

/* The wire. */

static struct sockaddr_un qwire_address(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    g_snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", qtest_tmp_dir(), name);
    return a;
}

void qwire_open(QWire *w)
{
    struct sockaddr_un ours = qwire_address("wire"), theirs = qwire_address("card");

    *w = (QWire){.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    unlink(ours.sun_path);
    qtest_check(!bind(w->fd, (struct sockaddr *)&ours, sizeof ours));
    w->args = g_strdup_printf("-netdev dgram,id=n0,local.type=unix,local.path=%s,"
                              "remote.type=unix,remote.path=%s ",
                              theirs.sun_path, ours.sun_path);
}

static bool qwire_write_proc(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    close(fd);
    return ok;
}

/* As root of a user namespace: another user of it would lose its rights by exec(). */
static bool qwire_user_namespace(void)
{
    g_autofree char *uid = g_strdup_printf("0 %u 1", getuid());
    g_autofree char *gid = g_strdup_printf("0 %u 1", getgid());

    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
           qwire_write_proc("/proc/self/uid_map", uid) &&
           qwire_write_proc("/proc/self/setgroups", "deny") &&
           qwire_write_proc("/proc/self/gid_map", gid);
}

void qwire_namespace(void)
{
    if (unshare(CLONE_NEWNET) < 0 && !qwire_user_namespace()) {
        qtest_skip("cannot make a network namespace (not root, no user namespaces)");
    }
    if (access("/dev/net/tun", R_OK | W_OK) < 0) {
        qtest_skip("cannot open /dev/net/tun");
    }
}

void qwire_open_tap(QWire *w, const char *options)
{
    qwire_namespace();
    qwire_write_proc("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    *w = (QWire){.fd = -1, .tap = true};
    w->args =
        g_strdup_printf("-netdev tap,id=n0,ifname=" TAP ",script=no,downscript=no%s ", options);
}

void qwire_tap_up(QWire *w)
{
    struct ifreq ifr = {.ifr_name = TAP, .ifr_flags = IFF_UP | IFF_RUNNING | IFF_NOARP};
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int on = 1;

    w->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    qtest_check_ge(w->fd, 0);
    qtest_check_eq(setsockopt(w->fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
    qtest_check_eq(setsockopt(w->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on), 0);
    /* A socket that is bound to an interface that is down has an error to report. */
    qtest_check_eq(ioctl(w->fd, SIOCSIFFLAGS, &ifr), 0);
    at.sll_ifindex = if_nametoindex(TAP);
    qtest_check(at.sll_ifindex);
    qtest_check_eq(bind(w->fd, (struct sockaddr *)&at, sizeof at), 0);
}

void qwire_close(QWire *w)
{
    close(w->fd);
    g_free(w->args);
}

void qwire_send(QWire *w, const void *frame, size_t len)
{
    struct sockaddr_un theirs = qwire_address("card");
    struct virtio_net_hdr none = {0};

    if (w->tap) {
        qwire_send_header(w, &none, frame, len);
        return;
    }
    qtest_check_eq(sendto(w->fd, frame, len, 0, (struct sockaddr *)&theirs, sizeof theirs),
                   (ssize_t)len);
}

void qwire_send_header(QWire *w, const struct virtio_net_hdr *header, const void *frame, size_t len)
{
    struct iovec iov[] = {{(void *)header, sizeof *header}, {(void *)frame, len}};

    qtest_check_eq(writev(w->fd, iov, 2), (ssize_t)(sizeof *header + len));
}

size_t qwire_receive_header(QWire *w, struct virtio_net_hdr *header, void *frame, size_t max)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    struct iovec iov[] = {{header, w->tap ? sizeof *header : 0}, {frame, max}};
    ssize_t n;

    if (poll(&p, 1, 10000) <= 0) {
        qtest_fail(__FILE__, __LINE__, "no frame came");
    }
    n = readv(w->fd, iov, 2);
    qtest_check_ge(n, (ssize_t)iov[0].iov_len);
    return n - iov[0].iov_len;
}

size_t qwire_receive(QWire *w, void *frame, size_t max)
{
    struct virtio_net_hdr header;

    return qwire_receive_header(w, &header, frame, max);
}

bool qwire_silent(QWire *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

/* Frames. */

uint16_t qframe_sum(uint32_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? data[i] : data[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static void qframe_put16(uint8_t *at, uint16_t v)
{
    at[0] = v >> 8;
    at[1] = v;
}

static size_t qframe_ip(const QFrame *f)
{
    return 14 + (f->tag ? 4 : 0);
}

static size_t qframe_l4(const QFrame *f)
{
    return qframe_ip(f) + (f->v6 ? 40 : 20);
}

size_t qframe_headers(const QFrame *f)
{
    return qframe_l4(f) + (f->udp ? 8 : 20);
}

uint16_t qframe_pseudo(const QFrame *f, const uint8_t *frame, uint32_t len)
{
    size_t ip = qframe_ip(f);
    uint16_t sum = f->v6 ? qframe_sum(0, frame + ip + 8, 32) : qframe_sum(0, frame + ip + 12, 8);
    uint32_t all = sum + (f->udp ? 17 : 6) + len;

    return (all & 0xffff) + (all >> 16);
}

size_t qframe_make(const QFrame *f, uint8_t *frame)
{
    size_t ip = qframe_ip(f), l4 = qframe_l4(f), head = qframe_headers(f), len = head + f->data;
    size_t at = l4 + (f->udp ? 6 : 16);

    memset(frame, 0, head);
    memcpy(frame, f->dst, 6);
    memcpy(frame + 6, f->src, 6);
    if (f->tag) {
        qframe_put16(frame + 12, 0x8100);
        qframe_put16(frame + 14, 0x6123);
    }
    qframe_put16(frame + ip - 2, f->v6 ? 0x86dd : 0x0800);
    frame[ip] = f->v6 ? 0x60 : 0x45;
    if (f->v6) {
        qframe_put16(frame + ip + 4, len - l4);
        frame[ip + 6] = f->udp ? 17 : 6;
    } else {
        qframe_put16(frame + ip + 2, len - ip);
        qframe_put16(frame + ip + 4, 0x1234);
        frame[ip + 9] = f->udp ? 17 : 6;
    }
    frame[ip + 8] = 64;
    for (unsigned i = f->v6 ? 9 : 12; i < (f->v6 ? 40 : 20); i++) {
        frame[ip + i] = i * 7;
    }
    qframe_put16(frame + l4, 1000);
    qframe_put16(frame + l4 + 2, 2000);
    if (f->udp) {
        qframe_put16(frame + l4 + 4, len - l4);
    } else {
        frame[l4 + 7] = 77; /* sequence number */
        frame[l4 + 12] = 0x50;
        frame[l4 + 13] = 0x19; /* ACK, PSH, FIN */
    }
    for (size_t i = 0; i < f->data; i++) {
        frame[head + i] = i % 251;
    }
    if (f->sums) {
        if (!f->v6) {
            qframe_put16(frame + ip + 10, ~qframe_sum(0, frame + ip, 20));
        }
        qframe_put16(frame + at,
                     ~qframe_sum(qframe_pseudo(f, frame, len - l4), frame + l4, len - l4));
    }
    return len;
}

void qframe_check_sums(const QFrame *f, const uint8_t *frame, size_t len)
{
    size_t ip = qframe_ip(f), l4 = qframe_l4(f);

    if (!f->v6) {
        qtest_check_eq(qframe_sum(0, frame + ip, 20), 0xffff);
    }
    qtest_check_eq(qframe_sum(qframe_pseudo(f, frame, len - l4), frame + l4, len - l4), 0xffff);
}
