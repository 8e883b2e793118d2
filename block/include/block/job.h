/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Background jobs: a coroutine on the main loop with a state that users follow and steer (QEMU's
 * 'job-*' and 'block-job-*'). The core owns the table of jobs, the state machine, speed, pause,
 * cancel, error policy, progress, transactions and what is told to the monitor; a kind of job is a
 * JobClass. Main thread, but for what says otherwise.
 *
 * A Job * of another's is good until the caller waits: then it looks the job up again, or holds a
 * reference (job_ref()).
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "base/wait_list.h"
#include "block/backend.h"
#include "block/graph.h"

typedef struct Job Job;
typedef struct JobTxn JobTxn;

/* QEMU's JobStatus and JobType, in its order: qapi/job.json. */
typedef enum {
    JOB_UNDEFINED,
    JOB_CREATED,
    JOB_RUNNING,
    JOB_PAUSED,
    JOB_READY,
    JOB_STANDBY,
    JOB_WAITING,
    JOB_PENDING,
    JOB_ABORTING,
    JOB_CONCLUDED,
    JOB_NULL
} JobStatus;
typedef enum {
    JOB_TYPE_COMMIT,
    JOB_TYPE_STREAM,
    JOB_TYPE_MIRROR,
    JOB_TYPE_BACKUP,
    JOB_TYPE_CREATE,
    JOB_TYPE_AMEND,
    JOB_TYPE_SNAPSHOT_LOAD,
    JOB_TYPE_SNAPSHOT_SAVE,
    JOB_TYPE_SNAPSHOT_DELETE
} JobType;
extern const char *const job_status_names[], *const job_type_names[]; /* end with NULL */

typedef struct JobClass {
    JobType type;
    size_t size;    /* of the struct that embeds Job first */
    bool block_job; /* 'query-block-jobs' lists it, BLOCK_JOB_* events tell of it */
    /*
     * The work. False: it failed (*err; an I/O error is told as QEMU does, by job_fail()), or was
     * cancelled (*err need not be set). Between steps it calls job_pause_point() or job_throttle(),
     * after which the job may have been cancelled, and what it knew of the graph may be old. It
     * drains nothing by itself: job_section_begin().
     */
    bool coroutine_fn (*run)(Job *job, GError **err);
    /* 'block-job-complete'. NULL: this kind cannot be completed by hand. */
    bool (*complete)(Job *job, GError **err);
    /*
     * The end, in this order; in a transaction all jobs' prepare() come before any commit(). May
     * yield, and may drain. prepare() makes the graph the final one, and may fail; abort() puts
     * back what was; then clean() either way: filter out, edges thawed. Those edges and frozen
     * links that are left go after clean().
     */
    bool coroutine_fn (*prepare)(Job *job, GError **err);
    void coroutine_fn (*commit)(Job *job);
    void coroutine_fn (*abort)(Job *job);
    void coroutine_fn (*clean)(Job *job);
    /*
     * Was asked to stop: wakes what run() waits for, where that is no job_sleep(). True: run() may
     * end well all the same (mirror after READY, without 'force'): the job is asked to stop
     * (job_cancel_requested()) but not cancelled (job_is_cancelled()).
     */
    bool (*cancelled)(Job *job, bool force);
    void (*speed_changed)(Job *job);
    void (*drained_wake)(Job *job); /* a drain wants the job to come to a pause point */
    void (*free)(Job *job);         /* what the class's struct owns; not the struct */
} JobClass;

typedef struct {
    const char *id;                   /* NULL: made from the device's name, as QEMU does */
    BlockBackend *device;             /* may be NULL */
    uint64_t speed;                   /* bytes a second; 0: no limit */
    bool auto_finalize, auto_dismiss; /* QMP's, whose default is true */
    JobTxn *txn;                      /* NULL: alone */
    bool internal;                    /* of this program's: not listed, no events, no id */
} JobOptions;

struct Job {
    const JobClass *class;
    char *id; /* NULL: internal */
    JobStatus status;
    /* Private to block/jobs/. */
    unsigned refs;
    JobOptions opts;
    JobTxn *txn;
    unsigned pauses; /* the user's, and one a drained edge */
    bool user_paused;
    bool started;  /* job_start() */
    bool busy;     /* run() is on its way: not at a pause point, nor asleep */
    bool run_over; /* run() has returned */
    bool cancel_requested, cancel_forced;
    int kicked;     /* atomic */
    WaitList wake;  /* of run(): pauses, sleeps */
    WaitList ended; /* until the status is CONCLUDED */
    Timer *timer;
    uint64_t done, total;
    uint64_t speed;
    int64_t due_ns;    /* when what was done is within the speed */
    int64_t turned_ns; /* when run() has last let the loop turn */
    int io_status;     /* 0, or the errno that has stopped the job */
    bool failed;
    char *error;       /* then: why */
    GPtrArray *edges;  /* BlockEdge, to the nodes */
    GPtrArray *frozen; /* BlockEdge */
};

/* NULL and *err (the id is taken, or is no id). The core owns the job. */
Job *job_new(const JobClass *class, const JobOptions *opts, GError **err);
/* After all that can be refused: the job runs from a fresh callback. */
void job_start(Job *job);
/*
 * Instead of job_start(). None of the class's functions but free() is called; edges and frozen
 * links go. In a coroutine where an edge may be the last user of a node.
 */
