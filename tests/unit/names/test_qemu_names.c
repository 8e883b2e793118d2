/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is in a table of this program is not in the list of names that QEMU alone has. */
#include <string.h>

#include "../base/unit.h"
#include "app.h"
#include "base/object.h"
#include "base/qemu_names.h"
#include "block/node.h"
#include "chardev/chardev.h"
#include "cli/options.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "vm/device.h"
#include "vm/vcpu.h"

static GString *stale;
static unsigned walked;

static void exists(QemuNameKind kind, const char *name)
{
    walked++;
    if (qemu_name_known(kind, name)) {
        g_string_append_printf(stale, " %s", name);
    }
}

START_TEST(options)
{
    for (const OptionDef *o = cli_options(); o->name; o++) {
        exists(QEMU_OPTION, o->name);
    }
}
END_TEST

START_TEST(commands)
{
    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->name) {
            exists(QEMU_QMP, c->name);
        }
        if (c->hmp && g_str_has_prefix(c->hmp, "info ")) {
            exists(QEMU_INFO, c->hmp + strlen("info "));
        } else if (c->hmp) {
            exists(QEMU_COMMAND, c->hmp);
        }
        if (c->hmp_alias) {
            exists(QEMU_COMMAND, c->hmp_alias);
        }
    }
}
END_TEST

START_TEST(devices)
{
    app_set_classes();
    for (const DeviceClass *const *c = device_classes(); *c; c++) {
        exists(QEMU_DEVICE, (*c)->name);
        if ((*c)->alias) {
            exists(QEMU_DEVICE, (*c)->alias);
        }
    }
}
END_TEST

START_TEST(objects)
{
    app_set_classes();
    for (const ObjectClass *const *c = object_classes(); *c; c++) {
        exists(QEMU_OBJECT, (*c)->name);
    }
}
END_TEST

START_TEST(backends)
{
    for (const BlockDriver *const *c = block_drivers(); *c; c++) {
        exists(QEMU_BLOCK, (*c)->name);
    }
    for (const NetBackendClass *const *c = net_backend_classes(); *c; c++) {
        exists(QEMU_NETDEV, (*c)->name);
    }
    for (const ChardevClass *const *c = chardev_classes(); *c; c++) {
        exists(QEMU_CHARDEV, (*c)->name);
    }
    for (const Accel *const *c = accels(); *c; c++) {
        exists(QEMU_ACCEL, (*c)->name);
    }
}
END_TEST

START_TEST(machines)
{
    for (const MachineClass *const *c = machine_classes(); *c; c++) {
        exists(QEMU_MACHINE, (*c)->name);
        if ((*c)->alias) {
            exists(QEMU_MACHINE, (*c)->alias);
        }
        for (const Property *p = (*c)->props; p && p->name; p++) {
            exists(QEMU_MACHINE_PROPERTY, p->name);
        }
    }
}
END_TEST

/* Lists are in order, so that a name stands once and is found by who takes it out. */
START_TEST(order)
{
    for (int kind = 0; kind < QEMU_NAME_KINDS; kind++) {
        g_auto(GStrv) names = qemu_names(kind);

        ck_assert_ptr_nonnull(names[0]);
        for (char **n = names; n[1]; n++) {
            ck_assert_msg(strcmp(n[0], n[1]) < 0, "'%s' stands before '%s'", n[0], n[1]);
        }
        walked++;
    }
}
END_TEST

static void setup(void)
{
    stale = g_string_new(NULL);
}

static void teardown(void)
{
    ck_assert_msg(!stale->len, "these exist, take them out of src/base/qemu_names.c:%s",
                  stale->str);
    ck_assert_int_gt(walked, 0);
    g_string_free(stale, TRUE);
}

int main(void)
{
    const TTest *const tests[] = {options, commands, devices, objects, backends, machines, order};
    TCase *tcase = tcase_create("qemu_names");

    tcase_add_checked_fixture(tcase, setup, teardown);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    return unit_run_case("qemu_names", tcase);
}
