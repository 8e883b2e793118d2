/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Removable media, by two toys: a CD drive with a tray and a lock, and a floppy drive, which has
 * neither. A disc is a driver whose sectors all hold one byte.
 */
#include "block/media.h"
#include <errno.h>
#include "../../../block/core.h"
#include "../../../block/drivers/drivers.h"
#include "fixture.h"

enum { SECTOR = 512, DISC_SECTORS = 16 };

/* Discs. */

typedef struct {
    int64_t fill, sectors;
} Disc;

static const Property disc_props[] = {
    PROP("fill", PROP_INT64, Disc, fill, "0", "the byte"),
    PROP("sectors", PROP_INT64, Disc, sectors, "16", "the length"),
    PROP_END,
};

static Disc *disc_of(BlockNode *n)
{
    return block_node_state(n);
}

static bool disc_open(BlockNode *n, GError **err)
{
    n->filename = g_strdup("disc");
    return true;
}

/* In two halves, between which the loop does other things. */
static int coroutine_fn disc_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    memset(iov->iov_base, disc_of(n)->fill, bytes / 2);
    coroutine_sleep(CLOCK_REALTIME_NS, 0);
    memset((uint8_t *)iov->iov_base + bytes / 2, disc_of(n)->fill, bytes - bytes / 2);
    return 0;
}

static int64_t disc_length(BlockNode *n)
{
    return disc_of(n)->sectors * SECTOR;
}

static int coroutine_fn disc_flush(BlockNode *n)
{
    return 0;
}

static const BlockDriver disc_driver = {
    .name = "disc",
    .help = "a disc of one byte",
    .size = sizeof(Disc),
    .props = disc_props,
    .is_protocol = true,
    .open = disc_open,
    .preadv = disc_preadv,
    .flush = disc_flush,
    .length = disc_length,
};

static BlockNode *new_disc(const char *name, int fill, int sectors)
{
    GError *err = NULL;
    json_auto_t *tree =
        parse_tree("{'driver':'disc','node-name':'%s','fill':%d,'sectors':%d,'read-only':true}",
                   name, fill, sectors);
    bool ok = block_node_add_monitor_owned(tree, &err);

    ck_no_error(err);
    ck_assert(ok);
    return block_node_find(name);
}

/* Drives. */

typedef struct {
    BlockBackend *blk;
    unsigned changes; /* medium_changed() calls, and what the last one said */
    bool loaded;
    int64_t length;
    unsigned asked;      /* eject_request() calls */
    const char *refuses; /* why it takes no medium */
} Drive;

static bool drive_medium_changed(void *data, bool loaded, GError **err)
{
    Drive *d = data;
    BlockNode *node = block_backend_node(d->blk);

    /* The backend's own count is not 0 all the time: it has requests that are held for a moment. */
    ck_assert(!node || __atomic_load_n(&node->in_flight, __ATOMIC_SEQ_CST) == 0);
    if (loaded && d->refuses) {
        return error_set(err, "%s", d->refuses);
    }
    d->changes++;
    d->loaded = loaded;
    d->length = block_backend_length(d->blk);
    return true;
}

static void drive_eject_request(void *data)
{
    Drive *d = data;

    d->asked++;
}

static const BlockDeviceOps cd_ops = {
    .medium_changed = drive_medium_changed,
    .eject_request = drive_eject_request,
    .has_tray = true,
};
static const BlockDeviceOps floppy_ops = {.medium_changed = drive_medium_changed};
static const BlockDeviceOps fixed_ops = {NULL};

/* DEVICE_TRAY_MOVED. */
static unsigned moves;
static bool moved_open;

static void on_tray_moved(BlockBackend *blk, bool open, void *data)
{
    __atomic_add_fetch(&moves, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&moved_open, open, __ATOMIC_SEQ_CST);
}

static void media_setup(void)
{
    fixture_setup();
    block_drivers_add(&disc_driver);
    block_backend_set_tray_hook(on_tray_moved, NULL);
    moves = 0;
}

static void media_teardown(void)
{
    block_backend_set_tray_hook(NULL, NULL);
    fixture_teardown();
}

static Drive cd;

static void plug(Drive *d, const char *path, const BlockDeviceOps *ops)
{
    GError *err = NULL;

    memset(d, 0, sizeof *d);
    d->blk = block_backend_attach(NULL, path, 0, ops, d, &err);
    ck_no_error(err);
}

/* A change, as a coroutine of the main loop. */
typedef struct {
    enum { OPEN, FORCE, CLOSE, INSERT, REMOVE, UNPLUG } what;
    Drive *drive;
    BlockNode *node;
    int ret;
    GError *err;
    bool done;
} Change;

