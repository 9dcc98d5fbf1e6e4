/*
 * A zip member as a device.
 *
 * libzip finds the member and hands out its compressed bytes; zlib inflates.
 * The front of decompression moves from the start to the end once, leaving a
 * copy of its state (inflateCopy) at every span; a read behind the front goes
 * on from the nearest copy.  The front also notes which pieces are all zero.
 */
#include "block/zip.h"

#include <inttypes.h>
#include <strings.h>
#include <zip.h>
#include <zlib.h>

#include "base/bytes.h"

#define INPUT_SIZE 65536
#define PIECE_SIZE 65536
#define MIN_SPAN (UINT64_C(1) << 20)
/* Bounds memory: a state is about 48 KiB. */
#define MAX_CHECKPOINTS 128
/* An archive is a download; a disk that does not fit this is not in one. */
#define MAX_IMAGE_SIZE (UINT64_C(64) << 30)
/* Deflate cannot do better (zlib, "maximum compression factor"), so more is a lie. */
#define MAX_RATIO 1032
#define MAX_MEMBERS 1024

/* A decompressor at one place of the member. */
struct state {
    z_stream z;
    uint64_t in_off;  /* compressed bytes taken in so far */
    uint64_t out_off; /* bytes given out so far */
    bool valid;
};

struct zip_blk {
    struct blk blk;
    zip_t *archive;
    zip_file_t *file;
    char *name; /* of the member, for messages */
    uint64_t file_off; /* where FILE stands, in compressed bytes */
    bool stored;
    uint64_t compressed_size;
    uint32_t expected_crc;
    uint32_t crc;
    uint64_t span;
    struct state checkpoints[MAX_CHECKPOINTS];
    struct state front;  /* advances only */
    struct state cursor; /* serves reads behind the front */
    uint8_t *zero_pieces; /* one byte a piece: 1 = seen, all zero */
    uint8_t input[INPUT_SIZE];
    struct state *input_owner; /* whose next_in points into INPUT */
};

static struct zip_blk *zip_of(struct blk *blk)
{
    return (struct zip_blk *)blk;
}

bool zip_probe(const uint8_t *head, size_t len)
{
    return len >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0);
}

/* ---- compressed bytes ---- */

static int seek_input(struct zip_blk *zip, uint64_t off, struct chr_error *err)
{
    if (zip->file_off == off)
        return 0;
    if (zip_fseek(zip->file, (zip_int64_t)off, SEEK_SET) < 0)
        return err_set(err, CHR_E_IO, "%s: cannot seek in the archive: %s", zip->name,
                       zip_file_strerror(zip->file));
    zip->file_off = off;
    return 0;
}

static int read_input(struct zip_blk *zip, void *buf, size_t len, size_t *got,
                      struct chr_error *err)
{
    zip_int64_t n = zip_fread(zip->file, buf, len);

    if (n < 0)
        return err_set(err, CHR_E_IO, "%s: cannot read the archive: %s", zip->name,
                       zip_file_strerror(zip->file));
    if (n == 0)
        return err_set(err, CHR_E_DAMAGED, "%s: the archive ends in the middle of the image",
                       zip->name);
    zip->file_off += (uint64_t)n;
    *got = (size_t)n;
    return 0;
}

static int fill_input(struct zip_blk *zip, struct state *state, struct chr_error *err)
{
    size_t got = 0;

    if (zip->input_owner == state && state->z.avail_in > 0)
        return 0;
    if (state->in_off >= zip->compressed_size)
        return err_set(err, CHR_E_DAMAGED, "%s: its compressed data ends too early", zip->name);
    if (seek_input(zip, state->in_off, err) < 0 ||
        read_input(zip, zip->input, (size_t)min_u64(INPUT_SIZE, zip->compressed_size -
                                                                    state->in_off), &got, err) < 0)
        return -1;
    zip->input_owner = state;
    state->z.next_in = zip->input;
    state->z.avail_in = (uInt)got;
    return 0;
}

