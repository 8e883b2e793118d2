/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The image that guest memory is mapped from (ram_mapped.h): a user of the block graph, which lets
 * go of the image once every page is private.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "ram_mapped.h"
#include "run_state.h"

/* So much is made private in one moment in which the machine stands still. */
enum { PIECE = 32 * MiB };

typedef struct RamImage {
    Vm *vm;
    BlockEdge *user; /* NULL: nothing is mapped */
    char *snapshot_id, *disk;
    char *name;          /* of both, for messages; of the last image */
    unsigned serial;     /* counts the loads */
    BottomHalf alone;    /* nobody else uses the image */
    unsigned completing; /* coroutines in ram_image_complete() */
    CoQueue completed;   /* for the end of that */
} RamImage;

static RamImage *image_of(Vm *vm)
{
    RamImage *r = vm->memory->image;

    return r && r->user ? r : NULL;
}

/* The user of the graph. */

static char *image_describe(BlockEdge *e)
{
    RamImage *r = e->parent;

    return g_strdup_printf("the guest's memory, of which pages are in the snapshot '%s' yet",
                           r->snapshot_id);
}

static bool coroutine_fn image_let_go(BlockEdge *e, GError **err)
{
    return ram_image_complete(((RamImage *)e->parent)->vm, err);
}

static void image_left_alone(BlockEdge *e)
{
    bh_schedule(&((RamImage *)e->parent)->alone);
}

static bool image_needs_snapshot(BlockEdge *e, const char *id)
{
    return g_str_equal(((RamImage *)e->parent)->snapshot_id, id);
}

static const BlockParentClass ram_image_class = {
    .describe = image_describe,
    .stays = true,
    .let_go = image_let_go,
    .left_alone = image_left_alone,
    .needs_snapshot = image_needs_snapshot,
};

static void coroutine_fn complete_alone(void *data)
{
    g_autoptr(GError) err = NULL;

    if (!ram_image_complete(data, &err) && !vm_exiting(data)) {
        log_warn("%s: the image stays open", err->message);
    }
}

static void image_alone_bh(void *data)
{
    coroutine_start(complete_alone, ((RamImage *)data)->vm);
}

static void image_drop(RamImage *r)
{
    bh_cancel(&r->alone);
    block_vmstate_release(g_steal_pointer(&r->user));
    g_clear_pointer(&r->snapshot_id, g_free);
    g_clear_pointer(&r->disk, g_free);
}

/* At the end of the program nobody completes any more, and the guest does not run. */
static void coroutine_fn image_shutdown(void *data)
{
    RamImage *r = ((Vm *)data)->memory->image;

    while (r->completing) {
        co_queue_wait(&r->completed, NULL);
    }
    image_drop(r);
}

static RamImage *image_make(Vm *vm, GError **err)
{
    RamImage *r = vm->memory->image;

    if (!r && ram_fault_watch(vm, err)) {
        r = g_new0(RamImage, 1);
        r->vm = vm;
        bh_init(&r->alone, vm->loop, image_alone_bh, r);
        co_queue_init(&r->completed);
        vm_notifier_add(vm, VM_NOTIFY_SHUTDOWN, image_shutdown, vm);
        vm->memory->image = r;
    }
    return r;
}

void ram_image_free(Vm *vm)
{
    RamImage *r = g_steal_pointer(&vm->memory->image);

    if (r) {
        image_drop(r);
        co_queue_destroy(&r->completed);
        g_free(r->name);
        g_free(r);
        ram_fault_unwatch(vm);
    }
}

static bool any_mapped(Vm *vm)
{
    uint64_t start, len;

    for (const RamBlock *b = vm->memory->blocks; b; b = b->next) {
        start = 0;
        if (ram_next_mapped(b, &start, &len, 1)) {
            return true;
        }
    }
    return false;
}

void coroutine_fn ram_image_settle(Vm *vm)
{
    if (image_of(vm) && !any_mapped(vm)) {
        image_drop(image_of(vm));
    }
}

bool coroutine_fn ram_image_forget(Vm *vm, GError **err)
{
    for (RamBlock *b = vm->memory->blocks; b; b = b->next) {
        uint64_t start = 0, len;

        if (!ram_next_mapped(b, &start, &len, 1)) {
            continue;
        }
        if (!ram_make_anonymous(b, 0, b->size)) {
            return error_set_errno(err, errno, "cannot map memory '%s' anew", b->name);
        }
        memory_mark_dirty(vm, b, 0, b->size);
    }
    if (image_of(vm)) {
        image_drop(image_of(vm));
    }
    ram_fault_forget();
    return true;
}

