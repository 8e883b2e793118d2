/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "results.h"

#include "commands.h"
#include "vm/vm.h"

/* The machine and this program. */

SHAPE(status_result, "StatusInfo", MEMBER("running", PROP_BOOL), MEMBER("singlestep", PROP_BOOL),
      MEMBER("status", PROP_ENUM, .names = run_state_names));

SHAPE(version_triple, "VersionTriple", MEMBER("major", PROP_INT64), MEMBER("minor", PROP_INT64),
      MEMBER("micro", PROP_INT64));
SHAPE(version_result, "VersionInfo", MEMBER("qemu", PROP_TREE, .shape = &version_triple),
      MEMBER("package", PROP_STRING));

SHAPE(name_result, "NameInfo", MAYBE("name", PROP_STRING));
SHAPE(uuid_result, "UuidInfo", MEMBER("UUID", PROP_STRING));
SHAPE(kvm_result, "KvmInfo", MEMBER("enabled", PROP_BOOL), MEMBER("present", PROP_BOOL));

static const char *const target_names[] = {"x86_64", NULL};
SHAPE(target_result, "TargetInfo", MEMBER("arch", PROP_ENUM, .names = target_names));

SHAPE(migration_capability_result, "MigrationCapabilityStatus",
      MEMBER("capability", PROP_ENUM, .names = migration_capability_names),
      MEMBER("state", PROP_BOOL));

SHAPE(cpu_properties, "CpuInstanceProperties", MAYBE("socket-id", PROP_INT64),
      MAYBE("die-id", PROP_INT64), MAYBE("core-id", PROP_INT64), MAYBE("thread-id", PROP_INT64));
SHAPE(cpu_info_result, "CpuInfoFast", MEMBER("cpu-index", PROP_INT64),
      MEMBER("qom-path", PROP_STRING), MEMBER("thread-id", PROP_INT64),
      MAYBE("props", PROP_TREE, .shape = &cpu_properties),
      MEMBER("target", PROP_ENUM, .names = target_names));

SHAPE(hotpluggable_cpu_result, "HotpluggableCPU", MEMBER("type", PROP_STRING),
      MEMBER("vcpus-count", PROP_INT64), MEMBER("props", PROP_TREE, .shape = &cpu_properties),
      MAYBE("qom-path", PROP_STRING));

SHAPE(cpu_definition_result, "CpuDefinitionInfo", MEMBER("name", PROP_STRING),
      MEMBER("static", PROP_BOOL), MAYBE_LIST("unavailable-features", PROP_STRING),
      MEMBER("typename", PROP_STRING), MEMBER("deprecated", PROP_BOOL));

SHAPE(machine_result, "MachineInfo", MEMBER("name", PROP_STRING), MAYBE("alias", PROP_STRING),
      MAYBE("is-default", PROP_BOOL), MEMBER("cpu-max", PROP_INT64),
      MEMBER("hotpluggable-cpus", PROP_BOOL), MEMBER("numa-mem-supported", PROP_BOOL),
      MEMBER("deprecated", PROP_BOOL), MAYBE("default-cpu-type", PROP_STRING),
      MAYBE("default-ram-id", PROP_STRING));
SHAPE(current_machine_result, "CurrentMachineParams", MEMBER("wakeup-suspend-support", PROP_BOOL));
SHAPE(memory_size_result, "MemoryInfo", MEMBER("base-memory", PROP_UINT64),
      MAYBE("plugged-memory", PROP_UINT64));
SHAPE(balloon_result, "BalloonInfo", MEMBER("actual", PROP_UINT64));
SHAPE(iothread_result, "IOThreadInfo", MEMBER("id", PROP_STRING), MEMBER("thread-id", PROP_INT64),
      MEMBER("poll-max-ns", PROP_INT64), MEMBER("poll-grow", PROP_INT64),
      MEMBER("poll-shrink", PROP_INT64), MEMBER("aio-max-batch", PROP_INT64));

static const char *const parameter_types[] = {"string", "boolean", "number", "size", NULL};
SHAPE(command_line_parameter, "CommandLineParameterInfo", MEMBER("name", PROP_STRING),
      MEMBER("type", PROP_ENUM, .names = parameter_types), MAYBE("help", PROP_STRING),
      MAYBE("default", PROP_STRING));
SHAPE(command_line_option_result, "CommandLineOptionInfo", MEMBER("option", PROP_STRING),
      MEMBER_LIST("parameters", PROP_TREE, .shape = &command_line_parameter));

/* Displays. */

static const char *const vnc_auth_names[] = {"none",  "vnc", "ra2",      "ra2ne", "tight",
                                             "ultra", "tls", "vencrypt", "sasl",  NULL};
SHAPE(vnc_result, "VncInfo", MEMBER("enabled", PROP_BOOL), MAYBE("host", PROP_STRING),
      MAYBE("family", PROP_ENUM, .names = network_family_names), MAYBE("service", PROP_STRING),
      MAYBE("auth", PROP_STRING),
      MAYBE_LIST("clients", PROP_TREE, .shape = &vnc_client_info_shape));
SHAPE(vnc_server_socket, "VncServerInfo2", MEMBER("host", PROP_STRING),
      MEMBER("service", PROP_STRING), MEMBER("family", PROP_ENUM, .names = network_family_names),
      MEMBER("websocket", PROP_BOOL), MEMBER("auth", PROP_ENUM, .names = vnc_auth_names));
SHAPE(vnc_servers_result, "VncInfo2", MEMBER("id", PROP_STRING),
      MEMBER_LIST("server", PROP_TREE, .shape = &vnc_server_socket),
      MEMBER_LIST("clients", PROP_TREE, .shape = &vnc_client_info_shape),
      MEMBER("auth", PROP_ENUM, .names = vnc_auth_names), MAYBE("display", PROP_STRING));

