/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ui_internal.h"

#include <inttypes.h>
#include <linux/input-event-codes.h>
#include "base/error.h"

/*
 * What a sink has waiting is bounded. Releases may go past the first bound: a key whose release is
 * lost is held down for ever.
 */
enum { SINK_EVENTS_MAX = 256, SINK_RELEASES_MAX = 2 * SINK_EVENTS_MAX, KEY_STEPS_MAX = 1024 };

typedef struct {
    VmNotifyFn fn;
    void *data;
} Listener;

/* A part of input_send_keys(): a key goes down or up, and then nothing happens for a while. */
typedef struct {
    uint16_t code;
    bool down;
    int64_t hold_ns;
} KeyStep;

/* A machine that stands still takes nothing. */
static bool input_is_live(Vm *vm)
{
    RunState state = vm_run_state(vm);

    return state == RUN_STATE_RUNNING || state == RUN_STATE_SUSPENDED;
}

static void input_tell(GArray *listeners)
{
    for (unsigned i = 0; i < listeners->len; i++) {
        Listener l = g_array_index(listeners, Listener, i);

        l.fn(l.data);
    }
}

/* Sinks. */

static InputSink *input_find(struct Ui *ui, unsigned takes)
{
    for (unsigned i = 0; i < ui->sinks->len; i++) {
        InputSink *sink = ui->sinks->pdata[i];

        if (sink->takes & takes) {
            return sink;
        }
    }
    return NULL;
}

static InputSink *input_pointer(struct Ui *ui)
{
    return input_find(ui, INPUT_TAKES_REL | INPUT_TAKES_ABS);
}

/* The list of sinks has changed. */
static void input_list_changed(struct Ui *ui)
{
    InputSink *pointer = input_pointer(ui);
    bool absolute = pointer && (pointer->takes & INPUT_TAKES_ABS);

    if (absolute == ui->pointer_is_absolute) {
        return;
    }
    ui->pointer_is_absolute = absolute;
    input_tell(ui->pointer_changed);
}

static void input_to_front(struct Ui *ui, InputSink *sink)
{
    g_ptr_array_remove(ui->sinks, sink);
    g_ptr_array_insert(ui->sinks, 0, sink);
}

void input_sink_add(InputSink *sink)
{
    struct Ui *ui = ui_of(sink->dev->vm);

    sink->index = ++ui->sink_index;
    sink->events = g_array_new(FALSE, FALSE, sizeof(InputEvent));
    sink->unsynced = false;
    sink->activated = 0;
    g_ptr_array_add(ui->sinks, sink);
    input_list_changed(ui);
}

void input_sink_remove(InputSink *sink)
{
    struct Ui *ui = ui_of(sink->dev->vm);

    g_ptr_array_remove(ui->sinks, sink);
    g_array_free(sink->events, TRUE);
    sink->events = NULL;
    input_list_changed(ui);
}

void input_sink_activate(InputSink *sink)
{
    if (!__atomic_exchange_n(&sink->activated, 1, __ATOMIC_RELEASE)) {
        bh_schedule(&sink->dev->vm->ui->input);
    }
}

static void input_activate_all(struct Ui *ui)
{
    bool changed = false;

    for (unsigned i = 0; i < ui->sinks->len; i++) {
        InputSink *sink = ui->sinks->pdata[i];

        if (__atomic_exchange_n(&sink->activated, 0, __ATOMIC_ACQUIRE)) {
            input_to_front(ui, sink);
            changed = true;
        }
    }
    if (changed) {
        input_list_changed(ui);
    }
}

/* Events. */

static void input_deliver_to(InputSink *sink)
{
    Device *dev = sink->dev;
    GArray *events = sink->events;

    sink->events = g_array_new(FALSE, FALSE, sizeof(InputEvent));
    device_lock(dev);
    for (unsigned i = 0; i < events->len; i++) {
        if (__atomic_load_n(&dev->live, __ATOMIC_RELAXED)) {
            sink->event(sink, &g_array_index(events, InputEvent, i));
        }
    }
    device_unlock(dev);
    g_array_free(events, TRUE);
}

static void input_deliver(void *data)
{
    struct Ui *ui = data;

    input_activate_all(ui);
    if (input_leds(ui->vm) != ui->told_leds) {
        ui->told_leds = input_leds(ui->vm);
        input_tell(ui->leds_changed);
    }
    for (unsigned i = 0; i < ui->sinks->len; i++) {
        InputSink *sink = ui->sinks->pdata[i];

        if (sink->events->len && !input_is_live(ui->vm)) {
            g_array_set_size(sink->events, 0);
        } else if (sink->events->len) {
            input_deliver_to(sink);
        }
    }
}

static void input_queue(struct Ui *ui, InputSink *sink, InputEvent e)
{
    bool more = e.type == INPUT_SYNC || (e.type <= INPUT_BUTTON && !e.value);

    if (sink->events->len < (more ? SINK_RELEASES_MAX : SINK_EVENTS_MAX)) {
        g_array_append_val(sink->events, e);
        bh_schedule(&ui->input);
    }
}

static InputSink *input_sink_for(struct Ui *ui, InputType type, unsigned code)
{
    switch (type) {
    case INPUT_KEY:
        return input_find(ui, INPUT_TAKES_KEYS);
    case INPUT_REL:
        /* A wheel belongs to whatever has buttons. */
        return code == REL_X || code == REL_Y ? input_find(ui, INPUT_TAKES_REL) : input_pointer(ui);
    case INPUT_ABS:
        return input_find(ui, INPUT_TAKES_ABS);
    default:
        return input_pointer(ui);
    }
}

