/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-nbd: serves a disk image to NBD clients, in qemu-nbd's words. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../core.h"
#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "base/json.h"
#include "base/object.h"
#include "block/throttle.h"
#include "base/version.h"
#include "block/export.h"
#include "block/nbd_server.h"
#include "img.h"
#include "nbd_device.h"
#include "nbd_list.h"

#define NBD_PORT      "10809"
#define NBD_EXPORT_ID "qemu-nbd-export"

/* The first descriptor of socket activation (sd_listen_fds(3)). */
enum { ACTIVATION_FD = 3 };

typedef struct {
    ImgOpen open;
    const char *file;
    const char *port, *bind, *socket, *export_name, *description, *discard, *detect_zeroes;
    const char *pid_file, *snapshot, *device_path;
    const char *tls_creds, *tls_hostname, *tls_authz;
    json_t *bitmaps; /* names; NULL: none */
    uint64_t offset, shared;
    bool read_only, temporary, persistent, verbose, depth, fork, nocache, version;
    bool disconnect, list;
    NbdDevice *device; /* -c */
    bool cache_given;
    int ready_fd;   /* that the parent of --fork waits at; -1: there is none */
    int activation; /* descriptors of socket activation */
    BlockNode *node;
    FdHandler *signals;
    bool started, end, over;
    int status;
} NbdTool;

/* Options. */

static bool option_shared(void *args, const char *text)
{
    if (!parse_uint(text, INT32_MAX, &((NbdTool *)args)->shared)) {
        log_error("Invalid shared device number '%s'", text);
        return false;
    }
    return true;
}

static bool option_offset(void *args, const char *text)
{
    if (!parse_uint(text, INT64_MAX, &((NbdTool *)args)->offset)) {
        log_error("Invalid offset '%s'", text);
        return false;
    }
    return true;
}

static bool set_cache(NbdTool *t, const char *mode)
{
    BlockCache cache;

    if (t->cache_given) {
        log_error("-n and --cache can only be specified once");
        return false;
    }
    if (!block_cache_parse(mode, &cache, NULL)) {
        log_error("Invalid cache mode `%s'", mode);
        return false;
    }
    t->cache_given = true;
    t->open.cache = mode;
    return true;
}

static bool option_cache(void *args, const char *text)
{
    return set_cache(args, text);
}

static bool option_nocache(void *args, const char *text)
{
    return set_cache(args, "none");
}

static bool option_aio(void *args, const char *text)
{
    static const char *const engines[] = {"threads", "native", "io_uring", NULL};
    NbdTool *t = args;

    if (t->open.aio) {
        log_error("--aio can only be specified once");
        return false;
    }
    if (!g_strv_contains(engines, text)) {
        log_error("Invalid aio mode '%s'", text);
        return false;
    }
    t->open.aio = text;
    return true;
}

static bool option_discard(void *args, const char *text)
{
    static const char *const modes[] = {"ignore", "off", "unmap", "on", NULL};
    NbdTool *t = args;

    if (t->discard) {
        log_error("--discard can only be specified once");
        return false;
    }
    if (!g_strv_contains(modes, text)) {
        log_error("Invalid discard mode `%s'", text);
        return false;
    }
    t->discard = text[0] == 'u' || g_str_equal(text, "on") ? "unmap" : "ignore";
    return true;
}

static bool option_detect_zeroes(void *args, const char *text)
{
    static const char *const modes[] = {"off", "on", "unmap", NULL};

    if (!g_strv_contains(modes, text)) {
        log_error("Failed to parse detect_zeroes mode: invalid parameter value: %s", text);
        return false;
    }
    ((NbdTool *)args)->detect_zeroes = text;
    return true;
}

static bool option_load_snapshot(void *args, const char *text)
{
    NbdTool *t = args;

    t->read_only = true;
    return img_parse_snapshot(text, &t->snapshot);
}

static bool option_bitmap(void *args, const char *text)
{
    NbdTool *t = args;

    t->bitmaps = t->bitmaps ? t->bitmaps : json_array();
    json_array_insert_new(t->bitmaps, 0, json_string_nocheck(text)); /* qemu-nbd's order */
    return true;
}

