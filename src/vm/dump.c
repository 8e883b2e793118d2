/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dump-guest-memory: what is dumped, and when. The file itself: dump_file.c. */
#include "vm/dump.h"

#include <unistd.h>

#include "base/error.h"
#include "dump_internal.h"
#include "memory_internal.h"
#include "ram_mapped.h"
#include "run_state.h"
#include "vm/vcpu.h"

static const char *const status_names[] = {"none", "active", "completed", "failed", NULL};
static const Property result_members[] = {MEMBER("status", PROP_ENUM, .names = status_names),
                                          MEMBER("completed", PROP_INT64),
                                          MEMBER("total", PROP_INT64), PROP_END};
const PropertyShape dump_result_shape = {.name = "DumpQueryResult", .members = result_members};

json_t *vm_dump_query(Vm *vm)
{
    const Dump *d = vm->dump;

    return json_pack("{s:s,s:I,s:I}", "status", status_names[d ? d->status : DUMP_NONE],
                     "completed", (json_int_t)(d ? d->completed : 0), "total",
                     (json_int_t)(d ? d->total : 0));
}

/* What is dumped. */

static void dump_add_range(Dump *d, const VmDumpRequest *r, const MemorySlot *slot)
{
    uint64_t start = slot->addr, end = slot->addr + slot->size;
    DumpRange range;

    if (r->filter) {
        uint64_t last = r->begin + r->length;

        start = MAX(start, r->begin);
        end = MIN(end, last < r->begin ? UINT64_MAX : last);
    }
    if (start < end) {
        range = (DumpRange){.pa = start,
                            .len = end - start,
                            .block = slot->block,
                            .offset = slot->offset + (start - slot->addr),
                            .host = slot->block->host + slot->offset + (start - slot->addr),
                            .at = d->total};
        g_array_append_val(d->ranges, range);
        d->total += range.len;
    }
}

static bool dump_find_ranges(Vm *vm, Dump *d, const VmDumpRequest *r, GError **err)
{
    const FlatView *view = memory_view(vm, IO_SPACE_MEM);

    for (unsigned i = 0; i < view->slot_count; i++) {
        dump_add_range(d, r, &view->slots[i]);
    }
    return d->ranges->len || error_set(err, "dump: no guest memory to dump");
}

/* What of it is not zeroes for sure. */

typedef struct {
    Dump *dump;
    const RamBlock *block;
} TouchedWalk;

static void dump_add_touched(uint64_t start, uint64_t end, void *data)
{
    const TouchedWalk *w = data;

    for (unsigned i = 0; i < w->dump->ranges->len; i++) {
        const DumpRange *r = &g_array_index(w->dump->ranges, DumpRange, i);
        uint64_t low = MAX(start, r->offset), high = MIN(end, r->offset + r->len);

        if (r->block == w->block && low < high) {
            DumpTouched t = {r->at + (low - r->offset), r->at + (high - r->offset)};

            g_array_append_val(w->dump->touched, t);
        }
    }
}

static int dump_compare_touched(gconstpointer a, gconstpointer b)
{
    const DumpTouched *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

static bool dump_seen_block(const Dump *d, unsigned n)
{
    const RamBlock *block = g_array_index(d->ranges, DumpRange, n).block;

    while (n--) {
        if (g_array_index(d->ranges, DumpRange, n).block == block) {
            return true;
        }
    }
    return false;
}

/* For the pool. Each block is walked once, though several ranges may lie in it. */
static int dump_find_touched(void *data)
{
    Dump *d = data;

    for (unsigned i = 0; i < d->ranges->len; i++) {
        TouchedWalk w = {d, g_array_index(d->ranges, DumpRange, i).block};

        if (!dump_seen_block(d, i)) {
            ram_block_foreach_touched(w.block, dump_add_touched, &w);
        }
    }
    g_array_sort(d->touched, dump_compare_touched);
    return 0;
}

typedef struct {
    Dump *dump;
    uint16_t elf_machine;
    bool ok;
    GError *err;
} DumpCall;

static void dump_notes(Vcpu *cpu, void *data)
{
    DumpCall *c = data;

    c->ok = cpu->vm->arch->core_notes(cpu, c->dump->status_notes, c->dump->own_notes, &c->err);
}

static bool coroutine_fn dump_read_cpus(Vm *vm, Dump *d, GError **err)
{
    d->cpus = vm->vcpu_count;
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        DumpCall call = {.dump = d};

        vcpu_call(vm->vcpus[i], dump_notes, &call);
        if (!call.ok) {
            g_propagate_prefixed_error(err, call.err, "cannot read the state of CPU %u: ", i);
            return false;
        }
    }
    return true;
}

/* More runs of pages would take hundreds of megabytes of headers. A guest can make any number. */
#define MAPPINGS_MAX (2u << 20)

/* Pages of one CPU come by ascending virtual address. */
static void dump_mapping(uint64_t va, uint64_t pa, uint64_t len, void *data)
{
    Dump *d = data;
    DumpMapping *last =
        d->mappings->len ? &g_array_index(d->mappings, DumpMapping, d->mappings->len - 1) : NULL;
    DumpMapping m = {va, pa, len};

    if (last && last->va + last->len == va && last->pa + last->len == pa) {
        last->len += len;
    } else if (d->mappings->len < MAPPINGS_MAX) {
        g_array_append_val(d->mappings, m);
    } else {
        d->too_many = true;
    }
}

static void dump_mappings(Vcpu *cpu, void *data)
{
    DumpCall *c = data;

    c->ok = cpu->vm->arch->foreach_mapping(cpu, dump_mapping, c->dump);
}

