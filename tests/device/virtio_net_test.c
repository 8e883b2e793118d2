/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net: packets to and from the user network, buffers of all sizes, the control queue. */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "qvirtio.h"
#include "qwire.h"

#define MACHINE "-machine pc -m 64 -nodefaults -netdev user,id=n0 "
#define NIC     "-device virtio-net-pci,netdev=n0,mac=52:54:00:aa:bb:cc,addr=5"

#define F_CSUM          (1ull << 0)
#define F_GUEST_CSUM    (1ull << 1)
#define F_CTRL_OFFLOADS (1ull << 2)
#define F_GUEST_TSO4    (1ull << 7)
#define F_GUEST_TSO6    (1ull << 8)
#define F_MAC           (1ull << 5)
#define F_MRG_RXBUF     (1ull << 15)
#define F_STATUS        (1ull << 16)
#define F_CTRL_VQ       (1ull << 17)
#define F_CTRL_RX       (1ull << 18)
#define F_CTRL_VLAN     (1ull << 19)
#define F_CTRL_MAC      (1ull << 23)

typedef struct {
    QTest *q;
    QVirtio v;
    QVirtq rx, tx, ctrl;
    unsigned header;
    uint64_t frame;
} Nic;

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};

static void nic_start(Nic *n, uint64_t features)
{
    qv_init(&n->v, features);
    n->header = !n->v.legacy || n->v.features & F_MRG_RXBUF ? 12 : 10;
    qv_queue(&n->v, &n->rx, 0);
    qv_queue(&n->v, &n->tx, 1);
    if (n->v.features & F_CTRL_VQ) {
        qv_queue(&n->v, &n->ctrl, 2);
    }
    qv_driver_ok(&n->v);
    n->frame = qtest_alloc(n->q, 2048, 0);
}

static void nic_open(Nic *n, const char *more, bool legacy, uint64_t features)
{
    *n = (Nic){0};
    n->q = qtest_startf(MACHINE NIC "%s", more);
    qv_open(n->q, &n->v, 5, legacy);
    nic_start(n, features);
}

