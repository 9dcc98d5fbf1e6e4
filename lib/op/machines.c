/* Instances by name: list, describe, stop, wait. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "op/boot.h"
#include "vm/clock.h"

#define STOP_SECONDS 60
#define STATUS_PATIENCE_MS 1000
#define CANDIDATES_SIZE 300

/* ---- describing ---- */

void chr_vm_free(struct chr_vm *vm)
{
    if (vm == NULL)
        return;
    free(vm->image);
    free(vm->arch);
    free(vm->accel);
    free(vm->firmware);
    free(vm->address);
    free(vm->endpoints);
    free(vm->serial_log);
    free(vm->qemu_log);
    free(vm);
}

static int fill_vm(struct chr_vm *vm, const struct vm_record *record, struct chr_error *err)
{
    (void)snprintf(vm->name, sizeof vm->name, "%s", record->name);
    vm->started = record->started;
    vm->endpoints = mem_new(record->forward_count, sizeof *vm->endpoints, err);
    if ((vm->image = boot_image_of(record, err)) == NULL ||
        (vm->arch = mem_strdup(record->arch, err)) == NULL ||
        (vm->accel = mem_strdup(record->accel, err)) == NULL ||
        (vm->firmware = mem_strdup(record->firmware, err)) == NULL ||
        (vm->address = mem_strdup(record->listen, err)) == NULL ||
        (vm->serial_log = mem_strdup(record->serial_log, err)) == NULL ||
        (vm->qemu_log = mem_strdup(record->log_file, err)) == NULL || vm->endpoints == NULL)
        return -1;
    for (size_t i = 0; i < record->forward_count; i++) {
        const struct vm_forward *from = &record->forwards[i];
        struct chr_endpoint *to = &vm->endpoints[i];

        (void)snprintf(to->name, sizeof to->name, "%s", from->name);
        to->udp = from->udp;
        to->port = from->host_port;
        to->guest_port = from->guest_port;
    }
    vm->endpoint_count = record->forward_count;
    return 0;
}

/* "0.0.0.0" is every address of this host: one connects to the nearest. */
static void see_state(struct chr_vm *vm, const struct vm_record *record)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_observation observation;

    (void)strcpy(vm->status, "off");
    vm->running = vm_record_process(record, &process);
    if (vm->running)
        vm->pid = (long)process.pid;
    vm->image_replaced = vm->running && vm_record_image_name(record) != VM_IMAGE_NAMED;
    if (record->damaged)
        (void)strcpy(vm->status, "damaged");
    if (!vm->running || record->damaged)
        return;
    vm_observe(record->qmp_socket, 0, STATUS_PATIENCE_MS, &observation);
    (void)snprintf(vm->status, sizeof vm->status, "%s",
                   observation.seen ? observation.status : "silent");
}

struct chr_vm *boot_describe(const struct vm_record *record, struct chr_error *err)
{
    struct chr_vm *vm = mem_new(1, sizeof *vm, err);

    if (vm == NULL || fill_vm(vm, record, err) < 0) {
        chr_vm_free(vm);
        return NULL;
    }
    see_state(vm, record);
    return vm;
}

/* ---- all of them ---- */

/*
 * A start that was killed before it had written anything down is swept away; what QEMU has
 * left that others started is an instance.  A start that holds the lock is none yet.
 */
static bool look_without_record(struct vm_instance *instance, struct vm_record *record)
{
    struct chr_error ignored;
    bool found;

    if (vm_instance_try_lock(instance, &ignored) < 0)
        return false;
    vm_record_sweep(instance);
    found = boot_unrecorded(instance, false, record);
    vm_instance_unlock(instance);
    return found;
}

/* Read NAME's record, and take away what it left if it is off. False: there is none (any more). */
static bool look_up(const struct vm_host *host, const char *name, struct vm_instance *instance,
                    struct vm_record *record)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct chr_error ignored;
    struct stat info;
    bool leftover;

    if (vm_instance_place(host, name, instance, &ignored) < 0)
        return false;
    if (vm_record_read(instance, record, &ignored) < 0) {
        return ignored.code == CHR_E_DAMAGED ? boot_unrecorded(instance, true, record)
               : ignored.code == CHR_E_MISSING && look_without_record(instance, record);
    }
    if (vm_record_process(record, &process))
        return true;
    /* Of another host's machine, nothing can be told here: what is there stays as it is. */
    if (vm_record_is_foreign(record))
        return true;
    leftover = stat(instance->runtime, &info) == 0 || record->remove;
    /* A start holds the lock and is no leftover; under the lock, things may look different. */
    if (!leftover || vm_instance_try_lock(instance, &ignored) < 0)
        return true;
    vm_record_release(record);
    if (vm_record_read(instance, record, &ignored) == 0 && !vm_record_process(record, &process)) {
        bool forgotten = record->remove;

        (void)vm_instance_tidy(instance, record, false, &ignored);
        if (forgotten)
            vm_record_release(record);
    }
    vm_instance_unlock(instance);
    return record->image != NULL;
}

