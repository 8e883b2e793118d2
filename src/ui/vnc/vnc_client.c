/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A viewer's thread: libvncserver speaks with the viewer, from a frame buffer of the viewer's own.
 * Nothing here takes a device's lock or touches a device; what the viewer says becomes messages for
 * the main loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <rfb/rfb.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/library.h"
#include "base/log.h"
#include "base/util.h"
#include "vnc_internal.h"

#define VNC_FUNCTIONS(F)                                                                           \
    F(rfbGetScreen)                                                                                \
    F(rfbScreenCleanup)                                                                            \
    F(rfbNewClient)                                                                                \
    F(rfbProcessClientMessage)                                                                     \
    F(rfbUpdateClient)                                                                             \
    F(rfbClientConnectionGone)                                                                     \
    F(rfbCloseClient)                                                                              \
    F(rfbNewFramebuffer)                                                                           \
    F(rfbMarkRectAsModified)                                                                       \
    F(rfbRegisterProtocolExtension)                                                                \
    F(rfbReadExact)                                                                                \
    F(rfbWriteExact)                                                                               \
    F(rfbEncryptBytes)                                                                             \
    F(rfbLogEnable)                                                                                \
    F(webSocketsHasDataInBuffer)

/* Exported, and in no header. */
rfbBool webSocketsHasDataInBuffer(rfbClientPtr cl);

typedef struct {
    VNC_FUNCTIONS(LIBRARY_POINTER)
} VncLib;
static VncLib vnc_lib;
static const char *const vnc_names[] = {VNC_FUNCTIONS(LIBRARY_NAME) NULL};
static Library vnc_library = {"libvncserver.so.1", "libvncserver1", vnc_names, &vnc_lib};

/*
 * rfbGetScreen() sets up a mutex that all screens share, each time. So it is called once, and the
 * screens of viewers are copies of what it made.
 */
static rfbScreenInfo vnc_template;

/* QEMU's messages from viewers (type 255) and pseudo-encodings; see "rfbproto", 7.5.10, 7.8. */
enum {
    QEMU_MESSAGE = 255,
    QEMU_EXTENDED_KEY = 0, /* the message's second byte */
    QEMU_ENCODING_POINTER_MOTION = -257,
    QEMU_ENCODING_EXTENDED_KEY = -258,
};

static VncViewer *vnc_viewer_of(rfbClientPtr cl)
{
    return cl->screen->screenData;
}

void vnc_client_post(VncViewer *v, const VncMessage *m)
{
    g_mutex_lock(&v->queue_lock);
    while (v->messages->len >= VNC_MESSAGES_MAX && !g_atomic_int_get(&v->quit)) {
        g_cond_wait(&v->queue_room, &v->queue_lock);
    }
    g_array_append_val(v->messages, *m);
    g_mutex_unlock(&v->queue_lock);
    bh_schedule(&v->bh);
}

void vnc_client_encrypt(uint8_t challenge[16], const char *password)
{
    vnc_lib.rfbEncryptBytes(challenge, (char *)password);
}

static void vnc_key_event(rfbBool down, rfbKeySym keysym, rfbClientPtr cl)
{
    VncMessage m = {.type = VNC_MESSAGE_KEY, .down = down, .keysym = keysym};

    vnc_client_post(vnc_viewer_of(cl), &m);
}

static void vnc_pointer_event(int buttons, int x, int y, rfbClientPtr cl)
{
    VncMessage m = {.type = VNC_MESSAGE_POINTER, .buttons = buttons, .x = x, .y = y};

    vnc_client_post(vnc_viewer_of(cl), &m);
}

static rfbBool vnc_power_event(rfbClientPtr cl, uint8_t version, uint8_t code)
{
    VncMessage m = {.type = VNC_MESSAGE_POWER, .number = code};

    if (version != 1 || code < rfbXvp_Shutdown || code > rfbXvp_Reset) {
        return FALSE;
    }
    vnc_client_post(vnc_viewer_of(cl), &m);
    return TRUE;
}

static void vnc_no_cut_text(char *text, int len, rfbClientPtr cl)
{
    /* The guest has no clipboard. */
}

/* An update of one rectangle, whose encoding is what the viewer asks the server to confirm. */
static bool vnc_send_pseudo_rect(rfbClientPtr cl, uint16_t x, int32_t encoding)
{
    uint8_t update[16] = {rfbFramebufferUpdate, 0, 0, 1, x >> 8, x & 0xff};
    uint32_t be = GINT32_TO_BE(encoding);

    memcpy(update + 12, &be, 4);
    return vnc_lib.rfbWriteExact(cl, (char *)update, sizeof update) > 0;
}

/*
 * The library holds the lock of its list of extensions, which each new viewer needs too: nothing
 * may wait here, neither for this viewer nor for the main loop.
 */
