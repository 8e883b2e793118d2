/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of a running machine: block_resize, drive_add, drive_del, unplug, eject. */
#include <sys/stat.h>
#include <unistd.h>

#include "qvirtio.h"

#define MACHINE "-machine pc -m 64 -nodefaults "
#define SECTOR  512
#define MIB     (1ull << 20)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4 };
enum { S_OK = 0, S_IOERR = 1 };
enum { COMMON_CONFIG_VECTOR = 16, COMMON_GENERATION = 21 };

typedef struct {
    QTest *q;
    QVirtio v;
    QVirtq vq;
    uint64_t header, status, data, message;
    char *path;
} Disk;

static char *make_file(const char *name, uint64_t size)
{
    char *path = g_strdup_printf("%s/%s", qtest_tmp_dir(), name);

    qtest_check(g_file_set_contents(path, "", 0, NULL));
    qtest_check_eq(truncate(path, size), 0);
    return path;
}

static uint64_t file_size(const char *path)
{
    struct stat st;

    qtest_check_eq(stat(path, &st), 0);
    return st.st_size;
}

static void driver_start(Disk *d, bool legacy)
{
    qv_open(d->q, &d->v, 5, legacy);
    qv_init(&d->v, ~0ull & ~QV_F_PACKED & ~QV_F_EVENT_IDX);
    qv_queue(&d->v, &d->vq, 0);
    qv_driver_ok(&d->v);
    d->header = qtest_alloc(d->q, 16, 0);
    d->status = qtest_alloc(d->q, 16, 0);
    d->data = qtest_alloc(d->q, SECTOR, SECTOR);
    d->message = qtest_alloc(d->q, 4, 4);
}

static void disk_open(Disk *d, const char *drive, const char *device, bool legacy)
{
    *d = (Disk){.path = make_file("disk.raw", 4 * MIB)};
    d->q = qtest_startf(MACHINE "-object iothread,id=io -drive file=%s,format=raw,if=none,id=d0%s "
                                "-device virtio-blk-pci,addr=5,id=disk,drive=d0%s",
                        d->path, drive, device);
    driver_start(d, legacy);
}

static void disk_end(Disk *d)
{
    qtest_end(d->q);
    g_free(d->path);
}

static uint8_t request(Disk *d, uint32_t type, uint64_t sector, bool to_guest)
{
    QPiece p[3] = {{d->header, 16, false}, {d->data, SECTOR, to_guest}, {d->status, 1, true}};

    qtest_writel(d->q, d->header, type);
    qtest_writel(d->q, d->header + 4, 0);
    qtest_writeq(d->q, d->header + 8, sector);
    qtest_writeb(d->q, d->status, 0xff);
    if (type == T_FLUSH) {
        p[1] = p[2];
    }
    qv_do(&d->vq, p, type == T_FLUSH ? 2 : 3);
    return qtest_readb(d->q, d->status);
}

static uint8_t write_sector(Disk *d, uint64_t sector, uint8_t byte)
{
    qtest_memset(d->q, d->data, byte, SECTOR);
    return request(d, T_OUT, sector, false);
}

static void check_sector(Disk *d, uint64_t sector, uint8_t byte)
{
    uint8_t buf[SECTOR];

    qtest_check_eq(request(d, T_IN, sector, true), S_OK);
    qtest_read(d->q, d->data, buf, sizeof buf);
    for (unsigned i = 0; i < SECTOR; i++) {
        qtest_check_eq(buf[i], byte);
    }
}

static void resize(Disk *d, uint64_t size)
{
    json_decref(
        qtest_qmp(d->q, "block_resize", "{s:s, s:I}", "device", "d0", "size", (json_int_t)size));
}

static uint8_t generation(Disk *d)
{
    return qpci_readb(d->v.bar, d->v.common + COMMON_GENERATION);
}

