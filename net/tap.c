/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tap interface of the host: frames go in and out through a descriptor of /dev/net/tun, one for
 * each queue. With IFF_VNET_HDR each frame is preceded by a virtio_net_hdr, for checksum and
 * segmentation offloads between guest and host. For a NIC without that header it is removed and
 * added here.
 */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"

#define DEFAULT_SCRIPT     "/etc/qemu-ifup"
#define DEFAULT_DOWNSCRIPT "/etc/qemu-ifdown"
#define DEFAULT_HELPER     "/usr/lib/qemu/qemu-bridge-helper"
#define DEFAULT_BRIDGE     "br0"
/* Limit of frames that are read in one callback, so that the loop's other handlers get a turn. */
#define READ_BUDGET 64
/* Length of a virtio_net_hdr: the kernel's default, and the one with num_buffers. */
#define VNET_HDR_MIN 10
#define VNET_HDR_MAX 12
#define IOV_MAX_TAP  1024
#define MAX_QUEUES   256 /* MAX_TAP_QUEUES of Linux */

typedef struct {
    NetPeer peer;
    int fd;
    FdHandler *handler;
    unsigned host_hdr_len; /* of the virtio_net_hdr of the descriptor's frames; 0: none */
    bool enabled;          /* attached to the interface (multiqueue) */
    bool want_read, want_write;
    char *ifname, *downscript; /* downscript: on queue 0 only */
    char *info;
    uint8_t *buffer; /* NET_PACKET_MAX bytes */
} Tap;

typedef struct {
    char *ifname, *fd, *fds, *script, *downscript, *br, *helper, *vhostfd, *vhostfds;
    bool vnet_hdr, has_vnet_hdr, vhost, vhostforce;
    uint64_t sndbuf;
    uint32_t queues, poll_us;
    bool has_queues;
} TapOptions;

static const Property tap_props[] = {
    PROP("ifname", PROP_STRING, TapOptions, ifname, NULL, "interface; 'tap%d' for a free one"),
    PROP("fd", PROP_STRING, TapOptions, fd, NULL, "open tap descriptor that was inherited"),
    PROP("fds", PROP_STRING, TapOptions, fds, NULL, "the same for several queues: x:y:..."),
    PROP("script", PROP_STRING, TapOptions, script, NULL,
         "run with the interface's name to set it up; 'no': none (default: " DEFAULT_SCRIPT
         " where it is there)"),
    PROP("downscript", PROP_STRING, TapOptions, downscript, NULL,
         "the same to take it down (default: " DEFAULT_DOWNSCRIPT " where it is there)"),
    PROP("br", PROP_STRING, TapOptions, br, NULL, "bridge that the helper plugs into"),
    PROP("helper", PROP_STRING, TapOptions, helper, NULL, "program that makes the interface"),
    {.name = "vnet_hdr",
     .type = PROP_BOOL,
     .offset = offsetof(TapOptions, vnet_hdr),
     .help = "offloads between guest and host (default: where the host has them)",
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(TapOptions, has_vnet_hdr)},
    {.name = "queues",
     .type = PROP_UINT32,
     .offset = offsetof(TapOptions, queues),
     .defval = "1",
     .help = "queues to open on a multiqueue interface",
     .min = 1,
     .max = MAX_QUEUES,
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(TapOptions, has_queues)},
    PROP("sndbuf", PROP_SIZE, TapOptions, sndbuf, "0", "limit of what the host queues; 0: none"),
    {.name = "vhost",
     .type = PROP_BOOL,
     .offset = offsetof(TapOptions, vhost),
     .defval = "off",
     .help = "packets are moved by the host's kernel (not supported)",
     .flags = PROP_FLAG_FIXED},
    {.name = "vhostforce",
     .type = PROP_BOOL,
     .offset = offsetof(TapOptions, vhostforce),
     .defval = "off",
     .flags = PROP_FLAG_FIXED | PROP_FLAG_HIDDEN},
    {.name = "vhostfd",
     .type = PROP_STRING,
     .offset = offsetof(TapOptions, vhostfd),
     .flags = PROP_FLAG_HIDDEN},
    {.name = "vhostfds",
     .type = PROP_STRING,
     .offset = offsetof(TapOptions, vhostfds),
     .flags = PROP_FLAG_HIDDEN},
    {.name = "poll-us",
     .type = PROP_UINT32,
     .offset = offsetof(TapOptions, poll_us),
     .defval = "0",
     .flags = PROP_FLAG_FIXED | PROP_FLAG_HIDDEN},
    PROP_END,
};

