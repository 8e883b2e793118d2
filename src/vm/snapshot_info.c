/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info snapshots -v': whether the memory of a snapshot would be mapped or read. */
#include <unistd.h>

#include "base/json.h"
#include "base/util.h"
#include "ram_mapped.h"
#include "snapshot_ram.h"
#include "vm/snapshot.h"

typedef struct {
    BlockNode *node; /* with a reference */
    char *name;
} InfoDisk;

static void info_disk_clear(void *data)
{
    InfoDisk *d = data;

    block_node_unref(d->node);
    g_free(d->name);
}

static void add_info_disk(BlockNode *n, const char *name, void *data)
{
    InfoDisk d = {block_node_ref(n), g_strdup(name)};

    g_array_append_val((GArray *)data, d);
}

/* Of the largest block that is saved: others, of a screen, hold little. */
static bool memory_may_be_mapped(Vm *vm)
{
    const RamBlock *largest = NULL;

    for (const RamBlock *b = vm->memory->blocks; b; b = b->next) {
        if (b->migratable && (!largest || b->size > largest->size)) {
            largest = b;
        }
    }
    return largest && ram_may_be_mapped(vm, largest);
}

/* Bytes of the VM state that lie in the file in whole pages, in pieces that are worth mapping. */
static uint64_t coroutine_fn bytes_in_pages(BlockNode *n, const char *id, uint64_t size)
{
    g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(BlockVmstateExtent));
    uint64_t page = getpagesize(), bytes = 0;

    if (block_vmstate_extents(n, id, 0, size, extents) < 0) {
        return 0;
    }
    for (unsigned i = 0; i < extents->len; i++) {
        const BlockVmstateExtent *e = &g_array_index(extents, BlockVmstateExtent, i);
        uint64_t first = ROUND_UP(e->pos, page), end = ROUND_DOWN(e->pos + e->bytes, page);

        if (IS_ALIGNED(e->pos ^ e->offset, page) && first < end &&
            end - first >= snapshot_map_least) {
            bytes += end - first;
        }
    }
    return bytes;
}

static void coroutine_fn put_snapshot(Vm *vm, GString *out, const InfoDisk *d, json_t *snapshot)
{
    uint64_t size = json_integer_value(json_object_get(snapshot, "vm-state-size"));
    const char *id = json_str(snapshot, "id"), *name = json_str(snapshot, "name");
    g_autoptr(GError) why = NULL;
    auto_fd fd = -1;
    uint64_t bytes;

    if (!size) {
        return;
    }
    g_string_append_printf(out, "'%s' on '%s': ", name, d->name);
    fd = block_vmstate_open(d->node, &why);
    bytes = fd < 0 ? 0 : bytes_in_pages(d->node, id, size);
    if (fd < 0) {
        g_string_append_printf(out, "is read when it is loaded: %s\n", why->message);
    } else if (!memory_may_be_mapped(vm)) {
        g_string_append(out, "is read when it is loaded: this machine's memory is shared, "
                             "preallocated, locked, or from a file\n");
    } else if (!bytes) {
        g_string_append(out, "is read when it is loaded: it lies in its file in short pieces, "
                             "or not in whole pages as it is\n");
    } else {
        g_string_append_printf(out, "is mapped when it is loaded (%.1f of %.1f MiB)\n",
                               (double)bytes / MiB, (double)size / MiB);
    }
}

char *coroutine_fn vm_snapshot_memory_text(Vm *vm)
{
    g_autoptr(GArray) disks = g_array_new(FALSE, FALSE, sizeof(InfoDisk));
    GString *out = g_string_new("\nMemory of the snapshots:\n");
    uint64_t mapped = 0;

    g_array_set_clear_func(disks, info_disk_clear);
    block_snapshot_foreach_disk(add_info_disk, disks);
    for (unsigned i = 0; i < disks->len; i++) {
        const InfoDisk *d = &g_array_index(disks, InfoDisk, i);
        json_auto_t *list = block_snapshot_list(d->node);
        json_t *snapshot;
        size_t k;

        json_array_foreach(list, k, snapshot)
        {
            put_snapshot(vm, out, d, snapshot);
        }
    }
    for (const RamBlock *b = vm->memory->blocks; b; b = b->next) {
        mapped += ram_mapped_bytes(b);
    }
    if (mapped) {
        g_string_append_printf(out, "%.1f MiB of memory are mapped from the image of %s\n",
                               (double)mapped / MiB, ram_image_name(vm));
    } else {
        g_string_append(out, "No memory is mapped from an image\n");
    }
    return g_string_free(out, FALSE);
}
