/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VNC servers: options, sockets that listen, passwords, who may view. */
#include "ui/vnc.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/json.h"
#include "base/log.h"
#include "base/secret.h"
#include "vnc_internal.h"

enum {
    VNC_PORT = 5900,           /* of display 0 */
    VNC_WEBSOCKET_PORT = 5700, /* likewise */
    VNC_PORT_MAX = 65535,
    VNC_RETRY_NS = 1000000000,
    VNC_DEFAULT_LAST = 99, /* the last display that is tried where none was asked for */
};

static VncServer *vnc_server_find(Vm *vm, const char *id)
{
    GPtrArray *servers = ui_of(vm)->vnc_servers;

    for (guint i = 0; i < servers->len; i++) {
        VncServer *s = servers->pdata[i];
        if (!id || !strcmp(s->id, id)) {
            return s;
        }
    }
    return NULL;
}

/* Addresses, for people and for QMP. */

json_t *vnc_socket_info(int fd, bool peer, bool websocket)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
    const char *family = "unknown";

    if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&a, &len) == 0) {
        if (a.ss_family == AF_UNIX) {
            struct sockaddr_un *u = (struct sockaddr_un *)&a;

            family = "unix";
            g_strlcpy(service, len > offsetof(struct sockaddr_un, sun_path) ? u->sun_path : "",
                      sizeof service);
            if (strlen(u->sun_path) >= sizeof service) {
                /* NI_MAXSERV is 32, a path may have 107. */
                return json_pack("{s:s,s:s,s:s,s:b}", "host", "", "service", u->sun_path, "family",
                                 family, "websocket", websocket);
            }
        } else if (getnameinfo((struct sockaddr *)&a, len, host, sizeof host, service,
                               sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
            family = a.ss_family == AF_INET6 ? "ipv6" : "ipv4";
        }
    }
    return json_pack("{s:s,s:s,s:s,s:b}", "host", host, "service", service, "family", family,
                     "websocket", websocket);
}

static const char *vnc_auth_name(const VncServer *s)
{
    return s->password ? "vnc" : "none";
}

static json_t *vnc_listener_info(const VncListener *l)
{
    json_t *info = vnc_socket_info(l->fd, false, l->websocket);

    json_object_set_new(info, "auth", json_string(vnc_auth_name(l->server)));
    return info;
}

void vnc_server_event(VncViewer *v, VmEventId event)
{
    VncServer *s = v->server;
    json_t *server = NULL;

    for (guint i = 0; i < s->listeners->len && !server; i++) {
        VncListener *l = s->listeners->pdata[i];
        if (l->websocket == v->websocket) {
            server = vnc_listener_info(l);
        }
    }
    if (!server) { /* reverse=on: this end of the connection */
        server = vnc_socket_info(v->fd, false, v->websocket);
        json_object_set_new(server, "auth", json_string(vnc_auth_name(s)));
    }
    vm_event(s->vm, event, json_pack("{s:o,s:O}", "server", server, "client", v->address));
}

/* Viewers. */

bool vnc_server_admit(VncServer *s, VncViewer *v)
{
    if (s->share == VNC_SHARE_IGNORE) {
        return true;
    }
    if (v->exclusive && s->share == VNC_SHARE_FORCE_SHARED) {
        return false;
    }
    for (guint i = 0; i < s->viewers->len; i++) {
        VncViewer *other = s->viewers->pdata[i];
        if (other != v && other->ready && (v->exclusive || other->exclusive)) {
            vnc_viewer_disconnect(other);
        }
    }
    return true;
}

void vnc_server_forget(VncServer *s, VncViewer *v)
{
    g_ptr_array_remove(s->viewers, v);
}

static void vnc_pointer_mode(void *data)
{
    GPtrArray *servers = ui_of(data)->vnc_servers;

    for (guint i = 0; i < servers->len; i++) {
        VncServer *s = servers->pdata[i];
        for (guint j = 0; j < s->viewers->len; j++) {
            vnc_viewer_pointer_changed(s->viewers->pdata[j]);
        }
    }
}

