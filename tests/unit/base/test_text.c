/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors, the log, iovecs and key=value text. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"
#include "unit.h"

/* Errors. */

START_TEST(error_texts)
{
    GError *err = NULL;

    ck_assert(!error_set(&err, "disk '%s' is %d", "a", 3));
    ck_assert(g_error_matches(err, VMM_ERROR, VMM_ERROR_GENERIC));
    ck_error(err, "disk 'a' is 3");
    ck_assert(!error_set_errno(&err, ENOENT, "Could not open '%s'", "x"));
    ck_assert(g_error_matches(err, VMM_ERROR, ENOENT));
    ck_error(err, "Could not open 'x': No such file or directory");
    ck_assert(!error_set_code(&err, VMM_ERROR_DEVICE_NOT_FOUND, "gone"));
    ck_assert_int_eq(err->code, VMM_ERROR_DEVICE_NOT_FOUND);
    g_clear_error(&err);
    ck_assert(!error_set(NULL, "nobody wants to know"));
    ck_assert(!error_set_errno(NULL, EIO, "nobody wants to know"));
}
END_TEST

START_TEST(nearest)
{
    static const char *const names[] = {
        "virtio-blk-pci", "virtio-net-pci", "e1000", "rtl8139", "mac", NULL};

    ck_assert_str_eq(nearest_name("virtio-blk-pic", names), "virtio-blk-pci");
    ck_assert_str_eq(nearest_name("virtio_net_pci", names), "virtio-net-pci");
    ck_assert_str_eq(nearest_name("VIRTIO-NET-PCI", names), "virtio-net-pci");
    ck_assert_str_eq(nearest_name("virtio-b", names), "virtio-blk-pci");
    ck_assert_str_eq(nearest_name("e100", names), "e1000");
    ck_assert_str_eq(nearest_name("amc", names), "mac");
    ck_assert_ptr_null(nearest_name("zebra", names));
    ck_assert_ptr_null(nearest_name("x", names));
    ck_assert_ptr_null(nearest_name("", names));
    g_autofree char *longest = g_strnfill(5000, 'a');
    ck_assert_ptr_null(nearest_name(longest, names));
}
END_TEST

START_TEST(unknown_names)
{
    static const char *const few[] = {"on", "off", NULL};
    static const char *const one[] = {"pc", NULL};
    static const char *const none[] = {NULL};
    GError *err = NULL;

    error_unknown_name(&err, "mode", "offf", few);
    ck_error(err, "unknown mode 'offf'; did you mean 'off'?");
    error_unknown_name(&err, "mode", "maybe", few);
    ck_error(err, "unknown mode 'maybe'; there are: on, off");
    error_unknown_name(&err, "machine", "zebra", one);
    ck_error(err, "unknown machine 'zebra'; there is: pc");
    error_unknown_name(&err, "thing", "x", none);
    ck_error(err, "unknown thing 'x'");
}
END_TEST

/* Log. */

/* The text that 'write' writes to stderr (caller frees). */
static char *captured(void (*write)(void))
{
    char path[] = "/tmp/unit-log-XXXXXX";
    int file = mkstemp(path), old = dup(STDERR_FILENO);
    gsize len;
    char *text;

    dup2(file, STDERR_FILENO);
    write();
    dup2(old, STDERR_FILENO);
    close(old);
    close(file);
    ck_assert(g_file_get_contents(path, &text, &len, NULL));
    unlink(path);
    return text;
}

static void three_messages(void)
{
    log_error("bad %d", 1);
    log_warn("odd");
    log_info("so");
}

START_TEST(log_messages)
{
    log_set_program_name("kvm");
    ck_assert_str_eq(log_program_name(), "kvm");
    g_autofree char *text = captured(three_messages);
    ck_assert_str_eq(text, "kvm: bad 1\nkvm: warning: odd\nkvm: info: so\n");
    log_set_timestamps(true);
    g_autofree char *stamped = captured(three_messages);
    ck_assert(g_regex_match_simple("^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z kvm: bad",
                                   stamped, 0, 0));
}
END_TEST

