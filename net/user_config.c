/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of a user network, and the SlirpConfig that is made from them. */
#include "user.h"
#include <arpa/inet.h>
#include <string.h>
#include "base/error.h"
#include "base/shape.h"
#include "base/util.h"

#define PROP_TEXTS(n, f, h)                                                                        \
    {                                                                                              \
        .name = (n), .type = PROP_STRING_LIST, .offset = offsetof(UserOptions, f), .help = (h),    \
        .shape = &string_shape                                                                     \
    }
#define PROP_HAS(n, t, f, has, d, h)                                                               \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(UserOptions, f), .defval = (d), .help = (h),  \
        .flags = PROP_FLAG_HAS, .set_offset = offsetof(UserOptions, has)                           \
    }

const Property user_props[] = {
    PROP_HAS("ipv4", PROP_BOOL, ipv4, has_ipv4, "on", "IPv4"),
    PROP_HAS("ipv6", PROP_BOOL, ipv6, has_ipv6, "on", "IPv6"),
    PROP("net", PROP_STRING, UserOptions, net, NULL, "guest's network (default: 10.0.2.0/24)"),
    PROP("host", PROP_STRING, UserOptions, host, NULL, "host as the guest sees it (x.x.x.2)"),
    {.name = "ipv6-net",
     .type = PROP_STRING,
     .offset = offsetof(UserOptions, ipv6_net),
     .help = "guest's IPv6 network (default: fec0::/64)",
     .flags = PROP_FLAG_NOT_JSON},
    {.name = "ipv6-prefix",
     .type = PROP_STRING,
     .offset = offsetof(UserOptions, ipv6_prefix),
     .flags = PROP_FLAG_HIDDEN},
    {.name = "ipv6-prefixlen",
     .type = PROP_UINT8,
     .offset = offsetof(UserOptions, ipv6_prefixlen),
     .flags = PROP_FLAG_HIDDEN | PROP_FLAG_HAS,
     .set_offset = offsetof(UserOptions, has_ipv6_prefixlen)},
    PROP("ipv6-host", PROP_STRING, UserOptions, ipv6_host, NULL,
         "host as the guest sees it (xxxx::2)"),
    PROP("restrict", PROP_BOOL, UserOptions, restricted, "off",
         "the guest reaches nothing but what is forwarded"),
    PROP("hostname", PROP_STRING, UserOptions, hostname, NULL, "name that DHCP gives to the guest"),
    PROP("dhcpstart", PROP_STRING, UserOptions, dhcpstart, NULL,
         "first address that DHCP gives (x.x.x.15)"),
    PROP("dns", PROP_STRING, UserOptions, dns, NULL, "name server as the guest sees it (x.x.x.3)"),
    PROP("ipv6-dns", PROP_STRING, UserOptions, ipv6_dns, NULL, "the same with IPv6 (xxxx::3)"),
    PROP_TEXTS("dnssearch", dnssearch, "domain to search (may be repeated)"),
    PROP("domainname", PROP_STRING, UserOptions, domainname, NULL, "domain of the guest"),
    PROP("tftp", PROP_STRING, UserOptions, tftp, NULL, "directory that TFTP serves"),
    PROP("tftp-server-name", PROP_STRING, UserOptions, tftp_server, NULL,
         "name of the TFTP server that DHCP tells"),
    PROP("bootfile", PROP_STRING, UserOptions, bootfile, NULL, "file to boot that DHCP tells"),
    PROP_TEXTS("hostfwd", hostfwd,
               "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport (may be repeated)"),
    PROP_TEXTS("guestfwd", guestfwd,
               "[tcp]:server:port-cmd:COMMAND, -tcp:HOST:PORT, -unix:PATH (may be repeated)"),
    PROP("smb", PROP_STRING, UserOptions, smb, NULL, "directory that the host's smbd serves"),
    PROP("smbserver", PROP_STRING, UserOptions, smbserver, NULL, "its address (x.x.x.4)"),
    PROP_END,
};

static bool parse_in(const char *text, struct in_addr *out)
{
    return inet_pton(AF_INET, text, out) == 1;
}

static uint32_t host_order(struct in_addr a)
{
    return ntohl(a.s_addr);
}

static struct in_addr net_order(uint32_t a)
{
    return (struct in_addr){htonl(a)};
}

static bool in_network(const SlirpConfig *c, struct in_addr a)
{
    return (a.s_addr & c->vnetmask.s_addr) == c->vnetwork.s_addr;
}

