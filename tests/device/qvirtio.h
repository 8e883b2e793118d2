/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtio driver over PCI for device tests: modern or legacy interface, split or packed rings. */
#ifndef TESTS_QVIRTIO_H
#define TESTS_QVIRTIO_H

#include "qtest_client.h"

#define QV_ACKNOWLEDGE 1
#define QV_DRIVER      2
#define QV_DRIVER_OK   4
#define QV_FEATURES_OK 8
#define QV_NEEDS_RESET 64

#define QV_F_INDIRECT  (1ull << 28)
#define QV_F_EVENT_IDX (1ull << 29)
#define QV_F_VERSION_1 (1ull << 32)
#define QV_F_PACKED    (1ull << 34)
#define QV_F_RESET     (1ull << 40)

typedef struct {
    QTest *q;
    QPci pci;
    bool legacy;
    QPciBar bar; /* modern: BAR 4; legacy: BAR 0 */
    uint64_t common, isr, device, notify;
    uint32_t notify_multiplier;
    uint64_t features; /* accepted */
} QVirtio;

typedef struct {
    QVirtio *v;
    unsigned index, size;
    bool packed;
    uint64_t desc, driver, device;
    uint16_t avail, used, next_id; /* split: indices; packed: positions */
    bool avail_wrap, used_wrap;
    uint16_t added; /* chains (split), descriptors (packed) since the last kick */
    uint16_t ndescs[1024];
    unsigned notify_off;
} QVirtq;

typedef struct {
    uint64_t addr;
    uint32_t len;
    bool write;
} QPiece;

/* The device in that slot, found, its BARs mapped, bus mastering on. */
void qv_open(QTest *q, QVirtio *v, unsigned slot, bool legacy);
uint8_t qv_status(QVirtio *v);
void qv_set_status(QVirtio *v, uint8_t status);
uint64_t qv_device_features(QVirtio *v);
/* Reset, then up to FEATURES_OK with those of 'wanted' that there are. */
void qv_init(QVirtio *v, uint64_t wanted);
void qv_driver_ok(QVirtio *v);
uint8_t qv_config8(QVirtio *v, unsigned offset);
uint16_t qv_config16(QVirtio *v, unsigned offset);
uint32_t qv_config32(QVirtio *v, unsigned offset);
uint64_t qv_config64(QVirtio *v, unsigned offset);
void qv_config_write8(QVirtio *v, unsigned offset, uint8_t value);
void qv_config_write32(QVirtio *v, unsigned offset, uint32_t value);
uint8_t qv_isr(QVirtio *v);

unsigned qv_queue_size(QVirtio *v, unsigned index); /* 0: no such queue */
void qv_queue(QVirtio *v, QVirtq *vq, unsigned index);
void qv_queue_vector(QVirtio *v, unsigned index, uint16_t vector);
int qv_add(QVirtq *vq, const QPiece *pieces, unsigned n);
/* The same by a table (2.7.5.3, 2.8.7), of as many pieces as there are. */
int qv_add_indirect(QVirtq *vq, const QPiece *pieces, unsigned n);
void qv_kick(QVirtq *vq);
/* Kicks as a driver does that keeps to what the device asks for (2.7.10, 2.8.10). */
void qv_kick_if_wanted(QVirtq *vq);
bool qv_get(QVirtq *vq, uint32_t *id, uint32_t *len);
/* Add, kick, wait: the length that was used. */
uint32_t qv_do(QVirtq *vq, const QPiece *pieces, unsigned n);

#endif
