/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Screens and their viewers: who is told what, and when something is drawn. */
#include "ui/screen.h"

#include "base/error.h"
#include "ui_internal.h"

#define SURFACE_MAX_PIXELS (256 * MiB / sizeof(uint32_t))

static void screen_lock(Screen *s)
{
    if (s->dev) {
        device_lock(s->dev);
    }
}

static void screen_unlock(Screen *s)
{
    if (s->dev) {
        device_unlock(s->dev);
    }
}

/* A viewer's dirty region. */

static void viewer_fit(ScreenViewer *v)
{
    const Surface *f = &v->screen->surface;

    v->tiles_x = DIV_ROUND_UP(f->width, SCREEN_TILE);
    v->tiles_y = DIV_ROUND_UP(f->height, SCREEN_TILE);
    g_free(v->dirty);
    v->dirty = g_malloc(v->tiles_x * v->tiles_y);
    if (v->dirty) {
        memset(v->dirty, 1, v->tiles_x * v->tiles_y);
    }
    v->first = 0;
    v->resized = true;
}

static bool viewer_has_news(const ScreenViewer *v)
{
    unsigned count = v->tiles_x * v->tiles_y;

    return v->resized ||
           (v->first < count && memchr(v->dirty + v->first, 1, count - v->first) != NULL);
}

static void viewer_mark(ScreenViewer *v, unsigned x0, unsigned y0, unsigned x1, unsigned y1)
{
    for (unsigned y = y0; y <= y1; y++) {
        memset(v->dirty + y * v->tiles_x + x0, 1, x1 - x0 + 1);
    }
    v->first = MIN(v->first, y0 * v->tiles_x + x0);
}

bool screen_viewer_take(ScreenViewer *v, unsigned *x, unsigned *y, unsigned *w, unsigned *h)
{
    const Surface *f = &v->screen->surface;
    unsigned count = v->tiles_x * v->tiles_y, tx, ty, tw = 1, th = 1;
    uint8_t *tile;

    if (v->first >= count || !(tile = memchr(v->dirty + v->first, 1, count - v->first))) {
        v->first = count;
        return false;
    }
    v->first = tile - v->dirty;
    tx = v->first % v->tiles_x;
    ty = v->first / v->tiles_x;
    while (tx + tw < v->tiles_x && tile[tw]) {
        tw++;
    }
    memset(tile, 0, tw);
    while (ty + th < v->tiles_y && !memchr(tile + th * v->tiles_x, 0, tw)) {
        memset(tile + th * v->tiles_x, 0, tw);
        th++;
    }
    *x = tx * SCREEN_TILE;
    *y = ty * SCREEN_TILE;
    *w = MIN(tw * SCREEN_TILE, f->width - *x);
    *h = MIN(th * SCREEN_TILE, f->height - *y);
    return true;
}

bool screen_viewer_resized(ScreenViewer *v)
{
    bool resized = v->resized;

    v->resized = false;
    return resized;
}

/* Drawing. */

bool screen_resize(Screen *s, unsigned width, unsigned height)
{
    Surface *f = &s->surface;

    g_assert(s->drawing);
    if (!width || !height || width > SCREEN_MAX || height > SCREEN_MAX ||
        (uint64_t)width * height > SURFACE_MAX_PIXELS) {
        return false;
    }
    if (width == f->width && height == f->height) {
        return true;
    }
    g_free(f->pixels);
    *f = (Surface){g_new0(uint32_t, (size_t)width * height), width, height, width};
    for (GList *l = s->viewers; l; l = l->next) {
        viewer_fit(l->data);
    }
    return true;
}

void screen_mark(Screen *s, unsigned x, unsigned y, unsigned w, unsigned h)
{
    const Surface *f = &s->surface;

    g_assert(x + w <= f->width && y + h <= f->height);
    if (!w || !h) {
        return;
    }
    for (GList *l = s->viewers; l; l = l->next) {
        viewer_mark(l->data, x / SCREEN_TILE, y / SCREEN_TILE, (x + w - 1) / SCREEN_TILE,
                    (y + h - 1) / SCREEN_TILE);
    }
}

static void screen_draw(Screen *s, bool all)
{
    screen_lock(s);
    /* Before draw() looks: what is written after that is new. */
    __atomic_store_n(&s->touched, 0, __ATOMIC_SEQ_CST);
    s->drawing = true;
    s->ops->draw(s, all);
    s->drawing = false;
    screen_unlock(s);
}

static void screen_arm(Screen *s)
{
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    if (!timer_armed(s->timer)) {
        timer_arm(s->timer, MAX(now, s->next_at));
    }
}

/* Where draw() has left news: by a viewer's wake-up, or a screenshot. */
static void screen_arm_for_news(Screen *s)
{
    for (GList *l = s->viewers; l; l = l->next) {
        ScreenViewer *v = l->data;

        if (v->awake && viewer_has_news(v)) {
            screen_arm(s);
        }
    }
}

/* The next viewer that is to be told in this round. A viewer that is told may change the list. */
static ScreenViewer *screen_next_served(Screen *s)
{
    for (GList *l = s->viewers; l; l = l->next) {
        ScreenViewer *v = l->data;

        if (v->awake && v->served != s->served && viewer_has_news(v)) {
            v->served = s->served;
            return v;
        }
    }
    return NULL;
}

