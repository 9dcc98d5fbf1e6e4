/* Names, folders, locks, records; processes that are nobody's children. */
#include "vm/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "unit.h"
#include "vm/clock.h"

#define PATIENCE_MS 20000

static struct vm_host host;

static int setup(void **state)
{
    int result = enter_work_folder(state);

    (void)snprintf(host.runtime_folder, sizeof host.runtime_folder, "%.400s/run/chrimg",
                   work_folder);
    (void)snprintf(host.state_folder, sizeof host.state_folder, "%.400s/state/chrimg",
                   work_folder);
    return result;
}

/* ---- names ---- */

static void names(void **state)
{
    static const char *const good[] = {"a", "router", "chr-7.19", "_x", "R.1",
                                       "12345678901234567890123456789012"};
    static const char *const bad[] = {"", ".", "..", ".hidden", "-x", "a/b", "a b", "a\nb", "ä",
                                      "123456789012345678901234567890123"};
    struct chr_error err;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_done(vm_name_check(good[i], &err), &err);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(vm_name_check(bad[i], &err), &err, CHR_E_USAGE, "is no name");
}

/* ---- folders and locks ---- */

static mode_t mode_of(const char *path)
{
    struct stat info;

    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void folders_are_private(void **state)
{
    struct vm_instance instance;
    struct chr_error err;

    (void)state;
    assert_done(vm_instance_place(&host, "private", &instance, &err), &err);
    assert_refused(vm_instance_lock(&instance, &err), &err, CHR_E_MISSING, "no instance private");
    assert_done(vm_instance_lock_new(&instance, &err), &err);
    assert_done(vm_instance_prepare(&instance, &err), &err);
    assert_int_equal(mode_of(instance.state), 0700);
    assert_int_equal(mode_of(instance.runtime), 0700);
    assert_int_equal(mode_of(host.state_folder), 0700);
    vm_instance_unlock(&instance);
    /* Others could have put something in. */
    assert_int_equal(chmod(instance.state, 0770), 0);
    assert_refused(vm_instance_lock_new(&instance, &err), &err, CHR_E_REFUSED, "others may use");
    assert_non_null(strstr(err.hint, "mode 0700; or set XDG_STATE_HOME to a folder"));
    assert_int_equal(rmdir(instance.state), 0);
    assert_int_equal(symlink("/tmp", instance.state), 0);
    assert_refused(vm_instance_lock_new(&instance, &err), &err, CHR_E_REFUSED, "no folder");
    assert_int_equal(unlink(instance.state), 0);
}

static void lock_excludes(void **state)
{
    struct vm_instance first;
    struct vm_instance second;
    struct chr_error err;

    (void)state;
    assert_done(vm_instance_place(&host, "locked", &first, &err), &err);
    assert_done(vm_instance_place(&host, "locked", &second, &err), &err);
    assert_done(vm_instance_lock_new(&first, &err), &err);
    assert_refused(vm_instance_try_lock(&second, &err), &err, CHR_E_BUSY, "another chrimg");
    vm_instance_unlock(&first);
    assert_done(vm_instance_try_lock(&second, &err), &err);
    vm_instance_unlock(&second);
}

/* ---- records ---- */

static struct vm_record sample(void)
{
    static char *argv[] = {(char *)"qemu", (char *)"-name", (char *)"a \"b\", c\n", NULL};
    static struct vm_file files[] = {
        {VM_MAKE_OVERLAY, (char *)"/s/disk.qcow2", (char *)"/i/stock.img", false, 134217728},
        {VM_MAKE_BLANK, (char *)"/s/vars.qcow2", NULL, false, 540672},
    };
    static struct vm_forward forwards[] = {{"http", false, "127.0.0.1", 9180, 80},
                                           {"", true, "127.0.0.1", 65535, 1}};

    return (struct vm_record){
        .name = "sample",
        .image = (char *)"/i/stock.img",
        .arch = (char *)"x86_64",
        .accel = (char *)"tcg",
        .firmware = (char *)"UEFI",
        .argv = argv,
        .files = files,
        .file_count = 2,
        .forwards = forwards,
        .forward_count = 2,
        .listen = (char *)"127.0.0.1",
        .qmp_socket = (char *)"/r/qmp.sock",
        .serial_socket = (char *)"/r/serial.sock",
        .serial_log = (char *)"/s/serial.log",
        .log_file = (char *)"/s/qemu.log",
        .remove = true,
        .ready = CHR_READY_SERIAL,
        .ready_pattern = (char *)"^ready",
        .timeout = 7,
        .started = 1700000000,
        .pid = 4242,
        .start_time = 123456789012,
        .boot_id = "an id",
    };
}

static void record_round_trip(void **state)
{
    struct vm_record written = sample();
    struct vm_record record;
    struct vm_instance instance;
    struct chr_error err;
    char path[VM_PATH_SIZE + 16];

    (void)state;
    written.fallback = written.argv;
    written.image_device = 7;
    written.image_inode = UINT64_MAX;
    assert_done(vm_instance_place(&host, "sample", &instance, &err), &err);
    assert_done(vm_instance_lock_new(&instance, &err), &err);
    assert_refused(vm_record_read(&instance, &record, &err), &err, CHR_E_MISSING, "sample");
    assert_done(vm_record_write(&instance, &written, &err), &err);
    assert_done(vm_record_read(&instance, &record, &err), &err);
    assert_string_equal(record.name, written.name);
    assert_string_equal(record.image, written.image);
    assert_int_equal(record.image_device, 7);
    assert_true(record.image_inode == UINT64_MAX);
    assert_string_equal(record.argv[2], written.argv[2]);
    assert_string_equal(record.fallback[2], written.fallback[2]);
    assert_null(record.fallback[3]);
    assert_null(record.argv[3]);
    assert_int_equal(record.file_count, 2);
    assert_string_equal(record.files[0].source, written.files[0].source);
    assert_int_equal(record.files[0].size, written.files[0].size);
    assert_null(record.files[1].source);
    assert_int_equal(record.files[1].kind, VM_MAKE_BLANK);
    assert_int_equal(record.forward_count, 2);
    assert_string_equal(record.forwards[0].name, "http");
    assert_true(record.forwards[1].udp);
    assert_int_equal(record.forwards[1].host_port, 65535);
    assert_true(record.remove);
    assert_string_equal(record.ready_pattern, "^ready");
    assert_int_equal(record.start_time, written.start_time);
    assert_string_equal(record.boot_id, "an id");
    vm_record_release(&record);
    (void)snprintf(path, sizeof path, "%s/record.json", instance.state);
    assert_int_equal(mode_of(path), 0600);
    vm_instance_unlock(&instance);
}

/* What QEMU has open is told from what has got its name since; old records tell nothing. */
static void images_are_files(void **state)
{
    struct vm_record record = sample();
    struct stat info;

    (void)state;
    record.image = (char *)"image";
    assert_false(vm_record_knows_image(&record));
    assert_int_equal(vm_record_image_name(&record), VM_IMAGE_NAMED);
    write_file("image", "a", 1);
    vm_record_set_image(&record);
    assert_true(vm_record_knows_image(&record));
    assert_int_equal(vm_record_image_name(&record), VM_IMAGE_NAMED);
    write_file("other", "b", 1);
    assert_int_equal(stat("other", &info), 0);
    assert_false(vm_record_is_image(&record, &info));
    assert_int_equal(rename("image", "moved"), 0);
    assert_int_equal(vm_record_image_name(&record), VM_IMAGE_REMOVED);
    assert_int_equal(rename("other", "image"), 0);
    assert_int_equal(vm_record_image_name(&record), VM_IMAGE_REPLACED);
    assert_int_equal(stat("moved", &info), 0);
    assert_true(vm_record_is_image(&record, &info));
    assert_int_equal(rename("moved", "image"), 0);
    assert_int_equal(vm_record_image_name(&record), VM_IMAGE_NAMED);
}

/* Each is one damage to a sound record; none may be believed, and none may crash. */
static void damaged_records(void **state)
{
    struct vm_record written = sample();
    struct vm_record record;
    struct vm_instance instance;
    struct chr_error err;
    char path[VM_PATH_SIZE + 16];
    size_t length;
    char *text;

    (void)state;
    (void)strcpy(written.name, "damaged");
    assert_done(vm_instance_place(&host, "damaged", &instance, &err), &err);
    assert_done(vm_instance_lock_new(&instance, &err), &err);
    assert_done(vm_record_write(&instance, &written, &err), &err);
    vm_instance_unlock(&instance);
    (void)snprintf(path, sizeof path, "%s/record.json", instance.state);
    text = (char *)read_file(path, &length);
    text[length] = '\0';
    for (size_t cut = 0; cut < length - 1; cut += 7) {
        write_file(path, text, cut);
        assert_refused(vm_record_read(&instance, &record, &err), &err, CHR_E_DAMAGED, "no record");
    }
    /* One letter of each key changed: what is missing is missed. */
    for (char *key = strstr(text, "\n  \""); key != NULL; key = strstr(key + 1, "\n  \"")) {
        key[4] ^= 0x20;
        write_file(path, text, length);
        assert_refused(vm_record_read(&instance, &record, &err), &err, CHR_E_DAMAGED, "no record");
        key[4] ^= 0x20;
    }
    write_file(path, text, length);
    assert_done(vm_record_read(&instance, &record, &err), &err);
    vm_record_release(&record);
    free(text);
}

static void tidy_removes_what_it_should(void **state)
{
    struct vm_record record = sample();
    struct vm_instance instance;
    struct chr_error err;
    char path[VM_PATH_SIZE + 16];
    char **list = NULL;
    size_t count = 0;

    (void)state;
    record.file_count = record.forward_count = 0;
    record.remove = false;
    assert_done(vm_instance_place(&host, "tidy", &instance, &err), &err);
    assert_done(vm_instance_lock_new(&instance, &err), &err);
    assert_done(vm_instance_prepare(&instance, &err), &err);
    (void)snprintf(path, sizeof path, "%s/qmp.sock", instance.runtime);
    write_file(path, "", 0);
    assert_done(vm_record_write(&instance, &record, &err), &err);
    assert_done(vm_instance_tidy(&instance, &record, false, &err), &err);
    assert_int_equal(access(instance.runtime, F_OK), -1);
    assert_int_equal(access(instance.state, F_OK), 0);
    assert_done(vm_instance_names(&host, &list, &count, &err), &err);
    assert_true(count > 0);
    assert_string_equal(list[count - 1], "tidy");
    vm_names_free(list, count);
    assert_done(vm_instance_tidy(&instance, &record, true, &err), &err);
    assert_int_equal(access(instance.state, F_OK), -1);
    vm_instance_unlock(&instance);
}

/* Whoever puts a link where our folder was must not have us empty what it leads to. */
static void tidy_follows_no_link(void **state)
{
    struct vm_record record = sample();
    struct vm_instance instance;
    struct vm_host linked = host;
    struct chr_error err;
    char precious[VM_PATH_SIZE + 16];
    char folder[VM_PATH_SIZE];

    (void)state;
    record.file_count = record.forward_count = 0;
    (void)snprintf(folder, sizeof folder, "%.400s/precious", work_folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    (void)snprintf(precious, sizeof precious, "%.400s/letter", folder);
    write_file(precious, "x", 1);
    assert_done(vm_instance_place(&host, "link", &instance, &err), &err);
    assert_done(vm_instance_lock_new(&instance, &err), &err);
    assert_done(vm_instance_prepare(&instance, &err), &err);
    assert_int_equal(rmdir(instance.runtime), 0);
    assert_int_equal(symlink(folder, instance.runtime), 0);
    assert_refused(vm_instance_tidy(&instance, &record, false, &err), &err, CHR_E_REFUSED,
                   "is no folder");
    assert_int_equal(access(precious, F_OK), 0);
    assert_int_equal(unlink(instance.runtime), 0);
    vm_instance_unlock(&instance);
    /* The same one folder further up, and a parent that others may write to. */
    (void)snprintf(linked.runtime_folder, sizeof linked.runtime_folder, "%.400s/linked",
                   work_folder);
    assert_int_equal(symlink(work_folder, linked.runtime_folder), 0);
    assert_done(vm_instance_place(&linked, "precious", &instance, &err), &err);
    assert_refused(vm_instance_tidy(&instance, &record, false, &err), &err, CHR_E_REFUSED,
                   "is no folder");
    assert_int_equal(unlink(linked.runtime_folder), 0);
    assert_int_equal(mkdir(linked.runtime_folder, 0700), 0);
    assert_int_equal(chmod(linked.runtime_folder, 0777), 0);
    assert_int_equal(symlink(folder, instance.runtime), 0);
    assert_refused(vm_instance_tidy(&instance, &record, false, &err), &err, CHR_E_REFUSED,
                   "others may use it");
    assert_int_equal(access(precious, F_OK), 0);
}

/* ---- processes ---- */

static int announced(const struct vm_process *process, void *copy, struct chr_error *err)
{
    (void)err;
    *(struct vm_process *)copy = *process;
    return 0;
}

static int refuse(const struct vm_process *process, void *context, struct chr_error *err)
{
    (void)process;
    (void)context;
    return err_set(err, CHR_E_SPACE, "nothing could be written down");
}

static void start(char *const *argv, struct vm_process *process, struct vm_process *told)
{
    const struct vm_start how = {
        .argv = argv, .log = "log", .folder = work_folder, .announce = announced, .context = told};
    struct chr_error err;

    assert_done(vm_process_start(&how, process, &err), &err);
}

static void starts_and_is_found(void **state)
{
    static char *const argv[] = {(char *)"sleep", (char *)"100", NULL};
    struct vm_process process;
    struct vm_process again;
    struct vm_process told;
    struct vm_record record = {0};
    struct chr_error err;

    (void)state;
    start(argv, &process, &told);
    assert_int_equal(told.pid, process.pid);
    assert_true(told.start_time == process.start_time);
    assert_true(vm_process_is_alive(&process));
    assert_int_not_equal(getsid(process.pid), getsid(0));
    assert_int_equal(waitpid(process.pid, NULL, WNOHANG), -1); /* no child of ours */
    assert_true(vm_process_find(process.pid, process.start_time, &again));
    vm_process_release(&again);
    /* The number is right, the process is not: as after the number was given away. */
    assert_false(vm_process_find(process.pid, process.start_time + 1, &again));
    assert_false(vm_process_find(process.pid, process.start_time - 1, &again));

    vm_record_bind(&record, &process);
    assert_true(vm_record_process(&record, &again));
    vm_process_release(&again);
    record.boot_id[0] ^= 1; /* the same number and time, after another boot */
    assert_false(vm_record_process(&record, &again));

    assert_false(vm_process_wait(&process, clock_ms() + 50));
    assert_done(vm_process_signal(&process, SIGTERM, &err), &err);
    assert_true(vm_process_wait(&process, clock_ms() + PATIENCE_MS));
    assert_false(vm_process_find(process.pid, process.start_time, &again));
    assert_done(vm_process_signal(&process, SIGTERM, &err), &err); /* gone is fine */
    vm_process_release(&process);
}

/* What another host or container wrote down is nothing that can be judged here. */
static void records_of_elsewhere(void **state)
{
    struct vm_record record = {0};

    (void)state;
    assert_false(vm_record_is_foreign(&record)); /* an older record */
    vm_record_set_origin(&record);
    assert_true(record.host[0] != '\0');
    assert_true(vm_host_boot_id(record.boot_id, sizeof record.boot_id));
    assert_false(vm_record_is_foreign(&record));
    record.host[0] ^= 1;
    assert_true(vm_record_is_foreign(&record));
    record.host[0] ^= 1;
    (void)strcpy(record.pid_namespace, "pid:[1]");
    assert_true(vm_record_is_foreign(&record));
    record.boot_id[0] ^= 1; /* the host was booted since: so is every container gone */
    assert_false(vm_record_is_foreign(&record));
}

static void stops_are_noted(void **state)
{
    struct vm_instance instance;
    struct chr_error err;

    (void)state;
    assert_done(vm_instance_place(&host, "asked", &instance, &err), &err);
    assert_true(vm_instance_was_stopped(&instance)); /* and removed */
    assert_done(vm_instance_lock_new(&instance, &err), &err);
    assert_false(vm_instance_was_stopped(&instance));
    vm_instance_note_stop(&instance);
    assert_true(vm_instance_was_stopped(&instance));
    vm_instance_clear_stop(&instance);
    assert_false(vm_instance_was_stopped(&instance));
    vm_record_sweep(&instance);
    vm_instance_unlock(&instance);
}

static void inherits_nothing(void **state)
{
    /* Its descriptors, its umask, its folder; SIGPIPE and the mask are as they should be. */
    static char *const argv[] = {(char *)"sh", (char *)"-c",
                                 (char *)"ls /proc/self/fd | tr '\\n' ' '; umask; pwd -P; "
                                         "grep -E '^Sig(Blk|Ign)' /proc/self/status",
                                 NULL};
    struct vm_process process;
    struct vm_process told;
    sigset_t blocked;
    const char *signals;
    char *text;
    int fd;

    (void)state;
    (void)unlink("log");
    fd = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    assert_true(fd >= 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &blocked, NULL);
    start(argv, &process, &told);
    assert_true(vm_process_wait(&process, clock_ms() + PATIENCE_MS));
    (void)sigprocmask(SIG_UNBLOCK, &blocked, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)close(fd);
    text = (char *)read_file("log", NULL);
    text[file_size("log")] = '\0';
    /* 3 is the folder that ls reads. */
    signals = strstr(text, "SigBlk:\t0000000000000000\nSigIgn:\t");
    /* But 32 and 33: posix_spawn(), as of make, ignores these of glibc's own, and nobody can reset them. */
    if (strstr(text, "0 1 2 3 0177\n") == NULL || signals == NULL ||
        (strtoull(strrchr(signals, '\t'), NULL, 16) & ~0x180000000ULL) != 0)
        fail_msg("it has inherited: %s", text);
    assert_int_equal(mode_of("log"), 0600);
    free(text);
    vm_process_release(&process);
}

static void does_not_start(void **state)
{
    static char *const missing[] = {(char *)"chrimg-no-such-program", NULL};
    static char *const no_program[] = {(char *)"./text", NULL};
    static char *const touch[] = {(char *)"touch", (char *)"trace", NULL};
    struct vm_start how = {.argv = missing, .log = "log", .folder = work_folder};
    struct vm_process process;
    struct chr_error err;

    (void)state;
    assert_refused(vm_process_start(&how, &process, &err), &err, CHR_E_MISSING,
                   "chrimg-no-such-program");
    write_file("text", "no program", 10);
    assert_int_equal(chmod("text", 0700), 0);
    how.argv = no_program;
    assert_refused(vm_process_start(&how, &process, &err), &err, CHR_E_IO, "./text");
    how.argv = touch;
    how.folder = "/no/such/folder";
    assert_refused(vm_process_start(&how, &process, &err), &err, CHR_E_MISSING, "touch");
    /* What cannot be written down never runs. */
    how.folder = work_folder;
    how.announce = refuse;
    assert_refused(vm_process_start(&how, &process, &err), &err, CHR_E_SPACE, "written down");
    clock_sleep(200);
    assert_int_equal(access("trace", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(folders_are_private),
        cmocka_unit_test(lock_excludes),
        cmocka_unit_test(record_round_trip),
        cmocka_unit_test(images_are_files),
        cmocka_unit_test(damaged_records),
        cmocka_unit_test(records_of_elsewhere),
        cmocka_unit_test(stops_are_noted),
        cmocka_unit_test(tidy_removes_what_it_should),
        cmocka_unit_test(tidy_follows_no_link),
        cmocka_unit_test(starts_and_is_found),
        cmocka_unit_test(inherits_nothing),
        cmocka_unit_test(does_not_start),
    };

    return cmocka_run_group_tests(tests, setup, leave_work_folder);
}