static const Property bridge_props[] = {
    PROP("br", PROP_STRING, TapOptions, br, NULL, "bridge (default: " DEFAULT_BRIDGE ")"),
    PROP("helper", PROP_STRING, TapOptions, helper, NULL,
         "program that makes the interface (default: " DEFAULT_HELPER ")"),
    PROP_END,
};

/* Frames. */

static void tap_update(Tap *t)
{
    fd_handler_set(t->handler, t->want_read && t->enabled, t->want_write);
}

static void tap_set_polling(NetPeer *self, bool on)
{
    Tap *t = container_of(self, Tap, peer);

    t->want_read = on;
    tap_update(t);
}

static void tap_readable(void *data)
{
    Tap *t = data;
    /* The header is removed for a NIC without one. */
    unsigned skip = t->host_hdr_len && !t->peer.vnet_hdr_len ? t->host_hdr_len : 0;
    bool more = true;

    for (int i = 0; i < READ_BUDGET && more && t->want_read; i++) {
        ssize_t n = read(t->fd, t->buffer, NET_PACKET_MAX);
        struct iovec iov;

        if (n <= 0) {
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0 && errno != EAGAIN) {
                /* The interface is gone or down (EIO, EBADFD): polling it would spin. */
                log_warn("netdev %s: reading from %s failed: %s", t->peer.name, t->ifname,
                         g_strerror(errno));
                t->enabled = false;
                tap_update(t);
            }
            return;
        }
        if ((size_t)n <= skip) {
            continue;
        }
        iov = (struct iovec){t->buffer + skip, n - skip};
        more = net_deliver_now(&t->peer, &iov, 1);
    }
}

static void tap_writable(void *data)
{
    Tap *t = data;

    t->want_write = false;
    tap_update(t);
    net_peer_ready(&t->peer);
}

static ssize_t tap_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    static const uint8_t no_offload[VNET_HDR_MAX];
    Tap *t = container_of(self, Tap, peer);
    struct iovec v[IOV_MAX_TAP];
    unsigned used = 0;
    ssize_t r;

    if (t->host_hdr_len && !self->vnet_hdr_len) {
        v[used++] = (struct iovec){(void *)no_offload, t->host_hdr_len};
    }
    if (n > IOV_MAX_TAP - used) {
        return -1;
    }
    memcpy(v + used, iov, n * sizeof *iov);
    do {
        r = writev(t->fd, v, used + n);
    } while (r < 0 && errno == EINTR);
    if (r < 0 && errno == EAGAIN) {
        t->want_write = true;
        tap_update(t);
        return 0;
    }
    /* Other errors (interface down, a frame that the kernel refuses) drop the frame. */
    return r < 0 ? -1 : (ssize_t)iov_size(iov, n);
}

/* Offloads. */

static bool tap_set_vnet_hdr_len(NetPeer *self, unsigned len)
{
    Tap *t = container_of(self, Tap, peer);
    int value = len;

    if (len && !t->host_hdr_len) {
        return false;
    }
    if (len) {
        if (ioctl(t->fd, TUNSETVNETHDRSZ, &value) < 0) {
            return false;
        }
        t->host_hdr_len = len;
    }
    self->vnet_hdr_len = len;
    if (self->peer) {
        self->peer->vnet_hdr_len = len;
    }
    return true;
}

static bool tap_has_vnet_hdr(NetPeer *self)
{
    return container_of(self, Tap, peer)->host_hdr_len != 0;
}

