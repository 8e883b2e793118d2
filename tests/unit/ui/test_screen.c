/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Screens: what viewers are told while a toy screen is drawn upon at random. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "../vm/fixture.h"
#include "base/error.h"
#include "eye.h"

/* A screen with a picture of its own, that remembers one rectangle that has changed. */
typedef struct {
    Screen screen;
    unsigned width, height;
    uint32_t *picture;
    bool changed;
    unsigned x0, y0, x1, y1;
    unsigned draws, alls;
    int watched; /* +1 for each on, -1 for each off */
    bool polled;
    unsigned long slow_us; /* that draw() takes */
    int64_t drawn_at;
} Toy;

static void toy_draw(Screen *s, bool all)
{
    Toy *t = (Toy *)s;
    bool resized = t->width != s->surface.width || t->height != s->surface.height;

    t->draws++;
    t->alls += all;
    t->drawn_at = clock_ns(CLOCK_REALTIME_NS);
    g_usleep(t->slow_us);
    s->pushes = !t->polled;
    ck_assert(screen_resize(s, t->width, t->height));
    if (all || resized) {
        t->x0 = t->y0 = 0;
        t->x1 = t->width;
        t->y1 = t->height;
    } else if (!t->changed) {
        return;
    }
    for (unsigned y = t->y0; y < t->y1; y++) {
        memcpy(s->surface.pixels + y * s->surface.stride + t->x0, t->picture + y * t->width + t->x0,
               (t->x1 - t->x0) * 4);
    }
    screen_mark(s, t->x0, t->y0, t->x1 - t->x0, t->y1 - t->y0);
    t->changed = false;
}

static void toy_watched(Screen *s, bool on)
{
    ((Toy *)s)->watched += on ? 1 : -1;
}

static const ScreenOps toy_ops = {.draw = toy_draw, .watched = toy_watched};

static void toy_resize(Toy *t, unsigned width, unsigned height)
{
    g_free(t->picture);
    t->width = width;
    t->height = height;
    t->picture = g_new0(uint32_t, width * height);
    screen_touched(&t->screen);
}

static void toy_fill(Toy *t, unsigned x, unsigned y, unsigned w, unsigned h, uint32_t colour)
{
    for (unsigned j = y; j < y + h; j++) {
        for (unsigned i = x; i < x + w; i++) {
            t->picture[j * t->width + i] = colour;
        }
    }
    t->x0 = t->changed ? MIN(t->x0, x) : x;
    t->y0 = t->changed ? MIN(t->y0, y) : y;
    t->x1 = t->changed ? MAX(t->x1, x + w) : x + w;
    t->y1 = t->changed ? MAX(t->y1, y + h) : y + h;
    t->changed = true;
    screen_touched(&t->screen);
}

static bool eye_sees(const Eye *e, const Toy *t)
{
    return e->width == t->width && e->height == t->height &&
           !memcmp(e->copy, t->picture, t->width * t->height * 4);
}

static Toy toy;

static void setup(void)
{
    fixture_setup();
    toy = (Toy){.screen = {.ops = &toy_ops, .name = "toy"}};
    screen_add(vm, &toy.screen);
    toy_resize(&toy, 100, 50);
}

static void teardown(void)
{
    screen_remove(&toy.screen);
    g_free(toy.picture);
    fixture_teardown();
}

/* Turns the loop until the screen is at rest. */
static void settle(void)
{
    while (event_loop_iterate(loop, 3 * SCREEN_PERIOD_NS / 2)) {
    }
}

/* At rest, all who look see the same, pixel by pixel. */
START_TEST(random_drawing)
{
    GRand *rand = g_rand_new_with_seed(9);
    Eye a, b;

    eye_init(&a, &toy.screen);
    eye_init(&b, &toy.screen);
    screen_viewer_wake(&a.v, true);
    for (unsigned i = 0; i < 2000; i++) {
        unsigned x = g_rand_int_range(rand, 0, toy.width),
                 y = g_rand_int_range(rand, 0, toy.height);

        switch (g_rand_int_range(rand, 0, 40)) {
        case 0:
            toy_resize(&toy, g_rand_int_range(rand, 1, 200), g_rand_int_range(rand, 1, 100));
            break;
        case 1:
            screen_viewer_wake(&b.v, g_rand_boolean(rand));
            break;
        case 2: {
            const Surface *f = screen_draw_now(&toy.screen);

            ck_assert_uint_eq(f->width, toy.width);
            ck_assert_mem_eq(f->pixels, toy.picture, toy.width * toy.height * 4);
            break;
        }
        case 3:
            screen_viewer_wake(&a.v, g_rand_boolean(rand));
            break;
        case 4:
            event_loop_iterate(loop, 0);
            break;
        case 5:
            if (i % 8 == 0) {
                screen_viewer_wake(&a.v, true);
                settle();
                ck_assert(eye_sees(&a, &toy));
            }
            break;
        default:
            toy_fill(&toy, x, y, g_rand_int_range(rand, 1, toy.width - x + 1),
                     g_rand_int_range(rand, 1, toy.height - y + 1), g_rand_int(rand));
        }
    }
    screen_viewer_wake(&a.v, true);
    screen_viewer_wake(&b.v, true);
    settle();
    ck_assert(eye_sees(&a, &toy));
    ck_assert(eye_sees(&b, &toy));
    eye_end(&a);
    eye_end(&b);
    ck_assert_int_eq(toy.watched, 0);
    g_rand_free(rand);
}
END_TEST

