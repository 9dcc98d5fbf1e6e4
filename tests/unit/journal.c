/*
 * The journal's rules one by one, on journals made by hand.  The block TARGET and those
 * after it are free blocks of the file system: what a replay leaves there is its doing.
 */
#include "fs/journal.h"

#include "journal_maker.h"

#define TARGET 6000

static struct journal_report report;
static struct chr_error err;

static int make_images(void **state)
{
    if (enter_work_folder(state) != 0)
        return -1;
    make_image("ext4", "-t ext4 -O ^metadata_csum,^64bit");
    make_image("ext3", "-t ext3");
    return 0;
}

static bool holds(struct maker *m, uint64_t block, uint8_t fill)
{
    for (size_t i = 0; i < BLOCK; i++)
        if (fs_block(m, block)[i] != fill)
            return false;
    return true;
}

static void must_replay(struct maker *m, uint32_t transactions, uint32_t blocks, uint32_t revoked)
{
    assert_done(journal_recover(&m->disk->blk, &report, &err), &err);
    assert_int_equal(report.transactions, transactions);
    assert_int_equal(report.blocks, blocks);
    assert_int_equal(report.revoked, revoked);
    assert_int_equal(report.orphans, 0);
    assert_int_equal(m->disk->bytes[1024 + 96] & 4, 0);
    assert_int_equal(be32(journal_block(m, 0) + 28), 0);
    if (m->checksums >= SUM_V2) {
        uint32_t sealed = be32(journal_block(m, 0) + 252);

        seal_super(m);
        assert_int_equal(be32(journal_block(m, 0) + 252), sealed);
    }
}

/* Refused, and not a byte written. */
static void must_refuse(struct maker *m, enum chr_code code, const char *text)
{
    memory_reset(m->disk);
    assert_refused(journal_recover(&m->disk->blk, &report, &err), &err, code, text);
    assert_int_equal(m->disk->log_count, 0);
    assert_int_equal(report.blocks, 0);
    assert_string_not_equal(err.hint, "");
}

/* ---- what is replayed ---- */

static void every_format(void **state)
{
    static const char *const images[] = {"ext3", "ext4"};

    (void)state;
    for (int n = 0; n < 16; n++) {
        struct maker m;

        maker_open(&m, images[n & 1]);
        start_journal(&m, (enum checksums)(n >> 2), (n & 2) != 0, 1, 7);
        add_transaction(&m, TARGET, 'a');
        open_tags(&m);
        add_copy(&m, TARGET + 1, 'b', NO_TAG_FLAGS);
        add_copy(&m, TARGET + 2, 'c', SAME_UUID);
        add_copy(&m, TARGET + 3, 'd', NO_TAG_FLAGS);
        add_copy(&m, TARGET + 4, 'e', SAME_UUID | LAST);
        close_tags(&m);
        (void)commit(&m);
        must_replay(&m, 2, 5, 0);
        for (unsigned i = 0; i < 5; i++)
            assert_true(holds(&m, TARGET + i, (uint8_t)('a' + i)));
        assert_int_equal(be32(journal_block(&m, 0) + 24), 10);
        maker_close(&m);
    }
}

static void version_1_superblock_has_no_features(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext3");
    start_journal(&m, PLAIN, false, 1, 7);
    add_transaction(&m, TARGET, 'a');
    set_super(&m, 4, TYPE_V1);
    set_super(&m, 40, 0xFFFFFFFF);
    must_replay(&m, 1, 1, 0);
    assert_true(holds(&m, TARGET, 'a'));
    maker_close(&m);
}

static void incomplete_transaction_is_left_out(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, PLAIN, false, 1, 7);
    add_transaction(&m, TARGET, 'a');
    open_tags(&m);
    add_copy(&m, TARGET, 'b', LAST);
    add_revoke(&m, (uint64_t[]){TARGET}, 1);
    must_replay(&m, 1, 1, 0);
    assert_true(holds(&m, TARGET, 'a'));
    maker_close(&m);
}

