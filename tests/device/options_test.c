/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: errors, help, configuration files, defaults. */
#include "qtest_client.h"

static void check_refused(const char *args, const char *expected)
{
    int status;
    g_autofree char *text = qtest_start_fails(args, &status);

    if (status != QTEST_NOT_STARTED || !strstr(text, expected)) {
        qtest_fail(__FILE__, __LINE__, "'%s' ended with status %d and said: %s", args, status,
                   text);
    }
}

static void test_refused_options(void)
{
    check_refused("-sandbox on", "'-sandbox on' is not in this program yet: only 'off' is");
    check_refused("-device virtio-rng-pci,id=9a",
                  "-device virtio-rng-pci,id=9a: Parameter 'id' expects an identifier");
    check_refused("-drive if=none,file=/none/such,file.locking=off",
                  "-drive if=none,file=/none/such,file.locking=off: Could not open '/none/such': "
                  "No such file");
    check_refused("-name a,debug-threads=maybe", "Parameter 'debug-threads' expects 'on' or 'off'");
    check_refused("-msg guest-name=maybe", "-msg guest-name=maybe: Parameter 'guest-name' expects");
    check_refused("-name Ada -msg guest-name=on -device nope", "Ada vmm: -device nope");
    check_refused("-add-fd fd=0,set=1", "fd cannot be a standard I/O stream");
    check_refused("-m much", "-m much: Parameter 'size' expects a size value");
    check_refused("-m much", ", not 'much'");
    check_refused("-smp 2,cores=x", "-smp 2,cores=x: Parameter 'cores' expects integer, not 'x'");
    check_refused("-smp -1", "Parameter 'cpus' expects uint32_t, not '-1'");
    check_refused("-uuid x", "-uuid: Parameter 'uuid' expects a UUID such as");
    check_refused("-uuid auto", "-uuid: Parameter 'uuid' expects a UUID such as");
    check_refused("-smbios type=1,uuid=x", "-smbios type=1: Parameter 'uuid' expects a UUID");
    check_refused("-M pc,max-ram-below-4g=8G",
                  "Machine option 'max-ram-below-4g=8589934592' expects size less than");
    check_refused("-M pc,max-ram-below-4g=abc", "'max-ram-below-4g' expects a size value");
    check_refused("-M pc,max-ram-below-4g=abc", ", not 'abc'");
    check_refused(
        "-overcommit mem-lock=foo",
        "-overcommit mem-lock=foo: Parameter 'mem-lock' expects 'on' or 'off', not 'foo'");
    check_refused("-boot menu=foo", "Parameter 'menu' expects 'on' or 'off', not 'foo'");
    check_refused("-cpu qemu64,family=abc", "Parameter 'family' expects integer, not 'abc'");
    check_refused("-global driver=a,property=b", "expected DRIVER.PROPERTY=VALUE, or the keys");
    check_refused("-global driver=a,proprty=b,value=c", "did you mean 'property'?");
    check_refused("-nic user,modl=virtio", "Invalid parameter 'modl'; did you mean 'model'?");
    check_refused("-nic user,hstfwd=x", "Invalid parameter 'hstfwd'; did you mean 'hostfwd'?");
    check_refused("-net nic,modl=virtio", "Invalid parameter 'modl'; did you mean 'model'?");
    check_refused("-nic usr", "usr");
    check_refused("-netdev user,id=n,hostfwd=tcp::1-:1,hostfwd=tcp::5555",
                  "-netdev user,id=n,hostfwd=tcp::1-:1,hostfwd=tcp::5555: Invalid host");
    check_refused("-chardev null,id=1c", "-chardev null,id=1c: Parameter 'id' expects an identif");
    check_refused("-readconfig /none", "-readconfig /none: Could not open");
    check_refused("-drive if=floppi", "unsupported bus type 'floppi'");
    check_refused("-audiodev pa,id=a", "-audiodev pa,id=a: 'pa' is not in this program yet");
    check_refused("-audiodev nope,id=a", "Parameter 'driver' does not accept value 'nope'");
    check_refused("-audiodev id=a", "-audiodev id=a: Parameter 'driver' is missing");
    check_refused("-audiodev none,id=a,foo=1", "Invalid parameter 'foo'");
    check_refused("-object secret,id=s", "Either 'file' or 'data' must be provided");
    check_refused("-object secret,id=s,data=x,keyid=k,iv=i", "No secret with id 'k'");
    check_refused("-object secret,id=s,file=/none/such", "'/none/such'");
    check_refused("-blockdev raw,node-name=n,file=other,file.locking=off",
                  "Parameters 'file.*' used inconsistently");
}

