/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The saved state of a machine, as a hostile snapshot has it: a good one, of a PC with many
 * devices, of which the input changes bytes. What is refused leaves the machine as it was. What is
 * loaded runs for a while: its devices believe what it says.
 *
 * Input: edits. Each is three bytes for the place, and one whose low bits say how many bytes follow
 * for that place; none: the state ends there. The first with its highest bit set: the state is one
 * that was saved live, in which the places are those of its head, then of what is behind its
 * contents.
 */
#include <string.h>
#include "base/coroutine.h"
#include "base/error.h"
#include "base/reclaim.h"
#include "cli/options.h"
#include "../../src/app.h"
#include "../../src/vm/save_live.h"

enum { EDITS_MAX = 64, TURNS = 20, SOME_RAM = 0x100000, HEAD = 20 };

static const char *const words[] = {
    "-accel qtest -rtc base=2020-01-01,clock=vm -S -m 8 -nodefaults -display none -vga std",
    "-serial null -object rng-random,id=r",
    "-device virtio-rng-pci,rng=r -device virtio-balloon-pci -device isa-debugcon,chardev=c",
    "-chardev null,id=c -chardev null,id=c2 -device virtio-serial-pci",
    "-device virtconsole,chardev=c2",
    "-drive driver=null-co,size=1M,if=none,id=d0 -device virtio-blk-pci,drive=d0,num-queues=2",
    "-drive driver=null-co,size=1M,if=none,id=d1 -device virtio-blk-pci,drive=d1,packed=on",
    "-netdev hubport,hubid=0,id=n0 -device virtio-net-pci,netdev=n0",
    "-netdev hubport,hubid=0,id=n1 -device e1000,netdev=n1",
    "-netdev hubport,hubid=0,id=n2 -device rtl8139,netdev=n2",
    "-drive driver=null-co,size=1M,if=none,id=d2 -device ide-hd,drive=d2 -device ide-cd",
    "-drive driver=null-co,size=1440k,if=none,id=d3 -device floppy,drive=d3",
    "-device piix3-usb-uhci,id=u -device usb-tablet,bus=u.0 -device usb-hub,bus=u.0",
    "-device usb-ehci,id=e -drive driver=null-co,size=1M,if=none,id=d4",
    "-device usb-storage,bus=e.0,drive=d4 -device qemu-xhci,id=x -device usb-kbd,bus=x.0",
    "-device usb-mouse,bus=x.0",
};

static Vm *vm;
static EventLoop *loop;
static GByteArray *good;      /* the state */
static GByteArray *good_live; /* the same, saved live */
static uint32_t live_rest;    /* of it: where the contents end, which begin behind the head */
static GByteArray *untouched; /* the devices, once it is loaded */
static RamBlock *ram;

typedef struct {
    VmStream stream; /* first */
    GByteArray *bytes;
    size_t pos;
    bool grows;
    const uint8_t *contents; /* not NULL: 'bytes' is without those of memory, [HEAD, live_rest) */
} Bytes;

/* Of all that the stream has. */
static size_t bytes_len(const Bytes *b)
{
    return b->bytes->len + (b->contents && b->bytes->len > HEAD ? live_rest - HEAD : 0);
}

static bool bytes_write(VmStream *s, const void *buf, size_t len, GError **err)
{
    Bytes *b = (Bytes *)s;
    guint before = b->bytes->len;

    if (b->pos + len > before) {
        g_byte_array_set_size(b->bytes, b->pos + len);
        memset(b->bytes->data + before, 0, b->bytes->len - before);
    }
    memcpy(b->bytes->data + b->pos, buf, len);
    b->pos += len;
    return true;
}

static bool bytes_seek(VmStream *s, uint64_t pos, GError **err)
{
    Bytes *b = (Bytes *)s;

    /* Writes go beyond the end, and what they leave out is zeroes. */
    b->pos = pos <= bytes_len(b) || b->grows ? pos : b->pos;
    return b->pos == pos || error_set(err, "the stream ends");
}

static bool bytes_left(VmStream *s, uint64_t *left)
{
    *left = bytes_len((Bytes *)s) - ((Bytes *)s)->pos;
    return true;
}

static bool bytes_read(VmStream *s, void *buf, size_t len, GError **err)
{
    Bytes *b = (Bytes *)s;

    if (len > bytes_len(b) - b->pos) {
        return error_set(err, "the stream ends");
    }
    while (len) {
        bool inside = b->contents && b->pos >= HEAD && b->pos < live_rest;
        size_t skipped = b->contents && b->pos >= live_rest ? live_rest - HEAD : 0;
        size_t n = !b->contents ? len
                                : MIN(len, b->pos < HEAD ? HEAD - b->pos
                                           : inside      ? live_rest - b->pos
                                                         : len);

        memcpy(buf, inside ? b->contents + b->pos : b->bytes->data + b->pos - skipped, n);
        buf = (char *)buf + n;
        b->pos += n;
        len -= n;
    }
    return true;
}

static Bytes bytes_of(GByteArray *array)
{
    return (Bytes){.stream = {.write = bytes_write,
                              .read = bytes_read,
                              .seek = bytes_seek,
                              .left = bytes_left},
                   .bytes = array,
                   .grows = !array->len};
}

static void turn(void)
{
    while (event_loop_iterate(loop, 0)) {
    }
}

typedef struct {
    CoroutineFn fn;
    void *data;
    bool done;
} Run;

