/* Reading addresses. */
#include "rsc/address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static unsigned bits_of(const struct rsc_address *address)
{
    return address->v6 ? 128 : 32;
}

/* Decimal digits, no sign, no leading zeros. */
static int parse_prefix(const char *digits, unsigned most, unsigned *prefix)
{
    unsigned long value;

    if (digits[0] == '\0' || strspn(digits, "0123456789") != strlen(digits) ||
        strlen(digits) > 3 || (digits[0] == '0' && digits[1] != '\0'))
        return -1;
    value = strtoul(digits, NULL, 10);
    if (value == 0 || value > most)
        return -1;
    *prefix = (unsigned)value;
    return 0;
}

static bool is_interface_name(const char *name)
{
    if (name[0] == '\0' || strlen(name) >= sizeof ((struct rsc_address *)NULL)->interface)
        return false;
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7F)
            return false;
    return true;
}

/* Whether all bits behind the prefix are SET. */
static bool host_bits_are(const struct rsc_address *address, bool set)
{
    for (unsigned bit = address->prefix; bit < bits_of(address); bit++)
        if (((address->bytes[bit / 8] >> (7 - bit % 8) & 1) != 0) != set)
            return false;
    return true;
}

/* Why no host can have it, or NULL (RFC 6890, RFC 4291). */
static const char *why_no_host(const struct rsc_address *address)
{
    const unsigned char *b = address->bytes;
    size_t size = bits_of(address) / 8;

    if (is_zero(b, size))
        return "is no address of a host";
    if (address->v6 ? is_zero(b, 15) && b[15] == 1 : b[0] == 127)
        return "is the loopback address";
    if (address->v6 ? b[0] == 0xFF : b[0] >= 224 && b[0] < 240)
        return "is a multicast address";
    if (!address->v6 && (b[0] == 0 || b[0] >= 240))
        return "is a reserved address";
    if (!address->v6 && address->prefix < 31 && host_bits_are(address, false))
        return "is the network, not an address in it";
    if (!address->v6 && address->prefix < 31 && host_bits_are(address, true))
        return "is the broadcast address of its network";
    return NULL;
}

int rsc_address_parse(const char *text, unsigned parts, const char *what,
                      struct rsc_address *out, struct chr_error *err)
{
    char copy[192];
    char *interface;
    char *prefix;
    const char *reason;

    *out = (struct rsc_address){0};
    if (strlen(text) >= sizeof copy)
        return err_set(err, CHR_E_USAGE, "%s: %.100s... is no address", what, text);
    memcpy(copy, text, strlen(text) + 1);
    interface = strchr(copy, '%');
    if (interface != NULL)
        *interface++ = '\0';
    prefix = strchr(copy, '/');
    if (prefix != NULL)
        *prefix++ = '\0';
    out->v6 = strchr(copy, ':') != NULL;
    out->prefix = bits_of(out);
    if (strlen(copy) >= sizeof out->text ||
        inet_pton(out->v6 ? AF_INET6 : AF_INET, copy, out->bytes) != 1)
        return err_set(err, CHR_E_USAGE, "%s: %s is no IP address", what,
                       text[0] != '\0' ? text : "nothing");
    memcpy(out->text, copy, strlen(copy) + 1);
    if ((parts & RSC_ADDRESS_PREFIX) != 0 && prefix == NULL) {
        (void)err_set(err, CHR_E_USAGE, "%s: %s has no prefix", what, text);
        return err_hint(err, "as in %s/%d", copy, out->v6 ? 64 : 24);
    }
    if (prefix != NULL &&
        ((parts & RSC_ADDRESS_PREFIX) == 0 || parse_prefix(prefix, bits_of(out), &out->prefix) < 0))
        return err_set(err, CHR_E_USAGE, "%s: %s: /%s cannot be", what, text, prefix);
    if (interface != NULL &&
        ((parts & RSC_ADDRESS_INTERFACE) == 0 || !is_interface_name(interface)))
        return err_set(err, CHR_E_USAGE, "%s: %s: %%%s cannot be", what, text, interface);
    if (interface != NULL)
        memcpy(out->interface, interface, strlen(interface) + 1);
    reason = why_no_host(out);
    return reason == NULL ? 0 : err_set(err, CHR_E_USAGE, "%s: %s %s", what, text, reason);
}

bool rsc_address_contains(const struct rsc_address *address, const struct rsc_address *other)
{
    if (address->v6 != other->v6)
        return false;
    for (unsigned bit = 0; bit < address->prefix; bit++)
        if (((address->bytes[bit / 8] ^ other->bytes[bit / 8]) >> (7 - bit % 8) & 1) != 0)
            return false;
    return true;
}
