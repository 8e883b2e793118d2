/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * schedule-explorer: runs scenarios by their seeds, each in a process of its own, and says which
 * failed, how, and with what command they replay.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"
#include "programs.h"
#include "world.h"

enum {
    HOOKS_MAX = 5000000,
    SECONDS_MAX = 120, /* of one run, for real: a hang that the baton cannot see */
    JOBS_MAX = 16,
    OUTPUT_MAX = 65536,
    FRAMES_MAX = 24,
    REPEAT_EVERY = 50, /* of the seeds one in so many runs twice, and must make equal runs */
};

/*
 * Faults that are known and not mended yet: how what they print looks. An operation that brings
 * one out names it in its table, or asks world_shows(): the ordinary run is without it. With --all
 * the names are told. Whoever mends one takes it out here and there.
 */
typedef struct {
    const char *name, *looks; /* a regular expression */
} KnownFault;

static const KnownFault known_faults[] = {
    {NULL, NULL},
};

extern char __executable_start; /* the linker's */

static struct {
    uint64_t first, last;
    unsigned jobs;
    bool all, wild, points, threads, trace, notes, quiet, here;
    const char *only, *only_text, *skip, *skip_text; /* ",a,b,"; "a,b" */
    const char *program;
    const char *self;
} options = {.first = 1, .last = 100, .jobs = 1};

typedef struct {
    pid_t pid; /* 0: free */
    uint64_t seed, hash;
    FILE *output;
    int report; /* a pipe: the hash */
    bool second;
    uint64_t first_hash;
} Job;

static void on_alarm(int sig)
{
    static const char text[] = "FAILED: it hangs, and the baton does not see why\n";
    ssize_t n = write(2, text, sizeof text - 1);

    (void)n;
    baton_print_threads();
    _exit(BATON_LIVELOCK);
}

/* The sanitizers tell more of it themselves. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* What killed the process, by addresses: the parent asks for their names. */
static void on_crash(int sig)
{
    void *frames[FRAMES_MAX];
    int n = backtrace(frames, FRAMES_MAX);

    dprintf(2, "FAILED: %s\n", strsignal(sig));
    for (int i = 2; i < n; i++) {
        /* The call, not where it returns to. */
        dprintf(2, "frame %p\n", (void *)((char *)frames[i] - (char *)&__executable_start - 1));
    }
    baton_print_threads();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void catch_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP};
    void *frames[2];

    backtrace(frames, 2); /* loads what it needs */
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        signal(signals[i], on_crash);
    }
}
#else
static void catch_crashes(void)
{
}
#endif

