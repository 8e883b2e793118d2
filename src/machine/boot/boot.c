/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Puts the machine into the state in which firmware starts a kernel: chipset and PCI programmed,
 * ACPI and SMBIOS tables, interrupt vectors and BIOS data, timer; then the kernel itself.
 */
#include "boot.h"
#include <string.h>
#include <sys/random.h>
#include "acpi/acpi.h"
#include "base/error.h"
#include "base/log.h"
#include "devices/i440fx.h"
#include "devices/isa.h"
#include "devices/vga.h"
#include "smbios.h"
#include "vm/end.h"

/* Addresses in the BIOS segment, which is shadow RAM and reserved in the memory map. */
#define FSEG_RSDP     0xf0100
#define FSEG_SMBIOS   0xf0200
#define FSEG_HANDLERS 0xff000
#define EBDA          0x9fc00

static uint64_t tables_base(const PcMachine *pc)
{
    uint64_t size =
        table_loader_size(pc->tables, TABLE_ZONE_HIGH) + 64 + smbios_tables(pc->smbios)->len + 64;

    size = ROUND_UP(size, 64 * KiB);
    return pc->below_4g > size + MiB ? pc->below_4g - size : pc->below_4g;
}

BootPlan *boot_plan_new(Vm *vm, PcMachine *pc, GError **err)
{
    BootImage *kernel = boot_image_open("kernel", pc->config->kernel, err);
    const char *cmdline = pc->config->append ? pc->config->append : "";
    uint64_t acpi = tables_base(pc);
    BootPlan *plan;

    if (!kernel) {
        return NULL;
    }
    plan = boot_plan_empty(kernel, acpi, pc->below_4g, e820_for_kernel(pc, acpi));
    plan->rsdp = pc_has_acpi(pc) ? FSEG_RSDP : 0;
    plan->has_vga = vga_find(vm) != NULL;
    plan->long_mode = x86_cpu_has(vm, "lm");
    if (!boot_plan_fill(plan, cmdline, pc->config->initrd, err)) {
        boot_plan_free(plan);
        return NULL;
    }
    plan->cpu.pci_hole = pc_pci_hole(pc);
    return plan;
}

/* Writes interrupt vectors, handlers that only acknowledge, and the BIOS data area. */
static void write_low_memory(Vm *vm)
{
    /* push ax; mov al,20h; [out a0h,al;] out 20h,al; pop ax; iret */
    static const uint8_t slave[] = {0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf};
    static const uint8_t master[] = {0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf};
    static const uint8_t just_return[] = {0xcf};
    const uint16_t segment = 0xf000, handlers = FSEG_HANDLERS - 0xf0000;
    uint8_t vectors[1024], bda[256] = {0};

    dma_write(vm, FSEG_HANDLERS, just_return, sizeof just_return);
    dma_write(vm, FSEG_HANDLERS + 16, master, sizeof master);
    dma_write(vm, FSEG_HANDLERS + 32, slave, sizeof slave);
    for (unsigned v = 0; v < 256; v++) {
        bool is_master = v >= 0x08 && v < 0x10, is_slave = v >= 0x70 && v < 0x78;

        stle16(vectors + 4 * v, handlers + (is_master ? 16 : is_slave ? 32 : 0));
        stle16(vectors + 4 * v + 2, segment);
    }
    dma_write(vm, 0, vectors, sizeof vectors);
    stle16(bda, 0x3f8); /* serial ports; kernels probe whether they exist */
    stle16(bda + 2, 0x2f8);
    stle16(bda + 0x0e, EBDA >> 4);
    stle16(bda + 0x13, EBDA / KiB); /* KiB of conventional memory */
    bda[0x49] = 3;                  /* text mode, 80 columns */
    stle16(bda + 0x4a, 80);
    dma_write(vm, 0x400, bda, sizeof bda);
    stle16(bda, 1); /* the EBDA's size in KiB */
    dma_write(vm, EBDA, bda, 2);
}

/* Places tables at the top of RAM below 4 GiB, and their anchors in the BIOS segment. */
typedef struct {
    Vm *vm;
    uint64_t next; /* free address */
} Placer;

static uint64_t boot_place(void *data, uint32_t len, uint32_t align, TableZone zone)
{
    Placer *p = data;
    uint64_t at;

    if (zone == TABLE_ZONE_FSEG) {
        return FSEG_RSDP; /* the only file in this zone */
    }
    at = ROUND_UP(p->next, align);
    p->next = at + len;
    return at;
}

static void boot_store(void *data, uint64_t addr, const uint8_t *bytes, uint32_t len)
{
    Placer *p = data;

    dma_write(p->vm, addr, bytes, len);
}

static void write_tables(Vm *vm, const PcMachine *pc)
{
    Placer p = {vm, tables_base(pc)};
    const TablePlacer placer = {boot_place, boot_store, &p};
    const GByteArray *smbios = smbios_tables(pc->smbios);
    uint8_t anchor[31];

    if (p.next == pc->below_4g) {
        return; /* tables_base() found no room above 1 MiB */
    }
    if (pc_has_acpi(pc)) {
        table_loader_run(pc->tables, &placer);
    }
    p.next = ROUND_UP(p.next, 16);
    smbios_anchor(pc->smbios, p.next, anchor);
    dma_write(vm, p.next, smbios->data, smbios->len);
    dma_write(vm, FSEG_SMBIOS, anchor, sizeof anchor);
}

