/*
 * Images that lie: each one, by its name, is refused or reported with its own
 * message, costs little memory, and is never opened for writing.
 */
#include <sys/resource.h>

#include "qcow2_test.h"

enum {
    CLUSTER = 4096,
    DISK = 8 << 20, /* four L2 tables */
    DATA_AT = 0,
    PACKED_CLUSTER = 100, /* guest cluster that the image has compressed */
};

/* Where a patch goes; the places are taken from the sound image. */
enum place {
    HEADER,
    L1,
    L2,
    REFTABLE,
    REFBLOCK,
    SNAPSHOTS,
    SNAPSHOT_L1,
    PACKED, /* the compressed data */
    SHARED, /* data that the disk and the snapshot have in common */
    PLACES,
};

struct patch {
    enum place place;
    unsigned offset; /* from there */
    unsigned width;  /* bytes, big-endian; 0 = no patch */
    uint64_t value;
    enum place points_at; /* the value is the offset of this, and flags; HEADER = it is not */
};

enum refused_at {
    AT_OPEN,
    AT_READ,
    AT_SNAPSHOT, /* reading the snapshot */
    AT_CHECK,    /* reads, but the check finds it */
};

struct hostile {
    const char *name;
    enum refused_at at;
    const char *says;
    struct patch patches[3];
};

#define COPIED (UINT64_C(1) << 63)
#define SQUEEZED (UINT64_C(1) << 62)
#define FAR (UINT64_C(1) << 40)

#define PUT(place, offset, width, value) {place, offset, width, value, HEADER}
#define POINT(place, offset, width, flags, to) {place, offset, width, flags, to}

