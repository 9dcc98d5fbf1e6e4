/*
 * The planner.
 *
 * First names, which need no geometry.  Then for each cluster size that FAT16
 * allows: geometry with the data area in step with the file blocks, clusters
 * that can stay are claimed, and the rest is placed into what is free.  The
 * size that moves least wins; the block size is tried first.
 */
#include "fs/fat_layout.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/fat.h"
#include "fs/fat_name.h"

#define FAT16_ENTRY_SIZE 2
#define FAT_COPIES 2
/* Sector 0 is the boot sector, sector 1 belongs to the boot code in ext (its
 * first 1024 bytes): neither may become a FAT. */
#define MIN_RESERVED_SECTORS 2
#define DEFAULT_ROOT_ENTRIES 512
#define MAX_ROOT_ENTRIES 4096
#define MAX_SECTORS_PER_CLUSTER 64 /* 32 KiB: what every implementation reads */
#define FAT16_MAX_SECTORS (2u << 21) /* 2 GiB */
#define MAX_FILE_SIZE UINT32_MAX
/* Names are compared each with each; the boot partition of a CHR has five files. */
#define MAX_FILES 4096
#define ENTRIES_OF_DOTS 2
#define ENTRIES_OF_LABEL 1

uint64_t fat_cluster_offset(const struct fat_geometry *geometry, uint32_t cluster)
{
    return ((uint64_t)geometry->data_sector +
            (uint64_t)(cluster - FAT_FIRST_CLUSTER) * geometry->sectors_per_cluster) *
           FAT_SECTOR;
}

bool fat_plan_includes(const struct file_tree *tree, size_t index)
{
    const struct file_node *node = &tree->nodes[index];

    if (strcmp(node->path, "lost+found") != 0 || node->kind != FILE_FOLDER)
        return true;
    for (size_t i = index + 1; i < tree->count; i++)
        if (tree->nodes[i].parent == index)
            return true;
    return false;
}

/* ---- names ---- */

static int check_node(const struct file_node *node, struct chr_error *err)
{
    if (node->kind == FILE_SYMLINK || node->kind == FILE_OTHER)
        return err_set(err, CHR_E_REFUSED, "FAT cannot hold a %s",
                       node->kind == FILE_SYMLINK ? "symbolic link" : "device, FIFO or socket");
    if (node->kind == FILE_REGULAR && node->size > MAX_FILE_SIZE)
        return err_set(err, CHR_E_REFUSED, "FAT cannot hold a file of %" PRIu64 " bytes",
                       node->size);
    return fat_name_check(node->name, err);
}

/* Whether a sibling answers to the alias of node INDEX: an earlier one by its alias, any by name. */
static bool alias_taken(const struct file_tree *tree, const struct fat_plan *plan, size_t index)
{
    const uint8_t *alias = plan->items[index].alias;
    char text[FAT_ALIAS_TEXT_SIZE];

    fat_name_alias_text(alias, text);
    for (size_t i = 1; i < tree->count; i++) {
        if (i == index || tree->nodes[i].parent != tree->nodes[index].parent)
            continue;
        if (fat_name_same(tree->nodes[i].name, text) ||
            (i < index && memcmp(plan->items[i].alias, alias, FAT_ALIAS_SIZE) == 0))
            return true;
    }
    return false;
}

/*
 * The ~N to begin with: behind the last sibling whose alias is what our name
 * would give too.  Without it, N names of one stem would cost N^3 comparisons.
 */
static unsigned first_attempt(const struct file_tree *tree, const struct fat_plan *plan,
                              size_t index)
{
    uint8_t alias[FAT_ALIAS_SIZE];

    for (size_t i = index - 1; i > 0; i--) {
        const struct fat_item *other = &plan->items[i];

        if (tree->nodes[i].parent != tree->nodes[index].parent || other->alias_attempt == 0)
            continue;
        (void)fat_name_alias(tree->nodes[index].name, other->alias_attempt, alias);
        if (memcmp(alias, other->alias, FAT_ALIAS_SIZE) == 0)
            return other->alias_attempt + 1;
    }
    return 1;
}

