/* Power button, quit, kill. */
#include "vm/stop.h"

#include <signal.h>
#include <string.h>

#include "vm/clock.h"
#include "vm/qmp.h"

#define QMP_PATIENCE_MS 3000
#define BUTTON_STEP_MS 5000
#define CALLED_OFF_STEP_MS 100
/* It has said that it ends: what takes time is writing out what the guest has written. */
#define QUIT_PATIENCE_MS 30000
#define TERM_PATIENCE_MS 2000
#define KILL_PATIENCE_MS 5000

/* A command whose effect is what counts: QEMU may close the connection before it answers. */
static bool tell(const struct vm_record *record, const char *command, int64_t deadline)
{
    AUTO_QMP struct qmp *qmp = NULL;
    struct chr_error ignored;

    return qmp_connect(record->qmp_socket, deadline, &qmp, &ignored) == 0 &&
           (qmp_command(qmp, command, NULL, deadline, NULL, &ignored) == 0 ||
            strcmp(command, "quit") == 0);
}

/* A machine that is paused or broken cannot react to its power button. */
static bool can_react(const struct vm_record *record, int64_t deadline)
{
    AUTO_QMP struct qmp *qmp = NULL;
    struct chr_error ignored;
    json_t *result = NULL;
    bool running;

    if (qmp_connect(record->qmp_socket, deadline, &qmp, &ignored) < 0 ||
        qmp_command(qmp, "query-status", NULL, deadline, &result, &ignored) < 0)
        return false;
    running = json_is_true(json_object_get(result, "running"));
    json_decref(result);
    return running;
}

static bool is_called_off(vm_called_off_fn *called_off)
{
    return called_off != NULL && called_off();
}

/* Until it is gone: true.  False at DEADLINE, or soon after it is called off. */
static bool wait_for_end(const struct vm_process *process, int64_t deadline,
                         vm_called_off_fn *called_off)
{
    do {
        int64_t next = clock_ms() + CALLED_OFF_STEP_MS;

        if (vm_process_wait(process, called_off != NULL && next < deadline ? next : deadline))
            return true;
    } while (clock_ms() < deadline && !is_called_off(called_off));
    return false;
}

/* A press that comes while the guest still boots is not heard: so more than one. */
static bool press_button(const struct vm_record *record, const struct vm_process *process,
                         int64_t deadline, vm_called_off_fn *called_off)
{
    do {
        int64_t next = clock_ms() + BUTTON_STEP_MS;

        if (is_called_off(called_off))
            return false;
        if (!tell(record, "system_powerdown", deadline))
            return !vm_process_is_alive(process);
        if (wait_for_end(process, next < deadline ? next : deadline, called_off))
            return true;
        /* Stopped meanwhile, as by a full disk: nobody is left who could hear the button. */
    } while (clock_ms() < deadline && !is_called_off(called_off) && can_react(record, deadline));
    return !vm_process_is_alive(process);
}

static int kill_it(const struct vm_record *record, const struct vm_process *process,
                   enum vm_stopped *how, struct chr_error *err)
{
    /* QEMU ends at SIGTERM as at quit, if its main loop still turns. */
    if (vm_process_signal(process, SIGTERM, err) < 0)
        return -1;
    if (vm_process_wait(process, clock_ms() + TERM_PATIENCE_MS))
        return 0;
    *how = VM_STOP_KILLED;
    if (vm_process_signal(process, SIGKILL, err) < 0)
        return -1;
    if (vm_process_wait(process, clock_ms() + KILL_PATIENCE_MS))
        return 0;
    return err_set(err, CHR_E_IO, "%s: process %ld does not end", record->name,
                   (long)process->pid);
}

int vm_stop_unless(const struct vm_record *record, const struct vm_process *process,
                   int64_t patience_ms, vm_called_off_fn *called_off, enum vm_stopped *how,
                   struct chr_error *err)
{
    int64_t deadline = clock_ms() + patience_ms;
    bool was_asked;

    *how = VM_STOP_GONE;
    if (!vm_process_is_alive(process))
        return 0;
    *how = VM_STOP_POWERDOWN;
    /* Another client (a snapshot of the memory takes its time) is no reason to be impolite. */
    was_asked = patience_ms > 0 && can_react(record, deadline);
    if (was_asked && press_button(record, process, deadline, called_off))
        return 0;
    if (is_called_off(called_off))
        return err_set(err, CHR_E_CANCELLED, "interrupted: %s %s", record->name,
                       was_asked ? "is asked to shut down, and runs yet" : "runs as before");
    *how = was_asked ? VM_STOP_DEAF : VM_STOP_QUIT;
    if (tell(record, "quit", clock_ms() + QMP_PATIENCE_MS) && vm_process_wait(process, clock_ms() + QUIT_PATIENCE_MS))
        return 0;
    return kill_it(record, process, how, err);
}

int vm_stop(const struct vm_record *record, const struct vm_process *process, int64_t patience_ms,
            enum vm_stopped *how, struct chr_error *err)
{
    return vm_stop_unless(record, process, patience_ms, NULL, how, err);
}
