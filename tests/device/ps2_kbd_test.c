/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PS/2 keyboard behind its controller. */
#include "ps2_client.h"

/* The controller passes everything on as it is. */
static QTest *start(void)
{
    QTest *q = ps2_start("");

    ps2_mode(q, PS2_KBD_INT | PS2_AUX_INT);
    return q;
}

static void set_scan_codes(QTest *q, unsigned set)
{
    ps2_kbd(q, 0xf0);
    ps2_kbd(q, set);
    ps2_expect(q, "fa fa");
}

static void check_press(QTest *q, const char *name, const char *down, const char *up)
{
    ps2_key(q, name, true);
    ps2_expect(q, down);
    ps2_key(q, name, false);
    ps2_expect(q, up);
}

static void test_commands(void)
{
    static const struct {
        const char *bytes, *answers;
    } tests[] = {
        {"\xee", "ee"},
        {"\xf2", "fa ab 83"},
        {"\xff", "fa aa"},
        {"\xed\x07", "fa fa"},
        {"\xf3\x20", "fa fa"},
        {"\xf4", "fa"},
        {"\xf5", "fa"},
        {"\xf6", "fa"},
        {"\xf7", "fa"},
        {"\xf8", "fa"},
        {"\xf9", "fa"},
        {"\xfa", "fa"},
        {"\xfb\x1c\x1b\xf4", "fa fa fa fa"},
        {"\xfc\x1c\xee", "fa fa ee"},
        {"\xfd\x1c\x1b\x1a\xf6", "fa fa fa fa fa"},
        {"\xf0\x01", "fa fa"},
        {"\xf0\x02", "fa fa"},
        {"\xf0\x03", "fa fa"},
        {"\xf0\x04", "fa fe"},
        /* A command where an argument is due is a command. */
        {"\xed\xee", "fa ee"},
        {"\xf3\xf2", "fa fa ab 83"},
        /* What is not understood is asked for again. */
        {"\xef", "fe"},
        {"\xf1", "fe"},
        {"\x01", "fe"},
        {"\xec", "fe"},
    };
    QTest *q = start();

    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        for (const char *b = tests[i].bytes; *b; b++) {
            ps2_kbd(q, *b);
        }
        ps2_expect(q, tests[i].answers);
    }
    /* Which set is it? */
    for (unsigned set = 1; set <= 3; set++) {
        set_scan_codes(q, set);
        ps2_kbd(q, 0xf0);
        ps2_kbd(q, 0);
        ps2_expect(q, set == 1 ? "fa fa 01" : set == 2 ? "fa fa 02" : "fa fa 03");
    }
    ps2_kbd(q, 0xf6); /* the defaults: set 2 */
    ps2_kbd(q, 0xf0);
    ps2_kbd(q, 0);
    ps2_expect(q, "fa fa fa 02");
    qtest_end(q);
}

static void test_interrupts(void)
{
    QTest *q = start();

    qtest_irq_count(q, 1);
    ps2_kbd(q, 0xf2);
    for (unsigned i = 0; i < 3; i++) {
        qtest_check(qtest_irq(q, 1));
        qtest_inb(q, PS2_DATA);
    }
    qtest_check(!qtest_irq(q, 1));
    qtest_check_eq(qtest_irq_count(q, 1), 3); /* one for each byte */
    ps2_mode(q, 0);
    ps2_kbd(q, 0xee);
    qtest_check(!qtest_irq(q, 1));
    ps2_mode(q, PS2_KBD_INT);
    qtest_check(qtest_irq(q, 1));
    ps2_expect(q, "ee");
    qtest_check_eq(qtest_irq_count(q, 1), 1);
    /* As long as nothing is read there is one interrupt. */
    ps2_key(q, "a", true);
    ps2_key(q, "a", false);
    qtest_clock_step(q, 1000 * 1000 * 1000);
    qtest_check_eq(qtest_irq_count(q, 1), 1);
    qtest_end(q);
}

static void test_resend(void)
{
    QTest *q = start();

    ps2_kbd(q, 0xf2);
    ps2_expect(q, "fa ab 83");
    ps2_kbd(q, 0xfe);
    ps2_expect(q, "83");
    ps2_kbd(q, 0xfe);
    ps2_expect(q, "83");
    ps2_key(q, "a", true);
    ps2_expect(q, "1c");
    ps2_kbd(q, 0xfe);
    ps2_expect(q, "1c");
    qtest_end(q);
}

