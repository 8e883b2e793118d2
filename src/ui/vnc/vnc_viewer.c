/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A viewer as the main loop sees it: which screen it looks at, and what its input does. */
#include <linux/input-event-codes.h>
#include <rfb/rfbproto.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "ui/keymap.h"
#include "ui/keys.h"
#include "ui/vnc.h"
#include "vnc_internal.h"

enum { NO_SCREEN_WIDTH = 640, NO_SCREEN_HEIGHT = 480 };

static Vm *vnc_vm(const VncViewer *v)
{
    return v->server->vm;
}

static void vnc_tell_thread(VncViewer *v)
{
    uint64_t one = 1;

    if (write(v->wake_fd, &one, sizeof one) < 0) {
        /* The counter is full, so the thread has been told. */
    }
}

/* The frame buffer. */

static void vnc_copy_rect(VncViewer *v, uint32_t *to, const Surface *f, const VncRect *r)
{
    for (unsigned y = r->y; y < r->y + r->h; y++) {
        memcpy(to + (size_t)y * v->width + r->x, f->pixels + (size_t)y * f->stride + r->x,
               r->w * sizeof *to);
    }
}

/* With 'lock'. The thread gives the new buffer to the library, and frees the old one. */
static void vnc_resize(VncViewer *v, unsigned width, unsigned height)
{
    g_free(v->next);
    v->next = g_new0(uint32_t, (size_t)width * height);
    v->width = width;
    v->height = height;
    g_array_set_size(v->rects, 0);
}

/* From here on updates are sent: the first one of all would be black, which some viewers keep. */
static void vnc_set_drawn(VncViewer *v)
{
    g_atomic_int_set(&v->drawn, true);
    vnc_tell_thread(v);
}

/* With 'lock'. A thread that waits for the rest of a message takes no rectangles. */
static void vnc_note_rect(VncViewer *v, const VncRect *r)
{
    VncRect whole = {0, 0, v->width, v->height};

    if (v->rects->len < VNC_RECTS_MAX) {
        g_array_append_val(v->rects, *r);
        return;
    }
    g_array_set_size(v->rects, 0);
    g_array_append_val(v->rects, whole);
}

/*
 * Copies what is dirty into the viewer's frame buffer, unless its thread is at it ('lock'): then
 * the thread says so when it is done. 'late' is set before the second try, and the thread looks at
 * it after it has let go, so one of the two sees the other.
 */
static void vnc_viewer_update(VncViewer *v)
{
    const Surface *f = &v->screen->surface;
    VncRect r;

    if (!g_mutex_trylock(&v->lock)) {
        g_atomic_int_set(&v->late, true);
        if (!g_mutex_trylock(&v->lock)) {
            return;
        }
    }
    g_atomic_int_set(&v->late, false);
    if (screen_viewer_resized(&v->view) && (f->width != v->width || f->height != v->height) &&
        f->width) {
        vnc_resize(v, f->width, f->height);
    }
    while (screen_viewer_take(&v->view, &r.x, &r.y, &r.w, &r.h)) {
        vnc_copy_rect(v, v->next ? v->next : v->pixels, f, &r);
        if (!v->next) {
            vnc_note_rect(v, &r);
        }
    }
    g_mutex_unlock(&v->lock);
    vnc_set_drawn(v);
}

static void vnc_view_changed(ScreenViewer *view)
{
    vnc_viewer_update(container_of(view, VncViewer, view));
}

static void vnc_look_at(VncViewer *v, Screen *s)
{
    screen_viewer_remove(&v->view);
    v->screen = s;
    if (s) {
        screen_viewer_add(&v->view, s);
        screen_viewer_wake(&v->view, true);
    } else {
        vnc_set_drawn(v); /* as no screen will draw anything */
    }
}

static void vnc_view_gone(ScreenViewer *view)
{
    VncViewer *v = container_of(view, VncViewer, view);

    v->screen = NULL;
    v->lost = true; /* the list still has the screen: another is chosen later */
    bh_schedule(&v->bh);
}

