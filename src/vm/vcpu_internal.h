/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VM_VCPU_INTERNAL_H
#define VM_VCPU_INTERNAL_H

#include "vm/vcpu.h"

/*
 * Around KVM_RUN: outside of the read section, and held while somebody changes memory slots. The
 * accelerator's kick must make a KVM_RUN that has not begun yet return at once.
 */
void vcpu_enter_guest(Vcpu *cpu);
void vcpu_leave_guest(Vcpu *cpu);

extern const Accel kvm_accel, qtest_accel;

#endif
