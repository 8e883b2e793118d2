/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From whoever finds an image damaged, on any loop, to whoever hears of it, on the main one. */
#include "block/corruption.h"

#include "block/job.h"

static struct {
    EventLoop *loop; /* atomic */
    BlockCorruptionFn fn;
    void *user;
} handler;

typedef struct {
    char *node_name, *text;
    bool fatal;
} Corruption;

void block_set_corruption_handler(EventLoop *loop, BlockCorruptionFn fn, void *user)
{
    handler.fn = fn;
    handler.user = user;
    __atomic_store_n(&handler.loop, fn ? loop : NULL, __ATOMIC_RELEASE);
}

/* The node may be gone by now. */
static void corruption_tell(void *data)
{
    Corruption *c = data;
    BlockNode *n = block_node_find(c->node_name);
    const char *device = n ? job_device_or_node(n) : "";

    if (handler.fn) {
        handler.fn(n && device == n->opts.node_name ? "" : device, c->node_name, c->text, c->fatal,
                   handler.user);
    }
    g_free(c->node_name);
    g_free(c->text);
    g_free(c);
}

void block_node_found_corrupt(const BlockNode *n, const char *text, bool fatal)
{
    EventLoop *loop = __atomic_load_n(&handler.loop, __ATOMIC_ACQUIRE);
    Corruption *c;

    if (loop) {
        c = g_new(Corruption, 1);
        *c = (Corruption){g_strdup(n->opts.node_name), g_strdup(text), fatal};
        event_loop_call(loop, corruption_tell, c);
    }
}
