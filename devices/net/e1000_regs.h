/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of Intel's 8254x. (PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual, 317453, chapter 13.)
 */
#ifndef DEVICES_NET_E1000_REGS_H
#define DEVICES_NET_E1000_REGS_H

/* Name, offset, bits that software writes, value after a reset. */
#define E1000_REGISTERS(R)                                                                         \
    R(CTRL, 0x0000, 0xffffffff, 0x00140240)                                                        \
    R(STATUS, 0x0008, 0, 0x80080780)                                                               \
    R(EECD, 0x0010, 0x0000007f, 0x00000100)                                                        \
    R(EERD, 0x0014, 0x0000ff01, 0)                                                                 \
    R(CTRL_EXT, 0x0018, 0xffffffff, 0)                                                             \
    R(FLA, 0x001c, 0, 0)                                                                           \
    R(MDIC, 0x0020, 0x3fffffff, 0x10000000)                                                        \
    R(FCAL, 0x0028, 0xffffffff, 0)                                                                 \
    R(FCAH, 0x002c, 0x0000ffff, 0)                                                                 \
    R(FCT, 0x0030, 0x0000ffff, 0)                                                                  \
    R(VET, 0x0038, 0xffffffff, 0x00008100)                                                         \
    R(ICR, 0x00c0, 0, 0)                                                                           \
    R(ITR, 0x00c4, 0x0000ffff, 0)                                                                  \
    R(ICS, 0x00c8, 0, 0)                                                                           \
    R(IMS, 0x00d0, 0, 0)                                                                           \
    R(IMC, 0x00d8, 0, 0)                                                                           \
    R(RCTL, 0x0100, 0x07ffffff, 0)                                                                 \
    R(FCTTV, 0x0170, 0x0000ffff, 0)                                                                \
    R(TXCW, 0x0178, 0xc000ffff, 0)                                                                 \
    R(RXCW, 0x0180, 0, 0)                                                                          \
    R(TCTL, 0x0400, 0x03fffffe, 0)                                                                 \
    R(TIPG, 0x0410, 0x3fffffff, 0)                                                                 \
    R(AIFS, 0x0458, 0x0000ffff, 0)                                                                 \
    R(LEDCTL, 0x0e00, 0xffffffff, 0x00000602)                                                      \
    R(PBA, 0x1000, 0x0000003f, 0x00100030)                                                         \
    R(FCRTL, 0x2160, 0x8000fff8, 0)                                                                \
    R(FCRTH, 0x2168, 0x0000fff8, 0)                                                                \
    R(RDFH, 0x2410, 0x00001fff, 0)                                                                 \
    R(RDFT, 0x2418, 0x00001fff, 0)                                                                 \
    R(RDFHS, 0x2420, 0x00001fff, 0)                                                                \
    R(RDFTS, 0x2428, 0x00001fff, 0)                                                                \
    R(RDFPC, 0x2430, 0x00001fff, 0)                                                                \
    R(RDBAL, 0x2800, 0xfffffff0, 0)                                                                \
    R(RDBAH, 0x2804, 0xffffffff, 0)                                                                \
    R(RDLEN, 0x2808, 0x000fff80, 0)                                                                \
    R(RDH, 0x2810, 0x0000ffff, 0)                                                                  \
    R(RDT, 0x2818, 0x0000ffff, 0)                                                                  \
    R(RDTR, 0x2820, 0x0000ffff, 0)                                                                 \
    R(RXDCTL, 0x2828, 0x013f3f3f, 0x01010000)                                                      \
    R(RADV, 0x282c, 0x0000ffff, 0)                                                                 \
    R(RSRPD, 0x2c00, 0x00000fff, 0)                                                                \
    R(TDFH, 0x3410, 0x000007ff, 0)                                                                 \
    R(TDFT, 0x3418, 0x000007ff, 0)                                                                 \
    R(TDFHS, 0x3420, 0x00001fff, 0)                                                                \
    R(TDFTS, 0x3428, 0x00001fff, 0)                                                                \
    R(TDFPC, 0x3430, 0x00001fff, 0)                                                                \
    R(TDBAL, 0x3800, 0xfffffff0, 0)                                                                \
    R(TDBAH, 0x3804, 0xffffffff, 0)                                                                \
    R(TDLEN, 0x3808, 0x000fff80, 0)                                                                \
    R(TDH, 0x3810, 0x0000ffff, 0)                                                                  \
    R(TDT, 0x3818, 0x0000ffff, 0)                                                                  \
    R(TIDV, 0x3820, 0x0000ffff, 0)                                                                 \
    R(TXDCTL, 0x3828, 0xff3f3f3f, 0)                                                               \
    R(TADV, 0x382c, 0x0000ffff, 0)                                                                 \
    R(TSPMT, 0x3830, 0xffffffff, 0)                                                                \
    R(RXCSUM, 0x5000, 0x000007ff, 0)                                                               \
    R(WUC, 0x5800, 0x0000000f, 0)                                                                  \
    R(WUFC, 0x5808, 0x000f80ff, 0)                                                                 \
    R(WUS, 0x5810, 0, 0)                                                                           \
    R(MANC, 0x5820, 0, 0x00222300)                                                                 \
    R(IPAV, 0x5838, 0x0001000f, 0)                                                                 \
    R(WUPL, 0x5900, 0, 0)

