/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board: its boot order and clock, and the answers about what can be plugged into other boards.
 */
#include "base/error.h"
#include "base/keyval.h"
#include "commands.h"
#include "devices/isa.h"
#include "machine/machine.h"
#include "x86/x86.h"

/* Boot order and clock. */

const Property boot_set_args[] = {
    MEMBER("bootdevice", PROP_STRING, .help = "letters, the first device first"), PROP_END};

MONITOR_HANDLER(cmd_boot_set)
{
    const char *order = json_str(args, "bootdevice");

    if (!vm->machine_class->set_boot_order) {
        error_set(err, "no function defined to set boot device list for this architecture");
        return NULL;
    }
    if (!vm->machine_class->set_boot_order(vm, order, err)) {
        return NULL;
    }
    return json_pack("{s:s}", "order", order);
}

MONITOR_PRINTER(print_boot_set)
{
    monitor_printf(mon, "boot device list now set to %s\n", json_str(result, "order"));
}

MONITOR_HANDLER(cmd_rtc_reset_reinjection)
{
    rtc_forget_lost_ticks(vm);
    return json_object();
}

/* Firmware, and the tables that it gets. Devices' option ROMs belong to the devices. */
MONITOR_HANDLER(cmd_query_roms)
{
    g_autofree char *text =
        vm->machine_class->roms_text ? vm->machine_class->roms_text(vm) : g_strdup("");

    return monitor_human_text(text);
}

/* Machine checks. */

const Property mce_args[] = {{.name = "b", .type = PROP_BOOL, .help = "the other CPUs hear of it"},
                             MEMBER("cpu", PROP_UINT32, .help = "which one"),
                             MEMBER("bank", PROP_UINT32, .help = "of its registers"),
                             MEMBER("status", PROP_UINT64, .help = "IA32_MCi_STATUS"),
                             MEMBER("mcgstatus", PROP_UINT64, .help = "IA32_MCG_STATUS"),
                             MEMBER("addr", PROP_UINT64, .help = "IA32_MCi_ADDR"),
                             MEMBER("misc", PROP_UINT64, .help = "IA32_MCi_MISC"),
                             PROP_END};

static uint64_t board_cmd_number(json_t *args, const char *name)
{
    return json_integer_value(json_object_get(args, name));
}

MONITOR_HANDLER(cmd_mce)
{
    g_autoptr(GString) said = g_string_new(NULL);
    X86Mce mce = {.bank = board_cmd_number(args, "bank"),
                  .status = board_cmd_number(args, "status"),
                  .mcg_status = board_cmd_number(args, "mcgstatus"),
                  .addr = board_cmd_number(args, "addr"),
                  .misc = board_cmd_number(args, "misc")};
    unsigned cpu = board_cmd_number(args, "cpu");

    return x86_inject_mce(vm, cpu, &mce, json_is_true(json_object_get(args, "b")), said, err)
               ? json_string(said->str)
               : NULL;
}

/* Nothing of this is here, and QEMU without such devices answers with the same empty lists. */

STATIC_SHAPE(dimm, "PCDIMMDeviceInfo", MAYBE("id", PROP_STRING), MEMBER("addr", PROP_INT64),
             MEMBER("size", PROP_INT64), MEMBER("slot", PROP_INT64), MEMBER("node", PROP_INT64),
             MEMBER("memdev", PROP_STRING), MEMBER("hotplugged", PROP_BOOL),
             MEMBER("hotpluggable", PROP_BOOL));
WRAPPED(wrapped_dimm, dimm);
static const ShapeVariant memory_device_variants[] = {
    {"dimm", wrapped_dimm}, {"nvdimm", wrapped_dimm}, {NULL}};
const PropertyShape memory_device_result = {
    .name = "MemoryDeviceInfo", .tag = "type", .variants = memory_device_variants};

static const char *const acpi_slot_names[] = {"DIMM", "CPU", NULL};
SHAPE(acpi_ospm_result, "ACPIOSTInfo", MAYBE("device", PROP_STRING), MEMBER("slot", PROP_STRING),
      MEMBER("slot-type", PROP_ENUM, .names = acpi_slot_names), MEMBER("source", PROP_INT64),
      MEMBER("status", PROP_INT64));

SHAPE(pr_manager_result, "PRManagerInfo", MEMBER("id", PROP_STRING),
      MEMBER("connected", PROP_BOOL));

STATIC_SHAPE(tpm_passthrough, "TPMPassthroughOptions", MAYBE("path", PROP_STRING),
             MAYBE("cancel-path", PROP_STRING));
STATIC_SHAPE(tpm_emulator, "TPMEmulatorOptions", MEMBER("chardev", PROP_STRING));
WRAPPED(wrapped_passthrough, tpm_passthrough);
WRAPPED(wrapped_emulator, tpm_emulator);
static const ShapeVariant tpm_variants[] = {
    {"passthrough", wrapped_passthrough}, {"emulator", wrapped_emulator}, {NULL}};
static const PropertyShape tpm_options = {
    .name = "TpmTypeOptions", .tag = "type", .variants = tpm_variants};
SHAPE(tpm_result, "TPMInfo", MEMBER("id", PROP_STRING),
      MEMBER("model", PROP_ENUM, .names = tpm_model_names),
      MEMBER("options", PROP_TREE, .shape = &tpm_options));
