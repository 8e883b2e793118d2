/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What VNC viewers and browsers send, up to a half-closed connection, to a server whose screen
 * changes while they look. The viewer's thread is that of the program; its main loop turns here.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "board.h"
#include "vnc_internal.h"

extern const DeviceClass i8042_class;

/* The first byte of an input. 0xc0: VncServer.share. */
enum {
    FUZZ_WEBSOCKET = 0x01,
    FUZZ_PASSWORD = 0x02,
    FUZZ_LOSSY = 0x04,
    FUZZ_POWER_CONTROL = 0x08,
    FUZZ_NO_SCREEN = 0x10, /* what is typed goes to the keyboard and the mouse */
    FUZZ_GREETED = 0x20,   /* the input begins after authentication, or inside a WebSocket */
    FUZZ_SHARE_SHIFT = 6,

    PIECE = 32, /* bytes that are sent at a time */
};

static const char rfb_greeting[] = "RFB 003.008\n\1";
static const char web_greeting[] = "GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n"
                                   "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                   "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                                   "Sec-WebSocket-Protocol: binary\r\n"
                                   "Sec-WebSocket-Version: 13\r\n\r\n";

static const ScreenOps fuzz_ops;
static Screen screen = {.ops = &fuzz_ops, .name = "fuzz"};
static VncServer server = {.id = (char *)"fuzz", .max_viewers = 1, .expires = INT64_MAX};
static unsigned drawn;

/* Two sizes in turn, with as many rectangles as a picture can have. */
static void fuzz_draw(Screen *s, bool all)
{
    const Surface *f = &s->surface;
    bool large = drawn++ / 3 % 2;

    screen_resize(s, large ? 600 : 100, large ? 400 : 50);
    for (unsigned y = 0; y < f->height; y += 2 * SCREEN_TILE) {
        for (unsigned x = 0; x < f->width; x += 2 * SCREEN_TILE) {
            f->pixels[(size_t)y * f->stride + x] = drawn * 0x10305;
            screen_mark(s, x, y, 1, 1);
        }
    }
}

static void fuzz_key(Screen *s, uint32_t keysym, bool ctrl)
{
}

static const ScreenOps fuzz_ops = {.draw = fuzz_draw, .key = fuzz_key};

static void init(void)
{
    static const DeviceClass *const classes[] = {&i8042_class, NULL};

    board_init(classes);
    board.vm->state = RUN_STATE_RUNNING;
    board_add("i8042", &board.isa.bus);
    server.vm = board.vm;
    server.listeners = g_ptr_array_new();
    server.viewers = g_ptr_array_new();
    g_mutex_init(&server.secret_lock);
}

static void configure(uint8_t flags)
{
    bool wanted = !(flags & FUZZ_NO_SCREEN);

    server.password = server.secret_set = flags & FUZZ_PASSWORD;
    server.lossy = flags & FUZZ_LOSSY;
    server.power_control = flags & FUZZ_POWER_CONTROL;
    server.share = (flags >> FUZZ_SHARE_SHIFT) % (VNC_SHARE_IGNORE + 1);
    if (wanted && !screen.vm) {
        screen_add(board.vm, &screen);
    } else if (!wanted) {
        screen_remove(&screen);
    }
}

/* Another picture, whose changes do not wait for the screen's timer. */
static void show(VncViewer *v)
{
    if (v->ready && v->screen) {
        screen_draw_now(&screen);
        v->view.changed(&v->view);
    }
}

/*
 * Sends the text as the viewer, in pieces, and takes what comes, until the server has had enough.
 * After the first 'pause_at' bytes it looks at the screen before it goes on.
 */
static void view(const GByteArray *text, size_t pause_at, bool websocket)
{
    static uint8_t answer[1 << 16];
    int fds[2];
    size_t sent = 0;
    bool ok = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0;

    g_assert(ok);
    vnc_viewer_new(&server, fds[0], websocket, false);
    while (server.viewers->len) {
        VncViewer *v = server.viewers->pdata[0];

        if (sent != pause_at || v->drawn) {
            size_t end = sent < pause_at ? MIN(pause_at, text->len) : text->len;
            size_t len = MIN(end - sent, PIECE);
            ssize_t n = len ? send(fds[1], text->data + sent, len, MSG_NOSIGNAL) : 0;

            sent += MAX(n, 0);
        }
        if (sent == text->len) {
            shutdown(fds[1], SHUT_WR);
        }
        while (recv(fds[1], answer, sizeof answer, 0) > 0) {
        }
        show(v);
        event_loop_iterate(board.loop, NS_PER_MS / 5);
    }
    close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GByteArray) text = g_byte_array_new();
    uint8_t flags = size ? data[0] : 0;
    bool websocket = flags & FUZZ_WEBSOCKET;
    size_t pause_at = SIZE_MAX;

    if (!server.vm) {
        init();
    }
    configure(flags);
    if (flags & FUZZ_GREETED) {
        const char *greeting = websocket ? web_greeting : rfb_greeting;

        g_byte_array_append(text, (const uint8_t *)greeting, strlen(greeting));
        pause_at = websocket || size < 3 ? SIZE_MAX : text->len + 1;
    }
    if (size > 1) {
        g_byte_array_append(text, data + 1, size - 1);
    }
    view(text, pause_at, websocket);
    board_turn();
    return 0;
}
