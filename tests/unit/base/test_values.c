/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scalar parsers, properties and objects. */
#include <malloc.h>
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/secret.h"
#include "base/object.h"
#include "base/property.h"
#include "base/util.h"
#include "unit.h"

/* Scalars. */

static void size_is(const char *text, uint64_t unit, uint64_t want)
{
    uint64_t got = 0;

    ck_assert_msg(parse_size(text, unit, &got), "'%s' is refused", text);
    ck_assert_msg(got == want, "'%s' is %" G_GUINT64_FORMAT, text, got);
}

START_TEST(sizes)
{
    static const char *const bad[] = {
        "",    "-1", "+1",  "M",   "1.5",    "1.5B",   "1Q",
        "1MM", "0x", "0xg", "1e3", "1.5E1",  "16E",    "inf",
        "nan", " ",  "1 M", ".5M", "0x1.5M", "1.5.5M", "18446744073709551616",
        NULL};
    uint64_t n;

    size_is("0", 1, 0);
    size_is("512", 1, 512);
    size_is("512", MiB, 512 * MiB);
    size_is("512M", 1, 512 * MiB);
    size_is("512m", MiB, 512 * MiB);
    size_is("1.5G", 1, GiB + GiB / 2);
    size_is("1.5", MiB, MiB + MiB / 2);
    size_is("1.k", 1, 1024);
    size_is("1.0", 1, 1);
    size_is("0.1k", 1, 102);
    size_is("64B", MiB, 64);
    size_is("1T", 1, 1ull << 40);
    size_is("1P", 1, 1ull << 50);
    size_is("1E", 1, 1ull << 60);
    size_is("1.5E", 1, 3ull << 59);
    size_is("15.999E", 1, (15ull << 60) + (uint64_t)(.999 * (1ull << 60)));
    size_is("010", 1, 10);
    size_is("0x10", 1, 16);
    size_is("0x10M", 1, 16 * MiB);
    size_is("0x1E", 1, 0x1e);
    size_is("18446744073709551615", 1, UINT64_MAX);
    for (int i = 0; bad[i]; i++) {
        ck_assert_msg(!parse_size(bad[i], 1, &n), "'%s' is taken", bad[i]);
    }
}
END_TEST

START_TEST(scalars)
{
    uint8_t mac[6], want[6] = {0x52, 0x54, 0, 0x12, 0x34, 0xab};
    uint64_t n;
    bool b;

    ck_assert(parse_uint("0x10", 16, &n) && n == 16);
    ck_assert(parse_uint("010", 16, &n) && n == 8);
    ck_assert(!parse_uint("17", 16, &n));
    ck_assert(!parse_uint("-1", UINT64_MAX, &n));
    ck_assert(!parse_uint(" 1", UINT64_MAX, &n));
    ck_assert(!parse_uint("1 ", UINT64_MAX, &n));
    ck_assert(!parse_uint("", UINT64_MAX, &n));
    ck_assert(!parse_uint("18446744073709551616", UINT64_MAX, &n));
    ck_assert(parse_bool("on", &b) && b);
    ck_assert(parse_bool("n", &b) && !b);
    ck_assert(!parse_bool("ON", &b) && !parse_bool("1", &b) && !parse_bool("", &b));
    ck_assert(parse_mac("52:54:00:12:34:ab", mac));
    ck_assert_mem_eq(mac, want, 6);
    ck_assert(parse_mac("52-54-00-12-34-AB", mac));
    ck_assert_mem_eq(mac, want, 6);
    ck_assert(!parse_mac("52:54:00:12:34:a", mac) && !parse_mac("52:54:00:12:34:ag", mac) &&
              !parse_mac("52:54:00:12:34:ab:", mac) && !parse_mac("525400123456", mac));
}
END_TEST

/* Properties. */

static const char *const modes[] = {"none", "ide", "virtio", NULL};

typedef struct {
    bool flag, inverted, has_u8;
    OnOffAuto tri;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64, size, mib;
    int32_t i32, addr;
    int64_t i64;
    char *text, *link, *needed;
    int mode;
    uint8_t mac[6], uuid[16];
    json_t *tree, *list;
    bool fixed;
} Thing;

