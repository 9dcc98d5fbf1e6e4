/* Starting a machine and waiting for it, by its record. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "op/boot.h"
#include "vm/argv.h"
#include "vm/clock.h"

/* A guest that gets the power button in the middle of its boot may not hear it. */
#define GIVE_UP_PATIENCE_MS 5000
#define LOG_TAIL 4096
/*
 * How long a machine that nothing is waited for must have run under KVM or HVF before that
 * counts as working.  A firmware that speaks before is proof enough; but it need not speak, so
 * this ends.  KVM that does not run guests ends in internal-error at the firmware's first
 * instructions, well within that.
 */
#define SETTLE_MS 3000

int boot_folders(struct vm_host **host, struct chr_error *err)
{
    *host = mem_new(1, sizeof **host, err);
    return *host != NULL ? vm_host_folders(*host, err) : -1;
}

/* ---- start ---- */

static int write_down(const struct vm_process *process, void *context, struct chr_error *err)
{
    const struct boot_start *start = context;

    vm_record_bind(start->record, process);
    vm_record_set_image(start->record); /* what QEMU is about to open */
    return vm_record_write(start->instance, start->record, err);
}

/* What its router wrote goes with a machine that is started to be removed: not what is there already. */
static int keep_what_is_kept(const struct boot_start *start, const struct vm_record *old,
                             struct chr_error *err)
{
    const char *name = start->record->name;

    bool was_temporary = old->remove && !vm_record_is_foreign(old);

    if (!start->record->remove || was_temporary || !vm_instance_keeps(start->instance))
        return 0;
    (void)err_set(err, CHR_E_EXISTS, "%s keeps what its router has written, in %s; --throwaway and "
                  "--rm would remove that, too", name, start->instance->state);
    return err_hint(err, "take another --name, or first chrimg stop --forget %s", name);
}

/* The last machine of this name, into OLD, which must be off; *IS_NEW when there was none. */
static int clear_last(const struct boot_start *start, struct vm_record *old, bool *is_new,
                      struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct chr_error ignored;

    *is_new = false;
    if (vm_record_read(start->instance, old, &ignored) < 0) {
        if (ignored.code != CHR_E_MISSING)
            return *err = ignored, -1;
        *is_new = !vm_instance_keeps(start->instance);
        return keep_what_is_kept(start, old, err);
    }
    if (vm_record_process(old, &process)) {
        (void)err_set(err, CHR_E_EXISTS, "%s runs already, as process %ld, from %s", old->name,
                      (long)process.pid, old->image);
        return err_hint(err, "chrimg stop %s first, or take another --name", old->name);
    }
    if (keep_what_is_kept(start, old, err) < 0)
        return -1;
    /* What it kept is kept, even if it was started with --rm: only sockets and the like go. */
    old->remove = false;
    return vm_instance_tidy(start->instance, old, false, err);
}

/* Nothing of a start that failed stays, and all that was there before does. */
static void take_back(const struct boot_start *start, const struct vm_record *old, bool is_new)
{
    const struct vm_record nothing_of_its_own = {0};
    struct chr_error ignored;

    (void)vm_instance_tidy(start->instance, &nothing_of_its_own, is_new, &ignored);
    if (!is_new)
        (void)vm_record_write(start->instance, old, &ignored);
}

/* Known by its record before there is anything else: whenever we die, `chrimg ps` finds what is left. */
static int start_in_order(const struct boot_start *start, struct chr_error *err)
{
    const struct vm_start how = {
        .argv = start->record->argv,
        .log = start->record->log_file,
        .folder = start->instance->state,
        .announce = write_down,
        .context = (void *)start,
    };

    start->record->pid = 0;
    vm_record_set_origin(start->record);
    start->record->started = (int64_t)time(NULL);
    if (vm_record_write(start->instance, start->record, err) < 0 ||
        vm_instance_prepare(start->instance, err) < 0 ||
        boot_make_files(start, err) < 0)
        return -1;
    /* Of this start only. */
    (void)unlink(start->record->log_file);
    (void)unlink(start->record->serial_log);
    vm_instance_clear_stop(start->instance);
    return vm_process_start(&how, start->process, err);
}