static void older_transactions_behind_the_end_are_left_out(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, PLAIN, false, 1, 7);
    add_transaction(&m, TARGET, 'a');
    m.sequence = 5;
    add_transaction(&m, TARGET, 'b');
    must_replay(&m, 1, 1, 0);
    assert_true(holds(&m, TARGET, 'a'));
    maker_close(&m);
}

static void empty_journal_of_a_file_system_that_needs_recovery(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, SUM_V3, true, 0, 7);
    must_replay(&m, 0, 0, 0);
    assert_int_equal(be32(journal_block(&m, 0) + 24), 8);
    maker_close(&m);
}

static void nothing_to_do_writes_nothing(void **state)
{
    struct maker m;

    (void)state;
    for (int i = 0; i < 2; i++) {
        maker_open(&m, i == 0 ? "ext4" : "ext3");
        assert_done(journal_recover(&m.disk->blk, &report, &err), &err);
        assert_int_equal(m.disk->log_count, 0);
        maker_close(&m);
    }
}

static void last_copy_of_a_block_wins(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, SUM_V3, false, 1, 7);
    add_transaction(&m, TARGET, 'a');
    add_transaction(&m, TARGET + 1, 'b');
    open_tags(&m);
    add_copy(&m, TARGET, 'c', NO_TAG_FLAGS);
    add_copy(&m, TARGET, 'd', SAME_UUID | LAST);
    close_tags(&m);
    (void)commit(&m);
    must_replay(&m, 3, 2, 0);
    assert_true(holds(&m, TARGET, 'd'));
    assert_true(holds(&m, TARGET + 1, 'b'));
    maker_close(&m);
}

static void escaped_block_gets_its_magic_back(void **state)
{
    struct maker m;

    (void)state;
    for (int sums = PLAIN; sums <= SUM_V3; sums++) {
        maker_open(&m, "ext4");
        start_journal(&m, (enum checksums)sums, false, 1, 7);
        open_tags(&m);
        add_copy(&m, TARGET, 'a', ESCAPED | LAST);
        close_tags(&m);
        (void)commit(&m);
        must_replay(&m, 1, 1, 0);
        assert_int_equal(be32(fs_block(&m, TARGET)), MAGIC);
        assert_int_equal(fs_block(&m, TARGET)[4], 'a');
        maker_close(&m);
    }
}

static void many_descriptors_in_one_transaction(void **state)
{
    struct maker m;

    (void)state;
    for (int n = 0; n < 8; n++) {
        uint32_t blocks = 0;

        maker_open(&m, "ext4");
        start_journal(&m, (enum checksums)(n >> 1), (n & 1) != 0, 900, 7);
        for (int d = 0; d < 3; d++) {
            size_t usable = BLOCK - (m.checksums >= SUM_V2 ? 4 : 0);

            /* Full to its end; the last tag is not marked as such. */
            open_tags(&m);
            add_copy(&m, TARGET + blocks, (uint8_t)blocks, NO_TAG_FLAGS);
            for (blocks++; m.tag + tag_length(&m) <= usable; blocks++)
                add_copy(&m, TARGET + blocks, (uint8_t)blocks, SAME_UUID);
            close_tags(&m);
        }
        (void)commit(&m);
        must_replay(&m, 1, blocks, 0);
        for (uint32_t i = 0; i < blocks; i++)
            assert_true(holds(&m, TARGET + i, (uint8_t)i));
        maker_close(&m);
    }
}

static void ring_and_sequence_come_around(void **state)
{
    struct maker m;

    (void)state;
    for (uint32_t start = RING_END - 8; start < RING_END; start++) {
        maker_open(&m, "ext4");
        start_journal(&m, SUM_V1, true, start, UINT32_MAX - 1);
        add_transaction(&m, TARGET, 'a');
        add_transaction(&m, TARGET + 1, 'b');
        add_revoke(&m, (uint64_t[]){TARGET}, 1);
        (void)commit(&m);
        must_replay(&m, 3, 1, 1);
        assert_true(holds(&m, TARGET, 0));
        assert_true(holds(&m, TARGET + 1, 'b'));
        assert_int_equal(be32(journal_block(&m, 0) + 24), 2);
        maker_close(&m);
    }
}

