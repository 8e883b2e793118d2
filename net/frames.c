/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "frames.h"

#include <string.h>

#include "base/util.h"
#include "net/net.h"

/* The longest packet, and what comes behind it in one read. */
#define BUFFER_SIZE (128 * 1024)
G_STATIC_ASSERT(BUFFER_SIZE > FRAMES_HEADER + NET_PACKET_MAX);

void frames_init(FrameReader *r)
{
    *r = (FrameReader){.buffer = g_malloc(BUFFER_SIZE)};
}

void frames_free(FrameReader *r)
{
    g_free(r->buffer);
    *r = (FrameReader){0};
}

uint8_t *frames_room(FrameReader *r, size_t *room)
{
    if (r->start == r->end) {
        r->start = r->end = 0;
    } else if (r->start && BUFFER_SIZE - r->start < FRAMES_HEADER + NET_PACKET_MAX) {
        /* A packet that began here might not fit. */
        memmove(r->buffer, r->buffer + r->start, r->end - r->start);
        r->end -= r->start;
        r->start = 0;
    }
    *room = BUFFER_SIZE - r->end;
    return r->buffer + r->end;
}

void frames_filled(FrameReader *r, size_t len)
{
    g_assert(len <= BUFFER_SIZE - r->end);
    r->end += len;
}

FrameResult frames_next(FrameReader *r, uint8_t **packet, size_t *len)
{
    while (r->end - r->start >= FRAMES_HEADER) {
        size_t n = ldbe32(r->buffer + r->start);

        if (n > NET_PACKET_MAX) {
            return FRAME_TOO_LONG;
        }
        if (r->end - r->start - FRAMES_HEADER < n) {
            return FRAME_INCOMPLETE;
        }
        *packet = r->buffer + r->start + FRAMES_HEADER;
        *len = n;
        r->start += FRAMES_HEADER + n;
        if (n) {
            return FRAME_PACKET;
        }
    }
    return FRAME_INCOMPLETE;
}
