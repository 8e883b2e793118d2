/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The edges of the block graph. A BlockEdge is one parent's use of one node: what the parent needs
 * of the child, what it lets the child's other parents do, and how the parent is drained. The
 * parent is another node, a backend, or whoever else uses a node for a while (a job, a resize).
 *
 * Changes of the graph are transactions (BlockChange): all steps are checked, then all are done, or
 * nothing is. Everything here is for the main thread. A change is made while nothing is in flight
 * through the edges that it moves: inside a drained section (block_drain_begin()) once other
 * threads or coroutines may use the nodes.
 */
#ifndef BLOCK_GRAPH_H
#define BLOCK_GRAPH_H

#include "block/node.h"

typedef struct BlockEdge BlockEdge;
typedef struct BlockChange BlockChange;
typedef struct BlockDrain BlockDrain;

/*
 * Permissions. A parent needs some, and shares some: those that it lets other parents of the node
 * have. The bits are those of the locks on image files (drivers/file_lock.c).
 */
enum {
    BLOCK_PERM_CONSISTENT_READ = 1 << 0, /* what is read is what was written last */
    BLOCK_PERM_WRITE = 1 << 1,
    BLOCK_PERM_WRITE_UNCHANGED = 1 << 2, /* writes that do not change what a reader sees */
    BLOCK_PERM_RESIZE = 1 << 3,
    BLOCK_PERM_ALL = 15,
};
/* QEMU's words for the bits (BlockPermission), from the lowest on; behind them NULL. */
extern const char *const block_perm_names[];
typedef struct BlockPerms {
    unsigned needs, shares;
} BlockPerms;

/* What a child is for its parent. Bits: a format's 'file' holds both data and metadata. */
enum {
    BLOCK_ROLE_DATA = 1 << 0,
    BLOCK_ROLE_METADATA = 1 << 1,
    BLOCK_ROLE_BACKING = 1 << 2,
    BLOCK_ROLE_FILTERED = 1 << 3, /* the parent passes requests through, and its length is this */
};

/* A kind of parent. A callback that is NULL: the parent has nothing to do then. */
typedef struct {
    /* What the parent is, for messages: "node 'disk0'". The caller frees the text. */
    char *(*describe)(BlockEdge *edge);
    /* The parent's id, borrowed; NULL: it has none. For block_query_graph(). */
    const char *(*name)(BlockEdge *edge);
    bool is_job;
    /*
     * A drain of the child begins: the parent sends no new requests, until drain_end. It goes on
     * with those in flight, and neither call waits. The calls come in pairs and do not nest.
     */
    void (*drain_begin)(BlockEdge *edge);
    void (*drain_end)(BlockEdge *edge);
    /*
     * Whether the parent has requests in flight. Once the answer has become 'no', the parent calls
     * block_drain_wake() (core.h), from any thread.
     */
    bool (*busy)(BlockEdge *edge);
    /* block_change_replace() leaves the edge where it is: it is about this very node. */
    bool stays;
    /* The child, or the length of the child, is another one. */
    void (*resized)(BlockEdge *edge);
    /*
     * All nodes become inactive or active (block_inactivate_all()): what the parent needs of the
     * child then.
     */
    BlockPerms (*perms)(BlockEdge *edge, bool inactive);
    /*
     * NULL, or: the parent can do without the node, and now has to. It ends the edge, which may
     * take long and stops the machine. False, and an error: it cannot, and the edge stays.
     */
    bool coroutine_fn (*let_go)(BlockEdge *edge, GError **err);
    /* With let_go(): nobody else uses the node any more. Does not yield; let_go() is to come soon.
     */
    void (*left_alone)(BlockEdge *edge);
    /* With let_go(): whether the parent reads what the image has for the snapshot of this id. */
    bool (*needs_snapshot)(BlockEdge *edge, const char *id);
} BlockParentClass;

struct BlockEdge {
    const BlockParentClass *class;
    void *parent;           /* a BlockNode, a BlockBackend...: as 'class' says */
    BlockNode *parent_node; /* NULL: the parent is no node */
    BlockNode *child;       /* the edge holds a reference */
    BlockNode **slot;       /* NULL, or the parent's own pointer to the child */
    const char *name;       /* "file", "backing", "root"... */
    unsigned role;
    BlockPerms perms;
    /* Private to the graph. */
    bool drained;         /* the parent is in a drain that came over this edge */
    BlockEdge *frozen_by; /* block_edge_freeze(); NULL: nobody */
    unsigned intercepts;  /* block_edge_intercept_begin() without their end */
};

/* The whole graph as 'x-debug-query-block-graph' has it. New reference. */
json_t *block_query_graph(void);
/* Whether another node uses 'n' (QEMU's "root node" has none). */
bool block_node_has_node_above(BlockNode *n);

/*
 * Before nodes are closed, or given other content: the parents of the node, and of those below it,
 * that can do without them let go (BlockParentClass.let_go). The caller is in no drained section,
 * and holds neither the machine nor the lock of changes. The node stays meanwhile.
 */
bool coroutine_fn block_node_let_go(BlockNode *n, GError **err);
/* Whether they have, so that block_node_let_go() would not wait. */
bool block_node_has_let_go(BlockNode *n);

/* Whether a node has a child of this name. */
bool block_node_has_child(BlockNode *n, const char *name);

/* Begins a change. It ends with block_change_commit() or block_change_abort(), which free it. */
BlockChange *block_change_new(void);
/*
 * A new edge. 'name' is a literal. 'slot' (may be NULL) gets the child, now and at every later
 * change of the edge. The edge belongs to the graph until it is detached.
 */
BlockEdge *block_change_attach(BlockChange *c, const BlockParentClass *class, void *parent,
                               BlockNode *child, const char *name, BlockPerms perms,
                               BlockNode **slot);
