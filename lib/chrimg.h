/*
 * chrimg: disk images of RouterOS CHR, read, mended, converted and booted.
 *
 * The one public header.  Handles are opaque, options and reports are plain
 * structs, every function that can fail takes a `struct chr_error *` (never
 * NULL) and returns 0, or -1 with the error filled in.  All sizes are bytes
 * unless a name says otherwise; an LBA counts sectors of 512 bytes.
 *
 * The library prints nothing, keeps no global state, and is safe to use from
 * several threads as long as each image is used by one at a time.
 */
#ifndef CHRIMG_H
#define CHRIMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHR_API __attribute__((visibility("default")))

#define CHR_VERSION "0.1.0"

#define CHR_SECTOR_SIZE 512

/* ---- errors ---- */

#define CHR_MESSAGE_SIZE 1024
#define CHR_HINT_SIZE 512

enum chr_code {
    CHR_OK = 0,
    CHR_E_IO,          /* the host could not read or write */
    CHR_E_MISSING,     /* no such file, partition or member */
    CHR_E_EXISTS,      /* an output is there already */
    CHR_E_SPACE,       /* no room: on the host, or in the image */
    CHR_E_MEMORY,      /* out of memory */
    CHR_E_BUSY,        /* another process holds the image */
    CHR_E_USAGE,       /* options that cannot be meant */
    CHR_E_REFUSED,     /* sound, but not something this command will do */
    CHR_E_UNSUPPORTED, /* sound, but a format feature that chrimg does not know */
    CHR_E_DAMAGED,     /* the image contradicts itself or its format */
    CHR_E_INTERNAL,    /* a bug: a check on our own work failed */
};

struct chr_error {
    enum chr_code code;
    char message[CHR_MESSAGE_SIZE]; /* what and where, one sentence without a full stop */
    char hint[CHR_HINT_SIZE];       /* the way out, or "" */
};

/* ---- findings ---- */

enum chr_severity {
    CHR_NOTE,    /* worth knowing */
    CHR_WARNING, /* tools will disagree, or a part is unusable; nothing is lost */
    CHR_DAMAGE,  /* the image contradicts itself in a way that can lose data */
};

#define CHR_FINDING_SIZE 256

struct chr_finding {
    enum chr_severity severity;
    const char *id; /* stable, for programs: "gpt-backup-not-at-end" */
    char text[CHR_FINDING_SIZE];
};

/* ---- images ---- */

struct chr_image;

enum chr_format { CHR_FORMAT_RAW, CHR_FORMAT_ZIP, CHR_FORMAT_QCOW2 };

enum {
    CHR_OPEN_WRITE = 1 << 0,       /* for changing in place; takes QEMU's exclusive lock */
    CHR_OPEN_FORCE_SHARE = 1 << 1, /* read although another process writes; contents may tear */
    CHR_OPEN_REPAIR = 1 << 2,      /* a damaged qcow2 too; for chr_check() only */
};

/*
 * Open the image NAME: raw, qcow2, or a .zip with one image inside; "IMG@TAG" is
 * a snapshot of a qcow2, read only.  A change in place that was interrupted
 * earlier is taken back: on the disk when opening for writing, in memory
 * otherwise; chr_image_recovered() says so.
 * Close with chr_image_close(), NULL is fine.
 */
CHR_API int chr_image_open(const char *name, unsigned flags, struct chr_image **out,
                           struct chr_error *err);
CHR_API void chr_image_close(struct chr_image *image);

CHR_API enum chr_format chr_image_format(const struct chr_image *image);
CHR_API bool chr_image_recovered(const struct chr_image *image);

/* "raw", "zip", "qcow2" */
CHR_API const char *chr_format_name(enum chr_format format);

/* ---- inspect: what is on an image ---- */

enum chr_contents {
    CHR_CONTENTS_UNKNOWN,
    CHR_CONTENTS_EMPTY,  /* the first 64 KiB are zeros */
    CHR_CONTENTS_EXT,
    CHR_CONTENTS_FAT,
    CHR_CONTENTS_KERNEL, /* no file system, but a boot loader at a raw offset */
};

