/*
 * chrimg: disk images of RouterOS CHR, read, mended, converted and booted.
 *
 * The one public header.  Handles are opaque, options and reports are plain
 * structs, every function that can fail takes a `struct chr_error *` (never
 * NULL) and returns 0, or -1 with the error filled in.  All sizes are bytes
 * unless a name says otherwise; an LBA counts sectors of 512 bytes.
 *
 * The library prints nothing, keeps no global state, and is safe to use from
 * several threads as long as each image is used by one at a time.
 */
#ifndef CHRIMG_H
#define CHRIMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHR_API __attribute__((visibility("default")))

#define CHR_VERSION "0.1.0"

#define CHR_SECTOR_SIZE 512

/* ---- errors ---- */

#define CHR_MESSAGE_SIZE 1024
#define CHR_HINT_SIZE 512

enum chr_code {
    CHR_OK = 0,
    CHR_E_IO,          /* the host could not read or write */
    CHR_E_MISSING,     /* no such file, partition or member */
    CHR_E_EXISTS,      /* an output is there already */
    CHR_E_SPACE,       /* no room: on the host, or in the image */
    CHR_E_MEMORY,      /* out of memory */
    CHR_E_BUSY,        /* another process holds the image */
    CHR_E_USAGE,       /* options that cannot be meant */
    CHR_E_REFUSED,     /* sound, but not something this command will do */
    CHR_E_UNSUPPORTED, /* sound, but a format feature that chrimg does not know */
    CHR_E_DAMAGED,     /* the image contradicts itself or its format */
    CHR_E_INTERNAL,    /* a bug: a check on our own work failed */
};

struct chr_error {
    enum chr_code code;
    char message[CHR_MESSAGE_SIZE]; /* what and where, one sentence without a full stop */
    char hint[CHR_HINT_SIZE];       /* the way out, or "" */
};

#ifdef __cplusplus
}
#endif

#endif
