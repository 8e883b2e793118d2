/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The main() of a unit test: one suite of Check, whose results are printed as TAP. */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>
#include <glib.h>
#include <stdlib.h>

/*
 * Cases share a process where CK_FORK is 'no', as with a sanitizer, which looks at each process for
 * long. Called first by a test whose cases leave something behind that others would trip over.
 */
static inline void unit_fork_always(void)
{
    g_setenv("CK_FORK", "yes", TRUE);
}

/* Runs a case that has its own fixtures or time limit. */
static inline int unit_run_case(const char *name, TCase *tcase)
{
    Suite *suite = suite_create(name);
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tcase);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* 'setup' and 'teardown' (may be NULL) are called around each of the tests. */
static inline int unit_run_with(const char *name, const TTest *const *tests, SFun setup,
                                SFun teardown)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (; *tests; tests++) {
        tcase_add_test(tcase, *tests);
    }
    return unit_run_case(name, tcase);
}

static inline int unit_run(const char *name, const TTest *const *tests)
{
    return unit_run_with(name, tests, NULL, NULL);
}

/* The error is set and its text holds 'part'; it is cleared. */
#define ck_error(err, part)                                                                        \
    do {                                                                                           \
        ck_assert_ptr_nonnull(err);                                                                \
        ck_assert_msg(strstr((err)->message, part) != NULL, "'%s' is not in '%s'", part,           \
                      (err)->message);                                                             \
        g_clear_error(&(err));                                                                     \
    } while (0)
#define ck_no_error(err) ck_assert_msg(!(err), "%s", (err) ? (err)->message : "")

#endif