static rfbBool vnc_extension_enable(rfbClientPtr cl, void **data, int encoding)
{
    VncViewer *v = vnc_viewer_of(cl);

    v->asks_keys |= encoding == QEMU_ENCODING_EXTENDED_KEY;
    v->asks_motion |= encoding == QEMU_ENCODING_POINTER_MOTION;
    return TRUE;
}

/* After a SetEncodings: what vnc_extension_enable() has noted. */
static void vnc_answer_encodings(VncViewer *v, rfbClientPtr cl)
{
    VncMessage m = {.type = VNC_MESSAGE_RELATIVE};

    if (v->asks_keys && cl->sock >= 0) {
        vnc_send_pseudo_rect(cl, 0, QEMU_ENCODING_EXTENDED_KEY);
    }
    if (v->asks_motion) {
        vnc_client_post(v, &m);
    }
    v->asks_keys = v->asks_motion = false;
}

static rfbBool vnc_extension_message(rfbClientPtr cl, void *data, const rfbClientToServerMsg *msg)
{
    uint8_t rest[11]; /* sub-type, down (2), keysym (4), key number (4) */
    VncMessage m = {.type = VNC_MESSAGE_KEY};
    uint32_t number;

    if (msg->type != QEMU_MESSAGE) {
        return FALSE;
    }
    if (vnc_lib.rfbReadExact(cl, (char *)rest, 1) <= 0 || rest[0] != QEMU_EXTENDED_KEY ||
        vnc_lib.rfbReadExact(cl, (char *)rest + 1, sizeof rest - 1) <= 0) {
        vnc_lib.rfbCloseClient(cl);
        return TRUE;
    }
    m.down = rest[1] || rest[2];
    m.keysym = ldbe32(rest + 3);
    number = ldbe32(rest + 7);
    m.number = number <= 0xff ? number : 0;
    vnc_client_post(vnc_viewer_of(cl), &m);
    return TRUE;
}

static rfbBool vnc_extension_new_client(rfbClientPtr cl, void **data)
{
    return FALSE; /* enabled by a pseudo-encoding */
}

static int vnc_extension_encodings[] = {QEMU_ENCODING_EXTENDED_KEY, QEMU_ENCODING_POINTER_MOTION,
                                        0};
static rfbProtocolExtension vnc_extension = {
    .newClient = vnc_extension_new_client,
    .pseudoEncodings = vnc_extension_encodings,
    .enablePseudoEncoding = vnc_extension_enable,
    .handleMessage = vnc_extension_message,
};

static bool vnc_library_begin(void)
{
    g_autoptr(GError) err = NULL;
    rfbScreenInfo *s;

    if (!library_load(&vnc_library, &err)) {
        log_error("VNC: %s", err->message);
        return false;
    }
    vnc_lib.rfbLogEnable(0);
    s = vnc_lib.rfbGetScreen(NULL, NULL, 640, 480, 8, 3, 4);
    if (!s) {
        return false;
    }
    vnc_template = *s;
    vnc_lib.rfbScreenCleanup(s);
    vnc_lib.rfbRegisterProtocolExtension(&vnc_extension);
    return true;
}

/* Loaded by the first viewer's thread; others wait for that. */
static bool vnc_library_ready(void)
{
    static GMutex lock;
    static bool tried, ready; /* under 'lock' */
    bool result;

    g_mutex_lock(&lock);
    if (!tried) {
        tried = true;
        ready = vnc_library_begin();
    }
    result = ready;
    g_mutex_unlock(&lock);
    return result;
}

/* Pixels are 0x00RRGGBB; the library's own default has red in the lowest byte. */
static void vnc_set_format(rfbScreenInfo *s)
{
    s->serverFormat.redShift = 16;
    s->serverFormat.greenShift = 8;
    s->serverFormat.blueShift = 0;
}

/* The screen is freed by rfbScreenCleanup(), by free(). */
static rfbScreenInfo *vnc_screen_new(VncViewer *v)
{
    rfbScreenInfo *s = malloc(sizeof *s);

    if (!s) {
        return NULL;
    }
    *s = vnc_template;
    pthread_mutex_init(&s->cursorMutex, NULL);
    s->width = v->width;
    s->height = v->height;
    s->paddedWidthInBytes = v->width * 4;
    vnc_set_format(s);
    s->frameBuffer = (char *)v->pixels;
    s->screenData = v;
    s->desktopName = v->name;
    s->cursor = NULL;
    s->alwaysShared = TRUE; /* each has a screen of its own: vnc_server_admit() decides */
    s->deferUpdateTime = 0;
    s->deferPtrUpdateTime = 0;
    s->maxClientWait = VNC_STALL_MS;
    s->kbdAddEvent = vnc_key_event;
    s->ptrAddEvent = vnc_pointer_event;
    s->setXCutText = vnc_no_cut_text;
    s->setXCutTextUTF8 = vnc_no_cut_text; /* is called unchecked */
    s->xvpHook = v->server->power_control ? vnc_power_event : NULL;
    return s;
}

