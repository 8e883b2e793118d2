/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options, files, FIFOs, ring buffers, queues and threads. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "fixture.h"

static char *contents(const char *path)
{
    char *text = NULL;

    ck_assert(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

START_TEST(options_that_are_wrong)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"null", "chardev: no id specified"},
        {"foo,id=x", "'foo' is not a valid char driver name"},
        {"sockt,id=x", "did you mean 'socket'"},
        {"file,id=x", "chardev: file: no filename given"},
        {"file,id=x,path=/nonexistent/y", "Could not open '/nonexistent/y': No such file"},
        {"pipe,id=x,path=/nonexistent/y", "No such file"},
        {"socket,id=x,path=/nonexistent/a",
         "Failed to connect to '/nonexistent/a': No such file or directory"},
        {"socket,id=x", "is needed"},
        {"socket,id=x,host=h", "no port given"},
        {"socket,id=x,path=a,host=b,port=1", "None or one of 'path', 'fd' or 'host'"},
        {"socket,id=x,path=a,wait=off",
         "'wait' option is incompatible with socket in client connect mode"},
        {"socket,id=x,path=a,server=on,reconnect=1",
         "'reconnect' option is incompatible with socket in server listen mode"},
        {"socket,id=x,path=a,tls-creds=t", "not supported"},
        {"socket,id=x,host=127.0.0.1,port=5000,to=100,server=on,wait=off",
         "Failed to create a socket: 'to=100' is below 'port=5000'"},
        {"socket,id=x,fd=7777", "not a socket"},
        {"socket,id=x,fd=z", "Unable to parse FD number z"},
        {"ringbuf,id=x,size=3", "power of two"},
        {"null,id=x,bogus=1", "bogus"},
        {"stdio,id=x,signal=perhaps", "signal"},
        {"null,id=x,logfile=/nonexistent/log", "/nonexistent/log"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;

        ck_assert_ptr_null(add_text(cases[i].text, &err));
        ck_error(err, cases[i].message);
        ck_assert_ptr_null(chardev_find("x"));
    }
}
END_TEST

START_TEST(short_forms_that_are_wrong)
{
    static const char *const texts[] = {"foo:bar",    "tcp:foo",     "tcp:h:",      "udp:nothing",
                                        "chardev:zz", "mon:chardev", "telnet:[::1", "",
                                        "unix:",      "/nonexistent"};

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        GError *err = NULL;

        ck_assert_ptr_null(chardev_from_short("serial0", texts[i], &err));
        ck_assert_msg(err != NULL, "'%s'", texts[i]);
        g_clear_error(&err);
    }
}
END_TEST

START_TEST(ids_are_unique_and_removable)
{
    GError *err = NULL;
    static Front f = {0};

    front_connect(&f, add_short("a", "null"));
    ck_assert_ptr_null(chardev_from_short("a", "null", &err));
    ck_error(err, "Duplicate ID 'a' for chardev");
    ck_assert_ptr_eq(chardev_from_short("b", "chardev:a", &err), chardev_find("a"));
    ck_assert(!chardev_remove("a", &err));
    ck_error(err, "busy");
    ck_assert(!chardev_remove("zz", &err));
    ck_error(err, "Chardev 'zz' not found");

    static CharFrontend second;
    ck_assert(!char_frontend_connect(&second, chardev_find("a"), f.fe.ops, &f, &err));
    ck_error(err, "Device 'a' is in use");

    char_frontend_disconnect(&f.fe);
    ck_assert(chardev_remove("a", &err));
    ck_assert_ptr_null(chardev_find("a"));
}
END_TEST

START_TEST(unconnected_frontends_eat)
{
    CharFrontend fe = {0};

    ck_assert_uint_eq(char_write(&fe, (const uint8_t *)"abc", 3), 3);
    char_write_all(&fe, (const uint8_t *)"abc", 3);
    char_accept_input(&fe);
    char_frontend_disconnect(&fe);
    ck_assert(!char_frontend_connected(&fe));
}
END_TEST