static void vnc_listen_again(void *data)
{
    fd_handler_set(((VncListener *)data)->handler, true, false);
}

static void vnc_accept(void *data)
{
    VncListener *l = data;
    VncServer *s = l->server;
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The viewer stays in the backlog, and the listener readable: not at once again. */
            log_warn("VNC: cannot accept a viewer: %s", g_strerror(errno));
            fd_handler_set(l->handler, false, false);
            timer_arm(l->retry, clock_ns(CLOCK_REALTIME_NS) + VNC_RETRY_NS);
        }
        return;
    }
    if (s->viewers->len >= s->max_viewers) {
        close(fd);
        return;
    }
    vnc_viewer_new(s, fd, l->websocket, false);
}

/* Listening. */

static void vnc_listener_free(gpointer data)
{
    VncListener *l = data;

    fd_handler_remove(l->handler);
    timer_free(l->retry);
    close(l->fd);
    g_free(l);
}

static void vnc_listen_on(VncServer *s, int fd, bool websocket)
{
    VncListener *l = g_new0(VncListener, 1);

    l->server = s;
    l->fd = fd;
    l->websocket = websocket;
    l->retry = timer_new(s->vm->loop, CLOCK_REALTIME_NS, vnc_listen_again, l);
    l->handler = event_loop_add_fd(s->vm->loop, fd, vnc_accept, NULL, l);
    g_ptr_array_add(s->listeners, l);
}

/* "HOST:NUMBER", "[HOST]:NUMBER" or, with 'bare', "NUMBER". */
static bool vnc_split(const char *text, bool bare, char **host, uint64_t *number)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? colon - text : 0;

    if (!colon && !bare) {
        return false;
    }
    if (!parse_uint(colon ? colon + 1 : text, UINT32_MAX, number)) {
        return false;
    }
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    *host = g_strndup(text, len);
    return true;
}

/* Puts the option before an error, and the advice where another has the address. */
static void vnc_say_what(const char *display, const char *in_use, GError **err)
{
    if (err && *err) {
        g_prefix_error(err, "-vnc %s: %s", display, (*err)->code == EADDRINUSE ? in_use : "");
    }
}

static int vnc_tcp_listen(const VncOptions *o, const char *host, unsigned first, unsigned last,
                          GError **err)
{
    bool v4 = o->has_ipv4 ? o->ipv4 : !(o->has_ipv6 && o->ipv6);
    bool v6 = o->has_ipv6 ? o->ipv6 : !(o->has_ipv4 && o->ipv4);

    for (unsigned port = first;; port++) {
        g_autofree char *text = g_strdup_printf("%u", port);
        int fd = host_tcp_listen(host, text, v4, v6, port >= last ? err : NULL);

        if (fd >= 0 || port >= last) {
            return fd;
        }
    }
}

static bool vnc_listen_websocket(VncServer *s, const VncOptions *o, const char *display_host,
                                 unsigned display, GError **err)
{
    g_autofree char *host = NULL;
    uint64_t port = VNC_WEBSOCKET_PORT + display;
    bool on;
    int fd;

    if (parse_bool(o->websocket, &on)) {
        if (!on) {
            return true;
        }
        host = g_strdup(display_host);
    } else if (!vnc_split(o->websocket, true, &host, &port)) {
        return error_set(err, "-vnc websocket=%s: expected on, PORT or HOST:PORT", o->websocket);
    } else if (!*host) {
        g_free(host);
        host = g_strdup(display_host);
    }
    if (!port || port > VNC_PORT_MAX) {
        return error_set(err, "-vnc websocket=%s: port %" PRIu64 " is out of range", o->websocket,
                         port);
    }
    fd = vnc_tcp_listen(o, host, port, port, err);
    if (fd < 0) {
        vnc_say_what(o->display, "websocket=PORT is for another port than this: ", err);
        return false;
    }
    vnc_listen_on(s, fd, true);
    return true;
}

