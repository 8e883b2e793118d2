/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ps2_client.h"

QTest *ps2_start(const char *options)
{
    QTest *q = qtest_startf("-machine pc -m 64 -nodefaults %s", options);

    qtest_irq_intercept_in(q, "ioapic");
    return q;
}

void ps2_command(QTest *q, uint8_t v)
{
    qtest_outb(q, PS2_STATUS, v);
}

void ps2_mode(QTest *q, uint8_t mode)
{
    ps2_command(q, 0x60);
    qtest_outb(q, PS2_DATA, mode);
}

void ps2_kbd(QTest *q, uint8_t v)
{
    qtest_outb(q, PS2_DATA, v);
}

void ps2_mouse(QTest *q, uint8_t v)
{
    ps2_command(q, 0xd4);
    qtest_outb(q, PS2_DATA, v);
}

char *ps2_read(QTest *q)
{
    GString *got = g_string_new(NULL);

    for (unsigned idle = 0; idle < 2;) {
        uint8_t status = qtest_inb(q, PS2_STATUS);

        if (status & PS2_OBF) {
            g_string_append_printf(got, "%s%s%02x", got->len ? " " : "",
                                   status & PS2_AUX_OBF ? "m" : "", qtest_inb(q, PS2_DATA));
            idle = 0;
        } else {
            qtest_clock_step(q, 1000 * 1000);
            idle++;
        }
    }
    return g_string_free(got, FALSE);
}

void ps2_expect_(QTest *q, const char *want, const char *file, int line)
{
    g_autofree char *got = ps2_read(q);

    if (strcmp(got, want)) {
        qtest_fail(file, line, "the controller gives '%s', not '%s'", got, want);
    }
}

void ps2_arrived(QTest *q)
{
    /* Events are delivered by a callback of the main loop, which has turned by then. */
    json_decref(qtest_qmp(q, "query-status", NULL));
}

static void ps2_event(QTest *q, const char *type, json_t *data)
{
    json_decref(
        qtest_qmp(q, "input-send-event", "{s:[{s:s, s:o}]}", "events", "type", type, "data", data));
    ps2_arrived(q);
}

void ps2_key(QTest *q, const char *name, bool down)
{
    ps2_event(q, "key",
              json_pack("{s:b, s:{s:s, s:s}}", "down", down, "key", "type", "qcode", "data", name));
}

void ps2_button(QTest *q, const char *name, bool down)
{
    ps2_event(q, "btn", json_pack("{s:b, s:s}", "down", down, "button", name));
}

void ps2_move(QTest *q, int dx, int dy)
{
    json_decref(qtest_qmp(q, "input-send-event", "{s:[{s:s, s:{s:s, s:i}}, {s:s, s:{s:s, s:i}}]}",
                          "events", "type", "rel", "data", "axis", "x", "value", dx, "type", "rel",
                          "data", "axis", "y", "value", dy));
    ps2_arrived(q);
}
