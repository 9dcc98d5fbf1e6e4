/*
 * qemu-img and qemu-io as judges: what they make we read, what we write they find
 * sound and equal, and both take turns at snapshots of one image.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "qcow2_test.h"

static void skip_without_qemu(void)
{
    if (!have_qemu())
        skip();
}

/* ---- reading what qemu-img makes ---- */

/* Data of all kinds: whole clusters, parts, zeros written, discarded stretches. */
static const char fill_commands[] =
    "qemu-io -c 'write -P 1 0 300k' -c 'write -P 2 700001 33333' -c 'write -z 100k 70k' "
    "-c 'write -P 3 2047k 130k' -c 'write -P 4 5m 1m' -c 'discard 5300k 200k' "
    "-c 'write -P 5 8388000 608' %s";

static void assert_read_as_by_qemu(const char *path)
{
    struct blk *image;

    must_run("qemu-img convert -O raw %s theirs.raw", path);
    image = open_image(path, false, NULL);
    assert_same_as_file(image, "theirs.raw");
    assert_ok(blk_close(image, &test_error));
}

static void assert_no_findings(const char *path)
{
    struct blk *image = open_image(path, false, NULL);
    struct qcow2_check_report report;

    assert_ok(qcow2_check(image, &report, &test_error));
    if (report.corruptions != 0 || report.leaks != 0)
        fail_msg("%s: %s", path, report.findings[0]);
    assert_ok(blk_close(image, &test_error));
}

static void reads_every_geometry(void **state)
{
    static const char *const geometries[] = {
        "compat=0.10",
        "compat=0.10,cluster_size=512",
        "compat=1.1,cluster_size=512",
        "cluster_size=1024,refcount_bits=1",
        "cluster_size=2048,refcount_bits=2",
        "cluster_size=4096,refcount_bits=4",
        "cluster_size=8192,refcount_bits=8",
        "cluster_size=16384,refcount_bits=16",
        "cluster_size=32768,refcount_bits=32",
        "cluster_size=65536,refcount_bits=64",
        "cluster_size=131072",
        "cluster_size=262144",
        "cluster_size=524288",
        "cluster_size=1048576",
        "cluster_size=2097152",
        "lazy_refcounts=on",
        "preallocation=metadata",
        "preallocation=falloc",
        "preallocation=full",
        "preallocation=metadata,cluster_size=512",
    };

    (void)state;
    skip_without_qemu();
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++) {
        must_run("rm -f a.qcow2 && qemu-img create -q -f qcow2 -o %s a.qcow2 8388608",
                 geometries[i]);
        assert_no_findings("a.qcow2");
        must_run(fill_commands, "a.qcow2");
        assert_read_as_by_qemu("a.qcow2");
        assert_no_findings("a.qcow2");
    }
}

static void reads_compressed_clusters(void **state)
{
    (void)state;
    skip_without_qemu();
    must_run("qemu-img create -q -f raw plain.raw 8388608");
    must_run("qemu-io -f raw -c 'write -P 1 0 300k' -c 'write -P 3 2047k 130k' plain.raw && "
             "head -c 300000 $(command -v qemu-img) | dd of=plain.raw bs=1k seek=600 conv=notrunc "
             "&& head -c 300000 /dev/urandom | dd of=plain.raw bs=1k seek=1500 conv=notrunc");
    for (unsigned bits = 9; bits <= 21; bits += 3) {
        for (unsigned zstd = 0; zstd < 2; zstd++) {
            must_run("qemu-img convert -c -O qcow2 -o cluster_size=%u,compression_type=%s "
                     "plain.raw c.qcow2", 1u << bits, zstd != 0 ? "zstd" : "zlib");
            assert_read_as_by_qemu("c.qcow2");
            assert_no_findings("c.qcow2");
        }
    }
}

