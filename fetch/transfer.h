/* fetch/transfer.h - files by HTTP, several at a time, on the caller's thread.
 *
 *     struct transfer a, *all[] = { &a };
 *     transfer_init(&a, "https://host/file");
 *     a.body = write_it, a.over = look_at_it, a.ctx = ...;
 *     transfers_run(all, 1, 4, NULL, NULL);
 *     transfer_free(&a);
 *
 * One transfer is one request and its answer. Redirects are answers like
 * others: `over` looks at what came, and may set another URL and start the
 * transfer again. So whoever fetches decides at every hop whom to ask, whether
 * the token goes along, and what to do after a break. */
#ifndef FETCH_TRANSFER_H
#define FETCH_TRANSFER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"

enum { TRANSFER_URL = 4096 };  /* most bytes of a URL */

enum transfer_end {
    TRANSFER_ANSWERED,         /* there is a status, and the body is there to its end                    */
    TRANSFER_BROKEN,           /* the connection ended in the middle, or nothing came for too long        */
    TRANSFER_NO_HOST,          /* the name has no address                                                */
    TRANSFER_NO_CONNECTION,    /* nobody answers at the address                                          */
    TRANSFER_NO_TRUST,         /* the certificate is not valid, or there is no common TLS                */
    TRANSFER_FORBIDDEN,        /* may_connect() allowed none of the addresses                            */
    TRANSFER_REFUSED,          /* body() returned -1                                                     */
    TRANSFER_TOO_SLOW,         /* `seconds` are over                                                     */
    TRANSFER_TOO_LARGE,        /* more than `most` bytes are announced                                   */
    TRANSFER_WRONG,            /* not a URL of http or https, or not HTTP what came                      */
};

enum transfer_next {
    TRANSFER_DONE,
    TRANSFER_AGAIN,            /* over(): once more, after `wait`; begin(): start it                     */
    TRANSFER_LATER,            /* begin(): ask again after `wait`                                        */
    TRANSFER_STOP_ALL,
};

struct transfer {
    /* The request. May be changed by over() for the next one. */
    char        url[TRANSFER_URL];
    bool        head;          /* ask for the headers alone                                              */
    const char *bearer;        /* borrowed: token for this URL; NULL: none                               */
    const char *post;          /* borrowed: JSON that is sent with POST, n_post bytes; NULL: GET          */
    size_t      n_post;
    const char *if_etag;       /* borrowed: only if it is another by now; NULL: always                   */
    int64_t     from;          /* first byte wanted                                                      */
    int64_t     most;          /* bytes that the answer may announce; 0: any. body() counts those that come */
    double      seconds;       /* most in all; 0: any                                                    */
    double      stall;         /* seconds without a byte after which it counts as broken; 0: 30          */
    const char *proxy;         /* borrowed: "" for none, NULL for what the environment says              */
    const char *unix_path;     /* borrowed: connect to this Unix socket, whatever host the URL names; NULL: no */
    bool        own_host;      /* whoever answers is trusted, whatever its certificate says: it is this machine */
    double      wait;          /* seconds before it starts (again)                                       */

    /* What the owner does. `ctx` is theirs. All may be NULL. */
    void *ctx;
    bool (*may_connect)(void *ctx, const struct sockaddr *to);
    int  (*body)(void *ctx, const void *data, size_t n);    /* of statuses 200 and 206 alone, unless ... */
    bool any_status;                                        /* ... those of errors are wanted, too       */
    enum transfer_next (*begin)(void *ctx);                 /* before every start; NULL: start           */
    enum transfer_next (*over)(void *ctx);                  /* NULL: done                                */

    /* The answer. */
    enum transfer_end end;
    int        status;         /* of HTTP; 0: none came                                                  */
    int64_t    received;       /* bytes given to body()                                                  */
    struct buf headers;        /* as they came, a line each                                              */
    char       redirect[TRANSFER_URL];     /* absolute URL of Location; "": none                         */
    char       why[256];       /* one line for people, if it did not end as TRANSFER_ANSWERED            */

    struct transfer_state *state;          /* transfer.c's own                                           */
};

/* -1: the URL is longer than TRANSFER_URL. The transfer may be freed all the same. */
int  transfer_init(struct transfer *t, const char *url);
int  transfer_url(struct transfer *t, const char *url);
void transfer_free(struct transfer *t);

/* The value of a header of the answer, without blanks around it, cut to n bytes. false: there is none; out is "". */
bool transfer_header(const struct transfer *t, const char *name, char *out, size_t n);
/* A header that is a whole number; -1: there is none, or it is no such number. */
int64_t transfer_number(const struct transfer *t, const char *name);

/* Scheme, host and port of a URL in one form, "http://host:80", to compare; "" if it is none of http and https. */
enum { TRANSFER_ORIGIN = 300 };
void transfer_origin(const char *url, char out[TRANSFER_ORIGIN]);
/* The host alone, in lower case and without brackets. false: the URL has none. */
bool transfer_host(const char *url, char out[TRANSFER_ORIGIN]);

/* Runs until all are done, `at_once` of them at a time. Asks go_on() ten times a second: false, or an over() that says
 * so, stops all (-1). */
int transfers_run(struct transfer *const *t, int n, int at_once, bool (*go_on)(void *arg), void *arg);

#endif
