/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void monitor_check_error(QTest *q, const char *request, const char *class, const char *desc)
{
    json_t *reply = qtest_qmp_raw(q, request), *error = json_object_get(reply, "error");

    qtest_check(error != NULL);
    qtest_check_str(json_string_value(json_object_get(error, "class")), class);
    qtest_check_str(json_string_value(json_object_get(error, "desc")), desc);
    json_decref(reply);
}

void monitor_check_hmp(QTest *q, const char *line, const char *expected)
{
    g_autofree char *text = qtest_hmp(q, "%s", line);

    if (strcmp(text, expected)) {
        qtest_fail(__FILE__, __LINE__, "%s: '%s', not '%s'", line, text, expected);
    }
}

void monitor_check_result(QTest *q, const char *request, const char *expected)
{
    json_t *reply = qtest_qmp_raw(q, request),
           *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
    g_autofree char *text = NULL;

    if (!json_equal(json_object_get(reply, "return"), wanted)) {
        text = json_dumps(reply, 0);
        qtest_fail(__FILE__, __LINE__, "%s: %s, not %s", request, text, expected);
    }
    json_decref(reply);
    json_decref(wanted);
}

int monitor_connect(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};

    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    qtest_check_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

char *monitor_read_until(int fd, const char *end)
{
    GString *text = g_string_new(NULL);
    char c;

    while (!g_str_has_suffix(text->str, end)) {
        if (recv(fd, &c, 1, 0) != 1) {
            qtest_fail(__FILE__, __LINE__, "waited in vain for '%s'; came: '%s'", end, text->str);
        }
        g_string_append_c(text, c);
    }
    return g_string_free(text, FALSE);
}

char *monitor_read_terminal(int fd, const char *end, unsigned n)
{
    GString *text = g_string_new(NULL);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    char c;

    while (n) {
        if (poll(&poll_fd, 1, 10000) != 1 || read(fd, &c, 1) != 1) {
            qtest_fail(__FILE__, __LINE__, "waited in vain for '%s'; came: '%s'", end, text->str);
        }
        g_string_append_c(text, c);
        n -= g_str_has_suffix(text->str, end);
    }
    return g_string_free(text, FALSE);
}

void monitor_say(int fd, const char *text)
{
    /* Where the last output ends the session, nothing can be sent any more. */
    qtest_check(!*text || send(fd, text, strlen(text), MSG_NOSIGNAL) == strlen(text));
}

void monitor_expect(int fd, const char *text, const char *end, const char *expected)
{
    g_autofree char *got = NULL;

    monitor_say(fd, text);
    got = monitor_read_until(fd, end);
    if (!strstr(got, expected)) {
        qtest_fail(__FILE__, __LINE__, "'%s' gave '%s', without '%s'", text, got, expected);
    }
}

QTest *monitor_start(const char *what, const char *name, int *fd)
{
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), name, NULL);
    QTest *q = qtest_startf(MONITOR_BOARD "-%s unix:%s,server=on,wait=off", what, path);

    *fd = monitor_connect(path);
    return q;
}

void monitor_type(int fd, const char *keys)
{
    qtest_check_eq(write(fd, keys, strlen(keys)), strlen(keys));
}
