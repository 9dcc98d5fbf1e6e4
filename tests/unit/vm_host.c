/* What is found on a host: programs and their versions, ports, marks; with a host made of files. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vm/host.h"
#include "vm/host_parts.h"
#include "vm/kvm_trial.h"
#include "vm/ports.h"

static char folder[512];

/* A QEMU that says its version, counts how often it was asked, and knows -sandbox or not. */
static void make_qemu(const char *name, const char *version, bool sandbox)
{
    char path[1024];
    char text[2048];

    (void)snprintf(path, sizeof path, "%s/bin/%s", folder, name);
    (void)snprintf(text, sizeof text,
                   "#!/bin/sh\necho asked >>'%s/asked'\n"
                   "[ \"$1\" = -version ] || %s || exit 1\n"
                   "echo 'QEMU emulator version %s (test)'\n",
                   folder, sandbox ? "true" : "false", version);
    write_file(path, text, strlen(text));
    assert_int_equal(chmod(path, 0755), 0);
}

static size_t times_asked(void)
{
    return access("asked", F_OK) == 0 ? file_size("asked") / strlen("asked\n") : 0;
}

static int enter_host(void **state)
{
    char path[1024];

    if (enter_work_folder(state) != 0 || getcwd(folder, sizeof folder) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/bin:/usr/bin:/bin", folder);
    return setenv("PATH", path, 1) | setenv("XDG_RUNTIME_DIR", folder, 1) | setenv("XDG_STATE_HOME", folder, 1) |
           setenv("XDG_CACHE_HOME", strcat(strcpy(path, folder), "/no/such/folder/yet"), 1) | mkdir("bin", 0755);
}

static struct vm_host *probe(const struct chr_boot_options *options, const char *arch)
{
    struct vm_host *host = NULL;
    struct chr_error err;

    assert_done(vm_host_probe(options, arch, &host, &err), &err);
    return host;
}

static void test_versions_are_remembered(void **state)
{
    const struct chr_boot_options options = {0};
    struct vm_host *host;
    size_t asked;

    (void)state;
    make_qemu("qemu-system-x86_64", "7.2.22", true);
    make_qemu("qemu-system-aarch64", "8.2.0", false);
    host = probe(&options, "x86_64");
    assert_int_equal(host->binary_count, 1);
    assert_int_equal(host->binaries[0].major, 7);
    assert_int_equal(host->binaries[0].minor, 2);
    assert_true(host->binaries[0].seccomp);
    assert_int_equal(strncmp(host->binaries[0].path, folder, strlen(folder)), 0);
    vm_host_free(host);
    asked = times_asked();
    vm_host_free(probe(&options, "x86_64"));
    assert_int_equal(times_asked(), asked);
    host = probe(&options, NULL); /* both, one of them known */
    assert_int_equal(host->binary_count, 2);
    assert_int_equal(host->binaries[1].major, 8);
    assert_false(host->binaries[1].seccomp);
    vm_host_free(host);
    asked = times_asked();
    vm_host_free(probe(&options, NULL));
    assert_int_equal(times_asked(), asked);
    /* Another program under the same name is asked again. */
    make_qemu("qemu-system-x86_64", "9.0.1-longer", true);
    host = probe(&options, "x86_64");
    assert_int_equal(host->binaries[0].major, 9);
    vm_host_free(host);
}

/* Whatever stands in the cache, the program is asked. */
static void test_cache_of_noise(void **state)
{
    static const char *const noise[] = {"", "\n\n\n", "1 2 3", "x y z /a\n", "\xff\xfe\n", "/"};
    const struct chr_boot_options options = {0};
    struct dice dice = {.state = 5};

    (void)state;
    for (size_t i = 0; i < 20; i++) {
        uint8_t bytes[4000];
        struct vm_host *host;

        roll_bytes(&dice, bytes, sizeof bytes);
        if (i < sizeof noise / sizeof noise[0])
            write_file("no/such/folder/yet/chrimg/qemu-versions", noise[i], strlen(noise[i]));
        else
            write_file("no/such/folder/yet/chrimg/qemu-versions", bytes, sizeof bytes);
        host = probe(&options, "x86_64");
        assert_int_equal(host->binaries[0].major, 9);
        vm_host_free(host);
    }
}

static void make_script(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
    assert_int_equal(chmod(path, 0755), 0);
}

static void test_odd_programs(void **state)
{
    struct chr_boot_options options = {.qemu = "bin/mute"};
    struct vm_host *host = NULL;
    struct chr_error err;

    (void)state;
    make_script("bin/mute", "#!/bin/sh\nexit 3\n");
    host = probe(&options, "x86_64");
    assert_int_equal(host->binaries[0].major, 0);
    assert_int_equal(host->binaries[0].path[0], '/');
    vm_host_free(host);
    /* Far more than a version, and more than a pipe holds. */
    make_script("bin/mute", "#!/bin/sh\necho QEMU emulator version 8.1.2; yes | head -c 1000000\n");
    host = probe(&options, "x86_64");
    assert_int_equal(host->binaries[0].major, 0);
    vm_host_free(host);
    make_script("bin/mute", "#!/bin/sh\necho QEMU emulator version 8.1.2; exec yes\n");
    host = probe(&options, "x86_64");
    assert_int_equal(host->binaries[0].major, 0);
    vm_host_free(host);
    options.qemu = "bin/nothing";
    assert_refused(vm_host_probe(&options, "x86_64", &host, &err), &err, CHR_E_MISSING, "--qemu bin/nothing");
    options.qemu = "bin";
    assert_refused(vm_host_probe(&options, "x86_64", &host, &err), &err, CHR_E_MISSING, "there is no such program");
}

/* Ours instead of the C library's: whoever waits for, or kills, what he has not started. */
static unsigned strangers;

pid_t waitpid(pid_t pid, int *status, int options)
{
    pid_t result = wait4(pid, status, options, NULL);

    if (result < 0 && errno == ECHILD)
        strangers++;
    return result;
}

int kill(pid_t pid, int number)
{
    strangers += pid <= 0 || number != 0;
    return (int)syscall(SYS_kill, pid, number);
}

/* Found, executable, and no program: its process never was. */
static void test_program_that_cannot_start(void **state)
{
    const struct chr_boot_options options = {.qemu = "bin/garbage"};
    struct vm_host *host;

    (void)state;
    make_script("bin/garbage", "\177ELFgarbage");
    strangers = 0;
    host = probe(&options, "x86_64");
    assert_int_equal(host->binaries[0].major, 0);
    assert_false(host->binaries[0].seccomp);
    assert_int_equal(strangers, 0);
    assert_int_equal(host->binaries[0].start_error, ENOEXEC);
    vm_host_free(host);
}

/* ---- ports ---- */

/* A port of 127.0.0.1 that something listens on (or is bound to, for UDP); the descriptor goes to *FD. */
static uint16_t hold_port(bool udp, int *fd)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;

    *fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    assert_true(*fd >= 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_true(udp || listen(*fd, 1) == 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&name, &length), 0);
    return ntohs(name.sin_port);
}

