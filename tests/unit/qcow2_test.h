/*
 * What the qcow2 tests share: a folder of their own, commands of the judges, and a
 * host file in memory that counts, fails and loses power where a test says so.
 */
#ifndef CHRIMG_TESTS_QCOW2_TEST_H
#define CHRIMG_TESTS_QCOW2_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "block/raw.h"
#include "qcow2/qcow2.h"

#define UNUSED __attribute__((unused))

/* ---- assertions that say why ---- */

static UNUSED struct chr_error test_error;

#define assert_ok(call)                                                                          \
    do {                                                                                         \
        if ((call) < 0)                                                                          \
            fail_msg("%s: %s", #call, test_error.message);                                       \
    } while (0)

/* ---- a folder and commands ---- */

static char test_folder[64];

static UNUSED int make_folder(void **state)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    (void)state;
    (void)snprintf(test_folder, sizeof test_folder, "%s/qcow2-test-XXXXXX", base);
    return mkdtemp(test_folder) != NULL && chdir(test_folder) == 0 ? 0 : -1;
}

static UNUSED int remove_folder(void **state)
{
    char command[96];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", test_folder);
    return chdir("/") == 0 ? system(command) : -1;
}

/* Run a shell command in the folder; its exit status.  Output goes to the file "log". */
static UNUSED __attribute__((format(printf, 1, 2))) int status_of(const char *format, ...)
{
    char command[2048];
    char whole[2200];
    va_list args;
    int status;

    va_start(args, format);
    (void)vsnprintf(command, sizeof command, format, args);
    va_end(args);
    (void)snprintf(whole, sizeof whole, "{ %s ; } >log 2>&1 </dev/null", command);
    status = system(whole);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static UNUSED void show_log(void)
{
    FILE *log = fopen("log", "r");
    char line[512];

    while (log != NULL && fgets(line, sizeof line, log) != NULL)
        print_message("# %s", line);
    if (log != NULL)
        (void)fclose(log);
}

#define must_run(...)                                                                            \
    do {                                                                                         \
        if (status_of(__VA_ARGS__) != 0) {                                                       \
            show_log();                                                                          \
            fail_msg("command failed: %s", #__VA_ARGS__);                                        \
        }                                                                                        \
    } while (0)

/* ---- numbers that look random and are the same each time ---- */

struct dice {
    uint64_t state;
};

static UNUSED uint64_t roll(struct dice *dice)
{
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static UNUSED uint64_t below(struct dice *dice, uint64_t limit)
{
    return roll(dice) % limit;
}

/* Bytes that deflate cannot make smaller (ODD) or can (not). */
static UNUSED void fill_random(struct dice *dice, uint8_t *buf, size_t len, bool odd)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(odd ? roll(dice) : 1 + i / 7 % 13);
}

/* ---- images in files ---- */

static UNUSED struct blk *open_image(const char *path, bool writable, const char *snapshot)
{
    struct qcow2_open_options options = {.writable = writable, .path = path, .snapshot = snapshot};
    struct blk *file;
    struct blk *image;

    assert_ok(raw_open(path, writable ? RAW_WRITE : RAW_READ, &file, &test_error));
    assert_ok(qcow2_open(file, &options, &image, &test_error));
    return image;
}

/* Whether the device holds what the raw file PATH holds. */
static UNUSED void assert_same_as_file(struct blk *image, const char *path)
{
    enum { STEP = 1 << 18 };
    static uint8_t ours[STEP];
    static uint8_t theirs[STEP];
    struct blk *raw;

    assert_ok(raw_open(path, RAW_READ, &raw, &test_error));
    assert_int_equal(image->size, raw->size);
    for (uint64_t at = 0; at < image->size; at += STEP) {
        size_t len = (size_t)min_u64(STEP, image->size - at);

        assert_ok(blk_read(image, at, ours, len, &test_error));
        assert_ok(blk_read(raw, at, theirs, len, &test_error));
        if (memcmp(ours, theirs, len) != 0)
            fail_msg("%s differs within %d bytes from %llu", path, STEP, (unsigned long long)at);
    }
    assert_ok(blk_close(raw, &test_error));
}

/* ---- a host file in memory ---- */

enum rig_fault {
    RIG_SOUND,
    RIG_IO_ERROR, /* the operation fails, and so do all later ones */
    RIG_NO_SPACE, /* only operations that make the file longer fail */
};

struct rig_write {
    uint64_t off;
    size_t len;
    uint8_t *data;
};

/* The bytes of the file, and what would be there after a power cut. */
struct rig_state {
    uint8_t *bytes; /* as written */
    uint64_t size;
    uint8_t *stable; /* as at the last flush */
    uint64_t stable_size;
    struct rig_write *pending;
    size_t pending_count;
    size_t pending_capacity;
    uint64_t operations; /* writes, flushes and changes of the size */
    uint64_t fail_at;    /* the operation that fails, counted from 1; 0 = none */
    enum rig_fault fault;
};

enum { RIG_ROOM = 16 << 20 };

struct rig {
    struct blk blk;
    struct rig_state *state; /* borrowed: it outlives the device, as a disk does a computer */
};

static UNUSED int rig_count(struct rig_state *state, bool longer, struct chr_error *err)
{
    state->operations++;
    if (state->fault == RIG_NO_SPACE && longer && state->fail_at != 0 &&
        state->operations >= state->fail_at)
        return err_set(err, CHR_E_SPACE, "the rig is full");
    if (state->fault == RIG_IO_ERROR && state->fail_at != 0 && state->operations >= state->fail_at)
        return err_set(err, CHR_E_IO, "the rig fails");
    return 0;
}

static UNUSED int rig_read(struct blk *blk, uint64_t off, void *buf, size_t len,
                           struct chr_error *err)
{
    (void)err;
    memcpy(buf, ((struct rig *)blk)->state->bytes + off, len);
    return 0;
}

static UNUSED int rig_write(struct blk *blk, uint64_t off, const void *buf, size_t len,
                            struct chr_error *err)
{
    struct rig_state *state = ((struct rig *)blk)->state;
    struct rig_write write = {.off = off, .len = len};

    if (rig_count(state, false, err) < 0)
        return -1;
    memcpy(state->bytes + off, buf, len);
    write.data = malloc(len);
    memcpy(write.data, buf, len);
    if (mem_grow(&state->pending, &state->pending_capacity, state->pending_count,
                 sizeof *state->pending, err) < 0)
        return -1;
    state->pending[state->pending_count++] = write;
    return 0;
}

static UNUSED void rig_forget_pending(struct rig_state *state)
{
    for (size_t i = 0; i < state->pending_count; i++)
        free(state->pending[i].data);
    state->pending_count = 0;
}

static UNUSED int rig_flush(struct blk *blk, struct chr_error *err)
{
    struct rig_state *state = ((struct rig *)blk)->state;

    if (rig_count(state, false, err) < 0)
        return -1;
    for (size_t i = 0; i < state->pending_count; i++)
        memcpy(state->stable + state->pending[i].off, state->pending[i].data,
               state->pending[i].len);
    state->stable_size = state->size;
    rig_forget_pending(state);
    return 0;
}

static UNUSED int rig_resize(struct blk *blk, uint64_t size, struct chr_error *err)
{
    struct rig_state *state = ((struct rig *)blk)->state;

    if (rig_count(state, size > state->size, err) < 0)
        return -1;
    if (size > RIG_ROOM)
        return err_set(err, CHR_E_SPACE, "the rig has room for 16 MiB");
    blk->size = state->size = size;
    return 0;
}

static UNUSED int rig_close(struct blk *blk, struct chr_error *err)
{
    (void)err;
    free(blk);
    return 0;
}

static UNUSED const struct blk_ops rig_ops = {
    .read = rig_read,
    .write = rig_write,
    .flush = rig_flush,
    .close = rig_close,
};

static UNUSED void rig_new(struct rig_state *state)
{
    *state = (struct rig_state){.bytes = calloc(1, RIG_ROOM), .stable = calloc(1, RIG_ROOM)};
    assert_non_null(state->bytes);
    assert_non_null(state->stable);
}

static UNUSED void rig_release(struct rig_state *state)
{
    rig_forget_pending(state);
    free(state->pending);
    free(state->bytes);
    free(state->stable);
}

static UNUSED struct blk *rig_open(struct rig_state *state)
{
    struct rig *rig = calloc(1, sizeof *rig);

    assert_non_null(rig);
    *rig = (struct rig){
        .blk = {.ops = &rig_ops, .size = state->size, .writable = true, .fd = -1},
        .state = state,
    };
    return &rig->blk;
}

/* The image in the rig; NULL with test_error. */
static UNUSED struct blk *rig_open_image(struct rig_state *state, bool writable,
                                         const char *snapshot)
{
    struct qcow2_open_options options = {
        .writable = writable, .snapshot = snapshot, .resize = rig_resize};
    struct blk *image = NULL;

    if (qcow2_open(rig_open(state), &options, &image, &test_error) < 0)
        return NULL;
    return image;
}

static UNUSED void rig_copy(struct rig_state *to, const struct rig_state *from)
{
    rig_forget_pending(to);
    memcpy(to->bytes, from->bytes, RIG_ROOM);
    memcpy(to->stable, from->bytes, RIG_ROOM);
    to->size = to->stable_size = from->size;
    to->operations = to->fail_at = 0;
    to->fault = RIG_SOUND;
}

/*
 * The power comes back: of what was written since the last flush, each sector is
 * there or not as the dice fall; the file has its old or its new length.
 */
static UNUSED void rig_lose_power(struct rig_state *state, struct dice *dice)
{
    uint64_t size = below(dice, 2) != 0 ? state->size : state->stable_size;

    for (size_t i = 0; i < state->pending_count; i++) {
        const struct rig_write *write = &state->pending[i];
        uint64_t end = write->off + write->len;

        for (uint64_t at = write->off; at < end;) {
            uint64_t next = min_u64(end, round_down(at, 512) + 512);

            if (below(dice, 2) != 0) {
                memcpy(state->stable + at, write->data + (at - write->off), (size_t)(next - at));
                size = max_u64(size, next);
            }
            at = next;
        }
    }
    rig_forget_pending(state);
    memset(state->stable + size, 0, RIG_ROOM - size);
    memcpy(state->bytes, state->stable, RIG_ROOM);
    state->size = state->stable_size = size;
    state->operations = state->fail_at = 0;
    state->fault = RIG_SOUND;
}

static UNUSED void rig_save(const struct rig_state *state, const char *path)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(state->bytes, 1, state->size, file), state->size);
    assert_int_equal(fclose(file), 0);
}

static UNUSED void rig_load(struct rig_state *state, const char *path)
{
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    rig_forget_pending(state);
    memset(state->bytes, 0, RIG_ROOM);
    state->size = state->stable_size = fread(state->bytes, 1, RIG_ROOM, file);
    memcpy(state->stable, state->bytes, RIG_ROOM);
    state->operations = state->fail_at = 0;
    state->fault = RIG_SOUND;
    assert_int_equal(fclose(file), 0);
}

static UNUSED int have_qemu(void)
{
    return system("qemu-img --version >/dev/null 2>&1 && qemu-io --version >/dev/null 2>&1") == 0;
}

#endif
