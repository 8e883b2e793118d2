/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs that make an image, and that change options of one: QMP's 'blockdev-create' and
 * 'x-blockdev-amend'. Words and errors are QEMU's (qapi/block-core.json). Main thread. The job has
 * to be dismissed by its owner, who finds there how it went.
 */
#ifndef BLOCK_CREATE_JOB_H
#define BLOCK_CREATE_JOB_H

#include "block/job.h"

/* QMP's BlockdevCreateOptions and BlockdevAmendOptions. */
extern const PropertyShape block_create_shape, block_amend_shape;

/* 'options' match their shape, and are copied. False, and an error: there is no such job. */
bool block_create_start(const char *id, json_t *options, GError **err);
/* 'force': also what may lose the last key. */
bool block_amend_start(const char *id, const char *node_name, json_t *options, bool force,
                       GError **err);

#endif
