/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-stats, query-stats-schemas and 'info stats': KVM's statistics. */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "commands.h"
#include "vm/kvm_stats.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

static const char *const target_names[] = {"vm", "vcpu", NULL}, *const provider_names[] = {"kvm",
                                                                                           NULL};

#define PROVIDER(how) how("provider", PROP_ENUM, .names = provider_names, .help = "kvm")
#define TARGET        MEMBER("target", PROP_ENUM, .names = target_names, .help = "vm or vcpu")

static const Property request_members[] = {
    PROVIDER(MEMBER), MAYBE_LIST("names", PROP_STRING, .help = "none: all"), PROP_END};
static const PropertyShape request_shape = {.name = "StatsRequest", .members = request_members};
static const Property filter_members[] = {
    TARGET, MAYBE_LIST("providers", PROP_TREE, .shape = &request_shape, .help = "which statistics"),
    PROP_END};
static const Property vcpu_filter_members[] = {
    MAYBE_LIST("vcpus", PROP_STRING, .help = "object paths; none: all"), PROP_END};
static const ShapeVariant filter_variants[] = {{"vcpu", vcpu_filter_members}, {"vm", NULL}, {NULL}};
const PropertyShape stats_filter_shape = {
    .name = "StatsFilter", .members = filter_members, .tag = "target", .variants = filter_variants};

static const Property value_members[] = {MAYBE("scalar", PROP_UINT64), MAYBE("boolean", PROP_BOOL),
                                         MAYBE_LIST("list", PROP_UINT64), PROP_END};
static const PropertyShape value_shape = {
    .name = "StatsValue", .members = value_members, .is_alternate = true};
static const Property stat_members[] = {
    MEMBER("name", PROP_STRING), MEMBER("value", PROP_TREE, .shape = &value_shape), PROP_END};
static const PropertyShape stat_shape = {.name = "Stats", .members = stat_members};
static const Property result_members[] = {PROVIDER(MEMBER), MAYBE("qom-path", PROP_STRING),
                                          MEMBER_LIST("stats", PROP_TREE, .shape = &stat_shape),
                                          PROP_END};
const PropertyShape stats_result = {.name = "StatsResult", .members = result_members};

static const Property schema_value_members[] = {
    MEMBER("name", PROP_STRING),
    MEMBER("type", PROP_ENUM, .names = kvm_stat_type_names),
    MAYBE("unit", PROP_ENUM, .names = kvm_stat_unit_names),
    MAYBE("base", PROP_INT32),
    MEMBER("exponent", PROP_INT32),
    MAYBE("bucket-size", PROP_UINT32),
    PROP_END};
static const PropertyShape schema_value_shape = {.name = "StatsSchemaValue",
                                                 .members = schema_value_members};
static const Property schema_members[] = {
    PROVIDER(MEMBER), TARGET, MEMBER_LIST("stats", PROP_TREE, .shape = &schema_value_shape),
    PROP_END};
const PropertyShape stats_schema_result = {.name = "StatsSchema", .members = schema_members};

const Property stats_schemas_args[] = {PROVIDER(MAYBE), PROP_END};
const Property info_stats_args[] = {
    {.name = "r", .type = PROP_BOOL, .help = "how much in a second"},
    MEMBER("target", PROP_STRING, .help = "vm or vcpu"),
    MAYBE("names", PROP_STRING, .help = "with commas between; none or *: all"),
    MAYBE("provider", PROP_STRING, .help = "kvm"),
    PROP_END};

/* As JSON. The newest statistic comes first, as QEMU has it. */

static json_t *stats_value(const KvmStat *s)
{
    json_t *list;

    if (s->unit == KVM_STAT_BOOLEAN) {
        return json_boolean(s->values[0]);
    }
    if (s->type < KVM_STAT_LINEAR_HISTOGRAM) {
        return json_integer(s->values[0]);
    }
    list = json_array();
    for (unsigned i = 0; i < s->count; i++) {
        json_array_append_new(list, json_integer(s->values[i]));
    }
    return list;
}

typedef struct {
    json_t *names; /* a list; NULL: all */
    json_t *out;
} StatsWanted;

static bool stats_is_wanted(const StatsWanted *w, const char *name)
{
    json_t *item;
    size_t i;

    json_array_foreach(w->names, i, item)
    {
        if (g_str_equal(json_string_value(item), name)) {
            return true;
        }
    }
    return !w->names;
}

static void stats_add(const KvmStat *s, void *data)
{
    StatsWanted *w = data;

    if (stats_is_wanted(w, s->name)) {
        json_array_insert_new(w->out, 0,
                              json_pack("{s:s,s:o}", "name", s->name, "value", stats_value(s)));
    }
}

