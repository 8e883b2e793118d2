/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gdb's target description (gdb's manual, Appendix G), written from the CPU family's table of
 * registers.
 */
#include "gdb.h"

/* The types that the features of x86 define for themselves, as gdb's own descriptions do. */
static const char core_types[] =
    "<flags id=\"i386_eflags\" size=\"4\">"
    "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
    "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
    "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
    "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
    "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
    "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
    "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
    "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
    "<field name=\"ID\" start=\"21\" end=\"21\"/></flags>";
static const char vector_types[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
    "<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>"
    "<flags id=\"i386_mxcsr\" size=\"4\">"
    "<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>"
    "<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
    "<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>"
    "<field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" start=\"7\" end=\"7\"/>"
    "<field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/>"
    "<field name=\"OM\" start=\"10\" end=\"10\"/><field name=\"UM\" start=\"11\" end=\"11\"/>"
    "<field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" start=\"15\" end=\"15\"/>"
    "</flags>";

static const char *feature_types(const char *feature)
{
    return g_str_has_suffix(feature, ".core")  ? core_types
           : g_str_has_suffix(feature, ".sse") ? vector_types
                                               : "";
}

static void append_register(GString *xml, const DebugRegister *r)
{
    g_string_append_printf(xml, "<reg name=\"%s\" bitsize=\"%u\"", r->name, r->bytes * 8u);
    if (r->type) {
        g_string_append_printf(xml, " type=\"%s\"", r->type);
    } else {
        g_string_append_printf(xml, " type=\"uint%u\"", r->bytes * 8u);
    }
    if (r->group) {
        g_string_append_printf(xml, " group=\"%s\"", r->group);
    }
    g_string_append(xml, "/>");
}

char *gdb_target_xml(const DebugLayout *l, unsigned count)
{
    GString *xml = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM "
                                "\"gdb-target.dtd\"><target>");
    const char *feature = NULL;

    g_string_append_printf(xml, "<architecture>%s</architecture>", l->name);
    for (unsigned i = 0; i < count; i++) {
        const DebugRegister *r = &l->registers[i];

        if (r->feature != feature) {
            g_string_append_printf(xml, "%s<feature name=\"%s\">%s", feature ? "</feature>" : "",
                                   r->feature, feature_types(r->feature));
            feature = r->feature;
        }
        append_register(xml, r);
    }
    g_string_append_printf(xml, "%s</target>", feature ? "</feature>" : "");
    return g_string_free(xml, FALSE);
}
