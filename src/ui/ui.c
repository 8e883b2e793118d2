/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ui_internal.h"

static void ui_free(struct Ui *ui)
{
    g_ptr_array_free(ui->screens, TRUE);
    input_free(ui);
    g_free(ui);
}

struct Ui *ui_of(Vm *vm)
{
    if (!vm->ui) {
        struct Ui *ui = g_new0(struct Ui, 1);

        ui->vm = vm;
        ui->screens = g_ptr_array_new();
        input_init(ui);
        vm->ui = ui;
        vm->ui_free = ui_free;
    }
    return vm->ui;
}
