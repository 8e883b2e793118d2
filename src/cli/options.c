/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of options. Spellings are QEMU's (qemu(1)). */
#include "ui/vnc.h"
#include "cli/options.h"

#include "base/trace.h"
#include "block/backend.h"
#include "cli/params.h"

/* Keys whose values stay text in the tree: the code that uses the option reads them one by one. */
#define P(n, t, h)                                                                                 \
    {                                                                                              \
        .name = (n), .type = (t), .help = (h)                                                      \
    }

static const Property name_params[] = {
    P("guest", PROP_STRING, "what the machine is called"),
    P("process", PROP_STRING, "what the process calls itself"),
    P("debug-threads", PROP_BOOL, "threads have names (they always have)"),
    PROP_END,
};
static const Property msg_params[] = {
    P("timestamp", PROP_BOOL, "messages begin with the time"),
    P("guest-name", PROP_BOOL, "messages begin with the machine's name"),
    PROP_END,
};
static const Property overcommit_params[] = {
    P("mem-lock", PROP_BOOL, "guest memory stays in the host's memory"),
    P("cpu-pm", PROP_BOOL, "the guest may put host CPUs to sleep; off only"),
    PROP_END,
};
static const Property fw_cfg_params[] = {
    P("name", PROP_STRING, "what the guest finds it by: opt/..."),
    P("file", PROP_STRING, "a file with the content"),
    P("string", PROP_STRING, "the content"),
    PROP_END,
};
static const Property acpitable_params[] = {
    P("data", PROP_STRING, "files with what follows the header, separated by colons"),
    P("file", PROP_STRING, "files with the table, header included, separated by colons"),
    P("sig", PROP_STRING, "signature: 4 characters"),
    P("rev", PROP_STRING, "revision: 0 to 255"),
    P("oem_id", PROP_STRING, "6 characters"),
    P("oem_table_id", PROP_STRING, "8 characters"),
    P("oem_rev", PROP_STRING, "a number of 32 bits"),
    P("asl_compiler_id", PROP_STRING, "4 characters"),
    P("asl_compiler_rev", PROP_STRING, "a number of 32 bits"),
    PROP_END,
};
static const Property fdset_params[] = {
    P("fd", PROP_UINT32, "an open file descriptor"),
    P("set", PROP_UINT32, "the set it joins: /dev/fdset/SET"),
    P("opaque", PROP_STRING, "a remark"),
    PROP_END,
};

static const Property audiodev_params[] = {
    {.name = "driver", .type = PROP_STRING, .help = "none only", .flags = PROP_FLAG_REQUIRED},
    P("id", PROP_STRING, "its name"),
    PROP_END,
};

static const char *const smbios_lists[] = {"value", "path", NULL};
static const char *const net_lists[] = {"hostfwd", "guestfwd", "dnssearch", NULL};

