/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tap interfaces, in a new network namespace. That needs root or user namespaces: the tests are
 * skipped, with a message, where there are none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "fixture.h"
#include "internal.h"

static const char *unavailable;

static void enter_namespace(void)
{
    int fd;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        unavailable = "cannot make a network namespace (not root, no user namespaces)";
        return;
    }
    fd = open("/dev/net/tun", O_RDWR);
    if (fd < 0) {
        unavailable = "cannot open /dev/net/tun";
        return;
    }
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        unavailable = "cannot make a tap interface";
    }
    close(fd);
}

static void up(const char *ifname)
{
    struct ifreq ifr = {0};
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    g_strlcpy(ifr.ifr_name, ifname, IFNAMSIZ);
    ck_assert_int_eq(ioctl(s, SIOCGIFFLAGS, &ifr), 0);
    ifr.ifr_flags |= IFF_UP;
    ck_assert_int_eq(ioctl(s, SIOCSIFFLAGS, &ifr), 0);
    close(s);
}

/* A socket that sees the interface's frames from the host's side. */
static int host_socket(const char *ifname)
{
    struct sockaddr_ll ll = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ALL),
                             .sll_ifindex = if_nametoindex(ifname)};
    int s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));

    ck_assert_int_eq(bind(s, (struct sockaddr *)&ll, sizeof ll), 0);
    return s;
}

#define TYPE 0x88b5 /* local experiments (IEEE 802) */

static void make_frame(uint8_t *frame, size_t len, uint8_t tag)
{
    memset(frame, tag, len);
    memset(frame, 0xff, 6);
    memset(frame + 6, 2, 6);
    frame[12] = TYPE >> 8;
    frame[13] = TYPE & 0xff;
}

static bool host_has(int s, uint8_t tag, size_t len)
{
    uint8_t buf[70000];
    ssize_t n;

    while ((n = recv(s, buf, sizeof buf, 0)) > 0) {
        if (n == (ssize_t)len && buf[12] == TYPE >> 8 && buf[14] == tag) {
            return true;
        }
    }
    return false;
}

static const uint8_t *guest_has(Nic *nic, unsigned skip, uint8_t tag)
{
    for (unsigned i = 0; i < nic->frames->len; i++) {
        size_t len;
        const uint8_t *p = nic_frame(nic, i, &len);

        if (len > skip + 14 && p[skip + 12] == TYPE >> 8 && p[skip + 14] == tag) {
            return p;
        }
    }
    return NULL;
}

#define NEED_TAP()                                                                                 \
    do {                                                                                           \
        if (unavailable) {                                                                         \
            return;                                                                                \
        }                                                                                          \
    } while (0)

START_TEST(frames_in_both_directions)
{
    GError *err = NULL;
    uint8_t frame[100];

    NEED_TAP();
    ck_assert(netdev_text("tap,id=t,ifname=vt0,script=no,downscript=no", &err));
    ck_no_error(err);
    up("vt0");
    Nic *nic = nic_new("nic", "t");
    int s = host_socket("vt0");

    make_frame(frame, sizeof frame, 1);
    nic_send(nic, frame, sizeof frame);
    run_until(host_has(s, 1, sizeof frame));
    make_frame(frame, sizeof frame, 2);
    ck_assert_int_eq(send(s, frame, sizeof frame, 0), sizeof frame);
    run_until(guest_has(nic, 0, 2));

    g_autofree char *text = net_info_text();
    ck_assert_ptr_nonnull(
        strstr(text, " \\ t: index=0,type=tap,ifname=vt0,script=no,downscript=no\n"));

    /* A NIC without room: frames wait in the host's queue, and the loop does not spin. */
    nic->room = 0;
    make_frame(frame, sizeof frame, 3);
    ck_assert_int_eq(send(s, frame, sizeof frame, 0), sizeof frame);
    run_for_ms(30);
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 100000000);
    ck_assert_uint_le(event_loop_turns(loop) - turns, 1);
    nic->room = 100;
    net_peer_ready(&nic->peer);
    run_until(guest_has(nic, 0, 3));

    /* The same with a paused VM. */
    net_mute_all(true);
    make_frame(frame, sizeof frame, 4);
    ck_assert_int_eq(send(s, frame, sizeof frame, 0), sizeof frame);
    run_for_ms(30);
    ck_assert_ptr_null(guest_has(nic, 0, 4));
    net_mute_all(false);
    run_until(guest_has(nic, 0, 4));
    close(s);

    /* The interface goes with the netdev. */
    ck_assert(netdev_del("t", &err));
    ck_assert_uint_eq(if_nametoindex("vt0"), 0);
}
END_TEST

