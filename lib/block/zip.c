/*
 * A zip member as a device.
 *
 * minizip finds the member and says where its compressed bytes are; zlib inflates
 * them.  (libzip can do as much, but brings libcrypto along, which doubles the
 * time that every command takes to start.)  The front of decompression moves from the start to the end once, leaving a
 * copy of its state (inflateCopy) at every span; a read behind the front goes
 * on from the nearest copy.  The front also notes which pieces are all zero.
 */
#include "block/zip.h"

#include <inttypes.h>
#include <strings.h>
#include <unzip.h>
#include <zlib.h>

#include "base/bytes.h"
#include "block/raw.h"

#define INPUT_SIZE 65536
#define PIECE_SIZE 65536 /* not over INPUT_SIZE */
#define MIN_SPAN (UINT64_C(1) << 20)
/* Bounds memory: a state is about 48 KiB. */
#define MAX_CHECKPOINTS 128
/* An archive is a download; a disk that does not fit this is not in one. */
#define MAX_IMAGE_SIZE (UINT64_C(64) << 30)
/* Deflate cannot do better (zlib, "maximum compression factor"), so more is a lie. */
#define MAX_RATIO 1032
#define MAX_MEMBERS 1024
/* APPNOTE.TXT (PKWARE), sections 4.4.4 and 4.4.5 */
#define FLAG_ENCRYPTED 1
#define METHOD_STORED 0

/* A decompressor at one place of the member. */
struct state {
    z_stream z;
    uint64_t in_off;  /* compressed bytes taken in so far */
    uint64_t out_off; /* bytes given out so far */
    bool valid;
};

