/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client library of the device tests: QMP. */
#include "qtest_client.h"

#include <stdarg.h>
#include <string.h>

#include "qtest_private.h"

/* QMP. */

static json_t *qmp_receive(QTest *q, int timeout_ms)
{
    g_autofree char *line = qtest_wire_line(q, &q->qmp, timeout_ms);
    if (!line) {
        return NULL;
    }
    qtest_trail(q, "Q<", line);
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
    qtest_trail(q, "Q>", text);
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);
    qtest_wire_send(q, &q->qmp, line, strlen(line));
    return qmp_reply(q);
}

/* At the start, as no event is told before it. */
void qtest_qmp_handshake(QTest *q)
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
