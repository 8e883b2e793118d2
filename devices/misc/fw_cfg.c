/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg: gives firmware the machine's configuration, boot files and tables. (QEMU,
 * docs/specs/fw_cfg.txt; Linux' include/uapi/linux/qemu_fw_cfg.h.)
 *
 * An item has a 16-bit key. Keys below 0x20 are numbered items; bit 15 selects a second set of
 * these for the architecture. Keys from 0x20 on are files in the order of their names. Adding a
 * file changes the keys of files behind it, so files are added before the guest reads the
 * directory, item 0x19.
 *
 * The guest reads an item from the data port byte by byte, or writes the big-endian address of a
 * descriptor to the DMA port.
 */
#include "base/error.h"
#include "base/log.h"
#include "devices/isa.h"
#include <linux/qemu_fw_cfg.h> /* after isa.h, whose enum it overrides by macros */

#define FW_CFG_NUMBERED FW_CFG_FILE_FIRST /* numbered items in each of the two sets */
#define FW_CFG_KEY_MASK 0x3fff            /* FW_CFG_ENTRY_MASK as a 16-bit number */
/* The most zeroes behind an item's end that one turn of a loop or one register write writes. */
#define ZERO_MAX (1 * MiB)

typedef struct {
    char *name; /* files */
    uint8_t *data;
    uint32_t len;
    void (*selected)(void *opaque);
    void (*written)(void *opaque, size_t offset, size_t len);
    void *opaque;
    bool borrowed; /* the provider owns data; 'written' reports the guest's writes */
} FwCfgItem;

#define FW_CFG_STATE(X)                                                                            \
    X(F, uint16_t, key)                                                                            \
    X(F, uint32_t, offset)                                                                         \
    X(F, uint64_t, dma_addr)
STATE_STRUCT(FwCfgState, FW_CFG_STATE);
STATE_DESC(fw_cfg, FwCfgState, FW_CFG_STATE, 1);

typedef struct {
    Device dev;
    FwCfgState s;
    IoRegion io, dma_io;
    FwCfgItem numbered[2][FW_CFG_NUMBERED];
    GPtrArray *files; /* FwCfgItem *, by name */
    uint16_t file_slots;
    uint32_t iobase, dma_iobase;
    bool dma_enabled;
    /* Zeroes that fw_cfg_zero_rest() has still to write; 0 whenever vCPUs are paused. */
    uint64_t zero_addr;
    uint32_t zero_left;
    uint64_t zero_desc; /* the descriptor that asked for them */
} FwCfg;

static const Property fw_cfg_props[] = {
    PROP("iobase", PROP_UINT32, FwCfg, iobase, "0x510", "selector port"),
    PROP("dma_iobase", PROP_UINT32, FwCfg, dma_iobase, "0x514", "DMA address port"),
    PROP("dma_enabled", PROP_BOOL, FwCfg, dma_enabled, "on", "offer DMA"),
    {.name = "x-file-slots",
     .type = PROP_UINT16,
     .offset = offsetof(FwCfg, file_slots),
     .defval = "32",
     .min = FW_CFG_FILE_SLOTS_MIN,
     .max = FW_CFG_KEY_MASK - FW_CFG_FILE_FIRST + 1,
     .help = "how many files there may be"},
    PROP_END,
};

/* Items. */

static void item_clear(FwCfgItem *item)
{
    if (!item->borrowed) {
        g_free(item->data);
    }
    item->data = NULL;
    item->len = 0;
    item->selected = NULL;
    item->written = NULL;
    item->borrowed = false;
}

static void file_free(void *data)
{
    FwCfgItem *item = data;
    item_clear(item);
    g_free(item->name);
    g_free(item);
}

static void item_set(FwCfgItem *item, const void *data, size_t len)
{
    uint8_t *copy = g_memdup2(data, len);
    item_clear(item);
    item->data = copy;
    item->len = len;
}

