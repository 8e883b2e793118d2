/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/library.h"
#include <dlfcn.h>
#include "base/error.h"

static bool library_open(Library *lib, GError **err)
{
    void *handle = dlopen(lib->soname, RTLD_NOW | RTLD_LOCAL);

    if (!handle) {
        return error_set(err, "Could not load %s: %s; Debian's package '%s' has it", lib->soname,
                         dlerror(), lib->package);
    }
    for (int i = 0; lib->names[i]; i++) {
        void *symbol = dlsym(handle, lib->names[i]);

        if (!symbol) {
            error_set(err,
                      "Could not use %s: it has no '%s'; Debian's package '%s' has one that "
                      "fits",
                      lib->soname, lib->names[i], lib->package);
            dlclose(handle);
            return false;
        }
        /* POSIX lets dlsym()'s pointer be used as a function pointer. */
        ((void **)lib->table)[i] = symbol;
    }
    return true;
}

bool library_load(Library *lib, GError **err)
{
    static GMutex lock; /* a leaf, but dlopen() takes its own below */

    if (__atomic_load_n(&lib->loaded, __ATOMIC_ACQUIRE)) {
        return true;
    }
    g_mutex_lock(&lock);
    if (!lib->loaded && library_open(lib, err)) {
        __atomic_store_n(&lib->loaded, true, __ATOMIC_RELEASE);
    }
    g_mutex_unlock(&lock);
    return lib->loaded;
}
