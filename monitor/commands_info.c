/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info' and queries: results and texts of the lower layers. */
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/keyval.h"
#include "block/backend.h"
#include "block/graph.h"
#include "block_text.h"
#include "chardev/chardev.h"
#include "commands.h"
#include "devices/isa.h"
#include "devices/pci.h"
#include "net/net.h"
#include "vm/snapshot.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

/* Arguments. */

const Property registers_args[] = {{.name = "a", .type = PROP_BOOL, .help = "all CPUs"},
                                   {.name = "vcpu", .type = PROP_INT64, .help = "which one"},
                                   PROP_END};
const Property lapic_args[] = {
    {.name = "apic-id", .type = PROP_INT64, .help = "whose; none: the current CPU's"}, PROP_END};
const Property block_args[] = {{.name = "n", .type = PROP_BOOL, .help = "nodes that have names"},
                               {.name = "v", .type = PROP_BOOL, .help = "more of each"},
                               {.name = "device",
                                .type = PROP_LINK,
                                .names = (const char *const[]){"drive", NULL},
                                .help = "one of them, or a node"},
                               PROP_END};
const Property info_snapshots_args[] = {
    {.name = "v", .type = PROP_BOOL, .help = "whether their memory would be mapped or read"},
    PROP_END};
const Property named_nodes_args[] = {
    {.name = "flat", .type = PROP_BOOL, .help = "without the images' backing images"}, PROP_END};
const Property blockstats_args[] = {
    {.name = "query-nodes", .type = PROP_BOOL, .help = "of every node, by its name"}, PROP_END};
const Property mtree_args[] = {{.name = "f", .type = PROP_BOOL, .help = "as dispatch sees it"},
                               {.name = "d", .type = PROP_BOOL, .help = "refused"},
                               {.name = "o", .type = PROP_BOOL, .help = "refused"},
                               {.name = "D", .type = PROP_BOOL, .help = "refused"},
                               PROP_END};
const Property cpu_args[] = {
    {.name = "index", .type = PROP_UINT32, .help = "the CPU", .flags = PROP_FLAG_REQUIRED},
    PROP_END};

/* Prints a result that is a JSON string. */
MONITOR_PRINTER(print_text)
{
    monitor_puts(mon, json_string_value(result));
}

/* The names of files in a text are any bytes. */
static json_t *take_text(char *text)
{
    json_t *out = json_string_nocheck(text ? text : "");

    g_free(text);
    return out;
}

/* A text that has to be made on the vCPU's thread. */
typedef struct {
    char *(*fn)(Vcpu *cpu);
    char *text;
} CpuText;

static void on_cpu(Vcpu *cpu, void *data)
{
    CpuText *c = data;

    c->text = c->fn(cpu);
}

static char *cpu_text(Vcpu *cpu, char *(*fn)(Vcpu *cpu))
{
    CpuText c = {.fn = fn};

    vcpu_call(cpu, on_cpu, &c);
    return c.text;
}

static Vcpu *current_cpu(Monitor *mon, Vm *vm, GError **err)
{
    if (!vm->vcpu_count) {
        error_set(err, "No CPU available");
        return NULL;
    }
    return vm->vcpus[MIN(mon->cpu, vm->vcpu_count - 1)];
}

static json_t *of_cpu(Monitor *mon, Vm *vm, char *(*fn)(Vcpu *cpu), GError **err)
{
    Vcpu *cpu = current_cpu(mon, vm, err);

    return cpu ? take_text(cpu_text(cpu, fn)) : NULL;
}

static void append_registers(GString *out, Vcpu *cpu)
{
    g_autofree char *text = cpu_text(cpu, cpu->vm->arch->registers_text);

    g_string_append_printf(out, "\nCPU#%u\n%s", cpu->index, text);
}

MONITOR_HANDLER(cmd_info_registers)
{
    json_t *index = json_object_get(args, "vcpu");
    json_int_t n = json_integer_value(index);
    g_autoptr(GString) out = g_string_new(NULL);
    Vcpu *cpu;

    if (json_is_true(json_object_get(args, "a"))) {
        for (unsigned i = 0; i < vm->vcpu_count; i++) {
            append_registers(out, vm->vcpus[i]);
        }
        return json_string(out->str);
    }
    if (index && (n < 0 || n >= vm->vcpu_count)) {
        error_set(err, "CPU#%" JSON_INTEGER_FORMAT " not available", n);
        return NULL;
    }
    cpu = index ? vm->vcpus[n] : current_cpu(mon, vm, err);
    if (!cpu) {
        return NULL;
    }
    append_registers(out, cpu);
    return json_string(out->str);
}

MONITOR_HANDLER(cmd_info_mem)
{
    return of_cpu(mon, vm, x86_info_mem, err);
}

MONITOR_HANDLER(cmd_info_tlb)
{
    return of_cpu(mon, vm, x86_info_tlb, err);
}

