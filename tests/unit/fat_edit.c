/*
 * The FAT editor: random steps against a model, with every byte that changes
 * accounted for; and FATs that contradict themselves, refused by name.
 */
#include "fs/fat_edit.h"

#include "base/bytes.h"
#include "block/overlay.h"
#include "fsck_fat.h"
#include "memory_blk.h"

#define IMAGE FSCK_IMAGE
#define TIME 1000000000

static const struct edit_attributes plain = {.mode = 0644, .modified = TIME};

/* ---- a FAT to begin with, by mkfs.fat ---- */

static struct memory *load(const char *path)
{
    size_t len;
    uint8_t *bytes = read_file(path, &len);
    struct memory *memory = memory_new(len);

    memcpy(memory->bytes, bytes, len);
    free(bytes);
    return memory;
}

static struct memory *make_fat(unsigned kib, const char *options)
{
    char command[256];

    (void)snprintf(command, sizeof command,
                   "rm -f " IMAGE " && truncate -s %uK " IMAGE
                   " && PATH=$PATH:/usr/sbin:/sbin mkfs.fat --invariant -n LABEL %s " IMAGE
                   " >/dev/null",
                   kib, options);
    assert_int_equal(system(command), 0);
    return load(IMAGE);
}

/* ---- a source of bytes ---- */

struct bytes {
    const uint8_t *p;
    uint64_t next; /* where the editor must read on */
    uint64_t fail_at;
};

static int read_bytes(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    struct bytes *bytes = context;

    assert_int_equal(off, bytes->next);
    assert_true(len > 0);
    if (off >= bytes->fail_at)
        return err_set(err, CHR_E_IO, "the source fails");
    memcpy(buf, bytes->p + off, len);
    bytes->next += len;
    return 0;
}

static int put(struct fat_edit *edit, const char *path, const void *p, size_t len,
               struct chr_error *err)
{
    struct bytes bytes = {.p = p, .fail_at = UINT64_MAX};
    struct edit_source source = {.size = len, .read = read_bytes, .context = &bytes};

    return fat_edit_put(edit, path, &source, &plain, err);
}

static void put_text(struct memory *memory, const char *path, const char *text)
{
    struct fat_edit *edit;
    struct chr_error err;

    assert_done(fat_edit_open(&memory->blk, &edit, &err), &err);
    assert_done(put(edit, path, text, strlen(text), &err), &err);
    assert_done(fat_edit_finish(&edit, &err), &err);
}

/* ---- the random steps ---- */

#define MODEL_FILES 40
#define MODEL_SIZE 20000

struct model_file {
    bool there;
    bool folder;
    size_t size;
    uint8_t bytes[MODEL_SIZE];
};

/* Names 0-7 are folders in the root, the others files in them or in the root. */
static void model_path(unsigned index, char *path, size_t size)
{
    static const char *const names[] = {"F%u", "a long name %u.tar", "\xC3\x9Cx%u",
                                        "mixed%u.Txt", "\xF0\x9F\x98\x80%u"};

    if (index < 8) {
        (void)snprintf(path, size, index % 2 == 0 ? "DIR%u" : "Folder no. %u", index);
        return;
    }
    path[0] = '\0';
    if (index % 3 != 0) {
        model_path(index % 8, path, size);
        (void)strcat(path, "/");
    }
    (void)snprintf(path + strlen(path), size - strlen(path), names[index % 5], index);
}

static bool folder_of_model(const struct model_file *model, unsigned index)
{
    return index < 8 || index % 3 == 0 || model[index % 8].there;
}

static void forget_below(struct model_file *model, unsigned folder)
{
    for (unsigned i = 8; i < MODEL_FILES; i++)
        if (i % 3 != 0 && i % 8 == folder)
            model[i].there = false;
}

static void put_random(struct fat_edit *edit, struct model_file *file, const char *path,
                       struct dice *dice)
{
    struct chr_error err;
    size_t size = (size_t)roll_below(dice, roll_below(dice, 4) == 0 ? MODEL_SIZE : 1500);
    uint8_t bytes[MODEL_SIZE];
    uint64_t before;
    uint64_t after;
    uint32_t cluster_size;

