/* Reports as JSON; the schema is documented in chrimg(1), section JSON. */
#ifndef CHRIMG_IMGTOOL_JSON_H
#define CHRIMG_IMGTOOL_JSON_H

#include <jansson.h>

#include "chrimg.h"

/* {"yes": bool, "reason": string} */
json_t *json_verdict(const struct chr_verdict *verdict);

/* The text, with what is not UTF-8 in it replaced: jansson takes nothing else. */
json_t *json_text(const char *text);

/* "2025-01-01T00:00:00Z" */
json_t *json_time(int64_t seconds);

/* [{"id", "severity", "text"}] */
json_t *json_findings(const struct chr_finding *findings, size_t count);

/* [{"file", "line", "column", "severity", "id", "text"}] */
json_t *json_lint(const struct chr_lint_report *report);

/* {"transactions", "blocks", "revoked", "orphans"} */
json_t *json_journal(const struct chr_journal_report *report);

/* {"id", "tag", "date", "vm_state_size", "disk_size", "exclusive"} */
json_t *json_snapshot(const struct chr_snapshot *snapshot);

/* Print ROOT on stdout and release it; returns the exit code. */
int json_print(json_t *root);

#endif
