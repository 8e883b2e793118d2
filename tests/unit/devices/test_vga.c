/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VGA that two viewers look at, with screenshots in between, while a guest draws at random and
 * changes modes: at rest each has the picture that is drawn anew from memory, pixel by pixel.
 */
#include "../vm/fixture.h"

#include "../../../devices/display/vga.h"
#include "../ui/eye.h"
#include "devices/pci.h"
#include "devices/vga.h"

extern const DeviceClass i440fx_pcihost_class, vga_pci_class;

enum { MEMORY_BAR = 0xe0000000, MEMORY_SIZE = 1 << 20, REST_EVERY = 400 };

static Device *vga;
static Screen *screen;
static GRand *dice;

static void config(PciBus *pci, unsigned reg, uint32_t value)
{
    pci_config_write(pci, PCI_DEVFN(2, 0) << 8 | reg, value, 4);
}

static void setup(void)
{
    static const DeviceClass *const classes[] = {&i440fx_pcihost_class, &vga_pci_class, NULL};
    GError *err = NULL;
    Device *host;
    PciBus *pci;

    fixture_setup();
    device_set_classes(classes);
    host = device_new(vm, "i440FX-pcihost", NULL, NULL, &err, NULL);
    ck_no_error(err);
    pci = host->buses->pdata[0];
    vga = device_new(vm, "VGA", &pci->bus, NULL, &err, "addr", "2.0", "vgamem_mb", "1", "romfile",
                     "", NULL);
    ck_no_error(err);
    device_lock(vga);
    device_reset(vga, RESET_COLD);
    device_unlock(vga);
    config(pci, 0x10, MEMORY_BAR);
    config(pci, 0x04, 2);
    screen = screen_get(vm, 0);
    dice = g_rand_new_with_seed(21);
}

static void teardown(void)
{
    g_rand_free(dice);
    fixture_teardown();
}

static unsigned roll(unsigned n)
{
    return g_rand_int_range(dice, 0, n);
}

static void out(uint16_t port, uint64_t value, unsigned size)
{
    cpu_access(vm, IO_SPACE_PIO, port, &value, size, true);
}

static void vbe(unsigned index, unsigned value)
{
    out(0x1ce, index, 2);
    out(0x1cf, value, 2);
}

static void set_text_mode(void)
{
    vga_init_as_firmware(vga);
}

/* 320x200 in 256 colours, from text mode: chain-4 or planes. */
static void set_256_colours(bool chain4)
{
    static const uint16_t crtc[] = {0x4109, 0x4014, 0xa317};

    set_text_mode();
    out(0x3c4, 0x0101, 2);
    out(0x3c4, 0x0f02, 2);
    out(0x3c4, chain4 ? 0x0e04 : 0x0604, 2);
    out(0x3ce, 0x4005, 2);
    out(0x3ce, 0x0506, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(crtc); i++) {
        out(0x3d4, crtc[i], 2);
    }
    out(0x3c8, 0, 1);
    for (unsigned i = 0; i < 768; i++) {
        out(0x3c9, i * 7 & 63, 1);
    }
}

static void set_vbe(void)
{
    static const uint8_t depths[] = {4, 8, 15, 16, 24, 32};

    vbe(4, 0);
    vbe(1, 8 * (1 + roll(60)));
    vbe(2, 1 + roll(300));
    vbe(3, depths[roll(6)]);
    vbe(4, roll(2) ? 1 : 0x81);
}

static void change_mode(void)
{
    switch (roll(4)) {
    case 0:
        set_text_mode();
        break;
    case 1:
        set_256_colours(true);
        break;
    case 2:
        set_256_colours(false);
        break;
    default:
        set_vbe();
    }
}

/* Registers make a whole picture new; memory only makes lines new. */
static void draw_something(bool registers)
{
    uint64_t value = (uint64_t)g_rand_int(dice) << 32 | g_rand_int(dice);
    unsigned where = roll(16) ? roll(0x10000) : roll(0x20000 - 8);

    switch (registers ? roll(12) : 4 + roll(8)) {
    case 0: /* a colour */
        out(0x3c8, roll(64), 1);
        out(0x3c9, value & 63, 1);
        out(0x3c9, value >> 8 & 63, 1);
        out(0x3c9, value >> 16 & 63, 1);
        break;
    case 1: /* start address, cursor */
        out(0x3d4, 0xc + roll(4) + (value & 0xff) * 256, 2);
        break;
    case 2:
        vbe(5 + roll(5), value & 0x1ff);
        break;
    case 3:
        out(0x3c4, 0x0002 + (value & 0xf00), 2); /* planes */
        break;
    case 4:
    case 5:
    case 6:
        cpu_access(vm, IO_SPACE_MEM, MEMORY_BAR + roll(roll(2) ? MEMORY_SIZE - 8 : 0x20000), &value,
                   8, true);
        break;
    case 7:
    case 8:
        cpu_access(vm, IO_SPACE_MEM, 0xb8000 + roll(0x1000), &value, 2, true);
        break;
    default:
        cpu_access(vm, IO_SPACE_MEM, 0xa0000 + where, &value, 1 + roll(8), true);
    }
}

