/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run state: reasons by gravity, S3 across pauses, requests that cross, and what a pause waits
 * for. */
#include <pthread.h>

#include "base/error.h"
#include "block/graph.h"
#include "block/media.h"
#include "fixture.h"
#include "vm/end.h"

static GString *events;

static void note_event(const VmEvent *event, json_t *data, void *user)
{
    g_string_append_printf(events, "%s ", event->name);
}

static void setup(void)
{
    fixture_setup();
    events = g_string_new(NULL);
    vm_set_event_listener(vm, note_event, NULL);
}

static void teardown(void)
{
    fixture_teardown();
    g_string_free(events, TRUE);
}

static void resume(void *data)
{
    GError *err = NULL;

    ck_assert_msg(vm_resume(vm, &err), "%s", err ? err->message : "");
}

static void resume_refused(void *data)
{
    GError *err = NULL;

    ck_assert(!vm_resume(vm, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "Resetting"));
    g_error_free(err);
}

static void pause_for(void *reason)
{
    vm_pause(vm, GPOINTER_TO_INT(reason));
}

static void halt(RunState reason)
{
    run_in_coroutine(pause_for, GINT_TO_POINTER(reason));
}

static void reset(void *data)
{
    vm_reset(vm, SHUTDOWN_CAUSE_GUEST_RESET);
}

/* Turns the loop until the requests that were made are carried out. */
static void carry_out(void)
{
    for (int i = 0; i < 20; i++) {
        event_loop_iterate(loop, 0);
    }
}

#define ASSERT_STATE(name) ck_assert_str_eq(run_state_name(vm_run_state(vm)), name)

/* A guest that sleeps is asleep again after 'stop' and 'cont', until it is woken. */
START_TEST(sleep_outlives_a_pause)
{
    run_in_coroutine(resume, NULL);
    vm_request_suspend(vm);
    carry_out();
    ASSERT_STATE("suspended");
    ck_assert(!virtual_clock_frozen());
    halt(RUN_STATE_PAUSED);
    ASSERT_STATE("paused");
    ck_assert(virtual_clock_frozen());
    run_in_coroutine(resume, NULL);
    ASSERT_STATE("suspended");
    ck_assert(!virtual_clock_frozen());
    vm_request_wakeup(vm, "test");
    carry_out();
    ASSERT_STATE("running");
    ck_assert_str_eq(events->str, "RESUME SUSPEND RESUME WAKEUP ");
}
END_TEST

/* The guest's request comes when the machine has just been stopped. */
START_TEST(sleep_that_crosses_a_stop)
{
    run_in_coroutine(resume, NULL);
    halt(RUN_STATE_PAUSED);
    vm_request_suspend(vm);
    carry_out();
    ASSERT_STATE("paused");
    ck_assert(vm_asleep(vm));
    ck_assert(virtual_clock_frozen());
    run_in_coroutine(resume, NULL);
    ASSERT_STATE("suspended");
    ck_assert(!virtual_clock_frozen());
    /* Woken while it is stopped: it is awake at the next 'cont'. */
    halt(RUN_STATE_PAUSED);
    vm_request_wakeup(vm, "test");
    carry_out();
    ASSERT_STATE("paused");
    run_in_coroutine(resume, NULL);
    ASSERT_STATE("running");
}
END_TEST

/* An alarm that goes off while the guest is falling asleep wakes it. */
START_TEST(alarm_while_falling_asleep)
{
    Probe *p = probe_new(NULL);

    run_in_coroutine(resume, NULL);
    vm_request_wakeup(vm, "alarm");
    vm_request_suspend(vm);
    carry_out();
    ASSERT_STATE("running");
    ck_assert_str_eq(events->str, "RESUME SUSPEND WAKEUP ");
    ck_assert_uint_eq(p->resets, 1);
    /* A guest that is awake has no use for one, and keeps none for later. */
    vm_request_wakeup(vm, "alarm");
    carry_out();
    vm_request_suspend(vm);
    carry_out();
    ASSERT_STATE("suspended");
    ck_assert_uint_eq(p->resets, 1);
}
END_TEST