/* NULL for an invalid key. A numbered item that was never set has length 0. */
static FwCfgItem *find_item(FwCfg *fw, uint16_t key)
{
    unsigned n = key & FW_CFG_KEY_MASK;
    if (n < FW_CFG_NUMBERED) {
        return &fw->numbered[!!(key & FW_CFG_ARCH_LOCAL)][n];
    }
    n -= FW_CFG_NUMBERED;
    return !(key & FW_CFG_ARCH_LOCAL) && n < fw->files->len ? g_ptr_array_index(fw->files, n)
                                                            : NULL;
}

/* *pos: the index of the file, or where to insert it. */
static bool find_file(FwCfg *fw, const char *name, unsigned *pos)
{
    unsigned i = 0;
    int order = 1;
    while (i < fw->files->len &&
           (order = strcmp(((FwCfgItem *)g_ptr_array_index(fw->files, i))->name, name)) < 0) {
        i++;
    }
    *pos = i;
    return i < fw->files->len && order == 0;
}

/* struct fw_cfg_files: a big-endian count and as many struct fw_cfg_file. */
static void update_directory(FwCfg *fw)
{
    size_t len = sizeof(uint32_t) + fw->files->len * sizeof(struct fw_cfg_file);
    g_autofree uint8_t *dir = g_malloc0(len);
    struct fw_cfg_file *f = (struct fw_cfg_file *)(dir + sizeof(uint32_t));
    stbe32(dir, fw->files->len);
    for (unsigned i = 0; i < fw->files->len; i++, f++) {
        const FwCfgItem *item = g_ptr_array_index(fw->files, i);
        stbe32(&f->size, item->len);
        stbe16(&f->select, FW_CFG_FILE_FIRST + i);
        g_strlcpy(f->name, item->name, sizeof f->name);
    }
    item_set(&fw->numbered[0][FW_CFG_FILE_DIR], dir, len);
}

/* Takes the device lock unless the caller has it: a 'selected' callback does. True: taken here. */
static bool fw_cfg_enter(FwCfg *fw)
{
    if (device_lock_held(&fw->dev)) {
        return false;
    }
    device_lock(&fw->dev);
    return true;
}

static void fw_cfg_leave(FwCfg *fw, bool locked)
{
    if (locked) {
        device_unlock(&fw->dev);
    }
}

static void find_fw_cfg(Device *dev, void *data)
{
    extern const DeviceClass fw_cfg_io_class;
    if (dev->class == &fw_cfg_io_class) {
        *(Device **)data = dev;
    }
}

Device *fw_cfg_find(Vm *vm)
{
    Device *dev = NULL;
    device_foreach(vm, find_fw_cfg, &dev);
    return dev;
}

/* For boards and devices. */

void fw_cfg_add_bytes(Device *dev, uint16_t key, const void *data, size_t len)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    g_assert((key & FW_CFG_KEY_MASK) < FW_CFG_NUMBERED && len <= UINT32_MAX);
    bool locked = fw_cfg_enter(fw);
    item_set(find_item(fw, key), data, len);
    fw_cfg_leave(fw, locked);
}

void fw_cfg_add_u16(Device *dev, uint16_t key, uint16_t v)
{
    v = htole16(v);
    fw_cfg_add_bytes(dev, key, &v, sizeof v);
}

void fw_cfg_add_u32(Device *dev, uint16_t key, uint32_t v)
{
    v = htole32(v);
    fw_cfg_add_bytes(dev, key, &v, sizeof v);
}

void fw_cfg_add_u64(Device *dev, uint16_t key, uint64_t v)
{
    v = htole64(v);
    fw_cfg_add_bytes(dev, key, &v, sizeof v);
}

