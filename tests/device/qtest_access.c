/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client library of the device tests: ports, memory, interrupts, fw_cfg, and the clock. */
#include "qtest_client.h"

#include "qtest_private.h"

/* Ports and memory. */

void qtest_outb(QTest *q, uint16_t port, uint8_t value)
{
    qtest_command_write(q, "outb", port, value);
}

void qtest_outw(QTest *q, uint16_t port, uint16_t value)
{
    qtest_command_write(q, "outw", port, value);
}

void qtest_outl(QTest *q, uint16_t port, uint32_t value)
{
    qtest_command_write(q, "outl", port, value);
}

uint8_t qtest_inb(QTest *q, uint16_t port)
{
    return qtest_command_number(q, "inb", port);
}

uint16_t qtest_inw(QTest *q, uint16_t port)
{
    return qtest_command_number(q, "inw", port);
}

uint32_t qtest_inl(QTest *q, uint16_t port)
{
    return qtest_command_number(q, "inl", port);
}

void qtest_writeb(QTest *q, uint64_t addr, uint8_t value)
{
    qtest_command_write(q, "writeb", addr, value);
}

void qtest_writew(QTest *q, uint64_t addr, uint16_t value)
{
    qtest_command_write(q, "writew", addr, value);
}

void qtest_writel(QTest *q, uint64_t addr, uint32_t value)
{
    qtest_command_write(q, "writel", addr, value);
}

void qtest_writeq(QTest *q, uint64_t addr, uint64_t value)
{
    qtest_command_write(q, "writeq", addr, value);
}

uint8_t qtest_readb(QTest *q, uint64_t addr)
{
    return qtest_command_number(q, "readb", addr);
}

uint16_t qtest_readw(QTest *q, uint64_t addr)
{
    return qtest_command_number(q, "readw", addr);
}

uint32_t qtest_readl(QTest *q, uint64_t addr)
{
    return qtest_command_number(q, "readl", addr);
}

uint64_t qtest_readq(QTest *q, uint64_t addr)
{
    return qtest_command_number(q, "readq", addr);
}

void qtest_read(QTest *q, uint64_t addr, void *buf, size_t len)
{
    if (!len) {
        return;
    }
    g_autofree char *text = qtest_command(q, "b64read 0x%" G_GINT64_MODIFIER "x %zu", addr, len);
    gsize got;
    g_autofree uint8_t *data = g_base64_decode(text, &got);
    if (got != len) {
        fail("b64read gave %zu bytes, not %zu", (size_t)got, len);
    }
    memcpy(buf, data, len);
}

void qtest_write(QTest *q, uint64_t addr, const void *buf, size_t len)
{
    if (!len) {
        return;
    }
    g_autofree char *text = g_base64_encode(buf, len);
    g_free(qtest_command(q, "b64write 0x%" G_GINT64_MODIFIER "x %zu %s", addr, len, text));
}

void qtest_memset(QTest *q, uint64_t addr, uint8_t byte, size_t len)
{
    g_free(qtest_command(q, "memset 0x%" G_GINT64_MODIFIER "x %zu 0x%x", addr, len, byte));
}

/* Memory for the test lies from 1 MiB to the top of RAM; firmware and PC use the first MiB. */
void qtest_alloc_reset(QTest *q)
{
    q->alloc_next = 1024 * 1024;
}

uint64_t qtest_ram_size(QTest *q)
{
    if (!q->ram_size) {
        q->ram_size = qtest_fw_cfg_read64(q, 3 /* FW_CFG_RAM_SIZE */);
    }
    return q->ram_size;
}

uint64_t qtest_alloc(QTest *q, size_t size, size_t align)
{
    align = align ? align : 16;
    uint64_t addr = (q->alloc_next + align - 1) & ~(uint64_t)(align - 1);
    if (addr + size > MIN(qtest_ram_size(q), 0xc0000000u)) {
        fail("no guest memory left for %zu bytes", size);
    }
    q->alloc_next = addr + size;
    return addr;
}

/* Clock and interrupts. */

int64_t qtest_clock_step(QTest *q, int64_t ns)
{
    g_autofree char *now = qtest_command(q, "clock_step %" G_GINT64_FORMAT, ns);
    return strtoll(now, NULL, 0);
}

int64_t qtest_clock_step_next(QTest *q)
{
    g_autofree char *now = qtest_command(q, "clock_step");
    return strtoll(now, NULL, 0);
}

int64_t qtest_clock_set(QTest *q, int64_t ns)
{
    g_autofree char *now = qtest_command(q, "clock_set %" G_GINT64_FORMAT, ns);
    return strtoll(now, NULL, 0);
}

void qtest_irq_intercept_in(QTest *q, const char *path)
{
    g_free(qtest_command(q, "irq_intercept_in %s", path));
}

void qtest_irq_intercept_out(QTest *q, const char *path)
{
    g_free(qtest_command(q, "irq_intercept_out %s", path));
}

/* Host I/O may cause edges at any time: a round trip receives their messages. */
static void poll_irqs(QTest *q)
{
    g_free(qtest_command(q, "endianness"));
}

bool qtest_irq(QTest *q, unsigned n)
{
    g_assert(n < IRQ_MAX);
    poll_irqs(q);
    return q->irq_level[n];
}

unsigned qtest_irq_count(QTest *q, unsigned n)
{
    g_assert(n < IRQ_MAX);
    poll_irqs(q);
    unsigned count = q->irq_edges[n];
    q->irq_edges[n] = 0;
    return count;
}

void qtest_set_irq_in(QTest *q, const char *path, const char *name, unsigned n, bool level)
{
    g_free(qtest_command(q, "set_irq_in %s %s %u %d", path, name, n, level));
}

/* fw_cfg. */

void qtest_fw_cfg_read(QTest *q, uint16_t key, void *buf, size_t len)
{
    uint8_t *p = buf;
    qtest_outw(q, 0x510, key);
    for (size_t i = 0; i < len; i++) {
        p[i] = qtest_inb(q, 0x511);
    }
}

uint16_t qtest_fw_cfg_read16(QTest *q, uint16_t key)
{
    uint16_t v;
    qtest_fw_cfg_read(q, key, &v, sizeof v);
    return GUINT16_FROM_LE(v);
}

uint32_t qtest_fw_cfg_read32(QTest *q, uint16_t key)
{
    uint32_t v;
    qtest_fw_cfg_read(q, key, &v, sizeof v);
    return GUINT32_FROM_LE(v);
}

uint64_t qtest_fw_cfg_read64(QTest *q, uint16_t key)
{
    uint64_t v;
    qtest_fw_cfg_read(q, key, &v, sizeof v);
    return GUINT64_FROM_LE(v);
}

uint16_t qtest_fw_cfg_find(QTest *q, const char *name, uint32_t *size)
{
    struct {
        uint32_t size;
        uint16_t select, reserved;
        char name[56];
    } file;
    uint32_t count;
    uint16_t key = 0;
    qtest_fw_cfg_read(q, 0x19 /* FW_CFG_FILE_DIR */, &count, sizeof count);
    for (count = GUINT32_FROM_BE(count); count && !key; count--) {
        for (size_t i = 0; i < sizeof file; i++) {
            ((uint8_t *)&file)[i] = qtest_inb(q, 0x511);
        }
        if (!strncmp(file.name, name, sizeof file.name)) {
            key = GUINT16_FROM_BE(file.select);
            if (size) {
                *size = GUINT32_FROM_BE(file.size);
            }
        }
    }
    return key;
}