/* Grows, shrinks and grows the disk: the guest is told each time; cut-off data becomes zeroes. */
static void check_resizes(Disk *d)
{
    uint8_t before;

    qpci_msix_enable(&d->v.pci);
    qpci_writew(d->v.bar, d->v.common + COMMON_CONFIG_VECTOR, 0);
    qpci_msix_set(&d->v.pci, 0, d->message, 0xc0ffee);
    qtest_check_eq(qv_config64(&d->v, 0), 4 * 2048);
    qtest_check_eq(write_sector(d, 4 * 2048, 1), S_IOERR);
    before = generation(d);
    resize(d, 6 * MIB);
    qtest_wait_until(qpci_msix_take(&d->v.pci, d->message, 0xc0ffee));
    qtest_check_ne(generation(d), before);
    qtest_check_eq(qv_config64(&d->v, 0), 6 * 2048);
    check_sector(d, 6 * 2048 - 1, 0);
    qtest_check_eq(write_sector(d, 6 * 2048 - 1, 0x66), S_OK);
    qtest_check_eq(write_sector(d, 2048, 0x11), S_OK);
    qtest_check_eq(write_sector(d, 2047, 0x10), S_OK);
    before = generation(d);
    resize(d, MIB);
    qtest_wait_until(qpci_msix_take(&d->v.pci, d->message, 0xc0ffee));
    qtest_check_ne(generation(d), before);
    qtest_check_eq(qv_config64(&d->v, 0), 2048);
    qtest_check_eq(write_sector(d, 2048, 0x12), S_IOERR);
    qtest_check_eq(request(d, T_IN, 2048, true), S_IOERR);
    check_sector(d, 2047, 0x10);
    resize(d, 6 * MIB);
    qtest_wait_until(qpci_msix_take(&d->v.pci, d->message, 0xc0ffee));
    check_sector(d, 2048, 0);
    check_sector(d, 6 * 2048 - 1, 0);
    check_sector(d, 2047, 0x10);
    /* Resizing to the same size changes nothing. */
    before = generation(d);
    resize(d, 6 * MIB);
    qtest_check_eq(generation(d), before);
    qtest_check(!qpci_msix_take(&d->v.pci, d->message, 0xc0ffee));
}

static void test_resize_raw(void)
{
    Disk d;

    disk_open(&d, "", ",vectors=2", false);
    check_resizes(&d);
    qtest_check_eq(file_size(d.path), 6 * MIB);
    disk_end(&d);
}

/* A qcow2 overlay, as snapshot=on makes it, with an iothread. */
static void test_resize_qcow2(void)
{
    Disk d;

    disk_open(&d, ",snapshot=on", ",vectors=2,iothread=io", false);
    check_resizes(&d);
    disk_end(&d);
}

static void test_resize_legacy(void)
{
    Disk d;

    disk_open(&d, "", ",vectors=0", true);
    qv_isr(&d.v);
    g_free(qtest_hmp(d.q, "block_resize d0 5"));
    qtest_wait_until(qv_isr(&d.v) & 2);
    qtest_check_eq(qv_config64(&d.v, 0), 5 * 2048);
    qtest_check_str(qtest_hmp(d.q, "block_resize d0 1024k"), "");
    qtest_wait_until(qv_isr(&d.v) & 2);
    qtest_check_eq(qv_config64(&d.v, 0), 2048);
    qtest_check_eq(file_size(d.path), MIB);
    /* Without a driver there is no interrupt. */
    qv_set_status(&d.v, 0);
    resize(&d, 2 * MIB);
    qtest_check_eq(qv_isr(&d.v) & 2, 0);
    qtest_check_eq(qv_config64(&d.v, 0), 4096);
    disk_end(&d);
}

static void check_fails(QTest *q, const char *key, const char *name, json_int_t size,
                        const char *expected)
{
    g_autofree char *text =
        name ? qtest_qmp_fails(q, NULL, "block_resize", "{s:s, s:I}", key, name, "size", size)
             : qtest_qmp_fails(q, NULL, "block_resize", "{s:I}", "size", size);

    qtest_check_str(text, expected);
}

