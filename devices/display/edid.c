/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor's description of itself (VESA E-EDID Standard, release A2: EDID 1.4). */
#include "base/error.h"
#include "vga.h"

enum {
    EDID_USUAL_XRES = 1280,
    EDID_USUAL_YRES = 800,
    EDID_MAX_RES = 4095,    /* of a detailed timing's 12 bits */
    EDID_MAX_CLOCK = 65535, /* of 10 kHz */
    EDID_DPI = 100,
    EDID_ESTABLISHED = 35,
    EDID_STANDARD = 38,
    EDID_DETAILED = 54,
    /* VESA CVT 1.2, reduced blanking, version 1. */
    CVT_HBLANK = 160,
    CVT_HFRONT = 48,
    CVT_HSYNC = 32,
    CVT_VFRONT = 3,
    CVT_VSYNC = 6,
    CVT_VBLANK_MIN_US = 460,
};

/* Offers with the bits that stand for them. All at 60 Hz. */
static const struct {
    uint16_t x, y;
    uint8_t byte, bit;
} established[] = {{640, 480, 0, 0x20}, {800, 600, 0, 0x01}, {1024, 768, 1, 0x08}};

/* The aspect ratio of a standard timing (3.9): 0: 16:10, 1: 4:3, 2: 5:4, 3: 16:9. */
static const struct {
    uint16_t x, y;
    uint8_t aspect;
} standard[] = {{1920, 1080, 3}, {1680, 1050, 0}, {1600, 1200, 1}, {1440, 900, 0},
                {1280, 1024, 2}, {1280, 960, 1},  {1280, 720, 3},  {1152, 864, 1}};

static bool edid_fits(const EdidInfo *info, unsigned x, unsigned y)
{
    return (!info->xmax || x <= info->xmax) && (!info->ymax || y <= info->ymax);
}

static void edid_put_lists(const EdidInfo *info, uint8_t *edid)
{
    for (unsigned i = 0; i < ARRAY_SIZE(established); i++) {
        if (edid_fits(info, established[i].x, established[i].y)) {
            edid[EDID_ESTABLISHED + established[i].byte] |= established[i].bit;
        }
    }
    memset(edid + EDID_STANDARD, 0x01, 16); /* unused */
    for (unsigned i = 0, n = 0; i < ARRAY_SIZE(standard); i++) {
        if (edid_fits(info, standard[i].x, standard[i].y)) {
            edid[EDID_STANDARD + n++] = standard[i].x / 8 - 31;
            edid[EDID_STANDARD + n++] = standard[i].aspect << 6; /* 60 Hz */
        }
    }
}

/* 3.10.2: the low 8 bits of two numbers, then the high 4 of both. */
static void edid_put_pair(uint8_t *p, unsigned a, unsigned b)
{
    p[0] = a;
    p[1] = b;
    p[2] = a >> 8 << 4 | b >> 8;
}

static void edid_put_detailed(uint8_t *p, unsigned xres, unsigned yres)
{
    unsigned hz = 60, total = xres + CVT_HBLANK, vblank, clock;
    unsigned xmm = xres * 254 / (10 * EDID_DPI), ymm = yres * 254 / (10 * EDID_DPI);

    do {
        /* So many lines as last as long as the shortest blanking. */
        vblank = MAX(CVT_VBLANK_MIN_US * hz * yres / (1000000 - CVT_VBLANK_MIN_US * hz) + 1,
                     CVT_VFRONT + CVT_VSYNC + 6);
        clock = (uint64_t)total * (yres + vblank) * hz / 10000;
        hz--;
    } while (clock > EDID_MAX_CLOCK);
    stle16(p, clock);
    edid_put_pair(p + 2, xres, CVT_HBLANK);
    edid_put_pair(p + 5, yres, vblank);
    p[8] = CVT_HFRONT;
    p[9] = CVT_HSYNC;
    p[10] = CVT_VFRONT << 4 | CVT_VSYNC;
    edid_put_pair(p + 12, xmm, ymm);
    p[17] = 0x1a; /* digital separate sync, horizontal positive */
}

/* A display descriptor of text (3.10.3): ends with a line feed, then blanks. */
static void edid_put_text(uint8_t *p, uint8_t tag, const char *text)
{
    size_t len = strlen(text);

    p[3] = tag;
    memset(p + 5, ' ', 13);
    memcpy(p + 5, text, len);
    p[5 + len] = '\n';
}

bool edid_make(const EdidInfo *info, uint8_t edid[VGA_EDID_SIZE], GError **err)
{
    static const uint8_t head[] = {
        0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, /* 3.3 */
        0x59, 0xad,                                     /* manufacturer: VMM */
        0x34, 0x12, 0x00, 0x00, 0x00, 0x00,             /* product, serial number */
        0x01, 0x24,                                     /* week, year: 2026 */
        0x01, 0x04,                                     /* version 1.4 */
        0xa0,                                           /* digital, 8 bits a colour */
    };
    /* sRGB (3.7). */
    static const uint8_t chromaticity[] = {0xee, 0x91, 0xa3, 0x54, 0x4c,
                                           0x99, 0x26, 0x0f, 0x50, 0x54};
    unsigned xres = info->xres ?: info->xmax ? MIN(info->xmax, EDID_USUAL_XRES) : EDID_USUAL_XRES;
    unsigned yres = info->yres ?: info->ymax ? MIN(info->ymax, EDID_USUAL_YRES) : EDID_USUAL_YRES;
    uint8_t sum = 0;

    if (xres < 64 || yres < 64 || xres > EDID_MAX_RES || yres > EDID_MAX_RES) {
        return error_set(err,
                         "a monitor of %u by %u pixels cannot be described: xres and yres are "
                         "64 to %u",
                         xres, yres, EDID_MAX_RES);
    }
    if (!edid_fits(info, xres, yres)) {
        return error_set(err, "xres=%u,yres=%u is above xmax=%u,ymax=%u", xres, yres, info->xmax,
                         info->ymax);
    }
    memset(edid, 0, VGA_EDID_SIZE);
    memcpy(edid, head, sizeof head);
    edid[21] = MIN(DIV_ROUND_UP(xres * 254, 100 * EDID_DPI), 255); /* cm */
    edid[22] = MIN(DIV_ROUND_UP(yres * 254, 100 * EDID_DPI), 255);
    edid[23] = 120;  /* gamma 2.2 */
    edid[24] = 0x06; /* sRGB; the first detailed timing is the native one */
    memcpy(edid + 25, chromaticity, sizeof chromaticity);
    edid_put_lists(info, edid);
    edid_put_detailed(edid + EDID_DETAILED, xres, yres);
    edid_put_text(edid + EDID_DETAILED + 18, 0xfc, "VMM Monitor");
    edid[EDID_DETAILED + 36 + 3] = 0x10; /* dummies */
    edid[EDID_DETAILED + 54 + 3] = 0x10;
    for (unsigned i = 0; i < VGA_EDID_SIZE - 1; i++) {
        sum += edid[i];
    }
    edid[VGA_EDID_SIZE - 1] = -sum;
    return true;
}
