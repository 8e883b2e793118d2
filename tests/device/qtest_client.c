/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client library of the device tests: the process, its two sockets, and the test cases. */
#include "qtest_client.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
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

#define CASE_SECONDS 60 /* before a case counts as hung */
#define START_MS     20000
#define REPLY_MS     20000
#define TRAIL_LINES  12 /* of the wire, shown when a test fails */
#define EXIT_SKIP    77
#define IRQ_MAX      64

typedef struct {
    int fd;
    GString *in;
} Wire;

struct QTest {
    pid_t pid;
    Wire qtest, qmp;
    GQueue *events; /* json_t */
    GQueue *trail;  /* char *, the last lines */
    bool irq_level[IRQ_MAX];
    unsigned irq_edges[IRQ_MAX];
    uint64_t alloc_next, ram_size;
    QPciSpace pci;
};

/* State of the test program itself. A case runs in a process of its own, so this is per case. */
static struct {
    bool verbose;
    const char *case_name;
    char *tmp_dir;
    QTest *current[8]; /* started and not ended, for the trail of a failure */
    unsigned current_count;
} run;

QPciSpace *qtest_pci_space(QTest *q)
{
    return &q->pci;
}

/* Failing. */

static void kill_all(void)
{
    for (unsigned i = 0; i < run.current_count; i++) {
        if (run.current[i]->pid > 0) {
            kill(run.current[i]->pid, SIGKILL);
            waitpid(run.current[i]->pid, NULL, 0);
        }
    }
    run.current_count = 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_tmp_dir(void)
{
    if (run.tmp_dir) {
        nftw(run.tmp_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        g_clear_pointer(&run.tmp_dir, g_free);
    }
}

static void G_GNUC_NORETURN end_case(int status)
{
    kill_all();
    remove_tmp_dir();
    fflush(NULL);
    _exit(status);
}

static void print_lines(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        printf("# %s\n", *line);
    }
}

void qtest_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    printf("# %s: %s:%d:\n", run.case_name, file, line);
    print_lines(text);
    for (unsigned i = 0; i < run.current_count; i++) {
        QTest *q = run.current[i];
        if (q->trail->length) {
            printf("# the last lines on the wire:\n");
        }
        for (GList *l = q->trail->head; l; l = l->next) {
            printf("#   %s\n", (char *)l->data);
        }
        int status;
        if (q->pid > 0 && waitpid(q->pid, &status, WNOHANG) == q->pid) {
            q->pid = -1;
            printf("# the program has ended: %s %d\n", WIFEXITED(status) ? "status" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        }
    }
    end_case(1);
}

#define fail(...) qtest_fail(__FILE__, __LINE__, __VA_ARGS__)

void qtest_skip(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    printf("#SKIP %s\n", text);
    end_case(EXIT_SKIP);
}

const char *qtest_tmp_dir(void)
{
    if (!run.tmp_dir) {
        g_autoptr(GError) err = NULL;
        run.tmp_dir = g_dir_make_tmp("vmm-test-XXXXXX", &err);
        if (!run.tmp_dir) {
            fail("%s", err->message);
        }
    }
    return run.tmp_dir;
}

/* Running cases. */

static int run_case(const QTestCase *c)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        c->fn();
        end_case(0);
    }
    int status;
    for (unsigned ms = 0; waitpid(pid, &status, WNOHANG) == 0; ms += 5) {
        if (ms > CASE_SECONDS * 1000) {
            printf("# %s: still not done after %d s\n", c->name, CASE_SECONDS);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            break;
        }
        g_usleep(5000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool wanted(int argc, char **argv, const char *name)
{
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (!g_str_equal(argv[i], "-v")) {
            any = true;
            if (g_str_equal(argv[i], name)) {
                return true;
            }
        }
    }
    return !any;
}

int qtest_run(int argc, char **argv, const QTestCase *cases)
{
    unsigned n = 0, failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        run.verbose |= g_str_equal(argv[i], "-v");
    }
    for (const QTestCase *c = cases; c->name; c++) {
        if (wanted(argc, argv, c->name)) {
            run.case_name = c->name;
            int status = run_case(c);
            bool skipped = status == EXIT_SKIP;
            failed += status && !skipped;
            printf("%s %u - %s%s\n", status && !skipped ? "not ok" : "ok", ++n, c->name,
                   skipped ? " # SKIP see above" : "");
        }
    }
    printf("1..%u\n", n);
    return failed ? 1 : 0;
}

/* The wire. */

static void trail(QTest *q, const char *mark, const char *line)
{
    char *text = g_strdup_printf("%s %.300s", mark, line);
    if (run.verbose) {
        printf("# %s\n", text);
    }
    g_queue_push_tail(q->trail, text);
    if (q->trail->length > TRAIL_LINES) {
        g_free(g_queue_pop_head(q->trail));
    }
}

