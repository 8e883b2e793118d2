/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -drive and -blockdev: names, places, options, formats, locks, and what queries show. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "fixture.h"

#define REFUSED(part, ...)                                                                         \
    do {                                                                                           \
        GError *err_ = NULL;                                                                       \
        ck_assert_ptr_null(new_drive(&err_, __VA_ARGS__));                                         \
        ck_error(err_, part);                                                                      \
    } while (0)

START_TEST(default_names)
{
    static const char *const drives[][2] = {
        {"if=virtio", "virtio0"},
        {"if=virtio", "virtio1"},
        {"if=ide", "ide0-hd0"},
        {"if=ide", "ide0-hd1"},
        {"media=cdrom", "ide1-cd0"},
        {"if=none", "none0"},
        {"if=none,id=x1", "x1"},
        {"if=scsi", "scsi0-hd0"},
        {"if=floppy", "floppy0"},
        {"if=ide,index=3", "ide1-hd1"},
        {"if=sd", "sd0"},
        {"if=pflash,unit=1", "pflash1"},
        {"if=scsi,bus=1,unit=6", "scsi1-hd6"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(drives); i++) {
        BlockBackend *blk = new_drive(NULL, "%s", drives[i][0]);
        ck_assert_str_eq(block_backend_name(blk), drives[i][1]);
        ck_assert_ptr_eq(block_backend_find(drives[i][1]), blk);
    }
    REFUSED("drive with bus=0, unit=0 (index=0) exists", "if=ide,index=0");
    REFUSED("unit 2 too big (max is 1)", "if=ide,unit=2");
    REFUSED("index cannot be used with bus and unit", "if=ide,index=1,bus=1");
    REFUSED("index cannot be used with bus and unit", "if=ide,index=1,unit=0");
    REFUSED("drive with bus=0, unit=1 (index=1) exists", "if=ide,index=1,bus=0"); /* as QEMU */
    REFUSED("Device with id 'x1' already exists", "if=none,id=x1");
}
END_TEST

/* A driver or a format alone is a medium, too. */
START_TEST(driver_alone)
{
    GError *err = NULL;

    ck_assert_int_gt(block_backend_length(new_drive(NULL, "driver=null-co,if=none,id=a")), 0);
    ck_assert_int_gt(block_backend_length(new_drive(NULL, "format=null-co,if=none,id=b")), 0);
    ck_assert_ptr_null(new_drive(&err, "format=raw,if=none,id=c"));
    ck_error(err, "file");
}
END_TEST

START_TEST(bad_options)
{
    make_raw("a.raw", MiB);
    const char *a = tmp_path("a.raw");

    REFUSED("Could not open 'nonexistent': No such file or directory",
            "file=nonexistent,format=raw");
    REFUSED("Unknown driver 'qcow3'; did you mean 'qcow2'?", "file=%s,format=qcow3", a);
    REFUSED("invalid cache option 'wb'", "file=%s,format=raw,cache=wb", a);
    REFUSED("total values and read/write values cannot be used",
            "file=%s,format=raw,bps=1,bps_rd=1", a);
    REFUSED("can't be used at the same time", "file=%s,format=raw,iops=1,throttling.iops-total=1",
            a);
    REFUSED("iops size requires an iops value", "file=%s,format=raw,iops_size=1", a);
    REFUSED("cannot be lower than", "file=%s,format=raw,throttling.bps-read=9,bps_rd_max=8", a);
    REFUSED("Invalid discard option", "file=%s,format=raw,discard=maybe", a);
    REFUSED("Image is not in qcow2 format", "file=%s,format=qcow2", a);
    REFUSED("foo", "file=%s,format=raw,foo=bar", a);
    REFUSED("Invalid parameter 'file..x'", "file=%s,format=raw,file..x=y", a);
    REFUSED("Parameters 'file.filename.*' used inconsistently",
            "driver=raw,file.filename.x=y,file.filename=%s", a);
    REFUSED("Can't specify 'file' and 'file.filename'", "file=%s,file.filename=%s,format=raw", a,
            a);
    REFUSED("Unknown protocol 'gopher'", "file=gopher://x/y,format=raw");
    REFUSED("'ssh' is not in this program yet", "file=ssh://x/y,format=raw");
    REFUSED("Could not open '/': Is a directory", "file=/,format=raw");
    ck_assert_ptr_nonnull(new_drive(NULL, "file=%s,format=raw,bps=0,if=none", a));
}
END_TEST

static int coroutine_fn delete_drive(void *data)
{
    return block_backend_delete(data);
}

START_TEST(locks)
{
    GError *err = NULL;

    make_raw("a.raw", MiB);
    make_qcow2("a.qcow2", "size=1M");
    ck_assert_ptr_nonnull(new_drive(NULL, "file=%s,format=raw,if=none,id=w", tmp_path("a.raw")));
    /* Before a device has the drive, others may write, too. */
    ck_assert_ptr_nonnull(new_drive(NULL, "file=%s,format=raw,if=none,id=v", tmp_path("a.raw")));
    ck_assert_ptr_null(block_backend_attach("w", "/machine/x", 0, NULL, NULL, &err));
    ck_error(err, "Failed to get shared \"write\" lock\nIs another process using the image [");
    block_run(delete_drive, block_backend_find("v"));
    ck_assert_ptr_nonnull(block_backend_attach("w", "/machine/x", 0, NULL, NULL, &err));
    REFUSED("Failed to get \"write\" lock\nIs another process using the image [",
            "file=%s,format=raw,if=none", tmp_path("a.raw"));
    ck_assert_ptr_nonnull(new_drive(NULL, "file=%s,format=raw,if=none,readonly=on,force-share=on",
                                    tmp_path("a.raw")));
    ck_assert_ptr_nonnull(
        new_drive(NULL, "file=%s,format=raw,if=none,file.locking=off", tmp_path("a.raw")));
    /* Two readers share an image. */
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_nonnull(new_drive(NULL, "file=%s,if=none,readonly=on", tmp_path("a.qcow2")));
    }
    REFUSED("Failed to get \"write\" lock", "file=%s,if=none", tmp_path("a.qcow2"));
    ck_assert_ptr_null(err);
}
END_TEST

