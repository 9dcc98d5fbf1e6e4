/* Lint: a table of scripts, each with all that must be said about it, and nothing else. */
#include "rsc/script.h"
#include "rsc/text.h"

#include "unit.h"

/*
 * What lint says about TEXT, "LINE:COLUMN id" each, with a blank between; the severity's
 * letter in front.  HIDDEN as from standard input.
 */
static void lint(const char *text, size_t len, bool hidden, char *out, size_t size)
{
    struct chr_lint_report *report = NULL;
    struct rsc_script script = {0};
    struct chr_error err;
    size_t used = 0;
    size_t errors = 0;
    size_t warnings = 0;

    assert_done(rsc_script_add(&script, "x.rsc", text, len, hidden ? RSC_HIDDEN : 0, NULL, &err),
                &err);
    assert_done(rsc_script_lint(&script, &report, &err), &err);
    out[0] = '\0';
    for (size_t i = 0; i < report->finding_count; i++) {
        const struct chr_lint_finding *finding = &report->findings[i];

        assert_string_equal(finding->file, "x.rsc");
        assert_true(finding->text[0] != '\0');
        used += (size_t)snprintf(out + used, size - used, "%s%c%zu:%zu %s", i > 0 ? ", " : "",
                                 "NWE"[finding->severity], finding->line, finding->column,
                                 finding->id);
        assert_true(used < size);
        errors += finding->severity == CHR_LINT_ERROR;
        warnings += finding->severity == CHR_LINT_WARNING;
    }
    assert_int_equal(report->errors, errors);
    assert_int_equal(report->warnings, warnings);
    chr_lint_free(report);
    rsc_script_release(&script);
}

struct rule {
    const char *script;
    const char *said;
};

static void check(const struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char got[4096];

        lint(rules[i].script, strlen(rules[i].script), false, got, sizeof got);
        if (strcmp(got, rules[i].said) != 0)
            fail_msg("%s\nsaid:   %s\nwanted: %s", rules[i].script, got, rules[i].said);
        /* The same of a script that must not be shown. */
        lint(rules[i].script, strlen(rules[i].script), true, got, sizeof got);
        if (strcmp(got, rules[i].said) != 0)
            fail_msg("hidden: %s\nsaid:   %s\nwanted: %s", rules[i].script, got, rules[i].said);
    }
}

#define CHECK(rules) check(rules, sizeof(rules) / sizeof(rules)[0])

static void test_balance(void **state)
{
    static const struct rule rules[] = {
        {":put \"a", "E1:6 unbalanced-quote"},
        {":put \"a\nb\"\n:put \"c", "N1:6 long-string, E3:6 unbalanced-quote"},
        {":put \"a\\\"", "E1:6 unbalanced-quote"},
        {"{ :put 1", "E1:1 unbalanced-brace"},
        {":put [:len 1", "E1:6 unbalanced-bracket"},
        {":put (1+1", "E1:6 unbalanced-parenthesis"},
        {":put 1 }", "E1:8 unbalanced-brace"},
        {":put 1 ]", "E1:8 unbalanced-bracket"},
        {":put 1)", "E1:7 unbalanced-parenthesis"},
        {":put ([:len 1)", "E1:14 unbalanced-bracket"},
        {":put \"a ) ] } ( [ {\"", ""},
        {":put \"a \\\" b\"", ""},
        {":put \"x $[:len \"abc\"] y $(1+1)\"", ""},
        {":put \"x $[:len \"abc\" y\"", "E1:6 unbalanced-quote, E1:9 unbalanced-bracket, "
                                        "E1:23 unbalanced-quote"},
        {"# \" { [ (\n:put 1", ""},
        {":if (true) do={\n  :put [:len {1;2}]\n} else={ :put \"b\" }", ""},
    };

    (void)state;
    CHECK(rules);
}

static void test_depth(void **state)
{
    char text[300];
    char got[4096];

    (void)state;
    memset(text, '(', 200);
    lint(text, 200, false, got, sizeof got);
    assert_non_null(strstr(got, "E1:65 too-deep"));
}

