/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way of keys and pointers from senders to devices. */
#include <linux/input-event-codes.h>

#include "../vm/fixture.h"
#include "base/error.h"
#include "ui/input.h"

/* A sink that writes down what it gets: "a1 x5 ;" */
typedef struct {
    InputSink sink;
    GString *got;
} Toy;

static void toy_event(InputSink *sink, const InputEvent *e)
{
    static const char names[] = {
        [INPUT_KEY] = 'k', [INPUT_BUTTON] = 'b', [INPUT_REL] = 'r', [INPUT_ABS] = 'a'};
    Toy *toy = (Toy *)sink;

    ck_assert(device_lock_held(sink->dev));
    if (e->type == INPUT_SYNC) {
        g_string_append(toy->got, ";");
    } else {
        g_string_append_printf(toy->got, "%c%d=%d ", names[e->type], e->code, e->value);
    }
}

static Toy *toy_new(const char *name, unsigned takes)
{
    Toy *toy = g_new0(Toy, 1);

    toy->sink =
        (InputSink){.dev = &probe_new(NULL)->dev, .name = name, .takes = takes, .event = toy_event};
    toy->got = g_string_new(NULL);
    input_sink_add(&toy->sink);
    return toy;
}

static void toy_free(Toy *toy)
{
    input_sink_remove(&toy->sink);
    g_string_free(toy->got, TRUE);
    g_free(toy);
}

/* Lets the loop run, and checks what the sink has got since the last time. */
static void check_got(Toy *toy, const char *want)
{
    while (event_loop_iterate(loop, 0)) {
    }
    ck_assert_str_eq(toy->got->str, want);
    g_string_truncate(toy->got, 0);
}

static void set_state(RunState state)
{
    vm->state = state;
}

static void setup(void)
{
    fixture_setup();
    set_state(RUN_STATE_RUNNING);
}

START_TEST(fresh_callback)
{
    Toy *kbd = toy_new("keyboard", INPUT_TAKES_KEYS);

    ck_assert(!input_is_taken(vm, INPUT_REL, REL_X));
    ck_assert(input_is_taken(vm, INPUT_KEY, KEY_A));
    device_lock(kbd->sink.dev); /* the sender may hold a device's lock */
    input_send(vm, INPUT_KEY, KEY_A, 1);
    input_send(vm, INPUT_REL, REL_X, 1); /* nobody takes it */
    ck_assert_uint_eq(kbd->got->len, 0);
    device_unlock(kbd->sink.dev);
    input_send(vm, INPUT_KEY, KEY_A, 0);
    check_got(kbd, "k30=1 k30=0 ");
    toy_free(kbd);
}
END_TEST

START_TEST(who_gets_what)
{
    Toy *kbd = toy_new("keyboard", INPUT_TAKES_KEYS);
    Toy *mouse = toy_new("mouse", INPUT_TAKES_REL);
    Toy *tablet = toy_new("tablet", INPUT_TAKES_ABS);

    input_send(vm, INPUT_ABS, ABS_X, 7);
    input_send(vm, INPUT_REL, REL_X, 3);
    input_send(vm, INPUT_BUTTON, BTN_LEFT, 1);
    input_send(vm, INPUT_REL, REL_WHEEL, -1);
    input_sync(vm);
    input_sync(vm); /* nothing new: no report */
    check_got(mouse, "r0=3 b272=1 r8=-1 ;");
    check_got(tablet, "a0=7 ;");
    input_sink_activate(&tablet->sink);
    while (event_loop_iterate(loop, 0)) {
    }
    input_send(vm, INPUT_BUTTON, BTN_LEFT, 0);
    input_send(vm, INPUT_REL, REL_WHEEL, 1);
    input_send(vm, INPUT_REL, REL_Y, 2);
    input_sync(vm);
    check_got(tablet, "b272=0 r8=1 ;");
    check_got(mouse, "r1=2 ;");
    check_got(kbd, "");
    toy_free(tablet);
    input_send(vm, INPUT_BUTTON, BTN_LEFT, 1);
    check_got(mouse, "b272=1 ");
    toy_free(mouse);
    toy_free(kbd);
}
END_TEST

/* What a machine that stands still is sent, or has not taken yet, is lost; S3 is not standing
 * still. */
START_TEST(standing_still)
{
    Toy *kbd = toy_new("keyboard", INPUT_TAKES_KEYS);

    set_state(RUN_STATE_PAUSED);
    input_send(vm, INPUT_KEY, KEY_A, 1);
    ck_assert(input_send_keys(vm, (uint16_t[]){KEY_B}, 1, 0));
    set_state(RUN_STATE_RUNNING);
    check_got(kbd, "");
    input_send(vm, INPUT_KEY, KEY_A, 1);
    set_state(RUN_STATE_PAUSED);
    check_got(kbd, "");
    set_state(RUN_STATE_SUSPENDED);
    input_send(vm, INPUT_KEY, KEY_A, 0);
    check_got(kbd, "k30=0 ");
    toy_free(kbd);
}
END_TEST