int boot_launch(const struct boot_start *start, struct chr_error *err)
{
    AUTO_VM_RECORD struct vm_record old = {0};
    bool is_new;
    int result;

    if (start->instance->lock < 0 && vm_instance_lock_new(start->instance, err) < 0)
        return -1;
    result = clear_last(start, &old, &is_new, err);
    if (result == 0) {
        start->record->fresh |= is_new;
        result = start_in_order(start, err);
        if (result < 0)
            take_back(start, &old, is_new);
    }
    vm_instance_unlock(start->instance);
    return result;
}

int boot_tidy(struct vm_instance *instance, const struct vm_record *record, bool forget,
              struct chr_error *err)
{
    AUTO_VM_RECORD struct vm_record now = {0};
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_record what = *record;
    struct chr_error ignored;
    int result = 0;

    if (!forget && vm_record_is_foreign(record))
        return 0;
    /* `ps`, or who waits for it, may have tidied up already. */
    if (vm_instance_lock(instance, err) < 0)
        return err->code == CHR_E_MISSING || (record->adopted && !forget) ? 0 : -1;
    if (vm_record_read(instance, &now, &ignored) == 0)
        what.remove = record->remove && now.remove;
    /* Or it has been started again: what is there is the new machine's. */
    if (!vm_record_process(&now, &process))
        result = vm_instance_tidy(instance, &what, forget, err);
    else if (forget)
        result = err_set(err, CHR_E_BUSY, "%s has been started again meanwhile", record->name);
    vm_instance_unlock(instance);
    return result;
}

/* ---- wait ---- */

static uint16_t host_port(const struct vm_record *record, uint16_t guest_port)
{
    for (size_t i = 0; i < record->forward_count; i++)
        if (!record->forwards[i].udp && record->forwards[i].guest_port == guest_port)
            return record->forwards[i].host_port;
    return 0;
}

/* Written down for the next boot, which finds out again where that fails. */
static void remember_kvm(bool runs)
{
    AUTO_VM_HOST struct vm_host *host = NULL;
    struct chr_error ignored;

    if (boot_folders(&host, &ignored) == 0)
        (void)vm_host_kvm_seen(host, runs, &ignored);
}

static void learn_of_kvm(const struct boot_start *start, enum chr_ready ready,
                         const struct boot_result *result)
{
    /* It may have been something else, as long as TCG does no better. */
    if (result->kvm_failed && result->outcome != VM_DIED)
        remember_kvm(false);
    else if (result->outcome == VM_READY && ready != CHR_READY_NONE &&
             strcmp(start->record->accel, "kvm") == 0)
        remember_kvm(true);
}

static int await(const struct boot_start *start, enum chr_ready ready,
                 const struct chr_vm_watch *watch, struct boot_result *result,
                 struct chr_error *err)
{
    int64_t begin = clock_ms();
    int outcome;
    const struct vm_record *record = start->record;
    unsigned timeout = record->timeout != 0 ? record->timeout : vm_default_timeout(record->accel);
    uint16_t guest_port = ready == CHR_READY_HTTP ? 80 : record->ready_port;

