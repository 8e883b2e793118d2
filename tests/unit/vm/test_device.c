/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices: names, properties, life, deferred work, run state, saved state. */
#include "fixture.h"

#include "base/keyval.h"
#include "base/reclaim.h"

static json_t *config(const char *text)
{
    GError *err = NULL;
    json_t *j = keyval_parse(text, "driver", NULL, false, &err);

    ck_assert_msg(j != NULL, "%s", err ? err->message : "");
    return j;
}

static void expect_error(const char *text, const char *part)
{
    GError *err = NULL;
    json_t *j = config(text);

    ck_assert(!device_add(vm, j, false, &err));
    ck_assert_msg(strstr(err->message, part) != NULL, "'%s' is not in '%s'", part, err->message);
    g_error_free(err);
    json_decref(j);
}

START_TEST(adding)
{
    json_t *j = config("probe,id=p0,level=9");
    Device *dev = device_add(vm, j, false, NULL);

    ck_assert(dev != NULL);
    ck_assert_str_eq(dev->path, "/machine/peripheral/p0");
    ck_assert_uint_eq(((Probe *)dev)->level, 9);
    json_decref(j);
    expect_error("probe,id=p0", "Duplicate");
    expect_error("prope", "did you mean 'probe'");
    expect_error("probe,levle=1", "did you mean 'level'");
    expect_error("probe,level=many", "level");
    expect_error("probe,fail=on", "told to fail");
    ck_assert(device_find(vm, "/machine/peripheral/p0", NULL) == dev);
    ck_assert(!device_find(vm, "p1", NULL));
}
END_TEST

START_TEST(globals)
{
    Probe *p;

    device_add_global("probe", "level", "33");
    p = probe_new(NULL);
    ck_assert_uint_eq(p->level, 33);
}
END_TEST

static void delete_it(void *data)
{
    ck_assert(device_del(vm, "p0", NULL) == false);
}

START_TEST(life)
{
    Probe *p = probe_new("p0");

    device_reset(&p->dev, RESET_COLD);
    ck_assert_uint_eq(p->resets, 1);
    irq_raise(vm, &p->irq);
    ck_assert(gsi_level[5]);
    device_timer_arm(p->timer, clock_ns(CLOCK_REALTIME_NS));
    /* System devices sit on no bus that could unplug them. */
    run_in_coroutine(delete_it, NULL);
    device_destroy(&p->dev);
    ck_assert(!gsi_level[5]);
    event_loop_iterate(loop, 0);
}
END_TEST

static void write_and_check(void *data)
{
    Probe *p = data;
    uint8_t v = 1;

    io_region_map(vm, &p->region, IO_SPACE_PIO, 0x100, 0);
    cpu_access(vm, IO_SPACE_PIO, 0x10f, &v, 1, true);
    /* The access ends only after the work that it deferred. */
    ck_assert_uint_eq(p->deferred, 1);
    cpu_access(vm, IO_SPACE_PIO, 0x10f, &v, 1, true);
    cpu_access(vm, IO_SPACE_PIO, 0x100, &v, 1, false);
    ck_assert_uint_eq(p->deferred, 2);
}

START_TEST(deferred_work)
{
    run_in_coroutine(write_and_check, probe_new(NULL));
}
END_TEST

static GString *events;

static void on_event(const VmEvent *event, json_t *data, void *user)
{
    g_string_append_printf(events, "%s ", event->name);
}

static void run_cycle(void *data)
{
    ck_assert(vm_resume(vm, NULL));
    ck_assert(vm_running(vm));
    vm_pause(vm, RUN_STATE_PAUSED);
    ck_assert(virtual_clock_frozen());
    vm_pause(vm, RUN_STATE_IO_ERROR);
    ck_assert_int_eq(vm_run_state(vm), RUN_STATE_IO_ERROR);
    ck_assert(vm_resume(vm, NULL));
    vm_reset(vm, SHUTDOWN_CAUSE_GUEST_RESET);
    ck_assert(vm_running(vm));
    vm_pause(vm, RUN_STATE_PAUSED);
}

static void *write_deferring(void *done)
{
    uint8_t byte = 1;

    reclaim_thread_register();
    cpu_access(vm, IO_SPACE_PIO, 0x4000 + 15, &byte, 1, true);
    reclaim_thread_unregister();
    __atomic_store_n((bool *)done, true, __ATOMIC_RELEASE);
    return NULL;
}

