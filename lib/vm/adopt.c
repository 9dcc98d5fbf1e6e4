/*
 * Machines that run without a record: QEMU started by a line of `chrimg boot --print` or
 * by a script.  Their pid file is where ours is, and the process that it names
 * says by its own arguments that the file is its own, so that a number which the system
 * has given to somebody else is never taken for it.
 */
#include "vm/instance.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm/ports.h"
#include "vm/text.h"

int vm_record_places(const struct vm_instance *instance, struct vm_record *record,
                     struct chr_error *err)
{
    (void)strcpy(record->name, instance->name);
    record->qmp_socket = text_new(err, "%s/qmp.sock", instance->runtime);
    record->serial_socket = text_new(err, "%s/serial.sock", instance->runtime);
    record->serial_log = text_new(err, "%s/serial.log", instance->state);
    record->log_file = text_new(err, "%s/qemu.log", instance->state);
    record->ready = CHR_READY_NONE;
    record->adopted = true;
    return record->qmp_socket != NULL && record->serial_socket != NULL &&
                   record->serial_log != NULL && record->log_file != NULL
               ? 0
               : -1;
}

#ifdef __linux__

#define ARGUMENTS_SIZE ((size_t)1 << 20)
#define ARGUMENTS_MAX 4096

/* At most SIZE - 1 bytes of a file, and a NUL; 0 when there is nothing. */
static size_t read_start(const char *path, char *text, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    size_t length = 0;
    ssize_t n = 1;

    while (fd >= 0 && length < size - 1 && n > 0) {
        n = read(fd, text + length, size - 1 - length);
        length += n > 0 ? (size_t)n : 0;
    }
    text[length] = '\0';
    return length;
}

/* proc(5), /proc/PID/cmdline: arguments, each ended by a NUL. */
static int read_arguments(pid_t pid, struct vm_record *record)
{
    AUTO_FREE char *text = malloc(ARGUMENTS_SIZE);
    char path[64];
    size_t length;
    size_t count = 0;

    (void)snprintf(path, sizeof path, "/proc/%ld/cmdline", (long)pid);
    if (text == NULL || (length = read_start(path, text, ARGUMENTS_SIZE)) == 0)
        return -1;
    record->argv = calloc(ARGUMENTS_MAX + 1, sizeof *record->argv);
    for (size_t at = 0; record->argv != NULL && at < length; at += strlen(text + at) + 1)
        if (count == ARGUMENTS_MAX || (record->argv[count++] = strdup(text + at)) == NULL)
            return -1;
    return record->argv != NULL && count > 0 ? 0 : -1;
}

/* The first value of OPTION that has START in it, or NULL. */
static const char *value_of(const struct vm_record *record, const char *option, const char *start)
{
    for (char *const *arg = record->argv; arg[0] != NULL && arg[1] != NULL; arg++)
        if (strcmp(arg[0], option) == 0 && strstr(arg[1], start) != NULL)
            return arg[1];
    return NULL;
}

/* What is behind "file=" in the disk's -drive, where a comma is written twice. */
static char *disk_of(const struct vm_record *record)
{
    const char *drive = value_of(record, "-drive", ",id=disk0,");
    const char *from = drive != NULL ? strstr(drive, ",file=") : NULL;
    char *path = strdup(from != NULL ? from + strlen(",file=") : "-");
    char *to = path;

    for (const char *p = path; p != NULL && *p != '\0' && (*p != ',' || p[1] == ','); p++) {
        p += *p == ',';
        *to++ = *p;
    }
    if (path != NULL)
        *to = '\0';
    return path;
}

/* A port from *TEXT on, up to END, which is passed over; 0 for none. */
static uint16_t take_port(const char **text, char end)
{
    char *behind;
    unsigned long port = strtoul(*text, &behind, 10);

    if (**text < '0' || **text > '9' || *behind != end || port > UINT16_MAX)
        return 0;
    *text = behind + (end != '\0');
    return (uint16_t)port;
}

