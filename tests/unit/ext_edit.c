/*
 * The ext editor: what a put, a folder and a removal leave behind, what is refused and
 * how, and that nothing but them changes.  File systems are made by mke2fs; the verifier
 * and the reader (ext.h) look at the result, e2fsck and debugfs do in tests/judge.
 */
#include "fs/ext_edit.h"

#include "base/bytes.h"
#include "fs/ext_verify.h"
#include "memory_blk.h"

#define MIB (UINT64_C(1) << 20)

static struct chr_error test_error;

/* ---- file systems ---- */

static struct memory *load_image(void)
{
    size_t size;
    uint8_t *bytes = read_file("image", &size);
    struct memory *memory = memory_new(size);

    memcpy(memory->bytes, bytes, size);
    free(bytes);
    return memory;
}

/* Make an image with mke2fs OPTIONS of KIB, and change it by debugfs REQUESTS, if any. */
static struct memory *make_image(const char *options, unsigned kib, const char *requests)
{
    char command[1024];

    (void)snprintf(command, sizeof command,
                   "PATH=$PATH:/usr/sbin:/sbin; rm -f image && mke2fs -q -F %s image %uk "
                   ">/dev/null 2>&1 && printf '%s' | debugfs -w -f - image >/dev/null 2>&1",
                   options, kib, requests != NULL ? requests : "");
    assert_int_equal(system(command), 0);
    return load_image();
}

/* The same on a disk that was used before: what mke2fs leaves alone (lazy_itable_init) is
 * not zeros. */
static struct memory *make_used_image(const char *options, unsigned kib)
{
    char command[1024];

    (void)snprintf(command, sizeof command,
                   "PATH=$PATH:/usr/sbin:/sbin; yes | head -c %uk >image && "
                   "mke2fs -q -F -E lazy_itable_init=1,nodiscard %s image >/dev/null 2>&1",
                   kib, options);
    assert_int_equal(system(command), 0);
    return load_image();
}

static struct ext_edit *open_edit(struct memory *memory)
{
    struct ext_edit *edit = NULL;

    assert_done(ext_edit_open(&memory->blk, &edit, &test_error), &test_error);
    return edit;
}

static void finish(struct ext_edit **edit, struct memory *memory)
{
    assert_done(ext_edit_finish(edit, &test_error), &test_error);
    assert_null(*edit);
    assert_done(ext_verify(&memory->blk, &test_error), &test_error);
}

/* ---- sources ---- */

struct pattern {
    uint8_t seed;
    uint64_t fail_from; /* bytes from there on cannot be read */
};

static uint8_t pattern_at(const struct pattern *pattern, uint64_t off)
{
    return (uint8_t)(pattern->seed + off + (off >> 8) * 7);
}

static int read_pattern(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    const struct pattern *pattern = context;
    uint8_t *p = buf;

    if (off + len > pattern->fail_from)
        return err_set(err, CHR_E_IO, "the source is at its end");
    for (size_t i = 0; i < len; i++)
        p[i] = pattern_at(pattern, off + i);
    return 0;
}

static const struct edit_attributes plain = {0600, 0, 0, 1600000000};

static int put(struct ext_edit *edit, const char *path, uint8_t seed, uint64_t size)
{
    struct pattern pattern = {seed, UINT64_MAX};
    struct edit_source source = {size, read_pattern, &pattern};

    return ext_edit_put(edit, path, &source, &plain, &test_error);
}

/* The file at PATH holds what put() gave. */
static void check_file(struct memory *memory, const char *path, uint8_t seed, uint64_t size)
{
    AUTO_EXT struct ext *ext = NULL;
    AUTO_TREE struct file_tree tree = {0};
    const struct file_node *node;
    struct pattern pattern = {seed, UINT64_MAX};
    uint8_t *bytes = malloc(size + 1);

    assert_non_null(bytes);
    assert_done(ext_open(&memory->blk, &ext, &test_error), &test_error);
    assert_done(ext_read_tree(ext, "", true, &tree, &test_error), &test_error);
    node = file_tree_find(&tree, path);
    assert_non_null(node);
    assert_int_equal(node->size, size);
    if (size > 0)
        assert_done(file_read(&memory->blk, node, 0, bytes, size, &test_error), &test_error);
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != pattern_at(&pattern, i))
            fail_msg("%s: byte %u is another", path, (unsigned)i);
    free(bytes);
}