    roll_bytes(dice, bytes, size);
    assert_done(fat_edit_room(edit, &before, &cluster_size, &err), &err);
    if (put(edit, path, bytes, size, &err) < 0) {
        assert_int_equal(err.code, CHR_E_SPACE);
        assert_done(fat_edit_room(edit, &after, &cluster_size, &err), &err);
        assert_int_equal(after, before);
        return;
    }
    file->there = true;
    file->size = size;
    memcpy(file->bytes, bytes, size);
}

static void remove_random(struct fat_edit *edit, struct model_file *model, unsigned index,
                          const char *path, bool recursive)
{
    struct chr_error err = {0};
    bool empty = true;

    for (unsigned i = 8; i < MODEL_FILES; i++)
        empty = empty && !(model[i].there && i % 3 != 0 && i % 8 == index);
    if (index < 8 && !empty && !recursive) {
        assert_refused(fat_edit_remove(edit, path, false, &err), &err, CHR_E_REFUSED, "not empty");
        return;
    }
    assert_done(fat_edit_remove(edit, path, recursive, &err), &err);
    model[index].there = false;
    if (index < 8)
        forget_below(model, index);
}

static void random_step(struct fat_edit *edit, struct model_file *model, struct dice *dice)
{
    unsigned index = (unsigned)roll_below(dice, MODEL_FILES);
    struct edit_entry entry;
    struct chr_error err = {0};
    char path[128];

    model_path(index, path, sizeof path);
    if (!folder_of_model(model, index)) {
        assert_refused(put(edit, path, "x", 1, &err), &err, CHR_E_MISSING, "no folder");
        return;
    }
    if (!model[index].there)
        assert_refused(fat_edit_stat(edit, path, &entry, &err), &err, CHR_E_MISSING, "no such file");
    if (model[index].there && roll_below(dice, 4) == 0) {
        remove_random(edit, model, index, path, roll_below(dice, 3) == 0);
    } else if (index >= 8) {
        put_random(edit, &model[index], path, dice);
    } else if (model[index].there) {
        assert_refused(fat_edit_make_folder(edit, path, &plain, &err), &err, CHR_E_EXISTS, path);
    } else if (fat_edit_make_folder(edit, path, &plain, &err) == 0) {
        model[index].there = true;
    } else {
        assert_int_equal(err.code, CHR_E_SPACE);
    }
}

static const struct file_node *find(const struct file_tree *tree, const char *path)
{
    for (size_t i = 1; i < tree->count; i++)
        if (strcmp(tree->nodes[i].path, path) == 0)
            return &tree->nodes[i];
    return NULL;
}

/* The reader finds what the model has, and nothing else. */
static void compare_with_model(struct memory *memory, const struct model_file *model)
{
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info info;
    struct chr_error err;
    size_t count = 1;

    assert_done(fat_read(&memory->blk, &info, &tree, &err), &err);
    assert_string_equal(info.label, "LABEL");
    for (unsigned i = 0; i < MODEL_FILES; i++) {
        static uint8_t bytes[MODEL_SIZE];
        const struct file_node *node;
        char path[128];

        model_path(i, path, sizeof path);
        node = find(&tree, path);
        if (!model[i].there) {
            if (node != NULL)
                fail_msg("%s is there", path);
            continue;
        }
        count++;
        if (node == NULL)
            fail_msg("%s is missing", path);
        assert_int_equal(node->kind, i < 8 ? FILE_FOLDER : FILE_REGULAR);
        assert_int_equal(node->modified, TIME);
        if (i < 8)
            continue;
        assert_int_equal(node->size, model[i].size);
        assert_done(file_read(&memory->blk, node, 0, bytes, node->size, &err), &err);
        assert_memory_equal(bytes, model[i].bytes, node->size);
    }
    assert_int_equal(tree.count, count);
}

/* ---- only what must change ---- */

/* Mark the sectors of NODE in WHOSE with VALUE. */
static void mark(const struct file_node *node, unsigned value, unsigned *whose)
{
    for (size_t i = 0; i < node->run_count; i++)
        for (uint64_t at = 0; at < node->runs[i].length; at += 512)
            whose[(node->runs[i].off + at) / 512] = value;
}

