/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv -> configuration -> machine -> event loop -> exit status. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"
#include "base/coroutine.h"
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "base/trace.h"
#include "base/util.h"
#include "block/backend.h"
#include "chardev/chardev.h"
#include "cli/options.h"
#include "vm/end.h"

/* How long the end waits for the thread pool's work: all but a look-up of a host name is over. */
#define JOBS_WAIT_NS (100 * NS_PER_MS)

/* The status of a start that failed: QEMU's own where the caller knows the program as QEMU. */
static int main_start_failed(void)
{
    return log_program_is_qemu() ? 1 : VM_END_START;
}

/*
 * -daemonize: the parent waits until the child is ready or has failed, and exits with that status.
 * Returns in the child, with the descriptor for report_ready().
 */
static int main_daemonize(void)
{
    int fds[2];
    pid_t pid;
    char status = (char)main_start_failed();

    if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        log_error("cannot go to the background: %s", g_strerror(errno));
        exit(status);
    }
    if (pid > 0) {
        close(fds[1]);
        while (read(fds[0], &status, 1) < 0 && errno == EINTR) {
        }
        _exit(status);
    }
    close(fds[0]);
    setsid();
    /* After a second fork the process is no session leader, and so cannot get a terminal again. */
    pid = fork();
    if (pid != 0) {
        _exit(pid < 0);
    }
    umask(027);
    return fds[1];
}

static void report_ready(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    char ok = 0;

    if (chdir("/") < 0 || null < 0) {
        log_warn("cannot leave the folder and terminal that this was started from: %s",
                 g_strerror(errno));
    } else {
        dup2(null, 0);
        dup2(null, 1);
        dup2(log_file_fd() >= 0 ? log_file_fd() : null, 2);
        close(null);
        log_stderr_changed();
    }
    while (write(fd, &ok, 1) < 0 && errno == EINTR) {
    }
    close(fd);
}

static char *pidfile;

/* The file stays locked while the process lives; a stale one is not locked. */
static bool write_pidfile(const char *path, GError **err)
{
    g_autofree char *text = g_strdup_printf("%d\n", getpid());
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = host_open(path, O_RDWR | O_CREAT, 0600, err);

    if (fd < 0) {
        g_prefix_error(err, "cannot create PID file: ");
        return false;
    }
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        close(fd);
        return error_set(err, "cannot create PID file: '%s' is held by a running process", path);
    }
    if (ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) < 0) {
        int saved = errno;

        close(fd);
        return error_set_errno(err, saved, "cannot write PID file '%s'", path);
    }
    pidfile = g_canonicalize_filename(path, NULL); /* report_ready() changes the folder */
    return true;
}

static bool msg_has(json_t *config, const char *key)
{
    const char *text = json_str(json_object_get(config, "msg"), key);
    bool on = false;

    return text && parse_bool(text, &on) && on;
}

static bool configure_log(json_t *config, GError **err)
{
    const char *file = json_str(config, "log-file"), *items = json_str(config, "log-items");
    json_t *trace;
    size_t i;

    log_never_wait();
    log_set_timestamps(msg_has(config, "timestamp"));
    if (msg_has(config, "guest-name")) {
        log_set_guest_name(json_str(json_object_get(config, "name"), "guest"));
    }
    if ((file && !log_set_file(file, err)) || (items && !log_set_items(items, NULL, err))) {
        return false;
    }
    json_array_foreach(json_object_get(config, "trace"), i, trace)
    {
        if (!trace_from_config(trace, err)) {
            return false;
        }
    }
    return true;
}

static bool read_config_files(json_t *config, GError **err)
{
    json_t *files = json_object_get(config, "readconfig");
    size_t i;
    json_t *file;

    json_array_foreach(files, i, file)
    {
        if (!cli_read_config_file(json_string_value(file), config, err)) {
            g_prefix_error(err, "-readconfig %s: ", json_string_value(file));
            return false;
        }
    }
    return true;
}

static int main_fail(GError *err)
{
    log_error("%s", err->message);
    g_error_free(err);
    return main_start_failed();
}

static int main_run(json_t *config, int signal_fd, int ready_fd)
{
    GError *err = NULL;
    EventLoop *loop = event_loop_new("main", &err);
    const char *pid_path = json_str(config, "pidfile");
    Ending *ending;
    Vm *vm;
    int status;

    if (!loop) {
        return main_fail(err);
    }
    event_loop_bind(loop);
    reclaim_thread_register();
    reclaim_set_loop(loop);
    vm = vm_new(loop);
    ending = ending_new(vm, signal_fd, config, &err);
    if (ending && (!pid_path || write_pidfile(pid_path, &err)) && app_launch(vm, config, &err)) {
        if (ready_fd >= 0) {
            report_ready(ready_fd);
        }
        ending_loop_runs();
        block_forbid_blocking(true);
        event_loop_run(loop);
        block_forbid_blocking(false);
        status = vm->exit_status;
        if (vm_end_is_bad(status)) {
            app_print_last_words(vm);
        }
    } else {
        status = main_fail(err);
    }
    ending_free(ending);
    app_unlaunch(vm);
    pool_settle(loop, JOBS_WAIT_NS);
    reclaim_set_loop(NULL);
    reclaim_poll();
    event_loop_free(loop);
    if (pidfile) {
        unlink(pidfile);
        g_clear_pointer(&pidfile, g_free);
    }
    return status;
}

int main(int argc, char **argv)
{
    g_autofree char *name = g_path_get_basename(argv[0]);
    json_auto_t *config = json_object();
    GError *err = NULL;
    int status, ready_fd = -1;

    /* Opens standard descriptors that are closed, else another file would get their numbers. */
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) {
            return VM_END_START;
        }
    }
    host_raise_file_limit();
    host_limit_thread_stacks();
    host_survive_file_size_limit(); /* before log files are written */
    log_set_program_name(name);
    app_set_classes();
    if (!cli_parse(argc - 1, argv + 1, config, &err) || !read_config_files(config, &err)) {
        return main_fail(err);
    }
    if (app_answer_help(config, &status)) {
        return status ? main_start_failed() : 0;
    }
    if (!configure_log(config, &err) || !app_add_defaults(config, &err)) {
        return main_fail(err);
    }
    if (json_object_get(config, "daemonize")) {
        chardev_forbid_stdio();
        ready_fd = main_daemonize();
    }
    return main_run(config, ending_open_signals(), ready_fd);
}