#define CHR_NAME_SIZE 128
#define CHR_UUID_TEXT_SIZE 37
#define CHR_REASON_SIZE 256

struct chr_mbr_entry {
    bool used;
    bool active;
    uint8_t type;
    uint8_t first_chs[3]; /* as on the disk */
    uint8_t last_chs[3];
    uint32_t first_lba;
    uint32_t sectors;
};

/* One copy of the GPT. */
struct chr_gpt_copy {
    bool present;
    bool sound; /* header and entries pass every check, CRCs included */
    uint64_t lba;
    uint64_t expected_lba;
    char problem[CHR_FINDING_SIZE]; /* when present and not sound */
};

struct chr_partition {
    unsigned number;
    uint64_t first_lba;
    uint64_t last_lba; /* inclusive; where the table overlaps, as it must be meant */
    uint64_t stored_last_lba;
    bool in_mbr;
    bool in_gpt;
    bool active;
    bool is_boot;
    bool is_root;
    char type_guid[CHR_UUID_TEXT_SIZE]; /* "" when not in the GPT */
    char type_name[32];                 /* "EFI system", "Linux" */
    uint8_t mbr_type;
    char guid[CHR_UUID_TEXT_SIZE];
    char name[CHR_NAME_SIZE]; /* of the GPT */
    enum chr_contents contents;
    char filesystem[16];   /* "ext3", "FAT16", "" */
    char blkid_type[16];   /* what libblkid says; "" nothing, or it has no opinion */
    char label[CHR_NAME_SIZE];
    char uuid[CHR_UUID_TEXT_SIZE]; /* FAT: "1234-ABCD" */
    uint32_t block_size;
    uint64_t free_bytes;
};

/* A file of the boot partition. */
struct chr_file {
    const char *path; /* "EFI/BOOT/BOOTX64.EFI" */
    bool is_folder;
    uint64_t size;
    int64_t modified; /* seconds since 1970 */
};

/* A RouterOS package on the root partition. */
struct chr_package {
    char name[CHR_NAME_SIZE];
    char version[32];
    uint32_t build_time;
};

struct chr_verdict {
    bool yes;
    char reason[CHR_REASON_SIZE];
};

struct chr_qcow2_info {
    unsigned version;
    uint32_t cluster_size;
    unsigned refcount_bits;
    char compression[8]; /* "zlib", "zstd" */
    bool dirty;
    bool corrupt;
    char backing_file[1024]; /* as the image spells it, "" for none */
};

/* A snapshot inside of a qcow2. */
struct chr_snapshot {
    char id[64];
    char tag[256];
    int64_t date; /* seconds since 1970 */
    uint64_t vm_state_size; /* bytes; 0 = disk only */
    uint64_t disk_size;
    uint64_t exclusive; /* bytes of the file that only this snapshot holds */
};

struct chr_report {
    enum chr_format format;
    uint64_t virtual_size;
    uint64_t allocated_size; /* on the host */
    bool has_mbr;
    uint32_t disk_id;
    struct chr_mbr_entry mbr[4];
    struct chr_gpt_copy gpt[2]; /* primary, backup */
    char disk_guid[CHR_UUID_TEXT_SIZE];
    struct chr_partition *partitions; /* ascending by LBA */
    size_t partition_count;
    struct chr_file *files;
    size_t file_count;
    bool has_loader;
    char loader_path[CHR_NAME_SIZE]; /* "" for a kernel at a raw offset */
    uint64_t loader_size;
    char loader_machine[16]; /* of its PE header: "x86_64", "aarch64" */
    char architecture[16];   /* "x86_64", "aarch64", "unknown" */
    char version[32];        /* of RouterOS, "" when it cannot be told */
    struct chr_package *packages;
    size_t package_count;
    bool is_qcow2;
    struct chr_qcow2_info qcow2; /* when is_qcow2 */
    struct chr_snapshot *snapshots;
    size_t snapshot_count;
    struct chr_verdict uefi;
    struct chr_verdict bios;
    struct chr_finding *findings;
    size_t finding_count;
};