    result->wait = (struct vm_wait){
        .ready = ready,
        .address = record->listen,
        .port = ready == CHR_READY_HTTP || ready == CHR_READY_TCP
                    ? host_port(record, guest_port)
                    : 0,
        .pattern = record->ready_pattern,
        .timeout_ms = (int64_t)timeout * 1000,
        .probe_ms = vm_probe_patience_ms(record->accel),
        .settle_ms = strcmp(record->accel, "tcg") == 0 ? 0 : SETTLE_MS,
        .cancel_fd = watch->cancel_fd,
        .progress = watch->progress,
        .context = watch->context,
    };
    if (result->wait.port == 0 &&
        (ready == CHR_READY_HTTP || ready == CHR_READY_TCP)) {
        (void)err_set(err, CHR_E_USAGE, "no port of this host leads to the guest's TCP port %u",
                      guest_port);
        return err_hint(err, "--forward HOST:%u adds it; --ready none does not wait", guest_port);
    }
    outcome = vm_wait_ready(record, start->process, &result->wait, &result->outcome, &result->seen,
                            err);
    result->ready_ms = clock_ms() - begin;
    if (outcome == 0)
        learn_of_kvm(start, ready, result);
    return outcome;
}

/* ---- start again, on TCG ---- */

bool boot_lost_port(const struct boot_start *start, const struct boot_result *result)
{
    char log[LOG_TAIL];

    if (result->outcome != VM_DIED)
        return false;
    vm_read_tail(start->record->log_file, log, sizeof log);
    return strstr(log, "Could not set up host forwarding rule") != NULL;
}

/* QEMU cannot use the accelerator, or dies unasked before the guest has said a word. */
static bool accel_failed(const struct boot_start *start, const struct boot_result *result)
{
    const struct vm_record *record = start->record;
    char log[LOG_TAIL];
    char serial[8];

    if (record->fallback == NULL)
        return false;
    if (result->outcome == VM_STUCK)
        return true;
    if (result->outcome != VM_DIED || vm_instance_was_stopped(start->instance) ||
        boot_lost_port(start, result))
        return false;
    vm_read_tail(record->log_file, log, sizeof log);
    if (strstr(log, "terminating on signal") != NULL)
        return false;
    vm_read_tail(record->serial_log, serial, sizeof serial);
    return serial[0] == '\0' && (result->seen.last.seen || strcasestr(log, "kvm") != NULL ||
                                 strcasestr(log, "hvf") != NULL);
}

static int launch_on_tcg(const struct boot_start *start, struct chr_error *err)
{
    struct vm_record *record = start->record;
    char *tcg = mem_strdup("tcg", err);

    if (tcg == NULL)
        return -1;
    free(record->accel);
    record->accel = tcg;
    argv_free(record->argv);
    record->argv = STEAL(record->fallback);
    vm_process_release(start->process);
    return boot_launch(start, err);
}

int boot_fall_back(const struct boot_start *start, enum chr_ready ready,
                   const struct chr_vm_watch *watch, struct boot_result *result,
                   struct chr_error *err)
{
    bool is_kvm = strcmp(start->record->accel, "kvm") == 0;
    char text[CHR_FINDING_SIZE];
    enum vm_stopped how;
    int64_t begin;

    (void)snprintf(text, sizeof text,
                   "%s does not run guests on this host; started again with emulation (TCG)",
                   is_kvm ? "KVM" : "HVF");
    /* From here to the start, nobody is to take what it keeps for left over. */
    if ((start->instance->lock < 0 && vm_instance_lock_new(start->instance, err) < 0) ||
        vm_stop(start->record, start->process, 0, &how, err) < 0) {
        vm_instance_unlock(start->instance);
        return -1;
    }
    if (watch->note != NULL)
        watch->note(text, watch->context);
    begin = clock_ms();
    if (launch_on_tcg(start, err) < 0)
        return -1;
    result->start_ms = clock_ms() - begin;
    result->fell_back = true;
    result->kvm_failed = is_kvm;
    return await(start, ready, watch, result, err);
}

int boot_await(const struct boot_start *start, enum chr_ready ready,
               const struct chr_vm_watch *watch, struct boot_result *result, struct chr_error *err)
{
    if (await(start, ready, watch, result, err) < 0)
        return -1;
    return accel_failed(start, result) ? boot_fall_back(start, ready, watch, result, err) : 0;
}

/* ---- failure ---- */

/* Whether nobody is to look at it: it was to leave nothing, or it was called off. */
static bool is_to_go(const struct vm_record *record, enum vm_outcome outcome)
{
    return record->remove || outcome != VM_TIMEOUT;
}

