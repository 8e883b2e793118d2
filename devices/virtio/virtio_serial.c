/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-serial: the device, its control queues and its bus (5.3). */
#include "virtio_serial.h"
#include "virtio_pci.h"

#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"

STATE_DESC(virtio_serial, VirtioSerialState, VIRTIO_SERIAL_STATE, 1);

#define DATA_QUEUE_SIZE 128
#define CTRL_QUEUE_SIZE 32
#define CTRL_LEN        sizeof(struct virtio_console_control)
#define MESSAGE_MAX     255
#define CONFIG_SIZE     12

static VirtioSerial *virtio_serial(VirtioDevice *vdev)
{
    return container_of(vdev, VirtioSerial, vdev);
}

bool virtio_serial_multiport(VirtioSerial *serial)
{
    return virtio_has_feature(&serial->vdev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* Control, to the driver (5.3.6.2). */

static void flush_ctrl(VirtioSerial *serial)
{
    Virtqueue *vq = serial->ctrl_rx;
    bool any = false;

    /* Kicks are asked for only while messages wait. */
    while (serial->s.ctrl_bytes && virtqueue_await(vq, 0, 0)) {
        VirtqueueElement *elem = virtqueue_pop(vq, sizeof *elem);
        unsigned len = serial->s.ctrl[0];

        if (!elem) {
            break;
        }
        virtqueue_push(vq, elem, iov_from_buf(elem->in, elem->in_num, 0, serial->s.ctrl + 1, len));
        any = true;
        len = MIN(len + 1, serial->s.ctrl_bytes);
        serial->s.ctrl_bytes -= len;
        memmove(serial->s.ctrl, serial->s.ctrl + len, serial->s.ctrl_bytes);
    }
    if (any) {
        virtqueue_notify(vq);
    }
}

void virtio_serial_send(VirtioSerial *serial, unsigned port, uint16_t event, uint16_t value,
                        const char *text)
{
    struct virtio_console_control msg = {
        .id = htole32(port), .event = htole16(event), .value = htole16(value)};
    unsigned text_len = text ? MIN(strlen(text), MESSAGE_MAX - CTRL_LEN) : 0;
    unsigned len = CTRL_LEN + text_len;
    uint8_t *to = serial->s.ctrl + serial->s.ctrl_bytes;

    if (!virtio_serial_multiport(serial) || !serial->s.driver_ready) {
        return;
    }
    if (len + 1 > VIRTIO_SERIAL_CTRL_MAX - serial->s.ctrl_bytes) {
        log_guest_error("%s: the driver takes no control messages", serial->vdev.dev.path);
        return;
    }
    to[0] = len;
    memcpy(to + 1, &msg, CTRL_LEN);
    if (text_len) {
        memcpy(to + 1 + CTRL_LEN, text, text_len);
    }
    serial->s.ctrl_bytes += len + 1;
    flush_ctrl(serial);
}

/* Control, from the driver. */

static void port_ready(VirtioSerial *serial, VirtioSerialPort *port)
{
    if (port->is_console) {
        virtio_serial_send(serial, port->nr, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL);
    }
    if (port->name) {
        virtio_serial_send(serial, port->nr, VIRTIO_CONSOLE_PORT_NAME, 1, port->name);
    }
    if (port->host_open) {
        virtio_serial_send(serial, port->nr, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL);
    }
}

static void handle_message(VirtioSerial *serial, const struct virtio_console_control *msg)
{
    uint32_t id = le32toh(msg->id);
    uint16_t event = le16toh(msg->event), value = le16toh(msg->value);
    VirtioSerialPort *port = id < serial->max_ports ? serial->ports[id] : NULL;

    if (event == VIRTIO_CONSOLE_DEVICE_READY) {
        serial->s.driver_ready = value;
        for (unsigned i = 0; value && i < serial->max_ports; i++) {
            if (serial->ports[i]) {
                virtio_serial_send(serial, i, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
            }
        }
        return;
    }
    if (!port) {
        log_guest_error("%s: control message %u for port %u, which is not there",
                        serial->vdev.dev.path, event, id);
    } else if (event == VIRTIO_CONSOLE_PORT_READY && value) {
        port_ready(serial, port);
    } else if (event == VIRTIO_CONSOLE_PORT_OPEN) {
        virtio_serial_port_set_guest_open(port, value);
    }
}

static void ctrl_tx_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioSerial *serial = virtio_serial(vdev);
    unsigned budget = virtqueue_size(vq);
    VirtqueueElement *elem;

    while (budget-- && (elem = virtqueue_pop(vq, sizeof *elem))) {
        struct virtio_console_control msg;

        if (iov_to_buf(elem->out, elem->out_num, 0, &msg, CTRL_LEN) == CTRL_LEN) {
            handle_message(serial, &msg);
        }
        virtqueue_push(vq, elem, 0);
    }
    virtqueue_end_turn(vq);
}

static void ctrl_rx_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    flush_ctrl(virtio_serial(vdev));
}

/* Data (5.3.2): queues 0 and 1 are port 0's, 2 and 3 control, then a pair for each port. */

static unsigned virtio_serial_port_of(const Virtqueue *vq)
{
    unsigned i = virtqueue_index(vq);

    return i < 2 ? 0 : i / 2 - 1;
}

static void rx_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioSerialPort *port = virtio_serial(vdev)->ports[virtio_serial_port_of(vq)];

    if (port) {
        virtio_serial_port_rx(port);
    }
}

