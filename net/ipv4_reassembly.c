/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strict reassembly of IPv4 (RFC 791, 3.2): a fragment that overlaps another or does not fit drops
 * the whole datagram, as RFC 5722 demands for IPv6. Unlike RFC 5722, later fragments of a dropped
 * datagram are not ignored: they begin a new one. A datagram that is passed on has had no overlap.
 */
#include "ipv4_reassembly.h"
#include <glib.h>
#include <string.h>
#include "base/log.h"
#include "base/util.h"

#define DATAGRAMS   16
#define LIFETIME_NS (30 * NS_PER_SEC)

#define ETH_HEADER    14
#define IP_HEADER_MIN 20
#define IP_HEADER_MAX 60
#define DATAGRAM_MAX  65535
/* Offsets are in units of 8 bytes, and so are the lengths of all fragments but the last. */
#define UNIT  8
#define UNITS (DATAGRAM_MAX / UNIT + 1)

/* The field of flags and fragment offset. */
#define RESERVED    0x8000
#define DONT        0x4000
#define MORE        0x2000
#define OFFSET_MASK 0x1fff

typedef struct {
    uint32_t src, dst;
    uint16_t id;
    uint8_t protocol;
} Key;

typedef struct {
    Key key;
    const uint8_t *header; /* Ethernet's and IP's */
    const uint8_t *data;
    unsigned header_len, offset, len;
    bool last;
} Fragment;

typedef struct {
    bool used;
    Key key;
    int64_t born;
    uint8_t header[ETH_HEADER + IP_HEADER_MAX]; /* of the first fragment, with its options */
    unsigned header_len;                        /* 0: the first fragment has not come */
    unsigned total;                             /* bytes of data; 0: the last has not come */
    unsigned units;                             /* how many have come */
    GByteArray *data;                           /* up to the end of the furthest fragment */
    uint8_t have[UNITS / 8];                    /* a bit for each unit that has come */
} Datagram;

struct Ipv4Reassembly {
    Datagram datagrams[DATAGRAMS];
};

static unsigned reassembly_get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static void reassembly_put16(uint8_t *p, unsigned v)
{
    p[0] = v >> 8;
    p[1] = v;
}

/* RFC 1071. 0 over a header whose checksum is right; the checksum where that field is 0. */
static unsigned header_checksum(const uint8_t *p, unsigned len)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < len; i += 2) {
        sum += reassembly_get16(p + i);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return ~sum & 0xffff;
}

bool ipv4_is_fragment(const uint8_t *frame, size_t len)
{
    return len >= ETH_HEADER + IP_HEADER_MIN && reassembly_get16(frame + 12) == 0x0800 &&
           (reassembly_get16(frame + ETH_HEADER + 6) & ~DONT);
}

static Key key_of(const uint8_t *ip)
{
    Key k = {.id = reassembly_get16(ip + 4), .protocol = ip[9]};

    memcpy(&k.src, ip + 12, 4);
    memcpy(&k.dst, ip + 16, 4);
    return k;
}

static bool key_equal(const Key *a, const Key *b)
{
    return a->src == b->src && a->dst == b->dst && a->id == b->id && a->protocol == b->protocol;
}

/* Parses a fragment; false where its IP header is not valid. */
static bool reassembly_parse(const uint8_t *frame, size_t len, Fragment *f)
{
    const uint8_t *ip = frame + ETH_HEADER;
    unsigned ihl = (ip[0] & 15) * 4, size = reassembly_get16(ip + 2),
             field = reassembly_get16(ip + 6);

    if (ip[0] >> 4 != 4 || ihl < IP_HEADER_MIN || size < ihl || size > len - ETH_HEADER ||
        header_checksum(ip, ihl) || (field & RESERVED)) {
        return false;
    }
    *f = (Fragment){.key = key_of(ip),
                    .header = frame,
                    .data = ip + ihl,
                    .header_len = ETH_HEADER + ihl,
                    .offset = (field & OFFSET_MASK) * UNIT,
                    .len = size - ihl,
                    .last = !(field & MORE)};
    return true;
}

static void reassembly_forget(Datagram *d)
{
    if (d->used) {
        g_byte_array_unref(d->data);
    }
    memset(d, 0, sizeof *d);
}

