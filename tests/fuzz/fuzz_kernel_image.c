/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A kernel file with any content: it is refused, or its segments lie in RAM and do not overlap. */
#include <stdint.h>
#include <string.h>
#include "base/util.h"
#include "boot/image.h"

#define RAM (32 * MiB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    E820Entry entry = {0, RAM, E820_RAM};
    GArray *map = g_array_new(FALSE, FALSE, sizeof entry);
    BootPlan *plan;
    GError *err = NULL;

    g_array_append_val(map, entry);
    plan = boot_plan_empty(boot_image_memory("fuzz", data, size), RAM - 64 * KiB, RAM, map);
    plan->long_mode = size & 1;
    if (!boot_plan_fill(plan, "cmdline", NULL, &err)) {
        g_assert(err && err->message);
        g_error_free(err);
        boot_plan_free(plan);
        return 0;
    }
    g_assert(plan->cpu.enabled && plan->segments->len);
    for (unsigned i = 0; i < plan->segments->len; i++) {
        const BootSegment *s = &g_array_index(plan->segments, BootSegment, i);

        g_assert(s->len && s->file_len <= s->len);
        g_assert(s->gpa >= 0x1000 && s->gpa + s->len > s->gpa && s->gpa + s->len <= RAM);
        g_assert(s->gpa + s->len <= 0x9fc00 || s->gpa >= MiB);
        g_assert(!s->image || (s->offset <= size && s->file_len <= size - s->offset));
        if (s->image && s->file_len) {
            g_autofree uint8_t *bytes = g_malloc(s->file_len);

            g_assert(boot_image_read(s->image, s->offset, bytes, s->file_len));
        }
        for (unsigned j = 0; j < i; j++) {
            const BootSegment *t = &g_array_index(plan->segments, BootSegment, j);

            g_assert(s->gpa + s->len <= t->gpa || t->gpa + t->len <= s->gpa);
        }
    }
    boot_plan_free(plan);
    return 0;
}