START_TEST(file_and_log)
{
    GError *err = NULL;
    g_autofree char *path = tmp_path("out"), *log = tmp_path("log");
    g_autofree char *text = g_strdup_printf("file,id=f,path=%s,logfile=%s,logappend=on", path, log);

    for (int i = 0; i < 2; i++) {
        static Front f = {0};

        front_connect(&f, add_text(text, &err));
        ck_no_error(err);
        front_write(&f, "hello\n");
        char_frontend_disconnect(&f.fe);
        ck_assert(chardev_remove("f", &err));
    }
    g_autofree char *out = contents(path), *logged = contents(log);
    ck_assert_str_eq(out, "hello\n");
    ck_assert_str_eq(logged, "hello\nhello\n");

    g_autofree char *append = g_strdup_printf("file,id=f,path=%s,append=on", path);
    static Front f = {0};
    front_connect(&f, add_text(append, &err));
    front_write(&f, "more");
    g_autofree char *longer = contents(path);
    ck_assert_str_eq(longer, "hello\nmore");
}
END_TEST

START_TEST(file_as_input)
{
    GError *err = NULL;
    g_autofree char *out = tmp_path("out"), *in = tmp_path("in");
    g_autofree char *text = g_strdup_printf("file,id=f,path=%s,in=%s", out, in);
    static Front f = {.room = 3};

    ck_assert(g_file_set_contents(in, "input data", -1, NULL));
    front_connect(&f, add_text(text, &err));
    ck_no_error(err);
    run_until(f.in->len == 10);
    ck_assert_str_eq(f.in->str, "input data");
    /* End of file does not make the loop spin. */
    run_for_ms(20);
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 50000000);
    ck_assert_uint_le(event_loop_turns(loop), turns + 1);
}
END_TEST

START_TEST(fifos)
{
    g_autofree char *base = tmp_path("p"), *in = tmp_path("p.in"), *out = tmp_path("p.out");
    g_autofree char *text = g_strdup_printf("pipe:%s", base);
    static Front f = {0};

    ck_assert_int_eq(mkfifo(in, 0600), 0);
    ck_assert_int_eq(mkfifo(out, 0600), 0);
    front_connect(&f, add_short("serial0", text));
    int w = open(in, O_WRONLY | O_NONBLOCK), r = open(out, O_RDONLY | O_NONBLOCK);
    ck_assert_int_eq(write(w, "abc", 3), 3);
    run_until(f.in->len == 3);
    front_write(&f, "xyz");
    g_autofree char *got = read_bytes(r, 3);
    ck_assert_str_eq(got, "xyz");
    close(w);
    close(r);
    run_for_ms(10); /* without a writer: no end of file, and the loop does not spin */
    ck_assert_str_eq(f.events->str, "O");
}
END_TEST

START_TEST(ring_buffer)
{
    GError *err = NULL;
    Chardev *chr = add_text("ringbuf,id=r,size=8", &err);
    static Front f = {0};

    front_connect(&f, chr);
    front_write(&f, "0123456789");
    size_t len;
    g_autofree char *a = chardev_ringbuf_read(chr, 3, &len),
                    *b = chardev_ringbuf_read(chr, 100, &len);
    ck_assert_str_eq(a, "234");
    ck_assert_str_eq(b, "56789");
    ck_assert(chardev_ringbuf_write(chr, "x\0yz", 4));
    g_autofree char *c = chardev_ringbuf_read(chr, 100, &len);
    ck_assert_uint_eq(len, 4);
    ck_assert_mem_eq(c, "x\0yz", 5);
    ck_assert_ptr_null(chardev_ringbuf_read(add_short("n", "null"), 1, &len));
    ck_assert(!chardev_ringbuf_write(add_short("n1", "null"), "x", 1));
    ck_assert_ptr_nonnull(add_text("memory,id=m", &err));
}
END_TEST

START_TEST(texts_for_the_monitor)
{
    static Front f = {0};

    front_connect(&f, add_short("serial0", "null"));
    add_short("compat_monitor0", "vc:80Cx24C");
    g_autofree char *text = chardev_info_text();
    ck_assert_str_eq(text, "serial0: filename=null\ncompat_monitor0: filename=vc\n");
    json_t *list = chardev_query();
    g_autofree char *dump = json_dumps(json_array_get(list, 0), JSON_SORT_KEYS);
    ck_assert_str_eq(dump,
                     "{\"filename\": \"null\", \"frontend-open\": true, \"label\": \"serial0\"}");
    ck_assert(json_is_false(json_object_get(json_array_get(list, 1), "frontend-open")));
    json_decref(list);
}
END_TEST

