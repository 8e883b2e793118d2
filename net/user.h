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

/* What a SlirpConfig points to is owned by this. */
typedef struct {
    SlirpConfig slirp;
    struct in_addr smb_server; /* 0.0.0.0: slirp's default, x.x.x.4 */
    GPtrArray *search;         /* dnssearch, NULL-terminated */
    int prefix_bits;           /* of the netmask, for 'info network' */
} UserConfig;
bool user_config(const UserOptions *o, UserConfig *out, GError **err);
void user_config_clear(UserConfig *c);

/* A guestfwd to a server: one connection, made at start and again when the guest writes. */
typedef struct UserTarget UserTarget;
/* "tcp:HOST:PORT", "unix:PATH" */
bool user_target_is(const char *address);
UserTarget *user_target_new(const SlirpLib *lib, Slirp *slirp, const GuestForward *fwd,
                            const char *address, GError **err);
void user_target_free(UserTarget *t);
/* The guest may have made room: goes on reading. */
void user_target_poke(UserTarget *t);

/* smb=: writes smbd's configuration; *dir is what user_smb_stop() removes (caller frees). */
bool user_smb_start(const SlirpLib *lib, Slirp *slirp, const char *share, struct in_addr server,
                    char **dir, GError **err);
void user_smb_stop(const char *dir);

#endif
