/* Templates: what references become, where they are refused, and what is shown. */
#include "rsc/script.h"

#include "rsc/position.h"
#include "unit.h"

/* x" and so on: each byte that could break out. */
#define NASTY "p\"a$b\\c\nd]};e"
#define NASTY_INSIDE "p\\\"a\\$b\\\\c\\nd]};e"

static const struct chr_pair sets[] = {
    {"ip", "192.0.2.1"}, {"n", "7"},         {"pw", NASTY},  {"empty", ""},
    {"call", "(1+1)"},   {"name.with-all_1", "v"}, {"twice", "old"}, {"twice", "new"},
    {"half", "\xbe"},
};
static const struct chr_template_options options = {
    .sets = sets, .set_count = sizeof sets / sizeof sets[0]};

/* The script of one source "t.rsc", without its heading, NUL-terminated. */
static int expand(const char *text, struct rsc_script *script, const char **out,
                  struct chr_error *err)
{
    struct rsc_resolver resolver = {.options = &options};
    int result = rsc_script_add(script, "t.rsc", text, strlen(text), 0, &resolver, err);

    rsc_resolver_release(&resolver);
    if (result < 0)
        return -1;
    assert_done(secret_append(&script->text, "", 1, err), err);
    script->text.len--;
    *out = script->text.data + script->sections[0].begin;
    return 0;
}