static bool is_there(struct ext_edit *edit, const char *path)
{
    struct edit_entry entry;

    return ext_edit_stat(edit, path, &entry, &test_error) == 0;
}

static const char *const kinds[] = {
    "-t ext2 -b 1024", "-t ext3 -b 1024", "-t ext3 -b 4096 -I 128", "-t ext4 -b 1024",
    "-t ext4 -b 4096", "-t ext4 -b 4096 -O ^64bit,^metadata_csum,uninit_bg",
};
#define KINDS (sizeof kinds / sizeof kinds[0])

/* ---- files ---- */

static void test_put_and_replace(void **state)
{
    static const uint64_t sizes[] = {0, 1, 1023, 1024, 4096, 12289, 70000, 600001, 3};

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct memory *memory = make_image(kinds[k], 8192, "mkdir rw\n");

        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct ext_edit *edit = open_edit(memory);

            assert_done(put(edit, "rw/autorun.scr", (uint8_t)i, sizes[i]), &test_error);
            assert_done(put(edit, "new", (uint8_t)(i + 1), sizes[i] / 2), &test_error);
            finish(&edit, memory);
            check_file(memory, "rw/autorun.scr", (uint8_t)i, sizes[i]);
            check_file(memory, "new", (uint8_t)(i + 1), sizes[i] / 2);
        }
        memory_free(memory);
    }
}

static void check_attributes(const struct edit_attributes *got,
                             const struct edit_attributes *wanted)
{
    assert_int_equal(got->mode, wanted->mode);
    assert_int_equal(got->uid, wanted->uid);
    assert_int_equal(got->gid, wanted->gid);
    assert_int_equal(got->modified, wanted->modified);
}

static void test_attributes(void **state)
{
    const struct edit_attributes late = {04751, 70001, 100002, 5000000000};
    const struct edit_attributes early = {0, 1, 2, -5};
    struct pattern pattern = {0, UINT64_MAX};
    struct edit_source source = {10, read_pattern, &pattern};
    struct edit_entry entry;

    (void)state;
    struct memory *memory = make_image("-t ext4 -b 4096", 8192, NULL);
    struct ext_edit *edit = open_edit(memory);
    assert_done(ext_edit_put(edit, "late", &source, &late, &test_error), &test_error);
    assert_done(ext_edit_make_folder(edit, "early", &early, &test_error), &test_error);
    finish(&edit, memory);

    edit = open_edit(memory);
    assert_done(ext_edit_stat(edit, "late", &entry, &test_error), &test_error);
    assert_int_equal(entry.kind, FILE_REGULAR);
    assert_int_equal(entry.size, 10);
    assert_int_equal(entry.links, 1);
    check_attributes(&entry.attributes, &late);
    assert_done(ext_edit_stat(edit, "early", &entry, &test_error), &test_error);
    assert_int_equal(entry.kind, FILE_FOLDER);
    assert_int_equal(entry.links, 2);
    check_attributes(&entry.attributes, &early);
    assert_done(ext_edit_stat(edit, "", &entry, &test_error), &test_error);
    assert_int_equal(entry.links, 4); /* ., .., lost+found/.., early/.. */
    ext_edit_cleanup(&edit);
    memory_free(memory);

    /* 128 bytes have room for 31 bits. */
    memory = make_image("-t ext3 -b 4096 -I 128", 8192, NULL);
    edit = open_edit(memory);
    assert_refused(ext_edit_put(edit, "late", &source, &late, &test_error), &test_error,
                   CHR_E_UNSUPPORTED, "does not fit an inode");
    ext_edit_cleanup(&edit);
    memory_free(memory);
}

