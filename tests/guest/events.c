/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's drivers make of keys and movements: waits until there are event devices by all the
 * names given, says 'events: ready', and prints every event, "key 30 1", until Escape is let go.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEVICES = 16 };
static struct pollfd fds[DEVICES];
static int count;

static void open_device(const char *path)
{
    char name[80] = "";
    int fd = count < DEVICES ? open(path, O_RDONLY | O_NONBLOCK) : -1;

    if (fd >= 0 && ioctl(fd, EVIOCGNAME(sizeof name - 1), name) >= 0) {
        printf("events: %s is %s\n", path, name);
        fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
}

static int has_name(const char *wanted)
{
    for (int i = 0; i < count; i++) {
        char name[80] = "";

        ioctl(fds[i].fd, EVIOCGNAME(sizeof name - 1), name);
        if (strstr(name, wanted)) {
            return 1;
        }
    }
    return 0;
}

static void open_all(void)
{
    DIR *dir = opendir("/dev/input");
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char path[300];

        if (!strncmp(entry->d_name, "event", 5)) {
            snprintf(path, sizeof path, "/dev/input/%s", entry->d_name);
            open_device(path);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static void close_all(void)
{
    while (count) {
        close(fds[--count].fd);
    }
}

/* 0: go on. */
static int print_events(int fd)
{
    struct input_event e;

    while (read(fd, &e, sizeof e) == sizeof e) {
        if (e.type == EV_KEY) {
            printf("key %d %d\n", e.code, e.value);
        } else if (e.type == EV_REL) {
            printf("rel %d %d\n", e.code, e.value);
        } else if (e.type == EV_ABS) {
            printf("abs %d %d\n", e.code, e.value);
        }
        if (e.type == EV_KEY && e.code == KEY_ESC && !e.value) {
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    int missing = 1;

    setlinebuf(stdout);
    while (missing) {
        open_all();
        missing = 0;
        for (int i = 1; i < argc; i++) {
            missing |= !has_name(argv[i]);
        }
        if (missing) {
            close_all();
            usleep(200 * 1000);
        }
    }
    puts("events: ready");
    while (poll(fds, count, -1) > 0) {
        for (int i = 0; i < count; i++) {
            if (fds[i].revents && print_events(fds[i].fd)) {
                return 0;
            }
        }
    }
    return 1;
}
