/* What the commands for virtual machines share. */
#ifndef CHRIMG_IMGTOOL_VM_H
#define CHRIMG_IMGTOOL_VM_H

#include <jansson.h>

#include "tool.h"

/* Progress on a terminal, notes on stderr, and an end at SIGINT, SIGTERM, SIGHUP. */
struct chr_vm_watch vm_watch(void);

/* The exit code of an error, and after a signal 128 + its number; the error is printed. */
int vm_error(const struct chr_error *err);

/* "http" or "https" where ENDPOINT has such a name, or leads to that port of the router; else NULL. */
const char *vm_scheme(const struct chr_endpoint *endpoint);

/* "  http     http://127.0.0.1:9180", a line each: what one would paste. */
void vm_print_endpoints(const struct chr_vm *vm);

/* The host's address to connect to: that of the endpoints, or for 0.0.0.0 this host. */
const char *vm_address(const struct chr_vm *vm);

/* {"name", "status", ...}, without "schema" */
json_t *vm_value(const struct chr_vm *vm);

/* What a start led to, as text or JSON; returns the exit code. */
int vm_print_started(const struct chr_boot_report *report, bool json);

/* That the image of a machine that is off was saved as PATH; NULL: nothing was to be saved. */
void vm_say_saved(const char *path);

/* The optional NAME: NULL when there is none; more than one argument is an error. */
bool vm_name_argument(const struct command *command, int argc, char **argv, const char **name,
                      int *status);

/* Seconds from 1 to a year; 0, or the exit code. */
int take_seconds(const struct command *command, const char *option, const char *value,
                 unsigned *seconds);

#endif