static const Property thing_props[] = {
    PROP("flag", PROP_BOOL, Thing, flag, "on", "a switch"),
    {.name = "no-thing",
     .type = PROP_BOOL,
     .offset = offsetof(Thing, inverted),
     .flags = PROP_FLAG_INVERT | PROP_FLAG_HIDDEN},
    PROP("tri", PROP_ON_OFF_AUTO, Thing, tri, "auto", "on/off/auto"),
    {.name = "u8",
     .type = PROP_UINT8,
     .offset = offsetof(Thing, u8),
     .defval = "5",
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(Thing, has_u8)},
    {.name = "u16", .type = PROP_UINT16, .offset = offsetof(Thing, u16), .min = 10, .max = 20},
    PROP("u32", PROP_UINT32, Thing, u32, NULL, NULL),
    PROP("u64", PROP_UINT64, Thing, u64, NULL, NULL),
    PROP("i32", PROP_INT32, Thing, i32, "-7", NULL),
    {.name = "i64",
     .type = PROP_INT64,
     .offset = offsetof(Thing, i64),
     .min = (uint64_t)-5,
     .max = 5},
    PROP("size", PROP_SIZE, Thing, size, "1M", "a size"),
    PROP("mib", PROP_SIZE_MIB, Thing, mib, "128", NULL),
    PROP("text", PROP_STRING, Thing, text, "hello", "some text"),
    PROP_L("link", Thing, link, "iothread", "an object"),
    PROP_E("mode", Thing, mode, "ide", modes, "a mode"),
    PROP("mac", PROP_MACADDR, Thing, mac, NULL, NULL),
    PROP("addr", PROP_PCI_ADDR, Thing, addr, NULL, NULL),
    PROP("uuid", PROP_UUID, Thing, uuid, "auto", NULL),
    PROP("tree", PROP_TREE, Thing, tree, NULL, NULL),
    PROP("list", PROP_STRING_LIST, Thing, list, NULL, NULL),
    {.name = "fixed",
     .type = PROP_BOOL,
     .offset = offsetof(Thing, fixed),
     .defval = "off",
     .flags = PROP_FLAG_FIXED},
    PROP_END,
};

static bool apply(Thing *t, const char *text, GError **err)
{
    static const char *const skip[] = {"driver", NULL};
    json_t *tree = keyval_parse(text, "driver", NULL, true, err);

    ck_assert_ptr_nonnull(tree);
    bool ok = properties_apply(thing_props, t, tree, skip, "device 'thing'", err);
    json_decref(tree);
    return ok;
}

static void takes(Thing *t, const char *text)
{
    GError *err = NULL;

    ck_assert_msg(apply(t, text, &err), "%s: %s", text, err ? err->message : "?");
}

static void refuses(const char *text, const char *part)
{
    GError *err = NULL;
    Thing t;

    properties_init(thing_props, &t);
    ck_assert_msg(!apply(&t, text, &err), "%s is taken", text);
    ck_error(err, part);
    properties_clear(thing_props, &t);
}

START_TEST(defaults)
{
    Thing t;

    memset(&t, 0xaa, sizeof t);
    properties_init(thing_props, &t);
    ck_assert(t.flag && t.inverted && !t.has_u8 && t.tri == ON_OFF_AUTO_AUTO);
    ck_assert(t.u8 == 5 && t.u16 == 0 && t.u32 == 0 && t.i32 == -7 && t.addr == -1);
    ck_assert(t.size == MiB && t.mib == 128 * MiB && t.mode == 1);
    ck_assert_str_eq(t.text, "hello");
    ck_assert(!t.link && !t.tree && !t.list);
    properties_clear(thing_props, &t);
    ck_assert(!t.text && !t.flag);
}
END_TEST

