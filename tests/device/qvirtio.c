/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qvirtio.h"

/* Registers of struct virtio_pci_common_cfg (4.1.4.3). */
enum {
    DFSELECT = 0,
    DF = 4,
    GFSELECT = 8,
    GF = 12,
    STATUS = 20,
    Q_SELECT = 22,
    Q_SIZE = 24,
    Q_MSIX = 26,
    Q_ENABLE = 28,
    Q_NOFF = 30,
    Q_DESC = 32,
    Q_DRIVER = 40,
    Q_DEVICE = 48
};
/* The legacy header (4.1.4.10). */
enum {
    L_HOST_FEATURES = 0,
    L_GUEST_FEATURES = 4,
    L_PFN = 8,
    L_NUM = 12,
    L_SEL = 14,
    L_NOTIFY = 16,
    L_STATUS = 18,
    L_ISR = 19,
    L_MSI_QUEUE = 22
};

static void find_caps(QVirtio *v)
{
    for (uint8_t cap = 0; (cap = qpci_find_cap(&v->pci, 9, cap));) {
        uint32_t offset = qpci_config_readl(&v->pci, cap + 8);

        switch (qpci_config_readb(&v->pci, cap + 3)) {
        case 1:
            v->common = offset;
            break;
        case 2:
            v->notify = offset;
            v->notify_multiplier = qpci_config_readl(&v->pci, cap + 16);
            break;
        case 3:
            v->isr = offset;
            break;
        case 4:
            v->device = offset;
            break;
        default:
            break;
        }
    }
}

void qv_open(QTest *q, QVirtio *v, unsigned slot, bool legacy)
{
    *v = (QVirtio){.q = q, .legacy = legacy};
    qpci_open(q, &v->pci, slot, 0);
    qtest_check_eq(v->pci.vendor, 0x1af4);
    v->bar = qpci_map_bar(&v->pci, legacy ? 0 : 4);
    if (!legacy) {
        find_caps(v);
    }
    qpci_enable(&v->pci);
}

uint8_t qv_status(QVirtio *v)
{
    return qpci_readb(v->bar, v->legacy ? L_STATUS : v->common + STATUS);
}

void qv_set_status(QVirtio *v, uint8_t status)
{
    qpci_writeb(v->bar, v->legacy ? L_STATUS : v->common + STATUS, status);
}

uint64_t qv_device_features(QVirtio *v)
{
    uint64_t f;

    if (v->legacy) {
        return qpci_readl(v->bar, L_HOST_FEATURES);
    }
    qpci_writel(v->bar, v->common + DFSELECT, 0);
    f = qpci_readl(v->bar, v->common + DF);
    qpci_writel(v->bar, v->common + DFSELECT, 1);
    return f | (uint64_t)qpci_readl(v->bar, v->common + DF) << 32;
}

void qv_init(QVirtio *v, uint64_t wanted)
{
    qv_set_status(v, 0);
    qtest_check_eq(qv_status(v), 0);
    qv_set_status(v, QV_ACKNOWLEDGE);
    qv_set_status(v, QV_ACKNOWLEDGE | QV_DRIVER);
    v->features = qv_device_features(v) & (wanted | (v->legacy ? 0 : QV_F_VERSION_1));
    if (v->legacy) {
        qpci_writel(v->bar, L_GUEST_FEATURES, v->features);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        qpci_writel(v->bar, v->common + GFSELECT, i);
        qpci_writel(v->bar, v->common + GF, v->features >> (32 * i));
    }
    qv_set_status(v, QV_ACKNOWLEDGE | QV_DRIVER | QV_FEATURES_OK);
    qtest_check(qv_status(v) & QV_FEATURES_OK);
}

void qv_driver_ok(QVirtio *v)
{
    qv_set_status(v, qv_status(v) | QV_DRIVER_OK);
}

static uint64_t config_at(QVirtio *v, unsigned offset)
{
    return v->legacy ? (v->pci.msix_cap ? 24 : 20) + offset : v->device + offset;
}

uint8_t qv_config8(QVirtio *v, unsigned offset)
{
    return qpci_readb(v->bar, config_at(v, offset));
}

uint16_t qv_config16(QVirtio *v, unsigned offset)
{
    return qpci_readw(v->bar, config_at(v, offset));
}

uint32_t qv_config32(QVirtio *v, unsigned offset)
{
    return qpci_readl(v->bar, config_at(v, offset));
}

uint64_t qv_config64(QVirtio *v, unsigned offset)
{
    return qv_config32(v, offset) | (uint64_t)qv_config32(v, offset + 4) << 32;
}

