/*
 * The planner: rules that hold for every plan, on many random trees, and the
 * geometry that a CHR must come out with.
 */
#include "fs/fat_layout.h"

#include <time.h>

#include "fs/fat.h"
#include "fs/fat_name.h"
#include "tree_maker.h"

#define MIB (UINT64_C(1) << 20)

static uint64_t size_of_cluster(const struct fat_plan *plan)
{
    return (uint64_t)plan->geometry.sectors_per_cluster * FAT_SECTOR;
}

/* ---- the rules ---- */

/* FATGEN103: the parts lie one behind the other, and the tables have an entry for each cluster. */
static void check_geometry(const struct fat_plan *plan, uint64_t device_size)
{
    const struct fat_geometry *g = &plan->geometry;
    uint64_t root_sectors = g->root_entries / 16;
    uint64_t end = g->data_sector + (uint64_t)g->clusters * g->sectors_per_cluster;

    assert_int_equal(g->total_sectors, device_size / FAT_SECTOR);
    assert_true(is_power_of_two(g->sectors_per_cluster) && g->sectors_per_cluster <= 64);
    assert_true(g->clusters >= 4085 && g->clusters <= 65524);
    assert_true(g->reserved_sectors >= 2 && g->reserved_sectors < 65536);
    assert_true(g->fat_sectors < 65536 && (uint64_t)g->fat_sectors * 256 >= g->clusters + 2);
    assert_true(g->root_entries % 16 == 0 && g->root_entries >= plan->items[0].entry_count);
    assert_int_equal(g->reserved_sectors + 2 * g->fat_sectors + root_sectors, g->data_sector);
    assert_true(end <= g->total_sectors && g->total_sectors - end < g->sectors_per_cluster);
    assert_int_equal(fat_cluster_offset(g, 2), (uint64_t)g->data_sector * FAT_SECTOR);
    assert_int_equal(fat_cluster_offset(g, g->clusters + 2), end * FAT_SECTOR);
}

/* Every cluster within the file system, none used twice, `used` says the same. */
static void check_chains(const struct file_tree *tree, const struct fat_plan *plan)
{
    uint8_t *seen = calloc(1, plan->geometry.clusters + 2);

    assert_non_null(seen);
    for (size_t i = 1; i < tree->count; i++) {
        const struct fat_item *item = &plan->items[i];
        uint64_t bytes = tree->nodes[i].kind == FILE_FOLDER ? item->entry_count * UINT64_C(32)
                                                            : tree->nodes[i].size;

        if (!fat_plan_includes(tree, i))
            continue;
        assert_int_equal(item->cluster_count,
                         (bytes + size_of_cluster(plan) - 1) / size_of_cluster(plan));
        for (uint32_t k = 0; k < item->cluster_count; k++) {
            assert_in_range(item->chain[k], 2, plan->geometry.clusters + 1);
            assert_int_equal(seen[item->chain[k]], 0);
            seen[item->chain[k]] = 1;
        }
    }
    assert_memory_equal(seen, plan->used, plan->geometry.clusters + 2);
    free(seen);
}

/* Whether the sectors from FIRST on lie in one piece, and where. */
static bool in_one_piece(const uint64_t *map, size_t first, size_t count, uint64_t *at)
{
    *at = map[first];
    for (size_t i = 0; i < count; i++)
        if (map[first + i] == MAP_ZERO || map[first + i] != *at + i * MAP_SECTOR)
            return false;
    return true;
}

static bool all_zero(const uint64_t *map, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (map[first + i] != MAP_ZERO)
            return false;
    return true;
}

/* What the plan says of cluster K of a file is true, and nothing is copied without need. */
static void check_cluster(const struct fat_plan *plan, const struct fat_item *item, uint32_t k,
                          const uint64_t *map, size_t sectors)
{
    const struct fat_geometry *g = &plan->geometry;
    size_t first = (size_t)k * g->sectors_per_cluster;
    size_t count = (size_t)min_u64(g->sectors_per_cluster, sectors - first);
    uint64_t place = fat_cluster_offset(g, item->chain[k]);
    uint64_t start = fat_cluster_offset(g, 2);
    uint64_t at;

    switch ((enum fat_source)item->source[k]) {
    case FAT_KEPT:
        assert_true(in_one_piece(map, first, count, &at) && at == place && at >= start);
        break;
    case FAT_ZEROED:
        assert_true(all_zero(map, first, count));
        break;
    case FAT_COPIED:
        assert_false(all_zero(map, first, count));
        if (plan->layout == FAT_LAYOUT_KEEP && in_one_piece(map, first, count, &at) &&
            at >= start && (at - start) % size_of_cluster(plan) == 0 &&
            (at - start) / size_of_cluster(plan) < g->clusters)
            assert_int_equal(plan->used[(at - start) / size_of_cluster(plan) + 2], 1);
        break;
    default:
        fail();
    }
}