static void hundred_guest_errors(void)
{
    for (int i = 0; i < 100; i++) {
        log_guest_error("write of %d", i);
    }
}

static void items(void)
{
    log_item(LOG_UNIMP, "unimp");
    log_item(LOG_NET, "net");
}

START_TEST(log_item_switches)
{
    GError *err = NULL;

    ck_assert(!log_item_enabled(LOG_GUEST_ERRORS));
    g_autofree char *off = captured(hundred_guest_errors);
    ck_assert_str_eq(off, "");
    ck_assert(log_set_items("guest_errors,net", NULL, &err));
    ck_assert(log_item_enabled(LOG_GUEST_ERRORS) && log_item_enabled(LOG_NET));
    g_autofree char *some = captured(items);
    ck_assert_str_eq(some, "net\n");
    g_autofree char *limited = captured(hundred_guest_errors);
    ck_assert(g_str_has_suffix(limited, "write of 9\n"));
    ck_assert(log_set_items("all", NULL, &err) && log_item_enabled(LOG_UNIMP));
    ck_assert(log_set_items("none", NULL, &err) && !log_item_enabled(LOG_UNIMP));
    ck_assert(!log_set_items("unimpl", NULL, &err));
    ck_error(err, "unknown log item 'unimpl'; did you mean 'unimp'?");
    ck_assert_str_eq(log_item_names()[0], "guest_errors");
}
END_TEST

START_TEST(log_to_file)
{
    char path[] = "/tmp/unit-log-XXXXXX";
    GError *err = NULL;
    g_autofree char *text = NULL;

    close(mkstemp(path));
    ck_assert(log_set_items("net", NULL, &err) && log_set_file(path, &err));
    items();
    ck_assert(log_set_file(NULL, &err));
    g_autofree char *later = captured(items);
    ck_assert_str_eq(later, "net\n");
    ck_assert(g_file_get_contents(path, &text, NULL, NULL));
    ck_assert_str_eq(text, "net\n");
    unlink(path);
    ck_assert(!log_set_file("/nowhere/at/all", &err));
    ck_error(err, "Could not open '/nowhere/at/all'");
}
END_TEST

/* Vectors. */

START_TEST(iov_copies)
{
    char a[3] = "abc", b[1] = "d", c[4] = "efgh", out[16];
    struct iovec iov[] = {{a, 3}, {NULL, 0}, {b, 1}, {c, 4}};

    ck_assert_uint_eq(iov_size(iov, 4), 8);
    for (unsigned offset = 0; offset <= 9; offset++) {
        for (unsigned len = 0; len <= 9; len++) {
            size_t want = offset >= 8 ? 0 : MIN(len, 8 - offset);
            memset(out, 0, sizeof out);
            ck_assert_uint_eq(iov_to_buf(iov, 4, offset, out, len), want);
            ck_assert_mem_eq(out, &"abcdefgh"[MIN(offset, 8)], want);
        }
    }
    ck_assert_uint_eq(iov_from_buf(iov, 4, 2, "WXYZ", 4), 4);
    ck_assert_mem_eq(a, "abW", 3);
    ck_assert_mem_eq(b, "X", 1);
    ck_assert_mem_eq(c, "YZgh", 4);
    ck_assert_uint_eq(iov_memset(iov, 4, 7, '!', 100), 1);
    ck_assert_mem_eq(c, "YZg!", 4);
}
END_TEST

START_TEST(iov_slices)
{
    char a[3], b[1], c[4];
    struct iovec iov[] = {{a, 3}, {NULL, 0}, {b, 1}, {c, 4}}, dst[4];

    ck_assert_uint_eq(iov_slice(dst, 4, iov, 4, 1, 4), 3);
    ck_assert_ptr_eq(dst[0].iov_base, a + 1);
    ck_assert_uint_eq(dst[0].iov_len, 2);
    ck_assert_ptr_eq(dst[1].iov_base, b);
    ck_assert_ptr_eq(dst[2].iov_base, c);
    ck_assert_uint_eq(dst[2].iov_len, 1);
    ck_assert_uint_eq(iov_slice(dst, 2, iov, 4, 1, 4), 0);
    ck_assert_uint_eq(iov_slice(dst, 4, iov, 4, 0, 9), 0);
    ck_assert_uint_eq(iov_slice(dst, 4, iov, 4, 8, 1), 0);
    ck_assert_uint_eq(iov_slice(dst, 1, iov, 4, 4, 4), 1);
}
END_TEST

