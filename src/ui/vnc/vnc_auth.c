/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A viewer's way in, up to its ClientInit (RFC 6143, 7.1). libvncserver keeps the security types
 * that it offers in a list of the process: of two servers, the one without a password would open
 * the other. So versions, types and passwords are exchanged here, by the library's socket calls.
 */
#include <errno.h>
#include <rfb/rfb.h>
#include <stdio.h>
#include <sys/random.h>

#include "vnc_internal.h"

enum { VNC_CHALLENGE_SIZE = 16, VNC_RESULT_OK = 0, VNC_RESULT_FAILED = 1 };

static bool vnc_auth_send_reason(const VncAuthIo *io, const char *reason)
{
    uint8_t length[4];

    stbe32(length, strlen(reason));
    return io->write(io->cl, (char *)length, sizeof length) > 0 &&
           io->write(io->cl, reason, strlen(reason)) > 0;
}

/* The viewer's version. Versions between those that exist are 3.3 (RFC 6143, 7.1.1). */
static bool vnc_auth_read_version(const VncAuthIo *io, int *minor)
{
    char line[sz_rfbProtocolVersionMsg + 1] = {0};
    unsigned major;

    if (io->read(io->cl, line, sz_rfbProtocolVersionMsg) <= 0 ||
        sscanf(line, "RFB %03u.%03d\n", &major, minor) != 2 || major != 3) {
        return false;
    }
    *minor = *minor >= 8 && *minor < 100 ? 8 : *minor == 7 ? 7 : 3;
    return true;
}

/* Says which type it is to be, and hears (from 3.7 on) that it is. */
static bool vnc_auth_agree(const VncAuthIo *io, int minor, uint8_t type)
{
    uint8_t old[4] = {0, 0, 0, type}, offer[2] = {1, type}, chosen;

    if (minor == 3) {
        return io->write(io->cl, (char *)old, sizeof old) > 0;
    }
    return io->write(io->cl, (char *)offer, sizeof offer) > 0 &&
           io->read(io->cl, (char *)&chosen, 1) > 0 && chosen == type;
}

static bool vnc_auth_password_is_right(VncServer *s, uint8_t challenge[VNC_CHALLENGE_SIZE],
                                       const uint8_t response[VNC_CHALLENGE_SIZE])
{
    uint8_t differs = 0;
    bool ok;

    g_mutex_lock(&s->secret_lock);
    ok = s->secret_set && g_get_real_time() / G_USEC_PER_SEC < s->expires;
    vnc_client_encrypt(challenge, s->secret);
    g_mutex_unlock(&s->secret_lock);
    for (unsigned i = 0; i < VNC_CHALLENGE_SIZE; i++) {
        differs |= challenge[i] ^ response[i];
    }
    return ok && !differs;
}

static bool vnc_auth_ask_password(const VncAuthIo *io, VncServer *s, bool *right)
{
    uint8_t challenge[VNC_CHALLENGE_SIZE], response[VNC_CHALLENGE_SIZE];

    if (getrandom(challenge, sizeof challenge, 0) != sizeof challenge ||
        io->write(io->cl, (char *)challenge, sizeof challenge) <= 0 ||
        io->read(io->cl, (char *)response, sizeof response) <= 0) {
        return false;
    }
    *right = vnc_auth_password_is_right(s, challenge, response);
    return true;
}

bool vnc_auth_run(const VncAuthIo *io, VncServer *s, bool asks)
{
    uint8_t result[4] = {0};
    bool right = true;
    int minor;

    if (!vnc_auth_read_version(io, &minor) ||
        !vnc_auth_agree(io, minor, asks ? rfbVncAuth : rfbNoAuth) ||
        (asks && !vnc_auth_ask_password(io, s, &right))) {
        return false;
    }
    /* Before 3.8, who needs no password gets no result. */
    if (asks || minor == 8) {
        result[3] = right ? VNC_RESULT_OK : VNC_RESULT_FAILED;
        if (io->write(io->cl, (char *)result, sizeof result) <= 0) {
            return false;
        }
    }
    if (!right && minor == 8) {
        vnc_auth_send_reason(io, "Authentication failed");
    }
    io->cl->protocolMajorVersion = 3;
    io->cl->protocolMinorVersion = minor;
    return right;
}
