/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "loader.h"
#include <string.h>
#include "base/util.h"
#include "devices/isa.h"

/* Sizes of an entry of the script and of a file name in it. */
#define ENTRY_SIZE 128
#define NAME_SIZE  56
enum { COMMAND_ALLOCATE = 1, COMMAND_ADD_POINTER = 2, COMMAND_ADD_CHECKSUM = 3 };

typedef struct {
    const char *name;
    GByteArray *bytes;
    uint32_t align;
    TableZone zone;
} File;

typedef struct {
    unsigned command;
    unsigned file, src; /* indices into TableLoader.files */
    uint32_t offset, start, len;
    uint8_t size;
} Command;

struct TableLoader {
    GArray *files, *commands;
};

static void file_clear(void *data)
{
    g_byte_array_unref(((File *)data)->bytes);
}

TableLoader *table_loader_new(void)
{
    TableLoader *l = g_new0(TableLoader, 1);

    l->files = g_array_new(FALSE, TRUE, sizeof(File));
    g_array_set_clear_func(l->files, file_clear);
    l->commands = g_array_new(FALSE, TRUE, sizeof(Command));
    return l;
}

void table_loader_free(TableLoader *l)
{
    g_array_unref(l->files);
    g_array_unref(l->commands);
    g_free(l);
}

static File *file_at(const TableLoader *l, unsigned i)
{
    return &g_array_index(l->files, File, i);
}

static unsigned file_index(const TableLoader *l, const char *name)
{
    for (unsigned i = 0; i < l->files->len; i++) {
        if (g_str_equal(file_at(l, i)->name, name)) {
            return i;
        }
    }
    g_assert_not_reached();
}

GByteArray *table_loader_alloc(TableLoader *l, const char *name, uint32_t align, TableZone zone)
{
    File file = {name, g_byte_array_new(), align, zone};
    Command c = {.command = COMMAND_ALLOCATE, .file = l->files->len};

    g_array_append_val(l->files, file);
    g_array_append_val(l->commands, c);
    return file.bytes;
}

void table_loader_pointer(TableLoader *l, const char *dest, uint32_t offset, uint8_t size,
                          const char *src)
{
    Command c = {.command = COMMAND_ADD_POINTER,
                 .file = file_index(l, dest),
                 .src = file_index(l, src),
                 .offset = offset,
                 .size = size};

    g_assert(offset + size <= file_at(l, c.file)->bytes->len);
    g_array_append_val(l->commands, c);
}

void table_loader_checksum(TableLoader *l, const char *name, uint32_t offset, uint32_t start,
                           uint32_t len)
{
    Command c = {.command = COMMAND_ADD_CHECKSUM,
                 .file = file_index(l, name),
                 .offset = offset,
                 .start = start,
                 .len = len};

    g_assert(start + len <= file_at(l, c.file)->bytes->len && offset < start + len);
    file_at(l, c.file)->bytes->data[offset] = 0;
    g_array_append_val(l->commands, c);
}

void table_loader_list(const TableLoader *l, GString *out)
{
    for (unsigned i = 0; i < l->files->len; i++) {
        const File *f = file_at(l, i);

        g_string_append_printf(out, "/rom@%s size=0x%06x name=\"%s\"\n", f->name, f->bytes->len,
                               f->name);
    }
    if (l->files->len) {
        g_string_append_printf(out, "/rom@etc/table-loader size=0x%06x name=\"etc/table-loader\"\n",
                               l->commands->len * ENTRY_SIZE);
    }
}

bool table_loader_to_fw_cfg(const TableLoader *l, Device *fw_cfg, GError **err)
{
    g_autoptr(GByteArray) script = g_byte_array_new();

    for (unsigned i = 0; i < l->commands->len; i++) {
        const Command *c = &g_array_index(l->commands, Command, i);
        const File *file = file_at(l, c->file);
        uint8_t e[ENTRY_SIZE] = {0}, *p = e + 4;

        stle32(e, c->command);
        g_strlcpy((char *)p, file->name, NAME_SIZE);
        p += NAME_SIZE;
        if (c->command == COMMAND_ALLOCATE) {
            stle32(p, file->align);
            p[4] = file->zone;
        } else if (c->command == COMMAND_ADD_POINTER) {
            g_strlcpy((char *)p, file_at(l, c->src)->name, NAME_SIZE);
            p += NAME_SIZE;
            stle32(p, c->offset);
            p[4] = c->size;
        } else {
            stle32(p, c->offset);
            stle32(p + 4, c->start);
            stle32(p + 8, c->len);
        }
        g_byte_array_append(script, e, sizeof e);
    }
    for (unsigned i = 0; i < l->files->len; i++) {
        const File *f = file_at(l, i);

        if (!fw_cfg_add_file(fw_cfg, f->name, f->bytes->data, f->bytes->len, err)) {
            return false;
        }
    }
    return fw_cfg_add_file(fw_cfg, "etc/table-loader", script->data, script->len, err);
}

static void add_pointer(uint8_t *p, unsigned size, uint64_t addr)
{
    uint8_t v[8] = {0};

    memcpy(v, p, size);
    stle64(v, ldle64(v) + addr);
    memcpy(p, v, size);
}

static uint8_t acpi_loader_checksum(const uint8_t *p, uint32_t len)
{
    uint8_t sum = 0;

    while (len--) {
        sum += *p++;
    }
    return -sum;
}

uint64_t table_loader_run(const TableLoader *l, const TablePlacer *placer)
{
    g_autofree uint64_t *addrs = g_new0(uint64_t, l->files->len);
    g_autofree uint8_t **bytes = g_new0(uint8_t *, l->files->len);
    uint64_t rsdp = 0;
    bool placed = true;

    for (unsigned i = 0; i < l->files->len; i++) {
        const File *f = file_at(l, i);

        addrs[i] = placer->place(placer->data, f->bytes->len, f->align, f->zone);
        placed &= addrs[i] != 0;
        bytes[i] = g_memdup2(f->bytes->data, f->bytes->len);
        if (g_str_equal(f->name, ACPI_RSDP_FILE)) {
            rsdp = addrs[i];
        }
    }
    for (unsigned i = 0; placed && i < l->commands->len; i++) {
        const Command *c = &g_array_index(l->commands, Command, i);
        uint8_t *file = bytes[c->file];

        if (c->command == COMMAND_ADD_POINTER) {
            add_pointer(file + c->offset, c->size, addrs[c->src]);
        } else if (c->command == COMMAND_ADD_CHECKSUM) {
            file[c->offset] = acpi_loader_checksum(file + c->start, c->len);
        }
    }
    for (unsigned i = 0; i < l->files->len; i++) {
        if (placed) {
            placer->store(placer->data, addrs[i], bytes[i], file_at(l, i)->bytes->len);
        }
        g_free(bytes[i]);
    }
    return placed ? rsdp : 0;
}

uint32_t table_loader_size(const TableLoader *l, TableZone zone)
{
    uint32_t size = 0;

    for (unsigned i = 0; i < l->files->len; i++) {
        const File *f = file_at(l, i);

        if (f->zone == zone) {
            size = ROUND_UP(size, f->align) + f->bytes->len;
        }
    }
    return size;
}