/* ---- revokes ---- */

static void revoked_copies_are_left_out(void **state)
{
    struct maker m;

    (void)state;
    for (int n = 0; n < 8; n++) {
        maker_open(&m, "ext4");
        start_journal(&m, (enum checksums)(n >> 1), (n & 1) != 0, 1, 7);
        add_transaction(&m, TARGET, 'a');     /* revoked later */
        add_transaction(&m, TARGET + 1, 'b'); /* revoked, then written again */
        open_tags(&m);
        add_copy(&m, TARGET + 2, 'c', LAST);  /* revoked in its own transaction */
        close_tags(&m);
        add_revoke(&m, (uint64_t[]){TARGET + 2, TARGET, TARGET + 9}, 3);
        add_revoke(&m, (uint64_t[]){TARGET + 1}, 1);
        (void)commit(&m);
        add_transaction(&m, TARGET + 1, 'd');
        must_replay(&m, 4, 1, 3);
        assert_true(holds(&m, TARGET, 0));
        assert_true(holds(&m, TARGET + 1, 'd'));
        assert_true(holds(&m, TARGET + 2, 0));
        maker_close(&m);
    }
}

static void copy_that_is_void_is_not_looked_at(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, SUM_V3, true, 1, 7);
    add_transaction(&m, TARGET, 'a');
    memset(journal_block(&m, 2), 'x', BLOCK);
    add_revoke(&m, (uint64_t[]){TARGET}, 1);
    (void)commit(&m);
    must_replay(&m, 2, 0, 1);
    maker_close(&m);
}

static void bad_revokes(void **state)
{
    struct maker m;

    (void)state;
    for (int n = 0; n < 3; n++) {
        maker_open(&m, "ext4");
        start_journal(&m, PLAIN, n == 2, 1, 7);
        add_revoke(&m, (uint64_t[]){n == 2 ? UINT64_C(1) << 40 : FS_BLOCKS}, 1);
        if (n == 0)
            put_be32(journal_block(&m, 1) + 12, BLOCK + 1);
        (void)commit(&m);
        must_refuse(&m, CHR_E_DAMAGED,
                    n == 0 ? "says it has 1025 bytes" : "outside the file system");
        maker_close(&m);
    }
}

/* ---- checksums ---- */

static void spoilt_copy(void **state)
{
    struct maker m;

    (void)state;
    for (int sums = SUM_V2; sums <= SUM_V3; sums++) {
        maker_open(&m, "ext4");
        start_journal(&m, (enum checksums)sums, false, 1, 7);
        add_transaction(&m, TARGET + 1, 'a');
        add_transaction(&m, TARGET, 'b');
        journal_block(&m, 5)[100] ^= 1;
        must_refuse(&m, CHR_E_DAMAGED, "the checksum of block 6000 in transaction 8");
        maker_close(&m);
    }
}

/* A descriptor, revoke or commit block: damage, unless its time says that it is old. */
static void spoilt_blocks_of_the_log(void **state)
{
    struct maker m;

    (void)state;
    for (int n = 0; n < 12; n++) {
        bool old = (n & 1) != 0;
        uint32_t spoilt = n % 6 < 2 ? 4 : n % 6 < 4 ? 6 : 7;

        maker_open(&m, "ext4");
        start_journal(&m, n < 6 ? SUM_V2 : SUM_V3, true, 1, 7);
        add_transaction(&m, TARGET, 'a');
        open_tags(&m);
        add_copy(&m, TARGET, 'b', LAST);
        close_tags(&m);
        add_revoke(&m, (uint64_t[]){TARGET + 1}, 1);
        m.seconds = old ? 10 : 1000;
        (void)commit(&m);
        journal_block(&m, spoilt)[900] ^= 1;
        if (old)
            must_replay(&m, 1, 1, 0);
        else
            must_refuse(&m, CHR_E_DAMAGED, "the checksum of transaction 8");
        assert_true(holds(&m, TARGET, old ? 'a' : 0));
        maker_close(&m);
    }
}