START_TEST(applied_text)
{
    Thing t;

    properties_init(thing_props, &t);
    takes(&t, "thing,flag=off,no-thing=on,tri=off,u8=0xff,u16=20,u32=4294967295");
    ck_assert(!t.flag && !t.inverted && t.has_u8 && t.tri == ON_OFF_AUTO_OFF);
    ck_assert(t.u8 == 255 && t.u16 == 20 && t.u32 == UINT32_MAX);
    takes(&t, "thing,u64=18446744073709551615,i32=-2147483648,i64=-5,size=1.5K,mib=64");
    ck_assert(t.u64 == UINT64_MAX && t.i32 == INT32_MIN && t.i64 == -5);
    ck_assert(t.size == 1536 && t.mib == 64 * MiB);
    takes(&t, "thing,text=a,,b,link=io0,mode=virtio,mac=52:54:00:12:34:56,addr=1f.7");
    ck_assert_str_eq(t.text, "a,b");
    ck_assert_str_eq(t.link, "io0");
    ck_assert(t.mode == 2 && t.mac[5] == 0x56 && t.addr == 255);
    takes(&t, "thing,addr=3,uuid=550e8400-e29b-41d4-a716-446655440000,tree.a.b=1,list=x");
    ck_assert(t.addr == 3 << 3 && t.uuid[0] == 0x55 && t.uuid[4] == 0xe2 && t.uuid[15] == 0);
    ck_assert_str_eq(json_str(json_object_get(t.tree, "a"), "b"), "1");
    ck_assert_uint_eq(json_array_size(t.list), 1);
    takes(&t, "thing,uuid=auto,fixed=off");
    ck_assert_uint_eq(t.uuid[6] >> 4, 4);
    properties_clear(thing_props, &t);
}
END_TEST

START_TEST(applied_json)
{
    Thing t;

    properties_init(thing_props, &t);
    takes(&t, "{\"driver\":\"thing\",\"flag\":false,\"tri\":true,\"u8\":7,\"i64\":-3,"
              "\"size\":4096,\"mib\":1048576,\"addr\":24,\"tree\":[1],\"u64\":\"0x10\","
              "\"list\":[{\"str\":\"a\"},\"b\"],\"fixed\":false}");
    ck_assert(!t.flag && t.tri == ON_OFF_AUTO_ON && t.u8 == 7 && t.i64 == -3);
    ck_assert(t.size == 4096 && t.mib == MiB && t.addr == 24 && t.u64 == 16);
    ck_assert_uint_eq(json_array_size(t.list), 2);
    properties_clear(thing_props, &t);
}
END_TEST

START_TEST(refused)
{
    refuses("thing,flga=on", "device 'thing': unknown property 'flga'; did you mean 'flag'?");
    refuses("thing,drivr=on", "did you mean 'driver'?");
    refuses("thing,flag=maybe", "Parameter 'flag' expects 'on' or 'off'");
    refuses("{\"flag\":1}", "Invalid parameter type for 'flag', expected: boolean");
    refuses("thing,tri=maybe", "Parameter 'tri' does not accept value 'maybe'");
    refuses("thing,u8=256", "Parameter 'u8' expects uint8_t");
    refuses("thing,u8=-1", "Parameter 'u8' expects uint8_t");
    refuses("{\"u8\":-1}", "Parameter 'u8' expects uint8_t");
    refuses("{\"u8\":1.5}", "Invalid parameter type for 'u8', expected: integer");
    refuses("thing,u8=", "Parameter 'u8' expects integer");
    refuses("thing,u16=9", "Parameter 'u16' expects a number from 10 to 20");
    refuses("thing,i32=2147483648", "Parameter 'i32' expects int32_t");
    refuses("thing,i64=-6", "Parameter 'i64' expects a number from -5 to 5");
    refuses("thing,i64=99999999999999999999", "Parameter 'i64' expects integer");
    refuses("thing,size=1Q", "Parameter 'size' expects a size value");
    refuses("{\"size\":-1}", "Parameter 'size' expects a size value");
    refuses("{\"text\":1}", "Invalid parameter type for 'text', expected: string");
    refuses("thing,mode=sata", "does not accept value 'sata'; it accepts: none, ide, virtio");
    refuses("thing,mac=1", "expects a MAC address such as 52:54:00:12:34:56");
    refuses("thing,addr=20", "SLOT.FUNCTION");
    refuses("thing,addr=1.8", "SLOT.FUNCTION");
    refuses("thing,addr=1.", "SLOT.FUNCTION");
    refuses("{\"addr\":256}", "a number from -1 to 255");
    refuses("thing,uuid=550e8400", "expects 'auto' or a UUID");
    refuses("{\"list\":[1]}", "array of strings");
    refuses("{\"list\":1}", "array");
    refuses("thing,fixed=on", "device 'thing': fixed=on is not supported");
    refuses("{\"fixed\":true}", "fixed=true is not supported");
}
END_TEST