static void test_lines(void **state)
{
    static const struct rule rules[] = {
        {"/ip address \\\n  add address=1.1.1.1/8", ""},
        {"/ip address print \\", "E1:19 continuation-at-end"},
        {"/ip address print \\\n", "E1:19 continuation-at-end"},
        {"/ip address print \\\n \n", "E1:19 continuation-at-end"},
        {"/ip address print \\ \n:put 1", "W1:19 stray-backslash"},
        {"/ip route\nadd dst-address=192.0.2.0/24 \\  \n    gateway=192.0.2.1", "W2:30 stray-backslash"},
        {"/ip route\nadd dst-address=192.0.2.0/24 \\\t\n\ngateway=192.0.2.1",
         "W2:30 stray-backslash, E4:1 not-a-command"},
        {"/ip address print \\ \n \n", "E1:19 continuation-at-end"},
        {"/ip address print a\\b", "W1:20 stray-backslash"},
        {":put \"a\\\n  b\"", ""},
        {"/ip address\r\nprint\r\n", "N1:1 crlf"},
        {"/ip address\nprint\r\n", "N2:1 crlf"},
        {"\xEF\xBB\xBF/ip address", "N1:1 bom"},
        /* Files that were joined: a mark each, or one that hangs on the line before. */
        {"/ip address\n\xEF\xBB\xBFprint", "N2:1 bom"},
        {"\xEF\xBB\xBF/ip address\n\xEF\xBB\xBFprint\n\xEF\xBB\xBF", "N1:1 bom"},
        {"/ip address\nprint;\xEF\xBB\xBF/ip address print", "E2:7 bom-inside"},
        {":put \"a\xEF\xBB\xBF\" # b\xEF\xBB\xBF", ""},
        {"/ip address\rprint", "W1:12 carriage-return"},
        {":put \"\\q\" ", "W1:7 unknown-escape"},
        {":put \"\\\" \\\\ \\n \\r \\t \\$ \\? \\_ \\a \\b \\f \\v \\4A\"", ""},
        {"", ""},
        {"\n\n  \n", ""},
        {"# comment only", ""},
    };

    (void)state;
    CHECK(rules);
}

static void test_bytes(void **state)
{
    char got[4096];

    (void)state;
    lint("/ip\n:put \0x", 11, false, got, sizeof got);
    assert_string_equal(got, "E2:6 nul-byte");
    lint("/ip\n:put \xff\xfe", 11, false, got, sizeof got);
    assert_string_equal(got, "E2:6 not-utf-8");
    lint("a\xe9\0", 3, false, got, sizeof got);
    assert_string_equal(got, "E1:3 nul-byte");
    lint("\xff\xfe/\0i\0p\0", 8, false, got, sizeof got);
    assert_string_equal(got, "E1:1 not-utf-8");
    lint(":put \"ž\" \\x", 12, false, got, sizeof got);
    assert_string_equal(got, "W1:10 stray-backslash"); /* columns are characters */
}

/* Old scripts are in Latin-1 or cp1251: RouterOS takes bytes. */
static void test_other_encodings(void **state)
{
    static const struct rule rules[] = {
        {"# caf\xe9\n:put 1", "W1:6 not-utf-8"},
        {":put \"caf\xe9\"", "W1:10 not-utf-8"},
        {":put \"\xcf\xf0\xe8\xe2\xe5\xf2 \xb8\"; nonsense", "W1:7 not-utf-8, E1:18 not-a-command"},
        {"# \xe9 \xc5\xbe\n:put \"\xe9\"", "W1:3 not-utf-8"},
        {":put \xe9", "E1:6 not-utf-8"},
        {":put \xe9 \xe9 \"\xe9\"", "E1:6 not-utf-8, W1:11 not-utf-8"},
        {":put \"\xb8\xa8\xc5\xbe\" \\x", "W1:7 not-utf-8, W1:12 stray-backslash"},
        {":put \"\xe9{{ x }}\xe9\" \\x", "W1:7 not-utf-8, W1:18 stray-backslash"},
        {"ab\xe9 \xb8", "E1:1 not-a-command, E1:3 not-utf-8"},
    };

    (void)state;
    CHECK(rules);
}