/* "Who has 10.0.2.2?", from 10.0.2.15 and the address given. */
static void send_arp(Nic *n, const uint8_t from[6])
{
    uint8_t f[64] = {0};
    static const uint8_t arp[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
    static const uint8_t us[] = {10, 0, 2, 15}, them[] = {10, 0, 2, 2};

    memset(f, 0xff, 6);
    memcpy(f + 6, from, 6);
    memcpy(f + 12, arp, sizeof arp);
    memcpy(f + 22, from, 6);
    memcpy(f + 28, us, 4);
    memcpy(f + 38, them, 4);
    qtest_memset(n->q, n->frame, 0, n->header);
    qtest_write(n->q, n->frame + n->header, f, 60);
    qv_do(&n->tx, &(QPiece){n->frame, n->header + 60, false}, 1);
}

static void check_reply(const uint8_t *f, const uint8_t to[6])
{
    static const uint8_t them[] = {10, 0, 2, 2};

    qtest_check_mem(f, to, 6);
    qtest_check_eq(f[12] << 8 | f[13], 0x0806);
    qtest_check_eq(f[21], 2);
    qtest_check_mem(f + 28, them, 4);
}

static void check_arp(Nic *n)
{
    uint64_t buf = qtest_alloc(n->q, 2048, 0);
    uint8_t got[2048];
    uint32_t id, len;

    qv_add(&n->rx, &(QPiece){buf, 2048, true}, 1);
    qv_kick(&n->rx);
    send_arp(n, mac);
    qtest_wait_until(qv_get(&n->rx, &id, &len));
    qtest_check_ge(len, n->header + 42);
    qtest_read(n->q, buf, got, len);
    if (n->header == 12) {
        qtest_check_eq(got[10] | got[11] << 8, 1);
    }
    check_reply(got + n->header, mac);
}

static void test_config(void)
{
    Nic n;
    uint8_t got[6];

    nic_open(&n, ",host_mtu=1400", false, F_MAC | F_STATUS | 1ull << 3);
    for (unsigned i = 0; i < 6; i++) {
        got[i] = qv_config8(&n.v, i);
    }
    qtest_check_mem(got, mac, 6);
    qtest_check_eq(qv_config16(&n.v, 6), 1);
    qtest_check_eq(qv_config16(&n.v, 10), 1400);
    qtest_check(n.v.features & 1ull << 3);
    /* The user network has no offloads. */
    qtest_check_eq(qv_device_features(&n.v) & (F_CSUM | 0x7f82), 0);
    qtest_end(n.q);
}

static void test_packets(void)
{
    static const struct {
        const char *args;
        bool legacy;
        uint64_t features;
    } modes[] = {
        {"", false, 0},
        {"", false, F_MRG_RXBUF},
        {"", true, 0},
        {"", true, F_MRG_RXBUF},
        {",packed=on", false, QV_F_PACKED | F_MRG_RXBUF},
        {",ioeventfd=off", false, QV_F_EVENT_IDX},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        Nic n;

        nic_open(&n, modes[i].args, modes[i].legacy, modes[i].features);
        for (unsigned round = 0; round < 2; round++) {
            for (unsigned k = 0; k < 5; k++) {
                check_arp(&n);
            }
            nic_start(&n, modes[i].features);
        }
        qtest_end(n.q);
    }
}

/* A packet that is spread over many small buffers. */
static void test_mergeable(void)
{
    uint8_t got[256];
    unsigned have = 0, used = 0, want = 0;
    uint64_t buf[8];
    uint32_t id, len;
    Nic n;

    nic_open(&n, "", false, F_MRG_RXBUF);
    for (unsigned i = 0; i < 8; i++) {
        buf[i] = qtest_alloc(n.q, 16, 0);
        qv_add(&n.rx, &(QPiece){buf[i], 16, true}, 1);
    }
    qv_kick(&n.rx);
    send_arp(&n, mac);
    do {
        qtest_wait_until(qv_get(&n.rx, &id, &len));
        qtest_read(n.q, buf[used], got + have, len);
        if (!used) {
            want = got[10] | got[11] << 8;
        }
        have += len;
        used++;
    } while (used < want);
    qtest_check_ge(want, 4);
    qtest_check_ge(have, 12 + 42);
    check_reply(got + 12, mac);
    qtest_end(n.q);
}

/* A packet that is larger than all buffers in the ring waits for more buffers. */
static void test_short_ring(void)
{
    static const struct {
        const char *args;
        uint64_t features;
    } modes[] = {
        {"", 0},
        {"", QV_F_EVENT_IDX},
        {",packed=on", QV_F_PACKED},
        {",packed=on", QV_F_PACKED | QV_F_EVENT_IDX},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        uint8_t got[256];
        unsigned have = 0, used = 0, count = 1;
        uint64_t buf[8];
        uint32_t id, len;
        Nic n;

        nic_open(&n, modes[i].args, false, modes[i].features | F_MRG_RXBUF);
        for (unsigned k = 0; k < G_N_ELEMENTS(buf); k++) {
            buf[k] = qtest_alloc(n.q, 16, 0);
        }
        for (unsigned k = 0; k < 2; k++) {
            qv_add(&n.rx, &(QPiece){buf[k], 16, true}, 1);
        }
        qv_kick_if_wanted(&n.rx);
        send_arp(&n, mac);
        json_decref(
            qtest_qmp(n.q, "query-status", NULL)); /* by now the reply was offered to the ring */
        for (unsigned k = 2; k < G_N_ELEMENTS(buf); k++) {
            qv_add(&n.rx, &(QPiece){buf[k], 16, true}, 1);
            qv_kick_if_wanted(&n.rx);
        }
        while (used < count) {
            qtest_wait_until(qv_get(&n.rx, &id, &len));
            qtest_read(n.q, buf[used], got + have, len);
            count = used++ ? count : got[10] | got[11] << 8;
            have += len;
        }
        qtest_check_ge(count, 4);
        check_reply(got + 12, mac);
        qtest_end(n.q);
    }
}

/* No buffers: the packet waits for them. */
static void test_waiting(void)
{
    uint64_t buf;
    uint32_t id, len;
    Nic n;

    nic_open(&n, "", false, 0);
    send_arp(&n, mac);
    buf = qtest_alloc(n.q, 2048, 0);
    g_usleep(10000);
    qv_add(&n.rx, &(QPiece){buf, 2048, true}, 1);
    qv_kick(&n.rx);
    qtest_wait_until(qv_get(&n.rx, &id, &len));
    qtest_check_ge(len, 12 + 42);
    qtest_end(n.q);
}

static uint8_t control(Nic *n, uint8_t class, uint8_t cmd, const void *data, unsigned len)
{
    uint64_t buf = qtest_alloc(n->q, 64 + len, 0);
    uint8_t header[2] = {class, cmd};
    QPiece p[] = {{buf, 2, false}, {buf + 32, len, false}, {buf + 16, 1, true}};

    qtest_write(n->q, buf, header, 2);
    qtest_write(n->q, buf + 32, data, len);
    qtest_writeb(n->q, buf + 16, 0xff);
    qv_do(&n->ctrl, p, 3);
    return qtest_readb(n->q, buf + 16);
}

static void test_control(void)
{
    static const uint8_t off = 0, on = 1, other[6] = {0x52, 0x54, 0, 1, 2, 3};
    uint8_t tables[4 + 6 + 4] = {1}, overflow[4 + 65 * 6 + 4] = {65}, cut[5] = {2};
    uint16_t vid = 5, bad_vid = 4096;
    uint64_t buf;
    uint32_t id, len;
    Nic n;

    nic_open(&n, "", false, F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN | F_CTRL_MAC | F_MAC);
    qtest_check(n.v.features & F_CTRL_VQ);
    qtest_check_eq(control(&n, 0, 0, &off, 1), 0);
    buf = qtest_alloc(n.q, 2048, 0);
    qv_add(&n.rx, &(QPiece){buf, 2048, true}, 1);
    qv_kick(&n.rx);
    /* The answer goes to an address that is not ours. */
    send_arp(&n, other);
    g_usleep(50000);
    qtest_check(!qv_get(&n.rx, &id, &len));
    /* The address is in the table. */
    memcpy(tables + 4, other, 6);
    qtest_check_eq(control(&n, 1, 0, tables, sizeof tables), 0);
    send_arp(&n, other);
    qtest_wait_until(qv_get(&n.rx, &id, &len));
    /* The device's own address is changed back. */
    qtest_check_eq(control(&n, 1, 1, other, 6), 0);
    qtest_check_eq(qv_config8(&n.v, 5), 3);
    qtest_check_eq(control(&n, 1, 0, overflow, sizeof overflow), 0);
    qtest_check_eq(control(&n, 2, 0, &vid, 2), 0);
    qtest_check_eq(control(&n, 2, 1, &vid, 2), 0);
    qtest_check_eq(control(&n, 0, 1, &on, 1), 0);
    /* Commands that do not exist, or are too short. */
    qtest_check_eq(control(&n, 2, 0, &bad_vid, 2), 1);
    qtest_check_eq(control(&n, 1, 0, cut, sizeof cut), 1);
    qtest_check_eq(control(&n, 1, 1, other, 5), 1);
    qtest_check_eq(control(&n, 4, 0, &vid, 2), 1);
    qtest_check_eq(control(&n, 77, 0, &on, 1), 1);
    qtest_end(n.q);
}

/* Guest offloads (5.1.6.5.6). */

static uint8_t set_offloads(Nic *n, uint64_t offloads)
{
    return control(n, 5, 0, &offloads, 8);
}

static void test_offloads_refused(void)
{
    uint64_t none = 0;
    Nic n;

    /* The user network has no offloads: the command accepts only 0. */
    nic_open(&n, "", false, F_CTRL_VQ | F_CTRL_OFFLOADS | F_GUEST_CSUM);
    qtest_check(n.v.features & F_CTRL_OFFLOADS);
    qtest_check_eq(set_offloads(&n, 0), 0);
    qtest_check_eq(set_offloads(&n, F_GUEST_CSUM), 1);
    qtest_check_eq(control(&n, 5, 0, &none, 7), 1);
    qtest_check_eq(control(&n, 5, 1, &none, 8), 1);
    nic_start(&n, F_CTRL_VQ); /* not negotiated */
    qtest_check_eq(set_offloads(&n, 0), 1);
    qtest_end(n.q);
    nic_open(&n, ",ctrl_guest_offloads=off", false, F_CTRL_VQ | F_CTRL_OFFLOADS);
    qtest_check(!(n.v.features & F_CTRL_OFFLOADS));
    qtest_end(n.q);
}

/* Whether the host sends segments to the interface: the device has set that offload on the tap. */
static bool tap_segments(const char *name)
{
    struct ethtool_value value = {.cmd = ETHTOOL_GTSO};
    struct ifreq ifr = {.ifr_data = (char *)&value};
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    g_strlcpy(ifr.ifr_name, name, IFNAMSIZ);
    qtest_check_eq(ioctl(s, SIOCETHTOOL, &ifr), 0);
    close(s);
    return value.data;
}

static void test_offloads_tap(void)
{
    const uint64_t all = F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6;
    const uint64_t features = all | F_CTRL_VQ | F_CTRL_OFFLOADS | F_MRG_RXBUF;
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    Nic n = {0};

    qwire_namespace();
    n.q = qtest_startf("-machine pc -m 64 -nodefaults "
                       "-netdev tap,id=n0,ifname=vmmtap,script=no,downscript=no " NIC);
    qv_open(n.q, &n.v, 5, false);
    nic_start(&n, features);
    qtest_check_eq(n.v.features & features, features);
    qtest_check(tap_segments("vmmtap"));
    qtest_check_eq(set_offloads(&n, F_GUEST_CSUM), 0);
    qtest_check(!tap_segments("vmmtap"));
    qtest_check_eq(set_offloads(&n, all | 1ull << 9), 1); /* ECN, which was not negotiated */
    qtest_check(!tap_segments("vmmtap"));
    /* Saved offloads are restored, and set on the tap. */
    json_decref(qtest_qmp(n.q, "stop", NULL));
    json_decref(qtest_qmp(n.q, "x-save-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(n.q, "cont", NULL));
    qtest_check_eq(set_offloads(&n, all), 0);
    qtest_check(tap_segments("vmmtap"));
    json_decref(qtest_qmp(n.q, "stop", NULL));
    json_decref(qtest_qmp(n.q, "x-load-state", "{s:s}", "filename", file));
    qtest_check(!tap_segments("vmmtap"));
    json_decref(qtest_qmp(n.q, "cont", NULL));
    /* A new driver starts with the offloads that it negotiates, and no others. */
    nic_start(&n, features);
    qtest_check(tap_segments("vmmtap"));
    qv_set_status(&n.v, 0);
    qtest_check(!tap_segments("vmmtap"));
    nic_start(&n, features);
    qtest_check(tap_segments("vmmtap"));
    json_decref(qtest_qmp(n.q, "system_reset", NULL));
    qtest_wait_until(!tap_segments("vmmtap"));
    qtest_end(n.q);
}

static void test_hostile(void)
{
    Nic n;

    nic_open(&n, "", false, F_CTRL_VQ);
    qv_add(&n.tx, &(QPiece){n.frame, 11, false}, 1); /* no whole header */
    qv_kick(&n.tx);
    qtest_wait_until(qv_status(&n.v) & QV_NEEDS_RESET);
    nic_start(&n, F_CTRL_VQ);
    qv_do(&n.tx, &(QPiece){n.frame, 12, false}, 1);   /* a header and nothing behind it */
    qv_add(&n.ctrl, &(QPiece){n.frame, 2, false}, 1); /* no room for the answer */
    qv_kick(&n.ctrl);
    qtest_wait_until(qv_status(&n.v) & QV_NEEDS_RESET);
    nic_start(&n, 0);
    qv_add(&n.rx, &(QPiece){n.frame, 4, true}, 1); /* no room for the header */
    qv_kick(&n.rx);
    send_arp(&n, mac);
    qtest_wait_until(qv_status(&n.v) & QV_NEEDS_RESET);
    nic_start(&n, 0);
    check_arp(&n);
    qtest_end(n.q);
}

/* A broken device logs its name and the reason, once. */
static void test_complaint(void)
{
    g_autofree char *path = g_strdup_printf("%s/stderr", qtest_tmp_dir());
    g_autofree char *text = NULL;
    int old = dup(2);
    char *first;
    Nic n;

    qtest_check(freopen(path, "w", stderr) != NULL);
    nic_open(&n, ",id=card", false, 0);
    for (unsigned i = 0; i < 3; i++) {
        qv_add(&n.tx, &(QPiece){n.frame, 11, false}, 1);
        qv_kick(&n.tx);
        qtest_wait_until(qv_status(&n.v) & QV_NEEDS_RESET);
        nic_start(&n, 0);
    }
    qtest_end(n.q);
    dup2(old, 2);
    qtest_check(g_file_get_contents(path, &text, NULL, NULL));
    first =
        strstr(text, "warning: virtio-net-pci at /machine/peripheral/card stops until its driver "
                     "resets it: queue 1: a packet of 11 bytes has no header\n");
    qtest_check(first != NULL);
    qtest_check(strstr(strchr(first, '\n'), "stops until") == NULL);
}

/* Chains of more than 32 bits of length: one to send is dropped, one to receive into works. */
static void test_huge_chains(void)
{
    static const struct {
        const char *args;
        uint64_t features;
        bool legacy;
    } modes[] = {
        {"", QV_F_INDIRECT, false},
        {"", QV_F_INDIRECT, true},
        {",packed=on", QV_F_PACKED | QV_F_INDIRECT, false},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        enum { PIECES = 65, LEN = 64 << 20 };
        QPiece pieces[PIECES]; /* all of them the same memory */
        uint32_t id, len;
        uint8_t got[256];
        Nic n = {0};

        n.q = qtest_startf(MACHINE NIC "%s -m 128", modes[i].args);
        qv_open(n.q, &n.v, 5, modes[i].legacy);
        nic_start(&n, modes[i].features);
        for (unsigned k = 0; k < PIECES; k++) {
            pieces[k] = (QPiece){LEN, LEN, false};
        }
        qv_add_indirect(&n.tx, pieces, PIECES);
        qv_kick(&n.tx);
        qtest_wait_until(qv_get(&n.tx, &id, &len));
        qtest_check_eq(len, 0);
        for (unsigned k = 0; k < PIECES; k++) {
            pieces[k].write = true;
        }
        qv_add_indirect(&n.rx, pieces, PIECES);
        qv_kick(&n.rx);
        send_arp(&n, mac);
        qtest_wait_until(qv_get(&n.rx, &id, &len));
        qtest_check_ge(len, n.header + 42);
        qtest_read(n.q, LEN, got, len);
        check_reply(got + n.header, mac);
        qtest_end(n.q);
    }
}

static void test_refused(void)
{
    static const char *const args[] = {
        "-device virtio-net-pci,netdev=nobody",
        "-device virtio-net-pci,rx_queue_size=100",
        "-device virtio-net-pci,mac=01:00:00:00:00:01",
        "-device virtio-net-pci,tx=timer",
        "-device virtio-net-pci,netdev=n0 -device virtio-net-pci,netdev=n0",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(args); i++) {
        g_autofree char *all = g_strconcat(MACHINE, args[i], NULL);
        int status;

        g_free(qtest_start_fails(all, &status));
        qtest_check_eq(status, QTEST_NOT_STARTED);
    }
}

static const QTestCase cases[] = {
    {"config", test_config},
    {"packets", test_packets},
    {"mergeable", test_mergeable},
    {"short-ring", test_short_ring},
    {"waiting", test_waiting},
    {"control", test_control},
    {"hostile", test_hostile},
    {"refused", test_refused},
    {"huge-chains", test_huge_chains},
    {"complaint", test_complaint},
    {"offloads-refused", test_offloads_refused},
    {"offloads-tap", test_offloads_tap},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
