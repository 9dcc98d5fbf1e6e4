/* Terminal manners. */
#include "ui.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TEXT_SIZE 4096
#define DEFAULT_WIDTH 80
#define MIN_WIDTH 40
/* Nothing is shown of what is over at once. */
#define PROGRESS_DELAY_MS 300
#define PROGRESS_STEP_MS 100

static struct {
    bool terminal;
    bool colour;
    bool utf8;
    bool error_terminal;
    unsigned width;
    int64_t progress_start_ms;
    int64_t progress_last_ms;
    bool progress_shown;
} ui;

static const char *const colour_codes[] = {
    [PLAIN] = "",  [BOLD] = "1",    [DIM] = "2",   [RED] = "31",
    [GREEN] = "32", [YELLOW] = "33", [BLUE] = "34", [CYAN] = "36",
};

static unsigned terminal_width(void)
{
    struct winsize size;

    if (!ui.terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return DEFAULT_WIDTH;
    return size.ws_col < MIN_WIDTH ? MIN_WIDTH : size.ws_col;
}

/*
 * Whether the user's locale is one of UTF-8, by its name ("de_DE.UTF-8", "C.utf8"): all that
 * is asked of it.  setlocale() would read five files for that, and let toupper() of FAT's
 * names depend on it.
 */
static bool locale_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);

        if (value != NULL && value[0] != '\0')
            return strcasestr(value, "UTF-8") != NULL || strcasestr(value, "UTF8") != NULL;
    }
    return false;
}

void ui_init(void)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    ui.terminal = isatty(STDOUT_FILENO) != 0;
    ui.error_terminal = isatty(STDERR_FILENO) != 0;
    ui.colour = ui.terminal && (no_colour == NULL || no_colour[0] == '\0') &&
                (term == NULL || strcmp(term, "dumb") != 0);
    ui.utf8 = locale_is_utf8();
    ui.width = terminal_width();
}

bool ui_is_terminal(void)
{
    return ui.terminal;
}

unsigned ui_width(void)
{
    return ui.width;
}

bool ui_utf8(void)
{
    return ui.utf8;
}

