/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON text: what is read, written and read again is equal. */
#include <stdint.h>
#include "base/keyval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) err = NULL;
    json_t *value = json_parse(text, &err);

    g_assert(!value == !!err);
    if (value) {
        g_autofree char *back = json_text(value);
        json_t *again = json_parse(back, &err);
        g_assert(again && json_equal(value, again));
        json_decref(again);
        json_decref(value);
    }
    return 0;
}
