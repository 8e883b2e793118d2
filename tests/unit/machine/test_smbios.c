/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../base/unit.h"
#include "base/keyval.h"
#include "pc.h"
#include "smbios.h"
#include "x86/x86.h"

static MachineConfig config;
static PcMachine pc;
static Vm vm;
static GPtrArray *entries;
static GError *err;

static void setup(void)
{
    memset(&vm, 0, sizeof vm);
    vm.machine_class = &pc_i440fx_class;
    vm.machine = &pc;
    vm.smp =
        (SmpConfig){.cpus = 4, .maxcpus = 4, .sockets = 2, .dies = 1, .cores = 2, .threads = 1};
    vm.ram_size = 40 * GiB;
    pc.config = &config;
    pc.below_4g = 3 * GiB;
    pc.above_4g = 37 * GiB;
    for (unsigned i = 0; i < 16; i++) {
        vm.uuid[i] = i;
    }
    ck_assert(x86_cpu_configure(&vm, "qemu64", NULL, &err));
    entries = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
}

static void option(const char *text)
{
    static const char *const lists[] = {"value", "path", NULL};

    g_ptr_array_add(entries, keyval_parse(text, NULL, lists, false, &err));
    ck_no_error(err);
}

/* Finds the first structure of a type as a guest does; *count is the number of all structures. */
static const uint8_t *find(const GByteArray *t, uint8_t type, unsigned *count)
{
    const uint8_t *found = NULL;
    unsigned pos = 0;

    *count = 0;
    while (pos < t->len) {
        const uint8_t *s = t->data + pos;

        if (s[0] == type && !found) {
            found = s;
        }
        (*count)++;
        pos += s[1];
        while (t->data[pos] || t->data[pos + 1]) {
            pos++;
            ck_assert_uint_lt(pos + 1, t->len);
        }
        pos += 2;
        if (s[0] == 127) {
            break;
        }
    }
    ck_assert_uint_eq(pos, t->len);
    return found;
}

static const char *text_of(const uint8_t *s, unsigned field)
{
    const char *p = (const char *)s + s[1];

    for (unsigned n = s[field]; n > 1; n--) {
        p += strlen(p) + 1;
    }
    return s[field] ? p : "";
}