static void boot_out(Vm *vm, uint16_t port, uint8_t value)
{
    cpu_access(vm, IO_SPACE_PIO, port, &value, 1, true);
}

/* Programs PIC and PIT by their ports, or by KVM where they are in the kernel. */
static void program_timers(Vm *vm, const PcMachine *pc)
{
    if (!pc->pic) {
        x86_kvm_firmware_state(vm);
        return;
    }
    boot_out(vm, 0x20, 0x11); /* ICW1: edges, cascade, ICW4 follows */
    boot_out(vm, 0xa0, 0x11);
    boot_out(vm, 0x21, 0x08); /* ICW2: vectors */
    boot_out(vm, 0xa1, 0x70);
    boot_out(vm, 0x21, 0x04); /* ICW3 */
    boot_out(vm, 0xa1, 0x02);
    boot_out(vm, 0x21, 0x01); /* ICW4: 8086 */
    boot_out(vm, 0xa1, 0x01);
    boot_out(vm, 0x21, 0xfa); /* all masked but the timer and the cascade */
    boot_out(vm, 0xa1, 0xff);
    boot_out(vm, 0x43, 0x34); /* counter 0, both bytes, mode 2 */
    boot_out(vm, 0x40, 0);
    boot_out(vm, 0x40, 0);
}

static void firmware_chipset(Vm *vm, const PcMachine *pc)
{
    uint64_t base64 = 0, end64;

    if (!pc_pci_hole64(vm, pc, &base64, &end64)) {
        base64 = 0;
    }
    i440fx_init_as_firmware(vm);
    pci_assign_resources(pci_root(vm), PC_PCI_IO_BASE, 0xe0000000, base64, i440fx_pci_irq);
    program_timers(vm, pc);
}

static bool boot_fill(Vm *vm, uint64_t gpa, const BootSegment *s)
{
    uint64_t done = 0;

    while (done < s->len) {
        uint64_t len = s->len - done;
        uint8_t *host = dma_map(vm, gpa + done, &len, true);
        uint64_t from_file, taken;
        bool ok = true;

        if (!host || !len) {
            return false;
        }
        from_file = done < s->file_len ? MIN(len, s->file_len - done) : 0;
        if (from_file && s->image) {
            ok = boot_image_read(s->image, s->offset + done, host, from_file);
        } else if (from_file) {
            memcpy(host, s->bytes + done, from_file);
        }
        taken = len;
        memset(host + from_file, 0, len - from_file);
        dma_unmap(vm, host, len, true);
        if (!ok) {
            return false;
        }
        done += taken;
    }
    return true;
}

static void refresh_seed(BootPlan *plan)
{
    if (plan->seed_offset) {
        BootSegment *s = &g_array_index(plan->segments, BootSegment, plan->seed_segment);

        if (getrandom(s->bytes + plan->seed_offset, s->len - plan->seed_offset, 0) < 0) {
            log_warn("no random seed for the kernel: the host gives none");
        }
    }
}

void boot_apply(Vm *vm, PcMachine *pc)
{
    BootPlan *plan = pc->boot;

    firmware_chipset(vm, pc);
    if (vga_find(vm)) {
        vga_init_as_firmware(vga_find(vm));
    }
    write_low_memory(vm);
    write_tables(vm, pc);
    refresh_seed(plan);
    for (unsigned i = 0; i < plan->segments->len; i++) {
        const BootSegment *s = &g_array_index(plan->segments, BootSegment, i);

        if (!boot_fill(vm, s->gpa, s)) {
            log_error("could not load kernel '%s': '%s' can no longer be read", plan->kernel->name,
                      s->image ? s->image->name : plan->kernel->name);
            vm_failed(vm, VM_END_HOST_ERROR);
            return;
        }
    }
    x86_set_boot_state(vm, &plan->cpu);
}

void boot_wake(Vm *vm, PcMachine *pc)
{
    uint64_t facs = ROUND_UP(tables_base(pc), 64) + ACPI_FACS_OFFSET;
    X86BootState cpu = {.enabled = true, .real_mode = true, .pci_hole = pc->boot->cpu.pci_hole};
    uint32_t vector = 0;

    firmware_chipset(vm, pc);
    rtc_set_cmos(pc->rtc, 0x0f, 0);
    if (!pc_has_acpi(pc) || !dma_read32(vm, facs + ACPI_FACS_WAKING, &vector) || !vector ||
        vector >= MiB) {
        log_guest_error("S3: no waking vector in FACS; the kernel starts anew");
        boot_apply(vm, pc);
        return;
    }
    /*
     * ACPI 6.4, 5.2.10: real mode, CS = vector >> 4, IP = vector & 15. The other segments keep
     * their reset value, 0, as with SeaBIOS.
     */
    cpu.cs = vector >> 4;
    cpu.rip = vector & 0xf;
    x86_set_boot_state(vm, &cpu);
}
