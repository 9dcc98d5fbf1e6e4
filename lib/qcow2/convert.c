/*
 * A new image that holds what a device holds.  The caller's thread reads and writes;
 * where clusters are to be compressed, others do that in between.  (For plain ones a
 * thread that writes while another reads was measured to be slower: the data are
 * warm in one core's cache only.)
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/raw.h"
#include "qcow2/codec.h"
#include "qcow2/layout.h"
#include "qcow2/pipeline.h"

/* Bytes that are read at once: large for plain copies, small where threads share the work. */
#define PLAIN_JOB (UINT64_C(256) << 10)
#define COMPRESS_JOB (UINT64_C(64) << 10)
#define JOBS_BYTES (UINT64_C(16) << 20) /* of all jobs together, with their results */

enum {
    MAX_THREADS = 16,
    MAX_JOBS = 4 * MAX_THREADS,
    MIN_JOBS = 2,
};

/* What became of a cluster; any other number is the length of its compressed data. */
enum {
    RESULT_PLAIN = 0,
    RESULT_ZERO = -1,
};

/* A stretch of guest clusters on its way. */
struct job {
    uint64_t number; /* the first one */
    uint64_t count;
    uint8_t *data;
    uint8_t *packed; /* where they are compressed: each at its own place in a copy of data */
    int64_t *results; /* one for each */
};

struct conversion {
    struct blk *source; /* NULL = zeros */
    uint64_t size;
    const struct qcow2_create_options *options;
    struct host_file file;
    struct header header;
    uint32_t cluster_size;
    uint64_t position; /* the first guest cluster that is not yet in a job */
    uint64_t data_end; /* the one behind the data that the source told of; asking again may cost */
    uint64_t clusters; /* of the disk, which is the source in whole sectors */
    struct layout *layout;

    unsigned jobs_count;
    uint64_t job_clusters;
    struct job jobs[MAX_JOBS];
    unsigned threads;
    struct codec *codecs[MAX_THREADS];
    struct pipeline *pipeline; /* NULL = one thread does it all */
};

/* ---- options ---- */

static int log2_of(const char *what, uint64_t value, unsigned least, unsigned most, uint32_t *bits,
                   struct chr_error *err)
{
    if (!is_power_of_two(value) || value >> least == 0 || value >> most > 1)
        return err_set(err, CHR_E_USAGE, "%s is %" PRIu64 ", not a power of two from %" PRIu64
                       " to %" PRIu64, what, value, UINT64_C(1) << least, UINT64_C(1) << most);
    *bits = (uint32_t)__builtin_ctzll(value);
    return 0;
}

static int plan_header(const struct qcow2_create_options *options, uint64_t size,
                       struct header *header, struct chr_error *err)
{
    bool zstd = options->compress && options->compression == QCOW2_ZSTD;
    uint64_t cluster_size = options->cluster_size != 0 ? options->cluster_size : 65536;
    uint64_t refcount_bits = options->refcount_bits != 0 ? options->refcount_bits : 16;

    if (size > INT64_MAX - MAX_CLUSTER_BYTES) /* room to round up */
        return err_set(err, CHR_E_USAGE, "a disk cannot have %" PRIu64 " bytes", size);
    *header = (struct header){
        .version = options->version != 0 ? options->version : 3,
        .size = round_up(size, CHR_SECTOR_SIZE), /* QEMU counts in sectors */
        .incompatible = zstd ? INCOMPATIBLE_COMPRESSION : 0,
        .compression = zstd ? QCOW2_ZSTD : QCOW2_ZLIB,
    };
    if (header->version != 2 && header->version != 3)
        return err_set(err, CHR_E_USAGE, "there is no qcow2 version %" PRIu32, header->version);
    if (log2_of("the cluster size", cluster_size, MIN_CLUSTER_BITS, MAX_CLUSTER_BITS,
                &header->cluster_bits, err) < 0 ||
        log2_of("the refcount width in bits", refcount_bits, 0, MAX_REFCOUNT_ORDER,
                &header->refcount_order, err) < 0)
        return -1;
    if (header->version == 2 && (zstd || header->refcount_order != 4))
        return err_set(err, CHR_E_USAGE, "%s needs qcow2 version 3",
                       zstd ? "zstd" : "a refcount width other than 16 bits");
    if (header_l1_needed(size, header->cluster_bits) > MAX_L1_BYTES / ENTRY_BYTES)
        return err_set(err, CHR_E_USAGE, "a disk of %" PRIu64 " bytes needs larger clusters than %"
                       PRIu64 " bytes", size, cluster_size);
    return 0;
}