static const ImgOption nbd_options[] = {
    IMG_OPT_TEXT('p', "port", "PORT", NbdTool, port, "port to listen on (" NBD_PORT ")"),
    IMG_OPT_TEXT('b', "bind", "IFACE", NbdTool, bind, "address to listen on (0.0.0.0)"),
    IMG_OPT_TEXT('k', "socket", "PATH", NbdTool, socket, "UNIX socket to listen on"),
    IMG_OPT_CALL('e', "shared", "NUM", option_shared, "most clients at a time (1; 0: no limit)"),
    IMG_OPT_FLAG('t', "persistent", NbdTool, persistent, "go on when the last client has gone"),
    IMG_OPT_FLAG('v', "verbose", NbdTool, verbose, "say what clients do wrong"),
    IMG_OPT_TEXT('x', "export-name", "NAME", NbdTool, export_name, "name of the export ('')"),
    IMG_OPT_TEXT('D', "description", "TEXT", NbdTool, description, "text that clients can read"),
    IMG_OPT_CALL('o', "offset", "OFFSET", option_offset, "where in the image the export begins"),
    IMG_OPT_FLAG('A', "allocation-depth", NbdTool, depth,
                 "clients can ask in which image of the chain data lies"),
    IMG_OPT_CALL('B', "bitmap", "NAME", option_bitmap,
                 "clients can ask what a dirty bitmap says (may be repeated)"),
    IMG_OPT_FLAG('L', "list", NbdTool, list, "list the exports of a server, and serve none"),
    IMG_OPT_OBJECT,
    IMG_OPT_TEXT(0, "tls-creds", "ID", NbdTool, tls_creds,
                 "clients use TLS, with the credentials of an --object"),
    IMG_OPT_TEXT(0, "tls-hostname", "NAME", NbdTool, tls_hostname,
                 "--list: whom the server's certificate has to name (default: the address)"),
    IMG_OPT_TEXT(0, "tls-authz", "ID", NbdTool, tls_authz,
                 "who may connect, by an --object authz-*"),
    IMG_OPT_TRACE,
    IMG_OPT_FLAG(0, "fork", NbdTool, fork, "go to the background when clients can connect"),
    IMG_OPT_TEXT(0, "pid-file", "PATH", NbdTool, pid_file, "file for the server's process ID"),
    IMG_OPT_ABSENT(0, "selinux-label", "LABEL"),
    IMG_OPT_TEXT('c', "connect", "DEV", NbdTool, device_path,
                 "the kernel's block device that shows the export, in the background"),
    IMG_OPT_FLAG('d', "disconnect", NbdTool, disconnect, "disconnect the device that is named"),
    IMG_OPT_TEXT('f', "format", "FORMAT", NbdTool, open.format, IMG_HELP_FORMAT),
    IMG_OPT_FLAG('r', "read-only", NbdTool, read_only, "clients cannot write"),
    IMG_OPT_FLAG('s', "snapshot", NbdTool, temporary,
                 "what clients write goes to a temporary file, and is dropped at the end"),
    IMG_OPT_CALL('l', "load-snapshot", "SNAPSHOT", option_load_snapshot,
                 IMG_HELP_SNAPSHOT "; read-only"),
    IMG_OPT_CALL('n', "nocache", NULL, option_nocache, "short for --cache=none"),
    IMG_OPT_CALL(0, "cache", "MODE", option_cache, "the cache mode (writeback)"),
    IMG_OPT_CALL(0, "aio", "MODE", option_aio, "threads, native or io_uring"),
    IMG_OPT_CALL(0, "discard", "MODE", option_discard, "what discard does: ignore or unmap"),
    IMG_OPT_CALL(0, "detect-zeroes", "MODE", option_detect_zeroes, "off, on or unmap"),
    IMG_OPT_FLAG(0, "image-opts", NbdTool, open.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_CALL(0, IMG_NO_NAMED_FILES, NULL, img_option_no_named_files, IMG_HELP_NO_NAMED_FILES),
    IMG_OPT_FLAG('V', "version", NbdTool, version, "version information"),
    IMG_OPT_END,
};

static const ImgCommand nbd_program = {
    NULL, nbd_options, "[FILE]", "Serves a disk image by the Network Block Device protocol.", NULL,
};

static void print_version(void)
{
    if (g_str_equal(log_program_name(), "qemu-nbd")) {
        printf("qemu-nbd " QEMU_VERSION " (vmm " VMM_VERSION ")\n");
    } else {
        printf("%s " VMM_VERSION " (speaks qemu-nbd " QEMU_VERSION "'s options)\n",
               log_program_name());
    }
}

/* How many sockets somebody has opened for this process; they begin at ACTIVATION_FD. */
static int activation_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t n, count;

    if (!pid || !fds || !parse_uint(pid, INT32_MAX, &n) || n != (uint64_t)getpid() ||
        !parse_uint(fds, INT32_MAX, &count)) {
        return 0;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    return (int)count;
}

/* TLS's, which QEMU looks at after the rest. */
static bool check_tls_options(const NbdTool *t, GError **err)
{
    if (!t->tls_creds && t->tls_hostname) {
        return error_set(err, "--tls-hostname is not permitted without --tls-creds");
    }
    if (!t->tls_creds && t->tls_authz) {
        return error_set(err, "--tls-authz is not permitted without --tls-creds");
    }
    if (t->device_path && t->tls_creds) {
        return error_set(err, "TLS is not supported with a host device");
    }
    if (t->tls_authz && t->list) {
        return error_set(err, "TLS authorization is incompatible with export list");
    }
    return !t->tls_hostname || t->list ||
           error_set(err, "TLS hostname is only supported with export list");
}

/* --list is a client, and has no image. */
static bool check_list_options(const NbdTool *t, int files, GError **err)
{
    if (files) {
        return error_set(err, "List mode is incompatible with a file name");
    }
    if (t->export_name || t->description || t->offset || t->device_path || t->disconnect ||
        t->open.format || t->snapshot || t->cache_given || t->open.aio || t->discard || t->depth ||
        t->bitmaps) {
        return error_set(err, "List mode is incompatible with per-device settings");
    }
    return !t->fork || error_set(err, "List mode is incompatible with forking");
}

/* What does not go together. */
static bool check_options(const NbdTool *t, int files, GError **err)
{
    if (t->list && !check_list_options(t, files, err)) {
        return false;
    }
    if (t->detect_zeroes && g_str_equal(t->detect_zeroes, "unmap") &&
        g_strcmp0(t->discard, "unmap")) {
        return error_set(err, "setting detect-zeroes to unmap is not allowed without setting "
                              "discard operation to unmap");
    }
    if (t->activation && t->bind) {
        return error_set(err, "Interface can't be set when using socket activation");
    }
    if (t->activation && t->port) {
        return error_set(err, "TCP port number can't be set when using socket activation");
    }
    if (t->activation && t->socket) {
        return error_set(err, "Unix socket can't be set when using socket activation");
    }
    if (t->activation > 1) {
        return error_set(err, "qemu-nbd does not support socket activation with LISTEN_FDS > 1");
    }
    if (t->socket && (t->port || t->bind)) {
        return error_set(err, "--socket goes with neither --port nor --bind");
    }
    if (t->device_path && (t->port || t->bind || t->activation)) {
        return error_set(err, "--connect goes with neither --port, --bind nor socket activation");
    }
    if (t->open.image_opts && t->open.format) {
        return error_set(err, "--image-opts and -f are mutually exclusive");
    }
    return check_tls_options(t, err);
}

/* The image. */

/* A part of the image, from the offset to its end. */
static BlockNode *coroutine_fn open_part(BlockNode *n, const NbdTool *t, GError **err)
{
    json_auto_t *tree = NULL;
    int64_t length = block_length(n);

    if (length < 0) {
        error_set_errno(err, -length, "Failed to determine the image's length");
        return NULL;
    }
    if (t->offset >= (uint64_t)length) {
        error_set(err, "Offset (%" PRIu64 ") has to be smaller than the image size (%" PRId64 ")",
                  t->offset, length);
        return NULL;
    }
    tree = json_pack("{s:s,s:I,s:s,s:b,s:s}", "driver", "raw", "offset", (json_int_t)t->offset,
                     "file", n->opts.node_name, "read-only", n->read_only, "discard",
                     t->discard ? t->discard : "unmap");
    return block_node_open_unheld(tree, 0, err);
}

static BlockNode *coroutine_fn open_image(const NbdTool *t, GError **err)
{
    json_auto_t *tree = img_open_tree(t->file, &t->open, err);
    BlockNode *n;

    if (tree) {
        json_object_set_new(tree, "discard", json_string(t->discard ? t->discard : "unmap"));
        if (t->detect_zeroes) {
            json_object_set_new(tree, "detect-zeroes", json_string(t->detect_zeroes));
        }
    }
    n = tree ? block_image_open(tree, BLOCK_IMAGE_RESIZES, err) : NULL;
    if (!n) {
        g_prefix_error(err, "Failed to blk_new_open '%s': ", t->file);
        return NULL;
    }
    if (t->temporary) {
        BlockNode *overlay = block_open_temporary_overlay(n, err);

        block_node_unref(n);
        n = overlay;
    }
    if (n && t->offset) {
        BlockNode *part = open_part(n, t, err);

        block_node_unref(n);
        n = part;
    }
    return n;
}

/* Sockets. */

static int tool_listen(NbdTool *t, GError **err)
{
    if (t->activation) {
        fd_set_nonblock(ACTIVATION_FD, true);
        return ACTIVATION_FD;
    }
    if (!t->socket) {
        return host_tcp_listen(t->bind ? t->bind : "0.0.0.0", t->port ? t->port : NBD_PORT, false,
                               false, err);
    }
    return host_unix_listen(t->socket, err);
}

static void client_gone(bool served, unsigned left, void *data)
{
    NbdTool *t = data;

    if (served && !left && !t->persistent) {
        t->end = true;
    }
}

static void device_gone(void *data)
{
    ((NbdTool *)data)->end = true;
}

/* Clients find the server: on a socket, or on the kernel's device, or both. */
static bool coroutine_fn tool_offer(NbdTool *t, GError **err)
{
    int fd;

    if (!t->device_path || t->socket) {
        fd = tool_listen(t, err);
        if (fd < 0) {
            return false;
        }
        nbd_server_listen(fd, t->socket);
    }
    if (!t->device_path) {
        return true;
    }
    t->device = nbd_device_attach(t->device_path, t->export_name ? t->export_name : "", device_gone,
                                  t, err);
    if (t->device && t->verbose) {
        printf("NBD device %s is now connected to %s\n", t->device_path, t->file);
        fflush(stdout);
    }
    return t->device;
}

static bool coroutine_fn tool_export(NbdTool *t, GError **err)
{
    NbdServerOptions server = {.tls_creds = t->tls_creds,
                               .tls_authz = t->tls_authz,
                               .max_clients = t->shared,
                               .client_gone = client_gone,
                               .data = t};
    BlockCache cache = {.writeback = true};
    json_auto_t *options = NULL;

    if (t->open.cache) {
        block_cache_parse(t->open.cache, &cache, NULL);
    }
    options =
        json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:b}", "type", "nbd", "id", NBD_EXPORT_ID, "node-name",
                  t->node->opts.node_name, "name", t->export_name ? t->export_name : "", "writable",
                  !t->read_only, "writethrough", !cache.writeback, "allocation-depth", t->depth);
    if (!options) {
        return error_set(err, "the export's name is no UTF-8 text");
    }
    if (t->bitmaps) {
        json_object_set(options, "bitmaps", t->bitmaps);
    }
    if (t->description) {
        json_object_set_new(options, "description", json_string(t->description));
    }
    if (!nbd_server_start(&server, err) ||
        !block_export_add(options, event_loop_current(), NULL, NULL, err)) {
        return false;
    }
    return tool_offer(t, err);
}

