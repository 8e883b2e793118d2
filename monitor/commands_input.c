/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys and pointers. */
#include <errno.h>
#include <linux/input-event-codes.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "commands.h"
#include "ui/input.h"
#include "ui/keys.h"
#include "ui/screen.h"

/* Arguments. */

const Property send_key_args[] = {
    MEMBER_LIST("keys", PROP_TREE, .shape = &key_shape, .help = "pressed in this order"),
    {.name = "hold-time", .type = PROP_INT64, .help = "milliseconds between one and the next"},
    PROP_END};
const Property sendkey_args[] = {
    MEMBER("keys", PROP_STRING, .help = "names or numbers, joined by '-'"),
    {.name = "hold-time", .type = PROP_INT64, .help = "milliseconds between one and the next"},
    PROP_END};
const Property input_event_args[] = {
    {.name = "device", .type = PROP_STRING, .help = "the display that a pointer is on"},
    {.name = "head", .type = PROP_INT64, .help = "which of its screens"},
    MEMBER_LIST("events", PROP_TREE, .shape = &input_event_shape, .help = "one report"),
    PROP_END};
/* Texts, because an expression would read "5 -3" as a difference. */
const Property mouse_move_args[] = {
    MEMBER("dx", PROP_STRING, .help = "to the right"),
    MEMBER("dy", PROP_STRING, .help = "down"),
    {.name = "dz", .type = PROP_STRING, .help = "wheel: up where positive"},
    PROP_END};
const Property mouse_button_args[] = {
    {.name = "state", .type = PROP_INT64, .help = "a sum", .flags = PROP_FLAG_REQUIRED}, PROP_END};
const Property mouse_set_args[] = {{.name = "index",
                                    .type = PROP_INT64,
                                    .help = "as 'info mice' has it",
                                    .flags = PROP_FLAG_REQUIRED},
                                   PROP_END};

#define HOLD_MAX_MS (60 * 60 * 1000)

static json_t *input_cmd_done(bool ok)
{
    return ok ? json_object() : NULL;
}

/* Keys. */

static bool input_hold_time(json_t *args, int64_t *ns, GError **err)
{
    int64_t ms = json_integer_value(json_object_get(args, "hold-time"));

    if (ms < 0 || ms > HOLD_MAX_MS) {
        return error_set(err, "Parameter 'hold-time' expects milliseconds, from 0 to %d",
                         HOLD_MAX_MS);
    }
    *ns = ms ? ms * 1000 * 1000 : INPUT_HOLD_NS;
    return true;
}

static bool input_key_number(int64_t number, uint16_t *code, GError **err)
{
    const UiKey *key = number > 0 && number < 0x100 ? ui_key_of_number(number) : NULL;

    if (!key) {
        return error_set(err,
                         "no key has the number 0x%" G_GINT64_MODIFIER "x; numbers are scan codes "
                         "of set 1, plus 0x80 where there is a prefix of 0xe0",
                         (uint64_t)number);
    }
    *code = key->code;
    return true;
}

/* QAPI's KeyValue. */
static bool input_key_value(json_t *value, uint16_t *code, GError **err)
{
    json_t *data = json_object_get(value, "data");

    if (json_is_integer(data)) {
        return input_key_number(json_integer_value(data), code, err);
    }
    *code = ui_key_find(json_string_value(data))->code;
    return true;
}

static bool input_press(Vm *vm, GArray *codes, int64_t hold_ns, GError **err)
{
    return input_send_keys(vm, (const uint16_t *)codes->data, codes->len, hold_ns) ||
           error_set(err, "too many keys are waiting to be sent already");
}

MONITOR_HANDLER(cmd_send_key)
{
    g_autoptr(GArray) codes = g_array_new(FALSE, FALSE, sizeof(uint16_t));
    int64_t hold_ns = 0;
    json_t *value;
    size_t i;

    json_array_foreach(json_object_get(args, "keys"), i, value)
    {
        uint16_t code = 0;

        if (!input_key_value(value, &code, err)) {
            return NULL;
        }
        g_array_append_val(codes, code);
    }
    return input_cmd_done(input_hold_time(args, &hold_ns, err) &&
                          input_press(vm, codes, hold_ns, err));
}

/* One of "ctrl-alt-0x3b". */
static bool input_key_word(const char *word, uint16_t *code, GError **err)
{
    const UiKey *key = ui_key_find(strcmp(word, "<") ? word : "less");
    const char *near;
    char *end;

    if (g_str_has_prefix(word, "0x") && g_ascii_isxdigit(word[2])) {
        uint64_t number = g_ascii_strtoull(word, &end, 16);

        if (!*end) {
            return input_key_number(MIN(number, INT64_MAX), code, err);
        }
    }
    if (!key) {
        near = nearest_name(word, ui_key_names);
        return error_set(err, "invalid parameter: %s%s%s%s", word, near ? "; did you mean '" : "",
                         near ? near : "", near ? "'?" : "");
    }
    *code = key->code;
    return true;
}

MONITOR_HANDLER(cmd_sendkey)
{
    g_auto(GStrv) words = g_strsplit(json_str(args, "keys"), "-", -1);
    g_autoptr(GArray) codes = g_array_new(FALSE, FALSE, sizeof(uint16_t));
    int64_t hold_ns = 0;

    for (unsigned i = 0; words[i]; i++) {
        uint16_t code = 0;

        if (!input_key_word(words[i], &code, err)) {
            return NULL;
        }
        g_array_append_val(codes, code);
    }
    return input_cmd_done(input_hold_time(args, &hold_ns, err) &&
                          input_press(vm, codes, hold_ns, err));
}

/* Events. */