static void coroutine_fn change_entry(void *data)
{
    Change *c = data;
    BlockBackend *blk = c->drive->blk;

    switch (c->what) {
    case OPEN:
    case FORCE:
        c->ret = block_backend_open_tray(blk, "cd0", c->what == FORCE, &c->err);
        break;
    case CLOSE:
        c->ret = block_backend_close_tray(blk, "cd0", &c->err);
        break;
    case INSERT:
        c->ret = block_backend_insert_medium(blk, c->node, &c->err);
        break;
    case REMOVE:
        c->ret = block_backend_remove_medium(blk, "cd0", &c->err);
        break;
    case UNPLUG:
        block_backend_detach(blk, true);
        break;
    }
    c->done = true;
}

static void change_start(Change *c, int what, Drive *drive, BlockNode *node)
{
    *c = (Change){.what = what, .drive = drive, .node = node};
    coroutine_start(change_entry, c);
}

static void change(int what, Drive *drive, BlockNode *node)
{
    Change c;

    change_start(&c, what, drive, node);
    turn_until(&c.done);
    ck_no_error(c.err);
    ck_assert_int_eq(c.ret, 0);
}

static void change_fails(int what, Drive *drive, BlockNode *node, int ret, const char *message)
{
    Change c;

    change_start(&c, what, drive, node);
    turn_until(&c.done);
    ck_assert_int_eq(c.ret, ret);
    ck_assert_ptr_nonnull(c.err);
    ck_assert_str_eq(c.err->message, message);
    g_clear_error(&c.err);
}

static void check_query(const char *expected)
{
    json_auto_t *all = block_query();
    json_t *o = json_array_get(all, 0);
    json_auto_t *want = parse_tree("%s", expected);
    const char *key;
    json_t *value;

    json_object_foreach(want, key, value)
    {
        ck_assert_msg(json_is_null(value) ? !json_object_get(o, key)
                                          : json_equal(value, json_object_get(o, key)),
                      "%s", key);
    }
}

#define NO_MEDIUM (-ENOMEDIUM)
static uint8_t sector[SECTOR];

START_TEST(tray)
{
    BlockNode *one = new_disc("one", 1, 16), *two = new_disc("two", 2, 24);

    plug(&cd, "/machine/cd", &cd_ops);
    check_query("{'removable':true,'locked':false,'tray_open':false,'inserted':null}");
    ck_assert_int_eq(do_io(cd.blk, BLOCK_OP_READ, 0, sector, SECTOR), NO_MEDIUM);
    change_fails(INSERT, &cd, one, -EBUSY, "Tray of the device is not open");
    change_fails(REMOVE, &cd, NULL, -EBUSY, "Tray of device 'cd0' is not open");
    change(CLOSE, &cd, NULL); /* it is closed */
    ck_assert_uint_eq(moves, 0);
    change(OPEN, &cd, NULL);
    change(OPEN, &cd, NULL);
    ck_assert_uint_eq(moves, 1);
    ck_assert(moved_open);
    check_query("{'tray_open':true}");
    change(REMOVE, &cd, NULL); /* there is none */
    change(INSERT, &cd, one);
    ck_assert(!cd.loaded); /* the tray is open */
    change_fails(INSERT, &cd, two, -EEXIST, "There already is a medium in the device");
    change_fails(INSERT, &cd, one, -EBUSY, "Node 'one' is already in use");
    change(CLOSE, &cd, NULL);
    ck_assert(cd.loaded);
    ck_assert_int_eq(cd.length, 16 * SECTOR);
    ck_assert_uint_eq(moves, 2);
    ck_assert(!moved_open);
    ck_assert_int_eq(do_io(cd.blk, BLOCK_OP_READ, 0, sector, SECTOR), 0);
    ck_assert_int_eq(sector[0], 1);
    change_fails(REMOVE, &cd, NULL, -EBUSY, "Tray of device 'cd0' is not open");
    change(OPEN, &cd, NULL);
    ck_assert(!cd.loaded);
    change(REMOVE, &cd, NULL);
    ck_assert_int_eq(block_backend_length(cd.blk), NO_MEDIUM);
    change(INSERT, &cd, two);
    change(CLOSE, &cd, NULL);
    ck_assert_int_eq(block_backend_length(cd.blk), 24 * SECTOR);
    ck_assert_int_eq(cd.length, 24 * SECTOR);
    ck_assert_int_eq(do_io(cd.blk, BLOCK_OP_READ, 20 * SECTOR, sector, SECTOR), 0);
    ck_assert_int_eq(sector[SECTOR - 1], 2);
    /* The disc that was taken out can be used elsewhere, or closed. */
    ck_assert(block_node_del_monitor_owned("one", NULL));
    block_backend_detach(cd.blk, true);
    ck_assert(block_node_del_monitor_owned("two", NULL));
}
END_TEST

