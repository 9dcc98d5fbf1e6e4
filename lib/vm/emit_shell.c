/* A plan for the shell: one line that runs as it is, and a script that finds the accelerator. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "vm/argv.h"
#include "vm/emit_parts.h"

/* ---- parts ---- */

const char *option_property(const struct vm_option *option, const char *key)
{
    for (size_t i = 0; option != NULL && i < option->count; i++)
        if (strcmp(option->properties[i].key, key) == 0)
            return option->properties[i].value;
    return NULL;
}

const struct vm_option *plan_option(const struct vm_plan *plan, const char *name, const char *key,
                                    const char *value)
{
    for (size_t i = 0; i < plan->option_count; i++) {
        const struct vm_option *option = &plan->options[i];
        const char *found = key != NULL ? option_property(option, key) : NULL;

        if (strcmp(option->name, name) == 0 &&
            (key == NULL || (found != NULL && strcmp(found, value) == 0)))
            return option;
    }
    return NULL;
}

void emit_option_words(struct text *text, const struct vm_option *options, size_t from, size_t end,
                       const char *separator)
{
    for (size_t i = from; i < end; i++) {
        AUTO_TEXT struct text value = {0};

        text_add(text, "%s-%s", separator, options[i].name);
        if (options[i].count == 0)
            continue;
        argv_add_value(&value, &options[i]);
        text_add(text, " ");
        text_add_shell_word(text, value.bytes != NULL ? value.bytes : "");
        text->failed = text->failed || value.failed;
    }
}

static void add_words(struct text *text, const char *first, ...) __attribute__((sentinel));

/* Shell words with blanks between them, up to a NULL. */
static void add_words(struct text *text, const char *first, ...)
{
    va_list args;

    va_start(args, first);
    for (const char *word = first; word != NULL; word = va_arg(args, const char *)) {
        if (word != first)
            text_add(text, " ");
        text_add_shell_word(text, word);
    }
    va_end(args);
}

static const char *qemu_img(const struct vm_host *host)
{
    return host->qemu_img[0] != '\0' ? host->qemu_img : "qemu-img";
}

/* As is_other_image() of op/boot_files.c has it: neither newer nor older, and as long. */
#define SAME_IMAGE                                                                              \
    "test -z \"$(find \"$image\" -newer \"$base\"; find \"$base\" -newer \"$image\")\" && "           \
    "test \"$(wc -c <\"$image\")\" -eq \"$(cat \"$base\")\""
/* And remember_base(): of files only, and where the file system keeps their times. */
#define REMEMBER_IMAGE                                                                          \
    "{ test ! -f \"$image\" || { wc -c <\"$image\" >\"$base\" && touch -r \"$image\" \"$base\" && "     \
    "{ { " SAME_IMAGE "; } || rm \"$base\"; }; }; }"

/* An overlay of an image that has changed since is of no image: nothing may be written to it. */
static void add_overlay(struct text *text, const struct vm_host *host, const struct vm_file *file,
                        const char *size)
{
    text_add(text, "image=");
    text_add_shell_word(text, file->source);
    text_add(text, " && overlay=");
    text_add_shell_word(text, file->target);
    text_add(text,
             " && base=$overlay" VM_BASE_ENDING " && if test -e \"$overlay\"; then "
             "if ! if test -s \"$base\"; then " SAME_IMAGE "; "
             "else test -z \"$(find \"$image\" -newer \"$overlay\")\"; fi; then echo "
             "'the image is not the one that its overlay was made over; remove the overlay, or "
             "bring the old image back, with its time:' \"$overlay\" >&2; false; fi; "
             "else " REMEMBER_IMAGE " && ");
    add_words(text, qemu_img(host), "create", "-q", "-f", "qcow2", "-F",
              file->source_is_qcow2 ? "qcow2" : "raw", "-b", NULL);
    text_add(text, " \"$image\" \"$overlay\" %s; fi", size);
}