static bool write_pid_file(const char *path, GError **err)
{
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    auto_fd fd = host_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, err);

    if (fd < 0) {
        return false;
    }
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        return error_set_errno(err, errno, "Failed to write pid file '%s'", path);
    }
    return true;
}

/* The end. */

static void tool_signal(void *data)
{
    NbdTool *t = data;
    struct signalfd_siginfo info;

    if (read(t->signals->fd, &info, sizeof info) > 0) {
        t->end = true;
    }
}

static const int ending_signals[] = {SIGTERM, SIGINT, SIGHUP};

/* Before any thread starts: threads inherit the mask. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    for (unsigned i = 0; i < G_N_ELEMENTS(ending_signals); i++) {
        sigaddset(set, ending_signals[i]);
    }
    sigprocmask(SIG_BLOCK, set, NULL);
}

/* Clients can connect: the parent of --fork ends, and what is said later is said to nobody. */
static void tool_ready(NbdTool *t)
{
    if (t->ready_fd >= 0) {
        auto_fd null = host_open("/dev/null", O_RDWR, 0, NULL);

        for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++) {
            if (fd != STDERR_FILENO || !t->verbose) {
                dup2(null, fd);
            }
        }
        log_stderr_changed();
        if (write(t->ready_fd, "", 1) < 0) {
            t->end = true; /* the parent was killed */
        }
        fd_close(&t->ready_fd);
    }
}

