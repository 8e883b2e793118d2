/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/nettle.h"

static Nettle nettle;
static const char *const nettle_names[] = {NETTLE_SYMBOLS(LIBRARY_NAME) NULL};
static Library nettle_library = {"libnettle.so.8", "libnettle8", nettle_names, &nettle};

const Nettle *nettle_load(GError **err)
{
    return library_load(&nettle_library, err) ? &nettle : NULL;
}
