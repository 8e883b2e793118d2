/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ends a run from outside of the guest: signals, and -deadline.
 *
 * The end in order needs the main loop, and waits for requests that are under way. A deadline has
 * to hold where the loop stands still too, or has not begun to run: a timer of the kernel's comes
 * behind it, whose signal ends the process at once.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "app.h"
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/log.h"
#include "chardev/chardev.h"
#include "cli/params.h"
#include "vm/end.h"

/* How long the end in order may take before a deadline is enforced. */
#define ENFORCE_SECONDS 5
#define DEADLINE_MAX    1e9

/* For the signal's handler: whether the main loop runs, which ends the run in order. */
static volatile sig_atomic_t loop_runs;

struct Ending {
    Vm *vm;
    int signal_fd;
    FdHandler *handler;
    bool press_button; /* SIGTERM does, once */
    uint32_t grace;    /* seconds */
    Timer *grace_over, *deadline;
    char *deadline_text; /* as it was given */
    timer_t enforcer;
};

int ending_open_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN); /* vcpus_create() installs a handler: it kicks vCPUs */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* "signal 15 from pid 12 (timeout)"; caller frees. */
static char *signal_text(const struct signalfd_siginfo *info)
{
    g_autofree char *path = g_strdup_printf("/proc/%u/cmdline", info->ssi_pid);
    g_autofree char *name = info->ssi_pid ? host_read_file(path, 64 * 1024, NULL, NULL) : NULL;

    if (!info->ssi_pid) {
        return g_strdup_printf("signal %u", info->ssi_signo);
    }
    return g_strdup_printf("signal %u from pid %u (%s)", info->ssi_signo, info->ssi_pid,
                           name && *name ? name : "<unknown process>");
}

static void on_signal(void *data)
{
    Ending *e = data;
    struct signalfd_siginfo info;
    g_autofree char *text = NULL;

    if (read(e->signal_fd, &info, sizeof info) != sizeof info) {
        return;
    }
    text = signal_text(&info);
    if (info.ssi_signo == SIGTERM && e->press_button) {
        e->press_button = false; /* a second one ends the run at once */
        fprintf(stderr, "%s: pressing the power button on %s; the guest has %u s\n",
                log_program_name(), text, e->grace);
        timer_arm(e->grace_over, clock_ns(CLOCK_REALTIME_NS) + e->grace * NS_PER_SEC);
        vm_request_powerdown(e->vm);
        return;
    }
    fprintf(stderr, "%s: terminating on %s\n", log_program_name(), text);
    vm_request_shutdown(e->vm, SHUTDOWN_CAUSE_HOST_SIGNAL);
}

static void on_grace_over(void *data)
{
    Ending *e = data;
    /* It has powered off, and -action shutdown=pause keeps it. */
    bool obeyed = vm_run_state(e->vm) == RUN_STATE_SHUTDOWN;

    if (!obeyed) {
        log_error("the guest has not powered off in the %u s that -action grace= gives it; it is "
                  "ended",
                  e->grace);
    }
    vm_request_shutdown_status(e->vm, SHUTDOWN_CAUSE_HOST_SIGNAL,
                               obeyed ? VM_END_POWEROFF : VM_END_GRACE);
}

/* -deadline. */

static void on_deadline(void *data)
{
    Ending *e = data;

    log_error("-deadline %s: the run has not come to its end in this time; it is ended",
              e->deadline_text);
    vm_request_shutdown_status(e->vm, SHUTDOWN_CAUSE_HOST_SIGNAL, VM_END_DEADLINE);
}

/* Async-signal-safe. Comes at the deadline, and again ENFORCE_SECONDS later. */
static void on_enforce(int sig)
{
    static const char text[] =
        "-deadline: the program does not come to its end in order; it is ended at once\n";

    if (loop_runs) {
        loop_runs = false;
        return;
    }
    chardev_terminal_restore();
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        /* There is nobody to tell. */
    }
    _exit(VM_END_DEADLINE);
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end;

    if (!*text || strspn(text, "0123456789.") != strlen(text)) {
        return false;
    }
    *seconds = g_ascii_strtod(text, &end);
    return !*end && *seconds > 0 && *seconds <= DEADLINE_MAX;
}

static bool set_deadline(Ending *e, const char *text, GError **err)
{
    struct sigaction action = {.sa_handler = on_enforce, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct itimerspec at = {0};
    double seconds;

    if (!parse_seconds(text, &seconds)) {
        return error_set(err,
                         "-deadline %s: expected a number of seconds, above 0 and up to %.0f, such "
                         "as 60 or 0.5",
                         text, DEADLINE_MAX);
    }
    at.it_value.tv_sec = (time_t)seconds;
    at.it_value.tv_nsec = (long)((seconds - (double)at.it_value.tv_sec) * NS_PER_SEC);
    at.it_interval.tv_sec = ENFORCE_SECONDS;
    if (sigaction(SIGALRM, &action, NULL) < 0 ||
        timer_create(CLOCK_MONOTONIC, &event, &e->enforcer) < 0) {
        return error_set_errno(err, errno, "-deadline %s: cannot make a timer", text);
    }
    e->deadline_text = g_strdup(text);
    timer_settime(e->enforcer, 0, &at, NULL);
    e->deadline = timer_new(e->vm->loop, CLOCK_REALTIME_NS, on_deadline, e);
    timer_arm(e->deadline, clock_ns(CLOCK_REALTIME_NS) + (int64_t)(seconds * NS_PER_SEC));
    return true;
}

Ending *ending_new(Vm *vm, int signal_fd, json_t *config, GError **err)
{
    const char *deadline = json_str(config, "deadline");
    ActionOptions o;
    Ending *e;

    if (!app_read_action_options(config, &o, err)) {
        return NULL;
    }
    e = g_new0(Ending, 1);
    e->vm = vm;
    e->signal_fd = signal_fd;
    e->press_button = o.sigterm;
    e->grace = o.grace;
    e->grace_over = timer_new(vm->loop, CLOCK_REALTIME_NS, on_grace_over, e);
    e->handler = event_loop_add_fd(vm->loop, signal_fd, on_signal, NULL, e);
    if (deadline && !set_deadline(e, deadline, err)) {
        ending_free(e);
        return NULL;
    }
    return e;
}

void ending_loop_runs(void)
{
    loop_runs = true;
}

void ending_free(Ending *e)
{
    if (!e) {
        return;
    }
    /* The enforcer stays: what is taken down after the run may hang as well. */
    fd_handler_remove(e->handler);
    timer_free(e->grace_over);
    timer_free(e->deadline);
    g_free(e->deadline_text);
    g_free(e);
}