static void test_inode_is_kept_and_links_are_not(void **state)
{
    struct memory *memory = make_image("-t ext3 -b 1024", 8192, NULL);
    struct ext_edit *edit = open_edit(memory);
    struct edit_entry entry;

    (void)state;
    assert_done(put(edit, "one", 1, 5000), &test_error);
    finish(&edit, memory);
    /* A second name, by debugfs. */
    write_file("image", memory->bytes, memory->blk.size);
    assert_int_equal(system("PATH=$PATH:/usr/sbin; printf 'ln one two\\nsif one links_count 2\\n' |"
                            "debugfs -w -f - image >/dev/null 2>&1"), 0);
    uint8_t *bytes = read_file("image", NULL);
    memcpy(memory->bytes, bytes, memory->blk.size);
    free(bytes);

    edit = open_edit(memory);
    assert_done(put(edit, "one", 9, 300), &test_error);
    assert_done(ext_edit_stat(edit, "two", &entry, &test_error), &test_error);
    assert_int_equal(entry.links, 1);
    finish(&edit, memory);
    check_file(memory, "one", 9, 300);
    check_file(memory, "two", 1, 5000);
    memory_free(memory);
}

static void test_paths(void **state)
{
    struct memory *memory =
        make_image("-t ext4 -b 1024", 8192,
                   "mkdir rw\nsymlink link rw\nmknod null c 1 3\nmkdir rw/in\n");
    struct ext_edit *edit = open_edit(memory);
    char name[300];
    static const char *const bad[] = {"/rw/x", "rw//x", "rw/./x", "rw/../x", "rw/x/", ".", ".."};

    (void)state;
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    assert_refused(put(edit, name, 0, 1), &test_error, CHR_E_USAGE, "more than 255");
    name[255] = '\0';
    assert_done(put(edit, name, 0, 1), &test_error);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(put(edit, bad[i], 0, 1), &test_error, CHR_E_USAGE, "a path has no");
    assert_refused(put(edit, "", 0, 1), &test_error, CHR_E_REFUSED, "is a folder");
    assert_refused(put(edit, "none/x", 0, 1), &test_error, CHR_E_MISSING, "no folder none");
    assert_refused(put(edit, "link/x", 0, 1), &test_error, CHR_E_REFUSED, "symbolic link");
    assert_refused(put(edit, "link", 0, 1), &test_error, CHR_E_REFUSED, "not a regular file");
    assert_refused(put(edit, "null", 0, 1), &test_error, CHR_E_REFUSED, "not a regular file");
    assert_refused(put(edit, "rw", 0, 1), &test_error, CHR_E_REFUSED, "not a regular file");
    assert_refused(put(edit, "null/x", 0, 1), &test_error, CHR_E_REFUSED, "not a folder");
    assert_refused(ext_edit_make_folder(edit, "rw", &plain, &test_error), &test_error,
                   CHR_E_EXISTS, "there already");
    assert_refused(ext_edit_make_folder(edit, "", &plain, &test_error), &test_error, CHR_E_EXISTS,
                   "there already");
    assert_refused(ext_edit_remove(edit, "", true, &test_error), &test_error, CHR_E_REFUSED,
                   "root");
    assert_refused(ext_edit_remove(edit, "lost+found", true, &test_error), &test_error,
                   CHR_E_REFUSED, "e2fsck needs it");
    assert_refused(ext_edit_remove(edit, "none", true, &test_error), &test_error, CHR_E_MISSING,
                   "no such file");
    assert_refused(ext_edit_remove(edit, "rw", false, &test_error), &test_error, CHR_E_REFUSED,
                   "it holds in");
    assert_done(ext_edit_remove(edit, "rw/in", false, &test_error), &test_error);
    assert_done(ext_edit_remove(edit, "link", false, &test_error), &test_error);
    assert_done(ext_edit_remove(edit, "null", false, &test_error), &test_error);
    assert_true(is_there(edit, "rw"));
    finish(&edit, memory);
    memory_free(memory);
}

/* ---- room ---- */

