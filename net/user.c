/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User networking: libslirp is the guest's router, DHCP server and name server, and makes the
 * guest's connections with this program's own sockets.
 *
 * libslirp expects a loop that calls slirp_pollfds_fill() before each poll(). An EventLoop waits
 * for registered descriptors, so user_turn() calls slirp_pollfds_fill() once after each activity (a
 * packet from the guest, a socket that is ready, a timer) and registers what has changed.
 * arm_tick() slows libslirp's periodic timer down when the network is idle.
 */
#include "user.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"
#include "ipv4_reassembly.h"

/* slirp_pollfds_fill() returns at least this where it needs no timer. */
#define NO_TIMEOUT_MS 1000
/* How long after the last activity slirp's periodic timer runs at full rate. */
#define BUSY_NS (20 * NS_PER_SEC)
/* The same where only forwarding listeners are open. */
#define BUSY_LISTENING_NS (2 * NS_PER_SEC)
#define SLOWEST_TICK_NS   (60 * NS_PER_SEC)
#define ETH_HEADER        14

/* A descriptor that slirp waits for. */
typedef struct {
    struct User *user;
    FdHandler *handler;
    int fd;
    unsigned generation;
} UserFd;

typedef struct User {
    NetPeer peer;
    const SlirpLib *lib;
    Slirp *slirp;
    UserConfig config;
    bool restricted;
    bool polling;
    /* struct pollfd: the descriptors of the last fill; slirp refers to them by index. */
    GArray *wanted;
    GHashTable *fds; /* UserFd by descriptor: those registered in the loop */
    unsigned generation;
    bool ready; /* a descriptor is ready, or the tick is due: user_turn() runs slirp */
    BottomHalf turn;
    Timer *tick;
    int64_t last_activity, tick_interval;
    GPtrArray *targets;  /* UserTarget */
    GHashTable *passive; /* descriptors that forwarding rules opened */
    char *smb_dir;
    Ipv4Reassembly *fragments;
} User;

static void user_activity(User *u)
{
    u->last_activity = clock_ns(CLOCK_REALTIME_NS);
    u->tick_interval = 0;
    bh_schedule(&u->turn);
}

/* From slirp. */

static ssize_t cb_send_packet(const void *buf, size_t len, void *opaque)
{
    User *u = opaque;
    static const uint8_t zeros[60];
    /* Ethernet frames are padded to 60 bytes; some guests' drivers insist. */
    struct iovec iov[2] = {{(void *)buf, len},
                           {(void *)zeros, len < sizeof zeros ? sizeof zeros - len : 0}};

    /* A packet that the NIC's queue has no room for is dropped: TCP sends it again. */
    net_deliver_iov(&u->peer, iov, iov[1].iov_len ? 2 : 1);
    return len;
}

static void cb_guest_error(const char *msg, void *opaque)
{
    log_guest_error("user network: %s", msg);
}

static int64_t cb_clock_get_ns(void *opaque)
{
    return clock_ns(CLOCK_VIRTUAL_NS);
}

typedef struct {
    User *user;
    SlirpTimerId id;
    void *cb_opaque;
    Timer *timer;
} UserTimer;

static void user_timer_fired(void *data)
{
    UserTimer *t = data;

    t->user->lib->slirp_handle_timer(t->user->slirp, t->id, t->cb_opaque);
    user_activity(t->user);
}

static void *cb_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    UserTimer *t = g_new0(UserTimer, 1);

    t->user = opaque;
    t->id = id;
    t->cb_opaque = cb_opaque;
    t->timer = timer_new(t->user->peer.loop, CLOCK_VIRTUAL_NS, user_timer_fired, t);
    return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
    UserTimer *t = timer;

    timer_free(t->timer);
    g_free(t);
}

static void cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    timer_arm(((UserTimer *)timer)->timer, expire_ms * NS_PER_MS);
}

static void cb_register_fd(int fd, void *opaque)
{
    /* Nothing: slirp_pollfds_fill() lists all descriptors. */
}