static void reads_backing_chains(void **state)
{
    struct qcow2_open_options options = {.path = "sub/top.qcow2"};
    struct blk *file;
    struct blk *image;

    (void)state;
    skip_without_qemu();
    must_run("mkdir sub && qemu-img create -q -f raw base.raw 3000320 && "
             "qemu-io -f raw -c 'write -P 9 0 3000320' base.raw && "
             "qemu-img create -q -f qcow2 -b ../base.raw -F raw sub/mid.qcow2 5M && "
             "qemu-io -c 'write -P 8 1M 100k' -c 'write -z 2M 65536' sub/mid.qcow2 && "
             "qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 sub/top.qcow2 8M && "
             "qemu-io -c 'write -P 7 1050k 10k' sub/top.qcow2");
    assert_read_as_by_qemu("sub/top.qcow2");

    image = open_image("sub/top.qcow2", true, NULL);
    assert_ok(blk_write(image, 2990000, "over the end of the base", 24, &test_error));
    assert_ok(blk_zero(image, 100000, 700000, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(blk_close(image, &test_error));
    must_run("qemu-img check sub/top.qcow2");
    assert_read_as_by_qemu("sub/top.qcow2");

    options.refuse_backing = true;
    assert_ok(raw_open("sub/top.qcow2", RAW_READ, &file, &test_error));
    assert_int_equal(qcow2_open(file, &options, &image, &test_error), -1);
    assert_int_equal(test_error.code, CHR_E_REFUSED);
}

static void refuses_what_it_does_not_do(void **state)
{
    static const struct {
        const char *make;
        const char *says;
    } cases[] = {
        {"qemu-img create -q -f qcow2 -o extended_l2=on x.qcow2 1M", "extended L2 entries"},
        {"qemu-img create -q -f qcow2 -o data_file=x.data x.qcow2 1M", "external data file"},
        {"qemu-img create -q -f raw b.raw 1M && qemu-img create -q -f qcow2 -b b.raw -F raw "
         "x.qcow2 && qemu-img rebase -u -b b.vmdk -F vmdk x.qcow2", "format vmdk is not supported"},
        {"qemu-img create -q -f qcow2 x.qcow2 1M && qemu-img rebase -u -b nbd:unix:x -F raw "
         "x.qcow2",
         "not a local file"},
        {"qemu-img create -q -f qcow2 x.qcow2 1M && qemu-img rebase -u -b x.qcow2 -F qcow2 x.qcow2",
         "longer than 16"},
        {"qemu-img create -q -f qcow2 x.qcow2 1M && qemu-img rebase -u -b gone.raw -F raw x.qcow2",
         "gone.raw"},
    };

    (void)state;
    skip_without_qemu();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qcow2_open_options options = {.path = "x.qcow2"};
        struct blk *file;
        struct blk *image;

        must_run("rm -f x.* && %s", cases[i].make);
        assert_ok(raw_open("x.qcow2", RAW_READ, &file, &test_error));
        assert_int_equal(qcow2_open(file, &options, &image, &test_error), -1);
        if (strstr(test_error.message, cases[i].says) == NULL)
            fail_msg("expected \"%s\", got \"%s\"", cases[i].says, test_error.message);
    }
}

/* ---- what we write ---- */

enum { MODEL = 8 << 20 };

/* A qcow2 image and a raw file that must stay equal. */
static uint8_t model[MODEL];

static void save_model(const char *path)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(model, 1, MODEL, file), MODEL);
    assert_int_equal(fclose(file), 0);
}

static void assert_like_model(const char *path)
{
    save_model("model.raw");
    must_run("qemu-img check %s", path);
    must_run("qemu-img compare -f raw -F qcow2 model.raw %s", path);
    assert_no_findings(path);
}

static void change_at_random(struct blk *image, struct dice *dice, unsigned times)
{
    static uint8_t data[400000];

    for (unsigned i = 0; i < times; i++) {
        size_t len = (size_t)below(dice, below(dice, 3) != 0 ? 9000 : sizeof data) + 1;
        uint64_t off = below(dice, MODEL - len);

        if (below(dice, 4) == 0) {
            assert_ok(blk_zero(image, off, len, &test_error));
            memset(model + off, 0, len);
        } else {
            fill_random(dice, data, len, below(dice, 2) != 0);
            assert_ok(blk_write(image, off, data, len, &test_error));
            memcpy(model + off, data, len);
        }
        if (below(dice, 8) == 0)
            assert_ok(blk_flush(image, &test_error));
        off = below(dice, MODEL - len);
        assert_ok(blk_read(image, off, data, len, &test_error));
        assert_memory_equal(data, model + off, len);
    }
}