static const struct hostile cases[] = {
    /* the header's fields */
    {"magic", AT_OPEN, "magic number is missing", {PUT(HEADER, 0, 4, 0x514649fc)}},
    {"version 1", AT_OPEN, "version 1 is not supported", {PUT(HEADER, 4, 4, 1)}},
    {"version 4", AT_OPEN, "version 4 is not supported", {PUT(HEADER, 4, 4, 4)}},
    {"cluster bits 8", AT_OPEN, "cluster bits are 8", {PUT(HEADER, 20, 4, 8)}},
    {"cluster bits 22", AT_OPEN, "cluster bits are 22", {PUT(HEADER, 20, 4, 22)}},
    {"cluster bits 63", AT_OPEN, "cluster bits are 63", {PUT(HEADER, 20, 4, 63)}},
    {"cluster bits all ones", AT_OPEN, "cluster bits are 4294967295",
     {PUT(HEADER, 20, 4, UINT32_MAX)}},
    {"size past 2^63", AT_OPEN, "is not a possible one", {PUT(HEADER, 24, 8, UINT64_MAX)}},
    {"size of 8 EiB", AT_OPEN, "needs an L1 table of more than", {PUT(HEADER, 24, 8, INT64_MAX)}},
    {"size beyond the L1 table", AT_OPEN, "too few for a disk", {PUT(HEADER, 24, 8, 1 << 30)}},
    {"AES", AT_OPEN, "encrypted (AES)", {PUT(HEADER, 32, 4, 1)}},
    {"LUKS", AT_OPEN, "encrypted (LUKS)", {PUT(HEADER, 32, 4, 2)}},
    {"unknown encryption", AT_OPEN, "encrypted (unknown method)", {PUT(HEADER, 32, 4, 7)}},
    {"L1 of 32 GiB", AT_OPEN, "the L1 table has 34359738360 bytes",
     {PUT(HEADER, 36, 4, UINT32_MAX)}},
    {"L1 longer than the file", AT_OPEN, "the L1 table (8000000 bytes",
     {PUT(HEADER, 36, 4, 1000000)}},
    {"L1 off a cluster", AT_OPEN, "the L1 table is at offset 4100, not on a cluster",
     {PUT(HEADER, 40, 8, 4100)}},
    {"L1 past the end", AT_OPEN, "the L1 table (32 bytes at offset 1099511627776)",
     {PUT(HEADER, 40, 8, FAR)}},
    {"L1 at the top of the range", AT_OPEN, "the L1 table (32 bytes at offset 18446744073709547520",
     {PUT(HEADER, 40, 8, UINT64_MAX - 4095)}},
    {"L1 in the header", AT_OPEN, "the L1 table (32 bytes at offset 0)", {PUT(HEADER, 40, 8, 0)}},
    {"refcount table off a cluster", AT_OPEN, "the refcount table is at offset 513",
     {PUT(HEADER, 48, 8, 513)}},
    {"refcount table past the end", AT_OPEN, 
     "the refcount table (4096 bytes at offset 1099511627776",
     {PUT(HEADER, 48, 8, FAR)}},
    {"no refcount table", AT_OPEN, "has no refcount table", {PUT(HEADER, 56, 4, 0)}},
    {"refcount table of 16 TiB", AT_OPEN, "the refcount table has 17592186040320 bytes",
     {PUT(HEADER, 56, 4, UINT32_MAX)}},
    {"4294967295 snapshots", AT_OPEN, "4294967295 snapshots, more than 65536",
     {PUT(HEADER, 60, 4, UINT32_MAX)}},
    {"snapshots past the end", AT_OPEN, "the snapshot table (40 bytes at offset 1099511627776",
     {PUT(HEADER, 64, 8, FAR)}},
    {"snapshots off a cluster", AT_OPEN, "the snapshot table is at offset 12345",
     {PUT(HEADER, 64, 8, 12345)}},
    {"more snapshots than fit", AT_OPEN, "snapshot", {PUT(HEADER, 60, 4, 60000)}},
    {"external data file", AT_OPEN, "external data file", {PUT(HEADER, 72, 8, 4)}},
    {"extended L2", AT_OPEN, "extended L2 entries", {PUT(HEADER, 72, 8, 16)}},
    {"unknown feature", AT_OPEN, "incompatible feature bit 40 (unknown)",
     {PUT(HEADER, 72, 8, FAR)}},
    {"unknown feature with a name", AT_OPEN, "incompatible feature bit 9 (evil)",
     {PUT(HEADER, 72, 8, 512), PUT(HEADER, 112, 8, 0x6803f85700000030),
      PUT(HEADER, 120, 8, 0x00096576696c0000)}},
    {"zstd without its bit", AT_OPEN,
     "compression type 1 contradicts feature bit 3, which is clear",
     {PUT(HEADER, 104, 1, 1)}},
    {"zlib with the other's bit", AT_OPEN,
     "compression type 0 contradicts feature bit 3, which is set",
     {PUT(HEADER, 72, 8, 8)}},
    {"unknown compression", AT_OPEN, "compression type 9 is not supported",
     {PUT(HEADER, 72, 8, 8), PUT(HEADER, 104, 1, 9)}},
    {"refcount order 7", AT_OPEN, "refcount order is 7", {PUT(HEADER, 96, 4, 7)}},
    {"refcount order all ones", AT_OPEN, "refcount order is 4294967295",
     {PUT(HEADER, 96, 4, UINT32_MAX)}},
    {"header of 96 bytes", AT_OPEN, "it is 96 bytes long", {PUT(HEADER, 100, 4, 96)}},
    {"header of 107 bytes", AT_OPEN, "it is 107 bytes long", {PUT(HEADER, 100, 4, 107)}},
    {"header longer than a cluster", AT_OPEN, "it is 8192 bytes long", {PUT(HEADER, 100, 4, 8192)}},
    {"extension past its cluster", AT_OPEN, "header extension 0x12345678 of 4294967295 bytes",
     {PUT(HEADER, 112, 8, 0x12345678ffffffff)}},
    {"backing format of 100 bytes", AT_OPEN, "the backing format's name has 100 bytes",
     {PUT(HEADER, 112, 8, 0xe2792aca00000064)}},
    {"bitmaps extension of 8 bytes", AT_OPEN, "the bitmaps extension has 8 bytes",
     {PUT(HEADER, 112, 8, 0x2385287500000008)}},
    {"70000 bitmaps", AT_OPEN, "70000 bitmaps, more than 65535",
     {PUT(HEADER, 112, 8, 0x2385287500000018), PUT(HEADER, 120, 4, 70000)}},
    {"backing name of 0 bytes", AT_OPEN, "the backing file's name has 0 bytes",
     {PUT(HEADER, 8, 8, 200)}},
    {"backing name of 1024 bytes", AT_OPEN, "the backing file's name has 1024 bytes",
     {PUT(HEADER, 8, 8, 200), PUT(HEADER, 16, 4, 1024)}},
    {"backing name outside its cluster", AT_OPEN, "name at offset 4090 is not within",
     {PUT(HEADER, 8, 8, 4090), PUT(HEADER, 16, 4, 10)}},
    {"backing name far away", AT_OPEN, "name at offset 18446744073709551610 is not within",
     {PUT(HEADER, 8, 8, UINT64_MAX - 5), PUT(HEADER, 16, 4, 10)}},
    {"backing name with a zero byte", AT_OPEN, "name has a zero byte inside",
     {PUT(HEADER, 8, 8, 200), PUT(HEADER, 16, 4, 10)}},
    {"backing file of no format", AT_OPEN, "does not say what format its backing file aaaaaaaa has",
     {PUT(HEADER, 8, 8, 200), PUT(HEADER, 16, 4, 8), PUT(HEADER, 200, 8, 0x6161616161616161)}},

    /* the snapshot table */
    {"snapshot L1 off a cluster", AT_OPEN, "snapshot 1 of the table: its L1 table at offset 77",
     {PUT(SNAPSHOTS, 0, 8, 77)}},
    {"snapshot L1 past the end", AT_OPEN, "snapshot 1 of the table: its L1 table at offset 1099511",
     {PUT(SNAPSHOTS, 0, 8, FAR)}},
    {"snapshot L1 of 32 GiB", AT_OPEN, "its L1 table has 34359738360 bytes",
     {PUT(SNAPSHOTS, 8, 4, UINT32_MAX)}},
    {"snapshot extra data of 4 GiB", AT_OPEN, "its extra data has 4294967295 bytes",
     {PUT(SNAPSHOTS, 36, 4, UINT32_MAX)}},
    {"snapshot ID with a zero byte", AT_OPEN, "ID or name has a zero byte inside",
     {PUT(SNAPSHOTS, 56, 1, 0)}},
    {"snapshot of 16 EiB", AT_OPEN, "its disk size 18446744073709551615 is not a possible one",
     {PUT(SNAPSHOTS, 48, 8, UINT64_MAX)}},

    /* the map */
    {"L1 reserved bits", AT_READ, "L1 entry 0: the entry has reserved bits set",
     {PUT(L1, 0, 8, COPIED | SQUEEZED | 8192)}},
    {"L2 table off a cluster", AT_READ, "L1 entry 0: the entry refers to an L2 table that is not",
     {PUT(L1, 0, 8, COPIED | 0x1200)}},
    {"L2 table past the end", AT_READ, "refers to an L2 table past the end",
     {PUT(L1, 0, 8, COPIED | FAR)}},
    {"L1 copied of nothing", AT_READ, "says it is copied but has no L2 table",
     {PUT(L1, 0, 8, COPIED)}},
    {"L2 table is the refcount table", AT_CHECK, "also the refcount table",
     {POINT(L1, 8, 8, COPIED, REFTABLE)}},
    {"L2 table is data", AT_CHECK, "also a data cluster", {POINT(L1, 8, 8, COPIED, SHARED)}},
    {"one L2 table twice", AT_CHECK, "refcount 2, used 3 times", {POINT(L1, 8, 8, COPIED, L2)}},
    {"data reserved bits", AT_READ, "guest cluster 0: the entry has reserved bits set",
     {PUT(L2, 0, 8, COPIED | 2 | 8192)}},
    {"data reserved high bits", AT_READ, "guest cluster 0: the entry has reserved bits set",
     {PUT(L2, 0, 8, COPIED | UINT64_C(1) << 60 | 8192)}},
    {"data off a cluster", AT_READ, "guest cluster 0: the entry refers to an offset that is not",
     {PUT(L2, 0, 8, COPIED | 0x1200)}},
    {"data past the end", AT_READ, "guest cluster 0: the entry refers to data past the end",
     {PUT(L2, 0, 8, COPIED | FAR)}},
    {"data copied of nothing", AT_READ, "says it is copied but has no place",
     {PUT(L2, 0, 8, COPIED)}},
    {"compressed and copied", AT_READ, "is compressed and says it is copied",
     {PUT(L2, 0, 8, COPIED | SQUEEZED | 8192)}},
    {"compressed in the header", AT_READ, "puts compressed data into the header",
     {PUT(L2, 0, 8, SQUEEZED | 100)}},
    {"compressed past the end", AT_READ, "refers to compressed data past the end",
     {PUT(L2, 0, 8, SQUEEZED | FAR)}},
    {"compressed past 2^56", AT_READ, "the entry has reserved bits set",
     {PUT(L2, 0, 8, SQUEEZED | UINT64_C(1) << 57)}},
    {"broken zlib data", AT_READ, "the zlib data of the compressed cluster is broken",
     {PUT(PACKED, 0, 8, UINT64_MAX)}},
    {"zlib data cut short", AT_READ, "the zlib data of the compressed cluster is broken",
     {PUT(PACKED, 0, 8, 0x0300000000000000)}},
    {"snapshot's L2 table past the end", AT_SNAPSHOT, "refers to an L2 table past the end",
     {PUT(SNAPSHOT_L1, 0, 8, FAR)}},

    /* what only a check sees */
    {"data is the L1 table", AT_CHECK, "also an L1 table", {POINT(L2, 0, 8, COPIED, L1)}},
    {"data is the snapshot table", AT_CHECK, "also a data cluster",
     {POINT(L2, 0, 8, COPIED, SNAPSHOTS)}},
    {"data is compressed data", AT_CHECK, "also compressed data",
     {POINT(L2, 108 * 8, 8, 0, PACKED)}},
    {"refcount too low", AT_CHECK, "refcount 0, used 1 times", {PUT(REFBLOCK, 0, 2, 0)}},
    {"refcount block off a cluster", AT_CHECK, "the refcount table has 1 entries outside",
     {PUT(REFTABLE, 0, 8, 513)}},
    {"refcount block past the end", AT_CHECK, "the refcount table has 1 entries outside",
     {PUT(REFTABLE, 0, 8, FAR)}},
    {"refcount block is an L2 table", AT_CHECK, "also a refcount block",
     {POINT(REFTABLE, 8, 8, 0, L2)}},
    {"refcount block twice", AT_CHECK, "also a refcount block",
     {POINT(REFTABLE, 8, 8, 0, REFBLOCK)}},
    {"snapshot has the disk's L1 table", AT_CHECK, "also an L1 table",
     {POINT(SNAPSHOTS, 0, 8, 0, L1)}},
    {"copied flag on shared data", AT_CHECK, "copied flag is set, but the refcount is 2",
     {POINT(L2, 8, 8, COPIED, SHARED)}},
};

