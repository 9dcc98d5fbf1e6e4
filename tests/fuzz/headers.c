/* What is decoded from one buffer: loader, package, boot sector, names. */
#include "base/utf.h"
#include "fs/boot_sector.h"
#include "fs/fat_name.h"
#include "fs/fat_write.h"
#include "fs/kernel.h"
#include "fs/npk.h"
#include "fuzz.h"

static void decode_headers(const uint8_t *data, size_t size)
{
    struct chr_error err = {0};
    struct kernel kernel = {0};
    struct npk npk = {0};

    if (size >= 512) {
        (void)kernel_probe(data);
        (void)boot_sector_classify(data);
    }
    if (kernel_decode(data, size, &kernel, &err) < 0)
        must_be_told(&err);
    else
        MUST(kernel_machine_name(kernel.machine) != NULL, "a machine without a name");
    if (npk_decode(data, size, &npk, &err) < 0)
        must_be_told(&err);
    else
        MUST(strlen(npk.name) < sizeof npk.name && strlen(npk.version) < sizeof npk.version,
             "a name without an end");
}

static void use_name(const char *name)
{
    uint8_t label[11];
    struct chr_error err = {0};

    fat_label_encode(name, label);
    if (fat_name_check(name, &err) < 0) {
        must_be_told(&err);
        return;
    }
    MUST(fat_name_same(name, name), "a name is not itself");
    for (unsigned attempt = 0; attempt < 12; attempt++) {
        uint8_t alias[FAT_ALIAS_SIZE];
        char text[FAT_ALIAS_TEXT_SIZE];

        if (!fat_name_alias(name, attempt, alias))
            continue;
        fat_name_alias_text(alias, text);
        MUST(text[0] != '\0' && text[0] != ' ', "an empty alias");
        if (fat_name_needs_long(name, alias))
            MUST(fat_name_long_entries(name) >= 1, "a long name without entries");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE uint8_t *exact = malloc(size + 1);
    AUTO_FREE char *text = malloc(size / 2 * 3 + 1);

    MUST(exact != NULL && text != NULL, "memory");
    /* A copy of just that length, so that a read past the end is seen. */
    decode_headers(data, size);
    memcpy(exact, data, size);
    exact[size] = '\0';
    use_name((const char *)exact);
    utf16le_to_utf8(data, size / 2, text);
    MUST(strlen(text) <= size / 2 * 3, "too much text");
    return 0;
}
