/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "expression.h"

#include <string.h>

#include "base/error.h"

/* The parser is recursive: limits its use of the stack. */
#define DEPTH_MAX 100

typedef struct {
    const char *p;
    ExpressionRegister reg;
    void *data;
    GError **err;
    unsigned depth;
} Parser;

static void skip_space(Parser *s)
{
    s->p += strspn(s->p, " \t");
}

static bool expression_logic(Parser *s, uint64_t *v);

static bool expression_number(Parser *s, uint64_t *v)
{
    char *end;

    if (*s->p == '\'') {
        if (!s->p[1] || s->p[2] != '\'') {
            return error_set(s->err, "missing terminating ' character");
        }
        *v = (uint8_t)s->p[1];
        s->p += 3;
        return true;
    }
    if (!g_ascii_isdigit(*s->p)) {
        return error_set(s->err,
                         *s->p ? "invalid char '%c' in expression" : "unexpected end of expression",
                         *s->p);
    }
    errno = 0;
    *v = g_ascii_strtoull(s->p, &end, 0);
    if (errno == ERANGE) {
        return error_set(s->err, "number too large");
    }
    s->p = end;
    return true;
}

static bool register_value(Parser *s, uint64_t *v)
{
    char name[32];
    size_t len = 0;

    s->p++;
    while (g_ascii_isalnum(s->p[len]) || s->p[len] == '_' || s->p[len] == '.') {
        len++;
    }
    if (!len || len >= sizeof name) {
        return error_set(s->err, "unknown register");
    }
    memcpy(name, s->p, len);
    name[len] = '\0';
    s->p += len;
    return (s->reg && s->reg(s->data, name, v)) || error_set(s->err, "unknown register");
}

static bool expression_unary(Parser *s, uint64_t *v)
{
    bool ok;

    skip_space(s);
    if (++s->depth > DEPTH_MAX) {
        return error_set(s->err, "expression is nested too deeply");
    }
    switch (*s->p) {
    case '+':
        s->p++;
        ok = expression_unary(s, v);
        break;
    case '-':
        s->p++;
        ok = expression_unary(s, v);
        *v = -*v;
        break;
    case '~':
        s->p++;
        ok = expression_unary(s, v);
        *v = ~*v;
        break;
    case '(':
        s->p++;
        ok = expression_logic(s, v);
        if (ok && *s->p != ')') {
            return error_set(s->err, "')' expected");
        }
        s->p += ok;
        break;
    case '$':
        ok = register_value(s, v);
        break;
    default:
        ok = expression_number(s, v);
    }
    s->depth--;
    if (ok) {
        skip_space(s);
    }
    return ok;
}

static bool expression_product(Parser *s, uint64_t *v)
{
    uint64_t right = 0;

    if (!expression_unary(s, v)) {
        return false;
    }
    while (*s->p && strchr("*/%", *s->p)) {
        char op = *s->p++;

        if (!expression_unary(s, &right)) {
            return false;
        }
        if (op == '*') {
            *v *= right;
        } else if (!right) {
            return error_set(s->err, "division by zero");
        } else {
            *v = op == '/' ? *v / right : *v % right;
        }
    }
    return true;
}

static bool expression_sum(Parser *s, uint64_t *v)
{
    uint64_t right = 0;

    if (!expression_product(s, v)) {
        return false;
    }
    while (*s->p == '+' || *s->p == '-') {
        char op = *s->p++;

        if (!expression_product(s, &right)) {
            return false;
        }
        *v = op == '+' ? *v + right : *v - right;
    }
    return true;
}

static bool expression_logic(Parser *s, uint64_t *v)
{
    uint64_t right = 0;

    *v = 0;
    if (!expression_sum(s, v)) {
        return false;
    }
    while (*s->p && strchr("&|^", *s->p)) {
        char op = *s->p++;

        if (!expression_sum(s, &right)) {
            return false;
        }
        *v = op == '&' ? *v & right : op == '|' ? *v | right : *v ^ right;
    }
    return true;
}

bool expression_parse(const char **text, ExpressionRegister reg, void *data, uint64_t *value,
                      GError **err)
{
    Parser s = {.p = *text, .reg = reg, .data = data, .err = err};
    bool ok;

    *value = 0;
    ok = expression_logic(&s, value);
    *text = s.p;
    return ok;
}