static void coroutine_fn run_entry(void *data)
{
    Run *r = data;

    r->fn(r->data);
    r->done = true;
}

static void run(CoroutineFn fn, void *data)
{
    Run r = {fn, data, false};

    coroutine_start(run_entry, &r);
    while (!r.done) {
        event_loop_iterate(loop, -1);
    }
}

static void coroutine_fn save(void *data)
{
    Bytes b = bytes_of(data);
    bool ok = vm_hold(vm, RUN_STATE_SAVE_VM, NULL) && vm_save(vm, &b.stream, NULL);

    g_assert(ok);
    vm_release(vm);
}

static void coroutine_fn save_live(void *data)
{
    Bytes b = bytes_of(data);
    SaveLive *l = save_live_new(vm);
    uint64_t size;
    bool ok;

    save_live_collect(l);
    ok = save_live_pass(l, &b.stream, NULL, NULL, NULL) && vm_hold(vm, RUN_STATE_SAVE_VM, NULL) &&
         save_live_finish(l, &b.stream, NULL, NULL, &size, NULL);
    g_assert(ok && size == b.bytes->len);
    live_rest = save_live_contents_end(l);
    vm_release(vm);
    save_live_free(l);
}

static GByteArray *devices_now(void)
{
    GByteArray *out = g_byte_array_new();
    bool ok = vm_save_devices(vm, out, NULL);

    g_assert(ok);
    return out;
}

static bool same(const GByteArray *a, const GByteArray *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

typedef struct {
    GByteArray *state;
    bool live;
    bool ok, refused; /* whole */
} Load;

static void coroutine_fn load(void *data)
{
    Load *l = data;
    Bytes b = bytes_of(l->state);
    g_autoptr(GByteArray) after = NULL;
    g_autoptr(GError) err = NULL;
    bool held = vm_hold(vm, RUN_STATE_RESTORE_VM, NULL);

    g_assert(held);
    b.contents = l->live ? good_live->data : NULL;
    l->ok = vm_load(vm, &b.stream, &err);
    l->refused = !l->ok && !strstr(err->message, "it has to be reset");
    if (l->refused) {
        after = devices_now();
        g_assert(same(untouched, after));
        g_assert(ram->host[SOME_RAM] == 0x5a);
    }
    vm_release(vm);
}

static void coroutine_fn live_for_a_while(void *data)
{
    vm_resume(vm, NULL);
    for (unsigned i = 0; i < TURNS; i++) {
        virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + NS_PER_MS);
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
    }
    vm_pause(vm, RUN_STATE_PAUSED);
}

static void coroutine_fn reset(void *data)
{
    vm_reset(vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
}

static void init(void)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    json_auto_t *config = json_object();
    GError *err = NULL;
    bool ok;

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        g_auto(GStrv) list = g_strsplit(words[i], " ", 0);

        for (unsigned k = 0; list[k]; k++) {
            g_ptr_array_add(argv, g_strdup(list[k]));
        }
    }
    app_set_classes();
    loop = event_loop_new("main", NULL);
    event_loop_bind(loop);
    reclaim_thread_register();
    reclaim_set_loop(loop);
    vm = vm_new(loop);
    ok = cli_parse(argv->len, (char **)argv->pdata, config, &err) &&
         app_add_defaults(config, &err) && app_launch(vm, config, &err);
    if (!ok) {
        g_error("%s", err->message);
    }
    turn();
    ram = ram_block_find(vm, "pc.ram");
    memset(ram->host + SOME_RAM, 0x5a, 4096);
    good = g_byte_array_new();
    run(save, good);
    good_live = g_byte_array_new();
    run(save_live, good_live);
}

/* False: nothing is changed. */
static bool edit(GByteArray *state, const uint8_t *data, size_t size)
{
    bool any = false;

    for (unsigned i = 0; i < EDITS_MAX && size >= 4; i++) {
        uint32_t at = (data[0] | data[1] << 8 | data[2] << 16) % MAX(state->len, 1);
        unsigned n = data[3] & 15;

        data += 4;
        size -= 4;
        n = MIN(n, MIN(size, state->len - at));
        if (n) {
            memcpy(state->data + at, data, n);
        } else {
            g_byte_array_set_size(state, at);
        }
        any = true;
        data += n;
        size -= n;
    }
    return any;
}

/* As it was saved, for every input: what was refused has not changed it. */
static bool is_good;

static void make_good(void)
{
    Load l = {.state = good};

    if (!vm) {
        init();
        l.state = good;
    }
    if (!is_good) {
        run(load, &l);
        g_assert(l.ok);
        untouched = untouched ? untouched : devices_now();
        is_good = true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool live = size > 3 && data[3] & 0x80;
    Load l = {.live = live};

    make_good();
    l.state = g_byte_array_new();
    if (live) {
        g_byte_array_append(l.state, good_live->data, HEAD);
        g_byte_array_append(l.state, good_live->data + live_rest, good_live->len - live_rest);
    } else {
        g_byte_array_append(l.state, good->data, good->len);
    }
    if (edit(l.state, data, size)) {
        run(load, &l);
        is_good = l.refused;
    }
    if (l.ok) {
        g_autoptr(GByteArray) saved = g_byte_array_new();

        run(save, saved);
        run(live_for_a_while, NULL);
    }
    if (!is_good) {
        run(reset, NULL);
        turn();
    }
    g_byte_array_unref(l.state);
    return 0;
}
