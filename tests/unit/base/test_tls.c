/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object tls-creds-*, and TLS sessions between two coroutines over a pair of sockets. certtool and
 * psktool (gnutls-bin) make what they need.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/tls.h"
#include "loop_helpers.h"

static char *folder; /* with what 'make_files' has made */

static const char make_files[] =
    "set -e\n"
    "expires='expiration_days = 100'\n"
    "key() { certtool --generate-privkey --key-type ecdsa --outfile $1; }\n"
    "ca() { printf 'cn = %s\\nca\\ncert_signing_key\\n'\"$expires\"'\\n' $1 >t\n"
    "  certtool --generate-self-signed --load-privkey ca-key --template t --outfile $2; }\n"
    /* NAME OUTFILE LINE... */
    "cert() { name=$1 out=$2; shift 2\n"
    "  { echo \"cn = $name\"; echo signing_key; for l; do echo \"$l\"; done; } >t\n"
    "  certtool --generate-certificate --load-ca-certificate ca --load-ca-privkey ca-key \\\n"
    "    --load-privkey key --template t --outfile $out; }\n"
    /* FOLDER CA SERVER CLIENT */
    "end() { mkdir $1; ln -s ../$2 $1/ca-cert.pem; ln -s ../$3 $1/server-cert.pem\n"
    "  ln -s ../key $1/server-key.pem; test -z \"$4\" || ln -s ../$4 $1/client-cert.pem\n"
    "  test -z \"$4\" || ln -s ../key $1/client-key.pem; }\n"
    "key ca-key; key key; ca ours ca; ca others ca2\n"
    "s='dns_name = disk.example' i='ip_address = 127.0.0.1'\n"
    "cert srv server \"$s\" \"$i\" tls_www_server \"$expires\"\n"
    "cert cli client tls_www_client \"$expires\"\n"
    "cert old old.crt \"$s\" 'activation_date = \"2001-01-01\"' 'expiration_date = "
    "\"2002-01-01\"'\n"
    "cert new new.crt \"$s\" 'activation_date = \"2090-01-01\"' 'expiration_date = "
    "\"2091-01-01\"'\n"
    "end good ca server client; end nobody ca server ''; end other ca2 server client\n"
    "end old ca old.crt client; end new ca new.crt client; end isca ca ca client; end noca server "
    "server\n"
    "end garbage ca psk.txt client; mkdir empty locked\n"
    "ln -s ../ca locked/ca-cert.pem; ln -s ../server locked/server-cert.pem\n"
    "certtool --to-p8 --load-privkey key --password pass --outfile locked/server-key.pem\n"
    "mkdir psk psk2; psktool -u vm -p psk/keys.psk; psktool -u vm -p psk2/keys.psk\n"
    "echo nonsense >psk.txt\n";

/* False: a program is missing. */
static bool files_made(void)
{
    g_autofree char *certtool = g_find_program_in_path("certtool"),
                    *psktool = g_find_program_in_path("psktool");
    const char *argv[] = {"sh", "-c", make_files, NULL};
    g_autofree char *why = NULL;
    int status = -1;

    if (!certtool || !psktool) {
        return false;
    }
    folder = g_dir_make_tmp("vmm-tls-XXXXXX", NULL);
    /* What the tools say is no TAP. */
    g_assert_true(g_spawn_sync(folder, (char **)argv, NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                               &why, &status, NULL));
    if (status != 0) {
        fprintf(stderr, "%s", why);
    }
    g_assert_cmpint(status, ==, 0);
    return true;
}

static void remove_files(void)
{
    const char *argv[] = {"rm", "-rf", folder, NULL};

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(folder);
}

/* "tls-creds-KIND,id=ID,dir=FOLDER/DIR,MORE" */
static bool make_creds(const char *kind, const char *id, const char *dir, const char *more,
                       GError **err)
{
    g_autofree char *text =
        g_strdup_printf("tls-creds-%s,id=%s,dir=%s/%s,%s", kind, id, folder, dir, more);
    char *help = NULL;

    return object_option(text, &help, err);
}

/* One end of a connection. */
typedef struct {
    TlsCreds *creds;
    TlsSession *session;
    FdHandler *watch;
    int fd;
    bool readable, writable, cancelled; /* what a wait has seen */
    Coroutine *waiting[2];
    char *error; /* of the handshake; NULL: it succeeded */
    const uint8_t *send;
    uint8_t *got;
    size_t send_len, got_len;
    int64_t end; /* what the last read said */
    unsigned *running;
} End;

