// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a command and takes its time: a helper of bench/, static and small, because it runs where
// time is counted in instructions.
//
//   measure MARKER COMMAND...
//
// Prints two numbers: nanoseconds from just before the fork until MARKER appeared on the command's
// standard output (0 where MARKER is empty), and until the command ended. The status is 1 where
// the command cannot be run, is killed, or does not print MARKER.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(int argc, char **argv)
{
    static char text[1 << 20];
    size_t length = 0, marker;
    long long began, seen = 0, ended;
    int pipe_ends[2], status;
    pid_t child;

    if (argc < 3 || pipe(pipe_ends) < 0) {
        return 2;
    }
    marker = strlen(argv[1]);
    began = now();
    child = vfork();
    if (child == 0) {
        dup2(pipe_ends[1], 1);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    close(pipe_ends[1]);
    for (;;) {
        ssize_t n = read(pipe_ends[0], text + length, sizeof(text) - 1 - length);
        if (n <= 0) {
            break;
        }
        /* The search covers the new bytes only: a serial line brings one character at a time. */
        size_t from = length < marker ? 0 : length - marker;
        length += n;
        if (!seen && marker && memmem(text + from, length - from, argv[1], marker)) {
            seen = now();
        }
        if (length == sizeof(text) - 1) {
            length = 0;
        }
    }
    waitpid(child, &status, 0);
    ended = now();
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 127 || (marker && !seen)) {
        fprintf(stderr, "%s: wait status %#x\n%s", argv[2], status, text);
        return 1;
    }
    printf("%lld %lld\n", seen ? seen - began : 0, ended - began);
    return 0;
}