static unsigned to_tun_flags(unsigned offloads)
{
    unsigned flags = 0;

    /* The kernel accepts segmentation offloads only together with TUN_F_CSUM. */
    if (offloads & NET_OFFLOAD_CSUM) {
        flags |= TUN_F_CSUM;
        flags |= offloads & NET_OFFLOAD_TSO4 ? TUN_F_TSO4 : 0;
        flags |= offloads & NET_OFFLOAD_TSO6 ? TUN_F_TSO6 : 0;
        flags |=
            (offloads & NET_OFFLOAD_ECN) && (flags & (TUN_F_TSO4 | TUN_F_TSO6)) ? TUN_F_TSO_ECN : 0;
        flags |= offloads & NET_OFFLOAD_UFO ? TUN_F_UFO : 0;
    }
    return flags;
}

static void tap_set_offload(NetPeer *self, unsigned offloads)
{
    Tap *t = container_of(self, Tap, peer);
    unsigned flags = to_tun_flags(offloads);

    if (!t->host_hdr_len) {
        return;
    }
    if (ioctl(t->fd, TUNSETOFFLOAD, flags) < 0 &&
        ioctl(t->fd, TUNSETOFFLOAD, flags & ~TUN_F_UFO) < 0) {
        log_warn("netdev %s: TUNSETOFFLOAD failed: %s", self->name, g_strerror(errno));
    }
}

/* Resets the offloads to test them: to be called only before a driver has set them. */
static unsigned tap_supported_offloads(NetPeer *self)
{
    Tap *t = container_of(self, Tap, peer);
    unsigned all = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;

    if (!t->host_hdr_len) {
        return 0;
    }
    /* Some kernels refuse UFO: then the guest is not offered it. */
    if (ioctl(t->fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_UFO) == 0) {
        all |= NET_OFFLOAD_UFO;
    }
    ioctl(t->fd, TUNSETOFFLOAD, 0);
    return all;
}

static bool tap_set_queue_enabled(NetPeer *self, unsigned queue, bool on)
{
    Tap *t = container_of(self, Tap, peer);
    struct ifreq ifr = {.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

    if (t->enabled == on) {
        return true;
    }
    if (ioctl(t->fd, TUNSETQUEUE, &ifr) < 0) {
        return false;
    }
    t->enabled = on;
    tap_update(t);
    return true;
}

static char *tap_info(NetPeer *self)
{
    return g_strdup(container_of(self, Tap, peer)->info);
}

/* Scripts and the helper. */

static void child_setup(void *data)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    host_restore_file_limit();
}

static bool run_script(const char *script, const char *ifname, GError **err)
{
    const char *argv[] = {script, ifname, NULL};
    g_autoptr(GError) reason = NULL;
    int status = 0;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_CHILD_INHERITS_STDIN, child_setup, NULL,
                      NULL, NULL, &status, &reason)) {
        return error_set(err, "could not launch network script %s: %s", script, reason->message);
    }
    if (status != 0) {
        return error_set(err, "network script %s failed with status %d", script,
                         WIFEXITED(status) ? WEXITSTATUS(status) : status);
    }
    return true;
}

/* The script to run, or NULL for none: 'standard' is run where it is an executable file. */
static const char *choose_script(const char *option, const char *standard)
{
    if (option) {
        return *option && !g_str_equal(option, "no") ? option : NULL;
    }
    return access(standard, X_OK) == 0 ? standard : NULL;
}

static void tap_destroy(NetPeer *self)
{
    Tap *t = container_of(self, Tap, peer);

    if (t->downscript) {
        g_autoptr(GError) err = NULL;

        if (!run_script(t->downscript, t->ifname, &err)) {
            log_warn("%s", err->message);
        }
    }
    fd_handler_remove(t->handler);
    fd_close(&t->fd);
    g_free(t->buffer);
    g_free(t->info);
    g_free(t->ifname);
    g_free(t->downscript);
    g_free(t);
}