int boot_for_each(boot_each_fn *function, void *context, struct chr_error *err)
{
    AUTO_VM_HOST struct vm_host *host = NULL;
    char **names = NULL;
    size_t count = 0;
    int result = 0;

    if (boot_folders(&host, err) < 0 || vm_instance_names(host, &names, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && result == 0; i++) {
        AUTO_VM_RECORD struct vm_record record = {0};
        struct vm_instance instance;

        if (look_up(host, names[i], &instance, &record))
            result = function(&instance, &record, context, err);
    }
    vm_names_free(names, count);
    return result;
}

struct listing {
    struct chr_vm_list *list;
    size_t capacity;
};

static int add_to_list(struct vm_instance *instance, struct vm_record *record, void *context,
                       struct chr_error *err)
{
    struct listing *listing = context;
    struct chr_vm_list *list = listing->list;

    (void)instance;
    if (mem_grow(&list->items, &listing->capacity, list->count, sizeof *list->items, err) < 0)
        return -1;
    list->items[list->count] = boot_describe(record, err);
    return list->items[list->count] != NULL ? (list->count++, 0) : -1;
}

int chr_vm_list(struct chr_vm_list **out, struct chr_error *err)
{
    struct listing listing = {.list = mem_new(1, sizeof *listing.list, err)};

    if (listing.list == NULL)
        return -1;
    if (boot_for_each(add_to_list, &listing, err) < 0) {
        chr_vm_list_free(listing.list);
        return -1;
    }
    *out = listing.list;
    return 0;
}

void chr_vm_list_free(struct chr_vm_list *list)
{
    for (size_t i = 0; list != NULL && i < list->count; i++)
        chr_vm_free(list->items[i]);
    if (list != NULL)
        free(list->items);
    free(list);
}

/* ---- one of them ---- */

struct choice {
    bool off_too;
    unsigned count;
    struct vm_instance instance;
    struct vm_record record; /* of the first */
    char names[CANDIDATES_SIZE];
};

static int choose(struct vm_instance *instance, struct vm_record *record, void *context,
                  struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct choice *choice = context;
    size_t length = strlen(choice->names);

    (void)err;
    if (record->damaged || (!vm_record_process(record, &process) && !choice->off_too))
        return 0;
    (void)snprintf(choice->names + length, sizeof choice->names - length, "%s%s",
                   length > 0 ? ", " : "", record->name);
    if (choice->count++ == 0) {
        choice->instance = *instance;
        choice->record = *record;
        *record = (struct vm_record){0};
    }
    return 0;
}

static int find_only(bool off_too, struct vm_instance *instance, struct vm_record *record,
                     struct chr_error *err)
{
    struct choice choice = {.off_too = off_too, .instance = VM_NO_INSTANCE};

    if (boot_for_each(choose, &choice, err) < 0 || choice.count != 1) {
        vm_record_release(&choice.record);
        if (choice.count == 0)
            (void)err_set(err, CHR_E_MISSING, "no instance %s", off_too ? "is there" : "runs");
        if (choice.count == 0)
            return err_hint(err, "chrimg boot IMG starts one");
        (void)err_set(err, CHR_E_MISSING, "%u instances could be meant: %s", choice.count,
                      choice.names);
        return err_hint(err, "name one of them");
    }
    *instance = choice.instance;
    *record = choice.record;
    return 0;
}

int boot_find(const char *name, bool off_too, struct vm_instance *instance,
              struct vm_record *record, struct chr_error *err)
{
    AUTO_VM_HOST struct vm_host *host = NULL;
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;

    *record = (struct vm_record){0};
    if (name == NULL)
        return find_only(off_too, instance, record, err);
    if (boot_folders(&host, err) < 0 || vm_instance_place(host, name, instance, err) < 0)
        return -1;
    if (!look_up(host, name, instance, record) || record->damaged) {
        vm_record_release(record);
        return vm_record_read(instance, record, err) < 0
                   ? -1
                   : err_set(err, CHR_E_MISSING, "there is no instance %s", name);
    }
    if (off_too || vm_record_process(record, &process))
        return 0;
    vm_record_release(record);
    (void)err_set(err, CHR_E_MISSING, "%s is off", name);
    return err_hint(err, "chrimg restart %s starts it again", name);
}

int chr_vm_get(const char *name, bool off_too, struct chr_vm **out, struct chr_error *err)
{
    AUTO_VM_RECORD struct vm_record record = {0};
    struct vm_instance instance;

    if (boot_find(name, off_too, &instance, &record, err) < 0)
        return -1;
    *out = boot_describe(&record, err);
    return *out != NULL ? 0 : -1;
}

/* ---- stop, wait ---- */

static enum chr_stopped public_stop(enum vm_stopped how)
{
    return how == VM_STOP_GONE        ? CHR_STOPPED_ALREADY
           : how == VM_STOP_POWERDOWN ? CHR_STOPPED_POWERDOWN
           : how == VM_STOP_DEAF      ? CHR_STOPPED_DEAF
           : how == VM_STOP_QUIT      ? CHR_STOPPED_QUIT
                                      : CHR_STOPPED_KILLED;
}

int64_t boot_stop_patience(const struct chr_stop_options *options)
{
    return options->now ? 0 : INT64_C(1000) * (options->timeout != 0 ? options->timeout : STOP_SECONDS);
}

int boot_refuse_foreign(const struct vm_record *record, struct chr_error *err)
{
    if (!vm_record_is_foreign(record))
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "%s was started on another host, or in another container: "
                  "whether it runs cannot be told here", record->name);
    return err_hint(err, "stop it there; where that host is gone, chrimg stop --forget %s removes "
                    "what is kept of it", record->name);
}

