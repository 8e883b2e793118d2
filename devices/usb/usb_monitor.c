/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USB for the monitor and the command line: which devices there are, and their old short names. */
#include <string.h>

#include "base/error.h"
#include "devices/usb.h"
#include "usb.h"

/* Calls fn for each device; buses are counted in the order in which they were made. */
typedef struct {
    void (*fn)(UsbDevice *usb, unsigned bus, void *data);
    void *data;
    unsigned buses;
} UsbVisit;

static void usb_visit_device(Device *dev, void *data)
{
    UsbVisit *v = data;

    for (guint i = 0; dev->buses && i < dev->buses->len; i++) {
        Bus *bus = dev->buses->pdata[i];
        UsbBus *usb = container_of(bus, UsbBus, bus);

        if (bus->class != &usb_bus_class) {
            continue;
        }
        for (guint j = 0; j < usb->ports->len; j++) {
            UsbPort *port = usb->ports->pdata[j];

            if (port->taken) {
                v->fn(port->taken, v->buses, v->data);
            }
        }
        v->buses++;
    }
}

/* False: there is no USB bus. */
static bool usb_visit(Vm *vm, void (*fn)(UsbDevice *usb, unsigned bus, void *data), void *data)
{
    UsbVisit v = {.fn = fn, .data = data};

    device_foreach(vm, usb_visit_device, &v);
    return v.buses > 0;
}

static void usb_info_device(UsbDevice *usb, unsigned bus, void *data)
{
    GString *out = data;

    g_string_append_printf(out, "  Device %u.%u, Port %s, Speed %s Mb/s, Product %s", bus,
                           usb->s.address, usb->place->path, usb_speed_text(usb->speed),
                           usb_product(usb));
    if (usb->dev.id) {
        g_string_append_printf(out, ", ID: %s", usb->dev.id);
    }
    g_string_append_c(out, '\n');
}

char *usb_info_text(Vm *vm, GError **err)
{
    GString *out = g_string_new(NULL);

    if (!usb_visit(vm, usb_info_device, out)) {
        error_set(err, "USB support not enabled: -usb, or a controller by -device, is needed");
        g_string_free(out, TRUE);
        return NULL;
    }
    return g_string_free(out, FALSE);
}

typedef struct {
    unsigned bus, address, count;
    UsbDevice *found;
} UsbSearch;

static void usb_match(UsbDevice *usb, unsigned bus, void *data)
{
    UsbSearch *s = data;

    if (bus == s->bus && usb->s.address == s->address) {
        s->found = usb;
        s->count++;
    }
}

bool usb_del(Vm *vm, const char *place, GError **err)
{
    UsbSearch s = {0};
    int end = 0;

    if (sscanf(place, "%u.%u%n", &s.bus, &s.address, &end) != 2 || place[end]) {
        return error_set(err, "usb_del %s: 'info usb' shows devices as BUS.ADDR, such as 0.2",
                         place);
    }
    usb_visit(vm, usb_match, &s);
    if (!s.found) {
        return error_set(err, "usb_del %s: there is no such device; see 'info usb'", place);
    }
    if (s.count > 1) {
        return error_set(err,
                         "usb_del %s: %u devices have this address (0 is that of a device the "
                         "guest has not seen yet): use device_del with an id or path, see "
                         "'info qtree'",
                         place, s.count);
    }
    /* device_del() may wait for others, one of whom takes the device and its path away. */
    g_autofree char *path = g_strdup(s.found->dev.path);
    return device_del(vm, path, err);
}

/* The number in the id of the next drive that disk: makes. */
static unsigned usb_disk_number;

/* What follows disk: is a file, or format=FORMAT:FILE. */
static json_t *usb_disk_drive(const char *file, const char *id)
{
    static const char format[] = "format=";
    const char *colon = g_str_has_prefix(file, format) ? strchr(file, ':') : NULL;
    json_t *drive =
        json_pack("{s:s, s:s, s:s}", "id", id, "if", "none", "file", colon ? colon + 1 : file);

    if (colon) {
        const char *name = file + strlen(format);

        json_object_set_new(drive, "format", json_stringn(name, colon - name));
    }
    return drive;
}

bool usb_short_name(const char *name, json_t **device, json_t **drive, GError **err)
{
    static const struct {
        const char *name, *driver;
    } kinds[] = {{"tablet", "usb-tablet"}, {"mouse", "usb-mouse"}, {"keyboard", "usb-kbd"}};

    *drive = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (!strcmp(kinds[i].name, name)) {
            *device = json_pack("{s:s}", "driver", kinds[i].driver);
            return true;
        }
    }
    if (g_str_has_prefix(name, "disk:")) {
        g_autofree char *id = g_strdup_printf("usb-disk%u", usb_disk_number++);

        *drive = usb_disk_drive(name + strlen("disk:"), id);
        *device = json_pack("{s:s, s:s}", "driver", "usb-storage", "drive", id);
        return true;
    }
    return error_set(err,
                     "USB device '%s': there are tablet, mouse, keyboard and disk:FILE; '-device "
                     "help' lists what else there is on USB",
                     name);
}
