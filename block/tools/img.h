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

/* How much of an image is read at once. */
enum { IMG_CHUNK = 2 * 1024 * 1024 };

/*
 * One option of a sub-command. Parsing, help, the synopsis and the refusal by name of what
 * qemu-img has and this program has not are derived from the tables of these.
 */
typedef struct {
    enum { IMG_FLAG, IMG_TEXT, IMG_CALL, IMG_ABSENT } kind;
    char letter;      /* 0: only the long form */
    const char *name; /* NULL: only the letter */
    const char *arg;  /* what the argument is called; NULL: takes none */
    size_t offset;    /* FLAG: of a bool, TEXT: of a const char *, in the command's arguments */
    bool (*call)(void *args, const char *text); /* CALL: false where it is bad (that was said) */
    const char *help;                           /* NULL: the table's end */
} ImgOption;

#define IMG_OPT_FLAG(letter, name, T, field, help)                                                 \
    {                                                                                              \
        IMG_FLAG, letter, name, NULL, offsetof(T, field), NULL, help                               \
    }
#define IMG_OPT_TEXT(letter, name, arg, T, field, help)                                            \
    {                                                                                              \
        IMG_TEXT, letter, name, arg, offsetof(T, field), NULL, help                                \
    }
#define IMG_OPT_CALL(letter, name, arg, call, help)                                                \
    {                                                                                              \
        IMG_CALL, letter, name, arg, 0, call, help                                                 \
    }
#define IMG_OPT_ABSENT(letter, name, arg)                                                          \
    {                                                                                              \
        IMG_ABSENT, letter, name, arg, 0, NULL, ""                                                 \
    }
#define IMG_OPT_OBJECT IMG_OPT_ABSENT(0, "object", "objectdef")
#define IMG_OPT_END                                                                                \
    {                                                                                              \
        0                                                                                          \
    }

/* What the same option of several sub-commands says of itself. */
#define IMG_HELP_FORMAT      "format of the image (found out where not given)"
#define IMG_HELP_SRC_CACHE   "cache mode of what is read (writeback)"
#define IMG_HELP_PROGRESS    "show how far it is"
#define IMG_HELP_QUIET       "print errors alone"
#define IMG_HELP_FORCE_SHARE "read although others may write"
#define IMG_HELP_IMAGE_OPTS  "a file name is a list of options: driver=qcow2,file.filename=..."
#define IMG_HELP_OUTPUT      "human or json"

typedef struct {
    const char *name;
    const ImgOption *options;
    const char *operands; /* of the synopsis */
    const char *help;
    int (*run)(int argc, char **argv); /* argv[0] is the command; gives the exit status */
} ImgCommand;

extern const ImgCommand img_command_check, img_command_compare, img_command_convert,
    img_command_create, img_command_info, img_command_map, img_command_resize, img_command_snapshot;

/*
 * Fills 'args' from the options; optind is at the first operand then. False where that was all:
 * help was printed, or an error; *status is the exit status.
 */
bool img_parse(const ImgCommand *command, int argc, char **argv, void *args, int *status);
/* The same where exactly one file name has to follow. */
bool img_parse_one_file(const ImgCommand *command, int argc, char **argv, void *args, int *status);
/* "create [-q] [-f fmt] ... filename [size]"; caller frees. */
char *img_synopsis(const ImgCommand *command);
/* 'Try ... --help', status 1. */
int img_usage(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* Says "CONTEXT: error" and frees it; gives 1. */
int img_fail(GError *err, const char *context);
/* "1G" and the like; false where it is none ('what' says of what; that has been said). */
bool img_parse_number(const char *text, const char *what, uint64_t *value);
/* --output */
bool img_parse_output(const char *text, bool *json);
/* "-o a=b,c=d" into the tree of what is created. */
bool img_add_options(json_t *options, const char *text);
/* Prints the options of a format: -o help. */
int img_options_help(const char *format);
bool img_is_help(const char *text);
void img_print_json(json_t *value);

/* The "(12.34/100%)" lines of -p. */
/* The next line comes when it would say 'step' more. */
void img_progress_begin(bool on, double step);
void img_progress(double percent);
void img_progress_end(void);

/* How an image is opened. */
typedef struct {
    const char *format;   /* NULL: probed */
    const char *cache;    /* NULL: writeback */
    const char *cache_of; /* "source ": whose cache mode it is, for errors; NULL: nobody's */
    bool shared;          /* a look, with which others may write to it */
    bool writable, no_backing, check, force_share, image_opts;
    bool unmap;      /* discard and zeroes give space back */
    bool bulk;       /* read or written from end to end */
    BlockNode *file; /* not NULL: the image is in this node, whatever the name */
} ImgOpen;

/* NULL where it cannot be opened; that has been said. */
BlockNode *img_open(const char *name, const ImgOpen *how);

/* What an image holds, asked for once an extent. */
typedef struct {
    BlockNode *node;
    uint64_t start, end; /* of which 'status' is known */
    int status;          /* BLOCK_STATUS_*, down the backing chain */
} ImgExtents;
/* Sets 'status' for what is at 'at', and shortens *len to what it holds for. 0 or -errno. */
int coroutine_fn img_extents_at(ImgExtents *e, uint64_t at, uint64_t *len);

typedef struct {
    const char *filename, *format;
    json_t *options;
    bool quiet, check_backing;
    bool converting; /* errors are convert's */
    /* For whoever fills the image: how it will be opened. *file stays open, and locked. */
    const BlockCache *cache;
    BlockNode **file;
    bool *zero; /* the new image reads as zeroes */
} ImgCreate;
/* Creates an image and says so; 0 or 1. */
int img_create_image(const ImgCreate *c);

#endif
