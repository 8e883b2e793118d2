/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client library of the device tests: runs each case in its own process. */
#include "qtest_client.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qtest_private.h"

#define CASE_SECONDS 150 /* a case that takes longer is taken for hung */
#define EXIT_SKIP    77

QTestCases qtest_cases;

/* Failing. */

static void kill_all(void)
{
    for (unsigned i = 0; i < qtest_cases.current_count; i++) {
        if (qtest_cases.current[i]->pid > 0) {
            kill(qtest_cases.current[i]->pid, SIGKILL);
            waitpid(qtest_cases.current[i]->pid, NULL, 0);
        }
    }
    qtest_cases.current_count = 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_tmp_dir(void)
{
    if (qtest_cases.tmp_dir) {
        nftw(qtest_cases.tmp_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        g_clear_pointer(&qtest_cases.tmp_dir, g_free);
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
    printf("# %s: %s:%d:\n", qtest_cases.case_name, file, line);
    print_lines(text);
    for (unsigned i = 0; i < qtest_cases.current_count; i++) {
        QTest *q = qtest_cases.current[i];
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
    if (!qtest_cases.tmp_dir) {
        g_autoptr(GError) err = NULL;
        qtest_cases.tmp_dir = g_dir_make_tmp("vmm-test-XXXXXX", &err);
        if (!qtest_cases.tmp_dir) {
            fail("%s", err->message);
        }
    }
    return qtest_cases.tmp_dir;
}

bool qtest_sanitized(void)
{
    return g_getenv("ASAN_OPTIONS") || g_getenv("TSAN_OPTIONS");
}

void qtest_img(const char *fmt, ...)
{
    g_autofree char *words = NULL, *line = NULL;
    int status = -1;
    va_list ap;

    va_start(ap, fmt);
    words = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    line = g_strdup_printf("%s %s", g_getenv("VMM_IMG_BINARY"), words);
    qtest_check(g_spawn_command_line_sync(line, NULL, NULL, &status, NULL));
    if (status) {
        qtest_fail(__FILE__, __LINE__, "'%s' ended with status %d", line, status);
    }
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
        qtest_cases.verbose |= g_str_equal(argv[i], "-v");
    }
    for (const QTestCase *c = cases; c->name; c++) {
        if (wanted(argc, argv, c->name)) {
            qtest_cases.case_name = c->name;
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
