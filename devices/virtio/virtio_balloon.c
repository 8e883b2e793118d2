/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-balloon: the guest gives memory back to the host (5.5). */
#include "virtio_pci.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <unistd.h>
#include "base/error.h"
#include "base/iov.h"
#include "vm/vm.h"

#define QUEUE_SIZE  128
#define PAGE_SHIFT  VIRTIO_BALLOON_PFN_SHIFT
#define PAGE_SIZE   ((uint64_t)1 << PAGE_SHIFT)
#define CONFIG_SIZE 16
/* Page numbers processed of one buffer, and about as many in a call. Linux sends 256. */
#define PFNS_MAX 16384

#define VIRTIO_BALLOON_STATE(X)                                                                    \
    X(F, uint32_t, num_pages)                                                                      \
    X(F, uint32_t, actual)                                                                         \
    X(F, uint32_t, poison)
STATE_STRUCT(VirtioBalloonState, VIRTIO_BALLOON_STATE);
STATE_DESC(virtio_balloon, VirtioBalloonState, VIRTIO_BALLOON_STATE, 1);

typedef struct {
    VirtioDevice vdev;
    VirtioBalloonState s;
    Virtqueue *inflate, *deflate, *stats, *reporting;
    VirtqueueElement *stats_held; /* the driver's buffer, until the next statistics are wanted */
    DeviceTimer *timer;
    /* Properties. */
    bool deflate_on_oom, free_page_reporting, page_poison, free_page_hint;
    int64_t interval; /* seconds between statistics; 0: none */
    json_t *guest_stats;
} VirtioBalloon;

static const DeviceClass virtio_balloon_device_class;

static VirtioBalloon *virtio_balloon(VirtioDevice *vdev)
{
    return container_of(vdev, VirtioBalloon, vdev);
}

/* The host's memory. */

/* Gives the host pages that lie wholly inside the range back to the host. */
static void virtio_balloon_discard(Vm *vm, uint8_t *host, uint64_t len)
{
    uint64_t page = sysconf(_SC_PAGESIZE);
    uintptr_t start = ROUND_UP((uintptr_t)host, page),
              end = ROUND_DOWN((uintptr_t)host + len, page);

    if (start < end) {
        ram_discard(vm, (uint8_t *)start, end - start);
    }
}

/* Joins neighbouring pages: drivers name pages singly, mostly in order. One system call per run. */
typedef struct {
    uint8_t *host;
    uint64_t len;
} Run;

static void run_discard(Vm *vm, const Run *run)
{
    if (run->len) {
        virtio_balloon_discard(vm, run->host, run->len);
        /* After the change, as a reader of the dirty log may look in between. */
        dma_unmap(vm, run->host, run->len, true);
    }
}

static void run_add(Vm *vm, Run *run, uint8_t *host, uint64_t len)
{
    if (run->len && host == run->host + run->len) {
        run->len += len;
    } else if (run->len && host + len == run->host) {
        run->host = host;
        run->len += len;
    } else {
        run_discard(vm, run);
        *run = (Run){host, len};
    }
}

/* The buffer is an array of page frame numbers. Returns the number of pages processed. Pages beyond
 * PFNS_MAX keep their memory, which a device may always do. */
static unsigned inflate_pages(VirtioBalloon *b, VirtqueueElement *elem)
{
    Vm *vm = b->vdev.dev.vm;
    Run run = {0};
    uint8_t raw[4 * KiB];
    unsigned done = 0;
    size_t n;

    while (done < PFNS_MAX &&
           (n = iov_to_buf(elem->out, elem->out_num, done * 4, raw, sizeof raw) / 4)) {
        for (size_t i = 0; i < n; i++) {
            uint64_t len = PAGE_SIZE;
            uint8_t *host = dma_map(vm, (uint64_t)ldle32(raw + i * 4) << PAGE_SHIFT, &len, true);

            if (host) {
                run_add(vm, &run, host, len);
            }
        }
        done += n;
    }
    run_discard(vm, &run);
    return done;
}

static void pages_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioBalloon *b = virtio_balloon(vdev);
    unsigned budget = virtqueue_size(vq), pages = 0;
    VirtqueueElement *elem;

    while (budget-- && pages < PFNS_MAX && (elem = virtqueue_pop(vq, sizeof *elem))) {
        if (vq == b->inflate) {
            pages += inflate_pages(b, elem);
        }
        /* Deflated pages need no action: the host allocates them when they are touched. */
        virtqueue_push(vq, elem, 0);
    }
    virtqueue_end_turn(vq);
}

