/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the backends share among themselves. Home loop of the pair; configuration: main loop. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "net/net.h"
#include <netinet/in.h>
#include <sys/types.h>

extern const NetBackendClass net_user, net_tap, net_bridge, net_hubport;

/* peer.c */
/* Every peer there is: backends in the order they were made, NICs among them. Borrowed. */
GPtrArray *net_peers(void);
void net_peer_init(NetPeer *peer, const NetPeerOps *ops, const char *model, const char *name,
                   EventLoop *loop);
void net_join(NetPeer *a, NetPeer *b);
void net_part(NetPeer *peer);
/* Forgets and frees a backend's queue. */
void net_backend_destroy(NetPeer *peer);
/* "#net042": for what the user did not name. Caller frees. */
char *net_auto_id(void);
bool net_link_is_up(const NetPeer *peer);

/* netdev.c */
/* "name: index=0,type=nic,model=...,macaddr=...", as 'info network' shows it. Caller frees. */
char *net_peer_describe(NetPeer *peer);

/* hub.c */
/* A new port of hub 'number' under this name. */
NetPeer *hub_port_new(unsigned number, const char *name);
/* hub_port_new() with a name of its own ("hub0port1"). */
NetPeer *hub_port_new_auto(unsigned number);
void hub_check(void);
void hub_info(GString *out);
bool hub_is_port(const NetPeer *peer);
/* The hub that a peer is plugged into, or -1. */
int hub_number(const NetPeer *peer);

/* user.c */
bool user_is(const NetPeer *peer);

/* "tcp:10.0.2.100:22" and the like (user_rules.c); parsers are fuzzed. */
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