START_TEST(reset_ends_sleep)
{
    run_in_coroutine(resume, NULL);
    vm_request_suspend(vm);
    carry_out();
    halt(RUN_STATE_PAUSED);
    run_in_coroutine(reset, NULL);
    ASSERT_STATE("prelaunch");
    run_in_coroutine(resume, NULL);
    ASSERT_STATE("running");
    /* Asked for together: what the guest wanted before the reset is gone with it. */
    vm_request_suspend(vm);
    vm_request_reset(vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    carry_out();
    ASSERT_STATE("running");
}
END_TEST

static void power_on(void *data)
{
    vm_power_on(vm, true);
}

static void stop(void *data)
{
    vm_pause(vm, RUN_STATE_PAUSED);
}

/* A 'stop' that comes while the machine starts is not run over by the start. */
START_TEST(stop_comes_after_the_start)
{
    run_in_coroutine(reset, NULL);
    coroutine_start(power_on, NULL);
    coroutine_start(stop, NULL);
    carry_out();
    ASSERT_STATE("paused");
}
END_TEST

static const RunState by_gravity[] = {RUN_STATE_PAUSED,   RUN_STATE_IO_ERROR,
                                      RUN_STATE_WATCHDOG, RUN_STATE_GUEST_PANICKED,
                                      RUN_STATE_SHUTDOWN, RUN_STATE_INTERNAL_ERROR};
enum { NEEDS_RESET = 4 }; /* from SHUTDOWN on 'cont' is refused */

/* Of two reasons the graver one stays, whichever comes first, one after the other or together. */
START_TEST(gravest_reason_stays)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(by_gravity); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(by_gravity); j++) {
            RunState want = by_gravity[MAX(i, j)];

            run_in_coroutine(resume, NULL);
            halt(by_gravity[i]);
            halt(by_gravity[j]);
            ck_assert_int_eq(vm_run_state(vm), want);
            run_in_coroutine(reset, NULL);
            run_in_coroutine(resume, NULL);
            vm_request_pause(vm, by_gravity[i]);
            vm_request_pause(vm, by_gravity[j]);
            carry_out();
            ck_assert_int_eq(vm_run_state(vm), want);
            run_in_coroutine(MAX(i, j) < NEEDS_RESET ? resume : resume_refused, NULL);
            run_in_coroutine(reset, NULL);
        }
    }
}
END_TEST

/* A CPU has just failed, and the main loop has not heard of it: 'stop' and 'cont' do not run it. */
START_TEST(cont_does_not_run_over_an_error)
{
    run_in_coroutine(resume, NULL);
    halt(RUN_STATE_PAUSED);
    vm_request_pause(vm, RUN_STATE_INTERNAL_ERROR);
    run_in_coroutine(resume_refused, NULL);
    ASSERT_STATE("internal-error");
    carry_out();
    run_in_coroutine(reset, NULL);
    ASSERT_STATE("prelaunch");
    run_in_coroutine(resume, NULL);
    ASSERT_STATE("running");
}
END_TEST

static const char *io_status(void)
{
    json_t *all = block_query();
    static char status[32];

    g_strlcpy(status,
              json_string_value(json_object_get(json_array_get(all, 0), "io-status")) ?: "none",
              sizeof status);
    json_decref(all);
    return status;
}

static size_t park(void *data, BlockRequest *req, uint32_t *words, size_t max)
{
    words[0] = req->offset;
    return 1;
}