/* Free page reporting (5.5.6.7): the buffers of a chain are the free pages. */
static void reporting_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioBalloon *b = virtio_balloon(vdev);
    bool poisoned = virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON) && b->s.poison;
    unsigned budget = virtqueue_size(vq);
    VirtqueueElement *elem;

    while (budget-- && (elem = virtqueue_pop(vq, sizeof *elem))) {
        /* A driver that fills free pages with a pattern expects to find the pattern later. */
        for (unsigned i = 0; i < elem->in_num && !poisoned; i++) {
            virtio_balloon_discard(vdev->dev.vm, elem->in[i].iov_base, elem->in[i].iov_len);
        }
        virtqueue_push(vq, elem, 0);
    }
    virtqueue_end_turn(vq);
}

/* Statistics (5.5.6.3): giving the driver's buffer back asks the driver for new ones. */

static const char *const stat_names[] = {
    [VIRTIO_BALLOON_S_SWAP_IN] = "stat-swap-in",
    [VIRTIO_BALLOON_S_SWAP_OUT] = "stat-swap-out",
    [VIRTIO_BALLOON_S_MAJFLT] = "stat-major-faults",
    [VIRTIO_BALLOON_S_MINFLT] = "stat-minor-faults",
    [VIRTIO_BALLOON_S_MEMFREE] = "stat-free-memory",
    [VIRTIO_BALLOON_S_MEMTOT] = "stat-total-memory",
    [VIRTIO_BALLOON_S_AVAIL] = "stat-available-memory",
    [VIRTIO_BALLOON_S_CACHES] = "stat-disk-caches",
    [VIRTIO_BALLOON_S_HTLB_PGALLOC] = "stat-htlb-pgalloc",
    [VIRTIO_BALLOON_S_HTLB_PGFAIL] = "stat-htlb-pgfail",
};

static json_t *no_stats(void)
{
    json_t *stats = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(stat_names); i++) {
        json_object_set_new(stats, stat_names[i], json_integer(-1));
    }
    return json_pack("{s:I,s:o}", "last-update", (json_int_t)0, "stats", stats);
}

static void parse_stats(VirtioBalloon *b, VirtqueueElement *elem)
{
    json_t *all = no_stats(), *stats = json_object_get(all, "stats");
    struct virtio_balloon_stat entry;

    for (size_t at = 0;
         iov_to_buf(elem->out, elem->out_num, at, &entry, sizeof entry) == sizeof entry &&
         at < 64 * sizeof entry;
         at += sizeof entry) {
        unsigned tag = le16toh(entry.tag);

        if (tag < ARRAY_SIZE(stat_names)) {
            json_object_set_new(stats, stat_names[tag], json_integer(le64toh(entry.val)));
        }
    }
    json_object_set_new(all, "last-update", json_integer(clock_ns(CLOCK_HOST_NS) / NS_PER_SEC));
    json_decref(b->guest_stats);
    b->guest_stats = all;
}

static void arm_timer(VirtioBalloon *b)
{
    if (b->interval > 0 && virtio_driver_ok(&b->vdev)) {
        device_timer_arm(b->timer, clock_ns(CLOCK_VIRTUAL_NS) + b->interval * NS_PER_SEC);
    } else {
        device_timer_cancel(b->timer);
    }
}

static void stats_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioBalloon *b = virtio_balloon(vdev);
    VirtqueueElement *elem = virtqueue_pop(vq, sizeof *elem);

    if (elem) {
        if (b->stats_held) {
            virtqueue_push(vq, b->stats_held, 0); /* only the newest buffer is held */
        }
        parse_stats(b, elem);
        b->stats_held = elem;
        arm_timer(b);
    }
    virtqueue_end_turn(vq);
}

static void virtio_balloon_timer_fired(Device *dev)
{
    VirtioBalloon *b = container_of(dev, VirtioBalloon, vdev.dev);
    VirtqueueElement *elem = g_steal_pointer(&b->stats_held);

    if (!elem) {
        arm_timer(b); /* the driver has not answered yet */
        return;
    }
    virtqueue_push(b->stats, elem, 0);
    virtqueue_notify(b->stats);
}

