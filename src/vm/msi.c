/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Message-signalled interrupts. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/trace.h"
#include "vm/irq.h"
#include "vm/vcpu.h"

struct MsiRoute {
    Vm *vm;
    int fd, gsi;
};

void msi_send(Vm *vm, uint64_t addr, uint32_t data)
{
    trace(msi_send, addr, data);
    vm->accel->send_msi(vm, addr, data);
}

MsiRoute *msi_route_new(Vm *vm, uint64_t addr, uint32_t data, GError **err)
{
    MsiRoute *route;
    int fd, gsi;

    if (!vm->accel->msi_route_add) {
        error_set(err, "accelerator '%s' has no interrupts by file descriptor", vm->accel->name);
        return NULL;
    }
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        error_set_errno(err, errno, "cannot make an eventfd for an interrupt");
        return NULL;
    }
    gsi = vm->accel->msi_route_add(vm, addr, data, fd);
    if (gsi < 0) {
        error_set_errno(err, -gsi, "KVM refuses a route for an interrupt");
        close(fd);
        return NULL;
    }
    route = g_new(MsiRoute, 1);
    *route = (MsiRoute){.vm = vm, .fd = fd, .gsi = gsi};
    return route;
}

int msi_route_fd(MsiRoute *route)
{
    return route->fd;
}

void msi_route_update(MsiRoute *route, uint64_t addr, uint32_t data)
{
    route->vm->accel->msi_route_update(route->vm, route->gsi, addr, data);
}

void msi_route_free(MsiRoute *route)
{
    if (route) {
        route->vm->accel->msi_route_del(route->vm, route->gsi, route->fd);
        close(route->fd);
        g_free(route);
    }
}