static void load_model(const char *path)
{
    struct blk *image = open_image(path, false, NULL);

    assert_ok(blk_read(image, 0, model, MODEL, &test_error));
    assert_ok(blk_close(image, &test_error));
}

static void writes_in_place(void **state)
{
    static const char *const starts[] = {
        "qemu-img create -q -f qcow2 -o compat=0.10 w.qcow2 8M",
        "qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 w.qcow2 8M",
        "qemu-img create -q -f qcow2 -o cluster_size=4096,refcount_bits=1 w.qcow2 8M",
        "qemu-img create -q -f qcow2 -o cluster_size=2M,lazy_refcounts=on w.qcow2 8M",
        "qemu-img create -q -f qcow2 -o preallocation=metadata w.qcow2 8M",
        "qemu-img create -q -f qcow2 p.qcow2 8M && qemu-io -c 'write -P 6 0 8M' p.qcow2 && "
        "qemu-img convert -c -O qcow2 p.qcow2 w.qcow2",
        "qemu-img create -q -f qcow2 -b p.qcow2 -F qcow2 w.qcow2",
        "qemu-img create -q -f qcow2 -o compat=0.10 -b p.qcow2 -F qcow2 w.qcow2",
        "qemu-img create -q -f qcow2 w.qcow2 8M && qemu-io -c 'write -P 6 0 8M' w.qcow2 && "
        "qemu-img snapshot -c s w.qcow2",
    };
    struct dice dice = {4};

    (void)state;
    skip_without_qemu();
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        must_run("rm -f w.qcow2 && %s", starts[i]);
        load_model("w.qcow2");
        for (unsigned round = 0; round < 3; round++) {
            struct blk *image = open_image("w.qcow2", true, NULL);

            change_at_random(image, &dice, 40);
            assert_ok(blk_flush(image, &test_error));
            assert_ok(blk_close(image, &test_error));
            assert_like_model("w.qcow2");
        }
    }
}

static void loses_what_was_not_flushed(void **state)
{
    struct blk *image;

    (void)state;
    skip_without_qemu();
    must_run("rm -f w.qcow2 && qemu-img create -q -f qcow2 w.qcow2 8M");
    memset(model, 0, MODEL);
    image = open_image("w.qcow2", true, NULL);
    assert_ok(blk_write(image, 1000, "gone", 4, &test_error));
    assert_ok(blk_close(image, &test_error));
    assert_like_model("w.qcow2");
}

/* ---- what we make ---- */

static void convert(const char *from, const char *to, const struct qcow2_create_options *options)
{
    struct blk *source;
    struct blk *target;

    must_run("rm -f %s && touch %s", to, to);
    assert_ok(raw_open(from, RAW_READ, &source, &test_error));
    assert_ok(raw_open(to, RAW_WRITE, &target, &test_error));
    assert_ok(qcow2_convert(source, target, options, &test_error));
    assert_ok(blk_close(source, &test_error));
    assert_ok(blk_close(target, &test_error));
}

/* Text, random bytes, zeros and holes; 5000 bytes short of a cluster, as sectors allow. */
static void make_source(void)
{
    struct dice dice = {8};

    memset(model, 0, MODEL);
    fill_random(&dice, model, 400000, false);
    fill_random(&dice, model + 900000, 1500000, true);
    fill_random(&dice, model + 5000000, 1000000, false);
    for (size_t at = 5000000; at < 6000000; at += 97)
        model[at] = (uint8_t)roll(&dice);
    save_model("source.raw");
    must_run("truncate -s 8384000 source.raw");
}

