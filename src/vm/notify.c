/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is told: notifiers of the run state's changes, and the events of QMP. */
#include "run_state.h"

#include "vm/events.h"

typedef struct {
    VmNotifyFn fn;
    void *data;
} Notifier;

typedef struct {
    const VmEvent *event;
    json_t *data;
} PendingEvent;

/* Notifiers. */

void vm_notifier_add(Vm *vm, VmNotify what, VmNotifyFn fn, void *data)
{
    Notifier n = {.fn = fn, .data = data};

    g_array_append_val(vm->run_control->notifiers[what], n);
}

void vm_notifier_remove(Vm *vm, VmNotify what, VmNotifyFn fn, void *data)
{
    GArray *list = vm->run_control->notifiers[what];

    for (unsigned i = 0; i < list->len; i++) {
        Notifier *n = &g_array_index(list, Notifier, i);

        if (n->fn == fn && n->data == data) {
            g_array_remove_index(list, i);
            return;
        }
    }
}

void run_notify(Vm *vm, VmNotify what)
{
    GArray *list = vm->run_control->notifiers[what];

    for (unsigned i = 0; i < list->len; i++) {
        Notifier n = g_array_index(list, Notifier, i);

        n.fn(n.data);
    }
}

/* Events. */

void run_notify_events(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    PendingEvent *e;

    for (;;) {
        g_mutex_lock(&rc->lock);
        e = g_queue_pop_head(&rc->events);
        g_mutex_unlock(&rc->lock);
        if (!e) {
            return;
        }
        if (rc->listener) {
            rc->listener(e->event, e->data, rc->listener_data);
        }
        json_decref(e->data);
        g_free(e);
    }
}

/* A mistake of whoever sends the event, who is still on the stack here. */
static void check_event(VmEventId id, json_t *data)
{
#ifdef VMM_CHECK_REPLIES
    g_autoptr(GError) err = NULL;

    if (!vm_event_check(id, data, &err)) {
        g_error("event %s is not as the table of events says: %s", vm_event_info(id)->name,
                err->message);
    }
#endif
}

void vm_event(Vm *vm, VmEventId id, json_t *data)
{
    struct RunControl *rc = vm->run_control;
    PendingEvent *e = g_new(PendingEvent, 1);

    check_event(id, data);
    e->event = vm_event_info(id);
    e->data = data;
    g_mutex_lock(&rc->lock);
    g_queue_push_tail(&rc->events, e);
    g_mutex_unlock(&rc->lock);
    if (event_loop_in_thread(vm->loop)) {
        run_notify_events(vm);
    } else {
        bh_schedule(&rc->bh);
    }
}

void vm_set_event_listener(Vm *vm, VmEventFn fn, void *user)
{
    vm->run_control->listener = fn;
    vm->run_control->listener_data = user;
}

void run_notify_init(struct RunControl *rc)
{
    g_queue_init(&rc->events);
    for (int i = 0; i < VM_NOTIFY_COUNT; i++) {
        rc->notifiers[i] = g_array_new(FALSE, FALSE, sizeof(Notifier));
    }
}

void run_notify_free(struct RunControl *rc)
{
    for (int i = 0; i < VM_NOTIFY_COUNT; i++) {
        g_array_unref(rc->notifiers[i]);
    }
}
