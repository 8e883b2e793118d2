/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers and descriptors of Realtek's RTL8139C+ (data sheet, revision 1.6, chapters 5 and 6). */
#ifndef DEVICES_NET_RTL8139_REGS_H
#define DEVICES_NET_RTL8139_REGS_H

/*
 * Name, offset, bytes, bits that software writes, value after power-on. Registers are reached by
 * accesses of any width, and several by one access.
 */
#define RTL8139_REGISTERS(R)                                                                       \
    R(IDR0, 0x00, 4, 0xffffffff, 0)                                                                \
    R(IDR4, 0x04, 2, 0xffff, 0)                                                                    \
    R(MAR0, 0x08, 4, 0xffffffff, 0)                                                                \
    R(MAR4, 0x0c, 4, 0xffffffff, 0)                                                                \
    R(TSD0, 0x10, 4, 0xffffffff, 0x2000)                                                           \
    R(TSD1, 0x14, 4, 0xffffffff, 0x2000)                                                           \
    R(TSD2, 0x18, 4, 0xffffffff, 0x2000)                                                           \
    R(TSD3, 0x1c, 4, 0xffffffff, 0x2000)                                                           \
    R(TSAD0, 0x20, 4, 0xffffffff, 0)                                                               \
    R(TSAD1, 0x24, 4, 0xffffffff, 0)                                                               \
    R(TSAD2, 0x28, 4, 0xffffffff, 0)                                                               \
    R(TSAD3, 0x2c, 4, 0xffffffff, 0)                                                               \
    R(RBSTART, 0x30, 4, 0xffffffff, 0)                                                             \
    R(ERBCR, 0x34, 2, 0, 0)                                                                        \
    R(ERSR, 0x36, 1, 0, 0)                                                                         \
    R(CR, 0x37, 1, 0x0c, 0)                                                                        \
    R(CAPR, 0x38, 2, 0xffff, 0xfff0)                                                               \
    R(CBR, 0x3a, 2, 0, 0)                                                                          \
    R(IMR, 0x3c, 2, 0xe1ff, 0)                                                                     \
    R(ISR, 0x3e, 2, 0, 0)                                                                          \
    R(TCR, 0x40, 4, 0x030707f0, 0x74800000)                                                        \
    R(RCR, 0x44, 4, 0x0f03ffbf, 0)                                                                 \
    R(TCTR, 0x48, 4, 0, 0)                                                                         \
    R(MPC, 0x4c, 4, 0, 0)                                                                          \
    R(CR9346, 0x50, 1, 0xce, 0)                                                                    \
    R(CONFIG0, 0x51, 1, 0x07, 0)                                                                   \
    R(CONFIG1, 0x52, 1, 0xf3, 0x0c)                                                                \
    R(TIMERINT, 0x54, 4, 0xffffffff, 0)                                                            \
    R(MSR, 0x58, 1, 0xc0, 0xd0)                                                                    \
    R(CONFIG3, 0x59, 1, 0x71, 0x01)                                                                \
    R(CONFIG4, 0x5a, 1, 0xf5, 0)                                                                   \
    R(MULINT, 0x5c, 2, 0x0fff, 0)                                                                  \
    R(RERID, 0x5e, 1, 0, 0x20)                                                                     \
    R(TSAD, 0x60, 2, 0, 0)                                                                         \
    R(BMCR, 0x62, 2, 0x3100, 0x3100)                                                               \
    R(BMSR, 0x64, 2, 0, 0x7809)                                                                    \
    R(ANAR, 0x66, 2, 0xffff, 0x05e1)                                                               \
    R(ANLPAR, 0x68, 2, 0, 0)                                                                       \
    R(ANER, 0x6a, 2, 0, 1)                                                                         \
    R(DIS, 0x6c, 2, 0, 0)                                                                          \
    R(FCSC, 0x6e, 2, 0, 0)                                                                         \
    R(NWAYTR, 0x70, 2, 0x0081, 0)                                                                  \
    R(REC, 0x72, 2, 0, 0)                                                                          \
    R(CSCR, 0x74, 2, 0x83ff, 0x03c0)                                                               \
    R(PHY1_PARM, 0x78, 4, 0xffffffff, 0)                                                           \
    R(TW_PARM, 0x7c, 4, 0xffffffff, 0)                                                             \
    R(PHY2_PARM, 0x80, 1, 0xff, 0)                                                                 \
    R(FLASH, 0xd4, 4, 0, 0)                                                                        \
    R(CONFIG5, 0xd8, 1, 0x7f, 0)                                                                   \
    R(TPPOLL, 0xd9, 1, 0, 0)                                                                       \
    R(CPCR, 0xe0, 2, 0x007b, 0)                                                                    \
    R(RDSAR, 0xe4, 4, 0xffffff00, 0)                                                               \
    R(RDSAR_HI, 0xe8, 4, 0xffffffff, 0)                                                            \
    R(ETTHR, 0xec, 1, 0x3f, 0)

