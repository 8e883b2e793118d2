/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow (version 1) image from an attacker. */
#include "fuzz_image.h"

static const FuzzImage image = {.format = "qcow", .open = "{\"backing\":null}"};
FUZZ_IMAGE(image)
