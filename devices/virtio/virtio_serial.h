/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial: the device and its ports. Main loop but for configuration space.
 *
 * A port is a device on the bus that the virtio device offers: virtconsole or virtserialport.
 */
#ifndef VIRTIO_SERIAL_H
#define VIRTIO_SERIAL_H

#include "chardev/chardev.h"
#include "devices/virtio.h"

#define VIRTIO_SERIAL_PORTS_MAX 31
#define VIRTIO_SERIAL_CTRL_MAX  4096

typedef struct VirtioSerial VirtioSerial;

/* Control messages for the driver that found no buffer yet: a length byte before each. */
#define VIRTIO_SERIAL_STATE(X)                                                                     \
    X(F, bool, driver_ready)                                                                       \
    X(F, uint32_t, ctrl_bytes)                                                                     \
    X(V, uint8_t, ctrl, ctrl_bytes, VIRTIO_SERIAL_CTRL_MAX)
STATE_STRUCT(VirtioSerialState, VIRTIO_SERIAL_STATE);

/* tx_skip: how much of the next buffer is out already: it was given back when the VM paused. */
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
    VirtqueueElement *tx_pending; /* the character device is full; 'tx_done' bytes of it are out */
    size_t tx_done;
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
void virtio_serial_port_rx(VirtioSerialPort *port); /* the driver has put buffers there */
void virtio_serial_port_set_guest_open(VirtioSerialPort *port, bool open);
/* What is pending is lost, and so is how far the one before had come. */
void virtio_serial_port_drop(VirtioSerialPort *port);
/* What is pending goes back to the ring, to be gone on with when the VM does. */
void virtio_serial_port_pause(VirtioSerialPort *port);
void virtio_serial_port_stop(VirtioSerialPort *port);

/* virtio_serial.c */
bool virtio_serial_multiport(VirtioSerial *serial);
void virtio_serial_send(VirtioSerial *serial, unsigned port, uint16_t event, uint16_t value,
                        const char *text);

#endif
