/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger's points: what is in memory and in debug registers while the machine runs, and that
 * nothing is while it stands. The CPUs are no KVM's, so that each kind is there on every host.
 */
#include "base/error.h"
#include "fake_cpu.h"
#include "fixture.h"

#define RAM_SIZE (64 * KiB)
#define ROM      0xf0000

static RamBlock *ram, *rom;
static IoRegion ram_region, rom_region;

static void setup(void)
{
    GError *err = NULL;

    fixture_setup();
    fake_cpus_add(vm);
    ram = ram_block_new(vm, "ram", RAM_SIZE, &err);
    rom = ram_block_new(vm, "rom", 4096, &err);
    ck_no_error(err);
    memset(ram->host, 0x90, RAM_SIZE);
    io_region_init_ram(&ram_region, NULL, ram, 0, RAM_SIZE, false, "ram");
    io_region_init_ram(&rom_region, NULL, rom, 0, 4096, true, "rom");
    io_region_map(vm, &ram_region, IO_SPACE_MEM, 0, 0);
    io_region_map(vm, &rom_region, IO_SPACE_MEM, ROM, 0);
}

static void teardown(void)
{
    fake_cpus_remove(vm);
    fixture_teardown();
}

typedef struct {
    unsigned cpu;
    DebugKind kind;
    uint64_t addr, len;
    const char *refused; /* NULL: it is done */
} Insert;

static void insert_in_coroutine(void *data)
{
    const Insert *i = data;
    GError *err = NULL;
    bool ok = vm_debug_insert(vm, vm->vcpus[i->cpu], i->kind, i->addr, i->len, &err);

    ck_assert_int_eq(ok, !i->refused);
    if (i->refused) {
        ck_error(err, i->refused);
    }
}

static void insert(DebugKind kind, uint64_t addr, uint64_t len, const char *why)
{
    Insert i = {.kind = kind, .addr = addr, .len = len, .refused = why};

    run_in_coroutine(insert_in_coroutine, &i);
}

static void resume(void *data)
{
    GError *err = NULL;

    ck_assert_msg(vm_resume(vm, &err), "%s", err ? err->message : "");
}

static void halt(void *data)
{
    vm_pause(vm, RUN_STATE_PAUSED);
}

static void clear(void *data)
{
    vm_debug_clear(vm);
}

static void go(void)
{
    run_in_coroutine(resume, NULL);
}

static void stop(void)
{
    run_in_coroutine(halt, NULL);
}

/* What the machine's own requests bring about. */
static void carry_out(void)
{
    for (int i = 0; i < 20; i++) {
        event_loop_iterate(loop, 0);
    }
}

static uint8_t look(uint64_t gpa)
{
    uint8_t byte = 0;

    ck_assert(debug_access(vm, gpa, &byte, 1, false));
    return byte;
}

START_TEST(instruction_is_there_while_the_machine_runs)
{
    uint8_t byte = 0x55;

    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    insert(DEBUG_BREAK, 0x1000, 1, NULL); /* once more is no error, and changes nothing */
    ck_assert_uint_eq(ram->host[0x1000], 0x90);
    go();
    ck_assert_uint_eq(ram->host[0x1000], 0xcc);
    ck_assert_uint_eq(look(0x1000), 0x90);
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        ck_assert(fake_cpus[i].setup.software);
        ck_assert_uint_eq(fake_cpus[i].setup.count, 0);
    }
    /* A monitor writes over it. */
    ck_assert(debug_access(vm, 0x1000, &byte, 1, true));
    ck_assert_uint_eq(ram->host[0x1000], 0xcc);
    ck_assert_uint_eq(look(0x1000), 0x55);
    stop();
    ck_assert_uint_eq(ram->host[0x1000], 0x55);
    /* The guest writes over it: that stays, and the next start puts another one there. */
    go();
    ram->host[0x1000] = 0x77;
    stop();
    ck_assert_uint_eq(ram->host[0x1000], 0x77);
    go();
    ck_assert_uint_eq(ram->host[0x1000], 0xcc);
    run_in_coroutine(clear, NULL);
    ck_assert(vm_running(vm));
    ck_assert_uint_eq(ram->host[0x1000], 0x77);
    ck_assert(!fake_cpus[0].setup.software);
}
END_TEST

