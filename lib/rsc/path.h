/* Paths: a menu and a command in it, separated by blanks: "ip address add". */
#ifndef CHRIMG_RSC_PATH_H
#define CHRIMG_RSC_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define RSC_PATH_MAX 128

/*
 * Add the parts of "ip/address/add" to PATH, of RSC_PATH_MAX bytes; ".." takes one away.
 * True when the last one is a command, so that what follows are its arguments.
 */
bool rsc_path_add(char *path, const char *word, size_t len);

/* Take the last part away. */
void rsc_path_up(char *path);

/*
 * Whether PATH names COMMAND ("ip service disable"), word by word; each may be cut short
 * to three letters or more, as RouterOS allows.
 */
bool rsc_path_is(const char *path, const char *command);

#endif
