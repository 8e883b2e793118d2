/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptor: lines of text, 'KEY=VALUE' and descriptions of extents. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/util.h"
#include "vmdk.h"

/* 'Disk DescriptorFile': comments and empty lines, then the version. */
static bool vmdk_text_probe(const char *text, const char *end)
{
    static const char *const versions[] = {"version=1", "version=2", "version=3"};

    while (text < end) {
        const char *line_end = memchr(text, '\n', end - text);
        g_autofree char *line = g_strndup(text, (line_end ? line_end : end) - text);

        if (*line != '#') {
            bool blank = *line == ' ';

            g_strchomp(line);
            for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
                if (line_end && g_str_equal(line, versions[i])) {
                    return true;
                }
            }
            if (*line || !blank) {
                return false;
            }
        }
        text = line_end ? line_end + 1 : end;
    }
    return false;
}

int vmdk_probe(const uint8_t *buf, size_t len)
{
    bool known = (len >= 4 && (!memcmp(buf, "KDMV", 4) || !memcmp(buf, "COWD", 4))) ||
                 vmdk_text_probe((const char *)buf, (const char *)buf + len);

    return known ? 100 : 0;
}

/* Where the value of a key that begins a line starts; NULL: there is none. */
static const char *value_at(const char *text, const char *key)
{
    size_t len = strlen(key);

    for (const char *line = text; line && *line;) {
        const char *p = line + strspn(line, " \t");

        if (!strncmp(p, key, len)) {
            p += len;
            p += strspn(p, " \t");
            if (*p == '=') {
                return p + 1 + strspn(p + 1, " \t");
            }
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return NULL;
}

char *vmdk_descriptor_value(const char *text, const char *key)
{
    const char *value = value_at(text, key);

    if (!value) {
        return NULL;
    }
    if (*value == '"') {
        value++;
        return g_strndup(value, strcspn(value, "\"\r\n"));
    }
    return g_strchomp(g_strndup(value, strcspn(value, "\r\n")));
}

uint32_t vmdk_descriptor_cid(const char *text, const char *key, uint32_t deflt)
{
    const char *value = value_at(text, key);

    return value ? strtoul(value, NULL, 16) : deflt;
}

/* --- extents --- */

void vmdk_extent_line_clear(VmdkExtentLine *line)
{
    g_free(line->access);
    g_free(line->type);
    g_free(line->name);
    *line = (VmdkExtentLine){0};
}

static char *next_word(const char **p)
{
    size_t len;

    *p += strspn(*p, " \t");
    len = strcspn(*p, " \t\r\n");
    *p += len;
    return g_strndup(*p - len, len);
}

static bool next_number(const char **p, uint64_t *value)
{
    char *end;

    *p += strspn(*p, " \t");
    if (!g_ascii_isdigit(**p)) {
        return false;
    }
    errno = 0;
    *value = strtoull(*p, &end, 10);
    *p = end;
    return !errno && *value <= INT64_MAX / BLOCK_SECTOR_SIZE;
}

int vmdk_extent_line(const char *text, VmdkExtentLine *line)
{
    static const char *const accesses[] = {"RW", "RDONLY", "NOACCESS"};
    const char *p = text;
    bool is_one = false;

    *line = (VmdkExtentLine){.access = next_word(&p)};
    for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++) {
        is_one = is_one || g_str_equal(line->access, accesses[i]);
    }
    if (!is_one) {
        return 0;
    }
    if (!next_number(&p, &line->sectors)) {
        return -1;
    }
    line->type = next_word(&p);
    p += strspn(p, " \t");
    if (*p == '"') {
        size_t len = strcspn(p + 1, "\"\r\n");

        if (p[1 + len] != '"') {
            return -1;
        }
        line->name = g_strndup(p + 1, len);
        p += len + 2;
        p += strspn(p, " \t");
        line->has_offset = g_ascii_isdigit(*p) && next_number(&p, &line->offset);
    }
    return *line->type && (line->name || g_str_equal(line->type, "ZERO")) ? 1 : -1;
}

/* --- CID --- */

/*
 * Another one, of as many digits: nothing moves, and all that changes lies in one sector, or two.
 */
static void make_cid(char *digits, size_t len, uint32_t old)
{
    uint32_t mask = len >= 8 ? UINT32_MAX : BIT(len * 4) - 1, cid;
    char text[16];

    do {
        cid = g_random_int() & mask;
    } while (cid == old || cid >= VMDK_NO_PARENT - 1);
    g_snprintf(text, sizeof text, "%0*" PRIx32, (int)len, cid);
    memcpy(digits, text, len);
}

static int coroutine_fn write_cid(BlockNode *node)
{
    VmdkState *s = block_node_state(node);
    g_autofree char *text = g_try_malloc0(s->descriptor_bytes + 1);
    char *value;
    size_t len, from, to;
    int ret;

    if (!text) {
        return -ENOMEM;
    }
    ret = block_pread(node->file, s->descriptor_offset, text, s->descriptor_bytes);
    value = ret < 0 ? NULL : (char *)value_at(text, "CID");
    if (ret < 0 || !value) {
        return ret; /* without a CID nobody can lie over the image */
    }
    len = strspn(value, "0123456789abcdefABCDEF");
    if (len < 1 || len > 8) {
        return -EIO;
    }
    make_cid(value, len, s->cid);
    from = ROUND_DOWN(value - text, BLOCK_SECTOR_SIZE);
    to = MIN(ROUND_UP(value + len - text, BLOCK_SECTOR_SIZE), s->descriptor_bytes);
    ret = block_pwrite(node->file, s->descriptor_offset + from, text + from, to - from, 0);
    ret = ret < 0 ? ret : block_flush(node->file);
    if (ret == 0) {
        s->cid = strtoul(value, NULL, 16);
    }
    return ret;
}

int coroutine_fn vmdk_change_cid(BlockNode *node)
{
    VmdkState *s = block_node_state(node);
    int ret = 0;

    if (__atomic_load_n(&s->cid_changed, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    co_mutex_lock(&s->cid_lock);
    if (!s->cid_changed && s->descriptor_bytes) {
        ret = write_cid(node);
    }
    if (ret == 0) {
        __atomic_store_n(&s->cid_changed, 1, __ATOMIC_RELEASE);
    }
    co_mutex_unlock(&s->cid_lock);
    return ret;
}