/* Turns the loop until what was drawn has come to the viewers. Linear modes are polled for ever. */
static void rest(void)
{
    gint64 end = g_get_monotonic_time() + 3 * SCREEN_PERIOD_NS / 1000;

    while (g_get_monotonic_time() < end) {
        event_loop_iterate(loop, SCREEN_PERIOD_NS);
    }
}

static void check_eye(const Eye *e, const Surface *f)
{
    ck_assert_uint_eq(e->width, f->width);
    ck_assert_uint_eq(e->height, f->height);
    for (unsigned y = 0; y < f->height; y++) {
        ck_assert_mem_eq(e->copy + y * e->width, f->pixels + y * f->stride, f->width * 4);
    }
}

static bool vga_is_logged(void)
{
    for (unsigned i = 0; i < slots->len; i++) {
        if (g_array_index(slots, Slot, i).log) {
            return true;
        }
    }
    return false;
}

START_TEST(two_viewers_and_a_camera)
{
    bool registers = true;
    Eye a, b;

    eye_init(&a, screen);
    eye_init(&b, screen);
    for (unsigned i = 0; i < 8000; i++) {
        if (i % REST_EVERY == 0) {
            screen_viewer_wake(&a.v, true);
            screen_viewer_wake(&b.v, true);
            rest();
            screen_viewer_wake(&a.v, false);
            screen_viewer_wake(&b.v, false);
            /* Nobody looks now, so this is drawn from memory, and whole. */
            const Surface *f = screen_draw_now(screen);
            check_eye(&a, f);
            check_eye(&b, f);
            change_mode();
            registers = i / REST_EVERY % 2;
            screen_viewer_wake(&a.v, !registers || roll(2));
        }
        draw_something(registers);
        switch (roll(100)) {
        case 0:
            screen_viewer_wake(&b.v, roll(2));
            break;
        case 1:
            screen_draw_now(screen);
            break;
        case 2:
            event_loop_iterate(loop, 0);
            break;
        case 3:
            if (registers && !roll(8)) {
                change_mode();
            }
            break;
        }
    }
    eye_end(&a);
    eye_end(&b);
}
END_TEST

/* As a kernel finds it that is booted without firmware. The ROM, and so its font, is missing here.
 */
START_TEST(text_mode)
{
    static const uint16_t cells[] = {'o' | 0x700, 'k' | 0x700};
    GError *err = NULL;
    ScreenText text;

    ck_assert(!screen_read_text(screen, &text, &err));
    ck_error(err, "the screen is blank");
    set_text_mode();
    cpu_access(vm, IO_SPACE_MEM, 0xb8000 + 2 * (80 + 2), (void *)cells, sizeof cells, true);
    ck_assert(screen_read_text(screen, &text, &err));
    ck_assert_uint_eq(text.cols, 80);
    ck_assert_uint_eq(text.rows, 25);
    ck_assert_uint_eq(text.palette[7], 0xaaaaaa);
    ck_assert_uint_eq(text.palette[6], 0xaa5500);
    g_autofree char *utf8 = screen_text_utf8(&text);
    ck_assert(g_str_has_prefix(utf8, "\n  ok\n\n"));
    screen_text_clear(&text);
}
END_TEST

static bool screen_has_size(unsigned width, unsigned height)
{
    const Surface *f = screen_draw_now(screen);

    return f->width == width && f->height == height;
}

static void switch_screen(bool on)
{
    cpu_access(vm, IO_SPACE_PIO, 0x3da, &(uint8_t){0}, 1, false);
    out(0x3c0, on ? 0x20 : 0, 1);
}

/* As a mode is set: no viewer sees the sizes in between. */
START_TEST(blank_screen)
{
    ck_assert(screen_has_size(640, 480));
    set_text_mode();
    ck_assert(screen_has_size(720, 400));
    switch_screen(false);
    out(0x3d4, 0x0011, 2);
    out(0x3d4, 0x2701, 2);
    ck_assert(screen_has_size(720, 400));
    switch_screen(true);
    ck_assert(screen_has_size(360, 400));
}
END_TEST

