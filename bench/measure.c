// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a command and takes its time: a helper of bench/, static and small, because it runs where
// time is counted in instructions, and because a Python that forks takes a part of a start's time.
//
//   measure [-o | -s] MARKER COMMAND...
//
// Prints two numbers: nanoseconds from just before the fork until MARKER appeared on the command's
// standard output (0 where MARKER is empty), and until the command ended. The status is 1 where
// the command cannot be run, fails (unless MARKER is empty), is killed, or does not print MARKER.
//
// -o: what the command printed (the last of it) goes to standard error.
//
// -s: stops the command (SIGSTOP) as soon as it has printed MARKER, prints the nanoseconds and its
// process id, and kills it when standard input ends. Its counters can be read meanwhile.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char text[1 << 20];

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Reads until the marker was seen, which is reported by its time, or until the end (0). */
static long long read_to(int fd, const char *wanted)
{
    static size_t length;
    size_t marker = strlen(wanted);
    ssize_t n;

    while ((n = read(fd, text + length, sizeof(text) - 1 - length)) > 0) {
        /* The search covers the new bytes only: a serial line brings one character at a time. */
        size_t from = length < marker ? 0 : length - marker;
        length += (size_t)n;
        if (marker && memmem(text + from, length - from, wanted, marker)) {
            return now();
        }
        if (length == sizeof(text) - 1) {
            length = 0;
        }
    }
    return 0;
}

static void hold(pid_t child, long long nanoseconds)
{
    char ignored[64];

    kill(child, SIGSTOP);
    printf("%lld %d\n", nanoseconds, (int)child);
    fflush(stdout);
    while (read(0, ignored, sizeof(ignored)) > 0) {
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    exit(0);
}

int main(int argc, char **argv)
{
    long long began, seen, ended;
    int pipe_ends[2], status;
    int output = argc > 1 && strcmp(argv[1], "-o") == 0;
    int stop = argc > 1 && strcmp(argv[1], "-s") == 0;
    pid_t child;

    argv += output + stop;
    argc -= output + stop;
    if (argc < 3 || pipe(pipe_ends) < 0) {
        return 2;
    }
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
    seen = read_to(pipe_ends[0], argv[1]);
    if (seen && stop) {
        hold(child, seen - began);
    }
    if (seen) {
        read_to(pipe_ends[0], "");
    }
    waitpid(child, &status, 0);
    ended = now();
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 127 || (*argv[1] && !seen)) {
        fprintf(stderr, "%s: wait status %#x\n%s", argv[2], status, text);
        return 1;
    }
    if (output) {
        fputs(text, stderr);
    }
    printf("%lld %lld\n", seen ? seen - began : 0, ended - began);
    return 0;
}
