/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SMBIOS (DMTF DSP0134 2.8): the tables, and how firmware or a kernel gets them. Main thread. */
#ifndef MACHINE_SMBIOS_H
#define MACHINE_SMBIOS_H

#include "vm/vm.h"

typedef struct Smbios Smbios;

/* 'entries' are the arguments of -smbios, json_t objects; may be NULL. */
Smbios *smbios_build(Vm *vm, GPtrArray *entries, GError **err);
void smbios_free(Smbios *s);
bool smbios_to_fw_cfg(const Smbios *s, Device *fw_cfg, GError **err);
/* For a direct boot: the tables, and the anchor for tables at address 'tables_at'. */
const GByteArray *smbios_tables(const Smbios *s);
void smbios_anchor(const Smbios *s, uint32_t tables_at, uint8_t anchor[31]);

#endif
