/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of vmm-img share, and its options with vmm-io. */
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
 * One option of a sub-command. The parser, the help and the synopsis of a sub-command are derived
 * from its table of these. IMG_ABSENT: qemu-img has the option and this program does not;
 * img_parse() refuses it by name.
 */
typedef struct {
    enum { IMG_FLAG, IMG_TEXT, IMG_CALL, IMG_OBJECT, IMG_TRACE, IMG_ABSENT } kind;
    char letter;      /* 0: only the long form */
    const char *name; /* NULL: only the letter */
    const char *arg;  /* the argument's name in help; NULL: the option takes none */
    size_t offset;    /* FLAG: of a bool, TEXT: of a const char *, in the command's arguments */
    bool (*call)(void *args, const char *text); /* CALL; false: bad text, the error was printed */
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
#define IMG_OPT_OBJECT                                                                             \
    {                                                                                              \
        IMG_OBJECT, 0, "object", "objectdef", 0, NULL,                                             \
            "make an object that options name by its id ('help' lists the types)"                  \
    }
#define IMG_OPT_TRACE                                                                              \
    {                                                                                              \
        IMG_TRACE, 'T', "trace", IMG_ARG_TRACE, 0, NULL, IMG_HELP_TRACE                            \
    }
#define IMG_OPT_END                                                                                \
    {                                                                                              \
        0                                                                                          \
    }

/* Files that images name are not opened; the function carries the option out. */
#define IMG_NO_NAMED_FILES      "no-named-files"
#define IMG_HELP_NO_NAMED_FILES "open no file because an image names it"
bool img_option_no_named_files(void *args, const char *text);

#define IMG_ARG_TRACE  "[[enable=]PATTERN][,events=FILE][,file=FILE]"
#define IMG_HELP_TRACE "log what passes at these places of the program ('help' lists them)"
/* The argument of --trace. False: the list or an error was printed, the program ends with *status.
 */
bool img_option_trace(const char *text, int *status);

/* Help texts of options that several sub-commands have. */
#define IMG_HELP_FORMAT      "format of the image (found out where not given)"
#define IMG_HELP_SRC_CACHE   "cache mode of what is read (writeback)"
#define IMG_HELP_PROGRESS    "show how far it is"
#define IMG_HELP_QUIET       "print errors alone"
#define IMG_HELP_FORCE_SHARE "read although others may write"
#define IMG_HELP_IMAGE_OPTS  "a file name is a list of options: driver=qcow2,file.filename=..."
#define IMG_HELP_OUTPUT      "human or json"

typedef struct {
    const char *name; /* NULL: the program itself */
    const ImgOption *options;
    const char *operands; /* for the synopsis: "filename [size]" */
    const char *help;
    int (*run)(int argc, char **argv); /* argv[0] is the command; returns the exit status */
} ImgCommand;

extern const ImgCommand img_command_amend, img_command_bench, img_command_bitmap, img_command_check,
    img_command_commit, img_command_compare, img_command_convert, img_command_create,
    img_command_dd, img_command_info, img_command_map, img_command_measure, img_command_rebase,
    img_command_resize, img_command_snapshot;

/*
 * The program: sets it up, calls run(), closes what is still open, and returns the exit status. An
 * error while it closes something is one.
 */
int img_main(int argc, char **argv, int (*run)(int argc, char **argv));

/*
 * Fills 'args', the struct that the option table's offsets belong to, and leaves optind at the
 * first operand. False: help or an error was printed, and the command has to end with *status.
 */
bool img_parse(const ImgCommand *command, int argc, char **argv, void *args, int *status);
/* img_parse() for commands whose operands are exactly one file name, argv[optind]. */
bool img_parse_one_file(const ImgCommand *command, int argc, char **argv, void *args, int *status);
/* "create [-q] [-f fmt] ... filename [size]"; caller frees. */
char *img_synopsis(const ImgCommand *command);
/* Prints an error and "Try '... --help'"; returns the exit status, 1. */
int img_usage(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* Prints "CONTEXT: error" (context may be NULL) and frees err; returns the exit status, 1. */
int img_fail(GError *err, const char *context);
/* Reads a size such as "1G". False: it is none, and an error that calls it 'what' was printed. */
bool img_parse_number(const char *text, const char *what, uint64_t *value);
bool img_parse_number_in(const char *text, const char *what, uint64_t min, uint64_t max,
                         uint64_t *value);
/* The argument of --output. False: it is neither "human" nor "json"; the error was printed. */
bool img_parse_output(const char *text, bool *json);
/* Adds the argument of -o, "a=b,c=d", to 'options'. False: the error was printed. */
bool img_add_options(json_t *options, const char *text);
/* -o help: prints the options with which a format is created; returns the exit status. */
int img_options_help(const char *format);
void img_print_json(json_t *value);

/*
 * The "(12.34/100%)" line of -p. It is printed anew each time it has grown by 'step' percent. On a
 * terminal it also says how fast it goes, where the bytes of all of it are known, and how long the
 * rest takes. Without -p ('on' is false) SIGUSR1 has it printed once, on stderr.
 */
void img_progress_begin(bool on, double step);
void img_progress_total(uint64_t bytes);
void img_progress(double percent);
void img_progress_end(void);

/* How img_open() opens an image. */
typedef struct {
    const char *format;   /* NULL: probed */
    const char *cache;    /* NULL: writeback */
    const char *cache_of; /* "source ": for errors about 'cache'; NULL: "" */
    const char *aio;      /* host I/O engine of the image's file; NULL: the best */
    const char *snapshot; /* that the node shows (img_parse_snapshot()); NULL: the disk */
    bool shared;          /* others may write to the image while it is read (BLOCK_IMAGE_SHARED) */
    bool writable, no_backing, check, force_share, image_opts;
    bool no_io;      /* the disk is not read: an encrypted image needs no key */
    bool unmap;      /* discard and zeroes give space back */
    bool bulk;       /* read or written from end to end */
    BlockNode *file; /* the open file that holds the image; NULL: the name says which */
    json_t *created; /* options that the image was made with: their keys open it; may be NULL */
} ImgOpen;

/*
 * The argument of -l: a snapshot's id or name, or "snapshot.id=...,snapshot.name=...". False: the
 * error was printed.
 */
bool img_parse_snapshot(const char *text, const char **snapshot);
#define IMG_HELP_SNAPSHOT "a snapshot inside the image: snapshot.id=..., snapshot.name=..., or one"
/* Lets a node show such a snapshot. False: the error was printed. */
bool img_load_snapshot(BlockNode *n, const char *snapshot);

/* A new reference; NULL: the image cannot be opened, and the error was printed. */
BlockNode *img_open(const char *name, const ImgOpen *how);

/* The same for options that were checked, without the error's output. */
BlockNode *img_open_config(const char *name, const ImgOpen *how, GError **err);
/* The tree for block_image_open(); without a name the options alone. NULL: the name is wrong. */
json_t *img_open_tree(const char *name, const ImgOpen *how, GError **err);

/* Where an extent is: in which file, and in how deep a layer of the chain. */
typedef struct {
    BlockNode *file;
    uint64_t offset;
    unsigned depth;
} ImgPlace;
/* block_status_chain(). */
int coroutine_fn img_status(BlockNode *n, uint64_t at, uint64_t bytes, uint64_t *len,
                            ImgPlace *place);

/* The extent of an image that was asked for last: block_status_chain() runs once an extent. */
typedef struct {
    BlockNode *node;
    uint64_t start, end; /* the range that 'status' holds for */
    int status;          /* BLOCK_STATUS_*, down the backing chain */
} ImgExtents;
/* Sets e->status to that of 'at', and shortens *len to the bytes that share it. 0 or -errno. */
int coroutine_fn img_extents_at(ImgExtents *e, uint64_t at, uint64_t *len);

/*
 * convert --bitmaps: whether all bitmaps of the source can be copied; else the error was printed.
 * The copies are made, or an error is printed.
 */
bool img_bitmaps_possible(BlockNode *source, bool skip_broken);
bool img_copy_bitmaps(BlockNode *from, BlockNode *to);

/*
 * Whether the file or device of this name is one of those that are open. If it is the error was
 * printed: to make an image there would destroy what is read.
 */
bool img_target_is_read(const char *name);
/*
 * From 'begin' to 'end' a signal that ends the program also removes the files that were made for
 * new images (data files and extents, too). 'failed': the image was not filled; 'end' removes them.
 */
void img_target_begin(void);
void img_target_end(bool failed);

typedef struct {
    const char *filename, *format;
    json_t *options;
    bool quiet, check_backing;
    bool converting; /* error messages are convert's */
    /*
     * For convert, which fills the image. *file gets the node of the new file, opened with 'cache':
     * as long as it is open, the file's lock keeps others out. NULL: the file is closed.
     */
    const BlockCache *cache;
    BlockNode **file;
    bool *zero; /* with 'file': whether the new image reads as zeroes */
} ImgCreate;
/* Creates an image, prints its options unless 'quiet', and returns the exit status, 0 or 1. */
int img_create_image(const ImgCreate *c);

#endif
