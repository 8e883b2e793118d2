/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared libraries that are loaded when first needed, so that who does not need one pays nothing
 * for it at start. The types come from the library's header, the functions are called through a
 * table of pointers, which is made, like the list of their names, from one list of the form
 *
 *     #define FOO_FUNCTIONS(F) F(foo_open) F(foo_close)
 *     typedef struct { FOO_FUNCTIONS(LIBRARY_POINTER) } FooLib;
 *     static FooLib foo;
 *     static const char *const foo_names[] = {FOO_FUNCTIONS(LIBRARY_NAME) NULL};
 *     static Library foo_library = {"libfoo.so.1", "libfoo1", foo_names, &foo};
 */
#ifndef BASE_LIBRARY_H
#define BASE_LIBRARY_H

#include <glib.h>
#include <stdbool.h>

#define LIBRARY_POINTER(name) __typeof__(&name) name;
#define LIBRARY_NAME(name)    #name,

typedef struct {
    const char *soname, *package; /* of Debian, for the error */
    const char *const *names;     /* NULL-terminated */
    void *table;                  /* as many pointers, in this order */
    bool loaded;                  /* private */
} Library;

/*
 * Fills the table, the first time. Any thread; stays loaded for the life of the process. False
 * and *err naming the package where it is missing or too old; the next call tries again.
 */
bool library_load(Library *lib, GError **err);

#endif
