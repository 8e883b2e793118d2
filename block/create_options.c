/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP's options of new images and of amended ones (qapi/block-core.json, BlockdevCreateOptions and
 * BlockdevAmendOptions), and what the same are called in the drivers' own tables, whose names are
 * those of 'qemu-img create -o'.
 */
#include "create_options.h"

#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/create_job.h"
#include "block/node.h"
#include "crypto/cipher.h"
#include "crypto/luks.h"

#define CREATE_FILE MEMBER("file", PROP_TREE, .shape = &block_ref_shape, .help = "where it lies")
#define CREATE_SIZE MEMBER("size", PROP_SIZE, .help = "of the disk")
#define CREATE_PREALLOCATION                                                                       \
    MAYBE("preallocation", PROP_ENUM, .names = block_preallocation_names,                          \
          .help = "what has a place in the file from the start")
#define CREATE_BACKING MAYBE("backing-file", PROP_STRING, .help = "name of a base image")

/* --- encryption --- */

#define CREATE_LUKS                                                                                \
    MAYBE("key-secret", PROP_STRING, .help = "the -object secret that opens the image"),           \
        MAYBE("cipher-alg", PROP_ENUM, .names = cipher_alg_names),                                 \
        MAYBE("cipher-mode", PROP_ENUM, .names = cipher_mode_names),                               \
        MAYBE("ivgen-alg", PROP_ENUM, .names = cipher_iv_names),                                   \
        MAYBE("ivgen-hash-alg", PROP_ENUM, .names = cipher_hash_names),                            \
        MAYBE("hash-alg", PROP_ENUM, .names = cipher_hash_names),                                  \
        MAYBE("iter-time", PROP_INT64, .help = "milliseconds that it takes to try a password")
#define AMEND_LUKS                                                                                 \
    MEMBER("state", PROP_ENUM, .names = luks_state_names, .help = "what key slots become"),        \
        MAYBE("new-secret", PROP_STRING, .help = "active: also opens the image from now on"),      \
        MAYBE("old-secret", PROP_STRING, .help = "inactive: the slots that this one opens"),       \
        MAYBE("keyslot", PROP_INT64, .help = "this key slot"),                                     \
        MAYBE("iter-time", PROP_INT64, .help = "milliseconds that it takes to try a password"),    \
        MAYBE("secret", PROP_STRING, .help = "opens the image now; none: as it was opened")

static const char *const encrypt_names[] = {"qcow", "luks", NULL};
static const Property encrypt_members[] = {MEMBER("format", PROP_ENUM, .names = encrypt_names),
                                           PROP_END};
static const Property encrypt_qcow[] = {MAYBE("key-secret", PROP_STRING), PROP_END};
static const Property encrypt_luks[] = {CREATE_LUKS, PROP_END};
static const PropertyShape encrypt_shape = {
    .name = "QCryptoBlockCreateOptions",
    .members = encrypt_members,
    .tag = "format",
    .variants = (const ShapeVariant[]){{"qcow", encrypt_qcow}, {"luks", encrypt_luks}, {NULL}},
};
static const Property amend_luks[] = {AMEND_LUKS, PROP_END};
static const PropertyShape amend_encrypt_shape = {
    .name = "QCryptoBlockAmendOptions",
    .members = encrypt_members,
    .tag = "format",
    .variants = (const ShapeVariant[]){{"qcow", NULL}, {"luks", amend_luks}, {NULL}},
};

/* --- the drivers --- */

static const Property create_file[] = {
    MEMBER("filename", PROP_STRING, .help = "the file"),
    CREATE_SIZE,
    CREATE_PREALLOCATION,
    MAYBE("nocow", PROP_BOOL, .help = "no copy-on-write, on btrfs"),
    MAYBE("extent-size-hint", PROP_SIZE, .help = "for XFS"),
    PROP_END,
};
static const Property create_luks[] = {CREATE_LUKS, CREATE_FILE, CREATE_SIZE, CREATE_PREALLOCATION,
                                       PROP_END};
