/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mux: focus, escapes, time stamps. */
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>
#include "fixture.h"

static Front guest, monitor;
static int term; /* the other end */
static int quits, commits;

static void quit(void *data)
{
    quits++;
}

static void commit(void *data)
{
    commits++;
}

static void open_mux(void)
{
    static const CharMuxHooks hooks = {.quit = quit, .commit = commit};
    g_autofree char *path = tmp_path("s"),
                    *text = g_strdup_printf("mon:unix:%s,server=on,wait=off", path);
    Chardev *chr = add_short("serial0", text);

    chardev_set_mux_hooks(&hooks);
    monitor.fe.always_on = true;
    front_connect(&monitor, chr);
    front_connect(&guest, chr);
    run_for_ms(5);
    term = connect_unix(path);
    run_until(strchr(guest.events->str, 'O'));
}

static void type(const char *text)
{
    ck_assert_int_eq(write(term, text, strlen(text)), strlen(text));
}

START_TEST(focus)
{
    open_mux();
    /* The guest has the focus, though the monitor connected first. */
    ck_assert_str_eq(guest.events->str, "O");
    ck_assert_str_eq(monitor.events->str, "");
    type("ls\n");
    run_until(guest.in->len == 3);
    type("\001c");
    run_until(monitor.events->len);
    ck_assert_str_eq(monitor.events->str, "O");
    ck_assert_str_eq(guest.events->str, "Oo");
    type("info");
    run_until(monitor.in->len == 4);
    ck_assert_uint_eq(guest.in->len, 3);
    type("\001cx");
    run_until(guest.in->len == 4);
    /* Ctrl-A twice is one Ctrl-A; an unknown key after Ctrl-A is dropped. */
    type("\001\001\001zy");
    run_until(guest.in->len == 6);
    ck_assert_str_eq(guest.in->str, "ls\nx\001y");
    ck_assert_str_eq(monitor.events->str, "Oo");
    ck_assert_str_eq(guest.events->str, "Ooi");
    /* Both write. */
    front_write(&guest, "g");
    front_write(&monitor, "m");
    g_autofree char *got = read_bytes(term, 2);
    ck_assert_str_eq(got, "gm");
    g_autofree char *info = chardev_info_text();
    ck_assert_ptr_nonnull(strstr(info, "serial0-base: filename=unix:"));
    ck_assert_ptr_nonnull(strstr(info, "serial0: filename=mux\n"));
}
END_TEST

START_TEST(escapes)
{
    static const char help[] = "\n\rC-a h    print this help\n\r"
                               "C-a x    exit emulator\n\r"
                               "C-a s    save disk data back to file (if -snapshot)\n\r"
                               "C-a t    toggle console timestamps\n\r"
                               "C-a b    send break (magic sysrq)\n\r"
                               "C-a c    switch between console and monitor\n\r"
                               "C-a C-a  sends C-a\n\r";
    open_mux();
    type("\001h");
    g_autofree char *got = read_bytes(term, strlen(help));
    ck_assert_str_eq(got, help);
    type("\001b");
    run_until(strchr(guest.events->str, 'B'));
    ck_assert_ptr_null(strchr(monitor.events->str, 'B'));
    type("\001s\001x");
    run_until(quits);
    ck_assert_int_eq(commits, 1);
    g_autofree char *bye = read_bytes(term, strlen("QEMU: Terminated\n\r"));
    ck_assert_str_eq(bye, "QEMU: Terminated\n\r");
}
END_TEST

/* Ctrl-A C gets the user to the monitor also when the guest does not read or is paused. */
START_TEST(escapes_work_while_nobody_reads)
{
    open_mux();
    guest.room = 0;
    type("abc\001cstop");
    run_until(monitor.in->len == 4);
    ck_assert_str_eq(monitor.in->str, "stop");
    char_mute_all(true);
    type("\001c");
    run_until(g_str_has_suffix(monitor.events->str, "o"));
    type("\001c!");
    run_until(monitor.in->len == 5);
}
END_TEST

START_TEST(time_stamps)
{
    open_mux();
    type("\001t");
    run_for_ms(20);
    front_write(&guest, "rest of a line\nwhole line\n");
    g_autofree char *got = read_bytes(term, strlen("rest of a line\n[00:00:00.000] whole line\n"));
    ck_assert_ptr_eq(strstr(got, "rest of a line\n[00:00:00.0"), got);
    ck_assert_ptr_nonnull(strstr(got, "] whole line\n"));
    type("\001t");
    run_for_ms(20);
    front_write(&guest, "plain\n");
    g_autofree char *plain = read_bytes(term, 6);
    ck_assert_str_eq(plain, "plain\n");
}
END_TEST

START_TEST(another_escape_character)
{
    chardev_set_escape_char(0x02);
    open_mux();
    type("\001c\002c!");
    run_until(monitor.in->len == 1);
    ck_assert_str_eq(guest.in->str, "\001c");
    type("\002h");
    g_autofree char *got = read_bytes(term, strlen("\n\rC-b h"));
    ck_assert_str_eq(got, "\n\rC-b h");
}
END_TEST

START_TEST(removal)
{
    GError *err = NULL;

    open_mux();
    ck_assert(!chardev_remove("serial0", &err));
    ck_error(err, "busy");
    ck_assert(!chardev_remove("serial0-base", &err));
    ck_error(err, "busy");
    char_frontend_disconnect(&guest.fe);
    type("to the one who is left");
    run_until(monitor.in->len == 22);
    char_frontend_disconnect(&monitor.fe);
    ck_assert(chardev_remove("serial0", &err));
    ck_assert_ptr_null(chardev_find("serial0-base"));
}
END_TEST

START_TEST(large_output_passes)
{
    enum { SIZE = 300000 };
    g_autofree char *text = g_malloc(SIZE + 1);
    size_t sent = 0, got = 0;

    open_mux();
    for (int i = 0; i < SIZE; i++) {
        text[i] = 'a' + i % 26;
    }
    while (got < SIZE) {
        char buf[5000];
        ssize_t n;

        sent += char_write(&guest.fe, (uint8_t *)text + sent, MIN(SIZE - sent, 7777));
        n = read(term, buf, sizeof buf);
        for (ssize_t i = 0; i < n; i++, got++) {
            ck_assert_int_eq(buf[i], 'a' + got % 26);
        }
        event_loop_iterate(loop, 1000000);
    }
}
END_TEST

int main(void)
{
    static const TTest *tests[16];
    unsigned n = 0;

    unit_fork_always();
    tests[n++] = focus;
    tests[n++] = escapes;
    tests[n++] = escapes_work_while_nobody_reads;
    tests[n++] = time_stamps;
    tests[n++] = another_escape_character;
    tests[n++] = removal;
    tests[n++] = large_output_passes;
    return run_suite("mux", tests);
}