/* ---- the sound image ---- */

static struct rig_state sound;
static struct rig_state rig;
static uint64_t places[PLACES];

/* A source whose first megabyte is data, some of it compressible. */
static void write_source(void)
{
    static uint8_t data[1 << 20];
    struct dice dice = {3};
    FILE *file = fopen("source.raw", "w");

    fill_random(&dice, data, sizeof data, true);
    fill_random(&dice, data + PACKED_CLUSTER * CLUSTER, CLUSTER, false);
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, sizeof data, file), sizeof data);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate("source.raw", DISK), 0);
}

static int make_sound_image(void **state)
{
    struct qcow2_create_options options = {
        .cluster_size = CLUSTER, .compress = true, .resize = rig_resize};
    struct blk *source;
    struct blk *file;
    struct blk *image;
    const uint8_t *bytes;

    if (make_folder(state) < 0)
        return -1;
    rig_new(&sound);
    rig_new(&rig);
    write_source();
    file = rig_open(&sound);
    assert_ok(raw_open("source.raw", RAW_READ, &source, &test_error));
    assert_ok(qcow2_convert(source, file, &options, &test_error));
    assert_ok(blk_close(source, &test_error));
    assert_ok(blk_close(file, &test_error));
    image = rig_open_image(&sound, true, NULL);
    assert_non_null(image);
    assert_ok(qcow2_snapshot_create(image, "s", 1, 0, &test_error));
    assert_ok(blk_write(image, DATA_AT, "own", 3, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(blk_close(image, &test_error));

    bytes = sound.bytes;
    places[L1] = be64(bytes + 40);
    places[L2] = be64(bytes + places[L1]) & UINT64_C(0x00fffffffffffe00);
    places[REFTABLE] = be64(bytes + 48);
    places[REFBLOCK] = be64(bytes + places[REFTABLE]);
    places[SNAPSHOTS] = be64(bytes + 64);
    places[SNAPSHOT_L1] = be64(bytes + places[SNAPSHOTS]);
    places[PACKED] = be64(bytes + places[L2] + PACKED_CLUSTER * 8) & 0xffffff;
    places[SHARED] = be64(bytes + places[L2] + 8) & UINT64_C(0x00fffffffffffe00);
    return 0;
}

static int drop_images(void **state)
{
    rig_release(&sound);
    rig_release(&rig);
    return remove_folder(state);
}

static void put(uint8_t *p, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++)
        p[i] = (uint8_t)(value >> 8 * (width - 1 - i));
}

static void make_hostile(const struct hostile *hostile)
{
    rig_copy(&rig, &sound);
    for (size_t i = 0; i < 3; i++) {
        const struct patch *patch = &hostile->patches[i];

        put(rig.bytes + places[patch->place] + patch->offset, patch->width,
            patch->value | places[patch->points_at]);
    }
}

/* ---- the judgement ---- */

/* Read the whole device; 0, or -1 with test_error. */
static int read_through(struct blk *image)
{
    static uint8_t buf[1 << 16];

    for (uint64_t at = 0; at < image->size; at += sizeof buf)
        if (blk_read(image, at, buf, (size_t)min_u64(sizeof buf, image->size - at),
                     &test_error) < 0)
            return -1;
    return 0;
}

static int refused(enum refused_at at)
{
    struct blk *image = rig_open_image(&rig, false, at == AT_SNAPSHOT ? "s" : NULL);
    struct qcow2_check_report report = {0};
    int result = image != NULL ? 0 : -1;

    if (at == AT_OPEN || image == NULL) {
        blk_cleanup(&image);
        return at == AT_OPEN && result < 0 ? 0 : -1;
    }
    if (at == AT_CHECK) {
        assert_ok(qcow2_check(image, &report, &test_error));
        result = report.corruptions != 0 ? -1 : 0;
        (void)err_set(&test_error, CHR_E_DAMAGED, "%s", "");
        for (size_t i = 0; i < report.findings_count && i < 6; i++)
            (void)err_context(&test_error, "%s", report.findings[i]);
    } else {
        result = read_through(image);
    }
    blk_cleanup(&image);
    return result < 0 ? 0 : -1;
}

static void hostile_images_are_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct hostile *hostile = &cases[i];
        struct blk *image;

        make_hostile(hostile);
        if (refused(hostile->at) < 0)
            fail_msg("%s: not refused where expected", hostile->name);
        if (strstr(test_error.message, hostile->says) == NULL)
            fail_msg("%s: \"%s\"", hostile->name, test_error.message);
        image = rig_open_image(&rig, true, NULL);
        /* Broken compressed data is the one thing that tables do not show. */
        if (image != NULL && hostile->patches[0].place != PACKED)
            fail_msg("%s: opened for writing", hostile->name);
        blk_cleanup(&image);
        assert_memory_equal(rig.bytes + DISK, sound.bytes + DISK, 4096);
    }
    print_message("# %zu hostile images\n", sizeof cases / sizeof *cases);
}

