/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Load for a disk whose state can be judged later: after a crash, or in a copy. Linked statically,
 * for guests; it checks the images outside, too.
 *
 *     diskload write DEVICE SEED through|back   writes until /tmp/stop is there, by JOBS processes,
 * each on a CPU (and so on a queue) of its own diskload check FILE SEED COUNT...         after a
 * crash: the first COUNT operations of each job are there, and nothing that was never written
 *     diskload moment FILE SEED                 a copy that was taken meanwhile: what each job had
 * done at one moment, no more and no less
 *
 * 'write' prints 'NAME.JOB COUNT' when operations have been flushed, or, with 'through',
 * acknowledged. 'moment' prints each job's COUNT; one operation more may be there in part.
 *
 * An operation overwrites or zeroes a piece of one group of blocks; which, SEED, job and number
 * say. Jobs have groups in turn, so that a cluster of an image has to do with all of them. Every
 * sector that is written says which operation wrote it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS = 4, SECTOR = 512, BLOCK = 4096, GROUP_BLOCKS = 4, BATCH = 4 };
enum { WORDS = SECTOR / sizeof(uint64_t), GROUP = GROUP_BLOCKS * BLOCK };
enum { GROUP_SECTORS = GROUP / SECTOR, BLOCK_SECTORS = BLOCK / SECTOR };
/* Unflushed operations that a crash may leave; more than the zeroes that come one after the other.
 */
enum { BEHIND = 4 * BATCH };
#define MAGIC 0x64616f6c6b736964ull /* "diskload" */
#define BAD   UINT64_MAX

typedef struct {
    uint64_t seed, groups; /* a job's groups */
    unsigned job;
} Job;

typedef struct {
    uint64_t sector; /* of the disk */
    unsigned sectors;
    bool zero;
} Op;

/* A disk in memory, and what each of its sectors is: an operation's number, 0 for zeroes, BAD. */
typedef struct {
    uint64_t seed, sectors, *found;
} Disk;

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static Op job_op(const Job *j, uint64_t number)
{
    uint64_t r = mix(j->seed * 0x9e3779b97f4a7c15 + mix(number * JOBS + j->job + 1));
    uint64_t group = (r >> 16) % j->groups * JOBS + j->job;
    unsigned first = r % GROUP_BLOCKS, blocks = 1 + (r >> 4) % (GROUP_BLOCKS - first);
    bool zero = (r >> 8) % 16 == 0;

    if (zero) {
        first = 0;
        blocks = GROUP_BLOCKS;
    }
    return (Op){group * GROUP_SECTORS + first * BLOCK_SECTORS, blocks * BLOCK_SECTORS, zero};
}

static void sector_fill(uint64_t word[WORDS], uint64_t seed, uint64_t op, uint64_t sector)
{
    word[0] = MAGIC ^ seed;
    word[1] = op;
    word[2] = sector;
    for (unsigned i = 3; i < WORDS; i++) {
        word[i] = mix(seed + op * 1000003 + sector * 64 + i);
    }
}

static uint64_t sector_op(const uint64_t word[WORDS], uint64_t seed, uint64_t sector)
{
    static const uint64_t zeroes[WORDS];
    uint64_t wanted[WORDS];

    if (!memcmp(word, zeroes, SECTOR)) {
        return 0;
    }
    sector_fill(wanted, seed, word[1], sector);
    return memcmp(word, wanted, SECTOR) ? BAD : word[1];
}

static int failed(const char *what)
{
    printf("diskload: %s: %s\n", what, strerror(errno));
    return 1;
}

/* -- Writing -------------------------------------------------------------------------------------
 */