/* Drawing costs nothing where nobody looks, and a still screen that pushes wakes nobody. */
START_TEST(nobody_looks)
{
    Eye a;

    eye_init(&a, &toy.screen);
    toy_fill(&toy, 0, 0, 10, 10, 1);
    settle();
    ck_assert_uint_eq(toy.draws, 0);
    screen_viewer_wake(&a.v, true);
    settle();
    ck_assert_uint_eq(toy.draws, 1);
    ck_assert_uint_eq(toy.alls, 1);
    ck_assert_uint_eq(a.told, 1);
    ck_assert_int_eq(toy.watched, 1);
    toy_fill(&toy, 50, 20, 1, 1, 2);
    toy_fill(&toy, 51, 20, 1, 1, 2);
    settle();
    ck_assert_uint_eq(toy.draws, 2);
    ck_assert_uint_eq(toy.alls, 1);
    screen_viewer_wake(&a.v, false);
    ck_assert_int_eq(toy.watched, 0);
    toy_fill(&toy, 1, 1, 1, 1, 3);
    settle();
    ck_assert_uint_eq(toy.draws, 2);
    eye_end(&a);
}
END_TEST

START_TEST(polled_screens)
{
    Eye a;

    toy.polled = true;
    eye_init(&a, &toy.screen);
    screen_viewer_wake(&a.v, true);
    while (toy.draws < 3) {
        event_loop_iterate(loop, -1);
    }
    /* Nothing is new: it is drawn again, and the viewer is not told. */
    ck_assert_uint_eq(a.told, 1);
    eye_end(&a);
    ck_assert(!event_loop_iterate(loop, 2 * SCREEN_PERIOD_NS));
}
END_TEST

START_TEST(only_what_is_new)
{
    unsigned x, y, w, h;
    Eye a;

    eye_init(&a, &toy.screen);
    screen_viewer_wake(&a.v, true);
    settle();
    screen_viewer_wake(&a.v, false);
    toy_fill(&toy, 33, 17, 2, 1, 9);
    toy.changed = true;
    /* A screenshot while nobody looks draws everything, since nothing is known. */
    screen_draw_now(&toy.screen);
    ck_assert(screen_viewer_take(&a.v, &x, &y, &w, &h));
    ck_assert(x == 0 && y == 0 && w == 100 && h == 50);
    ck_assert(!screen_viewer_take(&a.v, &x, &y, &w, &h));
    screen_viewer_wake(&a.v, true);
    settle();
    toy_fill(&toy, 98, 47, 2, 2, 9);
    screen_draw_now(&toy.screen);
    ck_assert(screen_viewer_take(&a.v, &x, &y, &w, &h));
    ck_assert(x == 96 && y == 32 && w == 4 && h == 18);
    ck_assert(!screen_viewer_take(&a.v, &x, &y, &w, &h));
    eye_end(&a);
}
END_TEST

START_TEST(viewers_leave)
{
    Eye a, b;

    eye_init(&a, &toy.screen);
    eye_init(&b, &toy.screen);
    screen_viewer_wake(&a.v, true);
    screen_viewer_wake(&b.v, true);
    a.removes = &b.v;
    settle();
    ck_assert_uint_eq(a.told, 1);
    ck_assert_uint_eq(b.told, 0);
    /* The screen goes while one looks. */
    screen_remove(&toy.screen);
    ck_assert(a.gone && !b.gone);
    ck_assert_int_eq(toy.watched, 0);
    g_free(a.copy);
}
END_TEST

