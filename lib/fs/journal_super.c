/*
 * The journal as a device: where its blocks are, and what its superblock says.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/journal_format.h"
#include "fs/journal_work.h"

#define BACKUP_TYPE_BLOCKS 1 /* s_jnl_backup_type: s_jnl_blocks is i_block, then i_size */
#define EXTENT_MAGIC 0xF30A

#define INCOMPAT_KNOWN                                                                            \
    (JOURNAL_INCOMPAT_REVOKE | JOURNAL_INCOMPAT_64BIT | JOURNAL_INCOMPAT_ASYNC_COMMIT |           \
     JOURNAL_INCOMPAT_CSUM_V2 | JOURNAL_INCOMPAT_CSUM_V3 | JOURNAL_INCOMPAT_FAST_COMMIT)

void journal_release(struct journal *journal)
{
    block_map_release(&journal->map);
    free(journal->sorted);
    *journal = (struct journal){0};
}

/* ---- the journal inode ---- */

/* Whether the map holds every block of the inode's size, from the first on, without holes. */
static int check_whole(const struct ext_edit *edit, const struct ext2_inode *inode,
                       const struct block_map *map, struct chr_error *err)
{
    uint64_t blocks = EXT2_I_SIZE(inode) / edit->super.block_size;
    uint64_t next = 0;

    if (blocks < JOURNAL_MIN_BLOCKS)
        return err_set(err, CHR_E_DAMAGED, "the journal has %" PRIu64 " blocks, %d is the least",
                       blocks, JOURNAL_MIN_BLOCKS);
    for (size_t i = 0; i < map->data.count && map->data.items[i].logical == next; i++)
        next += map->data.items[i].count;
    if (next < blocks || next != map->data.blocks)
        return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " of the journal has no place", next);
    return 0;
}

static int read_journal_inode(struct ext_edit *edit, uint32_t ino, struct block_map *map,
                              struct chr_error *err)
{
    struct ext2_inode inode;
    errcode_t code = ext2fs_read_inode(edit->fs, ino, &inode);

    if (code != 0)
        return ext_work_error(edit, code, "journal inode", err);
    if (inode.i_links_count == 0 || !S_ISREG(inode.i_mode) ||
        (inode.i_flags & (EXT4_ENCRYPT_FL | EXT4_INLINE_DATA_FL)) != 0)
        return err_set(err, CHR_E_DAMAGED, "the journal inode is no plain file");
    if (ext_map_read(edit, ino, &inode, map, err) < 0)
        return err_context(err, "journal inode");
    return check_whole(edit, &inode, map, err);
}

/* The inode as the file system's superblock has kept it. */
static void decode_backup(const struct ext2_super_block *super, struct ext2_inode *inode)
{
    uint8_t magic[2];

    *inode = (struct ext2_inode){.i_mode = S_IFREG | 0600, .i_links_count = 1};
    memcpy(inode->i_block, super->s_jnl_blocks, sizeof inode->i_block);
    inode->i_size_high = super->s_jnl_blocks[EXT2_N_BLOCKS];
    inode->i_size = super->s_jnl_blocks[EXT2_N_BLOCKS + 1];
    memcpy(magic, inode->i_block, sizeof magic);
    if (le16(magic) == EXTENT_MAGIC)
        inode->i_flags |= EXT4_EXTENTS_FL;
}

static int write_journal_inode(struct ext_edit *edit, uint32_t ino, struct ext2_inode *inode,
                               struct chr_error *err)
{
    errcode_t code = ext2fs_write_new_inode(edit->fs, ino, inode);

    return code != 0 ? ext_work_error(edit, code, "journal inode", err) : 0;
}

static int restore_journal_inode(struct ext_edit *edit, uint32_t ino, struct block_map *map,
                                 struct chr_error *err)
{
    struct ext2_inode inode;

    decode_backup(edit->fs->super, &inode);
    if (write_journal_inode(edit, ino, &inode, err) < 0 ||
        read_journal_inode(edit, ino, map, err) < 0)
        return -1;
    (void)ext2fs_iblk_set(edit->fs, &inode, map->data.blocks + map->own.blocks);
    return write_journal_inode(edit, ino, &inode, err);
}

int journal_find(struct ext_edit *edit, struct block_map *map, struct chr_error *err)
{
    const struct ext2_super_block *super = edit->fs->super;
    uint32_t ino = super->s_journal_inum;
    struct chr_error lost;

    if (ino == 0 || ino > edit->super.inodes ||
        (ino != EXT2_JOURNAL_INO && ino < EXT2_FIRST_INODE(super)))
        return err_set(err, CHR_E_DAMAGED, "the journal is inode %" PRIu32, ino);
    if (read_journal_inode(edit, ino, map, err) == 0)
        return 0;
    if (err->code != CHR_E_DAMAGED || super->s_jnl_backup_type != BACKUP_TYPE_BLOCKS)
        return -1;
    block_map_release(map);
    return restore_journal_inode(edit, ino, map, &lost); /* the first error says more */
}

/* ---- blocks ---- */

