/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of images at NBD servers. Private to block/. */
#ifndef BLOCK_DRIVERS_NBD_H
#define BLOCK_DRIVERS_NBD_H

#include <glib.h>
#include <jansson.h>

/*
 * "nbd://HOST[:PORT]/[EXPORT]", "nbd+unix:///[EXPORT]?socket=PATH",
 * "nbd:HOST:PORT[:exportname=NAME]" and "nbd:unix:PATH[:exportname=NAME]" as options of the driver
 * (new reference); NULL and *err.
 */
json_t *nbd_filename_config(const char *filename, GError **err);

#endif