static bool in_list(const uint16_t *list, size_t count, uint16_t port)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == port)
            return true;
    return false;
}

static void test_busy_ports(void **state)
{
    struct chr_boot_options options = {.forward_count = 2};
    struct vm_host *host;
    int tcp;
    int udp;

    (void)state;
    options.forwards[0] = (struct chr_forward){.host_port = hold_port(false, &tcp), .guest_port = 1, .count = 1};
    options.forwards[1] = (struct chr_forward){.udp = true, .host_port = hold_port(true, &udp), .guest_port = 1, .count = 1};
    host = probe(&options, "x86_64");
    assert_true(in_list(host->tcp_busy, host->tcp_busy_count, options.forwards[0].host_port));
    assert_true(in_list(host->udp_busy, host->udp_busy_count, options.forwards[1].host_port));
    for (size_t i = 1; i < host->tcp_busy_count; i++)
        assert_true(host->tcp_busy[i - 1] <= host->tcp_busy[i]);
    vm_host_free(host);
    (void)close(tcp);
    (void)close(udp);
    host = probe(&options, "x86_64");
    assert_false(in_list(host->tcp_busy, host->tcp_busy_count, options.forwards[0].host_port));
    assert_false(in_list(host->udp_busy, host->udp_busy_count, options.forwards[1].host_port));
    vm_host_free(host);
}

static void test_listen_address(void **state)
{
    struct chr_boot_options options = {.listen = "192.0.2.77"}; /* RFC 5737: nobody has it */
    struct vm_host *host = probe(&options, "x86_64");

    (void)state;
    assert_true(host->listen_missing);
    vm_host_free(host);
    options.listen = "0.0.0.0";
    host = probe(&options, "x86_64");
    assert_false(host->listen_missing);
    vm_host_free(host);
}

