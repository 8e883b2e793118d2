/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of the keyboard controller, the keyboard and the mouse. */
#ifndef TESTS_PS2_CLIENT_H
#define TESTS_PS2_CLIENT_H

#include "qtest_client.h"

enum {
    PS2_DATA = 0x60,
    PS2_STATUS = 0x64,
    PS2_OBF = 0x01,
    PS2_SYS = 0x04,
    PS2_AUX_OBF = 0x20,
    /* The command byte. */
    PS2_KBD_INT = 0x01,
    PS2_AUX_INT = 0x02,
    PS2_DISABLE_KBD = 0x10,
    PS2_DISABLE_AUX = 0x20,
    PS2_XLATE = 0x40,
};

QTest *ps2_start(const char *options); /* interrupts are intercepted */
void ps2_command(QTest *q, uint8_t v); /* to the controller */
void ps2_mode(QTest *q, uint8_t mode); /* the command byte */
void ps2_kbd(QTest *q, uint8_t v);     /* to the keyboard */
void ps2_mouse(QTest *q, uint8_t v);
/* All bytes that come, those of the mouse with an 'm': "fa m08"; caller frees. Time passes. */
char *ps2_read(QTest *q);
void ps2_expect_(QTest *q, const char *want, const char *file, int line);
#define ps2_expect(q, want) ps2_expect_(q, want, __FILE__, __LINE__)
/* Host's input; it has arrived when these return. */
void ps2_key(QTest *q, const char *name, bool down);
void ps2_move(QTest *q, int dx, int dy);
void ps2_button(QTest *q, const char *name, bool down); /* "left", "wheel-up", ... */
void ps2_arrived(QTest *q);

#endif