static bool vnc_listen_tcp(VncServer *s, const VncOptions *o, GError **err)
{
    g_autofree char *host = NULL;
    uint64_t display;
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    int fd;

    if (!vnc_split(o->display, false, &host, &display)) {
        return error_set(err,
                         "-vnc %s: expected HOST:DISPLAY (-vnc :0 is port 5900), unix:PATH or none",
                         o->display);
    }
    if (display > VNC_PORT_MAX - VNC_PORT ||
        (o->to && (o->to < display || o->to > VNC_PORT_MAX - VNC_PORT))) {
        return error_set(err,
                         "-vnc %s: display %" PRIu64
                         "%s is out of range: displays are 0 to %u, and "
                         "the port is 5900 plus the display",
                         o->display, display, o->to ? ", or to=," : "", VNC_PORT_MAX - VNC_PORT);
    }
    fd = vnc_tcp_listen(o, host, VNC_PORT + display, VNC_PORT + MAX(display, o->to), err);
    if (fd < 0) {
        vnc_say_what(o->display, "use another display, or to=N to try those up to N: ", err);
        return false;
    }
    vnc_listen_on(s, fd, false);
    if (getsockname(fd, (struct sockaddr *)&a, &len) == 0) {
        display = g_ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                                  : ((struct sockaddr_in *)&a)->sin_port) -
                  VNC_PORT;
    }
    return !o->websocket || vnc_listen_websocket(s, o, host, display, err);
}

static bool vnc_listen_unix(VncServer *s, const VncOptions *o, GError **err)
{
    const char *path = o->display + strlen("unix:");
    int fd;

    if (o->websocket) {
        return error_set(err,
                         "-vnc %s: a browser cannot connect to a UNIX socket: leave "
                         "websocket= out, or use -vnc HOST:DISPLAY",
                         o->display);
    }
    fd = host_unix_listen(path, err);
    if (fd < 0) {
        vnc_say_what(o->display, "a server listens there, or a file is in its place: ", err);
        return false;
    }
    host_socket_path_set(&s->bound, path);
    vnc_listen_on(s, fd, false);
    return true;
}

/* reverse=on. A viewer that does not answer is an error of the start; later it is only told. */
static void vnc_reversed(void *data, int fd, const GError *err)
{
    VncServer *s = data;

    s->connecting = NULL;
    if (fd < 0) {
        log_warn("VNC: cannot connect to the viewer: %s", err->message);
        return;
    }
    vnc_viewer_new(s, fd, false, false);
}

static bool vnc_connect_back(VncServer *s, const VncOptions *o, GError **err)
{
    g_autofree char *host = NULL, *text = NULL;
    uint64_t port;

    if (g_str_has_prefix(o->display, "unix:")) {
        int fd = host_unix_connect(o->display + strlen("unix:"), err);
        if (fd < 0) {
            vnc_say_what(o->display, "", err);
            return false;
        }
        vnc_viewer_new(s, fd, false, false);
        return true;
    }
    if (o->websocket) {
        return error_set(err, "-vnc reverse=on: there is no websocket= to a viewer that listens");
    }
    if (!vnc_split(o->display, false, &host, &port) || !*host || !port || port > VNC_PORT_MAX) {
        return error_set(err, "-vnc %s,reverse=on: expected the HOST:PORT of a viewer that listens",
                         o->display);
    }
    text = g_strdup_printf("%" PRIu64, port);
    s->connecting = host_connect_start(host, text, vnc_reversed, s);
    return true;
}

/* Servers. */

static void vnc_server_free(VncServer *s)
{
    host_connect_cancel(s->connecting);
    while (s->viewers->len) {
        vnc_viewer_destroy(s->viewers->pdata[0]); /* its event names a listener */
    }
    g_ptr_array_free(s->viewers, TRUE);
    g_ptr_array_free(s->listeners, TRUE);
    host_socket_path_remove(&s->bound);
    g_ptr_array_remove(ui_of(s->vm)->vnc_servers, s);
    g_mutex_clear(&s->secret_lock);
    explicit_bzero(s->secret, sizeof s->secret);
    g_free(s->display_device);
    g_free(s->id);
    g_free(s);
}

