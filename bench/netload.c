// SPDX-License-Identifier: GPL-2.0-or-later
// Loads a network: both sides of bench/net.
//
//   netload -l PORT                      serves one client after the other, until it is killed
//   netload HOST PORT KIND SECONDS       KIND: tcp-out tcp-in udp-out udp-in requests
//
// 'out' is from the client. UDP datagrams have 64 bytes; what counts is what arrives. Requests and
// responses are one byte each, over TCP. The client prints the number of bytes, datagrams or
// requests, the nanoseconds, and this machine's interrupts and packets meanwhile.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "interrupts.h"

enum { BLOCK = 128 << 10, DATAGRAM = 64 };

static char buffer[BLOCK];
static struct sockaddr_in address = {.sin_family = AF_INET};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static uint64_t packets(void)
{
    static const char *const names[] = {
        "/sys/class/net/eth0/statistics/rx_packets", "/sys/class/net/eth0/statistics/tx_packets",
        "/sys/class/net/eth1/statistics/rx_packets", "/sys/class/net/eth1/statistics/tx_packets"};
    uint64_t sum = 0;

    for (int i = 0; i < 4; i++) {
        unsigned long long count = 0;
        FILE *file = fopen(names[i], "r");
        if (file && fscanf(file, "%llu", &count) == 1) {
            sum += count;
        }
        if (file) {
            fclose(file);
        }
    }
    return sum;
}

static void send_all(int fd, const void *data, size_t size)
{
    const char *next = data;

    while (size) {
        ssize_t n = send(fd, next, size, MSG_NOSIGNAL);
        if (n <= 0) {
            fail("send");
        }
        next += n;
        size -= (size_t)n;
    }
}

static void receive_all(int fd, void *data, size_t size)
{
    if (recv(fd, data, size, MSG_WAITALL) != (ssize_t)size) {
        fail("receive");
    }
}

/* Streams for so long; the other side counts, and says how much has come. */
static uint64_t stream_out(int fd, long long end)
{
    uint64_t count;

    while (now() < end) {
        send_all(fd, buffer, BLOCK);
    }
    shutdown(fd, SHUT_WR);
    receive_all(fd, &count, sizeof(count));
    return count;
}

static uint64_t stream_in(int fd)
{
    uint64_t count = 0;
    ssize_t n;

    while ((n = recv(fd, buffer, BLOCK, 0)) > 0) {
        count += (uint64_t)n;
    }
    return count;
}

static void datagrams_out(int fd, long long end)
{
    while (now() < end) {
        for (int i = 0; i < 16; i++) {
            if (send(fd, buffer, DATAGRAM, 0) < 0 && errno != ENOBUFS && errno != EAGAIN &&
                errno != ECONNREFUSED) {
                fail("datagram");
            }
        }
    }
}

/* Counts datagrams until something happens to the control connection. */
static uint64_t datagrams_in(int fd, int control)
{
    struct pollfd polled[2] = {{.fd = fd, .events = POLLIN}, {.fd = control, .events = POLLIN}};
    uint64_t count = 0;

    while (poll(polled, 2, -1) > 0) {
        while (recv(fd, buffer, DATAGRAM, MSG_DONTWAIT) > 0) {
            count++;
        }
        if (polled[1].revents) {
            return count;
        }
    }
    return count;
}

static uint64_t requests_out(int fd, long long end)
{
    uint64_t count = 0;

    for (; now() < end; count++) {
        send_all(fd, buffer, 1);
        receive_all(fd, buffer, 1);
    }
    return count;
}

static int connected(int type)
{
    int fd = socket(AF_INET, type, 0), one = 1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        fail("connect");
    }
    if (type == SOCK_STREAM) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}

/* What a client asks for. */
typedef struct {
    char kind[8];
    int64_t nanoseconds;
} Order;

static uint64_t client_run(const char *kind, long long nanoseconds)
{
    Order order = {.nanoseconds = nanoseconds};
    int control = connected(SOCK_STREAM), datagrams = connected(SOCK_DGRAM);
    struct pollfd answer = {.fd = control, .events = POLLIN};
    uint64_t count;

    snprintf(order.kind, sizeof(order.kind), "%.7s", kind);
    send_all(control, &order, sizeof(order));
    if (strcmp(kind, "tcp-out") == 0) {
        return stream_out(control, now() + nanoseconds);
    }
    if (strcmp(kind, "tcp-in") == 0) {
        return stream_in(control);
    }
    if (strcmp(kind, "requests") == 0) {
        return requests_out(control, now() + nanoseconds);
    }
    do { /* tells the server our address; a datagram may be lost */
        send(datagrams, buffer, DATAGRAM, 0);
    } while (poll(&answer, 1, 100) == 0);
    receive_all(control, buffer, 1);
    if (strcmp(kind, "udp-in") == 0) {
        return datagrams_in(datagrams, control);
    }
    datagrams_out(datagrams, now() + nanoseconds);
    usleep(100000); /* what is on its way arrives */
    shutdown(control, SHUT_WR);
    receive_all(control, &count, sizeof(count));
    return count;
}

static void serve(int control, int datagrams)
{
    struct sockaddr_in client;
    socklen_t length = sizeof(client);
    Order order;
    uint64_t count;

    receive_all(control, &order, sizeof(order));
    if (strcmp(order.kind, "tcp-out") == 0) {
        count = stream_in(control);
        send_all(control, &count, sizeof(count));
    } else if (strcmp(order.kind, "tcp-in") == 0) {
        for (long long end = now() + order.nanoseconds; now() < end;) {
            send_all(control, buffer, BLOCK);
        }
    } else if (strncmp(order.kind, "udp", 3) == 0) {
        if (recvfrom(datagrams, buffer, DATAGRAM, 0, (struct sockaddr *)&client, &length) < 0 ||
            connect(datagrams, (struct sockaddr *)&client, length) < 0) {
            fail("datagrams");
        }
        send_all(control, buffer, 1);
        if (strcmp(order.kind, "udp-in") == 0) {
            datagrams_out(datagrams, now() + order.nanoseconds);
            usleep(100000);
        } else {
            count = datagrams_in(datagrams, control);
            send_all(control, &count, sizeof(count));
        }
    } else {
        while (recv(control, buffer, 1, 0) == 1) {
            send_all(control, buffer, 1);
        }
    }
}

static int server(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    address.sin_addr.s_addr = INADDR_ANY;
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 1) < 0) {
        fail("listen");
    }
    for (;;) {
        /* A socket of its own for each: connect() to nobody would leave it without an address. */
        int control = accept(listener, NULL, NULL), datagrams = socket(AF_INET, SOCK_DGRAM, 0);
        setsockopt(datagrams, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        setsockopt(control, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (control < 0 || bind(datagrams, (struct sockaddr *)&address, sizeof(address)) < 0) {
            fail("serve");
        }
        serve(control, datagrams);
        close(control);
        close(datagrams);
    }
}

int main(int argc, char **argv)
{
    uint64_t count, before, interrupts;
    long long from;

    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "-l") == 0) {
        address.sin_port = htons((uint16_t)atoi(argv[2]));
        return server();
    }
    if (argc != 5 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    interrupts = virtio_interrupts();
    before = packets();
    from = now();
    count = client_run(argv[3], (long long)(atof(argv[4]) * 1e9));
    printf("load: %llu done %lld ns %llu interrupts %llu packets\n", (unsigned long long)count,
           now() - from, (unsigned long long)(virtio_interrupts() - interrupts),
           (unsigned long long)(packets() - before));
    return 0;
}
