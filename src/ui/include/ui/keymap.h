/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From characters to keys, by the keyboard layout of -k. Main loop. */
#ifndef UI_KEYMAP_H
#define UI_KEYMAP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* -k: the layout, by QEMU's name. False and *err: unknown. */
bool ui_keymap_set(const char *name, GError **err);
/* The key (KEY_*) that makes an X keysym; *shift: together with Shift. 0: there is none. */
uint16_t ui_keymap_find(uint32_t keysym, bool *shift);
/* Frees what ui_keymap_find() has loaded. */
void ui_keymap_free(void);

#endif
