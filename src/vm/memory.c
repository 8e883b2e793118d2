/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The map of regions, and its rendering into the flat views that dispatch searches. */
#include "memory_internal.h"

#include "base/error.h"
#include "base/reclaim.h"

void memory_map_init(Vm *vm)
{
    struct MemoryMap *map = g_new0(struct MemoryMap, 1);

    g_rec_mutex_init(&map->lock);
    for (int s = 0; s < IO_SPACE_COUNT; s++) {
        map->regions[s] = g_ptr_array_new();
        map->view[s] = g_malloc0(sizeof(FlatView));
    }
    vm->memory = map;
}

void memory_map_cpus_gone(Vm *vm)
{
    vm->memory->cpus_gone = true;
}

void memory_map_free(Vm *vm)
{
    struct MemoryMap *map = vm->memory;

    for (int s = 0; s < IO_SPACE_COUNT; s++) {
        g_ptr_array_free(map->regions[s], TRUE);
        g_free(map->view[s]);
    }
    ram_blocks_free(vm);
    g_rec_mutex_clear(&map->lock);
    g_free(map);
    vm->memory = NULL;
}

void io_region_init(IoRegion *r, Device *owner, const IoRegionOps *ops, const char *name,
                    uint64_t size)
{
    g_assert(size && (owner || ops->lockless));
    *r = (IoRegion){.name = name, .size = size, .ops = ops, .owner = owner};
}

void io_region_init_ram(IoRegion *r, Device *owner, RamBlock *ram, uint64_t offset, uint64_t size,
                        bool readonly, const char *name)
{
    g_assert(size && offset + size <= ram->size);
    *r = (IoRegion){.name = name,
                    .size = size,
                    .ram = ram,
                    .ram_offset = offset,
                    .readonly = readonly,
                    .owner = owner};
}

/* Highest priority first; among equals the one that was mapped last. */
static gint by_priority(gconstpointer a, gconstpointer b)
{
    const IoRegion *x = *(IoRegion *const *)a, *y = *(IoRegion *const *)b;

    if (x->priority != y->priority) {
        return x->priority > y->priority ? -1 : 1;
    }
    return x->seq > y->seq ? -1 : x->seq < y->seq;
}

static FlatRange make_range(IoRegion *r, uint64_t addr, uint64_t last)
{
    uint64_t offset = addr - r->addr;

    return (FlatRange){
        .addr = addr,
        .last = last,
        .region = r,
        .offset = offset,
        .host = r->ram ? r->ram->host + r->ram_offset + offset : NULL,
        .readonly = r->readonly,
    };
}

/* Inserts the parts of r that the sorted list, all of higher priority, leaves uncovered. */
static void insert_uncovered(GArray *list, IoRegion *r)
{
    uint64_t addr = r->addr, end = r->addr + (r->size - 1);
    unsigned i = 0;

    while (i < list->len && g_array_index(list, FlatRange, i).last < addr) {
        i++;
    }
    for (;; i++) {
        FlatRange *next = i < list->len ? &g_array_index(list, FlatRange, i) : NULL;
        uint64_t next_last = next ? next->last : 0;

        if (!next || next->addr > end) {
            FlatRange piece = make_range(r, addr, end);

            g_array_insert_val(list, i, piece);
            return;
        }
        if (next->addr > addr) {
            FlatRange piece = make_range(r, addr, next->addr - 1);

            g_array_insert_val(list, i, piece);
            i++;
        }
        if (next_last >= end) {
            return;
        }
        addr = next_last + 1;
    }
}

/* Merges neighbouring ranges into slots: each KVM slot that changes takes a grace period. */
static void join_slots(FlatView *view)
{
    MemorySlot *last = NULL;

    view->slot_count = 0;
    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *r = &view->ranges[i];
        MemorySlot piece = {.addr = r->addr, .size = r->last - r->addr + 1};

        if (!r->host) {
            continue;
        }
        piece.block = r->region->ram;
        piece.offset = r->region->ram_offset + r->offset;
        piece.readonly = r->readonly;
        if (last && last->addr + last->size == piece.addr && last->block == piece.block &&
            last->offset + last->size == piece.offset && last->readonly == piece.readonly) {
            last->size += piece.size;
        } else {
            last = &view->slots[view->slot_count++];
            *last = piece;
        }
    }
}