/* Take the first alias that is free in the folder. */
static void choose_alias(const struct file_tree *tree, struct fat_plan *plan, size_t index)
{
    const char *name = tree->nodes[index].name;
    struct fat_item *item = &plan->items[index];

    if (!fat_name_alias(name, 0, item->alias) || alias_taken(tree, plan, index)) {
        item->alias_attempt = first_attempt(tree, plan, index);
        (void)fat_name_alias(name, item->alias_attempt, item->alias);
        while (alias_taken(tree, plan, index))
            (void)fat_name_alias(name, ++item->alias_attempt, item->alias);
    }
    item->has_long_name = fat_name_needs_long(name, item->alias);
}

static int check_unique(const struct file_tree *tree, size_t index, struct chr_error *err)
{
    const struct file_node *node = &tree->nodes[index];

    for (size_t i = 1; i < index; i++)
        if (tree->nodes[i].parent == node->parent && fat_name_same(tree->nodes[i].name, node->name))
            return err_set(err, CHR_E_REFUSED, "FAT cannot tell it from %s", tree->nodes[i].path);
    return 0;
}

static int plan_names(const struct file_tree *tree, struct fat_plan *plan, struct chr_error *err)
{
    plan->items[0].entry_count = ENTRIES_OF_LABEL;
    for (size_t i = 1; i < tree->count; i++) {
        const struct file_node *node = &tree->nodes[i];

        if (!fat_plan_includes(tree, i)) {
            plan->skipped_lost_found = true;
            continue;
        }
        if (check_node(node, err) < 0 || check_unique(tree, i, err) < 0)
            return err_context(err, "%s", node->path);
        choose_alias(tree, plan, i);
        if (node->kind == FILE_FOLDER)
            plan->items[i].entry_count = ENTRIES_OF_DOTS;
        plan->items[node->parent].entry_count +=
            1 + (plan->items[i].has_long_name ? fat_name_long_entries(node->name) : 0);
    }
    return 0;
}

/* ---- geometry ---- */

/*
 * The geometry for one cluster size, with cluster 2 at PHASE modulo the
 * cluster size.  False when FAT16 has none.
 */
static bool make_geometry(uint32_t total, uint32_t per_cluster, uint32_t phase,
                          uint32_t root_entries, struct fat_geometry *out)
{
    uint32_t root_sectors = root_entries * FAT_ENTRY_SIZE / FAT_SECTOR;
    uint32_t fat_sectors = 1;

    /* A larger table leaves fewer clusters, so this settles, mostly in the second turn. */
    for (;;) {
        uint32_t least = MIN_RESERVED_SECTORS + FAT_COPIES * fat_sectors + root_sectors;
        uint32_t data = least + (phase + per_cluster - least % per_cluster) % per_cluster;
        uint32_t clusters = data < total ? (total - data) / per_cluster : 0;
        uint64_t needed = ((uint64_t)clusters + FAT_FIRST_CLUSTER) * FAT16_ENTRY_SIZE;

        if (clusters < FAT16_MIN_CLUSTERS)
            return false;
        if (needed <= (uint64_t)fat_sectors * FAT_SECTOR) {
            /* Right below 2 GiB the last few clusters are left out, and the size says so. */
            if (clusters > FAT16_MAX_CLUSTERS && per_cluster == MAX_SECTORS_PER_CLUSTER &&
                total <= FAT16_MAX_SECTORS) {
                clusters = FAT16_MAX_CLUSTERS;
                total = data + clusters * per_cluster;
            }
            *out = (struct fat_geometry){
                .total_sectors = total,
                .sectors_per_cluster = per_cluster,
                .reserved_sectors = data - FAT_COPIES * fat_sectors - root_sectors,
                .fat_sectors = fat_sectors,
                .root_entries = root_entries,
                .data_sector = data,
                .clusters = clusters,
            };
            return clusters <= FAT16_MAX_CLUSTERS;
        }
        fat_sectors = (uint32_t)min_u64((needed + FAT_SECTOR - 1) / FAT_SECTOR, fat_sectors + 256);
    }
}

