/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The telnet protocol (RFC 854, 855, 856, 857, 858), as far as a serial line needs it. */
#include "internal.h"

enum {
    TN_EOR = 25,
    TN_END_RECORD = 239,
    TN_SE = 240,
    TN_BREAK = 243,
    TN_SB = 250,
    TN_WILL = 251,
    TN_WONT = 252,
    TN_DO = 253,
    TN_DONT = 254,
    TN_IAC = 255,
    TN_OPT_BINARY = 0,
    TN_OPT_ECHO = 1,
    TN_OPT_SGA = 3,
    TN_OPT_TERMINAL_TYPE = 24,
};

const uint8_t *telnet_greeting(bool tn3270, size_t *len)
{
    /* The guest echoes; no go-ahead is sent (RFC 858); both directions are binary (RFC 856). */
    static const uint8_t plain[] = {
        TN_IAC, TN_WILL, TN_OPT_ECHO,   TN_IAC, TN_WILL, TN_OPT_SGA,
        TN_IAC, TN_WILL, TN_OPT_BINARY, TN_IAC, TN_DO,   TN_OPT_BINARY,
    };
    static const uint8_t records[] = {
        TN_IAC,  TN_DO,         TN_EOR, TN_IAC,        TN_WILL,
        TN_EOR,  TN_IAC,        TN_DO,  TN_OPT_BINARY, TN_IAC,
        TN_WILL, TN_OPT_BINARY, TN_IAC, TN_DO,         TN_OPT_TERMINAL_TYPE,
    };

    *len = tn3270 ? sizeof records : sizeof plain;
    return tn3270 ? records : plain;
}

size_t telnet_filter(Telnet *t, uint8_t *buf, size_t len, bool *brk)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];

        switch (t->state) {
        case TELNET_DATA:
            if (c == TN_IAC) {
                t->state = TELNET_IAC;
            } else if (t->after_cr && c == 0 && !t->binary) {
                /* CR NUL is a carriage return alone (RFC 854), except in binary (RFC 856). */
            } else {
                buf[out++] = c;
            }
            t->after_cr = c == '\r';
            break;
        case TELNET_IAC:
            t->state = TELNET_DATA;
            if (c == TN_IAC) {
                buf[out++] = c;
            } else if (c == TN_SB) {
                t->state = TELNET_SUB;
            } else if (c >= TN_WILL && c <= TN_DONT) {
                t->state = TELNET_OPTION;
                t->command = c;
            } else if (c == TN_BREAK) {
                *brk = true;
            }
            break;
        case TELNET_OPTION:
            /* An answer to the greeting: only that about BINARY matters here. */
            t->state = TELNET_DATA;
            if (c == TN_OPT_BINARY && (t->command == TN_WILL || t->command == TN_WONT)) {
                t->binary = t->command == TN_WILL;
            }
            break;
        case TELNET_SUB:
            if (c == TN_IAC) {
                t->state = TELNET_SUB_IAC;
            }
            break;
        case TELNET_SUB_IAC:
            t->state = c == TN_SE ? TELNET_DATA : TELNET_SUB;
            break;
        }
    }
    return out;
}