/* A device that is destroyed while the work it deferred is pending, or is running. */
static void destroy_deferring(bool begun)
{
    Probe *p = probe_new(NULL);
    bool done = false;
    GThread *thread;

    io_region_map(vm, &p->region, IO_SPACE_PIO, 0x4000, 1);
    thread = g_thread_new("cpu", write_deferring, &done);
    while (!device_deferred(&p->dev)) {
        g_usleep(100);
    }
    if (begun) {
        event_loop_iterate(loop, 0);
    }
    device_destroy(&p->dev);
    run_until_flag(&done);
    g_thread_join(thread);
    event_loop_iterate(loop, 0); /* frees what was retired */
}

START_TEST(deferred_work_dies_with_its_device)
{
    destroy_deferring(false);
    destroy_deferring(true);
}
END_TEST

START_TEST(run_states)
{
    Probe *p = probe_new(NULL);

    events = g_string_new(NULL);
    vm_set_event_listener(vm, on_event, NULL);
    run_in_coroutine(run_cycle, NULL);
    ck_assert_str_eq(events->str, "RESUME STOP RESUME RESET STOP ");
    ck_assert_uint_eq(p->resets, 1);
    g_string_free(events, TRUE);
}
END_TEST

/* Every event is in the table. Missing and unknown members of its data are named. */
START_TEST(event_data)
{
    json_t *data = json_pack("{s:b,s:s}", "guest", 1, "reason", "no-reason");
    GError *err = NULL;

    for (unsigned id = 0; id < VM_EVENT_COUNT; id++) {
        ck_assert_ptr_nonnull(vm_event_info(id)->name);
    }
    ck_assert(!vm_event_check(VM_EVENT_RESET, data, &err));
    ck_assert_str_eq(err->message, "Parameter 'reason' does not accept value 'no-reason'");
    g_clear_error(&err);
    ck_assert(!vm_event_check(VM_EVENT_STOP, data, &err));
    ck_assert_str_eq(err->message, "Parameter 'guest' is unexpected");
    g_clear_error(&err);
    ck_assert(!vm_event_check(VM_EVENT_RESET, NULL, &err));
    ck_assert_str_eq(err->message, "Parameter 'guest' is missing");
    g_clear_error(&err);
    json_object_set_new(data, "reason", json_string("guest-reset"));
    ck_assert(vm_event_check(VM_EVENT_RESET, data, NULL));
    ck_assert(vm_event_check(VM_EVENT_STOP, NULL, NULL));
    json_decref(data);
}
END_TEST

START_TEST(requests)
{
    bool quit = false;

    events = g_string_new(NULL);
    vm_set_event_listener(vm, on_event, NULL);
    vm_request_powerdown(vm);
    vm_request_reset(vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, 33);
    event_loop_run(loop);
    (void)quit;
    ck_assert_int_eq(vm->exit_status, 33);
    ck_assert_ptr_nonnull(strstr(events->str, "SHUTDOWN"));
    g_string_free(events, TRUE);
}
END_TEST

START_TEST(saved_and_loaded)
{
    Probe *p = probe_new("p0");
    g_autoptr(GByteArray) out = g_byte_array_new(), again = g_byte_array_new();
    GError *err = NULL;
    uint32_t seed = 5;

    state_scramble(probe_class.state[0].desc(), &p->s, &seed);
    ck_assert(vm_save_devices(vm, out, &err));
    device_reset(&p->dev, RESET_COLD);
    ck_assert(vm_load_devices(vm, out->data, out->len, &err));
    ck_assert(vm_save_devices(vm, again, &err));
    ck_assert_uint_eq(out->len, again->len);
    ck_assert_mem_eq(out->data, again->data, out->len);
    /* The state of a machine with other devices is refused, and nothing is changed. */
    probe_new("p1");
    ck_assert(!vm_load_devices(vm, out->data, out->len, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "p1"));
    g_clear_error(&err);
    for (size_t cut = 0; cut < out->len; cut++) {
        ck_assert(!vm_load_devices(vm, out->data, cut, &err));
        g_clear_error(&err);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("device");

    tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
    tcase_add_test(tc, adding);
    tcase_add_test(tc, globals);
    tcase_add_test(tc, life);
    tcase_add_test(tc, deferred_work);
    tcase_add_test(tc, deferred_work_dies_with_its_device);
    tcase_add_test(tc, run_states);
    tcase_add_test(tc, requests);
    tcase_add_test(tc, event_data);
    tcase_add_test(tc, saved_and_loaded);
    return unit_run_case("vm_device", tc);
}