static void stats_add_schema(const KvmStat *s, void *data)
{
    json_t *value = json_pack("{s:s,s:s,s:i}", "name", s->name, "type",
                              kvm_stat_type_names[s->type], "exponent", s->exponent);

    if (s->unit >= 0) {
        json_object_set_new(value, "unit", json_string(kvm_stat_unit_names[s->unit]));
    }
    if (s->exponent) {
        json_object_set_new(value, "base", json_integer(s->base));
    }
    if (s->type == KVM_STAT_LINEAR_HISTOGRAM) {
        json_object_set_new(value, "bucket-size", json_integer(s->bucket_size));
    }
    json_array_insert_new(data, 0, value);
}

/* Appends the result of a vCPU, or of the VM, where it has any of the statistics. */
static bool coroutine_fn stats_append(Vm *vm, Vcpu *cpu, json_t *names, json_t *out, GError **err)
{
    StatsWanted w = {.names = names, .out = json_array()};
    json_t *result;

    if (!kvm_stats_foreach(vm, cpu, stats_add, &w, err)) {
        json_decref(w.out);
        return false;
    }
    if (!json_array_size(w.out)) {
        json_decref(w.out);
        return true;
    }
    result = json_pack("{s:s,s:o}", "provider", provider_names[0], "stats", w.out);
    if (cpu) {
        g_autofree char *path = x86_cpu_object_path(vm, cpu->index);

        json_object_set_new(result, "qom-path", json_string(path));
    }
    json_array_append_new(out, result);
    return true;
}

static bool stats_has_path(Vm *vm, json_t *paths, unsigned cpu)
{
    g_autofree char *path = x86_cpu_object_path(vm, cpu);
    json_t *item;
    size_t i;

    json_array_foreach(paths, i, item)
    {
        if (g_str_equal(json_string_value(item), path)) {
            return true;
        }
    }
    return !paths;
}

static bool coroutine_fn stats_append_all(Vm *vm, json_t *args, json_t *names, json_t *out,
                                          GError **err)
{
    json_t *paths = json_object_get(args, "vcpus");

    if (g_str_equal(json_str(args, "target"), "vm")) {
        return stats_append(vm, NULL, names, out, err);
    }
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (stats_has_path(vm, paths, i) && !stats_append(vm, vm->vcpus[i], names, out, err)) {
            return false;
        }
    }
    return true;
}

MONITOR_HANDLER(cmd_query_stats)
{
    json_t *providers = json_object_get(args, "providers"), *request, *out = json_array();
    bool ok = true;
    size_t i;

    if (!kvm_stats_available(vm)) {
        return out;
    }
    if (!providers) {
        ok = stats_append_all(vm, args, NULL, out, err);
    }
    json_array_foreach(providers, i, request)
    {
        ok = ok && stats_append_all(vm, args, json_object_get(request, "names"), out, err);
    }
    if (!ok) {
        json_decref(out);
    }
    return ok ? out : NULL;
}

static bool coroutine_fn stats_append_schema(Vm *vm, Vcpu *cpu, json_t *out, GError **err)
{
    json_t *stats = json_array();

    json_array_append_new(out, json_pack("{s:s,s:s,s:o}", "provider", provider_names[0], "target",
                                         target_names[cpu != NULL], "stats", stats));
    return kvm_stats_foreach(vm, cpu, stats_add_schema, stats, err);
}

MONITOR_HANDLER(cmd_query_stats_schemas)
{
    json_t *out = json_array();
    bool ok = true;

    if (kvm_stats_available(vm)) {
        ok = (!vm->vcpu_count || stats_append_schema(vm, vm->vcpus[0], out, err)) &&
             stats_append_schema(vm, NULL, out, err);
    }
    if (!ok) {
        json_decref(out);
    }
    return ok ? out : NULL;
}

/* As text. */

typedef struct {
    Monitor *mon;
    StatsWanted wanted;
    GPtrArray *lines; /* of char * */
    json_t *before;   /* values of a second ago, by name; NULL: no rates */
} StatsText;

