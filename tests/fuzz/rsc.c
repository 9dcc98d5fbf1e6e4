/*
 * RouterOS scripts: the input as a template, for lint, and with values for `{{ v }}` and
 * `{{ w }}` that try to break out.  The first byte says whether the source is hidden.
 */
#include "fuzz.h"
#include "rsc/scan.h"
#include "rsc/script.h"
#include "rsc/text.h"

/* In no message, and not in what is shown. */
#define CANARY "Zk9canaryQ7"

static const struct chr_pair sets[] = {
    {"v", "\"" CANARY "$[/q]{(\\"}, {"w", CANARY "\n}\"];#"}, {"e", ""}};

static void must_not_show(const char *text)
{
    MUST(strstr(text, CANARY) == NULL, "a value is shown: %s", text);
}

static void must_be_utf8(const char *text)
{
    MUST(rsc_text_not_utf8(text, strlen(text)) == strlen(text), "not UTF-8: %s", text);
}

static void lint(const struct rsc_script *script, size_t lines)
{
    struct chr_lint_report *report = NULL;
    struct chr_error err = {0};

    MUST(rsc_script_lint(script, &report, &err) == 0, "%s", err.message);
    for (size_t i = 0; i < report->finding_count; i++) {
        const struct chr_lint_finding *finding = &report->findings[i];

        MUST(finding->line >= 1 && finding->line <= lines + 1, "line %zu of %zu", finding->line,
             lines);
        MUST(finding->column >= 1, "column 0");
        MUST(finding->text[0] != '\0' && finding->id[0] != '\0', "a finding that says nothing");
        must_not_show(finding->text);
        must_be_utf8(finding->text);
    }
    chr_lint_free(report);
}

/* Each value is inside of a string, from its first byte to its last. */
static void values_must_be_in_strings(const struct rsc_script *script)
{
    struct rsc_scanner scanner = {.text = script->text.data, .len = script->text.len,
                                  .off = script->sections[0].begin};
    size_t next = 0;
    struct rsc_unit unit;

    while (rsc_scan(&scanner, &unit)) {
        while (next < script->edits.count &&
               (!script->edits.items[next].hidden || script->edits.items[next].len == 0 ||
                script->edits.items[next].off + script->edits.items[next].len <= unit.off))
            next++;
        if (next < script->edits.count && unit.off + unit.len > script->edits.items[next].off)
            MUST(unit.kind == RSC_TEXT || unit.kind == RSC_ESCAPE, "a value is not in a string");
    }
    MUST(scanner.depth == 0, "something stays open");
}

static void expand(const uint8_t *data, size_t size, unsigned flags, size_t lines)
{
    const struct chr_template_options options = {.sets = sets, .set_count = 3};
    struct rsc_resolver resolver = {.options = &options};
    struct rsc_script script = {0};
    struct chr_error err = {0};
    char *masked;

    if (rsc_script_add(&script, "t", (const char *)data, size, flags, &resolver, &err) < 0) {
        must_be_told(&err);
        must_not_show(err.message);
        must_not_show(err.hint);
        MUST(script.text.len == 0 && script.section_count == 0, "a part of a script is left");
    } else {
        values_must_be_in_strings(&script);
        masked = rsc_script_mask(&script, &err);
        MUST(masked != NULL, "%s", err.message);
        must_not_show(masked);
        must_be_utf8(masked);
        free(masked);
        lint(&script, lines);
    }
    rsc_script_release(&script);
    rsc_resolver_release(&resolver);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rsc_script script = {0};
    struct chr_error err = {0};
    size_t lines = 0;
    unsigned flags;

    if (size == 0 || memmem(data, size, CANARY, strlen(CANARY)) != NULL)
        return 0;
    flags = data[0] & 1 ? RSC_HIDDEN : 0;
    data++;
    size--;
    /* References to what is outside would make runs differ, or start programs. */
    if (memmem(data, size, "op://", 5) != NULL || memmem(data, size, "file://", 7) != NULL)
        return 0;
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    MUST(rsc_script_add(&script, "t", (const char *)data, size, flags, NULL, &err) == 0, "%s",
         err.message);
    lint(&script, lines);
    rsc_script_release(&script);
    expand(data, size, flags, lines);
    return 0;
}
