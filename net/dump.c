/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object filter-dump, and -net dump: packets into a capture file. */
#include "base/error.h"
#include "base/iov.h"
#include "base/object.h"
#include "base/util.h"
#include "filter.h"
#include "internal.h"
#include "pcap.h"

#define DEFAULT_MAXLEN "65536"

/* -object filter-dump. */

enum { QUEUE_ALL, QUEUE_RX, QUEUE_TX };
static const char *const queue_names[] = {"all", "rx", "tx", NULL};
static const char *const status_names[] = {"on", "off", NULL};
enum { INSERT_BEHIND, INSERT_BEFORE };
static const char *const insert_names[] = {"behind", "before", NULL};

typedef struct {
    Object obj;
    NetFilter filter;
    Pcap *pcap;
    char *netdev, *file, *position, *status;
    uint32_t maxlen;
    int queue, insert;
} FilterDump;

static const Property dump_props[] = {
    {.name = "file",
     .type = PROP_STRING,
     .offset = offsetof(FilterDump, file),
     .help = "capture file, which is made or emptied; or a pipe that is read",
     .flags = PROP_FLAG_REQUIRED},
    {.name = "maxlen",
     .type = PROP_UINT32,
     .offset = offsetof(FilterDump, maxlen),
     .defval = DEFAULT_MAXLEN,
     .help = "bytes that are kept of each packet",
     .min = 1,
     .max = UINT32_MAX},
    {.name = "netdev",
     .type = PROP_LINK,
     .offset = offsetof(FilterDump, netdev),
     .names = (const char *const[]){"netdev", NULL},
     .help = "network whose packets are recorded",
     .flags = PROP_FLAG_REQUIRED},
    PROP_E("queue", FilterDump, queue, "all", queue_names,
           "rx: what the netdev receives from its card; tx: what it sends; all: both"),
    {.name = "status",
     .type = PROP_STRING,
     .offset = offsetof(FilterDump, status),
     .defval = "on",
     .names = status_names,
     .help = "off: nothing is recorded",
     .flags = PROP_FLAG_RUNTIME},
    PROP("position", PROP_STRING, FilterDump, position, "tail",
         "among the netdev's filters: head, tail, or id=ID of one"),
    PROP_E("insert", FilterDump, insert, "behind", insert_names, "with position=id=ID: which side"),
    PROP_END,
};

static bool dump_is_on(const FilterDump *d)
{
    return g_str_equal(d->status, "on");
}

static bool dump_wants(const FilterDump *d, bool to_netdev)
{
    return dump_is_on(d) && d->queue != (to_netdev ? QUEUE_TX : QUEUE_RX);
}

static void dump_packet(NetFilter *self, bool to_netdev, const struct iovec *iov, unsigned n,
                        size_t skip)
{
    FilterDump *d = container_of(self, FilterDump, filter);

    if (!dump_wants(d, to_netdev)) {
        return;
    }
    if (pcap_failed(d->pcap)) {
        /* The user sees it, and may switch it on when there is room. */
        g_free(d->status);
        d->status = g_strdup("off");
        return;
    }
    pcap_packet(d->pcap, iov, n, skip);
}

static void dump_unsent(NetFilter *self, bool to_netdev)
{
    FilterDump *d = container_of(self, FilterDump, filter);

    if (dump_wants(d, to_netdev)) {
        pcap_unsent(d->pcap);
    }
}

static char *dump_info(NetFilter *self)
{
    FilterDump *d = container_of(self, FilterDump, filter);

    return g_strdup_printf("type=filter-dump,file=%s,maxlen=%u,position=%s,status=%s,insert=%s,"
                           "netdev=%s,queue=%s",
                           d->file, d->maxlen, d->position, d->status, insert_names[d->insert],
                           d->netdev, queue_names[d->queue]);
}

static void dump_remove(NetFilter *self)
{
    object_delete(self->id, NULL);
}

static bool dump_complete(Object *obj, GError **err)
{
    FilterDump *d = container_of(obj, FilterDump, obj);
    g_autofree char *what = g_strdup_printf("filter-dump '%s'", obj->id);

    d->filter = (NetFilter){.id = obj->id,
                            .packet = dump_packet,
                            .unsent = dump_unsent,
                            .info = dump_info,
                            .remove = dump_remove};
    if (!net_filter_attach(&d->filter, d->netdev, d->position, d->insert == INSERT_BEFORE, err)) {
        return false;
    }
    d->pcap = pcap_open(d->file, d->maxlen, what, err);
    if (!d->pcap) {
        net_filter_detach(&d->filter);
    }
    return d->pcap;
}

static void dump_finalize(Object *obj)
{
    FilterDump *d = container_of(obj, FilterDump, obj);

    net_filter_detach(&d->filter);
    pcap_close(d->pcap);
}

static void dump_property_changed(Object *obj, const char *name)
{
    FilterDump *d = container_of(obj, FilterDump, obj);

    if (dump_is_on(d) && pcap_failed(d->pcap)) {
        pcap_retry(d->pcap);
    }
}

const ObjectClass filter_dump_class = {
    .name = "filter-dump",
    .help = "records a network's packets in a file",
    .parent = "netfilter",
    .size = sizeof(FilterDump),
    .props = dump_props,
    .after_networks = true,
    .complete = dump_complete,
    .finalize = dump_finalize,
    .property_changed = dump_property_changed,
};

/* -net dump: a listener on a hub. */

typedef struct {
    NetPeer peer;
    Pcap *pcap;
    char *info;
} HubDump;

typedef struct {
    char *file;
    uint64_t len;
} HubDumpOptions;

static const Property hub_dump_props[] = {
    PROP("file", PROP_STRING, HubDumpOptions, file, "qemu-vlan0.pcap", "capture file"),
    {.name = "len",
     .type = PROP_SIZE,
     .offset = offsetof(HubDumpOptions, len),
     .defval = DEFAULT_MAXLEN,
     .help = "bytes that are kept of each packet",
     .min = 1,
     .max = UINT32_MAX},
    PROP_END,
};

static ssize_t hub_dump_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    pcap_packet(container_of(self, HubDump, peer)->pcap, iov, n, self->vnet_hdr_len);
    return iov_size(iov, n);
}

static char *hub_dump_info(NetPeer *self)
{
    return g_strdup(container_of(self, HubDump, peer)->info);
}

static void hub_dump_destroy(NetPeer *self)
{
    HubDump *d = container_of(self, HubDump, peer);

    pcap_close(d->pcap);
    g_free(d->info);
    g_free(d);
}

static const NetPeerOps hub_dump_ops = {
    .receive = hub_dump_receive,
    .destroy = hub_dump_destroy,
    .info = hub_dump_info,
};

static bool hub_dump_create(const char *id, void *options, GError **err)
{
    HubDumpOptions *o = options;
    g_autofree char *what = g_strdup_printf("-net dump '%s'", id);
    Pcap *pcap = pcap_open(o->file, o->len, what, err);
    HubDump *d;

    if (!pcap) {
        return false;
    }
    d = g_new0(HubDump, 1);
    d->pcap = pcap;
    d->info = g_strdup_printf("file=%s,len=%" G_GUINT64_FORMAT, o->file, o->len);
    net_peer_init(&d->peer, &hub_dump_ops, "dump", id, event_loop_current());
    return true;
}

const NetBackendClass net_dump = {
    .name = "dump",
    .help = "records what passes through the hub",
    .size = sizeof(HubDumpOptions),
    .props = hub_dump_props,
    .is_net_only = true,
    .create = hub_dump_create,
};
