/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "slirp_lib.h"
#include <stdbool.h>
#include "base/host.h"
#include "base/util.h"

const SlirpLib *slirp_lib(GError **err)
{
    static const char *const names[] = {
#define F(name) #name,
        SLIRP_FUNCTIONS(F)
#undef F
            NULL,
    };
    static SlirpLib lib;
    static bool loaded;
    void *symbols[ARRAY_SIZE(names)];

    G_STATIC_ASSERT(sizeof lib == (ARRAY_SIZE(names) - 1) * sizeof(void *));
    if (!loaded) {
        if (!host_load_library("libslirp.so.0", "libslirp0", names, symbols, err)) {
            return NULL;
        }
        /* POSIX: a pointer from dlsym() may be kept as a function pointer. */
        memcpy(&lib, symbols, sizeof lib);
        loaded = true;
    }
    return &lib;
}
