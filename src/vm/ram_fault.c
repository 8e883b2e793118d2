/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages that are mapped from an image and cannot be read: the file was made shorter, or its disk
 * fails. Who meets one, and what comes of it:
 *
 * - A CPU, inside of KVM_RUN, which returns EFAULT: nothing is lost, the CPU has not gone on, and
 *   'cont' lets it try again.
 * - The kernel, for a disk's request: EFAULT as well, and the request is parked (block/parking.c).
 * - A thread of this program, by SIGBUS. It cannot wait, nor give up half way through a device. So
 *   it goes on with a page of zeroes, and the content is lost: the machine stops, no disk is
 * written to any more, nothing is saved, and only a reset or a load lets it run.
 *
 * Each time the machine pauses with an I/O error.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "block/parking.h"
#include "ram_mapped.h"

enum { PROBE = 2 * MiB };

/* A process has one handler of SIGBUS. */
static struct {
    Vm *vm; /* NULL: nothing was ever mapped */
    FdHandler *handler;
    int fd; /* eventfd: written when a page was lost */
    struct sigaction previous;
    bool failed; /* main thread: a page could not be read since memory was loaded */
    bool told;   /* main thread: of that, since the machine ran */
} fault = {.fd = -1};

static void tell(Vm *vm, bool lost)
{
    fault.failed = true;
    vm_disk_failed(vm);
    if (fault.told) {
        return;
    }
    fault.told = true;
    log_error("the virtual machine is paused: a page of its memory could not be read from the "
              "image of %s; %s",
              ram_image_name(vm),
              lost ? "it is lost: reset the machine, or load a snapshot" : "'cont' tries again");
    vm_event(vm, VM_EVENT_BLOCK_IO_ERROR,
             json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "device", ram_image_disk(vm), "node-name",
                       ram_image_node(vm), "operation", "read", "action", "stop", "nospace", 0,
                       "reason", "guest memory cannot be read"));
}

/* SIGBUS. */

static void lost_readable(void *data)
{
    uint64_t count;

    if (read(fault.fd, &count, sizeof count) == sizeof count && ram_is_lost()) {
        tell(data, true);
    }
}

/* Not ours: as if this handler were not there. */
static void pass_on(int sig, const siginfo_t *info)
{
    sigaction(SIGBUS, &fault.previous, NULL);
    if (info->si_code <= 0) {
        raise(sig); /* sent, not caused: it does not come again by itself */
    }
}

/* Async-signal-safe. */
static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    static const uint64_t one = 1;
    int saved = errno;

    if (info->si_code != BUS_ADRERR || !ram_replace_page(info->si_addr)) {
        pass_on(sig, info);
    } else if (write(fault.fd, &one, sizeof one) < 0) {
        /* The counter is full: the main loop is going to look anyway. */
    }
    errno = saved;
}

void ram_fault_watch(Vm *vm)
{
    struct sigaction sa = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_RESTART};

    if (!fault.vm) {
        fault.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        fault.handler = event_loop_add_fd(vm->loop, fault.fd, lost_readable, NULL, vm);
        fd_handler_set(fault.handler, true, false);
        fault.vm = vm;
        sigemptyset(&sa.sa_mask);
        sigaction(SIGBUS, &sa, &fault.previous);
    }
}

void ram_fault_unwatch(Vm *vm)
{
    if (fault.vm == vm) {
        sigaction(SIGBUS, &fault.previous, NULL);
        fd_handler_remove(g_steal_pointer(&fault.handler));
        close(fault.fd);
        fault.fd = -1;
        fault.vm = NULL;
    }
}

void ram_fault_forget(void)
{
    ram_lost_clear();
    block_refuse_writes(false);
    fault.failed = fault.told = false;
}

void ram_fault_retry(void)
{
    fault.told = false;
}

void coroutine_fn ram_fault_reset(Vm *vm)
{
    g_autoptr(GError) err = NULL;

    if (fault.failed && !ram_image_forget(vm, &err)) {
        log_error("%s", err->message);
    }
    ram_fault_forget();
}

/* KVM_RUN. */

static void tell_unreadable(void *data)
{
    tell(data, false);
}

/* Whether a mapped page of the block cannot be read, as the kernel finds it. */
static bool block_unreadable(const RamBlock *b)
{
    uint64_t at = 0, len;

    while (ram_next_mapped(b, &at, &len, PROBE)) {
        if (madvise(b->host + at, len, MADV_POPULATE_READ) && errno == EFAULT) {
            return true;
        }
        at += len;
    }
    return false;
}

bool ram_fault_of_cpu(Vm *vm)
{
    g_autoptr(GPtrArray) blocks = g_ptr_array_new();

    /* Blocks stay; their list is another thread's. */
    g_rec_mutex_lock(&vm->memory->lock);
    for (RamBlock *b = vm->memory->blocks; b; b = b->next) {
        g_ptr_array_add(blocks, b);
    }
    g_rec_mutex_unlock(&vm->memory->lock);
    for (unsigned i = 0; i < blocks->len; i++) {
        if (block_unreadable(blocks->pdata[i])) {
            event_loop_call(vm->loop, tell_unreadable, vm);
            return true;
        }
    }
    return false;
}
