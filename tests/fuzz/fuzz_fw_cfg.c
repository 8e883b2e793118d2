/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg under a guest that writes what it likes to its ports and into its DMA descriptors, which
 * lie in RAM anywhere, also across its end.
 */
#include <stdint.h>
#include "board.h"

extern const DeviceClass fw_cfg_io_class;

enum { WRITABLE = 64, OPS_MAX = 64 };

static Device *fw;
static uint8_t writable[WRITABLE];

static void selected(void *opaque)
{
    fw_cfg_modify_file(fw, "etc/later", "built on demand", 15);
}

static void written(void *opaque, size_t offset, size_t len)
{
    g_assert(offset <= WRITABLE && len <= WRITABLE - offset);
}

static void init(void)
{
    static const DeviceClass *const classes[] = {&fw_cfg_io_class, NULL};
    board_init(classes);
    fw = board_add("fw_cfg_io", NULL);
    bool ok = fw_cfg_add_file(fw, "etc/file", "0123456789", 10, NULL) &&
              fw_cfg_add_file(fw, "etc/empty", NULL, 0, NULL) &&
              fw_cfg_add_file_callback(fw, "etc/later", NULL, 0, selected, NULL, NULL) &&
              fw_cfg_add_file_writable(fw, "etc/writable", writable, WRITABLE, written, NULL, NULL);
    g_assert(ok);
    fw_cfg_add_u64(fw, FW_CFG_RAM_SIZE, BOARD_RAM);
    fw_cfg_add_bytes(fw, FW_CFG_E820_TABLE, "table", 5);
}

static void access_port(Input *in, bool write)
{
    unsigned size = 1u << (input_take(in, 1) % 3);
    uint64_t value = write ? input_take(in, size) : 0;
    uint16_t port = 0x510 + input_take(in, 1) % 16;
    cpu_access(board.vm, IO_SPACE_PIO, port, &value, size, write);
}

/* Writes a DMA descriptor to memory, and its address to the DMA register, which starts it. */
static void run_dma(Input *in)
{
    uint8_t desc[16];
    uint32_t half[2];
    uint64_t addr = input_take(in, 8);
    if (input_take(in, 1) & 1) {
        addr %= BOARD_RAM + 16;
    }
    for (unsigned i = 0; i < sizeof desc; i++) {
        desc[i] = input_take(in, 1);
    }
    if (input_take(in, 1) & 1) {
        /* Half of the descriptors have a length below 256 and an address below 16 MiB. */
        memset(desc + 4, 0, 3);
        memset(desc + 8, 0, 5);
    }
    if (ldbe32(desc + 4) > 16 * MiB) {
        memset(desc + 4, 0xff, 4); /* all lengths past the end of RAM are alike */
    }
    dma_write(board.vm, addr, desc, sizeof desc);
    half[0] = htobe32(addr >> 32);
    half[1] = htobe32((uint32_t)addr);
    cpu_access(board.vm, IO_SPACE_PIO, 0x514, &half[0], 4, true);
    cpu_access(board.vm, IO_SPACE_PIO, 0x518, &half[1], 4, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};
    if (!fw) {
        init();
    }
    device_lock(fw);
    device_reset(fw, RESET_COLD);
    if (input_take(&in, 1) & 1) {
        /* Any state that vm_load() may have put into the device. */
        uint32_t seed = input_take(&in, 4);
        const StateSection *section = fw->class->state;
        state_scramble(section->desc(), (char *)fw + section->offset, &seed);
    }
    device_unlock(fw);
    for (unsigned n = 0; in.left && n < OPS_MAX; n++) {
        switch (input_take(&in, 1) % 4) {
        case 0:
            access_port(&in, false);
            break;
        case 1:
            access_port(&in, true);
            break;
        default:
            run_dma(&in);
            break;
        }
    }
    return 0;
}