static FlatView *memory_render(struct MemoryMap *map, IoSpace space)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(FlatRange));
    FlatView *view;

    g_ptr_array_sort(map->regions[space], by_priority);
    for (unsigned i = 0; i < map->regions[space]->len; i++) {
        insert_uncovered(list, map->regions[space]->pdata[i]);
    }
    view = g_malloc(sizeof *view + list->len * (sizeof(FlatRange) + sizeof(MemorySlot)));
    view->count = list->len;
    view->slots = (MemorySlot *)&view->ranges[view->count];
    if (list->len) {
        memcpy(view->ranges, list->data, list->len * sizeof(FlatRange));
    }
    join_slots(view);
    return view;
}

const FlatRange *flat_view_find(const FlatView *view, uint64_t addr, uint64_t *gap)
{
    unsigned lo = 0, hi = view->count;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        const FlatRange *r = &view->ranges[mid];

        if (addr < r->addr) {
            hi = mid;
        } else if (addr > r->last) {
            lo = mid + 1;
        } else {
            return r;
        }
    }
    if (gap) {
        *gap = lo < view->count ? view->ranges[lo].addr - addr : UINT64_MAX - addr;
    }
    return NULL;
}

static bool same_range(const FlatRange *a, const FlatRange *b)
{
    return a->addr == b->addr && a->last == b->last && a->host == b->host &&
           a->readonly == b->readonly && a->region == b->region;
}

static bool has_slot(const FlatView *view, const MemorySlot *s)
{
    for (unsigned i = 0; i < view->slot_count; i++) {
        const MemorySlot *o = &view->slots[i];

        if (o->addr == s->addr) {
            return o->size == s->size && o->block == s->block && o->offset == s->offset &&
                   o->readonly == s->readonly;
        }
    }
    return false;
}

void memory_slot_set(Vm *vm, const MemorySlot *s, bool add, bool log)
{
    if (!vm->accel->memory_slot(vm, s->addr, s->block, s->offset, s->size, s->readonly, add,
                                log && !s->readonly)) {
        vm->memory->refused = true;
    }
}

bool memory_accepted(Vm *vm, GError **err)
{
    return !vm->memory->refused ||
           error_set(err, "cannot set up guest memory: the accelerator takes no such amount");
}

/*
 * Tells the accelerator which slots changed. KVM cannot swap slots atomically: between the removal
 * of the old one and the addition of the new one a vCPU would find no RAM. So no vCPU runs
 * meanwhile.
 */
static void update_slots(Vm *vm, const FlatView *old, const FlatView *new)
{
    bool held = false;

    if (!vm->accel || !vm->accel->memory_slot || vm->memory->cpus_gone) {
        return;
    }
    for (unsigned i = 0; i < old->slot_count; i++) {
        if (!has_slot(new, &old->slots[i])) {
            if (!held) {
                vcpus_hold(vm);
                held = true;
            }
            memory_slot_set(vm, &old->slots[i], false, false);
        }
    }
    for (unsigned i = 0; i < new->slot_count; i++) {
        if (!has_slot(old, &new->slots[i])) {
            memory_slot_set(vm, &new->slots[i], true, new->slots[i].block->readers != NULL);
        }
    }
    if (held) {
        vcpus_release(vm);
    }
}

static bool same_view(const FlatView *a, const FlatView *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (unsigned i = 0; i < a->count; i++) {
        if (!same_range(&a->ranges[i], &b->ranges[i])) {
            return false;
        }
    }
    return true;
}

static void memory_commit(Vm *vm)
{
    struct MemoryMap *map = vm->memory;

    for (int s = 0; s < IO_SPACE_COUNT; s++) {
        FlatView *old = map->view[s], *new = memory_render(map, s);

        if (same_view(old, new)) {
            g_free(new);
            continue;
        }
        __atomic_store_n(&map->view[s], new, __ATOMIC_RELEASE);
        if (s == IO_SPACE_MEM) {
            update_slots(vm, old, new);
            __atomic_fetch_add(&map->generation, 1, __ATOMIC_RELEASE);
        }
        reclaim_retire(g_free, old);
    }
    ioeventfds_update(vm);
}

