/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON against descriptions. */
#include <string.h>
#include "base/shape.h"
#include "unit.h"

static const char *const colours[] = {"red", "green", NULL};
static const Property point_members[] = {MEMBER("x", PROP_INT64), MAYBE("y", PROP_UINT8), PROP_END};
static const PropertyShape point = {.name = "Point", .members = point_members};

static const Property circle_members[] = {MEMBER("radius", PROP_NUMBER), PROP_END};
static const ShapeVariant figures[] = {{"circle", circle_members}, {"nothing", NULL}, {NULL}};
static const Property figure_members[] = {MEMBER("id", PROP_STRING), PROP_END};
static const PropertyShape figure = {
    .name = "Figure", .members = figure_members, .tag = "kind", .variants = figures};
static const PropertyShape open_figure = {.name = "Figure",
                                          .members = figure_members,
                                          .tag = "kind",
                                          .variants = figures,
                                          .is_open = true};

static const Property reference_members[] = {MAYBE("definition", PROP_TREE, .shape = &point),
                                             MAYBE("reference", PROP_STRING),
                                             MAYBE("null", PROP_NULL), PROP_END};
static const PropertyShape reference = {
    .name = "PointRef", .members = reference_members, .is_alternate = true};

static const Property all_members[] = {
    MAYBE("flag", PROP_BOOL),
    MAYBE("text", PROP_STRING),
    MAYBE("size", PROP_SIZE),
    MAYBE("low", PROP_INT32),
    MAYBE_LIST("ports", PROP_UINT16),
    MAYBE("colour", PROP_ENUM, .names = colours),
    MAYBE("auto", PROP_ON_OFF_AUTO),
    MAYBE("any", PROP_TREE),
    MAYBE("point", PROP_TREE, .shape = &point),
    MAYBE_LIST("points", PROP_TREE, .shape = &point),
    MAYBE_LIST("colours", PROP_ENUM, .names = colours),
    MAYBE("texts", PROP_STRING_LIST, .shape = &string_shape),
    MAYBE("figure", PROP_TREE, .shape = &figure),
    MAYBE("open", PROP_TREE, .shape = &open_figure),
    MAYBE("ref", PROP_TREE, .shape = &reference),
    {.name = "typed", .type = PROP_STRING, .flags = PROP_FLAG_NOT_JSON},
    PROP_END,
};
static const PropertyShape all = {.name = "All", .members = all_members};

START_TEST(fits)
{
    static const char *const good[] = {
        "{}",
        "{\"flag\": true, \"text\": \"\", \"size\": 1, \"colour\": \"red\", \"auto\": \"auto\"}",
        "{\"any\": [null, {}]}",
        "{\"low\": -2147483648, \"ports\": [0, 65535]}",
        "{\"point\": {\"x\": 1, \"y\": 2}, \"points\": [{\"x\": 1}, {\"x\": 2}]}",
        "{\"colours\": [\"green\", \"red\"], \"texts\": [{\"str\": \"a\"}]}",
        "{\"figure\": {\"id\": \"a\", \"kind\": \"circle\", \"radius\": 1.5}}",
        "{\"figure\": {\"kind\": \"nothing\", \"id\": \"a\"}}",
        "{\"open\": {\"id\": \"a\", \"kind\": \"square\", \"side\": 1}}",
        "{\"ref\": null}",
        "{\"ref\": \"name\"}",
        "{\"ref\": {\"x\": 1}}",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        GError *err = NULL;
        json_t *value = json_loads(good[i], 0, NULL);

        ck_assert_msg(shape_check(&all, value, NULL, &err), "%s: %s", good[i],
                      err ? err->message : "");
        json_decref(value);
    }
}
END_TEST

