/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pictures of a surface: PPM (netpbm's P6), and PNG (ISO/IEC 15948) by zlib. */
#include <errno.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/library.h"
#include "ui/screen.h"

#define ZLIB_FUNCTIONS(F) F(compress2) F(compressBound) F(crc32)

static struct {
    ZLIB_FUNCTIONS(LIBRARY_POINTER)
} zlib;
static const char *const zlib_names[] = {ZLIB_FUNCTIONS(LIBRARY_NAME) NULL};
static Library zlib_library = {"libz.so.1", "zlib1g", zlib_names, &zlib};

static bool screenshot_write(int fd, const void *data, size_t len, GError **err)
{
    const uint8_t *p = data;

    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "the picture of the screen cannot be written");
        }
        p += MAX(n, 0);
        len -= MAX(n, 0);
    }
    return true;
}

static uint8_t *screenshot_put_row(uint8_t *out, const Surface *s, unsigned y)
{
    const uint32_t *row = s->pixels + (size_t)y * s->stride;

    for (unsigned x = 0; x < s->width; x++) {
        *out++ = row[x] >> 16;
        *out++ = row[x] >> 8;
        *out++ = row[x];
    }
    return out;
}

static bool screenshot_has_size(const Surface *s, GError **err)
{
    return (s->width && s->height) || error_set(err, "the screen shows nothing yet");
}

bool screenshot_write_ppm(const Surface *s, int fd, GError **err)
{
    g_autofree char *header = g_strdup_printf("P6\n%u %u\n255\n", s->width, s->height);
    g_autofree uint8_t *rgb = NULL;
    uint8_t *end;

    if (!screenshot_has_size(s, err)) {
        return false;
    }
    end = rgb = g_malloc((size_t)s->width * s->height * 3);
    for (unsigned y = 0; y < s->height; y++) {
        end = screenshot_put_row(end, s, y);
    }
    return screenshot_write(fd, header, strlen(header), err) &&
           screenshot_write(fd, rgb, end - rgb, err);
}

/* Length, type, data, CRC of type and data. (5.3) */
static bool screenshot_write_chunk(int fd, const char type[4], const void *data, uint32_t len,
                                   GError **err)
{
    uint8_t head[8], tail[4];

    stbe32(head, len);
    memcpy(head + 4, type, 4);
    stbe32(tail, zlib.crc32(zlib.crc32(0, head + 4, 4), data, len));
    return screenshot_write(fd, head, sizeof head, err) && screenshot_write(fd, data, len, err) &&
           screenshot_write(fd, tail, sizeof tail, err);
}

bool screenshot_write_png(const Surface *s, int fd, GError **err)
{
    static const uint8_t signature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    uint8_t header[13] = {[8] = 8 /* bits */, [9] = 2 /* RGB */};
    size_t len = ((size_t)s->width * 3 + 1) * s->height;
    g_autofree uint8_t *rows = NULL, *packed = NULL;
    unsigned long packed_len;
    uint8_t *end;

    if (!screenshot_has_size(s, err) || !library_load(&zlib_library, err)) {
        return false;
    }
    end = rows = g_malloc(len);
    for (unsigned y = 0; y < s->height; y++) {
        *end++ = 0; /* filter type: none */
        end = screenshot_put_row(end, s, y);
    }
    packed_len = zlib.compressBound(len);
    packed = g_malloc(packed_len);
    if (zlib.compress2(packed, &packed_len, rows, len, 6) != Z_OK) {
        return error_set(err, "the picture of the screen cannot be compressed");
    }
    stbe32(header, s->width);
    stbe32(header + 4, s->height);
    return screenshot_write(fd, signature, sizeof signature, err) &&
           screenshot_write_chunk(fd, "IHDR", header, sizeof header, err) &&
           screenshot_write_chunk(fd, "IDAT", packed, packed_len, err) &&
           screenshot_write_chunk(fd, "IEND", "", 0, err);
}