START_TEST(lock)
{
    plug(&cd, "/machine/cd", &cd_ops);
    block_backend_lock_medium(cd.blk, true);
    check_query("{'locked':true,'tray_open':false}");
    change_fails(OPEN, &cd, NULL, -EINPROGRESS,
                 "Device 'cd0' is locked and force was not specified, wait for tray to open and "
                 "try again");
    ck_assert_uint_eq(cd.asked, 1);
    ck_assert(!block_backend_tray_open(cd.blk));
    /* The guest gives the medium up, and closes the tray later. */
    block_backend_lock_medium(cd.blk, false);
    block_backend_tray_moved(cd.blk, true);
    ck_assert_uint_eq(moves, 1);
    block_backend_tray_moved(cd.blk, true);
    ck_assert_uint_eq(moves, 1);
    change(OPEN, &cd, NULL);
    block_backend_tray_moved(cd.blk, false);
    ck_assert_uint_eq(moves, 2);
    block_backend_lock_medium(cd.blk, true);
    change(FORCE, &cd, NULL);
    ck_assert_uint_eq(cd.asked, 1);
    ck_assert(block_backend_tray_open(cd.blk) && !block_backend_medium_locked(cd.blk));
    check_query("{'locked':false,'tray_open':true}");
    block_backend_detach(cd.blk, true);
}
END_TEST

/* A drive without a tray sees its medium come and go; one that takes no medium keeps none. */
START_TEST(no_tray)
{
    BlockNode *one = new_disc("one", 1, 16);
    Drive floppy;

    plug(&floppy, "/machine/floppy", &floppy_ops);
    check_query("{'removable':true,'tray_open':null}");
    change(OPEN, &floppy, NULL);
    change(CLOSE, &floppy, NULL);
    floppy.refuses = "this is no floppy disk";
    change_fails(INSERT, &floppy, one, -EINVAL, "this is no floppy disk");
    ck_assert_ptr_null(block_backend_node(floppy.blk));
    floppy.refuses = NULL;
    change(INSERT, &floppy, one);
    ck_assert(floppy.loaded && floppy.length == 16 * SECTOR);
    change(REMOVE, &floppy, NULL);
    ck_assert(!floppy.loaded);
    ck_assert_uint_eq(moves, 0);
    block_backend_detach(floppy.blk, true);
    /* A CD drive that takes no medium keeps its tray open. */
    plug(&cd, "/machine/cd", &cd_ops);
    cd.refuses = "this is no CD";
    change(OPEN, &cd, NULL);
    change(INSERT, &cd, one);
    change_fails(CLOSE, &cd, NULL, -EINVAL, "this is no CD");
    ck_assert(block_backend_tray_open(cd.blk));
    ck_assert_uint_eq(moves, 1);
    block_backend_detach(cd.blk, true);
}
END_TEST

START_TEST(not_removable)
{
    BlockNode *one = new_disc("one", 1, 16);
    Drive fixed;

    plug(&fixed, "/machine/fixed", &fixed_ops);
    check_query("{'removable':false,'tray_open':null}");
    change_fails(OPEN, &fixed, NULL, -ENOTSUP, "Device 'cd0' is not removable");
    change_fails(FORCE, &fixed, NULL, -ENOTSUP, "Device 'cd0' is not removable");
    change_fails(CLOSE, &fixed, NULL, -ENOTSUP, "Device 'cd0' is not removable");
    change_fails(REMOVE, &fixed, NULL, -ENOTSUP, "Device 'cd0' is not removable");
    change_fails(INSERT, &fixed, one, -ENOTSUP, "Device is not removable");
    block_backend_detach(fixed.blk, true);
}
END_TEST

typedef struct {
    BlockRequest io;
    struct iovec iov;
    uint8_t buf[SECTOR];
    bool done;
} Read;

static void read_done(BlockRequest *io, int ret)
{
    ((Read *)io)->done = true;
}

