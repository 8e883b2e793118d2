// SPDX-License-Identifier: GPL-2.0-or-later
// How many interrupts of virtio devices this guest has taken.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t virtio_interrupts(void)
{
    static char line[4096];
    FILE *file = fopen("/proc/interrupts", "r");
    uint64_t sum = 0;

    if (!file) {
        perror("/proc/interrupts");
        exit(1);
    }
    while (fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (colon && strstr(line, "virtio")) {
            char *next = colon + 1, *end;
            for (;;) {
                uint64_t count = strtoull(next, &end, 10);
                if (end == next) {
                    break;
                }
                sum += count;
                next = end;
            }
        }
    }
    fclose(file);
    return sum;
}
