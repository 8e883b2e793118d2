/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Regular expressions: the text into a tree. */
#include "pattern_internal.h"

#include <string.h>

#include "base/error.h"

#define DEPTH_MAX  100
#define REPEAT_MAX 1000

typedef struct {
    const char *text, *at;
    bool any_case;
    unsigned depth;
    GPtrArray *nodes; /* all */
    GError **err;
} Parser;

static PatternNode *parse_either(Parser *ps);

static void node_free(void *data)
{
    PatternNode *n = data;

    g_clear_pointer(&n->children, g_ptr_array_unref);
    g_free(n);
}

static PatternNode *node_new(Parser *ps, PatternNodeKind kind)
{
    PatternNode *n = g_new0(PatternNode, 1);

    n->kind = kind;
    if (kind != PATTERN_NODE_SET && kind != PATTERN_NODE_ASSERT) {
        n->children = g_ptr_array_new();
    }
    g_ptr_array_add(ps->nodes, n);
    return n;
}

/* NULL, always. */
static PatternNode *parse_fail(Parser *ps, const char *what)
{
    if (ps->err && !*ps->err) {
        error_set(ps->err, "%s, at character %ld", what,
                  g_utf8_pointer_to_offset(ps->text, ps->at) + 1);
    }
    return NULL;
}

/* Sets. */

static void byte_set_add(ByteSet *s, uint8_t byte)
{
    s->bits[byte / 32] |= 1u << (byte % 32);
}

static void byte_set_invert(ByteSet *s)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(s->bits); i++) {
        s->bits[i] = ~s->bits[i];
    }
}

static void byte_set_join(ByteSet *s, const ByteSet *other)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(s->bits); i++) {
        s->bits[i] |= other->bits[i];
    }
}

static void byte_set_any_case(ByteSet *s)
{
    for (char c = 'a'; c <= 'z'; c++) {
        if (byte_set_has(s, c) || byte_set_has(s, g_ascii_toupper(c))) {
            byte_set_add(s, c);
            byte_set_add(s, g_ascii_toupper(c));
        }
    }
}

static bool class_has(const char *name, size_t len, uint8_t c, bool *known)
{
    static const char *const names[] = {"alpha", "digit",  "alnum", "upper", "lower", "space",
                                        "punct", "xdigit", "print", "graph", "cntrl", "blank"};
    unsigned i = 0;

    while (i < G_N_ELEMENTS(names) && (strlen(names[i]) != len || strncmp(names[i], name, len))) {
        i++;
    }
    *known = i < G_N_ELEMENTS(names);
    switch (i) {
    case 0:
        return g_ascii_isalpha(c);
    case 1:
        return g_ascii_isdigit(c);
    case 2:
        return g_ascii_isalnum(c);
    case 3:
        return g_ascii_isupper(c);
    case 4:
        return g_ascii_islower(c);
    case 5:
        return g_ascii_isspace(c) || c == '\v';
    case 6:
        return g_ascii_ispunct(c);
    case 7:
        return g_ascii_isxdigit(c);
    case 8:
        return g_ascii_isprint(c);
    case 9:
        return g_ascii_isgraph(c);
    case 10:
        return g_ascii_iscntrl(c);
    case 11:
        return c == ' ' || c == '\t';
    default:
        return false;
    }
}

/* False: there is no such class. */
static bool byte_set_class(ByteSet *s, const char *name, size_t len)
{
    bool known = false;

    for (unsigned c = 0; c < 256; c++) {
        if (class_has(name, len, c, &known)) {
            byte_set_add(s, c);
        }
    }
    return known;
}

/* \d and its like, where 'c' is one of them. */
static bool escape_class(char c, ByteSet *s)
{
    ByteSet set = {0};

    switch (g_ascii_tolower(c)) {
    case 'd':
        byte_set_class(&set, "digit", 5);
        break;
    case 'w':
        byte_set_class(&set, "alnum", 5);
        byte_set_add(&set, '_');
        break;
    case 's':
        byte_set_class(&set, "space", 5);
        break;
    default:
        return false;
    }
    if (g_ascii_isupper(c)) {
        byte_set_invert(&set);
    }
    byte_set_join(s, &set);
    return true;
}

/* The byte that the escape at ps->at, behind the backslash, is; -1 and an error: none. */
static int escape_byte(Parser *ps)
{
    static const char letters[] = "ntrfea", bytes[] = "\n\t\r\f\033\a";
    char c = *ps->at;
    const char *letter = c ? strchr(letters, c) : NULL;

    if (!c) {
        parse_fail(ps, "a backslash at the end");
        return -1;
    }
    if (letter) {
        ps->at++;
        return bytes[letter - letters];
    }
    if (c == 'x' && g_ascii_isxdigit(ps->at[1]) && g_ascii_isxdigit(ps->at[2])) {
        ps->at += 3;
        return g_ascii_xdigit_value(ps->at[-2]) * 16 + g_ascii_xdigit_value(ps->at[-1]);
    }
    if (g_ascii_isdigit(c)) {
        parse_fail(ps, "back references are not supported");
        return -1;
    }
    if (g_ascii_isalpha(c) || (uint8_t)c >= 0x80) {
        parse_fail(ps, "an unknown escape");
        return -1;
    }
    ps->at++;
    return (uint8_t)c;
}