struct zip_blk {
    struct blk blk;
    struct blk *archive; /* the file */
    uint64_t data_off;   /* of the compressed bytes in it */
    char *name;          /* of the member, for messages */
    bool stored;
    uint64_t compressed_size;
    uint32_t expected_crc;
    uint32_t crc;      /* of what the front has passed */
    uint32_t zero_crc; /* of a piece of zeros */
    uLong zero_op;     /* crc32_combine_gen() for a piece */
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

static int fill_input(struct zip_blk *zip, struct state *state, struct chr_error *err)
{
    size_t len = (size_t)min_u64(INPUT_SIZE, zip->compressed_size - state->in_off);

    if (zip->input_owner == state && state->z.avail_in > 0)
        return 0;
    /* At the end there may be output that zlib still holds back. */
    if (blk_read(zip->archive, zip->data_off + state->in_off, zip->input, len, err) < 0)
        return -1;
    zip->input_owner = state;
    state->z.next_in = zip->input;
    state->z.avail_in = (uInt)len;
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
        if (code == Z_BUF_ERROR)
            return err_set(err, CHR_E_DAMAGED, "%s: its compressed data ends too early", zip->name);
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

/* Most of a disk is zeros, whose CRC need not be counted byte by byte. */
static void add_to_crc(struct zip_blk *zip, const uint8_t *buf, size_t len, bool zero)
{
    if (zero && len == PIECE_SIZE)
        zip->crc = (uint32_t)crc32_combine_op(zip->crc, zip->zero_crc, zip->zero_op);
    else
        zip->crc = (uint32_t)crc32(zip->crc, buf, (uInt)len);
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
    zip->zero_pieces[off / PIECE_SIZE] = is_zero(buf, len);
    add_to_crc(zip, buf, len, zip->zero_pieces[off / PIECE_SIZE] != 0);
    return zip->front.out_off == zip->blk.size ? finish(zip, err) : 0;
}

int zip_blk_verify(struct blk *blk, struct chr_error *err)
{
    struct zip_blk *zip = zip_of(blk);
    uint8_t piece[PIECE_SIZE];

    while (!zip->stored && zip->front.out_off < zip->blk.size)
        if (advance(zip, piece, err) < 0)
            return -1;
    return 0;
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
        return blk_read(zip->archive, zip->data_off + off, p, len, err);
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
    blk_cleanup(&zip->archive);
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

/* The central folder's entry that minizip stands at. */
struct member {
    unz64_file_pos place;
    unz_file_info64 info;
    char name[256];
};

static int read_member(unzFile archive, const char *path, struct member *member,
                       struct chr_error *err)
{
    if (unzGetCurrentFileInfo64(archive, &member->info, member->name, sizeof member->name - 1, NULL,
                                0, NULL, 0) != UNZ_OK ||
        unzGetFilePos64(archive, &member->place) != UNZ_OK)
        return err_set(err, CHR_E_DAMAGED, "%s: the archive's list of members is damaged", path);
    member->name[min_u64(member->info.size_filename, sizeof member->name - 1)] = '\0';
    return 0;
}

static int choose_member(unzFile archive, const char *path, struct member *chosen,
                         struct chr_error *err)
{
    struct member member = {0};
    unsigned files = 0;
    unsigned images = 0;
    unsigned seen = 0;
    int code = unzGoToFirstFile(archive);

    for (; code == UNZ_OK; code = unzGoToNextFile(archive)) {
        if (++seen > MAX_MEMBERS)
            return err_set(err, CHR_E_REFUSED, "%s: more than %d members are no disk image", path,
                           MAX_MEMBERS);
        if (read_member(archive, path, &member, err) < 0)
            return -1;
        if (is_folder(member.name))
            continue;
        if (is_image_name(member.name) ? images == 0 : files == 0 && images == 0)
            *chosen = member;
        files++;
        images += is_image_name(member.name);
    }
    if (code != UNZ_END_OF_LIST_OF_FILE)
        return err_set(err, CHR_E_DAMAGED, "%s: the archive's list of members is damaged", path);
    if (images == 1 || (images == 0 && files == 1))
        return 0;
    if (files == 0)
        return err_set(err, CHR_E_MISSING, "%s: the archive holds no file", path);
    (void)err_set(err, CHR_E_REFUSED, "%s: the archive holds %u files, %u of them *.img; which one "
                  "is meant cannot be told", path, files, images);
    return err_hint(err, "unzip it and name the image");
}

static int check_member(const struct member *member, const char *path, struct chr_error *err)
{
    uint64_t size = member->info.uncompressed_size;
    uint64_t compressed = member->info.compressed_size;

    if ((member->info.flag & FLAG_ENCRYPTED) != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "%s: %s is encrypted", path, member->name);
    if (member->info.compression_method != METHOD_STORED &&
        member->info.compression_method != Z_DEFLATED)
        return err_set(err, CHR_E_UNSUPPORTED, "%s: %s has compression method %lu, only stored and "
                       "deflate are known", path, member->name, member->info.compression_method);
    if (size == 0 || size > MAX_IMAGE_SIZE)
        return err_set(err, CHR_E_REFUSED, "%s: %s has %" PRIu64 " bytes, which is no CHR image",
                       path, member->name, size);
    if (size / MAX_RATIO > compressed ||
        (member->info.compression_method == METHOD_STORED && size != compressed))
        return err_set(err, CHR_E_DAMAGED, "%s: %s cannot be %" PRIu64 " bytes out of %" PRIu64,
                       path, member->name, size, compressed);
    return 0;
}

/* Where the member's compressed bytes begin: minizip compares both of its headers on the way. */
static int find_data(unzFile archive, const char *path, const struct member *member,
                     uint64_t *data_off, struct chr_error *err)
{
    int method;
    int level;

    if (unzGoToFilePos64(archive, &member->place) != UNZ_OK ||
        unzOpenCurrentFile2(archive, &method, &level, 1) != UNZ_OK)
        return err_set(err, CHR_E_DAMAGED, "%s: the two headers of %s contradict each other", path,
                       member->name);
    *data_off = unzGetCurrentFileZStreamPos64(archive);
    (void)unzCloseCurrentFile(archive);
    return 0;
}

static int find_member(const char *path, struct member *member, uint64_t *data_off,
                       struct chr_error *err)
{
    unzFile archive = unzOpen64(path);
    int result;

    if (archive == NULL)
        return err_set(err, CHR_E_DAMAGED,
                       "%s: not a usable zip archive: it holds no members, or its list of them is "
                       "damaged", path);
    result = choose_member(archive, path, member, err);
    if (result == 0)
        result = check_member(member, path, err);
    if (result == 0)
        result = find_data(archive, path, member, data_off, err);
    (void)unzClose(archive);
    return result;
}

/* Stored bytes are read in any order, so their CRC is counted here, once. */
static int check_stored(struct zip_blk *zip, struct chr_error *err)
{
    for (uint64_t off = 0; off < zip->blk.size; off += INPUT_SIZE) {
        size_t len = (size_t)min_u64(INPUT_SIZE, zip->blk.size - off);

        if (blk_read(zip->archive, zip->data_off + off, zip->input, len, err) < 0)
            return -1;
        zip->crc = (uint32_t)crc32(zip->crc, zip->input, (uInt)len);
    }
    return finish(zip, err);
}

static int open_member(struct zip_blk *zip, const char *path, struct chr_error *err)
{
    struct member member = {0};

    if (raw_open(path, RAW_READ, &zip->archive, err) < 0 ||
        find_member(path, &member, &zip->data_off, err) < 0)
        return -1;
    zip->blk.size = member.info.uncompressed_size;
    zip->compressed_size = member.info.compressed_size;
    zip->expected_crc = (uint32_t)member.info.crc;
    zip->zero_crc = (uint32_t)crc32(0, zip->input, PIECE_SIZE); /* still all zeros */
    zip->zero_op = crc32_combine_gen(PIECE_SIZE);
    zip->stored = member.info.compression_method == METHOD_STORED;
    zip->span = max_u64(MIN_SPAN, round_up(zip->blk.size / MAX_CHECKPOINTS + 1, PIECE_SIZE));
    zip->name = mem_strdup(member.name, err);
    zip->zero_pieces = mem_new(1, (size_t)(zip->blk.size / PIECE_SIZE + 1), err);
    if (zip->name == NULL || zip->zero_pieces == NULL)
        return -1;
    if (!range_within(zip->data_off, zip->compressed_size, zip->archive->size))
        return err_set(err, CHR_E_DAMAGED, "%s: the archive ends in the middle of %s", path,
                       zip->name);
    if (zip->stored)
        return check_stored(zip, err);
    if (inflateInit2(&zip->front.z, -MAX_WBITS) != Z_OK)
        return err_set(err, CHR_E_MEMORY, "out of memory for a decompressor");
    zip->front.valid = true;
    return 0;
}

int zip_blk_open(const char *path, struct blk **out, struct chr_error *err)
{
    struct zip_blk *zip = mem_new(1, sizeof *zip, err);
    AUTO_BLK struct blk *blk = zip != NULL ? &zip->blk : NULL;

    if (zip == NULL)
        return -1;
    zip->blk = (struct blk){.ops = &zip_ops, .fd = -1};
    if (open_member(zip, path, err) < 0)
        return -1;
    *out = STEAL(blk);
    return 0;
}
