/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of keys: complete, without ambiguity, and found by all of its columns. */
#include <linux/input-event-codes.h>
#include <stdio.h>
#include <string.h>

#include "../base/unit.h"
#include "ui/keys.h"

/* QKeyCode of QEMU 7.2, as its query-qmp-schema gives it. */
static const char qemu_names[] =
    "unmapped shift shift_r alt alt_r ctrl ctrl_r menu esc 1 2 3 4 5 6 7 8 9 0 minus equal "
    "backspace tab q w e r t y u i o p bracket_left bracket_right ret a s d f g h j k l "
    "semicolon apostrophe grave_accent backslash z x c v b n m comma dot slash asterisk spc "
    "caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock kp_divide kp_multiply "
    "kp_subtract kp_add kp_enter kp_decimal sysrq kp_0 kp_1 kp_2 kp_3 kp_4 kp_5 kp_6 kp_7 "
    "kp_8 kp_9 less f11 f12 print home pgup pgdn end left up down right insert delete stop "
    "again props undo front copy open paste find cut lf help meta_l meta_r compose pause ro "
    "hiragana henkan yen muhenkan katakanahiragana kp_comma kp_equals power sleep wake "
    "audionext audioprev audiostop audioplay audiomute volumeup volumedown mediaselect mail "
    "calculator computer ac_home ac_back ac_forward ac_refresh ac_bookmarks lang1 lang2";

START_TEST(all_names)
{
    g_auto(GStrv) names = g_strsplit(qemu_names, " ", -1);
    unsigned n = g_strv_length(names);

    ck_assert_uint_eq(n, 150);
    for (unsigned i = 0; i < n; i++) {
        ck_assert_str_eq(ui_keys[i].name, names[i]);
        ck_assert_ptr_eq(ui_key_find(names[i]), &ui_keys[i]);
    }
    ck_assert_ptr_null(ui_keys[n].name);
    ck_assert_ptr_null(ui_key_find("no-such-key"));
    ck_assert_ptr_null(ui_key_find(""));
}
END_TEST

/* Of the keys before 'key', the one that has the same code: its other name. */
static const UiKey *namesake(const UiKey *key)
{
    for (const UiKey *k = ui_keys; k < key; k++) {
        if (k->code == key->code) {
            return k;
        }
    }
    return NULL;
}

START_TEST(other_names)
{
    unsigned others = 0;

    for (const UiKey *key = ui_keys; key->name; key++) {
        const UiKey *same = namesake(key);

        if (same) {
            others++;
            ck_assert_uint_eq(key->set1, same->set1);
            ck_assert_uint_eq(key->set2, same->set2);
            ck_assert_uint_eq(key->set3, same->set3);
            ck_assert_uint_eq(key->hid, same->hid);
        }
    }
    ck_assert_uint_eq(others, 2);
    ck_assert_uint_eq(ui_key_find("print")->code, ui_key_find("sysrq")->code);
    ck_assert_uint_eq(ui_key_find("asterisk")->code, ui_key_find("kp_multiply")->code);
}
END_TEST

static void check_differ(const UiKey *a, const UiKey *b, unsigned va, unsigned vb, const char *what)
{
    ck_assert_msg(!va || va != vb, "%s and %s have the same %s", a->name, b->name, what);
}

START_TEST(no_ambiguity)
{
    for (const UiKey *a = ui_keys; a->name; a++) {
        for (const UiKey *b = a + 1; b->name; b++) {
            ck_assert_str_ne(a->name, b->name);
            if (a->code == b->code) {
                continue;
            }
            check_differ(a, b, a->set1, b->set1, "code in set 1");
            check_differ(a, b, a->set2, b->set2, "code in set 2");
            check_differ(a, b, a->hid, b->hid, "usage");
            check_differ(a, b, ui_key_number(a), ui_key_number(b), "number");
        }
    }
}
END_TEST

START_TEST(round_trips)
{
    for (const UiKey *key = ui_keys; key->name; key++) {
        if (!key->code) {
            ck_assert_str_eq(key->name, "unmapped");
            continue;
        }
        const UiKey *first = namesake(key) ? namesake(key) : key;

        ck_assert_ptr_eq(ui_key_of_code(key->code), first);
        ck_assert_uint_ne(ui_key_number(key), 0);
        ck_assert_uint_lt(ui_key_number(key), 0x100);
        ck_assert_ptr_eq(ui_key_of_number(ui_key_number(key)), first);
    }
    ck_assert_ptr_null(ui_key_of_code(KEY_RESERVED));
    ck_assert_ptr_null(ui_key_of_code(KEY_MAX));
    ck_assert_ptr_null(ui_key_of_number(0));
    ck_assert_ptr_null(ui_key_of_number(0x100));
    ck_assert_ptr_null(ui_key_of_number(0xe01d));
}
END_TEST

static void check_key(const char *name, unsigned code, unsigned number, unsigned set1,
                      unsigned set2, unsigned set3, unsigned hid)
{
    const UiKey *key = ui_key_find(name);

    ck_assert_uint_eq(key->code, code);
    ck_assert_uint_eq(ui_key_number(key), number);
    ck_assert_uint_eq(key->set1, set1);
    ck_assert_uint_eq(key->set2, set2);
    ck_assert_uint_eq(key->set3, set3);
    ck_assert_uint_eq(key->hid, hid);
}

START_TEST(samples)
{
    check_key("a", KEY_A, 0x1e, 0x1e, 0x1c, 0x1c, 0x04);
    check_key("ctrl_r", KEY_RIGHTCTRL, 0x9d, 0xe01d, 0xe014, 0x58, 0xe4);
    check_key("f7", KEY_F7, 0x41, 0x41, 0x83, 0x37, 0x40);
    check_key("less", KEY_102ND, 0x56, 0x56, 0x61, 0x13, 0x64);
    check_key("pause", KEY_PAUSE, 0xc6, 0xe046, 0xe07e, 0x62, 0x48);
    ck_assert_str_eq(ui_key_of_number(0x54)->name, "sysrq");
    ck_assert_str_eq(ui_key_of_number(0xb7)->name, "sysrq");
    ck_assert_str_eq(ui_key_of_number(0x37)->name, "asterisk");
    ck_assert_str_eq(ui_key_of_number(0xdb)->name, "meta_l");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {all_names, other_names, no_ambiguity, round_trips, samples, NULL};
    return unit_run("keys", tests);
}
