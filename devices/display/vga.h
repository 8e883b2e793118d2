/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VGA (IBM VGA Technical Reference; FreeVGA's description of undocumented behaviour) with the
 * Bochs VBE registers (DISPI, of Bochs' vbe_display_api.txt) and QEMU's additions to them
 * (docs/specs/standard-vga.txt).
 *
 * Video memory is kept plane by plane in turn: the four bytes of plane address p lie at 4 * p. So
 * chain-4 and the linear frame buffer see memory as it is. Odd/even addresses and the CRTC's word
 * and doubleword modes drop address bits that real cards leave unused, and so see the same planes.
 *
 * A device embeds a Vga and calls its functions with the device's lock held.
 */
#ifndef DEVICES_DISPLAY_VGA_H
#define DEVICES_DISPLAY_VGA_H

#include "ui/screen.h"
#include "vm/device.h"
#include "vm/memory.h"
#include "vm/vm.h"

enum {
    VGA_WINDOW_BASE = 0xa0000,
    VGA_WINDOW_SIZE = 0x20000,
    VGA_LEGACY_SIZE = 0x40000, /* of memory without VBE: four planes of 64 KiB */
    VGA_VBE_PORT = 0x1ce,
    VGA_EDID_SIZE = 128,
};

/* Registers by index, and their bits. */
enum {
    SEQ_CLOCKING = 1, /* 0x01: 8 dots a character; 0x08: half the dot clock; 0x20: screen off */
    SEQ_MAP_MASK = 2,
    SEQ_FONTS = 3,
    SEQ_MEMORY = 4, /* 0x04: no odd/even; 0x08: chain-4 */

    GFX_SET_RESET = 0,
    GFX_ENABLE_SET_RESET = 1,
    GFX_COLOUR_COMPARE = 2,
    GFX_ROTATE = 3, /* 0x18: function */
    GFX_READ_MAP = 4,
    GFX_MODE = 5, /* 0x03: write mode; 0x08: read mode 1; 0x10: odd/even; 0x20: CGA; 0x40: 256 */
    GFX_MISC = 6, /* 0x01: graphics; 0x0c: window */
    GFX_COLOUR_CARE = 7,
    GFX_BIT_MASK = 8,

    ATTR_MODE = 0x10, /* 0x04: line graphics; 0x08: blink; 0x20: panning stops at the split; 0x80 */
    ATTR_OVERSCAN = 0x11,
    ATTR_PLANES = 0x12,
    ATTR_PANNING = 0x13,
    ATTR_COLOUR_SELECT = 0x14,
    ATTR_COUNT = 0x15,
    ATTR_PALETTE_SOURCE = 0x20, /* of the index: 0 blanks the screen */

    CRTC_HTOTAL = 0,
    CRTC_HDISPLAY_END = 1,
    CRTC_VTOTAL = 6,
    CRTC_OVERFLOW = 7,
    CRTC_PRESET_ROW = 8,
    CRTC_MAX_ROW = 9, /* 0x80: double scan */
    CRTC_CURSOR_START = 0xa,
    CRTC_CURSOR_END = 0xb,
    CRTC_START_HIGH = 0xc,
    CRTC_START_LOW = 0xd,
    CRTC_CURSOR_HIGH = 0xe,
    CRTC_CURSOR_LOW = 0xf,
    CRTC_VRETRACE_START = 0x10,
    CRTC_VRETRACE_END = 0x11, /* 0x80: protects 0 to 7 */
    CRTC_VDISPLAY_END = 0x12,
    CRTC_OFFSET = 0x13,
    CRTC_UNDERLINE = 0x14, /* 0x40: doubleword addresses */
    CRTC_MODE = 0x17,
    CRTC_LINE_COMPARE = 0x18,
    CRTC_COUNT = 0x19,

    MISC_COLOUR = 0x01, /* ports 0x3dX, not 0x3bX */
    MISC_RAM = 0x02,

    VBE_ID = 0,
    VBE_XRES = 1,
    VBE_YRES = 2,
    VBE_BPP = 3,
    VBE_ENABLE = 4,
    VBE_BANK = 5,
    VBE_VIRT_WIDTH = 6,
    VBE_VIRT_HEIGHT = 7,
    VBE_X_OFFSET = 8,
    VBE_Y_OFFSET = 9,
    VBE_MEMORY_64K = 10,
    VBE_COUNT = 11,
    VBE_ENABLED = 0x01, /* bits of VBE_ENABLE */
    VBE_GETCAPS = 0x02,
    VBE_8BIT_DAC = 0x20,
    VBE_LFB = 0x40,
    VBE_NOCLEAR = 0x80,
};

#define VGA_STATE(X)                                                                               \
    X(F, uint8_t, misc)                                                                            \
    X(F, uint8_t, feature)                                                                         \
    X(F, uint8_t, seq_index)                                                                       \
    X(A, uint8_t, seq, 8)                                                                          \
    X(F, uint8_t, gfx_index)                                                                       \
    X(A, uint8_t, gfx, 16)                                                                         \
    X(F, uint8_t, attr_index)                                                                      \
    X(F, bool, attr_data) /* the next write of 0x3c0 is data */                                    \
    X(A, uint8_t, attr, ATTR_COUNT)                                                                \
    X(F, uint8_t, crtc_index)                                                                      \
    X(A, uint8_t, crtc, CRTC_COUNT)                                                                \
    X(F, uint8_t, dac_mask)                                                                        \
    X(F, uint8_t, dac_state) /* 0: writing, 3: reading */                                          \
    X(F, uint8_t, dac_read_index)                                                                  \
    X(F, uint8_t, dac_write_index)                                                                 \
    X(F, uint8_t, dac_part) /* red, green, blue */                                                 \
    X(A, uint8_t, dac_cache, 3)                                                                    \
    X(A, uint8_t, palette, 768)                                                                    \
    X(F, uint32_t, latch)                                                                          \
    X(F, uint16_t, vbe_index)                                                                      \
    X(A, uint16_t, vbe, VBE_COUNT)                                                                 \
    X(F, bool, big_endian)
STATE_STRUCT(VgaState, VGA_STATE);
const StateDesc *vga_state_desc(void);

typedef enum {
    VGA_TEXT,
    VGA_PLANAR, /* a bit of each plane is a pixel of 16 colours */
    VGA_CGA,    /* two bits of a plane are a pixel */
    VGA_PACKED, /* a byte is a pixel of 256 colours */
    VGA_RGB,
} VgaKind;

/* What the registers say of the picture. Addresses are offsets in video memory. */
typedef struct {
    uint8_t kind; /* VgaKind */
    bool blank, vbe, big_endian;
    uint8_t bpp;        /* VBE */
    uint8_t dots;       /* a character: 8 or 9 */
    uint8_t repeat;     /* pixels are so many dots wide: 1 or 2 */
    uint8_t pan;        /* pixels */
    bool pan_stops;     /* below the split */
    uint8_t max_row;    /* of a character, or how often graphics lines are repeated */
    uint8_t preset_row; /* the first */
    uint8_t scans;      /* scan lines a row: 1 or 2 */
    uint8_t crtc_mode;  /* 0x01, 0x02: rows are not parts of the address */
    uint8_t row_shift;  /* the address bit that a row's bit 0 replaces */
    unsigned cols;      /* characters */
    unsigned width, height;
    uint32_t start, stride, wrap; /* wrap: a power of two */
    unsigned line_compare;
    uint32_t colours[256];
    /* Text. */
    uint32_t font[2]; /* offsets; by bit 3 of the attribute */
    uint32_t cursor;
    uint8_t cursor_first, cursor_last, underline; /* rows */
    bool cursor_on, blink, blink_off, line_graphics;
} VgaView;

typedef struct Vga {
    VgaState s;
    Device *dev;
    RamBlock *vram;
    uint32_t size; /* of vram: a power of two */
    IoRegion ports[5], vbe_ports, window;
    IoRegion linear; /* video memory in the window, where that is as good as the traps */
    const uint8_t *(*rom)(Device *dev, size_t *len); /* the VGA BIOS, or NULL */
    Screen screen;
    DeviceTimer *blink;  /* armed while somebody looks at what blinks */
    DirtyReader *reader; /* while somebody looks */
    uint64_t *dirty;     /* what it said last */
    VgaView view;        /* what was drawn last */
    bool redraw;
    uint8_t edid[VGA_EDID_SIZE];
} Vga;

/* For the device's realize; vga_exit() also where vga_init() failed. */
bool vga_init(Vga *d, Device *dev, uint32_t vgamem_mb, GError **err);
void vga_exit(Vga *d);
void vga_reset(Vga *d);
void vga_post_load(Vga *d);
/* vga_firmware.c: text mode, as the VGA BIOS leaves it. */
void vga_set_text_mode(Vga *d);

uint8_t vga_port_read(Vga *d, unsigned port);
void vga_port_write(Vga *d, unsigned port, uint8_t value);

/* vga_memory.c */
void vga_memory_init(Vga *d);
void vga_memory_update(Vga *d); /* registers on which the window depends have changed */

/* vga_vbe.c */
void vga_vbe_reset(Vga *d);
uint16_t vga_vbe_read(Vga *d, unsigned index);
void vga_vbe_write(Vga *d, unsigned index, uint16_t value);
void vga_vbe_init(Vga *d);
typedef struct {
    unsigned width, height, bpp, virt_width;
    uint32_t stride, start; /* bytes */
} VgaVbeMode;
/* The mode with every value in its bounds, whatever the registers hold. */
void vga_vbe_mode(const Vga *d, VgaVbeMode *m);
static inline bool vga_vbe_enabled(const Vga *d)
{
    return d->s.vbe[VBE_ENABLE] & VBE_ENABLED;
}

/* vga_draw.c, vga_line.c */
extern const ScreenOps vga_screen_ops;
void vga_view(const Vga *d, VgaView *v);
/* Draws a line of v->width + v->pan pixels at most from 'src', into room for VGA_LINE_MAX more. */
void vga_draw_line(const Vga *d, const VgaView *v, const uint8_t *src, uint32_t addr, unsigned row,
                   uint32_t *out, bool *blinks);
enum { VGA_LINE_MAX = 64 };
/* The bytes of a line of the picture. */
uint32_t vga_line_bytes(const VgaView *v);

/* edid.c */
typedef struct {
    uint32_t xres, yres, xmax, ymax; /* 0: the usual */
} EdidInfo;
bool edid_make(const EdidInfo *info, uint8_t edid[VGA_EDID_SIZE], GError **err);

#endif
