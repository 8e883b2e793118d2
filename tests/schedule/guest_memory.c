/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes of the guest's memory. Guest, devices and the host's kernel read and write them as they
 * like, as while a snapshot is saved of a machine that runs. A sanitizer sees calls of memset() and
 * memcpy() in uninstrumented code, too, so these functions do without.
 */
#include "world.h"

void guest_fill(void *to, uint8_t value, size_t bytes)
{
    asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}

void guest_copy(void *to, const void *from, size_t bytes)
{
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

bool guest_owns(const void *p)
{
    return (uintptr_t)p - (uintptr_t)world.ram < RAM_SIZE;
}
