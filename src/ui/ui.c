/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ui_internal.h"

static void ui_free(struct Ui *ui)
{
    g_ptr_array_free(ui->screens, TRUE);
    g_ptr_array_free(ui->sinks, TRUE);
    g_array_free(ui->pointer_changed, TRUE);
    g_free(ui);
}

struct Ui *ui_of(Vm *vm)
{
    if (!vm->ui) {
        struct Ui *ui = g_new0(struct Ui, 1);

        ui->vm = vm;
        ui->screens = g_ptr_array_new();
        ui->sinks = g_ptr_array_new();
        ui->pointer_changed = g_array_new(FALSE, FALSE, sizeof(void *) * 2);
        vm->ui = ui;
        vm->ui_free = ui_free;
    }
    return vm->ui;
}