/* Inflate LEN bytes from where STATE stands. */
static int inflate_into(struct zip_blk *zip, struct state *state, uint8_t *buf, size_t len,
                        struct chr_error *err)
{
    state->z.next_out = buf;
    state->z.avail_out = (uInt)len;
    while (state->z.avail_out > 0) {
        uInt before;
        int code;

        if (fill_input(zip, state, err) < 0)
            return -1;
        before = state->z.avail_in;
        code = inflate(&state->z, Z_NO_FLUSH);
        state->in_off += before - state->z.avail_in;
        if (code != Z_OK && !(code == Z_STREAM_END && state->z.avail_out == 0))
            return err_set(err, CHR_E_DAMAGED, "%s: its compressed data is damaged at byte %" PRIu64
                           " (%s)", zip->name, state->in_off,
                           state->z.msg != NULL ? state->z.msg : "it ends too early");
    }
    state->out_off += len;
    return 0;
}

/* ---- states ---- */

static void drop_state(struct zip_blk *zip, struct state *state)
{
    if (state->valid)
        (void)inflateEnd(&state->z);
    state->valid = false;
    if (zip->input_owner == state)
        zip->input_owner = NULL;
}

static int copy_state(struct zip_blk *zip, struct state *to, struct state *from,
                      struct chr_error *err)
{
    drop_state(zip, to);
    if (inflateCopy(&to->z, &from->z) != Z_OK)
        return err_set(err, CHR_E_MEMORY, "out of memory for a decompressor");
    to->z.avail_in = 0;
    to->in_off = from->in_off;
    to->out_off = from->out_off;
    to->valid = true;
    return 0;
}

static int finish(struct zip_blk *zip, struct chr_error *err)
{
    if (zip->crc == zip->expected_crc)
        return 0;
    return err_set(err, CHR_E_DAMAGED,
                   "%s: its CRC is %08" PRIx32 ", the archive says %08" PRIx32, zip->name, zip->crc,
                   zip->expected_crc);
}

/* Move the front on by one piece into BUF, noting what it is. */
static int advance(struct zip_blk *zip, uint8_t *buf, struct chr_error *err)
{
    uint64_t off = zip->front.out_off;
    size_t len = (size_t)min_u64(PIECE_SIZE, zip->blk.size - off);

    if (off % zip->span == 0 &&
        copy_state(zip, &zip->checkpoints[off / zip->span], &zip->front, err) < 0)
        return -1;
    if (inflate_into(zip, &zip->front, buf, len, err) < 0)
        return -1;
    zip->crc = (uint32_t)crc32(zip->crc, buf, (uInt)len);
    zip->zero_pieces[off / PIECE_SIZE] = is_zero(buf, len);
    return zip->front.out_off == zip->blk.size ? finish(zip, err) : 0;
}

/* Make the cursor stand at OFF, which is behind the front. */
static int place_cursor(struct zip_blk *zip, uint64_t off, struct chr_error *err)
{
    uint64_t start = off / zip->span * zip->span;
    uint8_t waste[4096];

    if (!zip->cursor.valid || zip->cursor.out_off > off || zip->cursor.out_off < start)
        if (copy_state(zip, &zip->cursor, &zip->checkpoints[off / zip->span], err) < 0)
            return -1;
    while (zip->cursor.out_off < off)
        if (inflate_into(zip, &zip->cursor, waste,
                         (size_t)min_u64(sizeof waste, off - zip->cursor.out_off), err) < 0)
            return -1;
    return 0;
}

/* ---- the device ---- */

static int read_stored(struct zip_blk *zip, uint64_t off, uint8_t *buf, size_t len,
                       struct chr_error *err)
{
    size_t got = 0;

    if (seek_input(zip, off, err) < 0)
        return -1;
    for (; len > 0; buf += got, len -= got)
        if (read_input(zip, buf, len, &got, err) < 0)
            return -1;
    return 0;
}