START_TEST(guessed_raw)
{
    BlockBackend *blk;
    uint8_t buf[1024] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 3};
    uint8_t plain[1024] = {1, 2, 3};

    make_raw("a.raw", MiB);
    blk = new_drive(NULL, "file=%s,if=none", tmp_path("a.raw"));
    ck_assert_str_eq(block_backend_node(blk)->driver->name, "raw");
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, buf, 1024), -EPERM);
    memcpy(buf, "conectix", 8); /* VPC, which is recognised but not supported */
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, buf, 1024), -EPERM);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, plain, 1024), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 512, buf, 512), 0);
}
END_TEST

START_TEST(snapshot_on)
{
    BlockBackend *blk;
    uint8_t a[4096], b[4096];
    g_autofree char *text = NULL;
    gsize len;

    make_raw("a.raw", MiB);
    g_setenv("TMPDIR", ".", true);
    blk = new_drive(NULL, "file=%s,format=raw,if=none,snapshot=on", tmp_path("a.raw"));
    memset(a, 7, sizeof a);
    ck_assert(!block_backend_read_only(blk));
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 65536, a, sizeof a), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 65536, b, sizeof b), 0);
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert(g_file_get_contents(tmp_path("a.raw"), &text, &len, NULL));
    ck_assert_int_eq(text[65536], 0);
}
END_TEST

START_TEST(info_text)
{
    GError *err = NULL;
    g_autofree char *text = NULL, *want = NULL;
    const char *a, *q;

    make_raw("a.raw", MiB);
    make_qcow2("a.qcow2", "size=1M");
    a = tmp_path("a.raw");
    q = tmp_path("a.qcow2");
    new_drive(NULL, "file=%s,format=raw,if=none,id=d0,node-name=n0,cache=none,readonly=on", a);
    new_drive(NULL, "file=%s,if=virtio,node-name=n1,cache=writethrough", q);
    ck_assert_ptr_nonnull(
        block_backend_attach("virtio0", "/machine/peripheral/x", 0, NULL, NULL, &err));
    new_drive(NULL, "if=ide,media=cdrom");
    ck_assert_ptr_eq(block_backend_find_place(BLOCK_IF_IDE, 0, 0), block_backend_find("ide0-cd0"));
    ck_assert_ptr_null(block_backend_find_place(BLOCK_IF_IDE, 1, 0));
    ck_assert_ptr_null(
        block_backend_attach("virtio0", "/machine/peripheral/y", 0, NULL, NULL, &err));
    ck_error(err, "Drive 'virtio0' is already in use");
    ck_assert_ptr_null(block_backend_attach("nope", "/machine/y", 0, NULL, NULL, &err));
    ck_error(err, "can't find value 'nope'");
    text = block_info_text(NULL, false);
    want = g_strdup_printf("d0 (n0): %s (raw, read-only)\n"
                           "    Removable device: not locked, tray closed\n"
                           "    Cache mode:       writeback, direct\n"
                           "\n"
                           "virtio0 (n1): %s (qcow2)\n"
                           "    Attached to:      /machine/peripheral/x\n"
                           "    Cache mode:       writethrough\n"
                           "\n"
                           "ide0-cd0: [not inserted]\n"
                           "    Removable device: not locked, tray closed\n",
                           a, q);
    ck_assert_str_eq(text, want);

    json_auto_t *query = block_query(), *stats = block_query_stats(),
                *nodes = block_query_named_nodes(false);
    ck_assert_uint_eq(json_array_size(query), 3);
    ck_assert_uint_eq(json_array_size(stats), 3);
    ck_assert_uint_eq(json_array_size(nodes), 4);
    ck_assert_str_eq(json_string_value(json_object_get(
                         json_object_get(json_array_get(query, 1), "inserted"), "drv")),
                     "qcow2");
}
END_TEST