MONITOR_HANDLER(cmd_info_lapic)
{
    json_t *id = json_object_get(args, "apic-id");

    if (!id) {
        return of_cpu(mon, vm, x86_info_lapic, err);
    }
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpus[i]->arch_id == json_integer_value(id)) {
            return take_text(x86_info_lapic(vm->vcpus[i]));
        }
    }
    error_set(err, "No CPU available");
    return NULL;
}

/* The id of a vCPU's thread; under qtest, where CPUs have none, that of the process. */
static int thread_of_cpu(Vm *vm, unsigned index)
{
    return index < vm->vcpu_count ? __atomic_load_n(&vm->vcpus[index]->tid, __ATOMIC_ACQUIRE)
                                  : getpid();
}

MONITOR_HANDLER(cmd_query_cpus_fast)
{
    json_t *out = json_array();

    for (unsigned i = 0; i < x86_cpu_count(vm); i++) {
        X86CpuPlace place = x86_cpu_place(vm, i);
        g_autofree char *path = x86_cpu_object_path(vm, i);
        json_t *props = json_pack("{s:i,s:i,s:i}", "socket-id", place.socket, "core-id", place.core,
                                  "thread-id", place.thread);

        if (vm->smp.dies > 1) {
            json_object_set_new(props, "die-id", json_integer(place.die));
        }
        json_array_append_new(out, json_pack("{s:i,s:i,s:s,s:o,s:s}", "cpu-index", i, "thread-id",
                                             thread_of_cpu(vm, i), "qom-path", path, "props", props,
                                             "target", "x86_64"));
    }
    return out;
}

MONITOR_PRINTER(print_cpus)
{
    size_t i;
    json_t *cpu;

    json_array_foreach(result, i, cpu)
    {
        monitor_printf(mon, "%c CPU #%zu: thread_id=%" JSON_INTEGER_FORMAT "\n",
                       i == mon->cpu ? '*' : ' ', i,
                       json_integer_value(json_object_get(cpu, "thread-id")));
    }
}

MONITOR_HANDLER(cmd_cpu)
{
    json_int_t index = json_integer_value(json_object_get(args, "index"));

    if (index < 0 || index >= x86_cpu_count(vm)) {
        error_set(err, "invalid CPU index");
        return NULL;
    }
    mon->cpu = index;
    return json_object();
}

MONITOR_HANDLER(cmd_query_kvm)
{
    return json_pack("{s:b,s:b}", "enabled", kvm_enabled(vm), "present", 1);
}

MONITOR_PRINTER(print_kvm)
{
    monitor_printf(mon, "kvm support: %s\n",
                   json_is_true(json_object_get(result, "enabled")) ? "enabled" : "disabled");
}

MONITOR_HANDLER(cmd_query_name)
{
    return vm->name ? json_pack("{s:s}", "name", vm->name) : json_object();
}

MONITOR_PRINTER(print_name)
{
    const char *name = json_str(result, "name");

    if (name) {
        monitor_printf(mon, "%s\n", name);
    }
}

MONITOR_HANDLER(cmd_query_uuid)
{
    const uint8_t *u = vm->uuid;
    g_autofree char *text = g_strdup_printf(
        "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
        u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);

    return json_pack("{s:s}", "UUID", text);
}

MONITOR_PRINTER(print_uuid)
{
    monitor_printf(mon, "%s\n", json_str(result, "UUID"));
}

MONITOR_HANDLER(cmd_info_block)
{
    bool verbose = json_is_true(json_object_get(args, "v"));
    const char *device = json_str(args, "device");
    bool nodes = json_is_true(json_object_get(args, "n"));
    char *text = nodes ? NULL : block_info_text(device, verbose);

    if (nodes || (device && !*text)) { /* a name that no disk has may be a node's */
        json_auto_t *all = block_query_named_nodes(false);

        g_free(text);
        text = block_text_of_nodes(all, device, verbose);
    }
    return take_text(text);
}

MONITOR_HANDLER(cmd_info_snapshots)
{
    char *text = block_snapshots_text();

    if (json_is_true(json_object_get(args, "v"))) {
        g_autofree char *table = text, *memory = vm_snapshot_memory_text(vm);

        text = g_strconcat(table, memory, NULL);
    }
    return take_text(text);
}

MONITOR_HANDLER(cmd_query_block)
{
    return block_query();
}

MONITOR_HANDLER(cmd_query_blockstats)
{
    return json_is_true(json_object_get(args, "query-nodes")) ? block_query_node_stats()
                                                              : block_query_stats();
}

MONITOR_HANDLER(cmd_query_named_block_nodes)
{
    return block_query_named_nodes(json_is_true(json_object_get(args, "flat")));
}

MONITOR_HANDLER(cmd_query_block_graph)
{
    return block_query_graph();
}

static json_int_t stat_of(json_t *stats, const char *key)
{
    return json_integer_value(json_object_get(stats, key));
}