static void test_room_is_what_fits(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct memory *memory = make_image(kinds[k], 8192, "mkdir rw\n");
        struct ext_edit *edit = open_edit(memory);
        uint64_t bytes;
        uint64_t left;
        uint32_t inodes;
        struct edit_entry entry;

        assert_done(put(edit, "rw/old", 3, 100000), &test_error);
        assert_done(ext_edit_room(edit, &bytes, &inodes, &test_error), &test_error);
        assert_in_range(bytes, 4 * MIB / 2, 8 * MIB);
        assert_refused(put(edit, "rw/large", 1, bytes + 4096), &test_error, CHR_E_SPACE,
                       "bytes are missing");
        assert_non_null(strstr(test_error.hint, "chrimg resize"));
        /* What was refused left nothing behind, and what fits fits. */
        assert_false(is_there(edit, "rw/large"));
        assert_refused(put(edit, "rw/old", 1, bytes + 4096 + 200000), &test_error, CHR_E_SPACE,
                       "bytes are missing");
        assert_done(put(edit, "rw/large", 1, bytes), &test_error);
        assert_done(ext_edit_room(edit, &left, &inodes, &test_error), &test_error);
        assert_true(left < bytes / 100 + 8192);
        /* A file gives its own blocks for its successor. */
        assert_done(put(edit, "rw/large", 2, bytes), &test_error);
        assert_done(ext_edit_stat(edit, "rw/large", &entry, &test_error), &test_error);
        assert_int_equal(entry.size, bytes);
        finish(&edit, memory);
        check_file(memory, "rw/large", 2, bytes);
        check_file(memory, "rw/old", 3, 100000);
        memory_free(memory);
    }
}

static void test_inodes_run_out(void **state)
{
    struct memory *memory = make_image("-t ext4 -b 1024 -N 32", 4096, NULL);
    struct ext_edit *edit = open_edit(memory);
    char name[16];
    int made = 0;

    (void)state;
    for (;; made++) {
        (void)snprintf(name, sizeof name, "f%d", made);
        if (put(edit, name, 0, 10) < 0)
            break;
    }
    assert_int_equal(test_error.code, CHR_E_SPACE);
    assert_non_null(strstr(test_error.message, "1 inode is missing"));
    assert_in_range(made, 10, 32);
    assert_refused(ext_edit_make_folder(edit, "folder", &plain, &test_error), &test_error,
                   CHR_E_SPACE, "1 inode");
    assert_done(put(edit, "f0", 1, 100), &test_error); /* needs none */
    assert_done(ext_edit_remove(edit, "f1", false, &test_error), &test_error);
    assert_done(ext_edit_make_folder(edit, "folder", &plain, &test_error), &test_error);
    finish(&edit, memory);
    memory_free(memory);
}

/* Single free blocks between files: hundreds of extents, in more than one level of nodes. */
/* Inodes that were never used hold anything, and no checksum that is right. */
static void test_table_was_never_written(void **state)
{
    static const char *const lazy[] = {
        "-t ext4 -b 1024", "-t ext4 -b 4096", "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg",
        "-t ext4 -b 1024 -O ^flex_bg,meta_bg,^resize_inode -g 1024",
    };

    (void)state;
    for (size_t k = 0; k < sizeof lazy / sizeof lazy[0]; k++) {
        struct memory *memory = make_used_image(lazy[k], 8192);
        struct ext_edit *edit = open_edit(memory);
        char path[32];

        /* Each inode is taken while its folder and those above are in libext2fs's cache. */
        for (uint8_t i = 0; i < 20; i++) {
            (void)snprintf(path, sizeof path, "folder%u", i);
            assert_done(ext_edit_make_folder(edit, path, &plain, &test_error), &test_error);
            for (uint8_t file = 0; file < 5; file++) {
                (void)snprintf(path, sizeof path, "folder%u/%u", i, file);
                assert_done(put(edit, path, file, i * 100), &test_error);
            }
        }
        finish(&edit, memory);
        check_file(memory, "folder19/4", 4, 1900);
        memory_free(memory);
    }
}

static void test_fragments(void **state)
{
    static const char *const options[] = {"-t ext4 -b 1024 -N 3000", "-t ext3 -b 1024 -N 3000"};

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct memory *memory = make_image(options[k], 8192, "mkdir d\n");
        struct ext_edit *edit = open_edit(memory);
        char name[32];
        uint64_t bytes;
        uint32_t inodes;

        for (int i = 0; i < 1200; i++) {
            (void)snprintf(name, sizeof name, "d/%d", i);
            assert_done(put(edit, name, 1, 1000), &test_error);
        }
        assert_done(ext_edit_room(edit, &bytes, &inodes, &test_error), &test_error);
        assert_done(put(edit, "rest", 1, bytes), &test_error);
        for (int i = 0; i < 1200; i += 2) {
            (void)snprintf(name, sizeof name, "d/%d", i);
            assert_done(ext_edit_remove(edit, name, false, &test_error), &test_error);
        }
        assert_done(put(edit, "pieces", 7, 580 * 1024), &test_error);
        finish(&edit, memory);
        check_file(memory, "pieces", 7, 580 * 1024);
        edit = open_edit(memory);
        assert_done(ext_edit_remove(edit, "pieces", false, &test_error), &test_error);
        finish(&edit, memory);
        memory_free(memory);
    }
}

