/*
 * A first configuration from a few options.
 *
 * It is written as a template, so that the password goes the way of all references,
 * and then added as any other source.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsc/address.h"
#include "rsc/quote.h"
#include "rsc/script.h"
#include "rsc/text.h"

#define IDENTITY_MAX 64 /* characters, what WinBox and WebFig show of it */
#define ADDRESSES_MAX 64
#define DNS_MAX 16
#define KEY_FILE_MAX (16u << 10)

/* A string that is meant as it stands: no braces in it begin a reference. */
static int put_string(struct secret *out, const char *text, struct chr_error *err)
{
    if (secret_append(out, "\"", 1, err) < 0)
        return -1;
    for (; *text != '\0'; text++)
        if ((*text == '{' ? rsc_quote_hex(out, *text, err)
                          : rsc_quote_inside(out, text, 1, err)) < 0)
            return -1;
    return secret_append(out, "\"", 1, err);
}

/* COMMAND, the string TEXT, a newline. */
static int put_line(struct secret *out, const char *command, const char *text,
                    struct chr_error *err)
{
    if (secret_append_text(out, command, err) < 0 || put_string(out, text, err) < 0)
        return -1;
    return secret_append(out, "\n", 1, err);
}

static int put_identity(struct secret *out, const char *identity, struct chr_error *err)
{
    size_t len = strlen(identity);

    if (len == 0 || rsc_text_characters(identity, len) > IDENTITY_MAX)
        return err_set(err, CHR_E_USAGE, "--identity: a name has 1 to %d characters", IDENTITY_MAX);
    if (rsc_text_not_utf8(identity, len) != len)
        return err_set(err, CHR_E_USAGE, "--identity: the name is not UTF-8");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)identity[i] < 0x20 || identity[i] == 0x7F)
            return err_set(err, CHR_E_USAGE, "--identity: a control character is in the name");
    return put_line(out, "/system identity set name=", identity, err);
}

static int put_password(struct secret *out, const char *reference, struct chr_error *err)
{
    /* A key of --set has its value in our arguments, which every user of the host can read. */
    if (strstr(reference, "://") == NULL) {
        /* It may be the password itself, so it is not repeated. */
        (void)err_set(err, CHR_E_USAGE, "--admin-password-from wants a reference, not a password "
                      "and no key of --set");
        return err_hint(err, "as env://NAME, file:///PATH, op://VAULT/ITEM/FIELD or cmd://NAME");
    }
    if (rsc_reference_check(reference, err) < 0) {
        err->code = CHR_E_USAGE;
        return err_context(err, "--admin-password-from");
    }
    if (secret_append_text(out, "/user set admin password={{ ", err) < 0 ||
        secret_append_text(out, reference, err) < 0)
        return -1;
    return secret_append_text(out, " }}\n", err);
}

static int put_address(struct secret *out, const char *text, struct rsc_address *address,
                       struct chr_error *err)
{
    char prefix[8];
    char cidr[sizeof address->text + sizeof prefix];

    if (rsc_address_parse(text, RSC_ADDRESS_PREFIX | RSC_ADDRESS_INTERFACE, "--address", address,
                          err) < 0)
        return -1;
    if (address->interface[0] == '\0') {
        (void)err_set(err, CHR_E_USAGE, "--address: %s has no interface", text);
        return err_hint(err, "as in %s%%ether1", text);
    }
    (void)snprintf(cidr, sizeof cidr, "%s/%u", address->text, address->prefix);
    if (secret_append_text(out, address->v6 ? "/ipv6" : "/ip", err) < 0 ||
        secret_append_text(out, " address add address=", err) < 0 ||
        put_string(out, cidr, err) < 0)
        return -1;
    return put_line(out, " interface=", address->interface, err);
}

/* A gateway that no network of ours holds would never be used. */
static int check_gateway(const char *text, const struct rsc_address *gateway,
                         const struct rsc_address *addresses, size_t count, struct chr_error *err)
{
    bool family = false;
    bool found = false;

    for (size_t i = 0; i < count; i++) {
        family = family || addresses[i].v6 == gateway->v6;
        found = found || rsc_address_contains(&addresses[i], gateway);
        if (addresses[i].v6 == gateway->v6 &&
            memcmp(addresses[i].bytes, gateway->bytes, sizeof gateway->bytes) == 0)
            return err_set(err, CHR_E_USAGE, "--gateway: %s is the router itself", text);
    }
    if (family && !found && gateway->interface[0] == '\0')
        return err_set(err, CHR_E_USAGE, "--gateway: %s is in no network of --address", text);
    return 0;
}