static void test_resize_refused(void)
{
    g_autofree char *path = make_file("disk.raw", MIB), *ro = make_file("ro.raw", MIB);
    g_autofree char *whole = make_file("whole.raw", MIB);
    QTest *q = qtest_startf(MACHINE "-blockdev file,node-name=file0,filename=%s "
                                    "-blockdev raw,node-name=raw0,file=file0 "
                                    "-blockdev file,node-name=whole,filename=%s "
                                    "-blockdev raw,node-name=part,file=whole,size=512k "
                                    "-drive if=none,id=ro,file=%s,format=raw,readonly=on "
                                    "-drive if=none,id=empty "
                                    "-device virtio-blk-pci,addr=5,drive=raw0",
                            path, whole, ro);

    check_fails(q, NULL, NULL, 512, "Cannot find device='' nor node-name=''");
    check_fails(q, "device", "nope", 512, "Cannot find device='nope' nor node-name=''");
    check_fails(q, "node-name", "nope", 512, "Cannot find device='' nor node-name='nope'");
    check_fails(q, "node-name", "raw0", -1, "Parameter 'size' expects a >0 size");
    check_fails(q, "node-name", "raw0", INT64_MAX,
                "offset(9223372036854775807) exceeds maximum(9223372035781033984)");
    check_fails(q, "device", "ro", 512, "Image is read-only");
    check_fails(q, "device", "empty", 512, "Device 'empty' has no medium");
    check_fails(q, "node-name", "whole", 512,
                "Permission conflict on node 'whole': permissions 'resize' are both required by "
                "an unnamed block device (uses node 'whole' as 'root' child) and unshared by node "
                "'part' (uses node 'whole' as 'file' child).");
    qtest_check_str(qtest_hmp(q, "block_resize nope 1"),
                    "Error: Cannot find device='nope' nor node-name=''\r\n");
    qtest_check_str(qtest_hmp(q, "block_resize empty x"),
                    "Error: invalid size\r\nTry \"help block_resize\" for more information\r\n");
    json_decref(qtest_qmp(q, "block_resize", "{s:s, s:i}", "node-name", "raw0", "size", 2097152));
    qtest_check_eq(file_size(path), 2 * MIB);
    /* A raw node hands its users' permissions on, and has its file's length. */
    json_decref(qtest_qmp(q, "block_resize", "{s:s, s:i}", "node-name", "file0", "size", 3145728));
    qtest_check_eq(file_size(path), 3 * MIB);
    qtest_end(q);
}

static void test_reopen(void)
{
    g_autofree char *path = make_file("disk.raw", MIB);
    g_autofree char *text = NULL;
    QTest *q = qtest_startf(MACHINE "-blockdev file,node-name=file0,filename=%s "
                                    "-blockdev raw,node-name=raw0,file=file0 "
                                    "-device virtio-blk-pci,addr=5,id=disk,drive=raw0",
                            path);
    json_t *nodes;

    text =
        qtest_qmp_fails(q, NULL, "blockdev-reopen", "{s:[{s:s, s:s, s:s, s:b}]}", "options",
                        "driver", "raw", "node-name", "raw0", "file", "file0", "read-only", true);
    qtest_check_str(text, "Read-only block node 'raw0' cannot support read-write users");
    json_decref(qtest_qmp(q, "blockdev-reopen", "{s:[{s:s, s:s, s:s, s:s}]}", "options", "driver",
                          "raw", "node-name", "raw0", "file", "file0", "detect-zeroes", "on"));
    nodes = qtest_qmp(q, "query-block", NULL);
    qtest_check_str(json_string_value(json_object_get(
                        json_object_get(json_array_get(nodes, 0), "inserted"), "detect_zeroes")),
                    "on");
    json_decref(nodes);
    qtest_end(q);
}

/* Two disks on one node: where both let others write. */
static void test_share_rw(void)
{
    static const char conflict[] = "Permission conflict on node 'raw0': permissions 'write' are";
    g_autofree char *path = make_file("disk.raw", MIB), *text = NULL;
    QTest *q = qtest_startf(MACHINE "-blockdev raw,node-name=raw0,file.driver=file,"
                                    "file.filename=%s "
                                    "-drive if=none,id=d,file=%s,format=raw,read-only=on,"
                                    "force-share=on "
                                    "-device virtio-blk-pci,addr=5,id=a,drive=raw0,share-rw=on "
                                    "-device virtio-blk-pci,addr=6,id=b,drive=raw0,share-rw=on",
                            path, path);

    text = qtest_hmp(q, "device_add virtio-blk-pci,id=c,drive=raw0");
    qtest_check(strstr(text, conflict));
    g_free(text);
    text = qtest_hmp(q, "device_add virtio-blk-pci,addr=7,id=c,drive=raw0,share-rw=on");
    qtest_check_str(text, "");
    qtest_end(q);

    q = qtest_startf(MACHINE "-blockdev raw,node-name=raw0,file.driver=file,file.filename=%s "
                             "-device virtio-blk-pci,addr=5,id=a,drive=raw0",
                     path);
    g_free(text);
    text = qtest_hmp(q, "device_add virtio-blk-pci,id=b,drive=raw0,share-rw=on");
    qtest_check(strstr(text, conflict));
    qtest_end(q);
}

static void unplug(Disk *d)
{
    json_decref(qtest_qmp(d->q, "device_del", "{s:s}", "id", "disk"));
    qtest_outl(d->q, 0xae08, 1 << 5);
    json_decref(qtest_wait_event(d->q, "DEVICE_DELETED"));
}