static bool add(GError **err, const char *text)
{
    json_auto_t *tree = parse_tree("%s", text);

    return block_node_add_monitor_owned(tree, err);
}

START_TEST(blockdev)
{
    GError *err = NULL;
    g_autofree char *file = NULL;

    make_qcow2("a.qcow2", "size=1M");
    file =
        g_strdup_printf("{'driver':'file','node-name':'f','filename':'%s'}", tmp_path("a.qcow2"));
    ck_assert(add(&err, file));
    ck_assert(!add(&err, file));
    ck_error(err, "Duplicate nodes with node-name='f'");
    ck_assert(!add(&err, "{'driver':'qcow2','file':'f'}"));
    ck_error(err, "'node-name' must be specified for the root node");
    ck_assert(!add(&err, "{'driver':'qcow2','node-name':'9x','file':'f'}"));
    ck_error(err, "Invalid node-name: '9x'");
    ck_assert(!add(&err, "{'driver':'qcow2','node-name':'q','file':'g'}"));
    ck_error(err, "Cannot find device='' nor node-name='g'");
    ck_assert(!add(&err, "{'driver':'qcow2','node-name':'q'}"));
    ck_error(err, "file");
    ck_assert(!add(&err, "{'driver':'qcow2','node-name':'q','file':'f','cash':1}"));
    ck_error(err, "cash");
    ck_assert(add(&err, "{'driver':'qcow2','node-name':'q','file':'f','discard':'unmap'}"));
    ck_assert(!block_node_del_monitor_owned("f", &err));
    ck_error(err, "Node f is in use by node 'q'");

    BlockBackend *blk = block_backend_attach("q", "/machine/peripheral/x", 0, NULL, NULL, &err);
    ck_no_error(err);
    ck_assert_str_eq(block_backend_name(blk), "");
    ck_assert_ptr_null(block_backend_attach("q", "/machine/peripheral/y", 0, NULL, NULL, &err));
    ck_error(err, "Permission conflict on node 'q': permissions 'write' are both required by block "
                  "device '/machine/peripheral/x' (uses node 'q' as 'root' child) and unshared by "
                  "block device '/machine/peripheral/y'");
    ck_assert(!block_node_del_monitor_owned("q", &err));
    ck_error(err, "Node q is in use");
    block_backend_detach(blk, false);
    ck_assert(block_node_del_monitor_owned("q", &err));
    ck_assert(block_node_del_monitor_owned("f", &err));
    ck_assert(!block_node_del_monitor_owned("f", &err));
    ck_error(err, "Failed to find node with node-name='f'");
}
END_TEST

START_TEST(backing_chains)
{
    GError *err = NULL;

    make_qcow2("base.qcow2", "size=1M");
    make_qcow2("top.qcow2", "size=1M,backing_file=base.qcow2,backing_fmt=qcow2");
    new_drive(NULL, "file=%s,if=none,id=t", tmp_path("top.qcow2"));
    ck_assert_ptr_nonnull(block_backend_node(block_backend_find("t"))->backing);
    /* The base is read-only, and locked against writers. */
    REFUSED("Failed to get \"write\" lock", "file=%s,if=none", tmp_path("base.qcow2"));
    make_qcow2("loop.qcow2", "size=1M,backing_file=loop.qcow2,backing_fmt=qcow2");
    REFUSED("creates an infinite loop", "file=%s,if=none,readonly=on", tmp_path("loop.qcow2"));
    make_qcow2("lost.qcow2", "size=1M,backing_file=gone.qcow2,backing_fmt=qcow2");
    REFUSED("Could not open backing file: Could not open '", "file=%s,if=none",
            tmp_path("lost.qcow2"));
    (void)err;
}
END_TEST

