/*
 * Plans as text for other tools: quoting, and what each text says.
 *
 *   vm_emit write FOLDER CHRIMG    writes texts of many plans for this host's QEMU into FOLDER,
 *                                  for tests/vm_emit.sh, which gives them to the tools they are for
 */
#include "vm_world.h"

#include <sys/stat.h>

#include "vm/argv.h"
#include "vm/emit.h"
#include "vm/host_parts.h"
#include "vm/text.h"

/* ---- words ---- */

static char *shell_word(const char *value)
{
    struct text text = {0};
    struct chr_error err;
    char *out = NULL;

    text_add_shell_word(&text, value);
    assert_done(text_take(&text, &out, &err), &err);
    return out;
}

static void test_shell_words(void **state)
{
    static const struct {
        const char *value;
        const char *word;
    } cases[] = {
        {"", "''"},
        {"plain-1.2_3@x%y+z=a:b,c/d", "plain-1.2_3@x%y+z=a:b,c/d"},
        {"two words", "'two words'"},
        {"it's", "'it'\\''s'"},
        {"'", "''\\'''"},
        {"$HOME `id` \"x\" \\ * ? ~ # ! & ; | < > ( ) { } [ ]", "'$HOME `id` \"x\" \\ * ? ~ # ! & ; | < > ( ) { } [ ]'"},
        {"line\nline", "'line\nline'"},
        {"~", "'~'"},
        {"\xc3\xa4", "'\xc3\xa4'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *word = shell_word(cases[i].value);

        assert_string_equal(word, cases[i].word);
        free(word);
    }
}

/* The shell itself reads back what was written, for any bytes. */
static void test_shell_reads_back(void **state)
{
    struct dice dice = {.state = 7};

    (void)state;
    for (int i = 0; i < 40; i++) {
        char value[24] = "";
        char command[512];
        char got[64];
        char *word;
        FILE *shell;
        size_t length = 1 + roll_below(&dice, 20);

        for (size_t j = 0; j < length; j++)
            value[j] = (char)(1 + roll_below(&dice, 126));
        word = shell_word(value);
        (void)snprintf(command, sizeof command, "printf '%%s.' %s", word);
        shell = popen(command, "r");
        assert_non_null(shell);
        length = fread(got, 1, sizeof got - 1, shell);
        assert_int_equal(pclose(shell), 0);
        assert_true(length > 0 && got[length - 1] == '.');
        got[length - 1] = '\0';
        assert_string_equal(got, value);
        free(word);
    }
}

static void test_option_values(void **state)
{
    struct argv_list list = {0};
    struct text text = {0};
    struct chr_error err;
    char *value = NULL;

    (void)state;
    argv_option(&list, "device", "driver", "x,y");
    argv_property(&list, "file", "%s", "a,b,,c");
    argv_property(&list, "empty", "%s", "");
    argv_raw(&list, "pidfile", "p,q");
    argv_add_value(&text, &list.items[0]);
    assert_done(text_take(&text, &value, &err), &err);
    assert_string_equal(value, "x,,y,file=a,,b,,,,c,empty=");
    free(value);
    argv_add_value(&text, &list.items[1]);
    assert_done(text_take(&text, &value, &err), &err);
    assert_string_equal(value, "p,q");
    free(value);
    argv_release(&list);
}

/* ---- texts ---- */

struct made {
    struct world world;
    struct vm_plan plan;
};

static struct made *make(world_fn *host, const struct vm_image *image, const struct chr_boot_options *options)
{
    struct made *made = calloc(1, sizeof *made);
    struct chr_error err;

    assert_non_null(made);
    host(&made->world);
    assert_done(vm_plan_make(&made->world.host, image, options, &made->plan, &err), &err);
    return made;
}

static void release(struct made *made)
{
    vm_plan_release(&made->plan);
    free(made);
}

static void assert_says(const char *text, const char *wanted)
{
    if (strstr(text, wanted) == NULL)
        fail_msg("no \"%s\" in:\n%s", wanted, text);
}

static void assert_silent(const char *text, const char *unwanted)
{
    if (strstr(text, unwanted) != NULL)
        fail_msg("\"%s\" in:\n%s", unwanted, text);
}

static const struct vm_image odd = {
    .path = "/img/a, \"b\" 'c' $d %h\ne.qcow2", .format = CHR_FORMAT_QCOW2, .arch = "x86_64", .bios = YES,
    .uefi = YES, .size = 128 * MIB};

static void test_print(void **state)
{
    struct chr_boot_options options = {.name = "r"};
    struct made *raw = make(linux_x86, &stock, &options);
    struct made *strange = make(linux_x86, &odd, &options);
    struct chr_error err;
    char *text;

    (void)state;
    assert_done(vm_emit_print(&raw->world.host, &raw->plan, &text, &err), &err);
    assert_says(text, "(umask 077 && mkdir -p /run/user/1000/chrimg/r /home/ann/.local/state/chrimg/r && "
                      "image=/img/chr-7.19.img && overlay=/home/ann/.local/state/chrimg/r/disk-");
    assert_says(text, "/usr/bin/qemu-img create -q -f qcow2 -F raw -b \"$image\" \"$overlay\" 134217728; fi");
    /* Newer or older than it was when the overlay was made: another image. */
    assert_says(text, "$(find \"$image\" -newer \"$base\"; find \"$base\" -newer \"$image\")");
    assert_says(text, " && exec /usr/bin/qemu-system-x86_64 -name r ");
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_null(memchr(text, '\n', strlen(text) - 1));
    free(text);
    assert_done(vm_emit_print(&strange->world.host, &strange->plan, &text, &err), &err);
    assert_says(text, "'if=none,id=disk0,format=qcow2,file=/img/a,, \"b\" '\\''c'\\'' $d %h\ne.qcow2,discard=unmap");
    free(text);
    release(raw);
    release(strange);
}

static void test_script(void **state)
{
    struct chr_boot_options automatic = {.name = "r"};
    struct chr_boot_options fixed = {.name = "r", .accel = CHR_ACCEL_TCG};
    struct made *found = make(linux_x86, &both_qcow2, &automatic);
    struct made *named = make(linux_x86, &both_qcow2, &fixed);
    struct made *on_arm = make(linux_arm, &arm_qcow2, &automatic);
    struct made *broken = make(linux_x86, &both_qcow2, &automatic);
    struct chr_error err;
    char *text;

    (void)state;
    /* It may run on another host, or on this one after its next boot. */
    broken->world.host.kvm_broken = true;
    assert_done(vm_emit_script(&broken->world.host, &broken->plan, &text, &err), &err);
    assert_says(text, "accel=${CHRIMG_ACCEL:-}");
    assert_says(text, "/chrimg/kvm\n");
    free(text);
    release(broken);
    assert_done(vm_emit_script(&found->world.host, &found->plan, &text, &err), &err);
    assert_says(text, "#!/bin/sh\n");
    assert_says(text, "Linux-x86_64 | Linux-amd64)");
    assert_says(text, "Darwin-x86_64)");
    assert_says(text, "-accel tcg,tb-size=256");
    assert_says(text, "-cpu max");
    assert_says(text, "org.qemu.guest_agent.0");
    free(text);
    assert_done(vm_emit_script(&named->world.host, &named->plan, &text, &err), &err);
    assert_says(text, "accel=${CHRIMG_ACCEL:-tcg}");
    assert_silent(text, "uname");
    free(text);
    /* 32-bit user space: never HVF by itself. */
    assert_done(vm_emit_script(&on_arm->world.host, &on_arm->plan, &text, &err), &err);
    assert_says(text, "Linux-aarch64)");
    assert_silent(text, "Darwin");
    free(text);
    release(found);
    release(named);
    release(on_arm);
}

static void test_readconfig(void **state)
{
    struct chr_boot_options options = {.name = "r", .firmware = CHR_FIRMWARE_UEFI};
    struct made *plain = make(linux_x86, &both_qcow2, &options);
    struct made *strange = make(linux_x86, &odd, &options);
    struct chr_error err;
    char *ini;
    char *text;

    (void)state;
    assert_done(vm_emit_readconfig(&plain->world.host, &plain->plan, "r.ini", &ini, &text, &err), &err);
    assert_says(ini, "[drive \"disk0\"]\n  if = \"none\"\n  format = \"qcow2\"\n  file = \"/img/both.qcow2\"\n");
    assert_says(ini, "[memory]\n  size = \"256M\"\n");
    assert_says(ini, "[smp-opts]\n  cpus = \"1\"\n");
    assert_says(ini, "[machine]\n  type = \"q35\"\n");
    assert_silent(ini, "pflash");
    assert_silent(ini, "hostfwd");
    assert_silent(ini, "accel");
    assert_says(text, " -readconfig r.ini ");
    assert_says(text, "if=pflash,unit=0");
    assert_says(text, "hostfwd=tcp:");
    assert_says(text, " -accel kvm ");
    assert_silent(text, "disk0");
    free(ini);
    free(text);
    /* What INI cannot hold stays an argument. */
    assert_done(vm_emit_readconfig(&strange->world.host, &strange->plan, "r.ini", &ini, &text, &err), &err);
    assert_silent(ini, "[drive");
    assert_says(text, "id=disk0");
    free(ini);
    free(text);
    release(plain);
    release(strange);
}

static void test_systemd(void **state)
{
    struct chr_boot_options options = {.name = "r", .show = CHR_SHOW_SYSTEMD};
    struct made *plain = make(linux_x86, &odd, &options);
    struct made *as_root = make(linux_x86, &stock, &options);
    struct chr_error err;
    char *text;

    (void)state;
    assert_done(vm_emit_systemd(&plain->world.host, &plain->plan, NULL, &text, &err), &err);
    assert_says(text, "# /etc/systemd/system/chrimg-r.service");
    assert_says(text, "\nUser=ann\n");
    assert_says(text, "\nCapabilityBoundingSet=\n");
    assert_says(text, "\nNoNewPrivileges=yes\n");
    assert_says(text, "\nProtectSystem=strict\n");
    assert_says(text, "\nRuntimeDirectoryMode=0700\n");
    assert_says(text, "\nExecStop=\"/usr/bin/chrimg\" stop r\n");
    assert_says(text, "\nReadWritePaths=/img/a,\\x20\\x22b\\x22\\x20\\x27c\\x27\\x20$d\\x20%%h\\x0ae.qcow2\n");
    assert_says(text, " -- \"/img/a, \\\"b\\\" 'c' $$d %%h\\x0ae.qcow2\"\n");
    assert_says(text, "ExecStart=\"/usr/bin/chrimg\" boot --name r --ready none \\\n");
    assert_says(text, "    --forward none \\\n    --forward http=9180:80 \\\n");
    assert_says(text, "\nPIDFile=/run/chrimg-r/chrimg/r/pid\n");
    assert_says(text, "\nDeviceAllow=/dev/kvm rw\n");
    assert_silent(text, "LimitMEMLOCK");
    free(text);
    assert_refused(vm_emit_systemd(&plain->world.host, &plain->plan, "a b/c", &text, &err), &err, CHR_E_USAGE,
                   "no name for a unit");
    as_root->world.host.uid = 0;
    assert_done(vm_emit_systemd(&as_root->world.host, &as_root->plan, "router", &text, &err), &err);
    assert_says(text, "\nUser=chrimg\nDynamicUser=yes\n");
    assert_says(text, "    --net \"user\" \\\n");
    free(text);
    /* No variable is replaced in the path of a program, so its dollars are single. */
    (void)strcpy(plain->world.host.program, "/a $d %h/chrimg");
    assert_done(vm_emit_systemd(&plain->world.host, &plain->plan, NULL, &text, &err), &err);
    assert_says(text, "\nExecStart=\"/a $d %%h/chrimg\" boot ");
    free(text);
    (void)strcpy(plain->world.host.program, "/it's/chrimg");
    assert_refused(vm_emit_systemd(&plain->world.host, &plain->plan, NULL, &text, &err), &err, CHR_E_REFUSED,
                   "runs no program whose path has");
    release(plain);
    release(as_root);
}

static void with_card(struct world *world)
{
    linux_x86(world);
    world->host.vfio_count = 1;
    world->host.vfio[0] = (struct vm_vfio){.address = "0000:01:00.0", .exists = true, .driver = "vfio-pci",
                                           .group = 14, .group_exists = true, .group_usable = true};
    world->host.memlock = UINT64_MAX;
}

static void test_units_of_more(void **state)
{
    struct chr_boot_options options = {
        .name = "r", .show = CHR_SHOW_SYSTEMD, .vfio = {"01:00.0"}, .vfio_count = 1, .net_count = 2,
        .nets = {{.kind = CHR_NET_USER}, {.kind = CHR_NET_BRIDGE, .name = "br0"}}};
    struct made *made = make(with_card, &both_qcow2, &options);
    struct chr_error err;
    char *text;

    (void)state;
    assert_done(vm_emit_systemd(&made->world.host, &made->plan, NULL, &text, &err), &err);
    assert_says(text, "\nLimitMEMLOCK=335544320\n");
    assert_says(text, "\nDeviceAllow=/dev/vfio/14 rw\n");
    assert_says(text, "\nDeviceAllow=/dev/net/tun rw\n");
    assert_says(text, "\nNoNewPrivileges=no\n");
    assert_says(text, "CAP_NET_ADMIN");
    assert_says(text, "    --net \"bridge:br0\" \\\n");
    assert_says(text, "    --vfio \"0000:01:00.0\" \\\n");
    free(text);
    assert_done(vm_emit_libvirt(&made->world.host, &made->plan, &text, &err), &err);
    assert_says(text, "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>");
    assert_says(text, "<interface type='bridge'>");
    free(text);
    release(made);
}

static void test_libvirt(void **state)
{
    struct chr_boot_options options = {.name = "r", .firmware = CHR_FIRMWARE_UEFI};
    struct chr_boot_options nvme = {.disk_bus = CHR_DISK_NVME};
    struct vm_image strange = odd;
    struct made *made;
    struct made *other = make(linux_x86, &both_qcow2, &nvme);
    struct chr_error err;
    char *text;

    (void)state;
    strange.path = "/img/a, \"b\" 'c' & <d>.qcow2";
    made = make(linux_x86, &strange, &options);
    assert_done(vm_emit_libvirt(&made->world.host, &made->plan, &text, &err), &err);
    assert_says(text, "<domain type='kvm' ");
    assert_says(text, "<source file='/img/a, &#34;b&#34; &#39;c&#39; &#38; &#60;d&#62;.qcow2'/>");
    assert_says(text, "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>");
    assert_says(text, "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/>");
    assert_says(text, "hostfwd=tcp:127.0.0.1:9180-:80");
    free(text);
    release(made);
    assert_refused(vm_emit_libvirt(&other->world.host, &other->plan, &text, &err), &err, CHR_E_REFUSED, "NVMe");
    release(other);
    strange.path = "/img/\n.qcow2";
    made = make(linux_x86, &strange, &options);
    assert_refused(vm_emit_libvirt(&made->world.host, &made->plan, &text, &err), &err, CHR_E_REFUSED,
                   "control character 0x0a");
    release(made);
}

/* ---- other pieces of the host that are pure ---- */

static void test_versions(void **state)
{
    unsigned major = 0;
    unsigned minor = 0;

    (void)state;
    assert_true(host_parse_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n", &major, &minor));
    assert_int_equal(major, 7);
    assert_int_equal(minor, 2);
    assert_true(host_parse_version("QEMU emulator version 10.0.50 (v10.0.0-1-gabc)", &major, &minor));
    assert_int_equal(major, 10);
    assert_false(host_parse_version("", &major, &minor));
    assert_false(host_parse_version("QEMU emulator version unknown", &major, &minor));
}

static void test_bridge_acl(void **state)
{
    (void)state;
    assert_true(host_acl_allows("# comment\nallow br0\n", "br0"));
    assert_false(host_acl_allows("allow br0\n", "br1"));
    assert_true(host_acl_allows("allow all\n", "br1"));
    assert_false(host_acl_allows("allow all\ndeny br1", "br1"));
    assert_false(host_acl_allows("", "br0"));
    assert_false(host_acl_allows("allow\n br0\n", "br0"));
}

static void run_shell(const char *command)
{
    assert_int_equal(system(command), 0);
}

/* A small sysfs: a card bound to vfio-pci beside a bridge, and one of the host. */
static void test_vfio_probe(void **state)
{
    struct vm_vfio device;
    struct chr_error err;

    (void)state;
    run_shell("mkdir -p sys/bus/pci/devices/0000:01:00.0 sys/bus/pci/devices/0000:00:01.0 "
              "sys/bus/pci/devices/0000:01:00.1 sys/drivers/vfio-pci sys/drivers/pcieport sys/drivers/ixgbe "
              "sys/kernel/iommu_groups/14/devices dev/vfio && cd sys/bus/pci/devices && "
              "echo 0x8086 >0000:01:00.0/vendor && echo 0x10fb >0000:01:00.0/device && "
              "echo 0x020000 >0000:01:00.1/class && echo 0x060400 >0000:00:01.0/class && "
              "ln -s ../../../../drivers/vfio-pci 0000:01:00.0/driver && "
              "ln -s ../../../../drivers/pcieport 0000:00:01.0/driver && "
              "ln -s ../../../../drivers/ixgbe 0000:01:00.1/driver && "
              "ln -s ../../../../kernel/iommu_groups/14 0000:01:00.0/iommu_group && "
              "touch ../../../kernel/iommu_groups/14/devices/0000:01:00.0 "
              "../../../kernel/iommu_groups/14/devices/0000:01:00.1 "
              "../../../kernel/iommu_groups/14/devices/0000:00:01.0 ../../../../dev/vfio/14");
    assert_done(host_probe_vfio(".", "01:00.0", &device, &err), &err);
    assert_string_equal(device.address, "0000:01:00.0");
    assert_true(device.exists && device.group_exists && device.group_usable);
    assert_string_equal(device.driver, "vfio-pci");
    assert_string_equal(device.vendor, "8086");
    assert_string_equal(device.device, "10fb");
    assert_int_equal(device.group, 14);
    assert_int_equal(device.other_count, 1); /* the bridge does not count */
    assert_string_equal(device.others[0], "0000:01:00.1");
    assert_done(host_probe_vfio(".", "0000:02:00.0", &device, &err), &err);
    assert_false(device.exists);
    assert_int_equal(device.group, -1);
    assert_refused(host_probe_vfio(".", "../../etc", &device, &err), &err, CHR_E_USAGE, "no PCI address");
    assert_refused(host_probe_vfio(".", "01:00.9", &device, &err), &err, CHR_E_USAGE, "no PCI address");
    assert_refused(host_probe_vfio(".", "01:20.0", &device, &err), &err, CHR_E_USAGE, "no PCI address");
    assert_refused(host_probe_vfio(".", "01:00.0x", &device, &err), &err, CHR_E_USAGE, "no PCI address");
}

/* ---- texts for the tools ---- */

static const char *write_folder;
static const char *write_program;

/* This host, but with folders of the test, and emulated: KVM may be there and not work. */
static void real_host(struct world *world)
{
    linux_x86_tcg(world);
    (void)snprintf(world->host.runtime_folder, VM_PATH_SIZE, "%s/run", write_folder);
    (void)snprintf(world->host.state_folder, VM_PATH_SIZE, "%s/the state", write_folder);
    (void)snprintf(world->host.program, VM_PATH_SIZE, "%s", write_program);
    (void)snprintf(world->host.user, sizeof world->host.user, "daemon");
}

static void small_arm_firmware(struct world *world)
{
    real_host(world);
    world->host.firmware_count = 0;
    add_firmware(world, "aarch64", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", 2 * MIB, "", 0);
}

static void kvm_host(struct world *world)
{
    real_host(world);
    world->host.kvm_usable = true;
    world->host.uid = 0;
}

#define TWO_NETS .net_count = 2, .nets = {{.kind = CHR_NET_SOCKET, .name = "the lan, \"x\""}, {.kind = CHR_NET_USER}}

static const struct sample {
    const char *name;
    world_fn *host;
    const char *arch;
    const char *file; /* below the folder */
    enum chr_format format;
    struct chr_boot_options options;
    bool not_for_libvirt;
    bool not_to_run; /* wants KVM, or folders of the system */
} samples[] = {
    {"raw", real_host, "x86_64", "raw.img", CHR_FORMAT_RAW, {0}, false, false},
    {"write", real_host, "x86_64", "raw.img", CHR_FORMAT_RAW, {.write = true}, false, false},
    {"throwaway", real_host, "x86_64", "raw.img", CHR_FORMAT_RAW, {.throwaway = true, .firmware = CHR_FIRMWARE_UEFI}, false, false},
    {"odd", real_host, "x86_64", "a, \"b\" 'c' $d %h\ne.qcow2", CHR_FORMAT_QCOW2, {TWO_NETS}, true, false},
    {"oddxml", real_host, "x86_64", "a, \"b\" 'c' & <d>.qcow2", CHR_FORMAT_QCOW2, {.firmware = CHR_FIRMWARE_UEFI}, false, false},
    {"uefi", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2, {.firmware = CHR_FIRMWARE_UEFI}, false, false},
    {"scsi", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2, {.disk_bus = CHR_DISK_SCSI}, false, false},
    {"nvme", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2, {.disk_bus = CHR_DISK_NVME}, true, false},
    {"sata", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2, {.disk_bus = CHR_DISK_SATA}, false, false},
    {"ide", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2, {.disk_bus = CHR_DISK_IDE}, false, false},
    {"ideuefi", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2,
     {.disk_bus = CHR_DISK_IDE, .firmware = CHR_FIRMWARE_UEFI}, false, false},
    {"size", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2,
     {.memory = 96 * MIB, .cpu = "qemu64,+ssse3", .smp = {.cpus = 2, .cores = 2}, .net_count = 1,
      .nets = {{.kind = CHR_NET_NONE}}}, false, false},
    {"udp", real_host, "x86_64", "disk.qcow2", CHR_FORMAT_QCOW2,
     {.listen = "0.0.0.0", .forward_count = 1, .forwards = {{.udp = true, .guest_port = 5000, .count = 12}}}, false, false},
    {"arm", real_host, "aarch64", "raw.img", CHR_FORMAT_RAW, {0}, false, false},
    {"armsmall", small_arm_firmware, "aarch64", "disk.qcow2", CHR_FORMAT_QCOW2, {TWO_NETS}, true, false},
    {"armthrowaway", real_host, "aarch64", "disk.qcow2", CHR_FORMAT_QCOW2, {.throwaway = true}, false, false},
    {"armscsi", real_host, "aarch64", "disk.qcow2", CHR_FORMAT_QCOW2, {.disk_bus = CHR_DISK_SCSI}, false, false},
    {"armnvme", real_host, "aarch64", "disk.qcow2", CHR_FORMAT_QCOW2, {.disk_bus = CHR_DISK_NVME}, true, false},
    {"armsata", real_host, "aarch64", "disk.qcow2", CHR_FORMAT_QCOW2, {.disk_bus = CHR_DISK_SATA}, false, false},
    {"kvm", kvm_host, "x86_64", "raw.img", CHR_FORMAT_RAW, {.firmware = CHR_FIRMWARE_UEFI, TWO_NETS}, false, true},
};

static void write_text(const char *name, const char *ending, char *text)
{
    char path[VM_PATH_SIZE];

    (void)snprintf(path, sizeof path, "%s/%s.%s", write_folder, name, ending);
    write_file(path, text, strlen(text));
    free(text);
}

/* Ports that other machines on this host, which take theirs from 9180 on, do not get in between. */
static void choose_ports(struct chr_boot_options *options)
{
    static const uint16_t services[] = {80, 443, 22, 8728};
    uint16_t first = (uint16_t)(12000 + getpid() % 1000 * 20);

    if (options->net_count == 1 && options->nets[0].kind == CHR_NET_NONE)
        return;
    options->no_default_forwards = true;
    options->ready = CHR_READY_NONE;
    for (size_t i = 0; i < options->forward_count; i++)
        options->forwards[i].host_port = first;
    for (size_t i = 0; i < 4; i++)
        options->forwards[options->forward_count++] = (struct chr_forward){
            .host_port = (uint16_t)(first + i), .guest_port = services[i], .count = 1};
}

/* The plan again with SHOW, as units have other folders. */
static void remake(const struct sample *sample, const struct vm_image *image, enum chr_boot_show show,
                   struct made *made)
{
    struct chr_boot_options options = sample->options;
    struct chr_error err;

    vm_plan_release(&made->plan);
    choose_ports(&options);
    options.name = sample->name;
    options.show = show;
    assert_done(vm_plan_make(&made->world.host, image, &options, &made->plan, &err), &err);
}

static void write_sample(const struct sample *sample)
{
    char path[VM_PATH_SIZE];
    char ini_path[VM_PATH_SIZE];
    struct vm_image image = {.path = path, .format = sample->format, .arch = sample->arch, .bios = YES,
                             .uefi = YES, .size = MIB};
    struct made *made = calloc(1, sizeof *made);
    struct chr_error err;
    char *text;
    char *ini;

    assert_non_null(made);
    (void)snprintf(path, sizeof path, "%s/%s", write_folder, sample->file);
    (void)snprintf(ini_path, sizeof ini_path, "%s/%s.ini", write_folder, sample->name);
    sample->host(&made->world);
    remake(sample, &image, CHR_SHOW_NONE, made);
    assert_done(vm_emit_print(&made->world.host, &made->plan, &text, &err), &err);
    write_text(sample->name, sample->not_to_run ? "shown" : "print", text);
    assert_done(vm_emit_script(&made->world.host, &made->plan, &text, &err), &err);
    write_text(sample->name, "script", text);
    assert_done(vm_emit_readconfig(&made->world.host, &made->plan, ini_path, &ini, &text, &err), &err);
    write_text(sample->name, "ini", ini);
    write_text(sample->name, "readconfig", text);
    if (!sample->not_for_libvirt) {
        assert_done(vm_emit_libvirt(&made->world.host, &made->plan, &text, &err), &err);
        write_text(sample->name, "xml", text);
    }
    remake(sample, &image, CHR_SHOW_SYSTEMD, made);
    assert_done(vm_emit_systemd(&made->world.host, &made->plan, NULL, &text, &err), &err);
    write_text(sample->name, "service", text);
    release(made);
}

static void test_write_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
        write_sample(&samples[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shell_words),   cmocka_unit_test(test_shell_reads_back),
        cmocka_unit_test(test_option_values), cmocka_unit_test(test_print),
        cmocka_unit_test(test_script),        cmocka_unit_test(test_readconfig),
        cmocka_unit_test(test_systemd),       cmocka_unit_test(test_units_of_more),
        cmocka_unit_test(test_libvirt),       cmocka_unit_test(test_versions),
        cmocka_unit_test(test_bridge_acl),    cmocka_unit_test(test_vfio_probe),
    };
    const struct CMUnitTest writing[] = {cmocka_unit_test(test_write_samples)};

    if (argc == 4 && strcmp(argv[1], "write") == 0) {
        write_folder = argv[2];
        write_program = argv[3];
        return cmocka_run_group_tests(writing, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
