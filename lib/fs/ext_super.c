/*
 * The ext superblock, decoded and held against limits before libext2fs sees it.
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "fs/ext.h"

#define SUPER_OFFSET 1024
#define SUPER_SIZE 1024
#define MAGIC 0xEF53
#define MIN_BLOCKS_PER_GROUP 256

enum {
    OFF_INODES = 0,
    OFF_BLOCKS_LOW = 4,
    OFF_FREE_BLOCKS_LOW = 12,
    OFF_FREE_INODES = 16,
    OFF_FIRST_DATA_BLOCK = 20,
    OFF_LOG_BLOCK_SIZE = 24,
    OFF_BLOCKS_PER_GROUP = 32,
    OFF_INODES_PER_GROUP = 40,
    OFF_MAGIC = 56,
    OFF_STATE = 58,
    OFF_REVISION = 76,
    OFF_INODE_SIZE = 88,
    OFF_COMPAT = 92,
    OFF_INCOMPAT = 96,
    OFF_RO_COMPAT = 100,
    OFF_UUID = 104,
    OFF_LABEL = 120,
    OFF_BLOCKS_HIGH = 336,
    OFF_FREE_BLOCKS_HIGH = 344,

    STATE_CLEAN = 1,
    STATE_ERRORS = 2,
    REVISION_DYNAMIC = 1,
    OLD_INODE_SIZE = 128,

    COMPAT_HAS_JOURNAL = 0x4,
    INCOMPAT_FILETYPE = 0x2,
    INCOMPAT_RECOVER = 0x4,
    INCOMPAT_META_BG = 0x10,
    INCOMPAT_EXTENTS = 0x40,
    INCOMPAT_64BIT = 0x80,
    INCOMPAT_FLEX_BG = 0x200,
    INCOMPAT_CSUM_SEED = 0x2000,
    INCOMPAT_LARGEDIR = 0x4000,
    RO_COMPAT_BIGALLOC = 0x200,
};

/* What mke2fs and the kernel can have made of a disk that we can read whole. */
#define INCOMPAT_KNOWN                                                                            \
    (INCOMPAT_FILETYPE | INCOMPAT_RECOVER | INCOMPAT_META_BG | INCOMPAT_EXTENTS |                 \
     INCOMPAT_64BIT | INCOMPAT_FLEX_BG | INCOMPAT_CSUM_SEED | INCOMPAT_LARGEDIR)

static const struct {
    uint32_t bit;
    const char *name;
} incompat_names[] = {
    {0x1, "compression"},   {0x8, "journal_dev"},     {0x100, "mmp"},
    {0x400, "ea_inode"},    {0x1000, "dirdata"},      {0x8000, "inline_data"},
    {0x10000, "encrypt"},   {0x20000, "casefold"},
};

int ext_probe(struct blk *device, bool *found, struct chr_error *err)
{
    uint8_t magic[2];

    *found = false;
    if (device->size < SUPER_OFFSET + SUPER_SIZE)
        return 0;
    if (blk_read(device, SUPER_OFFSET + OFF_MAGIC, magic, sizeof magic, err) < 0)
        return -1;
    *found = le16(magic) == MAGIC;
    return 0;
}

static void decode(const uint8_t *p, struct ext_super *super)
{
    uint32_t log_block_size = le32(p + OFF_LOG_BLOCK_SIZE);
    bool dynamic = le32(p + OFF_REVISION) >= REVISION_DYNAMIC;

    *super = (struct ext_super){
        .blocks = le32(p + OFF_BLOCKS_LOW),
        .free_blocks = le32(p + OFF_FREE_BLOCKS_LOW),
        .inodes = le32(p + OFF_INODES),
        .free_inodes = le32(p + OFF_FREE_INODES),
        .block_size = log_block_size <= 6 ? 1024u << log_block_size : 0,
        .first_data_block = le32(p + OFF_FIRST_DATA_BLOCK),
        .blocks_per_group = le32(p + OFF_BLOCKS_PER_GROUP),
        .inodes_per_group = le32(p + OFF_INODES_PER_GROUP),
        .inode_size = dynamic ? le16(p + OFF_INODE_SIZE) : OLD_INODE_SIZE,
        .compat = dynamic ? le32(p + OFF_COMPAT) : 0,
        .incompat = dynamic ? le32(p + OFF_INCOMPAT) : 0,
        .ro_compat = dynamic ? le32(p + OFF_RO_COMPAT) : 0,
        .clean = (le16(p + OFF_STATE) & STATE_CLEAN) != 0,
        .has_errors = (le16(p + OFF_STATE) & STATE_ERRORS) != 0,
    };
    if ((super->incompat & INCOMPAT_64BIT) != 0) {
        super->blocks |= (uint64_t)le32(p + OFF_BLOCKS_HIGH) << 32;
        super->free_blocks |= (uint64_t)le32(p + OFF_FREE_BLOCKS_HIGH) << 32;
    }
    super->has_journal = (super->compat & COMPAT_HAS_JOURNAL) != 0;
    super->needs_recovery = (super->incompat & INCOMPAT_RECOVER) != 0;
    super->has_extents = (super->incompat & INCOMPAT_EXTENTS) != 0;
    memcpy(super->label, p + OFF_LABEL, EXT_LABEL_SIZE - 1);
    memcpy(super->uuid, p + OFF_UUID, sizeof super->uuid);
}