/* What the main loop has drawn, resized or told since the last time. */
static void vnc_take_changes(VncViewer *v, rfbClientPtr cl)
{
    rfbScreenInfo *s = cl->screen;
    uint64_t count;

    if (read(v->wake_fd, &count, sizeof count) < 0) {
        /* Nothing was written: what follows finds nothing. */
    }
    g_mutex_lock(&v->lock);
    if (v->next) {
        vnc_lib.rfbNewFramebuffer(s, (char *)v->next, v->width, v->height, 8, 3, 4);
        vnc_set_format(s);
        s->setTranslateFunction(cl);
        g_free(v->pixels);
        v->pixels = v->next;
        v->next = NULL;
    }
    for (guint i = 0; i < v->rects->len; i++) {
        const VncRect *r = &g_array_index(v->rects, VncRect, i);
        vnc_lib.rfbMarkRectAsModified(s, r->x, r->y, r->x + r->w, r->y + r->h);
    }
    g_array_set_size(v->rects, 0);
    g_mutex_unlock(&v->lock);
}

/* Sends what has changed, if the viewer has asked for it. */
static void vnc_send_update(VncViewer *v, rfbClientPtr cl)
{
    int64_t begun = g_get_monotonic_time();

    if (!g_atomic_int_get(&v->drawn)) {
        return;
    }
    g_mutex_lock(&v->lock);
    vnc_lib.rfbUpdateClient(cl);
    g_mutex_unlock(&v->lock);
    if (cl->sock < 0 && g_get_monotonic_time() - begun >= VNC_STALL_MS * 1000LL) {
        log_warn("VNC: a viewer that took nothing for %u s was dropped: it can connect again",
                 VNC_STALL_MS / 1000);
    }
}

/* A main loop that has found 'lock' held did not wait: it has set 'late', and is told. */
static void vnc_tell_main_loop(VncViewer *v)
{
    if (g_atomic_int_compare_and_exchange(&v->late, true, false)) {
        g_atomic_int_set(&v->released, true);
        bh_schedule(&v->bh);
    }
}

/*
 * The shared flag of a ClientInit that waits to be read (RFC 6143, 7.3.1), which the library keeps
 * to itself. Behind a WebSocket it is the one masked byte of a frame (RFC 6455, 5.2). A viewer
 * whose flag does not lie there shares.
 */
static bool vnc_peek_shared(VncViewer *v, rfbClientPtr cl)
{
    uint8_t b[7];
    ssize_t n = recv(cl->sock, b, sizeof b, MSG_PEEK | MSG_DONTWAIT);

    if (!v->websocket) {
        return n < 1 || b[0];
    }
    return n < 7 || (b[1] & 0x7f) == 0 || (b[6] ^ b[2]);
}

/*
 * A viewer that asks for a smaller picture (UltraVNC's and PalmVNC's SetScale) is dropped: the
 * library makes and keeps a frame buffer for each scale, and no change of size reaches it.
 */
static void vnc_process_message(VncViewer *v, rfbClientPtr cl)
{
    VncAuthIo io = {cl, vnc_lib.rfbReadExact, vnc_lib.rfbWriteExact};

    if (cl->state != RFB_PROTOCOL_VERSION) {
        vnc_lib.rfbProcessClientMessage(cl);
        if (cl->sock >= 0 && cl->scaledScreen != cl->screen) {
            vnc_lib.rfbCloseClient(cl);
        }
    } else if (vnc_auth_run(&io, v->server, v->server->password && !v->trusted)) {
        cl->state = RFB_INITIALISATION;
    } else {
        vnc_lib.rfbCloseClient(cl);
    }
}

static void vnc_read_messages(VncViewer *v, rfbClientPtr cl)
{
    do {
        int state = cl->state;
        bool shared = state != RFB_INITIALISATION || vnc_peek_shared(v, cl);

        vnc_process_message(v, cl);
        vnc_answer_encodings(v, cl);
        if (state != RFB_NORMAL && cl->state == RFB_NORMAL && cl->sock >= 0) {
            VncMessage m = {.type = VNC_MESSAGE_READY, .down = shared};
            vnc_client_post(v, &m);
        }
        if (!v->server->lossy) {
            cl->tightQualityLevel = -1;
            cl->turboQualityLevel = -1;
        }
    } while (cl->sock >= 0 && !g_atomic_int_get(&v->quit) && vnc_lib.webSocketsHasDataInBuffer(cl));
}