static void spoilt_block_without_a_commit_is_the_end(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, SUM_V3, true, 1, 7);
    add_transaction(&m, TARGET, 'a');
    open_tags(&m);
    add_copy(&m, TARGET, 'b', LAST);
    must_replay(&m, 1, 1, 0); /* its tail was never sealed */
    maker_close(&m);
}

static void version_1_checksums(void **state)
{
    struct maker m;
    uint8_t *block;

    (void)state;
    /* Spoilt: damage.  Of no type: not looked at. */
    for (int n = 0; n < 2; n++) {
        maker_open(&m, "ext4");
        start_journal(&m, SUM_V1, true, 1, 7);
        open_tags(&m);
        add_copy(&m, TARGET, 'b', LAST);
        close_tags(&m);
        block = commit(&m);
        journal_block(&m, 2)[5] ^= 1;
        if (n == 0) {
            must_refuse(&m, CHR_E_DAMAGED, "the checksum of transaction 7");
        } else {
            memset(block + 12, 0, 8);
            must_replay(&m, 1, 1, 0);
        }
        maker_close(&m);
    }
}

/* Spoilt as the last transaction: it never was complete.  With another behind it: damage. */
static void asynchronous_commit(void **state)
{
    struct maker m;

    (void)state;
    for (int n = 0; n < 2; n++) {
        maker_open(&m, "ext4");
        start_journal(&m, SUM_V1, true, 1, 7);
        set_super(&m, 40, be32(journal_block(&m, 0) + 40) | 4);
        add_transaction(&m, TARGET, 'a');
        add_transaction(&m, TARGET, 'b');
        journal_block(&m, 5)[5] ^= 1;
        if (n == 0) {
            must_replay(&m, 1, 1, 0);
            assert_true(holds(&m, TARGET, 'a'));
            assert_int_equal(be32(journal_block(&m, 0) + 24), 9);
        } else {
            add_transaction(&m, TARGET, 'c');
            must_refuse(&m, CHR_E_DAMAGED, "the checksum of transaction 9");
        }
        maker_close(&m);
    }
}

/* ---- journals that lie ---- */

static void bad_targets(void **state)
{
    struct maker m;

    (void)state;
    for (int n = 0; n < 5; n++) {
        uint64_t target[] = {FS_BLOCKS, 0, UINT64_C(6000) | UINT64_C(1) << 32, 0, 0};

        maker_open(&m, "ext3");
        start_journal(&m, SUM_V3, true, 1, 7);
        add_transaction(&m, TARGET, 'a');
        target[3] = m.place[500] / BLOCK;
        target[4] = m.place[12] / BLOCK - 1; /* its indirect block */
        add_transaction(&m, target[n], 'b');
        must_refuse(&m, CHR_E_DAMAGED, n < 3 ? "outside the file system" : "which is its own");
        maker_close(&m);
    }
}

static void log_without_an_end(void **state)
{
    struct maker m;

    (void)state;
    for (int n = 0; n < 2; n++) {
        maker_open(&m, "ext4");
        start_journal(&m, PLAIN, false, 1, 7);
        while (m.head != RING_END - 1) {
            if (n == 0)
                add_revoke(&m, NULL, 0);
            else
                open_tags(&m); /* of 64 copies each, as the zeros say */
        }
        add_revoke(&m, NULL, 0);
        must_refuse(&m, CHR_E_DAMAGED, n == 0 ? "runs into its own start" : "");
        maker_close(&m);
    }
}