static bool job_do(const Job *j, int fd, uint64_t number)
{
    static uint64_t buffer[GROUP / sizeof(uint64_t)] __attribute__((aligned(BLOCK)));
    Op op = job_op(j, number);
    uint64_t offset = op.sector * SECTOR, len = (uint64_t)op.sectors * SECTOR;

    if (op.zero) {
        return ioctl(fd, BLKZEROOUT, (uint64_t[]){offset, len}) == 0;
    }
    for (unsigned i = 0; i < op.sectors; i++) {
        sector_fill(buffer + (size_t)i * WORDS, j->seed, number, op.sector + i);
    }
    return pwrite(fd, buffer, len, offset) == (ssize_t)len;
}

static int job_write(const Job *j, const char *device, bool through)
{
    const char *name = strrchr(device, '/') + 1;
    int fd = open(device, O_RDWR | O_DIRECT);
    uint64_t number = 0;
    cpu_set_t cpu;

    CPU_ZERO(&cpu);
    CPU_SET(j->job % sysconf(_SC_NPROCESSORS_ONLN), &cpu);
    sched_setaffinity(0, sizeof cpu, &cpu);
    if (fd < 0) {
        return failed(device);
    }
    while (access("/tmp/stop", F_OK) < 0) {
        char line[80];
        int len;

        for (unsigned i = 0; i < BATCH; i++) {
            if (!job_do(j, fd, ++number)) {
                return failed(device);
            }
        }
        if (!through && fdatasync(fd) < 0) {
            return failed(device);
        }
        /* One write(): the lines of the jobs do not mix. */
        len = snprintf(line, sizeof line, "%s.%u %" PRIu64 "\n", name, j->job, number);
        if (write(1, line, len) != len) {
            return 1;
        }
        /* Slower disks have their turn where there are fewer CPUs than disks. */
        usleep(5000);
    }
    return 0;
}

static int disk_write(const char *device, uint64_t seed, bool through, unsigned jobs)
{
    int fd = open(device, O_RDONLY), status, result = 0;
    uint64_t size = 0;

    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0) {
        return failed(device);
    }
    close(fd);
    for (unsigned i = 0; i < jobs && i < JOBS; i++) {
        if (fork() == 0) {
            Job job = {seed, size / GROUP / JOBS, i};

            _exit(job_write(&job, device, through));
        }
    }
    while (wait(&status) > 0) {
        result |= status != 0;
    }
    return result;
}

/* -- Judging -------------------------------------------------------------------------------------
 */

static int disk_load(Disk *d, const char *path, uint64_t seed)
{
    int fd = open(path, O_RDONLY);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

    if (size < 0) {
        return failed(path);
    }
    *d = (Disk){seed, size / SECTOR, calloc(size / SECTOR, sizeof *d->found)};
    for (uint64_t i = 0; i < d->sectors; i += GROUP_SECTORS) {
        uint64_t buffer[GROUP / sizeof(uint64_t)];
        ssize_t len = pread(fd, buffer, GROUP, i * SECTOR);

        if (len < 0) {
            return failed(path);
        }
        for (uint64_t k = 0; k < (uint64_t)len / SECTOR; k++) {
            d->found[i + k] = sector_op(buffer + k * WORDS, seed, i + k);
        }
    }
    close(fd);
    return 0;
}

static bool job_owns(const Job *j, uint64_t sector)
{
    uint64_t group = sector / GROUP_SECTORS;

    return group % JOBS == j->job && group / JOBS < j->groups;
}

/* The number of the job's last operation of which there is a sector. */
static uint64_t job_last(const Job *j, const Disk *d)
{
    uint64_t last = 0;

    for (uint64_t i = 0; i < d->sectors; i++) {
        if (job_owns(j, i) && d->found[i] != BAD && d->found[i] > last) {
            last = d->found[i];
        }
    }
    return last;
}

/* A state has the number of the operation that each sector is of, 0 for zeroes. */
static void state_apply(uint64_t *state, const Job *j, uint64_t number)
{
    Op op = job_op(j, number);

    for (unsigned i = 0; i < op.sectors; i++) {
        state[op.sector + i] = op.zero ? 0 : number;
    }
}

