/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 16550A core, without a bus. isa-serial maps it on ISA ports.
 *
 * The owner embeds a SerialCore, sets 'chardev' from its property, and calls the functions below
 * from its own life cycle, with its device lock held. set_irq is called with the lock held, too.
 */
#ifndef DEVICES_CHAR_SERIAL_H
#define DEVICES_CHAR_SERIAL_H

#include "chardev/chardev.h"
#include "vm/device.h"
#include "vm/memory.h"
#include "vm/vm.h"

#define SERIAL_FIFO_SIZE 16
#define SERIAL_PORTS     8

/*
 * rx_deadline: end of the receive timeout in ns of the virtual clock; -1: none runs. rx_errors: for
 * each character of rx, the error bits that LSR shows when the character is the oldest.
 */
#define SERIAL_STATE(X)                                                                            \
    X(F, uint16_t, divisor)                                                                        \
    X(F, uint8_t, rbr)                                                                             \
    X(F, uint8_t, ier)                                                                             \
    X(F, uint8_t, fcr)                                                                             \
    X(F, uint8_t, lcr)                                                                             \
    X(F, uint8_t, mcr)                                                                             \
    X(F, uint8_t, lsr)                                                                             \
    X(F, uint8_t, msr)                                                                             \
    X(F, uint8_t, scr)                                                                             \
    X(F, bool, thre_pending)                                                                       \
    X(F, bool, timeout_pending)                                                                    \
    X(F, uint32_t, rx_len)                                                                         \
    X(V, uint8_t, rx, rx_len, SERIAL_FIFO_SIZE)                                                    \
    X(A, uint8_t, rx_errors, SERIAL_FIFO_SIZE)                                                     \
    X(F, uint32_t, tx_len)                                                                         \
    X(V, uint8_t, tx, tx_len, SERIAL_FIFO_SIZE)                                                    \
    X(F, int64_t, rx_deadline)
STATE_STRUCT(SerialState, SERIAL_STATE);
const StateDesc *serial_state_desc(void);

typedef struct SerialCore SerialCore;
struct SerialCore {
    SerialState s;
    Device *owner;
    void (*set_irq)(SerialCore *u, bool level);
    /* Properties of the owner. */
    char *chardev;
    uint32_t baudbase; /* the line's speed in bits per second at divisor 1 */
    CharFrontend fe;
    IoRegion io;
    DeviceTimer *rx_timer;
};

/*
 * Connects the chardev and initialises u->io (8 ports), which the owner maps. 'rx_timeout' is
 * called with the owner and must call serial_core_rx_timeout().
 */
bool serial_core_realize(SerialCore *u, Device *owner, const char *name, DeviceFn rx_timeout,
                         void (*set_irq)(SerialCore *u, bool level), GError **err);
void serial_core_unrealize(SerialCore *u);
void serial_core_reset(SerialCore *u);
void serial_core_rx_timeout(SerialCore *u);
/* When the VM runs again, characters in the transmit FIFO are offered to the chardev again. */
void serial_core_run_state(SerialCore *u, bool running);
void serial_core_post_load(SerialCore *u);

#endif