#define E1000_INDEX_(name, offset, writable, value) E1000_##name,
enum { E1000_REGISTERS(E1000_INDEX_) E1000_REGISTER_COUNT };
#undef E1000_INDEX_

#define E1000_STATS 0x4000
/* Tables of registers: field of E1000State, offset, words, words from one to the next, bits. */
#define E1000_TABLES(T)                                                                            \
    T(stats, E1000_STATS, 64, 1, 0)                                                                \
    T(mta, 0x5200, 128, 1, 0xffffffff)                                                             \
    T(ra, 0x5400, 32, 1, 0xffffffff)                                                               \
    T(vfta, 0x5600, 128, 1, 0xffffffff)                                                            \
    T(ip4at, 0x5840, 4, 2, 0xffffffff)                                                             \
    T(ip6at, 0x5880, 4, 1, 0xffffffff)                                                             \
    T(wupm, 0x5a00, 32, 1, 0xffffffff)                                                             \
    T(fflt, 0x5f00, 4, 2, 0x000007ff)                                                              \
    T(ffmt, 0x9000, 128, 2, 0x0000000f)                                                            \
    T(ffvt, 0x9800, 128, 2, 0xffffffff)

/* Statistics, as words of 'stats'. */
enum {
    E1000_STAT_PRC64 = 0x5c / 4, /* then 65 to 127, 128 to 255, ... 1024 and more bytes */
    E1000_STAT_GPRC = 0x74 / 4,
    E1000_STAT_BPRC = 0x78 / 4,
    E1000_STAT_MPRC = 0x7c / 4,
    E1000_STAT_GPTC = 0x80 / 4,
    E1000_STAT_GORC = 0x88 / 4, /* 64 bits each */
    E1000_STAT_GOTC = 0x90 / 4,
    E1000_STAT_RUC = 0xa4 / 4,
    E1000_STAT_ROC = 0xac / 4,
    E1000_STAT_TOR = 0xc0 / 4,
    E1000_STAT_TOT = 0xc8 / 4,
    E1000_STAT_TPR = 0xd0 / 4,
    E1000_STAT_TPT = 0xd4 / 4,
    E1000_STAT_PTC64 = 0xd8 / 4,
    E1000_STAT_MPTC = 0xf0 / 4,
    E1000_STAT_BPTC = 0xf4 / 4,
    E1000_STAT_TSCTC = 0xf8 / 4,
};

#define E1000_CTRL_RST        0x04000000u
#define E1000_CTRL_VME        0x40000000u
#define E1000_CTRL_PHY_RST    0x80000000u
#define E1000_STATUS_FD       0x00000001u
#define E1000_STATUS_LU       0x00000002u
#define E1000_CTRL_EXT_EE_RST 0x00002000u

#define E1000_EECD_SK    0x01u
#define E1000_EECD_CS    0x02u
#define E1000_EECD_DI    0x04u
#define E1000_EECD_DO    0x08u
#define E1000_EECD_FWE   0x30u
#define E1000_EECD_REQ   0x40u
#define E1000_EECD_GNT   0x80u
#define E1000_EECD_PRES  0x100u
#define E1000_EERD_START 0x01u
#define E1000_EERD_DONE  0x10u

#define E1000_MDIC_WRITE 0x04000000u
#define E1000_MDIC_READ  0x08000000u
#define E1000_MDIC_READY 0x10000000u
#define E1000_MDIC_I     0x20000000u
#define E1000_MDIC_ERROR 0x40000000u

#define E1000_ICR_TXDW    0x00000001u
#define E1000_ICR_TXQE    0x00000002u
#define E1000_ICR_LSC     0x00000004u
#define E1000_ICR_RXDMT0  0x00000010u
#define E1000_ICR_RXT0    0x00000080u
#define E1000_ICR_MDAC    0x00000200u
#define E1000_ICR_TXD_LOW 0x00008000u
#define E1000_ICR_SRPD    0x00010000u

