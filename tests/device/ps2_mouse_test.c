/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PS/2 mouse behind its controller. */
#include "ps2_client.h"

static QTest *start(void)
{
    QTest *q = ps2_start("");

    ps2_mode(q, PS2_KBD_INT | PS2_AUX_INT);
    return q;
}

static void say(QTest *q, const char *bytes, const char *answers)
{
    g_autofree char *got = NULL;

    for (; *bytes; bytes++) {
        ps2_mouse(q, *bytes);
    }
    got = ps2_read(q);
    qtest_check_str(got, answers);
}

static void knock(QTest *q, const char *rates)
{
    g_autoptr(GString) bytes = g_string_new(NULL);

    for (; *rates; rates++) {
        g_string_append_c(bytes, 0xf3);
        g_string_append_c(bytes, *rates);
    }
    say(q, bytes->str, "mfa mfa mfa mfa mfa mfa");
}
#define KNOCK_WHEEL   "\xc8\x64\x50" /* 200, 100, 80 */
#define KNOCK_BUTTONS "\xc8\xc8\x50" /* 200, 200, 80 */

static void test_commands(void)
{
    static const char *const tests[][2] = {
        {"\xff", "mfa maa m00"},
        {"\xf2", "mfa m00"},
        {"\xe9", "mfa m00 m02 m64"}, /* 4 counts a millimetre, 100 reports a second */
        {"\xf4\xe9", "mfa mfa m20 m02 m64"},
        {"\xf5\xe9", "mfa mfa m00 m02 m64"},
        {"\xe7\xe9", "mfa mfa m10 m02 m64"},
        {"\xe6\xe9", "mfa mfa m00 m02 m64"},
        {"\xf0\xe9", "mfa mfa m40 m02 m64"},
        {"\xea\xe9", "mfa mfa m00 m02 m64"},
        {"\xe8\x03\xe9", "mfa mfa mfa m00 m03 m64"},
        {"\xf3\x28\xe9", "mfa mfa mfa m00 m03 m28"},
        {"\xf4\xe7\xf6\xe9", "mfa mfa mfa mfa m00 m02 m64"},
        {"\xee", "mfa"},
        {"\xf4\xe9\x12\xfe\xee", "mf4 me9 m12 mfe mee"}, /* wrapped: an echo */
        {"\xec\xe9", "mfa mfa m00 m02 m64"},
        {"\xee\xff", "mfa mfa maa m00"},
        {"\xec", "mfa"}, /* not wrapped */
        {"\xf2", "mfa m00"},
        {"\xfe", "m00"},
        {"\xfe", "m00"},
        /* What is not understood is asked for again, and then is an error. */
        {"\x12", "mfe"},
        {"\x12", "mfc"},
        {"\xf2\xed", "mfa m00 mfe"},
        {"\xe8\x04\x05", "mfa mfe mfc"},
        {"\xf3\x63\xf3\x64", "mfa mfe mfa mfa"},
        /* A command where an argument is due is a command. */
        {"\xe8\xf2", "mfa mfa m00"},
    };
    QTest *q = start();

    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        say(q, tests[i][0], tests[i][1]);
    }
    qtest_end(q);
}

static void test_packets(void)
{
    QTest *q = start();

    ps2_move(q, 1, 1);
    ps2_expect(q, ""); /* not enabled */
    say(q, "\xf4", "mfa");
    qtest_irq_count(q, 12);
    ps2_move(q, 1, 2);
    qtest_check(qtest_irq(q, 12));
    ps2_expect(q, "m28 m01 mfe");
    qtest_check_eq(qtest_irq_count(q, 12), 3);
    qtest_check(!qtest_irq(q, 12));
    ps2_move(q, -1, -2);
    ps2_expect(q, "m18 mff m02");
    ps2_button(q, "left", true);
    ps2_expect(q, "m09 m00 m00");
    ps2_button(q, "right", true);
    ps2_button(q, "middle", true);
    ps2_expect(q, "m0b m00 m00 m0f m00 m00");
    say(q, "\xe9", "mfa m27 m02 m64");
    ps2_button(q, "left", false);
    ps2_button(q, "right", false);
    ps2_button(q, "middle", false);
    ps2_expect(q, "m0e m00 m00 m0c m00 m00 m08 m00 m00");
    ps2_button(q, "side", true); /* not of this mouse, nor is a wheel */
    ps2_button(q, "wheel-up", true);
    ps2_expect(q, "");
    /* What does not fit into one packet is in the next. */
    ps2_move(q, 600, -300);
    ps2_expect(q, "m08 mff mff m08 mff m2d m08 m5a m00");
    qtest_end(q);
}

/* What is moved while the host does not read is summed up; clicks stay what they were. */
static void test_slow_host(void)
{
    QTest *q = start();
    g_autofree char *got = NULL;

    say(q, "\xf4", "mfa");
    for (unsigned i = 0; i < 10; i++) {
        ps2_move(q, 2, 0);
    }
    ps2_expect(q, "m08 m02 m00 m08 m12 m00");
    ps2_move(q, 1, 0);
    ps2_move(q, 1, 0);
    ps2_button(q, "left", true);
    ps2_button(q, "left", false);
    ps2_expect(q, "m08 m01 m00 m09 m01 m00 m08 m00 m00");
    for (unsigned i = 0; i < 50; i++) {
        ps2_button(q, "left", true);
        ps2_button(q, "left", false);
        ps2_move(q, INT16_MAX, INT16_MIN);
    }
    got = ps2_read(q);
    qtest_check(strlen(got) < 10000);
    ps2_move(q, 1, 0);
    ps2_expect(q, "m08 m01 m00");
    qtest_end(q);
}