static void vnc_store_password(VncServer *s, const char *password)
{
    g_mutex_lock(&s->secret_lock);
    memset(s->secret, 0, sizeof s->secret);
    memcpy(s->secret, password, strnlen(password, VNC_PASSWORD_MAX));
    s->secret_set = true;
    g_mutex_unlock(&s->secret_lock);
}

static bool vnc_take_secret(VncServer *s, const VncOptions *o, GError **err)
{
    const uint8_t *bytes;
    size_t len;

    if (!o->password_secret) {
        return true;
    }
    bytes = secret_bytes(o->password_secret, &len, err);
    if (!bytes) {
        return false;
    }
    if (strlen((const char *)bytes) > VNC_PASSWORD_MAX) {
        log_warn("-vnc password-secret=%s: only the first %u characters count", o->password_secret,
                 VNC_PASSWORD_MAX);
    }
    vnc_store_password(s, (const char *)bytes);
    return true;
}

static bool vnc_check_options(Vm *vm, const VncOptions *o, GError **err)
{
    if (o->tls_creds || o->tls_authz) {
        return error_set(err, "-vnc tls-creds=: VeNCrypt is not in this program: use a TLS tunnel "
                              "(stunnel, ssh -L) to -vnc 127.0.0.1:N or unix:PATH");
    }
    if (o->sasl_authz) {
        return error_set(err, "-vnc sasl-authz=: SASL is not in this program: use password=on");
    }
    if (o->audiodev) {
        return error_set(err, "-vnc audiodev=: there is no sound in this program yet");
    }
    if (o->password && o->password_secret) {
        return error_set(err,
                         "-vnc: 'password' flag is redundant when 'password-secret' is provided");
    }
    if (o->head && !o->device) {
        return error_set(err, "-vnc head=: say with display= of which device");
    }
    if (o->device && !screen_find(vm, o->device, o->head, err)) {
        g_prefix_error(err, "-vnc display=: ");
        return false;
    }
    if (!o->connections) {
        return error_set(err, "-vnc connections=0: nobody could connect");
    }
    if (o->id ? vnc_server_find(vm, o->id) != NULL : ui_of(vm)->vnc_servers->len > 0) {
        return error_set(err, "-vnc: there is a server '%s' already: give this one another id=",
                         o->id ? o->id : "default");
    }
    return true;
}

static VncServer *vnc_server_new(Vm *vm, const VncOptions *o)
{
    GPtrArray *servers = ui_of(vm)->vnc_servers;
    VncServer *s = g_new0(VncServer, 1);

    s->vm = vm;
    s->id = g_strdup(o->id ? o->id : "default");
    s->display_device = g_strdup(o->device);
    s->head = o->head;
    s->max_viewers = o->connections;
    s->share = o->share;
    s->lossy = o->lossy;
    s->power_control = o->power_control;
    s->password = o->password || o->password_secret;
    s->expires = INT64_MAX;
    s->listeners = g_ptr_array_new_with_free_func(vnc_listener_free);
    s->viewers = g_ptr_array_new();
    g_mutex_init(&s->secret_lock);
    if (!servers->len) {
        input_pointer_changed(vm, vnc_pointer_mode, vm);
    }
    g_ptr_array_add(servers, s);
    return s;
}

static bool vnc_start(Vm *vm, const VncOptions *o, GError **err)
{
    VncServer *s;
    bool ok;

    if (!vnc_check_options(vm, o, err)) {
        return false;
    }
    s = vnc_server_new(vm, o);
    ok = vnc_take_secret(s, o, err) &&
         (o->reverse                              ? vnc_connect_back(s, o, err)
          : g_str_has_prefix(o->display, "unix:") ? vnc_listen_unix(s, o, err)
                                                  : vnc_listen_tcp(s, o, err));
    if (!ok) {
        vnc_server_free(s);
    }
    return ok;
}

