/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets in a stream, as QEMU's socket networks have them: before each packet, its length in four
 * bytes, most significant first. One reader for each connection; its bytes come from anybody.
 */
#ifndef NET_FRAMES_H
#define NET_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#define FRAMES_HEADER 4 /* the length */

typedef struct {
    uint8_t *buffer;
    size_t start, end; /* of the bytes that were not taken yet */
} FrameReader;

typedef enum { FRAME_PACKET, FRAME_INCOMPLETE, FRAME_TOO_LONG } FrameResult;

void frames_init(FrameReader *r);
void frames_free(FrameReader *r);
/* Where the next bytes go, and the room there: 0 while frames_next() has whole packets to give. */
uint8_t *frames_room(FrameReader *r, size_t *room);
void frames_filled(FrameReader *r, size_t len);
/*
 * The next whole packet, which is valid until frames_room() is called. Empty packets are skipped.
 * FRAME_TOO_LONG, of more than NET_PACKET_MAX bytes, is the end of the stream.
 */
FrameResult frames_next(FrameReader *r, uint8_t **packet, size_t *len);

#endif
