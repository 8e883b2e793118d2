/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_JSON_PRIVATE_H
#define BASE_JSON_PRIVATE_H

/*
 * The digits of a big integer stand behind it: U+FFFF, which is no character. JSON text with
 * strings that begin so is refused.
 */
#define JSON_BIG_MARK "\xef\xbf\xbf"

#endif