/* "a.b.c.d", "a.b.c.d/24", "a.b.c.d/255.255.255.0" */
static bool parse_network(const char *text, SlirpConfig *c, GError **err)
{
    const char *slash = strchr(text, '/');
    g_autofree char *addr = slash ? g_strndup(text, slash - text) : g_strdup(text);
    uint32_t mask;
    uint64_t bits;

    if (!parse_in(addr, &c->vnetwork)) {
        return error_set(err, "Failed to parse netmask");
    }
    if (!slash) {
        /* QEMU's defaults: those of private blocks, else of address classes. */
        uint32_t a = host_order(c->vnetwork);

        mask = !(a & 0x80000000)                ? 0xff000000
               : (a & 0xfff00000) == 0xac100000 ? 0xfff00000 /* 172.16.0.0/12 */
               : (a & 0xc0000000) == 0x80000000 ? 0xffff0000
               : (a & 0xffff0000) == 0xc0a80000 ? 0xffff0000 /* 192.168.0.0/16 */
               : (a & 0xfffe0000) == 0xc6120000 ? 0xfffe0000 /* 198.18.0.0/15 */
                                                : 0xfffffff0;
    } else if (parse_uint(slash + 1, UINT32_MAX, &bits)) {
        if (bits < 4 || bits > 32) {
            return error_set(err, "Invalid netmask provided (must be in range 4-32)");
        }
        mask = bits == 32 ? UINT32_MAX : ~(UINT32_MAX >> bits);
    } else {
        struct in_addr m;

        if (!parse_in(slash + 1, &m)) {
            return error_set(err, "Failed to parse netmask");
        }
        mask = host_order(m);
        if (mask & (~mask >> 1)) {
            return error_set(err, "Invalid netmask '%s': its ones are not together", slash + 1);
        }
    }
    c->vnetmask = net_order(mask);
    c->vnetwork.s_addr &= c->vnetmask.s_addr;
    return true;
}

static bool configure_v4(const UserOptions *o, SlirpConfig *c, struct in_addr *smb, GError **err)
{
    uint32_t net, hosts;

    if (o->net && !parse_network(o->net, c, err)) {
        return false;
    }
    net = host_order(c->vnetwork);
    hosts = ~host_order(c->vnetmask);
    c->vhost = net_order(net | (hosts & 2));
    c->vdhcp_start = net_order(net | (hosts & 15));
    c->vnameserver = net_order(net | (hosts & 3));
    *smb = (struct in_addr){0};

    if (o->host && !parse_in(o->host, &c->vhost)) {
        return error_set(err, "Failed to parse host");
    }
    if (!in_network(c, c->vhost)) {
        return error_set(err, "Host doesn't belong to network");
    }
    if (o->dhcpstart && !parse_in(o->dhcpstart, &c->vdhcp_start)) {
        return error_set(err, "Failed to parse DHCP start address");
    }
    if (!in_network(c, c->vdhcp_start)) {
        return error_set(err, "DHCP doesn't belong to network");
    }
    if (o->dns && !parse_in(o->dns, &c->vnameserver)) {
        return error_set(err, "Failed to parse DNS");
    }
    if (c->vnameserver.s_addr == c->vhost.s_addr) {
        return error_set(err, "DNS must be different from host");
    }
    if (c->vdhcp_start.s_addr == c->vhost.s_addr ||
        c->vdhcp_start.s_addr == c->vnameserver.s_addr) {
        return error_set(err, "DHCP must be different from host and DNS");
    }
    if (o->smbserver && !parse_in(o->smbserver, smb)) {
        return error_set(err, "Failed to parse SMB address");
    }
    if (smb->s_addr == 0) {
        *smb = net_order(net | (hosts & 4));
    }
    return true;
}

/* ipv6-net=fec0::/64, or the pair ipv6-prefix= and ipv6-prefixlen= */
static bool parse_prefix(const UserOptions *o, SlirpConfig *c, GError **err)
{
    const char *text = o->ipv6_net ? o->ipv6_net : o->ipv6_prefix ? o->ipv6_prefix : "fec0::";
    const char *slash = strchr(text, '/');
    g_autofree char *addr = slash ? g_strndup(text, slash - text) : g_strdup(text);
    uint64_t bits = o->has_ipv6_prefixlen ? o->ipv6_prefixlen : 64;

    if (inet_pton(AF_INET6, addr, &c->vprefix_addr6) != 1) {
        return error_set(err, "Failed to parse IPv6 prefix");
    }
    if (slash && !parse_uint(slash + 1, 128, &bits)) {
        return error_set(err, "Invalid IPv6 prefix length '%s' provided (must be in range 0-126)",
                         slash + 1);
    }
    if (bits > 126) {
        return error_set(err, "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 "
                              "and 126)");
    }
    c->vprefix_len = bits;
    return true;
}