static int put_gateway(struct secret *out, const char *text, const struct rsc_address *gateway,
                       const struct rsc_address *addresses, size_t count, struct chr_error *err)
{
    bool link_local = gateway->v6 && gateway->bytes[0] == 0xFE &&
                      (gateway->bytes[1] & 0xC0) == 0x80;

    if (link_local && gateway->interface[0] == '\0') {
        (void)err_set(err, CHR_E_USAGE, "--gateway: %s is link-local and has no interface", text);
        return err_hint(err, "as in %s%%ether1", text);
    }
    if (check_gateway(text, gateway, addresses, count, err) < 0)
        return -1;
    return put_line(out, gateway->v6 ? "/ipv6 route add dst-address=\"::/0\" gateway="
                                     : "/ip route add dst-address=\"0.0.0.0/0\" gateway=",
                    text, err);
}

static int put_gateways(struct secret *out, const struct chr_defaults *defaults,
                        const struct rsc_address *addresses, struct chr_error *err)
{
    bool there[2] = {false, false}; /* IPv4, IPv6 */

    for (size_t i = 0; i < defaults->gateway_count; i++) {
        const char *text = defaults->gateways[i];
        struct rsc_address gateway;

        if (rsc_address_parse(text, RSC_ADDRESS_INTERFACE, "--gateway", &gateway, err) < 0)
            return -1;
        if (there[gateway.v6]) {
            (void)err_set(err, CHR_E_USAGE, "--gateway: %s is the second for %s", text,
                          gateway.v6 ? "IPv6" : "IPv4");
            return err_hint(err, "put further routes into a script");
        }
        there[gateway.v6] = true;
        if (put_gateway(out, text, &gateway, addresses, defaults->address_count, err) < 0)
            return -1;
    }
    return 0;
}

/* The addresses of LIST, with a comma before each but the first; *COUNT goes on. */
static int put_servers(struct secret *out, const char *list, unsigned *count,
                       struct chr_error *err)
{
    AUTO_FREE char *copy = mem_strdup(list, err);
    struct rsc_address address;
    char *rest = copy;
    char *one;

    if (copy == NULL)
        return -1;
    while ((one = strsep(&rest, ",")) != NULL) {
        if (*count == DNS_MAX)
            return err_set(err, CHR_E_USAGE, "--dns: more than %d servers", DNS_MAX);
        if (rsc_address_parse(one, 0, "--dns", &address, err) < 0 ||
            (*count > 0 && secret_append_text(out, ",", err) < 0) ||
            secret_append_text(out, one, err) < 0)
            return -1;
        ++*count;
    }
    return 0;
}

static int put_dns(struct secret *out, const struct chr_defaults *defaults, struct chr_error *err)
{
    unsigned count = 0;

    if (defaults->dns_count == 0)
        return 0;
    if (secret_append_text(out, "/ip dns set servers=\"", err) < 0)
        return -1;
    for (size_t i = 0; i < defaults->dns_count; i++)
        if (put_servers(out, defaults->dns[i], &count, err) < 0)
            return -1;
    return secret_append_text(out, "\"\n", err);
}

/* "TYPE BASE64 [COMMENT]", as OpenSSH writes it (sshd(8), AUTHORIZED_KEYS, without options). */
static bool is_public_key(const char *line)
{
    static const char *const types[] = {"ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-nistp256 ",
                                        "ecdsa-sha2-nistp384 ", "ecdsa-sha2-nistp521 "};
    static const char base64[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t length = strlen(types[i]);

        if (strncmp(line, types[i], length) == 0) {
            size_t digits = strspn(line + length, base64);
            size_t padding = strspn(line + length + digits, "=");
            char after = line[length + digits + padding];

            /* Every key begins with the length of its type's name: 00 00 00. */
            return strncmp(line + length, "AAAA", 4) == 0 && digits >= 40 && padding <= 2 &&
                   (digits + padding) % 4 == 0 && (after == '\0' || after == ' ');
        }
    }
    return false;
}