static int check_features(const struct ext_super *super, struct chr_error *err)
{
    uint32_t unknown = super->incompat & ~(uint32_t)INCOMPAT_KNOWN;

    /* Only-for-reading features do not change how files are found, but for this one. */
    if ((super->ro_compat & RO_COMPAT_BIGALLOC) != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "ext feature bigalloc is not supported");
    if (unknown == 0)
        return 0;
    for (size_t i = 0; i < sizeof incompat_names / sizeof incompat_names[0]; i++)
        if ((unknown & incompat_names[i].bit) != 0)
            return err_set(err, CHR_E_UNSUPPORTED, "ext feature %s is not supported",
                           incompat_names[i].name);
    return err_set(err, CHR_E_UNSUPPORTED, "unknown ext feature bits 0x%" PRIx32, unknown);
}

static int check_geometry(const struct ext_super *super, uint64_t device_size,
                          struct chr_error *err)
{
    uint64_t groups;

    if (super->block_size == 0)
        return err_set(err, CHR_E_DAMAGED, "ext superblock: block size is over 64 KiB");
    if (super->blocks <= super->first_data_block || super->blocks > device_size / super->block_size)
        return err_set(err, CHR_E_DAMAGED,
                       "ext superblock: %" PRIu64 " blocks of %" PRIu32
                       " bytes do not fit the partition of %" PRIu64 " bytes",
                       super->blocks, super->block_size, device_size);
    if (super->first_data_block != (super->block_size == 1024 ? 1u : 0u))
        return err_set(err, CHR_E_DAMAGED, "ext superblock: first data block is %" PRIu32,
                       super->first_data_block);
    /* mke2fs makes no smaller groups; with less, their descriptors would fill memory. */
    if (super->blocks_per_group < MIN_BLOCKS_PER_GROUP || super->blocks_per_group > 8 * super->block_size)
        return err_set(err, CHR_E_DAMAGED, "ext superblock: %" PRIu32 " blocks per group",
                       super->blocks_per_group);
    if (super->inode_size < OLD_INODE_SIZE || super->inode_size > super->block_size ||
        !is_power_of_two(super->inode_size))
        return err_set(err, CHR_E_DAMAGED, "ext superblock: inode size %" PRIu32,
                       super->inode_size);
    if (super->inodes_per_group < 8 || super->inodes_per_group > 8 * super->block_size)
        return err_set(err, CHR_E_DAMAGED, "ext superblock: %" PRIu32 " inodes per group",
                       super->inodes_per_group);
    groups = (super->blocks - super->first_data_block + super->blocks_per_group - 1) /
             super->blocks_per_group;
    if (groups * super->inodes_per_group != super->inodes)
        return err_set(err, CHR_E_DAMAGED,
                       "ext superblock: %" PRIu32 " inodes, but %" PRIu64 " groups of %" PRIu32,
                       super->inodes, groups, super->inodes_per_group);
    if (super->free_blocks > super->blocks || super->free_inodes > super->inodes)
        return err_set(err, CHR_E_DAMAGED, "ext superblock: more is free than there is");
    return 0;
}

int ext_super_read(struct blk *device, struct ext_super *out, struct chr_error *err)
{
    uint8_t buf[SUPER_SIZE];
    struct ext_super super;

    if (device->size < SUPER_OFFSET + SUPER_SIZE)
        return err_set(err, CHR_E_DAMAGED, "the partition is too small for ext");
    if (blk_read(device, SUPER_OFFSET, buf, sizeof buf, err) < 0)
        return -1;
    if (le16(buf + OFF_MAGIC) != MAGIC)
        return err_set(err, CHR_E_DAMAGED, "no ext superblock");
    decode(buf, &super);
    if (check_features(&super, err) < 0 || check_geometry(&super, device->size, err) < 0)
        return -1;
    *out = super;
    return 0;
}

int ext_traces(struct blk *device, bool *found, struct chr_error *err)
{
    uint8_t buf[SUPER_SIZE];
    struct ext_super super;
    struct chr_error no_trace;

    *found = false;
    if (device->size < SUPER_OFFSET + SUPER_SIZE)
        return 0;
    if (blk_read(device, SUPER_OFFSET, buf, sizeof buf, err) < 0)
        return -1;
    decode(buf, &super);
    *found = check_geometry(&super, device->size, &no_trace) == 0;
    return 0;
}

const char *ext_super_kind(const struct ext_super *super)
{
    /* As libblkid draws the line: what only ext4 knows, then a journal. */
    const uint32_t ext4_incompat = INCOMPAT_EXTENTS | INCOMPAT_64BIT | INCOMPAT_FLEX_BG;
    const uint32_t ext3_ro_compat = 0x1 | 0x2 | 0x4; /* sparse_super, large_file, btree_dir */

    if ((super->incompat & ext4_incompat) != 0 || (super->ro_compat & ~ext3_ro_compat) != 0)
        return "ext4";
    return super->has_journal ? "ext3" : "ext2";
}
