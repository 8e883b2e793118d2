/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_JSON_PRIVATE_H
#define BASE_JSON_PRIVATE_H

/*
 * A string in the tree that begins with this mark is a big integer (base/json.h); its digits
 * follow. The mark is U+FFFF, which is no character: JSON text with strings that begin so is
 * refused.
 */
#define JSON_BIG_MARK "\xef\xbf\xbf"

#endif
