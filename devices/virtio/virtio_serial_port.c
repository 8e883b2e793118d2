/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtconsole and virtserialport: a virtio port in front of a character device. */
#include "virtio_serial.h"

#include <linux/virtio_console.h>
#include "base/error.h"
#include "base/iov.h"
#include "chardev/console.h"
#include "vm/vm.h"

STATE_DESC(virtio_serial_port, VirtioSerialPortState, VIRTIO_SERIAL_PORT_STATE, 1);

#define NR_AUTO       UINT32_MAX
#define RX_CHUNK_MAX  4096
#define HAND_OVER_MAX MiB         /* chardevs do not queue more */
#define TX_TURN_MAX   (256 * KiB) /* bytes written in one turn: a chain may hold gigabytes */
#define TX_TURNS_MAX  16          /* turns without an interrupt to the driver */
#define TX_STREAM_NS  50000       /* between two looks for a streaming driver's chains */
#define TX_TRIAL      8           /* kicks before the first trial whether the driver streams */
#define TX_TRIAL_MAX  1024        /* kicks between two trials of a driver that does not */

static VirtioSerialPort *port_of(Device *dev)
{
    return container_of(dev, VirtioSerialPort, dev);
}

/* From the driver. */

/*
 * Writes the rest of an element. False: not all of it was written.
 * A virtconsole never waits: its character device queues, and drops the oldest bytes of a queue
 * that grows too long. A virtserialport's driver waits for the reader, as a pipe's writer does.
 */
static bool virtio_serial_port_write_out(VirtioSerialPort *port, VirtqueueElement *elem,
                                         size_t *budget)
{
    size_t skip = port->tx_done;

    for (unsigned i = 0; i < elem->out_num; i++) {
        const uint8_t *p = elem->out[i].iov_base;
        size_t len = elem->out[i].iov_len, n;

        if (skip >= len) {
            skip -= len;
            continue;
        }
        p += skip;
        len -= skip;
        skip = 0;
        n = MIN(len, *budget);
        if (port->is_console) {
            char_write_all(&port->fe, p, n);
        } else {
            n = char_write(&port->fe, p, n);
        }
        port->tx_done += n;
        *budget -= n;
        if (n < len) {
            return false;
        }
    }
    return true;
}

/* Interrupts the driver for all chains that were given back since it was last interrupted. */
static void virtio_serial_port_tx_notify(VirtioSerialPort *port)
{
    unsigned owed = port->tx_owed;

    port->tx_owed = port->tx_turns = 0;
    if (owed) {
        virtqueue_notify(port->tx);
    }
}

/* Writes as much as one turn may. Returns how many buffers were given back. */
static unsigned virtio_serial_port_tx_turn(VirtioSerialPort *port, size_t *budget)
{
    unsigned elements = virtqueue_size(port->tx), buffers = 0;

    while (elements--) {
        VirtqueueElement *elem = g_steal_pointer(&port->tx_pending);

        if (!elem) {
            elem = virtqueue_pop(port->tx, sizeof *elem);
            if (!elem) {
                break;
            }
            port->tx_done = port->s.tx_skip;
            port->s.tx_skip = 0;
        }
        if (!virtio_serial_port_write_out(port, elem, budget)) {
            port->tx_pending = elem; /* until virtio_serial_port_writable(), or the next turn */
            break;
        }
        buffers += MAX(elem->out_num + elem->in_num, 1);
        virtqueue_push(port->tx, elem, 0);
    }
    return buffers;
}

/* A turn has found nothing: interrupts the driver, and asks it for kicks. */
static void virtio_serial_port_tx_end(VirtioSerialPort *port)
{
    virtio_serial_port_tx_notify(port);
    if (port->tx_stream) {
        /* After a stream the next kick may be the beginning of one. */
        port->tx_trial = port->tx_found ? 1 : MIN(2 * port->tx_trial, TX_TRIAL_MAX);
        port->tx_stream = port->tx_found = false;
    }
    if (virtqueue_await(port->tx, 0, 0)) {
        virtqueue_kick(port->tx);
    } else {
        port->tx_idle = true;
    }
}

/*
 * A driver that writes much adds chains while others are being written. So the ring is looked at in
 * turns until one has found nothing, without kicks, and the driver is interrupted only then, or
 * when half of its ring was given back: it may wait for room.
 *
 * A driver that fills its chains more slowly than they are written would nevertheless have a kick
 * and an interrupt for each of them. So the turns of a port are TX_STREAM_NS apart while the driver
 * streams. A driver that waits for the interrupt of each chain must not be kept waiting. The two
 * are told apart by trials, which fail where a timer finds nothing, and are then made more rarely.
 * A console's driver spins until its chain is given back, so that a console has no such turns.
 */
