/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A viewer for tests. */
#ifndef EYE_H
#define EYE_H

#include <glib.h>
#include "base/util.h"
#include "ui/screen.h"

/* A viewer with a frame buffer of its own. */
typedef struct {
    ScreenViewer v;
    unsigned width, height, told, resizes;
    uint32_t *copy;
    bool gone;
    ScreenViewer *removes; /* in changed() */
} Eye;

static inline void eye_changed(ScreenViewer *v)
{
    Eye *e = (Eye *)v;
    const Surface *f = &v->screen->surface;
    unsigned x, y, w, h;

    e->told++;
    if (e->removes) {
        screen_viewer_remove(e->removes);
        e->removes = NULL;
    }
    if (screen_viewer_resized(v)) {
        e->resizes++;
        e->width = f->width;
        e->height = f->height;
        g_free(e->copy);
        e->copy = g_new0(uint32_t, e->width * e->height);
    }
    while (screen_viewer_take(v, &x, &y, &w, &h)) {
        g_assert(w && h && x + w <= f->width && y + h <= f->height);
        for (unsigned j = y; j < y + h; j++) {
            memcpy(e->copy + j * e->width + x, f->pixels + j * f->stride + x, w * 4);
        }
    }
}

static inline void eye_gone(ScreenViewer *v)
{
    ((Eye *)v)->gone = true;
}

static inline void eye_init(Eye *e, Screen *s)
{
    *e = (Eye){.v = {.changed = eye_changed, .gone = eye_gone}};
    screen_viewer_add(&e->v, s);
}

static inline void eye_end(Eye *e)
{
    screen_viewer_remove(&e->v);
    g_free(e->copy);
}

#endif
