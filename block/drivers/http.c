/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocols 'http' and 'https': a file on a web server, by libcurl, which is only read. The server
 * has to serve ranges of it, and what it sends is checked: the range, how much of it came, and that
 * the file is still the one that was opened (length, ETag).
 *
 * Transfers run on the thread pool. What is read is kept in a few windows, each as long as the
 * request and 'readahead'.
 */
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/library.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/util.h"
#include "block/image.h"
#include "../core.h"
#include "drivers.h"

#define CURL_FUNCTIONS(F)                                                                          \
    F(curl_global_init)                                                                            \
    F(curl_easy_init)                                                                              \
    F(curl_easy_cleanup)                                                                           \
    F(curl_easy_reset)                                                                             \
    F(curl_easy_setopt)                                                                            \
    F(curl_easy_getinfo)                                                                           \
    F(curl_easy_perform)                                                                           \
    F(curl_easy_strerror)
static struct {
    CURL_FUNCTIONS(LIBRARY_POINTER)
} curl;
static const char *const curl_names[] = {CURL_FUNCTIONS(LIBRARY_NAME) NULL};
static Library curl_library = {"libcurl-gnutls.so.4", "libcurl3-gnutls", curl_names, &curl};

/* The header's macros check types, and would call the library itself. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

enum {
    HTTP_TRANSFERS = 8,                /* of a node, at a time */
    HTTP_MAX_WINDOW = 4 * 1024 * 1024, /* bytes; longer requests are read in pieces */
    HTTP_WINDOWS = 8,                  /* that are kept */
    HTTP_MAX_TIMEOUT = 10000,
};

typedef struct {
    uint64_t start, len;
    uint8_t *data;
    bool done;
} Window;

typedef struct {
    char *url, *cookie, *cookie_secret, *username, *password_secret;
    char *proxy_username, *proxy_password_secret;
    uint64_t readahead, timeout;
    bool sslverify;
    /* Of the file, as it was opened. */
    uint64_t length;
    char *etag; /* NULL: the server names none */
    char *cookie_text, *password, *proxy_password;
    CoMutex lock;    /* for what follows */
    CoQueue changed; /* a window is done, or a transfer has ended */
    GQueue windows;  /* of Window, the one made last first */
    GQueue idle;     /* of CURL handles, with their connections */
    unsigned transfers;
} HttpState;

#define HTTP_PROPS                                                                                 \
    {.name = "url",                                                                                \
     .type = PROP_STRING,                                                                          \
     .offset = offsetof(HttpState, url),                                                           \
     .flags = PROP_FLAG_REQUIRED,                                                                  \
     .help = "where the file is"},                                                                 \
        PROP("readahead", PROP_UINT64, HttpState, readahead, "262144",                             \
             "bytes to read behind each request, a multiple of 512"),                              \
        PROP("timeout", PROP_UINT64, HttpState, timeout, "5",                                      \
             "seconds to wait for a connection, or while nothing comes"),                          \
        PROP("username", PROP_STRING, HttpState, username, NULL, "user for the server"),           \
        PROP("password-secret", PROP_STRING, HttpState, password_secret, NULL,                     \
             "id of a secret with the password for the server"),                                   \
        PROP("proxy-username", PROP_STRING, HttpState, proxy_username, NULL,                       \
             "user for the proxy"),                                                                \
        PROP("proxy-password-secret", PROP_STRING, HttpState, proxy_password_secret, NULL,         \
             "id of a secret with the password for the proxy"),                                    \
        PROP("cookie", PROP_STRING, HttpState, cookie, NULL,                                       \
             "cookies to send: 'name=value; ...'"),                                                \
        PROP("cookie-secret", PROP_STRING, HttpState, cookie_secret, NULL,                         \
             "id of a secret with the cookies")

static const Property http_props[] = {
    HTTP_PROPS,
    PROP_END,
};
static const Property https_props[] = {
    HTTP_PROPS,
    PROP("sslverify", PROP_BOOL, HttpState, sslverify, "on",
         "whether the server's certificate is checked"),
    PROP_END,
};

/* --- one transfer, on a thread of the pool --- */

typedef struct {
    HttpState *s;
    CURL *handle;
    uint64_t start, len; /* len 0: the head alone */
    uint8_t *data;
    uint64_t got;
    /* From the answer's head. */
    bool ranges;      /* 'Accept-Ranges: bytes' */
    bool range_right; /* 'Content-Range' is the one that was asked for */
    uint64_t length;  /* 'Content-Length' of a head */
    bool has_length;
    char *etag;
    char error[CURL_ERROR_SIZE];
} Transfer;

