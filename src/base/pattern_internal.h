/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A Pattern: pattern_parse.c makes a tree of it, pattern_emit.c an automaton, which pattern.c runs.
 */
#ifndef BASE_PATTERN_INTERNAL_H
#define BASE_PATTERN_INTERNAL_H

#include "base/pattern.h"

/* A set of bytes. */
typedef struct {
    uint32_t bits[8];
} ByteSet;

static inline bool byte_set_has(const ByteSet *s, uint8_t byte)
{
    return s->bits[byte / 32] >> (byte % 32) & 1;
}

typedef enum {
    PATTERN_BYTE,  /* one of 'set', then the next instruction */
    PATTERN_SPLIT, /* goes on at x, and at y */
    PATTERN_LINE_BEGIN,
    PATTERN_LINE_END,
    PATTERN_WORD_EDGE,
    PATTERN_NO_WORD_EDGE,
    PATTERN_MATCH
} PatternOp;

typedef struct {
    PatternOp op;
    uint32_t x, y;
    ByteSet set;
} PatternState;

#define PATTERN_STATES_MAX 4096

struct Pattern {
    PatternState *states;
    uint32_t count;
    /* What can begin a match; and whether one may begin with an assertion. */
    ByteSet first;
    bool asserts_first;
};

typedef enum {
    PATTERN_NODE_SET,
    PATTERN_NODE_ASSERT,
    PATTERN_NODE_LIST,
    PATTERN_NODE_EITHER,
    PATTERN_NODE_REPEAT
} PatternNodeKind;

#define PATTERN_NO_LIMIT UINT32_MAX

typedef struct PatternNode PatternNode;
struct PatternNode {
    PatternNodeKind kind;
    ByteSet set;
    PatternOp op;        /* of an assertion */
    GPtrArray *children; /* of PatternNode, owned by the parser */
    uint32_t min, max;   /* of a repetition */
};

/* Fill in states and count; false and *err. */
bool pattern_parse(Pattern *p, const char *text, GError **err);
bool pattern_emit(Pattern *p, const PatternNode *top, GError **err);

#endif