/* The name stays the caller's: a plan's header is never released. */
static int plan_backing(const struct qcow2_create_options *options, struct header *header,
                        struct chr_error *err)
{
    if (options->backing_file == NULL)
        return 0;
    if (options->backing_format == NULL || strlen(options->backing_format) > MAX_BACKING_FORMAT)
        return err_set(err, CHR_E_USAGE, "the backing file's format must be stated");
    if (strlen(options->backing_file) > MAX_BACKING_NAME || options->backing_file[0] == '\0')
        return err_set(err, CHR_E_USAGE, "a backing file's name has 1 to %u bytes",
                       MAX_BACKING_NAME);
    if (UINT64_C(1) << header->cluster_bits < HEADER_NEW_SIZE)
        return err_set(err, CHR_E_USAGE, "clusters are too small for a backing file's name");
    header->backing_name = (char *)options->backing_file;
    header->backing_format = (char *)options->backing_format;
    return 0;
}

static unsigned plan_threads(const struct qcow2_create_options *options)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t wanted = options->threads != 0 ? options->threads : online > 0 ? (uint64_t)online : 1;

    return (unsigned)min_u64(wanted, MAX_THREADS);
}

/* ---- one job ---- */

static uint8_t *cluster_data(const struct conversion *conversion, const struct job *job, uint64_t i)
{
    return job->data + i * conversion->cluster_size;
}

/* Find out what is to be stored for each cluster; CODEC NULL = not compressed. */
static int classify(const struct conversion *conversion, struct codec *codec, struct job *job,
                    struct chr_error *err)
{
    for (uint64_t i = 0; i < job->count; i++) {
        const uint8_t *data = cluster_data(conversion, job, i);
        size_t length = 0;

        if (is_zero(data, conversion->cluster_size)) {
            job->results[i] = RESULT_ZERO;
            continue;
        }
        if (codec != NULL &&
            codec_compress(codec, data, conversion->cluster_size,
                           job->packed + i * conversion->cluster_size, &length, err) < 0)
            return -1;
        job->results[i] = length != 0 ? (int64_t)length : RESULT_PLAIN;
    }
    return 0;
}

/* How many clusters from the job's cluster FIRST on have RESULT too. */
static uint64_t run_of(const struct job *job, uint64_t first, int64_t result)
{
    uint64_t end = first;

    while (end < job->count && job->results[end] == result)
        end++;
    return end - first;
}

static int add_compressed(struct conversion *conversion, const struct job *job, uint64_t i,
                          struct chr_error *err)
{
    bool fits;

    if (layout_add_compressed(conversion->layout, job->number + i,
                              job->packed + i * conversion->cluster_size,
                              (size_t)job->results[i], &fits, err) < 0)
        return -1;
    return fits ? 0
                : layout_add_data(conversion->layout, job->number + i, 1,
                                  cluster_data(conversion, job, i), err);
}

/* Store the clusters of a job that is next in order. */
static int store(struct conversion *conversion, const struct job *job, struct chr_error *err)
{
    uint64_t step;

    for (uint64_t i = 0; i < job->count; i += step) {
        int result = 0;

        step = run_of(job, i, job->results[i]);
        if (job->results[i] == RESULT_PLAIN) {
            result = layout_add_data(conversion->layout, job->number + i, step,
                                     cluster_data(conversion, job, i), err);
        } else if (job->results[i] != RESULT_ZERO) {
            result = add_compressed(conversion, job, i, err);
            step = 1;
        } else if (conversion->options->preallocate) {
            result = layout_add_data(conversion->layout, job->number + i, step, NULL, err);
        }
        if (result < 0)
            return -1;
    }
    return 0;
}

/* What a thread does with a job. */
struct worker {
    const struct conversion *conversion;
    struct codec *codec;
};

static int work(void *worker_, void *job, struct chr_error *err)
{
    const struct worker *worker = worker_;

    return classify(worker->conversion, worker->codec, job, err);
}

/* ---- the stream ---- */

/*
 * Clusters from the position on that are known to be zeros (*SKIPPED), or else those
 * that are to be read (*COUNT); both are 0 at the end of the disk.
 */