/* Saving stops the machine by a hold. */
static void hold_and_look(void *data)
{
    ck_assert(vm_hold(vm, RUN_STATE_SAVE_VM, NULL));
    *(uint8_t *)data = ram->host[0x1000];
    vm_release(vm);
}

START_TEST(nothing_is_saved)
{
    uint8_t seen = 0;

    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    go();
    run_in_coroutine(hold_and_look, &seen);
    ck_assert_uint_eq(seen, 0x90);
    ck_assert(vm_running(vm));
    ck_assert_uint_eq(ram->host[0x1000], 0xcc);
}
END_TEST

static void reset_machine(void *data)
{
    vm_reset(vm, SHUTDOWN_CAUSE_GUEST_RESET);
}

START_TEST(reset_finds_memory_as_it_was)
{
    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    go();
    run_in_coroutine(reset_machine, NULL);
    ck_assert(vm_running(vm));
    ck_assert_uint_eq(ram->host[0x1000], 0xcc);
    stop();
    ck_assert_uint_eq(ram->host[0x1000], 0x90);
}
END_TEST

START_TEST(two_in_one_place)
{
    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    insert(DEBUG_BREAK_HW, 0x1000, 1, NULL);
    go();
    ck_assert_uint_eq(ram->host[0x1000], 0xcc);
    ck_assert_uint_eq(fake_cpus[2].setup.count, 1);
    stop();
    vm_debug_remove(vm, DEBUG_BREAK, 0x1000, 1);
    vm_debug_remove(vm, DEBUG_BREAK, 0x1000, 1);
    go();
    ck_assert_uint_eq(ram->host[0x1000], 0x90);
    ck_assert_uint_eq(fake_cpus[2].setup.count, 1);
}
END_TEST

START_TEST(two_addresses_of_one_place)
{
    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    insert(DEBUG_BREAK, FAKE_ALIAS | 0x1000, 1, NULL);
    go();
    ck_assert_uint_eq(look(0x1000), 0x90);
    ck_assert(fake_exit(vm, 0, (DebugExit){.kind = DEBUG_EXIT_SOFTWARE, .pc = 0x1000}));
    ck_assert(
        fake_exit(vm, 0, (DebugExit){.kind = DEBUG_EXIT_SOFTWARE, .pc = FAKE_ALIAS | 0x1000}));
    stop();
    ck_assert_uint_eq(ram->host[0x1000], 0x90);
}
END_TEST

/* ROM, what is not mapped, a segment that does not begin at 0: a register. */
START_TEST(registers_for_breakpoints)
{
    insert(DEBUG_BREAK, ROM, 1, NULL);
    insert(DEBUG_BREAK, FAKE_UNMAPPED, 1, NULL);
    insert(DEBUG_BREAK, 0x80000, 1, NULL); /* no memory */
    fake_cpus[0].based = true;
    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    insert(DEBUG_BREAK, 0x1001, 1, "4 of 4 are in use");
    fake_cpus[0].based = false;
    insert(DEBUG_BREAK, 0x1001, 1, NULL);
    insert(DEBUG_BREAK_HW, 0x1002, 1, "4 of 4 are in use");
    go();
    ck_assert_uint_eq(fake_cpus[1].setup.count, 4);
    ck_assert_uint_eq(ram->host[0x1000], 0x90);
    ck_assert_uint_eq(ram->host[0x1001], 0xcc);
    ck_assert_uint_eq(rom->host[0], 0);
}
END_TEST