void virtio_serial_port_tx(VirtioSerialPort *port)
{
    size_t budget = TX_TURN_MAX;
    bool kicked = port->tx_idle;
    unsigned buffers;

    if (!virtqueue_running(port->tx)) {
        return;
    }
    port->tx_idle = false;
    virtqueue_set_notification(port->tx, false);
    buffers = virtio_serial_port_tx_turn(port, &budget);
    port->tx_owed += buffers;
    port->tx_turns += buffers > 0;
    if (port->tx_pending && budget) { /* writable() continues, not a kick */
        virtio_serial_port_tx_notify(port);
        return;
    }
    if (!buffers && !port->tx_pending) {
        /* A late kick says nothing about a stream: its timer does. */
        if (!device_timer_armed(port->tx_timer)) {
            virtio_serial_port_tx_end(port);
        }
        return;
    }
    if (port->tx_turns == TX_TURNS_MAX || port->tx_owed >= virtqueue_size(port->tx) / 2) {
        virtio_serial_port_tx_notify(port);
    }
    port->tx_found |= port->tx_stream;
    if (kicked && !port->is_console && ++port->tx_kicks >= port->tx_trial) {
        port->tx_kicks = 0;
        port->tx_stream = true;
    }
    if (port->tx_stream && !port->tx_pending) {
        device_timer_arm(port->tx_timer, clock_ns(CLOCK_VIRTUAL_NS) + TX_STREAM_NS);
    } else {
        virtqueue_kick(port->tx);
    }
}

static void virtio_serial_port_tx_timer(Device *dev)
{
    virtqueue_kick(port_of(dev)->tx);
}

static void virtio_serial_port_writable(void *data)
{
    virtio_serial_port_tx(data);
}

void virtio_serial_port_pause(VirtioSerialPort *port)
{
    VirtqueueElement *elem = g_steal_pointer(&port->tx_pending);

    virtio_serial_port_tx_notify(port); /* is not saved */
    if (elem) {
        port->s.tx_skip = port->tx_done;
        virtqueue_unpop(port->tx, elem);
    }
}

void virtio_serial_port_drop(VirtioSerialPort *port)
{
    VirtqueueElement *elem = g_steal_pointer(&port->tx_pending);

    port->s.tx_skip = 0;
    port->tx_owed = port->tx_turns = port->tx_kicks = 0;
    port->tx_stream = port->tx_found = port->tx_idle = false;
    port->tx_trial = TX_TRIAL;
    device_timer_cancel(port->tx_timer);
    if (elem) {
        virtqueue_drop(port->tx, elem);
    }
}

/* For unplug: the unwritten rest of the pending element goes into the chardev's queue. */
static void hand_over(VirtioSerialPort *port)
{
    VirtqueueElement *elem = g_steal_pointer(&port->tx_pending);
    size_t at = port->tx_done, left = HAND_OVER_MAX;

    if (!port->serial->vdev.dev.leaving) {
        virtio_serial_port_tx_notify(port);
        virtqueue_kick(port->tx); /* for the chains behind this element, and those not kicked for */
    }
    if (!elem) {
        return;
    }
    for (unsigned i = 0; i < elem->out_num; i++) {
        size_t skip = MIN(at, elem->out[i].iov_len), n = MIN(elem->out[i].iov_len - skip, left);

        at -= skip;
        left -= n;
        char_write_all(&port->fe, (uint8_t *)elem->out[i].iov_base + skip, n);
    }
    if (port->serial->vdev.dev.leaving) {
        virtqueue_drop(port->tx, elem);
        return;
    }
    virtqueue_push(port->tx, elem, 0);
    virtqueue_notify(port->tx);
}

/* To the driver. */

static size_t can_read(void *data)
{
    VirtioSerialPort *port = data;
    size_t in, out;

    if (!port->rx || !virtqueue_running(port->rx) ||
        (virtio_serial_multiport(port->serial) && !port->s.guest_open)) {
        return 0;
    }
    if (!virtqueue_await(port->rx, 1, 0)) {
        return 0; /* until the driver kicks */
    }
    return virtqueue_room(port->rx, RX_CHUNK_MAX, 0, &in, &out) ? MIN(in, RX_CHUNK_MAX) : 0;
}

static void read_in(void *data, const uint8_t *buf, size_t len)
{
    VirtioSerialPort *port = data;
    bool any = false;

    while (len) {
        VirtqueueElement *elem = virtqueue_pop(port->rx, sizeof *elem);
        size_t n;

        if (!elem) {
            break;
        }
        n = iov_from_buf(elem->in, elem->in_num, 0, buf, len);
        virtqueue_push(port->rx, elem, n);
        any = true;
        buf += n;
        len -= n;
    }
    if (any) {
        virtqueue_notify(port->rx);
    }
}