static uint32_t cluster_size(const struct fat_geometry *geometry)
{
    return geometry->sectors_per_cluster * FAT_SECTOR;
}

/* ---- clusters ---- */

/* The run that holds byte OFF of the file, or NULL in a hole; *CURSOR only moves on. */
static const struct file_run *run_holding(const struct file_node *node, size_t *cursor,
                                          uint64_t off)
{
    while (*cursor < node->run_count &&
           node->runs[*cursor].file_off + node->runs[*cursor].length <= off)
        ++*cursor;
    if (*cursor == node->run_count || node->runs[*cursor].file_off > off)
        return NULL;
    return &node->runs[*cursor];
}

/* The cluster that already holds LEN bytes of the run from file offset OFF, or 0. */
static uint32_t cluster_in_place(const struct fat_geometry *geometry, const struct file_run *run,
                                 uint64_t off, uint64_t len)
{
    uint64_t at = run->off + (off - run->file_off);
    uint64_t data = (uint64_t)geometry->data_sector * FAT_SECTOR;
    uint64_t cluster;

    if (run->length - (off - run->file_off) < len || at < data ||
        (at - data) % cluster_size(geometry) != 0)
        return 0;
    cluster = (at - data) / cluster_size(geometry);
    return cluster < geometry->clusters ? (uint32_t)cluster + FAT_FIRST_CLUSTER : 0;
}

/* Whether bytes [off, off + len) of the file hold nothing but holes and unwritten blocks. */
static bool all_zero(const struct file_node *node, uint64_t off, uint64_t len)
{
    for (size_t i = 0; i < node->run_count; i++)
        if (!node->runs[i].unwritten && node->runs[i].file_off < off + len &&
            node->runs[i].file_off + node->runs[i].length > off)
            return false;
    return true;
}

/* Claim the clusters of NODE that can stay; chain entries of the others are left 0. */
static void claim_in_place(const struct file_tree *tree, size_t index, struct fat_plan *plan)
{
    const struct file_node *node = &tree->nodes[index];
    struct fat_item *item = &plan->items[index];
    uint64_t size = cluster_size(&plan->geometry);
    size_t cursor = 0;

    for (uint32_t i = 0; i < item->cluster_count; i++) {
        uint64_t off = i * size;
        const struct file_run *run = run_holding(node, &cursor, off);
        uint32_t cluster = 0;

        if (run != NULL && plan->layout == FAT_LAYOUT_KEEP)
            cluster = cluster_in_place(&plan->geometry, run, off, min_u64(size, node->size - off));
        if (cluster != 0 && plan->used[cluster] == 0) {
            plan->used[cluster] = 1;
            item->chain[i] = (uint16_t)cluster;
            item->source[i] = run->unwritten ? FAT_ZEROED : FAT_KEPT;
        } else {
            item->source[i] = run == NULL || run->unwritten
                                  ? all_zero(node, off, size) ? FAT_ZEROED : FAT_COPIED
                                  : FAT_COPIED;
        }
        item->copied += item->source[i] == FAT_COPIED;
        plan->zeroed_clusters += item->source[i] == FAT_ZEROED;
    }
    if (file_tree_is_second_name(tree, index))
        plan->linked_clusters += item->copied;
    else
        plan->copied_clusters += item->copied;
}

/* Give every chain entry that is still 0 the lowest free cluster. */
static int place_rest(struct fat_plan *plan, struct chr_error *err)
{
    uint32_t end = plan->geometry.clusters + FAT_FIRST_CLUSTER;
    uint32_t next = FAT_FIRST_CLUSTER;

    for (size_t i = 1; i < plan->item_count; i++)
        for (uint32_t k = 0; k < plan->items[i].cluster_count; k++) {
            if (plan->items[i].chain[k] != 0)
                continue;
            while (next < end && plan->used[next] != 0)
                next++;
            if (next == end)
                return err_set(err, CHR_E_SPACE,
                               "the files do not fit the boot partition as FAT16");
            plan->used[next] = 1;
            plan->items[i].chain[k] = (uint16_t)next;
        }
    return 0;
}

