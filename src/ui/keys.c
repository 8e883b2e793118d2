/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of keys. Names are those of QEMU's QKeyCode, in its order. Scan codes: IBM PS/2
 * Technical Reference, Keyboard (101/102 keys), and for later keys the USB HID to PS/2 Scan Code
 * Translation Table; set 1 of keys that no PC keyboard has is Linux's and X's number for them.
 * Usages: USB HID Usage Tables, page 7, as Linux reads them.
 */
#include "ui/keys.h"

#include <linux/input-event-codes.h>
#include <string.h>

#define KEYS(X)                                                                                    \
    X(RESERVED, "unmapped", 0, 0, 0, 0)                                                            \
    X(LEFTSHIFT, "shift", 0x2a, 0x12, 0x12, 0xe1)                                                  \
    X(RIGHTSHIFT, "shift_r", 0x36, 0x59, 0x59, 0xe5)                                               \
    X(LEFTALT, "alt", 0x38, 0x11, 0x19, 0xe2)                                                      \
    X(RIGHTALT, "alt_r", 0xe038, 0xe011, 0x39, 0xe6)                                               \
    X(LEFTCTRL, "ctrl", 0x1d, 0x14, 0x11, 0xe0)                                                    \
    X(RIGHTCTRL, "ctrl_r", 0xe01d, 0xe014, 0x58, 0xe4)                                             \
    X(MENU, "menu", 0xe01e, 0, 0x91, 0)                                                            \
    X(ESC, "esc", 0x01, 0x76, 0x08, 0x29)                                                          \
    X(1, "1", 0x02, 0x16, 0x16, 0x1e)                                                              \
    X(2, "2", 0x03, 0x1e, 0x1e, 0x1f)                                                              \
    X(3, "3", 0x04, 0x26, 0x26, 0x20)                                                              \
    X(4, "4", 0x05, 0x25, 0x25, 0x21)                                                              \
    X(5, "5", 0x06, 0x2e, 0x2e, 0x22)                                                              \
    X(6, "6", 0x07, 0x36, 0x36, 0x23)                                                              \
    X(7, "7", 0x08, 0x3d, 0x3d, 0x24)                                                              \
    X(8, "8", 0x09, 0x3e, 0x3e, 0x25)                                                              \
    X(9, "9", 0x0a, 0x46, 0x46, 0x26)                                                              \
    X(0, "0", 0x0b, 0x45, 0x45, 0x27)                                                              \
    X(MINUS, "minus", 0x0c, 0x4e, 0x4e, 0x2d)                                                      \
    X(EQUAL, "equal", 0x0d, 0x55, 0x55, 0x2e)                                                      \
    X(BACKSPACE, "backspace", 0x0e, 0x66, 0x66, 0x2a)                                              \
    X(TAB, "tab", 0x0f, 0x0d, 0x0d, 0x2b)                                                          \
    X(Q, "q", 0x10, 0x15, 0x15, 0x14)                                                              \
    X(W, "w", 0x11, 0x1d, 0x1d, 0x1a)                                                              \
    X(E, "e", 0x12, 0x24, 0x24, 0x08)                                                              \
    X(R, "r", 0x13, 0x2d, 0x2d, 0x15)                                                              \
    X(T, "t", 0x14, 0x2c, 0x2c, 0x17)                                                              \
    X(Y, "y", 0x15, 0x35, 0x35, 0x1c)                                                              \
    X(U, "u", 0x16, 0x3c, 0x3c, 0x18)                                                              \
    X(I, "i", 0x17, 0x43, 0x43, 0x0c)                                                              \
    X(O, "o", 0x18, 0x44, 0x44, 0x12)                                                              \
    X(P, "p", 0x19, 0x4d, 0x4d, 0x13)                                                              \
    X(LEFTBRACE, "bracket_left", 0x1a, 0x54, 0x54, 0x2f)                                           \
    X(RIGHTBRACE, "bracket_right", 0x1b, 0x5b, 0x5b, 0x30)                                         \
    X(ENTER, "ret", 0x1c, 0x5a, 0x5a, 0x28)                                                        \
    X(A, "a", 0x1e, 0x1c, 0x1c, 0x04)                                                              \
    X(S, "s", 0x1f, 0x1b, 0x1b, 0x16)                                                              \
    X(D, "d", 0x20, 0x23, 0x23, 0x07)                                                              \
    X(F, "f", 0x21, 0x2b, 0x2b, 0x09)                                                              \
    X(G, "g", 0x22, 0x34, 0x34, 0x0a)                                                              \
    X(H, "h", 0x23, 0x33, 0x33, 0x0b)                                                              \
    X(J, "j", 0x24, 0x3b, 0x3b, 0x0d)                                                              \
    X(K, "k", 0x25, 0x42, 0x42, 0x0e)                                                              \
    X(L, "l", 0x26, 0x4b, 0x4b, 0x0f)                                                              \
    X(SEMICOLON, "semicolon", 0x27, 0x4c, 0x4c, 0x33)                                              \
    X(APOSTROPHE, "apostrophe", 0x28, 0x52, 0x52, 0x34)                                            \
    X(GRAVE, "grave_accent", 0x29, 0x0e, 0x0e, 0x35)                                               \
    X(BACKSLASH, "backslash", 0x2b, 0x5d, 0x5c, 0x31)                                              \
    X(Z, "z", 0x2c, 0x1a, 0x1a, 0x1d)                                                              \
    X(X, "x", 0x2d, 0x22, 0x22, 0x1b)                                                              \
    X(C, "c", 0x2e, 0x21, 0x21, 0x06)                                                              \
    X(V, "v", 0x2f, 0x2a, 0x2a, 0x19)                                                              \
    X(B, "b", 0x30, 0x32, 0x32, 0x05)                                                              \
    X(N, "n", 0x31, 0x31, 0x31, 0x11)                                                              \
    X(M, "m", 0x32, 0x3a, 0x3a, 0x10)                                                              \
    X(COMMA, "comma", 0x33, 0x41, 0x41, 0x36)                                                      \
    X(DOT, "dot", 0x34, 0x49, 0x49, 0x37)                                                          \
    X(SLASH, "slash", 0x35, 0x4a, 0x4a, 0x38)                                                      \
    X(KPASTERISK, "asterisk", 0x37, 0x7c, 0x7e, 0x55)                                              \
    X(SPACE, "spc", 0x39, 0x29, 0x29, 0x2c)                                                        \
    X(CAPSLOCK, "caps_lock", 0x3a, 0x58, 0x14, 0x39)                                               \
    X(F1, "f1", 0x3b, 0x05, 0x07, 0x3a)                                                            \
    X(F2, "f2", 0x3c, 0x06, 0x0f, 0x3b)                                                            \
    X(F3, "f3", 0x3d, 0x04, 0x17, 0x3c)                                                            \
    X(F4, "f4", 0x3e, 0x0c, 0x1f, 0x3d)                                                            \
    X(F5, "f5", 0x3f, 0x03, 0x27, 0x3e)                                                            \
    X(F6, "f6", 0x40, 0x0b, 0x2f, 0x3f)                                                            \
    X(F7, "f7", 0x41, 0x83, 0x37, 0x40)                                                            \
    X(F8, "f8", 0x42, 0x0a, 0x3f, 0x41)                                                            \
    X(F9, "f9", 0x43, 0x01, 0x47, 0x42)                                                            \
    X(F10, "f10", 0x44, 0x09, 0x4f, 0x43)                                                          \
    X(NUMLOCK, "num_lock", 0x45, 0x77, 0x76, 0x53)                                                 \
    X(SCROLLLOCK, "scroll_lock", 0x46, 0x7e, 0x5f, 0x47)                                           \
    X(KPSLASH, "kp_divide", 0xe035, 0xe04a, 0x4a, 0x54)                                            \
    X(KPASTERISK, "kp_multiply", 0x37, 0x7c, 0x7e, 0x55)                                           \
    X(KPMINUS, "kp_subtract", 0x4a, 0x7b, 0x4e, 0x56)                                              \
    X(KPPLUS, "kp_add", 0x4e, 0x79, 0x7c, 0x57)                                                    \
    X(KPENTER, "kp_enter", 0xe01c, 0xe05a, 0x79, 0x58)                                             \
    X(KPDOT, "kp_decimal", 0x53, 0x71, 0x71, 0x63)                                                 \
    X(SYSRQ, "sysrq", 0x54, 0x84, 0x57, 0x46)                                                      \
    X(KP0, "kp_0", 0x52, 0x70, 0x70, 0x62)                                                         \
    X(KP1, "kp_1", 0x4f, 0x69, 0x69, 0x59)                                                         \
    X(KP2, "kp_2", 0x50, 0x72, 0x72, 0x5a)                                                         \
    X(KP3, "kp_3", 0x51, 0x7a, 0x7a, 0x5b)                                                         \
    X(KP4, "kp_4", 0x4b, 0x6b, 0x6b, 0x5c)                                                         \
    X(KP5, "kp_5", 0x4c, 0x73, 0x73, 0x5d)                                                         \
    X(KP6, "kp_6", 0x4d, 0x74, 0x74, 0x5e)                                                         \
    X(KP7, "kp_7", 0x47, 0x6c, 0x6c, 0x5f)                                                         \
    X(KP8, "kp_8", 0x48, 0x75, 0x75, 0x60)                                                         \
    X(KP9, "kp_9", 0x49, 0x7d, 0x7d, 0x61)                                                         \
    X(102ND, "less", 0x56, 0x61, 0x13, 0x64)                                                       \
    X(F11, "f11", 0x57, 0x78, 0x56, 0x44)                                                          \
    X(F12, "f12", 0x58, 0x07, 0x5e, 0x45)                                                          \
    X(SYSRQ, "print", 0x54, 0x84, 0x57, 0x46)                                                      \
    X(HOME, "home", 0xe047, 0xe06c, 0x6e, 0x4a)                                                    \
    X(PAGEUP, "pgup", 0xe049, 0xe07d, 0x6f, 0x4b)                                                  \
    X(PAGEDOWN, "pgdn", 0xe051, 0xe07a, 0x6d, 0x4e)                                                \
    X(END, "end", 0xe04f, 0xe069, 0x65, 0x4d)                                                      \
    X(LEFT, "left", 0xe04b, 0xe06b, 0x61, 0x50)                                                    \
    X(UP, "up", 0xe048, 0xe075, 0x63, 0x52)                                                        \
    X(DOWN, "down", 0xe050, 0xe072, 0x60, 0x51)                                                    \
    X(RIGHT, "right", 0xe04d, 0xe074, 0x6a, 0x4f)                                                  \
    X(INSERT, "insert", 0xe052, 0xe070, 0x67, 0x49)                                                \
    X(DELETE, "delete", 0xe053, 0xe071, 0x64, 0x4c)                                                \
    X(STOP, "stop", 0xe068, 0xe028, 0x0a, 0x78)                                                    \
    X(AGAIN, "again", 0xe005, 0, 0x0b, 0x79)                                                       \
    X(PROPS, "props", 0xe006, 0, 0x0c, 0x76)                                                       \
    X(UNDO, "undo", 0xe007, 0, 0x10, 0x7a)                                                         \
    X(FRONT, "front", 0xe00c, 0, 0, 0x77)                                                          \
    X(COPY, "copy", 0xe078, 0, 0x18, 0x7c)                                                         \
    X(OPEN, "open", 0x64, 0, 0x20, 0x74)                                                           \
    X(PASTE, "paste", 0x65, 0, 0x28, 0x7d)                                                         \
    X(FIND, "find", 0xe041, 0, 0x30, 0x7e)                                                         \
    X(CUT, "cut", 0xe03c, 0, 0x38, 0x7b)                                                           \
    X(LINEFEED, "lf", 0x5b, 0, 0, 0)                                                               \
    X(HELP, "help", 0xe075, 0, 0x09, 0x75)                                                         \
    X(LEFTMETA, "meta_l", 0xe05b, 0xe01f, 0x8b, 0xe3)                                              \
    X(RIGHTMETA, "meta_r", 0xe05c, 0xe027, 0x8c, 0xe7)                                             \
    X(COMPOSE, "compose", 0xe05d, 0xe02f, 0x8d, 0x65)                                              \
    X(PAUSE, "pause", 0xe046, 0xe07e, 0x62, 0x48)                                                  \
    X(RO, "ro", 0x73, 0x51, 0, 0x87)                                                               \
    X(HIRAGANA, "hiragana", 0x77, 0x62, 0x87, 0x93)                                                \
    X(HENKAN, "henkan", 0x79, 0x64, 0x86, 0x8a)                                                    \
    X(YEN, "yen", 0x7d, 0x6a, 0x5d, 0x89)                                                          \
    X(MUHENKAN, "muhenkan", 0x7b, 0x67, 0x85, 0x8b)                                                \
    X(KATAKANAHIRAGANA, "katakanahiragana", 0x70, 0x13, 0x87, 0x88)                                \
    X(KPCOMMA, "kp_comma", 0x7e, 0x6d, 0, 0x85)                                                    \
    X(KPEQUAL, "kp_equals", 0x59, 0x0f, 0, 0x67)                                                   \
    X(POWER, "power", 0xe05e, 0xe037, 0, 0x66)                                                     \
    X(SLEEP, "sleep", 0xe05f, 0xe03f, 0, 0)                                                        \
    X(WAKEUP, "wake", 0xe063, 0xe05e, 0, 0)                                                        \
    X(NEXTSONG, "audionext", 0xe019, 0xe04d, 0x93, 0)                                              \
    X(PREVIOUSSONG, "audioprev", 0xe010, 0xe015, 0x94, 0)                                          \
    X(STOPCD, "audiostop", 0xe024, 0xe03b, 0x98, 0)                                                \
    X(PLAYPAUSE, "audioplay", 0xe022, 0xe034, 0, 0)                                                \
    X(MUTE, "audiomute", 0xe020, 0xe023, 0x9c, 0x7f)                                               \
    X(VOLUMEUP, "volumeup", 0xe030, 0xe032, 0x95, 0x80)                                            \
    X(VOLUMEDOWN, "volumedown", 0xe02e, 0xe021, 0x9d, 0x81)                                        \
    X(MEDIA, "mediaselect", 0xe06d, 0xe050, 0, 0)                                                  \
    X(MAIL, "mail", 0xe06c, 0xe048, 0, 0)                                                          \
    X(CALC, "calculator", 0xe021, 0xe02b, 0xa3, 0)                                                 \
    X(COMPUTER, "computer", 0xe06b, 0xe040, 0, 0)                                                  \
    X(HOMEPAGE, "ac_home", 0xe032, 0xe03a, 0x97, 0)                                                \
    X(BACK, "ac_back", 0xe06a, 0xe038, 0, 0)                                                       \
    X(FORWARD, "ac_forward", 0xe069, 0xe030, 0, 0)                                                 \
    X(REFRESH, "ac_refresh", 0xe067, 0xe020, 0, 0)                                                 \
    X(BOOKMARKS, "ac_bookmarks", 0xe066, 0xe018, 0, 0)                                             \
    X(HANGEUL, "lang1", 0x72, 0xf2, 0, 0x90)                                                       \
    X(HANJA, "lang2", 0x71, 0xf1, 0, 0x91)