/* A 'cont' that is refused leaves the disks' errors as they are; one that runs ends them. */
START_TEST(refused_cont_keeps_io_status)
{
    static const BlockDeviceOps ops = {.park = park, .parked_max = 2};
    json_t *drive = json_pack("{s:s,s:s,s:s,s:s,s:s}", "driver", "null-co", "id", "d", "if", "none",
                              "rerror", "stop", "werror", "stop");
    GError *err = NULL;
    BlockBackend *blk = block_backend_new_drive(drive, &err);
    BlockRequest past_the_end = {.op = BLOCK_OP_WRITE, .offset = 1ull << 40, .bytes = 512};

    ck_assert_msg(blk != NULL, "%s", err ? err->message : "");
    json_decref(drive);
    ck_assert(block_backend_attach("d", "/machine/d", 0, &ops, NULL, &err) == blk);
    run_in_coroutine(resume, NULL);
    vm_request_pause(vm, RUN_STATE_INTERNAL_ERROR);
    block_backend_submit(blk, &past_the_end);
    carry_out();
    ASSERT_STATE("internal-error");
    ck_assert_str_eq(io_status(), "failed");
    run_in_coroutine(resume_refused, NULL);
    ck_assert_str_eq(io_status(), "failed");
    run_in_coroutine(reset, NULL);
    run_in_coroutine(resume, NULL);
    ck_assert_str_eq(io_status(), "ok");
    block_backend_detach(blk, false);
    block_backend_free_all();
}
END_TEST

static bool medium_changed(void *data, bool loaded, GError **err)
{
    return true;
}

static void check_tray_event(const VmEvent *event, json_t *data, void *user)
{
    json_t *expected =
        json_pack("{s:s,s:s,s:b}", "device", "", "id", "/machine/cd", "tray-open", *(bool *)user);

    ck_assert_str_eq(event->name, "DEVICE_TRAY_MOVED");
    ck_assert(json_equal(data, expected));
    json_decref(expected);
    g_string_append(events, "moved ");
}

START_TEST(tray_moves_are_told)
{
    static const BlockDeviceOps ops = {.medium_changed = medium_changed, .has_tray = true};
    BlockBackend *blk = block_backend_attach(NULL, "/machine/cd", 0, &ops, NULL, NULL);
    bool open = true;

    vm_set_event_listener(vm, check_tray_event, &open);
    block_backend_tray_moved(blk, true);
    block_backend_tray_moved(blk, true);
    ck_assert_str_eq(events->str, "moved ");
    open = false;
    block_backend_tray_moved(blk, false);
    ck_assert_str_eq(events->str, "moved moved ");
    block_backend_detach(blk, true);
    block_backend_free_all();
}
END_TEST

/* What an I/O thread has ready when the machine is paused is done before the pause is over. */

typedef struct {
    EventLoop *loop;
    unsigned steps, done;
    bool flushed;
} Chain;

static void chain_flush(void *data)
{
    Chain *c = data;

    if (c->done == c->steps) {
        __atomic_store_n(&c->flushed, true, __ATOMIC_RELEASE);
    }
}

static void chain_step(void *data)
{
    Chain *c = data;

    if (++c->done < c->steps) {
        event_loop_call(c->loop, chain_step, c);
    }
}

static void chain_begin(void *data)
{
    Chain *c = data;

    event_loop_add_flush(c->loop, chain_flush, c);
    g_usleep(1000); /* the pause is asked for meanwhile */
    chain_step(c);
}

static void *loop_thread(void *data)
{
    event_loop_run(data);
    return NULL;
}

START_TEST(pause_waits_for_io_threads)
{
    GError *err = NULL;

    for (unsigned i = 0; i < 20; i++) {
        Chain chain = {.loop = event_loop_new("io", &err), .steps = 50};
        GThread *thread = g_thread_new("io", loop_thread, chain.loop);

        run_in_coroutine(resume, NULL);
        event_loop_call(chain.loop, chain_begin, &chain);
        while (!event_loop_turns(chain.loop)) {
            g_thread_yield();
        }
        halt(RUN_STATE_PAUSED);
        ck_assert(__atomic_load_n(&chain.flushed, __ATOMIC_ACQUIRE));
        event_loop_quit(chain.loop);
        g_thread_join(thread);
        event_loop_free(chain.loop);
    }
}
END_TEST

