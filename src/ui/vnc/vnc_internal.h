/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of VNC. vnc_server.c has the options, listens, and knows the viewers. vnc_viewer.c is a
 * viewer as the main loop sees it: what it looks at, and what its keys and pointer do.
 * vnc_client.c is a viewer's thread, in which libvncserver speaks with it; vnc_auth.c is how that
 * thread lets a viewer in, and vnc_web.c what it does for browsers first.
 *
 * Each viewer has a frame buffer and a libvncserver screen of its own, so a viewer that stalls
 * holds up nobody else. A frame buffer is written by the main loop (dirty tiles) and read by the
 * viewer's thread while it sends: both under 'lock', for which the main loop never waits.
 */
#ifndef UI_VNC_INTERNAL_H
#define UI_VNC_INTERNAL_H

#include <netinet/in.h>
#include "../ui_internal.h"
#include "base/connect.h"

enum {
    VNC_STALL_MS = 5000,      /* a viewer that takes nothing for so long is dropped */
    VNC_HANDSHAKE_MS = 10000, /* from the connection to the end of authentication */
    VNC_MESSAGES_MAX = 256,   /* that wait for the main loop; the thread stops reading then */
    VNC_PASSWORD_MAX = 8,
    VNC_RECTS_MAX = 512, /* that wait for the thread; more become one */
};

/* VncOptions.share */
typedef enum { VNC_SHARE_ALLOW_EXCLUSIVE, VNC_SHARE_FORCE_SHARED, VNC_SHARE_IGNORE } VncShare;

/* -vnc, by vnc_params. */
typedef struct {
    char *display, *id, *websocket, *device, *password_secret;
    char *tls_creds, *tls_authz, *sasl_authz, *audiodev;
    int share;
    uint32_t to, connections, head;
    bool password, reverse, lossy, non_adaptive, power_control, lock_key_sync, sasl;
    bool ipv4, ipv6, has_ipv4, has_ipv6;
} VncOptions;

typedef struct VncServer VncServer;
typedef struct VncViewer VncViewer;

typedef struct {
    VncServer *server;
    int fd;
    FdHandler *handler;
    Timer *retry; /* the host was out of descriptors: accepts again a moment later */
    bool websocket;
} VncListener;

struct VncServer {
    Vm *vm;
    char *id, *display_device;
    unsigned head, max_viewers;
    VncShare share;
    bool lossy, power_control, password;
    GPtrArray *listeners;
    GPtrArray *viewers;
    HostConnect *connecting; /* reverse=on */
    HostSocketPath bound;

    GMutex secret_lock; /* of these two, which viewers' threads read */
    char secret[VNC_PASSWORD_MAX + 1];
    int64_t expires; /* seconds since 1970; INT64_MAX: never */
    bool secret_set;
};

typedef enum {
    VNC_MESSAGE_READY,    /* authenticated and initialised. down: it shares */
    VNC_MESSAGE_KEY,      /* keysym; number: set 1's, or 0 */
    VNC_MESSAGE_POINTER,  /* x, y, buttons */
    VNC_MESSAGE_POWER,    /* number: rfbXvp_Shutdown, ... */
    VNC_MESSAGE_RELATIVE, /* the viewer can send movements (pointer motion change) */
} VncMessageType;

typedef struct {
    VncMessageType type;
    bool down;
    uint8_t buttons;
    uint16_t x, y, number;
    uint32_t keysym;
} VncMessage;

struct VncViewer {
    VncServer *server;
    int fd; /* for shutdown(); the library has a duplicate */
    bool websocket;
    bool trusted;    /* is let in without the password */
    json_t *address; /* VncBasicInfo: host, service, family, websocket */
    char *name;      /* what the window is called */
    GThread *thread;
    BottomHalf bh; /* main loop: messages, the end of sending, the end */

    /* Main loop. */
    ScreenViewer view;
    Screen *screen; /* NULL: it looks at none yet, or at one that is gone */
    bool lost;      /* its screen is gone */
    bool ready, exclusive, dead;
    uint8_t buttons;
    int last_x, last_y;
    GArray *pressed; /* of uint16_t: KEY_* that are down */

    GMutex queue_lock;
    GCond queue_room;
    GArray *messages; /* of VncMessage */
    int absolute;     /* atomic: what the viewer is to be told of the pointer; -1: nothing */

    bool asks_keys, asks_motion; /* the thread's: QEMU's encodings, to be answered */

    /* Atomic. */
    int quit;     /* main loop to thread */
    int drawn;    /* main loop to thread: 'pixels' show the screen, so updates may be sent */
    int late;     /* the main loop did not get 'lock' */
    int released; /* the thread's answer: it has let go */
    int finished; /* the thread's last word */

    GMutex lock;
    int wake_fd; /* an eventfd: rects, next, absolute or quit have changed */
    uint32_t *pixels;
    unsigned width, height;
    uint32_t *next; /* after a change of size: what replaces 'pixels' in the library */
    GArray *rects;  /* of VncRect: written since the thread last looked */
};

typedef struct {
    unsigned x, y, w, h;
} VncRect;

/* vnc_server.c */
json_t *vnc_socket_info(int fd, bool peer, bool websocket); /* VncBasicInfo */
/* A viewer is about to be initialised: who has to go? False: itself. */
bool vnc_server_admit(VncServer *s, VncViewer *v);
void vnc_server_event(VncViewer *v, VmEventId event);
void vnc_server_forget(VncServer *s, VncViewer *v);

/* vnc_viewer.c: main loop. Takes fd. */
void vnc_viewer_new(VncServer *s, int fd, bool websocket, bool trusted);
void vnc_viewer_disconnect(VncViewer *v); /* soon */
void vnc_viewer_destroy(VncViewer *v);    /* waits for the thread, which was told to end */
void vnc_viewer_pointer_changed(VncViewer *v);

/* vnc_client.c: the thread. */
gpointer vnc_client_run(gpointer viewer);
void vnc_client_post(VncViewer *v, const VncMessage *m);
/* Encrypts 16 bytes of a challenge with a password (RFC 6143, 7.2.2). The library is loaded. */
void vnc_client_encrypt(uint8_t challenge[16], const char *password);

/* vnc_auth.c: the thread. The library's calls; they return 1, or less when it failed. */
struct _rfbClientRec;
typedef struct {
    struct _rfbClientRec *cl;
    int (*read)(struct _rfbClientRec *cl, char *data, int len);
    int (*write)(struct _rfbClientRec *cl, const char *data, int len);
} VncAuthIo;
/* From the viewer's version to the end of authentication; 'asks': for the password. False: the
 * viewer stays out. */
bool vnc_auth_run(const VncAuthIo *io, VncServer *s, bool asks);

/*
 * vnc_web.c: the thread. The request for a WebSocket that libvncserver is to answer (the caller
 * frees it), which was read; NULL: the browser was served, and is done with.
 */
char *vnc_web_begin(VncViewer *v);

#endif
