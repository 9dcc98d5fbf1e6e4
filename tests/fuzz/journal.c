/*
 * journal: recovery of a file system of 4 MiB that begins with the input.  What it
 * succeeds with it has finished: a second run finds nothing to do.
 */
#include "block/overlay.h"
#include "fs/journal.h"
#include "fuzz.h"

#define PARTITION_SIZE (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct journal_report nothing;
    struct memory device = memory_device(data, size, PARTITION_SIZE);
    AUTO_BLK struct blk *first = NULL;
    AUTO_BLK struct blk *second = NULL;
    struct journal_report report;
    struct chr_error err = {0};

    MUST(overlay_open(&device.blk, &first, &err) == 0, "%s", err.message);
    if (journal_recover(first, &report, &err) < 0) {
        must_be_told(&err);
        MUST(memcmp(&report, &nothing, sizeof report) == 0, "it reports what is not to be used");
        return 0;
    }
    MUST(overlay_open(first, &second, &err) == 0, "%s", err.message);
    MUST(journal_recover(second, &report, &err) == 0, "a second time: %s", err.message);
    MUST(memcmp(&report, &nothing, sizeof report) == 0, "a second time there is something to do");
    MUST(overlay_changed(second) == 0, "a second time something is written");
    return 0;
}