const UiKey ui_keys[] = {
#define X(code, name, set1, set2, set3, hid) {KEY_##code, name, set1, set2, set3, hid},
    KEYS(X)
#undef X
        {0},
};

const char *const ui_key_names[] = {
#define X(code, name, set1, set2, set3, hid) name,
    KEYS(X)
#undef X
        NULL,
};

const UiKey *ui_key_find(const char *name)
{
    for (const UiKey *key = ui_keys; key->name; key++) {
        if (!strcmp(key->name, name)) {
            return key;
        }
    }
    return NULL;
}

const UiKey *ui_key_of_code(unsigned code)
{
    for (const UiKey *key = ui_keys; code && key->name; key++) {
        if (key->code == code) {
            return key;
        }
    }
    return NULL;
}

unsigned ui_key_number(const UiKey *key)
{
    return key->set1 >= 0xe000 ? (key->set1 & 0x7f) | 0x80 : key->set1;
}

const UiKey *ui_key_of_number(unsigned number)
{
    /* Print Screen has the codes of two keys: as sent with Alt (SysRq), and without. */
    if (number == 0xb7) {
        number = 0x54;
    }
    for (const UiKey *key = ui_keys; number && key->name; key++) {
        if (ui_key_number(key) == number) {
            return key;
        }
    }
    return NULL;
}
