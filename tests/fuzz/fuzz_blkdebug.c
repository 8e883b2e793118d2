/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rules of 'blkdebug', as a configuration file, or as its options where the input begins with '{':
 * they are read or refused, and then every event comes twice, with requests between.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "../../block/drivers/blkdebug.h"
#include "base/error.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int coroutine_fn use_rules(void *data)
{
    BlkdebugRules *r = data;

    for (unsigned i = 0; i < 2 * BLOCK_DEBUG_EVENT_COUNT; i++) {
        uint64_t off = i % 8 * BLOCK_SECTOR_SIZE;

        blkdebug_rules_event(r, i % BLOCK_DEBUG_EVENT_COUNT);
        g_assert_cmpint(blkdebug_rules_check(r, off, BLOCK_SECTOR_SIZE, i % 6), <=, 0);
        g_assert_cmpint(blkdebug_rules_check(r, INT64_MAX - 511, 511, i % 6), <=, 0);
    }
    return 0;
}

static bool read_options(BlkdebugRules *r, const char *text, GError **err)
{
    json_auto_t *tree = json_parse(text, err);

    return tree &&
           blkdebug_rules_add(r, BLKDEBUG_INJECT, json_object_get(tree, "inject-error"), err) &&
           blkdebug_rules_add(r, BLKDEBUG_SET_STATE, json_object_get(tree, "set-state"), err);
}

static bool read_file(BlkdebugRules *r, const uint8_t *data, size_t size, GError **err)
{
    int fd = memfd_create("rules", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    bool ok;

    g_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    ok = blkdebug_rules_read(r, path, err);
    close(fd);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static EventLoop *loop;
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) err = NULL;
    BlkdebugRules rules = {0};
    bool ok;

    if (!loop) {
        loop = event_loop_new("fuzz", NULL);
        event_loop_bind(loop);
    }
    blkdebug_rules_init(&rules);
    ok = *text == '{' ? read_options(&rules, text, &err) : read_file(&rules, data, size, &err);
    g_assert(!ok == !!err);
    block_run(use_rules, &rules);
    blkdebug_rules_destroy(&rules);
    return 0;
}