/* What is quoted of a script is whole characters. */
static void test_messages_are_utf8(void **state)
{
    static const char *const scripts[] = {
        "ab\xe9 x", "/ab\xe9 x", "/ip address add a=1\n\xcf\xf0=1",
        ("\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8"
         "\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8\xb8"),
        ":put {{ a\xe9 }}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct chr_lint_report *report = NULL;
        struct rsc_script script = {0};
        struct chr_error err;

        assert_done(rsc_script_add(&script, "x", scripts[i], strlen(scripts[i]), 0, NULL, &err),
                    &err);
        assert_done(rsc_script_lint(&script, &report, &err), &err);
        assert_true(report->finding_count > 0);
        for (size_t k = 0; k < report->finding_count; k++) {
            const char *text = report->findings[k].text;

            assert_int_equal(rsc_text_not_utf8(text, strlen(text)), strlen(text));
        }
        chr_lint_free(report);
        rsc_script_release(&script);
    }
}

static void test_beginnings(void **state)
{
    static const struct rule rules[] = {
        {"add address=1.1.1.1/8", "E1:1 not-a-command"},
        {"/ip address\nadd address=1.1.1.1/8", ""},
        {"/ip/address\nadd address=1.1.1.1/8", ""},
        {"/ip address add address=1.1.1.1/8\nadd address=2.2.2.2/8", "E2:1 not-a-command"},
        {"/ip address\nadd\n/\nadd", "E4:1 not-a-command"},
        {"/ip address\n..\nroute\nadd", ""},
        {"..", "E1:1 not-a-command"},
        {"hello world", "E1:1 not-a-command"},
        {"/ip address\nadd a=1\ninterface=ether1", "E3:1 not-a-command"},
        {"\"text\"", "E1:1 not-a-command"},
        {":put 1; hello", "E1:9 not-a-command"},
        {"ip address print", "W1:1 no-slash"},
        {"put 1", ""},
        {":put 1", ""},
        {":putt 1", "W1:1 unknown-command"},
        {"/ipp address print", "W1:1 unknown-menu"},
        {"/ip address print", ""},
        {"/int eth print", ""},
        {"/s print", "W1:1 unknown-menu"}, /* system, snmp, special-login, store */
        {"/ ip address print", ""},
        {"/import x.rsc", ""},
        {"/import x.rsc\nadd", "E2:1 not-a-command"},
        {"/:put 1", ""},
        {"/", ""},
        {"$f 1", ""},
        {":put [find]", "E1:7 not-a-command"},
        {":put [find key=$x in=$list]", ""},
        {":put [find key=$x]", "E1:7 not-a-command"},
        {":put [/ip address find]", ""},
        {"/ip address set [find interface=x] comment=\"y\"", ""},
        {"/ip address\nset [find interface=x] comment=(\"y\" . [get 0 comment])", ""},
        {":foreach i in={1;2;3} do={ :put $i }", ""},
        {":foreach i in=[/ip address find] do={ nonsense }", "E1:39 not-a-command"},
        {":local a {1; b; \"c\"}", ""},
        {":local a {x=1; y={1;2}}", ""},
        {":do { nonsense } on-error={ nothing here }", "E1:7 not-a-command"},
        {":global f do={ nonsense }", "E1:16 not-a-command"},
        {"/system script add name=x source={ nonsense }", "E1:36 not-a-command"},
        {"/ip address\n:if (true) do={\n add address=1.1.1.1/8\n}", ""},
        {":if (true) do={\n /ip address\n add a=1\n}\nadd", "E5:1 not-a-command"},
        {":onerror e in={ nonsense } do={ :put $e }", "E1:17 not-a-command"},
        {"{ :put 1\n nonsense\n}", "E2:2 not-a-command"},
    };

    (void)state;
    CHECK(rules);
}

