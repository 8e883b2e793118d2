/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client library of the device tests: the process and its two sockets. */
#include "qtest_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "qtest_private.h"

#define START_MS 20000

QPciSpace *qtest_pci_space(QTest *q)
{
    return &q->pci;
}

/* The wire. */

void qtest_trail(QTest *q, const char *mark, const char *line)
{
    char *text = g_strdup_printf("%s %.300s", mark, line);
    if (qtest_cases.verbose) {
        printf("# %s\n", text);
    }
    g_queue_push_tail(q->trail, text);
    if (q->trail->length > TRAIL_LINES) {
        g_free(g_queue_pop_head(q->trail));
    }
}

void qtest_wire_send(QTest *q, Wire *w, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(w->fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            fail("the program hung up: %s", g_strerror(errno));
        }
        text += n;
        len -= n;
    }
}

/* The next line, without its end; NULL where none came in time. Caller frees. */
char *qtest_wire_line(QTest *q, Wire *w, int timeout_ms)
{
    char *end;
    gsize scanned = 0;
    while (!(end = memchr(w->in->str + scanned, '\n', w->in->len - scanned))) {
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        char buf[65536];
        scanned = w->in->len;
        int ready = poll(&p, 1, timeout_ms);
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        if (ready == 0) {
            return NULL;
        }
        ssize_t n = read(w->fd, buf, sizeof buf);
        if (n <= 0) {
            fail("the program hung up%s", w == &q->qmp ? " (QMP)" : "");
        }
        g_string_append_len(w->in, buf, n);
    }
    size_t len = end - w->in->str;
    char *line = g_strndup(w->in->str, len);
    g_strchomp(line);
    g_string_erase(w->in, 0, len + 1);
    return line;
}

/* Notes 'IRQ raise N'; true where the line was one. */
static bool irq_line(QTest *q, const char *line)
{
    unsigned n;
    char what[8];
    if (sscanf(line, "IRQ %7s %u", what, &n) != 2) {
        return false;
    }
    if (n >= IRQ_MAX) {
        fail("an interrupt of number %u", n);
    }
    q->irq_level[n] = g_str_equal(what, "raise");
    q->irq_edges[n] += q->irq_level[n];
    return true;
}

static char *qtest_reply(QTest *q)
{
    for (;;) {
        char *line = qtest_wire_line(q, &q->qtest, REPLY_MS);
        if (!line) {
            fail("no answer on the qtest socket");
        }
        qtest_trail(q, "<", line);
        if (!irq_line(q, line)) {
            return line;
        }
        g_free(line);
    }
}

static void send_command(QTest *q, const char *text)
{
    qtest_trail(q, ">", text);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    qtest_wire_send(q, &q->qtest, line, strlen(line));
}

/* Sends a command; the answer's words behind OK (caller frees). */
char *G_GNUC_PRINTF(2, 3) qtest_command(QTest *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    send_command(q, text);
    g_autofree char *answer = qtest_reply(q);
    if (g_str_equal(answer, "OK")) {
        return g_strdup("");
    }
    if (!g_str_has_prefix(answer, "OK ")) {
        fail("'%.200s' was answered by '%s'", text, answer);
    }
    return g_strdup(answer + 3);
}

uint64_t qtest_command_number(QTest *q, const char *cmd, uint64_t addr)
{
    g_autofree char *answer = qtest_command(q, "%s 0x%" G_GINT64_MODIFIER "x", cmd, addr);
    return strtoull(answer, NULL, 0);
}

void qtest_command_write(QTest *q, const char *cmd, uint64_t addr, uint64_t value)
{
    g_free(qtest_command(q, "%s 0x%" G_GINT64_MODIFIER "x 0x%" G_GINT64_MODIFIER "x", cmd, addr,
                         value));
}

void qtest_send(QTest *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    send_command(q, text);
}

char **qtest_raw(QTest *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    send_command(q, text);
    g_autofree char *answer = qtest_reply(q);
    return g_strsplit(answer, " ", -1);
}

/* Starting and ending. */

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) || listen(fd, 1)) {
        fail("cannot listen at %s: %s", path, g_strerror(errno));
    }
    return fd;
}

static int accept_from(QTest *q, int listener, const char *what)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    for (int waited = 0; waited < START_MS; waited += 50) {
        if (poll(&p, 1, 50) > 0) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            close(listener);
            return fd;
        }
        int status;
        if (waitpid(q->pid, &status, WNOHANG) == q->pid) {
            q->pid = -1;
            fail("the program ended at start: %s %d", WIFEXITED(status) ? "status" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        }
    }
    fail("the program has not connected its %s socket", what);
}

static const char *binary(void)
{
    const char *path = g_getenv("VMM_BINARY");
    if (!path) {
        fail("VMM_BINARY is not set: it names the program to be tested");
    }
    return path;
}

static pid_t spawn(char **argv, int stderr_fd)
{
    pid_t pid = fork();
    if (pid < 0) {
        fail("fork: %s", g_strerror(errno));
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_DFL);
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        /* stdout is the TAP stream */
        dup2(stderr_fd >= 0 ? stderr_fd : STDERR_FILENO, STDOUT_FILENO);
        if (stderr_fd >= 0) {
            dup2(stderr_fd, STDERR_FILENO);
        }
        execv(argv[0], argv);
        fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    return pid;
}