void job_discard(Job *job);
void job_ref(Job *job);
void job_unref(Job *job);

/*
 * A node that the job uses: an edge from the job, with what it needs and shares, drained with the
 * job (which comes to a pause point). The edge stays where it is when filters are inserted. 'name'
 * is a literal. Named in errors as QEMU names them.
 */
BlockEdge *job_add_node(Job *job, const char *name, BlockNode *node, BlockPerms perms,
                        GError **err);
/* Ends such an edge before the job's end: in clean() or earlier. */
void coroutine_fn job_remove_node(Job *job, BlockEdge *edge);
void coroutine_fn job_remove_nodes(Job *job);
/*
 * Freezes the edges of the chain from 'top' down to and with the one that leads to 'base' (NULL:
 * all). After a job_add_node().
 */
bool job_freeze_chain(Job *job, BlockNode *top, BlockNode *base, GError **err);
void job_thaw_chain(Job *job);

/* For run(). False: the job is cancelled, or aborts with its transaction. */
bool coroutine_fn job_pause_point(Job *job);
/* Accounts for bytes, and waits as the speed asks. Lets the loop turn now and then. */
bool coroutine_fn job_throttle(Job *job, uint64_t bytes);
/* Waits ns (negative: for ever), or until the job is kicked. A hint: it may end early. */
bool coroutine_fn job_sleep(Job *job, int64_t ns);
void job_kick(Job *job);             /* ends a job_sleep(); any thread */
bool job_is_cancelled(Job *job);     /* must not end well */
bool job_cancel_requested(Job *job); /* that, or by a 'cancel' that leaves run() the choice */
/* Mirror: status READY (BLOCK_JOB_READY), from which 'complete' leads on. */
void job_ready(Job *job);
void job_progress(Job *job, uint64_t done, uint64_t total); /* sets both */
/* Sets *err to what QEMU says of a job's I/O error: strerror alone. Returns false. */
bool job_fail(GError **err, int error);
/*
 * An I/O request of the job's has failed with 'error' (positive): the policy says what follows,
 * BLOCK_JOB_ERROR is sent, and STOP pauses the job at its next pause point, until
 * 'block-job-resume' (io-status).
 */
BlockErrorAction job_error(Job *job, BlockOnError policy, bool is_read, int error);
/*
 * For run(): until 'end' the job sends nothing but inside of sections of its own, which it begins
 * as everybody does, and waits for whom it likes: nobody's drain waits for it. 'end' is a pause
 * point, as others may be in the midst of a section; but run() may return without it.
 */
void job_idle_begin(Job *job);
void coroutine_fn job_idle_end(Job *job);
/*
 * For run(): a drained section of 'top', in which the job itself goes on, under the lock of changes
 * (block_changes_lock()). False and *err: the program ends, or the job is cancelled.
 */
bool coroutine_fn job_section_begin(Job *job, BlockNode *top, BlockDrain **section, GError **err);
void coroutine_fn job_section_end(Job *job, BlockDrain *section);

JobTxn *job_txn_new(void);
void job_txn_unref(JobTxn *txn);

/* What the monitors do. The words of errors are QEMU's. */
Job *job_find(const char *id, GError **err);
Job *block_job_find(const char *id, GError **err);
void job_foreach(void (*fn)(Job *job, void *data), void *data);
bool job_pause(Job *job, GError **err);
bool job_is_paused_by_user(Job *job);
bool job_resume(Job *job, GError **err);
bool job_set_speed(Job *job, uint64_t speed, GError **err);
bool job_complete(Job *job, GError **err);
bool job_cancel(Job *job, bool force, GError **err);
/* Returns when the transaction has ended. */
bool coroutine_fn job_finalize(Job *job, GError **err);
bool job_dismiss(Job *job, GError **err);
json_t *job_query(void);       /* query-jobs; new reference */
json_t *block_job_query(void); /* query-block-jobs; likewise */
/* The job that uses this node, or NULL. */
Job *job_of_node(BlockNode *node);
/* How messages call a node: by the drive whose medium it is, else by its name. Borrowed. */
const char *job_device_or_node(BlockNode *node);
/*
 * Whoever would unplug, eject, resize or use a node for another job asks this first. False, and an
 * error that names the node and the job's type: "Node 'd0' is busy: block device is in use by block
 * job: stream".
 */
bool job_node_is_free(BlockNode *node, GError **err);
/* The same for a job itself, whose own use does not count; 'own' may be NULL. */
bool job_node_is_free_for(BlockNode *node, const Job *own, GError **err);
/* A drive of -drive goes with its device: its jobs are cancelled, as QEMU does. */
void job_cancel_of_node(BlockNode *node);
/* Ends all jobs, and lets none begin; the program's end, VM_NOTIFY_SHUTDOWN. */
void coroutine_fn job_cancel_all_wait(void);
/* Waits for one job's end: tools, tests. False and *err: how it failed. */
bool job_run_wait(Job *job, GError **err);

/* Events (JOB_STATUS_CHANGE, BLOCK_JOB_*): one hook, which the program sets. 'data' is borrowed. */
typedef void (*JobEventFn)(const char *event, json_t *data, void *user);
void job_set_event_handler(JobEventFn fn, void *user);

#endif