static void interval_changed(Device *dev, const char *name)
{
    arm_timer(container_of(dev, VirtioBalloon, vdev.dev));
}

/* Configuration. */

static void virtio_balloon_get_config(VirtioDevice *vdev, uint8_t *config)
{
    VirtioBalloon *b = virtio_balloon(vdev);

    stle32(config, __atomic_load_n(&b->s.num_pages, __ATOMIC_RELAXED));
    stle32(config + 4, b->s.actual);
    stle32(config + 8, 0);
    stle32(config + 12, b->s.poison);
}

static uint64_t actual_bytes(VirtioBalloon *b)
{
    uint64_t out = (uint64_t)__atomic_load_n(&b->s.actual, __ATOMIC_RELAXED) << PAGE_SHIFT;
    uint64_t all = b->vdev.dev.vm->ram_size;

    return out < all ? all - out : 0;
}

static void virtio_balloon_set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioBalloon *b = virtio_balloon(vdev);
    uint32_t actual = ldle32(config + 4);

    if (actual != b->s.actual) {
        __atomic_store_n(&b->s.actual, actual, __ATOMIC_RELAXED);
        vm_event(vdev->dev.vm, VM_EVENT_BALLOON_CHANGE,
                 json_pack("{s:I}", "actual", (json_int_t)actual_bytes(b)));
    }
    if (virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON)) {
        b->s.poison = ldle32(config + 12);
    }
}

static uint64_t virtio_balloon_get_features(VirtioDevice *vdev, uint64_t f)
{
    VirtioBalloon *b = virtio_balloon(vdev);

    f |= BIT64(VIRTIO_BALLOON_F_STATS_VQ);
    f |= b->deflate_on_oom ? BIT64(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) : 0;
    f |= b->page_poison ? BIT64(VIRTIO_BALLOON_F_PAGE_POISON) : 0;
    f |= b->free_page_reporting ? BIT64(VIRTIO_BALLOON_F_REPORTING) : 0;
    return f;
}

/* The held buffer goes back into the ring, and is popped again when the VM runs. */
static void pause_balloon(VirtioDevice *vdev)
{
    VirtioBalloon *b = virtio_balloon(vdev);

    if (b->stats_held) {
        virtqueue_unpop(b->stats, g_steal_pointer(&b->stats_held));
    }
}

static void virtio_balloon_stop(VirtioDevice *vdev)
{
    VirtioBalloon *b = virtio_balloon(vdev);

    device_timer_cancel(b->timer);
    if (b->stats_held) {
        virtqueue_drop(b->stats, g_steal_pointer(&b->stats_held));
    }
}

static void virtio_balloon_reset(VirtioDevice *vdev)
{
    virtio_balloon(vdev)->s.poison = 0;
}

static void virtio_balloon_queue_reset(VirtioDevice *vdev, Virtqueue *vq)
{
    if (vq == virtio_balloon(vdev)->stats) {
        virtio_balloon_stop(vdev);
    }
}

static const VirtioClass balloon_vclass = {
    .device_id = VIRTIO_ID_BALLOON,
    .config_size = CONFIG_SIZE,
    .get_features = virtio_balloon_get_features,
    .get_config = virtio_balloon_get_config,
    .set_config = virtio_balloon_set_config,
    .stop = virtio_balloon_stop,
    .pause = pause_balloon,
    .reset = virtio_balloon_reset,
    .queue_reset = virtio_balloon_queue_reset,
};

/* Life. */

static void find_balloon(Device *dev, void *data)
{
    if (dev->class == &virtio_balloon_device_class && dev->realized) {
        *(VirtioBalloon **)data = container_of(dev, VirtioBalloon, vdev.dev);
    }
}

static VirtioBalloon *balloon_of(Vm *vm, GError **err)
{
    VirtioBalloon *b = NULL;

    device_foreach(vm, find_balloon, &b);
    if (!b) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_ACTIVE, "No balloon device has been activated");
    }
    return b;
}

