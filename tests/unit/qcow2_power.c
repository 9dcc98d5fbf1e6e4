/*
 * The promise of every change: a power cut, an I/O error or a full disk at any write
 * or flush leaves the image as it was or as it is to be, with sound tables, no leaks
 * and every snapshot whole.  Each operation runs once for each point of failure;
 * qemu-img check judges the outcome beside our own check.
 */
#include "qcow2_test.h"

enum { DISK = 192 * 1024, SECTOR = 512 };

/* What the disk and its snapshots hold. */
struct contents {
    uint8_t disk[DISK];
    uint8_t one[DISK];
    uint8_t two[DISK];
};

typedef int operation_fn(struct blk *image, struct chr_error *err);

struct operation {
    const char *name;
    operation_fn *run;
    bool data; /* changes the disk by writes that are not flushed one by one */
    bool for_repair;
};

static int do_create(struct blk *image, struct chr_error *err)
{
    return qcow2_snapshot_create(image, "three", 1700000000, 0, err);
}

static int do_apply(struct blk *image, struct chr_error *err)
{
    return qcow2_snapshot_apply(image, "one", err);
}

static int do_delete(struct blk *image, struct chr_error *err)
{
    return qcow2_snapshot_delete(image, "two", err);
}

/*
 * Over shared, own, missing and partly covered clusters, with a flush within; no byte
 * twice, so that each is either old or new afterwards.
 */
static int do_write(struct blk *image, struct chr_error *err)
{
    static uint8_t data[24000];
    struct dice dice = {77};

    fill_random(&dice, data, sizeof data, true);
    if (blk_write(image, 1000, data, 9000, err) < 0 ||
        blk_write(image, 60000, data, sizeof data, err) < 0 || blk_flush(image, err) < 0 ||
        blk_write(image, 84000, data + 300, 20000, err) < 0 ||
        blk_zero(image, 12000, 30000, err) < 0 || blk_write(image, 150000, data, 8000, err) < 0)
        return -1;
    return blk_flush(image, err);
}

static int do_repair(struct blk *image, struct chr_error *err)
{
    struct qcow2_check_report report;

    return qcow2_repair(image, QCOW2_REPAIR_ALL, &report, err);
}

static const struct operation operations[] = {
    {"create", do_create, false, false}, {"apply", do_apply, false, false},
    {"delete", do_delete, false, false}, {"write", do_write, true, false},
    {"repair", do_repair, false, true},
};

static void write_random(struct blk *image, struct dice *dice, unsigned times)
{
    static uint8_t data[16384];

    for (unsigned i = 0; i < times; i++) {
        size_t len = (size_t)below(dice, sizeof data) + 1;

        fill_random(dice, data, len, true);
        assert_ok(blk_write(image, below(dice, DISK - len), data, len, &test_error));
    }
    assert_ok(blk_flush(image, &test_error));
}

/* An image with two snapshots and clusters of all kinds of sharing. */
static void make_image(struct rig_state *state, uint32_t cluster_size, unsigned refcount_bits)
{
    struct qcow2_create_options options = {
        .cluster_size = cluster_size, .refcount_bits = refcount_bits, .resize = rig_resize};
    struct dice dice = {cluster_size + refcount_bits};
    struct blk *file = rig_open(state);
    struct blk *image;

    assert_ok(qcow2_create(file, DISK, &options, &test_error));
    assert_ok(blk_close(file, &test_error));
    image = rig_open_image(state, true, NULL);
    assert_non_null(image);
    write_random(image, &dice, 6);
    assert_ok(qcow2_snapshot_create(image, "one", 1, 0, &test_error));
    write_random(image, &dice, 4);
    assert_ok(qcow2_snapshot_create(image, "two", 2, 0, &test_error));
    write_random(image, &dice, 3);
    assert_ok(blk_close(image, &test_error));
}

/* Wrong refcounts of all kinds, and the dirty mark: what repair is for. */
static void damage(struct rig_state *state)
{
    uint64_t table = be64(state->bytes + 48);
    uint64_t block = be64(state->bytes + table);

    for (uint64_t entry = 2; entry < 40; entry += 3)
        put_be16(state->bytes + block + entry * 2, (uint16_t)(entry % 4));
    state->bytes[79] |= 1;
    memcpy(state->stable, state->bytes, RIG_ROOM);
}

static void read_all(struct rig_state *state, const char *snapshot, uint8_t *out)
{
    struct blk *image = rig_open_image(state, false, snapshot);

    memset(out, 0, DISK);
    if (image == NULL)
        fail_msg("cannot open %s: %s", snapshot != NULL ? snapshot : "the disk",
                 test_error.message);
    assert_int_equal(image->size, DISK);
    assert_ok(blk_read(image, 0, out, DISK, &test_error));
    assert_ok(blk_close(image, &test_error));
}

static bool has_snapshot(struct rig_state *state, const char *name)
{
    struct blk *image = rig_open_image(state, false, NULL);
    struct qcow2_snapshot *list;
    size_t count;
    bool found = false;

    assert_non_null(image);
    assert_ok(qcow2_snapshot_list(image, &list, &count, &test_error));
    for (size_t i = 0; i < count; i++)
        found = found || strcmp(list[i].name, name) == 0;
    qcow2_snapshots_free(list, count);
    assert_ok(blk_close(image, &test_error));
    return found;
}

