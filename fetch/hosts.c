/* fetch/hosts.c - the list of allowed hosts, and the tables of addresses that are not public. See hosts.h. */
#include "fetch/hosts.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Do the first `bits` of both agree? */
static bool within(const struct in6_addr *a, const struct in6_addr *range, int bits)
{
    int whole = bits / 8, rest = bits % 8;
    if (memcmp(a->s6_addr, range->s6_addr, (size_t)whole) != 0)
        return false;
    return rest == 0 || (a->s6_addr[whole] ^ range->s6_addr[whole]) >> (8 - rest) == 0;
}

/* An IPv4 address in the form in which IPv6 carries it, so that everything below knows one kind of address. */
static struct in6_addr mapped(const uint8_t v4[4])
{
    struct in6_addr a = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
    memcpy(a.s6_addr + 12, v4, 4);
    return a;
}

/* Whether an IPv4 address is given to somebody on the internet: none of the special ranges (RFC 6890 and its
 * successors), among them private networks, this machine, and the addresses at which clouds tell their secrets. */
static bool is_public_v4(const uint8_t v4[4])
{
    static const struct { uint8_t start[4]; int bits; } special[] = {
        { { 0 }, 8 }, { { 10 }, 8 }, { { 100, 64 }, 10 }, { { 127 }, 8 }, { { 169, 254 }, 16 }, { { 172, 16 }, 12 },
        { { 192, 0, 0 }, 24 }, { { 192, 0, 2 }, 24 }, { { 192, 88, 99 }, 24 }, { { 192, 168 }, 16 },
        { { 198, 18 }, 15 }, { { 198, 51, 100 }, 24 }, { { 203, 0, 113 }, 24 }, { { 224 }, 3 },
    };
    struct in6_addr a = mapped(v4);
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        struct in6_addr range = mapped(special[i].start);
        if (within(&a, &range, 96 + special[i].bits))
            return false;
    }
    return true;
}