static void short_files_are_refused(void **state)
{
    (void)state;
    for (uint64_t size = 0; size < 300; size++) {
        struct blk *image;

        rig_copy(&rig, &sound);
        rig.size = size;
        image = rig_open_image(&rig, false, NULL);
        if (image != NULL)
            fail_msg("a file of %llu bytes was opened", (unsigned long long)size);
    }
}

/* Any single bit flipped in the header or a table: no crash, and no hang. */
static void flipped_bits_do_no_harm(void **state)
{
    static const struct {
        enum place place;
        unsigned bytes;
    } areas[] = {{HEADER, 128}, {L1, 32}, {L2, 64}, {REFTABLE, 16}, {REFBLOCK, 64},
                 {SNAPSHOTS, 64}, {SNAPSHOT_L1, 16}, {PACKED, 64}};

    (void)state;
    for (size_t area = 0; area < sizeof areas / sizeof *areas; area++) {
        for (unsigned bit = 0; bit < areas[area].bytes * 8; bit++) {
            struct blk *image;

            rig_copy(&rig, &sound);
            rig.bytes[places[areas[area].place] + bit / 8] ^= (uint8_t)(1u << bit % 8);
            image = rig_open_image(&rig, false, NULL);
            if (image != NULL)
                (void)read_through(image);
            blk_cleanup(&image);
            image = rig_open_image(&rig, true, NULL);
            if (image != NULL) {
                (void)blk_write(image, 5000, "data", 4, &test_error);
                (void)qcow2_snapshot_create(image, "t", 0, 0, &test_error);
            }
            blk_cleanup(&image);
        }
    }
}

static void small_files_cost_little_memory(void **state)
{
    struct rusage usage;

    (void)state;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    /* The rigs are 64 MiB; the sanitizers' shadow is not counted, as they are not used then. */
    print_message("# %ld KiB at most\n", usage.ru_maxrss);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(usage.ru_maxrss < 160 * 1024);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_images_are_refused_by_name),
        cmocka_unit_test(short_files_are_refused),
        cmocka_unit_test(small_files_cost_little_memory),
        cmocka_unit_test(flipped_bits_do_no_harm),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("qcow2 hostile images", tests, make_sound_image,
                                       drop_images);
}
