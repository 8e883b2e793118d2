/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the user network: its stack and polling, options, guestfwd targets, SMB. */
#ifndef NET_USER_H
#define NET_USER_H

#include "internal.h"
#include "slirp_lib.h"

typedef struct {
    char *net, *host, *ipv6_net, *ipv6_prefix, *ipv6_host, *hostname, *dhcpstart, *dns, *ipv6_dns,
        *domainname, *tftp, *tftp_server, *bootfile, *smb, *smbserver;
    uint8_t ipv6_prefixlen;
    bool has_ipv6_prefixlen, ipv4, ipv6, has_ipv4, has_ipv6, restricted;
    json_t *hostfwd, *guestfwd, *dnssearch;
} UserOptions;

extern const Property user_props[];

/* A SlirpConfig and the data that it points to. Its strings belong to the UserOptions. */
typedef struct {
    SlirpConfig slirp;
    struct in_addr smb_server; /* 0.0.0.0: slirp's default, x.x.x.4 */
    GPtrArray *search;         /* dnssearch, NULL-terminated */
} UserConfig;
bool user_config(const UserOptions *o, UserConfig *out, GError **err);
void user_config_clear(UserConfig *c);

/*
 * guestfwd= to a server: one connection, made at start; when lost, again when the guest writes. A
 * loop's thread makes, uses and frees it.
 */
typedef struct UserTarget UserTarget;
/* "tcp:HOST:PORT", "unix:PATH" */
bool user_target_is(const char *address);
UserTarget *user_target_new(const SlirpLib *lib, Slirp *slirp, const GuestForward *fwd,
                            const char *address, GError **err);
void user_target_free(UserTarget *t);
/* Reads from the server again, where the guest has made room. */
void user_target_poke(UserTarget *t);
/*
 * Whether a frame of the guest brings the server bytes that there is no room for. slirp must not
 * get it then: the guest sends the segment again later, as after any loss.
 */
bool user_target_refuses(const UserTarget *t, const uint8_t *frame, size_t len);

/* smb=: writes smbd's configuration into *dir (caller frees), which user_smb_stop() removes. */
bool user_smb_start(const SlirpLib *lib, Slirp *slirp, const char *share, struct in_addr server,
                    char **dir, GError **err);
void user_smb_stop(const char *dir);

#endif
