/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rtl8139_client.h"

uint8_t rtl_readb(Rtl *c, unsigned reg)
{
    return qpci_readb(c->bar, reg);
}

uint16_t rtl_readw(Rtl *c, unsigned reg)
{
    return qpci_readw(c->bar, reg);
}

uint32_t rtl_readl(Rtl *c, unsigned reg)
{
    return qpci_readl(c->bar, reg);
}

void rtl_writeb(Rtl *c, unsigned reg, uint8_t value)
{
    qpci_writeb(c->bar, reg, value);
}

void rtl_writew(Rtl *c, unsigned reg, uint16_t value)
{
    qpci_writew(c->bar, reg, value);
}

void rtl_writel(Rtl *c, unsigned reg, uint32_t value)
{
    qpci_writel(c->bar, reg, value);
}

static void rtl_start_program(Rtl *c)
{
    c->q = qtest_startf("-machine pc -m 64 -nodefaults %s -device "
                        "rtl8139,id=card,netdev=n0,mac=52:54:00:aa:bb:cc,addr=5,romfile=",
                        c->w.args);
    qpci_open(c->q, &c->pci, 5, 0);
    c->bar = qpci_map_bar(&c->pci, 1);
    qpci_enable(&c->pci);
    c->rx = qtest_alloc(c->q, 1024, 256);
    c->tx = qtest_alloc(c->q, 1024, 256);
    c->high = qtest_alloc(c->q, 1024, 256);
    c->rx_data = qtest_alloc(c->q, 128 * 1024, 256);
    c->tx_data = qtest_alloc(c->q, 128 * 1024, 256);
}

void rtl_open(Rtl *c)
{
    *c = (Rtl){0};
    qwire_open(&c->w);
    rtl_start_program(c);
}

void rtl_open_tap(Rtl *c)
{
    *c = (Rtl){0};
    qwire_open_tap(&c->w, "");
    rtl_start_program(c);
    qwire_tap_up(&c->w);
}

void rtl_end(Rtl *c)
{
    qtest_end(c->q);
    qwire_close(&c->w);
}

bool rtl_interrupts(Rtl *c)
{
    return qpci_config_readw(&c->pci, 6) & 8;
}