/* Under another name first, so that half a copy is never taken for one; CODE is always made anew. */
static void add_copy(struct text *text, const struct vm_host *host, const struct vm_file *file,
                     const char *size)
{
    AUTO_TEXT struct text part = {0};

    text_add(&part, "%s.new", file->target);
    if (part.bytes == NULL) {
        text->failed = true;
        return;
    }
    if (file->kind == VM_MAKE_COPY) {
        text_add(text, "if ");
        add_words(text, "test", "!", "-e", file->target, NULL);
        text_add(text, "; then ");
    }
    add_words(text, qemu_img(host), "convert", "-f", file->source_is_qcow2 ? "qcow2" : "raw", "-O",
              "qcow2", file->source, part.bytes, NULL);
    text_add(text, " && ");
    add_words(text, qemu_img(host), "resize", "-q", part.bytes, size, NULL);
    text_add(text, " && ");
    add_words(text, "mv", part.bytes, file->target, NULL);
    if (file->kind == VM_MAKE_COPY)
        text_add(text, "; fi");
}

void emit_make_file(struct text *text, const struct vm_host *host, const struct vm_file *file)
{
    char size[32];

    (void)snprintf(size, sizeof size, "%" PRIu64, file->size);
    if (file->kind == VM_MAKE_OVERLAY) {
        add_overlay(text, host, file, size);
        return;
    }
    if (file->kind == VM_MAKE_COPY || file->kind == VM_MAKE_CODE) {
        add_copy(text, host, file, size);
        return;
    }
    text_add(text, "if ");
    add_words(text, "test", "!", "-e", file->target, NULL);
    text_add(text, "; then ");
    add_words(text, qemu_img(host), "create", "-q", "-f", "qcow2", file->target, size, NULL);
    text_add(text, "; fi");
}

/* The commands before QEMU, with " && " behind each. */
static void add_preparation(struct text *text, const struct vm_host *host,
                            const struct vm_plan *plan)
{
    add_words(text, "mkdir", "-p", plan->runtime_folder, plan->state_folder, NULL);
    for (size_t i = 0; i < plan->file_count; i++) {
        text_add(text, " && ");
        emit_make_file(text, host, &plan->files[i]);
    }
}

/* ---- print ---- */

int vm_emit_print(const struct vm_host *host, const struct vm_plan *plan, char **text,
                  struct chr_error *err)
{
    AUTO_TEXT struct text out = {0};

    /* A subshell, so that the umask is not that of whoever pastes the line. */
    text_add(&out, "(umask 077 && ");
    add_preparation(&out, host, plan);
    text_add(&out, " && exec ");
    text_add_shell_word(&out, plan->binary);
    emit_option_words(&out, plan->options, 0, plan->option_count, " ");
    text_add(&out, ")\n");
    return text_take(&out, text, err);
}

/* ---- readconfig's line ---- */

void emit_readconfig_line(struct text *out, const struct vm_host *host, const struct vm_plan *plan,
                          const char *file, const struct vm_option *rest, size_t rest_count)
{
    text_add(out, "(umask 077 && ");
    add_preparation(out, host, plan);
    text_add(out, " && exec ");
    add_words(out, plan->binary, "-readconfig", file, NULL);
    emit_option_words(out, rest, 0, rest_count, " ");
    text_add(out, ")\n");
}

/* ---- script ---- */

