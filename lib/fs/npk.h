/*
 * The head of a RouterOS package (NPK): its name and version.
 *
 * Format (seen on released packages; there is no specification), little-endian:
 *     0  4  1E F1 D0 BA
 *     4  4  size of what follows
 *     8     parts: u16 type, u32 length, contents
 * Part 1, 32 bytes, comes first:
 *     0 16  name, zero-padded      18  1  minor          24  8  unknown
 *    16  1  revision               19  1  major
 *    17  1  build kind             20  4  build time, seconds since 1970
 * Build kinds: 97 alpha, 98 beta, 99 rc, 102 final.
 */
#ifndef CHRIMG_FS_NPK_H
#define CHRIMG_FS_NPK_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NPK_HEAD_SIZE (8 + 6 + 32)
#define NPK_VERSION_SIZE 32

struct npk {
    char name[17];
    char version[NPK_VERSION_SIZE]; /* "7.20rc2", "7.19.4" */
    uint8_t major;
    uint8_t minor;
    uint32_t build_time;
};

/* Decode the first LEN bytes (NPK_HEAD_SIZE are enough); CHR_E_DAMAGED with the reason. */
int npk_decode(const uint8_t *head, size_t len, struct npk *out, struct chr_error *err);

#endif
