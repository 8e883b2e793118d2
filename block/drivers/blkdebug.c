/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter 'blkdebug': makes requests fail or wait, and the image below look like one with other
 * limits. For tests.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "blkdebug.h"
#include "../open.h"
#include "drivers.h"
#include "filter.h"

typedef struct {
    json_t *image_config, *inject, *set_state, *take, *unshare;
    char *config;
    uint64_t align, max_transfer, opt_write_zero, max_write_zero, opt_discard, max_discard;
    unsigned taken, unshared; /* BLOCK_PERM_* */
    BlkdebugRules rules;
    bool open;
} Blkdebug;

static const Property perm_list = {.name = "perms", .type = PROP_ENUM, .names = block_perm_names};

#define BLKDEBUG_LIST(n, f, shape_, h)                                                             \
    {                                                                                              \
        .name = (n), .type = PROP_TREE, .offset = offsetof(Blkdebug, f), .flags = PROP_FLAG_LIST,  \
        .shape = (shape_), .help = (h)                                                             \
    }

static const Property blkdebug_props[] = {
    {.name = "image",
     .type = PROP_TREE,
     .offset = offsetof(Blkdebug, image_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "the node below"},
    PROP("config", PROP_STRING, Blkdebug, config, NULL, "file of rules"),
    PROP("align", PROP_SIZE, Blkdebug, align, "0", "alignment of requests that is asked for"),
    PROP("max-transfer", PROP_SIZE, Blkdebug, max_transfer, "0", "longest read or write"),
    PROP("opt-write-zero", PROP_SIZE, Blkdebug, opt_write_zero, "0",
         "unit of write-zeroes; parts of units are written as data"),
    PROP("max-write-zero", PROP_SIZE, Blkdebug, max_write_zero, "0", "longest write-zeroes"),
    PROP("opt-discard", PROP_SIZE, Blkdebug, opt_discard, "0",
         "unit of discards; parts of units are not discarded"),
    PROP("max-discard", PROP_SIZE, Blkdebug, max_discard, "0", "longest discard"),
    BLKDEBUG_LIST("inject-error", inject, &blkdebug_inject_shape, "rules by which requests fail"),
    BLKDEBUG_LIST("set-state", set_state, &blkdebug_set_state_shape,
                  "rules by which the state changes"),
    {.name = "take-child-perms",
     .type = PROP_STRING_LIST,
     .offset = offsetof(Blkdebug, take),
     .names = block_perm_names,
     .help = "permissions that are taken as well"},
    {.name = "unshare-child-perms",
     .type = PROP_STRING_LIST,
     .offset = offsetof(Blkdebug, unshare),
     .names = block_perm_names,
     .help = "permissions that others may not have"},
    PROP_END,
};

static bool parse_perms(const char *name, json_t *list, unsigned *perms, GError **err)
{
    json_t *word;
    size_t i;

    json_array_foreach(list, i, word)
    {
        int bit;

        if (!property_set(&perm_list, &bit, word, name, err)) {
            return false;
        }
        *perms |= 1u << bit;
    }
    return true;
}

static bool check_limit(const char *name, uint64_t value, uint64_t unit, GError **err)
{
    if (value && (value >= INT_MAX || value % unit)) {
        return error_set(err, "Cannot meet constraints with %s %" PRIu64, name, value);
    }
    return true;
}

static void blkdebug_child_changed(BlockNode *node)
{
    const Blkdebug *s = block_node_state(node);

    node->request_alignment = MAX(s->align, node->file->request_alignment);
    node->memory_alignment = node->file->memory_alignment;
}

static bool check_limits(BlockNode *node, GError **err)
{
    const Blkdebug *s = block_node_state(node);
    uint64_t align = MAX(s->align, node->file->request_alignment);

    if (align >= INT_MAX || align & (align - 1)) {
        return error_set(err, "Cannot meet constraints with align %" PRIu64, align);
    }
    return check_limit("max-transfer", s->max_transfer, align, err) &&
           check_limit("opt-write-zero", s->opt_write_zero, align, err) &&
           check_limit("max-write-zero", s->max_write_zero, MAX(s->opt_write_zero, align), err) &&
           check_limit("opt-discard", s->opt_discard, align, err) &&
           check_limit("max-discard", s->max_discard, MAX(s->opt_discard, align), err);
}

static bool blkdebug_rules_open(Blkdebug *s, GError **err)
{
    return (!s->config || !*s->config || blkdebug_rules_read(&s->rules, s->config, err)) &&
           blkdebug_rules_add(&s->rules, BLKDEBUG_INJECT, s->inject, err) &&
           blkdebug_rules_add(&s->rules, BLKDEBUG_SET_STATE, s->set_state, err);
}

static bool blkdebug_open(BlockNode *node, GError **err)
{
    Blkdebug *s = block_node_state(node);

    if (!parse_perms("take-child-perms", s->take, &s->taken, err) ||
        !parse_perms("unshare-child-perms", s->unshare, &s->unshared, err)) {
        return false;
    }
    blkdebug_rules_init(&s->rules);
    if (!blkdebug_rules_open(s, err) ||
        !block_open_child(node, "image", BLOCK_ROLE_FILTERED, s->image_config, &node->file, err) ||
        !check_limits(node, err)) {
        blkdebug_rules_destroy(&s->rules);
        return false;
    }
    blkdebug_child_changed(node);
    node->filename = g_strdup_printf("blkdebug:%s:%s", s->config ? s->config : "",
                                     node->file->filename ? node->file->filename : "");
    return true;
}

/* Rules for no event are there from the beginning. */
static bool coroutine_fn blkdebug_opened(BlockNode *node, GError **err)
{
    Blkdebug *s = block_node_state(node);

    blkdebug_rules_event(&s->rules, BLOCK_DEBUG_NONE);
    return true;
}

static void blkdebug_close(BlockNode *node)
{
    Blkdebug *s = block_node_state(node);

    blkdebug_rules_destroy(&s->rules);
}

static BlockPerms blkdebug_child_perms(BlockNode *node, const BlockEdge *edge, BlockPerms users)
{
    const Blkdebug *s = block_node_state(node);

    return (BlockPerms){users.needs | s->taken,
                        (users.shares | BLOCK_PERM_WRITE_UNCHANGED) & ~s->unshared};
}

static void coroutine_fn blkdebug_event(BlockNode *node, unsigned event)
{
    Blkdebug *s = block_node_state(node);

    blkdebug_rules_event(&s->rules, event);
}

/* One piece of a read or write, or its error. */
static int coroutine_fn transfer_piece(BlockNode *node, bool write, uint64_t offset, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov, unsigned flags)
{
    Blkdebug *s = block_node_state(node);
    int ret =
        blkdebug_rules_check(&s->rules, offset, bytes, write ? BLKDEBUG_WRITE : BLKDEBUG_READ);

    if (ret < 0) {
        return ret;
    }
    return write ? block_pwritev(node->file, offset, bytes, iov, niov, flags)
                 : block_preadv(node->file, offset, bytes, iov, niov);
}

static int coroutine_fn transfer(BlockNode *node, bool write, uint64_t offset, uint64_t bytes,
                                 const struct iovec *iov, unsigned niov, unsigned flags)
{
    Blkdebug *s = block_node_state(node);
    g_autofree struct iovec *part = NULL;
    int ret = 0;

    if (!s->max_transfer || bytes <= s->max_transfer) {
        return transfer_piece(node, write, offset, bytes, iov, niov, flags);
    }
    part = g_new(struct iovec, niov);
    for (uint64_t done = 0, len; ret == 0 && done < bytes; done += len) {
        unsigned n;

        len = MIN(bytes - done, s->max_transfer);
        n = iov_slice(part, niov, iov, niov, done, len);
        ret = transfer_piece(node, write, offset + done, len, part, n, flags);
    }
    return ret;
}

static int coroutine_fn blkdebug_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov)
{
    return transfer(node, false, offset, bytes, iov, niov, 0);
}