#define E1000_RCTL_EN            0x00000002u
#define E1000_RCTL_UPE           0x00000008u
#define E1000_RCTL_MPE           0x00000010u
#define E1000_RCTL_LPE           0x00000020u
#define E1000_RCTL_SBP           0x00000004u
#define E1000_RCTL_LBM           0x000000c0u
#define E1000_RCTL_RDMTS(r)      ((r) >> 8 & 3)
#define E1000_RCTL_MO(r)         ((r) >> 12 & 3)
#define E1000_RCTL_BAM           0x00008000u
#define E1000_RCTL_BSIZE(r)      ((r) >> 16 & 3)
#define E1000_RCTL_VFE           0x00040000u
#define E1000_RCTL_CFIEN         0x00080000u
#define E1000_RCTL_CFI           0x00100000u
#define E1000_RCTL_BSEX          0x02000000u
#define E1000_RCTL_SECRC         0x04000000u
#define E1000_TCTL_EN            0x00000002u
#define E1000_TCTL_PSP           0x00000008u
#define E1000_RDTR_FPD           0x80000000u
#define E1000_TXDCTL_LWTHRESH(r) ((r) >> 25)
#define E1000_RXCSUM_PCSS(r)     ((r)&0xff)
#define E1000_RXCSUM_IPOFL       0x00000100u
#define E1000_RXCSUM_TUOFL       0x00000200u
#define E1000_RAH_AV             0x80000000u

/* Descriptors. 'lower' and 'upper' are the third and fourth word of a transmit descriptor. */
#define E1000_DESC_SIZE      16
#define E1000_TXD_LEGACY_LEN 0x0000ffffu /* lower */
#define E1000_TXD_CSO(l)     ((l) >> 16 & 0xff)
#define E1000_TXD_LEN        0x000fffffu
#define E1000_TXD_DTYP(l)    ((l) >> 20 & 0xf)
#define E1000_TXD_DTYP_DATA  1
#define E1000_TXD_EOP        0x01000000u
#define E1000_TXD_IC         0x04000000u /* legacy */
#define E1000_TXD_TSE        0x04000000u /* extended */
#define E1000_TXD_RS         0x08000000u
#define E1000_TXD_RPS        0x10000000u /* early 82544 drivers */
#define E1000_TXD_DEXT       0x20000000u
#define E1000_TXD_VLE        0x40000000u
#define E1000_TXD_IDE        0x80000000u
#define E1000_TXD_DD         0x00000001u /* upper */
#define E1000_TXD_CSS(u)     ((u) >> 8 & 0xff)
#define E1000_TXD_IXSM       0x00000100u
#define E1000_TXD_TXSM       0x00000200u
#define E1000_TXC_TCP        0x01000000u /* lower, of a context */
#define E1000_TXC_IP         0x02000000u

#define E1000_RXD_DD    0x01 /* status */
#define E1000_RXD_EOP   0x02
#define E1000_RXD_IXSM  0x04
#define E1000_RXD_VP    0x08
#define E1000_RXD_TCPCS 0x20
#define E1000_RXD_IPCS  0x40
#define E1000_RXD_PIF   0x80
#define E1000_RXD_TCPE  0x20 /* errors */
#define E1000_RXD_IPE   0x40

/* The PHY: IEEE 802.3's registers (22.2.4) and some of the 88E1000's. */
enum {
    PHY_CONTROL = 0,
    PHY_STATUS = 1,
    PHY_ID1 = 2,
    PHY_ID2 = 3,
    PHY_AUTONEG_ADV = 4,
    PHY_LP_ABILITY = 5,
    PHY_AUTONEG_EXP = 6,
    PHY_1000T_CTRL = 9,
    PHY_1000T_STATUS = 10,
    PHY_EXT_STATUS = 15,
    M88_PHY_SPEC_CTRL = 16,
    M88_PHY_SPEC_STATUS = 17,
    M88_EXT_PHY_SPEC_CTRL = 20,
    PHY_REGISTERS = 32,

    PHY_CONTROL_RESET = 0x8000,
    PHY_CONTROL_LOOPBACK = 0x4000,
    PHY_CONTROL_AUTONEG = 0x1000,
    PHY_CONTROL_POWER_DOWN = 0x0800,
    PHY_CONTROL_RESTART = 0x0200,
    PHY_STATUS_AUTONEG_DONE = 0x0020,
    PHY_STATUS_LINK = 0x0004,
    PHY_LP_ACK = 0x4000,
    PHY_1000T_STATUS_OK = 0x3000,
    M88_STATUS_LINK = 0x0400,
    M88_STATUS_RESOLVED = 0x0800,
};

#endif