static void user_fd_free(void *data)
{
    UserFd *f = data;

    fd_handler_remove(f->handler);
    g_free(f);
}

/* slirp closes the descriptor next, and the kernel may give its number to another. */
static void cb_unregister_fd(int fd, void *opaque)
{
    User *u = opaque;

    g_hash_table_remove(u->fds, GINT_TO_POINTER(fd));
    g_hash_table_remove(u->passive, GINT_TO_POINTER(fd));
    for (unsigned i = 0; i < u->wanted->len; i++) {
        struct pollfd *p = &g_array_index(u->wanted, struct pollfd, i);

        if (p->fd == fd) {
            p->fd = -1;
        }
    }
}

static void cb_notify(void *opaque)
{
    bh_schedule(&((User *)opaque)->turn);
}

static const SlirpCb callbacks = {
    .send_packet = cb_send_packet,
    .guest_error = cb_guest_error,
    .clock_get_ns = cb_clock_get_ns,
    .timer_new_opaque = cb_timer_new,
    .timer_free = cb_timer_free,
    .timer_mod = cb_timer_mod,
    .register_poll_fd = cb_register_fd,
    .unregister_poll_fd = cb_unregister_fd,
    .notify = cb_notify,
};

/* Polling. */

static int to_poll(int events)
{
    return (events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
           (events & SLIRP_POLL_PRI ? POLLPRI : 0);
}

static int add_poll(int fd, int events, void *opaque)
{
    User *u = opaque;
    struct pollfd p = {.fd = fd, .events = to_poll(events)};

    g_array_append_val(u->wanted, p);
    return u->wanted->len - 1;
}

static int get_revents(int idx, void *opaque)
{
    User *u = opaque;
    short r;

    if (idx < 0 || idx >= (int)u->wanted->len) {
        return 0;
    }
    r = g_array_index(u->wanted, struct pollfd, idx).revents;
    return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
           (r & POLLPRI ? SLIRP_POLL_PRI : 0) | (r & POLLERR ? SLIRP_POLL_ERR : 0) |
           (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void fd_ready(void *data)
{
    UserFd *f = data;

    f->user->ready = true;
    user_activity(f->user);
}

static gboolean fd_is_stale(void *key, void *value, void *data)
{
    return ((UserFd *)value)->generation != ((User *)data)->generation;
}

/* Registers the descriptors of the last fill. True where not all are forwarding listeners. */
static bool sync_fds(User *u)
{
    bool connections = false;

    u->generation++;
    for (unsigned i = 0; i < u->wanted->len; i++) {
        struct pollfd *p = &g_array_index(u->wanted, struct pollfd, i);
        UserFd *f = g_hash_table_lookup(u->fds, GINT_TO_POINTER(p->fd));

        if (!f) {
            f = g_new0(UserFd, 1);
            f->user = u;
            f->fd = p->fd;
            f->handler = event_loop_add_fd(u->peer.loop, p->fd, fd_ready, fd_ready, f);
            g_hash_table_insert(u->fds, GINT_TO_POINTER(p->fd), f);
        }
        f->generation = u->generation;
        fd_handler_set(f->handler, u->polling && (p->events & (POLLIN | POLLPRI)),
                       u->polling && (p->events & POLLOUT));
        connections |= !g_hash_table_contains(u->passive, GINT_TO_POINTER(p->fd));
    }
    g_hash_table_foreach_remove(u->fds, fd_is_stale, u);
    return connections;
}

/*
 * slirp wants to be run every half second while any TCP socket is open, even a forwarding listener:
 * to retransmit, to acknowledge, and to expire connections. Some time after the last activity there
 * is nothing to retransmit, and expiry may be late. The interval is then doubled each time, up to
 * SLOWEST_TICK_NS: an idle network costs few wake-ups, and connections still expire.
 */
static void arm_tick(User *u, uint32_t timeout_ms, bool connections)
{
    int64_t now = clock_ns(CLOCK_REALTIME_NS), interval = timeout_ms * NS_PER_MS;

    if (timeout_ms >= NO_TIMEOUT_MS || !u->polling) {
        timer_cancel(u->tick);
        return;
    }
    if (now - u->last_activity > (connections ? BUSY_NS : BUSY_LISTENING_NS)) {
        u->tick_interval = MIN(MAX(u->tick_interval, interval) * 2, SLOWEST_TICK_NS);
        interval = u->tick_interval;
    }
    timer_arm(u->tick, now + interval);
}

/* Fills u->wanted; returns slirp's timeout in ms. */
static uint32_t net_user_fill(User *u)
{
    uint32_t timeout_ms = UINT32_MAX;

    g_array_set_size(u->wanted, 0);
    u->lib->slirp_pollfds_fill(u->slirp, &timeout_ms, add_poll, u);
    return timeout_ms;
}

/* The bottom half: runs slirp where u->ready is set, then registers what slirp waits for. */
static void user_turn(void *data)
{
    User *u = data;
    uint32_t timeout_ms;

    if (u->ready) {
        u->ready = false;
        if (poll((struct pollfd *)u->wanted->data, u->wanted->len, 0) < 0) {
            for (unsigned i = 0; i < u->wanted->len; i++) {
                g_array_index(u->wanted, struct pollfd, i).revents = 0;
            }
        }
        u->lib->slirp_pollfds_poll(u->slirp, 0, get_revents, u);
    }
    for (unsigned i = 0; i < u->targets->len; i++) {
        user_target_poke(g_ptr_array_index(u->targets, i));
    }
    timeout_ms = net_user_fill(u);
    arm_tick(u, timeout_ms, sync_fds(u));
}

static void user_tick(void *data)
{
    User *u = data;

    u->ready = true;
    user_turn(u);
}

/* From the NIC. */

static bool refused_by_target(User *u, const uint8_t *frame, size_t len)
{
    for (unsigned i = 0; i < u->targets->len; i++) {
        if (user_target_refuses(g_ptr_array_index(u->targets, i), frame, len)) {
            return true;
        }
    }
    return false;
}

/*
 * slirp never gets a fragment of IPv4: its own reassembly (of libslirp 4.7 and older, at least)
 * writes through wild pointers when a last fragment comes alone, and for others out of order. It
 * takes a whole datagram in one frame of any size.
 */
static void net_user_input(User *u, const uint8_t *frame, size_t len)
{
    g_autofree uint8_t *whole = NULL;

    if (ipv4_is_fragment(frame, len)) {
        frame = whole =
            ipv4_reassembly_add(u->fragments, frame, len, clock_ns(CLOCK_VIRTUAL_NS), &len);
    }
    if (frame && !refused_by_target(u, frame, len)) {
        u->lib->slirp_input(u->slirp, frame, len);
    }
}

static ssize_t user_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    User *u = container_of(self, User, peer);
    size_t len = iov_size(iov, n);
    uint8_t small[2048];
    g_autofree uint8_t *large = NULL;
    uint8_t *frame = small;

    if (len < ETH_HEADER || len > NET_PACKET_MAX) {
        return -1;
    }
    /* A copy: guest memory may change between the checks here and slirp's reading. */
    if (len > sizeof small) {
        frame = large = g_malloc(len);
    }
    iov_to_buf(iov, n, 0, frame, len);
    net_user_input(u, frame, len);
    user_activity(u);
    return len;
}

static void user_set_polling(NetPeer *self, bool on)
{
    User *u = container_of(self, User, peer);

    u->polling = on;
    bh_schedule(&u->turn);
}

static char *user_info(NetPeer *self)
{
    User *u = container_of(self, User, peer);
    char net[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &u->config.slirp.vnetwork, net, sizeof net);
    return g_strdup_printf("net=%s,restrict=%s", net, u->restricted ? "on" : "off");
}

static void user_destroy(NetPeer *self)
{
    User *u = container_of(self, User, peer);

    bh_cancel(&u->turn);
    if (u->slirp) {
        u->lib->slirp_cleanup(u->slirp);
    }
    if (u->smb_dir) {
        user_smb_stop(u->smb_dir);
    }
    g_ptr_array_unref(u->targets);
    timer_free(u->tick);
    g_hash_table_unref(u->fds);
    g_hash_table_unref(u->passive);
    g_array_unref(u->wanted);
    g_free(u->smb_dir);
    ipv4_reassembly_free(u->fragments);
    g_free(u);
}

static const NetPeerOps user_ops = {
    .receive = user_receive,
    .destroy = user_destroy,
    .set_polling = user_set_polling,
    .info = user_info,
};

bool user_is(const NetPeer *peer)
{
    return peer->ops == &user_ops;
}

/* Forwarding rules. */

static GHashTable *waited_for(User *u)
{
    GHashTable *set = g_hash_table_new(NULL, NULL);

    net_user_fill(u);
    for (unsigned i = 0; i < u->wanted->len; i++) {
        g_hash_table_add(set, GINT_TO_POINTER(g_array_index(u->wanted, struct pollfd, i).fd));
    }
    return set;
}

/* Notes the descriptors that a rule has opened: as listeners, they need no timer of slirp's. */
static void note_passive(User *u, GHashTable *before)
{
    g_autoptr(GHashTable) after = waited_for(u);
    GHashTableIter it;
    void *fd;

    g_hash_table_iter_init(&it, after);
    while (g_hash_table_iter_next(&it, &fd, NULL)) {
        if (!g_hash_table_contains(before, fd)) {
            g_hash_table_add(u->passive, fd);
        }
    }
}

static bool add_hostfwd(User *u, const char *rule, GError **err)
{
    HostForward f;

    if (!host_forward_parse(rule, &f, err)) {
        return false;
    }
    if (!f.guest_addr.s_addr) {
        f.guest_addr = u->config.slirp.vdhcp_start;
    }
    g_autoptr(GHashTable) before = waited_for(u);
    errno = 0;
    int r = u->lib->slirp_add_hostfwd(u->slirp, f.udp, f.host_addr, f.host_port, f.guest_addr,
                                      f.guest_port);
    if (r < 0) {
        int errnum = errno;

        error_set(err, "Could not set up host forwarding rule '%s'", rule);
        if (errnum && err) {
            g_autofree char *text = g_strdup((*err)->message);

            g_clear_error(err);
            error_set_errno(err, errnum, "%s", text);
        }
        return false;
    }
    note_passive(u, before);
    bh_schedule(&u->turn);
    return true;
}

static bool add_guestfwd(User *u, const char *rule, GError **err)
{
    GuestForward f;
    bool ok = true;

    if (!guest_forward_parse(rule, &f, err)) {
        return false;
    }
    if (g_str_has_prefix(f.target, "cmd:") && f.target[4]) {
        ok = u->lib->slirp_add_exec(u->slirp, f.target + 4, &f.addr, f.port) >= 0 ||
             error_set(err, "Conflicting/invalid host:port in guest forwarding rule '%s'", rule);
    } else if (user_target_is(f.target)) {
        UserTarget *t = user_target_new(u->lib, u->slirp, &f, f.target, err);

        ok = t != NULL;
        if (ok) {
            g_ptr_array_add(u->targets, t);
        } else {
            g_prefix_error(err, "guest forwarding rule '%s': ", rule);
        }
    } else {
        ok = error_set(err,
                       "Invalid guest forwarding rule '%s': it ends in cmd:COMMAND, "
                       "tcp:HOST:PORT or unix:PATH",
                       rule);
    }
    g_free(f.target);
    return ok;
}

static bool each_rule(User *u, json_t *rules, bool (*add)(User *, const char *, GError **),
                      GError **err)
{
    json_t *value;
    size_t i;

    json_array_foreach(rules, i, value)
    {
        if (!add(u, json_string_value(value), err)) {
            return false;
        }
    }
    return true;
}

/* NULL and *err where there is no such user network. */
static User *find_user(const char *id, GError **err)
{
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);

        if (id && g_str_equal(p->name, id) && !user_is(p)) {
            error_set(err, "device '%s' is not a user network", id);
            return NULL;
        }
        if (user_is(p) && (!id || g_str_equal(p->name, id))) {
            return container_of(p, User, peer);
        }
    }
    if (id) {
        error_set(err, "unrecognized netdev id '%s'", id);
    } else {
        error_set(err, "user mode network stack not in use");
    }
    return NULL;
}

