/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VDI image from an attacker. */
#include "fuzz_image.h"

static const FuzzImage image = {.format = "vdi"};
FUZZ_IMAGE(image)