static bool virtio_balloon_realize(Device *dev, GError **err)
{
    VirtioBalloon *b = container_of(dev, VirtioBalloon, vdev.dev);

    if (balloon_of(dev->vm, NULL)) {
        return error_set(err, "Only one balloon device is supported");
    }
    if (!virtio_init(&b->vdev, &balloon_vclass, err)) {
        return false;
    }
    virtio_set_config_size(&b->vdev, b->page_poison ? CONFIG_SIZE : 8);
    b->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, virtio_balloon_timer_fired);
    b->guest_stats = no_stats();
    b->inflate = virtio_add_queue(&b->vdev, QUEUE_SIZE, pages_kicked);
    b->deflate = virtio_add_queue(&b->vdev, QUEUE_SIZE, pages_kicked);
    b->stats = virtio_add_queue(&b->vdev, QUEUE_SIZE, stats_kicked);
    if (b->free_page_reporting) {
        b->reporting = virtio_add_queue(&b->vdev, 32, reporting_kicked);
    }
    return true;
}

static void virtio_balloon_unrealize(Device *dev)
{
    VirtioBalloon *b = container_of(dev, VirtioBalloon, vdev.dev);

    virtio_balloon_stop(&b->vdev);
    virtio_exit(&b->vdev);
    json_decref(g_steal_pointer(&b->guest_stats));
}

static void virtio_balloon_post_load(Device *dev)
{
    VirtioBalloon *b = container_of(dev, VirtioBalloon, vdev.dev);

    virtio_balloon_stop(&b->vdev);
    virtio_device_post_load(dev);
    arm_timer(b);
}

bool balloon_set_target(Vm *vm, uint64_t bytes, GError **err)
{
    VirtioBalloon *b = balloon_of(vm, err);

    if (!b) {
        return false;
    }
    if (!bytes) {
        return error_set(err, "Parameter 'target' expects a size");
    }
    bytes = MIN(bytes, vm->ram_size);
    __atomic_store_n(&b->s.num_pages, (vm->ram_size - bytes) >> PAGE_SHIFT, __ATOMIC_RELAXED);
    virtio_notify_config(&b->vdev);
    return true;
}

bool balloon_query(Vm *vm, uint64_t *actual, GError **err)
{
    VirtioBalloon *b = balloon_of(vm, err);

    if (!b) {
        return false;
    }
    *actual = actual_bytes(b);
    return true;
}

static const Property balloon_props[] = {
    PROP("deflate-on-oom", PROP_BOOL, VirtioBalloon, deflate_on_oom, "off",
         "the guest may take memory back when it runs out"),
    PROP("free-page-reporting", PROP_BOOL, VirtioBalloon, free_page_reporting, "off",
         "the guest tells of free pages"),
    PROP("page-poison", PROP_BOOL, VirtioBalloon, page_poison, "on",
         "the guest tells what it fills free pages with"),
    {.name = "free-page-hint",
     .type = PROP_BOOL,
     .offset = offsetof(VirtioBalloon, free_page_hint),
     .defval = "off",
     .help = "free pages are left out of migration",
     .flags = PROP_FLAG_FIXED},
    {.name = "guest-stats-polling-interval",
     .type = PROP_INT64,
     .offset = offsetof(VirtioBalloon, interval),
     .defval = "0",
     .help = "seconds between two statistics; 0: none",
     .min = 0,
     .max = UINT32_MAX,
     .flags = PROP_FLAG_RUNTIME},
    {.name = "guest-stats",
     .type = PROP_TREE,
     .offset = offsetof(VirtioBalloon, guest_stats),
     .help = "what the guest said last",
     .flags = PROP_FLAG_FIXED | PROP_FLAG_HIDDEN},
    PROP_END,
};
static const StateSection balloon_state[] = {
    VIRTIO_STATE(VirtioBalloon, vdev),
    {virtio_balloon_state_desc, offsetof(VirtioBalloon, s)},
    {0},
};

static const DeviceClass virtio_balloon_device_class = {
    VIRTIO_DEVICE_CLASS_COMMON,
    .name = "virtio-balloon-device",
    .desc = "virtio memory balloon",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(VirtioBalloon),
    .props = balloon_props,
    .state = balloon_state,
    .realize = virtio_balloon_realize,
    .unrealize = virtio_balloon_unrealize,
    .post_load = virtio_balloon_post_load,
    .property_changed = interval_changed,
};

/* No vectors property, so no MSI-X, as in QEMU: the balloon's interrupts are rare. */
VIRTIO_PCI_CLASSES(virtio_balloon, "virtio-balloon", "virtio memory balloon", DEVICE_CATEGORY_MISC,
                   virtio_balloon_device_class, VIRTIO_ID_BALLOON, 0x1002, PCI_CLASS_OTHERS, );
