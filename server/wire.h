/* server/wire.h - the bytes of a connection, with TLS or without. Whatever waits here ends when the connection is shut
 * down from elsewhere. */
#ifndef SERVER_WIRE_H
#define SERVER_WIRE_H
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "server/connections.h"
#include "server/tls.h"

/* Begins: with TLS where there is one and the client comes over a network, which takes a handshake. false: nobody can
 * be served; a client that does not speak TLS was told so, and still sends what nobody reads (*unread). */
bool    wire_begin(struct connection *c, struct tls *tls, bool *unread);

void    wire_wait(struct connection *c);               /* until wire_read() has something to say */
ssize_t wire_read(struct connection *c, void *out, size_t n);          /* as recv() */

/* Sends all of it, however slowly the client takes it. -1: it cannot be sent. `v` is used up. */
int     wire_write(struct connection *c, struct iovec *v, size_t n);
int     wire_text(struct connection *c, const char *text);

/* Tells a client that there is not even the memory to read its request, or to write its answer. Needs none itself, and
 * does not wait: the client may read nothing. */
void    wire_no_memory(struct connection *c);

/* Nothing more will be sent. `unread`: the client still sends, or has sent what nobody has read: that is thrown away
 * until it closes its end, or for a few seconds. */
void    wire_end(struct connection *c, bool unread);

#endif