START_TEST(watchpoints_are_split)
{
    const DebugSetup *s = &fake_cpus[0].setup;

    insert(DEBUG_WATCH_READ, 0x1000, 4, "watch accesses");
    insert(DEBUG_WATCH_WRITE, 0x1006, 11, NULL); /* 2 at 6, 8 at 8, 1 at 16 */
    insert(DEBUG_WATCH_ACCESS, 0x2000, 16, "3 of 4 are in use");
    insert(DEBUG_WATCH_ACCESS, 0x2000, UINT64_MAX, "3 of 4 are in use");
    insert(DEBUG_WATCH_ACCESS, 0x2004, 4, NULL);
    go();
    ck_assert_uint_eq(s->count, 4);
    ck_assert_uint_eq(s->registers[0].addr, 0x1006);
    ck_assert_uint_eq(s->registers[0].len, 2);
    ck_assert_uint_eq(s->registers[1].len, 8);
    ck_assert_uint_eq(s->registers[2].addr, 0x1010);
    ck_assert_uint_eq(s->registers[2].len, 1);
    ck_assert_uint_eq(s->registers[3].kind, DEBUG_WATCH_ACCESS);
}
END_TEST

START_TEST(what_the_host_does_not_deliver)
{
    fake_can = DEBUG_CAN_STEP | DEBUG_CAN_BREAK_HW;
    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    insert(DEBUG_WATCH_WRITE, 0x1000, 1, "does not deliver watchpoints");
    go();
    ck_assert_uint_eq(ram->host[0x1000], 0x90);
    ck_assert(!fake_cpus[0].setup.software);
    ck_assert_uint_eq(fake_cpus[0].setup.count, 1);
}
END_TEST

START_TEST(what_a_host_without_registers_does)
{
    fake_can = DEBUG_CAN_STEP;
    insert(DEBUG_BREAK, 0x1000, 1, "does not deliver breakpoints");
    insert(DEBUG_BREAK_HW, 0x1000, 1, "does not deliver breakpoints");
}
END_TEST

START_TEST(cpu_stops_the_machine)
{
    DebugExit e = {.kind = DEBUG_EXIT_SOFTWARE, .pc = 0x1000};
    DebugStop why;

    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    go();
    /* The guest's own instruction, elsewhere, is the guest's. */
    ck_assert(!fake_exit(vm, 1, (DebugExit){.kind = DEBUG_EXIT_SOFTWARE, .pc = 0x1001}));
    ck_assert(!fake_exit(vm, 1, (DebugExit){.kind = DEBUG_EXIT_OTHER}));
    ck_assert(!fake_exit(vm, 1, (DebugExit){.kind = DEBUG_EXIT_STEP}));
    ck_assert_uint_eq(fake_cpus[1].reinjected, 3);
    ck_assert(fake_exit(vm, 1, e));
    carry_out();
    ck_assert_str_eq(run_state_name(vm_run_state(vm)), "debug");
    ck_assert_ptr_eq(vm_debug_next_stop(vm, &why), vm->vcpus[1]);
    ck_assert_int_eq(why.kind, DEBUG_STOP_BREAK);
    ck_assert_uint_eq(why.addr, 0x1000);
    ck_assert_ptr_null(vm_debug_next_stop(vm, &why));
}
END_TEST

/* Two CPUs stop at once: both are told of, in their order. */
START_TEST(stops_in_order)
{
    DebugStop why;

    insert(DEBUG_WATCH_WRITE, 0x1000, 4, NULL);
    insert(DEBUG_BREAK, 0x1000, 1, NULL);
    go();
    ck_assert(fake_exit(vm, 2, (DebugExit){.kind = DEBUG_EXIT_REGISTER, .index = 0}));
    ck_assert(fake_exit(vm, 0, (DebugExit){.kind = DEBUG_EXIT_SOFTWARE, .pc = 0x1000}));
    carry_out();
    ck_assert_ptr_eq(vm_debug_next_stop(vm, &why), vm->vcpus[2]);
    ck_assert_int_eq(why.kind, DEBUG_STOP_WATCH_WRITE);
    ck_assert_ptr_eq(vm_debug_next_stop(vm, &why), vm->vcpus[0]);
    ck_assert_int_eq(why.kind, DEBUG_STOP_BREAK);
    go();
    ck_assert_ptr_null(vm_debug_next_stop(vm, &why));
}
END_TEST

