/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk with a backing chain: virtio disk 0, where the seed says so, is the last of four qcow2
 * images in memory. Jobs of the monitors shorten the chain, and copy the disk to another image, its
 * twin, to which it may move.
 */
#ifndef TESTS_SCHEDULE_CHAIN_H
#define TESTS_SCHEDULE_CHAIN_H

#include "block/job.h"
#include "world.h"

bool chain_present(void);
/* "node0" over its chain, with what the model of disk 0 says, and the twin. */
void chain_create(void);
/* The name of the disk's image; a literal. */
const char *chain_top(void);
/* The same as a number below CHAIN_TOPS. */
unsigned chain_top_index(void);
enum { CHAIN_TOPS = 2 };
/* The disk may be moving to another image. */
bool chain_moves(void);
/* An event of QMP's: when a mirror ends, and not before, others use the disk by its new name. */
void chain_heard(const char *event);
/* At the end: no job is left. */
void coroutine_fn chain_end_jobs(void);
/* What the disk holds: DISK_SECTORS. */
void coroutine_fn chain_read(uint8_t *buf);

/* Commands. */
void coroutine_fn chain_run_stream(Rand *rand);
void coroutine_fn chain_run_commit(Rand *rand);
/* HMP's 'commit'. True: of all drives, and there was something to write into a backing file. */
bool coroutine_fn chain_commit_drive(Rand *rand);
/* Whether the disk's image has nothing of its own. */
bool coroutine_fn chain_top_is_empty(void);
/* Somebody reads a backing file, and nobody may write to it meanwhile. */
void coroutine_fn chain_run_hold(Rand *rand);
void coroutine_fn chain_run_job_cancel(Rand *rand);
void coroutine_fn chain_run_job_pause(Rand *rand);
void coroutine_fn chain_run_job_resume(Rand *rand);
void coroutine_fn chain_run_job_speed(Rand *rand);
/* chain_copy.c */
void coroutine_fn chain_run_mirror(Rand *rand);
void coroutine_fn chain_run_job_complete(Rand *rand);
void coroutine_fn chain_run_backup(Rand *rand);
void coroutine_fn chain_run_snapshot(Rand *rand);
/* chain_machine.c */
/* The disk's image is to be opened again first: its header could neither be written nor restored.
 */
bool chain_takes_no_writes(void);
void coroutine_fn chain_run_savevm(Rand *rand);
void coroutine_fn chain_run_savevm_live(Rand *rand);
/* At the end, when no job is left. */
void coroutine_fn chain_end_lives(void);
void coroutine_fn chain_run_delvm(Rand *rand);
void coroutine_fn chain_run_loadvm(Rand *rand);
/* What a snapshot shows of the images below the disk's is changed: it brings something else back.
 */
void chain_snapshots_belied(void);
/* Of any disk; and their end. */
void coroutine_fn chain_run_limits(Rand *rand);
void coroutine_fn chain_end_limits(void);

/* What the files of the chain share. */
JobOptions chain_job_options(Rand *rand);
BlockOnError chain_some_policy(Rand *rand);

#endif