static void check_info(QTest *q, const char *expected)
{
    g_autofree char *text = qtest_hmp(q, "info block");

    qtest_check_str(text, expected);
}

/* The guest's disk is still there, but every request fails, and the file is closed. */
static void test_drive_del(void)
{
    g_autofree char *again = NULL;
    Disk d;

    disk_open(&d, ",werror=stop,rerror=stop", ",iothread=io", false);
    qtest_check_eq(write_sector(&d, 5, 0x55), S_OK);
    qtest_check_str(qtest_hmp(d.q, "drive_del nope"), "Error: Device 'nope' not found\r\n");
    qtest_check_str(qtest_hmp(d.q, "drive_del d0"), "");
    qtest_check_str(qtest_hmp(d.q, "drive_del d0"), "Error: Device 'd0' not found\r\n");
    qtest_check_eq(write_sector(&d, 5, 0x55), S_IOERR);
    qtest_check_eq(request(&d, T_IN, 5, true), S_IOERR);
    qtest_check_eq(request(&d, T_FLUSH, 0, false), S_IOERR);
    qtest_check(!qtest_has_event(d.q, "STOP"));
    qtest_check_eq(qv_config64(&d.v, 0), 0);
    check_info(d.q, "/machine/peripheral/disk/virtio-backend: [not inserted]\r\n"
                    "    Attached to:      /machine/peripheral/disk/virtio-backend\r\n");
    /* The driver can still reset the device. */
    driver_start(&d, false);
    qtest_check_eq(request(&d, T_IN, 5, true), S_IOERR);
    /* The file and the id can be used again. */
    again = qtest_hmp(d.q, "drive_add 0 if=none,id=d0,file=%s,format=raw", d.path);
    qtest_check_str(again, "OK\r\n");
    unplug(&d);
    qtest_check_str(qtest_hmp(d.q, "device_add virtio-blk-pci,id=disk,addr=5,drive=d0"), "");
    driver_start(&d, false);
    check_sector(&d, 5, 0x55);
    disk_end(&d);
}

/* A drive is removed with its device; a node stays. drive_del removes an unused drive at once. */
static void test_unplug(void)
{
    g_autofree char *other = make_file("other.raw", MIB);
    char *text;
    Disk d;

    disk_open(&d, "", "", false);
    qtest_check_eq(write_sector(&d, 5, 0x55), S_OK);
    unplug(&d);
    check_info(d.q, "");
    /* A device_add that fails does not remove the drive. */
    text = qtest_hmp(d.q, "drive_add 0 if=none,id=d0,file=%s,format=raw", d.path);
    qtest_check_str(text, "OK\r\n");
    text = qtest_hmp(d.q, "device_add virtio-blk-pci,drive=d0,addr=5,queue-size=3");
    qtest_check(g_str_has_prefix(text, "Error: "));
    text = qtest_hmp(d.q, "device_add virtio-blk-pci,id=disk,drive=d0,addr=5");
    qtest_check_str(text, "");
    driver_start(&d, false);
    check_sector(&d, 5, 0x55);
    unplug(&d);
    check_info(d.q, "");
    text = qtest_hmp(d.q, "drive_add -n 0 driver=file,node-name=n,filename=%s", other);
    qtest_check_str(text, "");
    text = qtest_hmp(d.q, "device_add virtio-blk-pci,id=disk,drive=n,addr=5");
    qtest_check_str(text, "");
    text = qtest_hmp(d.q, "drive_del n");
    qtest_check(strstr(text, "Node n is in use"));
    unplug(&d);
    qtest_check_str(qtest_hmp(d.q, "drive_del n"), "");
    qtest_check_str(qtest_hmp(d.q, "drive_del n"), "Error: Device 'n' not found\r\n");
    disk_end(&d);
}

static void eject_begin(Disk *d, const char *device)
{
    QPiece p[3];

    *d = (Disk){0};
    d->q = qtest_startf(MACHINE "-object iothread,id=io -blockdev driver=null-co,node-name=n,"
                                "read-zeroes=on,latency-ns=200000000 "
                                "-device virtio-blk-pci,addr=5,id=disk,drive=n%s",
                        device);
    driver_start(d, false);
    qtest_memset(d->q, d->data, 0x5a, SECTOR);
    qtest_memset(d->q, d->header, T_IN, 16);
    qtest_writeb(d->q, d->status, 0x5a);
    p[0] = (QPiece){d->header, 16, false};
    p[1] = (QPiece){d->data, SECTOR, true};
    p[2] = (QPiece){d->status, 1, true};
    qv_add(&d->vq, p, 3);
    qv_kick(&d->vq);
    qtest_outl(d->q, 0xae08, 1 << 5);
}