/* One piece at a time: known zeros cost nothing, the rest comes from front or cursor. */
static int read_piece(struct zip_blk *zip, uint64_t off, uint8_t *buf, size_t len,
                      struct chr_error *err)
{
    uint8_t piece[PIECE_SIZE];
    uint64_t start = round_down(off, PIECE_SIZE);

    while (zip->front.out_off <= start) {
        bool wanted = zip->front.out_off == start;

        if (advance(zip, piece, err) < 0)
            return -1;
        if (wanted) {
            memcpy(buf, piece + (off - start), len);
            return 0;
        }
    }
    if (zip->zero_pieces[off / PIECE_SIZE] != 0) {
        memset(buf, 0, len);
        return 0;
    }
    return place_cursor(zip, off, err) < 0 ? -1 : inflate_into(zip, &zip->cursor, buf, len, err);
}

static int zip_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    struct zip_blk *zip = zip_of(blk);
    uint8_t *p = buf;

    if (zip->stored)
        return read_stored(zip, off, p, len, err);
    while (len > 0) {
        size_t step = (size_t)min_u64(len, PIECE_SIZE - off % PIECE_SIZE);

        if (read_piece(zip, off, p, step, err) < 0)
            return -1;
        p += step;
        off += step;
        len -= step;
    }
    return 0;
}

static int zip_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                      struct chr_error *err)
{
    struct zip_blk *zip = zip_of(blk);
    bool zero = zip->zero_pieces[off / PIECE_SIZE] != 0;
    uint64_t end = off;

    (void)err;
    while (end < off + len && (zip->zero_pieces[end / PIECE_SIZE] != 0) == zero)
        end = round_down(end, PIECE_SIZE) + PIECE_SIZE;
    extent->kind = zero ? BLK_ZERO : BLK_DATA;
    extent->length = min_u64(end - off, len);
    return 0;
}

static int zip_blk_close(struct blk *blk, struct chr_error *err)
{
    struct zip_blk *zip = zip_of(blk);

    (void)err;
    drop_state(zip, &zip->front);
    drop_state(zip, &zip->cursor);
    for (int i = 0; i < MAX_CHECKPOINTS; i++)
        drop_state(zip, &zip->checkpoints[i]);
    if (zip->file != NULL)
        (void)zip_fclose(zip->file);
    if (zip->archive != NULL)
        zip_discard(zip->archive);
    free(zip->zero_pieces);
    free(zip->name);
    free(zip);
    return 0;
}

static const struct blk_ops zip_ops = {
    .read = zip_read,
    .extent = zip_extent,
    .close = zip_blk_close,
};

/* ---- opening ---- */

static bool is_folder(const char *name)
{
    size_t length = strlen(name);

    return length > 0 && name[length - 1] == '/';
}

static bool is_image_name(const char *name)
{
    size_t length = strlen(name);

    return length > 4 && strcasecmp(name + length - 4, ".img") == 0;
}

static int choose_member(zip_t *archive, const char *path, zip_uint64_t *chosen,
                         struct chr_error *err)
{
    zip_int64_t count = zip_get_num_entries(archive, 0);
    unsigned files = 0;
    unsigned images = 0;

    if (count > MAX_MEMBERS)
        return err_set(err, CHR_E_REFUSED, "%s: %" PRId64 " members are no disk image", path,
                       (int64_t)count);
    for (zip_uint64_t i = 0; i < (zip_uint64_t)count; i++) {
        const char *name = zip_get_name(archive, i, ZIP_FL_ENC_GUESS);

        if (name == NULL || is_folder(name))
            continue;
        if (is_image_name(name) ? images == 0 : files == 0 && images == 0)
            *chosen = i;
        files++;
        images += is_image_name(name);
    }
    if (images == 1 || (images == 0 && files == 1))
        return 0;
    if (files == 0)
        return err_set(err, CHR_E_MISSING, "%s: the archive holds no file", path);
    (void)err_set(err, CHR_E_REFUSED, "%s: the archive holds %u files, %u of them *.img; which one "
                  "is meant cannot be told", path, files, images);
    return err_hint(err, "unzip it and name the image");
}

