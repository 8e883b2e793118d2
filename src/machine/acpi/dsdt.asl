/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board 'pc' to ACPI: what is always there. What depends on the configuration (windows, serial
 * ports, slots, CPUs, sleep states) is in the SSDT that src/machine/acpi/ssdt.c writes at start.
 */
DefinitionBlock ("", "DSDT", 2, "VMM", "VMMPC", 1)
{
    External (P0S, IntObj)  /* first and last address of the window for PCI below 4 GiB */
    External (P0L, IntObj)
    External (P1S, IntObj)  /* the same above; 0: there is none */
    External (P1L, IntObj)
    External (COMS, IntObj) /* serial ports that are there, a bit each */
    External (PVPN, IntObj) /* pvpanic's port; 0: there is none */
    External (\_SB.PCI0.DVNT, MethodObj) /* (slots, event): notifies those slots */

    Scope (\_SB)
    {
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

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
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
                    Name (_STA, 0x0F)
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
                    Name (_STA, 0x0F)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IRQNoFlags () {12}
                    })
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
        Field (PCI0.ISA.PIRQ, ByteAcc, NoLock, Preserve)
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
}