static bool coroutine_fn dump_read_page_tables(Vm *vm, Dump *d, GError **err)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        DumpCall call = {.dump = d};

        vcpu_call(vm->vcpus[i], dump_mappings, &call);
        if (!call.ok || d->too_many) {
            return error_set(err,
                             "dump: the page tables of CPU %u map too many pages; without paging "
                             "(-p) the dump does not need them",
                             i);
        }
    }
    return true;
}

static int dump_head_job(void *data)
{
    DumpCall *c = data;

    c->ok = dump_make_head(c->dump, c->elf_machine, &c->err);
    return 0;
}

/* There may be many segments to sort. */
static bool coroutine_fn dump_head(Vm *vm, Dump *d, GError **err)
{
    DumpCall call = {.dump = d, .elf_machine = vm->arch->elf_machine};

    co_pool_run(dump_head_job, &call);
    if (!call.ok) {
        g_propagate_error(err, call.err);
    }
    return call.ok;
}

/* KVM takes no other memory; who runs without it may have some. */
static bool dump_is_whole_pages(const Dump *d)
{
    for (unsigned i = 0; i < d->ranges->len; i++) {
        const DumpRange *r = &g_array_index(d->ranges, DumpRange, i);

        if (!IS_ALIGNED(r->pa | r->len, 4096)) {
            return false;
        }
    }
    return true;
}

/* The machine stands still. */
static bool coroutine_fn dump_prepare(Vm *vm, Dump *d, const VmDumpRequest *r, GError **err)
{
    if (!dump_find_ranges(vm, d, r, err) || !dump_read_cpus(vm, d, err) ||
        (r->paging && !dump_read_page_tables(vm, d, err))) {
        return false;
    }
    if (d->kdump && !dump_is_whole_pages(d)) {
        return error_set(err, "kdump-compressed format is for memory of whole pages");
    }
    co_pool_run(dump_find_touched, d);
    return d->kdump || dump_head(vm, d, err);
}

/* The work. */

static bool coroutine_fn dump_write(Vm *vm, Dump *d, GError **err)
{
    DumpProgress p;

    while ((p = dump_write_some(d, err)) != DUMP_DONE) {
        if (p == DUMP_ERROR) {
            return false;
        }
        if (vm->run_control->exiting) {
            return error_set(err, "dump: the virtual machine is being shut down");
        }
    }
    return true;
}

static void dump_tell(Vm *vm, const char *error)
{
    json_t *data = json_pack("{s:o}", "result", vm_dump_query(vm));

    if (error) {
        json_object_set_new(data, "error", json_string(error));
    }
    vm_event(vm, VM_EVENT_DUMP_COMPLETED, data);
}

/* Of one call of vm_dump(). The coroutine that holds the machine may outlive the caller. */
typedef struct {
    Vm *vm;
    const VmDumpRequest *request; /* until 'begun' or 'over' */
    bool begun, over;
    GError *err; /* over: NULL, or why it failed */
    unsigned refs;
} DumpWork;

static void dump_work_unref(DumpWork *w)
{
    if (!--w->refs) {
        g_clear_error(&w->err);
        g_free(w);
    }
}

static bool coroutine_fn dump_held(DumpWork *w, Dump *d)
{
    bool ok =
        dump_prepare(w->vm, d, w->request, &w->err) && dump_open(d, w->request->path, &w->err);

    if (ok) {
        w->begun = true;
        co_queue_wake_all(&d->changed);
        ok = dump_write(w->vm, d, &w->err) && ram_not_lost(&w->err);
    }
    return dump_close(d, ok, &w->err);
}

static void coroutine_fn dump_work(void *data)
{
    DumpWork *w = data;
    Dump *d = w->vm->dump;
    bool ok = vm_hold(w->vm, RUN_STATE_SAVE_VM, &w->err);

    if (ok) {
        ok = dump_held(w, d);
        vm_release(w->vm);
    }
    dump_end(d);
    d->status = ok ? DUMP_COMPLETED : DUMP_FAILED;
    dump_tell(w->vm, ok ? NULL : w->err->message);
    w->over = true;
    co_queue_wake_all(&d->changed);
    dump_work_unref(w);
}

static Dump *dump_of(Vm *vm)
{
    if (!vm->dump) {
        vm->dump = g_new0(Dump, 1);
        vm->dump->fd = -1;
        co_queue_init(&vm->dump->changed);
    }
    return vm->dump;
}

bool coroutine_fn vm_dump(Vm *vm, const VmDumpRequest *r, GError **err)
{
    Dump *d = dump_of(vm);
    DumpWork *w;
    bool ok;

    ok = d->status != DUMP_ACTIVE || error_set(err, "There is a dump in process, please wait.");
    ok = ok && (!r->kdump || kdump_available(err));
    if (!ok) {
        if (r->fd >= 0) {
            close(r->fd);
        }
        return false;
    }
    dump_begin(d, r->fd);
    d->kdump = r->kdump ? kdump_new(d) : NULL;
    w = g_new0(DumpWork, 1);
    *w = (DumpWork){.vm = vm, .request = r, .refs = 2};
    coroutine_start(dump_work, w);
    while (!w->over && !(r->detach && w->begun)) {
        co_queue_wait(&d->changed, NULL);
    }
    ok = !w->over || !w->err;
    if (!ok) {
        g_propagate_error(err, g_steal_pointer(&w->err));
    }
    dump_work_unref(w);
    return ok;
}

bool vm_dump_has_kdump(GError **err)
{
    return kdump_available(err);
}

void dump_free(Vm *vm)
{
    if (vm->dump) {
        co_queue_destroy(&vm->dump->changed);
        g_clear_pointer(&vm->dump, g_free);
    }
}