static void vnc_serve(VncViewer *v, rfbClientPtr cl)
{
    int64_t deadline = g_get_monotonic_time() + VNC_HANDSHAKE_MS * 1000LL;
    int told = -1; /* of the pointer */

    while (cl->sock >= 0 && !g_atomic_int_get(&v->quit)) {
        struct pollfd fds[] = {{.fd = cl->sock, .events = POLLIN},
                               {.fd = v->wake_fd, .events = POLLIN}};
        int timeout = -1;

        if (cl->state != RFB_NORMAL) {
            timeout = (deadline - g_get_monotonic_time()) / 1000;
            if (timeout <= 0) {
                break;
            }
        }
        if (poll(fds, 2, timeout) < 0 && errno != EINTR) {
            break;
        }
        if (fds[0].revents) {
            vnc_read_messages(v, cl);
        }
        if (fds[1].revents) {
            vnc_take_changes(v, cl);
        }
        if (cl->sock >= 0 && cl->state == RFB_NORMAL) {
            int absolute = g_atomic_int_get(&v->absolute);

            if (absolute >= 0 && absolute != told) {
                vnc_send_pseudo_rect(cl, absolute, QEMU_ENCODING_POINTER_MOTION);
                told = absolute;
            }
            vnc_send_update(v, cl);
        }
        vnc_tell_main_loop(v);
    }
    if (cl->sock >= 0) {
        vnc_lib.rfbCloseClient(cl);
    }
}

/* The library itself frees neither its records of extensions nor what it keeps for a WebSocket. */
static void vnc_free_client(rfbClientPtr cl)
{
    while (cl->extensions) {
        rfbExtensionData *e = cl->extensions;

        cl->extensions = e->next;
        free(e);
    }
    free(cl->wsctx);
    cl->wsctx = NULL;
    vnc_lib.rfbClientConnectionGone(cl);
}

/* A copy of the viewer's socket, which the library closes; -1: there is none that it could use. */
static int vnc_dup_socket(VncViewer *v)
{
    int fd = fcntl(v->fd, F_DUPFD_CLOEXEC, 0);

    /* The library uses select(). */
    if (fd < 0 || fd >= FD_SETSIZE) {
        log_warn("VNC: a viewer was refused: %s",
                 fd < 0 ? g_strerror(errno) : "too many open files for libvncserver");
        fd_close(&fd);
    }
    return fd;
}

/* Sends the viewer what the library has written into the pair. */
static bool vnc_pass_on(VncViewer *v, int from)
{
    char buf[4096];
    ssize_t n;

    while ((n = recv(from, buf, sizeof buf, MSG_DONTWAIT)) > 0) {
        if (send(v->fd, buf, n, MSG_NOSIGNAL) != n) {
            return false;
        }
    }
    return true;
}

/*
 * Before it greets, the library looks for a WebSocket's request: in a loop without an end where a
 * viewer sends fewer than four bytes. So it gets a socket pair to look at, in which lies 'first',
 * and then the viewer's socket in its place; what it has written to the pair is passed on.
 */
static rfbClientPtr vnc_new_client(VncViewer *v, rfbScreenInfo *s, int fd, const char *first)
{
    ssize_t len = strlen(first);
    rfbClientPtr cl;
    int pair[2], one = 1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        close(fd);
        return NULL;
    }
    if (send(pair[1], first, len, 0) != len || dup3(pair[0], fd, O_CLOEXEC) < 0) {
        close(fd);
        cl = NULL;
    } else {
        cl = vnc_lib.rfbNewClient(s, fd); /* closes fd when it fails */
    }
    if (cl && (dup3(v->fd, cl->sock, O_CLOEXEC) < 0 || !vnc_pass_on(v, pair[1]))) {
        vnc_lib.rfbCloseClient(cl);
    }
    setsockopt(v->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails for UNIX sockets */
    close(pair[0]);
    close(pair[1]);
    return cl;
}

static void vnc_client_session(VncViewer *v)
{
    g_autofree char *request = v->websocket ? vnc_web_begin(v) : g_strdup("RFB ");
    rfbScreenInfo *s;
    rfbClientPtr cl;
    int fd;

    if (!request) {
        return;
    }
    fd = vnc_dup_socket(v);
    if (fd < 0) {
        return;
    }
    s = vnc_library_ready() ? vnc_screen_new(v) : NULL;
    if (!s) {
        close(fd);
        return;
    }
    cl = vnc_new_client(v, s, fd, request);
    if (cl) {
        if (!cl->wsctx == !v->websocket) {
            vnc_serve(v, cl);
        }
        vnc_free_client(cl);
    }
    vnc_lib.rfbScreenCleanup(s);
}

gpointer vnc_client_run(gpointer viewer)
{
    VncViewer *v = viewer;

    vnc_client_session(v);
    g_atomic_int_set(&v->finished, true);
    bh_schedule(&v->bh);
    return NULL;
}
