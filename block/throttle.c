/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups of leaky buckets and their members: block/throttle.h. One lock a group guards buckets and
 * queues. A timer of the main loop serves the queues: each direction in the order of its members,
 * one request of each in turn.
 */
#include "block/throttle.h"
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"

/* Values a second that QEMU takes at most. */
#define THROTTLE_MAX 1000000000000000ULL

typedef struct ThrottleWaiter {
    struct ThrottleWaiter *next;
    Coroutine *co;
    uint64_t bytes;
    bool granted;
} ThrottleWaiter;

struct ThrottleMember {
    ThrottleGroup *group;
    unsigned refs;                       /* main thread */
    unsigned lifted;                     /* under the group's lock, as all below */
    ThrottleMember *next;                /* in the group's ring */
    ThrottleWaiter *first[2], **last[2]; /* reads, writes: in order of arrival */
};

typedef struct {
    double level, burst_level;
} Bucket;

struct ThrottleGroup {
    char *name;
    unsigned refs;
    unsigned *users; /* counts refs after the object's own; or NULL */
    ClockType clock;
    Timer *timer;
    GMutex lock;
    ThrottleConfig config;
    Bucket buckets[THROTTLE_KINDS];
    int64_t leaked_ns;       /* up to when the buckets have leaked */
    unsigned queued[2];      /* requests that wait */
    ThrottleMember *turn[2]; /* who was served last; NULL: no members */
    bool write_first;        /* the direction that was served last makes way */
};

/* Main thread. */
static GPtrArray *groups;

/* --- limits --- */

const char *const throttle_names[] = {"iops-total",
                                      "iops-total-max",
                                      "iops-total-max-length",
                                      "iops-read",
                                      "iops-read-max",
                                      "iops-read-max-length",
                                      "iops-write",
                                      "iops-write-max",
                                      "iops-write-max-length",
                                      "bps-total",
                                      "bps-total-max",
                                      "bps-total-max-length",
                                      "bps-read",
                                      "bps-read-max",
                                      "bps-read-max-length",
                                      "bps-write",
                                      "bps-write-max",
                                      "bps-write-max-length",
                                      "iops-size",
                                      NULL};

void throttle_config_init(ThrottleConfig *c)
{
    *c = (ThrottleConfig){0};
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        c->limits[i].length = 1;
    }
}

bool throttle_config_limits(const ThrottleConfig *c)
{
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        if (c->limits[i].avg) {
            return true;
        }
    }
    return false;
}

uint64_t *throttle_config_field(ThrottleConfig *c, const char *name)
{
    static const char *const kinds[THROTTLE_KINDS] = {"bps-total",  "bps-read",  "bps-write",
                                                      "iops-total", "iops-read", "iops-write"};

    if (g_str_equal(name, "iops-size")) {
        return &c->iops_size;
    }
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        const char *rest = name + strlen(kinds[i]);

        if (!g_str_has_prefix(name, kinds[i])) {
            continue;
        }
        return !*rest                             ? &c->limits[i].avg
               : g_str_equal(rest, "-max")        ? &c->limits[i].max
               : g_str_equal(rest, "-max-length") ? &c->limits[i].length
                                                  : NULL;
    }
    return NULL;
}

/* A limit of both directions together, and one of a single direction. */
static bool total_and_single(const ThrottleConfig *c, ThrottleKind total)
{
    const ThrottleLimit *l = &c->limits[total];

    return (l[0].avg && (l[1].avg || l[2].avg)) || (l[0].max && (l[1].max || l[2].max));
}

static bool limit_check(const ThrottleLimit *l, GError **err)
{
    if (l->avg > THROTTLE_MAX || l->max > THROTTLE_MAX) {
        return error_set(err, "bps/iops/max values must be within [0, %llu]", THROTTLE_MAX);
    }
    if (!l->length) {
        return error_set(err, "the burst length cannot be 0");
    }
    if (l->length > 1 && !l->max) {
        return error_set(err, "burst length set without burst rate");
    }
    if (l->max && l->length > THROTTLE_MAX / l->max) {
        return error_set(err, "burst length too high for this burst rate");
    }
    if (l->max && !l->avg) {
        return error_set(err, "bps_max/iops_max require corresponding bps/iops values");
    }
    if (l->max && l->max < l->avg) {
        return error_set(err, "bps_max/iops_max cannot be lower than bps/iops");
    }
    return true;
}

bool throttle_config_check(const ThrottleConfig *c, GError **err)
{
    if (total_and_single(c, THROTTLE_BPS_TOTAL) || total_and_single(c, THROTTLE_IOPS_TOTAL)) {
        return error_set(err, "bps/iops/max total values and read/write values cannot be used at "
                              "the same time");
    }
    if (c->iops_size && !c->limits[THROTTLE_IOPS_TOTAL].avg && !c->limits[THROTTLE_IOPS_READ].avg &&
        !c->limits[THROTTLE_IOPS_WRITE].avg) {
        return error_set(err, "iops size requires an iops value to be set");
    }
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        if (!limit_check(&c->limits[i], err)) {
            return false;
        }
    }
    return true;
}

/* --- buckets, under the lock --- */

