/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arguments and results against the table of commands. */
#include "internal.h"

bool monitor_check_args(const MonitorCommand *cmd, json_t *args, GError **err)
{
    PropertyShape plain = {.members = cmd->args};

    return shape_check(cmd->args_shape ? cmd->args_shape : &plain, args, NULL, err);
}

void monitor_check_result(const MonitorCommand *cmd, json_t *result)
{
#ifdef VMM_CHECK_REPLIES
    static const PropertyShape empty = {.name = "empty"};
    g_autoptr(GError) err = NULL;

    if (cmd->result ? !shape_check_value(cmd->result, result, NULL, &err)
                    : !shape_check(&empty, result, NULL, &err)) {
        g_error("the result of %s is not as the table of commands says: %s", cmd->name,
                err->message);
    }
#endif
}
