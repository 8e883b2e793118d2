/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Filter 'throttle': the requests of a node wait for their turn in a group (block/throttle.h). */
#include "block/throttle.h"
#include "base/error.h"
#include "base/util.h"
#include "drivers.h"
#include "filter.h"
#include "throttle_node.h"

typedef struct {
    json_t *file_config;
    char *group_name;
    ThrottleMember *member;
    ThrottleGroup *next; /* of a reopening, with a reference */
} ThrottleNode;

static const Property throttle_props[] = {
    {.name = "throttle-group",
     .type = PROP_STRING,
     .offset = offsetof(ThrottleNode, group_name),
     .flags = PROP_FLAG_REQUIRED | PROP_FLAG_RUNTIME,
     .help = "id of the group (-object throttle-group)"},
    FILTER_PROP_FILE(ThrottleNode, file_config),
    PROP_END,
};

static GPtrArray *throttle_nodes; /* BlockNode; main thread */

static ThrottleGroup *find_group(const char *name, GError **err)
{
    ThrottleGroup *g = throttle_group_find(name);

    if (!g) {
        error_set(err, "Throttle group '%s' does not exist", name);
    }
    return g;
}

static bool throttle_open(BlockNode *node, GError **err)
{
    ThrottleNode *s = block_node_state(node);
    ThrottleGroup *g;

    if (!filter_open(node, s->file_config, err)) {
        return false;
    }
    g = find_group(s->group_name, err); /* the child's opening has waited */
    if (!g) {
        return false;
    }
    s->member = throttle_member_new(g);
    if (node->core->drains) {
        throttle_member_lift(s->member);
    }
    if (!throttle_nodes) {
        throttle_nodes = g_ptr_array_new();
    }
    g_ptr_array_add(throttle_nodes, node);
    return true;
}

static void throttle_close(BlockNode *node)
{
    ThrottleNode *s = block_node_state(node);

    g_ptr_array_remove(throttle_nodes, node);
    if (!throttle_nodes->len) {
        g_clear_pointer(&throttle_nodes, g_ptr_array_unref);
    }
    throttle_member_unref(g_steal_pointer(&s->member));
}

/* Drained sections are not to wait for what is only held back here. */
static void throttle_drained(BlockNode *node, bool on)
{
    ThrottleNode *s = block_node_state(node);

    if (s->member) { /* else open() looks itself, or close() was before */
        (on ? throttle_member_lift : throttle_member_unlift)(s->member);
    }
}

static bool is_below(BlockNode *top, const BlockNode *n)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    g_ptr_array_add(todo, top);
    while (todo->len) {
        BlockNode *at = g_ptr_array_steal_index_fast(todo, todo->len - 1);

        if (at == n) {
            return true;
        }
        for (unsigned i = 0; g_hash_table_add(seen, at) && i < at->core->children->len; i++) {
            g_ptr_array_add(todo, ((BlockEdge *)at->core->children->pdata[i])->child);
        }
    }
    return false;
}

GPtrArray *throttle_lift_below(BlockNode *top)
{
    GPtrArray *lifted = NULL;

    for (unsigned i = 0; top && throttle_nodes && i < throttle_nodes->len; i++) {
        const ThrottleNode *s = block_node_state(throttle_nodes->pdata[i]);

        if (is_below(top, throttle_nodes->pdata[i])) {
            lifted = lifted ? lifted : g_ptr_array_new();
            g_ptr_array_add(lifted, throttle_member_ref(s->member));
            throttle_member_lift(s->member);
        }
    }
    return lifted;
}

void throttle_unlift(GPtrArray *lifted)
{
    for (unsigned i = 0; lifted && i < lifted->len; i++) {
        throttle_member_unlift(lifted->pdata[i]);
        throttle_member_unref(lifted->pdata[i]);
    }
    if (lifted) {
        g_ptr_array_unref(lifted);
    }
}

static bool coroutine_fn throttle_reopen_prepare(BlockNode *node, const BlockNodeOptions *opts,
                                                 const void *props, bool *read_only, GError **err)
{
    ThrottleNode *s = block_node_state(node);
    ThrottleGroup *g = find_group(((const ThrottleNode *)props)->group_name, err);

    if (g) {
        s->next = throttle_group_ref(g);
    }
    return g;
}

static void throttle_reopen_commit(BlockNode *node, const void *props)
{
    ThrottleNode *s = block_node_state(node);

    throttle_member_move(s->member, s->next);
    throttle_group_unref(g_steal_pointer(&s->next));
    g_free(s->group_name);
    s->group_name = g_strdup(((const ThrottleNode *)props)->group_name);
}

static void throttle_reopen_abort(BlockNode *node)
{
    ThrottleNode *s = block_node_state(node);

    throttle_group_unref(g_steal_pointer(&s->next));
}

static void coroutine_fn node_wait(BlockNode *node, bool write, uint64_t bytes)
{
    ThrottleNode *s = block_node_state(node);

    throttle_wait(s->member, write, bytes);
}

static int coroutine_fn throttle_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov)
{
    node_wait(node, false, bytes);
    return filter_preadv(node, offset, bytes, iov, niov);
}

static int coroutine_fn throttle_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov, unsigned flags)
{
    node_wait(node, true, bytes);
    return filter_pwritev(node, offset, bytes, iov, niov, flags);
}

static int coroutine_fn throttle_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                               unsigned flags)
{
    node_wait(node, true, bytes);
    return filter_pwrite_zeroes(node, offset, bytes, flags);
}

static int coroutine_fn throttle_pwrite_compressed(BlockNode *node, uint64_t offset,
                                                   const void *buf, size_t bytes)
{
    node_wait(node, true, bytes);
    return filter_pwrite_compressed(node, offset, buf, bytes);
}

static int coroutine_fn throttle_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    node_wait(node, true, bytes);
    return filter_pdiscard(node, offset, bytes);
}

const BlockDriver block_driver_throttle = {
    .name = "throttle",
    .help = "limits how much passes in a second",
    .size = sizeof(ThrottleNode),
    .props = throttle_props,
    FILTER_COMMON,
    .open = throttle_open,
    .close = throttle_close,
    .drained = throttle_drained,
    .reopen_prepare = throttle_reopen_prepare,
    .reopen_commit = throttle_reopen_commit,
    .reopen_abort = throttle_reopen_abort,
    .preadv = throttle_preadv,
    .pwritev = throttle_pwritev,
    .pwrite_zeroes = throttle_pwrite_zeroes,
    .pwrite_compressed = throttle_pwrite_compressed,
    .pdiscard = throttle_pdiscard,
};