static void buckets_leak(ThrottleGroup *g, int64_t now)
{
    double seconds = (double)(now - g->leaked_ns) / NS_PER_SEC;

    if (now <= g->leaked_ns) {
        return;
    }
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        const ThrottleLimit *l = &g->config.limits[i];
        Bucket *b = &g->buckets[i];

        b->level = MAX(b->level - l->avg * seconds, 0);
        b->burst_level = l->length > 1 ? MAX(b->burst_level - l->max * seconds, 0) : 0;
    }
    g->leaked_ns = now;
}

/* The buckets that a request of a direction goes through. */
static bool kind_concerns(ThrottleKind kind, bool write)
{
    return kind == THROTTLE_BPS_TOTAL || kind == THROTTLE_IOPS_TOTAL ||
           write == (kind == THROTTLE_BPS_WRITE || kind == THROTTLE_IOPS_WRITE);
}

/* Seconds until the bucket has room. */
static double bucket_wait(const ThrottleLimit *l, const Bucket *b)
{
    /* Without a burst a tenth of a second's worth goes at once: else each request would wait. */
    double room = l->max ? (double)l->max * l->length : l->avg / 10.0;

    if (!l->avg) {
        return 0;
    }
    if (b->level > room) {
        return (b->level - room) / l->avg;
    }
    return l->length > 1 ? MAX((b->burst_level - l->max / 10.0) / l->max, 0) : 0;
}

/* 0: a request may go now. */
static int64_t group_wait_ns(const ThrottleGroup *g, bool write)
{
    double seconds = 0, ns;

    for (int i = 0; i < THROTTLE_KINDS; i++) {
        if (kind_concerns(i, write)) {
            seconds = MAX(seconds, bucket_wait(&g->config.limits[i], &g->buckets[i]));
        }
    }
    ns = seconds * NS_PER_SEC;
    /* Rounded up: a wait that ends too early is one more. */
    return ns < (double)INT64_MAX / 4 ? (int64_t)ns + ((int64_t)ns < ns) : INT64_MAX / 4;
}

static void group_account(ThrottleGroup *g, bool write, uint64_t bytes)
{
    const uint64_t size = g->config.iops_size;
    double operations = size && bytes > size ? (double)bytes / size : 1;

    for (int i = 0; i < THROTTLE_KINDS; i++) {
        if (kind_concerns(i, write)) {
            double amount = i < THROTTLE_IOPS_TOTAL ? bytes : operations;
            g->buckets[i].level += amount;
            g->buckets[i].burst_level += amount;
        }
    }
}

/* --- queues, under the lock --- */

static void queue_push(ThrottleMember *m, bool write, ThrottleWaiter *w)
{
    *m->last[write] = w;
    m->last[write] = &w->next;
    m->group->queued[write]++;
}

static void queue_grant_first(ThrottleMember *m, bool write)
{
    ThrottleWaiter *w = m->first[write];

    m->first[write] = w->next;
    if (!w->next) {
        m->last[write] = &m->first[write];
    }
    m->group->queued[write]--;
    group_account(m->group, write, w->bytes);
    /* 'w' is on the waiter's stack: it may be gone once the lock is dropped. */
    w->granted = true;
    coroutine_wake(w->co);
}

/* Some member has a request that waits. */
static ThrottleMember *next_in_turn(ThrottleGroup *g, bool write)
{
    ThrottleMember *m = g->turn[write]->next;

    while (!m->first[write]) {
        m = m->next;
    }
    return m;
}

/* Lets go what may go, and arms the timer for the next. */
static void group_serve(ThrottleGroup *g)
{
    int64_t wait, now = clock_ns(g->clock);
    bool again;

    buckets_leak(g, now);
    do {
        again = false;
        wait = -1;
        for (int i = 0; !again && i < 2; i++) {
            bool write = i ? !g->write_first : g->write_first;
            int64_t ns = g->queued[write] ? group_wait_ns(g, write) : -1;

            if (ns == 0) {
                g->turn[write] = next_in_turn(g, write);
                queue_grant_first(g->turn[write], write);
                g->write_first = !write;
                again = true;
            } else if (ns > 0) {
                wait = wait < 0 ? ns : MIN(wait, ns);
            }
        }
    } while (again);
    if (wait > 0) {
        timer_arm(g->timer, now + wait);
    } else {
        timer_cancel(g->timer);
    }
}

static void group_timer(void *data)
{
    ThrottleGroup *g = data;

    g_mutex_lock(&g->lock);
    group_serve(g);
    g_mutex_unlock(&g->lock);
}

void coroutine_fn throttle_wait(ThrottleMember *m, bool write, uint64_t bytes)
{
    ThrottleGroup *g = m->group;
    ThrottleWaiter w = {.co = coroutine_self(), .bytes = bytes};

    g_mutex_lock(&g->lock);
    buckets_leak(g, clock_ns(g->clock));
    if (m->lifted || (!g->queued[write] && group_wait_ns(g, write) == 0)) {
        group_account(g, write, bytes);
        g_mutex_unlock(&g->lock);
        return;
    }
    queue_push(m, write, &w);
    group_serve(g);
    while (!w.granted) {
        g_mutex_unlock(&g->lock);
        coroutine_yield();
        g_mutex_lock(&g->lock);
    }
    coroutine_wait_over();
    g_mutex_unlock(&g->lock);
}