static void check_sources(const struct file_tree *tree, const struct fat_plan *plan)
{
    uint32_t copied_in_all = 0;
    uint32_t zeroed_in_all = 0;

    for (size_t i = 1; i < tree->count; i++) {
        const struct fat_item *item = &plan->items[i];
        size_t sectors = sectors_of(tree->nodes[i].size);
        uint32_t copied = 0;
        uint64_t *map;

        if (tree->nodes[i].kind != FILE_REGULAR)
            continue;
        map = map_file(&tree->nodes[i], sectors);
        for (uint32_t k = 0; k < item->cluster_count; k++) {
            check_cluster(plan, item, k, map, sectors);
            copied += item->source[k] == FAT_COPIED;
            zeroed_in_all += item->source[k] == FAT_ZEROED;
            assert_true(plan->layout == FAT_LAYOUT_KEEP || item->source[k] != FAT_KEPT);
        }
        assert_int_equal(item->copied, copied);
        copied_in_all += copied;
        free(map);
    }
    assert_int_equal(plan->copied_clusters + plan->linked_clusters, copied_in_all);
    assert_int_equal(plan->zeroed_clusters, zeroed_in_all);
}

/* In each folder no alias comes twice, and the entries are counted right. */
static void check_names(const struct file_tree *tree, const struct fat_plan *plan)
{
    for (size_t folder = 0; folder < tree->count; folder++) {
        unsigned entries = folder == 0 ? 1 : 2;

        if (tree->nodes[folder].kind != FILE_FOLDER || !fat_plan_includes(tree, folder))
            continue;
        for (size_t i = 1; i < tree->count; i++) {
            if (tree->nodes[i].parent != folder || !fat_plan_includes(tree, i))
                continue;
            entries += 1 + (plan->items[i].has_long_name
                                ? fat_name_long_entries(tree->nodes[i].name) : 0);
            for (size_t k = 1; k < i; k++)
                assert_true(tree->nodes[k].parent != folder || !fat_plan_includes(tree, k) ||
                            memcmp(plan->items[k].alias, plan->items[i].alias, 11) != 0);
        }
        assert_int_equal(plan->items[folder].entry_count, entries);
    }
}

static bool same_plans(const struct fat_plan *a, const struct fat_plan *b)
{
    bool same = memcmp(&a->geometry, &b->geometry, sizeof a->geometry) == 0 &&
                memcmp(a->used, b->used, a->geometry.clusters + 2) == 0;

    for (size_t i = 1; same && i < a->item_count; i++)
        same = memcmp(a->items[i].alias, b->items[i].alias, 11) == 0 &&
               a->items[i].cluster_count == b->items[i].cluster_count &&
               (a->items[i].cluster_count == 0 ||
                memcmp(a->items[i].chain, b->items[i].chain, 2 * a->items[i].cluster_count) == 0);
    return same;
}

static void check_plan(const struct file_tree *tree, uint64_t device_size, uint32_t block_size,
                       enum fat_layout layout)
{
    AUTO_FAT_PLAN struct fat_plan plan = {0};
    AUTO_FAT_PLAN struct fat_plan again = {0};
    struct chr_error err;

    assert_done(fat_plan_make(device_size, block_size, tree, layout, &plan, &err), &err);
    assert_int_equal(plan.layout, layout);
    assert_int_equal(plan.item_count, tree->count);
    check_geometry(&plan, device_size);
    check_chains(tree, &plan);
    check_sources(tree, &plan);
    check_names(tree, &plan);
    assert_done(fat_plan_make(device_size, block_size, tree, layout, &again, &err), &err);
    assert_true(same_plans(&plan, &again));
}