/* The device that -vnc display= names may be gone: the first screen stands in. */
static Screen *vnc_first_screen(VncViewer *v)
{
    Screen *s = v->server->display_device
                    ? screen_find(vnc_vm(v), v->server->display_device, v->server->head, NULL)
                    : NULL;

    return s ? s : screen_get(vnc_vm(v), 0);
}

/* Input. */

static bool vnc_key_is_down(VncViewer *v, unsigned code)
{
    for (guint i = 0; i < v->pressed->len; i++) {
        if (g_array_index(v->pressed, uint16_t, i) == code) {
            return true;
        }
    }
    return false;
}

static void vnc_send_key(VncViewer *v, uint16_t code, bool down)
{
    for (guint i = 0; i < v->pressed->len; i++) {
        if (g_array_index(v->pressed, uint16_t, i) == code) {
            g_array_remove_index_fast(v->pressed, i);
            break;
        }
    }
    if (down) {
        g_array_append_val(v->pressed, code);
    }
    if (!v->screen || v->screen->dev) {
        input_send(vnc_vm(v), INPUT_KEY, code, down);
    }
}

static void vnc_release_keys(VncViewer *v)
{
    while (v->pressed->len) {
        vnc_send_key(v, g_array_index(v->pressed, uint16_t, v->pressed->len - 1), false);
    }
    input_sync(vnc_vm(v));
}

/*
 * Ctrl-Alt-1 to -9: another screen, but where -vnc display= chose one. The keys are let go of, so
 * that the guest does not keep them.
 */
static bool vnc_switch_screen(VncViewer *v, uint16_t code, bool down)
{
    bool ctrl = vnc_key_is_down(v, KEY_LEFTCTRL) || vnc_key_is_down(v, KEY_RIGHTCTRL);
    bool alt = vnc_key_is_down(v, KEY_LEFTALT) || vnc_key_is_down(v, KEY_RIGHTALT);
    Screen *s;

    if (v->server->display_device || !down || !ctrl || !alt || code < KEY_1 || code > KEY_9) {
        return false;
    }
    s = screen_get(vnc_vm(v), code - KEY_1);
    if (s && s != v->screen) {
        vnc_release_keys(v);
        vnc_look_at(v, s);
    }
    return true;
}

static void vnc_key(VncViewer *v, const VncMessage *m)
{
    const UiKey *key = m->number ? ui_key_of_number(m->number) : NULL;
    bool shift = false;
    uint16_t code = key ? key->code : ui_keymap_find(m->keysym, &shift);

    if (code && vnc_switch_screen(v, code, m->down)) {
        return;
    }
    if (v->screen && v->screen->ops->key) {
        if (m->down) {
            v->screen->ops->key(v->screen, m->keysym,
                                vnc_key_is_down(v, KEY_LEFTCTRL) ||
                                    vnc_key_is_down(v, KEY_RIGHTCTRL));
        }
        if (code) {
            vnc_send_key(v, code, m->down);
        }
        return;
    }
    if (!code) {
        return;
    }
    /* A character that needs Shift, from a viewer that has not sent it. */
    shift = shift && m->down && !vnc_key_is_down(v, KEY_LEFTSHIFT) &&
            !vnc_key_is_down(v, KEY_RIGHTSHIFT);
    if (shift) {
        input_send(vnc_vm(v), INPUT_KEY, KEY_LEFTSHIFT, 1);
    }
    vnc_send_key(v, code, m->down);
    if (shift) {
        input_send(vnc_vm(v), INPUT_KEY, KEY_LEFTSHIFT, 0);
    }
    input_sync(vnc_vm(v));
}

static void vnc_buttons(VncViewer *v, uint8_t buttons)
{
    static const struct {
        uint8_t bit;
        InputType type;
        uint16_t code;
        int8_t value;
    } map[] = {
        {0x01, INPUT_BUTTON, BTN_LEFT, 1},  {0x02, INPUT_BUTTON, BTN_MIDDLE, 1},
        {0x04, INPUT_BUTTON, BTN_RIGHT, 1}, {0x08, INPUT_REL, REL_WHEEL, 1},
        {0x10, INPUT_REL, REL_WHEEL, -1},   {0x20, INPUT_REL, REL_HWHEEL, -1},
        {0x40, INPUT_REL, REL_HWHEEL, 1},   {0x80, INPUT_BUTTON, BTN_SIDE, 1},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(map); i++) {
        bool down = buttons & map[i].bit, was = v->buttons & map[i].bit;

        if (down != was && (down || map[i].type == INPUT_BUTTON)) {
            input_send(vnc_vm(v), map[i].type, map[i].code, down ? map[i].value : 0);
        }
    }
    v->buttons = buttons;
}