static const struct {
    const char *name;
    InputType type;
    unsigned code;
    int value; /* of INPUT_REL: what a press of this "button" is */
} buttons[] = {
    {"left", INPUT_BUTTON, BTN_LEFT},          {"middle", INPUT_BUTTON, BTN_MIDDLE},
    {"right", INPUT_BUTTON, BTN_RIGHT},        {"side", INPUT_BUTTON, BTN_SIDE},
    {"extra", INPUT_BUTTON, BTN_EXTRA},        {"wheel-up", INPUT_REL, REL_WHEEL, 1},
    {"wheel-down", INPUT_REL, REL_WHEEL, -1},  {"wheel-left", INPUT_REL, REL_HWHEEL, -1},
    {"wheel-right", INPUT_REL, REL_HWHEEL, 1},
};

static void input_event_of_button(json_t *data, InputEvent *e)
{
    const char *name = json_str(data, "button");
    bool down = json_is_true(json_object_get(data, "down"));

    for (unsigned i = 0; i < G_N_ELEMENTS(buttons); i++) {
        if (!strcmp(buttons[i].name, name)) {
            e->type = buttons[i].type;
            e->code = buttons[i].code;
            e->value = e->type == INPUT_REL && down ? buttons[i].value : down;
        }
    }
}

/* QAPI's InputEvent, which was checked against its shape. */
static bool input_event_of(json_t *json, InputEvent *e, GError **err)
{
    const char *type = json_str(json, "type");
    json_t *data = json_object_get(json, "data");
    uint16_t code = 0;

    *e = (InputEvent){0};
    if (!strcmp(type, "key")) {
        if (!input_key_value(json_object_get(data, "key"), &code, err)) {
            return false;
        }
        *e = (InputEvent){INPUT_KEY, code, json_is_true(json_object_get(data, "down"))};
    } else if (!strcmp(type, "btn")) {
        input_event_of_button(data, e);
    } else {
        bool x = !strcmp(json_str(data, "axis"), "x"), rel = !strcmp(type, "rel");

        e->type = rel ? INPUT_REL : INPUT_ABS;
        e->code = rel ? (x ? REL_X : REL_Y) : (x ? ABS_X : ABS_Y);
        e->value = CLAMP(json_integer_value(json_object_get(data, "value")),
                         rel ? -INPUT_ABS_MAX : 0, INPUT_ABS_MAX);
    }
    return true;
}

MONITOR_HANDLER(cmd_input_send_event)
{
    const char *device = json_str(args, "device");
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(InputEvent));
    json_t *json;
    size_t i;

    if (device &&
        !screen_find(vm, device, json_integer_value(json_object_get(args, "head")), err)) {
        return NULL;
    }
    /* All of them, or none. */
    json_array_foreach(json_object_get(args, "events"), i, json)
    {
        InputEvent e;

        if (!input_event_of(json, &e, err)) {
            return NULL;
        }
        if (!input_is_taken(vm, e.type, e.code)) {
            error_set(err, "Input handler not found for event type %s", json_str(json, "type"));
            return NULL;
        }
        g_array_append_val(list, e);
    }
    for (i = 0; i < list->len; i++) {
        InputEvent *e = &g_array_index(list, InputEvent, i);

        /* Letting a wheel go is nothing. */
        if (e->type != INPUT_REL || e->value) {
            input_send(vm, e->type, e->code, e->value);
        }
    }
    input_sync(vm);
    return json_object();
}

/* Pointers. */

MONITOR_HANDLER(cmd_query_mice)
{
    return input_query_mice(vm);
}

MONITOR_PRINTER(print_mice)
{
    json_t *m;
    size_t i;

    if (!json_array_size(result)) {
        monitor_puts(mon, "No mouse devices connected\n");
    }
    json_array_foreach(result, i, m)
    {
        monitor_printf(mon, "%c Mouse #%" JSON_INTEGER_FORMAT ": %s%s\n",
                       json_is_true(json_object_get(m, "current")) ? '*' : ' ',
                       json_integer_value(json_object_get(m, "index")), json_str(m, "name"),
                       json_is_true(json_object_get(m, "absolute")) ? " (absolute)" : "");
    }
}

static bool input_distance(json_t *args, const char *name, int *value, GError **err)
{
    const char *text = json_str(args, name);
    int64_t n = 0;
    char *end;

    errno = 0;
    if (text) {
        n = strtoll(text, &end, 0);
        if (errno || end == text || *end) {
            return error_set(err, "Parameter '%s' expects a number, not '%s'", name, text);
        }
    }
    *value = CLAMP(n, -INPUT_ABS_MAX, INPUT_ABS_MAX);
    return true;
}

MONITOR_HANDLER(cmd_mouse_move)
{
    int dx = 0, dy = 0, dz = 0;

    if (!input_distance(args, "dx", &dx, err) || !input_distance(args, "dy", &dy, err) ||
        !input_distance(args, "dz", &dz, err)) {
        return NULL;
    }
    input_send(vm, INPUT_REL, REL_X, dx);
    input_send(vm, INPUT_REL, REL_Y, dy);
    if (dz) {
        input_send(vm, INPUT_REL, REL_WHEEL, dz > 0 ? 1 : -1);
    }
    input_sync(vm);
    return json_object();
}

MONITOR_HANDLER(cmd_mouse_button)
{
    static const unsigned codes[] = {BTN_LEFT, BTN_MIDDLE, BTN_RIGHT};
    int64_t state = json_integer_value(json_object_get(args, "state"));

    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++) {
        input_send(vm, INPUT_BUTTON, codes[i], state >> i & 1);
    }
    input_sync(vm);
    return json_object();
}

MONITOR_HANDLER(cmd_mouse_set)
{
    return input_cmd_done(
        input_mouse_set(vm, json_integer_value(json_object_get(args, "index")), err));
}
