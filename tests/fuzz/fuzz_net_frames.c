/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the peer of a socket network sends: the reader finds the same packets however the stream is
 * cut, stays within its buffer, and always has room or a packet. The first byte says how to cut.
 */
#include <stdint.h>
#include <string.h>
#include "frames.h"
#include "net/net.h"

typedef struct {
    unsigned packets;
    uint32_t hash;
    bool too_long;
} Found;

static void drain(FrameReader *r, Found *f)
{
    uint8_t *packet;
    FrameResult result;
    size_t len;

    while ((result = frames_next(r, &packet, &len)) == FRAME_PACKET) {
        g_assert(len > 0 && len <= NET_PACKET_MAX);
        f->packets++;
        for (size_t i = 0; i < len; i++) {
            f->hash = f->hash * 31 + packet[i];
        }
    }
    f->too_long = result == FRAME_TOO_LONG;
}

/* 'lazy': packets are taken only when there is no more room, as with a NIC that is full. */
static Found run(const uint8_t *data, size_t size, size_t cut, bool lazy)
{
    FrameReader r;
    Found f = {0};

    frames_init(&r);
    while (size && !f.too_long) {
        size_t room, n;
        uint8_t *to = frames_room(&r, &room);

        if (!room || !lazy) {
            drain(&r, &f);
            to = frames_room(&r, &room);
            g_assert(room > 0 || f.too_long);
        }
        n = MIN(MIN(size, cut), room);
        memcpy(to, data, n);
        frames_filled(&r, n);
        data += n;
        size -= n;
    }
    drain(&r, &f);
    frames_free(&r);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Found whole, cut, lazy;

    if (size < 1) {
        return 0;
    }
    whole = run(data + 1, size - 1, SIZE_MAX, false);
    cut = run(data + 1, size - 1, data[0] + 1u, false);
    lazy = run(data + 1, size - 1, data[0] * 37u + 1u, true);
    g_assert(whole.packets == cut.packets && whole.hash == cut.hash);
    g_assert(whole.packets == lazy.packets && whole.hash == lazy.hash);
    g_assert(whole.too_long == cut.too_long && whole.too_long == lazy.too_long);
    return 0;
}
