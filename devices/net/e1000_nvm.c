/* SPDX-License-Identifier: GPL-2.0-or-later */
/* e1000: the EEPROM (chapter 5; a 93C46) and the PHY (chapters 11 and 13.4.14). */
#include "e1000.h"

enum {
    EEPROM_COMPATIBILITY = 0x03,
    EEPROM_INIT_CONTROL1 = 0x0a,
    EEPROM_SUBSYSTEM_ID = 0x0b,
    EEPROM_SUBSYSTEM_VENDOR = 0x0c,
    EEPROM_DEVICE_ID = 0x0d,
    EEPROM_VENDOR_ID = 0x0e,
    EEPROM_INIT_CONTROL2 = 0x0f,
    EEPROM_INIT_CONTROL3 = 0x24,
    EEPROM_CHECKSUM = 0x3f,

    PHY_ADDRESS = 1,
    AUTONEG_MS = 100,
};
#define EEPROM_SUM 0xbaba

/* EEPROM. */

void e1000_eeprom_init(E1000 *c)
{
    const uint8_t *config = c->pci.s.config;
    uint16_t *e = c->s.eeprom.words, sum = 0;

    c->s.eeprom = (Microwire){0};
    for (unsigned i = 0; i < MICROWIRE_WORDS; i++) {
        e[i] = i >= EEPROM_COMPATIBILITY && i < 8 && i != 4 ? 0 : 0xffff;
    }
    for (unsigned i = 0; i < 3; i++) {
        e[i] = ldle16(c->conf.mac + 2 * i);
    }
    e[EEPROM_INIT_CONTROL1] = 0x4003; /* valid; load the ids that follow */
    e[EEPROM_SUBSYSTEM_ID] = ldle16(config + PCI_SUBSYSTEM_ID);
    e[EEPROM_SUBSYSTEM_VENDOR] = ldle16(config + PCI_SUBSYSTEM_VENDOR_ID);
    e[EEPROM_DEVICE_ID] = ldle16(config + PCI_DEVICE_ID);
    e[EEPROM_VENDOR_ID] = ldle16(config + PCI_VENDOR_ID);
    e[EEPROM_INIT_CONTROL2] = 0x3040; /* advertises pause frames */
    e[EEPROM_INIT_CONTROL3] = 0;      /* no wake-up after power-on */
    for (unsigned i = 0; i < EEPROM_CHECKSUM; i++) {
        sum += e[i];
    }
    e[EEPROM_CHECKSUM] = EEPROM_SUM - sum;
}

void e1000_load_address(E1000 *c)
{
    const uint16_t *e = c->s.eeprom.words;

    c->s.ra[0] = e[0] | (uint32_t)e[1] << 16;
    c->s.ra[1] = e[2] | E1000_RAH_AV;
}

uint32_t e1000_eecd_read(const E1000 *c)
{
    uint32_t value = c->s.reg[E1000_EECD];

    value |= value & E1000_EECD_REQ ? E1000_EECD_GNT : 0;
    return value | (microwire_out(&c->s.eeprom) ? E1000_EECD_DO : 0);
}

void e1000_eecd_write(E1000 *c, uint32_t value)
{
    const uint32_t writable =
        E1000_EECD_SK | E1000_EECD_CS | E1000_EECD_DI | E1000_EECD_FWE | E1000_EECD_REQ;

    c->s.reg[E1000_EECD] = (value & writable) | E1000_EECD_PRES;
    microwire_set(&c->s.eeprom, value & E1000_EECD_CS, value & E1000_EECD_SK,
                  value & E1000_EECD_DI);
}

void e1000_eerd_write(E1000 *c, uint32_t value)
{
    unsigned address = value >> 8 & 0xff;

    if (!(value & E1000_EERD_START)) {
        return;
    }
    c->s.reg[E1000_EERD] = address << 8 | E1000_EERD_DONE;
    if (address < MICROWIRE_WORDS) {
        c->s.reg[E1000_EERD] |= (uint32_t)c->s.eeprom.words[address] << 16;
    }
}

/* PHY. */

