/* SPDX-License-Identifier: GPL-2.0-or-later */
/* smb=DIR: the host's smbd, started by slirp for each connection, serves one directory. */
#include "user.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pwd.h>
#include <unistd.h>
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"

#define SMBD "/usr/sbin/smbd"

static bool write_config(const char *dir, const char *share, const char *user, GError **err)
{
    g_autofree char *path = g_build_filename(dir, "smb.conf", NULL);
    /* smbd writes only into this private directory, and serves 127.0.0.1 only. */
    g_autofree char *text = g_strdup_printf("[global]\n"
                                            "private dir=%1$s\n"
                                            "interfaces=127.0.0.1\n"
                                            "bind interfaces only=yes\n"
                                            "pid directory=%1$s\n"
                                            "lock directory=%1$s\n"
                                            "state directory=%1$s\n"
                                            "cache directory=%1$s\n"
                                            "ncalrpc dir=%1$s/ncalrpc\n"
                                            "log file=%1$s/log.smbd\n"
                                            "smb passwd file=%1$s/smbpasswd\n"
                                            "security=user\n"
                                            "map to guest=Bad User\n"
                                            "load printers=no\n"
                                            "printing=bsd\n"
                                            "disable spoolss=yes\n"
                                            "usershare max shares=0\n"
                                            "[qemu]\n"
                                            "path=%2$s\n"
                                            "read only=no\n"
                                            "guest ok=yes\n"
                                            "force user=%3$s\n",
                                            dir, share, user);
    g_autoptr(GError) reason = NULL;

    return g_file_set_contents(path, text, -1, &reason) ||
           error_set(err, "SMB server configuration: %s", reason->message);
}

bool user_smb_start(const SlirpLib *lib, Slirp *slirp, const char *share, struct in_addr server,
                    char **dir, GError **err)
{
    static const int ports[] = {139, 445};
    struct passwd *pw = getpwuid(geteuid());
    g_autofree char *command = NULL;
    g_autoptr(GError) reason = NULL;

    if (!pw) {
        return error_set(err, "Failed to retrieve user name");
    }
    if (access(SMBD, X_OK) != 0) {
        return error_set(err, "Could not find '" SMBD "', please install it (package samba)");
    }
    if (access(share, R_OK | X_OK) != 0) {
        return error_set_errno(err, errno, "Error accessing shared directory '%s'", share);
    }
    /* A line break in the name would add settings to smb.conf. */
    if (strpbrk(share, "\r\n")) {
        return error_set(err, "the shared directory's name must not contain line breaks");
    }
    *dir = g_dir_make_tmp("vmm-smb.XXXXXX", &reason);
    if (!*dir) {
        return error_set(err, "could not create samba server dir: %s", reason->message);
    }
    if (!write_config(*dir, share, pw->pw_name, err)) {
        return false;
    }
    command = g_strdup_printf("%s -l %s -s %s/smb.conf", SMBD, *dir, *dir);
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
        if (lib->slirp_add_exec(slirp, command, &server, ports[i]) < 0) {
            return error_set(err, "Conflicting/invalid smbserver address");
        }
    }
    return true;
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir =
        g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        remove_tree(child);
    }
    if (g_remove(path) < 0) {
        log_warn("cannot remove '%s': %s", path, g_strerror(errno));
    }
}

void user_smb_stop(const char *dir)
{
    remove_tree(dir);
}