static int put_key(struct secret *out, const char *file, char *line, struct chr_error *err)
{
    size_t len = strlen(line);

    while (len > 0 && strchr(" \t\r", line[len - 1]) != NULL)
        line[--len] = '\0';
    if (!is_public_key(line) || rsc_text_not_utf8(line, len) != len) {
        (void)err_set(err, CHR_E_REFUSED, "--ssh-key: %s does not hold a public key", file);
        return err_hint(err, strstr(line, "PRIVATE KEY") != NULL
                                 ? "that is a private key; the public one is in the file *.pub"
                                 : "as ssh-keygen writes into *.pub: rsa, ed25519 or ecdsa");
    }
    return put_line(out, "/user ssh-keys add user=admin key=", line, err);
}

static int put_keys(struct secret *out, const char *file, struct chr_error *err)
{
    AUTO_SECRET struct secret keys = {0}; /* it may turn out to be a private one */
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);
    unsigned count = 0;
    char *rest;
    char *line;

    if (fd < 0)
        return err_errno(err, errno, "--ssh-key: cannot open %s", file);
    if (secret_read(&keys, fd, KEY_FILE_MAX, file, err) < 0 ||
        secret_append(&keys, "", 1, err) < 0)
        return err_context(err, "--ssh-key");
    rest = keys.data;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (line[strspn(line, " \t\r")] == '\0' || line[0] == '#')
            continue;
        if (put_key(out, file, line, err) < 0)
            return -1;
        count++;
    }
    return count > 0 ? 0 : err_set(err, CHR_E_REFUSED, "--ssh-key: there is no key in %s", file);
}

/* What the manual's page "Securing your router" asks for, where it holds for every router. */
static int put_hardening(struct secret *out, struct chr_error *err)
{
    return secret_append_text(
        out,
        "/tool mac-server set allowed-interface-list=none\n"
        "/tool mac-server mac-winbox set allowed-interface-list=none\n"
        "/tool mac-server ping set enabled=no\n"
        "/ip neighbor discovery-settings set discover-interface-list=none\n"
        "/tool bandwidth-server set enabled=no\n"
        "/ip service enable ssh,www\n"
        "/ip service disable telnet,ftp,api,api-ssl,winbox,www-ssl\n",
        err);
}

static int put_network(struct secret *out, const struct chr_defaults *defaults,
                       struct chr_error *err)
{
    AUTO_FREE struct rsc_address *addresses =
        mem_new(defaults->address_count, sizeof *addresses, err);

    if (addresses == NULL)
        return -1;
    if (defaults->address_count > ADDRESSES_MAX)
        return err_set(err, CHR_E_USAGE, "--address: more than %d", ADDRESSES_MAX);
    for (size_t i = 0; i < defaults->address_count; i++)
        if (put_address(out, defaults->addresses[i], &addresses[i], err) < 0)
            return -1;
    if (put_gateways(out, defaults, addresses, err) < 0)
        return -1;
    return put_dns(out, defaults, err);
}

int rsc_script_add_defaults(struct rsc_script *script, const struct chr_defaults *defaults,
                            struct rsc_resolver *resolver, struct chr_error *err)
{
    AUTO_SECRET struct secret text = {0};

    if (defaults->identity != NULL && put_identity(&text, defaults->identity, err) < 0)
        return -1;
    if (put_network(&text, defaults, err) < 0)
        return -1;
    if (defaults->hardened && put_hardening(&text, err) < 0)
        return -1;
    for (size_t i = 0; i < defaults->ssh_key_file_count; i++)
        if (put_keys(&text, defaults->ssh_key_files[i], err) < 0)
            return -1;
    /* Last: whoever can log in then finds the rest in place. */
    if (defaults->admin_password_from != NULL &&
        put_password(&text, defaults->admin_password_from, err) < 0)
        return -1;
    return text.len == 0 ? 0
           : rsc_script_add(script, "defaults", text.data, text.len, 0, resolver, err);
}
