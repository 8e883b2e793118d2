/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The last bytes of output, kept in memory for 'ringbuf_read'; 'ringbuf_write' adds to them. */
#include "internal.h"
#include "base/error.h"
#include "base/util.h"

typedef struct {
    Chardev chr;
    uint8_t *data;
    size_t size;
    uint64_t produced, consumed; /* bytes in total; the index is modulo size */
} CharRingbuf;

typedef struct {
    uint64_t size;
} RingbufOptions;

static const Property ringbuf_props[] = {
    {.name = "size",
     .type = PROP_SIZE,
     .offset = offsetof(RingbufOptions, size),
     .defval = "65536",
     .help = "bytes kept, a power of two"},
    PROP_END,
};

static bool ringbuf_open(Chardev *chr, void *options, GError **err)
{
    CharRingbuf *s = container_of(chr, CharRingbuf, chr);
    RingbufOptions *o = options;

    if (!is_power_of_2(o->size)) {
        return error_set(err, "size of ringbuf chardev must be power of two");
    }
    if (o->size > GiB) {
        return error_set(err, "size of ringbuf chardev must be at most 1 GiB");
    }
    s->size = o->size;
    s->data = g_malloc(s->size);
    chr->be_open = true;
    return true;
}

static void ringbuf_close(Chardev *chr)
{
    g_free(container_of(chr, CharRingbuf, chr)->data);
}

static ssize_t ringbuf_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharRingbuf *s = container_of(chr, CharRingbuf, chr);

    for (size_t i = 0; i < len; i++) {
        s->data[s->produced++ & (s->size - 1)] = buf[i];
    }
    if (s->produced - s->consumed > s->size) {
        s->consumed = s->produced - s->size;
    }
    return len;
}

static bool is_ringbuf(const Chardev *chr)
{
    return chr->class == &chardev_ringbuf || chr->class == &chardev_memory;
}

bool chardev_ringbuf_write(Chardev *chr, const void *buf, size_t len)
{
    if (!is_ringbuf(chr)) {
        return false;
    }
    g_mutex_lock(&chr->lock);
    ringbuf_write(chr, buf, len);
    g_mutex_unlock(&chr->lock);
    return true;
}

char *chardev_ringbuf_read(Chardev *chr, size_t max, size_t *len)
{
    CharRingbuf *s;
    size_t n;
    char *text;

    if (!is_ringbuf(chr)) {
        return NULL;
    }
    s = container_of(chr, CharRingbuf, chr);
    g_mutex_lock(&chr->lock);
    n = MIN(max, s->produced - s->consumed);
    text = g_malloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        text[i] = s->data[s->consumed++ & (s->size - 1)];
    }
    g_mutex_unlock(&chr->lock);
    text[n] = 0;
    *len = n;
    return text;
}

#define RINGBUF_CLASS(text)                                                                        \
    {                                                                                              \
        .name = (text), .help = "the last output, kept in memory", .size = sizeof(CharRingbuf),    \
        .options_size = sizeof(RingbufOptions), .props = ringbuf_props, .open = ringbuf_open,      \
        .close = ringbuf_close, .write = ringbuf_write, .write_anywhere = true,                    \
    }
const ChardevClass chardev_ringbuf = RINGBUF_CLASS("ringbuf");
const ChardevClass chardev_memory = RINGBUF_CLASS("memory");