/*
 * Between OLD and NEW, no sector changed but: tables and FSInfo, folders, and the
 * clusters of NEW's files (whose bytes are compared elsewhere).
 */
static void check_changes(struct memory *old, struct memory *new)
{
    AUTO_TREE struct file_tree old_tree = {0};
    AUTO_TREE struct file_tree new_tree = {0};
    struct fat_info info;
    struct chr_error err;
    size_t sectors = old->blk.size / 512;
    unsigned *whose = calloc(sectors, sizeof *whose); /* 1: may change */

    assert_done(fat_read(&old->blk, &info, &old_tree, &err), &err);
    assert_done(fat_read(&new->blk, &info, &new_tree, &err), &err);
    for (size_t i = 0; i < new_tree.count; i++)
        mark(&new_tree.nodes[i], 1, whose);
    if (info.bits == 32)
        whose[1] = 1; /* FSInfo */
    for (uint64_t at = (uint64_t)le16(old->bytes + 14); at < info.data_start / 512; at++)
        whose[at] = 1;
    for (size_t i = 0; i < sectors; i++)
        if (whose[i] == 0 && memcmp(old->bytes + i * 512, new->bytes + i * 512, 512) != 0)
            fail_msg("sector %zu changed and is no file's", i);
    free(whose);
}

/* A file that was not touched has the same runs. */
static void check_places(struct memory *old, struct memory *new, const char *touched)
{
    AUTO_TREE struct file_tree old_tree = {0};
    AUTO_TREE struct file_tree new_tree = {0};
    struct fat_info info;
    struct chr_error err;

    assert_done(fat_read(&old->blk, &info, &old_tree, &err), &err);
    assert_done(fat_read(&new->blk, &info, &new_tree, &err), &err);
    for (size_t i = 1; i < old_tree.count; i++) {
        const struct file_node *node = &old_tree.nodes[i];
        const struct file_node *now = find(&new_tree, node->path);

        if (strcmp(node->path, touched) == 0 || node->kind == FILE_FOLDER)
            continue;
        assert_non_null(now);
        assert_int_equal(now->run_count, node->run_count);
        assert_memory_equal(now->runs, node->runs, node->run_count * sizeof *node->runs);
    }
}

static struct memory *copy_device(const struct memory *source)
{
    struct memory *copy = memory_new(source->blk.size);

    memcpy(copy->bytes, source->bytes, source->blk.size);
    return copy;
}

static void steps_on(unsigned kib, const char *options, uint64_t seed)
{
    struct model_file *model = calloc(MODEL_FILES, sizeof *model);
    struct memory *memory = make_fat(kib, options);
    struct dice dice = {seed};
    struct chr_error err;

    for (int session = 0; session < 60; session++) {
        struct memory *before = copy_device(memory);
        bool single = session % 2 == 0;
        struct fat_edit *edit;

        assert_done(fat_edit_open(&memory->blk, &edit, &err), &err);
        for (uint64_t i = single ? 1 : roll_below(&dice, 30); i > 0; i--)
            random_step(edit, model, &dice);
        assert_done(fat_edit_finish(&edit, &err), &err);
        assert_null(edit);
        compare_with_model(memory, model);
        /* Of several steps, one may have written what a later one has given back. */
        if (single)
            check_changes(before, memory);
        memory_free(before);
        if (session % 5 == 0)
            run_fsck(memory);
    }
    memory_free(memory);
    free(model);
}

static void test_steps_fat12(void **state)
{
    (void)state;
    steps_on(160, "-F 12 -s 1", 1);
    steps_on(1440, "-F 12 -s 4 -r 64", 2);
}

static void test_steps_fat16(void **state)
{
    (void)state;
    steps_on(4400, "-F 16 -s 2 -r 512", 3);
}

static void test_steps_fat32(void **state)
{
    (void)state;
    steps_on(33792, "-F 32 -s 1", 4);
}

/* ---- single properties ---- */