#define RTL8139_INDEX_(name, offset, bytes, writable, value) RTL8139_##name,
enum { RTL8139_REGISTERS(RTL8139_INDEX_) RTL8139_REGISTER_COUNT };
#undef RTL8139_INDEX_

/* In C+ mode TSD0 and TSD1 are DTCCR, TSAD0 and TSAD1 TNPDS, TSAD2 and TSAD3 THPDS. */
#define RTL8139_DTCCR     RTL8139_TSD0
#define RTL8139_DTCCR_CMD 0x08u
#define RTL8139_TNPDS     RTL8139_TSAD0
#define RTL8139_THPDS     RTL8139_TSAD2

#define RTL8139_WAKEUP_AT    0x84 /* CRCs and patterns of wake-up frames */
#define RTL8139_WAKEUP_BYTES 0x50

#define RTL8139_CR_RST  0x10u
#define RTL8139_CR_RE   0x08u
#define RTL8139_CR_TE   0x04u
#define RTL8139_CR_BUFE 0x01u

#define RTL8139_INT_ROK     0x0001u
#define RTL8139_INT_TOK     0x0004u
#define RTL8139_INT_TER     0x0008u
#define RTL8139_INT_RDU     0x0010u /* RXOVW in C mode */
#define RTL8139_INT_LINK    0x0020u
#define RTL8139_INT_TDU     0x0080u
#define RTL8139_INT_SW      0x0100u
#define RTL8139_INT_TIMEOUT 0x4000u

#define RTL8139_TSD_SIZE 0x1fffu
#define RTL8139_TSD_OWN  0x2000u
#define RTL8139_TSD_TOK  0x8000u
#define RTL8139_TSD_TABT 0x40000000u

#define RTL8139_TCR_LBK      0x00060000u
#define RTL8139_RCR_AAP      0x01u
#define RTL8139_RCR_APM      0x02u
#define RTL8139_RCR_AM       0x04u
#define RTL8139_RCR_AB       0x08u
#define RTL8139_RCR_WRAP     0x80u
#define RTL8139_RCR_RBLEN(r) ((r) >> 11 & 3)

#define RTL8139_EEM(r)      ((r) >> 6)
#define RTL8139_EEM_LOAD    1
#define RTL8139_EEM_PROGRAM 2
#define RTL8139_EEM_CONFIG  3
#define RTL8139_EECS        0x08u
#define RTL8139_EESK        0x04u
#define RTL8139_EEDI        0x02u
#define RTL8139_EEDO        0x01u

#define RTL8139_MSR_LINKB    0x04u
#define RTL8139_BMCR_RESET   0x8000u
#define RTL8139_BMCR_AUTONEG 0x1000u
#define RTL8139_BMSR_LINK    0x0004u
#define RTL8139_BMSR_DONE    0x0020u
#define RTL8139_CSCR_LINK    0x0400u

#define RTL8139_TPPOLL_HPQ   0x80u
#define RTL8139_TPPOLL_NPQ   0x40u
#define RTL8139_TPPOLL_SWINT 0x01u
#define RTL8139_CPCR_TX      0x01u
#define RTL8139_CPCR_RX      0x02u
#define RTL8139_CPCR_RXCHK   0x20u
#define RTL8139_CPCR_RXVLAN  0x40u

/* What stands before a packet in the ring of C mode. */
#define RTL8139_RX_ROK 0x0001u
#define RTL8139_RX_BAR 0x2000u
#define RTL8139_RX_PAM 0x4000u
#define RTL8139_RX_MAR 0x8000u

/* Descriptors of C+ mode: four words. */
#define RTL8139_DESC_SIZE  16
#define RTL8139_DESC_COUNT 64
#define RTL8139_D_OWN      0x80000000u
#define RTL8139_D_EOR      0x40000000u
#define RTL8139_D_FS       0x20000000u
#define RTL8139_D_LS       0x10000000u
#define RTL8139_TXD_LGSEN  0x08000000u
#define RTL8139_TXD_MSS(d) ((d) >> 16 & 0x7ff)
#define RTL8139_TXD_IPCS   0x00040000u
#define RTL8139_TXD_UDPCS  0x00020000u
#define RTL8139_TXD_TCPCS  0x00010000u
#define RTL8139_TXD_SIZE   0x0000ffffu
#define RTL8139_TXD_TAGC   0x00020000u /* second word */
#define RTL8139_RXD_SIZE   0x00001fffu
#define RTL8139_RXD_MAR    0x08000000u
#define RTL8139_RXD_PAM    0x04000000u
#define RTL8139_RXD_BAR    0x02000000u
#define RTL8139_RXD_TCP    0x00010000u
#define RTL8139_RXD_UDP    0x00020000u
#define RTL8139_RXD_IP     0x00030000u
#define RTL8139_RXD_IPF    0x00008000u
#define RTL8139_RXD_UDPF   0x00004000u
#define RTL8139_RXD_TCPF   0x00002000u
#define RTL8139_RXD_TAVA   0x00010000u /* second word */

#endif