/* Sectors of the job that are neither as in the state nor as one of the operations after 'count',
 * up to 'end', leaves them. 'report': each is printed. */
static uint64_t job_differences(const Job *j, const Disk *d, const uint64_t *state, uint64_t count,
                                uint64_t end, bool report)
{
    uint64_t differences = 0, *ok = calloc(d->sectors, sizeof *ok);

    for (uint64_t i = 0; i < d->sectors; i++) {
        ok[i] = d->found[i] == state[i];
    }
    for (uint64_t number = count + 1; number <= end; number++) {
        Op op = job_op(j, number);

        for (unsigned i = 0; i < op.sectors; i++) {
            ok[op.sector + i] |= d->found[op.sector + i] == (op.zero ? 0 : number);
        }
    }
    for (uint64_t i = 0; i < d->sectors; i++) {
        if (job_owns(j, i) && !ok[i] && ++differences <= 10 && report) {
            printf("diskload: job %u: sector %" PRIu64 " is of operation %" PRId64 ", not %" PRIu64
                   " (%" PRIu64 " are sure)\n",
                   j->job, i, (int64_t)d->found[i], state[i], count);
        }
    }
    free(ok);
    return differences;
}

static int job_check(const Job *j, const Disk *d, uint64_t count)
{
    uint64_t *state = calloc(d->sectors, sizeof *state), last = job_last(j, d), differences;

    for (uint64_t i = 1; i <= count; i++) {
        state_apply(state, j, i);
    }
    differences = job_differences(j, d, state, count, (last > count ? last : count) + BEHIND, true);
    printf("diskload: job %u: %" PRIu64 " operations are sure, the last is %" PRIu64 ", %" PRIu64
           " sectors are wrong\n",
           j->job, count, last, differences);
    free(state);
    return differences != 0;
}

static int job_moment(const Job *j, const Disk *d)
{
    uint64_t *state = calloc(d->sectors, sizeof *state), last = job_last(j, d);
    uint64_t fewest = UINT64_MAX, at = 0, from = last > 0 ? last - 1 : 0;

    for (uint64_t i = 1; i < from; i++) {
        state_apply(state, j, i);
    }
    /* The latest one that fits. Zeroes do not say whose they are: it may be behind 'last'. */
    for (uint64_t count = from; count <= last + BEHIND; count++) {
        uint64_t differences;

        if (count > 0) {
            state_apply(state, j, count);
        }
        differences = job_differences(j, d, state, count, count + 1, false);
        if (differences <= fewest) {
            fewest = differences;
            at = count;
        }
    }
    printf("diskload: job %u: %" PRIu64 " operations, %" PRIu64 " sectors are of another moment\n",
           j->job, at, fewest);
    free(state);
    return fewest != 0;
}

/* Without counts it is a moment. */
static int disk_judge(const char *path, uint64_t seed, char **counts)
{
    int result = 0;
    Disk d;

    if (disk_load(&d, path, seed)) {
        return 1;
    }
    for (unsigned i = 0; i < JOBS; i++) {
        Job job = {seed, d.sectors * SECTOR / GROUP / JOBS, i};

        result |= counts ? job_check(&job, &d, strtoull(counts[i], NULL, 0)) : job_moment(&job, &d);
    }
    free(d.found);
    return result;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;

    if (argc == 6 && !strcmp(argv[1], "write") && strchr(argv[2], '/')) {
        return disk_write(argv[2], seed, !strcmp(argv[4], "through"), atoi(argv[5]));
    }
    if (argc == 4 + JOBS && !strcmp(argv[1], "check")) {
        return disk_judge(argv[2], seed, argv + 4);
    }
    if (argc == 4 && !strcmp(argv[1], "moment")) {
        return disk_judge(argv[2], seed, NULL);
    }
    fputs("usage: diskload write DEVICE SEED through|back N\n"
          "       diskload check FILE SEED COUNT...\n"
          "       diskload moment FILE SEED\n",
          stderr);
    return 2;
}
