/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * screen-watch PAYLOAD: runs screen.c on KVM with a VGA that two viewers look at, while screenshots
 * are taken, and a further reader of video memory's dirty log listens. After each round all have
 * what is there: the viewers the picture, the reader the pages that have changed.
 */
#include <stdio.h>
#include <string.h>
#include "../../unit/ui/eye.h"
#include "base/reclaim.h"
#include "devices/devices.h"
#include "machine/machine.h"
#include "x86/x86.h"

enum { DONE = 0x500, GO = 0x504, ROUNDS = 6 };

static Vm *vm;
static EventLoop *loop;
static int failures;

static void fail(const char *what, GError *err)
{
    fprintf(stderr, "screen-watch: %s%s%s\n", what, err ? ": " : "", err ? err->message : "");
    failures++;
    g_clear_error(&err);
}

static bool build(const char *kernel)
{
    static MachineConfig config;
    json_t *accel = json_pack("[{s:s}]", "accel", "kvm");
    json_t *vga = json_pack("{s:s,s:s}", "driver", "VGA", "addr", "2.0");
    json_t *end =
        json_pack("{s:s,s:s,s:s}", "driver", "isa-debug-exit", "iobase", "0xf4", "iosize", "4");
    const MachineClass *class = machine_find("pc");
    GError *err = NULL;
    bool ok;

    config.kernel = g_strdup(kernel);
    config.boot_reboot_timeout = -1;
    vm->arch = &x86_arch;
    vm->ram_size = 32 << 20;
    machine_init(vm, class);
    ok = accel_configure(vm, accel, &err) && x86_cpu_configure(vm, "qemu64", NULL, &err) &&
         class->create(vm, vm->machine, &config, &err) && vcpus_create(vm, &err) &&
         device_add(vm, vga, false, &err) && device_add(vm, end, false, &err) &&
         class->finish(vm, vm->machine, &config, &err);
    json_decref(accel);
    json_decref(vga);
    json_decref(end);
    g_free(config.kernel);
    if (!ok) {
        fail("cannot make the machine", err);
    }
    return ok;
}

static uint32_t read_word(uint64_t addr)
{
    uint32_t v = 0;

    debug_access(vm, addr, &v, 4, false);
    return le32toh(v);
}

static void go_on(uint32_t round)
{
    uint32_t v = htole32(round);

    debug_access(vm, GO, &v, 4, true);
}

static void check_picture(const Eye *e, const Surface *f, unsigned round)
{
    bool same = e->width == f->width && e->height == f->height;

    for (unsigned y = 0; same && y < f->height; y++) {
        same = !memcmp(e->copy + y * e->width, f->pixels + y * f->stride, f->width * 4);
    }
    if (!same) {
        g_autofree char *what = g_strdup_printf(
            "round %u: a viewer of %ux%u has another picture than the screen, %ux%u", round,
            e->width, e->height, f->width, f->height);

        fail(what, NULL);
    }
}

/* Pages that differ from the copy have been told of. */
static void check_log(DirtyReader *reader, const RamBlock *vram, uint8_t *copy, unsigned round)
{
    unsigned pages = vram->size / DIRTY_PAGE, changed = 0, missed = 0;
    g_autofree uint64_t *bits = g_new0(uint64_t, DIV_ROUND_UP(pages, 64));

    memory_dirty_reader_fetch(reader, bits);
    for (unsigned page = 0; page < pages; page++) {
        uint64_t at = (uint64_t)page * DIRTY_PAGE;

        if (memcmp(copy + at, vram->host + at, DIRTY_PAGE)) {
            changed++;
            missed += !(bits[page / 64] >> page % 64 & 1);
            memcpy(copy + at, vram->host + at, DIRTY_PAGE);
        }
    }
    printf("round %u: %u pages have changed\n", round, changed);
    if (missed) {
        fail("a reader of the dirty log has not been told of all pages", NULL);
    }
}

static void coroutine_fn watch(void *data)
{
    Screen *screen = screen_get(vm, 0);
    g_autofree char *name = g_strdup_printf("%s/vga.vram", screen->dev->path);
    RamBlock *vram = ram_block_find(vm, name);
    g_autofree uint8_t *copy = NULL;
    DirtyReader *reader;
    Eye a, b;

    vm_reset(vm, SHUTDOWN_CAUSE_NONE);
    go_on(0);
    vm_resume(vm, NULL);
    copy = g_memdup2(vram->host, vram->size);
    reader = memory_dirty_reader_new(vm, vram, 0, vram->size);
    eye_init(&a, screen);
    eye_init(&b, screen);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        screen_viewer_wake(&a.v, true);
        screen_viewer_wake(&b.v, round != 3);
        coroutine_sleep(CLOCK_REALTIME_NS, 2 * SCREEN_PERIOD_NS);
        go_on(round);
        while (read_word(DONE) < round && vm_running(vm)) {
            coroutine_sleep(CLOCK_REALTIME_NS, 7 * NS_PER_MS);
            screen_draw_now(screen);
        }
        screen_viewer_wake(&b.v, true);
        /* One after the other: on a busy host the screen's own timer is late as these are. */
        for (unsigned period = 0; period < 8; period++) {
            coroutine_sleep(CLOCK_REALTIME_NS, SCREEN_PERIOD_NS);
        }
        screen_viewer_wake(&a.v, false);
        screen_viewer_wake(&b.v, false);
        /* Nobody looks: this is drawn whole, from memory. */
        check_picture(&a, screen_draw_now(screen), round);
        check_picture(&b, &screen->surface, round);
        check_log(reader, vram, copy, round);
    }
    eye_end(&a);
    eye_end(&b);
    memory_dirty_reader_free(reader);
    go_on(ROUNDS + 1);
}

static void start_watch(void *data)
{
    coroutine_start(watch, NULL);
}

int main(int argc, char **argv)
{
    int status;

    if (argc != 2) {
        fprintf(stderr, "usage: screen-watch PAYLOAD\n");
        return 2;
    }
    device_set_classes(all_device_classes);
    loop = event_loop_new("main", NULL);
    event_loop_bind(loop);
    reclaim_thread_register();
    reclaim_set_loop(loop);
    vm = vm_new(loop);
    if (build(argv[1])) {
        event_loop_call(loop, start_watch, NULL);
        event_loop_run(loop);
    }
    /* isa-debug-exit: (code << 1) | 1 */
    status = failures || vm->exit_status != 1;
    vcpus_destroy(vm);
    machine_free(vm);
    vm_free(vm);
    return status;
}