static uint64_t clusters_needed(const struct file_node *node, const struct fat_item *item,
                                uint64_t size)
{
    uint64_t bytes = node->kind == FILE_FOLDER ? (uint64_t)item->entry_count * FAT_ENTRY_SIZE
                                               : node->size;

    return (bytes + size - 1) / size;
}

static int allocate_item(const struct file_node *node, struct fat_plan *plan, struct fat_item *item,
                         struct chr_error *err)
{
    uint64_t count = clusters_needed(node, item, cluster_size(&plan->geometry));

    if (count > plan->geometry.clusters)
        return err_set(err, CHR_E_SPACE,
                       "%s: its %" PRIu64 " bytes do not fit the boot partition as FAT16",
                       node->path, node->size);
    item->cluster_count = (uint32_t)count;
    item->chain = mem_new(count, sizeof *item->chain, err);
    item->source = mem_new(count, sizeof *item->source, err);
    return item->chain == NULL || item->source == NULL ? -1 : 0;
}

static void release_clusters(struct fat_plan *plan)
{
    for (size_t i = 0; i < plan->item_count; i++) {
        free(plan->items[i].chain);
        free(plan->items[i].source);
        plan->items[i].chain = NULL;
        plan->items[i].source = NULL;
        plan->items[i].cluster_count = 0;
        plan->items[i].copied = 0;
    }
    free(plan->used);
    plan->used = NULL;
    plan->copied_clusters = 0;
    plan->linked_clusters = 0;
    plan->zeroed_clusters = 0;
}

/* Place every file for the plan's geometry. */
static int plan_clusters(const struct file_tree *tree, struct fat_plan *plan, struct chr_error *err)
{
    release_clusters(plan);
    plan->used = mem_new(plan->geometry.clusters + FAT_FIRST_CLUSTER, 1, err);
    if (plan->used == NULL)
        return -1;
    for (size_t i = 1; i < tree->count; i++) {
        const struct file_node *node = &tree->nodes[i];

        if (!fat_plan_includes(tree, i))
            continue;
        if (allocate_item(node, plan, &plan->items[i], err) < 0)
            return -1;
        if (node->kind == FILE_REGULAR)
            claim_in_place(tree, i, plan);
    }
    return place_rest(plan, err);
}

/* ---- the choice of cluster size ---- */

/* The phase that suits the file with most in it: where its first run begins. */
static uint32_t preferred_phase(const struct file_tree *tree, uint32_t per_cluster)
{
    const struct file_node *largest = NULL;

    for (size_t i = 1; i < tree->count; i++)
        if (tree->nodes[i].run_count > 0 && tree->nodes[i].kind == FILE_REGULAR &&
            (largest == NULL || tree->nodes[i].size > largest->size))
            largest = &tree->nodes[i];
    return largest == NULL
               ? 0
               : (uint32_t)((largest->runs[0].off - largest->runs[0].file_off) / FAT_SECTOR %
                            per_cluster);
}

/* Cluster sizes in the order of preference: the block size, smaller ones, larger ones. */
static unsigned candidate_sizes(uint32_t block_size, uint32_t *sizes)
{
    uint32_t preferred = (uint32_t)min_u64(max_u64(block_size / FAT_SECTOR, 1),
                                           MAX_SECTORS_PER_CLUSTER);
    unsigned count = 0;

    for (uint32_t size = preferred; size >= 1; size /= 2)
        sizes[count++] = size;
    for (uint32_t size = preferred * 2; size <= MAX_SECTORS_PER_CLUSTER; size *= 2)
        sizes[count++] = size;
    return count;
}

static int no_geometry(uint64_t device_size, struct chr_error *err)
{
    return err_set(err, CHR_E_REFUSED,
                   "a boot partition of %" PRIu64 " bytes cannot be FAT16 (2.1 MiB to 2 GiB)",
                   device_size);
}