/* Nothing that its router has written is lost with it. */
static int end_machine(const struct vm_record *record, const struct vm_process *process,
                       const struct chr_stop_options *options, enum vm_stopped *how,
                       struct chr_error *err)
{
    AUTO_RESCUE struct boot_rescue rescue = {.fd = -1};

    return boot_rescue_begin(record, options, &rescue, err) < 0 ||
                   vm_stop(record, process, boot_stop_patience(options), how, err) < 0
               ? -1
               : boot_rescue_finish(&rescue, options->saved, err);
}

/* End the machine, if it runs, and take away what it left. */
static int stop_record(struct vm_instance *instance, const struct vm_record *record,
                       const struct chr_stop_options *options, enum vm_stopped *how,
                       struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;

    *how = VM_STOP_GONE;
    if (!options->forget && boot_refuse_foreign(record, err) < 0)
        return -1;
    if (!record->adopted)
        vm_instance_note_stop(instance);
    if (vm_record_process(record, &process) &&
        (vm_instance_check_tidy(instance, record, options->forget, err) < 0 ||
         end_machine(record, &process, options, how, err) < 0))
        return -1;
    return boot_tidy(instance, record, options->forget, err);
}

int chr_vm_stop(const char *name, const struct chr_stop_options *options, enum chr_stopped *how,
                struct chr_error *err)
{
    AUTO_VM_RECORD struct vm_record record = {0};
    struct vm_instance instance;
    enum vm_stopped stopped;

    if (boot_find(name, name != NULL, &instance, &record, err) < 0 ||
        stop_record(&instance, &record, options, &stopped, err) < 0)
        return -1;
    *how = public_stop(stopped);
    return 0;
}

/* Two things to wait for, and not every host has a descriptor for the first. */
static bool wait_or_cancel(const struct vm_process *process, int64_t deadline, int cancel_fd)
{
    while (vm_process_is_alive(process)) {
        struct pollfd fds[] = {{.fd = process->fd, .events = POLLIN},
                               {.fd = cancel_fd, .events = POLLIN}};

        if (clock_ms() >= deadline)
            return false;
        (void)poll(fds, 2, clock_left(deadline, process->fd >= 0 ? INT32_MAX : 100));
        if (fds[1].revents != 0)
            return false;
    }
    return true;
}

int chr_vm_wait(const char *name, unsigned timeout, int cancel_fd, int64_t *waited_ms,
                struct chr_error *err)
{
    AUTO_VM_RECORD struct vm_record record = {0};
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_instance instance;
    int64_t begin = clock_ms();
    int64_t deadline = timeout != 0 ? begin + (int64_t)timeout * 1000 : INT64_MAX;
    bool runs;

    if (boot_find(name, name != NULL, &instance, &record, err) < 0)
        return -1;
    runs = vm_record_process(&record, &process);
    if (runs && !wait_or_cancel(&process, deadline, cancel_fd)) {
        (void)err_set(err, CHR_E_BUSY, "%s still runs after %.1f s", record.name,
                      (double)(clock_ms() - begin) / 1000);
        return err_hint(err, "chrimg stop %s ends it", record.name);
    }
    if (waited_ms != NULL)
        *waited_ms = runs ? clock_ms() - begin : 0;
    /* Sockets and temporary disks go now, and not at somebody's next `ps`. */
    (void)boot_tidy(&instance, &record, false, err);
    return 0;
}
