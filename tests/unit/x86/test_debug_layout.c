/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers as gdb sees them: the tables, and that each register is read as it was written. */
#include "../base/unit.h"
#include <string.h>
#include "x86_debug.h"

static X86CpuState *state;

static void setup(void)
{
    state = g_new0(X86CpuState, 1);
    state->xsave_len = 4096;
}

static void teardown(void)
{
    g_free(state);
}

START_TEST(tables)
{
    for (const DebugLayout *l = x86_layouts; l->name; l++) {
        g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
        g_autoptr(GHashTable) features = g_hash_table_new(g_direct_hash, g_direct_equal);
        const char *feature = NULL;

        for (unsigned i = 0; i < l->count; i++) {
            const DebugRegister *r = &l->registers[i];

            ck_assert_msg(g_hash_table_add(names, (gpointer)r->name), "%s twice", r->name);
            ck_assert_msg(r->type || r->bytes == 4 || r->bytes == 8, "%s", r->name);
            if (r->feature != feature) {
                ck_assert_msg(g_hash_table_add(features, (gpointer)r->feature), "%s in two parts",
                              r->feature);
                feature = r->feature;
            }
        }
        /* Those that not every CPU has are the last. */
        ck_assert_str_eq(feature, "org.gnu.gdb.i386.avx");
    }
}
END_TEST

/* What a register keeps of a value that is written to it. */
static void expect(const DebugRegister *r, uint8_t *value)
{
    if (g_str_equal(r->name, "eflags")) {
        value[0] |= 2; /* always set */
    } else if (g_str_equal(r->name, "ftag") || g_str_equal(r->name, "fioff") ||
               g_str_equal(r->name, "fooff")) {
        return;
    } else if (r->group && g_str_equal(r->group, "float")) {
        memset(value + 2, 0, 2); /* 16 bits */
    } else if (g_str_equal(r->name, "cs") || g_str_equal(r->name, "ss") ||
               g_str_equal(r->name, "ds") || g_str_equal(r->name, "es") ||
               g_str_equal(r->name, "fs") || g_str_equal(r->name, "gs")) {
        memset(value + 2, 0, 2);
    }
}

START_TEST(each_is_read_as_written)
{
    for (const DebugLayout *l = x86_layouts; l->name; l++) {
        for (unsigned i = 0; i < l->count; i++) {
            const DebugRegister *r = &l->registers[i];
            uint8_t value[16], got[16];
            uint64_t kernel_gs = 0;
            GError *err = NULL;

            memset(state, 0, sizeof *state);
            state->xsave_len = 4096;
            for (unsigned j = 0; j < r->bytes; j++) {
                value[j] = (uint8_t)(0x81 + 3 * i + j);
            }
            if (g_str_equal(r->name, "ftag")) {
                memset(value, 0xff, 4); /* all are empty */
            }
            ck_assert_msg(x86_layout_change(state, &kernel_gs, r, value, &err), "%s", r->name);
            ck_no_error(err);
            if (g_str_equal(r->name, "ftag")) {
                memset(value + 2, 0, 2);
            }
            expect(r, value);
            x86_layout_read(state, kernel_gs, r, 1, got);
            ck_assert_msg(!memcmp(got, value, r->bytes), "%s: %s", l->name, r->name);
        }
    }
}
END_TEST

static const DebugRegister *find(const DebugLayout *l, const char *name)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (g_str_equal(l->registers[i].name, name)) {
            return &l->registers[i];
        }
    }
    ck_abort_msg("no register %s", name);
}

static bool change(const DebugLayout *l, const char *name, uint64_t value, GError **err)
{
    uint8_t bytes[16] = {0};
    uint64_t kernel_gs;

    stle64(bytes, value);
    return x86_layout_change(state, &kernel_gs, find(l, name), bytes, err);
}

static uint64_t look(const DebugLayout *l, const char *name)
{
    uint8_t bytes[16] = {0};

    x86_layout_read(state, 0, find(l, name), 1, bytes);
    return ldle64(bytes);
}

/* EAX is the lower half of RAX, whose upper half stays. */
START_TEST(parts_of_registers)
{
    state->gpr[GPR_RAX] = 0x1122334455667788;
    ck_assert(change(&x86_layouts[1], "eax", 0xaabbccdd, NULL));
    ck_assert_uint_eq(state->gpr[GPR_RAX], 0x11223344aabbccdd);
    ck_assert_uint_eq(look(&x86_layouts[1], "eax"), 0xaabbccdd);
    ck_assert_uint_eq(look(&x86_layouts[0], "rax"), 0x11223344aabbccdd);
}
END_TEST

START_TEST(selectors)
{
    GError *err = NULL;

    ck_assert(change(&x86_layouts[2], "cs", 0xf000, NULL));
    ck_assert_uint_eq(state->seg[SEG_CS].base, 0xf0000);
    ck_assert_uint_eq(look(&x86_layouts[2], "cs_base"), 0xf0000);
    state->cr0 = CR0_PE;
    ck_assert(!change(&x86_layouts[2], "cs", 8, &err));
    ck_error(err, "protected mode");
    ck_assert_uint_eq(state->seg[SEG_CS].selector, 0xf000);
}
END_TEST

/* Tags are made of what the registers hold: a number, zero, something special, nothing. */
START_TEST(tag_word)
{
    uint8_t *x = state->xsave;

    stle16(x + 2, 6 << 11);             /* the top is register 6: st0 */
    x[4] = BIT(6) | BIT(7) | BIT(0);    /* st0, st1, st2 */
    stle64(x + 32, 0x8000000000000000); /* 1.0 */
    stle16(x + 40, 0x3fff);
    stle64(x + 64, 0xc000000000000000); /* st2: a NaN; st1 is zero */
    stle16(x + 72, 0x7fff);
    ck_assert_uint_eq(look(&x86_layouts[0], "ftag"), 0x4ffe);
    ck_assert(change(&x86_layouts[0], "ftag", 0xcfff, NULL));
    ck_assert_uint_eq(x[4], BIT(6));
    ck_assert_uint_eq(ldle64(x + 512) & 1, 1); /* the component is in use */
}
END_TEST

START_TEST(cpu_without_avx)
{
    GError *err = NULL;

    state->xsave_len = 576;
    ck_assert_uint_eq(look(&x86_layouts[0], "ymm1h"), 0);
    ck_assert(!change(&x86_layouts[0], "ymm1h", 1, &err));
    ck_error(err, "no ymm1h");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        tables, each_is_read_as_written, parts_of_registers, selectors, tag_word, cpu_without_avx,
        NULL,
    };

    return unit_run_with("x86_debug_layout", tests, setup, teardown);
}