static const char *const backing_names[] = {
    "dmg",   "file", "host_device", "http", "https", "luks", "nbd", "parallels", "qcow",
    "qcow2", "qed",  "raw",         "vdi",  "vhdx",  "vmdk", "vpc", NULL};
static const char *const version_names[] = {"v2", "v3", NULL};
static const char *const compression_names[] = {"zlib", "zstd", NULL};
static const Property create_qcow2[] = {
    CREATE_FILE,
    MAYBE("data-file", PROP_TREE, .shape = &block_ref_shape, .help = "where the data lie"),
    MAYBE("data-file-raw", PROP_BOOL, .help = "the data file is also a raw image"),
    MAYBE("extended-l2", PROP_BOOL, .help = "with subclusters"),
    CREATE_SIZE,
    MAYBE("version", PROP_ENUM, .names = version_names),
    CREATE_BACKING,
    MAYBE("backing-fmt", PROP_ENUM, .names = backing_names, .help = "its format"),
    MAYBE("encrypt", PROP_TREE, .shape = &encrypt_shape),
    MAYBE("cluster-size", PROP_SIZE),
    CREATE_PREALLOCATION,
    MAYBE("lazy-refcounts", PROP_BOOL),
    MAYBE("refcount-bits", PROP_INT64),
    MAYBE("compression-type", PROP_ENUM, .names = compression_names),
    PROP_END,
};
static const Property create_vdi[] = {CREATE_FILE, CREATE_SIZE, CREATE_PREALLOCATION, PROP_END};
static const char *const fixed_names[] = {"dynamic", "fixed", NULL};
static const Property create_vhdx[] = {
    CREATE_FILE,
    CREATE_SIZE,
    MAYBE("log-size", PROP_SIZE),
    MAYBE("block-size", PROP_SIZE),
    MAYBE("subformat", PROP_ENUM, .names = fixed_names),
    MAYBE("block-state-zero", PROP_BOOL),
    PROP_END,
};
static const char *const vmdk_names[] = {"monolithicSparse",     "monolithicFlat",
                                         "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                         "streamOptimized",      NULL};
static const char *const adapter_names[] = {"ide", "buslogic", "lsilogic", "legacyESX", NULL};
static const Property create_vmdk[] = {
    CREATE_FILE,
    CREATE_SIZE,
    MAYBE_LIST("extents", PROP_TREE, .shape = &block_ref_shape, .help = "where the extents lie"),
    MAYBE("subformat", PROP_ENUM, .names = vmdk_names),
    CREATE_BACKING,
    MAYBE("adapter-type", PROP_ENUM, .names = adapter_names),
    MAYBE("hwversion", PROP_STRING),
    MAYBE("toolsversion", PROP_STRING),
    MAYBE("zeroed-grain", PROP_BOOL),
    PROP_END,
};
static const Property create_vpc[] = {
    CREATE_FILE, CREATE_SIZE, MAYBE("subformat", PROP_ENUM, .names = fixed_names),
    MAYBE("force-size", PROP_BOOL, .help = "whatever the geometry"), PROP_END};
static const Property amend_qcow2[] = {MAYBE("encrypt", PROP_TREE, .shape = &amend_encrypt_shape),
                                       PROP_END};

/* One entry a driver. 'own': what QMP does not say and means. */
typedef struct {
    const char *driver;
    const Property *create, *amend;
    const char *own;
    bool whole_sectors; /* the size is not rounded up */
} CreateOptions;

static const CreateOptions table[] = {
    {"file", create_file},
    {"luks", create_luks, amend_luks},
    {"qcow2", create_qcow2, amend_qcow2, .whole_sectors = true},
    {"vdi", create_vdi},
    {"vhdx", create_vhdx},
    {"vmdk", create_vmdk, .whole_sectors = true},
    {"vpc", create_vpc, .own = "exact_size"},
};

static const CreateOptions *find(const char *driver)
{
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (g_str_equal(table[i].driver, driver)) {
            return &table[i];
        }
    }
    return NULL;
}

bool block_create_has(const char *driver)
{
    return find(driver) != NULL;
}

bool block_amend_has(const char *driver)
{
    const CreateOptions *o = find(driver);

    return o && o->amend;
}

