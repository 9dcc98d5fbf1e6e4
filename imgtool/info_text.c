/* chrimg info for people: verdicts first, then what they rest on. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "info.h"
#include "ui.h"

/* ---- the picture ---- */

/* One column of the bar stands for this many sectors (as a real number). */
struct scale {
    unsigned columns;
    uint64_t sectors;
};

static unsigned column_of(const struct scale *scale, uint64_t lba)
{
    return (unsigned)((double)lba / (double)scale->sectors * scale->columns);
}

/* First and last column (exclusive) of a partition; one at the least. */
static void columns_of(const struct scale *scale, const struct chr_partition *p, unsigned *from,
                       unsigned *to)
{
    *from = column_of(scale, p->first_lba);
    *to = column_of(scale, p->last_lba + 1);
    if (*to <= *from)
        *to = *from + 1;
}

static void repeat(enum colour colour, const char *text, unsigned count)
{
    while (count-- > 0)
        ui_colour(colour, "%s", text);
}

static enum colour partition_colour(const struct chr_partition *p)
{
    return p->is_boot ? CYAN : p->is_root ? BLUE : YELLOW;
}

/* How many of the partition's WIDTH columns are used, as far as its file system says. */
static unsigned used_columns(const struct chr_partition *p, unsigned width)
{
    double size = (double)(p->last_lba - p->first_lba + 1) * CHR_SECTOR_SIZE;

    if (p->block_size == 0)
        return p->contents == CHR_CONTENTS_EMPTY ? 0 : width;
    return (unsigned)((1 - (double)p->free_bytes / size) * width + 0.5);
}

static void draw_bar(const struct chr_report *report, const struct scale *scale)
{
    const char *full = ui_utf8() ? "█" : "#";
    const char *light = ui_utf8() ? "░" : ":";
    const char *none = ui_utf8() ? "·" : ".";
    unsigned at = 0;

    ui_out("  ");
    for (size_t i = 0; i < report->partition_count; i++) {
        const struct chr_partition *p = &report->partitions[i];
        unsigned from;
        unsigned to;
        unsigned used;

        columns_of(scale, p, &from, &to);
        from = from < at ? at : from;
        to = to <= from ? from + 1 : to;
        used = used_columns(p, to - from);
        repeat(DIM, none, from - at);
        repeat(partition_colour(p), full, used);
        repeat(partition_colour(p), light, to - from - used);
        at = to;
    }
    repeat(DIM, none, scale->columns > at ? scale->columns - at : 0);
    ui_out("\n");
}

static const char *holds(const struct chr_partition *p)
{
    switch (p->contents) {
    case CHR_CONTENTS_EXT:
    case CHR_CONTENTS_FAT:
        return p->filesystem[0] != '\0' ? p->filesystem : "damaged";
    case CHR_CONTENTS_KERNEL:
        return "kernel, no file system";
    case CHR_CONTENTS_EMPTY:
        return "empty";
    default:
        return "unknown";
    }
}

/* Under each partition what it is, as far as there is room before the next one. */
static void draw_labels(const struct chr_report *report, const struct scale *scale)
{
    unsigned at = 0;

    ui_out("  ");
    for (size_t i = 0; i < report->partition_count; i++) {
        const struct chr_partition *p = &report->partitions[i];
        unsigned from;
        unsigned to;
        char text[128];
        int room;

        columns_of(scale, p, &from, &to);
        room = (int)(to - from) - 1;
        if (from < at || room < 1)
            continue;
        (void)snprintf(text, sizeof text, "%u %s %s", p->number,
                       p->is_boot ? "boot" : p->is_root ? "root" : "", holds(p));
        ui_out("%*s", (int)(from - at), "");
        ui_colour(partition_colour(p), "%-*.*s", room, room, text);
        at = from + (unsigned)room;
    }
    ui_out("\n\n");
}

static void print_picture(const struct chr_report *report)
{
    unsigned width = ui_width() > 100 ? 100 : ui_width();
    struct scale scale = {width - 4, report->virtual_size / CHR_SECTOR_SIZE};

    draw_bar(report, &scale);
    draw_labels(report, &scale);
}

/* ---- verdicts ---- */

static void print_title(const char *path, const struct chr_report *report)
{
    const char *slash = strrchr(path, '/');
    char size[UI_SIZE_TEXT];
    char allocated[UI_SIZE_TEXT];

    ui_colour(BOLD, "%s", slash != NULL ? slash + 1 : path);
    if (report->version[0] != '\0')
        ui_out("  RouterOS %s", report->version);
    if (strcmp(report->architecture, "unknown") != 0)
        ui_out("  %s", report->architecture);
    ui_out("  %s (%s on disk)  %s\n\n", ui_size(report->virtual_size, size),
           ui_size(report->allocated_size, allocated), chr_format_name(report->format));
}

static void print_verdict(const char *name, const struct chr_verdict *verdict)
{
    ui_colour(BOLD, "%s  ", name);
    ui_colour(verdict->yes ? GREEN : RED, "%-3s", verdict->yes ? "yes" : "no");
    ui_out("  ");
    ui_wrapped(11, verdict->reason);
}

static void print_findings(const struct chr_report *report)
{
    if (report->finding_count == 0)
        return;
    ui_out("\n");
    ui_colour(BOLD, "Findings\n");
    for (size_t i = 0; i < report->finding_count; i++)
        ui_finding(&report->findings[i], 2);
}

/* ---- tables ---- */