static void test_others_stay(void **state)
{
    struct memory *memory = make_fat(1440, "-F 12");
    char text[5000];

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct memory *before = copy_device(memory);
        char path[16];

        (void)snprintf(path, sizeof path, "F%d", i % 7);
        memset(text, 'a' + i, sizeof text - 1);
        text[sizeof text - 1 - (size_t)(i * 397 % 4900)] = '\0';
        put_text(memory, path, text);
        check_places(before, memory, path);
        memory_free(before);
    }
    memory_free(memory);
}

static void test_keeps_its_own_clusters(void **state)
{
    AUTO_TREE struct file_tree before = {0};
    AUTO_TREE struct file_tree after = {0};
    struct memory *memory = make_fat(1440, "-F 12 -s 1");
    struct fat_info info;
    struct chr_error err;
    char text[3001];

    (void)state;
    memset(text, 'x', sizeof text);
    text[3000] = '\0';
    put_text(memory, "gap", "gap");
    put_text(memory, "kernel", text);
    assert_done(fat_read(&memory->blk, &info, &before, &err), &err);
    text[2600] = '\0';
    put_text(memory, "KERNEL", text);
    assert_done(fat_read(&memory->blk, &info, &after, &err), &err);
    assert_non_null(find(&after, "kernel"));
    assert_memory_equal(find(&after, "kernel")->runs, find(&before, "kernel")->runs,
                        sizeof(struct file_run));
    memory_free(memory);
}

static uint64_t fat_offset(const struct memory *memory)
{
    return le16(memory->bytes + 14) * (uint64_t)le16(memory->bytes + 11);
}

/* Change the entry of CLUSTER in both copies of a FAT16's table. */
static void set_fat16(struct memory *memory, uint32_t cluster, uint16_t value)
{
    uint64_t size = le16(memory->bytes + 22) * (uint64_t)512;

    for (unsigned copy = 0; copy < memory->bytes[16]; copy++)
        put_le16(memory->bytes + fat_offset(memory) + copy * size + 2 * cluster, value);
}

static void test_bad_and_lost_clusters_stay(void **state)
{
    struct memory *memory = make_fat(4400, "-F 16 -s 2");
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info info;
    struct fat_edit *edit;
    struct chr_error err;
    uint64_t room;
    uint32_t cluster_size;
    uint8_t *bytes;

    (void)state;
    set_fat16(memory, 5, 0xFFF7); /* bad */
    set_fat16(memory, 9, 0xFFFF); /* lost */
    assert_done(fat_edit_open(&memory->blk, &edit, &err), &err);
    assert_done(fat_edit_room(edit, &room, &cluster_size, &err), &err);
    bytes = calloc(1, room);
    assert_done(put(edit, "all", bytes, room, &err), &err);
    assert_done(fat_edit_finish(&edit, &err), &err);
    free(bytes);
    assert_int_equal(le16(memory->bytes + fat_offset(memory) + 10), 0xFFF7);
    assert_int_equal(le16(memory->bytes + fat_offset(memory) + 18), 0xFFFF);
    assert_done(fat_read(&memory->blk, &info, &tree, &err), &err);
    assert_int_equal(tree.nodes[1].run_count, 3);
    assert_int_equal(info.free_clusters, 0);
    memory_free(memory);
}

static void test_failing_source(void **state)
{
    struct memory *memory = make_fat(1440, "-F 12");
    struct bytes bytes = {.p = (const uint8_t *)"", .fail_at = 0};
    struct edit_source source = {.size = 5000, .read = read_bytes, .context = &bytes};
    struct fat_edit *edit;
    struct chr_error err = {0};

    (void)state;
    assert_done(fat_edit_open(&memory->blk, &edit, &err), &err);
    assert_refused(fat_edit_put(edit, "x", &source, &plain, &err), &err, CHR_E_IO, "x: the source");
    assert_refused(fat_edit_finish(&edit, &err), &err, CHR_E_INTERNAL, "not written");
    assert_null(edit);
    source.size = UINT64_C(1) << 32;
    assert_done(fat_edit_open(&memory->blk, &edit, &err), &err);
    assert_refused(fat_edit_put(edit, "x", &source, &plain, &err), &err, CHR_E_REFUSED,
                   "4294967296");
    fat_edit_cleanup(&edit);
    memory_free(memory);
}

