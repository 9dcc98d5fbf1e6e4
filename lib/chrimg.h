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
    CHR_E_CANCELLED,   /* the caller called it off */
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

/*
 * VALUE as one word of a POSIX shell in OUT, in quotes where it needs them; cut where SIZE,
 * 1 at least, is too small.  Returns OUT.
 */
CHR_API const char *chr_shell_word(const char *value, char *out, size_t size);

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

/* ---- extract: files of the boot partition, or a partition ---- */

struct chr_extract_options {
    const char *folder; /* created if need be; NULL: no files */
    const char *raw;    /* the partition itself into this file; NULL: not */
    const char *partition; /* of RAW: "boot", "root" or its number; NULL: boot */
    bool force;         /* replace files that are there */
};

struct chr_extract_report {
    uint32_t files;
    uint32_t folders;
    uint64_t bytes;
    unsigned partition; /* the number of what RAW holds */
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

/* ---- resize: a larger disk ---- */

struct chr_resize_options {
    uint64_t size;    /* of the disk, bytes; whole sectors of 512 */
    bool relative;    /* `size` is added to what the disk has */
    bool tables_only; /* leave the file system to RouterOS, which makes it larger at first boot */
    bool dry_run;     /* do all of it in memory, write nothing */
};

#define CHR_RESIZE_NOTES 8

struct chr_resize_report {
    bool changed;
    uint64_t old_size; /* of the disk, bytes */
    uint64_t new_size;
    unsigned partition; /* number of the root partition */
    uint64_t old_partition_size; /* bytes */
    uint64_t new_partition_size;
    char fs_kind[8];    /* "ext3", "ext4"; "" where there is none that we know */
    bool fs_grown;
    uint64_t old_fs_size; /* bytes; 0 without a file system */
    uint64_t new_fs_size;
    uint64_t fs_free;     /* bytes that are free in it afterwards */
    char fs_reason[CHR_REASON_SIZE]; /* why it is as it was, "" where it has grown */
    uint64_t changed_bytes; /* of the image, whole sectors */
    size_t note_count;
    char notes[CHR_RESIZE_NOTES][CHR_FINDING_SIZE];
};

/*
 * Make the disk in the image at PATH (raw or qcow2, changed in place) larger, the root
 * partition reach to its end, and its ext file system fill the partition, by resize2fs
 * on a private copy where that is installed.  A disk is never made smaller.  The
 * snapshots of a qcow2 keep their own size.
 *
 * CHR_E_REFUSED without a root partition behind the boot partition, or for a smaller
 * disk; CHR_E_DAMAGED when e2fsck has complaints about the file system before.
 */
CHR_API int chr_resize(const char *path, const struct chr_resize_options *options,
                       struct chr_resize_report *report, struct chr_error *err);

/* ---- configuration scripts: lint, templates, defaults ---- */

/* A name and what it stands for; both belong to the caller. */
struct chr_pair {
    const char *key;
    const char *value;
};

/*
 * What the references of a template may stand for.  SETS answer `{{ key }}`;
 * ALLOW_CMDS name the programs that `{{ cmd://NAME }}` may run (key NAME, value
 * the program, which is looked for in PATH and gets no arguments).
 */
struct chr_template_options {
    const struct chr_pair *sets;
    size_t set_count;
    const struct chr_pair *allow_cmds;
    size_t allow_cmd_count;
};

/* A first configuration for those who have no script; NULL, 0 or false: leave it alone. */
struct chr_defaults {
    const char *identity;            /* the router's name, 1 to 64 characters */
    const char *admin_password_from; /* a reference without braces: "env://X" */
    const char *const *addresses;    /* "192.0.2.1/24%ether1", IPv4 or IPv6 */
    size_t address_count;
    const char *const *gateways;     /* one of IPv4, one of IPv6; fe80::1%ether1, too */
    size_t gateway_count;
    const char *const *dns;          /* each: addresses, separated by commas */
    size_t dns_count;
    const char *const *ssh_key_files; /* public keys of OpenSSH, for the user admin */
    size_t ssh_key_file_count;
    bool hardened; /* no MAC server, neighbour discovery, bandwidth server; SSH and WebFig only */
};

enum chr_lint_severity {
    CHR_LINT_NOTE,    /* done for the user, and said */
    CHR_LINT_WARNING, /* RouterOS takes it, but is it meant? */
    CHR_LINT_ERROR,   /* RouterOS would stop here */
};

/* One remark on a script.  TEXT shows nothing of a value that a reference stands for. */
struct chr_lint_finding {
    enum chr_lint_severity severity;
    const char *id;   /* stable, for programs: "unbalanced-quote" */
    const char *file; /* the source's name, "<stdin>" for standard input; owned by the report */
    size_t line;      /* from 1, in the source as it was given */
    size_t column;    /* from 1, in characters */
    char text[CHR_FINDING_SIZE];
};

struct chr_lint_report {
    struct chr_lint_finding *findings; /* by position */
    size_t finding_count;
    size_t errors;
    size_t warnings;
    char **names; /* what the findings' FILE points to */
    size_t name_count;
};

/*
 * Check RouterOS scripts (names of files, "-" for standard input, once at most) as
 * the parts of one configuration, in this order, run at the first boot.  References
 * of templates are checked, not resolved.  -1 when a file cannot be read; what is
 * wrong with a script is in the report.  Free with chr_lint_free().
 */
CHR_API int chr_lint(const char *const *names, size_t count, struct chr_lint_report **out,
                     struct chr_error *err);
CHR_API void chr_lint_free(struct chr_lint_report *report);

/* ---- files of an image: boot and root partition ---- */

/*
 * A place in an image, as a user names it: "IMG:/PATH" on the root partition,
 * "IMG:boot:/PATH" on the boot partition; IMG may be "IMG@TAG".
 */
struct chr_place {
    char *image;
    bool named;       /* a path was given; else TEXT is an image, or a file of the host */
    bool on_boot;
    bool wants_folder; /* PATH ended in a slash */
    char *path;       /* "rw/disk/a.rsc", without slashes around it; "" is the top folder */
};

/*
 * Take TEXT apart.  A file of that whole name wins; then the first split whose image
 * is there.  CHR_E_USAGE for a path with ".." in it.  Release with chr_place_release().
 */
CHR_API int chr_place_parse(const char *text, struct chr_place *out, struct chr_error *err);
CHR_API void chr_place_release(struct chr_place *place);

enum chr_file_kind { CHR_FILE_REGULAR, CHR_FILE_FOLDER, CHR_FILE_SYMLINK, CHR_FILE_OTHER };

struct chr_entry {
    char *path; /* from the top of the partition */
    enum chr_file_kind kind;
    uint64_t size;
    uint32_t mode; /* permission bits; what FAT keeps of them is whether it is read only */
    uint32_t uid;  /* 0 on FAT */
    uint32_t gid;
    int64_t modified;
};

/* What replaying a journal that was left behind did; all zero: there was nothing to do. */
struct chr_journal_report {
    uint32_t transactions;
    uint32_t blocks;
    uint32_t revoked;
    uint32_t orphans;
};

struct chr_listing {
    struct chr_entry *entries; /* by path */
    size_t count;
    struct chr_journal_report journal; /* was replayed in memory, the image is as it was */
};

/*
 * What is in the folder PATH of IMAGE ("" is the top), with all below it when
 * RECURSIVE; a file is listed itself.  Free with chr_listing_free().
 */
CHR_API int chr_list_files(struct chr_image *image, bool on_boot, const char *path, bool recursive,
                           struct chr_listing **out, struct chr_error *err);
CHR_API void chr_listing_free(struct chr_listing *listing);

/* Give the file's bytes to WRITE, piece by piece; it returns 0, or -1 with the error set. */
typedef int chr_write_fn(void *context, const void *buf, size_t len, struct chr_error *err);
CHR_API int chr_read_file(struct chr_image *image, bool on_boot, const char *path,
                          chr_write_fn *write, void *context, struct chr_error *err);

struct chr_copy_options {
    bool recursive; /* folders, too */
    bool force;     /* replace files that are there */
    bool dry_run;   /* into an image: do all but the writing */
    const int64_t *modified; /* into an image: the time of what is written; NULL: chr_inject() */
};

struct chr_copy_report {
    uint32_t files;
    uint32_t folders;
    uint32_t folders_above; /* that were missing above the target, and were made, too */
    uint32_t skipped; /* links and devices, which are not taken out */
    uint64_t bytes;
    uint64_t changed_bytes; /* of the image */
    bool recovered;         /* an interrupted change of the image was taken back first */
    struct chr_journal_report journal;
};

/* Copy a file or folder of IMAGE to TARGET: into it when it is a folder, else under that name. */
CHR_API int chr_copy_out(struct chr_image *image, bool on_boot, const char *path,
                         const char *target, const struct chr_copy_options *options,
                         struct chr_copy_report *report, struct chr_error *err);

/*
 * Copy SOURCE, a file or folder of the host, to PLACE: into it when it is a folder.  "-" is
 * standard input, for which PLACE is the file.
 */
CHR_API int chr_copy_in(const char *source, const struct chr_place *place,
                        const struct chr_copy_options *options, struct chr_copy_report *report,
                        struct chr_error *err);

/* Remove what is at PLACE; a folder that is not empty only when OPTIONS say recursive. */
CHR_API int chr_remove_file(const struct chr_place *place, const struct chr_copy_options *options,
                            struct chr_copy_report *report, struct chr_error *err);

/* ---- inject: files and configuration into an image ---- */

enum chr_existing {
    CHR_EXISTING_REFUSE,
    CHR_EXISTING_APPEND,  /* to rw/autorun.scr; other files are not replaced */
    CHR_EXISTING_REPLACE, /* rw/autorun.scr, and other files too */
};

/* What an error of the check does; an autorun.scr with errors is never appended to. */
enum chr_inject_lint {
    CHR_INJECT_LINT_ERROR, /* nothing is written */
    CHR_INJECT_LINT_WARN,  /* it is in the report; only with references nothing is written */
};

/* A file or folder of the host, and where it goes. */
struct chr_put {
    const char *source;
    const char *path; /* NULL: under its own name */
};

struct chr_puts {
    const struct chr_put *items;
    size_t count;
};

struct chr_inject_options {
    const char *const *scripts; /* names of files, "-" is standard input */
    size_t script_count;
    const struct chr_defaults *defaults; /* or NULL */
    struct chr_template_options templates;
    enum chr_existing existing;
    struct chr_puts files; /* into the router's own files: below rw/disk */
    struct chr_puts root;  /* anywhere on the root partition */
    struct chr_puts boot;  /* anywhere on the boot partition */
    const uint32_t *mode;  /* of what ROOT puts; NULL: as the files beside it have */
    bool dry_run;
    const int64_t *modified; /* time of what is written; NULL: the newest that is there already */
    enum chr_inject_lint lint;
};

struct chr_injected {
    bool on_boot;
    bool is_folder;
    bool replaced;
    bool holds_values; /* SIZE is 0, as it would tell their length */
    char *path;
    uint64_t size;
    uint32_t mode;
};

/* Filled as far as it got, also on failure. */
struct chr_inject_report {
    struct chr_lint_report *lint; /* NULL: there was no script */
    char *script; /* dry_run: what rw/autorun.scr would get, values as *** */
    struct chr_injected *items;
    size_t count;
    size_t capacity;
    const char **unused_sets; /* keys of the options' sets that no script asked for */
    size_t unused_set_count;
    char **verbatim; /* files *.rsc that were put as they are, with references in them */
    size_t verbatim_count;
    size_t verbatim_capacity;
    uint64_t changed_bytes;
    bool recovered; /* an interrupted change was taken back first */
    struct chr_journal_report journal;
};

/*
 * Put a configuration and files into the image at PATH, all or nothing.  Scripts are
 * joined in their order, behind DEFAULTS, and checked: errors of the check are
 * CHR_E_REFUSED, unless OPTIONS->lint lets them pass; REPORT->lint has them.  Then the image is looked at, and only then are
 * references resolved.  Release REPORT with chr_inject_release() in any case.
 */
CHR_API int chr_inject(const char *path, const struct chr_inject_options *options,
                       struct chr_inject_report *report, struct chr_error *err);
CHR_API void chr_inject_release(struct chr_inject_report *report);

/* Give the finished script to WRITE, values and all; REPORT has the check.  No image is touched. */
CHR_API int chr_render(const struct chr_inject_options *options, struct chr_inject_report *report,
                       chr_write_fn *write, void *context, struct chr_error *err);

/* ---- boot: an image as a virtual machine ---- */

enum chr_boot_firmware { CHR_FIRMWARE_AUTO, CHR_FIRMWARE_BIOS, CHR_FIRMWARE_UEFI };
enum chr_accel { CHR_ACCEL_AUTO, CHR_ACCEL_KVM, CHR_ACCEL_HVF, CHR_ACCEL_TCG };
enum chr_disk_bus {
    CHR_DISK_VIRTIO,
    CHR_DISK_SCSI, /* virtio-scsi */
    CHR_DISK_NVME,
    CHR_DISK_SATA,
    CHR_DISK_IDE,
};
enum chr_net_kind {
    CHR_NET_USER,          /* NAT inside of QEMU; the guest gets 10.0.2.15 */
    CHR_NET_TAP,           /* NAME: an interface that is there */
    CHR_NET_BRIDGE,        /* NAME: a bridge, entered by QEMU's helper */
    CHR_NET_SOCKET,        /* NAME: a segment between instances on this host */
    CHR_NET_VMNET_SHARED,  /* macOS */
    CHR_NET_VMNET_HOST,    /* macOS */
    CHR_NET_VMNET_BRIDGED, /* macOS; NAME: the interface */
    CHR_NET_NONE,
};
enum chr_ready { CHR_READY_HTTP, CHR_READY_TCP, CHR_READY_SERIAL, CHR_READY_NONE };

/* What `chrimg boot` does with the command for QEMU instead of running it. */
enum chr_boot_show {
    CHR_SHOW_NONE,
    CHR_SHOW_PRINT,      /* a shell line */
    CHR_SHOW_SCRIPT,     /* a shell script that finds the accelerator itself */
    CHR_SHOW_READCONFIG, /* show_target: the file for QEMU's -readconfig */
    CHR_SHOW_SYSTEMD,    /* show_target: the unit's name, or NULL */
    CHR_SHOW_LIBVIRT,    /* domain XML */
};

#define CHR_BOOT_NAME_MAX 32 /* of an instance: letters, digits, '.', '_', '-' */
#define CHR_NET_NAME_SIZE 64
#define CHR_FORWARD_NAME_SIZE 32
#define CHR_NETS_MAX 8      /* as many as a CHR has use for, and slots on the bus */
#define CHR_FORWARDS_MAX 32 /* --forward options, a range being one */
#define CHR_FORWARD_PORTS_MAX 256 /* of all of them together */
#define CHR_VFIO_MAX 8

struct chr_net {
    enum chr_net_kind kind;
    char name[CHR_NET_NAME_SIZE];
};

/* COUNT ports in a row, from HOST_PORT on the host to GUEST_PORT in the guest. */
struct chr_forward {
    char name[CHR_FORWARD_NAME_SIZE]; /* "" for none */
    bool udp;
    uint16_t host_port; /* 0: any that is free */
    uint16_t guest_port;
    uint16_t count; /* at least 1 */
};

/* QEMU's -smp; a zero is for QEMU to choose. */
struct chr_smp {
    unsigned cpus;
    unsigned sockets;
    unsigned cores;
    unsigned threads;
};

/*
 * All zero (and `struct chr_boot_options options = {0}`) is the default of each
 * option.  Strings belong to the caller and outlive the call.
 */
struct chr_boot_options {
    /* the machine */
    const char *name; /* of the instance; NULL: from the image's file name */
    enum chr_boot_firmware firmware;
    const char *firmware_code; /* --firmware CODE[,VARS]; NULL: looked for */
    const char *firmware_vars; /* NULL: blank variables */
    enum chr_accel accel;
    const char *cpu;      /* a CPU model; NULL: one that works */
    uint64_t memory;      /* bytes; 0: 256 MiB */
    struct chr_smp smp;   /* all 0: one CPU */
    enum chr_disk_bus disk_bus;
    const char *qemu;     /* the program; NULL: looked for in PATH */