bool net_hostfwd_add(const char *id, const char *rule, GError **err)
{
    User *u = find_user(id, err);

    return u && add_hostfwd(u, rule, err);
}

bool net_hostfwd_remove(const char *id, const char *rule, GError **err)
{
    User *u = find_user(id, err);
    HostForward f;

    if (!u) {
        return false;
    }
    if (!host_forward_parse_host(rule, &f)) {
        return error_set(err, "invalid format");
    }
    if (u->lib->slirp_remove_hostfwd(u->slirp, f.udp, f.host_addr, f.host_port) < 0) {
        return error_set(err, "host forwarding rule for %s not found", rule);
    }
    bh_schedule(&u->turn);
    return true;
}

char *net_info_usernet(const char *id)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);

        if (user_is(p) && (!id || g_str_equal(p->name, id))) {
            User *u = container_of(p, User, peer);
            /* libslirp allocates by g_malloc(). */
            g_autofree char *text = u->lib->slirp_connection_info(u->slirp);

            g_string_append_printf(out, "Hub %d (%s):\n%s", hub_number(p), p->name, text);
        }
    }
    return g_string_free(out, FALSE);
}

/* Creation. */

static bool net_user_start(User *u, const UserOptions *o, GError **err)
{
    u->slirp = u->lib->slirp_new(&u->config.slirp, &callbacks, u);
    if (!u->slirp) {
        return error_set(err, "libslirp refuses the configuration");
    }
    return each_rule(u, o->hostfwd, add_hostfwd, err) &&
           each_rule(u, o->guestfwd, add_guestfwd, err) &&
           (!o->smb ||
            user_smb_start(u->lib, u->slirp, o->smb, u->config.smb_server, &u->smb_dir, err));
}