/* The machine's memory has the size of its backend; smp.cpus= is -smp's. */
static void test_machine_parts(void)
{
    QTest *q =
        qtest_start("-nodefaults -M pc,memory-backend=m,smp.cpus=2,smp.sockets=1,boot.menu=on "
                    "-object memory-backend-ram,id=m,size=48M -parallel none");

    qtest_check_eq(qtest_ram_size(q), 48 << 20);
    qtest_check_eq(qtest_fw_cfg_read16(q, 5), 2);   /* number of CPUs */
    qtest_check_eq(qtest_fw_cfg_read16(q, 0xe), 1); /* boot menu */
    qtest_end(q);
    q = qtest_start("-nodefaults -M pc,memory.size=32M -smp 1,clusters=1");
    qtest_check_eq(qtest_ram_size(q), 32 << 20);
    qtest_end(q);
    check_refused("-M pc,smp.cpu=2", "Invalid parameter 'cpu'; did you mean 'cpus'?");
    check_refused("-M pc,smp=2", "Invalid parameter type for 'smp', expected: object");
    check_refused("-M pc,firmwar=x", "did you mean 'firmware'?");
    check_refused("-global foo", "-global foo: expected DRIVER.PROPERTY=VALUE");
    check_refused("-M pc,firmware=/none", "could not load PC BIOS '/none'");
    check_refused("-M pc,append=quiet", "-append only allowed with -kernel option");
    check_refused("-smp 2,clusters=2", "-smp clusters=2: clusters not supported by this machine's");
    check_refused("-smp 2,clusters=0", "must be greater than zero (-smp clusters=0)");
    check_refused("-parallel null", "-parallel null: only 'none' is supported");
    check_refused("-M pc,memory-backend=m", "-machine memory-backend=m: object 'm' not found");
    check_refused("-m 64M -M pc,memory-backend=m -object memory-backend-ram,id=m,size=32M",
                  "67108864 and 33554432 bytes");
}

/* Groups have QEMU's names, and -global's is one of three keys. */
static void test_config_file(void)
{
    static const char text[] = "[global]\n"
                               "  driver = \"virtio-rng-pci\"\n"
                               "  property = \"max-bytes\"\n"
                               "  value = \"1234\"\n"
                               "[smp-opts]\n"
                               "  cpus = \"3\"\n"
                               "[boot-opts]\n"
                               "  menu = \"on\"\n"
                               "[device \"r0\"]\n"
                               "  driver = \"virtio-rng-pci\"\n";
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "config", NULL);
    g_autofree char *refused = g_strdup_printf("-readconfig %s", path);
    QTest *q;
    json_t *value;

    qtest_check(g_file_set_contents(path, text, -1, NULL));
    q = qtest_startf("-nodefaults -readconfig %s", path);
    qtest_check_eq(qtest_fw_cfg_read16(q, 5), 3); /* number of CPUs */
    value = qtest_qmp(q, "qom-get", "{s:s, s:s}", "path", "r0", "property", "max-bytes");
    qtest_check_eq(json_integer_value(value), 1234);
    json_decref(value);
    qtest_end(q);

    qtest_check(g_file_set_contents(path, "[smp-opt]\n", -1, NULL));
    check_refused(refused,
                  "config:1: There is no option group 'smp-opt'; did you mean 'smp-opts'?");
    /* What stands behind a NUL is not left out. */
    qtest_check(g_file_set_contents(path, "[smp-opts]\n\0cpus", 16, NULL));
    check_refused(refused, "config: this is no text file: it has a NUL byte at offset 11");
}

/* Either kind of quotes, wherever JSON stands. */
static void test_json(void)
{
    QTest *q = qtest_start("-nodefaults -M pc -device \"{'driver': 'virtio-rng-pci', 'id': 'r0', "
                           "'max-bytes': 1234}\" -object \"{'qom-type':'iothread','id':'io'}\" "
                           "-blockdev \"{'driver':'null-co','node-name':'n0'}\" "
                           "-netdev \"{'type':'hubport','id':'h0','hubid':0}\" "
                           "-audiodev \"{'driver':'none','id':'a0'}\" -audiodev none "
                           "-audiodev driver=none,id=a1 "
                           "-object \"{'qom-type':'secret','id':'s0','data':'x'}\" "
                           "-drive \"file=json:{'driver':'null-co'},if=none,id=d0\"");
    json_t *value = qtest_qmp(q, "qom-get", "{s:s, s:s}", "path", "r0", "property", "max-bytes");

    qtest_check_eq(json_integer_value(value), 1234);
    json_decref(value);
    qtest_end(q);
}

