/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board 'pc' to ACPI: what is always there. What depends on the configuration (windows, serial
 * ports, floppy drives) is patched into the names below; slots that can be emptied, CPUs, S3 and S4 are in the
 * SSDT that ssdt.c writes at start. No External: interpreters before ACPI 6.0 do not know its opcode.
 */
DefinitionBlock ("", "DSDT", 2, "VMM", "VMMPC", 1)
{
    /* Set by acpi.c before the guest sees them: these values only mark the places. */
    Name (P0S, 0xE0000000)  /* first and last address of the window for PCI below 4 GiB */
    Name (P0L, 0xFEBFFFFE)
    Name (COMS, 0x7FFFFFFF) /* serial ports that are there, a bit each */
    Name (HPTS, 0x7FFFFFFC) /* whether there is an HPET */
    Name (KBDS, 0x7FFFFFFB) /* the keyboard controller */
    Name (FDDS, 0x7FFFFFFD) /* floppy drives, likewise */
    Name (PVPN, 0x7FFFFFFE) /* pvpanic's port; 0: there is none */

    /* SLP_TYP of PM1a and PM1b (PIIX4 datasheet 7.1.5). GRUB looks here first when it halts. */
    Name (_S5, Package () { Zero, Zero, Zero, Zero })

    Scope (\_SB)
    {
        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Method (_STA, 0, NotSerialized)
            {
                Return (PRSN (HPTS))
            }
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400)
            })
        }

        /* _STA of what is there where 'Arg0' is not zero. */
        Method (PRSN, 1, NotSerialized)
        {
            If (Arg0)
            {
                Return (0x0F)
            }
            Return (Zero)
        }

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)

            Name (CRES, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x00FF, 0x0000, 0x0100)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xADFF, 0x0000, 0xA100)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0xB000, 0xFFFF, 0x0000, 0x5000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x00000000, 0x000A0000, 0x000BFFFF, 0x00000000, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite, 0x00000000, 0xE0000000, 0xFEBFFFFF, 0x00000000, 0x1EC00000,,, W32)
            })
            Name (CR64, ResourceTemplate ()
            {
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x0000000000000000, 0x0000000100000000, 0x00000001FFFFFFFF,
                    0x0000000000000000, 0x0000000100000000,,, W64)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (CRES, ^W32._MIN, MN32)
                CreateDWordField (CRES, ^W32._MAX, MX32)
                CreateDWordField (CRES, ^W32._LEN, LN32)
                MN32 = P0S
                MX32 = P0L
                LN32 = P0L - P0S + 1
                If (P1S == Zero)
                {
                    Return (CRES)
                }
                CreateQWordField (CR64, ^W64._MIN, MN64)
                CreateQWordField (CR64, ^W64._MAX, MX64)
                CreateQWordField (CR64, ^W64._LEN, LN64)
                MN64 = P1S
                MX64 = P1L
                LN64 = P1L - P1S + 1
                Return (ConcatenateResTemplate (CRES, CR64))
            }

            /* Pin p of slot s reaches link (p + s - 1) mod 4; the PM function's is always IRQ 9. */
            Method (_PRT, 0, Serialized)
            {
                Local0 = Package (128) {}
                For (Local1 = 0, Local1 < 128, Local1++)
                {
                    Local2 = Local1 >> 2
                    Local3 = ((Local1 & 3) + Local2 + 3) & 3
                    Local4 = Package (4) {0, 0, LNKA, 0}
                    If (Local1 == 4)
                    {
                        Local4 = Package (4) {0, 0, LNKS, 0}
                    }
                    ElseIf (Local3 == 1)
                    {
                        Local4 = Package (4) {0, 0, LNKB, 0}
                    }
                    ElseIf (Local3 == 2)
                    {
                        Local4 = Package (4) {0, 0, LNKC, 0}
                    }
                    ElseIf (Local3 == 3)
                    {
                        Local4 = Package (4) {0, 0, LNKD, 0}
                    }
                    Local4 [0] = (Local2 << 16) | 0xFFFF
                    Local4 [1] = Local1 & 3
                    Local0 [Local1] = Local4
                }
                Return (Local0)
            }

            /* Hot-plug: the registers of the PIIX4's add-on at 0xae00. */
            OperationRegion (PCST, SystemIO, 0xAE00, 0x0C)
            Field (PCST, DWordAcc, NoLock, WriteAsZeros)
            {
                PCIU, 32, /* slots that were filled; cleared by reading */
                PCID, 32, /* slots that are to be emptied */
                B0EJ, 32  /* written: these are let go */
            }
            OperationRegion (BNMR, SystemIO, 0xAE10, 0x04)
            Field (BNMR, DWordAcc, NoLock, WriteAsZeros)
            {
                BNUM, 32
            }
            Mutex (BLCK, 0x00)
            Method (PCEJ, 1, NotSerialized)
            {
                Acquire (BLCK, 0xFFFF)
                BNUM = Zero
                B0EJ = One << Arg0
                Release (BLCK)
                Return (Zero)
            }
            Method (PCNT, 0, NotSerialized)
            {
                Acquire (BLCK, 0xFFFF)
                BNUM = Zero
                Local0 = PCIU
                Local1 = PCID
                Release (BLCK)
                DVNT (Local0, One)
                DVNT (Local1, 0x03)
            }


            /* Slots. Those that devices can leave get their _EJ0 in the SSDT. */
            Device (S08) { Name (_ADR, 0x00010000) Name (_SUN, 1) }
            Device (S10) { Name (_ADR, 0x00020000) Name (_SUN, 2) }
            Device (S18) { Name (_ADR, 0x00030000) Name (_SUN, 3) }
            Device (S20) { Name (_ADR, 0x00040000) Name (_SUN, 4) }
            Device (S28) { Name (_ADR, 0x00050000) Name (_SUN, 5) }
            Device (S30) { Name (_ADR, 0x00060000) Name (_SUN, 6) }
            Device (S38) { Name (_ADR, 0x00070000) Name (_SUN, 7) }
            Device (S40) { Name (_ADR, 0x00080000) Name (_SUN, 8) }
            Device (S48) { Name (_ADR, 0x00090000) Name (_SUN, 9) }
            Device (S50) { Name (_ADR, 0x000A0000) Name (_SUN, 10) }
            Device (S58) { Name (_ADR, 0x000B0000) Name (_SUN, 11) }
            Device (S60) { Name (_ADR, 0x000C0000) Name (_SUN, 12) }
            Device (S68) { Name (_ADR, 0x000D0000) Name (_SUN, 13) }
            Device (S70) { Name (_ADR, 0x000E0000) Name (_SUN, 14) }
            Device (S78) { Name (_ADR, 0x000F0000) Name (_SUN, 15) }
            Device (S80) { Name (_ADR, 0x00100000) Name (_SUN, 16) }
            Device (S88) { Name (_ADR, 0x00110000) Name (_SUN, 17) }
            Device (S90) { Name (_ADR, 0x00120000) Name (_SUN, 18) }
            Device (S98) { Name (_ADR, 0x00130000) Name (_SUN, 19) }
            Device (SA0) { Name (_ADR, 0x00140000) Name (_SUN, 20) }
            Device (SA8) { Name (_ADR, 0x00150000) Name (_SUN, 21) }
            Device (SB0) { Name (_ADR, 0x00160000) Name (_SUN, 22) }
            Device (SB8) { Name (_ADR, 0x00170000) Name (_SUN, 23) }
            Device (SC0) { Name (_ADR, 0x00180000) Name (_SUN, 24) }
            Device (SC8) { Name (_ADR, 0x00190000) Name (_SUN, 25) }
            Device (SD0) { Name (_ADR, 0x001A0000) Name (_SUN, 26) }
            Device (SD8) { Name (_ADR, 0x001B0000) Name (_SUN, 27) }
            Device (SE0) { Name (_ADR, 0x001C0000) Name (_SUN, 28) }
            Device (SE8) { Name (_ADR, 0x001D0000) Name (_SUN, 29) }
            Device (SF0) { Name (_ADR, 0x001E0000) Name (_SUN, 30) }
            Device (SF8) { Name (_ADR, 0x001F0000) Name (_SUN, 31) }
            Method (DVNT, 2, NotSerialized) /* (slots, event) */
            {
                If (Arg0 & 0x00000002) { Notify (S08, Arg1) }
                If (Arg0 & 0x00000004) { Notify (S10, Arg1) }
                If (Arg0 & 0x00000008) { Notify (S18, Arg1) }
                If (Arg0 & 0x00000010) { Notify (S20, Arg1) }
                If (Arg0 & 0x00000020) { Notify (S28, Arg1) }
                If (Arg0 & 0x00000040) { Notify (S30, Arg1) }
                If (Arg0 & 0x00000080) { Notify (S38, Arg1) }
                If (Arg0 & 0x00000100) { Notify (S40, Arg1) }
                If (Arg0 & 0x00000200) { Notify (S48, Arg1) }
                If (Arg0 & 0x00000400) { Notify (S50, Arg1) }
                If (Arg0 & 0x00000800) { Notify (S58, Arg1) }
                If (Arg0 & 0x00001000) { Notify (S60, Arg1) }
                If (Arg0 & 0x00002000) { Notify (S68, Arg1) }
                If (Arg0 & 0x00004000) { Notify (S70, Arg1) }
                If (Arg0 & 0x00008000) { Notify (S78, Arg1) }
                If (Arg0 & 0x00010000) { Notify (S80, Arg1) }
                If (Arg0 & 0x00020000) { Notify (S88, Arg1) }
                If (Arg0 & 0x00040000) { Notify (S90, Arg1) }
                If (Arg0 & 0x00080000) { Notify (S98, Arg1) }
                If (Arg0 & 0x00100000) { Notify (SA0, Arg1) }
                If (Arg0 & 0x00200000) { Notify (SA8, Arg1) }
                If (Arg0 & 0x00400000) { Notify (SB0, Arg1) }
                If (Arg0 & 0x00800000) { Notify (SB8, Arg1) }
                If (Arg0 & 0x01000000) { Notify (SC0, Arg1) }
                If (Arg0 & 0x02000000) { Notify (SC8, Arg1) }
                If (Arg0 & 0x04000000) { Notify (SD0, Arg1) }
                If (Arg0 & 0x08000000) { Notify (SD8, Arg1) }
                If (Arg0 & 0x10000000) { Notify (SE0, Arg1) }
                If (Arg0 & 0x20000000) { Notify (SE8, Arg1) }
                If (Arg0 & 0x40000000) { Notify (SF0, Arg1) }
                If (Arg0 & 0x80000000) { Notify (SF8, Arg1) }
            }

            Scope (S08) /* the PIIX3 */
            {
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 0x01, 0x08)
                        IRQNoFlags () {8}
                    })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Method (_STA, 0, NotSerialized)
                    {
                        Return (PRSN (KBDS))
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
                        IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
                        IRQNoFlags () {1}
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Method (_STA, 0, NotSerialized)
                    {
                        Return (PRSN (KBDS))
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IRQNoFlags () {12}
                    })
                }
                Device (FDC0)
                {
                    Name (_HID, EisaId ("PNP0700"))
                    Method (_STA, 0, NotSerialized) /* else systems load a driver for nothing */
                    {
                        Return (PRSN (FDDS))
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F2, 0x03F2, 0x00, 0x04)
                        IO (Decode16, 0x03F7, 0x03F7, 0x00, 0x01)
                        IRQNoFlags () {6}
                        DMA (Compatibility, NotBusMaster, Transfer8) {2}
                    })
                    /* Of four drives which are there; then: no tape drive. */
                    Name (FDEB, Buffer (0x14) {})
                    Method (_FDE, 0, Serialized)
                    {
                        CreateDWordField (FDEB, 0x00, FD0E)
                        CreateDWordField (FDEB, 0x04, FD1E)
                        CreateDWordField (FDEB, 0x10, TAPE)
                        FD0E = (FDDS & 0x01)
                        FD1E = ((FDDS >> 0x01) & 0x01)
                        TAPE = 0x02
                        Return (FDEB)
                    }
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 0x01)
                    Method (_STA, 0, NotSerialized)
                    {
                        Return (PRSN (COMS & 0x01))
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 0x00, 0x08)
                        IRQNoFlags () {4}
                    })
                }
                Device (COM2)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 0x02)
                    Method (_STA, 0, NotSerialized)
                    {
                        Return (PRSN (COMS & 0x02))
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x02F8, 0x02F8, 0x00, 0x08)
                        IRQNoFlags () {3}
                    })
                }
                Device (COM3)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 0x03)
                    Method (_STA, 0, NotSerialized)
                    {
                        Return (PRSN (COMS & 0x04))
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03E8, 0x03E8, 0x00, 0x08)
                        IRQNoFlags () {4}
                    })
                }
                Device (COM4)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 0x04)
                    Method (_STA, 0, NotSerialized)
                    {
                        Return (PRSN (COMS & 0x08))
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x02E8, 0x02E8, 0x00, 0x08)
                        IRQNoFlags () {3}
                    })
                }
                Device (PEVT)
                {
                    Name (_HID, "QEMU0001")
                    Name (CRES, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0505, 0x0505, 0x01, 0x01, PORT)
                    })
                    Method (_STA, 0, NotSerialized)
                    {
                        Return (PRSN (PVPN))
                    }
                    Method (_CRS, 0, Serialized)
                    {
                        CreateWordField (CRES, ^PORT._MIN, MINP)
                        CreateWordField (CRES, ^PORT._MAX, MAXP)
                        MINP = PVPN
                        MAXP = PVPN
                        Return (CRES)
                    }
                }
            }

            /* Power management and hot-plug registers: not for others. */
            Device (PRES)
            {
                Name (_HID, EisaId ("PNP0C02"))
                Name (_UID, "PM and hot-plug")
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0600, 0x0600, 0x01, 0x40)
                    IO (Decode16, 0x0700, 0x0700, 0x01, 0x10)
                    IO (Decode16, 0xAE00, 0xAE00, 0x01, 0x18)
                    IO (Decode16, 0xAFE0, 0xAFE0, 0x01, 0x04)
                })
            }
        }

        Device (FWCF)
        {
            Name (_HID, "QEMU0002")
            Name (_STA, 0x0B)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0510, 0x0510, 0x01, 0x0C)
            })
        }

        /* PIRQ routing: registers 0x60 to 0x63 of the PIIX3; bit 7 set is 'not routed'. */
        Field (PCI0.S08.PIRQ, ByteAcc, NoLock, Preserve)
        {
            PRQA, 8,
            PRQB, 8,
            PRQC, 8,
            PRQD, 8
        }
        Name (IRQS, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {5, 10, 11}
        })
        Method (LSTA, 1, NotSerialized)
        {
            If (Arg0 & 0x80)
            {
                Return (0x09)
            }
            Return (0x0B)
        }
        Name (LBUF, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {0}
        })
        Method (LCRS, 1, Serialized)
        {
            CreateDWordField (LBUF, 0x05, IRQN)
            IRQN = Zero
            If (!(Arg0 & 0x80))
            {
                IRQN = Arg0 & 0x0F
            }
            Return (LBUF)
        }
        Method (LIRQ, 1, NotSerialized)
        {
            CreateDWordField (Arg0, 0x05, IRQN)
            Return (IRQN)
        }
        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, Zero)
            Method (_STA) { Return (LSTA (PRQA)) }
            Method (_PRS) { Return (IRQS) }
            Method (_CRS) { Return (LCRS (PRQA)) }
            Method (_DIS) { PRQA |= 0x80 }
            Method (_SRS, 1) { PRQA = LIRQ (Arg0) }
        }
        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, One)
            Method (_STA) { Return (LSTA (PRQB)) }
            Method (_PRS) { Return (IRQS) }
            Method (_CRS) { Return (LCRS (PRQB)) }
            Method (_DIS) { PRQB |= 0x80 }
            Method (_SRS, 1) { PRQB = LIRQ (Arg0) }
        }
        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x02)
            Method (_STA) { Return (LSTA (PRQC)) }
            Method (_PRS) { Return (IRQS) }
            Method (_CRS) { Return (LCRS (PRQC)) }
            Method (_DIS) { PRQC |= 0x80 }
            Method (_SRS, 1) { PRQC = LIRQ (Arg0) }
        }
        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x03)
            Method (_STA) { Return (LSTA (PRQD)) }
            Method (_PRS) { Return (IRQS) }
            Method (_CRS) { Return (LCRS (PRQD)) }
            Method (_DIS) { PRQD |= 0x80 }
            Method (_SRS, 1) { PRQD = LIRQ (Arg0) }
        }
        Device (LNKS)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x04)
            Name (_PRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {9}
            })
            Method (_STA) { Return (0x0B) }
            Method (_DIS) {}
            Method (_CRS) { Return (_PRS) }
            Method (_SRS, 1) {}
        }
    }

    Scope (\_GPE)
    {
        Name (_HID, "ACPI0006")
        Method (_E01, 0, NotSerialized)
        {
            \_SB.PCI0.PCNT ()
        }
    }

    /* The window above 4 GiB; 0: none. Last, as SeaBIOS and GRUB read no further than the first
       QWord. */
    Name (P1S, 0x0000000100000001)
    Name (P1L, 0x0000000100000002)
}
