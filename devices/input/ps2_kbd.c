/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PS/2 keyboard of 101 or 102 keys. */
#include "ps2.h"

#include <linux/input-event-codes.h>
#include "ui/keys.h"

STATE_DESC_PUBLIC(ps2_queue, Ps2Queue, PS2_QUEUE_STATE, 1);
STATE_DESC_PUBLIC(ps2_kbd, Ps2Kbd, PS2_KBD_STATE, 1);

enum {
    CMD_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SCAN_SET = 0xf0,
    CMD_READ_ID = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5, /* and defaults */
    CMD_DEFAULTS = 0xf6,
    /* Of set 3, for all keys. */
    CMD_ALL_REPEAT = 0xf7,
    CMD_ALL_MAKE_BREAK = 0xf8,
    CMD_ALL_MAKE = 0xf9,
    CMD_ALL_REPEAT_MAKE_BREAK = 0xfa,
    /* Of set 3, for the keys whose codes follow. */
    CMD_KEY_REPEAT = 0xfb,
    CMD_KEY_MAKE_BREAK = 0xfc,
    CMD_KEY_MAKE = 0xfd,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
    CMD_FIRST = CMD_LEDS, /* from here on a byte is a command even where an argument is awaited */

    RATE_DEFAULT = 0x2b, /* 10.9 a second after half a second */
    FIFO_SIZE = 16,
    BREAK = 0xf0, /* prefix in sets 2 and 3 */

    MOD_SHIFT = 0x01, /* and 0x02: the right one */
    MOD_CTRL = 0x04,
    MOD_ALT = 0x10,
    MOD_ANY_SHIFT = 0x03,
    MOD_ANY_CTRL = 0x0c,
    MOD_ANY_ALT = 0x30,

    /* Print Screen: with Alt it is another key, SysRq; with Ctrl or Shift it has no shift of its
       own. */
    PRINT_UP = 0,
    PRINT_SHIFTED,
    PRINT_PLAIN,
    PRINT_SYSRQ,
};

void ps2_queue_put(Ps2Queue *q, uint8_t byte)
{
    if (q->len < PS2_QUEUE_SIZE) {
        q->data[(q->head + q->len++) % PS2_QUEUE_SIZE] = byte;
    }
}

bool ps2_queue_take(Ps2Queue *q, uint8_t *byte)
{
    if (!q->len) {
        return false;
    }
    *byte = q->data[q->head % PS2_QUEUE_SIZE];
    q->head = (q->head + 1) % PS2_QUEUE_SIZE;
    q->len--;
    return true;
}

void ps2_queue_clear(Ps2Queue *q)
{
    q->len = 0;
}

/* Keys. */

/* A scan code: 'codes' are of table columns, with 0xe0 in bits 15:8 where there is the prefix. */
typedef struct {
    uint8_t bytes[FIFO_SIZE];
    unsigned len;
} Sequence;

static void ps2_kbd_add(Sequence *seq, unsigned set, unsigned code, bool down)
{
    if (code >> 8) {
        seq->bytes[seq->len++] = code >> 8;
    }
    if (!down && set != 1) {
        seq->bytes[seq->len++] = BREAK;
    }
    seq->bytes[seq->len++] = code | (!down && set == 1 ? 0x80 : 0);
}

static void ps2_kbd_print_screen(Ps2Kbd *k, Sequence *seq, const UiKey *key, bool down)
{
    unsigned set = k->set;
    unsigned shift = set == 1 ? 0xe02a : 0xe012, code = set == 1 ? 0xe037 : 0xe07c;

    if (down) {
        k->print_screen = k->modifiers & MOD_ANY_ALT                      ? PRINT_SYSRQ
                          : k->modifiers & (MOD_ANY_SHIFT | MOD_ANY_CTRL) ? PRINT_PLAIN
                                                                          : PRINT_SHIFTED;
    }
    if (k->print_screen == PRINT_SYSRQ) {
        ps2_kbd_add(seq, set, set == 1 ? key->set1 : key->set2, down);
    } else if (k->print_screen == PRINT_SHIFTED && down) {
        ps2_kbd_add(seq, set, shift, down);
        ps2_kbd_add(seq, set, code, down);
    } else {
        ps2_kbd_add(seq, set, code, down);
        if (k->print_screen == PRINT_SHIFTED) {
            ps2_kbd_add(seq, set, shift, down);
        }
    }
    if (!down) {
        k->print_screen = PRINT_UP;
    }
}

