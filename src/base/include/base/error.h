/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Error conventions.
 *
 * A function that can fail for a reason outside this program returns bool (true = done) or a
 * pointer (NULL = failed), takes a final GError **, and sets it exactly when it fails. Each module
 * has its own domain; the code is an errno value where there is one, else 0 (VMM_ERROR_INVALID for
 * what the user wrote wrongly). The text says what was tried, on what, why it failed, and what to
 * do where that is known; it starts in lower case with the thing it speaks of, ends without a full
 * stop, and is shown once, at the edge (main, monitor). Any thread.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <glib.h>
#include <stdbool.h>

/* One error domain for the whole program's user-facing errors; modules may define more. */
#define VMM_ERROR (vmm_error_quark())
GQuark vmm_error_quark(void);

/* QMP's error classes (QAPI); errno-valued codes are all GenericError on the wire. */
enum {
    VMM_ERROR_GENERIC = 10000,
    VMM_ERROR_DEVICE_NOT_FOUND,
    VMM_ERROR_DEVICE_NOT_ACTIVE,
    VMM_ERROR_COMMAND_NOT_FOUND,
    VMM_ERROR_KVM_MISSING_CAP,
};

/* Sets *err (code VMM_ERROR_GENERIC); returns false so that 'return error_set(...)' reads well. */
bool error_set(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same with a code from the enum above. */
bool error_set_code(GError **err, int code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Appends ": strerror(errnum)" to the text; code is errnum. errnum is positive. */
bool error_set_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/*
 * The candidate nearest to 'word' by edit distance, or NULL where none is near enough to be
 * worth naming. 'candidates' is NULL-terminated. The result is one of the candidates.
 */
const char *nearest_name(const char *word, const char *const *candidates);

/*
 * "unknown WHAT 'WORD'", with "; did you mean 'X'?" where a candidate is near, else with the
 * list of the candidates where it is short (up to 12).
 */
bool error_unknown_name(GError **err, const char *what, const char *word,
                        const char *const *candidates);

#endif