static void end_event(End *e, bool write)
{
    if (e->waiting[write]) {
        coroutine_wake(e->waiting[write]);
        e->waiting[write] = NULL;
    }
    fd_handler_set(e->watch, e->waiting[0], e->waiting[1]);
}

static void end_readable(void *data)
{
    end_event(data, false);
}

static void end_writable(void *data)
{
    end_event(data, true);
}

static int coroutine_fn end_wait(void *data, bool write)
{
    End *e = data;

    if (e->cancelled) {
        return -ECANCELED;
    }
    e->waiting[write] = coroutine_self();
    fd_handler_set(e->watch, e->waiting[0], e->waiting[1]);
    while (e->waiting[write]) {
        coroutine_yield();
    }
    coroutine_wait_over();
    return e->cancelled ? -ECANCELED : 0;
}

static void coroutine_fn end_write_all(void *data)
{
    End *e = data;
    int64_t n = tls_session_write(e->session, e->send, e->send_len);

    ck_assert_int_eq(n, e->send_len);
    ck_assert_int_eq(tls_session_bye(e->session), 0);
    --*e->running;
}

static void coroutine_fn end_run(void *data)
{
    End *e = data;
    GError *err = NULL;

    if (!tls_session_handshake(e->session, &err)) {
        e->error = g_strdup(err->message);
        g_clear_error(&err);
        shutdown(e->fd, SHUT_RDWR);
    } else {
        if (e->send) {
            ++*e->running;
            coroutine_start(end_write_all, e);
        }
        while ((e->end = tls_session_read(e->session, e->got + e->got_len, 70000)) > 0) {
            e->got_len += e->end;
        }
    }
    --*e->running;
}

typedef struct {
    EventLoop *loop;
    End end[2]; /* client, server */
    unsigned running;
} Pair;

static void pair_begin(Pair *p, const char *hostname)
{
    GError *err = NULL;
    int fds[2];

    *p = (Pair){.loop = new_loop()};
    event_loop_bind(p->loop);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (unsigned i = 0; i < 2; i++) {
        End *e = &p->end[i];

        e->fd = fds[i];
        e->running = &p->running;
        e->watch = event_loop_add_fd(p->loop, e->fd, end_readable, end_writable, e);
        fd_handler_set(e->watch, false, false);
        e->creds =
            tls_creds_get(i ? "s" : "c", i ? TLS_ENDPOINT_SERVER : TLS_ENDPOINT_CLIENT, &err);
        ck_no_error(err);
        e->session = tls_session_new(e->creds, e->fd, i ? NULL : hostname, end_wait, e, &err);
        ck_no_error(err);
    }
}

static void pair_turn(Pair *p)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + 20 * NS_PER_SEC;

    while (p->running) {
        event_loop_iterate(p->loop, 100 * NS_PER_MS);
        ck_assert(clock_ns(CLOCK_REALTIME_NS) < end);
    }
}

static void pair_run(Pair *p)
{
    for (unsigned i = 0; i < 2; i++) {
        p->running++;
        coroutine_start(end_run, &p->end[i]);
    }
    pair_turn(p);
}

static void pair_end(Pair *p)
{
    for (unsigned i = 0; i < 2; i++) {
        End *e = &p->end[i];

        tls_session_free(e->session);
        fd_handler_remove(e->watch);
        close(e->fd);
        tls_creds_put(e->creds);
        g_free(e->error);
    }
    event_loop_iterate(p->loop, 0);
    event_loop_free(p->loop);
}

enum { BULK = 3 << 20 };

/* Megabytes both ways at once, then the end. 'client' and 'server' are options of the objects. */
static void check_connection(const char *kind, const char *dir, const char *client,
                             const char *server, const char *hostname)
{
    g_autofree uint8_t *a = g_malloc(BULK), *b = g_malloc(BULK), *got_a = g_malloc(BULK + 70000),
                       *got_b = g_malloc(BULK + 70000);
    g_autofree char *server_options = g_strconcat("endpoint=server,", server, NULL);
    GError *err = NULL;
    Pair p;

    for (unsigned i = 0; i < BULK; i++) {
        a[i] = i * 7 + i / 4096;
        b[i] = i * 5 + i / 777;
    }
    ck_assert(make_creds(kind, "s", dir, server_options, &err));
    ck_assert(make_creds(kind, "c", dir, client, &err));
    pair_begin(&p, hostname);
    p.end[0].send = a;
    p.end[1].send = b;
    p.end[0].send_len = p.end[1].send_len = BULK;
    p.end[0].got = got_a;
    p.end[1].got = got_b;
    pair_run(&p);
    ck_assert_ptr_null(p.end[0].error);
    ck_assert_ptr_null(p.end[1].error);
    ck_assert_uint_eq(p.end[0].got_len, BULK);
    ck_assert_uint_eq(p.end[1].got_len, BULK);
    ck_assert_mem_eq(got_a, b, BULK);
    ck_assert_mem_eq(got_b, a, BULK);
    ck_assert_int_eq(p.end[0].end, 0);
    ck_assert_int_eq(p.end[1].end, 0);
    ck_assert(!object_delete("c", &err));
    ck_error(err, "in use");
    pair_end(&p);
    object_delete_all();
}