int coroutine_fn ram_image_begin(Vm *vm, BlockNode *n, const char *snapshot_id, const char *disk,
                                 GError **err)
{
    RamImage *r;
    int fd;

    g_assert(!image_of(vm));
    fd = block_vmstate_open(n, err);
    r = fd >= 0 ? image_make(vm, err) : NULL;
    if (!r) {
        fd_close(&fd);
        return -1;
    }
    r->snapshot_id = g_strdup(snapshot_id);
    r->disk = g_strdup(disk);
    g_free(r->name);
    r->name = g_strdup_printf("disk '%s' (%s)", disk, n->filename ? n->filename : "");
    r->serial++;
    r->user = block_vmstate_hold(n, &ram_image_class, r, err);
    if (!r->user) {
        image_drop(r);
        fd_close(&fd);
    }
    return fd;
}

const char *ram_image_name(Vm *vm)
{
    RamImage *r = vm->memory->image;

    return r && r->name ? r->name : "a snapshot";
}

const char *ram_image_disk(Vm *vm)
{
    RamImage *r = image_of(vm);

    return r ? r->disk : "";
}

const char *ram_image_node(Vm *vm)
{
    RamImage *r = image_of(vm);

    return r ? r->user->child->opts.node_name : "";
}

bool ram_image_is_of(Vm *vm, const char *snapshot_name)
{
    RamImage *r = image_of(vm);
    json_auto_t *found =
        r ? block_snapshot_find(r->user->child, r->snapshot_id, snapshot_name) : NULL;

    return found;
}

bool ram_not_lost(GError **err)
{
    return !ram_is_lost() ||
           error_set(err, "a part of the guest's memory is lost: it could not be read from the "
                          "snapshot's image");
}

/* Completing. */

typedef struct {
    RamBlock *block;
    uint64_t offset, len;
} Piece;

/* The first piece at or behind block 'b' (NULL: the first block) and its 'offset'. */
static bool next_piece(Vm *vm, Piece *p)
{
    for (RamBlock *b = vm->memory->blocks; b; b = b->next) {
        *p = (Piece){.block = b};
        if (ram_next_mapped(b, &p->offset, &p->len, PIECE)) {
            return true;
        }
    }
    return false;
}

/* Reads the piece's pages into the page cache, where the kernel can; else they are read later. */
static int piece_read(void *data)
{
    const Piece *p = data;

    return madvise(p->block->host + p->offset, p->len, MADV_POPULATE_READ) && errno != EINVAL
               ? -errno
               : 0;
}

static bool coroutine_fn piece_present(Piece *p, const RamImage *r, GError **err)
{
    return !co_pool_run(piece_read, p) ||
           error_set(err,
                     "Memory that is still in the image of '%s' cannot be read (%" G_GUINT64_FORMAT
                     " bytes of '%s' at %#" G_GINT64_MODIFIER "x)",
                     r->disk, p->len, p->block->name, p->offset);
}

static bool piece_make_private(const Piece *p, GError **err)
{
    if (!ram_make_private(p->block, p->offset, p->len)) {
        return error_set_errno(err, errno, "Cannot map memory '%s' anew", p->block->name);
    }
    return ram_not_lost(err);
}

bool coroutine_fn ram_image_complete_held(Vm *vm, GError **err)
{
    Piece p;

    while (image_of(vm) && next_piece(vm, &p)) {
        if (!piece_present(&p, image_of(vm), err) || !piece_make_private(&p, err)) {
            return false;
        }
    }
    ram_image_settle(vm);
    return true;
}

/* One piece of the image. *more: there may be others. */
static bool coroutine_fn complete_piece(Vm *vm, unsigned serial, bool *more, GError **err)
{
    RamImage *r = image_of(vm);
    Piece p;
    bool ok = true;

    *more = r && r->serial == serial && !vm_exiting(vm);
    if (*more && next_piece(vm, &p)) {
        ok = piece_present(&p, r, err);
    }
    if (*more && ok) {
        run_control_still_begin(vm);
        /* The waits: another load may have come. */
        r = image_of(vm);
        if (r && r->serial == serial && next_piece(vm, &p)) {
            ok = piece_present(&p, r, err) && piece_make_private(&p, err);
        }
        if (ok && r && r->serial == serial) {
            ram_image_settle(vm);
        }
        run_control_still_end(vm);
    }
    return ok;
}

bool coroutine_fn ram_image_complete(Vm *vm, GError **err)
{
    RamImage *r = image_of(vm);
    unsigned serial = r ? r->serial : 0;
    bool ok = true;

    if (r) {
        r->completing++;
        for (bool more = true; ok && more;) {
            ok = complete_piece(vm, serial, &more, err);
        }
        r->completing--;
        co_queue_wake_all(&r->completed);
        /* Those who wait for the image to be let go of would ask again, for ever. */
        if (ok && vm_exiting(vm) && image_of(vm)) {
            ok = error_set(err, "the virtual machine is being shut down");
        }
    }
    return ok;
}
