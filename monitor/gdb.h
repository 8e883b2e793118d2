/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the gdb stub share. */
#ifndef GDB_H
#define GDB_H

#include "chardev/chardev.h"
#include "gdb_packet.h"
#include "vm/debug.h"

/* QEMU's bits of 'maintenance packet Qqemu.sstep'. */
enum { GDB_STEP_ENABLE = 1, GDB_STEP_NO_IRQ = 2 };

/* gdb's numbers of signals. */
enum {
    GDB_SIGNAL_INT = 2,
    GDB_SIGNAL_QUIT = 3,
    GDB_SIGNAL_TRAP = 5,
    GDB_SIGNAL_ABRT = 6,
    GDB_SIGNAL_ALRM = 14,
    GDB_SIGNAL_STOP = 17,
    GDB_SIGNAL_UNKNOWN = 143,
};

typedef struct Gdb {
    Vm *vm;
    CharFrontend fe;
    char *own_chardev; /* that ends with the server; NULL: it is the user's */
    BottomHalf work;   /* starts the coroutine that does all but reading and stop replies */
    bool busy;         /* that is under way */
    bool closing;      /* the server ends when it is idle */
    /* Input. */
    GdbParser parser;
    GQueue packets;   /* of GString *, to be served */
    bool came, left;  /* a client has, and that was not dealt with yet */
    bool interrupted; /* Ctrl-C has come, for a machine that is about to go on */
    unsigned client;  /* counts them */
    /* Output. */
    GString *out; /* from out_sent on it is not written yet */
    size_t out_sent;
    GString *last; /* packet, which a client may ask for again */
    /* The client that is there. */
    bool connected, no_ack;
    bool detached; /* it has let the machine go */
    bool running;  /* it was told that the machine runs, and waits for it to stop */
    bool physical;
    bool tells_break, tells_break_hw; /* it understands these stop reasons */
    unsigned step_flags;
    unsigned cpu;         /* that registers and memory are of (Hg) */
    unsigned move_cpu;    /* that c and s are of (Hc) */
    unsigned next_thread; /* of qsThreadInfo */
    const DebugLayout *layout;
    unsigned count; /* of its registers */
    size_t bytes;
    unsigned hinted;         /* bits of layouts: it was told that the CPU is in such a mode */
    const DebugLayout *arch; /* that the user has chosen; NULL: as the CPU is */
    char *warned;            /* the last error that was logged */
    /* The last stop, of which the client is told once 'stop_told' is false. */
    bool stop_told;
    Vcpu *stop_cpu; /* NULL: not by a point or a step, but for stop_state */
    DebugStop stop;
    RunState stop_state;
} Gdb;

/* gdb_server.c */
void gdb_send(Gdb *g, const char *content, size_t len);
/* An O packet: text for the user, while the machine runs or a command of gdb's 'monitor' does. */
void gdb_send_text(Gdb *g, const char *text);
/* Stops the machine, and keeps it so until vm_release(); false: the program ends. */
bool coroutine_fn gdb_still(Gdb *g);
/* "i386" or "auto", which is NULL. */
bool gdb_choose_arch(Gdb *g, const char *name, GError **err);

/* gdb_commands.c: serves one packet; the machine may run meanwhile. */
void coroutine_fn gdb_serve(Gdb *g, const GString *packet);

/* gdb_data.c: packets of gdb's, as the table of gdb_commands.c has them. Under gdb_still(). */
#define GDB_HANDLER(name)                                                                          \
    bool coroutine_fn name(Gdb *g, const char *p, const char *end, GString *reply)
GDB_HANDLER(gdb_cmd_read_registers);
GDB_HANDLER(gdb_cmd_write_registers);
GDB_HANDLER(gdb_cmd_read_register);
GDB_HANDLER(gdb_cmd_write_register);
GDB_HANDLER(gdb_cmd_read_memory);
GDB_HANDLER(gdb_cmd_write_memory);
GDB_HANDLER(gdb_cmd_write_binary);
GDB_HANDLER(gdb_cmd_insert);
GDB_HANDLER(gdb_cmd_remove);
/* Both give true: there is a reply. gdb_say_error() frees the error. */
bool gdb_say(GString *reply, const char *text);
bool gdb_say_error(Gdb *g, GString *reply, GError *err);

/* gdb_run.c */
/* c, s and their like. True: 'reply' says what is wrong; else the reply is that of the next stop.
 */
GDB_HANDLER(gdb_continue);
GDB_HANDLER(gdb_continue_signal);
GDB_HANDLER(gdb_step);
GDB_HANDLER(gdb_step_signal);
GDB_HANDLER(gdb_vcont);
/* The machine has stopped: what a client that waits for it is to be told, by gdb_tell_stop(). */
void gdb_stopped(Gdb *g);
void coroutine_fn gdb_tell_stop(Gdb *g);
/* Why the machine stands, for the packet '?'. */
void gdb_stop_reply(Gdb *g, GString *reply);

/* gdb_target.c: the machine's registers and memory. Under gdb_still(). */
Vcpu *gdb_cpu(Gdb *g, unsigned index);
/* Takes the layout that is chosen, or that CPU 0 asks for. */
void coroutine_fn gdb_take_layout(Gdb *g);
const DebugLayout *coroutine_fn gdb_layout_now(Gdb *g, Vcpu *cpu);
bool coroutine_fn gdb_registers_get(Gdb *g, uint8_t *values);
bool coroutine_fn gdb_registers_set(Gdb *g, const uint8_t *values, GError **err);
/* How many bytes were read or written. */
size_t coroutine_fn gdb_memory(Gdb *g, uint64_t addr, uint8_t *buf, size_t len, bool write);
const char *coroutine_fn gdb_activity(Vcpu *cpu);

/* gdb_xml.c: the caller frees. */
char *gdb_target_xml(const DebugLayout *l, unsigned count);

#endif