/* Discards data for a port that does not exist, so that the driver does not wait for ever. */
static void virtio_serial_eat(Virtqueue *vq)
{
    unsigned budget = virtqueue_size(vq);
    VirtqueueElement *elem;

    while (budget-- && (elem = virtqueue_pop(vq, sizeof *elem))) {
        virtqueue_push(vq, elem, 0);
    }
    virtqueue_end_turn(vq);
}

static void tx_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioSerialPort *port = virtio_serial(vdev)->ports[virtio_serial_port_of(vq)];

    if (port) {
        virtio_serial_port_tx(port);
    } else {
        virtio_serial_eat(vq);
    }
}

/* Configuration. */

static void virtio_serial_get_config(VirtioDevice *vdev, uint8_t *config)
{
    /* Columns and rows are 0: the terminal's size is not known. */
    memset(config, 0, CONFIG_SIZE);
    stle32(config + offsetof(struct virtio_console_config, max_nr_ports),
           virtio_serial(vdev)->max_ports);
}

static void virtio_serial_set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioSerial *serial = virtio_serial(vdev);
    uint8_t c = config[offsetof(struct virtio_console_config, emerg_wr)];

    /* 5.3.4: an emergency write prints one character without a queue. */
    for (unsigned i = 0; serial->emergency_write && c && i < serial->max_ports; i++) {
        if (serial->ports[i] && serial->ports[i]->is_console) {
            char_write_all(&serial->ports[i]->fe, &c, 1);
            return;
        }
    }
}

static uint64_t virtio_serial_get_features(VirtioDevice *vdev, uint64_t f)
{
    VirtioSerial *serial = virtio_serial(vdev);

    f |= serial->max_ports > 1 ? BIT64(VIRTIO_CONSOLE_F_MULTIPORT) : 0;
    f |= serial->emergency_write ? BIT64(VIRTIO_CONSOLE_F_EMERG_WRITE) : 0;
    return f;
}

static void for_ports(VirtioDevice *vdev, void (*fn)(VirtioSerialPort *port))
{
    VirtioSerial *serial = virtio_serial(vdev);

    for (unsigned i = 0; i < serial->max_ports; i++) {
        if (serial->ports[i]) {
            fn(serial->ports[i]);
        }
    }
}

static void pause_serial(VirtioDevice *vdev)
{
    for_ports(vdev, virtio_serial_port_pause);
}

static void virtio_serial_stop(VirtioDevice *vdev)
{
    for_ports(vdev, virtio_serial_port_stop);
}

static void virtio_serial_reset(VirtioDevice *vdev)
{
    VirtioSerial *serial = virtio_serial(vdev);

    for_ports(vdev, virtio_serial_port_stop);
    serial->s.ctrl_bytes = 0;
    serial->s.driver_ready = false;
}

static void virtio_serial_queue_reset(VirtioDevice *vdev, Virtqueue *vq)
{
    unsigned i = virtqueue_index(vq);
    VirtioSerialPort *port = virtio_serial(vdev)->ports[virtio_serial_port_of(vq)];

    if (port && i % 2 && vq != virtio_serial(vdev)->ctrl_tx) {
        virtio_serial_port_drop(port);
    }
}

