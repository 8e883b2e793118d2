/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16550A UART. (National Semiconductor PC16550D, "Universal Asynchronous Receiver/Transmitter with
 * FIFOs", June 1995; register names as there.)
 *
 * A character leaves as soon as the chardev takes it, whatever the speed: the divisor matters only
 * for the length of the receive timeout. While the chardev is full, characters wait in the transmit
 * FIFO with THRE clear. The wait ends: a chardev that stays blocked for CHAR_STALL_NS takes and
 * drops everything.
 */
#include "serial.h"
#include <linux/serial_reg.h>
#include "base/error.h"
#include "base/util.h"
#include "chardev/console.h"

#define RX_TIMEOUT_CHARS 4 /* PC16550D 8.4.1: no character for four character times */

#define LSR_ERRORS (UART_LSR_PE | UART_LSR_FE | UART_LSR_BI)
/* LSR bit 7: a character in the FIFO has an error. (Not in <linux/serial_reg.h>.) */
#define LSR_FIFO_ERROR 0x80
#define MSR_INPUTS     (UART_MSR_DCD | UART_MSR_RI | UART_MSR_DSR | UART_MSR_CTS)

STATE_DESC_PUBLIC(serial, SerialState, SERIAL_STATE, 1);

static bool fifo_on(const SerialState *s)
{
    return s->fcr & UART_FCR_ENABLE_FIFO;
}

static unsigned rx_room(const SerialState *s)
{
    unsigned size = fifo_on(s) ? SERIAL_FIFO_SIZE : 1;
    return size > s->rx_len ? size - s->rx_len : 0;
}

static unsigned rx_trigger(const SerialState *s)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return fifo_on(s) ? level[s->fcr >> 6] : 1;
}

/* The pending source of highest priority (PC16550D table III), as IIR shows it. */
static uint8_t interrupt_source(const SerialState *s)
{
    if ((s->ier & UART_IER_RLSI) && (s->lsr & (UART_LSR_OE | LSR_ERRORS))) {
        return UART_IIR_RLSI;
    }
    if ((s->ier & UART_IER_RDI) && s->rx_len >= rx_trigger(s)) {
        return UART_IIR_RDI;
    }
    if ((s->ier & UART_IER_RDI) && s->timeout_pending) {
        return UART_IIR_RX_TIMEOUT;
    }
    if ((s->ier & UART_IER_THRI) && s->thre_pending) {
        return UART_IIR_THRI;
    }
    if ((s->ier & UART_IER_MSI) && (s->msr & UART_MSR_ANY_DELTA)) {
        return UART_IIR_MSI;
    }
    return UART_IIR_NO_INT;
}

/*
 * On a PC, MCR.OUT2 gates the line to the interrupt controller. Here it does not: software written
 * for virtual machines does not always set OUT2, and other VMMs ignore it.
 */
static void serial_update_irq(SerialCore *u)
{
    u->set_irq(u, interrupt_source(&u->s) != UART_IIR_NO_INT);
}

/* Start, data, parity and stop bits of one character at the programmed speed. */
static int64_t char_time_ns(const SerialCore *u)
{
    const SerialState *s = &u->s;
    unsigned bits = 1 + 5 + (s->lcr & UART_LCR_WLEN8) + !!(s->lcr & UART_LCR_PARITY) +
                    ((s->lcr & UART_LCR_STOP) ? 2 : 1);
    unsigned divisor = MAX(s->divisor, 1);
    return (int64_t)bits * divisor * NS_PER_SEC / MAX(u->baudbase, 1u);
}

/* Derives LSR's DR and FIFO error bits from the receive FIFO. */
static void rx_update(SerialCore *u)
{
    SerialState *s = &u->s;
    s->lsr &= ~(UART_LSR_DR | LSR_FIFO_ERROR);
    if (s->rx_len) {
        s->lsr |= UART_LSR_DR;
    }
    for (unsigned i = 0; i < s->rx_len && fifo_on(s); i++) {
        if (s->rx_errors[i]) {
            s->lsr |= LSR_FIFO_ERROR;
        }
    }
}

/* Adds the oldest character's error bits to LSR. */
static void rx_reveal(SerialState *s)
{
    if (s->rx_len) {
        s->lsr |= s->rx_errors[0];
    }
}

