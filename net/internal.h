/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of net. Main loop only. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "net/net.h"
#include <netinet/in.h>
#include <sys/types.h>

extern const NetBackendClass net_dump, net_user, net_tap, net_bridge, net_hubport, net_socket,
    net_stream, net_dgram;

/* peer.c */
/* All peers, backends and NICs, in the order in which they were made. Borrowed. */
GPtrArray *net_peers(void);
void net_peer_init(NetPeer *peer, const NetPeerOps *ops, const char *model, const char *name,
                   EventLoop *loop);
void net_join(NetPeer *a, NetPeer *b);
void net_part(NetPeer *peer);
/* Parts and frees one peer of a backend. */
void net_backend_destroy(NetPeer *peer);
/* "#net042", for a netdev without an id. Caller frees. */
char *net_auto_id(void);
bool net_link_is_up(const NetPeer *peer);
/* Whether net_deliver() would queue a packet now; and a call of send_ready() when it would. */
bool net_has_room(const NetPeer *from);
void net_await_room(NetPeer *from);

/* netdev.c */
/* netdev_add() for -net, which has backends of its own. */
bool netdev_add_to_hub(json_t *config, GError **err);
/* "name: index=0,type=nic,model=...,macaddr=...", as 'info network' shows it. Caller frees. */
char *net_peer_describe(NetPeer *peer);

/* Calls the hook of net_set_stream_hook(). */
void net_stream_event(const char *id, json_t *address);

/* hub.c */
/* A new port of hub 'number', with this name. */
NetPeer *hub_port_new(unsigned number, const char *name);
/* The same with a name that is made ("hub0port1"). */
NetPeer *hub_port_new_auto(unsigned number);
void hub_check(void);
void hub_info(GString *out);
bool hub_is_port(const NetPeer *peer);
/* The number of the hub that a peer is joined with, or -1. */
int hub_number(const NetPeer *peer);

/* announce.c */
void net_announce_cleanup(void);

/* user.c */
bool user_is(const NetPeer *peer);

/* user_rules.c: hostfwd= and guestfwd= rules. */
typedef struct {
    bool udp;
    struct in_addr host_addr, guest_addr;
    int host_port, guest_port;
} HostForward;
/* "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport" */
bool host_forward_parse(const char *rule, HostForward *out, GError **err);
/* "[tcp|udp]:[hostaddr]:hostport" */
bool host_forward_parse_host(const char *rule, HostForward *out);
typedef struct {
    struct in_addr addr;
    int port;
    char *target; /* what follows the '-'; caller frees */
} GuestForward;
/* "[tcp]:server:port-target" */
bool guest_forward_parse(const char *rule, GuestForward *out, GError **err);

#endif