START_TEST(required)
{
    static const Property props[] = {{.name = "needed",
                                      .type = PROP_STRING,
                                      .offset = offsetof(Thing, needed),
                                      .flags = PROP_FLAG_REQUIRED},
                                     PROP_END};
    json_t *empty = json_object();
    GError *err = NULL;
    Thing t;

    properties_init(props, &t);
    ck_assert(!properties_apply(props, &t, empty, NULL, "thing", &err));
    ck_error(err, "Parameter 'needed' is missing");
    json_decref(empty);
}
END_TEST

/* For every type: property_set() accepts the result of property_get(). */
START_TEST(round_trip)
{
    GError *err = NULL;
    Thing a, b;

    properties_init(thing_props, &a);
    properties_init(thing_props, &b);
    takes(&a, "thing,flag=off,no-thing=on,tri=on,u8=9,u16=11,u32=12,u64=18446744073709551615,"
              "i32=-9,i64=-2,size=15E,mib=3,text=t,link=l,mode=none,mac=52:54:00:12:34:56,"
              "addr=2.1,uuid=550e8400-e29b-41d4-a716-446655440000,tree.x=1,list=y");
    for (const Property *p = thing_props; p->name; p++) {
        json_t *value = property_get(p, &a);
        ck_assert_msg(property_set(p, &b, value, "thing", &err), "%s", p->name);
        json_t *again = property_get(p, &b);
        ck_assert_msg(json_equal(value, again), "%s", p->name);
        json_decref(value);
        json_decref(again);
    }
    ck_assert(b.u64 == UINT64_MAX && b.size == 15ull << 60 && b.addr == (2 << 3 | 1));
    properties_clear(thing_props, &a);
    properties_clear(thing_props, &b);
}
END_TEST

START_TEST(printed)
{
    static const struct {
        const char *name, *set, *want;
    } cases[] = {
        {"flag", "on", "true"},
        {"no-thing", "on", "true"},
        {"tri", "auto", "\"auto\""},
        {"u32", "4294967295", "4294967295 (0xffffffff)"},
        {"i32", "-1", "-1 (0xffffffffffffffff)"},
        {"size", "512M", "536870912 (512 MiB)"},
        {"size", "1.5G", "1610612736 (1.5 GiB)"},
        {"text", "x", "\"x\""},
        {"mode", "virtio", "\"virtio\""},
        {"mac", "52:54:00:12:34:56", "\"52:54:00:12:34:56\""},
        {"addr", "1f.2", "1f.2"},
        {"addr", "-1", "<unset>"},
    };
    GError *err = NULL;
    Thing t;

    properties_init(thing_props, &t);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const Property *p = property_find(thing_props, cases[i].name);
        json_t *value = json_string(cases[i].set);
        ck_assert(property_set(p, &t, value, "thing", &err));
        json_decref(value);
        g_autofree char *text = property_print(p, &t);
        ck_assert_str_eq(text, cases[i].want);
    }
    properties_clear(thing_props, &t);
}
END_TEST