static void stats_append_unit(GString *out, const KvmStat *s)
{
    static const char *const si[] = {"a", "f", "p", "n", "u", "m", "",
                                     "K", "M", "G", "T", "P", "E"};
    static const char *const iec[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    const char *symbol = s->unit == KVM_STAT_SECONDS ? "s" : s->unit == KVM_STAT_BYTES ? "B" : NULL;
    int e = s->exponent;

    if (s->unit < 0 && !e) {
        return;
    }
    g_string_append(out, ", ");
    if (symbol && s->base == 10 && e >= -18 && e <= 18 && e % 3 == 0) {
        g_string_append_printf(out, "%s%s", si[e / 3 + 6], symbol);
    } else if (symbol && s->base == 2 && e >= 0 && e <= 60 && e % 10 == 0) {
        g_string_append_printf(out, "%s%s", iec[e / 10], symbol);
    } else {
        const char *name = s->unit < 0 ? "" : kvm_stat_unit_names[s->unit];

        if (e) {
            g_string_append_printf(out, "* %u^%d%s", s->base, e, *name ? " " : "");
        }
        g_string_append(out, name);
    }
}

static void stats_append_values(GString *out, const KvmStat *s)
{
    if (s->unit == KVM_STAT_BOOLEAN) {
        g_string_append(out, s->values[0] ? "yes" : "no");
    } else if (s->type < KVM_STAT_LINEAR_HISTOGRAM) {
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, s->values[0]);
    } else {
        for (unsigned i = 0; i < s->count; i++) {
            g_string_append_printf(out, "[%u]=%" G_GUINT64_FORMAT " ", i + 1, s->values[i]);
        }
    }
}

static void stats_add_line(const KvmStat *s, void *data)
{
    StatsText *t = data;
    g_autoptr(GString) out = g_string_new(NULL);
    json_t *before = json_object_get(t->before, s->name);

    if (!stats_is_wanted(&t->wanted, s->name)) {
        return;
    }
    g_string_append_printf(out, "    %s (%s", s->name, kvm_stat_type_names[s->type]);
    stats_append_unit(out, s);
    if (s->type == KVM_STAT_LINEAR_HISTOGRAM) {
        g_string_append_printf(out, ", bucket size=%u", s->bucket_size);
    }
    g_string_append(out, "): ");
    stats_append_values(out, s);
    if (before) {
        g_string_append_printf(out, " (%" G_GUINT64_FORMAT " in a second)",
                               s->values[0] - (uint64_t)json_integer_value(before));
    }
    g_string_append_c(out, '\n');
    g_ptr_array_add(t->lines, g_strdup(out->str));
}

static void stats_note(const KvmStat *s, void *data)
{
    if (s->type == KVM_STAT_CUMULATIVE && s->unit != KVM_STAT_BOOLEAN) {
        json_object_set_new(data, s->name, json_integer(s->values[0]));
    }
}

static json_t *stats_name_list(const char *text)
{
    g_auto(GStrv) words = text ? g_strsplit(text, ",", 0) : NULL;
    json_t *names;

    if (!text || g_str_equal(text, "*")) {
        return NULL;
    }
    names = json_array();
    for (unsigned i = 0; words[i]; i++) {
        json_array_append_new(names, json_string(words[i]));
    }
    return names;
}

static bool coroutine_fn stats_print(StatsText *t, Vm *vm, Vcpu *cpu, bool rates,
                                     const char *heading, GError **err)
{
    if (rates) {
        t->before = json_object();
        if (!kvm_stats_foreach(vm, cpu, stats_note, t->before, err)) {
            return false;
        }
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_SEC);
    }
    if (!kvm_stats_foreach(vm, cpu, stats_add_line, t, err)) {
        return false;
    }
    if (t->lines->len) {
        monitor_puts(t->mon, heading);
    }
    for (unsigned i = t->lines->len; i--;) {
        monitor_puts(t->mon, g_ptr_array_index(t->lines, i));
    }
    return true;
}

MONITOR_HANDLER(cmd_info_stats)
{
    const char *target = json_str(args, "target"), *provider = json_str(args, "provider");
    StatsText t = {.mon = mon};
    bool ok;

    if (!g_strv_contains(target_names, target)) {
        error_set(err, "invalid stats target %s", target);
        return NULL;
    }
    if (provider && !g_strv_contains(provider_names, provider)) {
        error_set(err, "invalid stats provider %s", provider);
        return NULL;
    }
    if (!kvm_stats_available(vm)) {
        return json_object();
    }
    if (g_str_equal(target, "vcpu") && !vm->vcpu_count) {
        error_set(err, "No CPU available");
        return NULL;
    }
    t.wanted.names = stats_name_list(json_str(args, "names"));
    t.lines = g_ptr_array_new_with_free_func(g_free);
    ok = stats_print(&t, vm, g_str_equal(target, "vcpu") ? monitor_cpu(mon) : NULL,
                     json_is_true(json_object_get(args, "r")), provider ? "" : "provider: kvm\n",
                     err);
    g_ptr_array_unref(t.lines);
    json_decref(t.wanted.names);
    json_decref(t.before);
    return ok ? json_object() : NULL;
}