/* QMP's nested form. */
START_TEST(nested_configuration)
{
    GError *err = NULL;
    g_autofree char *path = tmp_path("s");
    json_t *config =
        json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b}}}", "id", "x", "backend", "type",
                  "socket", "data", "addr", "type", "unix", "data", "path", path, "server", 1);
    Chardev *chr = chardev_add(config, &err);

    ck_no_error(err);
    ck_assert_ptr_nonnull(strstr(chr->filename, "disconnected:unix:"));
    json_decref(config);
    config = json_pack("{s:s, s:{s:s, s:{s:s}}}", "id", "y", "backend", "type", "file", "data",
                       "out", path);
    ck_assert_ptr_null(chardev_add(config, &err)); /* path is a socket, which open() refuses */
    ck_assert_ptr_nonnull(err);
    g_clear_error(&err);
    json_decref(config);
}
END_TEST

/* A writer on another thread, as a vCPU: all bytes arrive, in order. */

#define STREAM 200000

typedef struct {
    Front f;
    GMutex lock;
    GCond cond;
    bool go;
} Stream;

static void stream_writable(void *data)
{
    Stream *s = data;

    g_mutex_lock(&s->lock);
    s->go = true;
    g_cond_signal(&s->cond);
    g_mutex_unlock(&s->lock);
}

static void *stream_thread(void *data)
{
    Stream *s = data;

    for (unsigned i = 0; i < STREAM;) {
        uint8_t byte = i % 251;
        size_t n;

        g_mutex_lock(&s->lock);
        s->go = false;
        g_mutex_unlock(&s->lock);
        n = char_write(&s->f.fe, &byte, 1);
        i += n;
        g_mutex_lock(&s->lock);
        while (!n && !s->go) {
            g_cond_wait(&s->cond, &s->lock);
        }
        g_mutex_unlock(&s->lock);
    }
    return NULL;
}

START_TEST(writes_from_another_thread)
{
    static const CharFrontendOps ops = {.writable = stream_writable};
    GError *err = NULL;
    g_autofree char *base = tmp_path("p");
    g_autofree char *text = g_strdup_printf("pipe:%s", base);
    static Stream s = {0};
    unsigned got = 0;

    ck_assert_int_eq(mkfifo(base, 0600), 0);
    int fd = open(base, O_RDWR | O_NONBLOCK);
    ck_assert(char_frontend_connect(&s.f.fe, add_short("serial0", text), &ops, &s, &err));
    GThread *thread = g_thread_new("vcpu", stream_thread, &s);
    /* The frontend has no room, so this test can read the FIFO itself. */
    while (got < STREAM) {
        uint8_t buf[1000];
        ssize_t n = read(fd, buf, sizeof buf);

        for (ssize_t i = 0; i < n; i++, got++) {
            ck_assert_uint_eq(buf[i], got % 251);
        }
        event_loop_iterate(loop, 1000000);
    }
    g_thread_join(thread);
    close(fd);
}
END_TEST

/* Writes until the device takes no more; returns how much it took. */
static size_t fill(Front *f, Chardev *chr)
{
    uint8_t block[4096] = {0};
    size_t taken = 0, n;

    f->room = 1;
    front_connect(f, chr);
    f->room = 0;
    while ((n = char_write(&f->fe, block, sizeof block)) > 0) {
        taken += n;
        ck_assert_uint_lt(taken, 1024 * 1024);
    }
    return taken;
}

/* A FIFO without a reader: char_write() is short for CHAR_STALL_NS, then output is dropped. */
START_TEST(a_stalled_reader_does_not_stall_the_guest)
{
    g_autofree char *base = tmp_path("p");
    g_autofree char *text = g_strdup_printf("pipe:%s", base);
    static Front f = {0};
    uint8_t block[4096] = {0};
    Chardev *chr;

    ck_assert_int_eq(mkfifo(base, 0600), 0);
    chr = add_short("serial0", text);
    fill(&f, chr);
    ck_assert_int_eq(f.writable, 0);
    gint64 start = g_get_monotonic_time();
    run_until(f.writable);
    ck_assert_int_ge(g_get_monotonic_time() - start, 4 * G_USEC_PER_SEC);
    ck_assert_uint_eq(char_write(&f.fe, block, sizeof block), sizeof block);
    ck_assert_uint_gt(chr->dropped, 0);

    /* After a read, output is not dropped any more. */
    int fd = open(base, O_RDWR | O_NONBLOCK);
    while (read(fd, block, sizeof block) > 0) {
    }
    run_until(!chr->stalled);
    while (read(fd, block, sizeof block) > 0 || chr->out->len) {
        event_loop_iterate(loop, 1000000);
    }
    front_write(&f, "back");
    g_autofree char *got = read_bytes(fd, 4);
    ck_assert_str_eq(got, "back");
    close(fd);
}
END_TEST

