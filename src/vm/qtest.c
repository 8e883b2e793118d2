/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest accelerator: a machine without CPUs. Nothing happens but what the qtest client asks
 * for: the virtual clock moves by its commands, and messages of MSI land in RAM, where it looks.
 */
#include "vm/qtest.h"

#include "vcpu_internal.h"

static bool qtest_usable(GError **err)
{
    return true;
}

static bool qtest_init(Vm *vm, void *options, GError **err)
{
    virtual_clock_make_manual();
    return true;
}

/* An address outside of RAM (a local APIC's) has nobody behind it. */
static void qtest_send_msi(Vm *vm, uint64_t addr, uint32_t data)
{
    data = htole32(data);
    dma_write(vm, addr, &data, sizeof data);
}

const Accel qtest_accel = {
    .name = "qtest",
    .help = "no CPUs: devices are driven over the qtest protocol",
    .usable = qtest_usable,
    .init = qtest_init,
    .send_msi = qtest_send_msi,
};

bool qtest_enabled(const Vm *vm)
{
    return vm->accel == &qtest_accel;
}
