/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/error.h"

#include <string.h>

/* As G_DEFINE_QUARK() makes it, but for threads that are the first at the same time. */
GQuark vmm_error_quark(void)
{
    static GQuark quark; /* atomic */
    GQuark q = __atomic_load_n(&quark, __ATOMIC_RELAXED);

    if (!q) {
        q = g_quark_from_static_string("vmm-error-quark");
        __atomic_store_n(&quark, q, __ATOMIC_RELAXED);
    }
    return q;
}

static bool error_set_va(GError **err, int code, const char *fmt, va_list ap) G_GNUC_PRINTF(3, 0);

static bool error_set_va(GError **err, int code, const char *fmt, va_list ap)
{
    if (err) {
        g_propagate_error(err, g_error_new_valist(VMM_ERROR, code, fmt, ap));
    }
    return false;
}

bool error_set(GError **err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_set_va(err, VMM_ERROR_GENERIC, fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_code(GError **err, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_set_va(err, code, fmt, ap);
    va_end(ap);
    return false;
}

bool error_set_errno(GError **err, int errnum, const char *fmt, ...)
{
    if (!err) {
        return false;
    }
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error(err, VMM_ERROR, errnum, "%s: %s", text, g_strerror(errnum));
    return false;
}

/* Case is ignored, and '_' is '-': users mix them up. */
static int error_fold(char c)
{
    return c == '_' ? '-' : g_ascii_tolower(c);
}

enum { NAME_MAX_LEN = 64 };

/* Edit distance in which swapping two neighbours is one step (optimal string alignment). */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned rows[3][NAME_MAX_LEN + 1];

    if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN) {
        return G_MAXUINT; /* too long to be a name */
    }
    unsigned *before = rows[0], *prev = rows[1], *cur = rows[2];
    for (size_t j = 0; j <= lb; j++) {
        prev[j] = j;
    }
    for (size_t i = 1; i <= la; i++) {
        cur[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            bool same = error_fold(a[i - 1]) == error_fold(b[j - 1]);
            cur[j] = MIN(MIN(prev[j] + 1, cur[j - 1] + 1), prev[j - 1] + !same);
            if (i > 1 && j > 1 && error_fold(a[i - 1]) == error_fold(b[j - 2]) &&
                error_fold(a[i - 2]) == error_fold(b[j - 1])) {
                cur[j] = MIN(cur[j], before[j - 2] + 1);
            }
        }
        unsigned *spare = before;
        before = prev;
        prev = cur;
        cur = spare;
    }
    return prev[lb];
}

static bool starts_with_folded(const char *text, const char *prefix)
{
    for (; *prefix; text++, prefix++) {
        if (error_fold(*text) != error_fold(*prefix)) {
            return false;
        }
    }
    return true;
}

const char *nearest_name(const char *word, const char *const *candidates)
{
    const char *best = NULL, *completed = NULL;
    size_t len = strlen(word);
    unsigned best_distance = MAX(1, len / 3) + 1;

    for (; *candidates; candidates++) {
        unsigned distance = edit_distance(word, *candidates);
        /* At a distance of the whole length, every letter would be wrong. */
        if (distance < best_distance && distance < len) {
            best_distance = distance;
            best = *candidates;
        }
        if (len >= 3 && starts_with_folded(*candidates, word) &&
            (!completed || strlen(*candidates) < strlen(completed))) {
            completed = *candidates;
        }
    }
    return best ? best : completed;
}

bool error_unknown_name(GError **err, const char *what, const char *word,
                        const char *const *candidates)
{
    enum { LIST_MAX = 12 };
    const char *near = nearest_name(word, candidates);
    guint n = g_strv_length((char **)candidates);

    if (near) {
        return error_set(err, "unknown %s '%s'; did you mean '%s'?", what, word, near);
    }
    if (n == 0 || n > LIST_MAX) {
        return error_set(err, "unknown %s '%s'", what, word);
    }
    g_autofree char *list = g_strjoinv(", ", (char **)candidates);
    return error_set(err, "unknown %s '%s'; there %s: %s", what, word, n == 1 ? "is" : "are", list);
}