/* A change waits for a request; what was true before the wait is not true after it. */
START_TEST(looked_at_again)
{
    BlockNode *one = new_disc("one", 1, 16), *two = new_disc("two", 2, 16);
    Read read = {.io = {.op = BLOCK_OP_READ, .bytes = SECTOR, .niov = 1, .done = read_done}};
    Change first, second;

    read.iov = (struct iovec){read.buf, SECTOR};
    read.io.iov = &read.iov;
    plug(&cd, "/machine/cd", &cd_ops);
    change(OPEN, &cd, NULL);
    change(INSERT, &cd, one);
    /* The guest closes the tray while 'remove' waits. */
    block_backend_submit(cd.blk, &read.io);
    change_start(&first, REMOVE, &cd, NULL);
    ck_assert(!first.done);
    block_backend_tray_moved(cd.blk, false);
    turn_until(&first.done);
    ck_error(first.err, "Tray of device 'cd0' is not open");
    ck_assert_ptr_eq(block_backend_node(cd.blk), one);
    ck_assert(read.done);
    /* Two monitors insert at the same time. */
    change(OPEN, &cd, NULL);
    read.done = false;
    block_backend_submit(cd.blk, &read.io);
    change_start(&first, REMOVE, &cd, NULL);
    turn_until(&first.done);
    block_backend_submit(cd.blk, &read.io);
    change_start(&first, INSERT, &cd, one);
    change_start(&second, INSERT, &cd, two);
    ck_assert(!first.done && !second.done);
    turn_until(&first.done);
    turn_until(&second.done);
    ck_assert_int_eq(MAX(first.ret, second.ret), 0);
    ck_assert_int_eq(MIN(first.ret, second.ret), -EEXIST);
    g_clear_error(&first.err);
    g_clear_error(&second.err);
    /* The device is unplugged while 'remove' waits. Who waited last goes on first. */
    block_backend_submit(cd.blk, &read.io);
    change_start(&first, REMOVE, &cd, NULL);
    change_start(&second, UNPLUG, &cd, NULL);
    ck_assert(!first.done && !second.done);
    turn_until(&first.done);
    ck_assert(second.done);
    ck_error(first.err, "unplugged");
}
END_TEST

/* Reads on an I/O thread while the medium is changed. */

typedef struct {
    BlockBackend *blk;
    EventLoop *loop;
    GThread *thread;
    bool empty;       /* atomic: nothing lies in the drive */
    bool stop;        /* atomic */
    unsigned ended;   /* atomic */
    unsigned read[3]; /* atomic: by what the sector held; 0: no medium */
    BlockRequest io[4];
    struct iovec iov[4];
    uint8_t buf[4][SECTOR];
} Reader;

static Reader reader;

static void reader_next(unsigned i);

static void reader_done(BlockRequest *io, int ret)
{
    unsigned i = io - reader.io, fill = ret ? 0 : reader.buf[i][0];

    g_assert(ret == 0 || ret == NO_MEDIUM);
    if (ret == 0) {
        g_assert(!__atomic_load_n(&reader.empty, __ATOMIC_SEQ_CST));
        g_assert(fill == 1 || fill == 2);
        for (unsigned k = 0; k < SECTOR; k++) {
            g_assert(reader.buf[i][k] == fill);
        }
    }
    __atomic_add_fetch(&reader.read[fill], 1, __ATOMIC_SEQ_CST);
    reader_next(i);
}

static void reader_next(unsigned i)
{
    if (__atomic_load_n(&reader.stop, __ATOMIC_SEQ_CST)) {
        __atomic_add_fetch(&reader.ended, 1, __ATOMIC_SEQ_CST);
        return;
    }
    reader.iov[i] = (struct iovec){reader.buf[i], SECTOR};
    reader.io[i] = (BlockRequest){.op = BLOCK_OP_READ,
                                  .bytes = SECTOR,
                                  .iov = &reader.iov[i],
                                  .niov = 1,
                                  .done = reader_done};
    block_backend_submit(reader.blk, &reader.io[i]);
}

static void reader_start(void *data)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(reader.io); i++) {
        reader_next(i);
    }
}

static void *reader_main(void *data)
{
    event_loop_run(reader.loop);
    return NULL;
}

/* Until the thread has read this once more. */
static void wait_for_read(unsigned fill)
{
    unsigned before = __atomic_load_n(&reader.read[fill], __ATOMIC_SEQ_CST);

    while (__atomic_load_n(&reader.read[fill], __ATOMIC_SEQ_CST) == before) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
}