/* Pause has no break code: all is sent when the key goes down. With Ctrl it is Break. */
static void ps2_kbd_pause(Ps2Kbd *k, Sequence *seq, const UiKey *key)
{
    static const uint8_t plain[2][FIFO_SIZE] = {{0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5},
                                                {0xe1, 0x14, 0x77, 0xe1, BREAK, 0x14, BREAK, 0x77}};

    if (k->modifiers & MOD_ANY_CTRL) {
        ps2_kbd_add(seq, k->set, k->set == 1 ? key->set1 : key->set2, true);
        ps2_kbd_add(seq, k->set, k->set == 1 ? key->set1 : key->set2, false);
    } else {
        seq->len = k->set == 1 ? 6 : 8;
        memcpy(seq->bytes, plain[k->set != 1], seq->len);
    }
}

static void ps2_kbd_set_1_2(Ps2Kbd *k, Sequence *seq, const UiKey *key, bool down)
{
    unsigned code = k->set == 1 ? key->set1 : key->set2;

    switch (key->code) {
    case KEY_SYSRQ:
        ps2_kbd_print_screen(k, seq, key, down);
        return;
    case KEY_PAUSE:
        if (down) {
            ps2_kbd_pause(k, seq, key);
        }
        return;
    case KEY_HANGEUL:
    case KEY_HANJA:
        /* One byte in both sets, and no break code. */
        if (down) {
            seq->bytes[seq->len++] = key->set2;
        }
        return;
    default:
        if (code) {
            ps2_kbd_add(seq, k->set, code, down);
        }
    }
}

static bool ps2_kbd_test(const uint8_t *map, uint8_t n)
{
    return map[n / 8] & BIT(n % 8);
}

static void ps2_kbd_mark(uint8_t *map, uint8_t n, bool on)
{
    map[n / 8] = on ? map[n / 8] | BIT(n % 8) : map[n / 8] & ~BIT(n % 8);
}

static void ps2_kbd_set_3(Ps2Kbd *k, Sequence *seq, const UiKey *key, bool down)
{
    uint8_t code = key->set3;
    bool was_down = ps2_kbd_test(k->down, code);

    if (!code) {
        return;
    }
    ps2_kbd_mark(k->down, code, down);
    if (down ? !(was_down && ps2_kbd_test(k->no_repeat, code)) : !ps2_kbd_test(k->no_break, code)) {
        ps2_kbd_add(seq, 3, code, down);
    }
}

static void ps2_kbd_modifier(Ps2Kbd *k, unsigned code, bool down)
{
    static const struct {
        uint16_t code;
        uint8_t bit;
    } modifiers[] = {
        {KEY_LEFTSHIFT, MOD_SHIFT}, {KEY_RIGHTSHIFT, MOD_SHIFT << 1},
        {KEY_LEFTCTRL, MOD_CTRL},   {KEY_RIGHTCTRL, MOD_CTRL << 1},
        {KEY_LEFTALT, MOD_ALT},     {KEY_RIGHTALT, MOD_ALT << 1},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(modifiers); i++) {
        if (modifiers[i].code == code) {
            k->modifiers =
                down ? k->modifiers | modifiers[i].bit : k->modifiers & ~modifiers[i].bit;
        }
    }
}

void ps2_kbd_key(Ps2Kbd *k, unsigned code, bool down)
{
    const UiKey *key = ui_key_of_code(code);
    Sequence seq = {.len = 0};

    if (!key) {
        return;
    }
    ps2_kbd_modifier(k, code, down);
    if (!k->scanning) {
        return;
    }
    if (k->set == 3) {
        ps2_kbd_set_3(k, &seq, key, down);
    } else {
        ps2_kbd_set_1_2(k, &seq, key, down);
    }
    if (k->fifo.len + seq.len <= FIFO_SIZE) {
        for (unsigned i = 0; i < seq.len; i++) {
            ps2_queue_put(&k->fifo, seq.bytes[i]);
        }
        k->overrun = k->overrun && !seq.len;
    } else if (!k->overrun) {
        ps2_queue_put(&k->fifo, k->set == 1 ? 0xff : 0x00);
        k->overrun = true;
    }
}

bool ps2_kbd_read(Ps2Kbd *k, uint8_t *byte, bool *scan, bool answers_only)
{
    *scan = false;
    if (!ps2_queue_take(&k->answers, byte)) {
        *scan = true;
        if (answers_only || !ps2_queue_take(&k->fifo, byte)) {
            return false;
        }
    }
    k->last = *byte;
    return true;
}

/* Commands. */

static void ps2_kbd_clear_fifo(Ps2Kbd *k)
{
    ps2_queue_clear(&k->fifo);
    k->overrun = false;
}

