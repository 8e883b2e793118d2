/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another backend for a device that is in use: 'chardev-change'. */
#include "base/error.h"
#include "base/json.h"
#include "internal.h"

typedef struct {
    CharFrontend *fe;
    Chardev *to;
} Exchange;

/* Where no other thread writes to the frontend. */
static void exchange_backend(void *data)
{
    const Exchange *x = data;
    CharFrontend *fe = x->fe;

    chardev_hand_over(fe->chr, x->to);
    g_ptr_array_remove(fe->chr->frontends, fe);
    fe->chr->frontend = NULL;
    fe->chr = x->to;
    g_ptr_array_add(x->to->frontends, fe);
    x->to->frontend = fe;
}

/* The one user of a device, where it can be given another. NULL and *err. */
static CharFrontend *user_of(const Chardev *chr, GError **err)
{
    CharFrontend *fe = chr->frontends->len ? g_ptr_array_index(chr->frontends, 0) : NULL;

    if (chr->class == &chardev_mux || chr->users) {
        error_set(err, "Mux device hotswap not supported yet");
        return NULL;
    }
    if (fe && !fe->ops->exchange) {
        error_set(err, "Chardev user does not support chardev hotswap");
        return NULL;
    }
    return fe;
}

static json_t *renamed(json_t *config, const char *id)
{
    json_t *copy = json_copy(config);

    json_object_set_new(copy, "id", json_string(id));
    return copy;
}

static void move_user(CharFrontend *fe, Chardev *from, Chardev *to)
{
    Exchange x = {fe, to};
    bool was_open = from->be_open && !fe->greet;

    fe->ops->exchange(fe->data, exchange_backend, &x);
    if (was_open && !to->be_open && fe->ops->event) {
        fe->ops->event(fe->data, CHAR_EVENT_CLOSED);
    }
    /* The service greets it, tells a writer that waits, and asks for input. */
    fe->greet = !was_open;
    bh_schedule(&to->service);
}

Chardev *chardev_change(json_t *config, GError **err)
{
    const char *id = json_str(config, "id");
    Chardev *from = id ? chardev_find(id) : NULL, *to;
    g_autofree char *new_id = g_strdup_printf("%s" CHARDEV_CHANGED, id);
    json_auto_t *new_config = renamed(config, new_id);
    g_autoptr(GError) why = NULL;
    CharFrontend *fe;

    if (!from) {
        error_set(err, "Chardev '%s' does not exist", id ? id : "");
        return NULL;
    }
    fe = user_of(from, &why);
    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return NULL;
    }
    to = chardev_add(new_config, err);
    if (!to) {
        return NULL;
    }
    /* The opening may have waited: for a client, a server, a name. */
    if (chardev_find(id) != from || user_of(from, &why) != fe || why || to->class == &chardev_mux) {
        error_set(err,
                  to->class == &chardev_mux
                      ? "Mux device hotswap not supported yet"
                      : "Chardev '%s' was changed or removed by another command meanwhile",
                  id);
        chardev_remove(new_id, NULL);
        return NULL;
    }
    g_free(to->label); /* no other thread uses the device yet */
    to->label = g_strdup(id);
    if (fe) {
        move_user(fe, from, to);
    } else {
        chardev_hand_over(from, to);
    }
    chardev_destroy(from);
    return to;
}