/* Help ends the program with status 0. */
static void test_option_help(void)
{
    static const char *const asked[][2] = {
        {"-smp help", "cores="},
        {"-boot help", "order="},
        {"-m help", "size="},
        {"-vga help", "none"},
        {"-d help", "guest_errors"},
        {"-nic user,model=help", "virtio-net-pci"},
        {"-accel help", "supported in QEMU binary:\nkvm\n"},
        {"-netdev help", "backend types:\nuser\n"},
        {"-netdev help", "\nbridge\nhubport\n"},
        {"-nic help", "\nbridge\nhubport\nsocket\nstream\ndgram\nnone\n"},
        {"-net help", "\nbridge\nsocket\nstream\ndgram\ndump\nnic\nnone\n"},
        {"-help", "-netdev BACKEND,id="},
        {"-chardev help", "backend types: \n  "},
        {"-chardev help", "\n  null\n"},
        {"-object help", "\n  iothread\n"},
        {"-object iothread,help", "iothread options:\n"},
        {"-drive format=help", "Supported formats: "},
        {"-nic model=help", "\ne1000\ne1000-82544gc\n"},
        {"-audiodev help", "audio drivers:\nnone\n"},
        {"-device help", "virtio-blk-pci"},
        {"-device virtio-blk-pci,help", "drive="}};

    for (unsigned i = 0; i < G_N_ELEMENTS(asked); i++) {
        int status;
        g_autofree char *text = qtest_start_fails(asked[i][0], &status);

        if (status != 0 || !strstr(text, asked[i][1])) {
            qtest_fail(__FILE__, __LINE__, "'%s' ended with status %d and said: %s", asked[i][0],
                       status, text);
        }
    }
}

/* -nic and -net make the cards that are here, and name those that are not. */
static void test_nic_models(void)
{
    static const char *const made[][2] = {
        {"-nic user,model=e1000", "e1000.0: index=0,type=nic,model=e1000,"},
        {"-nic model=e1000-82540em", "e1000.0: index=0,type=nic,model=e1000,"},
        {"-net nic,model=e1000-82544gc -net user", "model=e1000-82544gc,"},
        {"-nic user,model=virtio", "model=virtio-net-pci,"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(made); i++) {
        QTest *q = qtest_start(made[i][0]);
        g_autofree char *text = qtest_hmp(q, "info network");

        if (!strstr(text, made[i][1])) {
            qtest_fail(__FILE__, __LINE__, "'%s' has %s", made[i][0], text);
        }
        qtest_end(q);
    }
    check_refused("-nic user,model=pcnet", "'pcnet' is not in this program yet");
    check_refused("-nic user,model=ne2k_pci", "'ne2k_pci' is not in this program yet");
    check_refused("-net nic,model=i82551 -net user", "'i82551' is not in this program yet");
    check_refused("-nic user,model=ide-hd", "Unsupported NIC model: ide-hd");
    check_refused("-nic user,model=nonsense", "Unsupported NIC model: nonsense");
}

/* Defaults that are added to a command line. */
static void test_defaults(void)
{
    static const char *const ports[][2] = {
        {"-nographic", "serial0: filename=stdio"}, /* with -mon there is no default monitor */
        {"-display none", "serial0: filename=null"},
        {"-chardev null,id=mine -device isa-serial,chardev=mine", "mine: filename=null"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++) {
        QTest *q = qtest_start(ports[i][0]);
        g_autofree char *text = qtest_hmp(q, "info chardev");

        if (!strstr(text, ports[i][1]) || (i == 2 && strstr(text, "serial0"))) {
            qtest_fail(__FILE__, __LINE__, "'%s' has %s", ports[i][0], text);
        }
        qtest_end(q);
    }
    /* Without a serial port on stdio, the monitor uses the terminal. */
    check_refused("-accel qtest -nographic -serial null -chardev stdio,id=x",
                  "-monitor stdio: cannot use stdio by multiple character devices");
}

/* -no-reboot turns any reset into a shutdown, also one by QMP. -no-shutdown then pauses the VM. */
static void test_no_reboot(void)
{
    QTest *q = qtest_start("-no-reboot -no-shutdown");
    json_t *event;

    json_decref(qtest_qmp(q, "system_reset", NULL));
    event = qtest_wait_event(q, "SHUTDOWN");
    qtest_check_str(json_string_value(json_object_get(json_object_get(event, "data"), "reason")),
                    "host-qmp-system-reset");
    json_decref(event);
    event = qtest_qmp(q, "query-status", NULL);
    qtest_check_str(json_string_value(json_object_get(event, "status")), "shutdown");
    json_decref(event);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"refused-options", test_refused_options},
    {"machine-parts", test_machine_parts},
    {"config-file", test_config_file},
    {"json", test_json},
    {"option-help", test_option_help},
    {"nic-models", test_nic_models},
    {"defaults", test_defaults},
    {"no-reboot", test_no_reboot},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
