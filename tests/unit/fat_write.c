/*
 * Plan, write, read again: the reader, which shares no code with the writer,
 * finds the same tree and bytes, fsck.fat has no complaint, and no byte changed
 * that the plan does not name.
 */
#include "fs/fat_write.h"

#include "fs/fat.h"
#include "fsck_fat.h"
#include "memory_blk.h"
#include "tree_maker.h"

#define MIB (UINT64_C(1) << 20)

/* Sectors that are like no other, and a boot block with a hole for the BPB. */
static struct memory *make_source(uint64_t size)
{
    struct memory *memory = memory_new(size);

    for (uint64_t at = 0; at + 8 <= size; at += 8)
        put_le64(memory->bytes + at, (at + 1) * UINT64_C(0x9E3779B97F4A7C15));
    memset(memory->bytes, 0, 0x68);
    memcpy(memory->bytes, "\xEB\x66", 2);
    memcpy(memory->bytes + 510, "\x55\xAA", 2);
    return memory;
}

static struct memory *copy_device(const struct memory *source)
{
    struct memory *copy = memory_new(source->blk.size);

    memcpy(copy->bytes, source->bytes, source->blk.size);
    return copy;
}

/* ---- the same tree, the same bytes ---- */

/* Both files have the same sectors behind them, as far as the size goes. */
static void compare_bytes(const struct memory *old_device, const struct file_node *old_node,
                          const struct memory *new_device, const struct file_node *new_node)
{
    static const uint8_t zeros[MAP_SECTOR];
    size_t count = sectors_of(old_node->size);
    uint64_t *old_map = map_file(old_node, count);
    uint64_t *new_map = map_file(new_node, count);

    for (size_t i = 0; i < count; i++) {
        size_t len = (size_t)min_u64(MAP_SECTOR, old_node->size - i * MAP_SECTOR);

        assert_true(new_map[i] != MAP_ZERO);
        if (memcmp(old_map[i] == MAP_ZERO ? zeros : old_device->bytes + old_map[i],
                   new_device->bytes + new_map[i], len) != 0)
            fail_msg("%s differs in its sector %zu", old_node->path, i);
    }
    free(old_map);
    free(new_map);
}

static const struct file_node *find(const struct file_tree *tree, const char *path)
{
    for (size_t i = 1; i < tree->count; i++)
        if (strcmp(tree->nodes[i].path, path) == 0)
            return &tree->nodes[i];
    fail_msg("%s is missing", path);
    return NULL;
}

static void compare_trees(struct memory *old_device, const struct file_tree *old_tree,
                          struct memory *new_device, const struct file_tree *new_tree)
{
    size_t expected = 1;

    for (size_t i = 1; i < old_tree->count; i++) {
        const struct file_node *old_node = &old_tree->nodes[i];
        const struct file_node *new_node;

        if (!fat_plan_includes(old_tree, i))
            continue;
        expected++;
        new_node = find(new_tree, old_node->path);
        assert_int_equal(new_node->kind, old_node->kind);
        assert_int_equal(new_node->modified, old_node->modified - old_node->modified % 2);
        assert_int_equal(new_node->created, old_node->created);
        assert_int_equal(new_node->accessed, old_node->accessed - old_node->accessed % 86400);
        if (old_node->kind != FILE_REGULAR)
            continue;
        assert_int_equal(new_node->size, old_node->size);
        compare_bytes(old_device, old_node, new_device, new_node);
    }
    assert_int_equal(new_tree->count, expected);
}

/* ---- only the declared bytes ---- */

static void mark(uint8_t *declared, uint64_t sector, uint64_t count)
{
    memset(declared + sector, 1, count);
}

