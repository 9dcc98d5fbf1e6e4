/* The record of an instance: JSON in its state folder. */
#include "vm/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "vm/argv.h"

#define RECORD_NAME "record.json"
#define RECORD_SCHEMA 1
/* Longest record: an argument vector and some paths. */
#define RECORD_MAX ((size_t)1 << 20)
#define LIST_MAX 4096

static void record_path(const struct vm_instance *instance, const char *ending,
                        char path[VM_PATH_SIZE + 32])
{
    (void)snprintf(path, VM_PATH_SIZE + 32, "%s/" RECORD_NAME "%s", instance->state, ending);
}

/* ---- writing ---- */

/* json_string() that keeps NULL; a path that is no UTF-8 cannot be written down. */
static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static json_t *encode_argv(char *const *argv)
{
    json_t *array = json_array();

    for (; array != NULL && *argv != NULL; argv++)
        if (json_array_append_new(array, json_string(*argv)) < 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *encode_files(const struct vm_record *record)
{
    json_t *array = json_array();

    for (size_t i = 0; i < record->file_count; i++) {
        const struct vm_file *file = &record->files[i];

        if (json_array_append_new(
                array, json_pack("{s:i, s:s, s:o, s:b, s:I}", "kind", (int)file->kind,
                                 "target", file->target, "source", text_or_null(file->source),
                                 "qcow2", file->source_is_qcow2, "size",
                                 (json_int_t)file->size)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *encode_forwards(const struct vm_record *record)
{
    json_t *array = json_array();

    for (size_t i = 0; i < record->forward_count; i++) {
        const struct vm_forward *forward = &record->forwards[i];

        if (json_array_append_new(array, json_pack("{s:s, s:b, s:i, s:i}", "name", forward->name,
                                                   "udp", forward->udp, "host",
                                                   forward->host_port, "guest",
                                                   forward->guest_port)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* NULL where it is not known. */
static json_t *encode_image(const struct vm_record *record)
{
    return vm_record_knows_image(record)
               ? json_pack("{s:I, s:I}", "device", (json_int_t)record->image_device, "inode",
                           (json_int_t)record->image_inode)
               : NULL;
}

static const char *known(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static json_t *encode(const struct vm_record *record)
{
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:i, "
        "s:o, s:i, s:I, s:I, s:I, s:s, s:s*, s:s*, s:o*, s:o*}",
        "schema", RECORD_SCHEMA, "name", record->name, "image", record->image, "arch",
        record->arch, "accel", record->accel, "firmware", record->firmware, "argv",
        encode_argv(record->argv), "files", encode_files(record), "forwards",
        encode_forwards(record), "listen", record->listen, "qmp_socket", record->qmp_socket,
        "serial_socket", record->serial_socket, "serial_log", record->serial_log, "log_file",
        record->log_file, "remove", record->remove, "ready", (int)record->ready, "ready_port",
        record->ready_port, "ready_pattern", text_or_null(record->ready_pattern), "timeout",
        (int)record->timeout, "started", (json_int_t)record->started, "pid",
        (json_int_t)record->pid, "start_time", (json_int_t)record->start_time, "boot_id",
        record->boot_id, "host", known(record->host), "pid_namespace",
        known(record->pid_namespace), "fallback",
        record->fallback != NULL ? encode_argv(record->fallback) : NULL, "image_file",
        encode_image(record));
}

static int write_and_rename(const char *text, const char *from, const char *to,
                            struct chr_error *err)
{
    AUTO_CLOSE int fd =
        open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t length = strlen(text);

    if (fd < 0)
        return err_errno(err, errno, "cannot write %s", from);
    for (size_t done = 0; done < length;) {
        ssize_t n = write(fd, text + done, length - done);

        if (n < 0 && errno != EINTR)
            return err_errno(err, errno, "cannot write %s", from);
        done += n > 0 ? (size_t)n : 0;
    }
    /* After a power cut it tells what the machine kept, and how to start it again. */
    if (fsync(fd) < 0)
        return err_errno(err, errno, "cannot write %s", from);
    if (rename(from, to) < 0)
        return err_errno(err, errno, "cannot write %s", to);
    return 0;
}

int vm_record_write(const struct vm_instance *instance, const struct vm_record *record,
                    struct chr_error *err)
{
    char temporary[VM_PATH_SIZE + 32];
    char path[VM_PATH_SIZE + 32];
    json_t *root = encode(record);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    int result;

    json_decref(root);
    if (text == NULL)
        return err_set(err, CHR_E_USAGE, "instance %s cannot be written down: is a path no UTF-8?",
                       record->name);
    record_path(instance, ".new", temporary);
    record_path(instance, "", path);
    result = write_and_rename(text, temporary, path, err);
    if (result < 0) {
        (void)unlink(temporary);
        vm_instance_hint("XDG_STATE_HOME", err);
    }
    free(text);
    return result;
}

/* ---- reading ---- */

/* Copies of what json_unpack() only lends; -1 when memory is short or TEXT is missing. */
static int keep(const char *text, char **copy)
{
    *copy = text != NULL ? strdup(text) : NULL;
    return *copy != NULL ? 0 : -1;
}

static int decode_argv(const json_t *array, char ***argv)
{
    size_t count = json_array_size(array);

    if (count == 0 || count > LIST_MAX)
        return -1;
    *argv = calloc(count + 1, sizeof **argv);
    for (size_t i = 0; *argv != NULL && i < count; i++)
        if (keep(json_string_value(json_array_get(array, i)), &(*argv)[i]) < 0)
            return -1;
    return *argv != NULL ? 0 : -1;
}

/* Older records do not know it. */
static int decode_image(const json_t *root, struct vm_record *record)
{
    json_t *file = json_object_get(root, "image_file");
    json_int_t device = 0;
    json_int_t inode = 0;

    if (file != NULL && json_unpack(file, "{s:I, s:I}", "device", &device, "inode", &inode) < 0)
        return -1;
    record->image_device = (uint64_t)device;
    record->image_inode = (uint64_t)inode;
    return 0;
}

/* Not every record has one. */
static int decode_fallback(const json_t *root, struct vm_record *record)
{
    const json_t *array = json_object_get(root, "fallback");

    return array == NULL ? 0 : decode_argv(array, &record->fallback);
}

static int decode_files(const json_t *array, struct vm_record *record)
{
    size_t count = json_array_size(array);

    if (!json_is_array(array) || count > LIST_MAX)
        return -1;
    record->files = calloc(count + 1, sizeof *record->files);
    for (size_t i = 0; record->files != NULL && i < count; i++) {
        struct vm_file *file = &record->files[i];
        json_int_t size = 0;
        const char *target = NULL;
        const json_t *source = NULL;
        int kind = 0;
        int qcow2 = 0;

        if (json_unpack(json_array_get(array, i), "{s:i, s:s, s:o, s:b, s:I}", "kind", &kind,
                        "target", &target, "source", &source, "qcow2", &qcow2, "size", &size) <
                0 ||
            kind < VM_MAKE_OVERLAY || kind > VM_MAKE_CODE || keep(target, &file->target) < 0)
            return -1;
        record->file_count = i + 1;
        if (!json_is_null(source) && keep(json_string_value(source), &file->source) < 0)
            return -1;
        file->kind = (enum vm_make_kind)kind;
        file->source_is_qcow2 = qcow2 != 0;
        file->size = (uint64_t)size;
    }
    return record->files != NULL ? 0 : -1;
}

static int decode_forwards(const json_t *array, struct vm_record *record)
{
    size_t count = json_array_size(array);

    if (!json_is_array(array) || count > LIST_MAX)
        return -1;
    record->forwards = calloc(count + 1, sizeof *record->forwards);
    for (size_t i = 0; record->forwards != NULL && i < count; i++) {
        struct vm_forward *forward = &record->forwards[i];
        const char *name = NULL;
        int udp = 0;
        int host = 0;
        int guest = 0;

        if (json_unpack(json_array_get(array, i), "{s:s, s:b, s:i, s:i}", "name", &name, "udp",
                        &udp, "host", &host, "guest", &guest) < 0 ||
            host < 1 || host > UINT16_MAX || guest < 1 || guest > UINT16_MAX)
            return -1;
        (void)snprintf(forward->name, sizeof forward->name, "%s", name);
        forward->udp = udp != 0;
        forward->address = record->listen;
        forward->host_port = (uint16_t)host;
        forward->guest_port = (uint16_t)guest;
    }
    record->forward_count = record->forwards != NULL ? count : 0;
    return record->forwards != NULL ? 0 : -1;
}

static int decode_process(const json_t *root, struct vm_record *record)
{
    const char *boot_id = NULL;
    const char *host = ""; /* older records have neither */
    const char *namespace_ = "";
    json_int_t started = 0;
    json_int_t pid = 0;
    json_int_t start_time = 0;

    if (json_unpack((json_t *)root, "{s:I, s:I, s:I, s:s, s?s, s?s}", "started", &started, "pid", &pid,
                    "start_time", &start_time, "boot_id", &boot_id, "host", &host, "pid_namespace",
                    &namespace_) < 0 ||
        pid < 0 || pid > INT32_MAX)
        return -1;
    record->started = started;
    record->pid = (pid_t)pid;
    record->start_time = (uint64_t)start_time;
    (void)snprintf(record->boot_id, sizeof record->boot_id, "%s", boot_id);
    (void)snprintf(record->host, sizeof record->host, "%s", host);
    (void)snprintf(record->pid_namespace, sizeof record->pid_namespace, "%s", namespace_);
    return 0;
}

static int decode_ready(const json_t *root, struct vm_record *record)
{
    const json_t *pattern = NULL;
    int ready = 0;
    int port = 0;
    int timeout = 0;
    int remove_it = 0;

    if (json_unpack((json_t *)root, "{s:i, s:i, s:o, s:i, s:b}", "ready", &ready, "ready_port",
                    &port, "ready_pattern", &pattern, "timeout", &timeout, "remove",
                    &remove_it) < 0 ||
        ready < CHR_READY_HTTP || ready > CHR_READY_NONE || port < 0 || port > UINT16_MAX ||
        timeout < 0 || (!json_is_null(pattern) &&
                        keep(json_string_value(pattern), &record->ready_pattern) < 0))
        return -1;
    record->ready = (enum chr_ready)ready;
    record->ready_port = (uint16_t)port;
    record->timeout = (unsigned)timeout;
    record->remove = remove_it != 0;
    return 0;
}

static int decode_texts(const json_t *root, struct vm_record *record)
{
    const struct {
        const char *key;
        char **to;
    } texts[] = {
        {"image", &record->image},           {"arch", &record->arch},
        {"accel", &record->accel},           {"firmware", &record->firmware},
        {"listen", &record->listen},         {"qmp_socket", &record->qmp_socket},
        {"serial_socket", &record->serial_socket}, {"serial_log", &record->serial_log},
        {"log_file", &record->log_file},
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (keep(json_string_value(json_object_get(root, texts[i].key)), texts[i].to) < 0)
            return -1;
    return 0;
}

static int decode(const json_t *root, struct vm_record *record)
{
    const char *name = json_string_value(json_object_get(root, "name"));

    if (json_integer_value(json_object_get(root, "schema")) != RECORD_SCHEMA || name == NULL ||
        strcmp(name, record->name) != 0 || /* a folder that was renamed: its paths are wrong */
        decode_texts(root, record) < 0 || decode_image(root, record) < 0 ||
        decode_argv(json_object_get(root, "argv"), &record->argv) < 0 ||
        decode_fallback(root, record) < 0 ||
        decode_files(json_object_get(root, "files"), record) < 0 ||
        decode_forwards(json_object_get(root, "forwards"), record) < 0)
        return -1;
    return decode_process(root, record) < 0 ? -1 : decode_ready(root, record);
}

static int read_written(const struct vm_instance *instance, struct vm_record *record,
                        struct chr_error *err)
{
    char path[VM_PATH_SIZE + 32];
    AUTO_CLOSE int fd = -1;
    struct stat info;
    json_t *root;
    int result;

    *record = (struct vm_record){0};
    record_path(instance, "", path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        (void)err_set(err, CHR_E_MISSING, "there is no instance %s", instance->name);
        return err_hint(err, "chrimg ps -a lists them");
    }
    if (fd < 0 || fstat(fd, &info) < 0) {
        (void)err_errno(err, errno, "cannot read %s", path);
        vm_instance_hint("XDG_STATE_HOME", err);
        return -1;
    }
    if (info.st_size > (off_t)RECORD_MAX)
        return err_set(err, CHR_E_DAMAGED, "%s is too long for a record", path);
    root = json_loadfd(fd, 0, NULL);
    (void)strcpy(record->name, instance->name);
    result = root != NULL ? decode(root, record) : -1;
    json_decref(root);
    if (result == 0)
        return 0;
    vm_record_release(record);
    (void)err_set(err, CHR_E_DAMAGED, "%s is no record that this chrimg understands", path);
    return err_hint(err, "look at what %s holds; chrimg stop --forget %s removes it",
                    instance->state, instance->name);
}

int vm_record_read(const struct vm_instance *instance, struct vm_record *record,
                   struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_record running;
    int result = read_written(instance, record, err);

    if ((result < 0 && err->code != CHR_E_MISSING) ||
        (result == 0 && vm_record_process(record, &process)) ||
        !vm_record_adopt(instance, &running))
        return result;
    vm_record_release(record);
    *record = running;
    return 0;
}

void vm_record_release(struct vm_record *record)
{
    argv_free(record->argv);
    argv_free(record->fallback);
    for (size_t i = 0; i < record->file_count; i++) {
        free(record->files[i].target);
        free(record->files[i].source);
    }
    free(record->files);
    free(record->forwards);
    free(record->image);
    free(record->arch);
    free(record->accel);
    free(record->firmware);
    free(record->listen);
    free(record->qmp_socket);
    free(record->serial_socket);
    free(record->serial_log);
    free(record->log_file);
    free(record->ready_pattern);
    *record = (struct vm_record){0};
}

/* ---- the process ---- */

void vm_record_sweep(const struct vm_instance *instance)
{
    char path[VM_PATH_SIZE + 32];

    record_path(instance, "", path);
    if (access(path, F_OK) == 0)
        return;
    record_path(instance, ".new", path);
    (void)unlink(path);
    (void)rmdir(instance->state);
}

void vm_record_bind(struct vm_record *record, const struct vm_process *process)
{
    record->pid = process->pid;
    record->start_time = process->start_time;
    if (!vm_host_boot_id(record->boot_id, sizeof record->boot_id))
        record->boot_id[0] = '\0';
}

bool vm_record_process(const struct vm_record *record, struct vm_process *process)
{
    char boot_id[VM_BOOT_ID_SIZE];

    *process = VM_NO_PROCESS;
    /* Start times count from the host's boot: another boot, another count. */
    if (!vm_host_boot_id(boot_id, sizeof boot_id))
        boot_id[0] = '\0';
    return record->pid > 0 && strcmp(boot_id, record->boot_id) == 0 &&
           vm_process_find(record->pid, record->start_time, process);
}
