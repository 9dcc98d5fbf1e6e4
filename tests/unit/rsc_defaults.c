/* A first configuration from options: each command, and each input that is refused. */
#include "rsc/script.h"

#include "unit.h"

#define PASSWORD "pa\"ss$word"
#define KEY_TEXT "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

#define LIST(...) (const char *const[]){__VA_ARGS__}
#define LENGTH(...) (sizeof(LIST(__VA_ARGS__)) / sizeof(char *))
#define GATEWAYS(...) .gateways = LIST(__VA_ARGS__), .gateway_count = LENGTH(__VA_ARGS__)
#define SERVERS(...) .dns = LIST(__VA_ARGS__), .dns_count = LENGTH(__VA_ARGS__)
#define KEYS(...) .ssh_key_files = LIST(__VA_ARGS__), .ssh_key_file_count = LENGTH(__VA_ARGS__)

static const struct chr_pair sets[] = {{"pw", PASSWORD}};
static const struct chr_template_options options = {.sets = sets, .set_count = 1};

static int make(const struct chr_defaults *defaults, struct rsc_script *script,
                struct chr_error *err)
{
    struct rsc_resolver resolver = {.options = &options};
    int result = rsc_script_add_defaults(script, defaults, &resolver, err);

    rsc_resolver_release(&resolver);
    return result;
}

static void gives(const struct chr_defaults *defaults, const char *wanted)
{
    struct rsc_script script = {0};
    struct chr_lint_report *report = NULL;
    struct chr_error err;

    assert_done(make(defaults, &script, &err), &err);
    if (wanted[0] == '\0') {
        assert_int_equal(script.text.len, 0);
        return;
    }
    assert_done(secret_append(&script.text, "", 1, &err), &err);
    script.text.len--;
    assert_string_equal(script.text.data + script.sections[0].begin, wanted);
    assert_string_equal(script.sections[0].name, "defaults");
    /* What we make is nothing to complain about. */
    assert_done(rsc_script_lint(&script, &report, &err), &err);
    if (report->finding_count > 0)
        fail_msg("%s", report->findings[0].text);
    chr_lint_free(report);
    rsc_script_release(&script);
}

static void refused(struct chr_defaults defaults, const char *message)
{
    struct rsc_script script = {0};
    struct chr_error err;

    assert_refused(make(&defaults, &script, &err), &err, err.code, message);
    assert_null(strstr(err.message, PASSWORD));
    assert_int_equal(script.text.len, 0);
    rsc_script_release(&script);
}

static void test_each_option(void **state)
{
    const char *addresses[] = {"192.0.2.1/24%ether1", "2001:db8::1/64%bridge one"};

    (void)state;
    gives(&(struct chr_defaults){0}, "");
    gives(&(struct chr_defaults){.identity = "lab"}, "/system identity set name=\"lab\"\n");
    gives(&(struct chr_defaults){.identity = "a\"b$c{{ pw }}ž"},
          "/system identity set name=\"a\\\"b\\$c\\7B\\7B pw }}\\C5\\BE\"\n");
    gives(&(struct chr_defaults){.admin_password_from = "env://RSC_PW"},
          "/user set admin password=\"pa\\\"ss\\$word\"\n");
    gives(&(struct chr_defaults){.addresses = addresses, .address_count = 2},
          "/ip address add address=\"192.0.2.1/24\" interface=\"ether1\"\n"
          "/ipv6 address add address=\"2001:db8::1/64\" interface=\"bridge one\"\n");
    gives(&(struct chr_defaults){GATEWAYS("192.0.2.254")},
          "/ip route add dst-address=\"0.0.0.0/0\" gateway=\"192.0.2.254\"\n");
    gives(&(struct chr_defaults){GATEWAYS("fe80::1%ether1")},
          "/ipv6 route add dst-address=\"::/0\" gateway=\"fe80::1%ether1\"\n");
    gives(&(struct chr_defaults){SERVERS("1.1.1.1,2606:4700:4700::1111")},
          "/ip dns set servers=\"1.1.1.1,2606:4700:4700::1111\"\n");
}