static void makes_every_geometry(void **state)
{
    (void)state;
    skip_without_qemu();
    make_source();
    for (unsigned bits = 9; bits <= 21; bits++) {
        for (unsigned kind = 0; kind < 5; kind++) {
            struct qcow2_create_options options = {
                .cluster_size = 1u << bits,
                .refcount_bits = 1u << (bits + kind) % 7,
                .compress = kind == 1 || kind == 2,
                .compression = kind == 2 ? QCOW2_ZSTD : QCOW2_ZLIB,
                .preallocate = kind == 3,
            };

            if (kind == 4) {
                options.version = 2;
                options.refcount_bits = 16;
                options.compress = true;
            }
            convert("source.raw", "m.qcow2", &options);
            must_run("qemu-img check m.qcow2");
            must_run("qemu-img compare -f raw -F qcow2 source.raw m.qcow2");
            assert_no_findings("m.qcow2");
        }
    }
}

static void makes_the_same_with_any_threads(void **state)
{
    (void)state;
    make_source();
    for (unsigned kind = 0; kind < 3; kind++) {
        struct qcow2_create_options options = {
            .compress = kind != 0,
            .compression = kind == 2 ? QCOW2_ZSTD : QCOW2_ZLIB,
            .threads = 1,
        };

        convert("source.raw", "one.qcow2", &options);
        for (options.threads = 2; options.threads < 8; options.threads += 2) {
            convert("source.raw", "more.qcow2", &options);
            must_run("cmp one.qcow2 more.qcow2");
        }
    }
}

static void makes_empty_images(void **state)
{
    static const uint64_t sizes[] = {0, 512, 65536, 10000384, UINT64_C(1) << 40};

    (void)state;
    skip_without_qemu();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct qcow2_create_options options = {0};
        struct blk *file;

        must_run("rm -f e.qcow2 && touch e.qcow2");
        assert_ok(raw_open("e.qcow2", RAW_WRITE, &file, &test_error));
        assert_ok(qcow2_create(file, sizes[i], &options, &test_error));
        assert_ok(blk_close(file, &test_error));
        must_run("qemu-img check e.qcow2 && qemu-img info e.qcow2 | grep -q '(%llu bytes)'",
                 (unsigned long long)sizes[i]);
        assert_no_findings("e.qcow2");
    }
}

static void stores_random_bytes_plain(void **state)
{
    struct qcow2_create_options options = {.compress = true};
    struct dice dice = {6};

    (void)state;
    skip_without_qemu();
    fill_random(&dice, model, MODEL, true);
    save_model("source.raw");
    convert("source.raw", "m.qcow2", &options);
    must_run("qemu-img check m.qcow2 | grep -q '0.00%% compressed'");
}

/* In a process of its own, whose memory is counted: convert, open for writing, snapshot. */
static int work_on_a_terabyte(void)
{
    struct qcow2_create_options options = {.compress = true};
    struct rusage usage;
    struct blk *image;

    convert("big.raw", "big.qcow2", &options);
    image = open_image("big.qcow2", true, NULL);
    assert_ok(blk_write(image, UINT64_C(3) << 38, "x", 1, &test_error));
    assert_ok(qcow2_snapshot_create(image, "s", 1, 0, &test_error));
    assert_ok(blk_close(image, &test_error));
    if (getrusage(RUSAGE_SELF, &usage) < 0)
        return 1;
    print_message("# %ld KiB at most\n", usage.ru_maxrss);
#if defined(__SANITIZE_ADDRESS__)
    return 0;
#else
    return usage.ru_maxrss < 64 * 1024 ? 0 : 1;
#endif
}

static void a_terabyte_costs_what_its_data_costs(void **state)
{
    pid_t child;
    int status;

    (void)state;
    skip_without_qemu();
    must_run("truncate -s 1T big.raw");
    for (unsigned i = 0; i < 64; i++)
        must_run("head -c 1000000 $(command -v qemu-img) | "
                 "dd of=big.raw bs=1M seek=%u conv=notrunc", i * 16001);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(work_on_a_terabyte());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must_run("qemu-img check big.qcow2");
    must_run("rm -f big.raw big.qcow2");
}

