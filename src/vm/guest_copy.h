/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies from and to guest RAM. A guest may let its CPUs and devices race there, as on a real
 * machine; so ThreadSanitizer is told to ignore the accesses of these copies.
 */
#ifndef VM_GUEST_COPY_H
#define VM_GUEST_COPY_H

#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define GUEST_RACES_IGNORED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GUEST_RACES_IGNORED 1
#endif
#endif

#ifdef GUEST_RACES_IGNORED
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define GUEST_RACES_BEGIN()                                                                        \
    (AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define GUEST_RACES_END()                                                                          \
    (AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__))
#else
#define GUEST_RACES_BEGIN() ((void)0)
#define GUEST_RACES_END()   ((void)0)
#endif

static inline void guest_copy(void *dst, const void *src, size_t n)
{
    GUEST_RACES_BEGIN();
    memcpy(dst, src, n);
    GUEST_RACES_END();
}

static inline void guest_set(void *dst, int byte, size_t n)
{
    GUEST_RACES_BEGIN();
    memset(dst, byte, n);
    GUEST_RACES_END();
}

#endif
