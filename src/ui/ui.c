/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ui/keymap.h"
#include "ui_internal.h"

static void ui_free(struct Ui *ui)
{
    /* Those of character devices, which outlive the machine. */
    while (ui->screens->len) {
        screen_remove(ui->screens->pdata[ui->screens->len - 1]);
    }
    g_ptr_array_free(ui->screens, TRUE);
    input_free(ui);
    ui_keymap_free();
    g_ptr_array_free(ui->vnc_servers, TRUE);
    g_free(ui);
}

struct Ui *ui_of(Vm *vm)
{
    if (!vm->ui) {
        struct Ui *ui = g_new0(struct Ui, 1);

        ui->vm = vm;
        ui->screens = g_ptr_array_new();
        input_init(ui);
        ui->vnc_servers = g_ptr_array_new();
        vm->ui = ui;
        vm->ui_free = ui_free;
    }
    return vm->ui;
}
