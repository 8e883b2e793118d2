/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices whose open() waits in a monitor's command: for a client, a connection or a host name. The
 * loop goes on meanwhile. The wait can be cancelled: by 'chardev-remove' from another monitor, and
 * by the end of the program.
 */
#include <string.h>
#include "base/coroutine.h"
#include "base/error.h"
#include "base/util.h"
#include "internal.h"

static GList *openings; /* of Chardev, from chardev_open() */
static bool ending;     /* no open() waits any more */
static unsigned jobs;   /* that are with the pool, those of cancelled openings too */

static void opening_cancel(Chardev *chr, const char *why)
{
    chr->cancelled = why;
    opening_wake(chr);
}

bool chardev_open(Chardev *chr, void *options, GError **err)
{
    bool ok;

    if (!chr->class->open) {
        return true;
    }
    chr->cancelled = ending ? "the program ends" : NULL;
    openings = g_list_prepend(openings, chr);
    ok = chr->class->open(chr, options, err);
    openings = g_list_remove(openings, chr);
    return ok;
}

bool coroutine_fn opening_wait(Chardev *chr, bool (*done)(Chardev *chr), GError **err)
{
    chr->opener = coroutine_self();
    while (!chr->cancelled && !done(chr)) {
        coroutine_yield();
    }
    coroutine_wait_over();
    chr->opener = NULL;
    return !chr->cancelled ||
           error_set(err, "chardev '%s' was not opened: %s", chr->label, chr->cancelled);
}

void opening_wake(Chardev *chr)
{
    if (chr->opener) {
        coroutine_wake(chr->opener);
    }
}

bool opening_remove(const char *id)
{
    g_autofree char *below = g_strdup_printf("%s-base", id); /* the mux itself never waits */
    bool found = false;

    for (GList *l = openings; l; l = l->next) {
        Chardev *chr = l->data;

        if (!strcmp(chr->label, id) || !strcmp(chr->label, below)) {
            opening_cancel(chr, "'chardev-remove' came first");
            found = true;
        }
    }
    return found;
}

void chardev_cancel_openings(void)
{
    ending = true;
    for (GList *l = openings; l; l = l->next) {
        opening_cancel(l->data, "the program ends");
    }
}

void opening_reset(void)
{
    ending = false;
}

/* Work that blocks. */

static int opening_job_run(void *data)
{
    OpeningJob *job = data;

    job->fd = job->run(job, &job->err);
    return 0;
}

static void opening_job_free(OpeningJob *job)
{
    fd_close(&job->fd);
    g_clear_error(&job->err);
    job->free(job);
}

static void opening_job_done(void *data, int result)
{
    OpeningJob *job = data;

    jobs--;
    if (job->chr) {
        job->chr->job = NULL;
        opening_wake(job->chr);
    } else {
        opening_job_free(job); /* the opening was cancelled meanwhile */
    }
}

unsigned opening_jobs(void)
{
    return jobs;
}

static bool opening_job_is_done(Chardev *chr)
{
    return !chr->job;
}

int opening_work(Chardev *chr, OpeningJob *job, GError **err)
{
    int fd;

    job->fd = -1;
    if (in_coroutine()) {
        job->chr = chr;
        chr->job = job;
        jobs++;
        pool_run(opening_job_run, job, opening_job_done);
        if (!opening_wait(chr, opening_job_is_done, err)) {
            if (chr->job) {
                chr->job = NULL;
                job->chr = NULL; /* opening_job_done() frees the job */
            } else {
                opening_job_free(job);
            }
            return -1;
        }
    } else {
        opening_job_run(job);
    }
    if (job->err) {
        g_propagate_error(err, g_steal_pointer(&job->err));
    }
    fd = job->fd;
    job->fd = -1;
    opening_job_free(job);
    return fd;
}
