/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a browser asks for before it speaks VNC, on the viewer's thread: the files of noVNC, by GET,
 * one a connection. A request to change to WebSocket is left to libvncserver. (RFC 9112, RFC 6455.)
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/host.h"
#include "vnc_internal.h"

#define VNC_WEB_FOLDER "/usr/share/novnc"

enum {
    WEB_REQUEST_MAX = 4096, /* libvncserver reads no more */
    WEB_FILE_MAX = 16 << 20,
};

static const struct {
    const char *suffix, *type;
} web_types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript"},
    {".css", "text/css"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".json", "application/json"},
    {".woff", "font/woff"},
    {".ttf", "font/ttf"},
    {".oga", "audio/ogg"},
    {".mp3", "audio/mpeg"},
};

/* False: the browser took nothing for too long, or is gone. */
static bool web_send(VncViewer *v, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(v->fd, data, len, MSG_NOSIGNAL);
        struct pollfd p = {.fd = v->fd, .events = POLLOUT};

        if (n > 0) {
            data += n;
            len -= n;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR) ||
                   poll(&p, 1, VNC_STALL_MS) <= 0 || g_atomic_int_get(&v->quit)) {
            return false;
        }
    }
    return true;
}

static void web_answer(VncViewer *v, const char *status, const char *headers, const char *type,
                       const char *body, size_t len)
{
    g_autofree char *head =
        g_strdup_printf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n%s\r\n",
                        status, type, len, headers);
    char rest[WEB_REQUEST_MAX];

    if (web_send(v, head, strlen(head)) && web_send(v, body, len)) {
        /* A close() with the request unread would be a reset, which may overtake the answer. */
        while (recv(v->fd, rest, sizeof rest, MSG_DONTWAIT) > 0) {
        }
        shutdown(v->fd, SHUT_WR);
    }
}

static void web_error(VncViewer *v, const char *status, const char *text)
{
    web_answer(v, status, "", "text/plain; charset=utf-8", text, strlen(text));
}

/*
 * A file below the folder: its name is resolved, with all links, and has to lie inside. NULL: there
 * is none.
 */
static char *web_resolve(const char *path)
{
    char folder[PATH_MAX], file[PATH_MAX];
    g_autofree char *name = g_strdup_printf("%s/%s", VNC_WEB_FOLDER, path);
    struct stat st;
    size_t n;

    if (!realpath(VNC_WEB_FOLDER, folder) || !realpath(name, file)) {
        return NULL;
    }
    n = strlen(folder);
    if (strncmp(file, folder, n) || file[n] != '/' || stat(file, &st) < 0 || !S_ISREG(st.st_mode)) {
        return NULL;
    }
    return g_strdup(file);
}

static const char *web_type(const char *file)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(web_types); i++) {
        if (g_str_has_suffix(file, web_types[i].suffix)) {
            return web_types[i].type;
        }
    }
    return "application/octet-stream";
}

static void web_get(VncViewer *v, const char *target)
{
    g_autofree char *path = NULL, *file = NULL, *data = NULL;
    size_t len;

    if (!strcmp(target, "/")) {
        web_answer(v, "302 Found",
                   "Location: /vnc.html?autoconnect=true&resize=scale&path=websockify\r\n",
                   "text/plain", "", 0);
        return;
    }
    path = g_uri_unescape_segment(target, strpbrk(target, "?#"), NULL);
    file = path && path[0] == '/' ? web_resolve(path + 1) : NULL;
    data = file ? host_read_file(file, WEB_FILE_MAX, &len, NULL) : NULL;
    if (data) {
        web_answer(v, "200 OK", "", web_type(file), data, len);
    } else if (access(VNC_WEB_FOLDER, R_OK) < 0) {
        web_error(v, "404 Not Found",
                  "noVNC's page is not installed: install Debian's package 'novnc'.\n");
    } else {
        web_error(v, "404 Not Found", "There is no such file.\n");
    }
}

/* A header's value, up to its line's end; caller frees. NULL: the request has no such header. */
static char *web_header(const char *request, const char *name)
{
    size_t n = strlen(name);

    for (const char *line = strstr(request, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, name, n) && line[2 + n] == ':') {
            const char *value = line + 3 + n + strspn(line + 3 + n, " \t");
            return g_strndup(value, strcspn(value, "\r"));
        }
    }
    return NULL;
}

static bool web_wants_websocket(const char *request)
{
    g_autofree char *upgrade = web_header(request, "Upgrade");

    return upgrade && !strncasecmp(upgrade, "websocket", 9);
}

/* The length of "HOST" in "HOST:PORT", "[ADDRESS]:PORT". */
static size_t web_host_length(const char *authority)
{
    return authority[0] == '[' ? strcspn(authority, "]") : strcspn(authority, ":/");
}