static GPtrArray *split_args(const char *args)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) words = NULL;
    g_autoptr(GError) err = NULL;
    g_ptr_array_add(argv, g_strdup(binary()));
    if (*args && !g_shell_parse_argv(args, NULL, &words, &err)) {
        fail("arguments '%s': %s", args, err->message);
    }
    for (char **w = words; w && *w; w++) {
        g_ptr_array_add(argv, g_strdup(*w));
    }
    return argv;
}

QTest *qtest_start(const char *args)
{
    static unsigned counter;
    QTest *q = g_new0(QTest, 1);
    unsigned n = counter++;
    g_autofree char *qtest_path = g_strdup_printf("%s/qtest%u", qtest_tmp_dir(), n);
    g_autofree char *qmp_path = g_strdup_printf("%s/qmp%u", qtest_tmp_dir(), n);
    g_autoptr(GPtrArray) argv = split_args(args);
    int qtest_listener = listen_at(qtest_path), qmp_listener = listen_at(qmp_path);
    /* "tcg" runs a test on a QEMU without qtest; tests that need the clock then fail. */
    const char *accel = g_getenv("VMM_TEST_ACCEL");
    const char *fixed[] = {
        "-accel", accel ? accel : "qtest",        "-display", "none", "-qtest-log", "none",
        "-mon",   "chardev=qmp-test,mode=control"};
    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        g_ptr_array_add(argv, g_strdup(fixed[i]));
    }
    if (accel) {
        g_ptr_array_add(argv, g_strdup("-S"));
    }
    g_ptr_array_add(argv, g_strdup("-qtest"));
    g_ptr_array_add(argv, g_strconcat("unix:", qtest_path, NULL));
    g_ptr_array_add(argv, g_strdup("-chardev"));
    g_ptr_array_add(argv, g_strdup_printf("socket,path=%s,id=qmp-test", qmp_path));
    g_ptr_array_add(argv, NULL);

    q->qtest.in = g_string_new(NULL);
    q->qmp.in = g_string_new(NULL);
    q->events = g_queue_new();
    q->trail = g_queue_new();
    qpci_space_init(&q->pci);
    qtest_alloc_reset(q);
    g_assert(qtest_cases.current_count < G_N_ELEMENTS(qtest_cases.current));
    qtest_cases.current[qtest_cases.current_count++] = q;
    if (qtest_cases.verbose) {
        g_autofree char *line = g_strjoinv(" ", (char **)argv->pdata);
        printf("# %s\n", line);
    }
    q->pid = spawn((char **)argv->pdata, -1);
    q->qtest.fd = accept_from(q, qtest_listener, "qtest");
    q->qmp.fd = accept_from(q, qmp_listener, "QMP");
    qtest_qmp_handshake(q);
    return q;
}

QTest *qtest_startf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return qtest_start(args);
}

static int exit_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

char *qtest_start_fails(const char *args, int *status)
{
    g_autoptr(GPtrArray) argv = split_args(args);
    const char *accel = g_getenv("VMM_TEST_ACCEL");
    g_ptr_array_add(argv, g_strdup("-accel"));
    g_ptr_array_add(argv, g_strdup(accel ? accel : "qtest"));
    g_ptr_array_add(argv, g_strdup("-display"));
    g_ptr_array_add(argv, g_strdup("none"));
    g_ptr_array_add(argv, NULL);
    int fds[2];
    if (pipe2(fds, O_CLOEXEC)) {
        fail("pipe: %s", g_strerror(errno));
    }
    pid_t pid = spawn((char **)argv->pdata, fds[1]);
    close(fds[1]);
    GString *text = g_string_new(NULL);
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    char buf[4096];
    ssize_t n;
    while (poll(&p, 1, START_MS) > 0 && (n = read(fds[0], buf, sizeof buf)) > 0) {
        g_string_append_len(text, buf, n);
    }
    close(fds[0]);
    int st = 0;
    if (waitpid(pid, &st, WNOHANG) == 0) {
        g_usleep(200000);
        if (waitpid(pid, &st, WNOHANG) == 0) {
            kill(pid, SIGKILL);
            waitpid(pid, &st, 0);
            fail("'%s' should have failed, but went on; it said:\n%s", args, text->str);
        }
    }
    if (status) {
        *status = exit_status(st);
    }
    return g_string_free(text, FALSE);
}

static void qtest_free(QTest *q)
{
    for (unsigned i = 0; i < qtest_cases.current_count; i++) {
        if (qtest_cases.current[i] == q) {
            qtest_cases.current[i] = qtest_cases.current[--qtest_cases.current_count];
            break;
        }
    }
    close(q->qtest.fd);
    close(q->qmp.fd);
    g_string_free(q->qtest.in, TRUE);
    g_string_free(q->qmp.in, TRUE);
    g_queue_free_full(q->events, (GDestroyNotify)json_decref);
    g_queue_free_full(q->trail, g_free);
    g_free(q);
}

int qtest_wait_exit(QTest *q)
{
    int status;
    int64_t end = g_get_monotonic_time() + START_MS * 1000;
    while (waitpid(q->pid, &status, WNOHANG) == 0) {
        if (g_get_monotonic_time() > end) {
            fail("the program does not end");
        }
        g_usleep(1000);
    }
    qtest_free(q);
    return exit_status(status);
}

void qtest_end(QTest *q)
{
    kill(q->pid, SIGTERM);
    int status = qtest_wait_exit(q);
    if (status) {
        fail("SIGTERM ended the program with %s %d, not with status 0",
             status < 0 ? "signal" : "status", ABS(status));
    }
}

int qtest_pid(QTest *q)
{
    return q->pid;
}
