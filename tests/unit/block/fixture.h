/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A loop on the test's thread, a folder for files, and helpers for backends and requests. */
#ifndef TESTS_UNIT_BLOCK_FIXTURE_H
#define TESTS_UNIT_BLOCK_FIXTURE_H

#include "../base/unit.h"
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/util.h"
#include "block/backend.h"
#include "block/image.h"

extern EventLoop *main_loop;

void fixture_setup(void);
void fixture_teardown(void);
int fixture_run(const char *name, const TTest *const *tests);
/* With a set-up of the test's own, which calls fixture_setup(); so for the end. */
int fixture_run_with(const char *name, const TTest *const *tests, void (*setup)(void),
                     void (*teardown)(void));

/* The path of a file in the test's folder; valid until the test's end. */
const char *tmp_path(const char *name);
void make_raw(const char *name, size_t size);
void make_qcow2(const char *name, const char *options);
/* From -drive options, as a format with one path ("file=%s,..."). With err NULL a failure fails the
 * test. */
BlockBackend *new_drive(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
json_t *parse_tree(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Submits a request and turns the main loop until it is done. Its result. */
int do_io(BlockBackend *blk, BlockOp op, uint64_t offset, void *buf, size_t bytes);
void turn_until(const bool *done);

#define ck_error(err, part)                                                                        \
    do {                                                                                           \
        ck_assert_ptr_nonnull(err);                                                                \
        ck_assert_msg(strstr((err)->message, part) != NULL, "'%s' is not in '%s'", part,           \
                      (err)->message);                                                             \
        g_clear_error(&(err));                                                                     \
    } while (0)
#define ck_no_error(err) ck_assert_msg(!(err), "%s", (err) ? (err)->message : "")

#endif