static void test_samples(void)
{
    QTest *q = start();

    check_press(q, "a", "1c", "f0 1c");
    check_press(q, "f7", "83", "f0 83");
    check_press(q, "up", "e0 75", "e0 f0 75");
    check_press(q, "kp_enter", "e0 5a", "e0 f0 5a");
    check_press(q, "meta_l", "e0 1f", "e0 f0 1f");
    check_press(q, "lang1", "f2", "");
    check_press(q, "unmapped", "", "");
    set_scan_codes(q, 1);
    check_press(q, "a", "1e", "9e");
    check_press(q, "up", "e0 48", "e0 c8");
    set_scan_codes(q, 3);
    check_press(q, "a", "1c", "f0 1c");
    check_press(q, "up", "63", "f0 63");
    check_press(q, "print", "57", "f0 57");
    check_press(q, "pause", "62", "f0 62");
    /* Whoever sends keys repeats them. */
    ps2_key(q, "a", true);
    ps2_key(q, "a", true);
    ps2_expect(q, "1c 1c");
    qtest_end(q);
}

/* What drivers see of the keys that are sequences, with and without translation. */
static void check_sequences(QTest *q, const char *const *w)
{
    check_press(q, "print", w[0], w[1]);
    ps2_key(q, "alt", true);
    g_free(ps2_read(q));
    check_press(q, "print", w[2], w[3]);
    ps2_key(q, "sysrq", true); /* the same key; what went down is what comes up */
    ps2_key(q, "alt", false);
    g_free(ps2_read(q));
    ps2_key(q, "sysrq", false);
    ps2_expect(q, w[3]);
    ps2_key(q, "shift_r", true);
    g_free(ps2_read(q));
    check_press(q, "print", w[4], w[5]);
    ps2_key(q, "shift_r", false);
    g_free(ps2_read(q));
    check_press(q, "pause", w[6], "");
    ps2_key(q, "ctrl", true);
    g_free(ps2_read(q));
    check_press(q, "pause", w[7], "");
    ps2_key(q, "ctrl", false);
    g_free(ps2_read(q));
}

static void test_sequences(void)
{
    static const char *const set1[] = {
        "e0 2a e0 37", "e0 b7 e0 aa",       "54",         "d4", "e0 37",
        "e0 b7",       "e1 1d 45 e1 9d c5", "e0 46 e0 c6"};
    static const char *const set2[] = {"e0 12 e0 7c",
                                       "e0 f0 7c e0 f0 12",
                                       "84",
                                       "f0 84",
                                       "e0 7c",
                                       "e0 f0 7c",
                                       "e1 14 77 e1 f0 14 f0 77",
                                       "e0 7e e0 f0 7e"};
    QTest *q = start();

    check_sequences(q, set2);
    ps2_mode(q, PS2_KBD_INT | PS2_XLATE);
    check_sequences(q, set1);
    ps2_mode(q, PS2_KBD_INT);
    set_scan_codes(q, 1);
    check_sequences(q, set1);
    qtest_end(q);
}

/* The names of all keys, as the schema has them. */
static json_t *key_names(QTest *q)
{
    json_t *schema = qtest_qmp(q, "query-qmp-schema", NULL), *entry, *names = NULL;
    size_t i;

    json_array_foreach(schema, i, entry)
    {
        json_t *values = json_object_get(entry, "values");

        if (!g_strcmp0(json_string_value(json_array_get(values, 0)), "unmapped")) {
            names = json_incref(values);
        }
    }
    json_decref(schema);
    qtest_check_eq(json_array_size(names), 150);
    return names;
}

static char *all_codes(QTest *q, json_t *names)
{
    GString *out = g_string_new(NULL);
    json_t *name;
    size_t i;

    json_array_foreach(names, i, name)
    {
        for (unsigned up = 0; up < 2; up++) {
            g_autofree char *bytes = NULL;

            ps2_key(q, json_string_value(name), !up);
            bytes = ps2_read(q);
            g_string_append_printf(out, "%s %s\n", json_string_value(name), bytes);
        }
    }
    return g_string_free(out, FALSE);
}

/*
 * The controller makes of each key's code in set 2 what the keyboard itself gives in set 1. Keys
 * that no PC keyboard has are not in set 2.
 */
