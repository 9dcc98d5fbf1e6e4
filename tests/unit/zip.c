/* An image in a zip: read in any order, and found out when it is damaged. */
#include "block/zip.h"

#include "base/bytes.h"
#include "unit.h"

#define IMAGE "chr.img"
#define ARCHIVE "chr.img.zip"

static void run(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s failed", command);
}

/* What disks are like: zeros, text that compresses, noise that does not. */
static uint8_t *make_image(struct dice *dice, size_t size)
{
    uint8_t *bytes = calloc(1, size);

    assert_non_null(bytes);
    for (size_t at = 0; at < size;) {
        size_t len = (size_t)min_u64(size - at, 1 + roll_below(dice, 200000));
        uint64_t kind = roll_below(dice, 3);

        for (size_t i = 0; kind == 1 && i < len; i++)
            bytes[at + i] = (uint8_t)((size_t)"RouterOS Boot"[i % 13] + i / 5000);
        if (kind == 2)
            roll_bytes(dice, bytes + at, len);
        at += len;
    }
    return bytes;
}

static struct blk *open_archive(void)
{
    struct blk *blk;
    struct chr_error err;

    assert_done(zip_blk_open(ARCHIVE, &blk, &err), &err);
    return blk;
}

static void check_read(struct blk *blk, const uint8_t *image, uint64_t off, size_t len)
{
    uint8_t *buf = malloc(len);
    struct chr_error err;

    assert_non_null(buf);
    assert_done(blk_read(blk, off, buf, len, &err), &err);
    if (memcmp(buf, image + off, len) != 0)
        fail_msg("%zu bytes at %zu are not those of the image", len, (size_t)off);
    free(buf);
}

static void check_random_reads(struct blk *blk, const uint8_t *image, struct dice *dice)
{
    for (int i = 0; i < 150; i++) {
        uint64_t off = roll_below(dice, blk->size);

        check_read(blk, image, off,
                   (size_t)(1 + roll_below(dice, min_u64(i % 10 == 0 ? 300000 : 5000,
                                                         blk->size - off))));
    }
}

static void test_reads_in_any_order(void **state)
{
    static const char *const commands[] = {"zip -q " ARCHIVE " " IMAGE,
                                           "zip -q -0 " ARCHIVE " " IMAGE};
    static const size_t sizes[] = {5 << 20, (3 << 20) + 512, 65536, 512, 1};
    struct dice dice = {99};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int k = 0; k < 2; k++) {
            uint8_t *image = make_image(&dice, sizes[i]);
            struct blk *blk;

            write_file(IMAGE, image, sizes[i]);
            (void)unlink(ARCHIVE);
            run(commands[k]);
            blk = open_archive();
            assert_int_equal(blk->size, sizes[i]);
            assert_false(blk->writable);
            check_random_reads(blk, image, &dice);
            check_read(blk, image, 0, sizes[i]);
            check_random_reads(blk, image, &dice);
            blk_cleanup(&blk);
            free(image);
        }
}

/*
 * A long match at the very end: the decompressor has all of the input before
 * the last bytes have come out.
 */
static void test_the_last_bytes_of_a_long_match(void **state)
{
    static const size_t tails[] = {1, 50, 200, 500};

    (void)state;
    for (size_t extra = 0; extra < 1000; extra += 37) {
        size_t size = 2 * 65536 + 20000 + extra;
        uint8_t *image = calloc(1, size);
        struct blk *blk;

        assert_non_null(image);
        memcpy(image, "begin", 5);
        memcpy(image + 2 * 65536, "last piece", 10);
        write_file(IMAGE, image, size);
        (void)unlink(ARCHIVE);
        run("zip -q " ARCHIVE " " IMAGE);
        blk = open_archive();
        check_read(blk, image, 0, size);
        for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++)
            check_read(blk, image, size - tails[i], tails[i]);
        blk_cleanup(&blk);
        free(image);
    }
}

/* The same where the image's last piece is but a part of such a match. */
static void test_a_last_piece_within_a_match(void **state)
{
    (void)state;
    for (size_t extra = 1; extra < 600; extra += 23) {
        size_t size = 65536 + extra;
        uint8_t *image = calloc(1, size);
        struct blk *blk;

        assert_non_null(image);
        memcpy(image, "begin", 5);
        write_file(IMAGE, image, size);
        (void)unlink(ARCHIVE);
        run("zip -q " ARCHIVE " " IMAGE);
        blk = open_archive();
        check_read(blk, image, 0, size);
        blk_cleanup(&blk);
        free(image);
    }
}