/* ---- folders ---- */

static void test_tree_goes_at_once(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct memory *memory = make_image(kinds[k], 8192, NULL);
        struct ext_edit *edit = open_edit(memory);
        uint64_t before;
        uint64_t after;
        uint32_t inodes_before;
        uint32_t inodes_after;
        char path[64] = "top";

        assert_done(ext_edit_room(edit, &before, &inodes_before, &test_error), &test_error);
        for (int depth = 0; depth < 20; depth++) {
            assert_done(ext_edit_make_folder(edit, path, &plain, &test_error), &test_error);
            (void)strcat(path, "/f");
            assert_done(put(edit, path, 1, 3000), &test_error);
            path[strlen(path) - 1] = 'd';
        }
        assert_refused(ext_edit_remove(edit, "top", false, &test_error), &test_error,
                       CHR_E_REFUSED, "not empty");
        assert_done(ext_edit_remove(edit, "top", true, &test_error), &test_error);
        assert_false(is_there(edit, "top"));
        assert_done(ext_edit_room(edit, &after, &inodes_after, &test_error), &test_error);
        assert_int_equal(before, after);
        assert_int_equal(inodes_before, inodes_after);
        finish(&edit, memory);
        memory_free(memory);
    }
}

/* Names that are added and removed in a hashed folder until its index has two levels. */
static void test_index(void **state)
{
    struct memory *memory = NULL;
    char name[256];
    struct dice dice = {4711};
    static bool present[3000];

    (void)state;
    /* e2fsck -D gives an index to a folder of more than two blocks. */
    assert_int_equal(system("PATH=$PATH:/usr/sbin; rm -rf tree && mkdir -p tree/d && cd tree/d && "
                            "for i in $(seq 100); do : >start_with_a_longer_name_$i; done"), 0);
    memory = make_image("-t ext4 -b 1024 -N 4000 -d tree", 16384, NULL);
    assert_int_equal(system("PATH=$PATH:/usr/sbin; e2fsck -fyD image >/dev/null 2>&1; "
                            "debugfs -R 'htree_dump d' image 2>&1 | grep -q 'Root node'"), 0);
    uint8_t *bytes = read_file("image", NULL);
    memcpy(memory->bytes, bytes, memory->blk.size);
    free(bytes);

    for (int round = 0; round < 5; round++) {
        struct ext_edit *edit = open_edit(memory);

        for (int i = 0; i < 1500; i++) {
            unsigned number = (unsigned)roll_below(&dice, 3000);

            (void)snprintf(name, sizeof name, "d/%0*u", (int)(number % 120 + 8), number);
            if (present[number])
                assert_done(ext_edit_remove(edit, name, false, &test_error), &test_error);
            else
                assert_done(put(edit, name, 1, 0), &test_error);
            present[number] = !present[number];
        }
        finish(&edit, memory);
    }
    write_file("image", memory->bytes, memory->blk.size);
    assert_int_equal(system("PATH=$PATH:/usr/sbin; e2fsck -fn image >log 2>&1 && "
                            "! grep -q '? no' log && debugfs -R 'htree_dump d' image 2>&1 | "
                            "grep -q 'Indirect levels: 1'"), 0);
    struct ext_edit *edit = open_edit(memory);
    for (unsigned number = 0; number < 3000; number++) {
        (void)snprintf(name, sizeof name, "d/%0*u", (int)(number % 120 + 8), number);
        assert_int_equal(is_there(edit, name), present[number]);
    }
    ext_edit_cleanup(&edit);
    memory_free(memory);
}

/* Names whose entries differ in size, so that gaps of many sizes come up. */
static void name_of(char *path, size_t size, unsigned number)
{
    (void)snprintf(path, size, "many/%.*s%u", (int)(number * 7 % 29), "abcdefghijklmnopqrstuvwxyz...",
                   number);
}

