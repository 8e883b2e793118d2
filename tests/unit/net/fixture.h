/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A main loop, and a NIC that keeps the frames that it receives. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <stdbool.h>
#include "../base/unit.h"
#include "net/net.h"

typedef struct {
    NetPeer peer;
    GPtrArray *frames; /* GBytes */
    unsigned room;     /* how many packets receive() takes before it returns 0 */
    int ready, link_changes;
} Nic;

extern EventLoop *loop;

void fixture_setup(void);
void fixture_teardown(void);
/* A NIC that is enabled to receive, with much room, joined with a queue of a netdev. */
Nic *nic_new(const char *name, const char *netdev);
/* Teardown frees the NICs that are left. */
void nic_free(Nic *nic);
const uint8_t *nic_frame(Nic *nic, unsigned i, size_t *len);
void nic_clear(Nic *nic);
void nic_send(Nic *nic, const void *data, size_t len);
/* -netdev / -nic / -net text */
bool netdev_text(const char *text, GError **err);
json_t *config_text(const char *text);
#define run_until(cond)                                                                            \
    do {                                                                                           \
        gint64 end_ = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;                                \
        while (!(cond)) {                                                                          \
            event_loop_iterate(loop, 20000000);                                                    \
            ck_assert_msg(g_get_monotonic_time() < end_, "waited too long for %s", #cond);         \
        }                                                                                          \
    } while (0)
void run_for_ms(int ms);
int run_suite(const char *name, const TTest *const *tests);

#endif