void qv_config_write8(QVirtio *v, unsigned offset, uint8_t value)
{
    qpci_writeb(v->bar, config_at(v, offset), value);
}

void qv_config_write32(QVirtio *v, unsigned offset, uint32_t value)
{
    qpci_writel(v->bar, config_at(v, offset), value);
}

uint8_t qv_isr(QVirtio *v)
{
    return qpci_readb(v->bar, v->legacy ? L_ISR : v->isr);
}

static void select_queue(QVirtio *v, unsigned index)
{
    qpci_writew(v->bar, v->legacy ? L_SEL : v->common + Q_SELECT, index);
}

unsigned qv_queue_size(QVirtio *v, unsigned index)
{
    select_queue(v, index);
    return qpci_readw(v->bar, v->legacy ? L_NUM : v->common + Q_SIZE);
}

void qv_queue_vector(QVirtio *v, unsigned index, uint16_t vector)
{
    uint64_t reg = v->legacy ? L_MSI_QUEUE : v->common + Q_MSIX;

    select_queue(v, index);
    qpci_writew(v->bar, reg, vector);
    qtest_check_eq(qpci_readw(v->bar, reg), vector);
}

void qv_queue(QVirtio *v, QVirtq *vq, unsigned index)
{
    *vq = (QVirtq){.v = v, .index = index, .avail_wrap = true, .used_wrap = true};
    vq->packed = v->features & QV_F_PACKED;
    vq->size = qv_queue_size(v, index);
    qtest_check_ne(vq->size, 0);
    if (!v->legacy && vq->size > 64) {
        vq->size = 64;
        qpci_writew(v->bar, v->common + Q_SIZE, vq->size);
        qtest_check_eq(qpci_readw(v->bar, v->common + Q_SIZE), 64);
    }
    size_t bytes = ((vq->size * 18 + 6 + 4095) & ~4095u) + vq->size * 8 + 6;
    vq->desc = qtest_alloc(v->q, bytes, 4096);
    qtest_memset(v->q, vq->desc, 0, bytes);
    vq->driver = vq->desc + vq->size * 16;
    vq->device = (vq->driver + 6 + 2 * vq->size + 4095) & ~4095ull;
    if (v->legacy) {
        qpci_writel(v->bar, L_PFN, vq->desc >> 12);
        return;
    }
    qpci_writeq(v->bar, v->common + Q_DESC, vq->desc);
    qpci_writeq(v->bar, v->common + Q_DRIVER, vq->driver);
    qpci_writeq(v->bar, v->common + Q_DEVICE, vq->device);
    vq->notify_off = qpci_readw(v->bar, v->common + Q_NOFF);
    qpci_writew(v->bar, v->common + Q_ENABLE, 1);
    qtest_check_eq(qpci_readw(v->bar, v->common + Q_ENABLE), 1);
}

static void put_desc(QVirtq *vq, unsigned i, const QPiece *p, uint16_t a, uint16_t b)
{
    QTest *q = vq->v->q;
    uint64_t at = vq->desc + 16ull * i;

    qtest_writeq(q, at, p->addr);
    qtest_writel(q, at + 8, p->len);
    qtest_writew(q, at + 12, a);
    qtest_writew(q, at + 14, b);
}

static int add_split(QVirtq *vq, const QPiece *p, unsigned n)
{
    QTest *q = vq->v->q;
    unsigned head = vq->next_id;

    for (unsigned i = 0; i < n; i++) {
        put_desc(vq, (head + i) % vq->size, &p[i], (p[i].write ? 2 : 0) | (i + 1 < n ? 1 : 0),
                 (head + i + 1) % vq->size);
    }
    vq->next_id = (head + n) % vq->size;
    qtest_writew(q, vq->driver + 4 + 2 * (vq->avail % vq->size), head);
    qtest_writew(q, vq->driver + 2, ++vq->avail);
    vq->added++;
    return head;
}

static int add_packed(QVirtq *vq, const QPiece *p, unsigned n)
{
    unsigned first = vq->avail, id = vq->next_id;
    uint16_t first_flags = 0;

    vq->next_id = (id + 1) % vq->size;
    vq->ndescs[id] = n;
    for (unsigned i = 0; i < n; i++) {
        uint16_t flags =
            (p[i].write ? 2 : 0) | (i + 1 < n ? 1 : 0) | (vq->avail_wrap ? 0x80 : 0x8000);

        if (i) {
            put_desc(vq, vq->avail, &p[i], id, flags);
        } else {
            first_flags = flags;
        }
        if (++vq->avail == vq->size) {
            vq->avail = 0;
            vq->avail_wrap = !vq->avail_wrap;
        }
    }
    put_desc(vq, first, &p[0], id, first_flags);
    vq->added += n;
    return id;
}