/* The same for a node as parent: permissions follow from the role and the parent's own users. */
BlockEdge *block_change_attach_node(BlockChange *c, BlockNode *parent, BlockNode *child,
                                    const char *name, unsigned role, BlockNode **slot);
/* Moves an edge to another child. */
void block_change_point(BlockChange *c, BlockEdge *edge, BlockNode *child);
/* Ends an edge. The child is closed when the change is done and this was the last reference. */
void block_change_detach(BlockChange *c, BlockEdge *edge);
/* What a parent that is no node needs and shares from now on. */
void block_change_perms(BlockChange *c, BlockEdge *edge, BlockPerms perms);
/*
 * Moves all parents of 'from' to 'to', but 'to' itself, what lies below it, and those that stay
 * (BlockParentClass). With 'to' on top of 'from' this inserts a filter or an overlay.
 */
void block_change_replace(BlockChange *c, BlockNode *from, BlockNode *to);
/*
 * Checks permissions (a conflict names both users), circles and depth, takes the host's locks, and
 * makes the change final; or undoes all of it. Does not yield before all is done; then it closes
 * what nobody uses any more, which waits for I/O.
 */
bool coroutine_fn block_change_commit(BlockChange *c, GError **err);
void block_change_abort(BlockChange *c);

/* Changes of one step. */
BlockEdge *block_edge_attach(const BlockParentClass *class, void *parent, BlockNode *child,
                             const char *name, BlockPerms perms, BlockNode **slot, GError **err);
BlockEdge *block_edge_attach_node(BlockNode *parent, BlockNode *child, const char *name,
                                  unsigned role, BlockNode **slot, GError **err);
/* NULL is allowed. Giving up permissions cannot fail. */
void block_edge_detach(BlockEdge *edge);

/*
 * A job relies on where an edge between two nodes leads: until 'thaw' each change that would move
 * or end the edge is refused, with an error that names the job by its own edge 'by'. False, and an
 * error: another has frozen it. The job also uses the edge's parent, which therefore stays open.
 */
bool block_edge_freeze(BlockEdge *edge, BlockEdge *by, GError **err);
void block_edge_thaw(BlockEdge *edge);

/*
 * Something that is no node (a bitmap, a throttle) wants to see all requests through this edge:
 * until 'end' they do not take the short way of map_cached(). Inside a drained section.
 */
void block_edge_intercept_begin(BlockEdge *edge);
void block_edge_intercept_end(BlockEdge *edge);

/*
 * Chains (block_node_below()), with the filters in them. The edge from a node to the next one;
 * NULL: this is the last.
 */
BlockEdge *block_chain_edge(BlockNode *n);
/* Whether 'n' is in the chain that begins at 'top'; 'top' itself is. */
bool block_chain_contains(BlockNode *top, BlockNode *n);
/* Whether no other node has the node as its child. */
bool block_node_is_root(BlockNode *n);
/* The node of that chain which lies right above 'n' (NULL: the last one); NULL: there is none. */
BlockNode *block_chain_above(BlockNode *top, BlockNode *n);

/*
 * A node of a driver that is in no table, so that no user can name it: a job's filter. 'config' is
 * the tree that block_node_open() would get, without "driver". Without "node-name" as well, queries
 * about a disk show what lies below the node. The caller owns a reference.
 */
BlockNode *block_filter_open(const BlockDriver *drv, json_t *config, GError **err);
/*
 * Puts 'filter', a node whose 'file' or 'backing' is 'node', between 'node' and all of its parents;
 * or takes it out again. Drains.
 */
bool coroutine_fn block_insert_above(BlockNode *filter, BlockNode *node, GError **err);
bool coroutine_fn block_remove_filter(BlockNode *filter, BlockNode *node, GError **err);

/*
 * Changes of live nodes that wait between their steps (reopening, resizing, inactivation, filters)
 * exclude each other by this lock, as drained sections do not. It is taken before a section begins.
 * The functions below take it. False, and an error: the program ends.
 */
bool coroutine_fn block_changes_lock(GError **err);
void coroutine_fn block_changes_unlock(void);
/*
 * Before the program ends: returns when no change is under way, and every node that nobody uses any
 * more is closed. Later changes are refused.
 */
void coroutine_fn block_changes_close(void);

/*
 * A drained section of a node and of all nodes below: none of their parents, near or far, sends
 * requests, and 'begin' returns when none is in flight. What is attached below meanwhile is in it.
 * Sections nest and overlap. The caller may itself use the nodes (block_pread()...) in a section.
 */
BlockDrain *coroutine_fn block_drain_begin(BlockNode *top);
void block_drain_end(BlockDrain *drain);

/*
 * Gives a live node other options, as 'blockdev-reopen' does: 'config' is the whole tree; what is
 * not in it gets its default. Children stay as they are where the tree does not name them;
 * "backing" may name another node, or be null. Drains the node. All nodes of an array change, or
 * none.
 */
bool coroutine_fn block_reopen(json_t *configs, GError **err);
/* The same for one option of one node: all others stay. Nodes that inherit from it follow. */
bool coroutine_fn block_set_read_only(BlockNode *node, bool read_only, GError **err);

/*
 * An inactive node is open but has no write permission, no lock on the host and no cached metadata:
 * another process may write to the image. Activation takes the locks and reads metadata anew. Of
 * all nodes, on the main loop; 'inactivate' drains, and leaves the graph active where it fails.
 */
bool coroutine_fn block_inactivate_all(GError **err);
/*
 * Whether a machine's state means something without this process: all nodes hold what can be had
 * elsewhere, or later. False, and an error that names one that does not.
 */
bool block_may_migrate(GError **err);
bool coroutine_fn block_activate_all(GError **err);

#endif
