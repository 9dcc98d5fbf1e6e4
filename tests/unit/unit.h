/*
 * What every unit test starts from: cmocka, errors that are shown when a call
 * fails against expectation, fixed random numbers, and a folder to work in.
 */
#ifndef CHRIMG_TESTS_UNIT_UNIT_H
#define CHRIMG_TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"

/* CALL must succeed; its error is the message when it does not. */
#define assert_done(call, err)                                                                     \
    do {                                                                                           \
        (err)->message[0] = '\0';                                                                  \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, (err)->message);                                             \
    } while (0)

/* CALL must fail with CODE and a message that holds TEXT. */
#define assert_refused(call, err, expected, text)                                                  \
    do {                                                                                           \
        *(err) = (struct chr_error){.code = CHR_OK};                                               \
        if ((call) == 0)                                                                           \
            fail_msg("%s: succeeded, expected \"%s\"", #call, text);                               \
        if ((err)->code != (expected) || strstr((err)->message, text) == NULL)                     \
            fail_msg("%s: code %d, \"%s\"; expected code %d, \"%s\"", #call, (int)(err)->code,     \
                     (err)->message, (int)(expected), text);                                       \
    } while (0)

/* ---- random numbers: the same in every run (xorshift64*, Vigna 2016) ---- */

struct dice {
    uint64_t state; /* not zero */
};

static inline uint64_t roll(struct dice *dice)
{
    dice->state ^= dice->state >> 12;
    dice->state ^= dice->state << 25;
    dice->state ^= dice->state >> 27;
    return dice->state * UINT64_C(0x2545F4914F6CDD1D);
}

/* A number from 0 to LIMIT - 1. */
static inline uint64_t roll_below(struct dice *dice, uint64_t limit)
{
    return (roll(dice) >> 11) % limit;
}

static inline void roll_bytes(struct dice *dice, void *buf, size_t len)
{
    uint8_t *p = buf;

    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(roll(dice) >> 32);
}

/* ---- a folder of our own ---- */

static char work_folder[512];

/* For cmocka's group setup: make a folder and go there. */
static inline int enter_work_folder(void **state)
{
    const char *base = getenv("TMPDIR");

    (void)state;
    (void)snprintf(work_folder, sizeof work_folder, "%s/chrimg-unit.XXXXXX",
                   base != NULL ? base : "/tmp");
    return mkdtemp(work_folder) != NULL ? chdir(work_folder) : -1;
}

/* For the group teardown. */
static inline int leave_work_folder(void **state)
{
    char command[sizeof work_folder + 16];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", work_folder);
    return chdir("/") == 0 ? system(command) : -1;
}

/* The size of the file at PATH; fails the test when there is none. */
static inline size_t file_size(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size;

    if (file == NULL)
        fail_msg("there is no file %s", path);
    (void)fseek(file, 0, SEEK_END);
    size = ftell(file);
    (void)fclose(file);
    return (size_t)size;
}

static inline void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");

    if (file == NULL || fwrite(bytes, 1, len, file) != len || fclose(file) != 0)
        fail_msg("cannot write %s", path);
}

/* All of the file, for the caller to free; *LEN may be NULL. */
static inline uint8_t *read_file(const char *path, size_t *len)
{
    size_t size = file_size(path);
    uint8_t *bytes = malloc(size + 1);
    FILE *file = fopen(path, "rb");

    if (bytes == NULL || file == NULL || fread(bytes, 1, size, file) != size)
        fail_msg("cannot read %s", path);
    (void)fclose(file);
    if (len != NULL)
        *len = size;
    return bytes;
}

#endif