START_TEST(connections)
{
    check_connection("anon", "empty", "endpoint=client", "verify-peer=off", NULL);
    check_connection("psk", "psk", "username=vm", "verify-peer=off", NULL);
    check_connection("x509", "good", "endpoint=client", "verify-peer=on", "disk.example");
    check_connection("x509", "good", "endpoint=client", "verify-peer=on", "127.0.0.1");
    check_connection("x509", "nobody", "priority=NORMAL:-VERS-TLS1.3", "verify-peer=off", NULL);
}
END_TEST

/* What each end says of a peer that it must not talk to; NULL: it does not matter, or it is cut. */
static void check_refused(const char *kind, const char *client_dir, const char *client,
                          const char *server_dir, const char *server, const char *hostname,
                          const char *client_error, const char *server_error)
{
    g_autofree char *server_options = g_strconcat("endpoint=server,", server, NULL);
    uint8_t got[70000];
    GError *err = NULL;
    Pair p;

    ck_assert(make_creds(kind, "s", server_dir, server_options, &err));
    ck_assert(make_creds(kind, "c", client_dir, client, &err));
    pair_begin(&p, hostname);
    p.end[0].got = p.end[1].got = got;
    pair_run(&p);
    ck_assert_uint_eq(p.end[0].got_len + p.end[1].got_len, 0);
    if (client_error) {
        ck_assert_ptr_nonnull(p.end[0].error);
        ck_assert_msg(strstr(p.end[0].error, client_error) != NULL, "%s", p.end[0].error);
    }
    if (server_error) {
        ck_assert_ptr_nonnull(p.end[1].error);
        ck_assert_msg(strstr(p.end[1].error, server_error) != NULL, "%s", p.end[1].error);
    }
    pair_end(&p);
    object_delete_all();
}

START_TEST(refused)
{
    check_refused("x509", "good", "verify-peer=on", "good", "verify-peer=off", "elsewhere.example",
                  "Certificate does not match the hostname elsewhere.example", NULL);
    check_refused("x509", "other", "sanity-check=off", "good", "verify-peer=off", "disk.example",
                  "The certificate hasn't got a known issuer", NULL);
    check_refused("x509", "good", "verify-peer=on", "old", "sanity-check=off", "disk.example",
                  "The certificate has expired", NULL);
    check_refused("x509", "good", "verify-peer=on", "new", "sanity-check=off", "disk.example",
                  "The certificate is not yet activated", NULL);
    check_refused("x509", "nobody", "verify-peer=on", "good", "verify-peer=on", "disk.example",
                  NULL, "Verify failed: No certificate was found.");
    check_refused("x509", "good", "verify-peer=on", "other", "sanity-check=off", NULL, NULL,
                  "Verify failed: No certificate was found.");
    check_refused("psk", "psk2", "username=vm", "psk", "verify-peer=on", NULL,
                  "TLS handshake failed: ", "TLS handshake failed: ");
}
END_TEST

