/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest accelerator: a machine without CPUs, driven by the qtest client. The virtual clock
 * moves by the client's commands only, and MSI messages are stored in RAM, where the client reads
 * them.
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

/* Without CPUs a message to a local APIC's address, which is not RAM, has no receiver. */
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