static const NetPeerOps tap_ops = {
    .receive = tap_receive,
    .destroy = tap_destroy,
    .set_vnet_hdr_len = tap_set_vnet_hdr_len,
    .set_offload = tap_set_offload,
    .supported_offloads = tap_supported_offloads,
    .has_vnet_hdr = tap_has_vnet_hdr,
    .set_queue_enabled = tap_set_queue_enabled,
    .set_polling = tap_set_polling,
    .info = tap_info,
};

static NetPeer *tap_new_queue(const char *id, const char *model, int fd, bool vnet_hdr,
                              unsigned index, const char *ifname, const char *downscript)
{
    Tap *t = g_new0(Tap, 1);

    t->fd = fd;
    t->enabled = true;
    t->ifname = g_strdup(ifname ? ifname : "?");
    t->downscript = index == 0 ? g_strdup(downscript) : NULL;
    t->buffer = g_malloc(NET_PACKET_MAX);
    fd_set_nonblock(fd, true);
    if (vnet_hdr) {
        int len = VNET_HDR_MIN;

        ioctl(fd, TUNSETVNETHDRSZ, &len);
        ioctl(fd, TUNSETOFFLOAD, 0);
        t->host_hdr_len = VNET_HDR_MIN;
    }
    net_peer_init(&t->peer, &tap_ops, model, id, event_loop_current());
    t->peer.queue_index = index;
    t->handler = event_loop_add_fd(t->peer.loop, fd, tap_readable, tap_writable, t);
    tap_update(t);
    return &t->peer;
}

/* Opening. */

static bool tun_error(const char *what, const char *ifname, int errnum, GError **err)
{
    const char *advice = "";

    if (errnum == EPERM || errnum == EACCES) {
        advice = "; run as root, or let root make the interface for this user: ip tuntap add dev "
                 "NAME mode tap user USER; ip link set NAME up";
    } else if (errnum == ENOENT || errnum == ENODEV) {
        advice = "; is the module there? modprobe tun";
    } else if (errnum == EBUSY) {
        advice = "; another program has it open";
    } else if (errnum == EINVAL) {
        advice = "; it may exist with other flags (a tun, or queues=1 against several)";
    }
    return error_set(err, "could not %s (%s): %s%s", what, ifname, g_strerror(errnum), advice);
}

/* Opens a queue of an interface; *name is the interface's real name (caller frees). */
static int tap_open(const char *ifname, const TapOptions *o, bool *vnet_hdr, char **name,
                    GError **err)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    unsigned features = 0;
    int fd = host_open("/dev/net/tun", O_RDWR, 0, NULL), sndbuf;

    if (fd < 0) {
        tun_error("open /dev/net/tun", ifname, errno, err);
        return -1;
    }
    ioctl(fd, TUNGETFEATURES, &features);
    *vnet_hdr = (o->vnet_hdr || !o->has_vnet_hdr) && (features & IFF_VNET_HDR);
    if (o->vnet_hdr && !*vnet_hdr) {
        error_set(err, "vnet_hdr=1 requested, but no kernel support for IFF_VNET_HDR available");
        close(fd);
        return -1;
    }
    if (o->queues > 1 && !(features & IFF_MULTI_QUEUE)) {
        error_set(err, "multiqueue required, but no kernel support for IFF_MULTI_QUEUE available");
        close(fd);
        return -1;
    }
    ifr.ifr_flags |= (*vnet_hdr ? IFF_VNET_HDR : 0) | (o->queues > 1 ? IFF_MULTI_QUEUE : 0);
    if (strlen(ifname) >= IFNAMSIZ) {
        error_set(err, "ifname '%s' is too long: an interface's name has at most %d characters",
                  ifname, IFNAMSIZ - 1);
        close(fd);
        return -1;
    }
    strcpy(ifr.ifr_name, ifname);
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        tun_error("configure /dev/net/tun", ifname, errno, err);
        close(fd);
        return -1;
    }
    sndbuf = o->sndbuf && o->sndbuf < INT32_MAX ? (int)o->sndbuf : INT32_MAX;
    if (ioctl(fd, TUNSETSNDBUF, &sndbuf) < 0 && o->sndbuf) {
        error_set_errno(err, errno, "TUNSETSNDBUF ioctl failed");
        close(fd);
        return -1;
    }
    *name = g_strdup(ifr.ifr_name);
    return fd;
}