static void add_detection(struct text *out, const struct vm_plan *plan)
{
    bool is_arm = strcmp(plan->arch, "aarch64") == 0;

    text_add(out, "if [ -z \"$accel\" ]; then\n"
                  "    accel=tcg\n"
                  "    case $(uname -s)-$(uname -m) in\n"
                  "    Linux-%s)\n"
                  "        # KVM may open and not run guests: chrimg remembers that for a boot of the host.\n"
                  "        found=${XDG_CACHE_HOME:-${HOME:-}/.cache}/chrimg/kvm\n"
                  "        broken=\"$(cat /proc/sys/kernel/random/boot_id) broken\"\n"
                  "        if [ -r /dev/kvm ] && [ -w /dev/kvm ] &&\n"
                  "            ! { [ -r \"$found\" ] && [ \"$(cat \"$found\")\" = \"$broken\" ]; }; then\n"
                  "            accel=kvm\n"
                  "        fi\n"
                  "        ;;\n",
             is_arm ? "aarch64" : "x86_64 | Linux-amd64");
    /* arm64 CHR's 32-bit user space runs on no Apple CPU. */
    if (!is_arm)
        text_add(out, "    Darwin-x86_64)\n"
                      "        if [ \"$(sysctl -n kern.hv_support)\" = 1 ]; then accel=hvf; fi\n"
                      "        ;;\n");
    text_add(out, "    esac\nfi\n");
}

static int add_accel_case(struct text *out, const struct vm_plan *plan, const char *name,
                          enum chr_accel accel, struct chr_error *err)
{
    AUTO_ARGV struct argv_list list = {0};
    AUTO_FREE char *agent = text_new(err, "%s/agent.sock", plan->runtime_folder);

    if (agent == NULL)
        return -1;
    argv_add_accel(&list, accel, accel == CHR_ACCEL_TCG ? plan->tcg_cpu : plan->native_cpu, agent);
    if (list.failed)
        return err_set(err, CHR_E_MEMORY, "out of memory for a script");
    text_add(out, "%s)\n    set --", name);
    emit_option_words(out, list.items, 0, list.count, " \\\n        ");
    text_add(out, " \"$@\"\n    ;;\n");
    return 0;
}

static int add_accel_cases(struct text *out, const struct vm_plan *plan, struct chr_error *err)
{
    text_add(out, "case $accel in\n");
    if (add_accel_case(out, plan, "kvm", CHR_ACCEL_KVM, err) < 0 ||
        add_accel_case(out, plan, "hvf", CHR_ACCEL_HVF, err) < 0 ||
        add_accel_case(out, plan, "tcg", CHR_ACCEL_TCG, err) < 0)
        return -1;
    text_add(out, "*)\n    echo \"CHRIMG_ACCEL is kvm, hvf or tcg, not $accel\" >&2\n"
                  "    exit 2\n    ;;\nesac\n");
    return 0;
}

static const char *accel_name(enum chr_accel accel)
{
    return accel == CHR_ACCEL_KVM ? "kvm" : accel == CHR_ACCEL_HVF ? "hvf" : "tcg";
}

int vm_emit_script(const struct vm_host *host, const struct vm_plan *plan, char **text,
                   struct chr_error *err)
{
    AUTO_TEXT struct text out = {0};
    /* What the user named is not looked for; the rest is, by each host that it runs on. */
    bool fixed = plan->asked.accel != CHR_ACCEL_AUTO;

    text_add(&out, "#!/bin/sh\n"
                   "# The router %s as a virtual machine; made by chrimg %s.\n"
                   "# CHRIMG_ACCEL=kvm, hvf or tcg chooses the accelerator; arguments go to QEMU.\n"
                   "set -eu\numask 077\n\naccel=${CHRIMG_ACCEL:-%s}\n",
             plan->name, CHR_VERSION, fixed ? accel_name(plan->accel) : "");
    if (!fixed)
        add_detection(&out, plan);
    if (add_accel_cases(&out, plan, err) < 0)
        return -1;
    text_add(&out, "\n");
    add_words(&out, "mkdir", "-p", plan->runtime_folder, plan->state_folder, NULL);
    for (size_t i = 0; i < plan->file_count; i++) {
        text_add(&out, "\n");
        emit_make_file(&out, host, &plan->files[i]);
    }
    text_add(&out, "\nexec ");
    text_add_shell_word(&out, plan->binary);
    emit_option_words(&out, plan->options, 0, plan->accel_option, " \\\n    ");
    text_add(&out, " \\\n    \"$@\"\n");
    return text_take(&out, text, err);
}