/* QEMU has refused its arguments: no guest has written to what this start has made. */
static bool never_ran(const struct boot_start *start, const struct boot_result *result)
{
    char serial[8];

    if (result->outcome != VM_DIED || result->seen.last.seen)
        return false;
    vm_read_tail(start->record->serial_log, serial, sizeof serial);
    return serial[0] == '\0';
}

static void end_and_tidy(const struct boot_start *start, const struct boot_result *result)
{
    bool is_patient = result->outcome == VM_CANCELLED && !start->record->remove;
    bool forget = start->record->fresh && never_ran(start, result);
    enum vm_stopped how;
    struct chr_error ignored;

    /* What cannot be ended or removed now is found by the next `chrimg ps`. */
    if (vm_stop(start->record, start->process, is_patient ? GIVE_UP_PATIENCE_MS : 0, &how,
                &ignored) == 0)
        (void)boot_tidy(start->instance, start->record, forget, &ignored);
}

static void add_hint(struct chr_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Behind the hint that is there. */
static void add_hint(struct chr_error *err, const char *format, ...)
{
    size_t length = strlen(err->hint);
    va_list args;

    if (length > 0)
        length += (size_t)snprintf(err->hint + length, sizeof err->hint - length, "; ");
    if (length >= sizeof err->hint)
        return;
    va_start(args, format);
    (void)vsnprintf(err->hint + length, sizeof err->hint - length, format, args);
    va_end(args);
}

/* KVM that was named, and is known not to run guests. */
static bool runs_on_broken_kvm(const struct vm_record *record)
{
    AUTO_VM_HOST struct vm_host *host = NULL;
    struct chr_error ignored;

    return strcmp(record->accel, "kvm") == 0 && boot_folders(&host, &ignored) == 0 &&
           vm_host_kvm_is_broken(host);
}

/* Where to look next, when time is up. */
static void point_at_machine(const struct vm_record *record, struct chr_error *err)
{
    /* No word of networks and the like, where there is no guest. */
    if (runs_on_broken_kvm(record))
        (void)err_hint(err, "--accel tcg: KVM does not run guests on this host");
    else if (record->fallback != NULL)
        add_hint(err, "--accel tcg does without %s",
                 strcmp(record->accel, "hvf") == 0 ? "HVF" : "KVM");
    if (record->remove)
        add_hint(err, "nothing of it is kept; chrimg boot without --rm and --throwaway lets it go "
                      "on, for chrimg logs and chrimg console");
    else
        add_hint(err, "it still runs: chrimg logs %s, chrimg console %s, chrimg stop %s",
                 record->name, record->name, record->name);
}

int boot_give_up(const struct boot_start *start, const struct boot_result *result,
                 struct chr_error *err)
{
    const struct vm_record *record = start->record;

    if (result->outcome == VM_CANCELLED)
        (void)err_set(err, CHR_E_CANCELLED, "interrupted: %s is turned off", record->name);
    else
        (void)vm_diagnose(record, &result->wait, result->outcome, &result->seen, err);
    if (result->outcome == VM_TIMEOUT)
        point_at_machine(record, err);
    if (is_to_go(record, result->outcome))
        end_and_tidy(start, result);
    return -1;
}

/* ---- again ---- */

int boot_again(struct vm_instance *instance, struct vm_record *record, enum chr_ready ready,
               const struct chr_vm_watch *watch, struct boot_result *result,
               struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    const struct boot_start start = {.instance = instance, .record = record, .process = &process};
    int64_t begin = clock_ms();

    if (boot_launch(&start, err) < 0)
        return -1;
    *result = (struct boot_result){.start_ms = clock_ms() - begin};
    if (boot_await(&start, ready, watch, result, err) < 0)
        return -1;
    return result->outcome == VM_READY ? 0 : boot_give_up(&start, result, err);
}