static int next_stretch(struct conversion *conversion, uint64_t *skipped, uint64_t *count,
                        struct chr_error *err)
{
    uint64_t start = conversion->position * conversion->cluster_size;
    uint64_t rest = conversion->clusters - conversion->position;
    struct blk_extent extent = {.kind = BLK_ZERO, .length = conversion->size - start};

    *skipped = 0;
    *count = conversion->data_end - conversion->position;
    if (rest == 0 || *count != 0)
        return 0;
    if (conversion->source != NULL &&
        blk_extent(conversion->source, start, conversion->size - start, &extent, err) < 0)
        return -1;
    if (extent.kind == BLK_ZERO && start + extent.length == conversion->size)
        *skipped = rest;
    else if (extent.kind == BLK_ZERO)
        *skipped = extent.length / conversion->cluster_size;
    if (*skipped != 0)
        return 0;
    /* Of a hole that ends within its cluster, the cluster is read. */
    *count = extent.kind == BLK_ZERO
                 ? 1
                 : round_up(extent.length, conversion->cluster_size) / conversion->cluster_size;
    return 0;
}

static int fill(struct conversion *conversion, struct job *job, uint64_t count,
                struct chr_error *err)
{
    uint64_t start = conversion->position * conversion->cluster_size;
    uint64_t bytes;
    uint64_t there;

    job->number = conversion->position;
    job->count = min_u64(count, conversion->job_clusters);
    bytes = job->count * conversion->cluster_size;
    there = min_u64(bytes, conversion->size - start);
    memset(job->data + there, 0, bytes - there);
    conversion->position += job->count;
    return blk_read(conversion->source, start, job->data, there, err);
}

/* All before guest cluster NUMBER is done. */
static void report(const struct conversion *conversion, uint64_t number)
{
    const struct qcow2_create_options *options = conversion->options;

    if (options->progress != NULL)
        options->progress(options->progress_context,
                          min_u64(number * conversion->cluster_size, conversion->size),
                          conversion->size);
}

static int finish_job(struct conversion *conversion, const struct job *job, struct chr_error *err)
{
    if (store(conversion, job, err) < 0)
        return -1;
    report(conversion, job->number + job->count);
    return 0;
}

/* Finish the oldest job under way; *MORE is false when there was none. */
static int collect(struct conversion *conversion, bool *more, struct chr_error *err)
{
    void *job;

    if (pipeline_collect(conversion->pipeline, &job, err) < 0)
        return -1;
    *more = job != NULL;
    return job != NULL ? finish_job(conversion, job, err) : 0;
}

static int drain(struct conversion *conversion, struct chr_error *err)
{
    bool more = conversion->pipeline != NULL;

    while (more)
        if (collect(conversion, &more, err) < 0)
            return -1;
    return 0;
}

/* Clusters that hold zeros and get a place all the same. */
static int preallocate(struct conversion *conversion, uint64_t count, struct chr_error *err)
{
    if (drain(conversion, err) < 0)
        return -1;
    return layout_add_data(conversion->layout, conversion->position, count, NULL, err);
}

static int run_job_alone(struct conversion *conversion, uint64_t count, struct chr_error *err)
{
    struct job *job = &conversion->jobs[0];

    if (fill(conversion, job, count, err) < 0 ||
        classify(conversion, conversion->codecs[0], job, err) < 0)
        return -1;
    return finish_job(conversion, job, err);
}

static int run_job(struct conversion *conversion, uint64_t count, struct chr_error *err)
{
    struct job *job;
    bool more;

    if (conversion->pipeline == NULL)
        return run_job_alone(conversion, count, err);
    while ((job = pipeline_next(conversion->pipeline)) == NULL)
        if (collect(conversion, &more, err) < 0)
            return -1;
    if (fill(conversion, job, count, err) < 0)
        return -1;
    pipeline_submit(conversion->pipeline);
    return 0;
}

static int run(struct conversion *conversion, struct chr_error *err)
{
    for (;;) {
        uint64_t skipped;
        uint64_t count;

        if (next_stretch(conversion, &skipped, &count, err) < 0)
            return -1;
        if (skipped == 0 && count == 0)
            break;
        if (skipped != 0 && conversion->options->preallocate &&
            preallocate(conversion, skipped, err) < 0)
            return -1;
        conversion->position += skipped;
        conversion->data_end = conversion->position + count;
        if (count != 0 && run_job(conversion, count, err) < 0)
            return -1;
    }
    if (drain(conversion, err) < 0)
        return -1;
    report(conversion, conversion->clusters);
    return layout_finish(conversion->layout, err);
}