/* Behind the end mark may lie anything; it must not come to life. */
static void test_garbage_behind_the_end(void **state)
{
    struct memory *memory = make_fat(4400, "-F 16 -s 2 -r 512");
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info info;
    struct chr_error err;
    uint8_t *root;

    (void)state;
    put_text(memory, "A", "a");
    assert_done(fat_read(&memory->blk, &info, &tree, &err), &err);
    root = memory->bytes + info.data_start - 512 * 32;
    memset(root + 3 * 32, 'G', 20 * 32);
    file_tree_release(&tree);
    put_text(memory, "B", "b");
    assert_done(fat_read(&memory->blk, &info, &tree, &err), &err);
    assert_int_equal(tree.count, 3);
    put_text(memory, "a long name of several entries", "c");
    file_tree_release(&tree);
    assert_done(fat_read(&memory->blk, &info, &tree, &err), &err);
    assert_int_equal(tree.count, 4); /* fsck.fat is no judge: it reads on behind the mark */
    memory_free(memory);
}

static void test_device_faults(void **state)
{
    struct memory *memory = make_fat(1440, "-F 12");
    struct fat_edit *edit;
    struct chr_error err = {0};
    size_t writes = 0;

    (void)state;
    for (;; writes++) {
        struct memory *copy = copy_device(memory);
        int result;

        copy->writes_left = writes;
        assert_done(fat_edit_open(&copy->blk, &edit, &err), &err);
        result = put(edit, "some name", "text", 4, &err);
        if (result == 0)
            result = fat_edit_finish(&edit, &err);
        else
            assert_refused(fat_edit_finish(&edit, &err), &err, CHR_E_INTERNAL, "not written");
        memory_free(copy);
        if (result == 0)
            break;
    }
    assert_in_range(writes, 4, 20);
    memory_free(memory);
}

/* ---- FATs that contradict themselves ---- */

/*
 * A FAT16 with clusters of 1 KiB: folder D (cluster 2) with D/F (3, 4) and folder
 * D/E (5), files G (6, 7, 8) and H (9).
 */
struct hostile {
    struct memory *memory;
    uint8_t *fat;
    uint8_t *root;
    uint8_t *data; /* cluster 2 */
};

#define CLUSTER 1024
#define ENTRY_D 1 /* slots in the root, behind the label */
#define ENTRY_G 2
#define ENTRY_H 3

static struct hostile make_hostile(void)
{
    struct hostile h = {.memory = make_fat(4400, "-F 16 -s 2 -r 512")};
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info info;
    struct fat_edit *edit;
    struct chr_error err;
    static const uint8_t bytes[3 * CLUSTER];

    assert_done(fat_edit_open(&h.memory->blk, &edit, &err), &err);
    assert_done(fat_edit_make_folder(edit, "D", &plain, &err), &err);
    assert_done(put(edit, "D/F", bytes, 2 * CLUSTER, &err), &err);
    assert_done(fat_edit_make_folder(edit, "D/E", &plain, &err), &err);
    assert_done(put(edit, "G", bytes, 3 * CLUSTER, &err), &err);
    assert_done(put(edit, "H", bytes, CLUSTER, &err), &err);
    assert_done(fat_edit_finish(&edit, &err), &err);
    assert_done(fat_read(&h.memory->blk, &info, &tree, &err), &err);
    h.fat = h.memory->bytes + fat_offset(h.memory);
    h.data = h.memory->bytes + info.data_start;
    h.root = h.data - 512 * 32;
    assert_int_equal(le16(h.root + ENTRY_G * 32 + 26), 6);
    return h;
}