static void rx_restart_timeout(SerialCore *u)
{
    SerialState *s = &u->s;
    s->timeout_pending = false;
    if (fifo_on(s) && s->rx_len && s->rx_len < rx_trigger(s)) {
        s->rx_deadline = clock_ns(CLOCK_VIRTUAL_NS) + RX_TIMEOUT_CHARS * char_time_ns(u);
        device_timer_arm(u->rx_timer, s->rx_deadline);
    } else if (s->rx_deadline >= 0) {
        s->rx_deadline = -1;
        device_timer_cancel(u->rx_timer);
    }
}

static void rx_push(SerialCore *u, uint8_t byte, uint8_t errors)
{
    SerialState *s = &u->s;
    if (!rx_room(s)) {
        /* PC16550D 8.6.3: a full FIFO keeps what it has; without one, the new character wins. */
        s->lsr |= UART_LSR_OE;
        if (!fifo_on(s)) {
            s->rx[0] = byte;
            s->rx_errors[0] = errors;
            rx_reveal(s);
        }
    } else {
        s->rx[s->rx_len] = byte;
        s->rx_errors[s->rx_len] = errors;
        if (s->rx_len++ == 0) {
            rx_reveal(s);
        }
    }
    rx_update(u);
    rx_restart_timeout(u);
}

static uint8_t rx_pop(SerialCore *u)
{
    SerialState *s = &u->s;
    if (!s->rx_len) {
        return s->rbr; /* RBR keeps the last character */
    }
    s->rbr = s->rx[0];
    s->rx_len--;
    memmove(s->rx, s->rx + 1, s->rx_len);
    memmove(s->rx_errors, s->rx_errors + 1, s->rx_len);
    s->lsr &= ~LSR_ERRORS;
    rx_reveal(s);
    rx_update(u);
    rx_restart_timeout(u);
    return s->rbr;
}

static void rx_clear(SerialCore *u)
{
    u->s.rx_len = 0;
    u->s.lsr &= ~LSR_ERRORS;
    rx_update(u);
    rx_restart_timeout(u);
}

void serial_core_rx_timeout(SerialCore *u)
{
    u->s.rx_deadline = -1;
    if (u->s.rx_len) {
        u->s.timeout_pending = true;
        serial_update_irq(u);
    }
}

/* The transmitter has become empty: an interrupt condition. */
static void tx_empty(SerialState *s)
{
    s->tx_len = 0;
    s->lsr |= UART_LSR_THRE | UART_LSR_TEMT;
    s->thre_pending = true;
}

static void tx_run(SerialCore *u)
{
    SerialState *s = &u->s;
    if (s->tx_len) {
        size_t n = MIN(char_write(&u->fe, s->tx, s->tx_len), s->tx_len);
        s->tx_len -= n;
        memmove(s->tx, s->tx + n, s->tx_len);
        if (!s->tx_len) {
            tx_empty(s);
        }
    }
    serial_update_irq(u);
}

static void tx_push(SerialCore *u, uint8_t byte)
{
    SerialState *s = &u->s;
    s->thre_pending = false;
    if (s->mcr & UART_MCR_LOOP) {
        rx_push(u, byte, 0);
        tx_empty(s);
        serial_update_irq(u);
        return;
    }
    unsigned size = fifo_on(s) ? SERIAL_FIFO_SIZE : 1;
    if (s->tx_len < size) {
        s->tx[s->tx_len++] = byte;
    } else {
        s->tx[size - 1] = byte; /* the guest did not wait for THRE */
    }
    s->lsr &= ~(UART_LSR_THRE | UART_LSR_TEMT);
    /* Lowers the line before tx_run() may raise it again: the PIC needs an edge. */
    serial_update_irq(u);
    tx_run(u);
}

/* Sets MSR from the modem's inputs, or in loopback from MCR's outputs. 'latch': set delta bits. */
static void update_modem(SerialCore *u, bool latch)
{
    SerialState *s = &u->s;
    uint8_t in = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS; /* a modem that is always ready */
    if (s->mcr & UART_MCR_LOOP) {
        /* PC16550D 8.7, bit 4: DTR -> DSR, RTS -> CTS, OUT1 -> RI, OUT2 -> DCD */
        in = ((s->mcr & UART_MCR_DTR) ? UART_MSR_DSR : 0) |
             ((s->mcr & UART_MCR_RTS) ? UART_MSR_CTS : 0) |
             ((s->mcr & UART_MCR_OUT1) ? UART_MSR_RI : 0) |
             ((s->mcr & UART_MCR_OUT2) ? UART_MSR_DCD : 0);
    }
    uint8_t changed = (s->msr ^ in) & MSR_INPUTS;
    uint8_t delta = s->msr & UART_MSR_ANY_DELTA;
    if (latch) {
        delta |= (changed & (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)) >> 4;
        if ((changed & UART_MSR_RI) && !(in & UART_MSR_RI)) {
            delta |= UART_MSR_TERI; /* RI has a delta for its falling edge only */
        }
    }
    s->msr = in | delta;
}