/* Menus that are called like commands, in each way a path is written. */
static void test_menus_like_commands(void **state)
{
    static const struct rule rules[] = {
        {"/system upgrade mirror\nset enabled=yes", ""},
        {"/system upgrade\nmirror\nset enabled=yes", ""},
        {"/system/upgrade/mirror\nset enabled=yes", ""},
        {"/system upgrade upgrade-package-source\nadd address=192.0.2.1", ""},
        {"/sys upg upgrade-package-source\nadd address=192.0.2.1", ""},
        {"/system\nupgrade\nupgrade-package-source add address=192.0.2.1", ""},
        {"/system routerboard upgrade\nset enabled=yes", "E2:1 not-a-command"},
        {"/ip add\nadd address=192.0.2.1/24", ""},
        {"/ip add add address=192.0.2.1/24", ""},
        {"/ip set\nset rp-filter=strict", ""},
        {"/ip pool add\nadd name=x", "E2:1 not-a-command"},
        {"/dis\nset 0 slot=x", ""},
        {":/ip route set [find comment=\"x\"] gateway=192.0.2.1", ""},
        {":/ip address\nadd address=192.0.2.1/24", ""},
        {":/ip/address\nadd address=192.0.2.1/24", ""},
        {":/ip address add address=192.0.2.1/24\nadd address=192.0.2.2/24", "E2:1 not-a-command"},
        {":/ipp route print", "W1:1 unknown-menu"},
        {"/log info started\nadd", "E2:1 not-a-command"},
    };

    (void)state;
    CHECK(rules);
}

/* set and find are of the language, too, where the colon may be left out. */
static void test_words_of_the_language(void **state)
{
    static const struct rule rules[] = {
        {":do { set $m \"x\" } on-error={ set m \"y\" }", ""},
        {"set m (1 + 2)", ""},
        {"set url http://192.0.2.1/?a=b", ""},
        {"set m", ""},
        {":local p [:pick \"a;b\" 0 [find \"a;b\" \";\"]]", ""},
        {":local p [pick $a 0 [find $a $b 1]]", ""},
        {"set [find] disabled=yes", "E1:1 not-a-command, E1:6 not-a-command"},
        {"set 0 name=x", "E1:1 not-a-command"},
        {"set x y name=z", "E1:1 not-a-command"},
        {":put [find name=x]", "E1:7 not-a-command"},
        {":put [find name~\"x\"]", "E1:7 not-a-command"},
        {":put [find where comment~\"x\"]", "E1:7 not-a-command"},
        {":put [find where comment ~ \"x\"]", "E1:7 not-a-command"},
        {":put [find disabled=no name=x]", "E1:7 not-a-command"},
    };

    (void)state;
    CHECK(rules);
}

/* Braces: blocks of commands, and what is given to functions, of which nobody can know. */
static void test_blocks(void **state)
{
    static const struct rule rules[] = {
        {"/{\n:local a [/ip address find]\n/ip address\nset [find interface=x] disabled=yes\n}", ""},
        {":{\n/ip address\nset [find interface=x] disabled=yes\n}", ""},
        {"/ {\n/ip address\nset [find interface=x] disabled=yes\n}", ""},
        {"/{\nnonsense\n}", "E2:1 not-a-command"},
        {":{ nonsense }", "E1:4 not-a-command"},
        {"/ {\n:put [find]\n}", "E2:7 not-a-command"},
        {"/ip address\n/{\nadd a=1\n}", "E3:1 not-a-command"},
        {"$run cb={ /ip address set [find interface=ether1] disabled=yes }", ""},
        {"$run { /ip address set [find interface=ether1] disabled=yes }", ""},
        {"$run {\n{ /ip address set [find interface=[find x=y]] disabled=yes }\n}", ""},
        {":local r [$run do={ :if (true) do={ set [find name=x] a=b } }]", ""},
        {"($o->\"run\") cb={ /ip address set [find interface=ether1] a=b }", ""},
        {"[:parse $t] in={\"a\";\"b\"}", ""},
        {"$f in={\"a\";\"b\"}", ""},
        {"$f command={\"a\";\"b\"} do={\"c\"}", ""},
        {"$f do={ /ipp address print }", "W1:9 unknown-menu"},
        {"$f x=[find name=y]", "E1:7 not-a-command"},
        {"[find name=y]", "E1:2 not-a-command"},
        {":local p [:find in={\"a\";\"b\"} key=\"a\"]", ""},
        {":local f (>{ /ip address set [find name=x] })", ""},
        {":local a ({[find name=x]})", "E1:13 not-a-command"},
        {":local a {[find name=x]}", "E1:12 not-a-command"},
        {":foreach i in={[find name=x]} do={}", "E1:17 not-a-command"},
        {":foreach i in={\"a\";\"b\"} do={ :put $i }", ""},
        {":do{ /ip address set [find name=x] disabled=no }", ""},
        {":if (true) do= { /ip address set [find name=x] disabled=no }", ""},
        {":retry command={ nonsense } delay=1 max=2 on-error={ nonsense }",
         "E1:18 not-a-command, E1:54 not-a-command"},
        {"/tool netwatch add test-script={ nonsense }", "E1:34 not-a-command"},
        {":new-one z={ [find name=x] }", "W1:1 unknown-command"},
    };

    (void)state;
    CHECK(rules);
}