/*
 * The guest ejects a disk that is at work, then touches it. Its place is found empty when nothing
 * of the disk's writes to memory any more.
 */
static void check_eject_at_work(const char *device, bool begun)
{
    uint8_t status;
    Disk d;

    eject_begin(&d, device);
    qtest_check_eq(qv_config64(&d.v, 0), UINT64_MAX);
    status = qtest_readb(d.q, d.status);
    qtest_check(begun ? status == S_OK : status == S_OK || status == 0x5a);
    qtest_check_eq(qtest_readb(d.q, d.data + SECTOR - 1), status);
    qtest_check_eq(qv_status(&d.v), 0xff);
    qv_set_status(&d.v, 0);
    qtest_check_eq(qpci_config_readw(&d.v.pci, 0), 0xffff);
    json_decref(qtest_wait_event(d.q, "DEVICE_DELETED"));
    qtest_check_eq(qtest_readb(d.q, d.status), status);
    qtest_check_eq(qtest_readb(d.q, d.data + SECTOR - 1), status);
    disk_end(&d);
}

static void test_eject_at_work(void)
{
    check_eject_at_work("", true);
    check_eject_at_work(",iothread=io", false);
}

/* A reset, a stop and another device in the slot while the disk is on its way out. */
static void test_eject_and_reset(void)
{
    Disk d;

    eject_begin(&d, "");
    json_decref(qtest_qmp(d.q, "system_reset", NULL));
    json_decref(qtest_wait_event(d.q, "DEVICE_DELETED"));
    json_decref(qtest_wait_event(d.q, "RESET"));
    qtest_check_str(qtest_hmp(d.q, "device_add virtio-blk-pci,id=disk,drive=n,addr=5"), "");
    driver_start(&d, false);
    qtest_check_eq(request(&d, T_IN, 0, true), S_OK);
    qtest_outl(d.q, 0xae08, 1 << 5);
    json_decref(qtest_qmp(d.q, "stop", NULL));
    qtest_check_str(qtest_hmp(d.q, "device_add virtio-rng-pci,id=disk,addr=5"), "");
    json_decref(qtest_qmp(d.q, "cont", NULL));
    qtest_check_eq(qpci_config_readw(&d.v.pci, 2), 0x1005);
    disk_end(&d);
}

static void test_drive_add(void)
{
    g_autofree char *path = make_file("disk.raw", MIB);
    QTest *q = qtest_start(MACHINE);
    char *text;

    text = qtest_hmp(q, "drive_add 0 if=none,id=a,file=%s,format=raw", path);
    qtest_check_str(text, "OK\r\n");
    text = qtest_hmp(q, "drive_add 0 if=none,id=a");
    qtest_check(strstr(text, "'a'"));
    text = qtest_hmp(q, "drive_add 0 id=b");
    qtest_check(g_str_has_prefix(text, "Error: Can't hot-add a drive with if=ide"));
    text = qtest_hmp(q, "drive_add 0 id=b,if=virtio");
    qtest_check(g_str_has_prefix(text, "Error: Can't hot-add a drive with if=virtio"));
    text = qtest_hmp(q, "drive_add 0");
    qtest_check_str(text, "Error: drive_add: string expected\r\n"
                          "Try \"help drive_add\" for more information\r\n");
    text = qtest_hmp(q, "drive_add -n 0 driver=file,filename=%s", path);
    qtest_check(strstr(text, "'node-name'"));
    qtest_check_str(qtest_hmp(q, "drive_del a"), "");
    check_info(q, "");
    /* No device used the drive, so the file is closed. */
    text = qtest_hmp(q, "drive_add -n 0 driver=raw,node-name=r,file.driver=file,file.filename=%s",
                     path);
    qtest_check_str(text, "");
    qtest_check_str(qtest_hmp(q, "drive_del r"), "");
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"resize-raw", test_resize_raw},
    {"resize-qcow2", test_resize_qcow2},
    {"resize-legacy", test_resize_legacy},
    {"resize-refused", test_resize_refused},
    {"reopen", test_reopen},
    {"share-rw", test_share_rw},
    {"drive-del", test_drive_del},
    {"unplug", test_unplug},
    {"drive-add", test_drive_add},
    {"eject-at-work", test_eject_at_work},
    {"eject-and-reset", test_eject_and_reset},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