static void poke(const char *name, off_t offset, const void *data, size_t len)
{
    int fd = open(tmp_path(name), O_RDWR);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, data, len, offset), (ssize_t)len);
    close(fd);
}

static void refuse_poked(off_t offset, const char *bytes, size_t len, const char *part)
{
    make_qcow2("bad.qcow2", "size=1M");
    poke("bad.qcow2", offset, bytes, len);
    REFUSED(part, "file=%s,format=qcow2,if=none", tmp_path("bad.qcow2"));
}

#define POKED(offset, bytes, part) refuse_poked(offset, bytes, sizeof(bytes) - 1, part)

START_TEST(broken_images)
{
    POKED(0, "XXXX", "Image is not in qcow2 format");
    POKED(4, "\0\0\0\x09", "Unsupported qcow2 version 9");
    POKED(20, "\0\0\0\x05", "Unsupported cluster size: 2^5");
    POKED(8, "\x7f\0\0\0\0\0\0\0", "Invalid backing file offset");
    POKED(32, "\0\0\0\x01", "'encrypt.key-secret' is required");
    POKED(32, "\0\0\0\x02", "Missing CRYPTO header");
    POKED(24, "\x7f\xff\xff\xff\xff\xff\xff\xff", "Image is too big");
    POKED(36, "\xff\xff\xff\xff", "Active L1 table too large");
    POKED(36, "\0\0\0\0", "L1 table is too small");
    POKED(40, "\0\0\0\0\0\0\0\x01", "Active L1 table offset invalid");
    POKED(40, "\0\0\x10\0\0\0\0\0", "truncated");
    POKED(56, "\0\0\0\0", "Image does not contain a reference count table");
    POKED(56, "\xff\xff\xff\xff", "Reference count table too large");
    POKED(60, "\xff\xff\xff\xff", "Too many snapshots");
    POKED(72, "\x80\0\0\0\0\0\0\0", "Unsupported qcow2 feature(s)");
    POKED(79, "\x02", "qcow2: Image is corrupt; cannot be opened read/write");
    POKED(96, "\0\0\0\x07", "Reference count entry width too large");
    POKED(100, "\0\0\0\x10", "qcow2 header too short");
    make_qcow2("short.qcow2", "size=1M");
    ck_assert_int_eq(truncate(tmp_path("short.qcow2"), 50), 0);
    REFUSED("Could not read qcow2 header", "file=%s,format=qcow2,if=none", tmp_path("short.qcow2"));
}
END_TEST

typedef struct {
    json_t *tree;
    GError *err;
    BlockBackend *blk;
    bool done;
} Add;

static void coroutine_fn drive_add(void *data)
{
    Add *a = data;

    a->blk = block_backend_new_drive(a->tree, &a->err);
    a->done = true;
}

/* A drive that is refused is never there for others, who may delete it while its images close. */
START_TEST(refused_is_not_found)
{
    Add a = {0};

    make_qcow2("d", "size=1M");
    new_drive(NULL, "%s,if=none,id=writer,format=qcow2", tmp_path("d"));
    a.tree = json_pack("{s:s,s:s,s:s,s:s}", "file", tmp_path("d"), "if", "none", "id", "dd",
                       "format", "raw");
    block_forbid_blocking(true);
    coroutine_start(drive_add, &a);
    while (!a.done) {
        ck_assert_ptr_null(block_backend_find("dd"));
        event_loop_iterate(main_loop, -1);
    }
    block_forbid_blocking(false);
    ck_assert_ptr_null(a.blk);
    ck_error(a.err, "Failed to get");
    ck_assert_ptr_null(block_backend_find("dd"));
    json_decref(a.tree);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        default_names,        driver_alone, bad_options, locks,          guessed_raw,
        snapshot_on,          info_text,    blockdev,    backing_chains, broken_images,
        refused_is_not_found, NULL,
    };

    return fixture_run("drive", tests);
}
