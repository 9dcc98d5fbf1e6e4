/*
 * Compressed clusters, and the early answer for those that will not get smaller:
 * most of a CHR image is packages and kernels that are compressed already, and
 * deflate takes longest over exactly these.  (zstd sees it faster than we could.)
 */
#include "qcow2/codec.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "qcow2/format.h"

enum {
    DEFLATE_WINDOW_BITS = 12, /* the specification's ("Compressed clusters"); negative = raw */
    /* QEMU takes 6: two and a half times the work, for 0.7 % less of a disk that is one third
     * programs and two thirds packed already. */
    DEFLATE_LEVEL = 2,
    DEFLATE_MEMORY = 9,
    INFLATE_WINDOW_BITS = 15, /* other writers took more than 12, and QEMU reads it */
    ZSTD_LEVEL = 3,
};

struct codec {
    enum qcow2_compression type;
    /* Made on first use: a reader needs one half, a writer the other. */
    bool deflating;
    bool inflating;
    z_stream deflate;
    z_stream inflate;
    ZSTD_CCtx *zstd_out;
    ZSTD_DCtx *zstd_in;
};

int codec_new(enum qcow2_compression type, struct codec **out, struct chr_error *err)
{
    struct codec *codec = mem_new(1, sizeof *codec, err);

    if (codec == NULL)
        return -1;
    codec->type = type;
    *out = codec;
    return 0;
}

void codec_free(struct codec *codec)
{
    if (codec == NULL)
        return;
    if (codec->deflating)
        (void)deflateEnd(&codec->deflate);
    if (codec->inflating)
        (void)inflateEnd(&codec->inflate);
    (void)ZSTD_freeCCtx(codec->zstd_out);
    (void)ZSTD_freeDCtx(codec->zstd_in);
    free(codec);
}

/* ---- the early answer ---- */

enum {
    PROBE_BYTES = 4096, /* shorter inputs are simply tried */
    HASH_BITS = 12,
};

/*
 * Sum over all byte values of count squared: for bytes that are all equally likely
 * it is about len * (len / 256 + 1), and it grows with every preference that a
 * Huffman code could use.
 */
static uint64_t count_squares(const uint8_t *in, size_t len)
{
    uint32_t counts[4][256] = {{0}}; /* four, so that equal neighbours do not wait for each other */
    uint64_t sum = 0;
    size_t i = 0;

    for (; i + 4 <= len; i += 4) {
        counts[0][in[i]]++;
        counts[1][in[i + 1]]++;
        counts[2][in[i + 2]]++;
        counts[3][in[i + 3]]++;
    }
    for (; i < len; i++)
        counts[0][in[i]]++;
    for (unsigned value = 0; value < 256; value++) {
        uint64_t count = (uint64_t)counts[0][value] + counts[1][value] + counts[2][value] +
                         counts[3][value];

        sum += count * count;
    }
    return sum;
}

/* Places, out of every fourth, whose four bytes were seen shortly before. */
static size_t count_repeats(const uint8_t *in, size_t len)
{
    uint32_t seen[1 << HASH_BITS] = {0};
    size_t repeats = 0;

    for (size_t i = 0; i + 4 <= len; i++) {
        uint32_t word = le32(in + i);
        uint32_t *slot = &seen[(word * UINT32_C(2654435761)) >> (32 - HASH_BITS)];

        if (i % 4 == 0)
            repeats += *slot == word;
        *slot = word;
    }
    return repeats;
}

/*
 * Whether IN looks like compressed or random data: no byte is preferred (the excess
 * of the square sum stands for less than half a percent of entropy) and next to
 * nothing is repeated.  A wrong "yes" costs that little space, a wrong "no" time.
 */
static bool looks_incompressible(const uint8_t *in, size_t len)
{
    uint64_t even = (uint64_t)len * (len / 256 + 1);

    if (len < PROBE_BYTES)
        return false;
    return count_squares(in, len) < even + even / 16 && count_repeats(in, len) < len / 2048 + 2;
}

/* ---- zlib ---- */

