/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a gdb sends: bytes as they are, and packets with right checksums, to the stub of a machine
 * whose CPUs are no KVM's. Between them CPUs come to breakpoints, others stop the machine or let it
 * go on, and clients come and go.
 */
#include <stdint.h>
#include <string.h>
#include "../unit/vm/fake_cpu.h"
#include "board.h"
#include "chardev/chardev.h"
#include "machine/machine.h"
#include "monitor/gdb.h"
#include "monitor/monitor.h"

extern const DeviceClass fw_cfg_io_class;

/* Of HMP's commands those that concern the stub. The program is linked with
 * --wrap=monitor_commands. */
const MonitorCommand *__real_monitor_commands(void);
const MonitorCommand *__wrap_monitor_commands(void);

const MonitorCommand *__wrap_monitor_commands(void)
{
    static const char *const kept[] = {"stop", "cont", "system_reset", "info status", "help", NULL};
    static GArray *table;

    if (!table) {
        table = g_array_new(TRUE, TRUE, sizeof(MonitorCommand));
        for (const MonitorCommand *c = __real_monitor_commands(); c->name || c->hmp; c++) {
            if (c->hmp && g_strv_contains(kept, c->hmp)) {
                g_array_append_vals(table, c, 1);
            }
        }
    }
    return (const MonitorCommand *)table->data;
}

/* A client that kills the machine would end the fuzzer; the link has --wrap for this, too. */
void __wrap_vm_request_shutdown(Vm *vm, ShutdownCause cause);

void __wrap_vm_request_shutdown(Vm *vm, ShutdownCause cause)
{
}

/* A client that goes is worth a warning, but not thousands. */
void __wrap_log_warn(const char *fmt, ...);

void __wrap_log_warn(const char *fmt, ...)
{
}

static json_t *query_options(const char *option)
{
    return json_array();
}

static Chardev *chr;

static void init(void)
{
    static const DeviceClass *const classes[] = {&fw_cfg_io_class, NULL};
    static const MachineClass machine = {.name = "fuzz"};
    static const MonitorHost host = {.query_command_line_options = query_options};
    json_t *config = json_pack("{s:s,s:s}", "backend", "null", "id", "fuzz");

    board_init(classes);
    board.vm->machine_class = &machine;
    board_add("fw_cfg_io", NULL);
    fake_cpus_add(board.vm);
    chr = chardev_add(config, NULL);
    g_assert(chr);
    json_decref(config);
    monitor_init(board.vm, &host);
}

static void send_bytes(const char *data, size_t size)
{
    for (unsigned waits = 0; size && waits < 100;) {
        size_t n = MIN(size, chardev_can_read(chr));

        if (!n) {
            waits++;
        } else {
            chardev_deliver(chr, (const uint8_t *)data, n);
            data += n;
            size -= n;
        }
        board_turn();
    }
}

static char *input_bytes(Input *in, size_t *n)
{
    char *bytes;

    *n = input_take(in, 1);
    *n = MIN(*n, in->left);
    bytes = g_memdup2(in->data, *n);
    in->data += *n;
    in->left -= *n;
    return bytes;
}

static void send_packet(Input *in)
{
    size_t n;
    g_autofree char *content = input_bytes(in, &n);
    uint8_t sum = 0;
    char end[4];

    for (size_t i = 0; i < n; i++) {
        sum += (uint8_t)content[i];
    }
    g_snprintf(end, sizeof end, "#%02x", sum);
    send_bytes("$", 1);
    send_bytes(content, n);
    send_bytes(end, 3);
}

static void cpu_exit(Input *in)
{
    DebugExit e = {.kind = input_take(in, 1) % 4, .index = input_take(in, 1) % 4};
    unsigned cpu = input_take(in, 1) % FAKE_CPUS;

    fake_cpus[cpu].based = e.index == 3;
    fake_cpus[cpu].pc = e.pc = input_take(in, 2);
    if (vm_running(board.vm)) {
        fake_exit(board.vm, cpu, e);
    }
}

static void coroutine_fn fuzz_cont(void *data)
{
    vm_resume(board.vm, NULL);
}

static void coroutine_fn fuzz_hold(void *data)
{
    if (vm_hold(board.vm, RUN_STATE_SAVE_VM, NULL)) {
        vm_release(board.vm);
    }
}

static void others(Input *in)
{
    switch (input_take(in, 1) % 5) {
    case 0:
        chardev_event(chr, CHAR_EVENT_CLOSED);
        break;
    case 1:
        chardev_event(chr, CHAR_EVENT_OPENED);
        break;
    case 2:
        vm_request_pause(board.vm, RUN_STATE_IO_ERROR);
        break;
    case 3:
        coroutine_start(fuzz_cont, NULL);
        break;
    default:
        coroutine_start(fuzz_hold, NULL);
        break;
    }
}

static void run(Input *in)
{
    while (in->left) {
        switch (input_take(in, 1) % 8) {
        case 0: {
            size_t n;
            g_autofree char *bytes = input_bytes(in, &n);

            send_bytes(bytes, n);
            break;
        }
        case 1:
            cpu_exit(in);
            break;
        case 2:
            others(in);
            break;
        default:
            send_packet(in);
            break;
        }
        board_turn();
    }
}

static void coroutine_fn begin_anew(void *data)
{
    vm_pause(board.vm, RUN_STATE_PAUSED);
    vm_debug_clear(board.vm);
    vm_reset(board.vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    *(bool *)data = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};
    bool over = false, ok;

    if (!chr) {
        init();
    }
    fake_can = input_take(&in, 1) & 1 ? 1 : 15;
    ok = gdb_server_start(board.vm, "chardev:fuzz", NULL);
    g_assert(ok);
    chardev_event(chr, CHAR_EVENT_OPENED);
    board_turn();
    run(&in);
    chardev_event(chr, CHAR_EVENT_CLOSED);
    board_turn();
    gdb_server_start(board.vm, "none", NULL);
    board_turn();
    coroutine_start(begin_anew, &over);
    while (!over) {
        event_loop_iterate(board.loop, -1);
    }
    board_turn();
    return 0;
}
