/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block exports: nodes that somebody outside the program uses. An export has a type (a table, as
 * drivers have), an id, and an edge to its node, which moves as those of disks do when the graph
 * changes.
 *
 * Threads: exports are made, found and deleted on the main loop. Requests come on the export's own
 * loop, each between block_export_enter() and block_export_leave(); a drained section of the node
 * holds them there.
 */
#ifndef BLOCK_EXPORT_H
#define BLOCK_EXPORT_H

#include "base/wait_list.h"
#include "block/backend.h"
#include "block/graph.h"
#include "block/node.h"

typedef struct BlockExport BlockExport;

typedef struct {
    const char *name, *help;
    size_t size;           /* of the struct that embeds BlockExport first */
    const Property *props; /* of the type's own options; filled before open() */
    /* The node is attached. 'exp' can be found by others when this has succeeded. */
    bool (*open)(BlockExport *exp, GError **err);
    /* No new users are let in, and those that there are are sent away. Does not wait. */
    void (*close)(BlockExport *exp);
    /* The last user has gone. Does not yield. May be NULL. */
    void (*free)(BlockExport *exp);
} BlockExportClass;

extern const BlockExportClass block_export_nbd;
/* All types (block/export/export.c), NULL-terminated. */
const BlockExportClass *const *block_export_classes(void);

struct BlockExport {
    const BlockExportClass *class;
    char *id;
    BlockNode *node; /* may be another one after a drained section */
    EventLoop *loop; /* on which requests come */
    bool writable;
    bool writethrough; /* a write is complete when it is on stable storage */
    /* Private to export.c. */
    BlockEdge *edge;
    unsigned refs; /* main thread: the table's, and one for each user */
    bool closing;
    const BlockBackend *medium_of;   /* with whose medium it goes; NULL: with none. Not followed */
    void (*loop_unused)(void *data); /* may be NULL */
    void *loop_data;
    unsigned in_flight, quiesce; /* atomic */
    WaitList released;           /* until quiesce is 0 */
};

/*
 * QAPI's BlockExportOptions: "type", "id", "node-name", "writable", "writethrough", and those of
 * the type. 'iothread' and 'fixed-iothread' are the caller's: 'loop' is where requests are to
 * come. When the export is gone, and with it the last request, loop_unused(loop_data) is called; if
 * there is none because of an error, it is not.
 */
extern const PropertyShape block_export_options_shape;
BlockExport *block_export_add(json_t *options, EventLoop *loop, void (*loop_unused)(void *data),
                              void *loop_data, GError **err);
BlockExport *block_export_find(const char *id);
void block_export_foreach(void (*fn)(BlockExport *exp, void *data), void *data);
/*
 * The node is this backend's medium: when the backend loses it (ejected, changed, unplugged,
 * deleted), the export is deleted, and its users are sent away. Without this an export holds its
 * node whatever disks do.
 */
void block_export_follow_medium(BlockExport *exp, const BlockBackend *blk);
/* 'hard': users are sent away. Else an export that has users is not deleted. Does not wait. */
bool block_export_del(BlockExport *exp, bool hard, GError **err);
/* Deletes all exports of a class (NULL: of all), and waits until they are gone. */
void coroutine_fn block_export_del_all(const BlockExportClass *class);
json_t *block_export_query(void); /* query-block-exports; new reference */

/* A user of an export: main thread. */
void block_export_ref(BlockExport *exp);
void block_export_unref(BlockExport *exp);
/* Called when an export has gone. For the event BLOCK_EXPORT_DELETED. */
void block_export_set_deleted_hook(void (*hook)(const char *id, void *data), void *data);

/* A request begins, when no drained section holds it any more; it ends. On the export's loop. */
void coroutine_fn block_export_enter(BlockExport *exp);
void block_export_leave(BlockExport *exp);

#endif