/* ---- snapshots by turns ---- */

enum { SNAPSHOTS = 5, STEPS = 120 };

struct kept {
    bool used;
    uint8_t content[MODEL / 8];
};

enum { TURN_DISK = MODEL / 8 };

static struct kept kept[SNAPSHOTS];

static void by_us(const char *what, const char *name)
{
    struct blk *image = open_image("s.qcow2", true, NULL);

    if (what[0] == 'c')
        assert_ok(qcow2_snapshot_create(image, name, 1700000000, 5, &test_error));
    else if (what[0] == 'a')
        assert_ok(qcow2_snapshot_apply(image, name, &test_error));
    else
        assert_ok(qcow2_snapshot_delete(image, name, &test_error));
    assert_ok(blk_close(image, &test_error));
}

static void snapshot_step(struct dice *dice, unsigned slot)
{
    bool ours = below(dice, 2) != 0;
    const char *what = !kept[slot].used ? "c" : below(dice, 2) != 0 ? "a" : "d";
    char name[16];

    (void)snprintf(name, sizeof name, "tag%u", slot);
    if (ours)
        by_us(what, name);
    else
        must_run("qemu-img snapshot -%s %s s.qcow2", what, name);
    if (what[0] == 'c')
        memcpy(kept[slot].content, model, TURN_DISK);
    if (what[0] == 'a')
        memcpy(model, kept[slot].content, TURN_DISK);
    kept[slot].used = what[0] != 'd';
}

static void write_step(struct dice *dice)
{
    static uint8_t data[100000];
    size_t len = (size_t)below(dice, sizeof data) + 1;
    uint64_t off = below(dice, TURN_DISK - len);
    uint8_t value = (uint8_t)below(dice, 256);

    memset(data, value, len);
    memset(model + off, value, len);
    if (below(dice, 2) != 0) {
        struct blk *image = open_image("s.qcow2", true, NULL);

        assert_ok(blk_write(image, off, data, len, &test_error));
        assert_ok(blk_flush(image, &test_error));
        assert_ok(blk_close(image, &test_error));
    } else {
        must_run("qemu-io -c 'write -P %u %llu %zu' s.qcow2", value, (unsigned long long)off, len);
    }
}

static void assert_disk_is(const char *snapshot, const uint8_t *content)
{
    static uint8_t found[TURN_DISK];
    struct blk *image = open_image("s.qcow2", false, snapshot);

    assert_int_equal(image->size, TURN_DISK);
    assert_ok(blk_read(image, 0, found, TURN_DISK, &test_error));
    assert_memory_equal(found, content, TURN_DISK);
    assert_ok(blk_close(image, &test_error));
}

static void take_turns(const char *options)
{
    struct dice dice = {strlen(options)};

    must_run("rm -f s.qcow2 && qemu-img create -q -f qcow2 -o %s s.qcow2 %d", options, TURN_DISK);
    memset(model, 0, TURN_DISK);
    memset(kept, 0, sizeof kept);
    for (unsigned step = 0; step < STEPS; step++) {
        if (below(&dice, 3) == 0)
            write_step(&dice);
        else
            snapshot_step(&dice, (unsigned)below(&dice, SNAPSHOTS));
        must_run("qemu-img check s.qcow2");
        assert_no_findings("s.qcow2");
        assert_disk_is(NULL, model);
        for (unsigned slot = 0; slot < SNAPSHOTS; slot++) {
            char name[16];

            (void)snprintf(name, sizeof name, "tag%u", slot);
            if (kept[slot].used)
                assert_disk_is(name, kept[slot].content);
        }
    }
    for (unsigned slot = 0; slot < SNAPSHOTS; slot++) {
        if (!kept[slot].used)
            continue;
        must_run("qemu-img convert -l snapshot.name=tag%u -O raw s.qcow2 theirs.raw", slot);
        must_run("test $(stat -c %%s theirs.raw) = %d", TURN_DISK);
    }
}

