/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "registers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * "cs.base": of a segment's parts the CPU's interface gives the selector alone, but the dump of the
 * registers has a line for each segment: "CS =f000 ffff0000 0000ffff 00009b00".
 */
static bool segment_part(Vcpu *cpu, const char *name, uint64_t *value)
{
    const char *part = strchr(name, '.') + 1;
    g_autofree char *upper = g_ascii_strup(name, part - 1 - name);
    g_autofree char *start = g_strdup_printf("\n%-3s=", upper);
    g_autofree char *dump = NULL;
    const char *line;
    uint64_t base, limit;

    if ((strcmp(part, "base") && strcmp(part, "limit")) || strlen(upper) != 2) {
        return false;
    }
    dump = cpu->vm->arch->registers_text(cpu);
    line = strstr(dump, start);
    if (!line || sscanf(line + strlen(start), "%*x %" SCNx64 " %" SCNx64, &base, &limit) != 2) {
        return false;
    }
    *value = !strcmp(part, "base") ? base : limit;
    return true;
}

bool register_read(Vcpu *cpu, const char *name, uint64_t *value)
{
    const ArchOps *arch = cpu->vm->arch;

    /* Where the next instruction is fetched: unlike $eip, with the code segment's base. */
    if (!strcmp(name, "pc") && arch->program_counter) {
        *value = arch->program_counter(cpu);
        return true;
    }
    if (strchr(name, '.')) {
        return arch->registers_text && segment_part(cpu, name, value);
    }
    return arch->read_register && arch->read_register(cpu, name, value);
}
