/*
 * A plan as text for other tools: each is a pure function of the plan.  The text
 * is put into *TEXT, for the caller to free.
 */
#ifndef CHRIMG_VM_EMIT_H
#define CHRIMG_VM_EMIT_H

#include "vm/plan.h"

/* One shell line that makes the plan's files and becomes QEMU, ended by a newline. */
int vm_emit_print(const struct vm_host *host, const struct vm_plan *plan, char **text,
                  struct chr_error *err);

/* A POSIX shell script that does the same and finds the accelerator when it runs. */
int vm_emit_script(const struct vm_host *host, const struct vm_plan *plan, char **text,
                   struct chr_error *err);

/*
 * INI for QEMU's -readconfig into *INI, and into *TEXT the shell line that uses
 * it as FILE with the arguments that INI cannot hold.
 */
int vm_emit_readconfig(const struct vm_host *host, const struct vm_plan *plan, const char *file,
                       char **ini, char **text, struct chr_error *err);

/* A systemd service; UNIT NULL: "chrimg-NAME". */
int vm_emit_systemd(const struct vm_host *host, const struct vm_plan *plan, const char *unit,
                    char **text, struct chr_error *err);

/* libvirt's domain XML. */
int vm_emit_libvirt(const struct vm_host *host, const struct vm_plan *plan, char **text,
                    struct chr_error *err);

#endif