static void takes_turns_at_snapshots(void **state)
{
    (void)state;
    skip_without_qemu();
    take_turns("cluster_size=65536");
    take_turns("cluster_size=4096,refcount_bits=8");
    take_turns("cluster_size=512,compat=0.10");
}

/* ---- snapshots one by one ---- */

static void numbers_snapshots_as_qemu(void **state)
{
    struct qcow2_snapshot *list;
    struct blk *image;
    uint64_t bytes;
    size_t count;

    (void)state;
    skip_without_qemu();
    must_run("rm -f s.qcow2 && qemu-img create -q -f qcow2 s.qcow2 8M && "
             "qemu-img snapshot -c a s.qcow2 && qemu-img snapshot -c b s.qcow2 && "
             "qemu-img snapshot -d a s.qcow2");
    image = open_image("s.qcow2", true, NULL);
    assert_ok(qcow2_snapshot_create(image, "c", 1700000000, 123456789, &test_error));
    assert_int_equal(qcow2_snapshot_create(image, "c", 0, 0, &test_error), -1);
    assert_int_equal(test_error.code, CHR_E_EXISTS);
    assert_int_equal(qcow2_snapshot_delete(image, "z", &test_error), -1);
    assert_int_equal(test_error.code, CHR_E_MISSING);
    assert_ok(qcow2_snapshot_list(image, &list, &count, &test_error));
    assert_int_equal(count, 2);
    assert_string_equal(list[0].id, "2");
    assert_string_equal(list[1].id, "3");
    assert_int_equal(list[1].date_nanoseconds, 123456789);
    assert_int_equal(list[1].disk_size, MODEL);
    qcow2_snapshots_free(list, count);
    assert_ok(blk_write(image, 0, "x", 1, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(qcow2_snapshot_exclusive(image, "c", &bytes, &test_error));
    assert_int_equal(bytes, 65536); /* its L1 table */
    assert_ok(qcow2_snapshot_delete(image, "3", &test_error)); /* by ID */
    assert_ok(blk_close(image, &test_error));
    must_run("qemu-img snapshot -c d s.qcow2 && qemu-img snapshot -l s.qcow2 | grep -q '^3 *d'");
}

/* VM state lies behind the disk; it must come through every operation of ours. */
static void keeps_vm_state(void **state)
{
    struct qcow2_snapshot *list;
    struct blk *image;
    size_t count;

    (void)state;
    skip_without_qemu();
    if (status_of("qemu-system-x86_64 --version") != 0)
        skip();
    must_run("rm -f s.qcow2 && qemu-img create -q -f qcow2 s.qcow2 8M && "
             "printf '{\"execute\":\"qmp_capabilities\"}\\n{\"execute\":"
             "\"human-monitor-command\",\"arguments\":{\"command-line\":\"savevm live\"}}\\n"
             "{\"execute\":\"quit\"}\\n' | qemu-system-x86_64 -M pc,accel=tcg -m 16 -S -nodefaults "
             "-display none -qmp stdio -drive file=s.qcow2,if=virtio");
    image = open_image("s.qcow2", true, NULL);
    assert_ok(qcow2_snapshot_list(image, &list, &count, &test_error));
    assert_int_equal(count, 1);
    assert_true(list[0].vm_state_size > 1000);
    qcow2_snapshots_free(list, count);
    assert_ok(blk_write(image, 12345, "changed", 7, &test_error));
    assert_ok(qcow2_snapshot_create(image, "other", 1, 0, &test_error));
    assert_ok(qcow2_snapshot_apply(image, "live", &test_error));
    assert_ok(qcow2_snapshot_delete(image, "other", &test_error));
    assert_ok(blk_close(image, &test_error));
    must_run("qemu-img check s.qcow2");
    must_run("printf '{\"execute\":\"qmp_capabilities\"}\\n{\"execute\":\"human-monitor-command\","
             "\"arguments\":{\"command-line\":\"info status\"}}\\n{\"execute\":\"quit\"}\\n' | "
             "qemu-system-x86_64 -M pc,accel=tcg -m 16 -S -nodefaults -display none -qmp stdio "
             "-drive file=s.qcow2,if=virtio -loadvm live | grep -q paused");
}

static void applies_a_snapshot_of_another_size(void **state)
{
    struct blk *image;

    (void)state;
    skip_without_qemu();
    must_run("rm -f s.qcow2 && qemu-img create -q -f qcow2 s.qcow2 8M && "
             "qemu-io -c 'write -P 3 7M 1M' s.qcow2 && qemu-img snapshot -c small s.qcow2 && "
             "qemu-img resize -q s.qcow2 2G && qemu-io -c 'write -P 4 1G 1M' s.qcow2");
    image = open_image("s.qcow2", true, NULL);
    assert_ok(qcow2_snapshot_create(image, "large", 1, 0, &test_error));
    assert_ok(qcow2_snapshot_apply(image, "small", &test_error));
    assert_int_equal(image->size, 8 << 20);
    assert_ok(blk_close(image, &test_error));
    must_run("qemu-img check s.qcow2 && qemu-io -c 'read -P 3 7M 1M' s.qcow2 | grep -v failed");
    image = open_image("s.qcow2", true, NULL);
    assert_ok(qcow2_snapshot_apply(image, "large", &test_error));
    assert_int_equal(image->size, UINT64_C(2) << 30);
    assert_ok(blk_close(image, &test_error));
    must_run("qemu-img check s.qcow2 && qemu-io -r -c 'read -P 4 1G 1M' s.qcow2");
}

static void narrow_refcounts_refuse_snapshots(void **state)
{
    struct blk *image;

    (void)state;
    skip_without_qemu();
    must_run("rm -f s.qcow2 && qemu-img create -q -f qcow2 -o refcount_bits=1 s.qcow2 8M && "
             "qemu-io -c 'write 0 1M' s.qcow2 && cp s.qcow2 before.qcow2");
    image = open_image("s.qcow2", true, NULL);
    assert_int_equal(qcow2_snapshot_create(image, "a", 1, 0, &test_error), -1);
    assert_non_null(strstr(test_error.message, "refcount of 1 bits"));
    assert_ok(blk_write(image, 0, "still usable", 12, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(blk_close(image, &test_error));
    must_run("qemu-img check s.qcow2");
}

/* ---- check and repair ---- */

static void rebuilds_a_dirty_image(void **state)
{
    struct blk *image;

    (void)state;
    skip_without_qemu();
    must_run("rm -f s.qcow2 && qemu-img create -q -f qcow2 -o lazy_refcounts=on s.qcow2 8M");
    (void)status_of("qemu-io -c 'write -P 5 1M 2M' -c 'flush' -c abort s.qcow2");
    must_run("qemu-img info s.qcow2 | grep -qi 'dirty' || qemu-img check s.qcow2 | grep -q . ");
    image = open_image("s.qcow2", true, NULL);
    assert_ok(blk_write(image, 100, "x", 1, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(blk_close(image, &test_error));
    must_run("qemu-img check s.qcow2 && qemu-io -c 'read -P 5 1M 2M' s.qcow2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_geometry),
        cmocka_unit_test(reads_compressed_clusters),
        cmocka_unit_test(reads_backing_chains),
        cmocka_unit_test(refuses_what_it_does_not_do),
        cmocka_unit_test(writes_in_place),
        cmocka_unit_test(loses_what_was_not_flushed),
        cmocka_unit_test(makes_every_geometry),
        cmocka_unit_test(makes_the_same_with_any_threads),
        cmocka_unit_test(makes_empty_images),
        cmocka_unit_test(stores_random_bytes_plain),
        cmocka_unit_test(a_terabyte_costs_what_its_data_costs),
        cmocka_unit_test(takes_turns_at_snapshots),
        cmocka_unit_test(numbers_snapshots_as_qemu),
        cmocka_unit_test(keeps_vm_state),
        cmocka_unit_test(applies_a_snapshot_of_another_size),
        cmocka_unit_test(narrow_refcounts_refuse_snapshots),
        cmocka_unit_test(rebuilds_a_dirty_image),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("qcow2 with qemu-img", tests, make_folder, remove_folder);
}