static void test_translation(void)
{
    static const char *const missing[] = {"menu", "again", "props", "undo", "front",
                                          "copy", "open",  "paste", "find", "cut",
                                          "lf",   "help",  NULL};
    QTest *q = start();
    json_t *names = key_names(q);
    g_autofree char *translated = NULL, *set1 = NULL;

    for (size_t i = json_array_size(names); i-- > 0;) {
        if (g_strv_contains(missing, json_string_value(json_array_get(names, i)))) {
            json_array_remove(names, i);
        }
    }
    ps2_mode(q, PS2_KBD_INT | PS2_XLATE);
    translated = all_codes(q, names);
    ps2_mode(q, PS2_KBD_INT);
    set_scan_codes(q, 1);
    set1 = all_codes(q, names);
    qtest_check_str(translated, set1);
    json_decref(names);
    qtest_end(q);
}

/* The controller translates answers, too, as every driver knows. */
static void test_translated_answers(void)
{
    QTest *q = start();

    ps2_mode(q, PS2_KBD_INT | PS2_XLATE);
    ps2_kbd(q, 0xf2);
    ps2_expect(q, "fa ab 41");
    ps2_kbd(q, 0xf0);
    ps2_kbd(q, 0);
    ps2_expect(q, "fa fa 41");
    ps2_kbd(q, 0xff);
    ps2_expect(q, "fa aa");
    qtest_end(q);
}

/* Set 3: keys repeat, and have break codes, or not. */
static void test_key_types(void)
{
    QTest *q = start();

    set_scan_codes(q, 3);
    ps2_kbd(q, 0xf7); /* all repeat, without break codes */
    ps2_kbd(q, 0xfc); /* but for b */
    ps2_kbd(q, 0x32);
    ps2_kbd(q, 0xfd); /* and c */
    ps2_kbd(q, 0x21);
    ps2_kbd(q, 0xf4);
    ps2_expect(q, "fa fa fa fa fa fa");
    for (unsigned i = 0; i < 2; i++) {
        ps2_key(q, "a", true);
        ps2_key(q, "b", true);
        ps2_key(q, "c", true);
    }
    ps2_expect(q, "1c 32 21 1c");
    ps2_key(q, "a", false);
    ps2_key(q, "b", false);
    ps2_key(q, "c", false);
    ps2_expect(q, "f0 32");
    ps2_kbd(q, 0xf8); /* make and break */
    ps2_expect(q, "fa");
    ps2_key(q, "a", true);
    ps2_key(q, "a", true);
    ps2_key(q, "a", false);
    ps2_expect(q, "1c f0 1c");
    ps2_kbd(q, 0xf9); /* make */
    ps2_expect(q, "fa");
    ps2_key(q, "a", true);
    ps2_key(q, "a", true);
    ps2_key(q, "a", false);
    ps2_expect(q, "1c");
    ps2_kbd(q, 0xfb);
    ps2_kbd(q, 0x1c);
    ps2_kbd(q, 0xfa); /* all of it */
    ps2_expect(q, "fa fa fa");
    ps2_key(q, "a", true);
    ps2_key(q, "a", true);
    ps2_key(q, "a", false);
    ps2_expect(q, "1c 1c f0 1c");
    /* The types are of set 3 alone. */
    ps2_kbd(q, 0xf9);
    ps2_expect(q, "fa");
    set_scan_codes(q, 2);
    check_press(q, "a", "1c", "f0 1c");
    qtest_end(q);
}

static void test_scanning(void)
{
    QTest *q = start();

    ps2_kbd(q, 0xf5);
    ps2_expect(q, "fa");
    check_press(q, "a", "", "");
    ps2_kbd(q, 0xf6); /* still not */
    ps2_expect(q, "fa");
    check_press(q, "a", "", "");
    ps2_kbd(q, 0xf4);
    ps2_expect(q, "fa");
    check_press(q, "a", "1c", "f0 1c");
    /* Commands that begin anew drop keys that were not read. */
    ps2_mode(q, PS2_KBD_INT | PS2_DISABLE_KBD);
    ps2_key(q, "a", true);
    ps2_kbd(q, 0xf4);
    ps2_expect(q, "fa");
    ps2_key(q, "a", true);
    ps2_key(q, "b", true);
    ps2_kbd(q, 0xee); /* an answer goes before keys, but for a byte that was sent already */
    ps2_expect(q, "1c ee 32");
    qtest_end(q);
}