static void bad_superblocks(void **state)
{
    static const struct {
        size_t off;
        uint32_t value;
        enum chr_code code;
        const char *text;
    } cases[] = {
        {0, 0, CHR_E_DAMAGED, "the journal has no superblock"},
        {4, 1, CHR_E_DAMAGED, "type 1"},
        {12, 4096, CHR_E_DAMAGED, "block size 4096"},
        {16, RING_END + 1, CHR_E_DAMAGED, "1025 blocks, the inode has 1024"},
        {16, 1023, CHR_E_DAMAGED, "1023 blocks"},
        {16, UINT32_MAX, CHR_E_DAMAGED, "4294967295 blocks"},
        {20, 0, CHR_E_DAMAGED, "the ring begins at block 0"},
        {20, RING_END, CHR_E_DAMAGED, "the ring begins at block 1024"},
        {20, 3, CHR_E_DAMAGED, "the log begins at block 1"},
        {28, RING_END, CHR_E_DAMAGED, "the log begins at block 1024"},
        {28, UINT32_MAX, CHR_E_DAMAGED, "the log begins at block 4294967295"},
        {32, 5, CHR_E_REFUSED, "found errors"},
        {40, 0x41, CHR_E_UNSUPPORTED, "journal feature bits 0x40"},
        {40, 0x18, CHR_E_DAMAGED, "two kinds of checksum"},
        {40, 0x08, CHR_E_UNSUPPORTED, "checksum type 0"},
        {44, 1, CHR_E_UNSUPPORTED, "ro_compat 0x1"},
        {64, 2, CHR_E_UNSUPPORTED, "serves 2 file systems"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct maker m;

        maker_open(&m, "ext4");
        start_journal(&m, PLAIN, false, 1, 7);
        add_transaction(&m, TARGET, 'a');
        set_super(&m, cases[i].off, cases[i].value);
        must_refuse(&m, cases[i].code, cases[i].text);
        maker_close(&m);
    }
}

static void superblock_with_a_wrong_checksum(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, SUM_V3, true, 1, 7);
    journal_block(&m, 0)[1000] ^= 1;
    must_refuse(&m, CHR_E_DAMAGED, "journal superblock: its checksum is wrong");
    maker_close(&m);
}

/* 300 of the 1024 blocks would leave too few; so the file system is given a larger journal. */
static void fast_commits(void **state)
{
    struct maker m;

    (void)state;
    make_image("fast", "-t ext4 -O ^metadata_csum,^64bit -J size=2");
    for (int n = 0; n < 4; n++) {
        uint8_t *fast;

        maker_open(&m, "fast");
        start_journal(&m, PLAIN, false, RING_END - 2, 7);
        set_super(&m, 40, 0x21);
        set_super(&m, 84, n == 3 ? 1100 : RING_END); /* 2048 blocks in all */
        m.end = RING_END;
        add_transaction(&m, TARGET, 'a');
        /* Tag, length; features, transaction: little-endian, in the second block. */
        fast = m.disk->bytes + m.place[RING_END - 1] + 2 * BLOCK;
        memcpy(fast, "\x09\0\x08\0\0\0\0\0", 8);
        put_le32(fast + 8, n == 0 ? 8 : 6);
        if (n == 1)
            memset(fast, 0, 12);
        if (n == 0)
            must_refuse(&m, CHR_E_UNSUPPORTED, "fast commits");
        else if (n == 3)
            must_refuse(&m, CHR_E_DAMAGED, "1100 blocks for fast commits");
        else
            must_replay(&m, 1, 1, 0);
        maker_close(&m);
    }
}

/* ---- around the journal ---- */

static void flags_that_contradict_the_journal(void **state)
{
    struct maker m;

    (void)state;
    maker_open(&m, "ext4");
    start_journal(&m, PLAIN, false, 1, 7);
    m.disk->bytes[1024 + 96] &= (uint8_t)~4;
    must_refuse(&m, CHR_E_DAMAGED, "needs_recovery is not set");
    m.disk->bytes[1024 + 96] |= 4;
    m.disk->bytes[1024 + 92] &= (uint8_t)~4;
    must_refuse(&m, CHR_E_DAMAGED, "there is no journal");
    m.disk->bytes[1024 + 92] |= 4;
    m.disk->bytes[1024 + 58] |= 2;
    must_refuse(&m, CHR_E_REFUSED, "found errors");
    m.disk->bytes[1024 + 58] = 1;
    m.disk->bytes[1024 + 208] = 1; /* its UUID */
    must_refuse(&m, CHR_E_UNSUPPORTED, "on another device");
    maker_close(&m);
}

