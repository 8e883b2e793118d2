/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which accelerator: the one array of them, and -accel. */
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/qemu_names.h"
#include "vcpu_internal.h"

const Accel *const *accels(void)
{
    static const Accel *const list[] = {&kvm_accel, &qtest_accel, NULL};

    return list;
}

static const Accel *accel_find(const char *name, GError **err)
{
    const char *names[8];
    unsigned n = 0;

    for (const Accel *const *a = accels(); *a; a++) {
        if (!strcmp((*a)->name, name)) {
            return *a;
        }
        names[n++] = (*a)->name;
    }
    names[n] = NULL;
    if (qemu_name_known(QEMU_ACCEL, name)) {
        error_set(err,
                  "invalid accelerator %s: this program runs guests by KVM only (use -accel kvm)",
                  name);
    } else {
        error_unknown_name(err, "accelerator", name, names);
    }
    return NULL;
}

static bool try_one(Vm *vm, const Accel *accel, json_t *options, GError **err)
{
    void *opts = g_malloc0(MAX(accel->options_size, 1));
    const char *const skip[] = {"accel", NULL};
    g_autofree char *what = g_strdup_printf("accelerator '%s'", accel->name);
    bool ok;

    if (accel->props) {
        properties_init(accel->props, opts);
    }
    static const Property none[] = {PROP_END};

    ok = properties_apply(accel->props ? accel->props : none, opts, options, skip, what, err);
    if (ok) {
        vm->accel = accel;
        ok = accel->init(vm, opts, err);
        if (!ok) {
            vm->accel = NULL;
        }
    }
    if (accel->props) {
        properties_clear(accel->props, opts);
    }
    g_free(opts);
    return ok;
}

bool accel_configure(Vm *vm, json_t *config_list, GError **err)
{
    GError *last = NULL;
    size_t i;
    json_t *config;

    json_array_foreach(config_list, i, config)
    {
        const char *names = json_str(config, "accel");
        g_auto(GStrv) list = g_strsplit(names ? names : "kvm", ":", -1);

        for (char **name = list; *name; name++) {
            const Accel *accel = accel_find(*name, last ? NULL : &last);

            if (!accel) {
                continue;
            }
            g_clear_error(&last);
            if (!accel->usable(&last)) {
                continue;
            }
            if (try_one(vm, accel, config, &last)) {
                return true;
            }
            g_propagate_error(err, last);
            return false;
        }
    }
    if (!last) {
        return error_set(err, "no accelerator found: -accel names none (-accel help lists them)");
    }
    g_propagate_error(err, last);
    return false;
}
