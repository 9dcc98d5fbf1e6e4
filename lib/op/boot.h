/* Inner doors of the launcher: what boot, restart and snapshots share. */
#ifndef CHRIMG_OP_BOOT_H
#define CHRIMG_OP_BOOT_H

#include <signal.h>

#include "op/files.h"
#include "vm/host.h"
#include "vm/instance.h"
#include "vm/ready.h"
#include "vm/stop.h"

static inline void vm_host_cleanup(struct vm_host **host)
{
    vm_host_free(*host);
}
#define AUTO_VM_HOST CLEANUP(vm_host_cleanup)

/* The host's folders alone; *HOST is released with vm_host_free(). */
int boot_folders(struct vm_host **host, struct chr_error *err);

/* A start of an instance, under its lock. */
struct boot_start {
    struct vm_instance *instance;
    struct vm_record *record; /* bound to the new process, and written */
    struct vm_process *process;
    const char *image; /* as the user says it, for messages; NULL: the record's path */
};

/* Make those of the record's files that are not there. */
int boot_make_files(const struct boot_start *start, struct chr_error *err);

/* Whether those that are there still fit to what they were made of; nothing is made. */
int boot_check_files(const struct vm_record *record, struct chr_error *err);

/*
 * Make the folders, clear what an earlier machine left, make the files, and start
 * QEMU.  CHR_E_EXISTS when the instance runs already.
 */
int boot_launch(const struct boot_start *start, struct chr_error *err);

/*
 * Take away what a machine that is off leaves (vm_instance_tidy()), unless another process
 * has started it again since RECORD was read; then CHR_E_BUSY where FORGET was asked for.
 */
int boot_tidy(struct vm_instance *instance, const struct vm_record *record, bool forget,
              struct chr_error *err);

/* How a start went; all zero before. */
struct boot_result {
    enum vm_outcome outcome;
    struct vm_seen seen;
    struct vm_wait wait;
    int64_t start_ms; /* from the call to QEMU's exec, where it was started again; else as it was */
    int64_t ready_ms; /* of the last wait */
    bool fell_back;   /* to TCG */
    bool kvm_failed;  /* or something else did, as long as TCG has not done better */
};

/*
 * Wait for READY, else as the record says.  Where the machine's accelerator does not run it,
 * and the record has a fallback, it is started again on TCG, with a note.
 */
int boot_await(const struct boot_start *start, enum chr_ready ready,
               const struct chr_vm_watch *watch, struct boot_result *result,
               struct chr_error *err);

/* That start again, for a machine which is known to be stuck. */
int boot_fall_back(const struct boot_start *start, enum chr_ready ready,
                   const struct chr_vm_watch *watch, struct boot_result *result,
                   struct chr_error *err);

/* QEMU could not listen: another program, or another start of ours, took a port since we looked. */
bool boot_lost_port(const struct boot_start *start, const struct boot_result *result);

/* Say why it is not ready; ends it where nobody is to look at it. Returns -1. */
int boot_give_up(const struct boot_start *start, const struct boot_result *result,
                 struct chr_error *err);

/* A plan as options->show wants it; emit.c. */
int boot_emit(const struct vm_host *host, const struct vm_plan *plan,
              const struct chr_boot_options *options, char **text, struct chr_error *err);

/* A record as the public struct. */
struct chr_vm *boot_describe(const struct vm_record *record, struct chr_error *err);

/* Call FUNCTION for each instance until it returns other than 0, which is returned. */
typedef int boot_each_fn(struct vm_instance *instance, struct vm_record *record, void *context,
                         struct chr_error *err);
int boot_for_each(boot_each_fn *function, void *context, struct chr_error *err);

/* The running instance that writes to the image PATH: true, with its record and process. */
bool boot_find_by_image(const char *path, struct vm_instance *instance, struct vm_record *record,
                        struct vm_process *process);

/* The machine writes to the image itself: not to an overlay over it, and not to nothing. */
bool boot_writes_to_image(const struct vm_record *record);

/* A file without a name that a machine runs from, to be saved when the machine has ended. */
struct boot_rescue {
    int fd; /* of that file; -1: there is nothing to save */
    struct output output;
    bool holds_signals;
    sigset_t signals; /* as they were */
};

/*
 * Before RECORD's running machine is ended: see to it that no file is lost with it that still
 * is needed.  CHR_E_REFUSED, and the like, where that cannot be; the machine is to go on then.
 * Release in either case.
 */
int boot_rescue_begin(const struct vm_record *record, const struct chr_stop_options *options,
                      struct boot_rescue *rescue, struct chr_error *err);
/* The machine has ended.  *SAVED (SAVED may be NULL), to be freed, is the path where a file was saved. */
int boot_rescue_finish(struct boot_rescue *rescue, char **saved, struct chr_error *err);
void boot_rescue_release(struct boot_rescue *rescue);
#define AUTO_RESCUE CLEANUP(boot_rescue_release)

/*
 * Before RECORD's machine is ended to be started again: CHR_E_REFUSED where it runs, and its
 * image is not the file any more that it runs from.
 */
int boot_check_again(const struct vm_record *record, struct chr_error *err);

/*
 * A record of an instance that has none, or a DAMAGED one: of the machine that runs, else
 * of the files in its folder.  False when there is neither.
 */
bool boot_unrecorded(const struct vm_instance *instance, bool damaged, struct vm_record *record);

/* The image as the user knows it: of an overlay that no record tells of, what is below. */
char *boot_image_of(const struct vm_record *record, struct chr_error *err);

/* Where the image PATH is busy because an instance runs from it, ERR names that. */
void boot_name_holder(const char *path, bool writing, struct chr_error *err);

/* Whether a running instance uses the image PATH, if only to read it below an overlay. */
bool boot_uses_image(const char *path, char name[CHR_BOOT_NAME_MAX + 1]);

/* Find instance NAME (NULL: as chr_vm_get()) and read its record. */
int boot_find(const char *name, bool off_too, struct vm_instance *instance,
              struct vm_record *record, struct chr_error *err);

/* How a machine is stopped for boot_again(). */
struct boot_stop {
    int64_t patience_ms;          /* for the guest to shut down; 0: QEMU quits at once */
    vm_called_off_fn *called_off; /* vm_stop_unless(); or NULL */
};

/*
 * Read RECORD anew, under the instance's lock, and end its machine if it runs.  The lock is
 * kept, for boot_again(): until the machine is there again nobody takes what it keeps (--rm)
 * for left over.  On failure the lock is not held, but for CHR_E_CANCELLED.
 */
int boot_stop(struct vm_instance *instance, struct vm_record *record, const struct boot_stop *stop,
              enum vm_stopped *how, struct chr_error *err);

/* What OPTIONS mean, in ms. */
int64_t boot_stop_patience(const struct chr_stop_options *options);

/* Whether RECORD's machine runs can be told here: 0; else CHR_E_REFUSED. */
int boot_refuse_foreign(const struct vm_record *record, struct chr_error *err);

/* Start RECORD's machine as it was started and wait for READY; for restart and snapshots. */
int boot_again(struct vm_instance *instance, struct vm_record *record, enum chr_ready ready,
               const struct chr_vm_watch *watch, struct boot_result *result,
               struct chr_error *err);

#endif