static const struct block_run *find_run(const struct block_list *list, uint64_t logical)
{
    size_t low = 0;
    size_t high = list->count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (list->items[middle].logical <= logical)
            low = middle;
        else
            high = middle;
    }
    return &list->items[low];
}

/* INDEX is below the journal's length, which the map covers. */
static uint64_t place_of(const struct journal *journal, uint32_t index)
{
    const struct block_run *run = find_run(&journal->map.data, index);

    return (run->start + (index - run->logical)) * journal->block_size;
}

int journal_read(const struct journal *journal, uint32_t index, uint8_t *block,
                 struct chr_error *err)
{
    if (blk_read(journal->device, place_of(journal, index), block, journal->block_size, err) < 0)
        return err_context(err, "journal block %" PRIu32, index);
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct block_run *left = a;
    const struct block_run *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

/* Sort all runs by place; a block that is there twice is damage. */
static int sort_blocks(struct journal *journal, struct chr_error *err)
{
    const struct block_list *lists[] = {&journal->map.data, &journal->map.own};
    size_t count = 0;

    journal->sorted =
        mem_new(lists[0]->count + lists[1]->count, sizeof *journal->sorted, err);
    if (journal->sorted == NULL)
        return -1;
    for (size_t i = 0; i < 2; i++)
        for (size_t run = 0; run < lists[i]->count; run++)
            journal->sorted[count++] = lists[i]->items[run];
    qsort(journal->sorted, count, sizeof *journal->sorted, by_place);
    for (size_t i = 1; i < count; i++)
        if (journal->sorted[i].start < journal->sorted[i - 1].start + journal->sorted[i - 1].count)
            return err_set(err, CHR_E_DAMAGED, "the journal has block %" PRIu64 " twice",
                           journal->sorted[i].start);
    journal->sorted_count = count;
    return 0;
}

bool journal_owns(const struct journal *journal, uint64_t block)
{
    size_t low = 0;
    size_t high = journal->sorted_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct block_run *run = &journal->sorted[middle];

        if (block < run->start)
            high = middle;
        else if (block - run->start >= run->count)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

/* ---- superblock ---- */

uint32_t journal_crc_without(uint32_t seed, uint8_t *bytes, size_t len, size_t off_checksum)
{
    uint8_t kept[CHECKSUM_SIZE];
    uint32_t crc;

    memcpy(kept, bytes + off_checksum, sizeof kept);
    memset(bytes + off_checksum, 0, sizeof kept);
    crc = ext2fs_crc32c_le(seed, bytes, len);
    memcpy(bytes + off_checksum, kept, sizeof kept);
    return crc;
}

static uint32_t super_checksum(uint8_t *super)
{
    return journal_crc_without(UINT32_MAX, super, JOURNAL_SUPER_SIZE, SUPER_OFF_CHECKSUM);
}

static int check_features(uint32_t incompat, uint32_t ro_compat, struct chr_error *err)
{
    uint32_t unknown = incompat & ~(uint32_t)INCOMPAT_KNOWN;

    if (unknown != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "unknown journal feature bits 0x%" PRIx32, unknown);
    if (ro_compat != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "unknown journal feature bits: ro_compat 0x%" PRIx32,
                       ro_compat);
    return 0;
}

/* Which checksums there are: at most one kind, and then the superblock has one too. */
static int decode_checksum(struct journal *journal, uint8_t *super, uint32_t compat,
                           uint32_t incompat, struct chr_error *err)
{
    bool v1 = (compat & JOURNAL_COMPAT_CHECKSUM) != 0;
    bool v2 = (incompat & JOURNAL_INCOMPAT_CSUM_V2) != 0;
    bool v3 = (incompat & JOURNAL_INCOMPAT_CSUM_V3) != 0;

    if (v1 + v2 + v3 > 1)
        return err_set(err, CHR_E_DAMAGED, "journal superblock: two kinds of checksum at once");
    journal->checksum = v3 ? JOURNAL_V3 : v2 ? JOURNAL_V2 : v1 ? JOURNAL_V1 : JOURNAL_NO_CHECKSUM;
    if (journal->checksum < JOURNAL_V2)
        return 0;
    if (super[SUPER_OFF_CHECKSUM_TYPE] != CHECKSUM_TYPE_CRC32C)
        return err_set(err, CHR_E_UNSUPPORTED, "journal superblock: checksum type %u",
                       super[SUPER_OFF_CHECKSUM_TYPE]);
    if (super_checksum(super) != be32(super + SUPER_OFF_CHECKSUM))
        return err_set(err, CHR_E_DAMAGED, "journal superblock: its checksum is wrong");
    journal->seed = ext2fs_crc32c_le(UINT32_MAX, super + SUPER_OFF_UUID, SUPER_UUID_SIZE);
    return 0;
}

static int decode_version_2(struct journal *journal, uint8_t *super, struct chr_error *err)
{
    uint32_t incompat = be32(super + SUPER_OFF_INCOMPAT);
    uint32_t fast_blocks = be32(super + SUPER_OFF_FAST_BLOCKS);

    if (be32(super + SUPER_OFF_USERS) > 1)
        return err_set(err, CHR_E_UNSUPPORTED, "the journal serves %" PRIu32 " file systems",
                       be32(super + SUPER_OFF_USERS));
    if (check_features(incompat, be32(super + SUPER_OFF_RO_COMPAT), err) < 0 ||
        decode_checksum(journal, super, be32(super + SUPER_OFF_COMPAT), incompat, err) < 0)
        return -1;
    journal->wide = (incompat & JOURNAL_INCOMPAT_64BIT) != 0;
    journal->async_commit = (incompat & JOURNAL_INCOMPAT_ASYNC_COMMIT) != 0;
    if ((incompat & JOURNAL_INCOMPAT_FAST_COMMIT) == 0)
        return 0;
    if (fast_blocks == 0)
        fast_blocks = JOURNAL_MIN_FAST_BLOCKS;
    if (fast_blocks > journal->end || journal->end - fast_blocks < JOURNAL_MIN_BLOCKS)
        return err_set(err, CHR_E_DAMAGED,
                       "journal superblock: %" PRIu32 " blocks for fast commits", fast_blocks);
    journal->end -= fast_blocks;
    journal->fast = journal->end;
    return 0;
}

static int check_ring(const struct journal *journal, struct chr_error *err)
{
    if (journal->first == 0 || journal->first >= journal->end)
        return err_set(err, CHR_E_DAMAGED, "journal superblock: the ring begins at block %" PRIu32,
                       journal->first);
    if (journal->start != 0 && (journal->start < journal->first || journal->start >= journal->end))
        return err_set(err, CHR_E_DAMAGED,
                       "journal superblock: the log begins at block %" PRIu32
                       ", the ring is %" PRIu32 " to %" PRIu32,
                       journal->start, journal->first, journal->end - 1);
    return 0;
}

static int decode_super(struct journal *journal, uint8_t *super, struct chr_error *err)
{
    uint32_t type = be32(super + JOURNAL_OFF_TYPE);
    uint32_t blocks = be32(super + SUPER_OFF_BLOCKS);
    uint64_t there = journal->map.data.blocks;

    if (be32(super + JOURNAL_OFF_MAGIC) != JOURNAL_MAGIC)
        return err_set(err, CHR_E_DAMAGED, "the journal has no superblock");
    if (type != JOURNAL_TYPE_SUPER_V1 && type != JOURNAL_TYPE_SUPER_V2)
        return err_set(err, CHR_E_DAMAGED, "journal superblock: type %" PRIu32, type);
    if (be32(super + SUPER_OFF_BLOCK_SIZE) != journal->block_size)
        return err_set(err, CHR_E_DAMAGED, "journal superblock: block size %" PRIu32,
                       be32(super + SUPER_OFF_BLOCK_SIZE));
    if (blocks > JOURNAL_MAX_BLOCKS && blocks <= there)
        return err_set(err, CHR_E_UNSUPPORTED,
                       "the journal has %" PRIu32 " blocks, more than %d are not replayed here",
                       blocks, JOURNAL_MAX_BLOCKS);
    if (blocks < JOURNAL_MIN_BLOCKS || blocks > there)
        return err_set(err, CHR_E_DAMAGED,
                       "journal superblock: %" PRIu32 " blocks, the inode has %" PRIu64, blocks,
                       there);
    journal->first = be32(super + SUPER_OFF_FIRST);
    journal->end = blocks;
    journal->start = be32(super + SUPER_OFF_START);
    journal->sequence = be32(super + SUPER_OFF_SEQUENCE);
    journal->error = be32(super + SUPER_OFF_ERROR);
    if (type == JOURNAL_TYPE_SUPER_V2 && decode_version_2(journal, super, err) < 0)
        return -1;
    return check_ring(journal, err);
}

int journal_open(struct ext_edit *edit, struct journal *out, struct chr_error *err)
{
    AUTO_JOURNAL struct journal journal = {
        .device = edit->io.device, .fs = &edit->super, .block_size = edit->super.block_size};
    uint8_t super[JOURNAL_SUPER_SIZE];

    if (journal_find(edit, &journal.map, err) < 0 || sort_blocks(&journal, err) < 0)
        return -1;
    if (blk_read(journal.device, place_of(&journal, 0), super, sizeof super, err) < 0)
        return err_context(err, "journal superblock");
    if (decode_super(&journal, super, err) < 0)
        return -1;
    *out = journal;
    journal = (struct journal){0};
    return 0;
}

int journal_write_empty(const struct journal *journal, uint32_t sequence, struct chr_error *err)
{
    uint64_t place = place_of(journal, 0);
    uint8_t super[JOURNAL_SUPER_SIZE];

    if (blk_read(journal->device, place, super, sizeof super, err) < 0)
        return err_context(err, "journal superblock");
    put_be32(super + SUPER_OFF_SEQUENCE, sequence);
    put_be32(super + SUPER_OFF_START, 0);
    if (journal->checksum >= JOURNAL_V2)
        put_be32(super + SUPER_OFF_CHECKSUM, super_checksum(super));
    if (blk_write(journal->device, place, super, sizeof super, err) < 0)
        return err_context(err, "journal superblock");
    return 0;
}