START_TEST(defaults)
{
    Smbios *s = smbios_build(&vm, entries, &err);
    const GByteArray *t = smbios_tables(s);
    const uint8_t uuid[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t anchor[31], sum = 0;
    const uint8_t *p;
    unsigned count;

    ck_assert_ptr_null(find(t, 0, &count)); /* SeaBIOS adds its own */
    /* 1, 3, 4 4, 16, 17 17 17, 19 19, 32, 127 */
    ck_assert_uint_eq(count, 12);
    p = find(t, 1, &count);
    ck_assert_str_eq(text_of(p, 4), "QEMU");
    ck_assert_str_eq(text_of(p, 6), "pc-i440fx-7.2");
    ck_assert_mem_eq(p + 8, uuid, 16);
    p = find(t, 4, &count);
    ck_assert_uint_eq(p[35], 2);
    p = find(t, 19, &count);
    ck_assert_uint_eq(ldle32(p + 8), 3 * GiB / KiB - 1);
    smbios_anchor(s, 0x12345678, anchor);
    for (unsigned i = 0; i < sizeof anchor; i++) {
        sum += anchor[i];
    }
    ck_assert_uint_eq(sum, 0);
    ck_assert_uint_eq(ldle32(anchor + 24), 0x12345678);
    ck_assert_uint_eq(ldle16(anchor + 28), 12);
    ck_assert_uint_eq(ldle16(anchor + 22), t->len);
    smbios_free(s);
}
END_TEST

START_TEST(options)
{
    Smbios *s;
    unsigned count;

    option("type=0,vendor=Me,release=1.2");
    option("type=1,manufacturer=Acme,,Inc,serial=S1");
    option("type=2,product=Board");
    option("type=11,value=one,value=two");
    s = smbios_build(&vm, entries, &err);
    ck_no_error(err);
    ck_assert_str_eq(text_of(find(smbios_tables(s), 0, &count), 4), "Me");
    ck_assert_str_eq(text_of(find(smbios_tables(s), 1, &count), 4), "Acme,Inc");
    ck_assert_str_eq(text_of(find(smbios_tables(s), 1, &count), 7), "S1");
    ck_assert_str_eq(text_of(find(smbios_tables(s), 2, &count), 5), "Board");
    ck_assert_uint_eq(find(smbios_tables(s), 11, &count)[4], 2);
    smbios_free(s);
}
END_TEST

START_TEST(ports_and_devices)
{
    Smbios *s;
    const uint8_t *p;
    unsigned count;

    option("type=8,internal_reference=I,external_reference=E,connector_type=3,port_type=0x10");
    option("type=8");
    option("type=41,designation=D,kind=ethernet,instance=2");
    option("type=41");
    option("type=4,processor-id=0x1122334455667788");
    s = smbios_build(&vm, entries, &err);
    ck_no_error(err);
    p = find(smbios_tables(s), 8, &count);
    ck_assert_uint_eq(count, 12 + 4);
    ck_assert_mem_eq(p, "\x08\x09\x00\x08\x01\x00\x02\x03\x10I\0E\0", 14);
    p += 14;
    ck_assert_mem_eq(p, "\x08\x09\x01\x08\0\0\0\0\0\0", 11);
    p = find(smbios_tables(s), 41, &count);
    ck_assert_mem_eq(p, "\x29\x0b\x00\x29\x01\x85\x02\0\0\0\0D\0", 14);
    ck_assert_mem_eq(p + 14, "\x29\x0b\x01\x29\0\x81\x01\0\0\0\0\0", 13);
    ck_assert_uint_eq(ldle64(find(smbios_tables(s), 4, &count) + 8), 0x1122334455667788);
    smbios_free(s);
}
END_TEST

/* An empty value counts; one may come from a file. */
START_TEST(oem_strings)
{
    char path[] = "/tmp/oem-XXXXXX";
    g_autofree char *text = NULL;
    int fd = mkstemp(path);
    const uint8_t *p;
    unsigned count;
    Smbios *s;

    ck_assert_int_eq(write(fd, "from a file", 11), 11);
    close(fd);
    text = g_strdup_printf("type=11,value=,value=a,path=%s", path);
    option(text);
    s = smbios_build(&vm, entries, &err);
    ck_no_error(err);
    p = find(smbios_tables(s), 11, &count);
    ck_assert_uint_eq(p[4], 3);
    ck_assert_mem_eq(p + 5, "a\0from a file\0", 15);
    smbios_free(s);
    ck_assert(g_file_set_contents(path, "a\0b", 3, NULL));
    ck_assert_ptr_null(smbios_build(&vm, entries, &err));
    unlink(path);
    ck_error(err, "the file holds a NUL");
    ck_assert_ptr_null(smbios_build(&vm, entries, &err));
    ck_error(err, "No such file or directory");
    g_ptr_array_set_size(entries, 0);
    for (int i = 0; i < 256; i++) {
        option("type=11,value=x");
    }
    ck_assert_ptr_null(smbios_build(&vm, entries, &err));
    ck_error(err, "there are 256 values");
}
END_TEST

static const struct {
    const char *option, *error;
} bad[] = {
    {"type=99", "type 99"},
    {"vendor=x", "'type' must be"},
    {"type=1,seriel=3", "serial"},
    {"type=0,release=one", "MAJOR.MINOR"},
    {"{\"type\": \"11\", \"value\": [\"a\", 1]}", "'value' expects a text, not 1"},
    {"{\"type\": \"1\", \"serial\": 5}", "'serial' expects a text, not 5"},
    {"type=4,max-speed=fast", "max-speed"},
    {"type=8,connector_type=256", "'connector_type=256' is no number up to 255"},
    {"type=41,kind=ehternet", "did you mean 'ethernet'"},
    {"type=41,instance=x", "'instance=x' is no number"},
    {"file=/nonexistent", "/nonexistent"},
};

START_TEST(bad_options)
{
    option(bad[_i].option);
    ck_assert_ptr_null(smbios_build(&vm, entries, &err));
    ck_error(err, bad[_i].error);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("smbios");

    unit_fork_always();
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, defaults);
    tcase_add_test(t, options);
    tcase_add_test(t, ports_and_devices);
    tcase_add_test(t, oem_strings);
    tcase_add_loop_test(t, bad_options, 0, ARRAY_SIZE(bad));
    return unit_run_case("machine_smbios", t);
}