START_TEST(under_load)
{
    BlockNode *discs[] = {new_disc("one", 1, 16), new_disc("two", 2, 16)};

    plug(&cd, "/machine/cd", &cd_ops);
    memset(&reader, 0, sizeof reader);
    reader.blk = cd.blk;
    reader.empty = true;
    reader.loop = event_loop_new("reader", NULL);
    reader.thread = g_thread_new("reader", reader_main, NULL);
    event_loop_call(reader.loop, reader_start, NULL);
    for (unsigned i = 0; i < 60; i++) {
        change(OPEN, &cd, NULL);
        change(REMOVE, &cd, NULL);
        __atomic_store_n(&reader.empty, true, __ATOMIC_SEQ_CST);
        wait_for_read(0);
        __atomic_store_n(&reader.empty, false, __ATOMIC_SEQ_CST);
        change(INSERT, &cd, discs[i % 2]);
        change(CLOSE, &cd, NULL);
        wait_for_read(1 + i % 2);
    }
    __atomic_store_n(&reader.stop, true, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&reader.ended, __ATOMIC_SEQ_CST) != G_N_ELEMENTS(reader.io)) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    event_loop_quit(reader.loop);
    g_thread_join(reader.thread);
    event_loop_free(reader.loop);
    ck_assert_uint_eq(moves, 2 * 60);
    block_backend_detach(cd.blk, true);
}
END_TEST

/* 'drive_del' takes the medium of a removable device, too. */
START_TEST(deleted)
{
    GError *err = NULL;

    new_drive(NULL, "driver=disc,fill=1,if=none,id=d,media=cdrom");
    memset(&cd, 0, sizeof cd);
    cd.blk = block_backend_attach("d", "/machine/cd", 0, &cd_ops, &cd, &err);
    ck_no_error(err);
    ck_assert_int_eq(do_io(cd.blk, BLOCK_OP_READ, 0, sector, SECTOR), 0);
    block_backend_delete(cd.blk);
    ck_assert_uint_eq(cd.changes, 1);
    ck_assert(!cd.loaded);
    ck_assert_int_eq(do_io(cd.blk, BLOCK_OP_READ, 0, sector, SECTOR), NO_MEDIUM);
    block_backend_detach(cd.blk, true);
}
END_TEST

static BlockNode *writable_disc(const char *name)
{
    GError *err = NULL;
    json_auto_t *tree = parse_tree("{'driver':'disc','node-name':'%s'}", name);

    block_node_add_monitor_owned(tree, &err);
    ck_no_error(err);
    return block_node_find(name);
}

static bool node_is_written(BlockNode *n)
{
    return n->core->perms.needs & BLOCK_PERM_WRITE;
}

/* A CD drive takes no write permission of a medium that could be written, and gives up a drive's.
 */
START_TEST(read_only_device)
{
    GError *err = NULL;
    BlockBackend *drive = new_drive(NULL, "driver=disc,fill=1,if=none,id=d,node-name=w");
    BlockNode *n = block_backend_node(drive);

    ck_assert(node_is_written(n));
    ck_assert(!block_backend_read_only(drive));
    memset(&cd, 0, sizeof cd);
    cd.blk = block_backend_attach("d", "/machine/cd", BLOCK_DEVICE_READ_ONLY, &cd_ops, &cd, &err);
    ck_no_error(err);
    ck_assert(!node_is_written(n));
    ck_assert(block_backend_read_only(cd.blk));
    ck_assert_int_eq(do_io(cd.blk, BLOCK_OP_WRITE, 0, sector, SECTOR), -EPERM);
    ck_assert_int_eq(do_io(cd.blk, BLOCK_OP_READ, 0, sector, SECTOR), 0);
    /* The drive without its device is what it was. */
    block_backend_detach(cd.blk, false);
    ck_assert(node_is_written(n));
    ck_assert(!block_backend_read_only(drive));
    /* By the name of a node; and one without a medium. */
    block_backend_free_all();
    n = writable_disc("w2");
    cd.blk = block_backend_attach("w2", "/machine/cd", BLOCK_DEVICE_READ_ONLY, &cd_ops, &cd, &err);
    ck_no_error(err);
    ck_assert(!node_is_written(n) && block_backend_read_only(cd.blk));
    block_backend_detach(cd.blk, true);
    cd.blk = block_backend_attach(NULL, "/machine/cd", BLOCK_DEVICE_READ_ONLY, &cd_ops, &cd, &err);
    ck_assert(block_backend_read_only(cd.blk));
    block_backend_detach(cd.blk, true);
    cd.blk = block_backend_attach(NULL, "/machine/floppy", 0, &cd_ops, &cd, &err);
    ck_assert(!block_backend_read_only(cd.blk));
    block_backend_detach(cd.blk, true);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        tray,       lock,    no_tray,          not_removable, looked_at_again,
        under_load, deleted, read_only_device, NULL,
    };

    return fixture_run_with("media", tests, media_setup, media_teardown);
}
