/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the machine is made of, and the answers about what it has not: TCG's, TPM's and the like. */
#include "base/error.h"
#include "base/keyval.h"
#include "commands.h"
#include "machine/machine.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

/* QAPI's HumanReadableText: the text of an 'info', for QMP. */

static const Property text_members[] = {MEMBER("human-readable-text", PROP_STRING), PROP_END};
const PropertyShape human_text_result = {.name = "HumanReadableText", .members = text_members};
const char *const unstable_feature[] = {"unstable", NULL};

json_t *monitor_human_text(const char *text)
{
    return json_pack("{s:s}", "human-readable-text", text);
}

MONITOR_PRINTER(print_human_text)
{
    monitor_puts(mon, json_str(result, "human-readable-text"));
}

MONITOR_HANDLER(cmd_query_ramblock)
{
    g_autofree char *text = ram_blocks_text(vm);

    return monitor_human_text(text);
}

MONITOR_HANDLER(cmd_query_numa)
{
    return monitor_human_text("0 nodes\n");
}

MONITOR_HANDLER(cmd_info_qdm)
{
    g_autofree char *text = device_help_list();

    return json_string(text);
}

/* CPUs. */

MONITOR_HANDLER(cmd_query_hotpluggable_cpus)
{
    g_autofree char *type = NULL;
    json_t *out;

    if (!x86_cpu_count(vm)) {
        error_set(err, "machine does not support hot-plugging CPUs");
        return NULL;
    }
    type = x86_cpu_type(vm);
    out = json_array();
    for (unsigned i = x86_cpu_count(vm); i--;) {
        X86CpuPlace place = x86_cpu_place(vm, i);
        g_autofree char *path = x86_cpu_object_path(vm, i);
        json_t *props = json_pack("{s:i}", "socket-id", place.socket);

        if (vm->smp.dies > 1) {
            json_object_set_new(props, "die-id", json_integer(place.die));
        }
        json_object_set_new(props, "core-id", json_integer(place.core));
        json_object_set_new(props, "thread-id", json_integer(place.thread));
        json_array_append_new(out, json_pack("{s:s,s:i,s:o,s:s}", "type", type, "vcpus-count", 1,
                                             "props", props, "qom-path", path));
    }
    return out;
}

MONITOR_PRINTER(print_hotpluggable_cpus)
{
    json_t *cpu, *value;
    const char *key;
    size_t i;

    monitor_puts(mon, "Hotpluggable CPUs:\n");
    json_array_foreach(result, i, cpu)
    {
        monitor_printf(mon, "  type: \"%s\"\n  vcpus_count: \"1\"\n  qom_path: \"%s\"\n",
                       json_str(cpu, "type"), json_str(cpu, "qom-path"));
        monitor_puts(mon, "  CPUInstance Properties:\n");
        json_object_foreach(json_object_get(cpu, "props"), key, value)
        {
            monitor_printf(mon, "    %s: \"%" JSON_INTEGER_FORMAT "\"\n", key,
                           json_integer_value(value));
        }
    }
}

/* Memory. */

MONITOR_PRINTER(print_memory_size)
{
    monitor_printf(
        mon, "base memory: %" JSON_INTEGER_FORMAT "\nplugged memory: %" JSON_INTEGER_FORMAT "\n",
        json_integer_value(json_object_get(result, "base-memory")),
        json_integer_value(json_object_get(result, "plugged-memory")));
}

static const char *const policy_names[] = {"default", "preferred", "bind", "interleave", NULL};
static const Property memdev_members[] = {MAYBE("id", PROP_STRING),
                                          MEMBER("size", PROP_UINT64),
                                          MEMBER("merge", PROP_BOOL),
                                          MEMBER("dump", PROP_BOOL),
                                          MEMBER("prealloc", PROP_BOOL),
                                          MEMBER("share", PROP_BOOL),
                                          MEMBER_LIST("host-nodes", PROP_UINT16),
                                          MEMBER("policy", PROP_ENUM, .names = policy_names),
                                          PROP_END};
const PropertyShape memdev_result = {.name = "Memdev", .members = memdev_members};

MONITOR_HANDLER(cmd_query_memdev)
{
    return memory_backends_query();
}

MONITOR_PRINTER(print_memdev)
{
    static const char *const flags[] = {"merge", "dump", "prealloc", "share"};
    json_t *m;
    size_t i;

    json_array_foreach(result, i, m)
    {
        monitor_printf(mon, "memory backend: %s\n  size:  %" JSON_INTEGER_FORMAT "\n",
                       json_str(m, "id"), json_integer_value(json_object_get(m, "size")));
        for (unsigned f = 0; f < G_N_ELEMENTS(flags); f++) {
            monitor_printf(mon, "  %s: %s\n", flags[f],
                           json_is_true(json_object_get(m, flags[f])) ? "true" : "false");
        }
        monitor_printf(mon, "  policy: %s\n  host nodes: \n", json_str(m, "policy"));
    }
    monitor_puts(mon, "\n");
}

/* What is not here. QEMU with KVM, and without such devices, gives the same answers. */

MONITOR_HANDLER(cmd_nothing_to_tell)
{
    return json_object();
}

MONITOR_HANDLER(cmd_empty_list)
{
    return json_array();
}

MONITOR_PRINTER(print_nothing)
{
}

MONITOR_HANDLER(cmd_empty_text)
{
    return monitor_human_text("");
}

MONITOR_HANDLER(cmd_query_jit)
{
    error_set(err, "JIT information is only available with accel=tcg");
    return NULL;
}

MONITOR_HANDLER(cmd_query_opcount)
{
    error_set(err, "Opcode count information is only available with accel=tcg");
    return NULL;
}

MONITOR_HANDLER(cmd_query_profile)
{
    error_set(err, "Internal profiler not compiled");
    return NULL;
}

MONITOR_HANDLER(cmd_query_generation_id)
{
    error_set(err, "VM Generation ID device not found");
    return NULL;
}

static const Property generation_id_members[] = {MEMBER("guid", PROP_STRING), PROP_END};
const PropertyShape generation_id_result = {.name = "GuidInfo", .members = generation_id_members};

static const char *const replay_names[] = {"none", "record", "play", NULL};
static const Property replay_members[] = {MEMBER("mode", PROP_ENUM, .names = replay_names),
                                          MAYBE("filename", PROP_STRING),
                                          MEMBER("icount", PROP_INT64), PROP_END};
const PropertyShape replay_result = {.name = "ReplayInfo", .members = replay_members};

MONITOR_HANDLER(cmd_query_replay)
{
    return json_pack("{s:s,s:i}", "mode", replay_names[0], "icount", 0);
}

MONITOR_PRINTER(print_replay)
{
    monitor_puts(mon, "Record/replay is not active\n");
}

const char *const tpm_model_names[] = {"tpm-tis", "tpm-crb", "tpm-spapr", NULL};
const char *const tpm_type_names[] = {"passthrough", "emulator", NULL};