/*
 * Say what IMAGE is.  Damage that leaves something to say becomes findings; an
 * error is only what leaves nothing.  Free with chr_report_free().
 */
CHR_API int chr_inspect(struct chr_image *image, struct chr_report **out, struct chr_error *err);
CHR_API void chr_report_free(struct chr_report *report);

/* ---- fatten: make the boot partition one that UEFI reads ---- */

enum chr_compression { CHR_COMPRESS_NONE, CHR_COMPRESS_ZLIB, CHR_COMPRESS_ZSTD };
enum chr_layout { CHR_LAYOUT_KEEP, CHR_LAYOUT_COMPACT };

struct chr_fatten_options {
    const char *output;   /* NULL: beside the input, "<stem>-efi.img"; *.qcow2 makes a qcow2 */
    bool in_place;        /* change the input itself, under an undo file */
    bool force;           /* replace an output that is there */
    bool dry_run;         /* plan and verify in memory, write nothing */
    enum chr_layout layout;
    bool keep_mbr;        /* add no 0xEE entry */
    bool require_bios;    /* fail when the result would not boot on BIOS */
    enum chr_compression compression; /* of a qcow2 output */
    /* Called now and then with bytes done and in all; may be NULL. */
    void (*progress)(uint64_t done, uint64_t total, void *context);
    void *progress_context;
};

enum chr_fatten_source {
    CHR_SOURCE_EXT,
    CHR_SOURCE_FAT,    /* was FAT already: only the tables were looked at */
    CHR_SOURCE_KERNEL, /* no file system: the kernel was found by its headers */
};

#define CHR_FATTEN_NOTES 16

struct chr_fatten_report {
    enum chr_fatten_source source;
    bool changed;            /* false: the image was as it should be already */
    enum chr_layout layout;  /* compact also where keep was impossible */
    char output[4096];       /* the file that was written, or would be */
    uint32_t cluster_size;
    uint32_t clusters;
    uint32_t kept_clusters;  /* of files, still on their own sectors */
    uint32_t moved_clusters;
    uint32_t zeroed_clusters;
    uint32_t files;
    uint32_t folders;
    char label[16];
    char serial[12];         /* "1234-ABCD" */
    uint64_t changed_bytes;  /* of the image, whole sectors */
    bool has_gpt;
    struct chr_verdict uefi; /* of the result */
    struct chr_verdict bios;
    size_t note_count;
    char notes[CHR_FATTEN_NOTES][CHR_FINDING_SIZE]; /* what a user should know, in order */
};

/*
 * Make the boot partition of the image at PATH a FAT16 with an EFI loader, laid
 * around the files, and mend the tables.  Everything is made and verified in
 * memory first, then written beside the input and renamed, or in place.
 */
CHR_API int chr_fatten(const char *path, const struct chr_fatten_options *options,
                       struct chr_fatten_report *report, struct chr_error *err);

/* ---- extract: files of the boot partition ---- */

struct chr_extract_options {
    const char *folder; /* created if need be; NULL: no files */
    const char *raw;    /* the partition itself into this file; NULL: not */
    bool force;         /* replace files that are there */
};

struct chr_extract_report {
    uint32_t files;
    uint32_t folders;
    uint64_t bytes;
};

CHR_API int chr_extract(struct chr_image *image, const struct chr_extract_options *options,
                        struct chr_extract_report *report, struct chr_error *err);

/* ---- convert ---- */

enum chr_preallocation { CHR_PREALLOCATE_OFF, CHR_PREALLOCATE_METADATA, CHR_PREALLOCATE_FULL };

struct chr_convert_options {
    const char *format; /* "raw", "qcow2", or one of qemu-img's; NULL: by OUTPUT's ending */
    enum chr_compression compression; /* qcow2 only */
    uint32_t cluster_size;            /* qcow2 only; 0 = 64 KiB */
    enum chr_preallocation preallocation;
    unsigned threads; /* 0 = one for each processor; the output does not depend on it */
    bool force;       /* replace an output that is there */
    void (*progress)(uint64_t done, uint64_t total, void *context);
    void *progress_context;
};

