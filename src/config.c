/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads -smp, -m, -machine, -boot, -rtc, -action, -uuid of -smbios from the tree. */
#include <string.h>
#include <time.h>

#include "app.h"
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/qemu_names.h"
#include "base/util.h"
#include "cli/params.h"
#include "x86/x86.h"

/* -smp. */

/* Computes the levels that were not given, like QEMU since 6.2: cores before sockets. */
static void fill_topology(SmpOptions *o)
{
    o->dies = MAX(o->dies, 1);
    if (!o->cpus && !o->maxcpus) {
        o->sockets = MAX(o->sockets, 1);
        o->cores = MAX(o->cores, 1);
        o->threads = MAX(o->threads, 1);
    } else {
        uint32_t max = o->maxcpus ? o->maxcpus : o->cpus;

        if (!o->cores) {
            o->sockets = MAX(o->sockets, 1);
            o->threads = MAX(o->threads, 1);
            o->cores = max / MAX((uint64_t)o->sockets * o->dies * o->threads, 1);
        } else if (!o->sockets) {
            o->threads = MAX(o->threads, 1);
            o->sockets = max / MAX((uint64_t)o->dies * o->cores * o->threads, 1);
        }
        if (!o->threads) {
            o->threads = max / MAX((uint64_t)o->sockets * o->dies * o->cores, 1);
        }
    }
    if (!o->maxcpus) {
        o->maxcpus = o->cpus ? o->cpus : o->sockets * o->dies * o->cores * o->threads;
    }
    o->cpus = o->cpus ? o->cpus : o->maxcpus;
}

bool app_read_smp(json_t *config, unsigned max_cpus, SmpConfig *smp, GError **err)
{
    json_t *tree = json_object_get(config, "smp"), *value;
    SmpOptions o = {0};
    const char *key;

    if (tree && !properties_apply(smp_params, &o, tree, NULL, "-smp", err)) {
        return false;
    }
    json_object_foreach(tree, key, value)
    {
        const Property *p = property_find(smp_params, key);

        if (p && !*(uint32_t *)((char *)&o + p->offset)) {
            return error_set(err,
                             "Invalid CPU topology: CPU topology parameters must be greater than "
                             "zero (-smp %s=0)",
                             key);
        }
    }
    if (o.clusters > 1) {
        return error_set(err,
                         "-smp clusters=%u: clusters not supported by this machine's CPU "
                         "topology: 1 only",
                         o.clusters);
    }
    if (!tree) {
        o.cpus = 1;
    }
    fill_topology(&o);
    if ((uint64_t)o.sockets * o.dies * o.cores * o.threads != o.maxcpus) {
        return error_set(err,
                         "Invalid CPU topology: product of the hierarchy must match maxcpus: "
                         "sockets (%u) * dies (%u) * "
                         "cores (%u) * threads (%u) != maxcpus (%u)",
                         o.sockets, o.dies, o.cores, o.threads, o.maxcpus);
    }
    if (o.maxcpus < o.cpus) {
        return error_set(err,
                         "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
                         "sockets (%u) * dies (%u) * "
                         "cores (%u) * threads (%u) == maxcpus (%u) < smp_cpus (%u)",
                         o.sockets, o.dies, o.cores, o.threads, o.maxcpus, o.cpus);
    }
    if (max_cpus && o.maxcpus > max_cpus) {
        return error_set(err, "Invalid SMP CPUs %u. The max CPUs supported by this machine is %u",
                         o.maxcpus, max_cpus);
    }
    *smp = (SmpConfig){.cpus = o.cpus,
                       .maxcpus = o.maxcpus,
                       .sockets = o.sockets,
                       .dies = o.dies,
                       .cores = o.cores,
                       .threads = o.threads};
    return true;
}

/* -m. */

static bool config_read_memory(json_t *config, const MachineClass *class, MachineConfig *mc,
                               GError **err)
{
    json_t *tree = json_object_get(config, "memory");
    MemoryOptions o = {0};

    if (tree && !properties_apply(memory_params, &o, tree, NULL, "-m", err)) {
        return false;
    }
    if (!o.size && mc->memory_backend) {
        if (!memory_backend_size(mc->memory_backend, &o.size, err)) {
            return false;
        }
    } else {
        o.size = ROUND_UP(o.size ? o.size : class->default_ram_size, 8192ull);
    }
    if (o.size > 1ull << 46) {
        return error_set(err, "-m: ram size is too large: %" G_GUINT64_FORMAT " GiB",
                         (uint64_t)(o.size / GiB));
    }
    if (o.maxmem && o.maxmem < o.size) {
        return error_set(err,
                         "-m: invalid value of maxmem: maximum memory size (0x%" G_GINT64_MODIFIER
                         "x) must be at least the initial memory size (0x%" G_GINT64_MODIFIER "x)",
                         o.maxmem, o.size);
    }
    if (o.slots || o.maxmem > o.size) {
        return error_set(err, "-m: slots and maxmem ask for memory hot-plug, which is not there "
                              "yet: give the size alone");
    }
    mc->ram_size = o.size;
    mc->maxram_size = o.size;
    return true;
}

