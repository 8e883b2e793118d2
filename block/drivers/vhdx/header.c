/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums, GUIDs, and the two headers, of which one is current. */
#include <errno.h>
#include <inttypes.h>
#include "vhdx.h"

const uint8_t vhdx_guid_bat[] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
const uint8_t vhdx_guid_metadata[] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                      0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
const uint8_t vhdx_guid_parameters[] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                        0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
const uint8_t vhdx_guid_size[] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                  0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
const uint8_t vhdx_guid_disk_id[] = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
                                     0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
const uint8_t vhdx_guid_logical[] = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                     0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
const uint8_t vhdx_guid_physical[] = {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
                                      0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
const uint8_t vhdx_guid_parent[] = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45,
                                    0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};

/* --- checksums: CRC-32C (Castagnoli) --- */

static uint32_t crc_table[256];

static void crc_table_make(void)
{
    static gsize made;

    if (g_once_init_enter(&made)) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;

            for (int bit = 0; bit < 8; bit++) {
                c = c >> 1 ^ (c & 1 ? 0x82f63b78 : 0);
            }
            crc_table[i] = c;
        }
        g_once_init_leave(&made, 1);
    }
}

static uint32_t crc_add(uint32_t crc, const uint8_t *buf, size_t len)
{
    while (len--) {
        crc = crc_table[(crc ^ *buf++) & 0xff] ^ crc >> 8;
    }
    return crc;
}

/* With four zeroes in the place of the checksum itself. */
static uint32_t crc_without_itself(const uint8_t *buf, size_t len)
{
    static const uint8_t zero[4];
    uint32_t crc;

    crc_table_make();
    crc = crc_add(UINT32_MAX, buf, 4);
    crc = crc_add(crc, zero, 4);
    return ~crc_add(crc, buf + 8, len - 8);
}

void vhdx_put_crc(uint8_t *buf, size_t len)
{
    stle32(buf + 4, crc_without_itself(buf, len));
}

bool vhdx_crc_fits(const uint8_t *buf, size_t len)
{
    return ldle32(buf + 4) == crc_without_itself(buf, len);
}

void vhdx_new_guid(uint8_t *guid)
{
    for (unsigned i = 0; i < VHDX_GUID; i += 4) {
        stle32(guid + i, g_random_int());
    }
    guid[7] = 0x40 | (guid[7] & 0x0f); /* RFC 4122: random */
    guid[8] = 0x80 | (guid[8] & 0x3f);
}

/* --- headers --- */

static uint64_t slot_offset(unsigned slot)
{
    return slot ? VHDX_HEADER_2 : VHDX_HEADER_1;
}

static bool header_valid(const uint8_t *h)
{
    return !memcmp(h, "head", 4) && vhdx_crc_fits(h, VHDX_HEADER_SIZE) &&
           ldle16(h + HDR_VERSION) == 1;
}

/* The log is where the header says. An image can have none only if it is never written to. */
static bool take_log(VhdxState *s, GError **err)
{
    s->log_offset = ldle64(s->header + HDR_LOG_OFFSET);
    s->log_length = ldle32(s->header + HDR_LOG_LENGTH);
    if (ldle16(s->header + HDR_LOG_VERSION)) {
        return error_set(err, "Unsupported version %u of the VHDX log",
                         ldle16(s->header + HDR_LOG_VERSION));
    }
    if (!IS_ALIGNED(s->log_offset, VHDX_ALIGN) || !IS_ALIGNED(s->log_length, VHDX_ALIGN) ||
        s->log_offset < VHDX_HEADER_SECTION || s->log_offset > INT64_MAX / 2) {
        return error_set(err, "Invalid place of the VHDX log: %#" PRIx64 ", %#" PRIx64 " bytes",
                         s->log_offset, s->log_length);
    }
    return true;
}

bool coroutine_fn vhdx_read_header(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);
    block_auto_buffer uint8_t *both = block_buffer_new(n->file, 2 * VHDX_HEADER_SIZE);
    uint8_t *first = both, *second = both + VHDX_HEADER_SIZE;
    bool one, two;

    if (!both) {
        return error_set_errno(err, ENOMEM, "Could not read the VHDX headers");
    }
    /* Where a header cannot be read, the other one may do. */
    one = block_pread(n->file, VHDX_HEADER_1, first, VHDX_HEADER_SIZE) == 0 && header_valid(first);
    two =
        block_pread(n->file, VHDX_HEADER_2, second, VHDX_HEADER_SIZE) == 0 && header_valid(second);
    if (!one && !two) {
        return error_set(err, "No valid VHDX header found");
    }
    s->slot = two && (!one || ldle64(second + HDR_SEQUENCE) > ldle64(first + HDR_SEQUENCE));
    memcpy(s->header, s->slot ? second : first, VHDX_HEADER_SIZE);
    s->header_unsure = false;
    return take_log(s, err);
}

int coroutine_fn vhdx_write_header(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    int ret;

    /* The number grows even if this fails: who knows whether the header is there. */
    stle64(s->header + HDR_SEQUENCE, ldle64(s->header + HDR_SEQUENCE) + 1);
    vhdx_put_crc(s->header, VHDX_HEADER_SIZE);
    s->header_unsure = true;
    ret = block_pwrite(n->file, slot_offset(!s->slot), s->header, VHDX_HEADER_SIZE, 0);
    ret = ret < 0 ? ret : block_flush(n->file);
    if (ret == 0) {
        s->slot = !s->slot;
        s->header_unsure = false;
    }
    return ret;
}

/* 'FileWriteGuid' and 'DataWriteGuid' say to others that what they know of the image is old. */
int coroutine_fn vhdx_mark(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    int ret = 0;

    if (__atomic_load_n(&s->marked, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    co_mutex_lock(&s->lock);
    if (!s->marked) {
        vhdx_new_guid(s->header + HDR_FILE_WRITE_GUID);
        vhdx_new_guid(s->header + HDR_DATA_WRITE_GUID);
        ret = vhdx_write_header(n);
        if (ret == 0) {
            __atomic_store_n(&s->marked, true, __ATOMIC_RELEASE);
        }
    }
    co_mutex_unlock(&s->lock);
    return ret;
}
