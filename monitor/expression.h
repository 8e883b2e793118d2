/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Expressions of HMP: C's integers and operators, and registers by $name. */
#ifndef MONITOR_EXPRESSION_H
#define MONITOR_EXPRESSION_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef bool (*ExpressionRegister)(void *data, const char *name, uint64_t *value);

/*
 * Evaluates the expression at *text and moves *text past it and the white space behind it. Binary
 * operators are * / %, then + -, then & | ^, which share one precedence; unary ones + - ~. 'reg'
 * gives the value of a $name, or false.
 */
bool expression_parse(const char **text, ExpressionRegister reg, void *data, uint64_t *value,
                      GError **err);

#endif