/* -boot. */

static bool check_boot_order(const char *order, GError **err)
{
    for (const char *p = order; p && *p; p++) {
        if (*p < 'a' || *p > 'p') {
            return error_set(
                err,
                "-boot: Invalid boot device '%c': letters from a to p (c disk, d CD, n network)",
                *p);
        }
        if (strchr(p + 1, *p)) {
            return error_set(err, "-boot: Boot device '%c' was given twice", *p);
        }
    }
    return true;
}

static bool read_boot(json_t *config, MachineConfig *mc, GError **err)
{
    json_t *tree = json_object_get(config, "boot");
    BootOptions o = {.reboot_timeout = -1};

    if (tree && !properties_apply(boot_params, &o, tree, NULL, "-boot", err)) {
        properties_clear(boot_params, &o);
        return false;
    }
    mc->boot_order = o.order;
    mc->boot_once = o.once;
    mc->boot_menu = o.menu;
    mc->boot_menu_set = o.menu_set;
    mc->boot_strict = o.strict;
    mc->boot_splash_time = o.splash_time_set ? (int)o.splash_time : -1;
    mc->boot_reboot_timeout = o.reboot_timeout_set ? o.reboot_timeout : -1;
    mc->boot_splash = o.splash;
    if (o.splash_time_set && o.splash_time > 0xffff) {
        return error_set(
            err, "-boot splash-time=%u is invalid, it should be a value between 0 and 65535",
            o.splash_time);
    }
    if (o.reboot_timeout_set && (o.reboot_timeout < -1 || o.reboot_timeout > 0xffff)) {
        return error_set(
            err, "-boot reboot-timeout=%d is invalid, it should be a value between -1 and 65535",
            o.reboot_timeout);
    }
    return check_boot_order(o.order, err) && check_boot_order(o.once, err);
}

/* -rtc. */

static bool parse_date(const char *text, int64_t *seconds, GError **err)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    if (!end || *end) {
        memset(&tm, 0, sizeof tm);
        end = strptime(text, "%Y-%m-%d", &tm);
    }
    if (!end || *end) {
        return error_set(err,
                         "-rtc base=%s: expected utc, localtime, or a date like "
                         "2006-06-17T16:01:21 or 2006-06-17",
                         text);
    }
    *seconds = timegm(&tm);
    return true;
}

static bool read_rtc(json_t *config, MachineConfig *mc, GError **err)
{
    json_t *tree = json_object_get(config, "rtc");
    RtcOptions o = {0};
    bool ok;

    properties_init(rtc_params, &o);
    ok = !tree || properties_apply(rtc_params, &o, tree, NULL, "-rtc", err);
    if (ok) {
        mc->rtc_clock = o.clock;
        mc->rtc_slew = o.driftfix;
        mc->rtc_base = !strcmp(o.base, "utc") ? 0 : !strcmp(o.base, "localtime") ? 1 : 2;
        ok = mc->rtc_base < 2 || parse_date(o.base, &mc->rtc_date, err);
    }
    properties_clear(rtc_params, &o);
    return ok;
}

/* -machine: the board's properties are set from its table, the others are read here. */

static json_t *normalized_machine(json_t *config)
{
    json_t *out = json_object(), *value;
    const char *key;

    json_object_foreach(json_object_get(config, "machine"), key, value)
    {
        g_autofree char *name = g_strdelimit(g_strdup(key), "_", '-');

        json_object_set(out, name, value);
    }
    return out;
}

static GPtrArray *borrow_list(json_t *config, const char *key)
{
    GPtrArray *out = g_ptr_array_new();
    json_t *value;
    size_t i;

    json_array_foreach(json_object_get(config, key), i, value)
    {
        g_ptr_array_add(out, value);
    }
    return out;
}

static char *dup_string(json_t *config, const char *key)
{
    return g_strdup(json_str(config, key));
}

static bool read_kernel(json_t *config, MachineConfig *mc, GError **err)
{
    mc->kernel = dup_string(config, "kernel");
    mc->initrd = dup_string(config, "initrd");
    mc->append = dup_string(config, "append");
    mc->bios = dup_string(config, "bios");
    if (!mc->kernel && mc->append) {
        return error_set(err, "-append only allowed with -kernel option");
    }
    if (!mc->kernel && mc->initrd) {
        return error_set(err, "-initrd only allowed with -kernel option");
    }
    return true;
}

