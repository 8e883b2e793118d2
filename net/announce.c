/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * announce-self: cards send packets by which switches learn where they are (RARP, RFC 903), in
 * several rounds, since a packet may be lost. A driver that can do so announces its addresses too.
 */
#include "internal.h"
#include <string.h>
#include "base/error.h"
#include "base/util.h"

enum {
    FRAME_LEN = 60,
    VNET_HDR_MAX = 12,
    TYPE_RARP = 0x8035,
    RARP_REQUEST = 3,
};

typedef struct {
    NetAnnounce params;
    char *id;
    json_t *names; /* of cards; NULL: all */
    unsigned round;
    Timer *timer;
} Announcer;

static GHashTable *announcers; /* by id. Main loop */

static void announcer_free(void *data)
{
    Announcer *a = data;

    timer_free(a->timer);
    json_decref(a->names);
    g_free(a->id);
    g_free(a);
}

static void announce_frame(const uint8_t mac[6], uint8_t frame[FRAME_LEN])
{
    static const uint8_t arp[] = {TYPE_RARP >> 8, TYPE_RARP & 0xff, 0, 1, 8, 0, 6, 4, 0,
                                  RARP_REQUEST};

    memset(frame, 0, FRAME_LEN);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    memcpy(frame + 12, arp, sizeof arp);
    memcpy(frame + 22, mac, 6); /* sender and target; neither has an IP address */
    memcpy(frame + 32, mac, 6);
}

static bool announcer_wants(const Announcer *a, const NetPeer *nic)
{
    json_t *name;
    size_t i;

    json_array_foreach(a->names, i, name)
    {
        if (g_str_equal(json_string_value(name), nic->name)) {
            return true;
        }
    }
    return !json_array_size(a->names);
}

static void announcer_send(const Announcer *a)
{
    static const uint8_t header[VNET_HDR_MAX];
    uint8_t frame[FRAME_LEN];

    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *nic = g_ptr_array_index(net_peers(), i);
        struct iovec iov[] = {{(void *)header, nic->vnet_hdr_len}, {frame, sizeof frame}};

        if (!nic->is_nic || nic->queue_index || !announcer_wants(a, nic)) {
            continue;
        }
        announce_frame(nic->mac, frame);
        if (net_peer_can_receive(nic->peer)) {
            net_send(nic, iov, ARRAY_SIZE(iov));
        }
        if (nic->ops->announce) {
            nic->ops->announce(nic);
        }
    }
}

static void announcer_round(void *data)
{
    Announcer *a = data;
    int64_t delay = a->params.initial + (int64_t)a->round * a->params.step;

    announcer_send(a);
    if (++a->round >= a->params.rounds) {
        g_hash_table_remove(announcers, a->id);
        return;
    }
    timer_arm(a->timer, clock_ns(CLOCK_REALTIME_NS) + MIN(delay, a->params.max) * NS_PER_MS);
}

bool net_announce_self(const NetAnnounce *params, json_t *names, const char *id, GError **err)
{
    struct {
        const char *name;
        int64_t value, least, most;
    } checks[] = {{"initial", params->initial, 0, 100000},
                  {"max", params->max, 0, 100000},
                  {"rounds", params->rounds, 1, 1000},
                  {"step", params->step, 0, 10000}};
    Announcer *a;

    for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) {
        if (checks[i].value < checks[i].least || checks[i].value > checks[i].most) {
            return error_set(err, "Parameter '%s' expects a number from %d to %d", checks[i].name,
                             (int)checks[i].least, (int)checks[i].most);
        }
    }
    if (!announcers) {
        announcers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, announcer_free);
    }
    a = g_new0(Announcer, 1);
    a->params = *params;
    a->names = json_incref(names);
    a->id = g_strdup(id ? id : "");
    a->timer = timer_new(event_loop_current(), CLOCK_REALTIME_NS, announcer_round, a);
    g_hash_table_replace(announcers, a->id, a); /* one of that id begins anew */
    announcer_round(a);
    return true;
}

void net_announce_cleanup(void)
{
    g_clear_pointer(&announcers, g_hash_table_unref);
}