START_TEST(nobody_looks)
{
    Eye a;

    set_text_mode();
    eye_init(&a, screen);
    ck_assert(!vga_is_logged());
    screen_draw_now(screen);
    ck_assert(!vga_is_logged());
    screen_viewer_wake(&a.v, true);
    ck_assert(vga_is_logged());
    rest();
    ck_assert_uint_eq(a.told, 1);
    screen_viewer_wake(&a.v, false);
    ck_assert(!vga_is_logged());
    eye_end(&a);
}
END_TEST

static VgaState *state_of_vga(void)
{
    const StateSection *section = vga->class->state;

    while (section->desc != vga_state_desc) {
        section++;
    }
    return (VgaState *)((char *)vga + section->offset);
}

/* A loaded state can be anything that its types allow. */
START_TEST(any_state)
{
    uint32_t seed = 1;

    for (unsigned i = 0; i < 300; i++) {
        ScreenText text;
        GError *err = NULL;

        device_lock(vga);
        state_scramble(vga_state_desc(), state_of_vga(), &seed);
        vga->class->post_load(vga);
        device_unlock(vga);
        screen_draw_now(screen);
        if (screen_read_text(screen, &text, &err)) {
            g_free(screen_text_utf8(&text));
            screen_text_clear(&text);
        }
        g_clear_error(&err);
        for (unsigned n = 0; n < 20; n++) {
            draw_something(n >= 10);
            cpu_access(vm, IO_SPACE_MEM, 0xa0000 + roll(0x1fff8), &(uint64_t){0}, 8, false);
            cpu_access(vm, IO_SPACE_PIO, 0x3b0 + roll(48), &(uint8_t){0}, 1, false);
            cpu_access(vm, IO_SPACE_PIO, 0x1cf, &(uint16_t){0}, 2, false);
        }
    }
}
END_TEST

/* A bank that no register could hold, whose window would end beyond 4 GiB. */
START_TEST(any_bank)
{
    uint8_t byte = 0x55;

    vbe(1, 640);
    vbe(2, 480);
    vbe(3, 8);
    vbe(4, 1);
    state_of_vga()->misc |= 2;
    state_of_vga()->vbe[VBE_BANK] = 0xffff;
    cpu_access(vm, IO_SPACE_MEM, 0xa0010, &byte, 1, true);
    cpu_access(vm, IO_SPACE_MEM, MEMORY_BAR + MEMORY_SIZE - 0x10000 + 0x10, &byte, 1, false);
    ck_assert_uint_eq(byte, 0x55);
}
END_TEST

/* A character costs the viewer its tiles, and not the screen. */
START_TEST(little_changes)
{
    uint16_t cell = 0x0fdb;
    unsigned x, y, w, h;
    Eye a;

    set_text_mode();
    out(0x3d4, 0x200a, 2); /* no cursor */
    eye_init(&a, screen);
    screen_viewer_wake(&a.v, true);
    rest();
    a.v.changed = NULL;
    screen_viewer_wake(&a.v, false);
    cpu_access(vm, IO_SPACE_MEM, 0xb8000 + 2 * (80 * 5 + 40), &cell, 2, true);
    /* The glyph of a block: the ROM is missing here. */
    out(0x3c4, 0x0402, 2);
    out(0x3c4, 0x0604, 2);
    out(0x3ce, 0x0005, 2);
    out(0x3ce, 0x0406, 2);
    for (unsigned row = 0; row < 16; row++) {
        cpu_access(vm, IO_SPACE_MEM, 0xa0000 + 0xdb * 32 + row, &(uint8_t){0xff}, 1, true);
    }
    screen_draw_now(screen);
    ck_assert(screen_viewer_take(&a.v, &x, &y, &w, &h));
    ck_assert(x <= 360 && x + w >= 369 && w <= 32 && y == 80 && h == 16);
    ck_assert(!screen_viewer_take(&a.v, &x, &y, &w, &h));
    eye_end(&a);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("vga");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, two_viewers_and_a_camera);
    tcase_add_test(tc, text_mode);
    tcase_add_test(tc, blank_screen);
    tcase_add_test(tc, nobody_looks);
    tcase_add_test(tc, any_state);
    tcase_add_test(tc, any_bank);
    tcase_add_test(tc, little_changes);
    return unit_run_case("devices_vga", tc);
}
