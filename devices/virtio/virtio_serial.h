/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial: the device and its ports. All functions run on the main loop, except accesses to
 * configuration space.
 *
 * A port is a virtconsole or virtserialport device on the bus that the virtio device offers.
 */
#ifndef VIRTIO_SERIAL_H
#define VIRTIO_SERIAL_H

#include "chardev/chardev.h"
#include "devices/virtio.h"

#define VIRTIO_SERIAL_PORTS_MAX 31
#define VIRTIO_SERIAL_CTRL_MAX  4096

typedef struct VirtioSerial VirtioSerial;

/* ctrl: control messages that wait for a buffer of the driver. A length byte precedes each. */
#define VIRTIO_SERIAL_STATE(X)                                                                     \
    X(F, bool, driver_ready)                                                                       \
    X(F, uint32_t, ctrl_bytes)                                                                     \
    X(V, uint8_t, ctrl, ctrl_bytes, VIRTIO_SERIAL_CTRL_MAX)
STATE_STRUCT(VirtioSerialState, VIRTIO_SERIAL_STATE);

/* tx_skip: bytes of the next chain that were written already, before the VM paused. */
#define VIRTIO_SERIAL_PORT_STATE(X)                                                                \
    X(F, bool, guest_open)                                                                         \
    X(F, uint64_t, tx_skip)
STATE_STRUCT(VirtioSerialPortState, VIRTIO_SERIAL_PORT_STATE);

typedef struct {
    Device dev;
    VirtioSerialPortState s;
    VirtioSerial *serial;
    CharFrontend fe;
    bool is_console, host_open;
    Virtqueue *rx, *tx;           /* rx: to the driver */
    VirtqueueElement *tx_pending; /* written up to tx_done: the character device is full */
    size_t tx_done;
    /* What was given back since the driver was last interrupted: buffers, and the turns it took. */
    unsigned tx_owed, tx_turns;
    /* The driver streams: virtio_serial_port_tx() looks for its chains by a timer. */
    bool tx_stream;
    bool tx_found;     /* this stream's timer has found chains */
    bool tx_idle;      /* the driver is to kick */
    unsigned tx_kicks; /* since the last stream */
    unsigned tx_trial; /* the kick that is taken for the beginning of a stream */
    DeviceTimer *tx_timer;
    /* Properties. */
    char *chardev, *name;
    uint32_t nr;
} VirtioSerialPort;

struct VirtioSerial {
    VirtioDevice vdev;
    VirtioSerialState s;
    Bus bus;
    VirtioSerialPort *ports[VIRTIO_SERIAL_PORTS_MAX];
    Virtqueue *rx[VIRTIO_SERIAL_PORTS_MAX], *tx[VIRTIO_SERIAL_PORTS_MAX];
    Virtqueue *ctrl_rx, *ctrl_tx;
    /* Properties. */
    uint32_t max_ports;
    bool emergency_write;
};

extern const BusClass virtio_serial_bus_class;

/* virtio_serial_port.c */
void virtio_serial_port_tx(VirtioSerialPort *port);
void virtio_serial_port_rx(VirtioSerialPort *port); /* the driver has added receive buffers */
void virtio_serial_port_set_guest_open(VirtioSerialPort *port, bool open);
/* Drops tx_pending and forgets tx_skip. */
void virtio_serial_port_drop(VirtioSerialPort *port);
/* Puts tx_pending back into the ring; writing continues at tx_skip when the VM runs. */
void virtio_serial_port_pause(VirtioSerialPort *port);
void virtio_serial_port_stop(VirtioSerialPort *port);

/* virtio_serial.c */
bool virtio_serial_multiport(VirtioSerial *serial);
void virtio_serial_send(VirtioSerial *serial, unsigned port, uint16_t event, uint16_t value,
                        const char *text);

#endif
