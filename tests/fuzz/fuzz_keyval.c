/* SPDX-License-Identifier: GPL-2.0-or-later */
/* key=value text. Bits of the first byte choose 'implied', 'lists' and 'nest' of keyval_parse(). */
#include <stdint.h>
#include "base/keyval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const lists[] = {"hostfwd", "a.b", NULL};

    if (size == 0) {
        return 0;
    }
    g_autofree char *text = g_strndup((const char *)data + 1, size - 1);
    g_autoptr(GError) err = NULL;
    json_t *tree = keyval_parse(text, data[0] & 1 ? "driver" : NULL, data[0] & 2 ? lists : NULL,
                                data[0] & 4, &err);
    g_assert(!tree == !!err);
    if (tree) {
        g_autofree char *back = json_text(tree);
        g_assert(back);
        json_decref(tree);
    }
    id_check(text, NULL);
    return 0;
}