static void becomes(const char *text, const char *wanted)
{
    struct rsc_script script = {0};
    struct chr_error err;
    const char *got = NULL;

    if (expand(text, &script, &got, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    if (strncmp(got, wanted, strlen(wanted)) != 0 || strcmp(got + strlen(wanted), "\n") != 0)
        fail_msg("%s\nbecomes %s\nwanted  %s", text, got, wanted);
    rsc_script_release(&script);
}

static void test_in_strings_and_bare(void **state)
{
    (void)state;
    becomes("password=\"{{ pw }}\"", "password=\"" NASTY_INSIDE "\"");
    becomes("password={{ pw }}", "password=\"" NASTY_INSIDE "\"");
    becomes("password={{pw}} x=1", "password=\"" NASTY_INSIDE "\" x=1");
    becomes("a=\"x {{ n }} y {{ n }}\"", "a=\"x 7 y 7\"");
    becomes("a=\"{{ n }}{{ n }}\"", "a=\"77\"");
    becomes("address={{ ip }}/24 b=c", "address=\"192.0.2.1/24\" b=c");
    becomes("interface=ether{{ n }},ether{{ n }}", "interface=\"ether7,ether7\"");
    becomes("[find name={{ pw }}]", "[find name=\"" NASTY_INSIDE "\"]");
    becomes("[find name!={{ n }}]", "[find name!=\"7\"]");
    becomes("[find name~{{ n }}]", "[find name~\"7\"]");
    becomes(":put ($a.{{ n }}.\"b\")", ":put ($a.\"7\".\"b\")");
    becomes(":if ($a={{ n }}) do={:put {{ n }}}", ":if ($a=\"7\") do={:put \"7\"}");
    becomes("add a={{ n }} \\\n  b={{ n }}", "add a=\"7\" \\\n  b=\"7\"");
    becomes("add a={{ n }};add b={{ n }}", "add a=\"7\";add b=\"7\"");
    becomes("{{{ n }};{{ n }}}", "{\"7\";\"7\"}");
    becomes("a={{ empty }} b=\"{{ empty }}\"", "a=\"\" b=\"\"");
    becomes("a={{ name.with-all_1 }}", "a=\"v\"");
    becomes("a={{ twice }}", "a=\"new\"");
    becomes("{{ n }}", "\"7\"");
}

static void test_behind_a_variable_the_name_ends(void **state)
{
    (void)state;
    becomes(":put \"$x{{ n }}\"", ":put \"$x\\37\"");
    becomes(":put \"$x {{ n }}\"", ":put \"$x 7\"");
    becomes(":put \"$x{{ empty }}{{ n }}\"", ":put \"$x\\37\"");
    becomes(":put \"\\$x{{ n }}\"", ":put \"\\$x7\"");
}

static void test_what_is_no_reference_stays(void **state)
{
    (void)state;
    becomes("# {{ missing }} env://x\n:put 1", "# {{ missing }} env://x\n:put 1");
    becomes(":local a {{1;2};{3;4}}", ":local a {{1;2};{3;4}}");
    becomes(":local a {{\"x\"=1};{\"y\"=2}}", ":local a {{\"x\"=1};{\"y\"=2}}");
    becomes(":put \"{ {\"", ":put \"{ {\"");
    becomes(":put \"\\{ \\{{ \"", ":put \"\\{ \\{{ \"");
    becomes(":put \"CORP\\\\{{ n }}\"", ":put \"CORP\\\\7\"");
    becomes("{{\n:put 1\n}}", "{{\n:put 1\n}}");
    becomes(":put \"{{\n\n}} {{\na b\n}}\"", ":put \"{{\n\n}} {{\na b\n}}\"");
    becomes(":put \"\\7B{ n }}\"", ":put \"\\7B{ n }}\"");
}

static void refused(const char *text, const char *message)
{
    struct rsc_script script = {0};
    struct chr_error err;
    const char *got = NULL;

    assert_refused(expand(text, &script, &got, &err), &err, err.code, message);
    if (strstr(err.message, "p\"a") != NULL || strstr(err.message, "192.0") != NULL)
        fail_msg("a value is in the message: %s", err.message);
    assert_int_equal(script.text.len, 0);
    assert_int_equal(script.section_count, 0);
    assert_int_equal(script.edits.count, 0);
    rsc_script_release(&script);
}

static void test_refused_where_a_string_cannot_be(void **state)
{
    (void)state;
    refused("a=1\nb=\"${{ call }}\"", "t.rsc:2: a reference cannot stand right behind a $");
    refused("b=\"x \\4{{ n }}\"", "t.rsc:1: a reference cannot stand right behind half an escape");
    refused("b=\"CORP\\{{ n }}\"", "t.rsc:1: a reference cannot stand right behind half an escape");
    refused("b=\"CORP\\{{ env://A\"", "does not end with }}");
    refused("b=\"$[find name={{ pw }}]\"", "expression inside a string");
    refused("b=\"$[find name=\"{{ pw }}\"]\"", "expression inside a string");
    refused("b=$x{{ n }}", "part of this word");
    refused("b=\"x\"{{ n }}", "part of this word");
    refused("b={{ n }}\"x\"", "part of this word");
    refused("b={{ n }}$x", "part of this word");
    refused("b={{ n }}[find]", "part of this word");
    refused("b=[find]{{ n }}", "part of this word");
    refused("a=b#{{ n }}", "part of this word"); /* # is no comment in a word */
}

/* A text that is run loses its own quotes first: a value in it could end a string of the code. */
static void test_refused_where_a_string_is_code(void **state)
{
    static const char *const code[] = {
        "/system scheduler add name=x on-event=\"/ppp secret set a password=\\\"{{ pw }}\\\"\"",
        "/system scheduler add on-event=\"set a={{ pw }}\"",
        "/system script add source=\"{{ pw }}\" name=x",
        "/system/script/add source={{ pw }}",
        "/system script add sou=\"{{ pw }}\"",
        "/system script add source= \"{{ pw }}\"",
        "/system script add source =\"{{ pw }}\"",
        "/system script add source=(\"a\".{{ pw }})",
        "/system script add source=(\"a\".({{ pw }}))",
        "/tool netwatch add up-script=\"{{ pw }}\"",
        "/tool netwatch add down-script=\"{{ pw }}\"",
        "/tool netwatch add down-s=\"{{ pw }}\"",
        "/ppp profile add on-up=\"{{ pw }}\"",
        "/ppp profile add on-down=\"{{ pw }}\"",
        "/ip hotspot user profile set x on-login=\"{{ pw }}\" on-logout=\"\"",
        "/ip hotspot user profile set x on-login=\"\" on-logout=\"{{ pw }}\"",
        "/ip dhcp-client add script=\"{{ pw }}\"",
        "/ip dhcp-server add lease-script=\"{{ pw }}\"",
        ":do { :put 1 } on-error=\"{{ pw }}\"",
        ":if (true) do=\"{{ pw }}\"",
        ":if (true) do={ :put 1 } else=\"{{ pw }}\"",
        ":execute \"{{ pw }}\"",
        ":execute\"{{ pw }}\"",
        "/execute {{ pw }}",
        ":exec script=\"{{ pw }}\"",
        ":execute (\"a\" . {{ pw }})",
        ":local f [:parse \"{{ pw }}\"]",
        "[[:parse (\":put \" . {{ pw }})]]",
        "a=1; :execute \"{{ pw }}\"",
        ":foreach i in={1;2} do={ :execute \"{{ pw }}\" }",
        "/system script add source={ :execute \"{{ pw }}\" }",
        "/tool x \\\n on-event=\"{{ pw }}\"",
        ":do \"{{ pw }}\"",
        "do \"{{ pw }}\" on-error={}",
        ":do (\"a\" . {{ pw }}) while=false",
        ":onerror e in=\"{{ pw }}\" do={}",
        ":onerror e in={ :put 1 } do=\"{{ pw }}\"",
        ":onerror e \"{{ pw }}\"",
        ":while ($a) do=\"{{ pw }}\"",
        ":for i from=1 to=2 do=\"{{ pw }}\"",
        ":foreach i in={1;2} do=\"{{ pw }}\"",
        ":retry command=\"{{ pw }}\" delay=1 max=2",
        ":retry \"{{ pw }}\"",
        ":time \"{{ pw }}\"",
        ":global f do=\"{{ pw }}\"",
        /* Names over the ends of lines, with and without the blanks that follow. */
        "/tool x on-ev\\\nent=\"{{ pw }}\"",
        "/tool x on-ev\\\n    ent=\"{{ pw }}\"",
        "/tool x o\\\n  n-ev\\\n  ent=\"{{ pw }}\"",
        "/tool x on-event\\\n  =\"{{ pw }}\"",
        "/tool x on-event=\\\n  \"{{ pw }}\"",
        "/tool x a=b\\\n  on-event=\"{{ pw }}\"",
        "/tool x a=b\\\n  on-event =\"{{ pw }}\"",
        ":exec\\\nute \"{{ pw }}\"",
        ":execute\\\n x {{ pw }}",
        ":onerr\\\n  or e in=\"{{ pw }}\" do={}",
        /* Names in quotes. */
        "/tool x \"on-event\"=\"{{ pw }}\"",
        "/tool x \"on-event\" =\"{{ pw }}\"",
        "/tool x \"on\\2Devent\"=\"{{ pw }}\"",
        "/tool x \"on-ev\\\n  ent\"=\"{{ pw }}\"",
        "/tool x on-\"event\"=\"{{ pw }}\"",
        "/tool x \"on-\"event=\"{{ pw }}\"",
        "/tool x {{ empty }}on-event=\"{{ pw }}\"",
        ":exe\"cute\" \"{{ pw }}\"",
        "\"execute\" \"{{ pw }}\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof code / sizeof code[0]; i++)
        refused(code[i], "a text that is run as code");
    refused(":global g \"set a=\\\"{{ pw }}\\\"\"", "between \\\" and \\\"");
    refused(":global g \"set a=\\22{{ pw }}\\22\"", "between \\\" and \\\"");
}

static void test_data_beside_code(void **state)
{
    (void)state;
    becomes("/system script add source={ /a set b=\"{{ n }}\" c={{ n }} } name={{ n }}",
            "/system script add source={ /a set b=\"7\" c=\"7\" } name=\"7\"");
    becomes("/system scheduler add on-event=\"a\" name=\"{{ n }}\"",
            "/system scheduler add on-event=\"a\" name=\"7\"");
    becomes(":execute { :put \"{{ n }}\" }", ":execute { :put \"7\" }");
    becomes(":execute script=\"a\" file={{ n }}", ":execute script=\"a\" file=\"7\"");
    becomes(":execute \"a\"\n:put \"{{ n }}\"", ":execute \"a\"\n:put \"7\"");
    becomes(":put [:parse \"a\"] ; :put \"{{ n }}\"", ":put [:parse \"a\"] ; :put \"7\"");
    becomes(":do { :put {{ n }} } while=($a={{ n }})", ":do { :put \"7\" } while=($a=\"7\")");
    becomes("/ipv6 nd prefix add on-link={{ n }}", "/ipv6 nd prefix add on-link=\"7\"");
    becomes("add comment=\"{{ n }}\" src-address={{ ip }}",
            "add comment=\"7\" src-address=\"192.0.2.1\"");
    becomes(":put \"\\\"a\\\" {{ n }}\"", ":put \"\\\"a\\\" 7\"");
    becomes(":set execute \"{{ n }}\"", ":set execute \"7\"");
    becomes(":do { :put 1 } while=($a={{ n }}) on-error={ :put {{ n }} }",
            ":do { :put 1 } while=($a=\"7\") on-error={ :put \"7\" }");
    becomes(":onerror e in={ :put {{ n }} } do={ :put \"{{ n }}\" }",
            ":onerror e in={ :put \"7\" } do={ :put \"7\" }");
    becomes(":foreach i in={{ n }},8 do={}", ":foreach i in=\"7,8\" do={}");
    becomes(":retry command={ :put {{ n }} } delay={{ n }} max={{ n }}",
            ":retry command={ :put \"7\" } delay=\"7\" max=\"7\"");
    becomes(":return {{ n }}", ":return \"7\"");
    becomes("add na\\\n  me=\"{{ n }}\" \\\n  \"comment\"={{ n }}",
            "add na\\\n  me=\"7\" \\\n  \"comment\"=\"7\"");
    becomes(":put \"do\\\n {{ n }} $[:len do] {{ n }}\"", ":put \"do\\\n 7 $[:len do] 7\"");
    becomes(":put \"do $[:len \"do\"] {{ n }}\"", ":put \"do $[:len \"do\"] 7\"");
}

/* A value in code that goes on in the next line cannot get quotes around all of it. */
static void test_values_over_lines(void **state)
{
    (void)state;
    refused("password=abc\\\n    {{ pw }}", "part of this word");
    refused("password=abc\\\n{{ pw }}", "part of this word");
    refused("password=abc\\\n  \\\n  {{ pw }}", "part of this word");
    refused("password=\"abc\"\\\n    {{ pw }}", "part of this word");
    refused("password={{ n }}\\\n    abc", "part of this word");
    refused("password={{ n }}\\\n    \"abc\"", "part of this word");
    refused("password={{ n }}\\\n    {{ n }}", "part of this word");
    refused("password={{ n }}\\\n    $a", "part of this word");
    becomes("password=\\\n    {{ n }}", "password=\\\n    \"7\"");
    becomes("password=\\\n    a{{ n }}", "password=\\\n    \"a7\"");
    becomes("password=\"abc\\\n    {{ n }}\"", "password=\"abc\\\n    7\"");
    becomes("a={{ n }} \\\n    b={{ n }}", "a=\"7\" \\\n    b=\"7\"");
    becomes("a=abc \\\n    b={{ n }}", "a=abc \\\n    b=\"7\"");
    becomes("a={{ n }}\\\n    ;b={{ n }}", "a=\"7\"\\\n    ;b=\"7\"");
    becomes("a=({{ n }}\\\n  .{{ n }})", "a=(\"7\"\\\n  .\"7\")");
    becomes("a=(\"x\"\\\n  .{{ n }})", "a=(\"x\"\\\n  .\"7\")");
    /* With blanks behind the backslash, the statement may end there or not. */
    refused("/tool x \\ \n execute \"{{ pw }}\"", "a backslash with blanks");
    refused("/tool x a=\\ \n {{ pw }}", "a backslash with blanks");
    becomes("/tool x \\ \n a=b\n/tool x a={{ n }}", "/tool x \\ \n a=b\n/tool x a=\"7\"");
}

static void test_broken_references(void **state)
{
    (void)state;
    refused("a=1\n\nb={{ nothing }}", "t.rsc:3: {{ nothing }} has no value");
    refused("a=1\r\nb={{ nothing }}\r\n", "t.rsc:2: {{ nothing }}");
    refused("b={{ env://CHRIMG_TEST_NOT_SET }}", "t.rsc:1: {{ env://CHRIMG_TEST_NOT_SET }}");
    refused("b={{ }}", "is not a reference");
    refused("b={{ 1abc }}", "is not a reference");
    refused("b={{ a b }}", "is not a reference");
    refused("b={{ env:// }}", "is not a reference");
    refused("b={{ env://A-B }}", "is not a reference");
    refused("b={{ file://relative }}", "is not a reference");
    refused("b={{ op://vault/item }}", "is not a reference");
    refused("b={{ op:///a/b }}", "is not a reference");
    refused("b={{ ftp://x }}", "is not a reference");
    refused("b={{ env://A }\nc", "does not end with }}");
    refused("b={{ env://A\n}}", "does not end with }}");
    refused("b={{ env://A", "does not end with }}");
    refused("a=1\nb=\"{{\n env://A }}\"", "t.rsc:2: a reference stands on one line");
    refused("b=\"{{\r\n\r\n  env://A\r\n}}\"", "a reference stands on one line");
    refused("b=\"{{\tenv://A }}\"", "a reference stands on one line");
    refused("b=\"{{ \\\n env://A }}\"", "a reference stands on one line");
    refused("b=\"{{ n\n}}\"", "a reference stands on one line");
    refused("b=\"{{\tn\t}}\"", "a reference stands on one line");
    refused("b={{\n env://A }}", "a reference stands on one line");
    refused("b={{ cmd://x }}", "no program is allowed");
}

static void test_all_that_are_missing(void **state)
{
    (void)state;
    refused("a={{ m1 }}\nb={{ n }} c=\"{{ env://CHRIMG_TEST_NOT_SET }}\"",
            "2 references have no value:\n  t.rsc:1: {{ m1 }} has no value\n"
            "  t.rsc:2: {{ env://CHRIMG_TEST_NOT_SET }}: ");
    refused("a={{m1}}\n{{m2}}\n{{m3}}\n{{m4}}\n{{m5}}\n{{m6}}\n{{m7}}\n{{m8}}\n{{m9}}\n{{m9}}",
            "t.rsc:8: {{ m8 }} has no value\n  and 2 more");
}

static void test_what_stays_open_is_refused(void **state)
{
    (void)state;
    refused("a=1\nb=\"x", "t.rsc:2: this \" is never closed");
    refused("{ :put 1", "t.rsc:1: this { is never closed");
    refused("add a=1 \\\n", "ends with a backslash");
    refused("add a=1 \\\n  ", "ends with a backslash");
    refused("\xff\xfe/", "t.rsc:1: this is not UTF-8, but UTF-16");
}

static void test_nul_is_refused(void **state)
{
    struct rsc_script script = {0};
    struct rsc_resolver resolver = {0};
    struct chr_error err;

    (void)state;
    assert_refused(rsc_script_add(&script, "n", "a\nb\0c", 5, 0, &resolver, &err), &err,
                   CHR_E_REFUSED, "n:2: this is a NUL byte");
    rsc_script_release(&script);
}

static void test_lines_and_bom(void **state)
{
    struct rsc_script script = {0};
    struct chr_error err;
    const char *got = NULL;

    (void)state;
    assert_done(expand("\xEF\xBB\xBF/ip\nadd\r\nset\r\nend\r", &script, &got, &err), &err);
    assert_string_equal(got, "/ip\nadd\nset\nend\r\n");
    assert_int_equal(script.sections[0].boms, 1);
    assert_int_equal(script.sections[0].crlf_lines, 2);
    assert_int_equal(script.sections[0].first_crlf_line, 2);
    rsc_script_release(&script);
}

/* ---- scripts of several sources ---- */

/* The router gets the bytes of the source; what is shown is UTF-8. */
static void test_other_encodings(void **state)
{
    struct rsc_script script = {0};
    struct chr_error err;
    const char *got = NULL;
    char *masked;

    (void)state;
    becomes("# caf\xe9\n:put \"\xcf\xf0 \xc5\xbe\"", "# caf\xe9\n:put \"\xcf\xf0 \xc5\xbe\"");
    becomes(":put \"\xc5{{ half }}\"", ":put \"\xc5\\BE\"");
    refused("a=\xe9{{ n }}", "part of this word");
    assert_done(expand("# \xe9\n:put \"\xc5{{ pw }}\xbe \xc5\xbe\"", &script, &got, &err), &err);
    masked = rsc_script_mask(&script, &err);
    assert_non_null(masked);
    assert_string_equal(masked, "# from t.rsc\n/\n# ?\n:put \"?***? \xc5\xbe\"\n");
    free(masked);
    rsc_script_release(&script);
}

static void test_sections(void **state)
{
    struct rsc_resolver resolver = {.options = &options};
    struct rsc_script script = {0};
    struct chr_error err;
    char *masked;

    (void)state;
    assert_done(rsc_script_add(&script, "a.rsc", "/user\nset a={{ pw }}", 20, 0, &resolver, &err),
                &err);
    assert_done(rsc_script_add(&script, "-", "x={{ n }}\ny=1\n", 14, RSC_HIDDEN, &resolver, &err),
                &err);
    /* A name that would like to be a command. */
    assert_done(rsc_script_add(&script, "b\n/x\\", "\n", 1, 0, &resolver, &err),
                &err);
    assert_done(rsc_script_add(&script, "c", "c=\"q{{ n }}\"\n", 13, 0, &resolver, &err), &err);
    assert_refused(rsc_script_add(&script, "d", "d={{ no }}", 10, 0, &resolver, &err), &err,
                   CHR_E_MISSING, "d:1: {{ no }}");
    assert_done(secret_append(&script.text, "", 1, &err), &err);
    script.text.len--;
    assert_string_equal(script.text.data,
                        "# from a.rsc\n/\n/user\nset a=\"" NASTY_INSIDE "\"\n"
                        "# from -\n/\nx=\"7\"\ny=1\n"
                        "# from b?/x?\n/\n"
                        "\n"
                        "# from c\n/\nc=\"q7\"\n");
    masked = rsc_script_mask(&script, &err);
    assert_non_null(masked);
    assert_string_equal(masked, "# from a.rsc\n/\n/user\nset a=\"***\"\n"
                                "# from -\n/\n# ***: 2 lines, not shown\n"
                                "# from b?/x?\n/\n\n"
                                "# from c\n/\nc=\"q***\"\n");
    free(masked);
    rsc_script_release(&script);
    rsc_resolver_release(&resolver);
}

/* What is piped in may hold braces that belong to a secret. */
static void test_a_hidden_source_is_not_quoted(void **state)
{
    static const char *const texts[] = {"a=\"x{{ hunter2 }}\"", "a=\"{{ hunter2! }}\"",
                                        "a=\"{{ env://hunter2 }}\"", "a=\"${{ hunter2 }}\"",
                                        "a=\"{{ env://hunter2\"", "a=\"hunter2"};
    struct rsc_resolver resolver = {.options = &options};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct rsc_script script = {0};
        struct chr_error err;

        assert_refused(rsc_script_add(&script, "<stdin>", texts[i], strlen(texts[i]), RSC_HIDDEN,
                                      &resolver, &err), &err, err.code, "<stdin>:1: ");
        assert_null(strstr(err.message, "hunter2"));
        assert_null(strstr(err.hint, "hunter2"));
        rsc_script_release(&script);
    }
    rsc_resolver_release(&resolver);
}

/* Offsets of the script lead to lines and columns of the source. */
static void test_positions(void **state)
{
    struct rsc_script script = {0};
    struct chr_error err;
    const char *got = NULL;
    const char *text = "first\nžž a={{ ip }}/24 b={{ pw }} MARK\n";
    struct rsc_position position;

    (void)state;
    assert_done(expand(text, &script, &got, &err), &err);
    position = rsc_position_of(&script, (size_t)(strstr(got, "MARK") - script.text.data));
    assert_int_equal(position.line, 2);
    assert_int_equal(position.column, 29);
    position = rsc_position_of(&script, (size_t)(strstr(got, "2.1/24") - script.text.data));
    assert_int_equal(position.column, 6); /* within a value: its reference */
    position = rsc_position_of(&script, (size_t)(strstr(got, "b=") - script.text.data));
    assert_int_equal(position.column, 18);
    rsc_script_release(&script);
}

/* ---- a property: no value changes what is around it ---- */

/* The nesting of TEXT, where the value is *MARK-less: brackets, quotes and line ends in code. */
static void skeleton(const char *text, size_t len, char *out)
{
    char stack[64];
    int depth = 0;
    size_t count = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool in_string = depth > 0 && stack[depth - 1] == '"';

        if (in_string && c == '\\') {
            i++;
        } else if (c == '"') {
            if (in_string)
                depth--;
            else
                stack[depth++] = '"';
            out[count++] = c;
        } else if (in_string && c == '$') {
            out[count++] = c;
        } else if (!in_string && strchr("[](){};\n$ =", c) != NULL) {
            out[count++] = c;
        }
    }
    out[count] = '\0';
}

static void test_no_value_breaks_out(void **state)
{
    static const char *const templates[] = {
        "/user add name=x password={{ v }} group=full\n/ip address",
        "/user add name=x password=\"{{ v }}\" group=full\n/ip address",
        ":put (\"a\" . {{ v }} . \"b\"); :put \"x{{ v }}y\"",
        "[find name={{ v }}]",
        ":if ($a={{ v }}) do={ :put \"$b{{ v }}\" }",
        "a={{ v }}/24,ether{{ v }} \\\n b=\"{{ v }}{{ v }}\"",
    };
    static const char nasty[] = "\"\\$[](){};\n\r#= \tAF0a{}'/:";
    struct dice dice = {7};

    (void)state;
    for (int round = 0; round < 30000; round++) {
        char value[24];
        struct chr_pair set = {"v", value};
        struct chr_pair plain = {"v", "w"};
        struct chr_template_options with = {.sets = &set, .set_count = 1};
        struct chr_template_options without = {.sets = &plain, .set_count = 1};
        struct rsc_resolver resolver = {.options = &with};
        struct rsc_resolver calm = {.options = &without};
        struct rsc_script script = {0};
        struct rsc_script wanted = {0};
        const char *text = templates[roll_below(&dice, 6)];
        size_t len = roll_below(&dice, sizeof value);
        char got_skeleton[1024];
        char wanted_skeleton[1024];
        struct chr_error err;

        for (size_t i = 0; i < len; i++)
            value[i] = nasty[roll_below(&dice, sizeof nasty - 1)];
        value[len] = '\0';
        assert_done(rsc_script_add(&script, "t", text, strlen(text), 0, &resolver, &err), &err);
        assert_done(rsc_script_add(&wanted, "t", text, strlen(text), 0, &calm, &err), &err);
        skeleton(script.text.data, script.text.len, got_skeleton);
        skeleton(wanted.text.data, wanted.text.len, wanted_skeleton);
        assert_string_equal(got_skeleton, wanted_skeleton);
        rsc_script_release(&script);
        rsc_script_release(&wanted);
        rsc_resolver_release(&resolver);
        rsc_resolver_release(&calm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_strings_and_bare),
        cmocka_unit_test(test_behind_a_variable_the_name_ends),
        cmocka_unit_test(test_what_is_no_reference_stays),
        cmocka_unit_test(test_refused_where_a_string_cannot_be),
        cmocka_unit_test(test_refused_where_a_string_is_code),
        cmocka_unit_test(test_data_beside_code),
        cmocka_unit_test(test_values_over_lines),
        cmocka_unit_test(test_broken_references),
        cmocka_unit_test(test_all_that_are_missing),
        cmocka_unit_test(test_what_stays_open_is_refused),
        cmocka_unit_test(test_nul_is_refused),
        cmocka_unit_test(test_lines_and_bom),
        cmocka_unit_test(test_other_encodings),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_a_hidden_source_is_not_quoted),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_no_value_breaks_out),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