static void superblock_from_the_journal(void **state)
{
    struct maker m;
    uint8_t super[BLOCK];

    (void)state;
    for (int n = 0; n < 4; n++) {
        maker_open(&m, "ext4");
        start_journal(&m, PLAIN, false, 1, 7);
        add_transaction(&m, 1, 0);
        memcpy(super, fs_block(&m, 1), BLOCK);
        if (n == 0)
            memcpy(super + 120, "replayed", 9); /* the label */
        if (n == 2)
            super[58] |= 2; /* errors */
        if (n == 3)
            super[92] &= (uint8_t)~4; /* has_journal */
        if (n != 1)
            memcpy(journal_block(&m, 2), super, BLOCK);
        if (n == 0) {
            must_replay(&m, 1, 1, 0);
            assert_string_equal((char *)fs_block(&m, 1) + 120, "replayed");
        } else {
            assert_refused(journal_recover(&m.disk->blk, &report, &err), &err,
                           n == 2 ? CHR_E_REFUSED : CHR_E_DAMAGED,
                           n == 1   ? "no ext superblock"
                           : n == 2 ? "found errors"
                                    : "replaced itself");
        }
        maker_close(&m);
    }
}

/* After a cut at any write, a second run comes to the same end. */
static void power_cut_at_every_write(void **state)
{
    struct maker whole = {0};
    bool cut = true;

    (void)state;
    /* The first run is not cut; counting on from there comes around to 0. */
    for (size_t writes = MEMORY_NO_FAULT; cut; writes++) {
        struct maker m;

        maker_open(&m, "ext4");
        start_journal(&m, SUM_V3, true, 1000, UINT32_MAX);
        for (unsigned i = 0; i < 20; i++)
            add_transaction(&m, TARGET + i % 7, (uint8_t)i);
        m.disk->writes_left = writes;
        m.disk->torn = 512;
        if (writes == MEMORY_NO_FAULT) {
            must_replay(&m, 20, 7, 0);
            whole = m;
            continue;
        }
        cut = journal_recover(&m.disk->blk, &report, &err) < 0;
        memory_reset(m.disk);
        assert_done(journal_recover(&m.disk->blk, &report, &err), &err);
        for (uint64_t block = 0; block < FS_BLOCKS; block++)
            if (memcmp(fs_block(&m, block), fs_block(&whole, block), BLOCK) != 0 &&
                block * BLOCK != m.place[0]) /* it counts on */
                fail_msg("after %zu writes: block %llu", writes, (unsigned long long)block);
        maker_close(&m);
    }
    maker_close(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format),
        cmocka_unit_test(version_1_superblock_has_no_features),
        cmocka_unit_test(incomplete_transaction_is_left_out),
        cmocka_unit_test(older_transactions_behind_the_end_are_left_out),
        cmocka_unit_test(empty_journal_of_a_file_system_that_needs_recovery),
        cmocka_unit_test(nothing_to_do_writes_nothing),
        cmocka_unit_test(last_copy_of_a_block_wins),
        cmocka_unit_test(escaped_block_gets_its_magic_back),
        cmocka_unit_test(many_descriptors_in_one_transaction),
        cmocka_unit_test(ring_and_sequence_come_around),
        cmocka_unit_test(revoked_copies_are_left_out),
        cmocka_unit_test(copy_that_is_void_is_not_looked_at),
        cmocka_unit_test(bad_revokes),
        cmocka_unit_test(spoilt_copy),
        cmocka_unit_test(spoilt_blocks_of_the_log),
        cmocka_unit_test(spoilt_block_without_a_commit_is_the_end),
        cmocka_unit_test(version_1_checksums),
        cmocka_unit_test(asynchronous_commit),
        cmocka_unit_test(bad_targets),
        cmocka_unit_test(log_without_an_end),
        cmocka_unit_test(bad_superblocks),
        cmocka_unit_test(superblock_with_a_wrong_checksum),
        cmocka_unit_test(fast_commits),
        cmocka_unit_test(flags_that_contradict_the_journal),
        cmocka_unit_test(superblock_from_the_journal),
        cmocka_unit_test(power_cut_at_every_write),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, make_images, leave_work_folder);
}
