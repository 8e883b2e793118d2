/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "e1000_client.h"

static void card_start_program(Card *c, const char *device, const char *more)
{
    c->q = qtest_startf("-machine pc -m 64 -nodefaults %s -device "
                        "%s,id=card,netdev=n0,mac=52:54:00:aa:bb:cc,addr=5,romfile=%s",
                        c->w.args, device, more);
    qpci_open(c->q, &c->pci, 5, 0);
    c->bar = qpci_map_bar(&c->pci, 0);
    qpci_enable(&c->pci);
}

void card_open(Card *c, const char *device, const char *more)
{
    *c = (Card){0};
    qwire_open(&c->w);
    card_start_program(c, device, more);
}

void card_open_tap(Card *c, const char *options)
{
    *c = (Card){0};
    qwire_open_tap(&c->w, options);
    card_start_program(c, "e1000", "");
    qwire_tap_up(&c->w);
}

void card_end(Card *c)
{
    qtest_end(c->q);
    qwire_close(&c->w);
}

uint32_t card_read(Card *c, unsigned reg)
{
    return qpci_readl(c->bar, reg);
}

void card_write(Card *c, unsigned reg, uint32_t value)
{
    qpci_writel(c->bar, reg, value);
}

bool card_interrupts(Card *c)
{
    return qpci_config_readw(&c->pci, 6) & 8;
}

void card_start(Card *c, unsigned rx, unsigned tx, uint32_t rctl)
{
    unsigned buffer = c->buffer ? c->buffer : BUFFER;

    c->rx_size = rx;
    c->tx_size = tx;
    c->rx = qtest_alloc(c->q, rx * 16, 128);
    c->tx = qtest_alloc(c->q, tx * 16, 128);
    c->rx_data = qtest_alloc(c->q, rx * buffer, 0);
    c->tx_data = qtest_alloc(c->q, 128 * 1024, 0);
    qtest_memset(c->q, c->rx, 0, rx * 16);
    qtest_memset(c->q, c->tx, 0, tx * 16);
    for (unsigned i = 0; i < rx; i++) {
        qtest_writeq(c->q, c->rx + i * 16, c->rx_data + i * buffer);
    }
    c->tail = c->got = 0;
    card_write(c, RDBAL, c->rx);
    card_write(c, RDBAH, 0);
    card_write(c, RDLEN, rx * 16);
    card_write(c, RDH, 0);
    card_write(c, RDT, rx - 1);
    card_write(c, TDBAL, c->tx);
    card_write(c, TDBAH, 0);
    card_write(c, TDLEN, tx * 16);
    card_write(c, TDH, 0);
    card_write(c, TDT, 0);
    card_write(c, RCTL, RCTL_EN | rctl);
    card_write(c, TCTL, TCTL_EN);
}

void card_desc(Card *c, uint64_t addr, uint32_t lower, uint32_t upper)
{
    uint64_t at = c->tx + c->tail * 16;

    qtest_writeq(c->q, at, addr);
    qtest_writel(c->q, at + 8, lower);
    qtest_writel(c->q, at + 12, upper);
    c->tail = (c->tail + 1) % c->tx_size;
}

void card_kick(Card *c)
{
    card_write(c, TDT, c->tail);
}

void card_wait_sent(Card *c)
{
    qtest_wait_until(card_read(c, TDH) == c->tail);
}

void card_send(Card *c, const void *frame, size_t len)
{
    qtest_write(c->q, c->tx_data, frame, len);
    card_desc(c, c->tx_data, len | TXD_EOP | TXD_RS, 0);
    card_kick(c);
    card_wait_sent(c);
}

bool card_received(Card *c)
{
    return qtest_readb(c->q, c->rx + c->got * 16 + 12) & 1;
}

Received card_receive(Card *c, uint8_t *frame)
{
    Received r = {0};
    unsigned all = 0;

    do {
        uint64_t at = c->rx + c->got * 16;

        qtest_wait_until(card_received(c));
        r.len = qtest_readw(c->q, at + 8);
        r.checksum = qtest_readw(c->q, at + 10);
        r.status = qtest_readb(c->q, at + 12);
        r.errors = qtest_readb(c->q, at + 13);
        r.special = qtest_readw(c->q, at + 14);
        qtest_read(c->q, qtest_readq(c->q, at), frame + all, r.len);
        qtest_writeb(c->q, at + 12, 0);
        all += r.len;
        c->got = (c->got + 1) % c->rx_size;
    } while (!(r.status & 2));
    r.len = all;
    return r;
}

void card_refill(Card *c)
{
    card_write(c, RDT, (c->got + c->rx_size - 1) % c->rx_size);
}
