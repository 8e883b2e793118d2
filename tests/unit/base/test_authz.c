/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may come in. Servers and certificates are in tests/img/test_nbd_list.py. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/authz.h"
#include "base/coroutine.h"
#include "base/host.h"
#include "base/json.h"
#include "loop_helpers.h"

static EventLoop *loop;
static char *folder, *file;

static void setup(void)
{
    loop = new_loop();
    event_loop_bind(loop);
    object_set_classes(object_base_classes);
    folder = g_dir_make_tmp("vmm-authz-XXXXXX", NULL);
    ck_assert_ptr_nonnull(folder);
    file = g_build_filename(folder, "list", NULL);
}

static void teardown(void)
{
    object_delete_all();
    host_fdset_close_all();
    g_unlink(file);
    g_rmdir(folder);
    g_free(file);
    g_free(folder);
    event_loop_free(loop);
}

/* NULL, or why there is no such object. */
static char *make(const char *json)
{
    json_auto_t *config = json_parse(json, NULL);
    g_autoptr(GError) err = NULL;

    ck_assert_ptr_nonnull(config);
    return object_create(config, &err) ? NULL : g_strdup(err->message);
}

static char *make_listfile(const char *path)
{
    g_autofree char *json = g_strdup_printf(
        "{\"qom-type\": \"authz-listfile\", \"id\": \"a\", \"filename\": \"%s\"}", path);

    return make(json);
}

static void put(const char *text)
{
    ck_assert(g_file_set_contents(file, text, -1, NULL));
}

typedef struct {
    const char *id, *who;
    bool done, allowed;
    char *why;
} Asked;

static void coroutine_fn ask(void *data)
{
    Asked *q = data;
    g_autoptr(GError) err = NULL;

    q->allowed = authz_allows(q->id, q->who, &err);
    ck_assert(q->allowed == !err);
    q->why = err ? g_strdup(err->message) : NULL;
    q->done = true;
}

static bool allows(const char *id, const char *who, const char *why)
{
    Asked q = {.id = id, .who = who};

    coroutine_start(ask, &q);
    run_until(loop, &q.done);
    ck_assert_msg(q.allowed || strstr(q.why, why), "%s", q.why);
    g_free(q.why);
    return q.allowed;
}

static const char ALLOW_X[] = "{\"rules\": [{\"match\": \"x\", \"policy\": \"allow\"}]}";
static const char ALLOW_Y[] = "{\"rules\": [{\"match\": \"y\", \"policy\": \"allow\"}]}";

START_TEST(each_class_decides)
{
    ck_assert_ptr_null(
        make("{\"qom-type\": \"authz-simple\", \"id\": \"s\", \"identity\": \"x\"}"));
    ck_assert_ptr_null(make("{\"qom-type\": \"authz-list\", \"id\": \"l\", \"rules\": "
                            "[{\"match\": \"x*\", \"policy\": \"allow\", \"format\": \"glob\"}]}"));
    ck_assert_ptr_null(make("{\"qom-type\": \"secret\", \"id\": \"k\", \"data\": \"x\"}"));
    ck_assert(allows("s", "x", "") && !allows("s", "y", "'s' denies it"));
    ck_assert(allows("l", "xyz", "") && !allows("l", "y", "'l' denies it"));
    ck_assert(!allows("k", "x", "'k' is of type 'secret', and does not say who may come in"));
    ck_assert(!allows("n", "x", "there is no object 'n'"));
}
END_TEST

/* The loop goes on meanwhile. */
START_TEST(a_file_is_read_anew)
{
    put(ALLOW_X);
    ck_assert_ptr_null(make_listfile(file));
    ck_assert(allows("a", "x", "") && !allows("a", "y", "denies it"));
    put(ALLOW_Y);
    ck_assert(allows("a", "y", "") && !allows("a", "x", "denies it"));
    for (unsigned i = 0; i < 2; i++) {
        Asked q = {.id = "a", .who = "y"};

        coroutine_start(ask, &q);
        ck_assert(!q.done);
        if (i) { /* what was asked is of an object that is no more, though another has its id */
            ck_assert(object_delete("a", NULL));
            ck_assert_ptr_null(make_listfile(file));
        }
        run_until(loop, &q.done);
        ck_assert(q.allowed == !i);
        ck_assert(!i || strstr(q.why, "object 'a' was taken away while"));
        g_free(q.why);
    }
}
END_TEST

/* A list that becomes something else lets nobody in, and keeps nobody waiting. */
START_TEST(what_is_no_list)
{
    static const struct {
        const char *is, *why;
    } others[] = {
        {"fifo", "is a regular file"},   {"folder", "is a regular file"},
        {"device", "is a regular file"}, {"large", "has at most 1048576 bytes, not 1048577"},
        {"missing", "No such file"},     {"empty", "is no list of who may come in"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        const char *is = others[i].is;
        g_autofree char *why = NULL;

        put(ALLOW_X);
        ck_assert_ptr_null(make_listfile(file));
        ck_assert(allows("a", "x", ""));
        g_unlink(file);
        if (g_str_equal(is, "fifo")) {
            ck_assert_int_eq(mkfifo(file, 0600), 0);
        } else if (g_str_equal(is, "folder")) {
            ck_assert_int_eq(g_mkdir(file, 0700), 0);
        } else if (g_str_equal(is, "device")) {
            ck_assert_int_eq(symlink("/dev/zero", file), 0);
        } else if (!g_str_equal(is, "missing")) {
            put("");
            ck_assert_int_eq(truncate(file, g_str_equal(is, "large") ? (1 << 20) + 1 : 0), 0);
        }
        ck_assert(!allows("a", "x", others[i].why));
        ck_assert(object_delete("a", NULL));
        why = make_listfile(file);
        ck_assert_msg(why && strstr(why, others[i].why), "%s: %s", is, why);
        g_remove(file);
    }
}
END_TEST

START_TEST(a_descriptor_from_a_set)
{
    g_autofree char *path = NULL;
    int fd;

    put(ALLOW_X);
    fd = open(file, O_RDONLY);
    path = g_strdup_printf("/dev/fdset/%d", (int)host_fdset_add(7, fd, NULL, NULL));
    ck_assert_ptr_null(make_listfile(path));
    ck_assert(allows("a", "x", "") && allows("a", "x", ""));
    host_fdset_remove(7, -1);
    ck_assert(!allows("a", "x", "Could not open '/dev/fdset/7'"));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {each_class_decides, a_file_is_read_anew, what_is_no_list,
                                  a_descriptor_from_a_set, NULL};

    return unit_run_with("authz", tests, setup, teardown);
}
