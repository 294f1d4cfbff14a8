/* server/tls.c - the only file that knows of OpenSSL (1.1.1 and later); see tls.h.
 *
 * The certificate and all settings are in an SSL_CTX. A reload makes a new one and puts it in the place of the old,
 * which OpenSSL frees with its last session. */
#include "server/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"

enum { FIRST_BYTE_OF_TLS = 0x16, SOON_DAYS = 14 };

struct tls {
    char *cert, *key;              /* owned: names of the files            */
    pthread_mutex_t lock;          /* guards ctx                           */
    SSL_CTX *ctx;                  /* owned                                */
    _Atomic uint64_t done, failed; /* handshakes                           */
};

struct tls_session {
    SSL *ssl;                      /* owned                                               */
    bool broken;                   /* nothing more may be sent, not even the end          */
};

/* ---- certificates ---- */

/* Why the last call failed, in OpenSSL's words. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char   *text = ERR_reason_error_string(code);
    ERR_clear_error();
    return text ? text : "unknown error";
}

/* Nobody is here to ask for the words that protect a key. */
static int no_passphrase(char *out, int size, int writing, void *ctx)
{
    (void)out, (void)size, (void)writing;
    *(bool *)ctx = true;
    return 0;
}

/* The protocol of the next layer: a client that names some must name one that is spoken here. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in,
                           unsigned int n_in, void *ctx)
{
    static const unsigned char known[] = "\x08http/1.1\x08http/1.0";
    (void)ssl, (void)ctx;
    return SSL_select_next_proto((unsigned char **)out, n, known, sizeof known - 1, in, n_in) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Certificate and key. OpenSSL asks for a passphrase by a callback; that it asked is what tells the reason apart. */
static int read_files(SSL_CTX *ctx, const char *cert, const char *key, struct err *e)
{
    bool asked = false;
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return err_field(e, "tls-cert", "option tls-cert: %s: %s", cert, reason());
    int rc = SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    if (rc != 1)
        return err_field(e, "tls-key", "option tls-key: %s: %s", key,
                         asked ? "the key is protected by a passphrase; one without is needed" : reason());
    return 0;
}

/* Everything but the certificate. Ciphers of TLS 1.2 are those with forward secrecy and authenticated encryption.
 * Sessions are resumed by tickets, which the clients keep, so that nothing here grows with their number. */
static SSL_CTX *make_context(const char *cert, const char *key, struct err *e)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        err_set(e, "TLS: %s", reason());
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    if (read_files(ctx, cert, key, e) == 0)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* Unix seconds of the end of the certificate; 0: nobody can say. */
static double end_of(SSL_CTX *ctx)
{
    struct tm tm = { 0 };
    const X509 *cert = SSL_CTX_get0_certificate(ctx);
    return cert && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1 ? (double)timegm(&tm) : 0;
}

/* What an operator wants to know before clients complain. */
static void look_at_files(const struct tls *t, SSL_CTX *ctx)
{
    struct stat st;
    double days = (end_of(ctx) - (double)time(NULL)) / 86400;
    if (stat(t->key, &st) == 0 && (st.st_mode & (S_IRWXO | S_IWGRP)))
        log_warn("tls-key: %s can be read or written by others (mode %04o): chmod 600 keeps the key secret", t->key,
                 (unsigned)st.st_mode & 07777);
    if (days < 0)
        log_warn("tls-cert: the certificate of %s ended %.0f days ago", t->cert, -days);
    else if (days < SOON_DAYS)
        log_warn("tls-cert: the certificate of %s ends in %.0f days", t->cert, days);
}

struct tls *tls_open(const char *cert, const char *key, struct err *e)
{
    struct tls *t = xcalloc(1, sizeof *t);
    t->cert = xstrdup(cert);
    t->key = xstrdup(*key ? key : cert);
    pthread_mutex_init(&t->lock, NULL);
    t->ctx = make_context(t->cert, t->key, e);
    if (t->ctx) {
        look_at_files(t, t->ctx);
        return t;
    }
    tls_close(t);
    return NULL;
}

void tls_close(struct tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    free(t->cert);
    free(t->key);
    free(t);
}

int tls_reload(struct tls *t, struct err *e)
{
    SSL_CTX *new = make_context(t->cert, t->key, e);
    if (!new)
        return -1;
    look_at_files(t, new);
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->ctx;
    t->ctx = new;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return 0;
}

double tls_expires(struct tls *t)
{
    pthread_mutex_lock(&t->lock);
    double end = end_of(t->ctx);
    pthread_mutex_unlock(&t->lock);
    return end;
}

uint64_t tls_handshakes(const struct tls *t, bool failed) { return atomic_load(failed ? &t->failed : &t->done); }

/* ---- sessions ---- */

/* A session takes part in the context: it has the certificate that was there when it began. */
static SSL *new_ssl(struct tls *t, int fd)
{
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->ctx);
    pthread_mutex_unlock(&t->lock);
    if (ssl && SSL_set_fd(ssl, fd) == 1)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

/* Waits for the client's first byte: a method of HTTP begins with a letter, TLS never does. */
static bool speaks_plainly(int fd)
{
    unsigned char first = FIRST_BYTE_OF_TLS;
    return recv(fd, &first, 1, MSG_PEEK) == 1 && first >= 'A' && first <= 'Z';
}

struct tls_session *tls_accept(struct tls *t, int fd, bool *plain)
{
    *plain = speaks_plainly(fd);
    ERR_clear_error();
    struct tls_session *s = *plain ? NULL : calloc(1, sizeof *s);
    if (s && (s->ssl = new_ssl(t, fd)) && SSL_accept(s->ssl) == 1) {
        atomic_fetch_add(&t->done, 1);
        return s;
    }
    atomic_fetch_add(&t->failed, 1);
    log_debug("a TLS handshake failed: %s", *plain ? "the client speaks HTTP without TLS" : reason());
    if (s)
        SSL_free(s->ssl);
    free(s);
    return NULL;
}

bool tls_pending(const struct tls_session *s) { return SSL_has_pending(s->ssl) == 1; }

/* What a call of SSL_read() or SSL_write() means that has moved no bytes. Only a signal makes a socket that blocks
 * return early; then it is tried again (1). A client may end without saying so in TLS: the ends of requests are told by
 * HTTP. */
static int failed(struct tls_session *s, int rc)
{
    switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return 1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        s->broken = true;
        return -1;
    }
}

ssize_t tls_read(struct tls_session *s, void *out, size_t n)
{
    size_t got = 0;
    int    rc, why = 1;
    do {
        ERR_clear_error();
        rc = SSL_read_ex(s->ssl, out, n, &got);
    } while (rc != 1 && (why = failed(s, rc)) > 0);
    return rc == 1 ? (ssize_t)got : why;
}

ssize_t tls_write(struct tls_session *s, const void *bytes, size_t n)
{
    size_t sent = 0;
    int    rc, why = 1;
    do {
        ERR_clear_error();
        rc = SSL_write_ex(s->ssl, bytes, n, &sent);
    } while (rc != 1 && (why = failed(s, rc)) > 0);
    return rc == 1 ? (ssize_t)sent : -1;
}

void tls_goodbye(struct tls_session *s)
{
    ERR_clear_error();
    if (!s->broken && SSL_shutdown(s->ssl) < 0)
        s->broken = true;
}

void tls_free(struct tls_session *s)
{
    if (!s)
        return;
    SSL_free(s->ssl);
    free(s);
}