static void test_references(void **state)
{
    static const struct rule rules[] = {
        {"/ip address add address={{ ip }}/24 interface={{ env://IF }}", ""},
        {"/user add name={{ u }} password=\"{{ op://a/b/c }}\" group=full", ""},
        {"{{ env://X }} print", "E1:1 not-a-command"},
        {":put {{ envv://X }}", "E1:6 bad-reference"},
        {":put 1\n:put \"{{ env://X \"", "E2:7 bad-reference"},
        {":put {{ env://X", "E1:6 bad-reference"},
        {":put {{ env://X }\n:put 1", "E1:6 bad-reference"},
        {":put {{ env://X \n:put \"\\q\"", "E1:6 bad-reference, W2:7 unknown-escape"},
        {":if (true) do={ :put {{ env://X }", "E1:15 unbalanced-brace, E1:22 bad-reference"},
        {":put \"${{ x }}\"", "E1:8 bad-reference"},
        {":put {{ bad! }} {{ worse! }}", "E1:6 bad-reference, E1:17 bad-reference"},
        {"# {{ bad! }}", ""},
        /* Columns behind a reference are those of the source. */
        {":put {{ a_long_name }} \"\\q\" {{ x }} \"\\q\"",
         "W1:25 unknown-escape, W1:38 unknown-escape"},
    };
    size_t count = sizeof rules / sizeof rules[0];

    (void)state;
    check(rules, count);
}

