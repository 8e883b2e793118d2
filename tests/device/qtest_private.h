/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the client library share. */
#ifndef TESTS_QTEST_PRIVATE_H
#define TESTS_QTEST_PRIVATE_H

#include <glib.h>
#include <sys/types.h>

#include "qtest_client.h"

#define REPLY_MS    20000
#define TRAIL_LINES 12 /* of the wire, shown when a test fails */
#define IRQ_MAX     64

#define fail(...) qtest_fail(__FILE__, __LINE__, __VA_ARGS__)

/* Addresses given to BARs so far. */
typedef struct {
    uint32_t io_next;
    uint64_t mem_next;
} QPciSpace;

typedef struct {
    int fd;
    GString *in;
} Wire;

struct QTest {
    pid_t pid;
    Wire qtest, qmp;
    GQueue *events; /* json_t */
    GQueue *trail;  /* char *, the last lines */
    bool irq_level[IRQ_MAX];
    unsigned irq_edges[IRQ_MAX];
    uint64_t alloc_next, ram_size;
    QPciSpace pci;
};

/* State of the test program itself. A case runs in a process of its own, so this is per case. */
typedef struct {
    bool verbose;
    const char *case_name;
    char *tmp_dir;
    QTest *current[8]; /* started and not ended, for the trail of a failure */
    unsigned current_count;
} QTestCases;
extern QTestCases qtest_cases;

void qpci_space_init(QPciSpace *space);
QPciSpace *qtest_pci_space(QTest *q);

/* The wire: lines to and from one of the program's two sockets; 'trail' remembers the last. */
void qtest_trail(QTest *q, const char *mark, const char *line);
void qtest_wire_send(QTest *q, Wire *w, const char *text, size_t len);
/* The next line, without its end; NULL where none came in time. Caller frees. */
char *qtest_wire_line(QTest *q, Wire *w, int timeout_ms);
/* Sends a command; the answer's words behind OK (caller frees). */
char *qtest_command(QTest *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
uint64_t qtest_command_number(QTest *q, const char *cmd, uint64_t addr);
void qtest_command_write(QTest *q, const char *cmd, uint64_t addr, uint64_t value);
void qtest_qmp_handshake(QTest *q);

#endif
