/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter.h"

#include <string.h>

#include "base/error.h"
#include "base/iov.h"
#include "base/trace.h"
#include "internal.h"

static void filter_insert(GPtrArray *filters, NetFilter *f, const char *position, bool before)
{
    guint at = g_str_equal(position, "head") ? 0 : filters->len;

    for (guint i = 0; g_str_has_prefix(position, "id=") && i < filters->len; i++) {
        NetFilter *other = g_ptr_array_index(filters, i);

        if (g_str_equal(other->id, position + strlen("id="))) {
            at = before ? i : i + 1;
        }
    }
    g_ptr_array_insert(filters, at, f);
}

static bool filter_has(GPtrArray *filters, const char *id)
{
    for (guint i = 0; filters && i < filters->len; i++) {
        if (g_str_equal(((NetFilter *)g_ptr_array_index(filters, i))->id, id)) {
            return true;
        }
    }
    return false;
}

bool net_filter_attach(NetFilter *f, const char *netdev, const char *position, bool before,
                       GError **err)
{
    NetPeer *first = net_find(netdev);

    if (!first || first->is_nic) {
        return error_set(err,
                         "Parameter 'netdev' expects a network backend id: there is no netdev "
                         "'%s'",
                         netdev);
    }
    if (g_str_has_prefix(position, "id=")) {
        if (!filter_has(first->filters, position + strlen("id="))) {
            return error_set(err, "filter '%s' not found on netdev '%s'", position + strlen("id="),
                             netdev);
        }
    } else if (!g_str_equal(position, "head") && !g_str_equal(position, "tail")) {
        return error_set(err, "Parameter 'position' expects 'head', 'tail' or 'id=<id>'");
    }
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);

        if (!p->is_nic && g_str_equal(p->name, netdev)) {
            if (!p->filters) {
                p->filters = g_ptr_array_new();
            }
            filter_insert(p->filters, f, position, before);
        }
    }
    return true;
}

void net_filter_detach(NetFilter *f)
{
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);

        if (p->filters && g_ptr_array_remove(p->filters, f) && !p->filters->len) {
            g_clear_pointer(&p->filters, g_ptr_array_unref);
        }
    }
}

void net_filters_remove(NetPeer *peer)
{
    while (peer->filters) {
        NetFilter *f = g_ptr_array_index(peer->filters, peer->filters->len - 1);

        f->remove(f);
    }
}

/* The header's length is the same in both directions. */
void net_filters_see(NetPeer *from, NetPeer *to, const struct iovec *iov, unsigned n)
{
    NetPeer *const ends[] = {from, to};

    for (unsigned k = 0; k < 2; k++) {
        for (guint i = 0; ends[k]->filters && i < ends[k]->filters->len; i++) {
            NetFilter *f = g_ptr_array_index(ends[k]->filters, i);

            trace(net_filter, f->id, from->name, to->name, iov_size(iov, n));
            f->packet(f, k == 1, iov, n, to->vnet_hdr_len);
        }
    }
}

void net_filters_unsent(NetPeer *from, NetPeer *to)
{
    NetPeer *const ends[] = {from, to};

    for (unsigned k = 0; k < 2; k++) {
        for (guint i = 0; ends[k]->filters && i < ends[k]->filters->len; i++) {
            NetFilter *f = g_ptr_array_index(ends[k]->filters, i);

            f->unsent(f, k == 1);
        }
    }
}

void net_filters_describe(GString *out, const NetPeer *peer)
{
    for (guint i = 0; peer->filters && i < peer->filters->len; i++) {
        NetFilter *f = g_ptr_array_index(peer->filters, i);
        g_autofree char *info = f->info(f);

        g_string_append_printf(out, "%s  - %s: %s\n", i ? "" : "filters:\n", f->id, info);
    }
}