static int coroutine_fn blkdebug_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov, unsigned flags)
{
    return transfer(node, true, offset, bytes, iov, niov, flags);
}

/* Zeroes that are no whole unit. */
static int coroutine_fn zeroes_as_data(BlockNode *node, uint64_t offset, uint64_t bytes,
                                       unsigned flags)
{
    block_auto_buffer void *buf = block_buffer_new(node, bytes);
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};

    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, bytes);
    return transfer(node, true, offset, bytes, &iov, 1, flags & ~BLOCK_REQ_MAY_UNMAP);
}

static int coroutine_fn blkdebug_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                               unsigned flags)
{
    Blkdebug *s = block_node_state(node);
    const uint64_t unit = MAX(s->opt_write_zero, node->request_alignment), end = offset + bytes;
    int ret = 0;

    while (ret == 0 && offset < end) {
        uint64_t whole = ROUND_DOWN(end, unit), len;

        if (offset % unit || whole <= offset) {
            len = MIN(end - offset, unit - offset % unit);
            ret =
                flags & BLOCK_REQ_NO_FALLBACK ? -ENOTSUP : zeroes_as_data(node, offset, len, flags);
        } else {
            len = MIN(whole - offset, s->max_write_zero ? s->max_write_zero : UINT64_MAX);
            ret = blkdebug_rules_check(&s->rules, offset, len, BLKDEBUG_WRITE_ZEROES);
            ret = ret < 0 ? ret : block_pwrite_zeroes(node->file, offset, len, flags);
        }
        offset += len;
    }
    return ret;
}