/* A CPU that was told of steps off its breakpoint, while the others would stop there. */
START_TEST(passes_the_breakpoint_where_it_stands)
{
    FakeCpu *c = &fake_cpus[1];
    DebugStop why;

    insert(DEBUG_BREAK_HW, 0x1000, 1, NULL);
    insert(DEBUG_BREAK, 0x1100, 1, NULL);
    go();
    ck_assert(fake_exit(vm, 1, (DebugExit){.kind = DEBUG_EXIT_REGISTER, .index = 0}));
    c->pc = 0x1000;
    carry_out();
    ck_assert_ptr_nonnull(vm_debug_next_stop(vm, &why));
    go();
    ck_assert(c->setup.step && c->setup.quiet && c->setup.software);
    ck_assert_uint_eq(c->setup.count, 0);
    ck_assert_uint_eq(fake_cpus[0].setup.count, 1);
    /* It was stopped before it got anywhere: it passes again. */
    stop();
    go();
    ck_assert(c->setup.step);
    c->pc = 0x1002;
    ck_assert(!fake_exit(vm, 1, (DebugExit){.kind = DEBUG_EXIT_STEP, .pc = 0x1002}));
    ck_assert(!c->setup.step);
    ck_assert_uint_eq(c->setup.count, 1);
    ck_assert_uint_eq(c->reinjected, 0);
    ck_assert(vm_running(vm));
    /* The same at an instruction, for which a register stands in. */
    ck_assert(fake_exit(vm, 1, (DebugExit){.kind = DEBUG_EXIT_SOFTWARE, .pc = 0x1100}));
    c->pc = 0x1100;
    carry_out();
    ck_assert_ptr_nonnull(vm_debug_next_stop(vm, &why));
    go();
    ck_assert_uint_eq(ram->host[0x1100], 0x90);
    ck_assert_uint_eq(fake_cpus[0].setup.count, 2);
    ck_assert_uint_eq(c->setup.count, 1);
    ck_assert(c->setup.step);
    stop();
    c->pc = 0x1101;
    go();
    ck_assert_uint_eq(ram->host[0x1100], 0xcc);
    ck_assert(!c->setup.step);
}
END_TEST

START_TEST(steps_and_holds)
{
    DebugStop why;

    vm_debug_move(vm->vcpus[0], DEBUG_STEP_QUIET);
    vm_debug_move(vm->vcpus[1], DEBUG_HOLD);
    ck_assert(vm_debug_holds(vm->vcpus[1]));
    run_in_coroutine(halt, NULL);
    go();
    ck_assert(fake_cpus[0].setup.step && fake_cpus[0].setup.quiet);
    ck_assert(!fake_cpus[2].setup.step);
    ck_assert(fake_exit(vm, 0, (DebugExit){.kind = DEBUG_EXIT_STEP, .pc = 1}));
    carry_out();
    ck_assert_ptr_eq(vm_debug_next_stop(vm, &why), vm->vcpus[0]);
    ck_assert_int_eq(why.kind, DEBUG_STOP_STEP);
    run_in_coroutine(clear, NULL);
    ck_assert(!vm_debug_holds(vm->vcpus[1]));
    go();
    ck_assert(!fake_cpus[0].setup.step);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        instruction_is_there_while_the_machine_runs,
        nothing_is_saved,
        reset_finds_memory_as_it_was,
        two_in_one_place,
        two_addresses_of_one_place,
        registers_for_breakpoints,
        watchpoints_are_split,
        what_the_host_does_not_deliver,
        what_a_host_without_registers_does,
        cpu_stops_the_machine,
        stops_in_order,
        passes_the_breakpoint_where_it_stands,
        steps_and_holds,
        NULL,
    };

    return unit_run_with("vm_debug", tests, setup, teardown);
}
