/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/host.h"

void log_output_open(LogOutput *out, int fd, bool never_waits)
{
    struct stat st;

    *out = (LogOutput){.fd = fd};
    if (!never_waits || fstat(fd, &st) < 0) {
        return;
    }
    out->is_socket = S_ISSOCK(st.st_mode);
    if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
        int own = host_open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0, NULL);

        /* Refused where the terminal is another user's: the log then waits for it. */
        if (own >= 0) {
            out->fd = own;
            out->own = true;
        }
    }
}

void log_output_close(LogOutput *out)
{
    if (out->own) {
        close(out->fd);
    }
    if (out->rest) {
        g_string_free(out->rest, TRUE);
    }
    *out = (LogOutput){.fd = -1};
}

/* Bytes written, from 0 to len. Less than len: *why is an errno. */
static size_t write_some(LogOutput *out, const char *bytes, size_t len, int *why)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = out->is_socket
                        ? send(out->fd, bytes + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL)
                        : write(out->fd, bytes + done, len - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            *why = n < 0 ? errno : EIO;
            break;
        }
        done += n;
    }
    return done;
}

static bool end_rest(LogOutput *out)
{
    size_t done;

    if (!out->rest) {
        return true;
    }
    done = write_some(out, out->rest->str, out->rest->len, &out->why);
    if (done < out->rest->len) {
        g_string_erase(out->rest, 0, done);
        return false;
    }
    g_string_free(g_steal_pointer(&out->rest), TRUE);
    return true;
}

/* True: the line is written, or begun, and its rest will be. */
static bool begin_line(LogOutput *out, const char *line, size_t len)
{
    size_t done = write_some(out, line, len, &out->why);

    if (done > 0 && done < len) {
        out->rest = g_string_new_len(line + done, len - done);
    }
    return done > 0;
}

void log_output_line(LogOutput *out, const char *line, size_t len)
{
    g_autoptr(GString) both = NULL;

    if (out->dropped && end_rest(out)) {
        /* One write: what tells of a loss would fit where the line does not, again and again. */
        both = g_string_new(NULL);
        g_string_printf(both, "(%u line%s of the log could not be written: %s)\n", out->dropped,
                        out->dropped == 1 ? "" : "s",
                        out->why == EAGAIN ? "the reader was too slow" : g_strerror(out->why));
        g_string_append_len(both, line, len);
        line = both->str;
        len = both->len;
    }
    if (end_rest(out) && begin_line(out, line, len)) {
        out->dropped = 0;
    } else {
        out->dropped++;
    }
}