static void test_services(void **state)
{
    static const struct rule rules[] = {
        {"/ip service disable [find]", "W1:1 services-disabled"},
        {"/ip service disable ssh,www,winbox,telnet,api,api-ssl", "W1:1 services-disabled"},
        {"/ip service disable telnet,ftp,www,api,api-ssl,winbox", ""},
        {"/ip/service/disable [find]", "W1:1 services-disabled"},
        {"/ip ser dis [find]", "W1:1 services-disabled"},
        {"/ip service\ndisable telnet,www,api,api-ssl,winbox\nset ssh disabled=yes",
         "W3:1 services-disabled"},
        {"/ip service set [find] disabled=yes", "W1:1 services-disabled"},
        {"/ip service set telnet,ssh,www,api,api-ssl,winbox disabled=yes",
         "W1:1 services-disabled"},
        {"/ip service set numbers=telnet,ssh,www,api,api-ssl,winbox disabled=yes",
         "W1:1 services-disabled"},
        {"/ip service disable [find]\n/ip service enable ssh", ""},
        {"/ip service disable [find]\n/ip service set www-ssl disabled=no", ""},
        {"/ip service disable [find name!=ssh]", ""},
        {"/ip service disable [find where name!=\"ssh\"]\n/ip service disable ssh",
         "W2:1 services-disabled"},
        {"/ip service disable [find name~\"telnet|www|api|winbox\"]", ""},
        {"/ip service disable [find name~\"telnet|www|api|winbox|ssh\"]",
         "W1:1 services-disabled"},
        {"/ip service disable [find name=ssh]\n/ip service disable [find name~\"^(www|api)$\"]\n"
         "/ip service disable telnet,winbox", ""}, /* api-ssl is left */
        {"/ip service disable [find port=22]", ""}, /* not known which */
        {"/ip service disable $all", ""},
        {"/ip service set ssh port=2222", ""},
        {"/ip service\n:foreach s in={telnet;ssh;\"www\"; api;api-ssl;winbox} do={\n"
         " set $s disabled=yes }", "W3:2 services-disabled"},
        {":foreach s in={telnet;www;api;api-ssl;winbox} do={ /ip service set $s disabled=yes }", ""},
        {":foreach s in=[/ip service find] do={ /ip service set $s disabled=yes }",
         "W1:39 services-disabled"},
        {":foreach s in=[/ip service find] do={ /ip service set numbers=$s disabled=yes }",
         "W1:39 services-disabled"},
        {":foreach s in=[/ip service find name!=ssh] do={ /ip service disable $s }", ""},
        {":foreach s in=[/ip service find] do={ :if (true) do={ /ip service disable $s } }",
         "W1:55 services-disabled"},
        {":foreach s in=[/ip service find] do={ /ip service disable $other }", ""},
        {":foreach s in=[/ip service find] do={ :put 1 }\n/ip service disable $s", ""},
        {":foreach s in={telnet;ssh;www;api;api-ssl;winbox} do={\n"
         " /ip service disable [find name=$s] }", "W2:2 services-disabled"},
        {":foreach s in={$a;ssh} do={ /ip service disable $s }", ""},
        {"/ip service set [find] address=127.0.0.1/32", "W1:1 services-disabled"},
        {"/ip service set [find] address=\"127.0.0.0/8,::1/128\"", "W1:1 services-disabled"},
        {"/ip service set [find] address=192.0.2.0/24", ""},
        {"/ip service set [find] address=127.0.0.1,192.0.2.0/24", ""},
        {"/ip service set [find] address=127.0.0.1\n/ip service set ssh address=192.0.2.0/24", ""},
        {":if ($x) do={ /ip service disable [find] }", "W1:15 services-disabled"},
        {":global f do={ /ip service disable [find] }", ""},
        {"/ip firewall nat disable [find]", ""},
    };

    (void)state;
    CHECK(rules);
}

static void test_users(void **state)
{
    static const struct rule rules[] = {
        {"/user remove admin", "W1:1 users-removed"},
        {"/user remove [find]", "W1:1 users-removed"},
        {"/user disable admin", "W1:1 users-removed"},
        {"/user set admin disabled=yes", "W1:1 users-removed"},
        {"/user set admin group=read", "W1:1 users-removed"},
        {"/user remove [find name=admin]", "W1:1 users-removed"},
        {"/user remove [find name=\"admin\"]", "W1:1 users-removed"},
        {"/user\nadd name=joe group=full password=x\nremove admin", ""},
        {"/user remove admin\n/user add name=joe group=full", ""},
        {"/user add name=joe group=read\n/user remove admin", "W2:1 users-removed"},
        {"/user add name=joe group=full disabled=yes\n/user remove admin", "W2:1 users-removed"},
        {"/user add name=joe group=mygroup\n/user remove admin", ""},
        {"/user add name=$u group=full\n/user remove admin", ""},
        {"/user add name={{ u }} group=full\n/user remove admin", ""},
        {"/user add name=joe group=full\n/user remove [find name!=joe]", ""},
        {"/user add name=joe group=full\n/user remove [find]", "W2:1 users-removed"},
        {"/user set admin name=root\n/user remove root", "W2:1 users-removed"},
        {"/user set admin password=x", ""},
        {"/user remove 0", "W1:1 users-removed"},
        {"/user disable numbers=0", "W1:1 users-removed"},
        {"/user add name=joe group=full\n/user remove 0", ""},
        {"/user add name=joe group=full\n/user remove 0,1", "W2:1 users-removed"},
        {"/user remove 1", ""},
        {"/user disable admin\n/user enable admin", ""},
        {"/user remove joe", ""},
        {"/user group remove admin", ""},
        {"/user ssh-keys remove [find]", ""},
    };

    (void)state;
    CHECK(rules);
}