void e1000_link_update(E1000 *c, bool tell)
{
    uint16_t control = c->s.phy[PHY_CONTROL];
    bool link = nic_link_is_up(&c->nic.peer) && !(control & PHY_CONTROL_POWER_DOWN);
    bool was = c->s.reg[E1000_STATUS] & E1000_STATUS_LU, up;

    if (!link) {
        c->s.link_due = 0;
    } else if (!was && tell && c->autonegotiation && control & PHY_CONTROL_AUTONEG &&
               !c->s.link_due) {
        /* The cable is there again: the PHY negotiates. */
        c->s.link_due = clock_ns(CLOCK_VIRTUAL_NS) + AUTONEG_MS * NS_PER_MS;
        e1000_update_timer(c);
    }
    up = link && !c->s.link_due;
    c->s.reg[E1000_STATUS] &= ~E1000_STATUS_LU;
    c->s.reg[E1000_STATUS] |= up ? E1000_STATUS_LU : 0;
    c->s.phy[PHY_STATUS] &= ~(PHY_STATUS_LINK | PHY_STATUS_AUTONEG_DONE);
    c->s.phy[PHY_STATUS] |= up ? PHY_STATUS_LINK : 0;
    c->s.phy[PHY_STATUS] |= up && control & PHY_CONTROL_AUTONEG ? PHY_STATUS_AUTONEG_DONE : 0;
    c->s.phy[PHY_LP_ABILITY] = up ? 0x01e0 | PHY_LP_ACK : 0;
    c->s.phy[PHY_1000T_STATUS] = up ? 0x0c00 | PHY_1000T_STATUS_OK : 0;
    c->s.phy[M88_PHY_SPEC_STATUS] = up ? 0xa000 | M88_STATUS_LINK | M88_STATUS_RESOLVED : 0xa000;
    if (up != was) {
        device_bh_schedule(c->rx_bh);
        if (tell) {
            e1000_cause(c, E1000_ICR_LSC);
        }
    }
}

static void e1000_autoneg_start(E1000 *c)
{
    if (c->autonegotiation && nic_link_is_up(&c->nic.peer)) {
        c->s.link_due = clock_ns(CLOCK_VIRTUAL_NS) + AUTONEG_MS * NS_PER_MS;
        e1000_link_update(c, false);
        e1000_update_timer(c);
    }
}

void e1000_autoneg_done(E1000 *c)
{
    bool was = c->s.reg[E1000_STATUS] & E1000_STATUS_LU;

    e1000_link_update(c, false);
    if (!was && c->s.reg[E1000_STATUS] & E1000_STATUS_LU) {
        e1000_cause(c, E1000_ICR_LSC);
    }
}

void e1000_phy_reset(E1000 *c)
{
    uint16_t id2 = c->s.phy[PHY_ID2];

    memset(c->s.phy, 0, sizeof c->s.phy);
    c->s.phy[PHY_CONTROL] = 0x1140; /* auto-negotiation, full duplex, 1000 Mbit/s */
    c->s.phy[PHY_STATUS] = 0x7949;
    c->s.phy[PHY_ID1] = 0x0141;
    c->s.phy[PHY_ID2] = id2;
    c->s.phy[PHY_AUTONEG_ADV] = 0x0de1;
    c->s.phy[PHY_1000T_CTRL] = 0x0e00;
    c->s.phy[PHY_EXT_STATUS] = 0x3000;
    c->s.phy[M88_PHY_SPEC_CTRL] = 0x0360;
    c->s.phy[M88_EXT_PHY_SPEC_CTRL] = 0x0d60;
    e1000_autoneg_start(c);
    e1000_link_update(c, false);
}

static void e1000_phy_control(E1000 *c, uint16_t value)
{
    uint16_t old = c->s.phy[PHY_CONTROL];

    if (value & PHY_CONTROL_RESET) {
        e1000_phy_reset(c);
        return;
    }
    c->s.phy[PHY_CONTROL] = value & ~(PHY_CONTROL_RESTART | 0x003f);
    if (value & PHY_CONTROL_AUTONEG && value & PHY_CONTROL_RESTART) {
        e1000_autoneg_start(c);
    } else if ((value ^ old) & (PHY_CONTROL_POWER_DOWN | PHY_CONTROL_AUTONEG)) {
        e1000_link_update(c, true);
    }
}

static void e1000_phy_write(E1000 *c, unsigned reg, uint16_t value)
{
    switch (reg) {
    case PHY_CONTROL:
        e1000_phy_control(c, value);
        break;
    case PHY_STATUS:
    case PHY_ID1:
    case PHY_ID2:
    case PHY_LP_ABILITY:
    case PHY_AUTONEG_EXP:
    case PHY_1000T_STATUS:
    case PHY_EXT_STATUS:
    case M88_PHY_SPEC_STATUS:
        break; /* read-only */
    default:
        c->s.phy[reg] = value;
        break;
    }
}

void e1000_mdic_write(E1000 *c, uint32_t value)
{
    unsigned reg = value >> 16 & 0x1f, address = value >> 21 & 0x1f;
    bool read = value & E1000_MDIC_READ, write = value & E1000_MDIC_WRITE;

    value &= 0x2fffffff;
    if (address != PHY_ADDRESS || read == write) {
        value |= E1000_MDIC_ERROR;
    } else if (read) {
        value = (value & ~0xffffu) | c->s.phy[reg];
    } else {
        e1000_phy_write(c, reg, value);
    }
    c->s.reg[E1000_MDIC] = value | E1000_MDIC_READY;
    if (value & E1000_MDIC_I) {
        e1000_cause(c, E1000_ICR_MDAC);
    }
}