/* vm_hold(): what a snapshot of a machine is taken in, be it running or not. */

static struct {
    bool held, let_go, over;
} holder;

static void coroutine_fn hold_and_release(void *data)
{
    ck_assert(vm_hold(vm, RUN_STATE_SAVE_VM, NULL));
    holder.held = true;
    while (!holder.let_go) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
    }
    vm_release(vm);
    holder.over = true;
}

static void must_hold(const char *state)
{
    memset(&holder, 0, sizeof holder);
    coroutine_start(hold_and_release, NULL);
    run_until_flag(&holder.held);
    ASSERT_STATE(state);
    ck_assert(virtual_clock_frozen());
}

static void release(void)
{
    holder.let_go = true;
    run_until_flag(&holder.over);
}

START_TEST(hold_lets_go_on)
{
    run_in_coroutine(resume, NULL);
    must_hold("save-vm");
    release();
    ASSERT_STATE("running");
    ck_assert(!virtual_clock_frozen());
    ck_assert_str_eq(events->str, "RESUME STOP RESUME ");
    /* A machine that slept sleeps on; one that stood still does so, and is told nothing. */
    vm_request_suspend(vm);
    carry_out();
    must_hold("save-vm");
    release();
    ASSERT_STATE("suspended");
    halt(RUN_STATE_WATCHDOG);
    g_string_truncate(events, 0);
    must_hold("watchdog");
    release();
    ASSERT_STATE("watchdog");
    ck_assert_str_eq(events->str, "");
}
END_TEST

/* Begins, and waits for the release. */
static void begin_change(CoroutineFn fn, void *data)
{
    coroutine_start(fn, data);
    carry_out();
}

/* What others want meanwhile is neither done nor lost. */
START_TEST(hold_loses_nothing)
{
    run_in_coroutine(resume, NULL);
    must_hold("save-vm");
    begin_change(pause_for, GINT_TO_POINTER(RUN_STATE_PAUSED));
    ASSERT_STATE("save-vm");
    release();
    carry_out();
    ASSERT_STATE("paused");
    /* A disk that fails, or a CPU: the machine does not run for a moment. */
    run_in_coroutine(resume, NULL);
    must_hold("save-vm");
    g_string_truncate(events, 0);
    vm_request_pause(vm, RUN_STATE_IO_ERROR);
    carry_out();
    ASSERT_STATE("save-vm");
    release();
    ASSERT_STATE("io-error");
    ck_assert(virtual_clock_frozen());
    ck_assert_str_eq(events->str, "");
    /* 'cont' of a machine that was stopped. */
    must_hold("io-error");
    begin_change(resume, NULL);
    ASSERT_STATE("io-error");
    release();
    carry_out();
    ASSERT_STATE("running");
}
END_TEST

/* At the end of the program: what works in the background ends first, and may change the graph. */

static struct {
    bool began, may_end, ended;
} job;

static void coroutine_fn job_ends(void *data)
{
    GError *err = NULL;

    job.began = true;
    while (!job.may_end) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
    }
    ck_assert_msg(block_changes_lock(&err), "%s", err ? err->message : "");
    block_changes_unlock();
    job.ended = true;
}

START_TEST(shutdown_waits_for_jobs)
{
    memset(&job, 0, sizeof job);
    vm_notifier_add(vm, VM_NOTIFY_SHUTDOWN, job_ends, NULL);
    run_in_coroutine(resume, NULL);
    vm_request_shutdown(vm, SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    run_until_flag(&job.began);
    ASSERT_STATE("shutdown");
    ck_assert(virtual_clock_frozen());
    carry_out();
    ck_assert(!job.ended);
    job.may_end = true;
    event_loop_run(loop); /* until it is told to end */
    ck_assert(job.ended);
}
END_TEST

/* Several ask for the end; who only would have paused the machine does not hide a real end. */
START_TEST(the_first_end_counts)
{
    vm_set_actions(vm, &(VmActions){.panic = PANIC_ACTION_EXIT_FAILURE});
    vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, 33);
    vm_guest_panicked(vm, NULL);
    vm_request_shutdown(vm, SHUTDOWN_CAUSE_HOST_SIGNAL);
    event_loop_run(loop);
    ck_assert_int_eq(vm->exit_status, 33);
}
END_TEST