static bool header_is(const char *line, size_t len, const char *name, const char **value)
{
    size_t n = strlen(name);

    if (len <= n || line[n] != ':' || g_ascii_strncasecmp(line, name, n)) {
        return false;
    }
    *value = line + n + 1;
    while (**value == ' ' || **value == '\t') {
        (*value)++;
    }
    return true;
}

/* Called for each line of the head; after a redirection for those of the next answer. */
static size_t on_header(char *line, size_t size, size_t count, void *data)
{
    Transfer *t = data;
    g_autofree char *text = g_strchomp(g_strndup(line, size * count));
    const char *value;
    uint64_t from, to, all;

    if (g_str_has_prefix(text, "HTTP/")) {
        t->ranges = t->range_right = false;
        g_clear_pointer(&t->etag, g_free);
    } else if (header_is(text, strlen(text), "accept-ranges", &value)) {
        t->ranges = !g_ascii_strcasecmp(value, "bytes");
    } else if (header_is(text, strlen(text), "etag", &value)) {
        g_free(t->etag);
        t->etag = g_strdup(value);
    } else if (header_is(text, strlen(text), "content-range", &value)) {
        t->range_right =
            sscanf(value, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &from, &to, &all) == 3 &&
            from == t->start && to == t->start + t->len - 1 && all == t->s->length;
    }
    return size * count;
}

static size_t on_data(char *data, size_t size, size_t count, void *opaque)
{
    Transfer *t = opaque;
    size_t len = size * count;

    if (len > t->len - t->got) {
        return 0; /* more than was asked for: curl gives up */
    }
    memcpy(t->data + t->got, data, len);
    t->got += len;
    return len;
}

static void set_up(Transfer *t)
{
    HttpState *s = t->s;
    CURL *h = t->handle;

    curl.curl_easy_reset(h);
    curl.curl_easy_setopt(h, CURLOPT_URL, s->url);
    curl.curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl.curl_easy_setopt(h, CURLOPT_NOPROGRESS, 1L);
    curl.curl_easy_setopt(h, CURLOPT_FAILONERROR, 1L);
    curl.curl_easy_setopt(h, CURLOPT_ERRORBUFFER, t->error);
    /* A server cannot send us to a file of the host's. */
    curl.curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl.curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl.curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
    curl.curl_easy_setopt(h, CURLOPT_MAXREDIRS, 16L);
    curl.curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)s->timeout);
    curl.curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl.curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)s->timeout);
    curl.curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, s->sslverify ? 1L : 0L);
    curl.curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, s->sslverify ? 2L : 0L);
    curl.curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl.curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
    curl.curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
    curl.curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    const struct {
        CURLoption option;
        const char *text;
    } texts[] = {{CURLOPT_COOKIE, s->cookie_text},
                 {CURLOPT_USERNAME, s->username},
                 {CURLOPT_PASSWORD, s->password},
                 {CURLOPT_PROXYUSERNAME, s->proxy_username},
                 {CURLOPT_PROXYPASSWORD, s->proxy_password}};
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        if (texts[i].text) {
            curl.curl_easy_setopt(h, texts[i].option, texts[i].text);
        }
    }
}

/* Whether a transfer that curl thinks well of brought what was asked for. */
static const char *transfer_fault(const Transfer *t, long status)
{
    if (!t->len) {
        return NULL;
    }
    if (status != 206) {
        return "the server has not sent the range that was asked for";
    }
    if (!t->range_right) {
        return "the server has sent another range, or the file's length has changed";
    }
    if (t->s->etag && t->etag && !g_str_equal(t->s->etag, t->etag)) {
        return "the file has changed on the server";
    }
    return t->got == t->len ? NULL : "the server has sent less than it said";
}