static void wire_send(QTest *q, Wire *w, const char *text, size_t len)
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
static char *wire_line(QTest *q, Wire *w, int timeout_ms)
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
        char *line = wire_line(q, &q->qtest, REPLY_MS);
        if (!line) {
            fail("no answer on the qtest socket");
        }
        trail(q, "<", line);
        if (!irq_line(q, line)) {
            return line;
        }
        g_free(line);
    }
}

static void send_command(QTest *q, const char *text)
{
    trail(q, ">", text);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    wire_send(q, &q->qtest, line, strlen(line));
}

/* Sends a command; the answer's words behind OK (caller frees). */
static char *G_GNUC_PRINTF(2, 3) command(QTest *q, const char *fmt, ...)
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

static uint64_t command_number(QTest *q, const char *cmd, uint64_t addr)
{
    g_autofree char *answer = command(q, "%s 0x%" G_GINT64_MODIFIER "x", cmd, addr);
    return strtoull(answer, NULL, 0);
}

static void command_write(QTest *q, const char *cmd, uint64_t addr, uint64_t value)
{
    g_free(command(q, "%s 0x%" G_GINT64_MODIFIER "x 0x%" G_GINT64_MODIFIER "x", cmd, addr, value));
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

static void qmp_handshake(QTest *q);

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
    /* To try a test on a QEMU without qtest: "tcg"; what needs the clock fails then. */
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
    g_assert(run.current_count < G_N_ELEMENTS(run.current));
    run.current[run.current_count++] = q;
    if (run.verbose) {
        g_autofree char *line = g_strjoinv(" ", (char **)argv->pdata);
        printf("# %s\n", line);
    }
    q->pid = spawn((char **)argv->pdata, -1);
    q->qtest.fd = accept_from(q, qtest_listener, "qtest");
    q->qmp.fd = accept_from(q, qmp_listener, "QMP");
    qmp_handshake(q);
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
    for (unsigned i = 0; i < run.current_count; i++) {
        if (run.current[i] == q) {
            run.current[i] = run.current[--run.current_count];
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

/* Ports and memory. */

void qtest_outb(QTest *q, uint16_t port, uint8_t value)
{
    command_write(q, "outb", port, value);
}

void qtest_outw(QTest *q, uint16_t port, uint16_t value)
{
    command_write(q, "outw", port, value);
}

void qtest_outl(QTest *q, uint16_t port, uint32_t value)
{
    command_write(q, "outl", port, value);
}

uint8_t qtest_inb(QTest *q, uint16_t port)
{
    return command_number(q, "inb", port);
}

uint16_t qtest_inw(QTest *q, uint16_t port)
{
    return command_number(q, "inw", port);
}

uint32_t qtest_inl(QTest *q, uint16_t port)
{
    return command_number(q, "inl", port);
}

void qtest_writeb(QTest *q, uint64_t addr, uint8_t value)
{
    command_write(q, "writeb", addr, value);
}

void qtest_writew(QTest *q, uint64_t addr, uint16_t value)
{
    command_write(q, "writew", addr, value);
}

void qtest_writel(QTest *q, uint64_t addr, uint32_t value)
{
    command_write(q, "writel", addr, value);
}

void qtest_writeq(QTest *q, uint64_t addr, uint64_t value)
{
    command_write(q, "writeq", addr, value);
}

uint8_t qtest_readb(QTest *q, uint64_t addr)
{
    return command_number(q, "readb", addr);
}

uint16_t qtest_readw(QTest *q, uint64_t addr)
{
    return command_number(q, "readw", addr);
}

uint32_t qtest_readl(QTest *q, uint64_t addr)
{
    return command_number(q, "readl", addr);
}

uint64_t qtest_readq(QTest *q, uint64_t addr)
{
    return command_number(q, "readq", addr);
}

void qtest_read(QTest *q, uint64_t addr, void *buf, size_t len)
{
    if (!len) {
        return;
    }
    g_autofree char *text = command(q, "b64read 0x%" G_GINT64_MODIFIER "x %zu", addr, len);
    gsize got;
    g_autofree uint8_t *data = g_base64_decode(text, &got);
    if (got != len) {
        fail("b64read gave %zu bytes, not %zu", (size_t)got, len);
    }
    memcpy(buf, data, len);
}

void qtest_write(QTest *q, uint64_t addr, const void *buf, size_t len)
{
    if (!len) {
        return;
    }
    g_autofree char *text = g_base64_encode(buf, len);
    g_free(command(q, "b64write 0x%" G_GINT64_MODIFIER "x %zu %s", addr, len, text));
}

void qtest_memset(QTest *q, uint64_t addr, uint8_t byte, size_t len)
{
    g_free(command(q, "memset 0x%" G_GINT64_MODIFIER "x %zu 0x%x", addr, len, byte));
}

/* The first MiB is the firmware's and the PC's; then it is the test's, up to the top of RAM. */
void qtest_alloc_reset(QTest *q)
{
    q->alloc_next = 1024 * 1024;
}

uint64_t qtest_ram_size(QTest *q)
{
    if (!q->ram_size) {
        q->ram_size = qtest_fw_cfg_read64(q, 3 /* FW_CFG_RAM_SIZE */);
    }
    return q->ram_size;
}

uint64_t qtest_alloc(QTest *q, size_t size, size_t align)
{
    align = align ? align : 16;
    uint64_t addr = (q->alloc_next + align - 1) & ~(uint64_t)(align - 1);
    if (addr + size > MIN(qtest_ram_size(q), 0xc0000000u)) {
        fail("no guest memory left for %zu bytes", size);
    }
    q->alloc_next = addr + size;
    return addr;
}

/* Clock and interrupts. */

int64_t qtest_clock_step(QTest *q, int64_t ns)
{
    g_autofree char *now = command(q, "clock_step %" G_GINT64_FORMAT, ns);
    return strtoll(now, NULL, 0);
}

int64_t qtest_clock_step_next(QTest *q)
{
    g_autofree char *now = command(q, "clock_step");
    return strtoll(now, NULL, 0);
}

int64_t qtest_clock_set(QTest *q, int64_t ns)
{
    g_autofree char *now = command(q, "clock_set %" G_GINT64_FORMAT, ns);
    return strtoll(now, NULL, 0);
}

void qtest_irq_intercept_in(QTest *q, const char *path)
{
    g_free(command(q, "irq_intercept_in %s", path));
}

void qtest_irq_intercept_out(QTest *q, const char *path)
{
    g_free(command(q, "irq_intercept_out %s", path));
}

/* Edges may come by themselves, where host I/O completes: a round trip fetches them. */
static void poll_irqs(QTest *q)
{
    g_free(command(q, "endianness"));
}

bool qtest_irq(QTest *q, unsigned n)
{
    g_assert(n < IRQ_MAX);
    poll_irqs(q);
    return q->irq_level[n];
}

unsigned qtest_irq_count(QTest *q, unsigned n)
{
    g_assert(n < IRQ_MAX);
    poll_irqs(q);
    unsigned count = q->irq_edges[n];
    q->irq_edges[n] = 0;
    return count;
}

void qtest_set_irq_in(QTest *q, const char *path, const char *name, unsigned n, bool level)
{
    g_free(command(q, "set_irq_in %s %s %u %d", path, name, n, level));
}

/* QMP. */

static json_t *qmp_receive(QTest *q, int timeout_ms)
{
    g_autofree char *line = wire_line(q, &q->qmp, timeout_ms);
    if (!line) {
        return NULL;
    }
    trail(q, "Q<", line);
    json_error_t error;
    json_t *reply = json_loads(line, 0, &error);
    if (!json_is_object(reply)) {
        fail("QMP said what is no JSON object: %s", line);
    }
    return reply;
}

/* Events that come before it are kept for later. */
static json_t *qmp_reply(QTest *q)
{
    for (;;) {
        json_t *reply = qmp_receive(q, REPLY_MS);
        if (!reply) {
            fail("no answer on the QMP socket");
        }
        if (!json_object_get(reply, "event")) {
            return reply;
        }
        g_queue_push_tail(q->events, reply);
    }
}

static json_t *qmp_send(QTest *q, const char *text)
{
    trail(q, "Q>", text);
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);
    wire_send(q, &q->qmp, line, strlen(line));
    return qmp_reply(q);
}

/* At the start, as no event is told before it. */
static void qmp_handshake(QTest *q)
{
    json_t *greeting = qmp_reply(q);
    if (!json_object_get(greeting, "QMP")) {
        fail("QMP does not greet");
    }
    json_decref(greeting);
    json_t *reply = qmp_send(q, "{\"execute\": \"qmp_capabilities\"}");
    if (!json_object_get(reply, "return")) {
        fail("QMP refuses qmp_capabilities");
    }
    json_decref(reply);
}

json_t *qtest_qmp_raw(QTest *q, const char *text)
{
    return qmp_send(q, text);
}

static json_t *qmp_execute(QTest *q, const char *name, const char *pack, va_list ap)
{
    json_t *request = json_pack("{s:s}", "execute", name);
    if (pack) {
        json_error_t error;
        json_t *args = json_vpack_ex(&error, 0, pack, ap);
        if (!args) {
            fail("arguments of '%s': %s", name, error.text);
        }
        json_object_set_new(request, "arguments", args);
    }
    char *text = json_dumps(request, JSON_COMPACT);
    json_t *reply = qtest_qmp_raw(q, text);
    free(text);
    json_decref(request);
    return reply;
}

json_t *qtest_qmp(QTest *q, const char *name, const char *pack, ...)
{
    va_list ap;
    va_start(ap, pack);
    json_t *reply = qmp_execute(q, name, pack, ap);
    va_end(ap);
    json_t *result = json_object_get(reply, "return");
    if (!result) {
        const char *desc =
            json_string_value(json_object_get(json_object_get(reply, "error"), "desc"));
        fail("QMP command '%s' failed: %s", name, desc ? desc : "(no text)");
    }
    json_incref(result);
    json_decref(reply);
    return result;
}

char *qtest_qmp_fails(QTest *q, char **class, const char *name, const char *pack, ...)
{
    va_list ap;
    va_start(ap, pack);
    json_t *reply = qmp_execute(q, name, pack, ap);
    va_end(ap);
    json_t *error = json_object_get(reply, "error");
    if (!error) {
        fail("QMP command '%s' should have failed", name);
    }
    char *desc = g_strdup(json_string_value(json_object_get(error, "desc")));
    if (class) {
        *class = g_strdup(json_string_value(json_object_get(error, "class")));
    }
    json_decref(reply);
    return desc;
}

static bool is_event(json_t *event, const char *name)
{
    return g_str_equal(json_string_value(json_object_get(event, "event")), name);
}

json_t *qtest_wait_event(QTest *q, const char *name)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    for (;;) {
        json_t *event;
        while ((event = g_queue_pop_head(q->events))) {
            if (is_event(event, name)) {
                return event;
            }
            json_decref(event);
        }
        int64_t left = end - g_get_monotonic_time();
        event = left > 0 ? qmp_receive(q, left / 1000 + 1) : NULL;
        if (!event) {
            fail("waited in vain for the event %s", name);
        }
        g_queue_push_tail(q->events, event);
    }
}

bool qtest_has_event(QTest *q, const char *name)
{
    json_decref(qtest_qmp(q, "query-status", NULL));
    for (GList *l = q->events->head; l; l = l->next) {
        if (is_event(l->data, name)) {
            return true;
        }
    }
    return false;
}

char *qtest_hmp(QTest *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_t *text = qtest_qmp(q, "human-monitor-command", "{s:s}", "command-line", line);
    char *copy = g_strdup(json_string_value(text));
    json_decref(text);
    return copy;
}

void qtest_system_reset(QTest *q)
{
    json_decref(qtest_qmp(q, "system_reset", NULL));
    json_decref(qtest_wait_event(q, "RESET"));
}

/* fw_cfg. */

void qtest_fw_cfg_read(QTest *q, uint16_t key, void *buf, size_t len)
{
    uint8_t *p = buf;
    qtest_outw(q, 0x510, key);
    for (size_t i = 0; i < len; i++) {
        p[i] = qtest_inb(q, 0x511);
    }
}

uint16_t qtest_fw_cfg_read16(QTest *q, uint16_t key)
{
    uint16_t v;
    qtest_fw_cfg_read(q, key, &v, sizeof v);
    return GUINT16_FROM_LE(v);
}

uint32_t qtest_fw_cfg_read32(QTest *q, uint16_t key)
{
    uint32_t v;
    qtest_fw_cfg_read(q, key, &v, sizeof v);
    return GUINT32_FROM_LE(v);
}

uint64_t qtest_fw_cfg_read64(QTest *q, uint16_t key)
{
    uint64_t v;
    qtest_fw_cfg_read(q, key, &v, sizeof v);
    return GUINT64_FROM_LE(v);
}

uint16_t qtest_fw_cfg_find(QTest *q, const char *name, uint32_t *size)
{
    struct {
        uint32_t size;
        uint16_t select, reserved;
        char name[56];
    } file;
    uint32_t count;
    uint16_t key = 0;
    qtest_fw_cfg_read(q, 0x19 /* FW_CFG_FILE_DIR */, &count, sizeof count);
    for (count = GUINT32_FROM_BE(count); count && !key; count--) {
        for (size_t i = 0; i < sizeof file; i++) {
            ((uint8_t *)&file)[i] = qtest_inb(q, 0x511);
        }
        if (!strncmp(file.name, name, sizeof file.name)) {
            key = GUINT16_FROM_BE(file.select);
            if (size) {
                *size = GUINT32_FROM_BE(file.size);
            }
        }
    }
    return key;
}
