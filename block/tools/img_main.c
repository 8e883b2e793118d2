/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How vmm-img and vmm-io begin, end, and say what is wrong. */
#include <stdarg.h>
#include "base/event_loop.h"
#include "base/host.h"
#include "base/object.h"
#include "block/throttle.h"
#include "base/reclaim.h"
#include "img.h"

int img_usage(const char *fmt, ...)
{
    va_list ap;
    g_autofree char *text = NULL;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_error("%s", text);
    fprintf(stderr, "Try '%s --help' for more information\n", log_program_name());
    return 1;
}

int img_fail(GError *err, const char *context)
{
    log_error("%s%s%s", context ? context : "", context ? ": " : "", err->message);
    g_error_free(err);
    return 1;
}

int img_main(int argc, char **argv, int (*run)(int argc, char **argv))
{
    g_autoptr(GError) err = NULL;
    EventLoop *loop;
    uint64_t errors;
    int status;

    host_raise_file_limit();
    host_survive_file_size_limit();
    log_set_program_name(g_path_get_basename(argv[0]));
    loop = event_loop_new("main", &err);
    if (!loop) {
        return img_fail(g_steal_pointer(&err), NULL);
    }
    event_loop_bind(loop);
    object_set_classes(object_base_classes);
    object_add_classes(block_object_classes);
    status = run(argc, argv);
    errors = log_error_count();
    block_node_close_all();
    object_delete_all();
    reclaim_poll();
    /* An earlier flush that failed has dropped its data: only ferror() still shows that. */
    if (fflush(stdout) == EOF || ferror(stdout)) {
        log_error("Could not write to standard output");
    }
    return status == 0 && log_error_count() > errors ? 1 : status;
}
