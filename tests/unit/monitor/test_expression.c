/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include "../base/unit.h"
#include "expression.h"

static bool reg(void *data, const char *name, uint64_t *value)
{
    if (strcmp(name, "rip")) {
        return false;
    }
    *value = 0xfff0;
    return true;
}

typedef struct {
    const char *text;
    uint64_t value;
    const char *rest;
} Good;

static const Good good[] = {
    {"1", 1, ""},
    {" 0x10 ", 16, ""},
    {"010", 8, ""},
    {"1+2*3", 7, ""},
    {"(1+2)*3", 9, ""},
    {"10-3-2", 5, ""},
    {"100/7%4", 2, ""},
    {"1|6&4^1", 5, ""},
    {"-1", UINT64_MAX, ""},
    {"~0 - 1", UINT64_MAX - 1, ""},
    {"+-+2", (uint64_t)-2, ""},
    {"$rip+1", 0xfff1, ""},
    {"'A'", 65, ""},
    {"0xffffffffffffffff", UINT64_MAX, ""},
    {"1 2", 1, "2"},
};

START_TEST(test_good)
{
    const char *text = good[_i].text;
    GError *err = NULL;
    uint64_t v;

    ck_assert_msg(expression_parse(&text, reg, NULL, &v, &err), "%s", good[_i].text);
    ck_no_error(err);
    ck_assert_uint_eq(v, good[_i].value);
    ck_assert_str_eq(text, good[_i].rest);
}
END_TEST

static const char *const bad[][2] = {
    {"", "unexpected end"},
    {"1+", "unexpected end"},
    {"(1", "')' expected"},
    {"1/0", "division by zero"},
    {"1%(2-2)", "division by zero"},
    {"$", "unknown register"},
    {"$foo", "unknown register"},
    {"$abcdefghijklmnopqrstuvwxyzabcdefghijklmnop", "unknown register"},
    {"99999999999999999999999", "too large"},
    {"'ab'", "missing terminating"},
    {"'", "missing terminating"},
    {"@", "invalid char '@'"},
};

START_TEST(test_bad)
{
    const char *text = bad[_i][0];
    GError *err = NULL;
    uint64_t v;

    ck_assert(!expression_parse(&text, reg, NULL, &v, &err));
    ck_error(err, bad[_i][1]);
}
END_TEST

/* Nesting is bounded by an error, not by the stack. */
START_TEST(test_deep)
{
    static const char openers[] = "(-~+";
    GError *err = NULL;
    uint64_t v;

    for (unsigned i = 0; openers[i]; i++) {
        g_autofree char *deep = g_strnfill(100000, openers[i]);
        const char *text = deep;

        ck_assert(!expression_parse(&text, reg, NULL, &v, &err));
        ck_error(err, "nested");
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("expression");

    tcase_add_loop_test(tcase, test_good, 0, G_N_ELEMENTS(good));
    tcase_add_loop_test(tcase, test_bad, 0, G_N_ELEMENTS(bad));
    tcase_add_test(tcase, test_deep);
    return unit_run_case("expression", tcase);
}