static void tables_differ(struct hostile *h) { h->fat[100] ^= 1; }
static void chain_on_itself(struct hostile *h) { set_fat16(h->memory, 7, 7); }
static void chain_back(struct hostile *h) { set_fat16(h->memory, 8, 6); }
static void chain_into_another(struct hostile *h) { set_fat16(h->memory, 4, 7); }
static void chain_to_free(struct hostile *h) { set_fat16(h->memory, 7, 0); }
static void chain_to_one(struct hostile *h) { set_fat16(h->memory, 7, 1); }
static void chain_to_bad(struct hostile *h) { set_fat16(h->memory, 7, 0xFFF7); }
static void chain_outside(struct hostile *h) { set_fat16(h->memory, 7, 0xEEEE); }
static void chain_too_short(struct hostile *h) { set_fat16(h->memory, 7, 0xFFFF); }
static void chain_too_long(struct hostile *h) { put_le32(h->root + ENTRY_G * 32 + 28, 2048); }
static void entry_outside(struct hostile *h) { put_le16(h->root + ENTRY_H * 32 + 26, 0xF000); }
static void entry_at_one(struct hostile *h) { put_le16(h->root + ENTRY_H * 32 + 26, 1); }
static void entry_at_free(struct hostile *h) { put_le16(h->root + ENTRY_H * 32 + 26, 50); }
static void two_of_one_chain(struct hostile *h) { put_le16(h->root + ENTRY_H * 32 + 26, 6); }
static void size_without_cluster(struct hostile *h) { put_le16(h->root + ENTRY_H * 32 + 26, 0); }
static void size_too_large(struct hostile *h) { put_le32(h->root + ENTRY_H * 32 + 28, 0xFFFFFFFF); }
static void folder_without_cluster(struct hostile *h) { put_le16(h->root + ENTRY_D * 32 + 26, 0); }
static void folder_in_itself(struct hostile *h) { put_le16(h->data + 3 * 32 + 26, 2); }
static void folder_on_a_file(struct hostile *h) { put_le16(h->root + ENTRY_D * 32 + 26, 6); }
static void dot_names_another(struct hostile *h) { put_le16(h->data + 26, 5); }
static void dot_is_missing(struct hostile *h) { h->data[0] = 'X'; }
static void dot_dot_another(struct hostile *h) { put_le16(h->data + 3 * CLUSTER + 58, 5); }
static void dot_dot_is_deleted(struct hostile *h) { h->data[3 * CLUSTER + 32] = 0xE5; }
static void name_is_empty(struct hostile *h) { memset(h->root + ENTRY_H * 32, ' ', 11); }
static void name_with_slash(struct hostile *h) { h->root[ENTRY_H * 32 + 1] = '/'; }
static void more_than_the_device(struct hostile *h) { put_le16(h->memory->bytes + 19, 9000); }
static void table_too_small(struct hostile *h) { put_le16(h->memory->bytes + 22, 3); }
static void no_room_for_data(struct hostile *h) { put_le16(h->memory->bytes + 14, 0xFFF0); }
static void no_signature(struct hostile *h) { h->memory->bytes[510] = 0; }

/* One folder over 2 MiB: its chain is all of the free clusters. */
static void folder_too_large(struct hostile *h)
{
    for (uint32_t i = 10; i < 2100; i++)
        set_fat16(h->memory, i, (uint16_t)(i + 1));
    set_fat16(h->memory, 2100, 0xFFFF);
    set_fat16(h->memory, 5, 10);
}

