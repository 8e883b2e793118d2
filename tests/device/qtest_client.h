/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client side of the device tests: starts the real binary under -accel qtest, and pokes its
 * registers and its guest memory over the qtest socket. No KVM, no firmware, no time passes but by
 * qtest_clock_*().
 *
 * Whatever goes wrong (a closed socket, FAIL, a QMP error, a failed check) ends the test case at
 * once, and says where, with the last lines that went over the wire. A test file is
 *
 *     static void test_reset(void)
 *     {
 *         QTest *q = qtest_start("-device foo,id=foo0");
 *         qtest_check_eq(qtest_inb(q, 0x123), 0x42);
 *         qtest_end(q);
 *     }
 *     static const QTestCase cases[] = {{"reset", test_reset}, {0}};
 *     int main(int argc, char **argv)
 *     {
 *         return qtest_run(argc, argv, cases);
 *     }
 *
 * Each case runs in a process of its own, with a time limit; results are TAP (meson reads them).
 * Arguments of the test program choose cases by name; '-v' shows the wire. The binary under test is
 * $VMM_BINARY (meson passes it); it may well be QEMU, to check the test itself.
 */
#ifndef TESTS_QTEST_CLIENT_H
#define TESTS_QTEST_CLIENT_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct QTest QTest;

/* Test programs. */
typedef struct {
    const char *name;
    void (*fn)(void);
} QTestCase;
int qtest_run(int argc, char **argv, const QTestCase *cases); /* ended by {0} */
/* Ends the case as skipped, with the reason. */
void qtest_skip(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
/* Whether the program may be one with a sanitizer, which makes it slow and large. */
bool qtest_sanitized(void);
/* A folder that is removed after the case. */
const char *qtest_tmp_dir(void);
/* Runs vmm-img with these words, which has to succeed. */
void qtest_img(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Checks; they evaluate their arguments once, and print both values. */
#define qtest_check(cond)                                                                          \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            qtest_fail(__FILE__, __LINE__, "check failed: %s", #cond);                             \
        }                                                                                          \
    } while (0)
#define qtest_check_op_(a, op, b)                                                                  \
    do {                                                                                           \
        long long qa_ = (long long)(a), qb_ = (long long)(b);                                      \
        if (!(qa_ op qb_)) {                                                                       \
            qtest_fail(__FILE__, __LINE__,                                                         \
                       "check failed: %s %s %s\n  %lld (%#llx) and %lld (%#llx)", #a, #op, #b,     \
                       qa_, (unsigned long long)qa_, qb_, (unsigned long long)qb_);                \
        }                                                                                          \
    } while (0)
#define qtest_check_eq(a, b) qtest_check_op_(a, ==, b)
#define qtest_check_ne(a, b) qtest_check_op_(a, !=, b)
#define qtest_check_lt(a, b) qtest_check_op_(a, <, b)
#define qtest_check_le(a, b) qtest_check_op_(a, <=, b)
#define qtest_check_ge(a, b) qtest_check_op_(a, >=, b)
#define qtest_check_str(a, b)                                                                      \
    do {                                                                                           \
        const char *qa_ = (a), *qb_ = (b);                                                         \
        if (g_strcmp0(qa_, qb_)) {                                                                 \
            qtest_fail(__FILE__, __LINE__, "check failed: %s is '%s', not '%s'", #a,               \
                       qa_ ? qa_ : "(null)", qb_ ? qb_ : "(null)");                                \
        }                                                                                          \
    } while (0)
#define qtest_check_mem(a, b, len)                                                                 \
    do {                                                                                           \
        if (memcmp((a), (b), (len))) {                                                             \
            qtest_fail(__FILE__, __LINE__, "check failed: %s and %s differ (%zu bytes)", #a, #b,   \
                       (size_t)(len));                                                             \
        }                                                                                          \
    } while (0)
void qtest_fail(const char *file, int line, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4) G_GNUC_NORETURN;

/*
 * Life. 'args' are shell-like words that go behind '-accel qtest -display none -nodefaults'... but
 * not -nodefaults: that is the caller's to say. The binary's stderr goes to the test's, or, with
 * qtest_start_fails(), is returned.
 */