/* The search for the geometry that leaves most in place. */
struct search {
    const struct file_tree *tree;
    struct fat_plan *plan; /* scratch */
    uint32_t total;
    uint32_t block_size;
    uint32_t sizes[16];
    unsigned size_count;
    struct fat_geometry best;
    uint64_t least; /* bytes that `best` copies, in whole blocks */
    bool any_geometry;
};

/* Plan for one geometry and remember it if it copies less; only CHR_E_SPACE is no failure. */
static int try_geometry(struct search *search, uint32_t per_cluster, uint32_t root_entries,
                        struct chr_error *err)
{
    struct fat_plan *plan = search->plan;
    bool keep = plan->layout == FAT_LAYOUT_KEEP;
    uint32_t phase = keep ? preferred_phase(search->tree, per_cluster) : 0;
    uint64_t copied;

    if (!make_geometry(search->total, per_cluster, phase, root_entries, &plan->geometry))
        return 0;
    search->any_geometry = true;
    if (plan_clusters(search->tree, plan, err) < 0)
        return err->code == CHR_E_SPACE ? 0 : -1;
    copied = keep ? round_up((uint64_t)plan->copied_clusters * cluster_size(&plan->geometry),
                             search->block_size)
                  : 0;
    if (copied < search->least) {
        search->least = copied;
        search->best = plan->geometry;
    }
    return 0;
}

/*
 * Every cluster size with the usual root folder, then with smaller ones: they
 * are as good for the few entries of a CHR, and may clear a block that a file
 * has right behind the FATs.
 */
static int choose_geometry(struct search *search, struct chr_error *err)
{
    uint32_t needed = (uint32_t)round_up(search->plan->items[0].entry_count,
                                         FAT_SECTOR / FAT_ENTRY_SIZE);
    uint32_t entries = (uint32_t)max_u64(needed, DEFAULT_ROOT_ENTRIES);

    if (needed > MAX_ROOT_ENTRIES)
        return err_set(err, CHR_E_REFUSED, "the root folder needs %" PRIu32
                       " entries, FAT16 has at most %d", needed, MAX_ROOT_ENTRIES);
    search->least = UINT64_MAX;
    for (; entries >= needed && search->least > 0; entries /= 2)
        for (unsigned i = 0; i < search->size_count && search->least > 0; i++)
            if (try_geometry(search, search->sizes[i], entries, err) < 0)
                return -1;
    if (!search->any_geometry)
        return no_geometry((uint64_t)search->total * FAT_SECTOR, err);
    return search->least == UINT64_MAX ? -1 : 0; /* the error of the last try stands */
}

int fat_plan_make(uint64_t device_size, uint32_t block_size, const struct file_tree *tree,
                  enum fat_layout layout, struct fat_plan *out, struct chr_error *err)
{
    AUTO_FAT_PLAN struct fat_plan plan = {.layout = layout};
    struct search search = {
        .tree = tree,
        .plan = &plan,
        .total = (uint32_t)(device_size / FAT_SECTOR),
        .block_size = block_size,
    };

    if (device_size / FAT_SECTOR > UINT32_MAX)
        return no_geometry(device_size, err);
    if (tree->count > MAX_FILES)
        return err_set(err, CHR_E_REFUSED, "%zu files on the boot partition are more than %d",
                       tree->count, MAX_FILES);
    plan.items = mem_new(tree->count, sizeof *plan.items, err);
    if (plan.items == NULL)
        return -1;
    plan.item_count = tree->count;
    search.size_count = candidate_sizes(block_size, search.sizes);
    if (plan_names(tree, &plan, err) < 0 || choose_geometry(&search, err) < 0)
        return -1;
    plan.geometry = search.best;
    if (plan_clusters(tree, &plan, err) < 0)
        return -1;
    *out = plan;
    plan = (struct fat_plan){0};
    return 0;
}

void fat_plan_release(struct fat_plan *plan)
{
    release_clusters(plan);
    free(plan->items);
    *plan = (struct fat_plan){0};
}
