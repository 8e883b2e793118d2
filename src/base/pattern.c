/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running a pattern: the set of all states in which the automaton may be, after Thompson
 * (Communications of the ACM 11, 1968).
 */
#include "pattern_internal.h"

#include <string.h>

#include "base/error.h"

#define NO_BYTE (-1) /* before the beginning, after the end */

/* States, each at most once, in the order in which they came. */
typedef struct {
    uint32_t *list, count;
    uint32_t *seen, round; /* seen[state] == round: it is in */
} StateSet;

struct PatternScan {
    const Pattern *p;
    StateSet now, next;
    uint32_t *stack; /* for state_set_add() */
    int before;      /* the last byte, or NO_BYTE */
    bool found;
};

static bool is_assertion(PatternOp op)
{
    return op != PATTERN_BYTE && op != PATTERN_SPLIT && op != PATTERN_MATCH;
}

static void state_set_clear(StateSet *s)
{
    s->count = 0;
    s->round++;
    g_assert(s->round); /* it would take 4 G bytes: pattern_scan() begins anew before that */
}

/* Adds the state, or those that it leads to without a byte. True: a match is one of them. */
static bool state_set_add(StateSet *s, const Pattern *p, uint32_t *stack, uint32_t state)
{
    uint32_t n = 0;
    bool match = false;

    stack[n++] = state;
    while (n) {
        const PatternState *st;

        state = stack[--n];
        if (s->seen[state] == s->round) {
            continue;
        }
        s->seen[state] = s->round;
        st = &p->states[state];
        if (st->op == PATTERN_SPLIT) {
            stack[n++] = st->y;
            stack[n++] = st->x;
        } else if (st->op == PATTERN_MATCH) {
            match = true;
        } else {
            s->list[s->count++] = state;
        }
    }
    return match;
}

static bool is_word(int byte)
{
    return byte != NO_BYTE && (g_ascii_isalnum(byte) || byte == '_');
}

static bool assertion_holds(PatternOp op, int before, int after)
{
    switch (op) {
    case PATTERN_LINE_BEGIN:
        return before == NO_BYTE || before == '\n';
    case PATTERN_LINE_END:
        return after == NO_BYTE || after == '\n' || after == '\r';
    case PATTERN_WORD_EDGE:
        return is_word(before) != is_word(after);
    case PATTERN_NO_WORD_EDGE:
        return is_word(before) == is_word(after);
    default:
        g_assert_not_reached();
    }
}

/* Goes over the assertions between the last byte and 'after'. True: to a match. */
static bool scan_between(PatternScan *s, int after)
{
    const Pattern *p = s->p;
    bool match = state_set_add(&s->now, p, s->stack, 0); /* a match may begin here */

    for (uint32_t i = 0; i < s->now.count; i++) { /* which grows */
        uint32_t state = s->now.list[i];

        if (is_assertion(p->states[state].op) &&
            assertion_holds(p->states[state].op, s->before, after)) {
            match |= state_set_add(&s->now, p, s->stack, state + 1);
        }
    }
    return match;
}

static bool scan_byte(PatternScan *s, uint8_t byte)
{
    const Pattern *p = s->p;
    bool match = scan_between(s, byte);
    StateSet was;

    state_set_clear(&s->next);
    for (uint32_t i = 0; i < s->now.count; i++) {
        uint32_t state = s->now.list[i];

        if (p->states[state].op == PATTERN_BYTE && byte_set_has(&p->states[state].set, byte)) {
            match |= state_set_add(&s->next, p, s->stack, state + 1);
        }
    }
    was = s->now;
    s->now = s->next;
    s->next = was;
    s->before = byte;
    return match;
}

static void state_set_init(StateSet *s, uint32_t states)
{
    s->list = g_new(uint32_t, states);
    s->seen = g_new0(uint32_t, states);
    s->round = 1;
}

static void state_set_free(StateSet *s)
{
    g_free(s->list);
    g_free(s->seen);
}

PatternScan *pattern_scan_new(const Pattern *p)
{
    PatternScan *s = g_new0(PatternScan, 1);

    s->p = p;
    state_set_init(&s->now, p->count);
    state_set_init(&s->next, p->count);
    s->stack = g_new(uint32_t, 2 * p->count + 2);
    s->before = NO_BYTE;
    return s;
}

void pattern_scan_free(PatternScan *s)
{
    if (s) {
        state_set_free(&s->now);
        state_set_free(&s->next);
        g_free(s->stack);
        g_free(s);
    }
}

void pattern_scan_restart(PatternScan *s)
{
    state_set_clear(&s->now);
    s->before = NO_BYTE;
    s->found = false;
}

/* The counters of rounds begin anew long before they are at their end; what is in a set stays. */
static void scan_renew_rounds(PatternScan *s)
{
    StateSet *sets[] = {&s->now, &s->next};

    for (unsigned i = 0; i < G_N_ELEMENTS(sets) && s->now.round > UINT32_MAX / 2; i++) {
        for (uint32_t n = 0; n < s->p->count; n++) {
            sets[i]->seen[n] = sets[i]->seen[n] == sets[i]->round;
        }
    }
    if (s->now.round > UINT32_MAX / 2) {
        s->now.round = s->next.round = 1;
    }
}

bool pattern_scan(PatternScan *s, const uint8_t *buf, size_t len)
{
    const Pattern *p = s->p;

    for (size_t i = 0; i < len && !s->found; i++) {
        if (!s->now.count && !p->asserts_first && !byte_set_has(&p->first, buf[i])) {
            s->before = buf[i]; /* nothing begins here: most of a text, for most patterns */
            continue;
        }
        s->found = scan_byte(s, buf[i]);
        scan_renew_rounds(s);
    }
    return s->found;
}

bool pattern_scan_end(PatternScan *s)
{
    s->found = s->found || scan_between(s, NO_BYTE);
    return s->found;
}

/* What a match can begin with. False and *err: with nothing. */
static bool pattern_find_first(Pattern *p, GError **err)
{
    PatternScan *s = pattern_scan_new(p);
    bool empty = state_set_add(&s->now, p, s->stack, 0);

    for (uint32_t i = 0; i < s->now.count; i++) {
        const PatternState *st = &p->states[s->now.list[i]];

        p->asserts_first |= is_assertion(st->op);
        for (unsigned k = 0; st->op == PATTERN_BYTE && k < G_N_ELEMENTS(st->set.bits); k++) {
            p->first.bits[k] |= st->set.bits[k];
        }
    }
    pattern_scan_free(s);
    return !empty || error_set(err, "an empty text matches it, so it would be found at once");
}

Pattern *pattern_new(const char *text, GError **err)
{
    Pattern *p = g_new0(Pattern, 1);

    if (!pattern_parse(p, text, err) || !pattern_find_first(p, err)) {
        pattern_free(p);
        return NULL;
    }
    return p;
}

void pattern_free(Pattern *p)
{
    if (p) {
        g_free(p->states);
        g_free(p);
    }
}
