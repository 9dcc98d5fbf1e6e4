/* chr_boot(): an image, what it is, what this host has, a plan, a machine, an answer. */
#include "op/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "op/image.h"
#include "vm/clock.h"
#include "vm/emit.h"

/* Starts at the same moment find the same ports free; all but one of them look again. */
#define PORT_TRIES 10

struct boot {
    const char *name; /* of the image, as the user says it */
    struct chr_boot_options options;
    const struct chr_vm_watch *watch;
    struct vm_host *host;
    struct vm_image image;
    char *path;
    struct vm_plan plan;
    struct vm_instance instance;
    struct vm_record record;
    struct vm_process process;
    struct boot_result result;
    int64_t begin;
};

static void note(const struct boot *boot, const char *text)
{
    if (boot->watch->note != NULL)
        boot->watch->note(text, boot->watch->context);
}

/* ---- facts ---- */

/* An image that one of our machines uses has a better message than its lock. */
static int in_use(const struct boot *boot, struct chr_error *err)
{
    char name[CHR_BOOT_NAME_MAX + 1];

    if (err->code != CHR_E_BUSY || !chr_vm_of_image(boot->name, name))
        return -1;
    (void)err_set(err, CHR_E_BUSY, "%s is in use: instance %s runs from it", boot->name, name);
    return err_hint(err, "chrimg console %s, chrimg stop %s; --throwaway does not help, as it "
                    "changes underneath", name, name);
}

/* Readers and their overlay do not lock the image against us; a router that writes spoils it for them. */
static int check_readers(const struct boot *boot, enum chr_format format, struct chr_error *err)
{
    const struct chr_boot_options *options = &boot->options;
    bool writes = !options->throwaway && (options->write || format == CHR_FORMAT_QCOW2);
    char name[CHR_BOOT_NAME_MAX + 1];

    if (!writes || options->show != CHR_SHOW_NONE || !boot_uses_image(boot->name, name))
        return 0;
    (void)err_set(err, CHR_E_BUSY, "%s is in use: instance %s runs from it, and this router would "
                  "write to it", boot->name, name);
    return err_hint(err, "chrimg stop %s first%s", name,
                    options->write ? "; or without --write, with another --name" : "");
}

/* The zip's member, the snapshot's state and so on are refused by the plan, by name. */
static int look_at_image(struct boot *boot, struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = NULL;
    struct chr_report *report = NULL;
    /* What only says how to start it takes no part in who writes to it. */
    unsigned flags = boot->options.show != CHR_SHOW_NONE ? CHR_OPEN_FORCE_SHARE : 0;

    if (chr_image_open(boot->name, flags, &image, err) < 0)
        return in_use(boot, err);
    if (check_readers(boot, image->format, err) < 0)
        return -1;
    boot->path = realpath(image->path, NULL);
    if (boot->path == NULL)
        return err_errno(err, errno, "cannot find %s", image->path);
    if (image->recovered) {
        (void)err_set(err, CHR_E_REFUSED, "a change of %s in place was interrupted", boot->name);
        return err_hint(err, "run that command again, or chrimg check --repair, which takes it back");
    }
    if (chr_inspect(image, &report, err) < 0)
        return -1;
    boot->image = (struct vm_image){
        .path = boot->path,
        .name = boot->name,
        .format = image->format,
        .arch = strcmp(report->architecture, "x86_64") == 0    ? "x86_64"
                : strcmp(report->architecture, "aarch64") == 0 ? "aarch64"
                                                               : "unknown",
        .bios = report->bios,
        .uefi = report->uefi,
        .size = report->virtual_size,
        .read_only = access(boot->path, W_OK) < 0,
        .is_snapshot = image->snapshot != NULL,
    };
    chr_report_free(report);
    return 0;
}

static int make_plan(struct boot *boot, struct chr_error *err)
{
    vm_plan_release(&boot->plan);
    return vm_plan_make(boot->host, &boot->image, &boot->options, &boot->plan, err);
}