static void assert_sound(struct rig_state *state, bool ask_qemu, const char *when)
{
    struct blk *image = rig_open_image(state, false, NULL);
    struct qcow2_check_report report;

    if (image == NULL)
        fail_msg("%s: %s", when, test_error.message);
    assert_ok(qcow2_check(image, &report, &test_error));
    assert_ok(blk_close(image, &test_error));
    if (report.corruptions != 0 || report.leaks != 0)
        fail_msg("%s: %s", when, report.findings[0]);
    if (!ask_qemu)
        return;
    rig_save(state, "cut.qcow2");
    if (status_of("qemu-img check cut.qcow2") != 0) {
        show_log();
        fail_msg("%s: qemu-img check finds fault", when);
    }
}

/* Every sector is what it was before or what it is afterwards. */
static void assert_old_or_new(const uint8_t *disk, const uint8_t *old, const uint8_t *new,
                              bool mixed, const char *when)
{
    bool all_old = memcmp(disk, old, DISK) == 0;
    bool all_new = memcmp(disk, new, DISK) == 0;

    if (!mixed && !all_old && !all_new)
        fail_msg("%s: the disk is neither the old nor the new one", when);
    for (size_t at = 0; mixed && at < DISK; at++)
        if (disk[at] != old[at] && disk[at] != new[at])
            fail_msg("%s: byte %zu is neither the old nor the new one", when, at);
}

struct scene {
    struct rig_state before;
    struct rig_state now;
    struct contents old;
    struct contents new;
    const struct operation *operation;
};

static int run_operation(struct scene *scene)
{
    struct qcow2_open_options options = {
        .writable = true, .for_repair = scene->operation->for_repair, .resize = rig_resize};
    struct blk *image;
    int result;

    if (qcow2_open(rig_open(&scene->now), &options, &image, &test_error) < 0)
        return -1;
    result = scene->operation->run(image, &test_error);
    blk_cleanup(&image);
    return result;
}

static void look_after(struct scene *scene, bool ask_qemu, const char *when)
{
    static struct contents found;

    if (!scene->operation->for_repair)
        assert_sound(&scene->now, ask_qemu, when);
    read_all(&scene->now, NULL, found.disk);
    assert_old_or_new(found.disk, scene->old.disk, scene->new.disk, scene->operation->data, when);
    read_all(&scene->now, "one", found.one);
    assert_memory_equal(found.one, scene->old.one, DISK);
    if (has_snapshot(&scene->now, "two")) {
        read_all(&scene->now, "two", found.two);
        assert_memory_equal(found.two, scene->old.two, DISK);
    }
    if (scene->operation->for_repair) { /* a second try brings it to the end */
        assert_int_equal(run_operation(scene), 0);
        assert_sound(&scene->now, ask_qemu, when);
    }
}

static uint64_t run_undisturbed(struct scene *scene)
{
    uint64_t points;

    rig_copy(&scene->now, &scene->before);
    if (run_operation(scene) < 0)
        fail_msg("%s: %s", scene->operation->name, test_error.message);
    points = scene->now.operations;
    /* What was written was flushed: losing power now changes nothing. */
    assert_int_equal(scene->now.pending_count, 0);
    read_all(&scene->now, NULL, scene->new.disk);
    assert_sound(&scene->now, true, "undisturbed");
    return points;
}

static void fail_everywhere(struct scene *scene, bool qemu)
{
    uint64_t points = run_undisturbed(scene);
    struct dice dice = {points};

    for (uint64_t point = 1; point <= points; point++) {
        for (unsigned fall = 0; fall < 6; fall++) {
            char when[96];

            rig_copy(&scene->now, &scene->before);
            scene->now.fail_at = point;
            /* The first is an I/O error, the second a full disk, the rest lose power. */
            scene->now.fault = fall == 1 ? RIG_NO_SPACE : RIG_IO_ERROR;
            (void)snprintf(when, sizeof when, "%s, failure at %llu of %llu, fall %u",
                           scene->operation->name, (unsigned long long)point,
                           (unsigned long long)points, fall);
            (void)run_operation(scene);
            if (fall >= 2)
                rig_lose_power(&scene->now, &dice);
            scene->now.fault = RIG_SOUND;
            look_after(scene, qemu && fall % 3 == 2, when);
        }
    }
    print_message("# %s: %llu points of failure\n", scene->operation->name,
                  (unsigned long long)points);
}

static void try_geometry(uint32_t cluster_size, unsigned refcount_bits)
{
    static struct scene scene;
    bool qemu = have_qemu();

    rig_new(&scene.before);
    rig_new(&scene.now);
    make_image(&scene.before, cluster_size, refcount_bits);
    read_all(&scene.before, NULL, scene.old.disk);
    read_all(&scene.before, "one", scene.old.one);
    read_all(&scene.before, "two", scene.old.two);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        scene.operation = &operations[i];
        if (scene.operation->for_repair)
            damage(&scene.before);
        fail_everywhere(&scene, qemu);
    }
    rig_release(&scene.before);
    rig_release(&scene.now);
}

static void small_clusters(void **state)
{
    (void)state;
    try_geometry(512, 16);
}

static void middle_clusters(void **state)
{
    (void)state;
    try_geometry(4096, 16);
}

static void usual_clusters(void **state)
{
    (void)state;
    try_geometry(65536, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_clusters),
        cmocka_unit_test(middle_clusters),
        cmocka_unit_test(usual_clusters),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("qcow2 power cuts", tests, make_folder, remove_folder);
}
