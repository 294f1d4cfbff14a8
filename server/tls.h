/* server/tls.h - TLS 1.2 and 1.3 by OpenSSL, which only tls.c sees.
 *
 *     struct tls *t = tls_open("cert.pem", "key.pem", &e);
 *     struct tls_session *s = tls_accept(t, fd, &plain);      // on the connection's own thread, which it may hold up
 *     tls_read(s, ...), tls_write(s, ...);
 *     tls_goodbye(s);
 *     tls_free(s);
 *
 * Sockets block. Nothing here has a time limit: whoever watches the connections shuts a socket down when it has taken
 * too long, and whatever waits here returns. A session belongs to one thread. A client may not renegotiate, and need
 * not be asked what it speaks: HTTP/1.1 is the only protocol that is offered. */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* What a session takes beside its connection, mostly for as long as its client is silent (docs/operations.md). */
enum { TLS_SESSION_BYTES = 64 << 10 };

struct tls;
struct tls_session;

/* `cert` is the server's certificate with the others of its chain behind it, `key` its private key, both PEM; key "":
 * it is in the same file. NULL: e->field is the option at fault. */
struct tls *tls_open(const char *cert, const char *key, struct err *e);
void        tls_close(struct tls *t);              /* when there is no session any more */

/* Reads both files again, for the sessions to come. -1: they stay as they were. */
int  tls_reload(struct tls *t, struct err *e);

double   tls_expires(struct tls *t);               /* Unix seconds of the certificate's end */
uint64_t tls_handshakes(const struct tls *t, bool failed);     /* how many there were */

/* The handshake. NULL: there was none; *plain says whether the client spoke HTTP without TLS. */
struct tls_session *tls_accept(struct tls *t, int fd, bool *plain);

bool    tls_pending(const struct tls_session *s);      /* bytes have come that tls_read() gives without waiting */
ssize_t tls_read(struct tls_session *s, void *out, size_t n);          /* as recv(): 0 at the client's end */
ssize_t tls_write(struct tls_session *s, const void *bytes, size_t n); /* as send(): some of it            */
void    tls_goodbye(struct tls_session *s);            /* tells the client that this was all */
void    tls_free(struct tls_session *s);

#endif