static bool in_prefix(const SlirpConfig *c, const struct in6_addr *a)
{
    unsigned bytes = c->vprefix_len / 8, rest = c->vprefix_len % 8;

    return memcmp(a, &c->vprefix_addr6, bytes) == 0 &&
           (!rest || (a->s6_addr[bytes] ^ c->vprefix_addr6.s6_addr[bytes]) >> (8 - rest) == 0);
}

static bool configure_v6(const UserOptions *o, SlirpConfig *c, GError **err)
{
    if (!parse_prefix(o, c, err)) {
        return false;
    }
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    if (o->ipv6_host) {
        if (inet_pton(AF_INET6, o->ipv6_host, &c->vhost6) != 1) {
            return error_set(err, "Failed to parse IPv6 host");
        }
        if (!in_prefix(c, &c->vhost6)) {
            return error_set(err, "IPv6 Host doesn't belong to network");
        }
    }
    if (o->ipv6_dns) {
        if (inet_pton(AF_INET6, o->ipv6_dns, &c->vnameserver6) != 1) {
            return error_set(err, "Failed to parse IPv6 DNS");
        }
        if (!in_prefix(c, &c->vnameserver6)) {
            return error_set(err, "IPv6 DNS doesn't belong to network");
        }
    }
    return true;
}

static bool check_names(const UserOptions *o, GError **err)
{
    if (o->hostname && strlen(o->hostname) > 32) {
        return error_set(err, "'hostname' parameter cannot be longer than 32 bytes");
    }
    if (o->domainname && !*o->domainname) {
        return error_set(err, "'domainname' parameter cannot be empty");
    }
    if (o->domainname && strlen(o->domainname) > 255) {
        return error_set(err, "'domainname' parameter cannot be longer than 255 bytes");
    }
    if (o->tftp_server && strlen(o->tftp_server) > 255) {
        return error_set(err, "'tftp-server-name' parameter cannot be longer than 255 bytes");
    }
    if (o->bootfile && strlen(o->bootfile) > 127) {
        return error_set(err, "'bootfile' parameter cannot be longer than 127 bytes");
    }
    if (o->tftp && !g_file_test(o->tftp, G_FILE_TEST_IS_DIR)) {
        return error_set(err, "'tftp': '%s' is not a directory", o->tftp);
    }
    return true;
}

bool user_config(const UserOptions *o, UserConfig *out, GError **err)
{
    SlirpConfig *c = &out->slirp;
    /* ipv4=on alone means ipv6=off, and the other way round. */
    bool v4 = o->has_ipv4 ? o->ipv4 : !(o->has_ipv6 && o->ipv6);
    bool v6 = o->has_ipv6 ? o->ipv6 : !(o->has_ipv4 && o->ipv4);
    json_t *value;
    size_t i;

    *out = (UserConfig){0};
    c->version = SLIRP_CONFIG_VERSION_MAX;
    c->restricted = o->restricted;
    c->in_enabled = v4;
    c->in6_enabled = v6;
    if (!v4 && !v6) {
        return error_set(err, "IPv4 and IPv6 disabled");
    }
    if (!v4 && (o->net || o->host || o->dhcpstart || o->dns)) {
        return error_set(err, "IPv4 disabled but netmask/network/host/dns provided");
    }
    if (!v6 && (o->ipv6_net || o->ipv6_prefix || o->ipv6_host || o->ipv6_dns)) {
        return error_set(err, "IPv6 disabled but prefix/host6/dns6 provided");
    }
    c->vnetwork = net_order(0x0a000200);
    c->vnetmask = net_order(0xffffff00);
    if (!configure_v4(o, c, &out->smb_server, err) || !configure_v6(o, c, err) ||
        !check_names(o, err)) {
        return false;
    }
    c->vhostname = o->hostname;
    c->tftp_server_name = o->tftp_server;
    c->tftp_path = o->tftp;
    c->bootfile = o->bootfile;
    c->vdomainname = o->domainname;
    if (json_array_size(o->dnssearch)) {
        out->search = g_ptr_array_new();
        json_array_foreach(o->dnssearch, i, value)
        {
            g_ptr_array_add(out->search, (char *)json_string_value(value));
        }
        g_ptr_array_add(out->search, NULL);
        c->vdnssearch = (const char **)out->search->pdata;
    }
    return true;
}

void user_config_clear(UserConfig *c)
{
    g_clear_pointer(&c->search, g_ptr_array_unref);
    c->slirp.vdnssearch = NULL;
    c->slirp.vhostname = c->slirp.tftp_server_name = c->slirp.tftp_path = NULL;
    c->slirp.bootfile = c->slirp.vdomainname = NULL;
}