/* Boot sector, reserved sectors but the loader's, tables, root folder, clusters not kept. */
static uint8_t *declared_sectors(const struct fat_plan *plan, uint64_t sectors)
{
    const struct fat_geometry *g = &plan->geometry;
    uint8_t *declared = calloc(1, sectors);

    assert_non_null(declared);
    mark(declared, 0, 1);
    mark(declared, 2, g->data_sector - 2);
    for (size_t i = 1; i < plan->item_count; i++)
        for (uint32_t k = 0; k < plan->items[i].cluster_count; k++)
            if (plan->items[i].source[k] != FAT_KEPT || plan->items[i].entry_count > 0)
                mark(declared, fat_cluster_offset(g, plan->items[i].chain[k]) / FAT_SECTOR,
                     g->sectors_per_cluster);
    return declared;
}

static void check_declared(const struct memory *source, const struct memory *target,
                           const struct fat_plan *plan)
{
    uint8_t *declared = declared_sectors(plan, source->blk.size / FAT_SECTOR);

    for (uint64_t i = 0; i < source->blk.size / FAT_SECTOR; i++)
        if (declared[i] == 0 && memcmp(source->bytes + i * FAT_SECTOR,
                                       target->bytes + i * FAT_SECTOR, FAT_SECTOR) != 0)
            fail_msg("sector %d changed", (int)i);
    free(declared);
}

/* ---- the judge ---- */

/* ---- all of it ---- */

static void write_and_check(struct memory *source, const struct file_tree *tree,
                            const struct fat_plan *plan, bool with_fsck)
{
    const struct fat_write_options options = {
        .label = "RouterOS Boot", .serial = 0x1234ABCD, .hidden_sectors = 34,
        .keep_boot_code = plan->layout == FAT_LAYOUT_KEEP,
    };
    struct memory *target = copy_device(source);
    AUTO_TREE struct file_tree read = {0};
    struct fat_info info;
    struct chr_error err;

    assert_done(fat_write(&source->blk, tree, plan, &options, &target->blk, &err), &err);
    assert_int_equal(source->log_count, 0);
    assert_done(fat_read(&target->blk, &info, &read, &err), &err);
    assert_int_equal(info.bits, 16);
    assert_int_equal(info.clusters, plan->geometry.clusters);
    assert_int_equal(info.serial, 0x1234ABCD);
    assert_string_equal(info.label, "RouterOS Bo");
    compare_trees(source, tree, target, &read);
    check_declared(source, target, plan);
    if (with_fsck)
        run_fsck(target);
    memory_free(target);
}

static void test_random_trees(void **state)
{
    static const uint32_t block_sizes[] = {1024, 2048, 4096};
    struct dice dice = {7};

    (void)state;
    for (int round = 0; round < 90; round++) {
        uint64_t size = 3 * MIB + 512 * roll_below(&dice, 20000);
        struct memory *source = make_source(size);
        AUTO_FAT_PLAN struct fat_plan plan = {0};
        struct tree_maker m;
        struct chr_error err;

        make_random_tree(&m, &dice, size, block_sizes[round % 3]);
        assert_done(fat_plan_make(size, m.block_size, &m.tree,
                                  round % 4 == 0 ? FAT_LAYOUT_COMPACT : FAT_LAYOUT_KEEP, &plan,
                                  &err),
                    &err);
        write_and_check(source, &m.tree, &plan, round % 3 == 0);
        tree_maker_release(&m);
        memory_free(source);
    }
}

/* ---- the boot sector ---- */

/* Write an empty file system, for what lies in front of the files. */
static struct memory *write_empty(const char *label, bool keep_boot_code)
{
    const struct fat_write_options options = {
        .label = label, .serial = 1, .hidden_sectors = 34, .keep_boot_code = keep_boot_code};
    struct memory *source = make_source(32 * MIB);
    struct memory *target = copy_device(source);
    struct dice dice = {1};
    struct tree_maker m = {.dice = &dice};
    AUTO_FAT_PLAN struct fat_plan plan = {0};
    struct chr_error err;