/* "[tcp|udp]:[ADDRESS]:PORT-[ADDRESS]:PORT" (qemu(1), hostfwd); false for what is none that we write. */
static bool parse_forward(const char *text, struct vm_forward *forward, char address[16])
{
    const char *colon = strchr(text, ':');
    size_t length;

    *forward = (struct vm_forward){.udp = strncmp(text, "udp:", 4) == 0};
    if (colon == NULL)
        return false;
    length = strcspn(colon + 1, ":");
    if (colon[1 + length] != ':' || length > 15)
        return false;
    memcpy(address, colon + 1, length);
    address[length] = '\0';
    text = colon + 1 + length + 1;
    forward->host_port = take_port(&text, '-');
    colon = strchr(text, ':');
    if (forward->host_port == 0 || colon == NULL)
        return false;
    text = colon + 1;
    forward->guest_port = take_port(&text, '\0');
    (void)strcpy(forward->name, ports_usual_name(forward->udp, forward->guest_port));
    return forward->guest_port != 0;
}

/* The forwards of VALUE, of -netdev or -nic; they are bound to the address of the first. */
static int add_forwards(const char *value, struct vm_record *record, size_t *capacity)
{
    static const char key[] = "hostfwd=";
    struct chr_error ignored;

    while ((value = strstr(value, key)) != NULL) {
        AUTO_FREE char *rule = NULL;
        struct vm_forward forward;
        char address[16];

        value += strlen(key);
        rule = strndup(value, strcspn(value, ","));
        if (rule == NULL || mem_grow(&record->forwards, capacity, record->forward_count,
                                     sizeof *record->forwards, &ignored) < 0)
            return -1;
        if (!parse_forward(rule, &forward, address))
            continue;
        if (record->listen == NULL)
            record->listen = strdup(address[0] != '\0' ? address : "0.0.0.0");
        record->forwards[record->forward_count++] = forward;
    }
    return 0;
}

static int read_forwards(struct vm_record *record)
{
    size_t capacity = 0;

    for (char *const *arg = record->argv; arg[0] != NULL && arg[1] != NULL; arg++)
        if ((strcmp(arg[0], "-netdev") == 0 || strcmp(arg[0], "-nic") == 0) &&
            add_forwards(arg[1], record, &capacity) < 0)
            return -1;
    if (record->listen == NULL)
        record->listen = strdup("127.0.0.1");
    for (size_t i = 0; i < record->forward_count; i++)
        record->forwards[i].address = record->listen;
    return 0;
}

static int describe(const struct vm_instance *instance, struct vm_record *record)
{
    const char *arch = strstr(record->argv[0], "qemu-system-");
    const char *accel = value_of(record, "-accel", "");
    bool is_uefi = value_of(record, "-machine", "pflash0=") != NULL ||
                   value_of(record, "-drive", "if=pflash") != NULL;
    struct chr_error ignored;

    record->image = disk_of(record);
    record->arch = strdup(arch != NULL ? arch + strlen("qemu-system-") : "unknown");
    record->accel = accel != NULL ? strndup(accel, strcspn(accel, ",")) : strdup("tcg");
    record->firmware = strdup(is_uefi ? "UEFI" : "SeaBIOS");
    return vm_record_places(instance, record, &ignored) == 0 && read_forwards(record) == 0 &&
                   record->image != NULL && record->arch != NULL && record->accel != NULL &&
                   record->firmware != NULL && record->listen != NULL
               ? 0
               : -1;
}

static bool fill(const struct vm_instance *instance, struct vm_record *record)
{
    struct vm_process process = VM_NO_PROCESS;
    char path[VM_PATH_SIZE + 8];
    char text[32];
    struct stat info;
    long pid;

    (void)snprintf(path, sizeof path, "%s/pid", instance->runtime);
    if (read_start(path, text, sizeof text) == 0 || stat(path, &info) < 0)
        return false;
    pid = strtol(text, NULL, 10);
    if (pid <= 0 || pid > INT32_MAX)
        return false;
    process.pid = (pid_t)pid;
    /* The start time first: were the number given away in between, the time would not fit. */
    if (!vm_process_start_time(process.pid, &process.start_time) ||
        read_arguments(process.pid, record) < 0 || value_of(record, "-pidfile", path) == NULL ||
        strcmp(value_of(record, "-pidfile", path), path) != 0)
        return false;
    record->started = (int64_t)info.st_mtime;
    vm_record_bind(record, &process);
    return describe(instance, record) == 0;
}

bool vm_record_adopt(const struct vm_instance *instance, struct vm_record *record)
{
    *record = (struct vm_record){0};
    if (fill(instance, record))
        return true;
    vm_record_release(record);
    return false;
}

#else

bool vm_record_adopt(const struct vm_instance *instance, struct vm_record *record)
{
    (void)instance;
    *record = (struct vm_record){0};
    return false;
}

#endif