static void test_other_dangers(void **state)
{
    static const struct rule rules[] = {
        {"/system reset-configuration", "W1:1 configuration-reset"},
        {"/system/reset-configuration no-defaults=yes", "W1:1 configuration-reset"},
        {"/sys reset-conf", "W1:1 configuration-reset"},
        {"/system\nreset-configuration", "W2:1 configuration-reset"},
        {"/system backup load name=x", "W1:1 configuration-replaced"},
        {"/system reboot\n:put 1", "W1:1 restart"},
        {"/system shutdown", "W1:1 restart"},
        {"/system package update install", "W1:1 restart"},
        {"/system scheduler add name=x on-event={ /system reboot }", ""},
        {"/system script add name=x source=\"/system reset-configuration\"", ""},
        {"/ip firewall filter add chain=input action=drop", "W1:1 input-dropped"},
        {"/ip firewall filter\nadd chain=input action=accept connection-state=established\n"
         "add chain=input action=accept protocol=icmp\nadd chain=input action=drop",
         "W4:1 input-dropped"},
        {"/ip firewall filter\nadd chain=input action=accept protocol=tcp dst-port=22\n"
         "add chain=input action=drop comment=\"rest\"", ""},
        {"/ip firewall filter\nadd chain=input protocol=tcp dst-port=22\n"
         "add chain=input action=reject", ""}, /* accept is the default */
        {"/ip firewall filter add chain=input action=drop in-interface=wan", ""},
        {"/ip firewall filter add chain=input action=drop disabled=yes", ""},
        {"/ip firewall filter add chain=forward action=drop", ""},
        {"/ip firewall filter add chain=input\n/ipv6 firewall filter add chain=input action=drop",
         "W2:1 input-dropped"},
        {"/ip firewall filter add chain=input action=drop src-address=0.0.0.0/0",
         "W1:1 input-dropped"},
        {"/ip firewall filter add chain=input action=drop src-address=10.0.0.0/8", ""},
        {"/ip firewall raw add chain=prerouting action=drop", "W1:1 input-dropped"},
        {"/ip firewall raw add chain=output action=drop", ""},
        {"/ipv6 firewall raw\nadd chain=prerouting action=accept src-address=2001:db8::/32\n"
         "add chain=prerouting action=drop", ""},
        {"/ip firewall filter\nadd chain=input action=accept in-interface=lo\n"
         "add chain=input action=accept src-address=127.0.0.1\n"
         "add chain=input action=accept protocol=1\nadd chain=input action=drop",
         "W5:1 input-dropped"},
        /* What comes later may be before it, or take it away. */
        {"/ip firewall filter\nadd chain=input action=drop\n"
         "add chain=input action=accept protocol=tcp dst-port=22 place-before=0", ""},
        {"/ip firewall filter\nadd chain=input action=drop\n"
         "add chain=input action=accept protocol=tcp dst-port=22", "W2:1 input-dropped"},
        {"/ip firewall filter\nadd chain=input action=drop\nremove [find]", ""},
        {"/ip firewall filter\nadd chain=input action=drop\nset [find] disabled=yes", ""},
        {"/ip firewall filter\nadd chain=input\nremove [find]\nadd chain=input action=drop",
         "W4:1 input-dropped"},
        {"/ip firewall filter\nadd chain=input action=drop\n/ip firewall nat remove [find]",
         "W2:1 input-dropped"},
        {":execute \"/system reset-configuration no-defaults=yes\"", "W1:1 configuration-reset"},
        {"/ip firewall filter\nadd chain=input action=drop\nset 0 comment=x",
         "W2:1 input-dropped"},
        {":execute \"/system  reset-configuration\"", "W1:1 configuration-reset"},
        {":execute script=\"/system/reboot\"", "W1:1 restart"},
        {"/execute \"system reboot; :put 1\"", "W1:1 restart"},
        {":execute \"/system identity print\"", ""},
        {":put \"/system reboot\"", ""},
        {"/interface disable [find]", "W1:1 interfaces-disabled"},
        {"/interface ethernet set [find] disabled=yes", "W1:1 interfaces-disabled"},
        {"/interface ethernet set [find] disabled=no", ""},
        {"/interface disable ether2", ""},
    };

    (void)state;
    CHECK(rules);
}