static void reassembly_begin(Datagram *d, const Key *key, int64_t now)
{
    reassembly_forget(d);
    d->used = true;
    d->key = *key;
    d->born = now;
    d->data = g_byte_array_new();
}

/* The datagram of this key; a new one, in the place of the oldest, where there is none. */
static Datagram *datagram_for(Ipv4Reassembly *r, const Key *key, int64_t now)
{
    Datagram *place = &r->datagrams[0];

    for (unsigned i = 0; i < DATAGRAMS; i++) {
        Datagram *d = &r->datagrams[i];

        if (d->used && now - d->born > LIFETIME_NS) {
            reassembly_forget(d);
        }
        if (d->used && key_equal(&d->key, key)) {
            return d;
        }
        if (place->used && (!d->used || d->born < place->born)) {
            place = d;
        }
    }
    reassembly_begin(place, key, now);
    return place;
}

/* Marks the fragment's units as come. False where one of them had come before. */
static bool reassembly_mark(Datagram *d, const Fragment *f)
{
    unsigned end = (f->offset + f->len + UNIT - 1) / UNIT;

    for (unsigned u = f->offset / UNIT; u < end; u++) {
        if (d->have[u / 8] & 1 << u % 8) {
            return false;
        }
        d->have[u / 8] |= 1 << u % 8;
        d->units++;
    }
    return true;
}

/* False where the fragment contradicts IP's limits or earlier fragments. */
static bool reassembly_fits(const Datagram *d, const Fragment *f)
{
    unsigned end = f->offset + f->len;

    if (!f->len || end > DATAGRAM_MAX - IP_HEADER_MIN || (!f->last && f->len % UNIT)) {
        return false;
    }
    return f->last ? !d->total && end >= d->data->len : !d->total || end <= d->total;
}

static bool reassembly_take(Datagram *d, const Fragment *f)
{
    unsigned end = f->offset + f->len;

    if (!reassembly_fits(d, f) || !reassembly_mark(d, f)) {
        return false;
    }
    if (end > d->data->len) {
        g_byte_array_set_size(d->data, end);
    }
    memcpy(d->data->data + f->offset, f->data, f->len);
    if (f->offset == 0) {
        memcpy(d->header, f->header, f->header_len);
        d->header_len = f->header_len;
    }
    if (f->last) {
        d->total = end;
    }
    return d->header_len + d->data->len <= ETH_HEADER + DATAGRAM_MAX;
}

static bool reassembly_complete(const Datagram *d)
{
    return d->total && d->units == (d->total + UNIT - 1) / UNIT;
}

static uint8_t *reassembly_whole(const Datagram *d, size_t *len)
{
    uint8_t *frame = g_malloc(d->header_len + d->total), *ip = frame + ETH_HEADER;

    memcpy(frame, d->header, d->header_len);
    memcpy(frame + d->header_len, d->data->data, d->total);
    *len = d->header_len + d->total;
    reassembly_put16(ip + 2, *len - ETH_HEADER);
    reassembly_put16(ip + 6, 0);
    reassembly_put16(ip + 10, 0);
    reassembly_put16(ip + 10, header_checksum(ip, d->header_len - ETH_HEADER));
    return frame;
}

uint8_t *ipv4_reassembly_add(Ipv4Reassembly *r, const uint8_t *frame, size_t len, int64_t now,
                             size_t *whole_len)
{
    Fragment f;
    Datagram *d;
    uint8_t *result = NULL;

    if (!reassembly_parse(frame, len, &f)) {
        log_guest_error("IPv4 fragment with a broken header: dropped");
        return NULL;
    }
    d = datagram_for(r, &f.key, now);
    if (!reassembly_take(d, &f)) {
        log_guest_error("IPv4 fragments that overlap or do not fit (offset %u, %u bytes): "
                        "their datagram is dropped",
                        f.offset, f.len);
        reassembly_forget(d);
    } else if (reassembly_complete(d)) {
        result = reassembly_whole(d, whole_len);
        reassembly_forget(d);
    }
    return result;
}

Ipv4Reassembly *ipv4_reassembly_new(void)
{
    return g_new0(Ipv4Reassembly, 1);
}

void ipv4_reassembly_free(Ipv4Reassembly *r)
{
    for (unsigned i = 0; i < DATAGRAMS; i++) {
        reassembly_forget(&r->datagrams[i]);
    }
    g_free(r);
}
