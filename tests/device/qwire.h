/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other end of a network card's cable: the test sends and receives frames. The wire is a pair
 * of UNIX datagram sockets, or a tap in a network namespace of the test's own.
 */
#ifndef TESTS_QWIRE_H
#define TESTS_QWIRE_H

#include <linux/virtio_net.h>
#include "qtest_client.h"

typedef struct {
    int fd;
    bool tap;
    char *args; /* of -netdev, with the id "n0" */
} QWire;

/* The addresses at both ends. */
extern const uint8_t card_mac[6], peer_mac[6];

void qwire_open(QWire *w);
/*
 * A network namespace of the case's own, in which taps can be made. Skips the case where there can
 * be none: that takes root or user namespaces.
 */
void qwire_namespace(void);
/* In such a namespace. After the start of the program: qwire_tap_up(). */
void qwire_open_tap(QWire *w, const char *options);
void qwire_tap_up(QWire *w);
void qwire_close(QWire *w);

void qwire_send(QWire *w, const void *frame, size_t len);
/* The next frame (10 s at most); returns its length. */
size_t qwire_receive(QWire *w, void *frame, size_t max);
/* Whether no frame is there now. */
bool qwire_silent(QWire *w);
/* A tap's, with what the card leaves to do. */
size_t qwire_receive_header(QWire *w, struct virtio_net_hdr *header, void *frame, size_t max);
void qwire_send_header(QWire *w, const struct virtio_net_hdr *header, const void *frame,
                       size_t len);

/* Frames: TCP/IPv4 (or IPv6, UDP), with 'data' bytes that say their place. */
typedef struct {
    bool v6, udp, tag;
    uint8_t dst[6], src[6];
    size_t data;
    bool sums; /* with checksums; else the fields are 0 */
} QFrame;
/* Returns the frame's length. */
size_t qframe_make(const QFrame *f, uint8_t *frame);
size_t qframe_headers(const QFrame *f);
uint16_t qframe_sum(uint32_t sum, const uint8_t *data, size_t len);
/* Of addresses, protocol and length; not inverted. */
uint16_t qframe_pseudo(const QFrame *f, const uint8_t *frame, uint32_t len);
/* Whether IPv4's and the other header's checksums are right. */
void qframe_check_sums(const QFrame *f, const uint8_t *frame, size_t len);

#endif
