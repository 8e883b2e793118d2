/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz_image.h"

static const FuzzImage image = {.format = "parallels"};
FUZZ_IMAGE(image)