static void test_wheel(void)
{
    QTest *q = start();

    knock(q, KNOCK_WHEEL);
    say(q, "\xf2\xf4", "mfa m03 mfa");
    ps2_move(q, 1, 0);
    ps2_expect(q, "m08 m01 m00 m00");
    ps2_button(q, "wheel-up", true);
    ps2_expect(q, "m08 m00 m00 mff");
    ps2_button(q, "wheel-up", false); /* nothing */
    ps2_button(q, "wheel-down", true);
    ps2_expect(q, "m08 m00 m00 m01");
    ps2_button(q, "side", true);
    ps2_expect(q, ""); /* no such button */
    ps2_button(q, "side", false);
    knock(q, KNOCK_BUTTONS);
    say(q, "\xf2", "mfa m04");
    ps2_button(q, "side", true);
    ps2_expect(q, "m08 m00 m00 m10");
    ps2_button(q, "extra", true);
    ps2_expect(q, "m08 m00 m00 m30");
    ps2_button(q, "wheel-up", true);
    ps2_expect(q, "m08 m00 m00 m3f");
    ps2_button(q, "side", false);
    ps2_button(q, "extra", false);
    ps2_expect(q, "m08 m00 m00 m20 m08 m00 m00 m00");
    say(q, "\xff\xf2", "mfa maa m00 mfa m00");
    knock(q, "\xc8\x64\x64"); /* not the knock */
    say(q, "\xf2", "mfa m00");
    qtest_end(q);
}

static void test_scaling(void)
{
    static const struct {
        int by;
        const char *packet;
    } tests[] = {
        {1, "m08 m01 m00"}, {2, "m08 m01 m00"}, {3, "m08 m03 m00"},   {4, "m08 m06 m00"},
        {5, "m08 m09 m00"}, {6, "m08 m0c m00"}, {127, "m08 mfe m00"}, {-5, "m18 mf7 m00"},
    };
    QTest *q = start();

    say(q, "\xe7\xf4", "mfa mfa");
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        ps2_move(q, tests[i].by, 0);
        ps2_expect(q, tests[i].packet);
    }
    say(q, "\xf0", "mfa");
    ps2_move(q, 5, 0);
    say(q, "\xeb", "mfa m08 m05 m00"); /* only of what is sent unasked */
    qtest_end(q);
}

static void test_remote(void)
{
    QTest *q = start();

    say(q, "\xf0\xeb", "mfa mfa m08 m00 m00");
    ps2_move(q, 3, 4);
    ps2_button(q, "right", true);
    ps2_expect(q, "");
    say(q, "\xeb", "mfa m2a m03 mfc");
    say(q, "\xeb", "mfa m0a m00 m00");
    say(q, "\xea\xf4", "mfa mfa");
    ps2_move(q, 1, 0);
    ps2_expect(q, "m0a m01 m00");
    /* Asked for while it also reports by itself. */
    say(q, "\xeb", "mfa m0a m00 m00");
    qtest_end(q);
}

/* A command ends a report that is being sent; the next one has its buttons. */
static void test_command_in_packet(void)
{
    QTest *q = start();

    say(q, "\xf4", "mfa");
    ps2_button(q, "left", true);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0x09);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0x00);
    qtest_inb(q, PS2_DATA);
    ps2_expect(q, "");
    ps2_button(q, "left", false);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0x08);
    say(q, "\xf2", "m00 mfa m00 m08 m00 m00");
    qtest_end(q);
}

static void test_reset(void)
{
    QTest *q = start();

    knock(q, KNOCK_BUTTONS);
    say(q, "\xf4\xe7", "mfa mfa");
    ps2_move(q, 5, 5);
    ps2_mouse(q, 0xe8);
    qtest_system_reset(q);
    qtest_check(!qtest_irq(q, 12));
    ps2_expect(q, "");
    say(q, "\xf2\xe9", "mfa m00 mfa m00 m02 m64");
    qtest_end(q);
}

static void test_state(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    QTest *q = start();

    knock(q, KNOCK_WHEEL);
    say(q, "\xf4", "mfa");
    ps2_move(q, 7, 0);
    ps2_move(q, 9, 0);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0x08);
    json_decref(qtest_qmp(q, "stop", NULL));
    json_decref(qtest_qmp(q, "x-save-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(q, "cont", NULL));
    ps2_mouse(q, 0xff);
    g_free(ps2_read(q));
    json_decref(qtest_qmp(q, "stop", NULL));
    json_decref(qtest_qmp(q, "x-load-state", "{s:s}", "filename", file));
    qtest_check(qtest_irq(q, 12));
    json_decref(qtest_qmp(q, "cont", NULL));
    ps2_expect(q, "m07 m00 m00 m08 m09 m00 m00");
    say(q, "\xf2", "mfa m03");
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"commands", test_commands},
    {"packets", test_packets},
    {"slow-host", test_slow_host},
    {"wheel", test_wheel},
    {"scaling", test_scaling},
    {"remote", test_remote},
    {"command-in-packet", test_command_in_packet},
    {"reset", test_reset},
    {"state", test_state},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