/*
 * Every driver is a variant, so that one which makes no images is refused as such; but not those
 * whose options QEMU has, and this program does not.
 */
static const BlockDriver *variant_driver(unsigned i, const char *const *without)
{
    for (const BlockDriver *const *drv = block_drivers(); *drv; drv++) {
        if (!g_strv_contains(without, (*drv)->name) && !i--) {
            return *drv;
        }
    }
    return NULL;
}

static ShapeVariant create_variant(unsigned i)
{
    static const char *const without[] = {"parallels", "qcow", "qed", NULL};
    const BlockDriver *drv = variant_driver(i, without);
    const CreateOptions *o = drv ? find(drv->name) : NULL;

    return (ShapeVariant){drv ? drv->name : NULL, o ? o->create : NULL};
}

static ShapeVariant amend_variant(unsigned i)
{
    static const char *const without[] = {NULL};
    const BlockDriver *drv = variant_driver(i, without);
    const CreateOptions *o = drv ? find(drv->name) : NULL;

    return (ShapeVariant){drv ? drv->name : NULL, o ? o->amend : NULL};
}

const PropertyShape block_create_shape = {
    .name = "BlockdevCreateOptions", .tag = "driver", .variant = create_variant};
const PropertyShape block_amend_shape = {
    .name = "BlockdevAmendOptions", .tag = "driver", .variant = amend_variant};

/* --- from QMP's names to the drivers' --- */

/* The driver's name of an option; the caller frees it. */
static char *own_name(const Property *props, const char *prefix, const char *key)
{
    char *name = g_strconcat(prefix, g_str_equal(key, "version") ? "compat" : key, NULL);

    return property_find(props, name) ? name : g_strdelimit(name, "-", '_');
}

static json_t *own_value(const char *name, json_t *value)
{
    /* The cipher of the old qcow has the name of its algorithm in 'qemu-img'. */
    if (g_str_equal(name, "encrypt.format") && g_strcmp0(json_string_value(value), "qcow") == 0) {
        return json_string("aes");
    }
    return json_incref(value);
}

/* 'nodes' (may be NULL): a key that is left out, as 'file' is. */
static void translate(const Property *props, const char *nodes, const char *prefix, json_t *from,
                      json_t *to)
{
    const char *key;
    json_t *value;

    json_object_foreach(from, key, value)
    {
        g_autofree char *name = own_name(props, prefix, key);

        if (*prefix == 0 && (g_str_equal(key, "driver") || g_str_equal(key, "file") ||
                             g_strcmp0(key, nodes) == 0)) {
            continue;
        }
        if (json_is_object(value)) {
            g_autofree char *inner = g_strconcat(name, ".", NULL);
            translate(props, NULL, inner, value, to);
        } else {
            json_object_set_new(to, name, own_value(name, value));
        }
    }
}

json_t *block_create_tree(const BlockDriver *drv, json_t *options, GError **err)
{
    const CreateOptions *o = find(drv->name);
    json_int_t size = json_integer_value(json_object_get(options, "size"));
    json_t *tree;

    if (o->whole_sectors && size % BLOCK_SECTOR_SIZE) {
        error_set(err, "Image size must be a multiple of %d bytes", BLOCK_SECTOR_SIZE);
        return NULL;
    }
    tree = json_object();
    translate(drv->create_props, drv->create_nodes, "", options, tree);
    if (o->own) {
        json_object_set_new(tree, o->own, json_true());
    }
    return tree;
}

json_t *block_amend_tree(const BlockDriver *drv, json_t *options, GError **err)
{
    json_t *encrypt = json_object_get(options, "encrypt");
    json_t *tree = json_object();

    if (g_strcmp0(json_str(encrypt, "format"), "qcow") == 0) {
        error_set(err, "Only LUKS encryption options can be amended for qcow2 with "
                       "x-blockdev-amend");
        json_decref(tree);
        return NULL;
    }
    translate(drv->amend_props, NULL, "", options, tree);
    json_object_del(tree, "encrypt.format");
    return tree;
}