START_TEST(zeroes)
{
    g_autofree char *buf = g_malloc0(5000);

    bool right = true; /* each assertion of Check is a system call: one for all */
    for (size_t start = 0; start < 9; start++) {
        for (size_t len = 0; len < 300; len++) {
            right = right && buffer_is_zero(buf + start, len);
            for (size_t i = 0; i < len; i++) {
                buf[start + i] = 1;
                right = right && !buffer_is_zero(buf + start, len);
                buf[start + i] = 0;
            }
        }
    }
    ck_assert(right);
    struct iovec iov[] = {{buf, 100}, {buf + 200, 4000}};
    ck_assert(iov_is_zero(iov, 2));
    buf[150] = 1;
    ck_assert(iov_is_zero(iov, 2));
    buf[4199] = 1;
    ck_assert(!iov_is_zero(iov, 2));
}
END_TEST

START_TEST(unaligned)
{
    uint8_t b[9] = {0};

    stle32(b + 1, 0x11223344);
    ck_assert_uint_eq(b[1], 0x44);
    ck_assert_uint_eq(ldle32(b + 1), 0x11223344);
    ck_assert_uint_eq(ldbe32(b + 1), 0x44332211);
    stbe64(b + 1, 0x0102030405060708);
    ck_assert_uint_eq(b[8], 8);
    ck_assert_uint_eq(ldbe16(b + 1), 0x0102);
}
END_TEST

/* key=value. */

static void parses(const char *text, const char *implied, const char *const *lists, bool nest,
                   const char *want)
{
    GError *err = NULL;
    json_t *tree = keyval_parse(text, implied, lists, nest, &err);

    ck_no_error(err);
    ck_assert_ptr_nonnull(tree);
    g_autofree char *got = json_text(tree);
    ck_assert_str_eq(got, want);
    json_decref(tree);
}

static void refuses(const char *text, bool nest, const char *part)
{
    GError *err = NULL;

    ck_assert_ptr_null(keyval_parse(text, NULL, NULL, nest, &err));
    ck_error(err, part);
}

START_TEST(keyval_flat)
{
    static const char *const lists[] = {"hostfwd", NULL};

    parses("", "driver", NULL, false, "{}");
    parses("a=1,b=2", NULL, NULL, false, "{\"a\":\"1\",\"b\":\"2\"}");
    parses("virtio,id=x", "driver", NULL, false, "{\"driver\":\"virtio\",\"id\":\"x\"}");
    parses("id=x,file=a,,b=c,,", NULL, NULL, false, "{\"id\":\"x\",\"file\":\"a,b=c,\"}");
    parses("a,,b,c=1", "file", NULL, false, "{\"file\":\"a,b\",\"c\":\"1\"}");
    parses("a=", NULL, NULL, false, "{\"a\":\"\"}");
    parses("a=1,", NULL, NULL, false, "{\"a\":\"1\"}");
    parses("a=x=y", NULL, NULL, false, "{\"a\":\"x=y\"}");
    parses("a=1,a=2", NULL, NULL, false, "{\"a\":\"2\"}");
    parses("socket,server,nowait", "backend", NULL, false,
           "{\"backend\":\"socket\",\"server\":\"on\",\"wait\":\"off\"}");
    parses("no=1,no", NULL, NULL, false, "{\"no\":\"on\"}");
    parses("hostfwd=a,id=1,hostfwd=b", NULL, lists, false,
           "{\"hostfwd\":[\"a\",\"b\"],\"id\":\"1\"}");
    parses("help", "driver", NULL, false, "{\"help\":\"on\"}");
    parses("e1000,?", "driver", NULL, false, "{\"driver\":\"e1000\",\"help\":\"on\"}");
    parses("a.b=1", NULL, NULL, false, "{\"a.b\":\"1\"}");
    refuses("=1", false, "Invalid parameter ''");
    refuses("a=1,=2", false, "Invalid parameter ''");
    refuses("a b=1", false, "Invalid parameter 'a b'");
    refuses("a=\xff", false, "not valid UTF-8");
}
END_TEST

