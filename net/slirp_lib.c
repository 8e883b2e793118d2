/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "slirp_lib.h"

const SlirpLib *slirp_lib(GError **err)
{
    static const char *const names[] = {SLIRP_FUNCTIONS(LIBRARY_NAME) NULL};
    static SlirpLib functions;
    static Library library = {"libslirp.so.0", "libslirp0", names, &functions};

    return library_load(&library, err) ? &functions : NULL;
}