START_TEST(an_end_is_more_than_a_pause)
{
    vm_set_actions(vm, &(VmActions){.shutdown = SHUTDOWN_ACTION_PAUSE});
    vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, VM_END_POWEROFF);
    carry_out();
    ASSERT_STATE("shutdown");
    vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, VM_END_POWEROFF);
    vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_HOST_ERROR, VM_END_DEADLINE);
    event_loop_run(loop);
    ck_assert_int_eq(vm->exit_status, VM_END_DEADLINE);
}
END_TEST

/* What stands still for an error, and is then ended by the user, has not ended well. */
START_TEST(an_error_is_not_forgotten)
{
    vm_failed(vm, VM_END_KVM_ERROR);
    carry_out();
    ASSERT_STATE("internal-error");
    vm_request_shutdown(vm, SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    event_loop_run(loop);
    ck_assert_int_eq(vm->exit_status, VM_END_KVM_ERROR);
}
END_TEST

START_TEST(an_error_ends_the_run_where_asked)
{
    run_in_coroutine(resume, NULL);
    vm_disk_failed(vm);
    carry_out();
    ASSERT_STATE("io-error");
    vm_set_actions(vm, &(VmActions){.error = ERROR_ACTION_EXIT});
    vm_failed(vm, VM_END_KVM_ERROR);
    event_loop_run(loop);
    ck_assert_int_eq(vm->exit_status, VM_END_KVM_ERROR);
}
END_TEST

static void load_state(void *state)
{
    GByteArray *saved = state;
    GError *err = NULL;

    ck_assert(vm_hold(vm, RUN_STATE_RESTORE_VM, &err));
    vm_request_suspend(vm); /* the former guest's last wish */
    ck_assert_msg(vm_load_devices(vm, saved->data, saved->len, &err), "%s",
                  err ? err->message : "");
    vm_release(vm);
}

/* A machine that was loaded need not be reset for what the former one had done. */
START_TEST(load_ends_the_gravest_reasons)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();

    ck_assert(vm_save_devices(vm, saved, NULL));
    run_in_coroutine(resume, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(by_gravity); i++) {
        halt(by_gravity[i]);
        run_in_coroutine(load_state, saved);
        carry_out();
        ck_assert(!vm_asleep(vm));
        run_in_coroutine(resume, NULL);
        ASSERT_STATE("running");
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("run_state");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, sleep_outlives_a_pause);
    tcase_add_test(tc, sleep_that_crosses_a_stop);
    tcase_add_test(tc, alarm_while_falling_asleep);
    tcase_add_test(tc, reset_ends_sleep);
    tcase_add_test(tc, stop_comes_after_the_start);
    tcase_add_test(tc, gravest_reason_stays);
    tcase_add_test(tc, cont_does_not_run_over_an_error);
    tcase_add_test(tc, refused_cont_keeps_io_status);
    tcase_add_test(tc, tray_moves_are_told);
    tcase_add_test(tc, pause_waits_for_io_threads);
    tcase_add_test(tc, hold_lets_go_on);
    tcase_add_test(tc, hold_loses_nothing);
    tcase_add_test(tc, load_ends_the_gravest_reasons);
    tcase_add_test(tc, shutdown_waits_for_jobs);
    tcase_add_test(tc, the_first_end_counts);
    tcase_add_test(tc, an_end_is_more_than_a_pause);
    tcase_add_test(tc, an_error_is_not_forgotten);
    tcase_add_test(tc, an_error_ends_the_run_where_asked);
    return unit_run_case("vm_run_state", tc);
}
