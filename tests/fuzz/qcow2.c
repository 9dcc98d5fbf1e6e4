/*
 * qcow2: opening, listing, checking and reading an image of unknown origin.
 */
#include "fuzz.h"
#include "qcow2/qcow2.h"

#define READ_MOST (4u << 20)

static void read_all(struct blk *image)
{
    static uint8_t buffer[1 << 16];
    uint64_t length = min_u64(image->size, READ_MOST);
    struct chr_error err = {0};

    for (uint64_t off = 0; off < length; off += sizeof buffer)
        if (blk_read(image, off, buffer, (size_t)min_u64(sizeof buffer, length - off), &err) < 0) {
            must_be_told(&err);
            return;
        }
}

static void look_at_snapshots(struct blk *image)
{
    struct qcow2_snapshot *list = NULL;
    struct chr_error err = {0};
    size_t count = 0;

    if (qcow2_snapshot_list(image, &list, &count, &err) < 0) {
        must_be_told(&err);
        return;
    }
    for (size_t i = 0; i < count; i++)
        MUST(list[i].id != NULL && list[i].name != NULL, "snapshot %zu has no name", i);
    qcow2_snapshots_free(list, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct qcow2_open_options options = {.refuse_backing = true};
    struct memory file = memory_device(data, size, size);
    static struct qcow2_check_report report;
    AUTO_BLK struct blk *image = NULL;
    struct qcow2_info info = {0};
    struct chr_error err = {0};

    (void)qcow2_probe(data, size);
    if (qcow2_open(&file.blk, &options, &image, &err) < 0) {
        must_be_told(&err);
        return 0;
    }
    qcow2_get_info(image, &info);
    look_at_snapshots(image);
    if (qcow2_check(image, &report, &err) < 0)
        must_be_told(&err);
    read_all(image);
    return 0;
}