SHAPE(mouse_result, "MouseInfo", MEMBER("name", PROP_STRING), MEMBER("index", PROP_INT64),
      MEMBER("current", PROP_BOOL), MEMBER("absolute", PROP_BOOL));

/* Character devices and descriptors. */

SHAPE(chardev_info_result, "ChardevInfo", MEMBER("label", PROP_STRING),
      MEMBER("filename", PROP_STRING), MEMBER("frontend-open", PROP_BOOL));
SHAPE(chardev_return_result, "ChardevReturn", MAYBE("pty", PROP_STRING));
SHAPE(add_fd_result, "AddfdInfo", MEMBER("fdset-id", PROP_INT64), MEMBER("fd", PROP_INT64));
SHAPE(fdset_fd, "FdsetFdInfo", MEMBER("fd", PROP_INT64), MAYBE("opaque", PROP_STRING));
SHAPE(fdset_result, "FdsetInfo", MEMBER("fdset-id", PROP_INT64),
      MEMBER_LIST("fds", PROP_TREE, .shape = &fdset_fd));

/* Objects. */

SHAPE(object_property_result, "ObjectPropertyInfo", MEMBER("name", PROP_STRING),
      MEMBER("type", PROP_STRING), MAYBE("description", PROP_STRING),
      MAYBE("default-value", PROP_TREE));
SHAPE(object_type_result, "ObjectTypeInfo", MEMBER("name", PROP_STRING),
      MAYBE("abstract", PROP_BOOL), MAYBE("parent", PROP_STRING));

/* PCI. */

SHAPE(pci_class, "PciDeviceClass", MEMBER("class", PROP_INT64));
SHAPE(pci_id, "PciDeviceId", MEMBER("device", PROP_INT64), MEMBER("vendor", PROP_INT64),
      MAYBE("subsystem", PROP_INT64), MAYBE("subsystem-vendor", PROP_INT64));
SHAPE(pci_region, "PciMemoryRegion", MEMBER("bar", PROP_INT64), MEMBER("type", PROP_STRING),
      MEMBER("address", PROP_INT64), MEMBER("size", PROP_INT64), MAYBE("prefetch", PROP_BOOL),
      MAYBE("mem_type_64", PROP_BOOL));
SHAPE(pci_device, "PciDeviceInfo", MEMBER("bus", PROP_INT64), MEMBER("slot", PROP_INT64),
      MEMBER("function", PROP_INT64), MEMBER("class_info", PROP_TREE, .shape = &pci_class),
      MEMBER("id", PROP_TREE, .shape = &pci_id), MAYBE("irq", PROP_INT64),
      MEMBER("irq_pin", PROP_INT64), MEMBER("qdev_id", PROP_STRING),
      MEMBER_LIST("regions", PROP_TREE, .shape = &pci_region));
SHAPE(pci_result, "PciInfo", MEMBER("bus", PROP_INT64),
      MEMBER_LIST("devices", PROP_TREE, .shape = &pci_device));

/* The monitor itself. */

SHAPE(only_name_result, "CommandInfo", MEMBER("name", PROP_STRING));

static const char *const json_types[] = {"string", "number", "int",   "boolean", "null",
                                         "object", "array",  "value", NULL};
SHAPE(schema_enum_member, "SchemaInfoEnumMember", MEMBER("name", PROP_STRING));
SHAPE(schema_member, "SchemaInfoObjectMember", MEMBER("name", PROP_STRING),
      MEMBER("type", PROP_STRING), MAYBE("default", PROP_TREE));
SHAPE(schema_variant, "SchemaInfoObjectVariant", MEMBER("case", PROP_STRING),
      MEMBER("type", PROP_STRING));
SHAPE(schema_alternative, "SchemaInfoAlternateMember", MEMBER("type", PROP_STRING));

static const Property schema_builtin[] = {MEMBER("json-type", PROP_ENUM, .names = json_types),
                                          PROP_END};
static const Property schema_enum[] = {
    MEMBER_LIST("members", PROP_TREE, .shape = &schema_enum_member),
    MEMBER_LIST("values", PROP_STRING), PROP_END};
static const Property schema_array[] = {MEMBER("element-type", PROP_STRING), PROP_END};
static const Property schema_object[] = {
    MEMBER_LIST("members", PROP_TREE, .shape = &schema_member), MAYBE("tag", PROP_STRING),
    MAYBE_LIST("variants", PROP_TREE, .shape = &schema_variant), PROP_END};
static const Property schema_alternate[] = {
    MEMBER_LIST("members", PROP_TREE, .shape = &schema_alternative), PROP_END};
static const Property schema_command[] = {MEMBER("arg-type", PROP_STRING),
                                          MEMBER("ret-type", PROP_STRING),
                                          MAYBE("allow-oob", PROP_BOOL), PROP_END};
static const Property schema_event[] = {MEMBER("arg-type", PROP_STRING), PROP_END};
static const ShapeVariant schema_variants[] = {
    {"builtin", schema_builtin},     {"enum", schema_enum},
    {"array", schema_array},         {"object", schema_object},
    {"command", schema_command},     {"event", schema_event},
    {"alternate", schema_alternate}, {NULL}};
static const Property schema_members[] = {MEMBER("name", PROP_STRING),
                                          MAYBE_LIST("features", PROP_STRING), PROP_END};
const PropertyShape schema_result = {.name = "SchemaInfo",
                                     .members = schema_members,
                                     .tag = "meta-type",
                                     .variants = schema_variants};
