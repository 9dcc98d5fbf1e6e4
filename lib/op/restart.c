/* A machine that runs is stopped to be started again: by the user, and for its disk's sake. */
#include "op/boot.h"
#include "vm/clock.h"

/* What runs NOW is not what was to be stopped, by what was read BEFORE: somebody was faster. */
static int check_same(const struct vm_record *before, const struct vm_record *now,
                      struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;

    if ((now->pid == before->pid && now->start_time == before->start_time) ||
        !vm_record_process(now, &process))
        return 0;
    (void)err_set(err, CHR_E_EXISTS, "%s runs already, as process %ld", now->name,
                  (long)process.pid);
    return err_hint(err, "another command has started it meanwhile; chrimg ps shows it");
}

/* Another process may have changed things before the lock was ours. */
static int lock_and_read(struct vm_instance *instance, struct vm_record *record,
                         struct chr_error *err)
{
    struct vm_record now = {0};

    /* Of a machine that others have started there may be no folder yet, and there is no record. */
    if (record->adopted)
        return vm_instance_lock_new(instance, err);
    if (vm_instance_lock(instance, err) < 0)
        return -1;
    if (vm_record_read(instance, &now, err) < 0 || check_same(record, &now, err) < 0) {
        vm_record_release(&now);
        vm_instance_unlock(instance);
        return -1;
    }
    vm_record_release(record);
    *record = now;
    return 0;
}

/* What would come to nothing is refused while the machine runs; PROCESS is none if it does not. */
static int check_before(struct vm_instance *instance, const struct vm_record *record,
                        struct vm_process *process, struct chr_error *err)
{
    return boot_check_again(record, err) < 0 ||
                   (vm_record_process(record, process) &&
                    vm_instance_check_tidy(instance, record, false, err) < 0)
               ? -1
               : 0;
}

int boot_stop(struct vm_instance *instance, struct vm_record *record, const struct boot_stop *stop,
              enum vm_stopped *how, struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;

    *how = VM_STOP_GONE;
    if (boot_refuse_foreign(record, err) < 0 || lock_and_read(instance, record, err) < 0)
        return -1;
    if (check_before(instance, record, &process, err) < 0) {
        vm_instance_unlock(instance);
        return -1;
    }
    vm_instance_note_stop(instance);
    if (process.pid <= 0 ||
        vm_stop_unless(record, &process, stop->patience_ms, stop->called_off, how, err) == 0)
        return 0;
    if (err->code != CHR_E_CANCELLED)
        vm_instance_unlock(instance);
    return -1;
}

static int refuse_adopted(const struct vm_record *record, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "%s was started by something else than chrimg boot",
                  record->name);
    return err_hint(err, "chrimg stop %s, then start it the same way again", record->name);
}

static int start_again(struct vm_instance *instance, struct vm_record *record,
                       const struct chr_vm_watch *watch, struct chr_boot_report *report,
                       struct chr_error *err)
{
    struct boot_result result = {0};
    int64_t begin = clock_ms();

    if (boot_again(instance, record, record->ready, watch, &result, err) < 0 ||
        (report->vm = boot_describe(record, err)) == NULL)
        return -1;
    report->fell_back = result.fell_back;
    report->start_ms = result.start_ms;
    report->ready_ms = result.ready_ms;
    report->waited = record->ready != CHR_READY_NONE;
    report->total_ms = clock_ms() - begin;
    return 0;
}

int chr_vm_restart(const char *name, const struct chr_stop_options *options,
                   const struct chr_vm_watch *watch, struct chr_boot_report **out,
                   struct chr_error *err)
{
    const struct boot_stop stop = {.patience_ms = boot_stop_patience(options)};
    AUTO_VM_RECORD struct vm_record record = {0};
    struct vm_instance instance;
    enum vm_stopped how;

    if (boot_find(name, true, &instance, &record, err) < 0)
        return -1;
    if (record.adopted)
        return refuse_adopted(&record, err);
    *out = mem_new(1, sizeof **out, err);
    if (*out == NULL)
        return -1;
    if (boot_stop(&instance, &record, &stop, &how, err) == 0 &&
        start_again(&instance, &record, watch, *out, err) == 0)
        return 0;
    chr_boot_report_free(*out);
    *out = NULL;
    return -1;
}