/* Whether -uuid came before -smbios on the command line. */
static bool uuid_before_smbios(json_t *config)
{
    const char *key;
    json_t *value;

    json_object_foreach(config, key, value)
    {
        if (!strcmp(key, "uuid") || !strcmp(key, "smbios")) {
            return !strcmp(key, "uuid");
        }
    }
    return false;
}

/* -smbios type=1,uuid= also sets the machine's UUID; the last of it and -uuid wins. */
static bool read_smbios_uuid(Vm *vm, json_t *config, GError **err)
{
    static const Property uuid_prop = {.name = "uuid", .type = PROP_UUID};
    bool take = !vm->uuid_set || uuid_before_smbios(config);
    json_t *entry;
    size_t i;

    json_array_foreach(json_object_get(config, "smbios"), i, entry)
    {
        json_t *uuid = json_object_get(entry, "uuid");
        uint8_t bytes[16];

        if (!uuid || g_strcmp0(json_str(entry, "type"), "1")) {
            continue;
        }
        if (!property_set(&uuid_prop, bytes, uuid, "-smbios type=1", err)) {
            return false;
        }
        if (take) {
            memcpy(vm->uuid, bytes, sizeof bytes);
            vm->uuid_set = true;
        }
    }
    return true;
}

/* Refuses properties that QEMU has and the board has not; 'what' is for the error text. */
static bool refuse_machine_properties(const MachineClass *class, json_t *machine, const char *what,
                                      GError **err)
{
    const char *key;
    json_t *value;

    json_object_foreach(machine, key, value)
    {
        if (!property_find(class->props, key) &&
            qemu_name_refused(QEMU_MACHINE_PROPERTY, key, err)) {
            g_prefix_error(err, "%s: ", what);
            return false;
        }
    }
    return true;
}

bool app_read_machine(Vm *vm, json_t *config, const MachineClass *class, MachineConfig *mc,
                      GError **err)
{
    /* Keys of -machine that are not the board's properties. */
    static const char *const skip[] = {"type",           "accel",    "memory-backend",
                                       "kernel-irqchip", "firmware", "kernel",
                                       "initrd",         "append",   NULL};
    json_t *machine = normalized_machine(config);
    const char *cpu = json_str(config, "cpu");
    bool ok;

    mc->memory_backend = g_strdup(json_str(machine, "memory-backend"));
    mc->mem_prealloc = json_object_get(config, "mem-prealloc");
    mc->nodefaults = json_object_get(config, "nodefaults");
    mc->nographic = json_object_get(config, "nographic");
    mc->fw_cfg_entries = borrow_list(config, "fw_cfg");
    mc->smbios_entries = borrow_list(config, "smbios");
    mc->acpi_tables = borrow_list(config, "acpitable");
    ok = read_smbios_uuid(vm, config, err) && config_read_memory(config, class, mc, err) &&
         read_boot(config, mc, err) && read_rtc(config, mc, err) && read_kernel(config, mc, err);
    if (ok && class->props) {
        g_autofree char *what = g_strdup_printf("machine '%s'", class->name);

        ok = refuse_machine_properties(class, machine, what, err) &&
             properties_apply(class->props, vm->machine, machine, skip, what, err);
    }
    if (ok) {
        mc->cpu_model = x86_cpu_parse(cpu                  ? cpu
                                      : class->default_cpu ? class->default_cpu
                                                           : "qemu64",
                                      &mc->cpu_features, err);
        ok = mc->cpu_model != NULL;
    }
    json_decref(machine);
    return ok;
}

void app_free_machine(MachineConfig *mc)
{
    GPtrArray *lists[] = {mc->fw_cfg_entries, mc->smbios_entries, mc->acpi_tables};
    char *strings[] = {mc->memory_backend, mc->kernel,    mc->initrd,      mc->append,   mc->bios,
                       mc->boot_order,     mc->boot_once, mc->boot_splash, mc->cpu_model};

    for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
        g_clear_pointer(&lists[i], g_ptr_array_unref);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
        g_free(strings[i]);
    }
    json_decref(mc->cpu_features);
    *mc = (MachineConfig){0};
}

/* -action. */

bool app_read_action_options(json_t *config, ActionOptions *o, GError **err)
{
    json_t *tree = json_object_get(config, "action");

    *o = (ActionOptions){0};
    properties_init(action_params, o);
    return !tree || properties_apply(action_params, o, tree, NULL, "-action", err);
}

bool app_read_actions(Vm *vm, json_t *config, GError **err)
{
    ActionOptions o;

    if (!app_read_action_options(config, &o, err)) {
        return false;
    }
    vm_set_actions(vm, &(VmActions){.reboot = o.reboot,
                                    .shutdown = o.shutdown,
                                    .panic = o.panic,
                                    .watchdog = o.watchdog,
                                    .error = o.error});
    return true;
}
