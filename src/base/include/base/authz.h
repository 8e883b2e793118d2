/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may come in: -object authz-simple, authz-list and authz-listfile. An identity is what a
 * transport vouches for, such as the distinguished name in a certificate that was checked. Main
 * thread only.
 */
#ifndef BASE_AUTHZ_H
#define BASE_AUTHZ_H

#include "base/coroutine.h"
#include "base/object.h"

extern const ObjectClass authz_simple_class, authz_list_class, authz_listfile_class;

/*
 * Whether the object of this id lets the identity in. It is looked up now, so that an object may be
 * made anew while a server runs. False and *err: it does not, there is no such object (any more),
 * or its file cannot be understood. A file is read by another thread meanwhile.
 */
bool coroutine_fn authz_allows(const char *id, const char *identity, GError **err);

#endif
