/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filters see the packets between a netdev and its peer. They are attached to the netdev's peers,
 * one for each queue. Main loop only.
 */
#ifndef NET_FILTER_H
#define NET_FILTER_H

#include "net/net.h"

typedef struct NetFilter NetFilter;
struct NetFilter {
    char *id;
    /* A packet to or from the netdev, before it is taken; its first 'skip' bytes are a header. */
    void (*packet)(NetFilter *self, bool to_netdev, const struct iovec *iov, unsigned n,
                   size_t skip);
    /* The packet was not taken: it comes again. */
    void (*unsent)(NetFilter *self, bool to_netdev);
    char *(*info)(NetFilter *self);  /* for 'info network'; caller frees */
    void (*remove)(NetFilter *self); /* the netdev goes away: detach and free */
};

/*
 * 'position' is "head", "tail", or "id=ID" of a filter that this one is put behind, or before where
 * 'before' says so. False and *err where the netdev or that filter is not there.
 */
bool net_filter_attach(NetFilter *f, const char *netdev, const char *position, bool before,
                       GError **err);
void net_filter_detach(NetFilter *f);
/* All filters of a netdev are told to go. */
void net_filters_remove(NetPeer *peer);
/* For peers one of which has filters. */
void net_filters_see(NetPeer *from, NetPeer *to, const struct iovec *iov, unsigned n);
void net_filters_unsent(NetPeer *from, NetPeer *to);
/* What 'info network' says below a netdev. */
void net_filters_describe(GString *out, const NetPeer *peer);

static inline bool net_is_filtered(const NetPeer *a, const NetPeer *b)
{
    return G_UNLIKELY(a->filters || b->filters);
}

#endif
