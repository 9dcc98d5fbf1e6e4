/*
 * Compressed clusters: zlib (raw deflate, window of 12 bits) and zstd.
 */
#ifndef CHRIMG_QCOW2_CODEC_H
#define CHRIMG_QCOW2_CODEC_H

#include "qcow2/qcow2.h"

struct codec; /* the state of one thread */

int codec_new(enum qcow2_compression type, struct codec **out, struct chr_error *err);
void codec_free(struct codec *codec);

/*
 * Compress the LEN bytes of IN to OUT, which has room for LEN bytes.  *OUT_LEN is
 * 0 when they would not get smaller and should be stored as they are.
 */
int codec_compress(struct codec *codec, const uint8_t *in, size_t len, uint8_t *out,
                   size_t *out_len, struct chr_error *err);

/*
 * Decompress a cluster of LEN bytes to OUT.  IN may go on behind the compressed
 * data (its length is known in sectors only); too little or broken data is
 * CHR_E_DAMAGED.
 */
int codec_decompress(struct codec *codec, const uint8_t *in, size_t in_len, uint8_t *out,
                     size_t len, struct chr_error *err);

#endif
