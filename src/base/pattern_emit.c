/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Regular expressions: the tree into the states of an automaton. */
#include "pattern_internal.h"

#include "base/error.h"

/* Steps: "(){1000}{1000}" has many, and no states. */
#define STEPS_MAX (64 * PATTERN_STATES_MAX)

typedef struct {
    Pattern *p;
    uint32_t steps;
    GError **err;
} Emitter;

static bool emit_fail(Emitter *e)
{
    return error_set(e->err, "the expression is too long with its repetitions");
}

static bool emit_node(Emitter *e, const PatternNode *n);

/* Gives the number of a new state; PATTERN_STATES_MAX and an error: there are too many. */
static uint32_t emit(Emitter *e, PatternOp op)
{
    Pattern *p = e->p;

    if (p->count == PATTERN_STATES_MAX) {
        emit_fail(e);
        return PATTERN_STATES_MAX;
    }
    p->states[p->count] = (PatternState){.op = op};
    return p->count++;
}

/* A split that leads on, and to a place that is not known yet. */
static uint32_t emit_split(Emitter *e)
{
    uint32_t at = emit(e, PATTERN_SPLIT);

    if (at < PATTERN_STATES_MAX) {
        e->p->states[at].x = e->p->states[at].y = at + 1;
    }
    return at;
}

static bool emit_repeat(Emitter *e, const PatternNode *n)
{
    const PatternNode *body = n->children->pdata[0];
    g_autoptr(GArray) skips = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    uint32_t at = 0, back;

    for (uint32_t i = 0; i < n->min; i++) {
        if (!emit_node(e, body)) {
            return false;
        }
    }
    for (uint32_t i = n->min; i < (n->max == PATTERN_NO_LIMIT ? n->min + 1 : n->max); i++) {
        at = emit_split(e);
        if (at == PATTERN_STATES_MAX || !emit_node(e, body)) {
            return false;
        }
        g_array_append_val(skips, at);
    }
    if (n->max == PATTERN_NO_LIMIT) {
        back = emit_split(e);
        if (back == PATTERN_STATES_MAX) {
            return false;
        }
        e->p->states[back].x = e->p->states[back].y = at;
    }
    for (unsigned i = 0; i < skips->len; i++) {
        e->p->states[g_array_index(skips, uint32_t, i)].y = e->p->count;
    }
    return true;
}

static bool emit_either(Emitter *e, const PatternNode *n)
{
    g_autoptr(GArray) ends = g_array_new(FALSE, FALSE, sizeof(uint32_t));

    for (unsigned i = 0; i < n->children->len; i++) {
        bool last = i + 1 == n->children->len;
        uint32_t at = last ? 0 : emit_split(e), end;

        if (at == PATTERN_STATES_MAX || !emit_node(e, n->children->pdata[i])) {
            return false;
        }
        if (!last) {
            end = emit_split(e);
            if (end == PATTERN_STATES_MAX) {
                return false;
            }
            g_array_append_val(ends, end);
            e->p->states[at].y = e->p->count;
        }
    }
    for (unsigned i = 0; i < ends->len; i++) {
        PatternState *st = &e->p->states[g_array_index(ends, uint32_t, i)];

        st->x = st->y = e->p->count;
    }
    return true;
}

static bool emit_node(Emitter *e, const PatternNode *n)
{
    uint32_t at;

    if (++e->steps > STEPS_MAX) {
        return emit_fail(e);
    }
    switch (n->kind) {
    case PATTERN_NODE_SET:
        at = emit(e, PATTERN_BYTE);
        if (at < PATTERN_STATES_MAX) {
            e->p->states[at].set = n->set;
        }
        return at < PATTERN_STATES_MAX;
    case PATTERN_NODE_ASSERT:
        return emit(e, n->op) < PATTERN_STATES_MAX;
    case PATTERN_NODE_LIST:
        for (unsigned i = 0; i < n->children->len; i++) {
            if (!emit_node(e, n->children->pdata[i])) {
                return false;
            }
        }
        return true;
    case PATTERN_NODE_EITHER:
        return emit_either(e, n);
    case PATTERN_NODE_REPEAT:
        return emit_repeat(e, n);
    }
    g_assert_not_reached();
}

bool pattern_emit(Pattern *p, const PatternNode *top, GError **err)
{
    Emitter e = {.p = p, .err = err};

    p->states = g_new(PatternState, PATTERN_STATES_MAX);
    if (!emit_node(&e, top) || emit(&e, PATTERN_MATCH) == PATTERN_STATES_MAX) {
        return false;
    }
    p->states = g_renew(PatternState, p->states, p->count);
    return true;
}