/* One byte of a [] expression, at ps->at; -1 and an error. */
static int bracket_byte(Parser *ps)
{
    uint8_t c = *ps->at;

    if (!c) {
        parse_fail(ps, "a [ without its ]");
        return -1;
    }
    if (c >= 0x80) {
        parse_fail(ps, "[] with a character beyond ASCII: write (a|b) for [ab]");
        return -1;
    }
    ps->at++;
    return c == '\\' ? escape_byte(ps) : c;
}

/* [:alpha:] at ps->at, behind the '['. */
static bool bracket_class(Parser *ps, ByteSet *set)
{
    const char *end = strstr(ps->at + 1, ":]");

    if (!end || !byte_set_class(set, ps->at + 1, end - ps->at - 1)) {
        parse_fail(ps, "an unknown class of characters");
        return false;
    }
    ps->at = end + 2;
    return true;
}

static bool bracket_item(Parser *ps, ByteSet *set)
{
    int from, to;

    if (ps->at[0] == '[' && ps->at[1] == ':') {
        ps->at++;
        return bracket_class(ps, set);
    }
    if (ps->at[0] == '\\' && ps->at[1] && escape_class(ps->at[1], set)) {
        ps->at += 2;
        return true;
    }
    from = to = bracket_byte(ps);
    if (from >= 0 && ps->at[0] == '-' && ps->at[1] && ps->at[1] != ']') {
        ps->at++;
        to = bracket_byte(ps);
        if (to >= 0 && to < from) {
            return parse_fail(ps, "a range that ends before it begins");
        }
    }
    for (int c = from; from >= 0 && c <= to; c++) {
        byte_set_add(set, c);
    }
    return from >= 0 && to >= 0;
}

/* Behind the '['. */
static PatternNode *parse_bracket(Parser *ps)
{
    PatternNode *n = node_new(ps, PATTERN_NODE_SET);
    bool inverted = *ps->at == '^';

    ps->at += inverted;
    do { /* a ']' at the beginning is a character */
        if (!bracket_item(ps, &n->set)) {
            return NULL;
        }
    } while (*ps->at != ']');
    ps->at++;
    if (ps->any_case) {
        byte_set_any_case(&n->set);
    }
    if (inverted) {
        byte_set_invert(&n->set);
    }
    return n;
}

/* Atoms. */

static PatternNode *node_assert(Parser *ps, PatternOp op)
{
    PatternNode *n = node_new(ps, PATTERN_NODE_ASSERT);

    n->op = op;
    return n;
}

static PatternNode *node_byte(Parser *ps, uint8_t byte)
{
    PatternNode *n = node_new(ps, PATTERN_NODE_SET);

    byte_set_add(&n->set, byte);
    if (ps->any_case) {
        byte_set_any_case(&n->set);
    }
    return n;
}

/* Behind the '\'. */
static PatternNode *parse_escape(Parser *ps)
{
    PatternNode *n;
    int byte;

    if (*ps->at == 'b' || *ps->at == 'B') {
        return node_assert(ps, *ps->at++ == 'b' ? PATTERN_WORD_EDGE : PATTERN_NO_WORD_EDGE);
    }
    n = node_new(ps, PATTERN_NODE_SET);
    if (escape_class(*ps->at, &n->set)) {
        ps->at++;
        return n;
    }
    byte = escape_byte(ps);
    return byte < 0 ? NULL : node_byte(ps, byte);
}

/* A character of several bytes is one thing to '*' and its like. */
static PatternNode *parse_character(Parser *ps)
{
    const char *end = g_utf8_next_char(ps->at);
    PatternNode *n;

    if (end - ps->at == 1) {
        return node_byte(ps, *ps->at++);
    }
    n = node_new(ps, PATTERN_NODE_LIST);
    while (ps->at < end) {
        g_ptr_array_add(n->children, node_byte(ps, *ps->at++));
    }
    return n;
}

/* Behind the '('. */
static PatternNode *parse_group(Parser *ps)
{
    PatternNode *n;

    if (ps->at[0] == '?') {
        if (ps->at[1] != ':') {
            return parse_fail(ps, "only (?:...) and, at the beginning, (?i) are supported");
        }
        ps->at += 2;
    }
    if (++ps->depth > DEPTH_MAX) {
        return parse_fail(ps, "too many parentheses in each other");
    }
    n = parse_either(ps);
    ps->depth--;
    if (n && *ps->at++ != ')') {
        ps->at--;
        return parse_fail(ps, "a ( without its )");
    }
    return n;
}