void memory_transaction_begin(Vm *vm)
{
    g_rec_mutex_lock(&vm->memory->lock);
    vm->memory->depth++;
}

void memory_transaction_commit(Vm *vm)
{
    struct MemoryMap *map = vm->memory;

    g_assert(map->depth > 0);
    if (map->depth == 1 && map->changed) {
        map->changed = false;
        memory_commit(vm);
    }
    map->depth--;
    g_rec_mutex_unlock(&map->lock);
}

void io_region_map(Vm *vm, IoRegion *r, IoSpace space, uint64_t addr, int priority)
{
    struct MemoryMap *map = vm->memory;

    g_assert(r->size && addr + (r->size - 1) >= addr);
    memory_transaction_begin(vm);
    if (r->mapped) {
        g_ptr_array_remove_fast(map->regions[r->space], r);
    }
    r->space = space;
    r->addr = addr;
    r->priority = priority;
    r->seq = ++map->seq;
    __atomic_store_n(&r->mapped, true, __ATOMIC_RELEASE);
    g_ptr_array_add(map->regions[space], r);
    map->changed = true;
    memory_transaction_commit(vm);
}

void io_region_unmap(Vm *vm, IoRegion *r)
{
    if (!r->mapped) {
        return;
    }
    memory_transaction_begin(vm);
    g_ptr_array_remove_fast(vm->memory->regions[r->space], r);
    __atomic_store_n(&r->mapped, false, __ATOMIC_RELEASE);
    vm->memory->changed = true;
    memory_transaction_commit(vm);
}

void io_region_set_readonly(Vm *vm, IoRegion *r, bool readonly)
{
    if (r->readonly == readonly) {
        return;
    }
    memory_transaction_begin(vm);
    r->readonly = readonly;
    vm->memory->changed = true;
    memory_transaction_commit(vm);
}

static const char *memory_kind_of(const IoRegion *r)
{
    return !r->ram ? "i/o" : r->readonly ? "rom" : "ram";
}

static gint by_address(gconstpointer a, gconstpointer b)
{
    const IoRegion *x = *(IoRegion *const *)a, *y = *(IoRegion *const *)b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static void list_regions(GString *out, struct MemoryMap *map, int s)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();

    for (unsigned i = 0; i < map->regions[s]->len; i++) {
        g_ptr_array_add(sorted, map->regions[s]->pdata[i]);
    }
    g_ptr_array_sort(sorted, by_address);
    for (unsigned i = 0; i < sorted->len; i++) {
        IoRegion *r = sorted->pdata[i];

        g_string_append_printf(
            out, "    %016" G_GINT64_MODIFIER "x-%016" G_GINT64_MODIFIER "x (prio %d, %s): %s\n",
            r->addr, r->addr + (r->size - 1), r->priority, memory_kind_of(r), r->name);
    }
}

char *memory_tree_text(Vm *vm, bool flat)
{
    static const char *const spaces[] = {"memory", "I/O"};
    struct MemoryMap *map = vm->memory;
    GString *out = g_string_new(NULL);

    g_rec_mutex_lock(&map->lock);
    for (int s = 0; s < IO_SPACE_COUNT; s++) {
        const FlatView *view = map->view[s];

        if (!flat) {
            g_string_append_printf(out, "address-space: %s\n", spaces[s]);
            list_regions(out, map, s);
            g_string_append_c(out, '\n');
            continue;
        }
        g_string_append_printf(out, "FlatView #%d\n AS \"%s\"\n", s, spaces[s]);
        for (unsigned i = 0; i < view->count; i++) {
            const FlatRange *r = &view->ranges[i];

            g_string_append_printf(
                out, "  %016" G_GINT64_MODIFIER "x-%016" G_GINT64_MODIFIER "x (prio %d, %s): %s",
                r->addr, r->last, r->region->priority, memory_kind_of(r->region), r->region->name);
            if (r->offset) {
                g_string_append_printf(out, " @%016" G_GINT64_MODIFIER "x", r->offset);
            }
            g_string_append_c(out, '\n');
        }
        g_string_append_c(out, '\n');
    }
    g_rec_mutex_unlock(&map->lock);
    return g_string_free(out, FALSE);
}
