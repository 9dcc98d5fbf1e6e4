/* Tables, boot partition, contents, loader: read once, used by every command. */
#include "op/analysis.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/probe.h"

/* UEFI 2.10, table 3-2: the default name says the machine. */
static const struct {
    const char *path;
    uint16_t machine;
} loaders[] = {
    {"EFI/BOOT/BOOTX64.EFI", KERNEL_MACHINE_X86_64},
    {"EFI/BOOT/BOOTAA64.EFI", KERNEL_MACHINE_ARM64},
};

#define MAP_PATH "map"
/* Of an ext superblock, in bytes from the start of the partition. */
#define SUPER_PLACE 1024
#define SUPER_PLACE_SIZE 1024

void analysis_free(struct analysis **analysis)
{
    struct analysis *a = *analysis;

    if (a == NULL)
        return;
    file_tree_release(&a->tree);
    free(a->metadata.runs);
    blk_cleanup(&a->window);
    table_free(&a->table);
    free(a);
}

int partition_window(struct blk *disk, const struct partition *partition, struct blk **out,
                     struct chr_error *err)
{
    return blk_window_open(disk, partition->first_lba * GPT_SECTOR_SIZE,
                           (partition->last_lba - partition->first_lba + 1) * GPT_SECTOR_SIZE, out,
                           err);
}

/* ---- the tree ---- */

static int read_ext_tree(struct analysis *a, struct chr_error *err)
{
    AUTO_EXT struct ext *ext = NULL;

    if (ext_open(a->window, &ext, err) < 0)
        return -1;
    a->super = *ext_get_super(ext);
    if (ext_read_tree(ext, "", true, &a->tree, err) < 0)
        return -1;
    return ext_read_metadata(ext, &a->metadata, err);
}

/* The file that a kernel without a file system becomes, with the folders above it. */
static int add_kernel_file(struct file_tree *tree, const struct raw_kernel *kernel,
                           struct chr_error *err)
{
    static const char *const folders[] = {"", "EFI", "BOOT"};
    const char *name = kernel->kernel.machine == KERNEL_MACHINE_ARM64 ? "BOOTAA64.EFI"
                                                                      : "BOOTX64.EFI";
    struct file_node *node;

    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        node = file_tree_add(tree, i > 0 ? i - 1 : 0, folders[i], err);
        if (node == NULL)
            return -1;
        node->kind = FILE_FOLDER;
        node->mode = 0755;
    }
    node = file_tree_add(tree, tree->count - 1, name, err);
    if (node == NULL)
        return -1;
    node->mode = 0644;
    node->size = kernel->kernel.file_size;
    return file_node_add_run(node,
                             (struct file_run){.off = kernel->offset,
                                               .length = round_up(node->size, GPT_SECTOR_SIZE)},
                             err);
}

/*
 * A kernel is looked for only where there is truly no file system: a FAT or ext
 * that is merely damaged still has files to lose.
 */
static int check_no_traces(struct analysis *a, struct chr_error *err)
{
    char type[PROBE_TYPE_SIZE];
    bool traces;

    if (fat_traces(a->window, &traces, err) < 0)
        return -1;
    if (traces)
        return err_set(err, CHR_E_DAMAGED, "FAT: traces of a file system, but the parameters in "
                       "its boot sector are damaged");
    if (ext_traces(a->window, &traces, err) < 0)
        return -1;
    if (traces)
        return err_set(err, CHR_E_DAMAGED, "ext: traces of a file system, but its superblock has no "
                       "magic number");
    if (probe_blkid(a->window, type, err) < 0)
        return -1;
    return type[0] == '\0' ? 0
                           : err_set(err, CHR_E_UNSUPPORTED,
                                     "libblkid finds %s on it, which chrimg does not know", type);
}

/* Where ext has its superblock there is nothing, or the kernel: anything else may be a
 * superblock that is damaged beyond recognition, with files behind it. */
static int check_super_place(struct analysis *a, const struct raw_kernel *kernel,
                             struct chr_error *err)
{
    uint8_t place[SUPER_PLACE_SIZE];

