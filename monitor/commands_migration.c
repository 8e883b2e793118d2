/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Migration capabilities, which tools query and set. There is no migration yet. */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "commands.h"

/* Arguments. */

const Property capabilities_args[] = {MEMBER_LIST("capabilities", PROP_TREE,
                                                  .shape = &migration_capability_result,
                                                  .help = "each with its state"),
                                      PROP_END};
const Property capability_args[] = {
    MEMBER("capability", PROP_ENUM, .names = migration_capability_names, .help = "which one"),
    MEMBER("state", PROP_BOOL, .help = "on or off"), PROP_END};

/* The only capability that can be on: events about a migration, of which there are none. */
static bool events_enabled;

/* QEMU 7.2's names. All but 'events' can only be off. */
const char *const migration_capability_names[] = {
    "xbzrle",
    "rdma-pin-all",
    "auto-converge",
    "zero-blocks",
    "compress",
    "events",
    "postcopy-ram",
    "x-colo",
    "release-ram",
    "block",
    "return-path",
    "pause-before-switchover",
    "multifd",
    "dirty-bitmaps",
    "postcopy-blocktime",
    "late-block-activate",
    "x-ignore-shared",
    "validate-uuid",
    "background-snapshot",
    "zero-copy-send",
    "postcopy-preempt",
    NULL,
};

static bool migration_may_set(const char *name, bool state, GError **err)
{
    return !state || !strcmp(name, "events") ||
           error_set(err, "migration capability '%s' is not in this program yet", name);
}

static void migration_set(const char *name, bool state)
{
    if (!strcmp(name, "events")) {
        events_enabled = state;
    }
}

/* Sets all capabilities of the list, or none. */
MONITOR_HANDLER(cmd_migrate_set_capabilities)
{
    json_t *list = json_object_get(args, "capabilities"), *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (!migration_may_set(json_str(item, "capability"),
                               json_is_true(json_object_get(item, "state")), err)) {
            return NULL;
        }
    }
    json_array_foreach(list, i, item)
    {
        migration_set(json_str(item, "capability"), json_is_true(json_object_get(item, "state")));
    }
    return json_object();
}

MONITOR_HANDLER(cmd_migrate_set_capability_hmp)
{
    const char *name = json_str(args, "capability");
    bool state = json_is_true(json_object_get(args, "state"));

    if (!migration_may_set(name, state, err)) {
        return NULL;
    }
    migration_set(name, state);
    return json_object();
}

MONITOR_HANDLER(cmd_query_migrate_capabilities)
{
    return json_pack("[{s:s,s:b}]", "capability", "events", "state", events_enabled);
}

MONITOR_PRINTER(print_migrate_capabilities)
{
    size_t i;
    json_t *item;

    json_array_foreach(result, i, item)
    {
        monitor_printf(mon, "%s: %s\n", json_str(item, "capability"),
                       json_is_true(json_object_get(item, "state")) ? "on" : "off");
    }
}
