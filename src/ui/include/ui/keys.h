/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys. Everywhere between a viewer and a device a key is its Linux code (KEY_* of
 * linux/input-event-codes.h). This is the one table of their names and of what devices and
 * protocols call them. Constant, any thread.
 */
#ifndef UI_KEYS_H
#define UI_KEYS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint16_t code;    /* KEY_*; 0 for the name "unmapped" */
    const char *name; /* QEMU's QKeyCode: "ctrl", "ret", "kp_0" */
    /*
     * Scan codes of the PS/2 keyboard (IBM PS/2 Technical Reference, Keyboard): 0xe0XX with prefix,
     * 0: none. Of Pause and Print Screen sets 1 and 2 have the codes that they give with Ctrl and
     * with Alt; the sequences that they give otherwise are the keyboard's own business.
     */
    uint16_t set1, set2;
    uint8_t set3;
    uint8_t hid; /* usage on page 7 (USB HID Usage Tables, 10); 0: none */
} UiKey;

/*
 * Ends with a name of NULL. In the order of QEMU's enumeration, for schema and completion. Two keys
 * have two names each: "print" is "sysrq", "asterisk" is "kp_multiply".
 */
extern const UiKey ui_keys[];
extern const char *const ui_key_names[]; /* the names alone; ends with NULL */

const UiKey *ui_key_find(const char *name); /* NULL: there is none */
const UiKey *ui_key_of_code(unsigned code); /* NULL: not in the table. The first of two names */
/*
 * By the key number that VNC's extended key event and QMP's {"type": "number"} carry: scan code
 * set 1, with bit 7 set where the prefix is 0xe0.
 */
const UiKey *ui_key_of_number(unsigned number);
unsigned ui_key_number(const UiKey *key); /* 0: it has none */

#endif