static const OptionDef table[] = {
    /* Standard. */
    {"h", OPTION_FLAG, .key = "help", .help = "show this help and exit"},
    {"help", OPTION_FLAG, .help = "show this help and exit"},
    {"version", OPTION_FLAG, .help = "show the version and exit"},
    {"machine", OPTION_MERGE, .implied = "type", .arg = "[type=]NAME[,PROP=VALUE]...",
     .help = "the board (-machine help lists them) and its properties; smp.KEY, memory.KEY and "
             "boot.KEY are those of -smp, -m and -boot, and firmware, kernel, initrd and append "
             "are the options of these names (-bios)",
     .example = "-machine pc,accel=kvm"},
    {"M", OPTION_MERGE, .key = "machine", .implied = "type", .arg = "NAME",
     .help = "the same as -machine"},
    {"accel", OPTION_LIST, .implied = "accel", .arg = "[accel=]NAME[,PROP=VALUE]...",
     .help = "what runs the guest: kvm, qtest; of several the first usable one (-accel help)",
     .example = "-accel kvm,kernel-irqchip=split"},
    {"enable-kvm", OPTION_SET, .sets = "-machine accel=kvm", .help = "the same as -accel kvm"},
    {"cpu", OPTION_STRING, .arg = "MODEL[,+FEATURE][,-FEATURE][,FEATURE=on|off]...",
     .help = "the CPU (-cpu help lists models and features)", .example = "-cpu host,-x2apic"},
    {"smp", OPTION_MERGE, .implied = "cpus", .params = smp_params,
     .arg = "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]",
     .help = "how many CPUs, and how they are grouped", .example = "-smp 4,cores=2,threads=2"},
    {"m", OPTION_MERGE, .key = "memory", .implied = "size", .params = memory_params,
     .arg = "[size=]MEGS", .help = "guest memory; suffixes M and G (default 128M)",
     .example = "-m 2G"},
    {"name", OPTION_MERGE, .implied = "guest", .params = name_params,
     .arg = "[guest=]NAME[,debug-threads=on|off]", .help = "the machine's name"},
    {"uuid", OPTION_STRING, .arg = "UUID", .help = "the machine's UUID"},
    {"global", OPTION_STRINGS, .arg = "DRIVER.PROP=VALUE|driver=DRIVER,property=PROP,value=VALUE",
     .help = "default of a device property", .example = "-global kvm-pit.lost_tick_policy=discard"},
    {"set", OPTION_STRINGS, .refused = "write the value where the thing is defined"},
    {"boot", OPTION_MERGE, .implied = "order", .params = boot_params,
     .arg = "[order=]DRIVES[,once=DRIVES][,menu=on|off][,splash=FILE][,splash-time=MS][,"
            "reboot-timeout=MS][,strict=on|off]",
     .help = "what the firmware boots from", .example = "-boot menu=on"},
    {"rtc", OPTION_MERGE, .implied = "base", .params = rtc_params,
     .arg = "[base=]utc|localtime|DATE[,clock=host|rt|vm][,driftfix=none|slew]",
     .help = "the real-time clock"},
    {"S", OPTION_FLAG, .key = "paused", .help = "do not start the CPUs: 'cont' in a monitor does"},
    {"no-acpi", OPTION_SET, .sets = "-machine acpi=off", .help = "no ACPI tables"},
    {"no-hpet", OPTION_SET, .sets = "-machine hpet=off", .help = "no HPET (the default)"},
    {"acpitable", OPTION_LIST, .params = acpitable_params,
     .arg = "data=FILE[:FILE]...|file=FILE[:FILE]...[,sig=TEXT][,rev=N][,oem_id=TEXT]"
            "[,oem_table_id=TEXT][,oem_rev=N][,asl_compiler_id=TEXT][,asl_compiler_rev=N]",
     .help = "an ACPI table of your own: with a header in front (data), or whole (file)",
     .example = "-acpitable sig=OEM1,data=table.bin"},
    {"smbios", OPTION_LIST, .lists = smbios_lists, .arg = "type=N[,FIELD=VALUE]...|file=FILE",
     .help = "fields of the SMBIOS tables, or structures from a file; type 1's uuid is the "
             "machine's, as -uuid's is",
     .example = "-smbios type=1,manufacturer=Acme"},
    {"fw_cfg", OPTION_LIST, .implied = "name", .params = fw_cfg_params,
     .arg = "[name=]NAME,file=FILE|string=TEXT", .help = "a file in fw_cfg for the guest"},
    {"overcommit", OPTION_MERGE, .params = overcommit_params, .arg = "[mem-lock=on|off]",
     .help = "host resources"},
    {"mem-prealloc", OPTION_FLAG, .help = "take all guest memory from the host at start"},
    {"mem-path", OPTION_STRING,
     .refused = "use -object memory-backend-file,id=ID,mem-path=PATH,size=SIZE and -machine "
                "memory-backend=ID"},
    {"numa", OPTION_LIST, .refused = "NUMA nodes are not there yet"},
    {"usb", OPTION_SET, .sets = "-machine usb=on", .help = "the USB controller of the board"},
    {"usbdevice", OPTION_STRINGS, .arg = "tablet|mouse|keyboard|disk:[format=FORMAT:]FILE",
     .help = "the same as -machine usb=on -device usb-..."},
    {"soundhw", OPTION_STRING, .refused = "there is no sound"},
    {"audiodev", OPTION_LIST, .implied = "driver", .params = audiodev_params,
     .arg = "[driver=]none[,id=ID]",
     .help = "where sound goes: nowhere ('none'), for there are no sound devices yet",
     .example = "-audiodev none,id=a0"},
    {"icount", OPTION_STRING, .refused = "instructions cannot be counted under KVM"},
    {"object", OPTION_LIST, .implied = "qom-type", .nest = true,
     .arg = "CLASS,id=ID[,PROP=VALUE]...", .help = "an object that others refer to (-object help)",
     .example = "-object iothread,id=t0"},
    {"device", OPTION_LIST, .implied = "driver", .nest = true,
     .arg = "DRIVER[,id=ID][,bus=BUS][,PROP=VALUE]...",
     .help = "a device (-device help lists them, -device DRIVER,help its properties)",
     .example = "-device virtio-rng-pci"},

    /* Disks. */
    {"drive", OPTION_LIST, /* its dots are for the block layer: "file=X,file.locking=off" */
     .known = block_drive_props,
     .arg = "[file=FILE][,if=ide|virtio|floppy|none][,format=FORMAT][,cache=MODE][,aio=ENGINE][,id="
            "ID][,PROP="
            "VALUE]...",
     .help = "a disk: a file and what it is plugged in by",
     .example = "-drive file=disk.qcow2,if=virtio"},
    {"blockdev", OPTION_LIST, .implied = "driver", .nest = true,
     .arg = "[driver=]DRIVER,node-name=NAME[,PROP=VALUE]...", .help = "a node of the block graph",
     .example = "-blockdev qcow2,node-name=d0,file.driver=file,file.filename=d.qcow2"},
    {"snapshot", OPTION_FLAG,
     .help = "disks of -drive are written to temporary files, and left as they were"},
    {"no-named-files", OPTION_FLAG,
     .help = "open no file because an image names it (backing file, data file, extent)"},
    {"hda", OPTION_STRINGS, .arg = "FILE", .help = "the same as -drive file=FILE,if=ide,index=0"},
    {"hdb", OPTION_STRINGS, .arg = "FILE", .help = "the same as -drive file=FILE,if=ide,index=1"},
    {"hdc", OPTION_STRINGS, .arg = "FILE", .help = "the same as -drive file=FILE,if=ide,index=2"},
    {"hdd", OPTION_STRINGS, .arg = "FILE", .help = "the same as -drive file=FILE,if=ide,index=3"},
    {"cdrom", OPTION_STRINGS, .arg = "FILE",
     .help = "the same as -drive file=FILE,media=cdrom,if=ide,index=2"},
    {"fda", OPTION_STRINGS, .arg = "FILE",
     .help = "the same as -drive file=FILE,if=floppy,index=0"},
    {"fdb", OPTION_STRINGS, .arg = "FILE",
     .help = "the same as -drive file=FILE,if=floppy,index=1"},

    /* Network. */
    {"netdev", OPTION_LIST, .implied = "type", .nest = true, .lists = net_lists,
     .arg = "BACKEND,id=ID[,PROP=VALUE]...",
     .help = "what a network card is connected to (-netdev help)",
     .example = "-netdev user,id=n0,hostfwd=tcp:127.0.0.1:2222-:22"},
    {"nic", OPTION_LIST, .implied = "type", .nest = true, .lists = net_lists,
     .arg = "[BACKEND|none][,model=MODEL][,mac=MAC][,PROP=VALUE]...",
     .help = "a network card and its connection in one (-nic help)",
     .example = "-nic user,model=virtio-net-pci"},
    {"net", OPTION_LIST, .implied = "type", .nest = true, .lists = net_lists,
     .arg = "nic|BACKEND|none[,vlan=N][,PROP=VALUE]...",
     .help = "the old form: cards and connections on a hub (-net help)"},

    /* Characters and monitors. */
    {"chardev", OPTION_LIST, .implied = "backend", .arg = "BACKEND,id=ID[,PROP=VALUE]...",
     .help = "a character device (-chardev help)",
     .example = "-chardev socket,id=c0,path=/tmp/c0,server=on,wait=off"},
    {"serial", OPTION_STRINGS, .arg = "DEV",
     .help = "a serial port: stdio, mon:stdio, pty, null, none, file:FILE, unix:PATH, "
             "tcp:HOST:PORT, chardev:ID"},
    {"parallel", OPTION_STRING, .arg = "none", .only = "none",
     .help = "none only: there is no parallel port"},
    {"debugcon", OPTION_STRING, .arg = "DEV", .help = "port 0xe9 to a character device"},
    {"monitor", OPTION_STRINGS, .arg = "DEV", .help = "the monitor for people (HMP)",
     .example = "-monitor stdio"},
    {"qmp", OPTION_STRINGS, .arg = "DEV", .help = "the monitor for programs (QMP)",
     .example = "-qmp unix:/tmp/qmp,server=on,wait=off"},
    {"qmp-pretty", OPTION_STRINGS, .arg = "DEV", .help = "the same, with answers on several lines"},
    {"mon", OPTION_LIST, .implied = "chardev", .params = mon_params,
     .arg = "[chardev=]ID[,mode=readline|control][,pretty=on|off]",
     .help = "a monitor on a character device"},
    {"echr", OPTION_STRING, .arg = "CODE",
     .help = "the escape character of mon:stdio instead of Ctrl-A (1)"},
    {"nographic", OPTION_FLAG,
     .help =
         "no display; the first serial port and the monitor share the terminal (Ctrl-A H helps)"},
    {"display", OPTION_STRING, .arg = "none|curses|vnc=HOST:DISPLAY[,OPTION]...",
     .help = "who shows the guest's screen"},
    {"vnc", OPTION_LIST, .implied = "vnc", .params = vnc_params,
     .arg = "HOST:DISPLAY|unix:PATH|none[,password=on][,websocket=on]...",
     .help = "a VNC server, on port 5900 + DISPLAY", .example = "-vnc 127.0.0.1:0,websocket=on"},
    {"k", OPTION_STRING, .arg = "LAYOUT",
     .help = "keyboard layout of VNC viewers that send characters only (en-us)"},
    {"vga", OPTION_STRING, .arg = "std|none",
     .help = "a display adapter: a VGA with VBE (std), or none; as a device: -device VGA"},
    {"spice", OPTION_STRING, .refused = "there is no SPICE in this program: use -vnc 127.0.0.1:0"},
    {"alt-grab", OPTION_FLAG,
     .refused = "this program has no windows, which could grab the pointer: use -vnc :0"},
    {"ctrl-grab", OPTION_FLAG,
     .refused = "this program has no windows, which could grab the pointer: use -vnc :0"},
    {"curses", OPTION_FLAG, .help = "the guest's text screen in this terminal, as -display curses"},

    /* Booting a kernel. */
    {"kernel", OPTION_STRING, .arg = "FILE",
     .help = "a Linux bzImage, PVH or Multiboot kernel, booted without firmware"},
    {"initrd", OPTION_STRING, .arg = "FILE", .help = "its initial RAM disk (Multiboot: modules)"},
    {"append", OPTION_STRING, .arg = "TEXT", .help = "its command line",
     .example = "-append console=ttyS0"},
    {"dtb", OPTION_STRING, .refused = "this board is described by ACPI"},
    {"bios", OPTION_STRING, .arg = "FILE", .help = "the firmware (default: SeaBIOS)"},
    {"pflash", OPTION_STRING, .refused = "there is no flash memory yet: use -bios"},
    {"option-rom", OPTION_STRINGS, .refused = "use the romfile property of a device"},
    {"L", OPTION_STRINGS, .arg = "DIR", .help = "where firmware is looked for"},

    /* Running. */
    {"no-reboot", OPTION_SET, .sets = "-action reboot=shutdown",
     .help = "a reset by the guest ends the program"},
    {"no-shutdown", OPTION_SET, .sets = "-action shutdown=pause",
     .help = "a power-off by the guest pauses the machine"},
    {"action", OPTION_MERGE, .params = action_params,
     .arg = "reboot=reset|shutdown[,shutdown=poweroff|pause]"
            "[,panic=shutdown|pause|exit-failure|none]"
            "[,watchdog=reset|shutdown|poweroff|pause|debug|none|inject-nmi][,error=pause|exit]"
            "[,sigterm=quit|powerdown][,grace=SECONDS]",
     .help = "what follows when the guest or its machine comes to an end (-action help)",
     .example = "-action reboot=shutdown,panic=exit-failure,error=exit"},
    {"watchdog-action", OPTION_SET, .sets = "-action watchdog=%s", .arg = "ACTION",
     .help = "the same as -action watchdog=ACTION"},
    {"deadline", OPTION_STRING, .arg = "SECONDS",
     .help = "end the program after this time of the host's, whatever the machine does",
     .example = "-deadline 60"},
    {"expect", OPTION_STRINGS, .arg = "REGEX[,exit=N][,screen=on][,ready=FD]",
     .help =
         "end the run, or write a line to a descriptor, when the guest's serial ports and other "
         "consoles (or its text screen) show this",
     .example = "-expect 'login:' -expect 'Kernel panic,exit=4'"},
    {"nodefaults", OPTION_FLAG, .help = "no devices but those named"},
    {"no-user-config", OPTION_FLAG,
     .help = "read no configuration of the user's (none is ever read)"},
    {"readconfig", OPTION_STRINGS, .arg = "FILE",
     .help = "options from a file ([device \"id\"] / key = \"value\")"},
    {"writeconfig", OPTION_STRING, .refused = "keep the command line in a script"},
    {"daemonize", OPTION_FLAG, .help = "go to the background when all is set up"},
    {"pidfile", OPTION_STRING, .arg = "FILE", .help = "where the process id is written"},
    {"runas", OPTION_STRING, .refused = "start it as that user"},
    {"chroot", OPTION_STRING,
     .refused = "start it in the container or name space that it shall see"},
    {"sandbox", OPTION_STRING, .arg = "off", .help = "off only: there is no sandbox yet"},
    {"incoming", OPTION_STRING,
     .refused = "there is no migration yet; -loadvm goes on from a snapshot"},
    {"loadvm", OPTION_STRING, .arg = "NAME",
     .help = "go on from a snapshot of savevm's in the disks"},
    {"add-fd", OPTION_LIST, .params = fdset_params, .arg = "fd=FD,set=SET[,opaque=TEXT]",
     .help = "an open file as /dev/fdset/SET"},
    {"gdb", OPTION_STRING, .arg = "DEV[,arch=i386:x86-64|i386|i8086|auto]",
     .help = "gdb connects here to debug the guest (docs/gdb.md): tcp:[HOST]:PORT, unix:PATH, "
             "stdio, chardev:ID; arch is what it is told the CPU is",
     .example = "-gdb tcp:127.0.0.1:1234"},
    {"s", OPTION_SET, .sets = "-gdb tcp::1234", .help = "the same as -gdb tcp::1234"},

    /* Messages and tests. */
    {"d", OPTION_STRING, .key = "log-items", .arg = "ITEM[,ITEM]...",
     .help = "log these (-d help lists them)"},
    {"D", OPTION_STRING, .key = "log-file", .arg = "FILE",
     .help = "log to this file instead of stderr"},
    {"msg", OPTION_MERGE, .params = msg_params, .arg = "timestamp=on|off",
     .help = "form of messages"},
    {"trace", OPTION_LIST, .implied = "enable", .params = trace_params,
     .arg = "[[enable=]PATTERN][,events=FILE][,file=FILE]",
     .help = "log what passes at these places of the program (-trace help lists them, "
             "docs/tracing.md)",
     .example = "-trace 'virtio_*' -trace enable=runstate_set,file=trace.log"},
    {"qtest", OPTION_STRING, .arg = "DEV", .help = "serve the qtest protocol (with -accel qtest)"},
    {"qtest-log", OPTION_STRING, .arg = "FILE", .help = "write what qtest says to a file"},
    {NULL},
};

const OptionDef *cli_options(void)
{
    return table;
}