START_TEST(bounded)
{
    Toy *kbd = toy_new("keyboard", INPUT_TAKES_KEYS);

    for (unsigned i = 0; i < 1000; i++) {
        input_send(vm, INPUT_KEY, KEY_A, 1);
    }
    ck_assert_uint_eq(kbd->sink.events->len, 256);
    input_send(vm, INPUT_KEY, KEY_A, 0);
    ck_assert_uint_eq(kbd->sink.events->len, 257); /* the key does not stay down */
    for (unsigned i = 0; i < 1000; i++) {
        input_send(vm, INPUT_KEY, KEY_A, 0);
        input_sync(vm);
    }
    ck_assert_uint_eq(kbd->sink.events->len, 512);
    toy_free(kbd);
}
END_TEST

static void count(void *data)
{
    ++*(unsigned *)data;
}

START_TEST(pointer_kind)
{
    unsigned changes = 0;
    Toy *mouse = toy_new("mouse", INPUT_TAKES_REL), *tablet;

    input_pointer_changed(vm, count, &changes);
    ck_assert(!input_pointer_is_absolute(vm));
    tablet = toy_new("tablet", INPUT_TAKES_ABS);
    ck_assert(!input_pointer_is_absolute(vm));
    input_sink_activate(&tablet->sink);
    check_got(tablet, "");
    ck_assert(input_pointer_is_absolute(vm));
    ck_assert_uint_eq(changes, 1);
    input_sink_activate(&tablet->sink);
    check_got(tablet, "");
    ck_assert_uint_eq(changes, 1);
    toy_free(tablet);
    ck_assert(!input_pointer_is_absolute(vm));
    ck_assert_uint_eq(changes, 2);
    toy_free(mouse);
    ck_assert_uint_eq(changes, 2);
}
END_TEST

static void check_mice(const char *want)
{
    json_t *list = input_query_mice(vm), *m;
    g_autoptr(GString) got = g_string_new(NULL);
    size_t i;

    json_array_foreach(list, i, m)
    {
        g_string_append_printf(got, "%s%d %s%s;",
                               json_is_true(json_object_get(m, "current")) ? "*" : "",
                               (int)json_integer_value(json_object_get(m, "index")),
                               json_string_value(json_object_get(m, "name")),
                               json_is_true(json_object_get(m, "absolute")) ? " absolute" : "");
    }
    json_decref(list);
    ck_assert_str_eq(got->str, want);
}

START_TEST(mice)
{
    GError *err = NULL;
    Toy *kbd = toy_new("keyboard", INPUT_TAKES_KEYS);
    Toy *mouse = toy_new("mouse", INPUT_TAKES_REL), *tablet = toy_new("tablet", INPUT_TAKES_ABS);

    check_mice("3 tablet absolute;*2 mouse;");
    ck_assert(input_mouse_set(vm, 3, &err));
    check_mice("2 mouse;*3 tablet absolute;");
    ck_assert(input_pointer_is_absolute(vm));
    ck_assert(!input_mouse_set(vm, 1, &err));
    ck_error(err, "Input device 'keyboard' is not a mouse");
    ck_assert(!input_mouse_set(vm, 0, &err));
    ck_error(err, "Mouse at index '0' not found");
    ck_assert(!input_mouse_set(vm, (1ll << 32) + 2, &err));
    ck_error(err, "Mouse at index '4294967298' not found");
    toy_free(kbd);
    toy_free(mouse);
    toy_free(tablet);
    check_mice("");
}
END_TEST

/* Keys of 'sendkey' go down and up at their times of the guest's clock, also those that follow. */
START_TEST(keys_in_turn)
{
    Toy *kbd = toy_new("keyboard", INPUT_TAKES_KEYS);
    const uint16_t chord[] = {KEY_LEFTCTRL, KEY_A};

    virtual_clock_make_manual();
    virtual_clock_thaw();
    ck_assert(input_send_keys(vm, chord, 2, 100));
    ck_assert(input_send_keys(vm, (uint16_t[]){KEY_B}, 1, 10));
    check_got(kbd, "k29=1 ;");
    virtual_clock_set(99);
    check_got(kbd, "");
    virtual_clock_set(100);
    check_got(kbd, "k30=1 ;");
    virtual_clock_set(200);
    check_got(kbd, "k30=0 ;");
    virtual_clock_set(399);
    check_got(kbd, "k29=0 ;");
    virtual_clock_set(400);
    check_got(kbd, "k48=1 ;");
    virtual_clock_set(1000);
    check_got(kbd, "k48=0 ;");
    ck_assert(input_send_keys(vm, NULL, 0, 10));
    for (unsigned i = 0; i < 512; i++) {
        ck_assert(input_send_keys(vm, (uint16_t[]){KEY_B}, 1, 10));
    }
    ck_assert(!input_send_keys(vm, chord, 2, 10));
    toy_free(kbd);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {fresh_callback, who_gets_what, standing_still, bounded,
                                  pointer_kind,   mice,          keys_in_turn,   NULL};
    TCase *tcase = tcase_create("input");

    tcase_add_checked_fixture(tcase, setup, fixture_teardown);
    for (const TTest *const *t = tests; *t; t++) {
        tcase_add_test(tcase, *t);
    }
    return unit_run_case("input", tcase);
}