START_TEST(keyval_nested)
{
    static const char *const lists[] = {"a.b", NULL};

    parses("raw,file.driver=file,file.filename=x", "driver", NULL, true,
           "{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"x\"}}");
    parses("s.0.host=a,s.1.host=b", NULL, NULL, true,
           "{\"s\":[{\"host\":\"a\"},{\"host\":\"b\"}]}");
    parses("s.1=b,s.0=a", NULL, NULL, true, "{\"s\":[\"a\",\"b\"]}");
    parses("s.0.0=a", NULL, NULL, true, "{\"s\":[[\"a\"]]}");
    parses("a.b=1,a.b=2", NULL, lists, true, "{\"a\":{\"b\":[\"1\",\"2\"]}}");
    refuses("file=node,file.locking=off", true, "Parameters 'file.*' used inconsistently");
    refuses("a.b=1,a=2", true, "Parameters 'a.*' used inconsistently");
    refuses("a=2,a.b=1", true, "Parameters 'a.*' used inconsistently");
    refuses("x.a=2,x.a.b.c=1", true, "Parameters 'x.a.*' used inconsistently");
    refuses("a.0=1,a.b=2", true, "Parameters 'a.*' used inconsistently");
    refuses("a.0=1,a.2=2", true, "Parameter 'a.1' is missing");
    refuses("a.x.1=1", true, "Parameter 'a.x.0' is missing");
    refuses("a..b=1", true, "Invalid parameter 'a..b'");
    refuses(".a=1", true, "Invalid parameter '.a'");
    refuses("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.a.b.c.d.e.f.g.h=1", true,
            "nested too deeply");
}
END_TEST

START_TEST(keyval_json)
{
    GError *err = NULL;

    parses("{\"driver\": \"x\", \"n\": 3, \"on\": true}", "id", NULL, true,
           "{\"driver\":\"x\",\"n\":3,\"on\":true}");
    parses(" {}", "id", NULL, true, "{}");
    refuses("{\"a\":", false, "JSON parse error, a bracket is not closed");
    refuses("{\"a\":1,\"a\":2}", false, "JSON parse error");
    refuses("{} x", false, "JSON parse error");
    json_t *list = json_parse("[1, \"a\", null]", &err);
    g_autofree char *text = json_text(list);
    ck_assert_str_eq(text, "[1,\"a\",null]");
    json_decref(list);
    json_t *object = json_parse("{\"a\":\"b\",\"c\":1}", &err);
    ck_assert_str_eq(json_str(object, "a"), "b");
    ck_assert_ptr_null(json_str(object, "c"));
    ck_assert_ptr_null(json_str(object, "x"));
    json_decref(object);
    g_autofree char *open = g_strnfill(300, '['), *close = g_strnfill(300, ']');
    g_autofree char *deep = g_strconcat(open, close, NULL);
    ck_assert_ptr_null(json_parse(deep, &err));
    ck_error(err, "more than 256 levels deep");
    g_autofree char *flat = g_strconcat("[\"\\\"", open, "\"]", NULL);
    json_decref(json_parse(flat, &err));
    ck_no_error(err);
    ck_assert(id_check("net0", &err) && id_check("a-b_c.d", &err));
    ck_assert(!id_check("", &err));
    ck_error(err, "expects an identifier");
    ck_assert(!id_check("0a", &err));
    g_clear_error(&err);
    ck_assert(!id_check("a b", &err));
    g_clear_error(&err);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        error_texts, nearest,       unknown_names, log_messages, log_item_switches,
        log_to_file, iov_copies,    iov_slices,    zeroes,       unaligned,
        keyval_flat, keyval_nested, keyval_json,   NULL};

    unit_fork_always();
    return unit_run("text", tests);
}