void virtio_serial_port_rx(VirtioSerialPort *port)
{
    char_accept_input(&port->fe);
}

/* Open and closed ends. */

void virtio_serial_port_set_guest_open(VirtioSerialPort *port, bool open)
{
    if (port->s.guest_open == open) {
        return;
    }
    port->s.guest_open = open;
    if (!port->is_console) {
        char_set_open(&port->fe, open);
    }
    if (port->dev.id) {
        vm_event(port->dev.vm, VM_EVENT_VSERPORT_CHANGE,
                 json_pack("{s:s,s:b}", "id", port->dev.id, "open", open));
    }
    if (open) {
        char_accept_input(&port->fe);
    }
}

static void set_host_open(VirtioSerialPort *port, bool open)
{
    if (port->host_open != open) {
        port->host_open = open;
        virtio_serial_send(port->serial, port->nr, VIRTIO_CONSOLE_PORT_OPEN, open, NULL);
    }
}

static void virtio_serial_port_event(void *data, CharEvent what)
{
    VirtioSerialPort *port = data;

    if (port->is_console) {
        return; /* a console is always open */
    }
    if (what == CHAR_EVENT_OPENED) {
        set_host_open(port, true);
    } else if (what == CHAR_EVENT_CLOSED) {
        set_host_open(port, false);
    }
}

/* Queues are the main loop's; emergency writes are a CPU's, under the lock. */
static void virtio_serial_port_exchange(void *data, void (*swap)(void *arg), void *arg)
{
    VirtioSerialPort *port = data;

    device_lock(&port->serial->vdev.dev);
    swap(arg);
    device_unlock(&port->serial->vdev.dev);
}

static const CharFrontendOps frontend_ops = {
    .can_read = can_read,
    .read = read_in,
    .event = virtio_serial_port_event,
    .writable = virtio_serial_port_writable,
    .exchange = virtio_serial_port_exchange,
};

void virtio_serial_port_stop(VirtioSerialPort *port)
{
    virtio_serial_port_drop(port);
    virtio_serial_port_set_guest_open(port, false);
}

/* The bus. */

static VirtioSerial *serial_of(Bus *bus)
{
    return container_of(bus, VirtioSerial, bus);
}

static uint32_t free_nr(VirtioSerial *serial, bool console)
{
    /* Port 0 is kept for a console: it is the only port of a driver without MULTIPORT. */
    for (unsigned i = console ? 0 : 1; i < serial->max_ports; i++) {
        if (!serial->ports[i]) {
            return i;
        }
    }
    return NR_AUTO;
}

static bool virtio_serial_port_attach(Bus *bus, Device *dev, GError **err)
{
    VirtioSerial *serial = serial_of(bus);
    VirtioSerialPort *port = port_of(dev);
    bool console = !strcmp(dev->class->name, "virtconsole");

    if (port->nr == NR_AUTO) {
        port->nr = free_nr(serial, console);
        if (port->nr == NR_AUTO) {
            return error_set(err, "virtio-serial-bus: Maximum port limit for this device reached");
        }
    }
    if (port->nr >= serial->max_ports) {
        return error_set(err, "virtio-serial-bus: Out-of-range port id specified, max. allowed: %u",
                         serial->max_ports - 1);
    }
    if (port->nr == 0 && !console) {
        return error_set(err, "Port number 0 on virtio-serial devices reserved for virtconsole "
                              "devices for backward compatibility.");
    }
    if (serial->ports[port->nr]) {
        return error_set(err, "virtio-serial-bus: A port already exists at id %u", port->nr);
    }
    for (unsigned i = 0; port->name && i < serial->max_ports; i++) {
        if (serial->ports[i] && !g_strcmp0(serial->ports[i]->name, port->name)) {
            return error_set(err, "virtio-serial-bus: A port already exists by name %s",
                             port->name);
        }
    }
    port->serial = serial;
    port->is_console = console;
    port->rx = serial->rx[port->nr];
    port->tx = serial->tx[port->nr];
    return true;
}

/* Handlers of registers look ports up on any thread, under the lock. */
static void set_port(VirtioSerial *serial, unsigned nr, VirtioSerialPort *port)
{
    device_lock(&serial->vdev.dev);
    serial->ports[nr] = port;
    device_unlock(&serial->vdev.dev);
}

static void virtio_serial_port_publish(Bus *bus, Device *dev)
{
    VirtioSerialPort *port = port_of(dev);

    set_port(port->serial, port->nr, port);
    virtio_serial_send(port->serial, port->nr, VIRTIO_CONSOLE_PORT_ADD, 1, NULL);
}