/* "frame 0x1234" lines become names of functions with their lines, where addr2line is there. */
static char *with_names(const char *output)
{
    g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
    g_autoptr(GString) text = g_string_new("");

    for (char **line = lines; *line; line++) {
        g_autofree char *command = NULL, *named = NULL;

        if (g_str_has_prefix(*line, "frame ")) {
            command = g_strdup_printf("addr2line -f -p -s -e /proc/%d/exe %s", getpid(), *line + 6);
            if (g_spawn_command_line_sync(command, &named, NULL, NULL, NULL) && named) {
                g_string_append_printf(text, "    %s", named);
                continue;
            }
        }
        g_string_append_printf(text, "%s%s", *line, line[1] ? "\n" : "");
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void print_config(const WorldConfig *c)
{
    static const char *const usb[] = {"", ", a stick at UHCI", ", a stick at a hub at UHCI",
                                      ", a stick at EHCI", ", a stick at xHCI"};

    dprintf(2,
            "%u CPUs, %u monitors, %u I/O threads, %u disks with %u queues of %u%s%s%s%s%s%s%s%s, "
            "%u IDE disks%s%s%s%s\n",
            c->cpus, c->monitors, c->iothreads, c->disks, c->queues, c->queue_size,
            c->packed ? ", packed" : "", c->event_idx ? ", event indices" : "",
            c->ioeventfd ? ", ioeventfd" : "", c->error_in ? ", EIO" : "",
            c->nospace_in ? ", ENOSPC" : "",
            c->stops && (c->error_in || c->nospace_in) ? ", werror=stop" : "",
            c->saves ? ", saves" : "", c->intx ? ", INTx" : "", c->ide_disks, usb[c->usb],
            c->floppy ? ", a floppy disk" : "", c->wild ? ", wild" : "",
            c->points ? ", trace points" : "");
}

static void run_here(uint64_t seed)
{
    world.config.all = options.all;
    world.config.wild = options.wild;
    world.config.points = options.points;
    world.config.only = options.only;
    world.config.skip = options.skip;
    world_configure(&world.config, seed);
    if (!options.program) {
        print_config(&world.config);
    }
    if (world.config.points && log_set_file("/dev/null", NULL)) {
        g_free(trace_switch("*"));
    }
    /* GLib keeps these, under a lock that ThreadSanitizer does not see. */
    g_assert(*g_strerror(ENOSPC) && *g_strerror(EIO));
    signal(SIGALRM, on_alarm);
    catch_crashes();
    alarm(SECONDS_MAX);
    if (options.trace || options.notes) {
        baton_trace(1, options.trace);
    }
    if (!options.threads) {
        baton_start(seed, HOOKS_MAX);
    }
    if (!options.program) {
        world_run();
    } else if (!program_run(options.program)) {
        baton_fail("there is no program '%s'", options.program);
    }
}

static void job_start(Job *job, uint64_t seed)
{
    int pipes[2];

    job->seed = seed;
    job->hash = 0;
    job->output = tmpfile();
    if (!job->output || pipe(pipes) < 0) {
        perror("schedule-explorer");
        exit(1);
    }
    fflush(NULL);
    job->pid = fork();
    if (job->pid == 0) {
        uint64_t hash;

        dup2(fileno(job->output), 2);
        close(pipes[0]);
        run_here(seed);
        hash = baton_hash();
        _exit(write(pipes[1], &hash, sizeof hash) != sizeof hash);
    }
    close(pipes[1]);
    job->report = pipes[0];
}

static const char *known_as(const char *output)
{
    for (const KnownFault *k = known_faults; k->name; k++) {
        if (g_regex_match_simple(k->looks, output, G_REGEX_DOTALL, 0)) {
            return k->name;
        }
    }
    return NULL;
}

/* How the process ended, in words; NULL: well. */
static const char *ending(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status)) {
        snprintf(text, size, "%s", strsignal(WTERMSIG(status)));
        return text;
    }
    switch (WEXITSTATUS(status)) {
    case 0:
        return NULL;
    case BATON_DEADLOCK:
        return "deadlock";
    case BATON_LIVELOCK:
        return "livelock";
    case BATON_ORACLE:
        return "an oracle";
    default:
        snprintf(text, size, "status %d", WEXITSTATUS(status));
        return text;
    }
}

static void print_replay(uint64_t seed)
{
    printf("replay: %s --seeds %lu%s%s%s%s%s%s%s%s%s%s\n", options.self, (unsigned long)seed,
           options.all ? " --all" : "", options.wild ? " --wild" : "",
           options.points ? " --points" : "", options.threads ? " --threads" : "",
           options.only ? " --only " : "", options.only ? options.only_text : "",
           options.skip ? " --skip " : "", options.skip ? options.skip_text : "",
           options.program ? " --program " : "", options.program ? options.program : "");
}

/* False: it failed. */
static bool job_end(Job *job, int status)
{
    g_autofree char *output = g_malloc0(OUTPUT_MAX + 1);
    char text[64];
    const char *how = ending(status, text, sizeof text);

    if (read(job->report, &job->hash, sizeof job->hash) < 0) {
        job->hash = 0;
    }
    close(job->report);
    rewind(job->output);
    output[fread(output, 1, OUTPUT_MAX, job->output)] = 0;
    fclose(job->output);
    job->pid = 0;
    if (!how && job->second && job->hash != job->first_hash) {
        how = "two runs of one seed differ";
    }
    if (!how) {
        return true;
    }
    g_autofree char *named = with_names(output);
    const char *known = known_as(named);
    printf("seed %lu failed: %s%s%s\n", (unsigned long)job->seed, how, known ? "; known as " : "",
           known ? known : "");
    if (!options.quiet) {
        fputs(named, stdout);
    }
    print_replay(job->seed);
    fflush(stdout);
    return false;
}

static Job *job_find(Job jobs[], pid_t pid)
{
    for (unsigned i = 0; i < options.jobs; i++) {
        if (jobs[i].pid == pid) {
            return &jobs[i];
        }
    }
    return NULL;
}