static int look_at_host(struct boot *boot, struct chr_error *err)
{
    const char *arch = strcmp(boot->image.arch, "unknown") == 0 ? "x86_64" : boot->image.arch;

    vm_host_free(boot->host);
    boot->host = NULL;
    return vm_host_probe(&boot->options, arch, &boot->host, err);
}

static int prepare(struct boot *boot, struct chr_error *err)
{
    return look_at_image(boot, err) < 0 || look_at_host(boot, err) < 0 ? -1 : make_plan(boot, err);
}

static void release(struct boot *boot)
{
    vm_instance_unlock(&boot->instance);
    vm_process_release(&boot->process);
    vm_record_release(&boot->record);
    vm_plan_release(&boot->plan);
    vm_host_free(boot->host);
    free(boot->path);
}

static struct boot boot_of(const char *name, const struct chr_boot_options *options,
                           const struct chr_vm_watch *watch)
{
    return (struct boot){
        .name = name,
        .options = *options,
        .watch = watch,
        .instance = VM_NO_INSTANCE,
        .process = VM_NO_PROCESS,
        .begin = clock_ms(),
    };
}

/* ---- the record ---- */

static const char *accel_name(enum chr_accel accel)
{
    return accel == CHR_ACCEL_KVM ? "kvm" : accel == CHR_ACCEL_HVF ? "hvf" : "tcg";
}

static int copy_argv(char *const *argv, char ***copy, struct chr_error *err)
{
    size_t count = 0;

    while (argv[count] != NULL)
        count++;
    *copy = mem_new(count + 1, sizeof **copy, err);
    for (size_t i = 0; *copy != NULL && i < count; i++)
        if (((*copy)[i] = mem_strdup(argv[i], err)) == NULL)
            return -1;
    return *copy != NULL ? 0 : -1;
}

static int copy_files(const struct vm_plan *plan, struct vm_record *record, struct chr_error *err)
{
    record->files = mem_new(plan->file_count, sizeof *record->files, err);
    for (size_t i = 0; record->files != NULL && i < plan->file_count; i++) {
        const struct vm_file *from = &plan->files[i];
        struct vm_file *to = &record->files[i];

        *to = *from;
        to->source = NULL;
        to->target = mem_strdup(from->target, err);
        record->file_count = i + 1;
        if (to->target == NULL ||
            (from->source != NULL && (to->source = mem_strdup(from->source, err)) == NULL))
            return -1;
    }
    return record->files != NULL ? 0 : -1;
}

static int copy_forwards(const struct vm_plan *plan, struct vm_record *record,
                         struct chr_error *err)
{
    record->forwards = mem_new(plan->forward_count, sizeof *record->forwards, err);
    if (record->forwards == NULL)
        return -1;
    for (size_t i = 0; i < plan->forward_count; i++) {
        record->forwards[i] = plan->forwards[i];
        record->forwards[i].address = record->listen;
    }
    record->forward_count = plan->forward_count;
    return 0;
}

