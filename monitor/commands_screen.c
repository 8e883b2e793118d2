/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is on the guest's screens: screendump. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/json.h"
#include "base/util.h"
#include "commands.h"
#include "ui/screen.h"

/* Arguments. */

#define SCREENDUMP_SCREEN                                                                          \
    {.name = "device", .type = PROP_STRING, .help = "whose screen; none: the first"},              \
    {                                                                                              \
        .name = "head", .type = PROP_UINT32, .help = "which of the device's screens"               \
    }
const Property screendump_args[] = {
    MEMBER("filename", PROP_STRING, .help = "where it goes"),
    SCREENDUMP_SCREEN,
    {.name = "format",
     .type = PROP_ENUM,
     .names = image_format_names,
     .help = "what is written; none: as the name says (.ppm, .png, .txt), else ppm"},
    PROP_END};
const Property screendump_hmp_args[] = {
    {.name = "f", .type = PROP_ENUM, .names = screendump_format_names, .help = "format"},
    {.name = "filename", .type = PROP_STRING, .help = "where it goes; none: text is shown"},
    SCREENDUMP_SCREEN,
    PROP_END};

/* QMP's ImageFormat, and what HMP takes: there is text as well. */
const char *const image_format_names[] = {"ppm", "png", NULL};
const char *const screendump_format_names[] = {"ppm", "png", "txt", NULL};
typedef enum { FORMAT_PPM, FORMAT_PNG, FORMAT_TXT } ScreendumpFormat;

/* As it is asked for, else as the file's name says. */
static ScreendumpFormat screendump_format(const char *name, const char *filename)
{
    for (unsigned i = 0; screendump_format_names[i]; i++) {
        g_autofree char *suffix = g_strdup_printf(".%s", screendump_format_names[i]);
        size_t len = strlen(filename);

        if (name ? !strcmp(name, screendump_format_names[i])
                 : len >= 4 && !g_ascii_strcasecmp(filename + len - 4, suffix)) {
            return i;
        }
    }
    return FORMAT_PPM;
}

static char *screendump_text(Screen *s, GError **err)
{
    ScreenText text;
    char *utf8;

    if (!screen_read_text(s, &text, err)) {
        return NULL;
    }
    utf8 = screen_text_utf8(&text);
    screen_text_clear(&text);
    return utf8;
}

static int screendump_open(const char *path, GError **err)
{
    return host_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666, err);
}

static bool screendump_write_text(Screen *s, const char *path, GError **err)
{
    g_autofree char *utf8 = screendump_text(s, err);
    size_t len = utf8 ? strlen(utf8) : 0;
    auto_fd fd = -1;

    if (!utf8) {
        return false;
    }
    fd = screendump_open(path, err);
    if (fd < 0) {
        return false;
    }
    errno = ENOSPC; /* for a short write, which sets no errno */
    return write(fd, utf8, len) == (ssize_t)len ||
           error_set_errno(err, errno, "cannot write '%s'", path);
}

static bool screendump_write(Screen *s, ScreendumpFormat format, const char *path, GError **err)
{
    auto_fd fd = -1;
    bool ok;

    if (format == FORMAT_TXT) {
        return screendump_write_text(s, path, err);
    }
    fd = screendump_open(path, err);
    if (fd < 0) {
        return false;
    }
    ok = format == FORMAT_PNG ? screenshot_write_png(screen_draw_now(s), fd, err)
                              : screenshot_write_ppm(screen_draw_now(s), fd, err);
    if (!ok) {
        g_prefix_error(err, "'%s': ", path);
    }
    return ok;
}

static Screen *screendump_screen(Vm *vm, json_t *args, GError **err)
{
    json_t *head = json_object_get(args, "head");

    return screen_find(vm, json_str(args, "device"), head ? json_integer_value(head) : 0, err);
}

MONITOR_HANDLER(cmd_screendump)
{
    const char *path = json_str(args, "filename");
    Screen *s = screendump_screen(vm, args, err);

    return s && screendump_write(s, screendump_format(json_str(args, "format"), path), path, err)
               ? json_object()
               : NULL;
}

/* HMP: without a file's name the text goes to the monitor. */
MONITOR_HANDLER(cmd_screendump_hmp)
{
    const char *path = json_str(args, "filename"), *format = json_str(args, "f");
    Screen *s = screendump_screen(vm, args, err);
    g_autofree char *utf8 = NULL;

    if (!s) {
        return NULL;
    }
    if (path) {
        return screendump_write(s, screendump_format(format, path), path, err) ? json_string("")
                                                                               : NULL;
    }
    if (format && strcmp(format, "txt")) {
        error_set(err, "a picture needs the name of a file");
        return NULL;
    }
    utf8 = screendump_text(s, err);
    return utf8 ? json_string(utf8) : NULL;
}
