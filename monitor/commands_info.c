/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What there is and how it stands: 'info' and the queries that give text of the lower layers. */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "block/backend.h"
#include "chardev/chardev.h"
#include "commands.h"
#include "devices/isa.h"
#include "devices/pci.h"
#include "net/net.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

/* HMP answers that are text are JSON strings; this prints them. */
MONITOR_PRINTER(print_text)
{
    monitor_puts(mon, json_string_value(result));
}

static json_t *take_text(char *text)
{
    json_t *out = json_string(text ? text : "");

    g_free(text);
    return out;
}

/* Texts that need the vCPU's thread. */
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

MONITOR_HANDLER(cmd_info_registers)
{
    bool all = json_is_true(json_object_get(args, "a"));
    g_autoptr(GString) out = g_string_new(NULL);

    if (!current_cpu(mon, vm, err)) {
        return NULL;
    }
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        g_autofree char *text = NULL;

        if (!all && i != mon->cpu) {
            continue;
        }
        text = cpu_text(vm->vcpus[i], vm->arch->registers_text);
        g_string_append_printf(out, "%s\nCPU#%u\n%s", i && all ? "\n" : "", i, text);
    }
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
    return of_cpu(mon, vm, x86_info_lapic, err);
}

MONITOR_HANDLER(cmd_query_cpus_fast)
{
    json_t *out = json_array();

    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        Vcpu *cpu = vm->vcpus[i];
        unsigned threads = vm->smp.threads, cores = vm->smp.cores, dies = vm->smp.dies;

        g_autofree char *path = g_strdup_printf("/machine/unattached/cpu[%u]", i);

        json_array_append_new(
            out, json_pack("{s:i,s:i,s:s,s:{s:i,s:i,s:i,s:i},s:s}", "cpu-index", i, "thread-id",
                           __atomic_load_n(&cpu->tid, __ATOMIC_ACQUIRE), "qom-path", path, "props",
                           "socket-id", i / (threads * cores * dies), "die-id",
                           i / (threads * cores) % dies, "core-id", i / threads % cores,
                           "thread-id", i % threads, "target", "x86_64"));
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

    if (index < 0 || index >= vm->vcpu_count) {
        error_set(err, "invalid CPU index");
        return NULL;
    }
    mon->cpu = index;
    return json_object();
}

/* None yet; tools ask before they do anything else. */
MONITOR_HANDLER(cmd_query_migrate_capabilities)
{
    return json_array();
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
    return take_text(block_info_text(json_is_true(json_object_get(args, "v"))));
}

MONITOR_HANDLER(cmd_query_block)
{
    return block_query();
}

MONITOR_HANDLER(cmd_query_blockstats)
{
    return block_query_stats();
}

MONITOR_HANDLER(cmd_query_named_block_nodes)
{
    return block_query_named_nodes();
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

MONITOR_HANDLER(cmd_info_mtree)
{
    return take_text(memory_tree_text(vm, json_is_true(json_object_get(args, "f"))));
}

MONITOR_HANDLER(cmd_info_irq)
{
    return take_text(irq_stats_text(vm));
}

static void append_pics(Device *dev, void *data)
{
    char *text = NULL;

    if (!strcmp(dev->class->name, "isa-i8259")) {
        text = i8259_info_text(dev);
    } else if (!strcmp(dev->class->name, "ioapic")) {
        text = ioapic_info_text(dev);
    }
    if (text) {
        g_string_append(data, text);
        g_free(text);
    }
}

MONITOR_HANDLER(cmd_info_pic)
{
    g_autoptr(GString) out = g_string_new(NULL);

    if (kvm_enabled(vm) && kvm_irqchip_mode(vm) == KVM_IRQCHIP_KERNEL) {
        return take_text(x86_kvm_pic_text(vm));
    }
    device_foreach(vm, append_pics, out);
    return json_string(out->str);
}
