/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connected stream socket, read and written by coroutines: one reader and one writer at a time.
 * It is attached to one loop, where both run, and may be attached to another one later. Private to
 * block/.
 */
#ifndef BLOCK_NBD_STREAM_H
#define BLOCK_NBD_STREAM_H

#include <stdbool.h>
#include <sys/uio.h>
#include "base/coroutine.h"
#include "base/tls.h"

typedef struct NbdStream NbdStream;

/* Takes the descriptor over. */
NbdStream *nbd_stream_new(int fd);
/* Detached. */
void nbd_stream_free(NbdStream *s);
/* On the loop's thread. 'detach': no coroutine reads or writes. */
void nbd_stream_attach(NbdStream *s);
void nbd_stream_detach(NbdStream *s);

/*
 * From now on what is read and written is encrypted. 'creds' outlive the stream; 'hostname' is that
 * of tls_session_new(). False: the peer and this end do not come together, and the stream is of no
 * use any more.
 */
bool coroutine_fn nbd_stream_start_tls(NbdStream *s, const TlsCreds *creds, const char *hostname,
                                       GError **err);
/* tls_session_peer_name() of a stream that is encrypted. */
char *nbd_stream_peer_name(const NbdStream *s, GError **err);
/* Says that nothing more will be written. */
void coroutine_fn nbd_stream_bye(NbdStream *s);

/* At least 'min' bytes, at most 'max'. Their number, or -errno; -EPIPE: the peer has ended. */
ssize_t coroutine_fn nbd_stream_read(NbdStream *s, void *buf, size_t min, size_t max);
/* All bytes of the vector, which is changed. 0 or -errno. */
int coroutine_fn nbd_stream_write(NbdStream *s, struct iovec *iov, unsigned n);
/* From now on reads and writes end, those that wait too. Any thread. */
void nbd_stream_shutdown(NbdStream *s);

#endif
