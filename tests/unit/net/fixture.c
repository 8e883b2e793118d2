/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fixture.h"
#include <string.h>
#include "base/iov.h"
#include "base/keyval.h"
#include "base/util.h"

EventLoop *loop;
static GPtrArray *nics;

void fixture_setup(void)
{
    GError *err = NULL;

    loop = event_loop_new("main", &err);
    ck_no_error(err);
    event_loop_bind(loop);
    nics = g_ptr_array_new();
}

void fixture_teardown(void)
{
    while (nics->len) {
        nic_free(g_ptr_array_index(nics, 0));
    }
    net_cleanup();
    g_ptr_array_unref(nics);
    event_loop_free(loop);
}

static ssize_t nic_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    Nic *nic = container_of(self, Nic, peer);
    size_t len = iov_size(iov, n);
    uint8_t *copy;

    if (!nic->room) {
        return 0;
    }
    nic->room--;
    copy = g_malloc(len);
    iov_to_buf(iov, n, 0, copy, len);
    g_ptr_array_add(nic->frames, g_bytes_new_take(copy, len));
    return len;
}

static void nic_link_changed(NetPeer *self)
{
    container_of(self, Nic, peer)->link_changes++;
}

static void nic_send_ready(NetPeer *self)
{
    container_of(self, Nic, peer)->ready++;
}

static const NetPeerOps nic_ops = {
    .receive = nic_receive,
    .link_changed = nic_link_changed,
    .send_ready = nic_send_ready,
};

Nic *nic_new(const char *name, const char *netdev)
{
    Nic *nic = g_new0(Nic, 1);
    GError *err = NULL;

    nic->frames = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    nic->room = UINT32_MAX;
    net_nic_init(&nic->peer, &nic_ops, "test-nic", name, loop);
    g_ptr_array_add(nics, nic);
    if (netdev) {
        net_nic_connect(&nic->peer, netdev, 0, &err);
        ck_no_error(err);
    }
    nic->peer.receive_enabled = true;
    net_peer_ready(&nic->peer);
    return nic;
}

void nic_free(Nic *nic)
{
    net_nic_disconnect(&nic->peer);
    g_ptr_array_remove(nics, nic);
    g_ptr_array_unref(nic->frames);
    g_free(nic);
}

const uint8_t *nic_frame(Nic *nic, unsigned i, size_t *len)
{
    ck_assert_uint_lt(i, nic->frames->len);
    return g_bytes_get_data(g_ptr_array_index(nic->frames, i), len);
}

void nic_clear(Nic *nic)
{
    g_ptr_array_set_size(nic->frames, 0);
}

void nic_send(Nic *nic, const void *data, size_t len)
{
    /* In two pieces, as a guest's descriptors have it. */
    struct iovec iov[2] = {{(void *)data, MIN(len, 14)},
                           {(uint8_t *)data + MIN(len, 14), len - MIN(len, 14)}};

    ck_assert_int_eq(net_send(&nic->peer, iov, 2), len);
}

json_t *config_text(const char *text)
{
    GError *err = NULL;
    json_t *config = keyval_parse(text, "type", net_list_keys, true, &err);

    ck_no_error(err);
    return config;
}

bool netdev_text(const char *text, GError **err)
{
    json_t *config = config_text(text);
    bool ok = netdev_add(config, err);

    ck_assert(ok == !*err);
    json_decref(config);
    return ok;
}

void run_for_ms(int ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < end) {
        event_loop_iterate(loop, 5000000);
    }
}

int run_suite(const char *name, const TTest *const *tests)
{
    return unit_run_with(name, tests, fixture_setup, fixture_teardown);
}
