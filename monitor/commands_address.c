/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an address leads (gva2gpa, gpa2hva, gpa2hpa), and what memory adds up to (sum). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/util.h"
#include "commands.h"
#include "x86/x86.h"

const Property address_args[] = {MEMBER("addr", PROP_INT64, .help = "an address"), PROP_END};

static uint64_t address_of(json_t *args)
{
    return json_integer_value(json_object_get(args, "addr"));
}

MONITOR_HANDLER(cmd_gva2gpa)
{
    uint64_t pa;

    if (!x86_cpu_count(vm)) {
        monitor_puts(mon, "No cpu\n");
    } else if (monitor_translate(monitor_cpu(mon), address_of(args), &pa)) {
        monitor_printf(mon, "gpa: %#" G_GINT64_MODIFIER "x\n", pa);
    } else {
        monitor_puts(mon, "Unmapped\n");
    }
    return json_object();
}

MONITOR_HANDLER(cmd_gpa2hva)
{
    uint64_t addr = address_of(args);
    const char *block;
    void *host = debug_host_address(vm, addr, &block, err);

    if (!host) {
        return NULL;
    }
    monitor_printf(mon, "Host virtual address for 0x%" G_GINT64_MODIFIER "x (%s) is %p\n", addr,
                   block, host);
    return json_object();
}

/* Linux Documentation/admin-guide/mm/pagemap.rst: a word for each page of the process. */
static bool host_physical_address(const void *host, uint64_t *pa, GError **err)
{
    uint64_t page = sysconf(_SC_PAGESIZE), address = (uintptr_t)host, entry = 0, frame;
    auto_fd fd = host_open("/proc/self/pagemap", O_RDONLY, 0, err);

    if (fd < 0) {
        return false;
    }
    if (pread(fd, &entry, sizeof entry, address / page * sizeof entry) != sizeof entry) {
        return error_set_errno(err, errno, "Cannot read /proc/self/pagemap");
    }
    if (!(entry >> 63)) {
        return error_set(err, "Page not present");
    }
    frame = entry & (BIT64(55) - 1);
    if (!frame) {
        return error_set(err, "/proc/self/pagemap shows no page frames: that takes CAP_SYS_ADMIN");
    }
    *pa = frame * page | (address & (page - 1));
    return true;
}

MONITOR_HANDLER(cmd_gpa2hpa)
{
    uint64_t addr = address_of(args), pa = 0;
    const char *block;
    void *host = debug_host_address(vm, addr, &block, err);

    if (!host || !host_physical_address(host, &pa, err)) {
        return NULL;
    }
    monitor_printf(mon,
                   "Host physical address for 0x%" G_GINT64_MODIFIER
                   "x (%s) is 0x%" G_GINT64_MODIFIER "x\n",
                   addr, block, pa);
    return json_object();
}

const Property sum_args[] = {MEMBER("start", PROP_INT64, .help = "an address"),
                             MEMBER("size", PROP_INT64, .help = "bytes"), PROP_END};

/* The 16-bit checksum of BSD's 'sum'. Addresses that are not memory count as zeroes. */
MONITOR_HANDLER(cmd_sum)
{
    uint64_t addr = json_integer_value(json_object_get(args, "start"));
    json_int_t size = json_integer_value(json_object_get(args, "size"));
    uint16_t sum = 0;
    uint8_t buf[4096];

    if (!monitor_check_memory_size(vm, size, err)) {
        return NULL;
    }
    for (uint64_t done = 0; done < (uint64_t)size;) {
        size_t n = MIN(size - done, 4096 - ((addr + done) & 4095));

        if (!debug_access(vm, addr + done, buf, n, false)) {
            memset(buf, 0, n);
        }
        for (size_t i = 0; i < n; i++) {
            sum = (uint16_t)(sum >> 1 | sum << 15) + buf[i];
        }
        done += n;
        if (!(done & (MiB - 1))) {
            coroutine_sleep(CLOCK_REALTIME_NS, 0); /* the main loop goes on */
        }
    }
    monitor_printf(mon, "%05u\n", sum);
    return json_object();
}