/* The number of seeds that failed. */
static unsigned run_all(void)
{
    Job jobs[JOBS_MAX] = {0};
    uint64_t next = options.first;
    unsigned running = 0, failed = 0;

    while (next <= options.last || running) {
        Job *job = next <= options.last ? job_find(jobs, 0) : NULL;
        int status;
        pid_t pid;

        if (job) {
            job->second = false;
            job_start(job, next++);
            running++;
            continue;
        }
        pid = wait(&status);
        job = pid > 0 ? job_find(jobs, pid) : NULL;
        if (!job) {
            continue;
        }
        running--;
        if (!job_end(job, status)) {
            failed++;
        } else if (!job->second && !options.threads && job->seed % REPEAT_EVERY == 0) {
            job->second = true;
            job->first_hash = job->hash;
            job_start(job, job->seed);
            running++;
        }
    }
    return failed;
}

static void usage(void)
{
    puts("usage: schedule-explorer [--seeds A-B] [--jobs N] [--all] [--wild] [--points]\n"
         "                         [--threads] [--only OP,OP...] [--skip OP,...] [--quiet] "
         "[--notes] [--trace]\n"
         "                         [--here]\n\n"
         "  --seeds    which to run (1-100)\n"
         "  --all      operations that bring known faults out, too\n"
         "  --wild     in each a CPU writes anything to registers of the old devices\n"
         "  --points   in each all trace points are on\n"
         "  --threads  without the baton: real threads, real time\n"
         "  --only     these operations alone (of guest_ops.c and operator.c), and known faults by "
         "name\n"
         "  --skip     all but these; with --all, but these faults\n"
         "  --program  a small program instead of the machine: co-queue, bh-cancel\n"
         "  --quiet    a line and a replay command for each failure\n"
         "  --notes    what guest and monitors do, on standard output\n"
         "  --trace    every decision, too\n"
         "  --here     the first seed, in this process (for a debugger)");
}

static bool parse_seeds(const char *text)
{
    char *end;

    options.first = options.last = strtoull(text, &end, 10);
    if (*end == '-') {
        options.last = strtoull(end + 1, &end, 10);
    }
    return !*end && options.first <= options.last;
}

static const struct option long_options[] = {{"seeds", required_argument, NULL, 's'},
                                             {"jobs", required_argument, NULL, 'j'},
                                             {"only", required_argument, NULL, 'o'},
                                             {"skip", required_argument, NULL, 'S'},
                                             {"program", required_argument, NULL, 'p'},
                                             {"all", no_argument, NULL, 'a'},
                                             {"wild", no_argument, NULL, 'w'},
                                             {"points", no_argument, NULL, 'P'},
                                             {"threads", no_argument, NULL, 't'},
                                             {"trace", no_argument, NULL, 'T'},
                                             {"quiet", no_argument, NULL, 'q'},
                                             {"notes", no_argument, NULL, 'n'},
                                             {"here", no_argument, NULL, 'H'},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

static bool parse_options(int argc, char **argv)
{
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (c) {
        case 's':
            if (!parse_seeds(optarg)) {
                return false;
            }
            break;
        case 'j':
            options.jobs = CLAMP(atoi(optarg), 1, JOBS_MAX);
            break;
        case 'o':
            options.only_text = optarg;
            options.only = g_strdup_printf(",%s,", optarg);
            break;
        case 'p':
            options.program = optarg;
            break;
        case 'S':
            options.skip_text = optarg;
            options.skip = g_strdup_printf(",%s,", optarg);
            break;
        case 'a':
            options.all = true;
            break;
        case 'w':
            options.wild = true;
            break;
        case 'P':
            options.points = true;
            break;
        case 't':
            options.threads = true;
            break;
        case 'T':
            options.trace = true;
            break;
        case 'n':
            options.notes = true;
            break;
        case 'q':
            options.quiet = true;
            break;
        case 'H':
            options.here = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

/*
 * Starts the program again with what it needs from its beginning: addresses that are equal in every
 * run, for what is sorted or hashed by them; no slices of GLib's, which carry memory from thread to
 * thread where ThreadSanitizer does not see it.
 */
static void start_again(char **argv)
{
    int now = personality(0xffffffff);

    if (!g_getenv("G_SLICE") ||
        (now >= 0 && !(now & ADDR_NO_RANDOMIZE) && personality(now | ADDR_NO_RANDOMIZE) >= 0)) {
        g_setenv("G_SLICE", "always-malloc", TRUE);
        execv("/proc/self/exe", argv);
    }
}

int main(int argc, char **argv)
{
    unsigned failed;

    options.self = argv[0];
    if (!parse_options(argc, argv)) {
        usage();
        return 2;
    }
    start_again(argv);
    if (options.here) {
        run_here(options.first);
        return 0;
    }
    failed = run_all();
    printf("%lu seeds, %u failed\n", (unsigned long)(options.last - options.first + 1), failed);
    return failed ? 1 : 0;
}
