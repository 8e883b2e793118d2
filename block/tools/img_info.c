/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img info. */
#include <errno.h>
#include "img.h"

typedef struct {
    ImgOpen how;
    bool json, chain;
} InfoArgs;

static bool info_option_output(void *args, const char *text)
{
    return img_parse_output(text, &((InfoArgs *)args)->json);
}

static const ImgOption info_options[] = {
    IMG_OPT_TEXT('f', NULL, "fmt", InfoArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_CALL(0, "output", "ofmt", info_option_output, IMG_HELP_OUTPUT),
    IMG_OPT_FLAG(0, "backing-chain", InfoArgs, chain, "of the backing files, too"),
    IMG_OPT_FLAG('U', "force-share", InfoArgs, how.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", InfoArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

void img_print_json(json_t *value)
{
    g_autofree char *raw = json_dump_text(value, JSON_INDENT(4) | JSON_PRESERVE_ORDER);

    printf("%s\n", raw);
}

static int info_run(int argc, char **argv)
{
    InfoArgs a = {.how = {.shared = true, .no_io = true}};
    json_auto_t *all = json_array();
    BlockNode *n;
    bool first = true;
    int status;

    if (!img_parse_one_file(&img_command_info, argc, argv, &a, &status)) {
        return status;
    }
    a.how.no_backing = !a.chain;
    n = img_open(argv[optind], &a.how);
    if (!n) {
        return 1;
    }
    for (BlockNode *at = n; at; at = a.chain ? at->backing : NULL) {
        json_t *info = block_image_info(at, false);

        json_array_append_new(all, info);
        if (!a.json) {
            g_autofree char *text = block_image_info_text(info);
            printf("%s%s", first ? "" : "\n", text);
            first = false;
        }
    }
    if (a.json) {
        img_print_json(a.chain ? all : json_array_get(all, 0));
    }
    block_node_unref(n);
    return 0;
}

const ImgCommand img_command_info = {
    "info", info_options, "filename", "What an image is.", info_run,
};