/* ---- setting up ---- */

static int new_jobs(struct conversion *conversion, struct chr_error *err)
{
    bool compress = conversion->options->compress;
    uint64_t job_bytes = max_u64(compress ? COMPRESS_JOB : PLAIN_JOB, conversion->cluster_size);
    uint64_t fit = JOBS_BYTES / (2 * job_bytes);

    conversion->job_clusters = job_bytes / conversion->cluster_size;
    conversion->jobs_count =
        compress ? (unsigned)max_u64(MIN_JOBS, min_u64(fit, 4 * conversion->threads)) : 1;
    for (unsigned i = 0; i < conversion->jobs_count; i++) {
        struct job *job = &conversion->jobs[i];

        job->data = mem_new(job_bytes, 1, err);
        job->packed = compress ? mem_new(job_bytes, 1, err) : NULL;
        job->results = mem_new(conversion->job_clusters, sizeof *job->results, err);
        if (job->data == NULL || job->results == NULL || (compress && job->packed == NULL))
            return -1;
    }
    return 0;
}

static int run_with_threads(struct conversion *conversion, struct chr_error *err)
{
    struct worker workers[MAX_THREADS];
    void *worker_list[MAX_THREADS];
    void *job_list[MAX_JOBS];
    int result;

    for (unsigned i = 0; i < conversion->threads; i++) {
        workers[i] = (struct worker){conversion, conversion->codecs[i]};
        worker_list[i] = &workers[i];
    }
    for (unsigned i = 0; i < conversion->jobs_count; i++)
        job_list[i] = &conversion->jobs[i];
    if (pipeline_new(conversion->threads, worker_list, conversion->jobs_count, job_list, work,
                     &conversion->pipeline, err) < 0)
        return -1;
    result = run(conversion, err);
    pipeline_free(conversion->pipeline); /* before what its threads work on */
    return result;
}

static int convert(struct conversion *conversion, struct chr_error *err)
{
    bool compress = conversion->options->compress;

    if (plan_header(conversion->options, conversion->size, &conversion->header, err) < 0 ||
        plan_backing(conversion->options, &conversion->header, err) < 0)
        return -1;
    conversion->cluster_size = UINT32_C(1) << conversion->header.cluster_bits;
    conversion->clusters =
        round_up(conversion->header.size, conversion->cluster_size) / conversion->cluster_size;
    conversion->threads = plan_threads(conversion->options);
    for (unsigned i = 0; compress && i < conversion->threads; i++)
        if (codec_new(conversion->header.compression, &conversion->codecs[i], err) < 0)
            return -1;
    if (new_jobs(conversion, err) < 0 ||
        layout_new(&conversion->file, &conversion->header, &conversion->layout, err) < 0)
        return -1;
    if (!compress || conversion->threads == 1 || conversion->source == NULL)
        return run(conversion, err);
    return run_with_threads(conversion, err);
}

static int convert_or_clean(struct blk *source, uint64_t size, struct blk *file,
                            const struct qcow2_create_options *options, struct chr_error *err)
{
    struct conversion *conversion = mem_new(1, sizeof *conversion, err);
    int result;

    if (conversion == NULL)
        return -1;
    *conversion = (struct conversion){
        .source = source,
        .size = size,
        .options = options,
        .file = {.blk = file,
                 .resize = options->resize != NULL ? options->resize : raw_resize},
    };
    result = convert(conversion, err);
    layout_free(conversion->layout);
    for (unsigned i = 0; i < conversion->threads; i++)
        codec_free(conversion->codecs[i]);
    for (unsigned i = 0; i < conversion->jobs_count; i++) {
        free(conversion->jobs[i].data);
        free(conversion->jobs[i].packed);
        free(conversion->jobs[i].results);
    }
    free(conversion);
    return result;
}

int qcow2_convert(struct blk *source, struct blk *file,
                  const struct qcow2_create_options *options, struct chr_error *err)
{
    if (options->backing_file != NULL)
        return err_set(err, CHR_E_USAGE, "a conversion leaves zeros out: no backing file may show");
    return convert_or_clean(source, source->size, file, options, err);
}

int qcow2_create(struct blk *file, uint64_t size, const struct qcow2_create_options *options,
                 struct chr_error *err)
{
    return convert_or_clean(NULL, size, file, options, err);
}