static void test_random_trees(void **state)
{
    static const uint32_t block_sizes[] = {1024, 2048, 4096};
    struct dice dice = {1};

    (void)state;
    for (int round = 0; round < 60; round++) {
        /* From 3 MiB to nearly 2 GiB, as many small ones as large ones. */
        uint64_t size = (3 * MIB << roll_below(&dice, 10)) / 16 * (16 + roll_below(&dice, 5));
        uint32_t block_size = block_sizes[round % 3];
        struct tree_maker m;

        size = round_down(min_u64(size + 512 * roll_below(&dice, 9), 2047 * MIB), 512);
        make_random_tree(&m, &dice, size, block_size);
        check_plan(&m.tree, size, block_size, FAT_LAYOUT_KEEP);
        check_plan(&m.tree, size, block_size, FAT_LAYOUT_COMPACT);
        tree_maker_release(&m);
    }
}

/* ---- a CHR ---- */

/* An ext2 of 32 MiB with 4 KiB blocks as mke2fs lays it: files from block 13 on. */
static void make_chr(struct tree_maker *m, struct dice *dice, uint64_t first_block)
{
    struct chr_error err;
    struct file_node *kernel;

    *m = (struct tree_maker){.dice = dice, .block_size = 4096, .blocks = 8192};
    (void)add_node(m, 0, "", FILE_FOLDER);
    (void)add_node(m, 0, "EFI", FILE_FOLDER);
    (void)add_node(m, 1, "BOOT", FILE_FOLDER);
    kernel = add_node(m, 2, "BOOTX64.EFI", FILE_REGULAR);
    kernel->size = 4000000;
    /* 12 blocks, the indirect block, the rest. */
    assert_done(file_node_add_run(kernel,
                                  (struct file_run){.off = first_block * 4096, .length = 12 * 4096},
                                  &err), &err);
    assert_done(file_node_add_run(kernel,
                                  (struct file_run){.file_off = 12 * 4096,
                                                    .off = (first_block + 13) * 4096,
                                                    .length = 965 * 4096},
                                  &err), &err);
    (void)add_node(m, 0, "lost+found", FILE_FOLDER);
}