/* Drawing, which may take long in a mode of the guest's, leaves the loop half of its time. */
static void screen_tick(void *data)
{
    Screen *s = data;
    ScreenViewer *v;
    int64_t start = clock_ns(CLOCK_REALTIME_NS), end;

    if (!s->awake) {
        return;
    }
    screen_draw(s, s->redraw);
    s->redraw = false;
    s->served++;
    while ((v = screen_next_served(s))) {
        v->changed(v);
    }
    end = clock_ns(CLOCK_REALTIME_NS);
    s->next_at = MAX(start + SCREEN_PERIOD_NS, end + (end - start));
    if (s->awake && (!s->pushes || __atomic_load_n(&s->touched, __ATOMIC_SEQ_CST))) {
        screen_arm(s);
    }
}

static void screen_wake(void *data)
{
    Screen *s = data;

    if (s->awake) {
        screen_arm(s);
    }
}

void screen_touched(Screen *s)
{
    if (!__atomic_load_n(&s->touched, __ATOMIC_SEQ_CST) &&
        !__atomic_exchange_n(&s->touched, 1, __ATOMIC_SEQ_CST) &&
        __atomic_load_n(&s->awake, __ATOMIC_SEQ_CST)) {
        bh_schedule(&s->wake);
    }
}

const Surface *screen_draw_now(Screen *s)
{
    /* While nobody looks, what has changed is not known. */
    screen_draw(s, !s->awake || s->redraw);
    s->redraw = false;
    screen_arm_for_news(s);
    return &s->surface;
}

bool screen_read_text(Screen *s, ScreenText *out, GError **err)
{
    bool ok;

    *out = (ScreenText){.cursor_x = -1, .cursor_y = -1};
    if (!s->ops->text) {
        return error_set(err, "the screen '%s' shows no text", s->name);
    }
    screen_lock(s);
    ok = s->ops->text(s, out, err);
    screen_unlock(s);
    return ok;
}

/* Viewers. */

void screen_viewer_add(ScreenViewer *v, Screen *s)
{
    v->screen = s;
    v->awake = false;
    v->dirty = NULL;
    v->served = s->served;
    viewer_fit(v);
    s->viewers = g_list_append(s->viewers, v);
}

static void screen_set_watched(Screen *s, bool on)
{
    if (s->ops->watched) {
        screen_lock(s);
        s->ops->watched(s, on);
        screen_unlock(s);
    }
}

void screen_viewer_wake(ScreenViewer *v, bool awake)
{
    Screen *s = v->screen;

    if (v->awake == awake) {
        return;
    }
    v->awake = awake;
    __atomic_store_n(&s->awake, s->awake + (awake ? 1 : -1), __ATOMIC_SEQ_CST);
    if (!awake) {
        if (!s->awake) {
            timer_cancel(s->timer);
            screen_set_watched(s, false);
        }
        return;
    }
    if (s->awake == 1) {
        screen_set_watched(s, true);
        s->redraw = true;
    }
    screen_arm(s);
}

void screen_viewer_remove(ScreenViewer *v)
{
    if (!v->screen) {
        return;
    }
    screen_viewer_wake(v, false);
    v->screen->viewers = g_list_remove(v->screen->viewers, v);
    v->screen = NULL;
    g_clear_pointer(&v->dirty, g_free);
    v->tiles_x = v->tiles_y = 0;
}

/* The list. */

/* Devices' screens come first, then monitors' (QEMU's Ctrl-Alt-2), then others of the program. */
static unsigned screen_rank(const Screen *s)
{
    return s->dev ? 0 : s->is_monitor ? 1 : 2;
}

void screen_add(Vm *vm, Screen *s)
{
    GPtrArray *screens = ui_of(vm)->screens;
    unsigned at = 0;

    s->vm = vm;
    s->timer = timer_new(vm->loop, CLOCK_REALTIME_NS, screen_tick, s);
    bh_init(&s->wake, vm->loop, screen_wake, s);
    while (at < screens->len && screen_rank(screens->pdata[at]) <= screen_rank(s)) {
        at++;
    }
    g_ptr_array_insert(screens, at, s);
}

void screen_remove(Screen *s)
{
    if (!s->vm) {
        return;
    }
    while (s->viewers) {
        ScreenViewer *v = s->viewers->data;

        screen_viewer_remove(v);
        v->gone(v);
    }
    g_ptr_array_remove(ui_of(s->vm)->screens, s);
    bh_cancel(&s->wake);
    g_clear_pointer(&s->timer, timer_free);
    g_clear_pointer(&s->surface.pixels, g_free);
    s->surface = (Surface){0};
    s->vm = NULL;
}

Screen *screen_get(Vm *vm, unsigned index)
{
    GPtrArray *screens = ui_of(vm)->screens;

    return index < screens->len ? screens->pdata[index] : NULL;
}

unsigned screen_index(const Screen *s)
{
    guint index = 0;

    g_ptr_array_find(ui_of(s->vm)->screens, s, &index);
    return index;
}

Screen *screen_find(Vm *vm, const char *device, unsigned head, GError **err)
{
    GPtrArray *screens = ui_of(vm)->screens;
    Device *dev;

    if (!device) {
        if (head) {
            error_set(err, "'head' must be specified together with 'device'");
        } else if (!screens->len) {
            error_set(err, "the machine has no screen: give it one with -vga std");
        }
        return head ? NULL : screen_get(vm, 0);
    }
    dev = device_find(vm, device, err);
    if (!dev) {
        return NULL;
    }
    for (unsigned i = 0; i < screens->len; i++) {
        Screen *s = screens->pdata[i];

        /* No device has more than one screen. */
        if (s->dev == dev && !head) {
            return s;
        }
    }
    error_set(err, "Device '%s' has no screen %u", device, head);
    return NULL;
}