/*
 * A position becomes a movement where the guest has no tablet. A viewer that was told so sends
 * movements itself, around 0x7fff.
 */
static void vnc_pointer(VncViewer *v, const VncMessage *m)
{
    Vm *vm = vnc_vm(v);

    if (v->screen && !v->screen->dev) {
        return;
    }
    if (input_pointer_is_absolute(vm)) {
        unsigned w = MAX(v->width, 2) - 1, h = MAX(v->height, 2) - 1;

        input_send(vm, INPUT_ABS, ABS_X, MIN(m->x, w) * INPUT_ABS_MAX / w);
        input_send(vm, INPUT_ABS, ABS_Y, MIN(m->y, h) * INPUT_ABS_MAX / h);
    } else {
        bool moves = g_atomic_int_get(&v->absolute) == 0;
        int dx = moves ? m->x - 0x7fff : v->last_x < 0 ? 0 : m->x - v->last_x;
        int dy = moves ? m->y - 0x7fff : v->last_y < 0 ? 0 : m->y - v->last_y;

        if (dx) {
            input_send(vm, INPUT_REL, REL_X, dx);
        }
        if (dy) {
            input_send(vm, INPUT_REL, REL_Y, dy);
        }
    }
    v->last_x = m->x;
    v->last_y = m->y;
    vnc_buttons(v, m->buttons);
    input_sync(vm);
}

static void vnc_power(VncViewer *v, unsigned code)
{
    switch (code) {
    case rfbXvp_Shutdown:
        vm_request_powerdown(vnc_vm(v));
        break;
    case rfbXvp_Reboot:
    case rfbXvp_Reset:
        vm_request_reset(vnc_vm(v), SHUTDOWN_CAUSE_HOST_UI);
        break;
    }
}

/* The viewer's life. */

static void vnc_viewer_ready(VncViewer *v, bool shared)
{
    v->exclusive = !shared;
    if (!vnc_server_admit(v->server, v)) {
        vnc_viewer_disconnect(v);
        return;
    }
    v->ready = true;
    vnc_server_event(v, VM_EVENT_VNC_INITIALIZED);
    vnc_look_at(v, vnc_first_screen(v));
}

static void vnc_message(VncViewer *v, const VncMessage *m)
{
    switch (m->type) {
    case VNC_MESSAGE_READY:
        vnc_viewer_ready(v, m->down);
        break;
    case VNC_MESSAGE_KEY:
        vnc_key(v, m);
        break;
    case VNC_MESSAGE_POINTER:
        vnc_pointer(v, m);
        break;
    case VNC_MESSAGE_POWER:
        vnc_power(v, m->number);
        break;
    case VNC_MESSAGE_RELATIVE:
        g_atomic_int_set(&v->absolute, input_pointer_is_absolute(vnc_vm(v)));
        vnc_tell_thread(v);
        break;
    }
}

void vnc_viewer_pointer_changed(VncViewer *v)
{
    if (g_atomic_int_get(&v->absolute) >= 0) {
        g_atomic_int_set(&v->absolute, input_pointer_is_absolute(vnc_vm(v)));
        vnc_tell_thread(v);
    }
    v->last_x = v->last_y = -1;
}