/* --- members --- */

static void ring_add(ThrottleMember *m)
{
    ThrottleGroup *g = m->group;

    g_mutex_lock(&g->lock);
    if (g->turn[0]) {
        m->next = g->turn[0]->next;
        g->turn[0]->next = m;
    } else {
        m->next = g->turn[0] = g->turn[1] = m;
    }
    g_mutex_unlock(&g->lock);
}

static void ring_remove(ThrottleMember *m)
{
    ThrottleGroup *g = m->group;
    ThrottleMember *before = m;

    g_mutex_lock(&g->lock);
    g_assert(!m->first[0] && !m->first[1]);
    while (before->next != m) {
        before = before->next;
    }
    before->next = m->next;
    for (int i = 0; i < 2; i++) {
        if (g->turn[i] == m) {
            g->turn[i] = before == m ? NULL : before;
        }
    }
    g_mutex_unlock(&g->lock);
}

ThrottleMember *throttle_member_new(ThrottleGroup *g)
{
    ThrottleMember *m = g_new0(ThrottleMember, 1);

    m->refs = 1;
    m->group = throttle_group_ref(g);
    for (int i = 0; i < 2; i++) {
        m->last[i] = &m->first[i];
    }
    ring_add(m);
    return m;
}

ThrottleMember *throttle_member_ref(ThrottleMember *m)
{
    m->refs++;
    return m;
}

void throttle_member_unref(ThrottleMember *m)
{
    if (m && --m->refs == 0) {
        ring_remove(m);
        throttle_group_unref(m->group);
        g_free(m);
    }
}

ThrottleGroup *throttle_member_group(ThrottleMember *m)
{
    return m->group;
}

void throttle_member_move(ThrottleMember *m, ThrottleGroup *g)
{
    ThrottleGroup *old = m->group;

    ring_remove(m);
    m->group = throttle_group_ref(g);
    ring_add(m);
    throttle_group_unref(old);
}

void throttle_member_lift(ThrottleMember *m)
{
    g_mutex_lock(&m->group->lock);
    m->lifted++;
    for (int i = 0; i < 2; i++) {
        while (m->first[i]) {
            queue_grant_first(m, i);
        }
    }
    g_mutex_unlock(&m->group->lock);
}

void throttle_member_unlift(ThrottleMember *m)
{
    g_mutex_lock(&m->group->lock);
    g_assert(m->lifted);
    m->lifted--;
    g_mutex_unlock(&m->group->lock);
}

/* --- groups --- */

ThrottleGroup *throttle_group_find(const char *name)
{
    for (unsigned i = 0; groups && i < groups->len; i++) {
        ThrottleGroup *g = groups->pdata[i];
        if (g_str_equal(g->name, name)) {
            return g;
        }
    }
    return NULL;
}

ThrottleGroup *throttle_group_get(const char *name)
{
    ThrottleGroup *g = throttle_group_find(name);

    if (g) {
        return throttle_group_ref(g);
    }
    g = g_new0(ThrottleGroup, 1);
    g->name = g_strdup(name);
    g->refs = 1;
    g->clock = virtual_clock_is_manual() ? CLOCK_VIRTUAL_NS : CLOCK_REALTIME_NS;
    g->timer = timer_new(event_loop_current(), g->clock, group_timer, g);
    g_mutex_init(&g->lock);
    throttle_config_init(&g->config);
    g->leaked_ns = clock_ns(g->clock);
    if (!groups) {
        groups = g_ptr_array_new();
    }
    g_ptr_array_add(groups, g);
    return g;
}

ThrottleGroup *throttle_group_ref(ThrottleGroup *g)
{
    g->refs++;
    if (g->users) {
        ++*g->users;
    }
    return g;
}

void throttle_group_count_users(ThrottleGroup *g, unsigned *users)
{
    g->users = users;
}

void throttle_group_unref(ThrottleGroup *g)
{
    if (!g) {
        return;
    }
    if (g->users) {
        --*g->users;
    }
    if (--g->refs) {
        return;
    }
    g_ptr_array_remove(groups, g);
    if (!groups->len) {
        g_clear_pointer(&groups, g_ptr_array_unref);
    }
    timer_free(g->timer);
    g_mutex_clear(&g->lock);
    g_free(g->name);
    g_free(g);
}

const char *throttle_group_name(const ThrottleGroup *g)
{
    return g->name;
}

void throttle_group_config(ThrottleGroup *g, ThrottleConfig *c)
{
    g_mutex_lock(&g->lock);
    *c = g->config;
    g_mutex_unlock(&g->lock);
}

void throttle_group_set_config(ThrottleGroup *g, const ThrottleConfig *c)
{
    g_mutex_lock(&g->lock);
    g->config = *c;
    memset(g->buckets, 0, sizeof g->buckets);
    g->leaked_ns = clock_ns(g->clock);
    group_serve(g);
    g_mutex_unlock(&g->lock);
}
