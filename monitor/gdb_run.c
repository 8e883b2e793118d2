/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gdb stub: going on, and telling of stops. */
#include "base/error.h"
#include "base/log.h"
#include "gdb.h"

#define NO_REPLY false /* now: it comes when the machine stops */

/* Stops. */

static unsigned signal_of(RunState state)
{
    switch (state) {
    case RUN_STATE_DEBUG:
    case RUN_STATE_PRELAUNCH:
        return GDB_SIGNAL_TRAP;
    case RUN_STATE_PAUSED:
        return GDB_SIGNAL_INT;
    case RUN_STATE_SHUTDOWN:
        return GDB_SIGNAL_QUIT;
    case RUN_STATE_IO_ERROR:
        return GDB_SIGNAL_STOP;
    case RUN_STATE_WATCHDOG:
        return GDB_SIGNAL_ALRM;
    case RUN_STATE_INTERNAL_ERROR:
    case RUN_STATE_GUEST_PANICKED:
        return GDB_SIGNAL_ABRT;
    default:
        return GDB_SIGNAL_UNKNOWN;
    }
}

static void stop_packet(GString *out, unsigned sig, unsigned cpu)
{
    g_string_printf(out, "T%02xthread:%02x;", sig, cpu + 1);
}

typedef struct {
    uint64_t addr;
    bool same;
} PcWork;

static void pc_here(Vcpu *cpu, void *data)
{
    PcWork *w = data;
    bool flat;
    uint64_t pc = cpu->vm->arch->debug->pc(cpu, &flat);

    w->same = flat && pc == w->addr;
}

/*
 * What has stopped the CPU. A breakpoint in a segment that does not begin at 0 is told of as a mere
 * trap: gdb would not find it by its program counter, and take it for an old one that it has
 * removed.
 */
static void append_stop_reason(Gdb *g, GString *out, const DebugStop *stop, bool at_pc)
{
    switch (stop->kind) {
    case DEBUG_STOP_WATCH_WRITE:
        g_string_append_printf(out, "watch:%" G_GINT64_MODIFIER "x;", stop->addr);
        break;
    case DEBUG_STOP_WATCH_ACCESS:
        g_string_append_printf(out, "awatch:%" G_GINT64_MODIFIER "x;", stop->addr);
        break;
    case DEBUG_STOP_BREAK:
        g_string_append(out, g->tells_break && at_pc ? "swbreak:;" : "");
        break;
    case DEBUG_STOP_BREAK_HW:
        g_string_append(out, g->tells_break_hw && at_pc ? "hwbreak:;" : "");
        break;
    default:
        break;
    }
}

/* gdb asks for a description once a connection. */
static void hint_at_mode(Gdb *g, const DebugLayout *now)
{
    g_autofree char *text = NULL;
    unsigned bit = 1u << (now - g->vm->arch->debug->layouts);

    if (g->arch || now == g->layout || g->hinted & bit) {
        return;
    }
    g->hinted |= bit;
    text =
        g_strdup_printf("The CPU is in a mode of %s now; gdb was told of %s, and asks again when "
                        "it connects anew: 'disconnect', then 'target remote'.\n",
                        now->name, g->layout->name);
    gdb_send_text(g, text);
}

void gdb_stopped(Gdb *g)
{
    RunState state = vm_run_state(g->vm);
    Vcpu *cpu;

    if (!g->connected || !g->running) {
        return;
    }
    cpu = vm_debug_next_stop(g->vm, &g->stop);
    /* It goes on by itself after a snapshot; the end is told of by gdb_server_cleanup(). */
    if (!cpu &&
        (state == RUN_STATE_SAVE_VM || state == RUN_STATE_RESTORE_VM || vm_exiting(g->vm))) {
        return;
    }
    for (unsigned i = 0; i < g->vm->vcpu_count; i++) {
        vm_debug_move(g->vm->vcpus[i], DEBUG_RUN);
    }
    g->running = false;
    g->stop_told = false;
    g->stop_cpu = cpu;
    g->stop_state = state;
}

void coroutine_fn gdb_tell_stop(Gdb *g)
{
    g_autoptr(GString) out = g_string_new(NULL);
    Vcpu *cpu = g->stop_cpu;
    PcWork pc = {.addr = g->stop.addr};
    unsigned client = g->client;

    g->stop_told = true;
    if (cpu) {
        g->cpu = g->move_cpu = cpu->index;
        vcpu_call(cpu, pc_here, &pc);
        stop_packet(out, GDB_SIGNAL_TRAP, cpu->index);
        append_stop_reason(g, out, &g->stop, pc.same);
    } else {
        stop_packet(out, signal_of(g->stop_state), g->cpu);
    }
    hint_at_mode(g, gdb_layout_now(g, gdb_cpu(g, g->cpu)));
    if (g->client == client) {
        gdb_send(g, out->str, out->len);
    }
}

void gdb_stop_reply(Gdb *g, GString *reply)
{
    stop_packet(reply, GDB_SIGNAL_TRAP, g->cpu);
}

/* Going on. */

/*
 * A CPU that met a watchpoint while another one stopped the machine has done so already: the client
 * is told of it instead. One that came to a breakpoint will come to it again.
 */
