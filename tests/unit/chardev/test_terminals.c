/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PTYs, and the terminal that the program was started from. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include "fixture.h"

static Chardev *add_pty(void)
{
    return add_short("serial0", "pty");
}

static int open_pty(Chardev *chr)
{
    int fd = open(chr->filename + strlen("pty:"), O_RDWR | O_NOCTTY | O_NONBLOCK);

    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(pty)
{
    Chardev *chr = add_pty();
    static Front f = {0};

    ck_assert(g_str_has_prefix(chr->filename, "pty:/dev/pts/"));
    front_connect(&f, chr);
    front_write(&f, "boot messages that nobody reads");
    run_for_ms(10);
    ck_assert_str_eq(f.events->str, "");
    for (int i = 0; i < 3; i++) {
        int fd = open_pty(chr);

        g_string_truncate(f.events, 0);
        g_string_truncate(f.in, 0);
        run_until(f.events->len);
        ck_assert_str_eq(f.events->str, "O");
        front_write(&f, "a\nb");
        g_autofree char *got = read_bytes(fd, 3);
        ck_assert_str_eq(got, "a\nb");
        ck_assert_int_eq(write(fd, "\003\r", 2), 2);
        run_until(f.in->len == 2);
        ck_assert_str_eq(f.in->str, "\003\r");
        close(fd);
        run_until(f.events->len == 2);
        ck_assert_str_eq(f.events->str, "OC");
    }
}
END_TEST

START_TEST(an_idle_pty_costs_nothing)
{
    Chardev *chr = add_pty();
    static Front f = {0};

    front_connect(&f, chr);
    run_for_ms(20);
    for (int i = 0; i < 2; i++) {
        uint64_t turns = event_loop_turns(loop);
        gint64 start = g_get_monotonic_time();

        /* One sleep of a second and a half, not cut short. */
        event_loop_iterate(loop, 1500000000);
        ck_assert_uint_le(event_loop_turns(loop) - turns, 1);
        ck_assert_int_ge(g_get_monotonic_time() - start, 1400000);
        /* Once more after somebody came and went. */
        int fd = open_pty(chr);
        run_until(strchr(f.events->str, 'O'));
        close(fd);
        run_until(strchr(f.events->str, 'C'));
        run_for_ms(20);
    }
}
END_TEST

START_TEST(pty_input_waits_and_is_not_lost)
{
    Chardev *chr = add_pty();
    static Front f = {.room = 1};

    front_connect(&f, chr);
    f.room = 0;
    int fd = open_pty(chr);
    run_until(f.events->len);
    ck_assert_int_eq(write(fd, "abc", 3), 3);
    run_for_ms(20);
    f.room = 10;
    char_accept_input(&f.fe);
    run_until(f.in->len == 3);
    /* A hang-up is noticed although the frontend has no room. */
    f.room = 0;
    ck_assert_int_eq(write(fd, "d", 1), 1);
    run_for_ms(20);
    close(fd);
    run_until(strchr(f.events->str, 'C'));
}
END_TEST

/* stdio on a new terminal, in a child that leads a new session. */

typedef struct {
    pid_t pid;
    int master, slave;
} Term;

static Term start_on_pty(const char *option, void (*body)(void), bool controlling)
{
    Term t;
    char name[64];

    t.master = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_eq(grantpt(t.master) | unlockpt(t.master), 0);
    ck_assert_int_eq(ptsname_r(t.master, name, sizeof name), 0);
    t.slave = open(name, O_RDWR | O_NOCTTY);
    fcntl(t.master, F_SETFL, O_NONBLOCK);
    t.pid = fork();
    if (t.pid == 0) {
        GError *err = NULL;

        setsid();
        if (controlling) {
            ioctl(t.slave, TIOCSCTTY, 0);
        }
        dup2(t.slave, 0);
        dup2(t.slave, 1);
        close(t.master);
        if (!add_text(option, &err)) {
            _exit(99);
        }
        body();
        _exit(98);
    }
    return t;
}

static Term start_on_terminal(const char *option, void (*body)(void))
{
    return start_on_pty(option, body, true);
}

/* The child runs the loop. fork() shares its epoll, so the parent must not use it. */
#define wait_until(cond)                                                                           \
    do {                                                                                           \
        gint64 end_ = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;                                \
        while (!(cond)) {                                                                          \
            g_usleep(2000);                                                                        \
            ck_assert_msg(g_get_monotonic_time() < end_, "waited too long for %s", #cond);         \
        }                                                                                          \
    } while (0)

static struct termios modes(const Term *t)
{
    struct termios m;

    ck_assert_int_eq(tcgetattr(t->slave, &m), 0);
    return m;
}

static void wait_for_echo(const Term *t, bool on)
{
    wait_until(!(modes(t).c_lflag & ECHO) == !on);
}

static void echo_until_q(void)
{
    static Front f = {0};

    front_connect(&f, chardev_find("s"));
    while (!strchr(f.in->str, 'q')) {
        event_loop_iterate(loop, 10000000);
        if (f.in->len) {
            char_write_all(&f.fe, (uint8_t *)f.in->str, f.in->len);
            if (!strchr(f.in->str, 'q')) {
                g_string_truncate(f.in, 0);
            }
        }
    }
    chardev_close_all();
    _exit(7);
}

static void report_resumption(void)
{
    static Front f = {0};

    front_connect(&f, chardev_find("s"));
    while (!strchr(f.events->str, 'R')) {
        event_loop_iterate(loop, 10000000);
    }
    char_write_all(&f.fe, (const uint8_t *)"resumed", 7);
    chardev_close_all();
    _exit(7);
}

static void exit_normally(void)
{
    run_for_ms(100);
    exit(7);
}

START_TEST(stdio_is_raw_and_restored)
{
    Term t = start_on_terminal("stdio,id=s,signal=off", echo_until_q);
    struct termios m;
    int status;

    wait_for_echo(&t, false);
    m = modes(&t);
    ck_assert(!(m.c_lflag & (ICANON | ISIG)));
    ck_assert(m.c_oflag & OPOST);
    ck_assert_int_eq(write(t.master, "\003x", 2), 2);
    char got[3] = "";
    wait_until(read(t.master, got, 2) == 2);
    ck_assert_str_eq(got, "\003x");
    ck_assert_int_eq(fcntl(t.slave, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(write(t.master, "q", 1), 1);
    ck_assert_int_eq(waitpid(t.pid, &status, 0), t.pid);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    ck_assert(modes(&t).c_lflag & ECHO);
    ck_assert(modes(&t).c_lflag & ICANON);
}
END_TEST

START_TEST(stdio_leaves_signals_on_request)
{
    Term t = start_on_terminal("stdio,id=s,signal=on", echo_until_q);
    int status;

    wait_for_echo(&t, false);
    ck_assert(modes(&t).c_lflag & ISIG);
    /* While suspended the terminal has its old settings; after SIGCONT it is raw again. */
    kill(t.pid, SIGTSTP);
    ck_assert_int_eq(waitpid(t.pid, &status, WUNTRACED), t.pid);
    ck_assert(WIFSTOPPED(status));
    ck_assert(modes(&t).c_lflag & ECHO);
    kill(t.pid, SIGCONT);
    wait_for_echo(&t, false);
    kill(t.pid, SIGABRT);
    ck_assert_int_eq(waitpid(t.pid, &status, 0), t.pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
    ck_assert(modes(&t).c_lflag & ECHO);
}
END_TEST

/* CHAR_EVENT_RESUMED, at which a frontend redraws its screen. */
START_TEST(stdio_tells_of_resumption)
{
    Term t = start_on_terminal("stdio,id=s", report_resumption);
    char got[8] = "";
    int status;

    wait_for_echo(&t, false);
    kill(t.pid, SIGTSTP);
    ck_assert_int_eq(waitpid(t.pid, &status, WUNTRACED), t.pid);
    ck_assert(WIFSTOPPED(status));
    kill(t.pid, SIGCONT);
    wait_until(read(t.master, got, 7) == 7);
    ck_assert_str_eq(got, "resumed");
    ck_assert_int_eq(waitpid(t.pid, &status, 0), t.pid);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
}
END_TEST

/* A pty that is nobody's controlling terminal, as expect and socat hand over. */
START_TEST(stdio_on_another_terminal)
{
    Term t = start_on_pty("stdio,id=s,signal=off", echo_until_q, false);
    char got[3] = "";
    int status;

    wait_for_echo(&t, false);
    ck_assert(!(modes(&t).c_lflag & (ICANON | ISIG)));
    ck_assert_int_eq(write(t.master, "\003x", 2), 2);
    wait_until(read(t.master, got, 2) == 2);
    ck_assert_str_eq(got, "\003x");
    ck_assert_int_eq(write(t.master, "q", 1), 1);
    ck_assert_int_eq(waitpid(t.pid, &status, 0), t.pid);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    ck_assert(modes(&t).c_lflag & ECHO);
}
END_TEST

START_TEST(stdio_is_restored_by_exit)
{
    Term t = start_on_terminal("stdio,id=s", exit_normally);
    int status;

    wait_for_echo(&t, false);
    ck_assert_int_eq(waitpid(t.pid, &status, 0), t.pid);
    ck_assert_int_eq(WEXITSTATUS(status), 7);
    ck_assert(modes(&t).c_lflag & ECHO);
}
END_TEST

START_TEST(stdio_on_pipes)
{
    GError *err = NULL;
    int in[2], out[2];
    static Front f = {0};

    ck_assert_int_eq(pipe(in) | pipe(out), 0);
    int saved_out = dup(1);
    dup2(in[0], 0);
    dup2(out[1], 1);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    front_connect(&f, add_text("stdio,id=s", &err));
    ck_assert_ptr_null(add_text("stdio,id=t", &err));
    g_clear_error(&err);
    ck_assert_int_eq(write(in[1], "abc", 3), 3);
    run_until(f.in->len == 3);
    close(in[1]);
    run_for_ms(20);
    /* After end of file on stdin output still works, and the loop does not spin. */
    front_write(&f, "still here");
    g_autofree char *got = read_bytes(out[0], 10);
    ck_assert_str_eq(got, "still here");
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 50000000);
    ck_assert_uint_le(event_loop_turns(loop) - turns, 1);
    ck_assert_int_eq(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
    dup2(saved_out, 1);
}
END_TEST

START_TEST(stdio_from_dev_null)
{
    GError *err = NULL;
    static Front f = {0};
    int null = open("/dev/null", O_RDONLY);

    dup2(null, 0);
    front_connect(&f, add_text("stdio,id=s", &err));
    ck_no_error(err);
    run_for_ms(20);
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 50000000);
    ck_assert_uint_le(event_loop_turns(loop) - turns, 1);
}
END_TEST

int main(void)
{
    static const TTest *tests[16];
    unsigned n = 0;

    tests[n++] = pty;
    tests[n++] = an_idle_pty_costs_nothing;
    tests[n++] = pty_input_waits_and_is_not_lost;
    tests[n++] = stdio_is_raw_and_restored;
    tests[n++] = stdio_leaves_signals_on_request;
    tests[n++] = stdio_tells_of_resumption;
    tests[n++] = stdio_on_another_terminal;
    tests[n++] = stdio_is_restored_by_exit;
    tests[n++] = stdio_on_pipes;
    tests[n++] = stdio_from_dev_null;
    return run_suite("terminals", tests);
}