/* IPv6 addresses that carry an IPv4 address, at byte `at`: mapped, compatible, translated (NAT64), 6to4. */
static const uint8_t *carried(const struct in6_addr *a)
{
    static const struct { struct in6_addr start; int bits, at; } forms[] = {
        { { .s6_addr = { [10] = 0xff, [11] = 0xff } }, 96, 12 },
        { { .s6_addr = { 0 } }, 96, 12 },
        { { .s6_addr = { 0x00, 0x64, 0xff, 0x9b } }, 96, 12 },
        { { .s6_addr = { 0x20, 0x02 } }, 16, 2 },
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (within(a, &forms[i].start, forms[i].bits))
            return a->s6_addr + forms[i].at;
    return NULL;
}

/* Whether an address belongs to a stranger on the internet. What carries an IPv4 address within is judged by that one.
 * Everything that is not known to be public is not: the answer protects services behind the server from being asked by
 * a client's URL. */
bool address_is_public(const struct in6_addr *a)
{
    static const struct { struct in6_addr start; int bits; } special[] = {
        { { .s6_addr = { 0x20, 0x01 } }, 23 },                     /* Teredo, ORCHID and other protocols */
        { { .s6_addr = { 0x20, 0x01, 0x0d, 0xb8 } }, 32 },         /* documentation */
        { { .s6_addr = { 0x3f, 0xff } }, 20 },
    };
    const uint8_t *v4 = carried(a);
    if (v4)
        return is_public_v4(v4);
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (within(a, &special[i].start, special[i].bits))
            return false;
    return a->s6_addr[0] >> 5 == 1;                                /* 2000::/3, all that is given to anybody */
}

/* An address as people write it, whatever inet_aton() takes included. */
static bool parse_address(const char *text, struct in6_addr *out)
{
    struct in_addr v4;
    if (inet_pton(AF_INET6, text, out) == 1)
        return true;
    if (!isdigit((unsigned char)*text) || inet_aton(text, &v4) == 0)
        return false;
    *out = mapped((const uint8_t *)&v4.s_addr);
    return true;
}

/* Reads "10.0.0.0/8" or an address alone: what has to agree, and in how many leading bits, counted in the form in which
 * IPv6 carries it. false: it is neither, and may be a name. */
static bool parse_range(const char *text, struct host_entry *out)
{
    char  address[64];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    if (n >= sizeof address)
        return false;
    snprintf(address, sizeof address, "%.*s", (int)n, text);
    if (*address == '[' && address[n - 1] == ']') {
        address[n - 1] = '\0';
        memmove(address, address + 1, n - 1);
    }
    if (!parse_address(address, &out->address))
        return false;
    int most = strchr(address, ':') ? 128 : 32, bits = most;
    if (slash) {
        char *end;
        long  v = strtol(slash + 1, &end, 10);
        if (end == slash + 1 || *end || v < 0 || v > most)
            return false;
        bits = (int)v;
    }
    out->bits = 128 - most + bits;
    out->name = NULL;
    return true;
}

/* Whether an entry can be the name of a host, or *. before one. */
static bool is_name(const char *s)
{
    if (strncmp(s, "*.", 2) == 0)
        s += 2;
    return *s && *s != '.' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(s);
}

/* Reads the list of --allow-image-hosts: names, addresses or ranges, and * for all. Entries are made lower case in
 * place, and names are borrowed. -1: an entry is none of these, and the error quotes it. */
int hosts_init(struct hosts *h, char *const *list, int n, struct err *e)
{
    memset(h, 0, sizeof *h);
    for (int i = 0; i < n && h->n < HOSTS_MAX; i++) {
        struct host_entry *entry = &h->entry[h->n];
        for (char *p = list[i]; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        if (strcmp(list[i], "*") == 0)
            h->any = true;
        else if (parse_range(list[i], entry))
            h->n++;
        else if (is_name(list[i]))
            *entry = (struct host_entry){ .name = list[i] }, h->n++;
        else
            return err_field(e, "allow-image-hosts", "option allow-image-hosts: '%.100s' is neither a host's name nor "
                                                     "an address or a range of them, nor *", list[i]);
    }
    return 0;
}

/* Whether an address lies in one of the ranges that were listed. */
static bool is_listed(const struct hosts *h, const struct in6_addr *a)
{
    for (int i = 0; i < h->n; i++)
        if (!h->entry[i].name && within(a, &h->entry[i].address, h->entry[i].bits))
            return true;
    return false;
}

/* *.example.org stands for all names below example.org, and not for itself. */
static bool names(const char *entry, const char *host)
{
    size_t n = strlen(host), m = strlen(entry);
    if (strncmp(entry, "*.", 2) != 0)
        return strcmp(entry, host) == 0;
    return n > m - 1 && strcmp(host + n - (m - 1), entry + 1) == 0;
}

/* Whether a URL with this host may be fetched, as far as the name tells. With * every name may, but addresses written
 * as numbers only if they are public. */
bool hosts_name(const struct hosts *h, const char *host)
{
    struct in6_addr a;
    if (parse_address(host, &a))
        return is_listed(h, &a) || (h->any && address_is_public(&a));
    if (h->any)
        return true;
    for (int i = 0; i < h->n; i++)
        if (h->entry[i].name && names(h->entry[i].name, host))
            return true;
    return false;
}

/* Does "localhost" stand in the list, is it what was asked for, and is this its address? */
static bool is_localhost(const struct hosts *h, const char *host, const struct in6_addr *a)
{
    static const struct in6_addr own = IN6ADDR_LOOPBACK_INIT;
    static const uint8_t loopback[4] = { 127 };
    const struct in6_addr range = mapped(loopback);
    if (strcmp(host, "localhost") != 0 || !(within(a, &own, 128) || within(a, &range, 96 + 8)))
        return false;
    for (int i = 0; i < h->n; i++)
        if (h->entry[i].name && strcmp(h->entry[i].name, host) == 0)
            return true;
    return false;
}

/* Whether a connection to this address may be opened for that host: public ones, those that were listed, and this
 * machine's own for a host that was listed as localhost. What is neither IPv4 nor IPv6 may not. */
bool hosts_address(const struct hosts *h, const char *host, const struct sockaddr *to)
{
    struct in6_addr a;
    if (to->sa_family == AF_INET)
        a = mapped((const uint8_t *)&((const struct sockaddr_in *)(const void *)to)->sin_addr.s_addr);
    else if (to->sa_family == AF_INET6)
        a = ((const struct sockaddr_in6 *)(const void *)to)->sin6_addr;
    else
        return false;
    return address_is_public(&a) || is_listed(h, &a) || is_localhost(h, host, &a);
}