/* Large folders, of which names and room are remembered, within one edit. */
static void test_large_folder(void **state)
{
    enum { COUNT = 600 };
    char path[64];

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct memory *memory = make_image(kinds[k], 16384, "mkdir many\n");
        struct ext_edit *edit = open_edit(memory);
        struct edit_entry entry;
        uint64_t first_size = 0;

        for (int turn = 0; turn < 3; turn++) {
            for (unsigned i = 0; i < COUNT; i++) {
                name_of(path, sizeof path, i);
                assert_int_equal(is_there(edit, path), turn > 0 && (i + (unsigned)turn) % 3 != 0);
                assert_done(put(edit, path, (uint8_t)(i + (unsigned)turn), i % 5), &test_error);
                assert_true(is_there(edit, path));
            }
            for (unsigned i = 0; i < COUNT; i++) {
                name_of(path, sizeof path, i);
                if ((i + (unsigned)turn) % 3 == 2)
                    assert_done(ext_edit_remove(edit, path, false, &test_error), &test_error);
            }
            assert_done(ext_edit_stat(edit, "many", &entry, &test_error), &test_error);
            if (turn == 0)
                first_size = entry.size;
            /* Gaps are filled again. */
            assert_true(entry.size >= 4 * 4096 && entry.size <= first_size + 2 * 4096);
        }
        /* Its number is that of the next folder, which has none of the names. */
        assert_done(ext_edit_remove(edit, "many", true, &test_error), &test_error);
        assert_done(ext_edit_make_folder(edit, "many", &plain, &test_error), &test_error);
        for (unsigned i = 0; i < COUNT; i++) {
            name_of(path, sizeof path, i);
            assert_false(is_there(edit, path));
        }
        name_of(path, sizeof path, 4); /* a long one */
        assert_done(put(edit, path, 0, 0), &test_error);
        finish(&edit, memory);
        memory_free(memory);
    }
}

static void test_links_of_a_full_folder(void **state)
{
    static const char many[] = "mkdir d\nsif d links_count 65000\n";
    struct memory *memory = make_image("-t ext3 -b 1024", 8192, many);
    struct ext_edit *edit = open_edit(memory);
    struct edit_entry entry;

    (void)state;
    assert_refused(ext_edit_make_folder(edit, "d/x", &plain, &test_error), &test_error,
                   CHR_E_REFUSED, "as many folders");
    ext_edit_cleanup(&edit);
    memory_free(memory);

    memory = make_image("-t ext4 -b 1024", 8192, many);
    edit = open_edit(memory);
    assert_done(ext_edit_make_folder(edit, "d/x", &plain, &test_error), &test_error);
    assert_done(ext_edit_make_folder(edit, "d/y", &plain, &test_error), &test_error);
    assert_done(ext_edit_remove(edit, "d/y", false, &test_error), &test_error);
    assert_done(ext_edit_stat(edit, "d", &entry, &test_error), &test_error);
    assert_int_equal(entry.links, 1); /* more than can be counted */
    ext_edit_cleanup(&edit);
    memory_free(memory);
}

/* ---- what is not changed ---- */

static void test_attributes_of_others_stay(void **state)
{
    struct memory *memory = make_image("-t ext3 -b 1024 -I 128", 8192,
                                       "write /etc/passwd a\nwrite /etc/passwd b\n"
                                       "ea_set a user.x one\nea_set b user.x one\n");
    struct ext_edit *edit = open_edit(memory);

    (void)state;
    assert_done(put(edit, "a", 1, 100), &test_error);
    finish(&edit, memory);
    edit = open_edit(memory);
    assert_done(ext_edit_remove(edit, "b", false, &test_error), &test_error);
    finish(&edit, memory);
    memory_free(memory);
}

static void change(struct memory *memory)
{
    struct ext_edit *edit = open_edit(memory);

    assert_done(put(edit, "rw/new", 5, 70000), &test_error);
    assert_done(ext_edit_make_folder(edit, "rw/folder", &plain, &test_error), &test_error);
    assert_done(put(edit, "rw/folder/in", 6, 5), &test_error);
    assert_done(ext_edit_remove(edit, "old", false, &test_error), &test_error);
    finish(&edit, memory);
}