static int start_deflate(struct codec *codec, struct chr_error *err)
{
    if (codec->deflating)
        return deflateReset(&codec->deflate) == Z_OK
                   ? 0
                   : err_set(err, CHR_E_INTERNAL, "zlib cannot be reset");
    if (deflateInit2(&codec->deflate, DEFLATE_LEVEL, Z_DEFLATED, -DEFLATE_WINDOW_BITS,
                     DEFLATE_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return err_set(err, CHR_E_MEMORY, "out of memory for zlib");
    codec->deflating = true;
    return 0;
}

static int compress_zlib(struct codec *codec, const uint8_t *in, size_t len, uint8_t *out,
                         size_t *out_len, struct chr_error *err)
{
    z_stream *z = &codec->deflate;

    *out_len = 0;
    if (looks_incompressible(in, len))
        return 0;
    if (start_deflate(codec, err) < 0)
        return -1;
    z->next_in = (Bytef *)(uintptr_t)in; /* zlib only reads it */
    z->avail_in = (uInt)len;
    z->next_out = out;
    z->avail_out = (uInt)(len - 1);
    *out_len = deflate(z, Z_FINISH) == Z_STREAM_END ? len - 1 - z->avail_out : 0;
    return 0;
}

static int start_inflate(struct codec *codec, struct chr_error *err)
{
    if (codec->inflating)
        return inflateReset(&codec->inflate) == Z_OK
                   ? 0
                   : err_set(err, CHR_E_INTERNAL, "zlib cannot be reset");
    if (inflateInit2(&codec->inflate, -INFLATE_WINDOW_BITS) != Z_OK)
        return err_set(err, CHR_E_MEMORY, "out of memory for zlib");
    codec->inflating = true;
    return 0;
}

static int decompress_zlib(struct codec *codec, const uint8_t *in, size_t in_len, uint8_t *out,
                           size_t len, struct chr_error *err)
{
    z_stream *z = &codec->inflate;
    int result;

    if (start_inflate(codec, err) < 0)
        return -1;
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)in_len;
    z->next_out = out;
    z->avail_out = (uInt)len;
    result = inflate(z, Z_FINISH);
    /* Z_BUF_ERROR with a full buffer: the cluster is there, its end mark is not. */
    if ((result != Z_STREAM_END && result != Z_BUF_ERROR) || z->avail_out != 0)
        return err_set(err, CHR_E_DAMAGED, "the zlib data of the compressed cluster is broken");
    return 0;
}

/* ---- zstd ---- */

static int compress_zstd(struct codec *codec, const uint8_t *in, size_t len, uint8_t *out,
                         size_t *out_len, struct chr_error *err)
{
    size_t result;

    if (codec->zstd_out == NULL)
        codec->zstd_out = ZSTD_createCCtx();
    if (codec->zstd_out == NULL)
        return err_set(err, CHR_E_MEMORY, "out of memory for zstd");
    result = ZSTD_compressCCtx(codec->zstd_out, out, len - 1, in, len, ZSTD_LEVEL);
    *out_len = ZSTD_isError(result) ? 0 : result; /* the one error possible is "no room" */
    return 0;
}

static int start_zstd_in(struct codec *codec, struct chr_error *err)
{
    if (codec->zstd_in == NULL)
        codec->zstd_in = ZSTD_createDCtx();
    if (codec->zstd_in == NULL)
        return err_set(err, CHR_E_MEMORY, "out of memory for zstd");
    (void)ZSTD_DCtx_reset(codec->zstd_in, ZSTD_reset_session_only);
    (void)ZSTD_DCtx_setParameter(codec->zstd_in, ZSTD_d_windowLogMax, MAX_ZSTD_WINDOW_LOG);
    return 0;
}

static int decompress_zstd(struct codec *codec, const uint8_t *in, size_t in_len, uint8_t *out,
                           size_t len, struct chr_error *err)
{
    ZSTD_inBuffer source = {.src = in, .size = in_len};
    ZSTD_outBuffer target = {.dst = out, .size = len};

    if (start_zstd_in(codec, err) < 0)
        return -1;
    while (target.pos < target.size) {
        size_t before = source.pos + target.pos;
        size_t result = ZSTD_decompressStream(codec->zstd_in, &target, &source);

        if (ZSTD_isError(result) || source.pos + target.pos == before)
            return err_set(err, CHR_E_DAMAGED, "the zstd data of the compressed cluster is broken");
    }
    return 0;
}

/* ---- the door ---- */

int codec_compress(struct codec *codec, const uint8_t *in, size_t len, uint8_t *out,
                   size_t *out_len, struct chr_error *err)
{
    if (codec->type == QCOW2_ZSTD)
        return compress_zstd(codec, in, len, out, out_len, err);
    return compress_zlib(codec, in, len, out, out_len, err);
}

int codec_decompress(struct codec *codec, const uint8_t *in, size_t in_len, uint8_t *out,
                     size_t len, struct chr_error *err)
{
    if (codec->type == QCOW2_ZSTD)
        return decompress_zstd(codec, in, in_len, out, len, err);
    return decompress_zlib(codec, in, in_len, out, len, err);
}