START_TEST(help)
{
    g_autoptr(GString) out = g_string_new(NULL);

    properties_help(thing_props, out);
    ck_assert_ptr_nonnull(strstr(out->str, "  flag=<bool>            - a switch (default: on)\n"));
    ck_assert_ptr_nonnull(strstr(out->str, "  u32=<uint32>\n"));
    ck_assert_ptr_nonnull(strstr(out->str, "  mode=<none|ide|virtio> - a mode (default: ide)\n"));
    ck_assert_ptr_nonnull(strstr(out->str, "  link=<link<iothread>>  - an object\n"));
    ck_assert_ptr_null(strstr(out->str, "no-thing"));
}
END_TEST

/* Objects. */

typedef struct {
    Object parent;
    uint32_t level;
} Toy;

static int toys_finalized;

static bool toy_complete(Object *obj, GError **err)
{
    Toy *toy = (Toy *)obj;

    return toy->level != 13 || error_set(err, "13 brings bad luck");
}

static void toy_finalize(Object *obj)
{
    toys_finalized++;
}

static const Property toy_props[] = {PROP("level", PROP_UINT32, Toy, level, "3", "how high"),
                                     PROP_END};
static const ObjectClass toy_class = {.name = "toy",
                                      .size = sizeof(Toy),
                                      .props = toy_props,
                                      .complete = toy_complete,
                                      .finalize = toy_finalize};
static const ObjectClass plain_class = {.name = "plain", .size = sizeof(Object)};
static const ObjectClass *const classes[] = {&toy_class, &plain_class, NULL};

static Object *create(const char *text, GError **err)
{
    json_t *config = keyval_parse(text, "qom-type", NULL, true, err);
    Object *obj = object_create(config, err);

    json_decref(config);
    return obj;
}

static void count(Object *obj, void *data)
{
    ++*(int *)data;
}

START_TEST(objects)
{
    GError *err = NULL;
    int n = 0;

    object_set_classes(classes);
    Object *a = create("toy,id=a,level=7", &err);
    ck_no_error(err);
    ck_assert_uint_eq(((Toy *)a)->level, 7);
    Object *b = create("plain,id=b", &err);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_eq(object_find("a", &toy_class, &err), a);
    ck_assert_ptr_eq(object_find("b", NULL, &err), b);
    ck_assert_ptr_null(object_find("b", &toy_class, &err));
    ck_error(err, "object 'b' is of type 'plain', not 'toy'");
    ck_assert_ptr_null(object_find("c", NULL, &err));
    ck_assert_int_eq(err->code, VMM_ERROR_DEVICE_NOT_FOUND);
    ck_error(err, "object 'c' not found");
    object_foreach(count, &n);
    ck_assert_int_eq(n, 2);

    ck_assert_ptr_null(create("toy,id=a", &err));
    ck_error(err, "Duplicate ID 'a' for object");
    ck_assert_ptr_null(create("tyo,id=x", &err));
    ck_error(err, "unknown object type 'tyo'; did you mean 'toy'?");
    ck_assert_ptr_null(create("toy", &err));
    ck_error(err, "Parameter 'id' is missing");
    ck_assert_ptr_null(create("id=x", &err));
    ck_error(err, "Parameter 'qom-type' is missing");
    ck_assert_ptr_null(create("toy,id=9", &err));
    ck_error(err, "expects an identifier");
    ck_assert_ptr_null(create("toy,id=x,levle=1", &err));
    ck_error(err, "object 'toy': unknown property 'levle'; did you mean 'level'?");
    ck_assert_ptr_null(create("plain,id=x,level=1", &err));
    ck_error(err, "unknown property 'level'");
    ck_assert_ptr_null(create("toy,id=x,level=13", &err));
    ck_error(err, "13 brings bad luck");
    ck_assert_int_eq(toys_finalized, 0);

    a->users++;
    ck_assert(!object_delete("a", &err));
    ck_error(err, "object 'a' is in use, can not be deleted");
    a->users--;
    ck_assert(object_delete("a", &err));
    ck_assert_int_eq(toys_finalized, 1);
    ck_assert(!object_delete("a", &err));
    ck_error(err, "object 'a' not found");
    ck_assert_ptr_nonnull(create("toy,id=a", &err));
    object_delete_all();
    ck_assert_int_eq(toys_finalized, 2);
    ck_assert_ptr_null(object_find("b", NULL, NULL));
}
END_TEST