START_TEST(with_vnet_headers)
{
    GError *err = NULL;
    uint8_t frame[12 + 200] = {0};

    NEED_TAP();
    ck_assert(netdev_text("tap,id=t,script=no,downscript=no,vnet_hdr=on", &err));
    ck_no_error(err);
    char *name = g_strndup("tap0", 4);
    up(name);
    Nic *nic = nic_new("nic", "t");
    NetPeer *tap = nic->peer.peer;
    int s = host_socket(name);

    ck_assert(tap->ops->has_vnet_hdr(tap));
    ck_assert_uint_ne(tap->ops->supported_offloads(tap) & NET_OFFLOAD_TSO4, 0);
    ck_assert(tap->ops->set_vnet_hdr_len(tap, 12));
    ck_assert_uint_eq(nic->peer.vnet_hdr_len, 12);
    tap->ops->set_offload(tap, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);
    make_frame(frame + 12, 200, 1);
    nic_send(nic, frame, sizeof frame);
    run_until(host_has(s, 1, 200));
    make_frame(frame + 12, 200, 2);
    ck_assert_int_eq(send(s, frame + 12, 200, 0), 200);
    run_until(guest_has(nic, 12, 2));
    ck_assert_uint_eq(guest_has(nic, 12, 2)[0], 0);
    /* A driver without the header again. */
    ck_assert(tap->ops->set_vnet_hdr_len(tap, 0));
    make_frame(frame, 200, 3);
    ck_assert_int_eq(send(s, frame, 200, 0), 200);
    run_until(guest_has(nic, 0, 3));
    close(s);
    g_free(name);
}
END_TEST

START_TEST(several_queues)
{
    GError *err = NULL;
    uint8_t frame[60];

    NEED_TAP();
    ck_assert(netdev_text("tap,id=t,ifname=vt1,script=no,downscript=no,queues=3", &err));
    ck_no_error(err);
    up("vt1");
    ck_assert_uint_eq(net_backend_queues("t"), 3);
    Nic *nics[3];
    for (unsigned i = 0; i < 3; i++) {
        nics[i] = nic_new("nic", NULL);
        ck_assert(net_nic_connect(&nics[i]->peer, "t", i, &err));
        net_peer_ready(&nics[i]->peer);
    }
    ck_assert(!net_nic_connect(&nic_new("x", NULL)->peer, "t", 3, &err));
    g_clear_error(&err);
    int s = host_socket("vt1");
    for (unsigned i = 0; i < 3; i++) {
        make_frame(frame, sizeof frame, 10 + i);
        nic_send(nics[i], frame, sizeof frame);
        run_until(host_has(s, 10 + i, sizeof frame));
    }
    /* With one queue attached, all frames come there. */
    for (unsigned i = 1; i < 3; i++) {
        NetPeer *q = nics[i]->peer.peer;

        ck_assert(q->ops->set_queue_enabled(q, i, false));
    }
    for (unsigned i = 0; i < 20; i++) {
        make_frame(frame, sizeof frame, 20 + i);
        frame[6] = i;
        ck_assert_int_eq(send(s, frame, sizeof frame, 0), sizeof frame);
    }
    for (unsigned i = 0; i < 20; i++) {
        run_until(guest_has(nics[0], 0, 20 + i));
    }
    NetPeer *q = nics[1]->peer.peer;
    ck_assert(q->ops->set_queue_enabled(q, 1, true));
    close(s);

    /* A program with one queue cannot join. */
    ck_assert(!netdev_text("tap,id=u,ifname=vt1,script=no,downscript=no", &err));
    ck_error(err, "could not configure /dev/net/tun (vt1)");
}
END_TEST