MONITOR_PRINTER(print_blockstats)
{
    size_t i;
    json_t *entry;

    json_array_foreach(result, i, entry)
    {
        json_t *s = json_object_get(entry, "stats");
        const char *device = json_str(entry, "device");

        if (!device || !*device) {
            device = json_str(entry, "qdev");
        }
        monitor_printf(mon,
                       "%s: rd_bytes=%lld wr_bytes=%lld rd_operations=%lld wr_operations=%lld "
                       "flush_operations=%lld "
                       "wr_total_time_ns=%lld rd_total_time_ns=%lld flush_total_time_ns=%lld "
                       "rd_merged=%lld wr_merged=%lld "
                       "idle_time_ns=%lld\n",
                       device ? device : "", stat_of(s, "rd_bytes"), stat_of(s, "wr_bytes"),
                       stat_of(s, "rd_operations"), stat_of(s, "wr_operations"),
                       stat_of(s, "flush_operations"), stat_of(s, "wr_total_time_ns"),
                       stat_of(s, "rd_total_time_ns"), stat_of(s, "flush_total_time_ns"),
                       stat_of(s, "rd_merged"), stat_of(s, "wr_merged"),
                       stat_of(s, "idle_time_ns"));
    }
}

MONITOR_HANDLER(cmd_info_network)
{
    return take_text(net_info_text());
}

MONITOR_HANDLER(cmd_info_usernet)
{
    return take_text(net_info_usernet(NULL));
}

MONITOR_HANDLER(cmd_info_chardev)
{
    return take_text(chardev_info_text());
}

MONITOR_HANDLER(cmd_query_chardev)
{
    return chardev_query();
}

MONITOR_HANDLER(cmd_info_pci)
{
    return take_text(pci_info_text(vm));
}

MONITOR_HANDLER(cmd_info_qtree)
{
    return take_text(device_tree_text(vm));
}

/* QEMU's flags -d, -o and -D are refused: they show what this program does not have. */
static bool can_show_tree(json_t *args, GError **err)
{
    static const char *const lacking[][2] = {
        {"d",
         "there is no dispatch tree: what is at an address is looked up in the flat view (-f)"},
        {"o", "a region's owner is not listed here ('info qtree' shows devices and their regions)"},
        {"D", "a region that is disabled is not in the map"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lacking); i++) {
        if (json_is_true(json_object_get(args, lacking[i][0]))) {
            return error_set(err, "mtree: -%s is not supported: %s", lacking[i][0], lacking[i][1]);
        }
    }
    return true;
}

MONITOR_HANDLER(cmd_info_mtree)
{
    if (!can_show_tree(args, err)) {
        return NULL;
    }
    return take_text(memory_tree_text(vm, json_is_true(json_object_get(args, "f"))));
}

static void info_find_class(Device *dev, void *data)
{
    const char **name = data;

    if (*name && !strcmp(dev->class->name, *name)) {
        *name = NULL;
    }
}

static bool has_device(Vm *vm, const char *class)
{
    device_foreach(vm, info_find_class, &class);
    return !class;
}

/* The counts are kept by interrupt line, so all controllers of a board show the same. */
MONITOR_HANDLER(cmd_info_irq)
{
    static const char *const classes[] = {"ioapic", "kvm-ioapic", "isa-i8259", "kvm-i8259"};
    g_autofree char *counts = irq_stats_text(vm);
    const char *numbers = strchr(counts, '\n') + 1;
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (has_device(vm, classes[i])) {
            g_string_append_printf(out, "IRQ statistics for %s:\n%s", classes[i], numbers);
        }
    }
    return monitor_human_text(out->str);
}

typedef struct {
    GString *out;
    const char *class;
    char *(*text)(Device *dev);
} PicText;

static void append_pic(Device *dev, void *data)
{
    PicText *t = data;

    if (!strcmp(dev->class->name, t->class)) {
        g_autofree char *text = t->text(dev);

        g_string_append(t->out, text);
    }
}

/* The lines of each chip in QEMU's order: I/O APIC, second PIC, first PIC. */
static json_t *sorted_pics(const char *text)
{
    static const char *const prefixes[] = {"pic1:", "pic0:"};
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned i = 0; lines[i]; i++) {
        if (*lines[i] && !g_str_has_prefix(lines[i], "pic")) {
            g_string_append_printf(out, "%s\n", lines[i]);
        }
    }
    for (unsigned p = 0; p < G_N_ELEMENTS(prefixes); p++) {
        for (unsigned i = 0; lines[i]; i++) {
            if (g_str_has_prefix(lines[i], prefixes[p])) {
                g_string_append_printf(out, "%s\n", lines[i]);
            }
        }
    }
    return json_string(out->str);
}

MONITOR_HANDLER(cmd_info_pic)
{
    g_autoptr(GString) out = g_string_new(NULL);
    PicText ioapic = {out, "ioapic", ioapic_info_text}, pic = {out, "isa-i8259", i8259_info_text};
    g_autofree char *kernel = NULL;

    if (kvm_enabled(vm) && kvm_irqchip_mode(vm) == KVM_IRQCHIP_KERNEL) {
        kernel = x86_kvm_pic_text(vm);
        return sorted_pics(kernel);
    }
    device_foreach(vm, append_pic, &ioapic);
    device_foreach(vm, append_pic, &pic);
    return sorted_pics(out->str);
}