/* A new, empty file; NULL and *err. Lock held. */
static FwCfgItem *file_new(FwCfg *fw, const char *name, GError **err)
{
    unsigned pos;
    if (strlen(name) >= FW_CFG_MAX_FILE_PATH) {
        error_set(err, "fw_cfg file name '%s' is too long (%d characters at most)", name,
                  FW_CFG_MAX_FILE_PATH - 1);
        return NULL;
    }
    if (find_file(fw, name, &pos)) {
        error_set(err, "duplicate fw_cfg file name: %s", name);
        return NULL;
    }
    if (fw->files->len >= fw->file_slots) {
        error_set(err, "fw_cfg has no room for file '%s': %u files are there (see x-file-slots)",
                  name, fw->files->len);
        return NULL;
    }
    FwCfgItem *item = g_new0(FwCfgItem, 1);
    item->name = g_strdup(name);
    g_ptr_array_insert(fw->files, pos, item);
    return item;
}

bool fw_cfg_add_file_callback(Device *dev, const char *name, void *data, size_t len,
                              void (*selected)(void *opaque), void *opaque, GError **err)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    g_assert(len <= UINT32_MAX);
    bool locked = fw_cfg_enter(fw);
    FwCfgItem *item = file_new(fw, name, err);
    if (item) {
        item_set(item, data, len);
        item->selected = selected;
        item->opaque = opaque;
        update_directory(fw);
    }
    fw_cfg_leave(fw, locked);
    return item;
}

bool fw_cfg_add_file(Device *dev, const char *name, const void *data, size_t len, GError **err)
{
    return fw_cfg_add_file_callback(dev, name, (void *)data, len, NULL, NULL, err);
}

bool fw_cfg_add_file_writable(Device *dev, const char *name, void *data, size_t len,
                              void (*written)(void *opaque, size_t offset, size_t len),
                              void *opaque, GError **err)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    g_assert(len <= UINT32_MAX);
    bool locked = fw_cfg_enter(fw);
    FwCfgItem *item = file_new(fw, name, err);
    if (item) {
        *item = (FwCfgItem){
            .name = item->name,
            .data = data,
            .len = len,
            .written = written,
            .opaque = opaque,
            .borrowed = true,
        };
        update_directory(fw);
    }
    fw_cfg_leave(fw, locked);
    return item;
}

void fw_cfg_modify_file(Device *dev, const char *name, const void *data, size_t len)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    g_assert(len <= UINT32_MAX);
    bool locked = fw_cfg_enter(fw);
    unsigned pos;
    if (find_file(fw, name, &pos)) {
        FwCfgItem *item = g_ptr_array_index(fw->files, pos), old = *item;
        item_set(item, data, len);
        item->selected = old.selected; /* item_set() cleared it */
        item->opaque = old.opaque;
    } else {
        g_autoptr(GError) err = NULL;
        FwCfgItem *item = file_new(fw, name, &err);
        if (item) {
            item_set(item, data, len);
        } else {
            log_warn("%s", err->message);
        }
    }
    update_directory(fw);
    fw_cfg_leave(fw, locked);
}

void fw_cfg_remove_file(Device *dev, const char *name)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    bool locked = fw_cfg_enter(fw);
    unsigned pos;
    if (fw->files && find_file(fw, name, &pos)) {
        g_ptr_array_remove_index(fw->files, pos);
        update_directory(fw);
    }
    fw_cfg_leave(fw, locked);
}

/* Guest accesses. */

static void select_item(FwCfg *fw, uint16_t key)
{
    FwCfgItem *item = find_item(fw, key);
    fw->s.key = item ? key : FW_CFG_INVALID;
    fw->s.offset = 0;
    if (item && item->selected) {
        item->selected(item->opaque);
    }
}

/* The selected item; *left: its bytes from the current offset on. NULL at its end. */
static FwCfgItem *selected_item(FwCfg *fw, uint32_t *left)
{
    FwCfgItem *item = fw->s.key == FW_CFG_INVALID ? NULL : find_item(fw, fw->s.key);
    *left = item && fw->s.offset < item->len ? item->len - fw->s.offset : 0;
    return *left ? item : NULL;
}