/* An inherited descriptor; the kernel tells its interface and whether frames have a header. */
static int tap_inherit(const char *text, bool *vnet_hdr, char **name, GError **err)
{
    struct ifreq ifr = {0};
    uint64_t fd;

    if (!parse_uint(text, INT32_MAX, &fd)) {
        error_set(err, "No file descriptor named '%s' found", text);
        return -1;
    }
    if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
        error_set_errno(err, errno, "file descriptor '%s' is not a tap interface", text);
        return -1;
    }
    if (!host_take_fd(fd, err)) {
        return -1;
    }
    *vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
    *name = g_strdup(ifr.ifr_name);
    return fd;
}

/* Receives the tap descriptor that the helper, which is set-user-id root, sends; -1: none. */
static int tap_receive_fd(int sock)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    struct cmsghdr *c;
    ssize_t n;
    int fd = -1;

    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof fd)) {
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    }
    return fd;
}

static int tap_by_helper(const char *helper, const char *bridge, GError **err)
{
    g_autofree char *br = g_strdup_printf("--br=%s", bridge);
    g_autofree char *fd_arg = NULL;
    g_autoptr(GError) reason = NULL;
    int pair[2], fd, status = 0;
    GPid pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) {
        error_set_errno(err, errno, "bridge helper");
        return -1;
    }
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    fd_arg = g_strdup_printf("--fd=%d", pair[1]);
    /* G_SPAWN_LEAVE_DESCRIPTORS_OPEN: all other descriptors of this program are close-on-exec. */
    const char *argv[] = {helper, "--use-vnet", fd_arg, br, NULL};
    bool ok = g_spawn_async(NULL, (char **)argv, NULL,
                            G_SPAWN_LEAVE_DESCRIPTORS_OPEN | G_SPAWN_DO_NOT_REAP_CHILD, child_setup,
                            NULL, &pid, &reason);

    close(pair[1]);
    fd = ok ? tap_receive_fd(pair[0]) : -1;
    close(pair[0]);
    if (!ok) {
        error_set(err, "bridge helper failed: %s", reason->message);
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (fd < 0 || status != 0) {
        error_set(err,
                  "bridge helper %s failed for bridge '%s'; is it set-user-id root, and does "
                  "/etc/qemu/bridge.conf say 'allow %s'?",
                  helper, bridge, bridge);
        fd_close(&fd);
    }
    return fd;
}

static void set_info(Tap *t, char *text)
{
    g_free(t->info);
    t->info = text;
}

static bool create_inherited(const char *id, const char *list, const char *model, const char *how,
                             GError **err)
{
    g_auto(GStrv) texts = g_strsplit(list, ":", -1);
    g_autoptr(GPtrArray) made = g_ptr_array_new();

    for (unsigned i = 0; texts[i]; i++) {
        g_autofree char *name = NULL;
        bool vnet_hdr;
        int fd = i < MAX_QUEUES ? tap_inherit(texts[i], &vnet_hdr, &name, err) : -1;

        if (fd < 0) {
            if (i >= MAX_QUEUES) {
                error_set(err, "at most %d queues are possible", MAX_QUEUES);
            }
            for (unsigned k = 0; k < made->len; k++) {
                net_backend_destroy(g_ptr_array_index(made, k));
            }
            return false;
        }
        NetPeer *peer = tap_new_queue(id, model, fd, vnet_hdr, i, name, NULL);
        set_info(container_of(peer, Tap, peer), g_strdup_printf("%s=%d", how, fd));
        g_ptr_array_add(made, peer);
    }
    return true;
}

