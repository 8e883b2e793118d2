/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal on stdin. Its settings are put back at exit, on fatal signals, and while the program
 * is suspended.
 *
 * A process has one stdin, so there is one such state; signal handlers use it too.
 */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>
#include "base/log.h"
#include "base/util.h"

static struct {
    struct termios found, wanted;
    volatile sig_atomic_t held; /* acquired: found and wanted are valid */
    volatile sig_atomic_t raw;  /* 'wanted' is in effect */
    bool hooked;                /* the signal handlers are installed */
    char *farewell;             /* or NULL; and its length */
    size_t farewell_len;
    /* What is written to stderr goes here while somebody draws on the terminal; else -1. */
    int messages_fd, stderr_fd;
    off_t messages_shown;
    int resumed_fd; /* eventfd, written when the program goes on after a suspension */
} term = {.resumed_fd = -1, .messages_fd = -1, .stderr_fd = -1};

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

/*
 * A background job must not change its shell's terminal: SIGTTOU would stop it. tcgetpgrp() fails
 * where stdin is not the controlling terminal (a pty from socat or expect): no shell shares that.
 */
static bool in_foreground(void)
{
    pid_t group = tcgetpgrp(STDIN_FILENO);

    return group < 0 || group == getpgrp();
}

void terminal_make_raw(int fd)
{
    struct termios t;

    if (tcgetattr(fd, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(fd, TCSANOW, &t);
    }
}

/* Async-signal-safe. */
static void terminal_show_messages(void)
{
    char buf[512];
    ssize_t n;

    while (term.messages_fd >= 0 &&
           (n = pread(term.messages_fd, buf, sizeof buf, term.messages_shown)) > 0 &&
           write(term.stderr_fd, buf, n) == n) {
        term.messages_shown += n;
    }
}

void terminal_restore(void)
{
    if (term.held && term.raw && in_foreground()) {
        if (term.farewell && write(STDOUT_FILENO, term.farewell, term.farewell_len) < 0) {
            /* There is nobody to tell. */
        }
        tcsetattr(STDIN_FILENO, TCSANOW, &term.found);
        term.raw = 0;
        terminal_show_messages();
    }
}

void terminal_resume(void)
{
    if (term.held && in_foreground()) {
        tcsetattr(STDIN_FILENO, TCSANOW, &term.wanted);
        term.raw = 1;
    }
}

static void char_terminal_on_suspend(int sig)
{
    int saved = errno;

    terminal_restore();
    kill(getpid(), SIGSTOP);
    errno = saved;
}

static void on_continue(int sig)
{
    static const uint64_t one = 1;
    int saved = errno;

    terminal_resume();
    if (term.held && term.raw && write(term.resumed_fd, &one, sizeof one) < 0) {
        /* The counter is full, so the eventfd is readable anyway. */
    }
    errno = saved;
}

static void on_fatal(int sig)
{
    /* SA_RESETHAND has restored the default action, which raise() causes. */
    terminal_restore();
    raise(sig);
}

/* Installs a handler, unless the signal has one (a sanitizer's) or is ignored (by the shell). */
static void hook_default(int sig, void (*handler)(int), int flags)
{
    struct sigaction old, sa = {.sa_handler = handler, .sa_flags = flags};

    if (sigaction(sig, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
        old.sa_handler == SIG_DFL) {
        sigaction(sig, &sa, NULL);
    }
}

static void hook_signals(void)
{
    if (term.hooked) {
        return;
    }
    term.hooked = true;
    term.resumed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    hook_default(SIGTSTP, char_terminal_on_suspend, SA_RESTART);
    hook_default(SIGCONT, on_continue, SA_RESTART);
    for (unsigned i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
        hook_default(fatal_signals[i], on_fatal, SA_RESETHAND | SA_NODEFER);
    }
    atexit(terminal_restore);
}

bool terminal_acquire(bool keep_signals)
{
    if (tcgetattr(STDIN_FILENO, &term.found) < 0) {
        return false;
    }
    term.wanted = term.found;
    term.wanted.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    /* OPOST: messages of this program and of its children end in a bare newline. */
    term.wanted.c_oflag |= OPOST;
    term.wanted.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!keep_signals) {
        term.wanted.c_lflag &= ~ISIG;
    }
    term.wanted.c_cflag &= ~(CSIZE | PARENB);
    term.wanted.c_cflag |= CS8;
    term.wanted.c_cc[VMIN] = 1;
    term.wanted.c_cc[VTIME] = 0;
    term.held = 1;
    hook_signals();
    terminal_resume();
    return true;
}

void terminal_set_echo(bool echo)
{
    if (!term.held) {
        return;
    }
    if (echo) {
        term.wanted.c_lflag |= ECHO;
    } else {
        term.wanted.c_lflag &= ~ECHO;
    }
    terminal_resume();
}

int terminal_resumed_fd(void)
{
    return term.held ? term.resumed_fd : -1;
}

void terminal_keep(const char *farewell)
{
    tcgetattr(STDIN_FILENO, &term.wanted);
    term.farewell = g_strdup(farewell);
    term.farewell_len = strlen(farewell);
    if (isatty(STDERR_FILENO)) {
        term.messages_fd = memfd_create("messages", MFD_CLOEXEC);
        term.stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        term.messages_shown = 0;
        dup2(term.messages_fd, STDERR_FILENO);
        log_stderr_changed();
    }
}

void terminal_release(void)
{
    terminal_restore();
    term.held = 0;
    g_clear_pointer(&term.farewell, g_free);
    if (term.messages_fd >= 0) {
        dup2(term.stderr_fd, STDERR_FILENO);
        log_stderr_changed();
        fd_close(&term.messages_fd);
        fd_close(&term.stderr_fd);
    }
}