/* As above, but the output of a 'patient' frontend is never dropped. */
START_TEST(a_patient_frontend_waits_and_loses_nothing)
{
    g_autofree char *base = tmp_path("p");
    g_autofree char *text = g_strdup_printf("pipe:%s", base);
    static Front f = {0};
    uint8_t block[4096] = {0};
    size_t taken, got = 0;
    Chardev *chr;

    ck_assert_int_eq(mkfifo(base, 0600), 0);
    chr = add_short("port", text);
    f.fe.patient = true;
    taken = fill(&f, chr);
    run_until(chr->stalled);
    ck_assert_int_eq(f.writable, 0);
    ck_assert_uint_eq(char_write(&f.fe, block, sizeof block), 0);

    int fd = open(base, O_RDWR | O_NONBLOCK);
    while (got < taken) {
        ssize_t bytes = read(fd, block, sizeof block);

        got += MAX(bytes, 0);
        event_loop_iterate(loop, 1000000);
    }
    ck_assert_uint_eq(chr->dropped, 0);
    ck_assert_int_gt(f.writable, 0);
    close(fd);
}
END_TEST

START_TEST(write_all_keeps_the_newest)
{
    g_autofree char *base = tmp_path("p");
    g_autofree char *text = g_strdup_printf("pipe:%s", base);
    static Front f = {.room = 1};
    g_autofree uint8_t *block = g_malloc(512 * 1024);
    size_t total = 0;
    ssize_t n;
    uint8_t last = 0;

    ck_assert_int_eq(mkfifo(base, 0600), 0);
    front_connect(&f, add_short("serial0", text));
    f.room = 0;
    for (int i = 0; i < 4; i++) {
        memset(block, 'a' + i, 512 * 1024);
        char_write_all(&f.fe, block, 512 * 1024);
    }
    int fd = open(base, O_RDWR | O_NONBLOCK);
    for (int idle = 0; idle < 20;) {
        n = read(fd, block, 65536);
        if (n > 0) {
            total += n;
            last = block[n - 1];
            idle = 0;
        } else {
            idle++;
        }
        event_loop_iterate(loop, 1000000);
    }
    close(fd);
    ck_assert_uint_eq(last, 'd');
    ck_assert_uint_ge(total, 1024 * 1024);
    ck_assert_uint_lt(total, 2048 * 1024);
}
END_TEST

START_TEST(a_paused_vm_takes_no_input)
{
    g_autofree char *base = tmp_path("p");
    g_autofree char *text = g_strdup_printf("pipe:%s", base);
    static Front f = {0};

    ck_assert_int_eq(mkfifo(base, 0600), 0);
    front_connect(&f, add_short("serial0", text));
    run_for_ms(5);
    int fd = open(base, O_RDWR | O_NONBLOCK);
    char_mute_all(true);
    ck_assert_int_eq(write(fd, "abc", 3), 3);
    run_for_ms(30);
    ck_assert_uint_eq(f.in->len, 0);
    char_mute_all(false);
    run_until(f.in->len == 3);
    close(fd);
}
END_TEST

int main(void)
{
    static const TTest *tests[32];
    unsigned n = 0;

    tests[n++] = options_that_are_wrong;
    tests[n++] = short_forms_that_are_wrong;
    tests[n++] = ids_are_unique_and_removable;
    tests[n++] = unconnected_frontends_eat;
    tests[n++] = file_and_log;
    tests[n++] = file_as_input;
    tests[n++] = fifos;
    tests[n++] = ring_buffer;
    tests[n++] = texts_for_the_monitor;
    tests[n++] = nested_configuration;
    tests[n++] = writes_from_another_thread;
    tests[n++] = a_stalled_reader_does_not_stall_the_guest;
    tests[n++] = a_patient_frontend_waits_and_loses_nothing;
    tests[n++] = write_all_keeps_the_newest;
    tests[n++] = a_paused_vm_takes_no_input;
    return run_suite("basics", tests);
}
