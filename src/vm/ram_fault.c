/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages that are mapped from an image and cannot be read: the file was made shorter, or its disk
 * fails. Who meets one, and what comes of it:
 *
 * - A CPU, inside of KVM_RUN, which returns EFAULT: nothing is lost, the CPU has not gone on, and
 *   'cont' lets it try again. KVM does not say which page it was, nor is that searched for, which
 *   would read all of the image: where memory is mapped, it was one of the mapped.
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

#include "base/error.h"
#include "base/log.h"
#include "block/parking.h"
#include "ram_mapped.h"

/* A later one is graver, and is told behind an earlier one. */
typedef enum { TOLD_NOTHING, TOLD_UNREADABLE, TOLD_LOST } Told;

/* A process has one handler of SIGBUS. */
static struct {
    Vm *vm; /* NULL: nothing was ever mapped */
    FdHandler *handler;
    int fd; /* eventfd: written when a page was lost */
    struct sigaction previous;
    bool failed;    /* main thread: a page could not be read since memory was loaded */
    Told told;      /* main thread: of that, since the machine ran */
    unsigned loads; /* atomic: counts ram_fault_forget() */
} fault = {.fd = -1};

static void tell(Vm *vm)
{
    bool lost = ram_is_lost();
    Told what = lost ? TOLD_LOST : TOLD_UNREADABLE;

    fault.failed = true;
    vm_disk_failed(vm);
    if (fault.told >= what) {
        return;
    }
    fault.told = what;
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
        tell(data);
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

bool ram_fault_watch(Vm *vm, GError **err)
{
    struct sigaction sa = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_RESTART};

    if (fault.vm) {
        return true;
    }
    fault.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fault.fd < 0) {
        return error_set_errno(err, errno, "cannot make an eventfd for pages that cannot be read");
    }
    fault.handler = event_loop_add_fd(vm->loop, fault.fd, lost_readable, NULL, vm);
    fd_handler_set(fault.handler, true, false);
    fault.vm = vm;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGBUS, &sa, &fault.previous);
    block_set_memory_hook(ram_any_is_mapped);
    return true;
}

void ram_fault_unwatch(Vm *vm)
{
    if (fault.vm == vm) {
        block_set_memory_hook(NULL);
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
    fault.failed = false;
    fault.told = TOLD_NOTHING;
    __atomic_add_fetch(&fault.loads, 1, __ATOMIC_SEQ_CST);
}

void ram_fault_retry(void)
{
    fault.told = TOLD_NOTHING;
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

/* Memory may have been loaded anew meanwhile, and the CPU with it. */
static void tell_unreadable(void *data)
{
    if (fault.vm && GPOINTER_TO_UINT(data) == fault.loads) {
        tell(fault.vm);
    }
}

bool ram_fault_of_cpu(Vm *vm)
{
    unsigned loads = __atomic_load_n(&fault.loads, __ATOMIC_SEQ_CST);
    bool ours = ram_any_mapped() || ram_is_lost();

    if (ours) {
        event_loop_call(vm->loop, tell_unreadable, GUINT_TO_POINTER(loads));
    }
    return ours;
}