static const struct {
    const char *name;
    void (*damage)(struct hostile *h);
    const char *text;
} cases[] = {
    {"the copies of the table differ", tables_differ, "copies of the table differ"},
    {"a chain leads to itself", chain_on_itself, "cluster 7 is used twice"},
    {"a chain leads back", chain_back, "cluster 6 is used twice"},
    {"a chain leads into another", chain_into_another, "is used twice"},
    {"a chain leads to a free cluster", chain_to_free, "cluster 0, which is outside"},
    {"a chain leads to cluster 1", chain_to_one, "cluster 1, which is outside"},
    {"a chain leads to a bad cluster", chain_to_bad, "cluster 65527, which is outside"},
    {"a chain leads outside", chain_outside, "cluster 61166, which is outside"},
    {"a chain is too short", chain_too_short, "but 2 clusters"},
    {"a chain is too long", chain_too_long, "2048 bytes, but 3 clusters"},
    {"a file begins outside", entry_outside, "H: FAT entry leads to cluster 61440"},
    {"a file begins at cluster 1", entry_at_one, "H: FAT entry leads to cluster 1"},
    {"a file begins at a free cluster", entry_at_free, "H: FAT entry leads to cluster 0"},
    {"two files have one chain", two_of_one_chain, "cluster 6 is used twice"},
    {"a file has a size and no cluster", size_without_cluster, "but 0 clusters"},
    {"a file is larger than the partition", size_too_large, "4294967295 bytes, but 1 clusters"},
    {"a folder has no cluster", folder_without_cluster, "folder D has no cluster"},
    {"a folder is in itself", folder_in_itself, "cluster 2 is used twice"},
    {"a folder is a file's bytes", folder_on_a_file, ""},
    {"a folder is too large", folder_too_large, "D/E is larger than the 65536 entries"},
    {"\".\" names another", dot_names_another, "D does not name itself"},
    {"\".\" is missing", dot_is_missing, ""},
    {"\"..\" names another", dot_dot_another, "D/E does not name its parent"},
    {"\"..\" is deleted", dot_dot_is_deleted, "D/E does not name its parent"},
    {"a name is empty", name_is_empty, "empty"},
    {"a name has a slash", name_with_slash, "holds a /"},
    {"more sectors than the device", more_than_the_device, "claims 9000 sectors"},
    {"a table too small for its clusters", table_too_small, "do not fit its table"},
    {"no room for data", no_room_for_data, "no room for data"},
    {"no signature", no_signature, "no FAT boot sector"},
};

static void test_hostile(void **state)
{
    struct fat_edit *edit = NULL;
    struct chr_error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hostile h = make_hostile();
        struct memory *before;

        cases[i].damage(&h);
        before = copy_device(h.memory);
        if (fat_edit_open(&h.memory->blk, &edit, &err) == 0)
            fail_msg("%s: was opened", cases[i].name);
        if (err.code != CHR_E_DAMAGED || strstr(err.message, cases[i].text) == NULL)
            fail_msg("%s: code %d, %s", cases[i].name, (int)err.code, err.message);
        assert_memory_equal(before->bytes, h.memory->bytes, before->blk.size);
        memory_free(before);
        memory_free(h.memory);
    }
}

static void refused32(unsigned at, uint16_t value, enum chr_code code, const char *text)
{
    struct memory *memory = make_fat(33792, "-F 32 -s 1");
    struct fat_edit *edit = NULL;
    struct chr_error err = {0};

    put_le16(memory->bytes + at, value);
    assert_refused(fat_edit_open(&memory->blk, &edit, &err), &err, code, text);
    memory_free(memory);
}

static void test_hostile_fat32(void **state)
{
    (void)state;
    refused32(44, 1, CHR_E_DAMAGED, "root folder: FAT entry leads to cluster 1");
    refused32(46, 0x0FFF, CHR_E_DAMAGED, "which is outside");
    refused32(44, 3, CHR_E_DAMAGED, "root folder: FAT entry leads to cluster 0");
    refused32(48, 0x7000, CHR_E_DAMAGED, "FSInfo");
    refused32(40, 0x81, CHR_E_UNSUPPORTED, "one copy of the table alone");
    refused32(42, 0x100, CHR_E_UNSUPPORTED, "version");
}

/* Reading takes the first of two files of one name; changing "the" file cannot. */
static void test_two_of_one_name(void **state)
{
    struct hostile h = make_hostile();
    struct fat_edit *edit = NULL;
    struct chr_error err = {0};

    (void)state;
    h.root[ENTRY_H * 32] = 'G';
    assert_done(fat_edit_open(&h.memory->blk, &edit, &err), &err);
    assert_refused(put(edit, "g", "x", 1, &err), &err, CHR_E_DAMAGED, "g: two files");
    assert_done(put(edit, "D/F", "x", 1, &err), &err);
    fat_edit_cleanup(&edit);
    memory_free(h.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_fat12),
        cmocka_unit_test(test_steps_fat16),
        cmocka_unit_test(test_steps_fat32),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_keeps_its_own_clusters),
        cmocka_unit_test(test_bad_and_lost_clusters_stay),
        cmocka_unit_test(test_failing_source),
        cmocka_unit_test(test_garbage_behind_the_end),
        cmocka_unit_test(test_device_faults),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hostile_fat32),
        cmocka_unit_test(test_two_of_one_name),
    };

    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