static void ps2_kbd_defaults(Ps2Kbd *k)
{
    ps2_kbd_clear_fifo(k);
    k->set = 2;
    k->rate = RATE_DEFAULT;
    memset(k->no_break, 0, sizeof k->no_break);
    memset(k->no_repeat, 0, sizeof k->no_repeat);
    memset(k->down, 0, sizeof k->down);
}

void ps2_kbd_reset(Ps2Kbd *k)
{
    uint8_t modifiers = k->modifiers;

    /* Keys that are down stay down over a reset. */
    *k = (Ps2Kbd){.scanning = true, .modifiers = modifiers};
    ps2_kbd_defaults(k);
}

static void ps2_kbd_answer(Ps2Kbd *k, uint8_t byte)
{
    ps2_queue_put(&k->answers, byte);
}

/* An argument of k->command. The lists of keys go on until a command comes. */
static void ps2_kbd_argument(Ps2Kbd *k, uint8_t command, uint8_t v)
{
    switch (command) {
    case CMD_LEDS:
        k->leds = v & 7;
        break;
    case CMD_RATE:
        k->rate = v;
        break;
    case CMD_SCAN_SET:
        if (v > 3) {
            ps2_kbd_answer(k, PS2_RESEND);
            return;
        }
        ps2_kbd_answer(k, PS2_ACK);
        if (v) {
            ps2_kbd_clear_fifo(k);
            k->set = v;
        } else {
            ps2_kbd_answer(k, k->set);
        }
        return;
    default:
        ps2_kbd_mark(k->no_break, v, command != CMD_KEY_MAKE_BREAK);
        ps2_kbd_mark(k->no_repeat, v, command != CMD_KEY_REPEAT);
        k->command = command;
        break;
    }
    ps2_kbd_answer(k, PS2_ACK);
}

static void ps2_kbd_all_keys(Ps2Kbd *k, uint8_t command)
{
    bool breaks = command == CMD_ALL_MAKE_BREAK || command == CMD_ALL_REPEAT_MAKE_BREAK;
    bool repeats = command == CMD_ALL_REPEAT || command == CMD_ALL_REPEAT_MAKE_BREAK;

    memset(k->no_break, breaks ? 0 : 0xff, sizeof k->no_break);
    memset(k->no_repeat, repeats ? 0 : 0xff, sizeof k->no_repeat);
}

static void ps2_kbd_command(Ps2Kbd *k, uint8_t command)
{
    ps2_kbd_answer(k, PS2_ACK);
    switch (command) {
    case CMD_LEDS:
    case CMD_SCAN_SET:
    case CMD_RATE:
    case CMD_KEY_REPEAT:
    case CMD_KEY_MAKE_BREAK:
    case CMD_KEY_MAKE:
        k->command = command;
        break;
    case CMD_READ_ID:
        ps2_kbd_answer(k, 0xab);
        ps2_kbd_answer(k, 0x83);
        break;
    case CMD_ENABLE:
        ps2_kbd_clear_fifo(k);
        k->scanning = true;
        break;
    case CMD_DISABLE:
    case CMD_DEFAULTS:
        ps2_kbd_defaults(k);
        k->scanning = command == CMD_DEFAULTS && k->scanning;
        break;
    case CMD_ALL_REPEAT ... CMD_ALL_REPEAT_MAKE_BREAK:
        ps2_kbd_all_keys(k, command);
        break;
    case CMD_RESET:
        ps2_kbd_reset(k);
        ps2_kbd_answer(k, PS2_ACK);
        ps2_kbd_answer(k, PS2_PASSED);
        break;
    }
}

void ps2_kbd_write(Ps2Kbd *k, uint8_t byte)
{
    uint8_t command = k->command;

    k->command = 0;
    if (command && byte < CMD_FIRST) {
        ps2_kbd_argument(k, command, byte);
    } else if (byte == CMD_ECHO) {
        ps2_kbd_answer(k, CMD_ECHO);
    } else if (byte == CMD_RESEND) {
        ps2_kbd_answer(k, k->last);
    } else if (byte < CMD_FIRST || byte == 0xef || byte == 0xf1) {
        ps2_kbd_answer(k, PS2_RESEND);
    } else {
        ps2_kbd_command(k, byte);
    }
}

unsigned ps2_kbd_leds(const Ps2Kbd *k)
{
    return (k->leds & 1 ? BIT(LED_SCROLLL) : 0) | (k->leds & 2 ? BIT(LED_NUML) : 0) |
           (k->leds & 4 ? BIT(LED_CAPSL) : 0);
}