static void coroutine_fn tool_start(void *data)
{
    NbdTool *t = data;
    g_autoptr(GError) err = NULL;

    t->node = open_image(t, &err);
    if (!t->node || (t->snapshot && !img_load_snapshot(t->node, t->snapshot)) ||
        !tool_export(t, &err) || (t->pid_file && !write_pid_file(t->pid_file, &err))) {
        t->status = 1;
        t->end = true;
    } else {
        tool_ready(t);
    }
    if (err) {
        log_error("%s", err->message);
    }
    t->started = true;
}

static void coroutine_fn tool_stop(void *data)
{
    NbdTool *t = data;
    Timer *patience = block_end_timer_new();

    if (t->device) {
        nbd_device_detach(g_steal_pointer(&t->device));
    }
    nbd_server_stop();
    json_decref(g_steal_pointer(&t->bitmaps));
    if (t->node) {
        block_node_unref(g_steal_pointer(&t->node));
    }
    timer_free(patience);
    t->over = true;
}

static NbdTool tool = {.shared = 1, .ready_fd = -1};

static int nbd_run(int argc, char **argv)
{
    NbdTool *t = &tool;
    sigset_t set;

    log_never_wait(); /* clients are served, whoever reads the log */
    block_signals(&set);
    t->signals =
        event_loop_add_fd(event_loop_current(), signalfd(-1, &set, SFD_CLOEXEC), NULL, NULL, t);
    t->signals->read = tool_signal;
    fd_handler_set(t->signals, true, false);
    if (t->verbose) {
        log_set_items("block", NULL, NULL);
    }
    coroutine_start(tool_start, t);
    while (!t->end || !t->started) {
        event_loop_iterate(event_loop_current(), -1);
    }
    coroutine_start(tool_stop, t);
    while (!t->over) {
        event_loop_iterate(event_loop_current(), -1);
    }
    if (t->pid_file && t->status == 0) {
        unlink(t->pid_file);
    }
    return t->status;
}

