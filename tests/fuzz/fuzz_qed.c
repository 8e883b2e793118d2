/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A QED image from an attacker. */
#include "fuzz_image.h"

static const FuzzImage image = {.format = "qed", .open = "{\"backing\":null}"};
FUZZ_IMAGE(image)