static void write_fcr(SerialCore *u, uint8_t v)
{
    SerialState *s = &u->s;
    bool toggled = (s->fcr ^ v) & UART_FCR_ENABLE_FIFO;
    if (toggled || (v & UART_FCR_CLEAR_RCVR)) {
        rx_clear(u);
    }
    if (toggled || (v & UART_FCR_CLEAR_XMIT)) {
        tx_empty(s);
    }
    /* PC16550D 8.4: the other bits are only written together with bit 0. */
    s->fcr = (v & UART_FCR_ENABLE_FIFO) ? v & (UART_FCR_TRIGGER_MASK | UART_FCR_ENABLE_FIFO) : 0;
    rx_restart_timeout(u);
    serial_update_irq(u);
}

static void write_ier(SerialCore *u, uint8_t v)
{
    SerialState *s = &u->s;
    uint8_t rising = ~s->ier & v;
    s->ier = v & 0x0f;
    /* Enabling THRI while THRE is set interrupts at once. Drivers start transmission by this. */
    if ((rising & UART_IER_THRI) && (s->lsr & UART_LSR_THRE)) {
        s->thre_pending = true;
    }
    serial_update_irq(u);
}

static void write_lcr(SerialCore *u, uint8_t v)
{
    SerialState *s = &u->s;
    bool breaks = (v & ~s->lcr) & UART_LCR_SBC;
    s->lcr = v;
    if (breaks && (s->mcr & UART_MCR_LOOP)) {
        rx_push(u, 0, UART_LSR_BI);
        serial_update_irq(u);
    }
}

static IoResult serial_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    SerialCore *u = container_of(region, SerialCore, io);
    SerialState *s = &u->s;
    uint8_t v = value;
    bool dlab = s->lcr & UART_LCR_DLAB;
    switch (offset) {
    case UART_TX:
        if (dlab) {
            s->divisor = (s->divisor & 0xff00) | v;
        } else {
            tx_push(u, v);
        }
        break;
    case UART_IER:
        if (dlab) {
            s->divisor = (s->divisor & 0xff) | v << 8;
        } else {
            write_ier(u, v);
        }
        break;
    case UART_FCR:
        write_fcr(u, v);
        char_accept_input(&u->fe);
        break;
    case UART_LCR:
        write_lcr(u, v);
        break;
    case UART_MCR:
        s->mcr = v & 0x1f;
        update_modem(u, true);
        serial_update_irq(u);
        char_accept_input(&u->fe);
        break;
    case UART_SCR:
        s->scr = v;
        break;
    default: /* LSR and MSR: factory tests only */
        break;
    }
    return IO_OK;
}

static uint8_t read_iir(SerialCore *u)
{
    SerialState *s = &u->s;
    uint8_t source = interrupt_source(s);
    if (source == UART_IIR_THRI) {
        s->thre_pending = false;
        serial_update_irq(u);
    }
    return source | (fifo_on(s) ? 0xc0 : 0);
}

static uint64_t serial_read(IoRegion *region, uint64_t offset, unsigned size)
{
    SerialCore *u = container_of(region, SerialCore, io);
    SerialState *s = &u->s;
    bool dlab = s->lcr & UART_LCR_DLAB;
    uint8_t v;
    switch (offset) {
    case UART_RX:
        if (dlab) {
            return s->divisor & 0xff;
        }
        v = rx_pop(u);
        serial_update_irq(u);
        char_accept_input(&u->fe);
        return v;
    case UART_IER:
        return dlab ? s->divisor >> 8 : s->ier;
    case UART_IIR:
        return read_iir(u);
    case UART_LCR:
        return s->lcr;
    case UART_MCR:
        return s->mcr;
    case UART_LSR:
        v = s->lsr;
        s->lsr &= ~(UART_LSR_OE | LSR_ERRORS);
        if (s->rx_len) {
            s->rx_errors[0] = 0; /* reading LSR clears the errors that it showed */
        }
        rx_update(u);
        serial_update_irq(u);
        return v;
    case UART_MSR:
        v = s->msr;
        s->msr &= ~UART_MSR_ANY_DELTA;
        serial_update_irq(u);
        return v;
    default:
        return s->scr;
    }
}

