/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's functions for user networks, in a build without libslirp. */
#include "internal.h"
#include "base/error.h"

bool net_hostfwd_add(const char *id, const char *rule, GError **err)
{
    return error_set(err, "user mode network stack not in use");
}

bool net_hostfwd_remove(const char *id, const char *rule, GError **err)
{
    return error_set(err, "user mode network stack not in use");
}

char *net_info_usernet(const char *id)
{
    return g_strdup("");
}