static int check_member(const zip_stat_t *st, const char *path, struct chr_error *err)
{
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD |
                                ZIP_STAT_CRC | ZIP_STAT_ENCRYPTION_METHOD | ZIP_STAT_NAME;

    if ((st->valid & needed) != needed)
        return err_set(err, CHR_E_DAMAGED, "%s: the archive does not describe its member", path);
    if (st->encryption_method != ZIP_EM_NONE)
        return err_set(err, CHR_E_UNSUPPORTED, "%s: %s is encrypted", path, st->name);
    if (st->comp_method != ZIP_CM_STORE && st->comp_method != ZIP_CM_DEFLATE)
        return err_set(err, CHR_E_UNSUPPORTED, "%s: %s has compression method %u, only stored and "
                       "deflate are known", path, st->name, st->comp_method);
    if (st->size == 0 || st->size > MAX_IMAGE_SIZE)
        return err_set(err, CHR_E_REFUSED, "%s: %s has %" PRIu64 " bytes, which is no CHR image",
                       path, st->name, (uint64_t)st->size);
    if (st->size / MAX_RATIO > st->comp_size ||
        (st->comp_method == ZIP_CM_STORE && st->size != st->comp_size))
        return err_set(err, CHR_E_DAMAGED, "%s: %s cannot be %" PRIu64 " bytes out of %" PRIu64,
                       path, st->name, (uint64_t)st->size, (uint64_t)st->comp_size);
    return 0;
}

static int open_member(struct zip_blk *zip, const char *path, struct chr_error *err)
{
    zip_uint64_t index = 0;
    zip_stat_t st;

    if (choose_member(zip->archive, path, &index, err) < 0)
        return -1;
    if (zip_stat_index(zip->archive, index, 0, &st) < 0)
        return err_set(err, CHR_E_DAMAGED, "%s: %s", path, zip_strerror(zip->archive));
    if (check_member(&st, path, err) < 0)
        return -1;
    zip->blk.size = st.size;
    zip->compressed_size = st.comp_size;
    zip->expected_crc = st.crc;
    zip->stored = st.comp_method == ZIP_CM_STORE;
    zip->span = max_u64(MIN_SPAN, round_up(st.size / MAX_CHECKPOINTS + 1, PIECE_SIZE));
    zip->name = mem_strdup(st.name, err);
    zip->zero_pieces = mem_new(1, (size_t)(st.size / PIECE_SIZE + 1), err);
    if (zip->name == NULL || zip->zero_pieces == NULL)
        return -1;
    zip->file = zip_fopen_index(zip->archive, index, ZIP_FL_COMPRESSED);
    if (zip->file == NULL)
        return err_set(err, CHR_E_DAMAGED, "%s: %s", path, zip_strerror(zip->archive));
    if (inflateInit2(&zip->front.z, -MAX_WBITS) != Z_OK)
        return err_set(err, CHR_E_MEMORY, "out of memory for a decompressor");
    zip->front.valid = true;
    return 0;
}

int zip_blk_open(const char *path, struct blk **out, struct chr_error *err)
{
    struct zip_blk *zip = mem_new(1, sizeof *zip, err);
    AUTO_BLK struct blk *blk = zip != NULL ? &zip->blk : NULL;
    int code = 0;

    if (zip == NULL)
        return -1;
    zip->blk = (struct blk){.ops = &zip_ops, .fd = -1};
    zip->archive = zip_open(path, ZIP_RDONLY, &code);
    if (zip->archive == NULL) {
        zip_error_t error;

        zip_error_init_with_code(&error, code);
        (void)err_set(err, code == ZIP_ER_OPEN ? CHR_E_MISSING : CHR_E_DAMAGED,
                      "%s: not a usable zip archive: %s", path, zip_error_strerror(&error));
        zip_error_fini(&error);
        return -1;
    }
    if (open_member(zip, path, err) < 0)
        return -1;
    *out = STEAL(blk);
    return 0;
}