/* Paths of the plan become the record's own copies. */
static int copy_texts(const struct vm_plan *plan, struct vm_record *record, struct chr_error *err)
{
    const struct {
        const char *from;
        char **to;
    } texts[] = {
        {plan->image, &record->image},
        {plan->arch, &record->arch},
        {accel_name(plan->accel), &record->accel},
        {plan->is_uefi ? "UEFI" : "SeaBIOS", &record->firmware},
        {plan->listen, &record->listen},
        {plan->qmp_socket, &record->qmp_socket},
        {plan->serial_socket, &record->serial_socket},
        {plan->serial_log, &record->serial_log},
        {plan->log_file, &record->log_file},
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if ((*texts[i].to = mem_strdup(texts[i].from, err)) == NULL)
            return -1;
    return 0;
}

static int make_record(struct boot *boot, struct chr_error *err)
{
    const struct vm_plan *plan = &boot->plan;
    struct vm_record *record = &boot->record;
    bool fresh = record->fresh; /* another try with other ports */

    vm_record_release(record);
    record->fresh = fresh;
    (void)snprintf(record->name, sizeof record->name, "%s", plan->name);
    record->remove = boot->options.remove || boot->options.throwaway;
    record->ready = plan->ready;
    record->ready_port = boot->options.ready_port;
    record->timeout = boot->options.timeout;
    if (boot->options.ready_pattern != NULL &&
        (record->ready_pattern = mem_strdup(boot->options.ready_pattern, err)) == NULL)
        return -1;
    if (copy_texts(plan, record, err) < 0 ||
        copy_argv(plan->argv, &record->argv, err) < 0 ||
        (plan->tcg_argv != NULL && copy_argv(plan->tcg_argv, &record->fallback, err) < 0) ||
        copy_files(plan, record, err) < 0)
        return -1;
    return copy_forwards(plan, record, err);
}

/* ---- start ---- */

static struct boot_start start_of(struct boot *boot)
{
    return (struct boot_start){&boot->instance, &boot->record, &boot->process, boot->name};
}

static int launch(struct boot *boot, struct chr_error *err)
{
    const struct boot_start start = start_of(boot);

    vm_process_release(&boot->process);
    if (make_record(boot, err) < 0 ||
        vm_instance_place(boot->host, boot->plan.name, &boot->instance, err) < 0 ||
        boot_launch(&start, err) < 0)
        return -1;
    boot->result.start_ms = clock_ms() - boot->begin;
    return 0;
}

/* False where nobody but the user can choose others. */
static bool choose_other_ports(struct boot *boot)
{
    struct chr_error ignored;

    /* What KVM cannot do, it is not to try again. */
    if (boot->result.fell_back)
        boot->options.accel = CHR_ACCEL_TCG;
    return look_at_host(boot, &ignored) == 0 && make_plan(boot, &ignored) == 0;
}

static int run(struct boot *boot, struct chr_error *err)
{
    const struct boot_start start = start_of(boot);
    unsigned port_tries = PORT_TRIES;

    if (launch(boot, err) < 0)
        return -1;
    for (size_t i = 0; i < boot->plan.note_count; i++)
        note(boot, boot->plan.notes[i]);
    for (;;) {
        if (boot_await(&start, boot->record.ready, boot->watch, &boot->result, err) < 0)
            return -1;
        if (boot->result.outcome == VM_READY)
            return 0;
        if (!boot_lost_port(&start, &boot->result) || port_tries-- == 0 ||
            !choose_other_ports(boot))
            return boot_give_up(&start, &boot->result, err);
        if (launch(boot, err) < 0)
            return -1;
    }
}

static int report_of(const struct boot *boot, struct chr_boot_report **out, struct chr_error *err)
{
    struct chr_boot_report *report = mem_new(1, sizeof *report, err);

    if (report == NULL)
        return -1;
    report->vm = boot_describe(&boot->record, err);
    if (report->vm == NULL) {
        free(report);
        return -1;
    }
    report->fell_back = boot->result.fell_back;
    report->start_ms = boot->result.start_ms;
    report->ready_ms = boot->result.ready_ms;
    report->waited = boot->record.ready != CHR_READY_NONE;
    report->total_ms = clock_ms() - boot->begin;
    *out = report;
    return 0;
}

int chr_boot(const char *image, const struct chr_boot_options *options,
             const struct chr_vm_watch *watch, struct chr_boot_report **out, struct chr_error *err)
{
    struct boot boot = boot_of(image, options, watch);
    int result = -1;

    if (prepare(&boot, err) == 0 && run(&boot, err) == 0)
        result = report_of(&boot, out, err);
    release(&boot);
    return result;
}

void chr_boot_report_free(struct chr_boot_report *report)
{
    if (report == NULL)
        return;
    chr_vm_free(report->vm);
    free(report);
}

int chr_boot_show(const char *image, const struct chr_boot_options *options, char **text,
                  struct chr_error *err)
{
    const struct chr_vm_watch nobody = {.cancel_fd = -1};
    struct boot boot = boot_of(image, options, &nobody);
    int result = prepare(&boot, err);

    *text = NULL;
    if (result == 0)
        result = boot_emit(boot.host, &boot.plan, options, text, err);
    release(&boot);
    return result;
}
