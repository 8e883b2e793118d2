/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two halves of the client library share. */
#ifndef TESTS_QTEST_PRIVATE_H
#define TESTS_QTEST_PRIVATE_H

#include "qtest_client.h"

/* Addresses given to BARs so far. */
typedef struct {
    uint32_t io_next;
    uint64_t mem_next;
} QPciSpace;

void qpci_space_init(QPciSpace *space);
QPciSpace *qtest_pci_space(QTest *q);

#endif