static void test_the_geometry_of_a_chr(void **state)
{
    struct dice dice = {9};
    struct tree_maker m;
    struct fat_plan plan;
    struct chr_error err;

    (void)state;
    make_chr(&m, &dice, 128);
    assert_done(fat_plan_make(32 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
    assert_int_equal(plan.geometry.sectors_per_cluster, 8);
    assert_int_equal(plan.geometry.reserved_sectors, 8);
    assert_int_equal(plan.geometry.fat_sectors, 32);
    assert_int_equal(plan.geometry.root_entries, 512);
    assert_int_equal(plan.geometry.data_sector, 104);
    assert_int_equal(plan.geometry.clusters, 8179);
    assert_int_equal(plan.copied_clusters, 0);
    assert_int_equal(plan.items[3].chain[0], 128 - 13 + 2);
    assert_true(plan.skipped_lost_found);
    fat_plan_release(&plan);
    tree_maker_release(&m);
}

/* A block in the way of the usual root folder is no reason to move it. */
static void test_a_smaller_root_folder_saves_a_block(void **state)
{
    struct dice dice = {9};
    struct tree_maker m;
    struct fat_plan plan;
    struct chr_error err;

    (void)state;
    make_chr(&m, &dice, 10);
    assert_done(fat_plan_make(32 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
    assert_int_equal(plan.copied_clusters, 0);
    assert_true(plan.geometry.root_entries < 512);
    check_geometry(&plan, 32 * MIB);
    fat_plan_release(&plan);
    file_tree_release(&m.tree);
    make_chr(&m, &dice, 2); /* but what lies inside of the FATs must go */
    assert_done(fat_plan_make(32 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
    assert_true(plan.copied_clusters > 0);
    check_geometry(&plan, 32 * MIB);
    check_sources(&m.tree, &plan);
    fat_plan_release(&plan);
    tree_maker_release(&m);
}

/* ---- names within a folder ---- */

static void test_aliases_are_unique(void **state)
{
    static const char *const names[] = {"longfilename1", "longfilename2", "LONGFI~1",
                                        "longfilename3", "a+b", "a=b", "A_B~1", "a_b"};
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};
    struct fat_plan plan;
    struct chr_error err;

    (void)state;
    (void)add_node(&m, 0, "", FILE_FOLDER);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)add_node(&m, 0, names[i], FILE_REGULAR);
    for (unsigned i = 0; i < 150; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "longfilename.%u", 1000 + i);
        (void)add_node(&m, 0, name, FILE_REGULAR);
    }
    assert_done(fat_plan_make(32 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
    check_names(&m.tree, &plan);
    /* The file that is called LONGFI~1 keeps its name; the others get out of its way. */
    assert_memory_equal(plan.items[3].alias, "LONGFI~1   ", 11);
    assert_memory_equal(plan.items[1].alias, "LONGFI~2   ", 11);
    fat_plan_release(&plan);
    tree_maker_release(&m);
}

/* ---- refusals ---- */

static void refuse(uint64_t size, const struct file_tree *tree, enum chr_code code,
                   const char *text)
{
    struct fat_plan plan = {.item_count = 42};
    struct chr_error err;

    assert_refused(fat_plan_make(size, 4096, tree, FAT_LAYOUT_KEEP, &plan, &err), &err, code, text);
    assert_refused(fat_plan_make(size, 4096, tree, FAT_LAYOUT_COMPACT, &plan, &err), &err, code,
                   text);
    assert_int_equal(plan.item_count, 42);
}

static void test_partitions_outside_of_fat16(void **state)
{
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};

    (void)state;
    (void)add_node(&m, 0, "", FILE_FOLDER);
    /* 4085 clusters, two FATs of 16 sectors, two reserved sectors, a small root folder. */
    check_plan(&m.tree, (4085 + 2 + 32 + 32) * 512, 1024, FAT_LAYOUT_KEEP);
    refuse((4085 + 2 + 32) * 512, &m.tree, CHR_E_REFUSED, "cannot be FAT16 (2.1 MiB to 2 GiB)");
    refuse(0, &m.tree, CHR_E_REFUSED, "cannot be FAT16");
    refuse(MIB, &m.tree, CHR_E_REFUSED, "of 1048576 bytes cannot be FAT16");
    check_plan(&m.tree, 2047 * MIB, 4096, FAT_LAYOUT_KEEP);
    refuse(2049 * MIB, &m.tree, CHR_E_REFUSED, "cannot be FAT16");
    refuse(UINT64_MAX, &m.tree, CHR_E_REFUSED, "cannot be FAT16");
    refuse((UINT64_C(1) << 41) + 32 * MIB, &m.tree, CHR_E_REFUSED, "cannot be FAT16");
    tree_maker_release(&m);
}

/* Sector by sector over the places where a table needs one sector more, and where the number of
 * clusters leaves FAT16. */
static void test_every_size_around_the_limits(void **state)
{
    /* From, to, block size: 4085 clusters, 65524 clusters, 20 whole sectors of table. */
    static const uint32_t ranges[][3] = {{4151, 5200, 512}, {65900, 66200, 512},
                                         {131500, 132200, 1024}, {64 * 5110, 64 * 5135, 32768}};
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};

    (void)state;
    (void)add_node(&m, 0, "", FILE_FOLDER);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        for (uint32_t sectors = ranges[i][0]; sectors < ranges[i][1]; sectors++) {
            struct fat_plan plan;
            struct chr_error err;

            assert_done(fat_plan_make(sectors * UINT64_C(512), ranges[i][2], &m.tree,
                                      FAT_LAYOUT_KEEP, &plan, &err),
                        &err);
            check_geometry(&plan, sectors * UINT64_C(512));
            fat_plan_release(&plan);
        }
    tree_maker_release(&m);
}

static void refuse_node(enum file_kind kind, uint64_t size, const char *name, enum chr_code code,
                        const char *text)
{
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};

    (void)add_node(&m, 0, "", FILE_FOLDER);
    (void)add_node(&m, 0, "EFI", FILE_FOLDER);
    add_node(&m, 1, name, kind)->size = size;
    refuse(32 * MIB, &m.tree, code, text);
    tree_maker_release(&m);
}

static void test_files_that_fat_cannot_hold(void **state)
{
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};

    (void)state;
    refuse_node(FILE_SYMLINK, 0, "link", CHR_E_REFUSED,
                "EFI/link: FAT cannot hold a symbolic link");
    refuse_node(FILE_OTHER, 0, "fifo", CHR_E_REFUSED, "EFI/fifo: FAT cannot hold a device");
    refuse_node(FILE_REGULAR, UINT64_C(1) << 32, "big", CHR_E_REFUSED,
                "EFI/big: FAT cannot hold a file of 4294967296 bytes");
    refuse_node(FILE_REGULAR, UINT32_MAX, "big", CHR_E_SPACE, "do not fit the boot partition");
    refuse_node(FILE_REGULAR, 32 * MIB, "big", CHR_E_SPACE, "do not fit the boot partition");
    refuse_node(FILE_REGULAR, 0, "a:b", CHR_E_REFUSED, "EFI/a:b: FAT cannot hold a name");
    (void)add_node(&m, 0, "", FILE_FOLDER);
    (void)add_node(&m, 0, "Map", FILE_REGULAR);
    (void)add_node(&m, 0, "MAP", FILE_REGULAR);
    refuse(32 * MIB, &m.tree, CHR_E_REFUSED, "MAP: FAT cannot tell it from Map");
    tree_maker_release(&m);
}

static void test_too_many_files(void **state)
{
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};
    char name[32];

    (void)state;
    (void)add_node(&m, 0, "", FILE_FOLDER);
    for (unsigned i = 1; i < 4096; i++) {
        (void)snprintf(name, sizeof name, "FILE%u", i);
        (void)add_node(&m, i <= 32 ? 0 : i % 32 + 1, name, i <= 32 ? FILE_FOLDER : FILE_REGULAR);
    }
    check_plan(&m.tree, 32 * MIB, 4096, FAT_LAYOUT_KEEP);
    (void)add_node(&m, 0, "longer than an alias", FILE_REGULAR);
    refuse(32 * MIB, &m.tree, CHR_E_REFUSED, "4097 files on the boot partition are more than 4096");
    tree_maker_release(&m);
    m = (struct tree_maker){.dice = &dice};
    (void)add_node(&m, 0, "", FILE_FOLDER);
    for (unsigned i = 0; i < 1400; i++) {
        (void)snprintf(name, sizeof name, "%04u name of two pieces", i);
        (void)add_node(&m, 0, name, FILE_REGULAR);
    }
    refuse(32 * MIB, &m.tree, CHR_E_REFUSED, "the root folder needs");
    tree_maker_release(&m);
}