static void check_secret(const char *option, const char *expected, size_t expected_len)
{
    GError *err = NULL;
    size_t len = 0;
    Object *obj = create(option, &err);
    const uint8_t *bytes;

    ck_no_error(err);
    ck_assert_ptr_nonnull(obj);
    bytes = secret_bytes("s", &len, &err);
    ck_no_error(err);
    ck_assert_uint_eq(len, expected_len);
    ck_assert_mem_eq(bytes, expected, len);
    ck_assert(object_delete("s", &err));
}

START_TEST(secrets)
{
    static const ObjectClass *const with_secrets[] = {&secret_class, &plain_class, NULL};
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "vmm-secret-XXXXXX", NULL);
    g_autofree char *from_file = NULL, *decoded_file = NULL;
    int fd = g_mkstemp(path);
    GError *err = NULL;
    size_t len;

    object_set_classes(with_secrets);
    ck_assert_int_eq(write(fd, "YWIA\n", 5), 5);
    close(fd);
    from_file = g_strdup_printf("secret,id=s,file=%s", path);
    decoded_file = g_strdup_printf("secret,id=s,format=base64,file=%s", path);
    check_secret("secret,id=s,data=ab", "ab", 2);
    check_secret("secret,id=s,data=", "", 0);
    check_secret("secret,id=s,data=YWIA,format=base64", "ab\0", 3);
    check_secret("secret,id=s,data=YQ==,format=base64", "a", 1);
    check_secret(from_file, "YWIA\n", 5);
    check_secret(decoded_file, "ab\0", 3);
    unlink(path);
    ck_assert_ptr_null(create(from_file, &err));
    ck_error(err, path);
    ck_assert_ptr_null(create("secret,id=s,data=Y?IA,format=base64", &err));
    ck_error(err, "invalid characters");
    ck_assert_ptr_null(create("secret,id=s,data=a,file=b", &err));
    ck_error(err, "mutually exclusive");
    ck_assert_ptr_null(create("secret,id=s", &err));
    ck_error(err, "must be provided");
    ck_assert_ptr_null(create("secret,id=s,data=a,iv=b", &err));
    ck_error(err, "'iv' is of use with 'keyid' alone");
    ck_assert_ptr_null(secret_bytes("s", &len, &err));
    ck_error(err, "No secret with id 's'");
}
END_TEST

/* "letmein", encrypted by openssl with the key and the vector below. */
#define SECRET_KEY_TEXT "secret,id=k,data=0123456789abcdef0123456789abcdef"
#define SECRET_IV_TEXT  "ZmVkY2JhOTg3NjU0MzIxMA=="

START_TEST(encrypted_secrets)
{
    static const struct {
        const char *option, *error;
    } bad[] = {
        {"keyid=none,data=x,iv=x", "No secret with id 'none'"},
        {"keyid=t,data=x,iv=x", "Object with id 't' is not a secret"},
        {"keyid=short,data=x,iv=x", "Key should be 32 bytes in length"},
        {"keyid=k,data=x", "IV is required to decrypt secret"},
        {"keyid=k,data=x,iv=!", "invalid characters"},
        {"keyid=k,data=x,iv=AAAA", "IV should be 16 bytes in length not 3"},
        {"keyid=k,data=x,iv=" SECRET_IV_TEXT, "Length 1 must be a multiple of block size 16"},
        {"keyid=k,data=,iv=" SECRET_IV_TEXT, "Length 0 must be a multiple of block size 16"},
        {"keyid=k,data=0123456789abcdef,iv=" SECRET_IV_TEXT, "Incorrect number of padding bytes"},
    };
    GError *err = NULL;

    object_set_classes(object_base_classes);
    object_add_classes((const ObjectClass *const[]){&plain_class, NULL});
    ck_assert_ptr_nonnull(create("plain,id=t", &err));
    ck_assert_ptr_nonnull(create(SECRET_KEY_TEXT, &err));
    ck_assert_ptr_nonnull(create("secret,id=short,data=abc", &err));
    check_secret("secret,id=s,keyid=k,format=base64,data=YYJkiF4rTwDe+yqgJdNfXw==,iv=" //
                 SECRET_IV_TEXT,
                 "letmein", 7);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *option = g_strdup_printf("secret,id=s,%s", bad[i].option);

        ck_assert_ptr_null(create(option, &err));
        ck_error(err, bad[i].error);
    }
    ck_assert_ptr_nonnull(create("secret,id=s,format=base64,data=YYA=", &err));
    ck_assert_ptr_null(secret_text("s", &err));
    ck_error(err, "Data from secret s is not valid UTF-8");
    ck_assert_str_eq(secret_text("k", &err), "0123456789abcdef0123456789abcdef");
    object_delete_all();
}
END_TEST

