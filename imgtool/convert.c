/* chrimg convert */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_CLUSTER_SIZE = 256, OPTION_PREALLOCATION, OPTION_THREADS, OPTION_JSON };

static const struct option long_options[] = {
    {"output-format", required_argument, NULL, 'O'},
    {"compress", optional_argument, NULL, 'c'},
    {"cluster-size", required_argument, NULL, OPTION_CLUSTER_SIZE},
    {"preallocation", required_argument, NULL, OPTION_PREALLOCATION},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"force", no_argument, NULL, 'f'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct chr_convert_options options;
    bool json;
};

/* "65536", "64k", "1M"; false when it is no size. */
static bool parse_size(const char *text, uint64_t *size)
{
    char *end;
    unsigned shift;

    *size = strtoull(text, &end, 10);
    if (end == text || text[0] == '-' || *size > UINT32_MAX)
        return false;
    shift = *end == 'k' || *end == 'K' ? 10 : *end == 'm' || *end == 'M' ? 20 : 0;
    *size <<= shift;
    return end[shift != 0] == '\0' && *size <= UINT32_MAX;
}

static int take_preallocation(const struct command *command, const char *value,
                              enum chr_preallocation *out)
{
    static const char *const names[] = {"off", "metadata", "full"};

    for (int i = 0; i < 3; i++)
        if (strcmp(value, names[i]) == 0) {
            *out = (enum chr_preallocation)i;
            return 0;
        }
    return usage_error(command, "--preallocation is off, metadata or full, not %s", value);
}

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;
    uint64_t number;

    switch (option) {
    case 'O':
        arguments->options.format = optarg;
        return 0;
    case 'c':
        return take_compression(command, optarg, &arguments->options.compression);
    case 'f':
        arguments->options.force = true;
        return 0;
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    case OPTION_PREALLOCATION:
        return take_preallocation(command, optarg, &arguments->options.preallocation);
    case OPTION_CLUSTER_SIZE:
        if (!parse_size(optarg, &number) || number == 0)
            return usage_error(command, "--cluster-size is a size such as 64k, not %s", optarg);
        arguments->options.cluster_size = (uint32_t)number;
        return 0;
    case OPTION_THREADS:
        if (!parse_size(optarg, &number) || number == 0 || number > 256)
            return usage_error(command, "--threads is a number from 1 to 256, not %s", optarg);
        arguments->options.threads = (unsigned)number;
        return 0;
    default:
        return EXIT_USAGE;
    }
}

static int print_report(const struct chr_convert_report *report, bool json)
{
    char size[UI_SIZE_TEXT];
    char allocated[UI_SIZE_TEXT];

    if (json)
        return json_print(json_pack("{s:i, s:o, s:s, s:I, s:I, s:b}", "schema", 1, "output",
                                    json_text(report->output), "format", report->format,
                                    "virtual_size", (json_int_t)report->virtual_size,
                                    "allocated_size", (json_int_t)report->allocated_size,
                                    "by_qemu_img", report->by_qemu_img));
    if (strcmp(report->output, "-") == 0)
        return EXIT_DONE; /* standard output is the image */
    ui_out("wrote %s, %s of %s, %s on disk%s\n", report->output, report->format,
           ui_size(report->virtual_size, size), ui_size(report->allocated_size, allocated),
           report->by_qemu_img ? ", with qemu-img" : "");
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {.options = {.progress = ui_progress,
                                              .progress_context = (void *)"converting"}};
    struct chr_convert_report report;
    struct chr_error err;
    int status;
    int result;

    if (!take_options(command, argc, argv, ":O:c::fh", long_options, take_option, &arguments,
                      &status))
        return status;
    if (argc - optind != 2)
        return usage_error(command, argc - optind < 2 ? "name a source and a destination"
                                                      : "one source, one destination");
    if (arguments.json && strcmp(argv[optind + 1], "-") == 0)
        return usage_error(command, "standard output cannot be the image and the report");
    result = chr_convert(argv[optind], argv[optind + 1], &arguments.options, &report, &err);
    ui_progress_end();
    return result < 0 ? report_error(&err) : print_report(&report, arguments.json);
}

const struct command command_convert = {
    .name = "convert",
    .changes = true,
    .arguments = "SRC DST",
    .summary = "raw, zip or qcow2 to raw or qcow2; other formats by qemu-img",
    .help = "  -O, --output-format FMT    raw, qcow2, or vmdk, vdi, vhdx, vpc by qemu-img;\n"
            "                             default: by DST's ending, else raw\n"
            "  -c, --compress[=ALG]       compress a qcow2: zlib (default) or zstd\n"
            "      --cluster-size N       of a qcow2, 512 to 2M; default 64k\n"
            "      --preallocation MODE   off (default), metadata or full\n"
            "      --threads N            default: one for each processor\n"
            "  -f, --force                replace DST if it is there\n"
            "      --json                 report as JSON\n"
            "  -h, --help                 this\n"
            "\n"
            "SRC may be IMG@TAG, a snapshot. DST may be -, standard output, for raw.\n",
    .run = run,
};