/* Each wish once, by the numbers of a range; nothing is asked for twice. */
static void test_wishes(void **state)
{
    struct chr_boot_options options = {.forward_count = 1, .forwards = {{.host_port = 9182, .guest_port = 8290, .count = 3}}};
    struct ports_wish wishes[PORTS_WISHES_MAX];
    struct chr_error err;
    size_t count;

    (void)state;
    assert_done(ports_wishes(&options, wishes, &count, &err), &err);
    assert_int_equal(count, 8); /* three, and the defaults but winbox */
    assert_string_equal(wishes[1].name, "winbox");
    assert_int_equal(wishes[1].host_port, 9183);
    assert_int_equal(ports_block_size(wishes, count), 10);
    options.no_default_forwards = true;
    options.ready = CHR_READY_NONE;
    assert_done(ports_wishes(&options, wishes, &count, &err), &err);
    assert_int_equal(ports_block_size(wishes, count), 0);
    options.forwards[0].count = CHR_FORWARD_PORTS_MAX + 1;
    assert_refused(ports_wishes(&options, wishes, &count, &err), &err, CHR_E_USAGE, "more than 256 ports");
}

/* ---- folders and marks ---- */

static void test_folders(void **state)
{
    struct vm_host *host = calloc(1, sizeof *host);
    struct chr_error err;
    char wanted[1024];

    (void)state;
    assert_non_null(host);
    assert_done(vm_host_folders(host, &err), &err);
    (void)snprintf(wanted, sizeof wanted, "%s/chrimg", folder);
    assert_string_equal(host->runtime_folder, wanted);
    assert_string_equal(host->state_folder, wanted);
    /* A relative one counts as none. */
    assert_int_equal(setenv("XDG_STATE_HOME", "relative", 1), 0);
    assert_int_equal(setenv("HOME", "/home/ann", 1), 0);
    assert_done(vm_host_folders(host, &err), &err);
    assert_string_equal(host->state_folder, "/home/ann/.local/state/chrimg");
    assert_int_equal(setenv("XDG_STATE_HOME", folder, 1), 0);
    free(host);
}

/* A mark counts for this boot of the host alone, and spares the trial. */
static void test_kvm_is_remembered(void **state)
{
    static const char mark[] = "no/such/folder/yet/chrimg/kvm";
    const struct chr_boot_options options = {0};
    struct vm_host *host = probe(&options, "x86_64");
    bool usable = host->kvm_usable;
    bool tried = host->kvm_runs || host->kvm_broken;
    bool broken = host->kvm_broken;
    struct chr_error err;
    struct stat stat_;

    (void)state;
    assert_false(host->kvm_runs && host->kvm_broken);
    assert_int_equal(stat(mark, &stat_) == 0, tried);
    assert_done(vm_host_kvm_seen(host, false, &err), &err);
    assert_int_equal(stat("no/such/folder/yet/chrimg", &stat_), 0);
    assert_int_equal(stat_.st_mode & 0777, 0700);
    vm_host_free(host);
    host = probe(&options, "x86_64");
    assert_int_equal(host->kvm_broken, usable);
    assert_false(host->kvm_runs);
    vm_host_free(host);
    write_file(mark, "another boot broken\n", 20);
    host = probe(&options, "x86_64");
    assert_int_equal(host->kvm_broken, broken);
    assert_done(vm_host_kvm_seen(host, true, &err), &err);
    vm_host_free(host);
    host = probe(&options, "x86_64");
    assert_int_equal(host->kvm_runs, usable);
    assert_false(host->kvm_broken);
    vm_host_free(host);
}

/* What is no KVM is no verdict on it. */
static void test_trial_without_kvm(void **state)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(kvm_try(fd), KVM_UNTRIED);
    assert_int_equal(close(fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_are_remembered), cmocka_unit_test(test_cache_of_noise),
        cmocka_unit_test(test_odd_programs),            cmocka_unit_test(test_busy_ports),
        cmocka_unit_test(test_listen_address),          cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_folders),                 cmocka_unit_test(test_kvm_is_remembered),
        cmocka_unit_test(test_trial_without_kvm),       cmocka_unit_test(test_program_that_cannot_start),
    };

    return cmocka_run_group_tests(tests, enter_host, leave_work_folder);
}