/* What extents call zero is zero, before anything was read and after. */
static void test_extents_do_not_lie(void **state)
{
    struct dice dice = {4};
    size_t size = 2 << 20;
    uint8_t *image = make_image(&dice, size);
    struct blk *blk;

    (void)state;
    memset(image + 65536, 0, 3 * 65536);
    write_file(IMAGE, image, size);
    (void)unlink(ARCHIVE);
    run("zip -q " ARCHIVE " " IMAGE);
    blk = open_archive();
    for (int pass = 0; pass < 2; pass++) {
        uint64_t zeros = 0;

        for (uint64_t at = 0; at < size;) {
            struct blk_extent extent;
            struct chr_error err;

            assert_done(blk_extent(blk, at, size - at, &extent, &err), &err);
            assert_true(extent.length > 0 && extent.length <= size - at);
            if (extent.kind == BLK_ZERO) {
                assert_true(is_zero(image + at, extent.length));
                zeros += extent.length;
            }
            at += extent.length;
        }
        assert_true(pass == 0 || zeros >= 3 * 65536);
        check_read(blk, image, 0, size);
    }
    blk_cleanup(&blk);
    free(image);
}

/* ---- damage ---- */

/* The first place of the 4 bytes MARK in the archive; fails the test when there is none. */
static size_t find(const uint8_t *bytes, size_t len, const char *mark)
{
    const uint8_t *at = memmem(bytes, len, mark, 4);

    if (at == NULL)
        fail_msg("the archive has no such record");
    return (size_t)(at - bytes);
}

/* Change the CRC-32 in the central directory, which is what readers go by, and in the local
 * header. */
static void spoil_crc(void)
{
    size_t len;
    uint8_t *bytes = read_file(ARCHIVE, &len);

    bytes[find(bytes, len, "PK\1\2") + 16] ^= 1;
    bytes[find(bytes, len, "PK\3\4") + 14] ^= 1;
    write_file(ARCHIVE, bytes, len);
    free(bytes);
}

/* An archive whose CRC is not that of its member. */
static uint8_t *make_bad_archive(const char *command, size_t size)
{
    struct dice dice = {31};
    uint8_t *image = make_image(&dice, size);

    write_file(IMAGE, image, size);
    (void)unlink(ARCHIVE);
    run(command);
    spoil_crc();
    return image;
}

/* Known only when the end has been read. */
static void test_a_wrong_crc_is_found_when_deflated(void **state)
{
    size_t size = 300000;
    uint8_t *image = make_bad_archive("zip -q " ARCHIVE " " IMAGE, size);
    struct blk *blk = open_archive();
    struct chr_error err;

    (void)state;
    check_read(blk, image, 0, 65536);
    assert_refused(blk_read(blk, 0, image, size, &err), &err, CHR_E_DAMAGED, "CRC is");
    blk_cleanup(&blk);
    free(image);
}

/* Read in any order, so it is counted when opening. */
static void test_a_wrong_crc_is_found_when_stored(void **state)
{
    uint8_t *image = make_bad_archive("zip -q -0 " ARCHIVE " " IMAGE, 300000);
    struct blk *blk;
    struct chr_error err;

    (void)state;
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_DAMAGED, "CRC is");
    free(image);
}

/* Any byte of the compressed data: an error or the CRC, but never other bytes in silence. */
static void test_damaged_data_is_never_taken(void **state)
{
    struct dice dice = {8};
    size_t size = 200000;
    uint8_t *image = make_image(&dice, size);
    uint8_t *read = malloc(size);
    size_t len;
    uint8_t *bytes;

    (void)state;
    assert_non_null(read);
    write_file(IMAGE, image, size);
    (void)unlink(ARCHIVE);
    run("zip -q " ARCHIVE " " IMAGE);
    bytes = read_file(ARCHIVE, &len);
    for (int i = 0; i < 100; i++) {
        size_t at = 64 + (size_t)roll_below(&dice, find(bytes, len, "PK\1\2") - 64);
        struct blk *blk;
        struct chr_error err;

        bytes[at] ^= (uint8_t)(1 << i % 8);
        write_file(ARCHIVE, bytes, len);
        bytes[at] ^= (uint8_t)(1 << i % 8);
        blk = open_archive();
        if (blk_read(blk, 0, read, size, &err) == 0)
            assert_memory_equal(read, image, size);
        else
            assert_int_equal(err.code, CHR_E_DAMAGED);
        blk_cleanup(&blk);
    }
    free(bytes);
    free(read);
    free(image);
}

/* An archive that is cut off, anywhere, is refused when it is opened or when it is read. */
static void test_a_truncated_archive_is_refused(void **state)
{
    struct dice dice = {12};
    size_t size = 100000;
    uint8_t *image = make_image(&dice, size);
    size_t len;
    uint8_t *bytes;

    (void)state;
    write_file(IMAGE, image, size);
    (void)unlink(ARCHIVE);
    run("zip -q " ARCHIVE " " IMAGE);
    bytes = read_file(ARCHIVE, &len);
    for (size_t keep = 0; keep < len; keep += 1 + len / 97) {
        struct blk *blk = NULL;
        struct chr_error err;

        write_file(ARCHIVE, bytes, keep);
        assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_DAMAGED, ARCHIVE);
        assert_null(blk);
    }
    free(bytes);
    free(image);
}

