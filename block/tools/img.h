/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of vmm-img share. */
#ifndef BLOCK_TOOLS_IMG_H
#define BLOCK_TOOLS_IMG_H

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "block/node.h"

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command; gives the exit status */
    const char *synopsis;
} ImgCommand;

/* How an image is opened. */
typedef struct {
    const char *format; /* NULL: probed */
    const char *cache;  /* NULL: writeback */
    bool shared;        /* a look, with which others may write to it */
    bool writable, no_backing, check, force_share, image_opts;
    bool unmap;      /* discard and zeroes give space back */
    BlockNode *file; /* not NULL: the image is in this node, whatever the name */
} ImgOpen;

/* NULL where it cannot be opened; that has been said. */
BlockNode *img_open(const char *name, const ImgOpen *how);
/* 'Try ... --help', status 1. */
int img_usage(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* Says "CONTEXT: error" and frees it; gives 1. */
int img_fail(GError *err, const char *context);
/* "1G" and the like, positive; false where it is none (that has been said). */
bool img_parse_size(const char *text, uint64_t *size);
/* "-o a=b,c=d" into the tree of what is created. */
bool img_add_options(json_t *options, const char *text);
/* The "(12.34/100%)" line of -p. */
void img_progress(bool on, uint64_t done, uint64_t all);
/* Wrong format names are found before anything is touched. */
bool img_format_known(const char *name);
/* Prints the options of a format: -o help. */
int img_options_help(const char *format);
bool img_is_help(const char *text);
typedef struct {
    const char *filename, *format;
    json_t *options;
    bool quiet, check_backing;
    /* For whoever fills the image: how it will be opened. *file stays open, and locked. */
    const BlockCache *cache;
    BlockNode **file;
    bool *zero; /* the new image reads as zeroes */
} ImgCreate;
/* Creates an image and says so; 0 or 1. */
int img_create_image(const ImgCreate *c);

int img_cmd_check(int argc, char **argv);
int img_cmd_compare(int argc, char **argv);
int img_cmd_convert(int argc, char **argv);
int img_cmd_create(int argc, char **argv);
int img_cmd_info(int argc, char **argv);
int img_cmd_map(int argc, char **argv);
int img_cmd_resize(int argc, char **argv);
int img_cmd_snapshot(int argc, char **argv);

#endif