bool vnc_server_start(Vm *vm, json_t *config, GError **err)
{
    VncOptions o = {0};
    bool ok;

    properties_init(vnc_params, &o);
    ok = properties_apply(vnc_params, &o, config, NULL, "-vnc", err);
    if (ok && !o.display) {
        ok =
            error_set(err, "-vnc: expected HOST:DISPLAY (-vnc :0 is port 5900), unix:PATH or none");
    }
    if (ok && strcmp(o.display, "none")) {
        ok = vnc_start(vm, &o, err);
    }
    properties_clear(vnc_params, &o);
    return ok;
}

bool vnc_server_start_default(Vm *vm, char **said, GError **err)
{
    json_auto_t *config = json_pack("{s:s,s:i}", "vnc", "127.0.0.1:0", "to", VNC_DEFAULT_LAST);
    VncListener *l;
    json_t *info;

    if (!vnc_server_start(vm, config, err)) {
        return false;
    }
    l = vnc_server_find(vm, NULL)->listeners->pdata[0];
    info = vnc_listener_info(l);
    *said = g_strdup_printf("VNC server running on %s:%s", json_str(info, "host"),
                            json_str(info, "service"));
    json_decref(info);
    return true;
}

static void vnc_cleanup_viewer(gpointer viewer, gpointer data)
{
    vnc_viewer_disconnect(viewer);
}

void vnc_cleanup(Vm *vm)
{
    GPtrArray *servers = vm->ui ? ui_of(vm)->vnc_servers : NULL;

    /* All at once: a viewer's thread may hold up another one until it is told. */
    for (guint i = 0; servers && i < servers->len; i++) {
        VncServer *s = servers->pdata[i];
        g_ptr_array_foreach(s->viewers, vnc_cleanup_viewer, NULL);
    }
    while (servers && servers->len) {
        vnc_server_free(servers->pdata[0]);
    }
}

/* Passwords. */

static VncServer *vnc_server_of_password(Vm *vm, const char *display, GError **err)
{
    VncServer *s = vnc_server_find(vm, display);

    if (!s) {
        error_set(err, "there is no VNC server%s%s%s", display ? " '" : "", display ? display : "",
                  display ? "'" : ": start one with -vnc");
    }
    return s;
}

bool vnc_add_client(Vm *vm, int fd, bool trusted, GError **err)
{
    VncServer *s = vm->ui ? vnc_server_find(vm, NULL) : NULL;
    int type = 0;
    socklen_t len = sizeof type;
    bool ok = false;

    if (!s) {
        error_set(err, "there is no VNC server: start one with -vnc");
    } else if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM) {
        error_set(err, "the descriptor is no stream socket");
    } else if (s->viewers->len >= s->max_viewers) {
        error_set(err, "the VNC server '%s' has as many viewers as it may (-vnc connections=%u)",
                  s->id, s->max_viewers);
    } else if (!fd_set_nonblock(fd, true)) {
        error_set_errno(err, errno, "the descriptor cannot be used");
    } else if (host_take_fd(fd, err)) {
        vnc_viewer_new(s, fd, false, trusted);
        ok = true;
    }
    if (!ok) {
        close(fd);
    }
    return ok;
}

bool vnc_set_password(Vm *vm, const char *display, const char *password, GError **err)
{
    VncServer *s = vnc_server_of_password(vm, display, err);

    if (!s) {
        return false;
    }
    if (!s->password) {
        return error_set(err,
                         "the VNC server '%s' asks for no password: start it with "
                         "-vnc ...,password=on",
                         s->id);
    }
    vnc_store_password(s, password);
    return true;
}