static int transfer_work(void *data)
{
    Transfer *t = data;
    g_autofree char *range =
        g_strdup_printf("%" PRIu64 "-%" PRIu64, t->start, t->start + t->len - 1);
    curl_off_t length = -1;
    const char *fault;
    long status = 0;
    CURLcode code;

    set_up(t);
    if (t->len) {
        curl.curl_easy_setopt(t->handle, CURLOPT_RANGE, range);
    } else {
        curl.curl_easy_setopt(t->handle, CURLOPT_NOBODY, 1L);
    }
    code = curl.curl_easy_perform(t->handle);
    curl.curl_easy_getinfo(t->handle, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        if (t->len && status == 200) {
            g_strlcpy(t->error, "the server has not sent the range that was asked for",
                      sizeof t->error);
        } else if (!*t->error) {
            g_strlcpy(t->error, curl.curl_easy_strerror(code), sizeof t->error);
        }
        return -EIO;
    }
    curl.curl_easy_getinfo(t->handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    t->has_length = length >= 0;
    t->length = MAX(length, 0);
    fault = transfer_fault(t, status);
    if (fault) {
        g_strlcpy(t->error, fault, sizeof t->error);
    }
    return fault ? -EIO : 0;
}

/* Waits for one of the few handles. */
static int coroutine_fn transfer(HttpState *s, Transfer *t)
{
    int ret;

    co_mutex_lock(&s->lock);
    while (s->transfers >= HTTP_TRANSFERS) {
        co_queue_wait(&s->changed, &s->lock);
    }
    s->transfers++;
    t->handle = g_queue_pop_head(&s->idle);
    co_mutex_unlock(&s->lock);

    t->s = s;
    t->handle = t->handle ? t->handle : curl.curl_easy_init();
    ret = t->handle ? co_pool_run(transfer_work, t) : -ENOMEM;

    co_mutex_lock(&s->lock);
    if (t->handle) {
        g_queue_push_head(&s->idle, t->handle);
    }
    s->transfers--;
    co_queue_wake_all(&s->changed);
    co_mutex_unlock(&s->lock);
    return ret;
}

/* --- opening --- */

static bool take_secret(const char *id, char **text, GError **err)
{
    const char *value = id ? secret_text(id, err) : NULL;

    *text = g_strdup(value);
    return !id || value;
}

static bool take_options(BlockNode *n, GError **err)
{
    HttpState *s = block_node_state(n);
    g_autofree char *scheme = g_strdup_printf("%s://", n->driver->name);

    if (g_ascii_strncasecmp(s->url, scheme, strlen(scheme))) {
        return error_set(err,
                         "%s curl driver cannot handle the URL '%s' (does not start with '%s')",
                         n->driver->name, s->url, scheme);
    }
    if (s->readahead % BLOCK_SECTOR_SIZE || s->readahead > HTTP_MAX_WINDOW) {
        return error_set(err, "'readahead' has to be a multiple of 512, up to %d", HTTP_MAX_WINDOW);
    }
    if (!s->timeout || s->timeout > HTTP_MAX_TIMEOUT) {
        return error_set(err, "'timeout' has to be from 1 to %d seconds", HTTP_MAX_TIMEOUT);
    }
    if (s->cookie && s->cookie_secret) {
        return error_set(err, "curl driver cannot handle both cookie and cookie secret");
    }
    if (n->driver == &block_driver_http) {
        s->sslverify = true; /* it may be redirected */
    }
    s->cookie_text = g_strdup(s->cookie);
    return (!s->cookie_secret || take_secret(s->cookie_secret, &s->cookie_text, err)) &&
           take_secret(s->password_secret, &s->password, err) &&
           take_secret(s->proxy_password_secret, &s->proxy_password, err);
}

/* A secret's text is not left in freed memory. */
static void free_secret(char **text)
{
    if (*text) {
        explicit_bzero(*text, strlen(*text));
        g_clear_pointer(text, g_free);
    }
}

static void window_free(void *data)
{
    Window *w = data;

    g_free(w->data);
    g_free(w);
}

static void coroutine_fn http_close(BlockNode *n)
{
    HttpState *s = block_node_state(n);
    CURL *handle;

    while ((handle = g_queue_pop_head(&s->idle))) {
        curl.curl_easy_cleanup(handle);
    }
    g_queue_clear_full(&s->windows, window_free);
    g_clear_pointer(&s->etag, g_free);
    free_secret(&s->cookie_text);
    free_secret(&s->password);
    free_secret(&s->proxy_password);
    co_queue_destroy(&s->changed);
    co_mutex_destroy(&s->lock);
}

static bool load_curl(GError **err)
{
    static bool ready; /* main thread */

    if (!ready) {
        ready = library_load(&curl_library, err);
        if (ready && curl.curl_global_init(CURL_GLOBAL_DEFAULT)) {
            ready = false;
            error_set(err, "libcurl cannot be used");
        }
    }
    return ready;
}

/* Asks for the file's length, and whether the server serves ranges. */
static bool coroutine_fn look_at_file(BlockNode *n, GError **err)
{
    HttpState *s = block_node_state(n);
    Transfer t = {0};
    int ret = transfer(s, &t);

    s->etag = t.etag;
    s->length = t.length;
    if (ret < 0) {
        return error_set(err, "CURL: Error opening file: %s", t.error);
    }
    if (!t.has_length) {
        return error_set(err, "CURL: Error opening file: Server didn't report file size.");
    }
    if (t.length > BLOCK_MAX_LENGTH) {
        return error_set(err, "CURL: Error opening file: it is said to be %" PRIu64 " bytes long",
                         t.length);
    }
    if (!t.ranges) {
        return error_set(err, "CURL: Error opening file: Server does not support 'range' (byte "
                              "ranges).");
    }
    return true;
}

static bool coroutine_fn http_open(BlockNode *n, GError **err)
{
    HttpState *s = block_node_state(n);

    if (!n->read_only && !n->opts.auto_read_only) {
        return error_set(err, "curl block device does not support writes (read-only=on)");
    }
    n->read_only = true;
    co_mutex_init(&s->lock);
    co_queue_init(&s->changed);
    if (!load_curl(err) || !take_options(n, err) || !look_at_file(n, err)) {
        http_close(n);
        return false;
    }
    n->filename = g_strdup(s->url);
    return true;
}

/* --- reading --- */

/* Under lock. The window that has the byte, whether its data is there yet or not. */
static Window *window_find(HttpState *s, uint64_t offset)
{
    for (GList *l = s->windows.head; l; l = l->next) {
        Window *w = l->data;

        if (w->start <= offset && offset - w->start < w->len) {
            return w;
        }
    }
    return NULL;
}

/* Under lock. Room for one more. Windows that somebody fills stay. */
static void window_make_room(HttpState *s)
{
    for (GList *l = s->windows.tail, *before; l && s->windows.length >= HTTP_WINDOWS; l = before) {
        Window *w = l->data;

        before = l->prev;
        if (w->done) {
            g_queue_delete_link(&s->windows, l);
            window_free(w);
        }
    }
}

/* Under lock, which is given up meanwhile. Reads a window that begins at 'offset'. */
static int coroutine_fn window_read(BlockNode *n, uint64_t offset, uint64_t bytes)
{
    static LogSite site;
    HttpState *s = block_node_state(n);
    uint64_t len = MIN(MIN(bytes + s->readahead, HTTP_MAX_WINDOW), s->length - offset);
    Window *w = g_new0(Window, 1);
    Transfer t = {.start = offset, .len = len};
    int ret;

    w->start = offset;
    w->len = len;
    w->data = t.data = g_try_malloc(len);
    if (!w->data) {
        window_free(w);
        return -ENOMEM;
    }
    window_make_room(s);
    g_queue_push_head(&s->windows, w);
    co_mutex_unlock(&s->lock);
    ret = transfer(s, &t);
    g_free(t.etag);
    if (ret < 0 && log_site_allows(&site)) {
        log_error("'%s' at %" PRIu64 ": %s", n->filename, offset, t.error);
    }
    co_mutex_lock(&s->lock);
    w->done = true;
    if (ret < 0) {
        g_queue_remove(&s->windows, w);
        window_free(w);
    }
    co_queue_wake_all(&s->changed);
    return ret;
}

static int coroutine_fn http_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    HttpState *s = block_node_state(n);
    uint64_t inside = offset < s->length ? MIN(bytes, s->length - offset) : 0, done = 0;
    int ret = 0;

    iov_memset(iov, niov, inside, 0, bytes - inside);
    co_mutex_lock(&s->lock);
    while (done < inside && ret == 0) {
        Window *w = window_find(s, offset + done);

        if (!w) {
            ret = window_read(n, offset + done, inside - done);
        } else if (!w->done) {
            co_queue_wait(&s->changed, &s->lock);
        } else {
            uint64_t skip = offset + done - w->start, len = MIN(inside - done, w->len - skip);

            iov_from_buf(iov, niov, done, w->data + skip, len);
            done += len;
        }
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

static int64_t http_length(BlockNode *n)
{
    HttpState *s = block_node_state(n);

    return s->length;
}

/* The whole name is the URL. */
static json_t *http_parse_filename(const char *filename, GError **err)
{
    g_autofree char *driver = g_strndup(filename, strcspn(filename, ":"));
    json_t *node = json_pack("{s:s}", "driver", driver);

    json_object_set_new(node, "url", json_string_nocheck(filename));
    return node;
}

const BlockDriver block_driver_http = {
    .name = "http",
    .protocols = "http",
    .parse_filename = http_parse_filename,
    .help = "a file on a web server, to be read",
    .size = sizeof(HttpState),
    .props = http_props,
    .is_protocol = true,
    .open = http_open,
    .close = http_close,
    .reopen_prepare = block_node_reopen_only_read,
    .preadv = http_preadv,
    .length = http_length,
};

const BlockDriver block_driver_https = {
    .name = "https",
    .protocols = "https",
    .parse_filename = http_parse_filename,
    .help = "the same over TLS",
    .size = sizeof(HttpState),
    .props = https_props,
    .is_protocol = true,
    .open = http_open,
    .close = http_close,
    .reopen_prepare = block_node_reopen_only_read,
    .preadv = http_preadv,
    .length = http_length,
};