START_TEST(tool_option)
{
    g_autofree char *all = NULL, *one = NULL, *none = NULL;
    GError *err = NULL;

    object_set_classes(object_base_classes);
    object_add_classes((const ObjectClass *const[]){&plain_class, &toy_class, NULL});
    ck_assert(object_option("help", &all, &err));
    ck_assert(g_str_has_prefix(all, "List of user creatable objects:\n  authz-list\n"));
    ck_assert_ptr_nonnull(strstr(all, "  plain\n  secret\n"));
    ck_assert(g_str_has_suffix(all, "  toy\n"));
    ck_assert(object_option("secret,help", &one, &err));
    ck_assert(g_str_has_prefix(one, "secret options:\n"));
    ck_assert_ptr_nonnull(strstr(one, "keyid=<str>"));
    ck_assert(!object_option("tov,help", &none, &err));
    ck_error(err, "unknown object type 'tov'; did you mean 'toy'?");
    ck_assert(!object_option("id=x", &none, &err));
    ck_error(err, "Parameter 'qom-type' is missing");
    ck_assert(object_option("secret,id=a,data=1", &none, &err));
    ck_assert(object_option("{'qom-type':'secret','id':'b','data':'2'}", &none, &err));
    ck_assert_ptr_null(none);
    ck_assert_str_eq(secret_text("b", &err), "2");
    object_delete_all();
}
END_TEST

/* Overrides GLib's in this program: notes whether freed memory still holds the secret. */
static const char kept_secret[] = "a-very-secret-text";
static int secrets_freed;

void g_free(void *p)
{
    if (p && malloc_usable_size(p) >= sizeof kept_secret &&
        memcmp(p, kept_secret, sizeof kept_secret) == 0) {
        secrets_freed++;
    }
    free(p);
}

/* Whether an object is made or refused, the memory of 'data' is wiped. */
START_TEST(secrets_are_wiped)
{
    static const ObjectClass *const with_secrets[] = {&secret_class, NULL};
    static const char *const more[] = {NULL, "iv", "keyid", "file", "format", "no-such-property"};

    object_set_classes(with_secrets);
    for (unsigned i = 0; i < G_N_ELEMENTS(more); i++) {
        GError *err = NULL;
        json_t *config =
            json_pack("{s:s, s:s, s:s}", "qom-type", "secret", "id", "s", "data", kept_secret);

        if (more[i]) {
            json_object_set_new(config, more[i], json_string("base64"));
        }
        secrets_freed = 0;
        if (object_create(config, &err)) {
            ck_assert(object_delete("s", &err));
        } else {
            g_clear_error(&err);
        }
        json_decref(config);
        ck_assert_msg(secrets_freed == 0, "with %s", more[i] ? more[i] : "data alone");
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {secrets,
                                  encrypted_secrets,
                                  encrypted_secrets,
                                  tool_option,
                                  secrets_are_wiped,
                                  sizes,
                                  scalars,
                                  defaults,
                                  applied_text,
                                  applied_json,
                                  refused,
                                  required,
                                  round_trip,
                                  printed,
                                  help,
                                  objects,
                                  NULL};

    return unit_run("values", tests);
}