/* A peer that speaks something else, one that is cut off, and a wait that is ended from here. */
START_TEST(broken)
{
    static const char *const words[] = {"GET / HTTP/1.0\r\n\r\n", ""};
    uint8_t got[70000];
    GError *err = NULL;
    Pair p;

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        ck_assert(make_creds("anon", "s", "empty", "endpoint=server", &err));
        ck_assert(make_creds("anon", "c", "empty", "endpoint=client", &err));
        pair_begin(&p, NULL);
        ck_assert_int_eq(write(p.end[0].fd, words[i], strlen(words[i])), strlen(words[i]));
        shutdown(p.end[0].fd, SHUT_WR);
        p.running = 1;
        coroutine_start(end_run, &p.end[1]);
        pair_turn(&p);
        ck_assert_msg(g_str_has_prefix(p.end[1].error, "TLS handshake failed: "), "%s",
                      p.end[1].error);
        pair_end(&p);
        object_delete_all();
    }
    ck_assert(make_creds("anon", "s", "empty", "endpoint=server", &err));
    ck_assert(make_creds("anon", "c", "empty", "endpoint=client", &err));
    pair_begin(&p, NULL);
    p.end[0].got = p.end[1].got = got;
    p.running = 2;
    coroutine_start(end_run, &p.end[0]);
    coroutine_start(end_run, &p.end[1]);
    while (!p.end[0].waiting[0] || !p.end[1].waiting[0] || event_loop_iterate(p.loop, 0)) {
        event_loop_iterate(p.loop, 10 * NS_PER_MS);
    }
    p.end[0].cancelled = true;
    end_event(&p.end[0], false);
    while (p.running == 2) {
        event_loop_iterate(p.loop, 10 * NS_PER_MS);
    }
    ck_assert_int_eq(p.end[0].end, -ECANCELED);
    /* The connection's end without TLS's. */
    shutdown(p.end[0].fd, SHUT_RDWR);
    pair_turn(&p);
    ck_assert_int_eq(p.end[1].end, 0);
    pair_end(&p);
    object_delete_all();
}
END_TEST

START_TEST(credentials)
{
    static const struct {
        const char *kind, *dir, *more, *error;
    } bad[] = {
        {"x509", "empty", "endpoint=client", "ca-cert.pem: No such file or directory"},
        {"psk", "empty", "endpoint=server", "keys.psk: No such file or directory"},
        {"psk", "psk", "username=nobody", "Username nobody not found in PSK file"},
        {"psk", "psk", "username=v", "Username v not found in PSK file"},
        {"psk", "psk", "endpoint=server,username=vm", "username should not be set when endpoint"},
        {"x509", "old", "endpoint=server", "server-cert.pem has expired"},
        {"x509", "new", "endpoint=server", "server-cert.pem is not yet active"},
        {"x509", "isca", "endpoint=server", "show a CA, but we need one for a server"},
        {"x509", "noca", "endpoint=server", "ca-cert.pem basic constraints do not show a CA"},
        {"x509", "other", "endpoint=client", "The certificate hasn't got a known issuer"},
        {"x509", "garbage", "endpoint=server", "Unable to import server certificate"},
        {"x509", "locked", "endpoint=server", "Cannot load certificate"},
        {"x509", "locked", "endpoint=server,passwordid=w", "Cannot load certificate"},
        {"x509", "locked", "endpoint=server,passwordid=no", "No secret with id 'no'"},
        {"anon", "empty", "endpoint=middle", "'endpoint' does not accept value 'middle'"},
    };
    GError *err = NULL;
    char *help = NULL;

    ck_assert(object_option("secret,id=p,data=pass", &help, &err));
    ck_assert(object_option("secret,id=w,data=ward", &help, &err));
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        ck_assert_msg(!make_creds(bad[i].kind, "x", bad[i].dir, bad[i].more, &err), "%s",
                      bad[i].error);
        ck_error(err, bad[i].error);
    }
    ck_assert(make_creds("x509", "x", "locked", "endpoint=server,passwordid=p", &err));
    ck_assert(!object_option("tls-creds-psk,id=y", &help, &err));
    ck_error(err, "Missing 'dir' property value");
    ck_assert_ptr_null(tls_creds_get("p", TLS_ENDPOINT_SERVER, &err));
    ck_error(err, "Object with id 'p' is not TLS credentials");
    ck_assert_ptr_null(tls_creds_get("y", TLS_ENDPOINT_SERVER, &err));
    ck_error(err, "No TLS credentials with id 'y'");
    ck_assert_ptr_null(tls_creds_get("x", TLS_ENDPOINT_CLIENT, &err));
    ck_error(err, "Expected TLS credentials for a client endpoint");
    ck_assert(make_creds("anon", "z", "empty", "priority=NOTHING", &err));
    ck_assert_ptr_null(
        tls_session_new(tls_creds_get("z", TLS_ENDPOINT_CLIENT, &err), 0, NULL, NULL, NULL, &err));
    ck_error(err, "Unable to set TLS session priority NOTHING:+ANON-DH");
    object_delete_all();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {connections, refused, broken, credentials, NULL};
    int status;

    object_set_classes(object_base_classes);
    if (!files_made()) {
        printf("1..0 # SKIP certtool and psktool (package gnutls-bin) are not installed\n");
        return 0;
    }
    status = unit_run("tls", tests);
    remove_files();
    return status;
}