QTest *qtest_start(const char *args);
QTest *qtest_startf(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* The status of a program that could not start (src/vm/include/vm/end.h). */
#define QTEST_NOT_STARTED 2
/* Expects the program to end by itself without having served; gives its stderr (caller frees). */
char *qtest_start_fails(const char *args, int *status);
/* Asks it to end (SIGTERM), checks for status 0, frees. */
void qtest_end(QTest *q);
/* Waits until it ends by itself, frees; gives the exit status, or -SIGNAL. */
int qtest_wait_exit(QTest *q);
int qtest_pid(QTest *q);

/* Ports. */
void qtest_outb(QTest *q, uint16_t port, uint8_t value);
void qtest_outw(QTest *q, uint16_t port, uint16_t value);
void qtest_outl(QTest *q, uint16_t port, uint32_t value);
uint8_t qtest_inb(QTest *q, uint16_t port);
uint16_t qtest_inw(QTest *q, uint16_t port);
uint32_t qtest_inl(QTest *q, uint16_t port);

/* Memory: MMIO of the width said, and RAM in bulk. */
void qtest_writeb(QTest *q, uint64_t addr, uint8_t value);
void qtest_writew(QTest *q, uint64_t addr, uint16_t value);
void qtest_writel(QTest *q, uint64_t addr, uint32_t value);
void qtest_writeq(QTest *q, uint64_t addr, uint64_t value);
uint8_t qtest_readb(QTest *q, uint64_t addr);
uint16_t qtest_readw(QTest *q, uint64_t addr);
uint32_t qtest_readl(QTest *q, uint64_t addr);
uint64_t qtest_readq(QTest *q, uint64_t addr);
void qtest_read(QTest *q, uint64_t addr, void *buf, size_t len);
void qtest_write(QTest *q, uint64_t addr, const void *buf, size_t len);
void qtest_memset(QTest *q, uint64_t addr, uint8_t byte, size_t len);

/* Guest memory to use: from 1 MiB up, zeroed by nobody. align is a power of two (0: 16). */
uint64_t qtest_alloc(QTest *q, size_t size, size_t align);
void qtest_alloc_reset(QTest *q);
uint64_t qtest_ram_size(QTest *q); /* fw_cfg says */

/* The virtual clock, ns. */
int64_t qtest_clock_step(QTest *q, int64_t ns);
int64_t qtest_clock_step_next(QTest *q); /* to the next deadline */
int64_t qtest_clock_set(QTest *q, int64_t ns);

/* Interrupts: intercepted at an object's inputs ("ioapic") or outputs. */
void qtest_irq_intercept_in(QTest *q, const char *path);
void qtest_irq_intercept_out(QTest *q, const char *path);
bool qtest_irq(QTest *q, unsigned n);           /* level, as last told */
unsigned qtest_irq_count(QTest *q, unsigned n); /* rising edges since the last call */
void qtest_set_irq_in(QTest *q, const char *path, const char *name, unsigned n, bool level);

/* A raw line, and the words of the answer (with 'OK' or 'FAIL'); caller frees with g_strfreev. */
char **qtest_raw(QTest *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* A line whose answer is not waited for: what ends the program, say. */
void qtest_send(QTest *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/*
 * QMP; the handshake is done. Arguments by jansson's pack format, NULL for none:
 * qtest_qmp(q, "device_add", "{s:s, s:s}", "driver", "virtio-rng-pci", "id", "r0"). Gives what
 * 'return' holds (new reference); _fails gives the description of the expected error, and its
 * class where 'class' is not NULL (caller frees both).
 */
json_t *qtest_qmp(QTest *q, const char *command, const char *pack, ...);
char *qtest_qmp_fails(QTest *q, char **class, const char *command, const char *pack, ...);
/* Sends the text as it is (a CR LF is added), gives the whole reply. */
json_t *qtest_qmp_raw(QTest *q, const char *text);
/* Waits (10 s) for the event; events that came before count, and are dropped up to it. */
json_t *qtest_wait_event(QTest *q, const char *name);
/* Whether it came already. Does a round trip (query-status) first. */
bool qtest_has_event(QTest *q, const char *name);
char *qtest_hmp(QTest *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* system_reset, and waits for its RESET event. */
void qtest_system_reset(QTest *q);

/* Polls cond every millisecond of host time (host I/O completes by itself), 10 s at most. */
#define qtest_wait_until(cond)                                                                     \
    do {                                                                                           \
        int64_t qend_ = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;                              \
        while (!(cond)) {                                                                          \
            if (g_get_monotonic_time() > qend_) {                                                  \
                qtest_fail(__FILE__, __LINE__, "waited in vain for: %s", #cond);                   \
            }                                                                                      \
            g_usleep(1000);                                                                        \
        }                                                                                          \
    } while (0)

/* fw_cfg, as firmware reads it. */
void qtest_fw_cfg_read(QTest *q, uint16_t key, void *buf, size_t len);
uint16_t qtest_fw_cfg_read16(QTest *q, uint16_t key);
uint32_t qtest_fw_cfg_read32(QTest *q, uint16_t key);
uint64_t qtest_fw_cfg_read64(QTest *q, uint16_t key);
/* The key of a file and its size; 0 where there is none. */
uint16_t qtest_fw_cfg_find(QTest *q, const char *name, uint32_t *size);

/* PCI, on bus 0, through 0xcf8 and 0xcfc. */
typedef struct {
    QTest *q;
    uint8_t bus, devfn;
    uint16_t vendor, device;
    uint8_t msix_cap; /* 0: not set up */
    uint64_t msix_table, msix_pba;
    unsigned msix_count;
} QPci;
typedef struct {
    QTest *q;
    bool io;
    uint64_t addr, size;
} QPciBar;
/* The n-th with these ids (-1: any); false where there is none. */
bool qpci_find(QTest *q, QPci *dev, int vendor, int device, unsigned nth);
/* Opens the device at slot and function; fails the case if there is none. */
void qpci_open(QTest *q, QPci *dev, unsigned slot, unsigned fn);
uint8_t qpci_config_readb(QPci *dev, unsigned offset);
uint16_t qpci_config_readw(QPci *dev, unsigned offset);
uint32_t qpci_config_readl(QPci *dev, unsigned offset);
void qpci_config_writeb(QPci *dev, unsigned offset, uint8_t value);
void qpci_config_writew(QPci *dev, unsigned offset, uint16_t value);
void qpci_config_writel(QPci *dev, unsigned offset, uint32_t value);
/* I/O, memory and bus mastering on. */
void qpci_enable(QPci *dev);
/* Sizes BAR n and gives it an address (I/O from 0xc000, memory from 0xe0000000). */
QPciBar qpci_map_bar(QPci *dev, unsigned n);
uint8_t qpci_readb(QPciBar bar, uint64_t offset);
uint16_t qpci_readw(QPciBar bar, uint64_t offset);
uint32_t qpci_readl(QPciBar bar, uint64_t offset);
uint64_t qpci_readq(QPciBar bar, uint64_t offset); /* I/O: two halves */
void qpci_writeb(QPciBar bar, uint64_t offset, uint8_t value);
void qpci_writew(QPciBar bar, uint64_t offset, uint16_t value);
void qpci_writel(QPciBar bar, uint64_t offset, uint32_t value);
void qpci_writeq(QPciBar bar, uint64_t offset, uint64_t value);
/* The capability of that id behind 'after' (0: the first); 0 where there is none. */
uint8_t qpci_find_cap(QPci *dev, uint8_t id, uint8_t after);
/*
 * MSI-X: maps the table (BARs that the test mapped already are found again by their address), and
 * switches it on, every vector masked. A message is a 32-bit store to guest RAM under qtest.
 */
void qpci_msix_enable(QPci *dev);
void qpci_msix_disable(QPci *dev);
void qpci_msix_set(QPci *dev, unsigned vector, uint64_t addr, uint32_t data); /* unmasks */
void qpci_msix_mask(QPci *dev, unsigned vector, bool masked);
bool qpci_msix_pending(QPci *dev, unsigned vector);
/* Whether the message has arrived at 'addr' (then it is cleared). */
bool qpci_msix_take(QPci *dev, uint64_t addr, uint32_t data);

#endif
