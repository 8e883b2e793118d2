/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CPU that writes anything to the registers of devices that other CPUs drive: no more can be said
 * of their data then, but the program has to stand it. Left out are registers that hold addresses,
 * as memory of the virtio drivers is not to be written to, interrupt masks of functions whose pins
 * virtio disks share, and what resets the machine.
 */
#include "guest_usb.h"

typedef struct {
    uint16_t port;
    uint8_t count; /* registers from there on */
} PokePorts;

static const PokePorts poke_ports[] = {
    {0x1f0, 8},  {0x3f6, 1},  {0x170, 8},  {0x376, 1},  /* IDE */
    {0xc000, 1}, {0xc002, 1}, {0xc008, 1}, {0xc00a, 1}, /* its bus master */
    {0x3f2, 1},  {0x3f4, 2},  {0x3f7, 1},  {0x08, 8},   /* floppy and DMA controllers */
    {0x60, 1},   {0x64, 1},
};

static const PokePorts poke_uhci[] = {{0xc100, 4}, {0xc106, 2}, {0xc10c, 1}, {0xc110, 4}};

/* In the BARs of EHCI and xHCI. */
static const uint16_t poke_ehci[] = {0x20, 0x24, 0x2c, 0x60, 0x64, 0x68};
static const uint16_t poke_xhci[] = {0x40,  0x44,   0x440,  0x450,  0x480,
                                     0x490, 0x1000, 0x2000, 0x2004, 0x2008};

static void poke_port(Cpu *c, const PokePorts *list, unsigned n)
{
    const PokePorts *p = &list[rand_below(&c->rand, n)];
    uint16_t port = p->port + rand_below(&c->rand, p->count);
    uint32_t v = rand_below(&c->rand, 0x10000);

    if (rand_one_in(&c->rand, 2)) {
        guest_in(port, 1);
    } else if (port != 0x64 || ((v & 0xff) != 0xd1 && (v & 0xff) < 0xf0)) {
        guest_out(port, v, port == 0x1f0 || port == 0x170 ? 2 : 1);
    }
}

static void poke_bar(Cpu *c)
{
    bool xhci = world.config.usb == USB_IS_XHCI;
    unsigned n = xhci ? G_N_ELEMENTS(poke_xhci) : G_N_ELEMENTS(poke_ehci);
    unsigned reg = (xhci ? poke_xhci : poke_ehci)[rand_below(&c->rand, n)];

    if (rand_one_in(&c->rand, 2)) {
        usb_guest_read(reg);
    } else {
        /* Of few bits: most of a random number would be reserved ones. */
        usb_guest_write(reg, 1u << rand_below(&c->rand, 22) | rand_below(&c->rand, 8));
    }
}

static void poke_function(Cpu *c)
{
    static const uint8_t functions[] = {PCI_DEVFN(1, 1), PCI_DEVFN(1, 2), PCI_DEVFN(3, 0)};
    uint32_t config = functions[rand_below(&c->rand, sizeof functions)] << 8;

    pci_config_write(world.pci, config | PCI_COMMAND, 0x400 | rand_below(&c->rand, 8), 2);
}

bool guest_poke_step(Cpu *c, unsigned n)
{
    unsigned what = rand_below(&c->rand, 10);

    if (what == 0) {
        poke_function(c);
    } else if (what < 5 && world.config.usb >= USB_IS_EHCI) {
        poke_bar(c);
    } else if (what < 5 && world.config.usb) {
        poke_port(c, poke_uhci, G_N_ELEMENTS(poke_uhci));
    } else {
        poke_port(c, poke_ports, G_N_ELEMENTS(poke_ports));
    }
    return n == 8;
}
