/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * save-load save|load FILE KERNEL CPUS [IRQCHIP]: runs a payload on KVM through the library, as the
 * program does. 'save' pauses the payload half-way and saves the machine to FILE. Before that it
 * loads a saved state back into the same machine, and saving again must give the same. 'load' makes
 * another machine from FILE and lets the payload end: status 0 where its code is 0.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/event_loop.h"
#include "base/reclaim.h"
#include "base/keyval.h"
#include "devices/devices.h"
#include "machine/machine.h"
#include "x86/x86.h"

static Vm *vm;
static EventLoop *loop;
static const char *file;
static int failures;

static void fail(const char *what, GError *err)
{
    fprintf(stderr, "save-load: %s%s%s\n", what, err ? ": " : "", err ? err->message : "");
    failures++;
    g_clear_error(&err);
    event_loop_quit(loop);
}

static bool build(const char *kernel, const char *cpus, const char *irqchip)
{
    static MachineConfig config;
    json_t *accel = json_pack("[{s:s,s:s}]", "accel", "kvm", "kernel-irqchip", irqchip);
    json_t *device =
        json_pack("{s:s,s:s,s:s}", "driver", "isa-debug-exit", "iobase", "0xf4", "iosize", "4");
    const MachineClass *class = machine_find("pc");
    GError *err = NULL;
    unsigned n = atoi(cpus);
    bool ok;

    config.kernel = g_strdup(kernel);
    config.boot_reboot_timeout = -1;
    vm->arch = &x86_arch;
    vm->smp =
        (SmpConfig){.cpus = n, .maxcpus = n, .sockets = n, .dies = 1, .cores = 1, .threads = 1};
    vm->ram_size = 32 << 20;
    machine_init(vm, class);
    ok = accel_configure(vm, accel, &err) && x86_cpu_configure(vm, "qemu64", NULL, &err) &&
         class->create(vm, vm->machine, &config, &err) && vcpus_create(vm, &err) &&
         device_add(vm, device, false, &err) && class->finish(vm, vm->machine, &config, &err);
    json_decref(accel);
    json_decref(device);
    g_free(config.kernel);
    if (!ok) {
        fail("cannot make the machine", err);
    }
    return ok;
}

/* How many bytes differ. Those of each CPU's TSC and APIC timer may: both count on. */
static unsigned differences(const GByteArray *a, const GByteArray *b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->len && i < b->len; i++) {
        n += a->data[i] != b->data[i];
    }
    return n + (a->len != b->len) * 1000;
}

static void save(void *data)
{
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    GError *err = NULL;
    VmFdStream out;

    vm_reset(vm, SHUTDOWN_CAUSE_NONE);
    vm_resume(vm, NULL);
    coroutine_sleep(CLOCK_REALTIME_NS, 700 * NS_PER_MS);
    vm_pause(vm, RUN_STATE_PAUSED);
    if (!vm_save_devices(vm, first, &err)) {
        fail("cannot save", err);
        return;
    }
    if (!vm_load_devices(vm, first->data, first->len, &err)) {
        fail("cannot load into itself", err);
        return;
    }
    if (!vm_save_devices(vm, second, &err)) {
        fail("cannot save again", err);
        return;
    }
    printf("device state: %u bytes; %u differ after load and save\n", first->len,
           differences(first, second));
    if (differences(first, second) > 16 * vm->vcpu_count) {
        fail("the second save differs from the first", NULL);
    }
    vm_fd_stream_init(&out, open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    if (!vm_save(vm, &out.stream, &err)) {
        fail("cannot save to the file", err);
        return;
    }
    close(out.fd);
    event_loop_quit(loop);
}

static void load(void *data)
{
    GError *err = NULL;
    VmFdStream in;

    vm_reset(vm, SHUTDOWN_CAUSE_NONE);
    vm_fd_stream_init(&in, open(file, O_RDONLY));
    if (!vm_load(vm, &in.stream, &err)) {
        fail("cannot load the file", err);
        return;
    }
    close(in.fd);
    if (!vm_resume(vm, &err)) {
        fail("cannot go on", err);
    }
}

static void start_save(void *data)
{
    coroutine_start(save, NULL);
}

static void start_load(void *data)
{
    coroutine_start(load, NULL);
}

int main(int argc, char **argv)
{
    bool is_load = argc > 1 && !strcmp(argv[1], "load");
    int status;

    if (argc < 5) {
        fprintf(stderr, "usage: save-load save|load FILE KERNEL CPUS [on|split]\n");
        return 2;
    }
    file = argv[2];
    device_set_classes(all_device_classes);
    loop = event_loop_new("main", NULL);
    event_loop_bind(loop);
    reclaim_thread_register();
    reclaim_set_loop(loop);
    vm = vm_new(loop);
    if (build(argv[3], argv[4], argc > 5 ? argv[5] : "on")) {
        event_loop_call(loop, is_load ? start_load : start_save, NULL);
        event_loop_run(loop);
    }
    /* isa-debug-exit: (code << 1) | 1 */
    status = failures ? 1 : is_load ? vm->exit_status != 1 : 0;
    vcpus_destroy(vm);
    machine_free(vm);
    vm_free(vm);
    return status;
}