    (void)add_node(&m, 0, "", FILE_FOLDER);
    assert_done(fat_plan_make(32 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
    assert_done(fat_write(&source->blk, &m.tree, &plan, &options, &target->blk, &err), &err);
    tree_maker_release(&m);
    memory_free(source);
    return target;
}

/* FATGEN103: every field of the BPB. */
static void test_the_bpb(void **state)
{
    struct memory *target = write_empty("Boot", true);
    const uint8_t *p = target->bytes;

    (void)state;
    assert_int_equal(le16(p + 11), 512);
    assert_int_equal(p[13], 8);
    assert_int_equal(p[16], 2);
    assert_int_equal(p[21], 0xF8);
    assert_int_equal(le16(p + 19), 0);
    assert_int_equal(le32(p + 32), 65536);
    assert_int_equal(le32(p + 28), 34);
    assert_int_equal(p[36], 0x80);
    assert_int_equal(p[38], 0x29);
    assert_int_equal(le32(p + 39), 1);
    assert_memory_equal(p + 43, "Boot       FAT16   ", 19);
    assert_memory_equal(p + le16(p + 14) * 512, "\xF8\xFF\xFF\xFF", 4);
    memory_free(target);
}

static void test_the_boot_code(void **state)
{
    struct memory *source = make_source(32 * MIB);
    struct memory *kept = write_empty("Boot", true);
    struct memory *lost = write_empty("Boot", false);

    (void)state;
    assert_memory_equal(kept->bytes, "\xEB\x66\x90", 3);
    assert_memory_equal(kept->bytes + 62, source->bytes + 62, 512 - 62);
    assert_memory_equal(lost->bytes, "\xEB\x3C\x90", 3);
    assert_non_null(memmem(lost->bytes, 512, "UEFI only", 9));
    /* Sector 1 is the loader's; the ext superblock in sectors 2 and 3 is gone. */
    assert_memory_equal(kept->bytes + 512, source->bytes + 512, 512);
    assert_true(is_zero(kept->bytes + 1024, 1024));
    memory_free(source);
    memory_free(kept);
    memory_free(lost);
}

static void test_labels(void **state)
{
    static const char *const cases[][2] = {
        {"Boot", "Boot       "},         {"RouterOS Boot", "RouterOS Bo"},
        {"", "NO NAME    "},             {"a.b/c:d", "a_b_c_d    "},
        {"\xC3\xA9t\xC3\xA9", "_t_        "}, {"x\x01y", "x_y        "},
    };
    uint8_t label[11];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fat_label_encode(cases[i][0], label);
        assert_memory_equal(label, cases[i][1], 11);
        if (cases[i][0][0] != '\0') {
            struct memory *target = write_empty(cases[i][0], true);

            run_fsck(target);
            memory_free(target);
        }
    }
}

/* ---- times ---- */

static void test_times_outside_of_fat_are_moved_to_its_ends(void **state)
{
    static const int64_t times[][2] = {
        {0, 315532800},                     /* 1970 */
        {-5, 315532800},
        {315532799, 315532800},             /* 1979 */
        {951782400, 951782400},             /* 2000-02-29 */
        {4354819199, 4354819198},           /* 2107-12-31 23:59:59 */
        {INT64_C(99999999999), 4354819198}, /* 5138 */
    };
    struct dice dice = {1};

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        const struct fat_write_options options = {.label = "x", .keep_boot_code = true};
        struct memory *source = make_source(4 * MIB);
        struct memory *target = copy_device(source);
        struct tree_maker m = {.dice = &dice};
        AUTO_FAT_PLAN struct fat_plan plan = {0};
        AUTO_TREE struct file_tree read = {0};
        struct fat_info info;
        struct chr_error err;

        (void)add_node(&m, 0, "", FILE_FOLDER);
        add_node(&m, 0, "a", FILE_REGULAR)->modified = times[i][0];
        assert_done(fat_plan_make(4 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
        assert_done(fat_write(&source->blk, &m.tree, &plan, &options, &target->blk, &err), &err);
        assert_done(fat_read(&target->blk, &info, &read, &err), &err);
        assert_int_equal(read.nodes[1].modified, times[i][1]);
        tree_maker_release(&m);
        memory_free(source);
        memory_free(target);
    }
}

/* ---- when something is wrong ---- */

static void refuse_plan(struct memory *device, const struct file_tree *tree,
                        const struct fat_plan *plan, const char *text)
{
    const struct fat_write_options options = {.label = "x"};
    struct memory *target = memory_new(device->blk.size);
    struct chr_error err;

    assert_refused(fat_write(&device->blk, tree, plan, &options, &target->blk, &err), &err,
                   CHR_E_INTERNAL, text);
    memory_free(target);
}

static void test_a_plan_that_contradicts_itself_is_not_carried_out(void **state)
{
    struct dice dice = {1};
    struct memory *source = make_source(4 * MIB);
    AUTO_FAT_PLAN struct fat_plan plan = {0};
    struct tree_maker m;
    struct chr_error err;
    size_t file = 1;

    (void)state;
    make_random_tree(&m, &dice, 4 * MIB, 4096);
    assert_done(fat_plan_make(4 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
    while (plan.items[file].cluster_count == 0)
        file++;
    plan.geometry.data_sector++;
    refuse_plan(source, &m.tree, &plan, "the FAT plan contradicts itself");
    plan.geometry.data_sector--;
    plan.geometry.clusters += 64;
    refuse_plan(source, &m.tree, &plan, "the FAT plan contradicts itself");
    plan.geometry.clusters -= 64;
    plan.geometry.total_sectors++;
    refuse_plan(source, &m.tree, &plan, "the FAT plan contradicts itself");
    plan.geometry.total_sectors--;
    plan.items[file].chain[0] = 1;
    refuse_plan(source, &m.tree, &plan, "the FAT plan has cluster 1");
    plan.items[file].chain[0] = (uint16_t)(plan.geometry.clusters + 2);
    refuse_plan(source, &m.tree, &plan, "the FAT plan has cluster");
    plan.items[file].chain[0] = 2;
    plan.items[0].entry_count++;
    refuse_plan(source, &m.tree, &plan, "more or fewer entries than planned");
    tree_maker_release(&m);
    memory_free(source);
}

/* A write that fails, whichever it is, is an error. */
static void test_every_failing_write_is_reported(void **state)
{
    const struct fat_write_options options = {.label = "x", .keep_boot_code = true};
    struct dice dice = {3};
    struct memory *source = make_source(4 * MIB);
    struct memory *target = memory_new(4 * MIB);
    AUTO_FAT_PLAN struct fat_plan plan = {0};
    struct tree_maker m;
    struct chr_error err;
    size_t writes;

    (void)state;
    make_random_tree(&m, &dice, 4 * MIB, 4096);
    assert_done(fat_plan_make(4 * MIB, 4096, &m.tree, FAT_LAYOUT_COMPACT, &plan, &err), &err);
    assert_done(fat_write(&source->blk, &m.tree, &plan, &options, &target->blk, &err), &err);
    writes = target->log_count;
    assert_true(writes > 10);
    for (size_t cut = 0; cut < writes; cut++) {
        memory_reset(target);
        target->writes_left = cut;
        assert_refused(fat_write(&source->blk, &m.tree, &plan, &options, &target->blk, &err), &err,
                       CHR_E_IO, "no power");
    }
    memory_reset(target);
    source->read_fault = true;
    assert_refused(fat_write(&source->blk, &m.tree, &plan, &options, &target->blk, &err), &err,
                   CHR_E_IO, "read fault");
    tree_maker_release(&m);
    memory_free(source);
    memory_free(target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_trees),
        cmocka_unit_test(test_the_bpb),
        cmocka_unit_test(test_the_boot_code),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_times_outside_of_fat_are_moved_to_its_ends),
        cmocka_unit_test(test_a_plan_that_contradicts_itself_is_not_carried_out),
        cmocka_unit_test(test_every_failing_write_is_reported),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