static uint64_t ports_read(IoRegion *region, uint64_t offset, unsigned size)
{
    FwCfg *fw = container_of(region, FwCfg, io);
    uint32_t left;
    if (size != 1) {
        return UINT64_MAX; /* the selector cannot be read */
    }
    const FwCfgItem *item = selected_item(fw, &left);
    return item ? item->data[fw->s.offset++] : 0;
}

static IoResult ports_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    if (size == 2 && offset == 0) {
        select_item(container_of(region, FwCfg, io), value);
    }
    return IO_OK; /* the data port is read-only, but by DMA */
}

static bool fw_cfg_zero(FwCfg *fw)
{
    uint32_t n = MIN(fw->zero_left, ZERO_MAX);
    bool ok = dma_set(fw->dev.vm, fw->zero_addr, 0, n);
    fw->zero_addr += n;
    fw->zero_left = ok ? fw->zero_left - n : 0;
    return ok;
}

static bool dma_transfer_read(FwCfg *fw, uint64_t addr, uint32_t len)
{
    uint32_t left;
    const FwCfgItem *item = selected_item(fw, &left);
    uint32_t n = MIN(len, left);
    if (n && !dma_write(fw->dev.vm, addr, item->data + fw->s.offset, n)) {
        return false;
    }
    fw->s.offset += n;
    /* An item reads as zeroes behind its end. */
    fw->zero_addr = addr + n;
    fw->zero_left = len - n;
    return fw_cfg_zero(fw);
}

static bool dma_transfer_write(FwCfg *fw, uint64_t addr, uint32_t len)
{
    uint32_t left, offset = fw->s.offset;
    FwCfgItem *item = selected_item(fw, &left);
    if (!item || !item->written || len > left ||
        !dma_read(fw->dev.vm, addr, item->data + offset, len)) {
        return false;
    }
    fw->s.offset += len;
    item->written(item->opaque, offset, len);
    return true;
}

static void dma_skip(FwCfg *fw, uint32_t len)
{
    uint32_t left;
    if (selected_item(fw, &left)) {
        fw->s.offset += MIN(len, left);
    }
}

static void dma_finish(FwCfg *fw, uint64_t desc, bool ok)
{
    uint32_t status = ok ? 0 : htobe32(FW_CFG_DMA_CTL_ERROR);
    if (!ok) {
        log_guest_error("fw_cfg: DMA by the descriptor at 0x%" G_GINT64_MODIFIER "x failed", desc);
    }
    /* Last: the guest polls control, which 'status' overwrites. */
    dma_write(fw->dev.vm, desc, &status, sizeof status);
}

/* Deferred: 4 GiB of zeroes would hold the lock, for which the main loop may wait, for seconds. */
static void coroutine_fn fw_cfg_zero_rest(Device *dev)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    bool ok = true;
    while (ok && fw->zero_left) {
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
        ok = fw_cfg_zero(fw);
    }
    dma_finish(fw, fw->zero_desc, ok);
}

static IoResult dma_run(FwCfg *fw, uint64_t desc)
{
    Vm *vm = fw->dev.vm;
    struct fw_cfg_dma_access access;
    bool ok = true;
    if (dma_read(vm, desc, &access, sizeof access)) {
        uint32_t control = be32toh(access.control), len = be32toh(access.length);
        uint64_t addr = be64toh(access.address);
        if (control & FW_CFG_DMA_CTL_SELECT) {
            select_item(fw, control >> 16);
        }
        if (control & FW_CFG_DMA_CTL_READ) {
            ok = dma_transfer_read(fw, addr, len);
        } else if (control & FW_CFG_DMA_CTL_WRITE) {
            ok = dma_transfer_write(fw, addr, len);
        } else if (control & FW_CFG_DMA_CTL_SKIP) {
            dma_skip(fw, len);
        }
    } else {
        ok = false;
    }
    if (fw->zero_left) {
        fw->zero_desc = desc;
        device_defer(&fw->dev, fw_cfg_zero_rest);
        return IO_DEFER;
    }
    dma_finish(fw, desc, ok);
    return IO_OK;
}