/* Compressed data that ends early although the directory is whole. */
static void test_a_member_that_is_too_short_is_refused(void **state)
{
    size_t len;
    uint8_t *bytes;
    uint8_t buf[512];
    struct blk *blk;
    struct chr_error err;
    size_t entry;

    (void)state;
    (void)unlink(ARCHIVE);
    run("head -c 100000 /dev/zero > " IMAGE " && zip -q " ARCHIVE " " IMAGE);
    bytes = read_file(ARCHIVE, &len);
    entry = find(bytes, len, "PK\1\2");
    put_le32(bytes + entry + 24, 100512);
    put_le32(bytes + find(bytes, len, "PK\3\4") + 22, 100512);
    write_file(ARCHIVE, bytes, len);
    assert_done(zip_blk_open(ARCHIVE, &blk, &err), &err);
    assert_refused(blk_read(blk, 100000, buf, 512, &err), &err, CHR_E_DAMAGED, "chr.img: its ");
    blk_cleanup(&blk);
    /* And a size that deflate cannot reach at all. */
    put_le32(bytes + entry + 24, 0x7FFFFE00);
    write_file(ARCHIVE, bytes, len);
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_DAMAGED, "cannot be");
    free(bytes);
}

/* ---- which member ---- */

static void test_the_member_is_the_only_file_or_the_only_image(void **state)
{
    struct blk *blk = NULL;
    struct chr_error err;

    (void)state;
    (void)unlink(ARCHIVE);
    run("mkdir -p sub empty && printf 12345 > sub/notes && printf 1234567 > sub/disk.IMG");
    run("zip -q -r " ARCHIVE " sub");
    blk = open_archive();
    assert_int_equal(blk->size, 7);
    blk_cleanup(&blk);
    run("zip -q -d " ARCHIVE " sub/disk.IMG");
    blk = open_archive();
    assert_int_equal(blk->size, 5);
    blk_cleanup(&blk);
    run("printf 1 > one.img; printf 2 > two.img; zip -q " ARCHIVE " one.img two.img");
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_REFUSED, "3 files, 2 of them");
    assert_true(err.hint[0] != '\0');
    (void)unlink(ARCHIVE);
    run("zip -q -r " ARCHIVE " empty");
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_MISSING, "holds no file");
}

static void test_members_that_cannot_be_read_are_refused(void **state)
{
    struct blk *blk = NULL;
    struct chr_error err;

    (void)state;
    (void)unlink(ARCHIVE);
    run("printf secret > " IMAGE " && zip -q -P x " ARCHIVE " " IMAGE);
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_UNSUPPORTED, "is encrypted");
    (void)unlink(ARCHIVE);
    run("head -c 100000 /dev/zero > " IMAGE " && zip -q -Z bzip2 " ARCHIVE " " IMAGE);
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_UNSUPPORTED,
                   "compression method 12");
    (void)unlink(ARCHIVE);
    run(": > " IMAGE " && zip -q " ARCHIVE " " IMAGE);
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_REFUSED, "has 0 bytes");
    write_file(ARCHIVE, "PK\3\4 and no more", 15);
    assert_refused(zip_blk_open(ARCHIVE, &blk, &err), &err, CHR_E_DAMAGED, "not a usable zip");
}

static void test_a_missing_archive_is_not_called_damaged(void **state)
{
    struct blk *blk = NULL;
    struct chr_error err;

    (void)state;
    assert_refused(zip_blk_open("none.zip", &blk, &err), &err, CHR_E_MISSING, "none.zip");
}

static void test_probe(void **state)
{
    (void)state;
    assert_true(zip_probe((const uint8_t *)"PK\3\4xx", 6));
    assert_true(zip_probe((const uint8_t *)"PK\5\6", 4));
    assert_false(zip_probe((const uint8_t *)"PK\3\4", 3));
    assert_false(zip_probe((const uint8_t *)"PK\1\2", 4));
    assert_false(zip_probe((const uint8_t *)"", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_in_any_order),
        cmocka_unit_test(test_the_last_bytes_of_a_long_match),
        cmocka_unit_test(test_a_last_piece_within_a_match),
        cmocka_unit_test(test_extents_do_not_lie),
        cmocka_unit_test(test_a_wrong_crc_is_found_when_deflated),
        cmocka_unit_test(test_a_wrong_crc_is_found_when_stored),
        cmocka_unit_test(test_damaged_data_is_never_taken),
        cmocka_unit_test(test_a_truncated_archive_is_refused),
        cmocka_unit_test(test_a_member_that_is_too_short_is_refused),
        cmocka_unit_test(test_the_member_is_the_only_file_or_the_only_image),
        cmocka_unit_test(test_members_that_cannot_be_read_are_refused),
        cmocka_unit_test(test_a_missing_archive_is_not_called_damaged),
        cmocka_unit_test(test_probe),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