static int coroutine_fn blkdebug_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    Blkdebug *s = block_node_state(node);
    const uint64_t unit = MAX(s->opt_discard, node->request_alignment);
    const uint64_t end = ROUND_DOWN(offset + bytes, unit);
    int ret = 0;

    offset += (unit - offset % unit) % unit;
    for (uint64_t len; ret == 0 && offset < end; offset += len) {
        len = MIN(end - offset, s->max_discard ? s->max_discard : UINT64_MAX);
        ret = blkdebug_rules_check(&s->rules, offset, len, BLKDEBUG_DISCARD);
        ret = ret < 0 ? ret : block_pdiscard(node->file, offset, len);
    }
    return ret;
}

static int coroutine_fn blkdebug_flush(BlockNode *node)
{
    Blkdebug *s = block_node_state(node);
    int ret = blkdebug_rules_check(&s->rules, 0, 0, BLKDEBUG_FLUSH);

    return ret < 0 ? ret : block_flush(node->file);
}

static int coroutine_fn blkdebug_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                              uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    Blkdebug *s = block_node_state(node);
    int ret = blkdebug_rules_check(&s->rules, offset, bytes, BLKDEBUG_BLOCK_STATUS);

    return ret < 0 ? ret : block_status_here(node->file, offset, bytes, pnum, map, file);
}

/* "blkdebug:CONFIG:IMAGE", where the first part may be empty. */
static json_t *blkdebug_parse_filename(const char *filename, GError **err)
{
    const char *rest = strchr(filename, ':') + 1, *colon = strchr(rest, ':');
    json_t *image, *node;

    if (!colon) {
        error_set(err, "blkdebug requires both config file and image path");
        return NULL;
    }
    image = block_protocol_config(colon + 1, err);
    if (!image) {
        return NULL;
    }
    node = json_pack("{s:s,s:o}", "driver", "blkdebug", "image", image);
    if (colon != rest) {
        g_autofree char *config = g_strndup(rest, colon - rest);
        json_object_set_new(node, "config", json_string_nocheck(config));
    }
    return node;
}

const BlockDriver block_driver_blkdebug = {
    .name = "blkdebug",
    .protocols = "blkdebug",
    .parse_filename = blkdebug_parse_filename,
    .help = "makes requests fail or wait, for tests",
    .size = sizeof(Blkdebug),
    .props = blkdebug_props,
    .is_filter = true,
    .open = blkdebug_open,
    .opened = blkdebug_opened,
    .close = blkdebug_close,
    .child_changed = blkdebug_child_changed,
    .child_perms = blkdebug_child_perms,
    .debug_event = blkdebug_event,
    .preadv = blkdebug_preadv,
    .pwritev = blkdebug_pwritev,
    .pwrite_zeroes = blkdebug_pwrite_zeroes,
    .pdiscard = blkdebug_pdiscard,
    .flush = blkdebug_flush,
    .block_status = blkdebug_block_status,
    .truncate = filter_truncate,
    .info = filter_info,
};

/* The rules of the first blkdebug at or below 'n'; NULL: there is none. */
static BlkdebugRules *rules_below(BlockNode *n)
{
    while (n && n->driver != &block_driver_blkdebug) {
        n = n->file;
    }
    return n ? &((Blkdebug *)block_node_state(n))->rules : NULL;
}

int block_debug_break(BlockNode *n, const char *event, const char *tag)
{
    BlkdebugRules *r = rules_below(n);

    return r ? blkdebug_rules_break(r, event, tag) : -ENOTSUP;
}

int block_debug_remove_break(BlockNode *n, const char *tag)
{
    BlkdebugRules *r = rules_below(n);

    return r ? blkdebug_rules_remove_break(r, tag) : -ENOTSUP;
}

int block_debug_resume(BlockNode *n, const char *tag)
{
    BlkdebugRules *r = rules_below(n);

    return r ? blkdebug_rules_resume(r, tag) : -ENOTSUP;
}

int coroutine_fn block_debug_wait(BlockNode *n, const char *tag)
{
    BlkdebugRules *r = rules_below(n);

    return r ? blkdebug_rules_wait(r, tag) : -ENOTSUP;
}
