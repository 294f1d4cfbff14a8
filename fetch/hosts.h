/* fetch/hosts.h - which hosts may be asked for an image: by their names, and by the addresses that the names turn out
 * to have.
 *
 * A list has names ("images.example.com"), names with all below them ("*.example.com"), addresses and ranges
 * ("10.1.0.0/16", "fd00::/8"), and "*", which is every host. A name says nothing about addresses: whoever owns it may
 * point it at a machine of ours. So an address that is not a public one is refused unless an entry of the list is that
 * address or a range with it; "localhost" is both, the name and its addresses. */
#ifndef FETCH_HOSTS_H
#define FETCH_HOSTS_H
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

enum { HOSTS_MAX = 64 };

struct host_entry {
    const char *name;          /* borrowed: in lower case; NULL: an address */
    struct in6_addr address;   /* IPv4 as ::ffff:a.b.c.d                    */
    int  bits;                 /* of the range's beginning; 128: one address */
};

struct hosts {
    struct host_entry entry[HOSTS_MAX];
    int  n;
    bool any;                  /* the list has "*"                          */
};

/* `list` are n texts, which are changed to lower case and borrowed. -1: e names the one that is none of the above. */
int  hosts_init(struct hosts *h, char *const *list, int n, struct err *e);

/* May this host of a URL be asked at all, whatever its address is? In lower case, without brackets. An address that is
 * written in any of the ways that inet_aton() knows (decimal, octal, hexadecimal, fewer parts) is looked at as that
 * address. */
bool hosts_name(const struct hosts *h, const char *host);
/* May a connection be opened to this address, for that host? */
bool hosts_address(const struct hosts *h, const char *host, const struct sockaddr *to);

/* Is it an address of the open network? Not: this machine, private and link-local networks, multicast, what is kept for
 * documentation or other purposes, and IPv6 addresses that stand for such an IPv4 address. */
bool address_is_public(const struct in6_addr *a);

#endif
