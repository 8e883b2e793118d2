/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The packets that the gdb stub knows (gdb's manual, E.2 to E.4), in one table. */
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "gdb.h"
#include "internal.h"

typedef struct {
    const char *name;
    /* 'p' is what follows the name. False: the reply comes later, or there is none. */
    bool (*run)(Gdb *g, const char *p, const char *end, GString *reply);
    unsigned flags;
} GdbCommand;
enum {
    GDB_EXACT = 1 << 0, /* nothing follows */
    GDB_STILL = 1 << 1, /* the machine stands meanwhile, and nobody lets it go on */
};

/* Threads, which are CPUs. */

static GDB_HANDLER(cmd_choose_thread)
{
    char what = p < end ? *p++ : 0;
    bool all = end - p == 2 && !memcmp(p, "-1", 2);
    uint64_t thread = 0;

    if ((what != 'g' && what != 'c') ||
        (!all && (!gdb_parse_hex(&p, end, &thread) || p != end || thread > g->vm->vcpu_count))) {
        return gdb_say(reply, "E22");
    }
    if (thread && what == 'g') {
        g->cpu = thread - 1;
    } else if (thread) {
        g->move_cpu = thread - 1;
    }
    return gdb_say(reply, "OK");
}

static GDB_HANDLER(cmd_thread_alive)
{
    uint64_t thread;

    return gdb_say(reply, gdb_parse_hex(&p, end, &thread) && p == end && thread &&
                                  thread <= g->vm->vcpu_count
                              ? "OK"
                              : "E22");
}

static GDB_HANDLER(cmd_current_thread)
{
    g_string_printf(reply, "QC%02x", g->cpu + 1);
    return true;
}

static GDB_HANDLER(cmd_more_threads)
{
    if (g->next_thread > g->vm->vcpu_count) {
        return gdb_say(reply, "l");
    }
    for (char c = 'm'; g->next_thread <= g->vm->vcpu_count && reply->len < GDB_PACKET_MAX / 2;
         c = ',') {
        g_string_append_printf(reply, "%c%02x", c, g->next_thread++);
    }
    return true;
}

static GDB_HANDLER(cmd_first_threads)
{
    g->next_thread = 1;
    return cmd_more_threads(g, p, end, reply);
}

static GDB_HANDLER(cmd_thread_info)
{
    g_autofree char *text = NULL;
    uint64_t thread;

    if (!gdb_parse_hex(&p, end, &thread) || p != end || !thread || thread > g->vm->vcpu_count) {
        return gdb_say(reply, "E22");
    }
    text =
        g_strdup_printf("CPU#%u [%s]", (unsigned)thread - 1, gdb_activity(gdb_cpu(g, thread - 1)));
    gdb_append_hex(reply, (const uint8_t *)text, strlen(text));
    return true;
}

/* The session. */

static bool has_feature(const char *p, const char *end, const char *feature)
{
    g_autofree char *text = g_strndup(p, (size_t)(end - p));
    g_auto(GStrv) features = g_strsplit(text, ";", -1);

    return g_strv_contains((const char *const *)features, feature);
}

static GDB_HANDLER(cmd_supported)
{
    if (p < end && *p == ':') {
        p++;
    }
    g->tells_break = has_feature(p, end, "swbreak+");
    g->tells_break_hw = has_feature(p, end, "hwbreak+");
    g_string_printf(reply,
                    "PacketSize=%x;qXfer:features:read+;vContSupported+;QStartNoAckMode+;"
                    "swbreak+;hwbreak+",
                    GDB_PACKET_MAX);
    return true;
}

/* "qXfer:features:read:target.xml:OFFSET,LENGTH" */
static GDB_HANDLER(cmd_description)
{
    g_autofree char *xml = gdb_target_xml(g->layout, g->count);
    const char *name = "target.xml:";
    uint64_t offset, len;
    size_t size = strlen(xml), n;

    if ((size_t)(end - p) < strlen(name) || memcmp(p, name, strlen(name))) {
        return gdb_say(reply, "E00");
    }
    p += strlen(name);
    if (!gdb_parse_hex(&p, end, &offset) || !gdb_parse_next(&p, end, ',', &len) || p != end ||
        offset > size) {
        return gdb_say(reply, "E22");
    }
    n = MIN(MIN(len, size - offset), GDB_PACKET_MAX / 2 - 1);
    g_string_append_c(reply, offset + n < size ? 'm' : 'l');
    gdb_append_escaped(reply, (const uint8_t *)xml + offset, n);
    return true;
}

static GDB_HANDLER(cmd_no_ack)
{
    return gdb_say(reply, "OK"); /* the server has seen to it as the packet came */
}

static GDB_HANDLER(cmd_attached)
{
    return gdb_say(reply, "1");
}

static GDB_HANDLER(cmd_ok)
{
    return gdb_say(reply, "OK");
}

/* gdb begins: what another client may have left is not its own. */
static GDB_HANDLER(cmd_why)
{
    g->detached = false;
    vm_debug_clear(g->vm);
    vm_pause(g->vm, RUN_STATE_PAUSED);
    gdb_stop_reply(g, reply);
    return true;
}

static GDB_HANDLER(cmd_detach)
{
    vm_debug_clear(g->vm);
    g->detached = vm_resume(g->vm, NULL);
    return gdb_say(reply, "OK");
}

static GDB_HANDLER(cmd_kill)
{
    vm_request_shutdown(g->vm, SHUTDOWN_CAUSE_HOST_UI);
    return false;
}

/* The newer form has a reply. */
static GDB_HANDLER(cmd_vkill)
{
    vm_request_shutdown(g->vm, SHUTDOWN_CAUSE_HOST_UI);
    return gdb_say(reply, "OK");
}

static GDB_HANDLER(cmd_vcont_query)
{
    return gdb_say(reply, "vCont;c;C;s;S");
}

/* gdb's 'monitor': our own command first, then HMP's. */

static void monitor_arch(Gdb *g, const char *name, GString *text)
{
    g_autoptr(GError) err = NULL;

    if (!*name) {
        g_string_printf(text, "arch: gdb was told of %s; the next connection will be of %s\n",
                        g->layout->name, g->arch ? g->arch->name : "what the CPU is in then");
    } else if (!gdb_choose_arch(g, name, &err)) {
        g_string_printf(text, "Error: %s\n", err->message);
    } else {
        g_string_printf(text,
                        "arch: %s, from the next connection on: 'disconnect', then 'target "
                        "remote'\n",
                        name);
    }
}

static void run_hmp(Gdb *g, const char *line, GString *text)
{
    Monitor *hmp = monitor_new_detached();

    hmp->cpu = g->cpu;
    hmp_run_line(hmp, line);
    for (const char *p = hmp->out->str; *p; p++) {
        if (*p != '\r') {
            g_string_append_c(text, *p);
        }
    }
    monitor_free(hmp);
}

static GDB_HANDLER(cmd_monitor)
{
    size_t len = (size_t)(end - p) / 2;
    g_autofree char *line = g_malloc0(len + 1);
    g_autoptr(GString) text = g_string_new(NULL);
    unsigned client = g->client;

    if (!gdb_parse_bytes(p, end, (uint8_t *)line, len)) {
        return gdb_say(reply, "E22");
    }
    g_strstrip(line);
    if (g_str_equal(line, "arch") || g_str_has_prefix(line, "arch ")) {
        monitor_arch(g, g_strstrip(line + strlen("arch")), text);
    } else {
        run_hmp(g, line, text);
    }
    if (client == g->client) {
        gdb_send_text(g, text->str);
    }
    return gdb_say(reply, "OK");
}

/* What only QEMU has: 'maintenance packet Qqemu.PhyMemMode:1'. */

static GDB_HANDLER(cmd_physical)
{
    return gdb_say(reply, g->physical ? "1" : "0");
}

static GDB_HANDLER(cmd_set_physical)
{
    uint64_t on;

    if (!gdb_parse_hex(&p, end, &on) || p != end) {
        return gdb_say(reply, "E22");
    }
    g->physical = on != 0;
    return gdb_say(reply, "OK");
}

static GDB_HANDLER(cmd_step_bits)
{
    g_string_printf(reply, "ENABLE=%x,NOIRQ=%x", GDB_STEP_ENABLE, GDB_STEP_NO_IRQ);
    return true;
}

static GDB_HANDLER(cmd_step_flags)
{
    g_string_printf(reply, "0x%x", g->step_flags);
    return true;
}

static GDB_HANDLER(cmd_set_step_flags)
{
    uint64_t flags;

    if (end - p > 2 && p[0] == '0' && p[1] == 'x') {
        p += 2;
    }
    if (!gdb_parse_hex(&p, end, &flags) || p != end ||
        flags & ~(uint64_t)(GDB_STEP_ENABLE | GDB_STEP_NO_IRQ)) {
        return gdb_say(reply, "E22");
    }
    g->step_flags = flags;
    return gdb_say(reply, "OK");
}

/* A name that another begins with comes behind it. */
static const GdbCommand gdb_commands[] = {
    {"?", cmd_why, GDB_EXACT},
    {"!", cmd_ok, GDB_EXACT},
    {"c", gdb_continue, 0},
    {"C", gdb_continue_signal, 0},
    {"D", cmd_detach, 0},
    {"g", gdb_cmd_read_registers, GDB_EXACT | GDB_STILL},
    {"G", gdb_cmd_write_registers, GDB_STILL},
    {"H", cmd_choose_thread, 0},
    {"k", cmd_kill, 0},
    {"m", gdb_cmd_read_memory, GDB_STILL},
    {"M", gdb_cmd_write_memory, GDB_STILL},
    {"p", gdb_cmd_read_register, GDB_STILL},
    {"P", gdb_cmd_write_register, GDB_STILL},
    {"s", gdb_step, 0},
    {"S", gdb_step_signal, 0},
    {"T", cmd_thread_alive, 0},
    {"X", gdb_cmd_write_binary, GDB_STILL},
    {"z", gdb_cmd_remove, GDB_STILL},
    {"Z", gdb_cmd_insert, GDB_STILL},
    {"vAttach;", cmd_why, 0},
    {"vCont?", cmd_vcont_query, GDB_EXACT},
    {"vCont", gdb_vcont, 0},
    {"vKill;", cmd_vkill, 0},
    {"qAttached", cmd_attached, 0},
    {"qC", cmd_current_thread, GDB_EXACT},
    {"qRcmd,", cmd_monitor, 0},
    {"qSupported", cmd_supported, 0},
    {"qThreadExtraInfo,", cmd_thread_info, GDB_STILL},
    {"qXfer:features:read:", cmd_description, 0},
    {"qfThreadInfo", cmd_first_threads, GDB_EXACT},
    {"qqemu.PhyMemMode", cmd_physical, GDB_EXACT},
    {"qqemu.sstepbits", cmd_step_bits, GDB_EXACT},
    {"qqemu.sstep", cmd_step_flags, GDB_EXACT},
    {"qsThreadInfo", cmd_more_threads, GDB_EXACT},
    {"QStartNoAckMode", cmd_no_ack, GDB_EXACT},
    {"Qqemu.PhyMemMode:", cmd_set_physical, 0},
    {"Qqemu.sstep=", cmd_set_step_flags, 0},
};

static const GdbCommand *find_command(const GString *packet, const char **rest)
{
    for (unsigned i = 0; i < ARRAY_SIZE(gdb_commands); i++) {
        const GdbCommand *c = &gdb_commands[i];
        size_t len = strlen(c->name);

        if (packet->len >= len && !memcmp(packet->str, c->name, len) &&
            (!(c->flags & GDB_EXACT) || packet->len == len)) {
            *rest = packet->str + len;
            return c;
        }
    }
    return NULL;
}

static bool coroutine_fn run_command(Gdb *g, const GdbCommand *c, const char *p, const char *end,
                                     GString *reply)
{
    bool now;

    if (!(c->flags & GDB_STILL)) {
        return c->run(g, p, end, reply);
    }
    if (!gdb_still(g)) {
        return gdb_say(reply, "E.the virtual machine does not stand still");
    }
    now = c->run(g, p, end, reply);
    vm_release(g->vm);
    return now;
}

void coroutine_fn gdb_serve(Gdb *g, const GString *packet)
{
    g_autoptr(GString) reply = g_string_new(NULL);
    unsigned client = g->client;
    const char *rest = NULL;
    const GdbCommand *c = find_command(packet, &rest);

    /* The empty reply: there is no such packet. */
    if ((!c || run_command(g, c, rest, packet->str + packet->len, reply)) && client == g->client) {
        gdb_send(g, reply->str, reply->len);
    }
}