    if (kernel->offset <= SUPER_PLACE &&
        kernel->offset + kernel->kernel.file_size >= SUPER_PLACE + SUPER_PLACE_SIZE)
        return 0;
    if (blk_read(a->window, SUPER_PLACE, place, sizeof place, err) < 0)
        return -1;
    if (is_zero(place, sizeof place))
        return 0;
    return err_set(err, CHR_E_DAMAGED,
                   "a boot loader is there, but what lies before it at offset %d is not understood: "
                   "it may be a damaged file system", SUPER_PLACE);
}

static int read_raw_tree(struct analysis *a, struct chr_error *err)
{
    struct raw_kernel kernel;

    if (check_no_traces(a, err) < 0)
        return -1;
    if (probe_find_kernel(a->window, &kernel, err) < 0 || check_super_place(a, &kernel, err) < 0)
        return -1;
    a->contents = CHR_CONTENTS_KERNEL;
    return add_kernel_file(&a->tree, &kernel, err);
}

static int read_tree(struct analysis *a, struct chr_error *err)
{
    bool ambiguous;

    if (probe_ambiguous(a->window, &ambiguous, err) < 0)
        return -1;
    if (ambiguous)
        return err_set(err, CHR_E_DAMAGED,
                       "it carries the marks of ext and of FAT at once; one of them is stale");
    switch (a->contents) {
    case CHR_CONTENTS_EXT:
        return read_ext_tree(a, err);
    case CHR_CONTENTS_FAT:
        return fat_read(a->window, &a->fat, &a->tree, err);
    default:
        return read_raw_tree(a, err);
    }
}

/* ---- the loader ---- */

static int read_kernel(struct analysis *a, struct chr_error *err)
{
    uint8_t head[KERNEL_HEAD_SIZE];
    size_t len = (size_t)min_u64(sizeof head, a->loader->size);

    if (file_read(a->window, a->loader, 0, head, len, err) < 0)
        return -1;
    return kernel_decode(head, len, &a->kernel, err);
}

/* Firmware must be able to load it: for the machine of its name, and whole. */
static int check_loader(struct analysis *a, uint16_t machine, struct chr_error *err)
{
    if (read_kernel(a, err) < 0)
        return -1;
    if (a->kernel.machine != machine)
        return err_set(err, CHR_E_DAMAGED, "it is for %s (PE machine %04x), not for %s",
                       kernel_machine_name(a->kernel.machine), a->kernel.machine,
                       kernel_machine_name(machine));
    if (a->kernel.load_size > a->loader->size)
        return err_set(err, CHR_E_DAMAGED,
                       "its PE sections end at byte %" PRIu64 ", the file at byte %" PRIu64,
                       a->kernel.load_size, a->loader->size);
    return 0;
}

static void find_loader(struct analysis *a)
{
    uint16_t machine = 0;

    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0] && a->loader == NULL; i++) {
        a->loader = file_tree_find(&a->tree, loaders[i].path);
        machine = loaders[i].machine;
    }
    if (a->loader != NULL && a->loader->kind != FILE_REGULAR)
        a->loader = NULL;
    if (a->loader != NULL)
        a->loader_sound = check_loader(a, machine, &a->loader_problem) == 0;
    a->has_map = file_tree_find(&a->tree, MAP_PATH) != NULL;
}

int analyse(struct blk *disk, struct analysis **out, struct chr_error *err)
{
    AUTO_ANALYSIS struct analysis *a = mem_new(1, sizeof *a, err);

    if (a == NULL)
        return -1;
    a->disk = disk;
    if (table_read(disk, &a->table, err) < 0)
        return -1;
    a->boot = table_boot_partition(a->table);
    if (partition_window(disk, a->boot, &a->window, err) < 0 ||
        blk_read(a->window, 0, a->boot_sector, sizeof a->boot_sector, err) < 0 ||
        probe_contents(a->window, &a->contents, err) < 0)
        return -1;
    a->boot_code = boot_sector_classify(a->boot_sector);
    a->readable = read_tree(a, &a->problem) == 0;
    if (!a->readable && (a->problem.code == CHR_E_IO || a->problem.code == CHR_E_MEMORY)) {
        *err = a->problem;
        return -1;
    }
    if (!a->readable)
        file_tree_release(&a->tree);
    else
        find_loader(a);
    *out = STEAL(a);
    return 0;
}
