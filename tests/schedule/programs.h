/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_SCHEDULE_PROGRAMS_H
#define TESTS_SCHEDULE_PROGRAMS_H

#include <stdbool.h>

/* Runs one of programs.c; false where there is none of that name. */
bool program_run(const char *name);

#endif