/* 16 bytes wait, codes are not cut, and then there is a code that says that keys were lost. */
static void test_overrun(void)
{
    QTest *q = start();

    ps2_command(q, 0xad);
    for (unsigned i = 0; i < 5; i++) {
        ps2_key(q, "up", true);
        ps2_key(q, "up", false);
    }
    ps2_command(q, 0xae);
    ps2_expect(q, "e0 75 e0 f0 75 e0 75 e0 f0 75 e0 75 e0 f0 75 00");
    set_scan_codes(q, 1);
    ps2_command(q, 0xad);
    for (unsigned i = 0; i < 100; i++) {
        ps2_key(q, "a", true);
    }
    ps2_command(q, 0xae);
    ps2_expect(q, "1e 1e 1e 1e 1e 1e 1e 1e 1e 1e 1e 1e 1e 1e 1e 1e ff");
    check_press(q, "a", "1e", "9e");
    /* Answers have room of their own. */
    ps2_command(q, 0xad);
    for (unsigned i = 0; i < 100; i++) {
        ps2_kbd(q, 0xee);
    }
    g_free(ps2_read(q));
    check_press(q, "a", "1e", "9e");
    qtest_end(q);
}

static void test_reset(void)
{
    QTest *q = start();

    set_scan_codes(q, 3);
    ps2_kbd(q, 0xf9);
    ps2_kbd(q, 0xf5);
    ps2_expect(q, "fa fa");
    ps2_key(q, "a", true);
    ps2_kbd(q, 0xff);
    ps2_expect(q, "fa aa");
    check_press(q, "a", "1c", "f0 1c");
    ps2_kbd(q, 0xed); /* an argument is due */
    ps2_key(q, "a", true);
    qtest_system_reset(q);
    qtest_check(!qtest_irq(q, 1));
    ps2_expect(q, "");
    ps2_kbd(q, 0x01);
    ps2_expect(q, "fe");
    check_press(q, "a", "1c", "f0 1c");
    qtest_end(q);
}

static void save_and_load(QTest *q, const char *file)
{
    json_decref(qtest_qmp(q, "stop", NULL));
    json_decref(qtest_qmp(q, "x-save-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(q, "cont", NULL));
    /* Something else happens. */
    ps2_kbd(q, 0xff);
    ps2_mouse(q, 0xff);
    ps2_mode(q, PS2_DISABLE_KBD);
    json_decref(qtest_qmp(q, "stop", NULL));
    json_decref(qtest_qmp(q, "x-load-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(q, "cont", NULL));
}

/* In the middle of a scan code, of its translation, of a command, and of an order of bytes. */
static void test_state(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    QTest *q = start();

    ps2_key(q, "up", true);
    ps2_key(q, "up", false);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0xe0);
    save_and_load(q, file);
    ps2_expect(q, "75 e0 f0 75");
    ps2_mode(q, PS2_KBD_INT | PS2_XLATE);
    ps2_key(q, "up", true);
    ps2_key(q, "up", false);
    for (unsigned i = 0; i < 3; i++) {
        qtest_check(qtest_inb(q, PS2_STATUS) & PS2_OBF);
        qtest_inb(q, PS2_DATA);
        qtest_clock_step(q, 1000 * 1000);
    }
    save_and_load(q, file);
    ps2_expect(q, "c8");
    ps2_mode(q, PS2_KBD_INT);
    ps2_kbd(q, 0xf0);
    ps2_expect(q, "fa");
    save_and_load(q, file);
    ps2_kbd(q, 1);
    ps2_expect(q, "fa");
    ps2_key(q, "a", true);
    ps2_key(q, "b", true);
    ps2_command(q, 0x20);
    save_and_load(q, file);
    qtest_check(qtest_irq(q, 1));
    ps2_expect(q, "01 1e 30");
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"commands", test_commands},
    {"interrupts", test_interrupts},
    {"resend", test_resend},
    {"samples", test_samples},
    {"sequences", test_sequences},
    {"translation", test_translation},
    {"translated-answers", test_translated_answers},
    {"key-types", test_key_types},
    {"scanning", test_scanning},
    {"overrun", test_overrun},
    {"reset", test_reset},
    {"state", test_state},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