/*
 * Any page that a browser shows may open a WebSocket to this host. Where no password keeps it out,
 * the page has to come from the same host, by name; the port may be another one. (RFC 6454, 7.)
 */
static bool web_origin_is_allowed(const VncViewer *v, const char *request)
{
    g_autofree char *origin = web_header(request, "Origin"), *host = web_header(request, "Host");
    const char *from = origin ? strstr(origin, "://") : NULL;
    size_t n;

    if (v->server->password || !origin) {
        return true;
    }
    if (!from || !host) {
        return false;
    }
    from += 3;
    n = web_host_length(host);
    return n == web_host_length(from) && !strncasecmp(from, host, n);
}

/*
 * Waits for a whole request, which stays unread. False: none came in time, or none that would do.
 */
static bool web_peek_request(VncViewer *v, char *buf)
{
    int64_t deadline = g_get_monotonic_time() + VNC_HANDSHAKE_MS * 1000LL;
    ssize_t had = 0;

    while (!g_atomic_int_get(&v->quit)) {
        struct pollfd p = {.fd = v->fd, .events = POLLIN | POLLRDHUP};
        int64_t left = (deadline - g_get_monotonic_time()) / 1000;
        ssize_t n;

        if (left <= 0 || poll(&p, 1, left) <= 0) {
            return false;
        }
        n = recv(v->fd, buf, WEB_REQUEST_MAX - 1, MSG_PEEK | MSG_DONTWAIT);
        if (n <= 0) {
            return false;
        }
        buf[n] = 0;
        if (strncmp(buf, "GET ", MIN(n, 4))) {
            return false;
        }
        if (strstr(buf, "\r\n\r\n")) {
            return true;
        }
        if (n == WEB_REQUEST_MAX - 1 || (p.revents & (POLLHUP | POLLERR | POLLRDHUP))) {
            return false;
        }
        if (n == had) {
            g_usleep(10000); /* poll() says at once that the part is still there */
        }
        had = n;
    }
    return false;
}

/* A key is 16 bytes in base64 (RFC 6455, 4.1). */
static bool web_is_key(const char *key)
{
    return key && strlen(key) == 24 && g_str_has_suffix(key, "==") &&
           strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") == 22;
}

/*
 * The request as libvncserver gets it: with what it needs, each once. It leaks a header that comes
 * twice, and would look at another 'Origin' than web_origin_is_allowed(). NULL: the request is no
 * WebSocket's of today.
 */
static char *web_upgrade(const char *request)
{
    g_autofree char *key = web_header(request, "Sec-WebSocket-Key");
    g_autofree char *version = web_header(request, "Sec-WebSocket-Version");
    g_autofree char *protocol = web_header(request, "Sec-WebSocket-Protocol");
    bool base64 = protocol && strstr(protocol, "base64") && !strstr(protocol, "binary");

    if (!web_is_key(key) || g_strcmp0(version, "13")) {
        return NULL;
    }
    return g_strdup_printf("GET / HTTP/1.1\r\nHost: vmm\r\nOrigin: http://vmm\r\n"
                           "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                           key,
                           !protocol ? ""
                           : base64  ? "Sec-WebSocket-Protocol: base64\r\n"
                                     : "Sec-WebSocket-Protocol: binary\r\n");
}

static char *web_begin_websocket(VncViewer *v, char *buf)
{
    char *request = web_upgrade(buf);
    ssize_t len = strstr(buf, "\r\n\r\n") + 4 - buf;

    if (!web_origin_is_allowed(v, buf)) {
        web_error(v, "403 Forbidden",
                  "This page came from another host, and this VNC server has no password.\n");
    } else if (!request) {
        web_error(v, "400 Bad Request", "Here is WebSocket's version 13.\n");
    } else if (recv(v->fd, buf, len, 0) == len) {
        return request; /* what follows is the WebSocket's */
    }
    g_free(request);
    return NULL;
}

char *vnc_web_begin(VncViewer *v)
{
    g_autofree char *buf = g_malloc(WEB_REQUEST_MAX);
    char *end;

    if (!web_peek_request(v, buf)) {
        web_error(v, "400 Bad Request", "Here is a VNC server for browsers: GET / .\n");
        return NULL;
    }
    if (web_wants_websocket(buf)) {
        return web_begin_websocket(v, buf);
    }
    end = strchr(buf + 4, ' ');
    if (!end || end > strstr(buf, "\r\n")) {
        web_error(v, "400 Bad Request", "The request names no file.\n");
        return NULL;
    }
    *end = 0;
    web_get(v, buf + 4);
    return NULL;
}