static bool create_by_helper(const char *id, const TapOptions *o, const char *model, GError **err)
{
    const char *helper = o->helper ? o->helper : DEFAULT_HELPER;
    const char *bridge = o->br ? o->br : DEFAULT_BRIDGE;
    int fd = tap_by_helper(helper, bridge, err);
    struct ifreq ifr = {0};

    if (fd < 0) {
        return false;
    }
    if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
        error_set_errno(err, errno, "bridge helper %s did not give a tap interface", helper);
        close(fd);
        return false;
    }
    NetPeer *peer =
        tap_new_queue(id, model, fd, ifr.ifr_flags & IFF_VNET_HDR, 0, ifr.ifr_name, NULL);
    set_info(container_of(peer, Tap, peer), g_strdup_printf("helper=%s,br=%s", helper, bridge));
    return true;
}

/* Opens the interface by name. One that does not exist is made, and is removed when closed. */
static bool create_named(const char *id, const TapOptions *o, GError **err)
{
    const char *script = choose_script(o->script, DEFAULT_SCRIPT);
    const char *downscript = choose_script(o->downscript, DEFAULT_DOWNSCRIPT);
    g_autofree int *fds = g_new(int, o->queues);
    g_autofree char *name = g_strdup(o->ifname ? o->ifname : "tap%d");
    bool vnet_hdr = false, ok = true;
    unsigned n;

    for (n = 0; n < o->queues; n++) {
        g_autofree char *real = NULL;

        fds[n] = tap_open(name, o, &vnet_hdr, &real, err);
        if (fds[n] < 0) {
            ok = false;
            break;
        }
        /* The other queues need the name that the kernel has chosen for the first. */
        g_free(name);
        name = g_steal_pointer(&real);
    }
    if (!ok || (script && !run_script(script, name, err))) {
        while (n) {
            close(fds[--n]);
        }
        return false;
    }
    for (unsigned i = 0; i < o->queues; i++) {
        NetPeer *peer = tap_new_queue(id, "tap", fds[i], vnet_hdr, i, name, downscript);

        set_info(container_of(peer, Tap, peer),
                 g_strdup_printf("ifname=%s,script=%s,downscript=%s", name, script ? script : "no",
                                 downscript ? downscript : "no"));
    }
    return true;
}

static bool tap_create(const char *id, void *options, GError **err)
{
    TapOptions *o = options;
    bool named = o->ifname || o->script || o->downscript || o->has_vnet_hdr || o->has_queues;

    if (o->vhostfd || o->vhostfds) {
        return error_set(err, "vhostfd= and vhostfds= are not supported: packets are moved by this "
                              "program (vhost=off)");
    }
    if (o->fd && (named || o->helper || o->fds)) {
        return error_set(err, "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, "
                              "and vhostfds= are invalid with fd=");
    }
    if (o->fds && (named || o->helper)) {
        return error_set(err, "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, and "
                              "vhostfd= are invalid with fds=");
    }
    if (o->helper && named) {
        return error_set(err,
                         "ifname=, script=, downscript=, vnet_hdr=, queues=, and vhostfds= are "
                         "invalid with helper=");
    }
    if (o->br && !o->helper) {
        return error_set(err, "br= needs helper=; or use '-netdev bridge'");
    }
    if (o->fd) {
        return create_inherited(id, o->fd, "tap", "fd", err);
    }
    if (o->fds) {
        return create_inherited(id, o->fds, "tap", "fd", err);
    }
    return o->helper ? create_by_helper(id, o, "tap", err) : create_named(id, o, err);
}

static bool bridge_create(const char *id, void *options, GError **err)
{
    return create_by_helper(id, options, "bridge", err);
}

const NetBackendClass net_tap = {
    .name = "tap",
    .help = "a tap interface of the host",
    .size = sizeof(TapOptions),
    .props = tap_props,
    .create = tap_create,
};

const NetBackendClass net_bridge = {
    .name = "bridge",
    .help = "a bridge of the host, through a helper program",
    .size = sizeof(TapOptions),
    .props = bridge_props,
    .create = bridge_create,
};