bool vnc_expire_password(Vm *vm, const char *display, const char *when, GError **err)
{
    VncServer *s = vnc_server_of_password(vm, display, err);
    bool relative = when[0] == '+';
    uint64_t seconds = 0;
    int64_t now = g_get_real_time() / G_USEC_PER_SEC, expires;

    if (!s) {
        return false;
    }
    if (!strcmp(when, "never")) {
        expires = INT64_MAX;
    } else if (!strcmp(when, "now")) {
        expires = 0;
    } else if (parse_uint(when + relative, INT64_MAX / 2, &seconds)) {
        expires = relative ? now + (int64_t)seconds : (int64_t)seconds;
    } else {
        return error_set(
            err, "'%s' is no time: expected now, never, +SECONDS, or seconds since 1970", when);
    }
    g_mutex_lock(&s->secret_lock);
    s->expires = expires;
    g_mutex_unlock(&s->secret_lock);
    return true;
}

bool vnc_has_password(Vm *vm)
{
    VncServer *s = vm->ui ? vnc_server_find(vm, NULL) : NULL;

    return s && s->password;
}

/* What monitors show. */

static json_t *vnc_clients(const VncServer *s)
{
    json_t *out = json_array();

    for (guint i = 0; i < s->viewers->len; i++) {
        VncViewer *v = s->viewers->pdata[i];
        if (v->ready) {
            json_array_append(out, v->address);
        }
    }
    return out;
}

json_t *vnc_query(Vm *vm)
{
    VncServer *s = vm->ui ? vnc_server_find(vm, NULL) : NULL;
    json_t *out;

    if (!s) {
        return json_pack("{s:b,s:[]}", "enabled", false, "clients");
    }
    out = json_pack("{s:b,s:o,s:s}", "enabled", true, "clients", vnc_clients(s), "auth",
                    vnc_auth_name(s));
    if (s->listeners->len) {
        json_t *info = vnc_listener_info(s->listeners->pdata[0]);

        json_object_del(info, "websocket");
        json_object_update(out, info);
        json_decref(info);
    }
    return out;
}

json_t *vnc_query_servers(Vm *vm)
{
    GPtrArray *servers = vm->ui ? ui_of(vm)->vnc_servers : NULL;
    json_t *out = json_array();

    for (guint i = 0; servers && i < servers->len; i++) {
        VncServer *s = servers->pdata[i];
        json_t *listening = json_array();

        for (guint j = 0; j < s->listeners->len; j++) {
            json_array_append_new(listening, vnc_listener_info(s->listeners->pdata[j]));
        }
        json_array_append_new(out, json_pack("{s:s,s:o,s:o,s:s}", "id", s->id, "server", listening,
                                             "clients", vnc_clients(s), "auth", vnc_auth_name(s)));
    }
    return out;
}

static void vnc_print_address(GString *out, const char *what, json_t *a)
{
    g_string_append_printf(out, "  %s: %s:%s (%s%s)\n", what, json_str(a, "host"),
                           json_str(a, "service"), json_str(a, "family"),
                           json_is_true(json_object_get(a, "websocket")) ? " (Websocket)" : "");
}

char *vnc_info_text(Vm *vm)
{
    json_auto_t *servers = vnc_query_servers(vm);
    GString *out = g_string_new(NULL);
    json_t *s, *a;
    size_t i, j;

    if (!json_array_size(servers)) {
        g_string_append(out, "None\n");
    }
    json_array_foreach(servers, i, s)
    {
        g_string_append_printf(out, "%s:\n", json_str(s, "id"));
        json_array_foreach(json_object_get(s, "server"), j, a)
        {
            vnc_print_address(out, "Server", a);
            g_string_append_printf(out, "    Auth: %s (Sub: none)\n", json_str(a, "auth"));
        }
        json_array_foreach(json_object_get(s, "clients"), j, a)
        {
            vnc_print_address(out, "Client", a);
        }
        if (!json_array_size(json_object_get(s, "server"))) {
            g_string_append_printf(out, "    Auth: %s (Sub: none)\n", json_str(s, "auth"));
        }
    }
    return g_string_free(out, FALSE);
}