static uint64_t dma_reg_read(IoRegion *region, uint64_t offset, unsigned size)
{
    /* The signature is big-endian: its first letter is at the first port. */
    uint8_t bytes[8];
    uint64_t v = 0;
    stbe64(bytes, FW_CFG_DMA_SIGNATURE);
    for (unsigned i = 0; i < size && offset + i < sizeof bytes; i++) {
        v |= (uint64_t)bytes[offset + i] << (8 * i);
    }
    return v;
}

static IoResult dma_reg_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    FwCfg *fw = container_of(region, FwCfg, dma_io);
    uint32_t half = GUINT32_SWAP_LE_BE((uint32_t)value);
    if (size != 4) {
        return IO_OK;
    }
    if (offset == 0) {
        fw->s.dma_addr = (uint64_t)half << 32;
    } else {
        uint64_t desc = fw->s.dma_addr | half;
        fw->s.dma_addr = 0;
        return dma_run(fw, desc);
    }
    return IO_OK;
}

static const IoRegionOps ports_ops = {
    .read = ports_read,
    .write = ports_write,
    .valid_min = 1,
    .valid_max = 2,
};
static const IoRegionOps dma_ops = {
    .read = dma_reg_read,
    .write = dma_reg_write,
    .valid_min = 1,
    .valid_max = 4,
};

/* Life. */

static bool fw_cfg_realize(Device *dev, GError **err)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    uint32_t id = FW_CFG_VERSION | (fw->dma_enabled ? FW_CFG_VERSION_DMA : 0);
    if (fw->iobase > UINT16_MAX - 1 || fw->dma_iobase > UINT16_MAX - 7) {
        return error_set(err, "fw_cfg_io: iobase or dma_iobase is no port number");
    }
    fw->files = g_ptr_array_new_with_free_func(file_free);
    fw_cfg_add_bytes(dev, FW_CFG_SIGNATURE, "QEMU", FW_CFG_SIG_SIZE);
    fw_cfg_add_u32(dev, FW_CFG_ID, id);
    fw_cfg_add_bytes(dev, FW_CFG_UUID, dev->vm->uuid, sizeof dev->vm->uuid);
    update_directory(fw);
    io_region_init(&fw->io, dev, &ports_ops, "fwcfg", 2);
    io_region_map(dev->vm, &fw->io, IO_SPACE_PIO, fw->iobase, 0);
    io_region_init(&fw->dma_io, dev, &dma_ops, "fwcfg.dma", 8);
    if (fw->dma_enabled) {
        io_region_map(dev->vm, &fw->dma_io, IO_SPACE_PIO, fw->dma_iobase, 0);
    }
    return true;
}

static void fw_cfg_unrealize(Device *dev)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    io_region_unmap(dev->vm, &fw->io);
    if (fw->dma_enabled) {
        io_region_unmap(dev->vm, &fw->dma_io);
    }
    g_clear_pointer(&fw->files, g_ptr_array_unref);
    for (unsigned i = 0; i < FW_CFG_NUMBERED; i++) {
        item_clear(&fw->numbered[0][i]);
        item_clear(&fw->numbered[1][i]);
    }
}

static void fw_cfg_reset(Device *dev, ResetKind kind)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);
    fw->s = (FwCfgState){.key = FW_CFG_SIGNATURE};
}

static const StateSection fw_cfg_state[] = {
    {fw_cfg_state_desc, offsetof(FwCfg, s)},
    {0},
};

const DeviceClass fw_cfg_io_class = {
    .name = "fw_cfg_io",
    .bus = "System",
    .desc = "configuration for firmware",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(FwCfg),
    .props = fw_cfg_props,
    .state = fw_cfg_state,
    .realize = fw_cfg_realize,
    .unrealize = fw_cfg_unrealize,
    .reset = fw_cfg_reset,
    .internal = true,
    .object_parent = "fw_cfg",
};