static const VirtioClass serial_vclass = {
    .device_id = VIRTIO_ID_CONSOLE,
    .config_size = CONFIG_SIZE,
    .get_features = virtio_serial_get_features,
    .get_config = virtio_serial_get_config,
    .set_config = virtio_serial_set_config,
    .stop = virtio_serial_stop,
    .pause = pause_serial,
    .reset = virtio_serial_reset,
    .queue_reset = virtio_serial_queue_reset,
};

/* Life. */

static bool virtio_serial_realize(Device *dev, GError **err)
{
    VirtioSerial *serial = container_of(dev, VirtioSerial, vdev.dev);
    VirtioDevice *vdev = &serial->vdev;
    const char *id = dev->parent ? dev->parent->id : dev->id;
    g_autofree char *bus_name = id ? g_strdup_printf("%s.0", id) : NULL;

    if (!serial->max_ports || serial->max_ports > VIRTIO_SERIAL_PORTS_MAX) {
        return error_set(err, "maximum ports supported: %u", VIRTIO_SERIAL_PORTS_MAX);
    }
    if (!virtio_init(vdev, &serial_vclass, err)) {
        return false;
    }
    if (!serial->emergency_write) {
        virtio_set_config_size(vdev, offsetof(struct virtio_console_config, emerg_wr));
    }
    bus_init(&serial->bus, &virtio_serial_bus_class, dev->vm, dev, bus_name);
    for (unsigned i = 0; i < serial->max_ports; i++) {
        serial->rx[i] = virtio_add_queue(vdev, DATA_QUEUE_SIZE, rx_kicked);
        serial->tx[i] = virtio_add_queue(vdev, DATA_QUEUE_SIZE, tx_kicked);
        if (i == 0 && serial->max_ports > 1) {
            serial->ctrl_rx = virtio_add_queue(vdev, CTRL_QUEUE_SIZE, ctrl_rx_kicked);
            serial->ctrl_tx = virtio_add_queue(vdev, CTRL_QUEUE_SIZE, ctrl_tx_kicked);
        }
    }
    return true;
}

static void virtio_serial_unrealize(Device *dev)
{
    VirtioSerial *serial = container_of(dev, VirtioSerial, vdev.dev);

    bus_destroy(&serial->bus);
    virtio_exit(&serial->vdev);
}

/* The length bytes in ctrl must add up: flush_ctrl() trusts them. */
static bool virtio_serial_check_state(Device *dev, unsigned section, const void *state,
                                      GError **err)
{
    const VirtioSerialState *s = state;
    unsigned at = 0;

    if (section != 1) {
        return virtio_device_check_state(dev, section, state, err);
    }
    while (at < s->ctrl_bytes) {
        at += s->ctrl[at] + 1u;
    }
    return at == s->ctrl_bytes || error_set(err, "control messages that are cut short");
}

static void virtio_serial_post_load(Device *dev)
{
    virtio_device_post_load(dev);
}

static const Property serial_props[] = {
    PROP("max_ports", PROP_UINT32, VirtioSerial, max_ports, "31", "ports at most, 1 to 31"),
    PROP("emergency-write", PROP_BOOL, VirtioSerial, emergency_write, "on",
         "offer a register that prints"),
    PROP_END,
};
static const StateSection serial_state[] = {
    VIRTIO_STATE(VirtioSerial, vdev),
    {virtio_serial_state_desc, offsetof(VirtioSerial, s)},
    {0},
};

static const DeviceClass virtio_serial_device_class = {
    VIRTIO_DEVICE_CLASS_COMMON_BUT_CHECK,
    .check_state = virtio_serial_check_state,
    .name = "virtio-serial-device",
    .desc = "virtio serial ports",
    .category = DEVICE_CATEGORY_INPUT,
    .size = sizeof(VirtioSerial),
    .props = serial_props,
    .state = serial_state,
    .realize = virtio_serial_realize,
    .unrealize = virtio_serial_unrealize,
    .post_load = virtio_serial_post_load,
};

VIRTIO_PCI_CLASSES(virtio_serial, "virtio-serial", "virtio serial ports", DEVICE_CATEGORY_INPUT,
                   virtio_serial_device_class, VIRTIO_ID_CONSOLE, 0x1003,
                   PCI_CLASS_COMMUNICATION_OTHER, VIRTIO_PCI_VECTORS_PROP("2"), );