/* No clock and no chance: two runs, in two seconds, give the same bytes. */
static void test_same_bytes(void **state)
{
    struct memory *memory =
        make_image("-t ext4 -b 4096", 8192, "mkdir rw\nwrite /etc/passwd old\n");
    struct memory *other = memory_new(memory->blk.size);

    (void)state;
    memcpy(other->bytes, memory->bytes, memory->blk.size);
    change(memory);
    (void)sleep(1);
    change(other);
    assert_memory_equal(memory->bytes, other->bytes, memory->blk.size);
    memory_free(memory);
    memory_free(other);
}

/* An open and finish without a change writes nothing; a small put, a few blocks. */
static void test_few_bytes_change(void **state)
{
    struct memory *memory = make_image("-t ext4 -b 4096", 65536, "mkdir rw\n");
    struct ext_edit *edit = open_edit(memory);
    uint8_t *before;
    size_t changed = 0;

    (void)state;
    finish(&edit, memory);
    assert_int_equal(memory->log_count, 0);

    edit = open_edit(memory);
    assert_done(put(edit, "rw/autorun.scr", 1, 2048), &test_error);
    finish(&edit, memory);
    before = malloc(memory->blk.size);
    assert_non_null(before);
    memcpy(before, memory->bytes, memory->blk.size);
    edit = open_edit(memory);
    assert_done(put(edit, "rw/autorun.scr", 2, 2048), &test_error);
    finish(&edit, memory);
    for (size_t at = 0; at < memory->blk.size; at += 512)
        changed += memcmp(before + at, memory->bytes + at, 512) != 0;
    /* Four sectors of bytes, one of the inode at most; no count and no bitmap. */
    assert_in_range(changed, 4, 5);
    free(before);
    memory_free(memory);
}

/* ---- failures ---- */

static void test_half_a_put_is_not_kept(void **state)
{
    struct memory *memory = make_image("-t ext4 -b 4096", 8192, NULL);
    struct ext_edit *edit = open_edit(memory);
    struct pattern pattern = {1, 300000};
    struct edit_source source = {400000, read_pattern, &pattern};

    (void)state;
    assert_refused(ext_edit_put(edit, "x", &source, &plain, &test_error), &test_error, CHR_E_IO,
                   "the source is at its end");
    assert_refused(ext_edit_finish(&edit, &test_error), &test_error, CHR_E_INTERNAL, "half-way");
    assert_null(edit);
    memory_free(memory);
}

static void test_device_fails(void **state)
{
    struct memory *memory = make_image("-t ext4 -b 4096", 8192, NULL);
    struct ext_edit *edit = open_edit(memory);

    (void)state;
    memory->read_fault = true;
    assert_refused(put(edit, "x", 1, 1), &test_error, CHR_E_IO, "read fault");
    ext_edit_cleanup(&edit);
    memory->read_fault = false;
    for (size_t writes = 0;; writes++) {
        struct memory *copy = memory_new(memory->blk.size);
        int result;

        memcpy(copy->bytes, memory->bytes, memory->blk.size);
        edit = open_edit(copy);
        copy->writes_left = writes;
        result = put(edit, "x", 1, 9000);
        if (result == 0)
            result = ext_edit_finish(&edit, &test_error);
        ext_edit_cleanup(&edit);
        memory_free(copy);
        if (result == 0) {
            assert_in_range(writes, 4, 100);
            break;
        }
        assert_int_equal(test_error.code, CHR_E_IO);
    }
    memory->blk.writable = false;
    assert_int_equal(ext_edit_open(&memory->blk, &edit, &test_error), -1);
    memory_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_replace),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_inode_is_kept_and_links_are_not),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_room_is_what_fits),
        cmocka_unit_test(test_inodes_run_out),
        cmocka_unit_test(test_table_was_never_written),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_tree_goes_at_once),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_large_folder),
        cmocka_unit_test(test_links_of_a_full_folder),
        cmocka_unit_test(test_attributes_of_others_stay),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_few_bytes_change),
        cmocka_unit_test(test_half_a_put_is_not_kept),
        cmocka_unit_test(test_device_fails),
    };

    return cmocka_run_group_tests_name("ext_edit", tests, enter_work_folder, leave_work_folder);
}