bool input_is_taken(Vm *vm, InputType type, unsigned code)
{
    return input_sink_for(ui_of(vm), type, code) != NULL;
}

void input_send(Vm *vm, InputType type, unsigned code, int value)
{
    struct Ui *ui = ui_of(vm);
    InputSink *sink = input_sink_for(ui, type, code);

    g_assert(event_loop_in_thread(vm->loop));
    if (sink && input_is_live(vm)) {
        sink->unsynced = true;
        input_queue(ui, sink, (InputEvent){.type = type, .code = code, .value = value});
    }
}

void input_sync(Vm *vm)
{
    struct Ui *ui = ui_of(vm);

    for (unsigned i = 0; i < ui->sinks->len; i++) {
        InputSink *sink = ui->sinks->pdata[i];

        if (sink->unsynced) {
            sink->unsynced = false;
            input_queue(ui, sink, (InputEvent){.type = INPUT_SYNC});
        }
    }
}

/* Keys one after the other. */

static void input_key_step(void *data)
{
    struct Ui *ui = data;
    KeyStep step;

    if (!ui->key_steps->len) {
        return;
    }
    step = g_array_index(ui->key_steps, KeyStep, 0);
    g_array_remove_index(ui->key_steps, 0);
    input_send(ui->vm, INPUT_KEY, step.code, step.down);
    input_sync(ui->vm);
    /* After the last, too: the next keys come no sooner than that. */
    timer_arm(ui->key_timer, clock_ns(CLOCK_VIRTUAL_NS) + step.hold_ns);
}

bool input_send_keys(Vm *vm, const uint16_t *codes, unsigned n, int64_t hold_ns)
{
    struct Ui *ui = ui_of(vm);

    if (!input_is_live(vm)) {
        return true;
    }
    if (ui->key_steps->len + 2 * n > KEY_STEPS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < 2 * n; i++) {
        bool down = i < n;
        KeyStep step = {.code = codes[down ? i : 2 * n - 1 - i], .down = down, .hold_ns = hold_ns};

        g_array_append_val(ui->key_steps, step);
    }
    if (!timer_armed(ui->key_timer)) {
        input_key_step(ui);
    }
    return true;
}

/* Pointers. */

bool input_pointer_is_absolute(Vm *vm)
{
    return ui_of(vm)->pointer_is_absolute;
}

void input_pointer_changed(Vm *vm, VmNotifyFn fn, void *data)
{
    Listener l = {.fn = fn, .data = data};

    g_array_append_val(ui_of(vm)->pointer_changed, l);
}

/* Lights. */

void input_set_leds(Vm *vm, unsigned leds)
{
    if (__atomic_exchange_n(&vm->ui->leds, leds, __ATOMIC_RELAXED) != leds) {
        bh_schedule(&vm->ui->input);
    }
}

unsigned input_leds(Vm *vm)
{
    return __atomic_load_n(&ui_of(vm)->leds, __ATOMIC_RELAXED);
}

void input_leds_changed(Vm *vm, VmNotifyFn fn, void *data)
{
    Listener l = {.fn = fn, .data = data};

    g_array_append_val(ui_of(vm)->leds_changed, l);
}

/* The monitor's. */

json_t *input_query_mice(Vm *vm)
{
    struct Ui *ui = ui_of(vm);
    json_t *list = json_array();

    input_activate_all(ui);
    for (unsigned i = ui->sinks->len; i-- > 0;) {
        InputSink *sink = ui->sinks->pdata[i];

        if (sink->takes & (INPUT_TAKES_REL | INPUT_TAKES_ABS)) {
            json_array_append_new(list,
                                  json_pack("{s:s, s:i, s:b, s:b}", "name", sink->name, "index",
                                            (int)sink->index, "current", sink == input_pointer(ui),
                                            "absolute", !!(sink->takes & INPUT_TAKES_ABS)));
        }
    }
    return list;
}

bool input_mouse_set(Vm *vm, int64_t index, GError **err)
{
    struct Ui *ui = ui_of(vm);

    for (unsigned i = 0; i < ui->sinks->len; i++) {
        InputSink *sink = ui->sinks->pdata[i];

        if (sink->index != index) {
            continue;
        }
        if (!(sink->takes & (INPUT_TAKES_REL | INPUT_TAKES_ABS))) {
            return error_set(err, "Input device '%s' is not a mouse", sink->name);
        }
        input_to_front(ui, sink);
        input_list_changed(ui);
        return true;
    }
    return error_set(err, "Mouse at index '%" PRId64 "' not found; 'info mice' lists them", index);
}

void input_init(struct Ui *ui)
{
    ui->sinks = g_ptr_array_new();
    ui->pointer_changed = g_array_new(FALSE, FALSE, sizeof(Listener));
    ui->leds_changed = g_array_new(FALSE, FALSE, sizeof(Listener));
    ui->key_steps = g_array_new(FALSE, FALSE, sizeof(KeyStep));
    ui->key_timer = timer_new(ui->vm->loop, CLOCK_VIRTUAL_NS, input_key_step, ui);
    bh_init(&ui->input, ui->vm->loop, input_deliver, ui);
}

void input_free(struct Ui *ui)
{
    bh_cancel(&ui->input);
    timer_free(ui->key_timer);
    g_array_free(ui->key_steps, TRUE);
    g_array_free(ui->leds_changed, TRUE);
    g_array_free(ui->pointer_changed, TRUE);
    g_ptr_array_free(ui->sinks, TRUE);
}