static void vnc_viewer_news(void *data)
{
    VncViewer *v = data;
    GArray *messages, *empty = g_array_new(FALSE, FALSE, sizeof(VncMessage));

    g_mutex_lock(&v->queue_lock);
    messages = v->messages;
    v->messages = empty;
    g_cond_signal(&v->queue_room);
    g_mutex_unlock(&v->queue_lock);
    for (guint i = 0; i < messages->len && !v->dead; i++) {
        const VncMessage *m = &g_array_index(messages, VncMessage, i);

        if (v->ready || m->type == VNC_MESSAGE_READY || m->type == VNC_MESSAGE_RELATIVE) {
            vnc_message(v, m);
        }
    }
    g_array_free(messages, TRUE);
    if (g_atomic_int_get(&v->finished)) {
        vnc_viewer_destroy(v);
        return;
    }
    if (v->lost) {
        v->lost = false;
        vnc_look_at(v, vnc_first_screen(v));
    }
    if (g_atomic_int_compare_and_exchange(&v->released, true, false) && v->screen) {
        vnc_viewer_update(v);
    }
}

void vnc_viewer_new(VncServer *s, int fd, bool websocket, bool trusted)
{
    VncViewer *v = g_new0(VncViewer, 1);
    const Surface *surface;
    Screen *screen;
    GError *err = NULL;

    v->server = s;
    v->fd = fd;
    v->websocket = websocket;
    v->trusted = trusted;
    v->address = vnc_socket_info(fd, true, websocket);
    v->name = s->vm->name ? g_strdup_printf("QEMU (%s)", s->vm->name) : g_strdup("QEMU");
    v->view = (ScreenViewer){.changed = vnc_view_changed, .gone = vnc_view_gone};
    v->last_x = v->last_y = v->absolute = -1;
    v->pressed = g_array_new(FALSE, FALSE, sizeof(uint16_t));
    v->messages = g_array_new(FALSE, FALSE, sizeof(VncMessage));
    v->rects = g_array_new(FALSE, FALSE, sizeof(VncRect));
    screen = vnc_first_screen(v);
    surface = screen ? screen_draw_now(screen) : NULL; /* while nobody looks, its size is old */
    v->width = surface && surface->width ? surface->width : NO_SCREEN_WIDTH;
    v->height = surface && surface->width ? surface->height : NO_SCREEN_HEIGHT;
    v->pixels = g_new0(uint32_t, (size_t)v->width * v->height);
    g_mutex_init(&v->queue_lock);
    g_cond_init(&v->queue_room);
    g_mutex_init(&v->lock);
    bh_init(&v->bh, s->vm->loop, vnc_viewer_news, v);
    g_ptr_array_add(s->viewers, v);
    v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (v->wake_fd >= 0) {
        vnc_server_event(v, VM_EVENT_VNC_CONNECTED);
        v->thread = g_thread_try_new("vnc-viewer", vnc_client_run, v, &err);
    }
    if (!v->thread) {
        log_warn("VNC: a viewer was refused: %s", err ? err->message : g_strerror(errno));
        g_clear_error(&err);
        vnc_viewer_destroy(v);
    }
}

/* The thread is woken wherever it waits, and says when it is over. */
void vnc_viewer_disconnect(VncViewer *v)
{
    v->dead = true;
    g_atomic_int_set(&v->quit, true);
    shutdown(v->fd, SHUT_RDWR);
    if (v->wake_fd >= 0) {
        vnc_tell_thread(v);
    }
    g_mutex_lock(&v->queue_lock);
    g_cond_signal(&v->queue_room);
    g_mutex_unlock(&v->queue_lock);
}

void vnc_viewer_destroy(VncViewer *v)
{
    vnc_viewer_disconnect(v);
    if (v->thread) {
        g_thread_join(v->thread);
    }
    bh_cancel(&v->bh);
    if (v->ready) {
        vnc_release_keys(v);
        vnc_buttons(v, 0);
        input_sync(vnc_vm(v));
    }
    screen_viewer_remove(&v->view);
    if (v->thread) {
        vnc_server_event(v, VM_EVENT_VNC_DISCONNECTED);
    }
    vnc_server_forget(v->server, v);
    if (v->wake_fd >= 0) {
        close(v->wake_fd);
    }
    close(v->fd);
    g_mutex_clear(&v->queue_lock);
    g_cond_clear(&v->queue_room);
    g_mutex_clear(&v->lock);
    g_array_free(v->pressed, TRUE);
    g_array_free(v->messages, TRUE);
    g_array_free(v->rects, TRUE);
    g_free(v->pixels);
    g_free(v->next);
    g_free(v->name);
    json_decref(v->address);
    g_free(v);
}
