/* server/listen.h - the socket that clients connect to. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H
#include "base/err.h"

/* Listens on a host (a name, or an address; IPv6 also in brackets as in a URL) and a port (0: any free one, which
 * *bound then says). Returns the descriptor, or -1 with the option at fault. */
int listen_on(const char *host, int port, int *bound, struct err *e);

#endif
