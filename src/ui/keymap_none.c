/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of keymap.c, in a build without libxkbcommon. */
#include "base/error.h"
#include "ui/keymap.h"

bool ui_keymap_set(const char *name, GError **err)
{
    return error_set(err, "-k %s: this program was built without libxkbcommon", name);
}

uint16_t ui_keymap_find(uint32_t keysym, bool *shift)
{
    return 0;
}

void ui_keymap_free(void)
{
}