/* A hostile folder: every alias is taken by the one before.  Must not take minutes. */
static void test_many_names_with_one_stem_are_planned_in_time(void **state)
{
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};
    struct fat_plan plan;
    struct chr_error err;
    clock_t start;
    char name[32];

    (void)state;
    (void)add_node(&m, 0, "", FILE_FOLDER);
    (void)add_node(&m, 0, "EFI", FILE_FOLDER);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "one stem for all %u", i);
        (void)add_node(&m, 1, name, FILE_REGULAR);
    }
    start = clock();
    assert_done(fat_plan_make(32 * MIB, 4096, &m.tree, FAT_LAYOUT_KEEP, &plan, &err), &err);
    if (clock() - start > 2 * CLOCKS_PER_SEC)
        fail_msg("1000 names took %d s", (int)((clock() - start) / CLOCKS_PER_SEC));
    check_names(&m.tree, &plan);
    fat_plan_release(&plan);
    tree_maker_release(&m);
}

static void test_only_an_empty_lost_found_is_left_out(void **state)
{
    struct dice dice = {2};
    struct tree_maker m = {.dice = &dice};

    (void)state;
    (void)add_node(&m, 0, "", FILE_FOLDER);
    (void)add_node(&m, 0, "lost+found", FILE_FOLDER);
    (void)add_node(&m, 0, "EFI", FILE_FOLDER);
    (void)add_node(&m, 2, "lost+found", FILE_FOLDER);
    assert_false(fat_plan_includes(&m.tree, 1));
    assert_true(fat_plan_includes(&m.tree, 3));
    (void)add_node(&m, 1, "#12", FILE_REGULAR);
    assert_true(fat_plan_includes(&m.tree, 1));
    check_plan(&m.tree, 32 * MIB, 4096, FAT_LAYOUT_KEEP);
    tree_maker_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_trees),
        cmocka_unit_test(test_the_geometry_of_a_chr),
        cmocka_unit_test(test_a_smaller_root_folder_saves_a_block),
        cmocka_unit_test(test_aliases_are_unique),
        cmocka_unit_test(test_partitions_outside_of_fat16),
        cmocka_unit_test(test_every_size_around_the_limits),
        cmocka_unit_test(test_files_that_fat_cannot_hold),
        cmocka_unit_test(test_too_many_files),
        cmocka_unit_test(test_many_names_with_one_stem_are_planned_in_time),
        cmocka_unit_test(test_only_an_empty_lost_found_is_left_out),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
