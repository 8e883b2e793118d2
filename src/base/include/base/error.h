/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Error conventions.
 *
 * A function that can fail for a reason outside this program returns bool (true = done) or a
 * pointer (NULL = failed), takes a final GError **, and sets it exactly when it fails. All errors
 * are in the domain VMM_ERROR. Their code is an errno value or one of the enum below. The text says
 * what was tried, on what, why it failed, and what to do where that is known. It ends without a
 * full stop. Main and the monitor show it, once. Any thread.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <glib.h>
#include <stdbool.h>

#define VMM_ERROR (vmm_error_quark())
GQuark vmm_error_quark(void);

/* QMP's error classes (QAPI). A code that is an errno value is a GenericError in QMP. */
enum {
    VMM_ERROR_GENERIC = 10000,
    VMM_ERROR_DEVICE_NOT_FOUND,
    VMM_ERROR_DEVICE_NOT_ACTIVE,
    VMM_ERROR_COMMAND_NOT_FOUND,
    VMM_ERROR_KVM_MISSING_CAP,
};

/* Sets *err, with the code VMM_ERROR_GENERIC. Always returns false: 'return error_set(...)'. */
bool error_set(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same with a code from the enum above. */
bool error_set_code(GError **err, int code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Appends ": strerror(errnum)" to the text; code is errnum. errnum is positive. */
bool error_set_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/*
 * The candidate that 'word' is probably a misspelling of: the nearest by edit distance, else the
 * shortest that begins with 'word'. NULL where there is none. 'candidates' is NULL-terminated.
 */
const char *nearest_name(const char *word, const char *const *candidates);

/*
 * "unknown WHAT 'WORD'", with "; did you mean 'X'?" where a candidate is near, else with the
 * list of the candidates where it is short (up to 12).
 */
bool error_unknown_name(GError **err, const char *what, const char *word,
                        const char *const *candidates);

#endif