int qv_add(QVirtq *vq, const QPiece *pieces, unsigned n)
{
    return vq->packed ? add_packed(vq, pieces, n) : add_split(vq, pieces, n);
}

int qv_add_indirect(QVirtq *vq, const QPiece *pieces, unsigned n)
{
    enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
    uint64_t table = qtest_alloc(vq->v->q, 16 * n, 16);
    QPiece whole = {table, 16 * n, false};
    unsigned flags_at = vq->packed ? 14 : 12;
    uint64_t desc;
    int id;

    for (unsigned i = 0; i < n; i++) {
        uint16_t flags = (pieces[i].write ? WRITE : 0) | (!vq->packed && i + 1 < n ? NEXT : 0);

        qtest_writeq(vq->v->q, table + 16 * i, pieces[i].addr);
        qtest_writel(vq->v->q, table + 16 * i + 8, pieces[i].len);
        qtest_writew(vq->v->q, table + 16 * i + 12, vq->packed ? 0 : flags);
        qtest_writew(vq->v->q, table + 16 * i + 14, vq->packed ? flags : i + 1);
    }
    /* The device reads the ring only after the kick. */
    desc = vq->desc + 16 * (vq->packed ? vq->avail : vq->next_id);
    id = qv_add(vq, &whole, 1);
    qtest_writew(vq->v->q, desc + flags_at, qtest_readw(vq->v->q, desc + flags_at) | INDIRECT);
    return id;
}

/* Whether moving on to 'now' by 'added' passed 'event' (2.7.10). */
static bool passes(uint16_t event, uint16_t now, uint16_t added)
{
    return (uint16_t)(now - event - 1) < added;
}

static bool kick_wanted(QVirtq *vq)
{
    QTest *q = vq->v->q;
    bool event_idx = vq->v->features & QV_F_EVENT_IDX;
    uint16_t event, flags;

    if (!vq->packed) {
        return event_idx
                   ? passes(qtest_readw(q, vq->device + 4 + 8 * vq->size), vq->avail, vq->added)
                   : !(qtest_readw(q, vq->device) & 1);
    }
    event = qtest_readw(q, vq->device);
    flags = qtest_readw(q, vq->device + 2);
    if (flags != 2) {
        return flags == 0;
    }
    event = (event & 0x7fff) - (!!(event & 0x8000) != vq->avail_wrap ? vq->size : 0);
    return passes(event, vq->avail, vq->added);
}

void qv_kick_if_wanted(QVirtq *vq)
{
    if (kick_wanted(vq)) {
        qv_kick(vq);
    }
    vq->added = 0;
}

void qv_kick(QVirtq *vq)
{
    QVirtio *v = vq->v;

    vq->added = 0;
    if (v->legacy) {
        qpci_writew(v->bar, L_NOTIFY, vq->index);
    } else {
        qpci_writew(v->bar, v->notify + vq->notify_off * v->notify_multiplier, vq->index);
    }
}

bool qv_get(QVirtq *vq, uint32_t *id, uint32_t *len)
{
    QTest *q = vq->v->q;
    uint64_t at;

    if (!vq->packed) {
        if (qtest_readw(q, vq->device + 2) == vq->used) {
            return false;
        }
        at = vq->device + 4 + 8 * (vq->used % vq->size);
        *id = qtest_readl(q, at);
        *len = qtest_readl(q, at + 4);
        vq->used++;
        return true;
    }
    at = vq->desc + 16 * vq->used;
    uint16_t flags = qtest_readw(q, at + 14);
    if (!!(flags & 0x80) != vq->used_wrap || !!(flags & 0x8000) != vq->used_wrap) {
        return false;
    }
    *id = qtest_readw(q, at + 12);
    *len = qtest_readl(q, at + 8);
    vq->used += vq->ndescs[*id % 1024];
    if (vq->used >= vq->size) {
        vq->used -= vq->size;
        vq->used_wrap = !vq->used_wrap;
    }
    return true;
}

uint32_t qv_do(QVirtq *vq, const QPiece *pieces, unsigned n)
{
    uint32_t id, len;
    int head = qv_add(vq, pieces, n);

    qv_kick(vq);
    qtest_wait_until(qv_get(vq, &id, &len));
    qtest_check_eq(id, head);
    return len;
}