static void virtio_serial_port_detach(Bus *bus, Device *dev)
{
    VirtioSerialPort *port = port_of(dev);

    set_port(port->serial, port->nr, NULL);
}

static bool unplug_request(Bus *bus, Device *dev, bool *gone, GError **err)
{
    *gone = true; /* a removal does not need the driver's consent */
    return true;
}

static void virtio_serial_port_print(Bus *bus, Device *dev, GString *out, int indent)
{
    VirtioSerialPort *port = port_of(dev);

    g_string_append_printf(out, "%*sport %u, guest %s, host %s, throttle %s\n", indent, "",
                           port->nr, port->s.guest_open ? "on" : "off",
                           port->host_open ? "on" : "off", port->tx_pending ? "on" : "off");
}

const BusClass virtio_serial_bus_class = {
    .type = "virtio-serial-bus",
    .max_children = VIRTIO_SERIAL_PORTS_MAX,
    .attach = virtio_serial_port_attach,
    .publish = virtio_serial_port_publish,
    .detach = virtio_serial_port_detach,
    .print = virtio_serial_port_print,
    .can_hotplug = true,
    .unplug_request = unplug_request,
};

/* Life. */

static bool virtio_serial_port_realize(Device *dev, GError **err)
{
    VirtioSerialPort *port = port_of(dev);

    port->tx_trial = TX_TRIAL;
    if (port->chardev) {
        Chardev *chr = chardev_find(port->chardev);

        if (!chr) {
            return error_set(err, "Property '%s.chardev' can't find value '%s'", dev->class->name,
                             port->chardev);
        }
        port->fe.patient = !port->is_console;
        if (!char_frontend_connect(&port->fe, chr, &frontend_ops, port, err)) {
            return false;
        }
    }
    if (port->is_console) {
        port->fe.console = char_console_new(&port->fe, dev->id ? dev->id : "virtconsole");
    }
    port->tx_timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, virtio_serial_port_tx_timer);
    port->host_open = port->is_console || char_frontend_connected(&port->fe);
    return true;
}

static void virtio_serial_port_unrealize(Device *dev)
{
    VirtioSerialPort *port = port_of(dev);

    hand_over(port);
    virtio_serial_send(port->serial, port->nr, VIRTIO_CONSOLE_PORT_REMOVE, 1, NULL);
    char_frontend_disconnect(&port->fe);
    g_clear_pointer(&port->fe.console, char_console_free);
}

/* The driver's side of a port is reset with the device that it sits on. */
static void virtio_serial_port_reset(Device *dev, ResetKind kind)
{
    virtio_serial_port_stop(port_of(dev));
}

static void virtio_serial_port_post_load(Device *dev)
{
    VirtioSerialPort *port = port_of(dev);
    uint64_t skip = port->s.tx_skip;

    virtio_serial_port_drop(port);
    port->s.tx_skip = skip;
    if (!port->is_console) {
        char_set_open(&port->fe, port->s.guest_open);
    }
}

static const Property port_props[] = {
    PROP_L("chardev", VirtioSerialPort, chardev, "chardev", "ID of a chardev to use as a backend"),
    PROP("name", PROP_STRING, VirtioSerialPort, name, NULL, "what the guest knows the port by"),
    PROP("nr", PROP_UINT32, VirtioSerialPort, nr, "4294967295", "number of the port"),
    PROP_END,
};
static const StateSection port_state[] = {
    {virtio_serial_port_state_desc, offsetof(VirtioSerialPort, s)},
    {0},
};

#define PORT_CLASS(sym, name_, desc_)                                                              \
    const DeviceClass sym = {                                                                      \
        .name = name_,                                                                             \
        .bus = "virtio-serial-bus",                                                                \
        .desc = desc_,                                                                             \
        .category = DEVICE_CATEGORY_INPUT,                                                         \
        .size = sizeof(VirtioSerialPort),                                                          \
        .props = port_props,                                                                       \
        .state = port_state,                                                                       \
        .realize = virtio_serial_port_realize,                                                     \
        .unrealize = virtio_serial_port_unrealize,                                                 \
        .reset = virtio_serial_port_reset,                                                         \
        .post_load = virtio_serial_port_post_load,                                                 \
        .hotpluggable = true,                                                                      \
        .object_parent = "virtio-serial-port",                                                     \
    }
extern const DeviceClass virtconsole_class, virtserialport_class;
PORT_CLASS(virtconsole_class, "virtconsole", "a console of the guest");
PORT_CLASS(virtserialport_class, "virtserialport", "a named channel into the guest");