START_TEST(misfits)
{
    static const char *const bad[][2] = {
        {"[]", "Invalid parameter type for 'null', expected: object"},
        {"{\"x\": 1}", "Parameter 'x' is unexpected"},
        {"{\"typed\": \"\"}", "Parameter 'typed' is unexpected"},
        {"{\"flag\": \"on\"}", "Invalid parameter type for 'flag', expected: boolean"},
        {"{\"text\": 1}", "Invalid parameter type for 'text', expected: string"},
        {"{\"size\": \"1M\"}", "Invalid parameter type for 'size', expected: integer"},
        {"{\"colour\": \"blue\"}", "Parameter 'colour' does not accept value 'blue'"},
        {"{\"colour\": 1}", "Invalid parameter type for 'colour', expected: string"},
        {"{\"auto\": true}", "Invalid parameter type for 'auto', expected: string"},
        {"{\"point\": {}}", "Parameter 'point.x' is missing"},
        {"{\"point\": {\"x\": 1.0}}", "Invalid parameter type for 'point.x', expected: integer"},
        {"{\"point\": {\"x\": 1, \"z\": 1}}", "Parameter 'point.z' is unexpected"},
        {"{\"point\": {\"x\": 1, \"y\": 256}}", "Parameter 'y' expects uint8_t"},
        {"{\"point\": {\"x\": 1, \"y\": -1}}", "Parameter 'y' expects uint8_t"},
        {"{\"point\": {\"x\": 1, \"y\": true}}",
         "Invalid parameter type for 'point.y', expected: integer"},
        {"{\"ports\": [65535, 65536]}", "Parameter 'null' expects uint16_t"},
        {"{\"low\": -2147483649}", "Parameter 'low' expects int32_t"},
        {"{\"low\": 2147483648}", "Parameter 'low' expects int32_t"},
        {"{\"points\": {\"x\": 1}}", "Invalid parameter type for 'points', expected: array"},
        {"{\"points\": [{\"x\": 1}, {}]}", "Parameter 'points[1].x' is missing"},
        {"{\"colours\": [\"red\", 1]}",
         "Invalid parameter type for 'colours[1]', expected: string"},
        {"{\"texts\": [\"a\"]}", "Invalid parameter type for 'texts[0]', expected: object"},
        {"{\"figure\": {\"id\": \"a\"}}", "Parameter 'figure.kind' is missing"},
        {"{\"figure\": {\"kind\": \"square\"}}",
         "Parameter 'figure.kind' does not accept value 'square'"},
        {"{\"figure\": {\"kind\": \"circle\", \"radius\": 1}}", "Parameter 'figure.id' is missing"},
        {"{\"figure\": {\"kind\": \"circle\", \"id\": \"a\"}}",
         "Parameter 'figure.radius' is missing"},
        {"{\"figure\": {\"kind\": \"nothing\", \"id\": \"a\", \"radius\": 1}}",
         "Parameter 'figure.radius' is unexpected"},
        {"{\"ref\": 1}", "Invalid parameter type for 'ref', expected: PointRef"},
        {"{\"ref\": {\"x\": \"\"}}", "Invalid parameter type for 'ref.x', expected: integer"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;
        json_t *value = json_loads(bad[i][0], 0, NULL);

        ck_assert_msg(!shape_check(&all, value, NULL, &err), "%s passes", bad[i][0]);
        ck_assert_str_eq(err->message, bad[i][1]);
        g_error_free(err);
        json_decref(value);
    }
}
END_TEST

START_TEST(values)
{
    static const Property list = {.type = PROP_TREE, .shape = &point, .flags = PROP_FLAG_LIST};
    json_t *value = json_pack("[{s:i},{s:i}]", "x", 1, "y", 2);
    GError *err = NULL;

    ck_assert(!shape_check_value(&list, value, "answer", &err));
    ck_error(err, "Parameter 'answer[1].x' is missing");
    ck_assert(!shape_check_value(&list, value, NULL, &err));
    ck_error(err, "Parameter '[1].x' is missing");
    json_array_remove(value, 1);
    ck_assert(shape_check_value(&list, value, NULL, NULL));
    json_decref(value);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {fits, misfits, values, NULL};

    return unit_run("shape", tests);
}