static PatternNode *parse_atom(Parser *ps)
{
    PatternNode *n;

    switch (*ps->at) {
    case '(':
        ps->at++;
        return parse_group(ps);
    case '[':
        ps->at++;
        return parse_bracket(ps);
    case '.':
        ps->at++;
        n = node_new(ps, PATTERN_NODE_SET);
        byte_set_add(&n->set, '\n');
        byte_set_invert(&n->set);
        return n;
    case '^':
        ps->at++;
        return node_assert(ps, PATTERN_LINE_BEGIN);
    case '$':
        ps->at++;
        return node_assert(ps, PATTERN_LINE_END);
    case '\\':
        ps->at++;
        return parse_escape(ps);
    case '*':
    case '+':
    case '?':
        return parse_fail(ps, "nothing to repeat");
    default:
        return parse_character(ps);
    }
}

/* Repetitions. */

/* Digits at *p; false: there are none, or the number is too large. */
static bool parse_count(const char **p, uint32_t *count)
{
    uint64_t n = 0;
    const char *begin = *p;

    while (g_ascii_isdigit(**p) && n <= REPEAT_MAX) {
        n = n * 10 + (*(*p)++ - '0');
    }
    *count = n;
    return *p > begin && n <= REPEAT_MAX;
}

/* "{m}", "{m,}", "{m,n}" at ps->at. 0: it is none, and so an ordinary '{'; -1: an error. */
static int parse_braces(Parser *ps, uint32_t *min, uint32_t *max)
{
    const char *p = ps->at + 1;
    bool ok;

    if (*ps->at != '{' || !g_ascii_isdigit(*p)) {
        return 0;
    }
    ok = parse_count(&p, min);
    *max = *min;
    if (ok && *p == ',') {
        p++;
        *max = PATTERN_NO_LIMIT;
        ok = *p == '}' || parse_count(&p, max);
    }
    if (!ok || *p != '}' || *min > *max) {
        parse_fail(ps, "expected {m}, {m,} or {m,n} with numbers up to 1000");
        return -1;
    }
    ps->at = p + 1;
    return 1;
}

static int parse_repeat(Parser *ps, uint32_t *min, uint32_t *max)
{
    char c = *ps->at;

    if (!c || !strchr("*+?", c)) {
        return parse_braces(ps, min, max);
    }
    *min = c == '+';
    *max = c == '?' ? 1 : PATTERN_NO_LIMIT;
    ps->at++;
    return 1;
}

/* An atom, and how often it is repeated. */
static PatternNode *parse_piece(Parser *ps)
{
    PatternNode *atom = parse_atom(ps), *n;
    uint32_t min = 0, max = 0;
    int repeated = atom ? parse_repeat(ps, &min, &max) : -1;

    if (repeated <= 0) {
        return repeated ? NULL : atom;
    }
    if (*ps->at == '?') {
        ps->at++; /* the shortest match: whether there is one is the same question */
    }
    if (*ps->at && strchr("*+?", *ps->at)) {
        return parse_fail(ps, "a repetition of a repetition: use parentheses");
    }
    if (atom->kind == PATTERN_NODE_ASSERT) {
        return parse_fail(ps, "a repetition of what has no length");
    }
    n = node_new(ps, PATTERN_NODE_REPEAT);
    n->min = min;
    n->max = max;
    g_ptr_array_add(n->children, atom);
    return n;
}

static PatternNode *parse_list(Parser *ps)
{
    PatternNode *n = node_new(ps, PATTERN_NODE_LIST), *piece;

    while (*ps->at && *ps->at != '|' && *ps->at != ')') {
        piece = parse_piece(ps);
        if (!piece) {
            return NULL;
        }
        g_ptr_array_add(n->children, piece);
    }
    return n;
}

static PatternNode *parse_either(Parser *ps)
{
    PatternNode *n = node_new(ps, PATTERN_NODE_EITHER), *list;

    do {
        list = parse_list(ps);
        if (!list) {
            return NULL;
        }
        g_ptr_array_add(n->children, list);
    } while (*ps->at == '|' && ps->at++);
    return n;
}

bool pattern_parse(Pattern *p, const char *text, GError **err)
{
    Parser ps = {.text = text, .at = text};
    GError *why = NULL;
    PatternNode *top;
    bool ok = false;

    if (!g_utf8_validate(text, -1, NULL)) {
        return error_set(err, "it is not UTF-8");
    }
    if (g_str_has_prefix(text, "(?i)")) {
        ps.any_case = true;
        ps.at += 4;
    }
    ps.err = &why;
    ps.nodes = g_ptr_array_new_with_free_func(node_free);
    top = parse_either(&ps);
    if (top && *ps.at) {
        top = parse_fail(&ps, "a ) without its (");
    }
    if (top) {
        ok = pattern_emit(p, top, err);
    } else {
        g_propagate_error(err, why);
    }
    g_ptr_array_unref(ps.nodes);
    return ok;
}