static void test_options_that_repeat(void **state)
{
    static const char key[] = "ssh-ed25519 " KEY_TEXT " one\n";
    static const char other[] = "ssh-ed25519 " KEY_TEXT " two\n";

    (void)state;
    gives(&(struct chr_defaults){GATEWAYS("192.0.2.254", "2001:db8::1")},
          "/ip route add dst-address=\"0.0.0.0/0\" gateway=\"192.0.2.254\"\n"
          "/ipv6 route add dst-address=\"::/0\" gateway=\"2001:db8::1\"\n");
    refused((struct chr_defaults){GATEWAYS("192.0.2.254", "192.0.2.253")},
            "--gateway: 192.0.2.253 is the second for IPv4");
    refused((struct chr_defaults){GATEWAYS("2001:db8::1", "2001:db8::2")}, "second for IPv6");
    gives(&(struct chr_defaults){SERVERS("9.9.9.9", "1.1.1.1,2606:4700:4700::1111")},
          "/ip dns set servers=\"9.9.9.9,1.1.1.1,2606:4700:4700::1111\"\n");
    refused((struct chr_defaults){SERVERS("1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6,1.1.1.7,"
                                          "1.1.1.8", "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,"
                                          "1.1.1.6,1.1.1.7,1.1.1.8,1.1.1.9")},
            "more than 16 servers");
    write_file("one.pub", key, strlen(key));
    write_file("two.pub", other, strlen(other));
    gives(&(struct chr_defaults){KEYS("one.pub", "two.pub")},
          "/user ssh-keys add user=admin key=\"ssh-ed25519 " KEY_TEXT " one\"\n"
          "/user ssh-keys add user=admin key=\"ssh-ed25519 " KEY_TEXT " two\"\n");
}

static void test_all_at_once_in_order(void **state)
{
    const char *addresses[] = {"192.0.2.1/24%ether1"};
    const struct chr_defaults all = {
        .identity = "lab", .admin_password_from = "env://RSC_PW", .addresses = addresses,
        .address_count = 1, GATEWAYS("192.0.2.254"), SERVERS("9.9.9.9"), .hardened = true};

    (void)state;
    gives(&all, "/system identity set name=\"lab\"\n"
                "/ip address add address=\"192.0.2.1/24\" interface=\"ether1\"\n"
                "/ip route add dst-address=\"0.0.0.0/0\" gateway=\"192.0.2.254\"\n"
                "/ip dns set servers=\"9.9.9.9\"\n"
                "/tool mac-server set allowed-interface-list=none\n"
                "/tool mac-server mac-winbox set allowed-interface-list=none\n"
                "/tool mac-server ping set enabled=no\n"
                "/ip neighbor discovery-settings set discover-interface-list=none\n"
                "/tool bandwidth-server set enabled=no\n"
                "/ip service enable ssh,www\n"
                "/ip service disable telnet,ftp,api,api-ssl,winbox,www-ssl\n"
                "/user set admin password=\"pa\\\"ss\\$word\"\n");
}

static void test_ssh_keys(void **state)
{
    const struct chr_defaults defaults = {KEYS("key.pub")};
    static const char two[] = "# mine\n\nssh-ed25519 " KEY_TEXT " me@host\r\n"
                              "ssh-ed25519 " KEY_TEXT "\n";
    static const char private[] = "-----BEGIN OPENSSH PRIVATE KEY-----\n" KEY_TEXT "\n";
    static const char *const wrong[] = {
        "", "# none\n", "ssh-ed25519 short\n", "ssh-dss " KEY_TEXT "\n", "ssh-ed25519\n",
        "ssh-ed25519 BBBB" KEY_TEXT "\n", "ssh-ed25519 " KEY_TEXT "!\n",
        "ssh-ed25519 " KEY_TEXT "=\n", "from=\"x\" ssh-ed25519 " KEY_TEXT "\n",
        "ssh-ed25519 " KEY_TEXT " \xff\n",
    };

    (void)state;
    write_file("key.pub", two, strlen(two));
    gives(&defaults, "/user ssh-keys add user=admin key=\"ssh-ed25519 " KEY_TEXT " me@host\"\n"
                     "/user ssh-keys add user=admin key=\"ssh-ed25519 " KEY_TEXT "\"\n");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_file("key.pub", wrong[i], strlen(wrong[i]));
        refused(defaults, "key");
    }
    write_file("key.pub", private, strlen(private));
    refused(defaults, "does not hold a public key");
    refused((struct chr_defaults){KEYS("none.pub")}, "cannot open none.pub");
}