/* How many bytes of sound UTF-8 begin at P: 1 to 4, or 0 (RFC 3629, section 4, lengths only). */
static unsigned utf8_length(const unsigned char *p)
{
    unsigned length = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3
                      : p[0] < 0xF5 ? 4 : 0;

    for (unsigned i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

/* Shown as \xNN: C0 but for what is KEPT, and DEL, in UTF-8 the C1 controls (C2 80 to C2 9F),
 * which terminals obey too, and bytes that are no UTF-8. */
static void put_escaped(FILE *to, const char *text, const char *kept)
{
    const unsigned char *p = (const unsigned char *)text;

    while (*p != '\0') {
        unsigned length = utf8_length(p);
        bool control = (*p < 0x20 && strchr(kept, *p) == NULL) || *p == 0x7F || (*p == 0xC2 && p[1] < 0xA0);

        if (length == 0 || control) {
            (void)fprintf(to, "\\x%02x", *p++);
            continue;
        }
        (void)fwrite(p, 1, length, to);
        p += length;
    }
}

static void put_safely(FILE *to, const char *text)
{
    put_escaped(to, text, "\n");
}

static void say(const char *prefix, const char *format, va_list args)
{
    char text[TEXT_SIZE];

    ui_progress_end();
    (void)vsnprintf(text, sizeof text, format, args);
    (void)fputs(prefix, stderr);
    put_safely(stderr, text);
    (void)fputc('\n', stderr);
}

void ui_message(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("chrimg: ", format, args);
    va_end(args);
}

void ui_hint(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("hint: ", format, args);
    va_end(args);
}

void ui_out(const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_safely(stdout, text);
}

void ui_text(const char *text)
{
    put_escaped(stdout, text, "\n\t");
}

void ui_colour(enum colour colour, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (ui.colour && colour != PLAIN)
        (void)printf("\033[%sm", colour_codes[colour]);
    put_safely(stdout, text);
    if (ui.colour && colour != PLAIN)
        (void)fputs("\033[0m", stdout);
}

unsigned ui_characters(const char *text)
{
    unsigned characters = 0;

    for (; *text != '\0'; text++)
        characters += (*text & 0xC0) != 0x80; /* UTF-8's continuation bytes take no room */
    return characters;
}

unsigned ui_padding(const char *text, unsigned width)
{
    unsigned characters = ui_characters(text);

    return characters < width ? width - characters : 0;
}

/* Where the character of that number begins, or the end. */
static const char *character(const char *text, unsigned number)
{
    while (*text != '\0' && number > 0) {
        text++;
        number -= (*text & 0xC0) != 0x80;
    }
    return text;
}

/* A path's end says more than its beginning. */
void ui_shorten(const char *text, unsigned width, char *out, size_t size)
{
    const char *mark = ui.utf8 ? "\xe2\x80\xa6" : "..";
    unsigned characters = ui_characters(text);
    unsigned left = width - ui_characters(mark);

    if (characters <= width)
        (void)snprintf(out, size, "%s", text);
    else
        (void)snprintf(out, size, "%.*s%s%s", (int)(character(text, left / 3) - text), text, mark,
                       character(text, characters - (left - left / 3)));
}

/* TEXT from COLUMN on, where the cursor is. */
static void wrap(unsigned indent, unsigned column, const char *text)
{
    for (const char *word = text; *word != '\0';) {
        size_t length = strcspn(word, " ");

        if (ui.terminal && column > indent && column + 1 + length > ui.width) {
            ui_out("\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            ui_out(" ");
            column++;
        }
        ui_out("%.*s", (int)length, word);
        column += (unsigned)length;
        word += length + strspn(word + length, " ");
    }
    ui_out("\n");
}

void ui_wrapped(unsigned indent, const char *text)
{
    wrap(indent, indent, text);
}

void ui_labelled(unsigned indent, const char *label, const char *text)
{
    ui_out("%s:", label);
    wrap(indent, indent + ui_characters(label) + 1, text);
}

const char *ui_lint_severity(enum chr_lint_severity severity)
{
    return severity == CHR_LINT_ERROR ? "error" : severity == CHR_LINT_WARNING ? "warning" : "note";
}

void ui_name(const char *name)
{
    put_escaped(stdout, name, "");
}

void ui_escape(const char *text, char *out, size_t size)
{
    FILE *to = fmemopen(out, size, "w");

    out[0] = '\0';
    if (to == NULL)
        return;
    put_escaped(to, text, "");
    (void)fclose(to);
    out[size - 1] = '\0';
}

/* "base.rsc:3:7: error: ...", one line each, as compilers write it and editors read it. */
static void put_finding(FILE *to, const struct chr_lint_finding *finding, bool colour)
{
    static const enum colour colours[] = {
        [CHR_LINT_NOTE] = CYAN, [CHR_LINT_WARNING] = YELLOW, [CHR_LINT_ERROR] = RED};
    const char *severity = ui_lint_severity(finding->severity);

    (void)fputs(colour ? "\033[1m" : "", to);
    put_escaped(to, finding->file, "");
    (void)fprintf(to, ":%zu:%zu:", finding->line, finding->column);
    if (colour)
        (void)fprintf(to, "\033[0m \033[%sm%s:\033[0m ",
                      colour_codes[colours[finding->severity]], severity);
    else
        (void)fprintf(to, " %s: ", severity);
    put_escaped(to, finding->text, "");
    (void)fputc('\n', to);
}

void ui_lint_messages(const struct chr_lint_report *report)
{
    ui_progress_end();
    for (size_t i = 0; i < report->finding_count; i++)
        put_finding(stderr, &report->findings[i], false);
}

void ui_lint_report(const struct chr_lint_report *report)
{
    for (size_t i = 0; i < report->finding_count; i++)
        put_finding(stdout, &report->findings[i], ui.colour);
}

const char *ui_severity(enum chr_severity severity)
{
    return severity == CHR_NOTE ? "note" : severity == CHR_WARNING ? "warning" : "damage";
}

void ui_finding(const struct chr_finding *finding, unsigned indent)
{
    static const enum colour colours[] = {
        [CHR_NOTE] = PLAIN, [CHR_WARNING] = YELLOW, [CHR_DAMAGE] = RED};

    ui_out("%*s", (int)indent, "");
    ui_colour(colours[finding->severity], "%-8s", ui_severity(finding->severity));
    ui_out(" ");
    ui_wrapped(indent + 9, finding->text);
}

char *ui_size(uint64_t bytes, char *buf)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(buf, UI_SIZE_TEXT, "%.*f", unit == 0 || value >= 99.95 ? 0 : 1, value);
    if (strlen(buf) > 2 && strcmp(buf + strlen(buf) - 2, ".0") == 0)
        buf[strlen(buf) - 2] = '\0';
    (void)strcat(strcat(buf, " "), bytes == 1 ? "byte" : units[unit]);
    return buf;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* "writing  45% [####      ] 312 MiB/s   3 s" */
static void show_progress(const char *what, uint64_t done, uint64_t total, int64_t elapsed_ms)
{
    double share = (double)done / (double)total;
    double rate = (double)done * 1000 / (double)elapsed_ms;
    int filled = (int)(share * 10);
    char text[UI_SIZE_TEXT];

    /* As wide as the narrowest terminal that we think of, so that it never wraps. */
    (void)fprintf(stderr, "\r%.10s %3.0f%% [%.*s%*s] %s/s %3.0f s ", what, share * 100, filled,
                  "##########", 10 - filled, "", ui_size((uint64_t)rate, text),
                  (double)(total - done) / (rate > 1 ? rate : 1));
    (void)fflush(stderr);
    ui.progress_shown = true;
}

void ui_progress(uint64_t done, uint64_t total, void *what)
{
    int64_t now = now_ms();

    if (!ui.error_terminal || total == 0)
        return;
    if (ui.progress_start_ms == 0)
        ui.progress_start_ms = now;
    if (now - ui.progress_start_ms < PROGRESS_DELAY_MS ||
        now - ui.progress_last_ms < PROGRESS_STEP_MS)
        return;
    ui.progress_last_ms = now;
    show_progress(what, done, total, now - ui.progress_start_ms);
}

void ui_progress_end(void)
{
    if (ui.progress_shown)
        (void)fprintf(stderr, "\r%46s\r", "");
    ui.progress_shown = false;
    ui.progress_start_ms = 0;
}

void ui_waiting(const char *what, int64_t elapsed_ms, int64_t limit_ms)
{
    static const char marks[] = "|/-\\";

    if (!ui.error_terminal || elapsed_ms < PROGRESS_DELAY_MS ||
        now_ms() - ui.progress_last_ms < PROGRESS_STEP_MS)
        return;
    ui.progress_last_ms = now_ms();
    (void)fprintf(stderr, "\r%.10s %c %3.0f s (of %.0f s at most) ", what,
                  marks[elapsed_ms / 250 % 4], (double)elapsed_ms / 1000,
                  (double)limit_ms / 1000);
    (void)fflush(stderr);
    ui.progress_shown = true;
}

void ui_waiting_end(void)
{
    ui_progress_end();
}

/* The length of a colour sequence (ECMA-48, SGR: ESC [ digits and ; m) at P, or 0. */
static size_t colour_length(const char *p)
{
    size_t length;

    if (p[0] != '\033' || p[1] != '[')
        return 0;
    length = 2 + strspn(p + 2, "0123456789;");
    return p[length] == 'm' ? length + 1 : 0;
}

void ui_serial(const char *text)
{
    char one[2] = "";

    while (*text != '\0') {
        size_t length = strcspn(text, "\r\n\t\b\033");
        char part[TEXT_SIZE];

        if (length == 0) {
            length = colour_length(text);
            if (length > 0)
                (void)fwrite(text, 1, length, stdout);
            else if (*text != '\033')
                (void)fputc(*text, stdout);
            else {
                one[0] = *text;
                put_safely(stdout, one);
            }
            text += length > 0 ? length : 1;
            continue;
        }
        length = length < sizeof part ? length : sizeof part - 1;
        memcpy(part, text, length);
        part[length] = '\0';
        put_safely(stdout, part);
        text += length;
    }
}