START_TEST(scripts)
{
    GError *err = NULL;
    g_autofree char *dir = g_dir_make_tmp("vmm-tap-XXXXXX", NULL);
    g_autofree char *script = g_build_filename(dir, "script", NULL);
    g_autofree char *out = g_build_filename(dir, "out", NULL);
    g_autofree char *body = g_strdup_printf("#!/bin/sh\necho \"$1\" >> %s\n", out);
    g_autofree char *text =
        g_strdup_printf("tap,id=t,ifname=vt2,script=%s,downscript=%s", script, script);
    g_autofree char *written = NULL;

    NEED_TAP();
    ck_assert(!netdev_text("tap,id=t,ifname=vt2,script=/nonexistent,downscript=no", &err));
    ck_error(err, "could not launch network script /nonexistent");
    ck_assert_uint_eq(if_nametoindex("vt2"), 0);
    ck_assert(!netdev_text("tap,id=t,ifname=vt2,script=/bin/false,downscript=no", &err));
    ck_error(err, "network script /bin/false failed with status 1");

    ck_assert(g_file_set_contents(script, body, -1, NULL));
    ck_assert_int_eq(chmod(script, 0700), 0);
    ck_assert(netdev_text(text, &err));
    ck_no_error(err);
    ck_assert(netdev_del("t", &err));
    ck_assert(g_file_get_contents(out, &written, NULL, NULL));
    ck_assert_str_eq(written, "vt2\nvt2\n");
    unlink(script);
    unlink(out);
    rmdir(dir);
}
END_TEST

START_TEST(inherited_descriptors)
{
    GError *err = NULL;
    uint8_t frame[60];
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    NEED_TAP();
    int fd = open("/dev/net/tun", O_RDWR);
    strcpy(ifr.ifr_name, "vt3");
    ck_assert_int_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
    up("vt3");
    g_autofree char *text = g_strdup_printf("tap,id=t,fd=%d", fd);
    ck_assert(netdev_text(text, &err));
    ck_no_error(err);
    Nic *nic = nic_new("nic", "t");
    int s = host_socket("vt3");
    make_frame(frame, sizeof frame, 1);
    nic_send(nic, frame, sizeof frame);
    run_until(host_has(s, 1, sizeof frame));
    close(s);
    /* Busy: the interface's only queue is in use. */
    ck_assert(!netdev_text("tap,id=u,ifname=vt3,script=no,downscript=no", &err));
    ck_error(err, "another program has it open");
}
END_TEST

START_TEST(a_vanished_interface_does_not_spin)
{
    GError *err = NULL;

    NEED_TAP();
    ck_assert(netdev_text("tap,id=t,ifname=vt4,script=no,downscript=no", &err));
    up("vt4");
    nic_new("nic", "t");
    run_for_ms(50);
    ck_assert_int_eq(system("ip link del vt4 2>/dev/null"), 0);
    run_for_ms(50);
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 100000000);
    ck_assert_uint_le(event_loop_turns(loop) - turns, 2);
}
END_TEST

int main(void)
{
    static const TTest *tests[16];
    unsigned n = 0;

    enter_namespace();
    if (unavailable) {
        printf("1..0 # SKIP %s\n", unavailable);
        return 0;
    }
    tests[n++] = frames_in_both_directions;
    tests[n++] = with_vnet_headers;
    tests[n++] = several_queues;
    tests[n++] = scripts;
    tests[n++] = inherited_descriptors;
    tests[n++] = a_vanished_interface_does_not_spin;
    return run_suite("tap", tests);
}