static void test_sources_follow_each_other(void **state)
{
    struct chr_lint_report *report = NULL;
    struct rsc_script script = {0};
    struct chr_error err;

    (void)state;
    assert_done(rsc_script_add(&script, "a", "/ip address\n:put \"open\n", 23, 0, NULL, &err),
                &err);
    assert_done(rsc_script_add(&script, "b", "add\n/user remove admin", 22, 0, NULL, &err), &err);
    assert_done(rsc_script_add(&script, "c", "/user add name=x group=full", 27, 0, NULL, &err),
                &err);
    assert_done(rsc_script_lint(&script, &report, &err), &err);
    assert_int_equal(report->finding_count, 2);
    assert_string_equal(report->findings[0].id, "unbalanced-quote");
    assert_string_equal(report->findings[0].file, "a");
    assert_string_equal(report->findings[1].id, "not-a-command");
    assert_string_equal(report->findings[1].file, "b");
    assert_int_equal(report->findings[1].line, 1);
    chr_lint_free(report);
    rsc_script_release(&script);
}

/* Each place where a script's words could get into a message. */
static void test_messages_show_nothing_hidden(void **state)
{
    static const char *const scripts[] = {
        "hunter2 a b", "hunter2=x", "/hunter2 print", ":hunter2", "/ip address\nhunter2=1",
        "ip hunter2", "ipv hunter2", ":put \"hunter2\\q\" ] hunter2 {{ hunter2! }}",
        "/user add name=hunter2 group=read\n/user remove admin", "\"hunter2\"",
    };
    static const struct chr_pair set = {"v", "hunter2"};
    static const struct chr_template_options options = {.sets = &set, .set_count = 1};

    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct chr_lint_report *report = NULL;
        struct rsc_script script = {0};
        struct chr_error err;

        assert_done(rsc_script_add(&script, "-", scripts[i], strlen(scripts[i]), RSC_HIDDEN, NULL,
                                   &err), &err);
        assert_done(rsc_script_lint(&script, &report, &err), &err);
        assert_true(report->finding_count > 0);
        for (size_t k = 0; k < report->finding_count; k++)
            assert_null(strstr(report->findings[k].text, "hunter2"));
        chr_lint_free(report);
        rsc_script_release(&script);
    }
    for (size_t i = 0; i < 3; i++) {
        static const char *const templates[] = {"{{ v }} print", "a={{ v }}", "b{{ v }} x"};
        struct rsc_resolver resolver = {.options = &options};
        struct chr_lint_report *report = NULL;
        struct rsc_script script = {0};
        struct chr_error err;

        assert_done(rsc_script_add(&script, "t", templates[i], strlen(templates[i]), 0, &resolver,
                                   &err), &err);
        assert_done(rsc_script_lint(&script, &report, &err), &err);
        assert_true(report->finding_count > 0);
        for (size_t k = 0; k < report->finding_count; k++)
            assert_null(strstr(report->findings[k].text, "hunter2"));
        chr_lint_free(report);
        rsc_script_release(&script);
        rsc_resolver_release(&resolver);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_balance),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_other_encodings),
        cmocka_unit_test(test_messages_are_utf8),
        cmocka_unit_test(test_beginnings),
        cmocka_unit_test(test_menus_like_commands),
        cmocka_unit_test(test_words_of_the_language),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_other_dangers),
        cmocka_unit_test(test_sources_follow_each_other),
        cmocka_unit_test(test_messages_show_nothing_hidden),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