static bool stop_is_left(Gdb *g)
{
    DebugStop stop;
    Vcpu *cpu;

    while ((cpu = vm_debug_next_stop(g->vm, &stop))) {
        if (stop.kind == DEBUG_STOP_WATCH_WRITE || stop.kind == DEBUG_STOP_WATCH_ACCESS) {
            g->stop = stop;
            g->stop_cpu = cpu;
            g->stop_told = false;
            return true;
        }
    }
    return false;
}

/* A machine that cannot go on: said where gdb shows it, in place of a stop that never comes. */
static void refused(Gdb *g, GError *err)
{
    g_autofree char *text = g_strdup_printf("The virtual machine does not go on: %s.\n",
                                            err ? err->message : "it is being shut down");

    g_clear_error(&err);
    g->running = false;
    g->stop_cpu = NULL;
    g->stop_state = vm_run_state(g->vm);
    g->stop_told = false;
    gdb_send_text(g, text);
}

/* 'moves': one a CPU. True: 'reply' says what is wrong. */
static bool coroutine_fn go_on(Gdb *g, const DebugMove *moves, GString *reply)
{
    GError *err = NULL;
    bool steps = false;

    for (unsigned i = 0; i < g->vm->vcpu_count; i++) {
        steps |= moves[i] == DEBUG_STEP || moves[i] == DEBUG_STEP_QUIET;
    }
    if (steps && !(vm_debug_can(g->vm) & DEBUG_CAN_STEP)) {
        g_string_assign(reply, "E.this host's KVM does not step single instructions");
        return true;
    }
    if (!gdb_still(g)) {
        refused(g, NULL);
        return NO_REPLY;
    }
    if (stop_is_left(g)) {
        vm_release(g->vm);
        return NO_REPLY;
    }
    for (unsigned i = 0; i < g->vm->vcpu_count; i++) {
        vm_debug_move(g->vm->vcpus[i], moves[i]);
    }
    vm_release(g->vm);
    g->running = true;
    if (!vm_resume(g->vm, &err)) {
        refused(g, err);
        return NO_REPLY;
    }
    if (g->interrupted && g->running) {
        vm_request_pause(g->vm, RUN_STATE_PAUSED);
    }
    g->interrupted = false;
    return NO_REPLY;
}

static DebugMove step_move(const Gdb *g)
{
    return g->step_flags & GDB_STEP_NO_IRQ ? DEBUG_STEP_QUIET : DEBUG_STEP;
}

/* All CPUs go on, of which one may step. */
static bool coroutine_fn go_on_all(Gdb *g, bool step, GString *reply)
{
    g_autofree DebugMove *moves = g_new0(DebugMove, g->vm->vcpu_count);

    if (step) {
        moves[gdb_cpu(g, g->move_cpu)->index] = step_move(g);
    }
    return go_on(g, moves, reply);
}

/*
 * "c", "s", and "C05", "S05", whose signal is not given to the guest, which has none. The forms
 * with an address, from which to go on, are refused: gdb sets the program counter.
 */
static bool coroutine_fn old_form(Gdb *g, const char *p, const char *end, bool with_signal,
                                  bool step, GString *reply)
{
    uint64_t ignored;

    if ((with_signal && !gdb_parse_hex(&p, end, &ignored)) || p != end) {
        return gdb_say(reply, "E22");
    }
    return go_on_all(g, step, reply);
}

GDB_HANDLER(gdb_continue)
{
    return old_form(g, p, end, false, false, reply);
}

GDB_HANDLER(gdb_continue_signal)
{
    return old_form(g, p, end, true, false, reply);
}

GDB_HANDLER(gdb_step)
{
    return old_form(g, p, end, false, true, reply);
}

GDB_HANDLER(gdb_step_signal)
{
    return old_form(g, p, end, true, true, reply);
}

/* One action of vCont, at *p, of which the first that fits a CPU counts. */
static bool take_action(Gdb *g, const char **p, const char *end, DebugMove *moves, bool *given)
{
    unsigned count = g->vm->vcpu_count;
    DebugMove move;
    uint64_t ignored, thread = 0;
    bool all = true;
    char c;

    if (*p >= end || *(*p)++ != ';' || *p >= end) {
        return false;
    }
    c = *(*p)++;
    if (c == 'C' || c == 'S') {
        if (!gdb_parse_hex(p, end, &ignored)) {
            return false;
        }
    } else if (c != 'c' && c != 's') {
        return false;
    }
    move = c == 's' || c == 'S' ? step_move(g) : DEBUG_RUN;
    if (*p < end && **p == ':') {
        if (end - *p >= 3 && (*p)[1] == '-' && (*p)[2] == '1') {
            *p += 3;
        } else if (!gdb_parse_next(p, end, ':', &thread) || thread > count) {
            return false;
        }
        all = !thread;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!given[i] && (all || i + 1 == thread)) {
            moves[i] = move;
            given[i] = true;
        }
    }
    return true;
}

/* "vCont;s:1;c": CPUs that no action names stand. */
GDB_HANDLER(gdb_vcont)
{
    unsigned count = g->vm->vcpu_count;
    g_autofree DebugMove *moves = g_new0(DebugMove, count);
    g_autofree bool *given = g_new0(bool, count);

    do {
        if (!take_action(g, &p, end, moves, given)) {
            g_string_assign(reply, "E22");
            return true;
        }
    } while (p < end);
    for (unsigned i = 0; i < count; i++) {
        moves[i] = given[i] ? moves[i] : DEBUG_HOLD;
    }
    return go_on(g, moves, reply);
}