struct chr_convert_report {
    char output[4096];
    char format[16];
    uint64_t virtual_size;
    uint64_t allocated_size; /* of the output, on the host */
    bool by_qemu_img;        /* a format that is not ours */
};

/*
 * Write what SOURCE (any image, or IMG@TAG) holds to OUTPUT in another format;
 * "-" is standard output, for raw.  Other formats than raw and qcow2 are left to
 * qemu-img.
 */
CHR_API int chr_convert(const char *source, const char *output,
                        const struct chr_convert_options *options,
                        struct chr_convert_report *report, struct chr_error *err);

/* ---- snapshots ---- */

#define CHR_TAG_MAX 255 /* bytes */

/*
 * The image that is meant when none is named: $CHRIMG_IMAGE, else the one *.qcow2
 * in the current folder that holds a CHR.  CHR_E_MISSING lists the candidates.
 */
CHR_API int chr_find_image(char *path, size_t size, struct chr_error *err);

/* Keep the disk as it is now as TAG.  CHR_E_EXISTS when there is such a tag. */
CHR_API int chr_snapshot_create(const char *path, const char *tag, struct chr_error *err);

/*
 * Make the disk what it was at TAG (or ID); the snapshot stays.  With KEEP, what
 * the disk is now is first kept as a snapshot whose tag is put into KEPT.
 */
CHR_API int chr_snapshot_apply(const char *path, const char *tag, bool keep,
                               char kept[CHR_TAG_MAX + 1], struct chr_error *err);

CHR_API int chr_snapshot_delete(const char *path, const char *tag, struct chr_error *err);

/* All snapshots in the order of the image; free() the list. */
CHR_API int chr_snapshot_list(struct chr_image *image, struct chr_snapshot **list, size_t *count,
                              struct chr_error *err);

enum chr_difference { CHR_ADDED, CHR_REMOVED, CHR_CHANGED };

struct chr_file_difference {
    enum chr_difference kind;
    bool on_boot; /* on the boot partition, else on the root */
    char *path;
    uint64_t old_size;
    uint64_t new_size;
};

struct chr_diff {
    struct chr_file_difference *items;
    size_t count;
};

/* Which files of boot and root partition differ between two images or states. */
CHR_API int chr_diff(struct chr_image *from, struct chr_image *to, struct chr_diff **out,
                     struct chr_error *err);
CHR_API void chr_diff_free(struct chr_diff *diff);

/* ---- check ---- */

enum chr_repair { CHR_REPAIR_NONE, CHR_REPAIR_LEAKS, CHR_REPAIR_ALL };

enum chr_check_verdict {
    CHR_CHECK_SOUND,
    CHR_CHECK_LEAKS,   /* nothing but clusters that nothing refers to */
    CHR_CHECK_DAMAGED,
};

struct chr_check_report {
    enum chr_check_verdict verdict; /* after the repair, if there was one */
    uint64_t leaks;       /* qcow2 clusters, before a repair */
    uint64_t corruptions; /* of the qcow2's tables, before a repair */
    char ext_judge[32];   /* "e2fsck" or "chrimg": who checked ext file systems */
    struct chr_finding *findings; /* before a repair */
    size_t finding_count;
    struct chr_finding *repairs; /* what was done, one each */
    size_t repair_count;
};

/*
 * All verifiers, one verdict: qcow2 tables, partition tables, FAT, ext.  Nothing
 * is written unless REPAIR asks for it, and then each step is reported.
 * Free with chr_check_free().
 */
CHR_API int chr_check(const char *path, enum chr_repair repair, struct chr_check_report **out,
                      struct chr_error *err);
CHR_API void chr_check_free(struct chr_check_report *report);

#ifdef __cplusplus
}
#endif

#endif