    /* the network */
    struct chr_net nets[CHR_NETS_MAX]; /* none: one of kind user */
    size_t net_count;
    struct chr_forward forwards[CHR_FORWARDS_MAX];
    size_t forward_count;
    bool no_default_forwards; /* --forward none */
    const char *listen;       /* an IPv4 address; NULL: 127.0.0.1 */
    const char *vfio[CHR_VFIO_MAX]; /* "01:00.0" or "0000:01:00.0" */
    size_t vfio_count;

    /* the disk */
    bool write;     /* a raw image is written to directly */
    bool throwaway; /* nothing is kept */

    /* showing instead of running */
    enum chr_boot_show show;
    const char *show_target;

    /* running */
    bool foreground; /* -i: serial line on the terminal */
    bool remove;     /* --rm: the instance's folder goes with the VM */
    enum chr_ready ready;
    /* READY is the user's wish; else HTTP becomes none without a user network, but for a command. */
    bool ready_asked;
    bool for_command; /* that is to find a router, and of which nothing is kept, as goes without saying */
    uint16_t ready_port;       /* in the guest, for CHR_READY_TCP */
    const char *ready_pattern; /* for CHR_READY_SERIAL: a POSIX extended regular expression */
    unsigned timeout;          /* seconds; 0: by accelerator */
};

/* A port of the guest, as it is reached from this host. */
struct chr_endpoint {
    char name[CHR_FORWARD_NAME_SIZE]; /* "http", "ssh", ... or "" */
    bool udp;
    uint16_t port;
    uint16_t guest_port;
};

/* An instance: a virtual machine that chrimg has started, running or off. */
struct chr_vm {
    char name[CHR_BOOT_NAME_MAX + 1];
    bool running;
    char status[32];     /* QEMU's run state, "silent" when QEMU does not answer, or "off" */
    long pid;            /* when running */
    int64_t started;     /* seconds since 1970 */
    char *image;
    bool image_replaced; /* it runs, and that path leads to another file by now, or to none */
    char *arch;
    char *accel;
    char *firmware;      /* "SeaBIOS" or "UEFI" */
    char *address;       /* that the endpoints are bound to */
    struct chr_endpoint *endpoints;
    size_t endpoint_count;
    char *serial_log;    /* what the guest said since its last start */
    char *qemu_log;
};

/* How a caller follows what takes its time; all may be zero but cancel_fd (-1: none). */
struct chr_vm_watch {
    int cancel_fd; /* give up when it becomes readable */
    void (*progress)(int64_t elapsed_ms, int64_t timeout_ms, void *context);
    void (*note)(const char *text, void *context); /* a line for the user, as it happens */
    /* chr_vm_console(): the line is ours, the terminal not yet; or NULL. */
    void (*attached)(const char *name, void *context);
    void *context;
};

struct chr_boot_report {
    struct chr_vm *vm;
    bool fell_back;      /* KVM or HVF did not work; it runs on TCG */
    int64_t start_ms;    /* from the call to QEMU's exec, of the last start */
    int64_t ready_ms;    /* from there until it was ready */
    bool waited;         /* for anything that the guest does; else it has only been started */
    int64_t total_ms;    /* from the call on, starts that failed included; of a restart, from the stop on */
};

/*
 * Start IMAGE in QEMU and wait until it is ready.  The machine goes on when the caller
 * is gone.  On failure it runs on if it does, so that one can look at it, unless
 * options->remove or throwaway; CHR_E_BUSY when such a name or the image is in use.  After
 * a cancel it is off.  Free with chr_boot_report_free().
 */
CHR_API int chr_boot(const char *image, const struct chr_boot_options *options,
                     const struct chr_vm_watch *watch, struct chr_boot_report **out,
                     struct chr_error *err);
CHR_API void chr_boot_report_free(struct chr_boot_report *report);

/* What chr_boot() would start, in the form of options->show; free() the text. */
CHR_API int chr_boot_show(const char *image, const struct chr_boot_options *options, char **text,
                          struct chr_error *err);

struct chr_vm_list {
    struct chr_vm **items; /* by name */
    size_t count;
};

/* All instances; what machines that ended have left behind is taken away. */
CHR_API int chr_vm_list(struct chr_vm_list **out, struct chr_error *err);
CHR_API void chr_vm_list_free(struct chr_vm_list *list);

/*
 * The instance NAME; NULL: the one that runs, or with OFF_TOO the only one there is.
 * CHR_E_MISSING when there is none, or when several could be meant.
 */
CHR_API int chr_vm_get(const char *name, bool off_too, struct chr_vm **out, struct chr_error *err);
CHR_API void chr_vm_free(struct chr_vm *vm);

enum chr_stopped {
    CHR_STOPPED_ALREADY,
    CHR_STOPPED_POWERDOWN, /* the guest turned itself off when asked */
    CHR_STOPPED_DEAF,      /* asked, it did not in time; QEMU was told to end */
    CHR_STOPPED_QUIT,      /* QEMU was told to end, and the guest was not asked */
    CHR_STOPPED_KILLED,
};

struct chr_stop_options {
    bool now;         /* do not ask the guest first */
    unsigned timeout; /* seconds that the guest has; 0: 60 */
    bool forget;      /* and remove what is kept of the instance: overlay, variables, logs */
    /*
     * The file that it ran from had lost its name, and would have gone with it: chr_vm_stop()
     * copies it beside the image, and puts the path here (to be freed; NULL elsewhere).  May be
     * NULL itself.
     */
    char **saved;
};

CHR_API int chr_vm_stop(const char *name, const struct chr_stop_options *options,
                        enum chr_stopped *how, struct chr_error *err);

/*
 * Remove the instance NAME whose record is damaged (CHR_E_DAMAGED is what chr_vm_stop() says
 * then), with all that is kept of it; *REMOVED, to be freed, lists the files.  CHR_E_BUSY
 * where its machine runs, CHR_E_REFUSED where the record is sound.
 */
CHR_API int chr_vm_forget(const char *name, char **removed, struct chr_error *err);

/* Stop it if it runs, start it as it was started, and wait until it is ready. */
CHR_API int chr_vm_restart(const char *name, const struct chr_stop_options *options,
                           const struct chr_vm_watch *watch, struct chr_boot_report **out,
                           struct chr_error *err);

/*
 * Wait until it is off; CHR_E_BUSY when TIMEOUT seconds (0: no limit) have passed or on cancel.
 * *WAITED_MS, which may be NULL: how long that took, 0 where it was off.
 */
CHR_API int chr_vm_wait(const char *name, unsigned timeout, int cancel_fd, int64_t *waited_ms,
                        struct chr_error *err);

/* What a host has for virtual machines, for people. */
struct chr_doctor_item {
    bool good;
    bool needed;       /* without it, no machine of any kind runs */
    char what[64];     /* "QEMU for x86_64" */
    char state[256];   /* "7.2 at /usr/bin/qemu-system-x86_64", "not installed" */
    char remedy[256];  /* a command, or "" */
};

struct chr_doctor_report {
    struct chr_doctor_item *items;
    size_t count;
};

CHR_API int chr_doctor(struct chr_doctor_report **out, struct chr_error *err);
CHR_API void chr_doctor_free(struct chr_doctor_report *report);

enum chr_console_end {
    CHR_CONSOLE_DETACHED, /* by the user, Ctrl-] */
    CHR_CONSOLE_QUIT,     /* Ctrl-A X: the machine is to end */
    CHR_CONSOLE_CLOSED,   /* the machine is off */
    CHR_CONSOLE_CANCELLED, /* cancel_fd became readable */
};

/*
 * Join the descriptors INPUT and OUTPUT with the serial line of NAME, in raw mode where
 * INPUT is a terminal, until it ends.  FOREGROUND: Ctrl-A X instead of Ctrl-], and what
 * the guest has said so far comes first; KVM or HVF that breaks down before the firmware has
 * said a word is replaced by TCG, with a note, and later it is an error.  Signals are for
 * the caller to turn into WATCH's cancel_fd, so that the terminal is restored.
 */
CHR_API int chr_vm_console(const char *name, bool foreground, int input, int output,
                           const struct chr_vm_watch *watch, enum chr_console_end *end,
                           struct chr_error *err);

/*
 * Snapshots of an image that a running instance writes to.  chr_snapshot_create(),
 * _apply() and _delete() go through QEMU then; these say more, and take more.
 */
struct chr_snapshot_result {
    char vm[CHR_BOOT_NAME_MAX + 1]; /* the instance that it went through, or "" */
    char tag[CHR_TAG_MAX + 1];      /* of the snapshot: what was asked for may be its ID */
    char kept[CHR_TAG_MAX + 1];     /* of apply */
    bool restarted;                 /* apply without memory: the machine was off in between */
};

CHR_API int chr_snapshot_create_live(const char *path, const char *tag, bool with_memory,
                                     struct chr_snapshot_result *result, struct chr_error *err);
CHR_API int chr_snapshot_apply_live(const char *path, const char *tag, bool keep,
                                    struct chr_snapshot_result *result, struct chr_error *err);
CHR_API int chr_snapshot_delete_live(const char *path, const char *tag,
                                     struct chr_snapshot_result *result, struct chr_error *err);

/* Whether a running instance writes to the image PATH; its name into NAME. */
CHR_API bool chr_vm_of_image(const char *path, char name[CHR_BOOT_NAME_MAX + 1]);

#ifdef __cplusplus
}
#endif

#endif
