/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unpacks the chunks of DMG images: zlib, bzip2, and Apple's own ADC. */
#include <errno.h>
#include <bzlib.h>
#include <zlib.h>
#include "base/library.h"
#include "dmg.h"

#define ZLIB_FUNCTIONS(F) F(uncompress)
static struct {
    ZLIB_FUNCTIONS(LIBRARY_POINTER)
} zlib;
static const char *const zlib_names[] = {ZLIB_FUNCTIONS(LIBRARY_NAME) NULL};
static Library zlib_library = {"libz.so.1", "zlib1g", zlib_names, &zlib};

#define BZIP2_FUNCTIONS(F) F(BZ2_bzBuffToBuffDecompress)
static struct {
    BZIP2_FUNCTIONS(LIBRARY_POINTER)
} bzip2;
static const char *const bzip2_names[] = {BZIP2_FUNCTIONS(LIBRARY_NAME) NULL};
static Library bzip2_library = {"libbz2.so.1.0", "libbz2-1.0", bzip2_names, &bzip2};

bool dmg_unpacker(uint32_t type, GError **err)
{
    switch (type) {
    case DMG_RAW:
    case DMG_ADC:
        return true;
    case DMG_ZLIB:
        return library_load(&zlib_library, err);
    case DMG_BZIP2:
        return library_load(&bzip2_library, err);
    case DMG_LZFSE:
        return error_set(err, "The DMG image is compressed by LZFSE, which is not supported; "
                              "convert it to UDZO with 'hdiutil convert' where it was made");
    case DMG_LZMA:
        return error_set(err, "The DMG image is compressed by LZMA, which is not supported; "
                              "convert it to UDZO with 'hdiutil convert' where it was made");
    default:
        return error_set(err, "The DMG image has chunks of the unknown type %#x", type);
    }
}

static bool unpack_zlib(const DmgWork *w)
{
    uLongf len = w->out_len;

    return zlib.uncompress(w->out, &len, w->in, w->in_len) == Z_OK && len == w->out_len;
}

static bool unpack_bzip2(const DmgWork *w)
{
    unsigned len = w->out_len;

    return bzip2.BZ2_bzBuffToBuffDecompress((char *)w->out, &len, (char *)w->in, w->in_len, 0, 0) ==
               BZ_OK &&
           len == w->out_len;
}

/* One piece of an ADC stream: a run of new bytes, or of old ones, which may overlap themselves. */
static bool unpack_adc(const DmgWork *w)
{
    size_t in = 0, out = 0;

    while (in < w->in_len && out < w->out_len) {
        uint8_t head = w->in[in];
        size_t len, back, bytes = head & 0x80 ? 1 : head & 0x40 ? 3 : 2;

        if (bytes > w->in_len - in) {
            return false;
        }
        if (head & 0x80) {
            len = (head & 0x7f) + 1u;
            if (len > w->in_len - in - 1 || len > w->out_len - out) {
                return false;
            }
            memcpy(w->out + out, w->in + in + 1, len);
            in += 1 + len;
            out += len;
            continue;
        }
        len = head & 0x40 ? (head & 0x3fu) + 4 : (head >> 2 & 0xfu) + 3;
        back = head & 0x40 ? ldbe16(w->in + in + 1) : (head & 3u) << 8 | w->in[in + 1];
        if (back >= out || len > w->out_len - out) {
            return false;
        }
        for (; len; len--, out++) {
            w->out[out] = w->out[out - back - 1];
        }
        in += bytes;
    }
    return out == w->out_len;
}

int dmg_unpack(const DmgWork *w)
{
    bool ok = w->type == DMG_ZLIB    ? unpack_zlib(w)
              : w->type == DMG_BZIP2 ? unpack_bzip2(w)
              : w->type == DMG_ADC   ? unpack_adc(w)
                                     : false;

    return ok ? 0 : -EIO;
}
