/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A capture file in the format of libpcap (draft-gharris-opsawg-pcap), for the packets of a
 * network. Packets are written together, at the end of a turn of the loop. A file that takes no
 * more (a full disk) ends with a whole packet, and is said once. Main loop only.
 */
#ifndef NET_PCAP_H
#define NET_PCAP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct Pcap Pcap;

/*
 * Makes or empties the file. A pipe that somebody reads will do. 'what' is said in warnings
 * ("filter-dump 'f0'"). At most 'maxlen' bytes of each packet are kept.
 */
Pcap *pcap_open(const char *path, uint32_t maxlen, const char *what, GError **err);
void pcap_close(Pcap *p); /* NULL is ignored */
/* A packet, without the first 'skip' bytes of iov. */
void pcap_packet(Pcap *p, const struct iovec *iov, unsigned n, size_t skip);
/* The last packet was not sent after all. */
void pcap_unsent(Pcap *p);
/* Whether the file has failed, and takes no more packets; and another try, after that. */
bool pcap_failed(const Pcap *p);
void pcap_retry(Pcap *p);

#endif