static const IoRegionOps serial_ops = {
    .read = serial_read,
    .write = serial_write,
    .impl_min = 1,
    .impl_max = 1,
};

/* The chardev's callbacks: on the main loop, without the device lock. */
static size_t serial_fe_can_read(void *data)
{
    SerialCore *u = data;
    device_lock(u->owner);
    /* In loopback the receiver is disconnected from the line: input waits in the chardev. */
    size_t room = (u->s.mcr & UART_MCR_LOOP) ? 0 : rx_room(&u->s);
    device_unlock(u->owner);
    return room;
}

static void serial_fe_read(void *data, const uint8_t *buf, size_t len)
{
    SerialCore *u = data;
    device_lock(u->owner);
    for (size_t i = 0; i < len; i++) {
        rx_push(u, buf[i], 0);
    }
    serial_update_irq(u);
    device_unlock(u->owner);
}

static void serial_fe_event(void *data, CharEvent event)
{
    SerialCore *u = data;
    if (event == CHAR_EVENT_BREAK) {
        device_lock(u->owner);
        if (!(u->s.mcr & UART_MCR_LOOP)) {
            rx_push(u, 0, UART_LSR_BI);
            serial_update_irq(u);
        }
        device_unlock(u->owner);
    }
}

static void serial_fe_writable(void *data)
{
    SerialCore *u = data;
    device_lock(u->owner);
    tx_run(u);
    device_unlock(u->owner);
}

static void serial_fe_exchange(void *data, void (*swap)(void *arg), void *arg)
{
    SerialCore *u = data;
    device_lock(u->owner);
    swap(arg);
    device_unlock(u->owner);
}

static const CharFrontendOps serial_fe_ops = {
    .can_read = serial_fe_can_read,
    .read = serial_fe_read,
    .event = serial_fe_event,
    .writable = serial_fe_writable,
    .exchange = serial_fe_exchange,
};

bool serial_core_realize(SerialCore *u, Device *owner, const char *name, DeviceFn rx_timeout,
                         void (*set_irq)(SerialCore *u, bool level), GError **err)
{
    u->owner = owner;
    u->set_irq = set_irq;
    if (u->chardev) {
        Chardev *chr = chardev_find(u->chardev);
        if (!chr) {
            return error_set(err, "Property '%s.chardev' can't find value '%s'", owner->class->name,
                             u->chardev);
        }
        if (!char_frontend_connect(&u->fe, chr, &serial_fe_ops, u, err)) {
            return false;
        }
    }
    io_region_init(&u->io, owner, &serial_ops, name, SERIAL_PORTS);
    u->rx_timer = device_timer_new(owner, CLOCK_VIRTUAL_NS, rx_timeout);
    return true;
}

void serial_core_unrealize(SerialCore *u)
{
    char_frontend_disconnect(&u->fe);
    g_clear_pointer(&u->fe.console, char_console_free);
    device_timer_free(u->rx_timer);
    u->rx_timer = NULL;
}

void serial_core_reset(SerialCore *u)
{
    SerialState *s = &u->s;
    device_timer_cancel(u->rx_timer);
    memset(s, 0, sizeof *s);
    /* PC16550D table II; the divisor is left undefined there, 12 gives 9600 baud. */
    s->divisor = 12;
    s->lsr = UART_LSR_THRE | UART_LSR_TEMT;
    s->rx_deadline = -1;
    update_modem(u, false);
    serial_update_irq(u);
    char_accept_input(&u->fe);
}

void serial_core_run_state(SerialCore *u, bool running)
{
    if (running) {
        tx_run(u);
    }
}

void serial_core_post_load(SerialCore *u)
{
    if (u->s.rx_deadline >= 0) {
        device_timer_arm(u->rx_timer, u->s.rx_deadline);
    } else {
        device_timer_cancel(u->rx_timer);
    }
    serial_update_irq(u);
    char_accept_input(&u->fe);
}