/* --list. */

static void coroutine_fn list_main(void *data)
{
    NbdTool *t = data;
    NbdListOptions o = {.path = t->socket,
                        .host = t->bind ? t->bind : "0.0.0.0",
                        .port = t->port ? t->port : NBD_PORT,
                        .tls_creds = t->tls_creds,
                        .tls_hostname = t->tls_hostname};
    g_autoptr(GError) err = NULL;

    if (!nbd_list(&o, &err)) {
        log_error("%s", err->message);
        t->status = 1;
    }
    t->over = true;
}

static int list_run(int argc, char **argv)
{
    coroutine_start(list_main, &tool);
    while (!tool.over) {
        event_loop_iterate(event_loop_current(), -1);
    }
    return tool.status;
}

/* The parent of --fork: its status is that of the server's start. */
static int wait_until_ready(pid_t child, int fd)
{
    char byte;
    ssize_t n;
    int status;

    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1) {
        return 0;
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

/* Whether this is the server. False: the program ends with *status. */
static bool go_to_background(NbdTool *t, int *status)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
        log_error("Failed to fork: %s", g_strerror(errno));
        *status = 1;
        return false;
    }
    if (child == 0) {
        close(fds[0]);
        t->ready_fd = fds[1];
        setsid();
        return true;
    }
    close(fds[1]);
    *status = wait_until_ready(child, fds[0]);
    return false;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    int status;

    log_set_program_name(strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0]);
    object_set_classes(object_base_classes); /* before options make some */
    object_add_classes(block_object_classes);
    tool.activation = activation_count();
    if (!img_parse(&nbd_program, argc, argv, &tool, &status)) {
        return status;
    }
    if (tool.version) {
        print_version();
        return 0;
    }
    if (!check_options(&tool, argc - optind, &err)) {
        return img_fail(g_steal_pointer(&err), NULL);
    }
    if (tool.list) {
        return img_main(argc, argv, list_run);
    }
    if (optind != argc - 1) {
        return img_usage("Invalid number of arguments");
    }
    if (tool.disconnect) {
        if (!nbd_device_disconnect(argv[optind], &err)) {
            return img_fail(g_steal_pointer(&err), NULL);
        }
        printf("%s disconnected\n", argv[optind]);
        return 0;
    }
    /* As with QEMU: whoever connects a device wants it, and not to wait. */
    tool.fork = tool.fork || (tool.device_path && !tool.verbose);
    tool.file = argv[optind];
    tool.open.writable = !tool.read_only && !tool.temporary;
    if (tool.fork && !go_to_background(&tool, &status)) {
        return status;
    }
    return img_main(argc, argv, nbd_run);
}