static void test_wrong_names_and_references(void **state)
{
    static const char long_name[] =
        "0123456789012345678901234567890123456789012345678901234567890123x";

    (void)state;
    refused((struct chr_defaults){.identity = ""}, "1 to 64 characters");
    refused((struct chr_defaults){.identity = long_name}, "1 to 64 characters");
    refused((struct chr_defaults){.identity = "a\nb"}, "control character");
    refused((struct chr_defaults){.identity = "a\xff"}, "not UTF-8");
    refused((struct chr_defaults){.admin_password_from = "hunter2!"}, "--admin-password-from");
    refused((struct chr_defaults){.admin_password_from = "pw }}\n/user add {{ pw"}, "reference");
    refused((struct chr_defaults){.admin_password_from = "other"}, "wants a reference");
    refused((struct chr_defaults){.admin_password_from = "pw"}, "no key of --set");
    refused((struct chr_defaults){.admin_password_from = "env://RSC_NO_SUCH"}, "RSC_NO_SUCH");
    refused((struct chr_defaults){.admin_password_from = ""}, "reference");
}

static void refuse_address(const char *text, const char *message)
{
    refused((struct chr_defaults){.addresses = &text, .address_count = 1}, message);
}

static void test_wrong_addresses(void **state)
{
    (void)state;
    refuse_address("192.0.2.1%ether1", "has no prefix");
    refuse_address("192.0.2.1/24", "has no interface");
    refuse_address("192.0.2.1/24%", "% cannot be");
    refuse_address("192.0.2.1/24%a\nb", "cannot be");
    refuse_address("192.0.2.1/33%e", "/33 cannot be");
    refuse_address("192.0.2.1/0%e", "/0 cannot be");
    refuse_address("192.0.2.1/024%e", "/024 cannot be");
    refuse_address("192.0.2.1/+4%e", "/+4 cannot be");
    refuse_address("192.0.2.1/%e", "/ cannot be");
    refuse_address("192.0.2.256/24%e", "is no IP address");
    refuse_address("192.0.2/24%e", "is no IP address");
    refuse_address("192.0.2.1 /24%e", "is no IP address");
    refuse_address("router/24%e", "is no IP address");
    refuse_address("/24%e", "is no IP address");
    refuse_address("", "is no IP address");
    refuse_address("192.0.2.0/24%e", "is the network");
    refuse_address("192.0.2.255/24%e", "broadcast");
    refuse_address("0.0.0.0/8%e", "no address of a host");
    refuse_address("127.0.0.1/8%e", "loopback");
    refuse_address("224.0.0.5/24%e", "multicast");
    refuse_address("250.0.0.5/24%e", "reserved");
    refuse_address("2001:db8::1/129%e", "/129 cannot be");
    refuse_address("::1/64%e", "loopback");
    refuse_address("ff02::1/64%e", "multicast");
    refuse_address("2001:db8::1::/64%e", "is no IP address");
}

static void test_point_to_point_is_fine(void **state)
{
    const char *addresses[] = {"192.0.2.0/31%ether1", "192.0.2.9/32%lo"};

    (void)state;
    gives(&(struct chr_defaults){.addresses = addresses, .address_count = 2},
          "/ip address add address=\"192.0.2.0/31\" interface=\"ether1\"\n"
          "/ip address add address=\"192.0.2.9/32\" interface=\"lo\"\n");
}

static void test_wrong_gateways_and_servers(void **state)
{
    const char *addresses[] = {"192.0.2.1/24%ether1"};
    const char *gateway;
    struct chr_defaults defaults = {.addresses = addresses, .address_count = 1,
                                    .gateways = &gateway, .gateway_count = 1};

    (void)state;
    gateway = "198.51.100.1";
    refused(defaults, "in no network of --address");
    gateway = "192.0.2.1";
    refused(defaults, "is the router itself");
    gateway = "192.0.2.254/24";
    refused(defaults, "/24 cannot be");
    gateway = "gw";
    refused(defaults, "is no IP address");
    gateway = "fe80::1";
    refused(defaults, "link-local and has no interface");
    refused((struct chr_defaults){SERVERS("1.1.1.1,")}, "is no IP address");
    refused((struct chr_defaults){SERVERS("1.1.1.1, 8.8.8.8")}, "is no IP address");
    refused((struct chr_defaults){SERVERS("dns.example")}, "is no IP address");
    refused((struct chr_defaults){SERVERS("1.1.1.1%ether1")}, "cannot be");
    refused((struct chr_defaults){SERVERS("0.0.0.0")}, "no address of a host");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_option),
        cmocka_unit_test(test_options_that_repeat),
        cmocka_unit_test(test_all_at_once_in_order),
        cmocka_unit_test(test_ssh_keys),
        cmocka_unit_test(test_wrong_names_and_references),
        cmocka_unit_test(test_wrong_addresses),
        cmocka_unit_test(test_point_to_point_is_fine),
        cmocka_unit_test(test_wrong_gateways_and_servers),
    };

    (void)setenv("RSC_PW", PASSWORD, 1);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
