/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared libraries that are loaded when first needed: a command line that needs none starts faster.
 * The types come from the library's header. The functions are called through a table of pointers.
 * One list makes the table and the array of the functions' names:
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
    const char *soname, *package; /* Debian's package, for the error */
    const char *const *names;     /* NULL-terminated */
    void *table;                  /* a pointer for each name, in the same order */
    bool loaded;                  /* private */
} Library;

/*
 * Loads the library, the first time, and fills the table. The library stays loaded for the life of
 * the process. Where it is missing or too old: false and *err, which names the package; the next
 * call tries again. Any thread.
 */
bool library_load(Library *lib, GError **err);

#endif