static bool user_create(const char *id, void *options, GError **err)
{
    UserOptions *o = options;
    const SlirpLib *lib = slirp_lib(err);
    UserConfig config;
    User *u;

    if (!lib) {
        return false;
    }
    if (!user_config(o, &config, err)) {
        user_config_clear(&config);
        return false;
    }
    u = g_new0(User, 1);
    u->lib = lib;
    u->config = config;
    u->restricted = o->restricted;
    u->wanted = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    u->fds = g_hash_table_new_full(NULL, NULL, NULL, user_fd_free);
    u->passive = g_hash_table_new(NULL, NULL);
    u->fragments = ipv4_reassembly_new();
    u->targets = g_ptr_array_new_with_free_func((GDestroyNotify)user_target_free);
    net_peer_init(&u->peer, &user_ops, "user", id, event_loop_current());
    bh_init(&u->turn, u->peer.loop, user_turn, u);
    u->tick = timer_new(u->peer.loop, CLOCK_REALTIME_NS, user_tick, u);
    u->last_activity = clock_ns(CLOCK_REALTIME_NS);
    bool ok = net_user_start(u, o, err);
    /* slirp has copied the strings of its configuration. */
    user_config_clear(&u->config);
    if (!ok) {
        net_backend_destroy(&u->peer);
        return false;
    }
    bh_schedule(&u->turn);
    return true;
}

const NetBackendClass net_user = {
    .name = "user",
    .help = "the host's network without any privilege, by libslirp",
    .size = sizeof(UserOptions),
    .props = user_props,
    .create = user_create,
};