static void print_partition_line(const struct chr_partition *p)
{
    char size[UI_SIZE_TEXT];
    char free[UI_SIZE_TEXT] = "-";
    char type[64];

    if (p->in_gpt)
        (void)snprintf(type, sizeof type, "%s", p->type_name);
    else
        (void)snprintf(type, sizeof type, "MBR %02x", p->mbr_type);
    if (p->block_size != 0)
        (void)ui_size(p->free_bytes, free);
    ui_out("  %-2u %9llu %9llu %9s  %-10s  %-7s  %9s  %s\n", p->number,
           (unsigned long long)p->first_lba, (unsigned long long)p->last_lba,
           ui_size((p->last_lba - p->first_lba + 1) * CHR_SECTOR_SIZE, size), type,
           p->contents == CHR_CONTENTS_KERNEL ? "kernel" : holds(p),
           free, p->label[0] != '\0' ? p->label : "-");
}

static void print_partitions(const struct chr_report *report)
{
    char size[UI_SIZE_TEXT];

    ui_out("\n");
    ui_colour(BOLD, "Partitions\n");
    ui_colour(DIM, "  #  first LBA  last LBA      size  type        holds         free  label\n");
    for (size_t i = 0; i < report->partition_count; i++)
        print_partition_line(&report->partitions[i]);
    for (size_t i = 0; i < report->partition_count; i++) {
        const struct chr_partition *p = &report->partitions[i];

        if (p->block_size != 0)
            ui_out("  %-2u %s, blocks of %s\n", p->number, p->uuid, ui_size(p->block_size, size));
    }
}

static void print_mbr_entry(int slot, const struct chr_mbr_entry *entry)
{
    ui_out("  %d%c type %02x  LBA %-7u %9u sectors  CHS %u/%u/%u-%u/%u/%u\n", slot,
           entry->active ? '*' : ' ', entry->type, entry->first_lba, entry->sectors,
           (entry->first_chs[1] & 0xC0u) << 2 | entry->first_chs[2], entry->first_chs[0],
           entry->first_chs[1] & 63u, (entry->last_chs[1] & 0xC0u) << 2 | entry->last_chs[2],
           entry->last_chs[0], entry->last_chs[1] & 63u);
}

static void print_copy(const char *name, const struct chr_gpt_copy *copy)
{
    if (!copy->present) {
        ui_out("  %-8s none\n", name);
        return;
    }
    ui_out("  %-8s LBA %-9llu ", name, (unsigned long long)copy->lba);
    if (copy->sound)
        ui_out("CRCs right");
    else
        ui_colour(RED, "damaged: %s", copy->problem);
    if (copy->lba != copy->expected_lba)
        ui_out(", should be at LBA %llu", (unsigned long long)copy->expected_lba);
    ui_out("\n");
}

static void print_tables(const struct chr_report *report)
{
    ui_out("\n");
    if (report->has_mbr) {
        ui_colour(BOLD, "MBR");
        ui_out("  disk id %08x, * = active\n", report->disk_id);
        for (int i = 0; i < 4; i++)
            if (report->mbr[i].used)
                print_mbr_entry(i + 1, &report->mbr[i]);
    } else {
        ui_colour(BOLD, "MBR");
        ui_out("  none\n");
    }
    ui_colour(BOLD, "GPT");
    ui_out("  %s\n", report->disk_guid[0] != '\0' ? report->disk_guid : "none that is sound");
    print_copy("primary", &report->gpt[0]);
    print_copy("backup", &report->gpt[1]);
}

/* ---- files and packages ---- */

static void print_date(int64_t seconds)
{
    time_t time = (time_t)seconds;
    struct tm tm;
    char text[32] = "-";

    if (gmtime_r(&time, &tm) != NULL)
        (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M", &tm);
    ui_out("  %s", text);
}

static void print_files(const struct chr_report *report)
{
    if (report->file_count == 0)
        return;
    ui_out("\n");
    ui_colour(BOLD, "Files of the boot partition\n");
    for (size_t i = 0; i < report->file_count; i++) {
        const struct chr_file *file = &report->files[i];

        if (file->is_folder)
            ui_out("  %10s", "");
        else
            ui_out("  %10llu", (unsigned long long)file->size);
        print_date(file->modified);
        ui_out("  %s%s\n", file->path, file->is_folder ? "/" : "");
    }
    if (report->has_loader && report->loader_machine[0] != '\0')
        ui_out("  the loader is a PE program for %s\n", report->loader_machine);
}

static void print_packages(const struct chr_report *report)
{
    if (report->package_count == 0)
        return;
    ui_out("\n");
    ui_colour(BOLD, "Packages\n");
    for (size_t i = 0; i < report->package_count; i++) {
        ui_out("  %-16s %-10s built", report->packages[i].name, report->packages[i].version);
        print_date(report->packages[i].build_time);
        ui_out("\n");
    }
}

static void print_snapshots(const struct chr_report *report)
{
    const struct chr_qcow2_info *info = &report->qcow2;
    char size[UI_SIZE_TEXT];

    if (!report->is_qcow2)
        return;
    ui_out("\n");
    ui_colour(BOLD, "qcow2");
    ui_out("  version %u, clusters of %s, %s%s%s\n", info->version,
           ui_size(info->cluster_size, size), info->compression, info->dirty ? ", dirty" : "",
           info->corrupt ? ", marked corrupt" : "");
    if (info->backing_file[0] != '\0')
        ui_out("  backed by %s\n", info->backing_file);
    for (size_t i = 0; i < report->snapshot_count; i++)
        ui_out("  snapshot %-3s %s\n", report->snapshots[i].id, report->snapshots[i].tag);
}

void info_print_text(const char *path, const struct chr_report *report)
{
    print_title(path, report);
    if (ui_is_terminal())
        print_picture(report);
    print_verdict("UEFI", &report->uefi);
    print_verdict("BIOS", &report->bios);
    print_findings(report);
    print_partitions(report);
    print_tables(report);
    print_files(report);
    print_packages(report);
    print_snapshots(report);
}