START_TEST(sizes)
{
    static const ScreenOps none = {.draw = NULL};
    Screen s = {.ops = &none, .drawing = true};

    ck_assert(!screen_resize(&s, 0, 1));
    ck_assert(!screen_resize(&s, 1, 0));
    ck_assert(!screen_resize(&s, SCREEN_MAX + 1, 1));
    ck_assert(!screen_resize(&s, SCREEN_MAX, SCREEN_MAX));
    ck_assert(screen_resize(&s, SCREEN_MAX, 1));
    g_free(s.surface.pixels);
}
END_TEST

static void read_back(int fd, GByteArray *out)
{
    uint8_t buf[4096];
    ssize_t n;

    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, buf, sizeof buf)) > 0) {
        g_byte_array_append(out, buf, n);
    }
}

START_TEST(pictures)
{
    uint32_t pixels[] = {0x112233, 0x445566, 0, 0x778899, 0xaabbcc, 0};
    const Surface s = {.pixels = pixels, .width = 2, .height = 2, .stride = 3};
    static const uint8_t rgb[] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
                                  0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc};
    static const uint8_t rows[] = {0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
                                   0, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc};
    g_autoptr(GByteArray) got = g_byte_array_new();
    uint8_t plain[64];
    unsigned long len = sizeof plain;
    GError *err = NULL;
    int fd = memfd_create("picture", 0);

    ck_assert(screenshot_write_ppm(&s, fd, &err));
    read_back(fd, got);
    ck_assert_uint_eq(got->len, 11 + 12);
    ck_assert_mem_eq(got->data, "P6\n2 2\n255\n", 11);
    ck_assert_mem_eq(got->data + 11, rgb, sizeof rgb);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    lseek(fd, 0, SEEK_SET);
    g_byte_array_set_size(got, 0);
    ck_assert(screenshot_write_png(&s, fd, &err));
    read_back(fd, got);
    ck_assert_mem_eq(got->data + 12, "IHDR", 4);
    ck_assert_mem_eq(got->data + 37, "IDAT", 4);
    ck_assert_int_eq(uncompress(plain, &len, got->data + 41, ldbe32(got->data + 33)), Z_OK);
    ck_assert_uint_eq(len, sizeof rows);
    ck_assert_mem_eq(plain, rows, sizeof rows);
    ck_assert_uint_eq(ldbe32(got->data + got->len - 4), crc32(0, (const uint8_t *)"IEND", 4));
    close(fd);
    fd = open("/dev/full", O_WRONLY);
    ck_assert(!screenshot_write_png(&s, fd, &err));
    ck_error(err, "cannot be written");
    ck_assert(!screenshot_write_ppm(&(Surface){0}, fd, &err));
    ck_error(err, "shows nothing");
    close(fd);
}
END_TEST

START_TEST(finding)
{
    static const ScreenOps none = {.draw = NULL};
    Probe *p = probe_new("here");
    Screen s = {.dev = &p->dev, .ops = &none, .name = "dev"};
    GError *err = NULL;

    ck_assert_ptr_eq(screen_get(vm, 0), &toy.screen);
    screen_add(vm, &s);
    /* A device's comes before the program's own. */
    ck_assert_ptr_eq(screen_get(vm, 0), &s);
    ck_assert_uint_eq(screen_index(&toy.screen), 1);
    ck_assert_ptr_eq(screen_find(vm, "here", 0, &err), &s);
    ck_assert_ptr_eq(screen_find(vm, NULL, 0, &err), &s);
    ck_assert(!screen_find(vm, "here", 1, &err));
    ck_error(err, "has no screen 1");
    ck_assert(!screen_find(vm, NULL, 1, &err));
    ck_error(err, "together with 'device'");
    screen_remove(&s);
    ck_assert(!screen_find(vm, "here", 0, &err));
    ck_error(err, "has no screen 0");
    ck_assert(!screen_get(vm, 1));
}
END_TEST

/* A screen that takes longer to draw than its period leaves the loop as much time as it takes. */
START_TEST(slow_to_draw)
{
    Eye a;

    toy.polled = true;
    toy.slow_us = 2 * SCREEN_PERIOD_NS / NS_PER_US;
    eye_init(&a, &toy.screen);
    screen_viewer_wake(&a.v, true);
    while (!toy.draws) {
        event_loop_iterate(loop, -1);
    }
    ck_assert_int_ge(timer_deadline(toy.screen.timer) - toy.drawn_at, 4 * SCREEN_PERIOD_NS);
    eye_end(&a);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("screen");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, random_drawing);
    tcase_add_test(tc, nobody_looks);
    tcase_add_test(tc, polled_screens);
    tcase_add_test(tc, only_what_is_new);
    tcase_add_test(tc, viewers_leave);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, pictures);
    tcase_add_test(tc, finding);
    tcase_add_test(tc, slow_to_draw);
    return unit_run_case("ui_screen", tc);
}
