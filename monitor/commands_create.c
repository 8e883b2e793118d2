/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs that make and change images: blockdev-create, x-blockdev-amend. In QEMU's words. */
#include "base/json.h"
#include "block/create_job.h"
#include "commands.h"

MONITOR_HANDLER(cmd_blockdev_create)
{
    return block_create_start(json_str(args, "job-id"), json_object_get(args, "options"), err)
               ? json_object()
               : NULL;
}

MONITOR_HANDLER(cmd_blockdev_amend)
{
    return block_amend_start(json_str(args, "job-id"), json_str(args, "node-name"),
                             json_object_get(args, "options"),
                             json_is_true(json_object_get(args, "force")), err)
               ? json_object()
               : NULL;
}

const Property blockdev_create_args[] = {
    MEMBER("job-id", PROP_STRING, .help = "the job's name"),
    MEMBER("options", PROP_TREE, .shape = &block_create_shape, .help = "of the new image"),
    PROP_END};
const Property blockdev_amend_args[] = {
    MEMBER("job-id", PROP_STRING, .help = "the job's name"),
    MEMBER("node-name", PROP_STRING, .help = "the image"),
    MEMBER("options", PROP_TREE, .shape = &block_amend_shape, .help = "what is changed"),
    MAYBE("force", PROP_BOOL, .help = "also what may lose the last key"), PROP_END};
