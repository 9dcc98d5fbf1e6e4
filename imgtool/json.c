/* What the JSON reports of all commands have in common. */
#include "json.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tool.h"
#include "ui.h"

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    char copy[4096];

    if (value != NULL)
        return value;
    /* Not UTF-8: byte by byte, what is not ASCII becomes a question mark. */
    (void)snprintf(copy, sizeof copy, "%s", text);
    for (char *p = copy; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return json_string(copy);
}

json_t *json_verdict(const struct chr_verdict *verdict)
{
    return json_pack("{s:b, s:o}", "yes", verdict->yes, "reason", json_text(verdict->reason));
}

json_t *json_time(int64_t seconds)
{
    time_t time = (time_t)seconds;
    struct tm tm;
    char text[32];

    if (gmtime_r(&time, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return json_null();
    return json_string(text);
}

json_t *json_findings(const struct chr_finding *findings, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(
            array, json_pack("{s:s, s:s, s:o}", "id", findings[i].id, "severity",
                             ui_severity(findings[i].severity), "text",
                             json_text(findings[i].text)));
    return array;
}

json_t *json_lint(const struct chr_lint_report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->finding_count; i++) {
        const struct chr_lint_finding *finding = &report->findings[i];

        (void)json_array_append_new(
            array, json_pack("{s:o, s:I, s:I, s:s, s:s, s:o}", "file", json_text(finding->file),
                             "line", (json_int_t)finding->line, "column",
                             (json_int_t)finding->column, "severity",
                             ui_lint_severity(finding->severity), "id", finding->id, "text",
                             json_text(finding->text)));
    }
    return array;
}

json_t *json_journal(const struct chr_journal_report *report)
{
    return json_pack("{s:i, s:i, s:i, s:i}", "transactions", (int)report->transactions, "blocks",
                     (int)report->blocks, "revoked", (int)report->revoked, "orphans",
                     (int)report->orphans);
}

json_t *json_snapshot(const struct chr_snapshot *snapshot)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I}", "id", json_text(snapshot->id), "tag",
                     json_text(snapshot->tag), "date", json_time(snapshot->date),
                     "vm_state_size", (json_int_t)snapshot->vm_state_size, "disk_size",
                     (json_int_t)snapshot->disk_size, "exclusive",
                     (json_int_t)snapshot->exclusive);
}

int json_print(json_t *root)
{
    int result;

    if (root == NULL) {
        ui_message("out of memory for the JSON report");
        return EXIT_FAILED;
    }
    result = json_dumpf(root, stdout, JSON_INDENT(2));
    (void)printf("\n");
    json_decref(root);
    return result < 0 ? EXIT_FAILED : EXIT_DONE;
}
