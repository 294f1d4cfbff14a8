/* Heads and bodies of requests, byte by byte: what is read, what is refused, and
 * that it does not matter in which pieces the bytes arrive. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server/framing.h"
#include "server/head.h"
#include "tests/suite.h"

/* Feeds the bytes `step` at a time. Returns the status of the refusal, 0 for a head that was read, -1 for one that is
 * not complete. What h points into is in `copy`. */
static int read_head(const char *bytes, size_t n, size_t step, struct head *h, char *copy, struct err *e)
{
    struct head_scan scan = { 0 };
    size_t length = 0;
    int    rc = 0;
    for (size_t have = 0; rc == 0 && have < n;) {
        have = have + step < n ? have + step : n;
        rc = head_end(&scan, bytes, have, &length, e);
    }
    if (rc <= 0)
        return rc == 0 ? -1 : e->status;
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    return head_parse(h, copy, length, e) == 0 ? 0 : e->status;
}

/* The same in pieces of every kind; they must agree. */
static int judge(const char *bytes, size_t n, struct head *h, char *copy)
{
    struct err e, last;
    int status = read_head(bytes, n, n, h, copy, &last);
    for (size_t step = 1; step < 4; step++) {
        int got = read_head(bytes, n, step, h, copy, &e);
        bool same = got == status && (status <= 0 || strcmp(e.code, last.code) == 0);
        ck_assert_msg(same, "%.*s: %d, by %zu bytes %d", (int)n, bytes, status, step, got);
    }
    return status;
}

#define LINE "POST /v1/chat/completions HTTP/1.1\r\n"
#define HOST "Host: x\r\n"
#define CASE(s, status) { s, sizeof(s) - 1, status }

static const struct { const char *bytes; size_t n; int status; } heads[] = {
    CASE(LINE HOST "\r\n", 0),
    CASE("\r\n" LINE HOST "\r\n", 0),                                      /* an empty line before it */
    CASE("GET / HTTP/1.0\r\n\r\n", 0),
    CASE(LINE HOST "Content-Length: 5\r\n\r\n", 0),
    CASE(LINE HOST "content-length:5\r\n\r\n", 0),
    CASE(LINE HOST "Content-Length: \t 5 \t\r\n\r\n", 0),
    CASE(LINE HOST "Transfer-Encoding: Chunked\r\n\r\n", 0),
    CASE(LINE HOST "X: caf\xc3\xa9\tau lait\r\nEmpty:\r\n\r\n", 0),
    CASE(LINE "Host: [::1]:8000\r\n\r\n", 0),
    CASE(LINE "Host:\r\n\r\n", 0),
    CASE("OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0),
    CASE(LINE HOST " \r\n", 400), CASE(LINE HOST, -1), CASE(LINE HOST "\r", -1), CASE("", -1), CASE("\r\n\r\n", -1),
    /* the request line */
    CASE("GET /\r\n\r\n", 400), CASE("GET\r\n\r\n", 400), CASE("GET  / HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET /  HTTP/1.1\r\n" HOST "\r\n", 400), CASE("GET / HTTP/1.1 \r\n" HOST "\r\n", 400),
    CASE(" GET / HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET /a b HTTP/1.1\r\n" HOST "\r\n", 400), CASE("GET /a\tb HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET /\tHTTP/1.1\r\n" HOST "\r\n", 400), CASE("GET health HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET * HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("G(T / HTTP/1.1\r\n" HOST "\r\n", 400), CASE("CONNECT x:80 HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET http:///x HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET http://a@b/x HTTP/1.1\r\n" HOST "\r\n", 400), CASE("GET / http/1.1\r\n" HOST "\r\n", 400),
    CASE("GET / HTTP/1.10\r\n" HOST "\r\n", 400),
    CASE("GET / HTTP/1,1\r\n" HOST "\r\n", 400), CASE("GET / HTTP/11\r\n" HOST "\r\n", 400),
    CASE("GET / HTTP/+1.1\r\n" HOST "\r\n", 400),
    CASE("PRI * HTTP/2.0\r\n\r\n", 505), CASE("GET / HTTP/1.2\r\n" HOST "\r\n", 505),
    CASE("GET / HTTP/0.9\r\n\r\n", 505),
    CASE("GET / HTTP/3.0\r\n" HOST "\r\n", 505),
    /* escapes */
    CASE("GET /v1/models%00.html HTTP/1.1\r\n" HOST "\r\n", 400), CASE("GET /%0a HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET /%7F HTTP/1.1\r\n" HOST "\r\n", 400), CASE("GET /% HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET /%4 HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET /%zz HTTP/1.1\r\n" HOST "\r\n", 400), CASE("GET http://x/%00 HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("GET /?%00 HTTP/1.1\r\n" HOST "\r\n", 0),
    /* ends of lines and control characters */
    CASE("GET / HTTP/1.1\n" HOST "\r\n", 400), CASE(LINE "Host: x\n\r\n", 400), CASE(LINE HOST "\n", 400),
    CASE(LINE HOST "X: a\rb\r\n\r\n", 400),
    CASE(LINE HOST "X: a\r\r\n\r\n", 400), CASE("\n" LINE HOST "\r\n", 400), CASE("\r" LINE HOST "\r\n", 400),
    CASE(LINE HOST "Content-Length: 5\0\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: 5\x0b\r\n\r\n", 400), CASE(LINE HOST "X\0: y\r\n\r\n", 400),
    CASE(LINE HOST "X: \x7f\r\n\r\n", 400),
    CASE(LINE HOST "X: \x1b[2J\r\n\r\n", 400), CASE("\x16\x03\x01\x02\x00\x01", 400),
    CASE(LINE HOST "\rX: y\r\n\r\n", 400),
    /* names, colons, folded lines */
    CASE(LINE HOST "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding\t: chunked\r\n\r\n", 400),
    CASE(LINE HOST ": v\r\n\r\n", 400), CASE(LINE HOST "no colon\r\n\r\n", 400),
    CASE(LINE HOST "X: a\r\n b\r\n\r\n", 400),
    CASE(LINE HOST "X: a\r\n\tb: c\r\n\r\n", 400), CASE(LINE " X: a\r\n" HOST "\r\n", 400),
    CASE(LINE HOST "X: a\r\n \r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: chunked\r\n , identity\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding:\r\n chunked\r\n\r\n", 400),
    CASE(LINE HOST "Content-: 5\r\n Length\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-: chunked\r\n Encoding\r\n\r\n", 400),
    CASE(LINE HOST "Content-\r\n Length: 5\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding\x0b: chunked\r\n\r\n", 400),
    CASE(LINE HOST "Content Length: 5\r\n\r\n", 400), CASE(LINE HOST "\"X\": y\r\n\r\n", 400),
    CASE(LINE HOST "X\xa0: y\r\n\r\n", 400), CASE(LINE HOST "{}\r\n\r\n", 400),
    /* hosts */
    CASE(LINE "\r\n", 400), CASE(LINE HOST HOST "\r\n", 400), CASE(LINE "Host: a\r\nhost: b\r\n\r\n", 400),
    CASE(LINE "Host: a b\r\n\r\n", 400),
    CASE(LINE "Host: a/b\r\n\r\n", 400), CASE(LINE "Host: u@a\r\n\r\n", 400),
    CASE("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    CASE("GET http://x/ HTTP/1.1\r\n\r\n", 400),
    /* where the body ends */
    CASE(LINE HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: 5, 5\r\n\r\n", 400), CASE(LINE HOST "Content-Length: +5\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: -5\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: 0x5\r\n\r\n", 400), CASE(LINE HOST "Content-Length: 5 5\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: 5.0\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length:\r\n\r\n", 400), CASE(LINE HOST "Content-Length: 18446744073709551621\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: five\r\n\r\n", 400),
    CASE(LINE HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: chunked, identity\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: identity\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: xchunked\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: chunked;q=1\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: chunked,\r\n\r\n", 400), CASE(LINE HOST "Transfer-Encoding:\r\n\r\n", 400),
    CASE(LINE HOST "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    CASE("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
};

START_TEST(heads_read_or_refused)
{
    struct head h;
    char        copy[512];
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int status = judge(heads[i].bytes, heads[i].n, &h, copy);
        ck_assert_msg(status == heads[i].status, "%s: %d, not %d", heads[i].bytes, status, heads[i].status);
    }
}
END_TEST

START_TEST(what_a_head_says)
{
    static const struct {
        const char *bytes, *method, *path;
        int         minor;
        bool        chunked, keep, expects;
        unsigned    length;
    } cases[] = {
        { "GET /a%2Fb%20c?q=%00#f HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/a/b c", 1, false, true, false, 0 },
        { "HEAD HTTPS://x:1 HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n",
          "HEAD", "/", 1, false, false, false, 0 },
        { "GET http://x?a/b HTTP/1.0\r\n\r\n", "GET", "/", 0, false, false, false, 0 },
        { "GET http://x/p HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", "/p", 0, false, true, false, 0 },
        { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0012\r\nExpect: 100-Continue\r\nConnection: closed\r\n\r\n",
          "POST", "/", 1, false, true, true, 12 },
        { "POST / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive, close\r\n\r\n",
          "POST", "/", 0, false, false, false, 0 },
        { "x!#$ / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\nConnection: close\r\n"
          "\r\n", "x!#$", "/", 1, true, false, false, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct head h;
        char        copy[512];
        ck_assert_msg(judge(cases[i].bytes, strlen(cases[i].bytes), &h, copy) == 0, "%s", cases[i].bytes);
        ck_assert_str_eq(h.method, cases[i].method);
        ck_assert_str_eq(h.path, cases[i].path);
        ck_assert_msg(h.minor == cases[i].minor && h.chunked == cases[i].chunked && h.keep_alive == cases[i].keep &&
                      h.expects == cases[i].expects && h.length == cases[i].length, "%s", cases[i].bytes);
    }
    struct head h;
    char        copy[512];
    static const char bytes[] = "GET / HTTP/1.1\r\nhost: x\r\nX-A:  1 \r\nx-a: 2\r\nE:\r\n\r\nGET /next";
    ck_assert_int_eq(judge(bytes, sizeof bytes - 1, &h, copy), 0);
    ck_assert_str_eq(head_value(&h, "x-A"), "1");
    ck_assert_str_eq(head_value(&h, "e"), "");
    ck_assert_ptr_null(head_value(&h, "X-B"));
    ck_assert_int_eq(h.n_fields, 4);
}
END_TEST

/* One byte too many, anywhere, may be white space around a value; all else is refused, and never is there another
 * body. */
START_TEST(a_byte_too_many)
{
    static const char good[] = LINE HOST "Content-Length: 5\r\n\r\n", bytes[] = "\0\x01\n\v\f\r\x7f \t";
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            struct head h;
            char        copy[512], with[sizeof good];
            memcpy(with, good, at);
            with[at] = bytes[k];
            memcpy(with + at + 1, good + at, sizeof good - 1 - at);
            int status = judge(with, sizeof good, &h, copy);
            bool behind = memcmp(with, good, sizeof good - 1) == 0;
            bool read = status == 0 && (behind || strchr(" \t", bytes[k])) && h.length == 5 && !h.chunked;
            ck_assert_msg(read || status == 400, "byte %d at %zu: %d", bytes[k], at, status);
        }
    }
}
END_TEST

START_TEST(heads_too_large)
{
    struct head h;
    struct err  e;
    char *copy = xmalloc(HEAD_BYTES + 1), *large = xmalloc(HEAD_BYTES + 100);
    memset(large, 'a', HEAD_BYTES + 100);
    memcpy(large, "GET /", 5);
    ck_assert_int_eq(read_head(large, HEAD_BYTES - 1, 1000, &h, copy, &e), -1);
    ck_assert_int_eq(read_head(large, HEAD_BYTES, 1000, &h, copy, &e), 414);
    memcpy(large, LINE HOST "X: ", sizeof LINE HOST "X: " - 1);
    ck_assert_int_eq(read_head(large, HEAD_BYTES, 1000, &h, copy, &e), 431);
    memcpy(large + HEAD_BYTES - 4, "\r\n\r\n", 4);                         /* just not too large */
    ck_assert_int_eq(read_head(large, HEAD_BYTES + 100, 1000, &h, copy, &e), 0);
    for (int n = HEAD_FIELDS - 1; n <= HEAD_FIELDS; n++) {
        size_t at = (size_t)sprintf(large, LINE HOST);
        for (int i = 0; i < n; i++)
            at += (size_t)sprintf(large + at, "X%d: y\r\n", i);
        at += (size_t)sprintf(large + at, "\r\n");
        ck_assert_int_eq(read_head(large, at, at, &h, copy, &e), n < HEAD_FIELDS ? 0 : 431);
    }
    free(copy);
    free(large);
}
END_TEST

/* ---- bodies ---- */

/* Feeds the bytes `step` at a time and collects the body. Returns the status of the refusal, 0 when it is done with
 * *used of them, -1 when more is needed. */
static int read_body(const char *bytes, size_t n, size_t step, bool chunked, uint64_t length, char *body, size_t *used)
{
    struct framing f;
    struct err     e;
    framing_begin(&f, chunked, length);
    *used = 0;
    while (!framing_done(&f) && *used < n) {
        const char *piece;
        size_t      k, have = n - *used < step ? n - *used : step;
        ssize_t     took = framing_take(&f, bytes + *used, have, &piece, &k, &e);
        if (took < 0)
            return e.status;
        memcpy(body, piece, k);
        body += k;
        *used += (size_t)took;
    }
    *body = '\0';
    return framing_done(&f) ? 0 : -1;
}

#define BODY(s, status, text) { s, sizeof(s) - 1, status, text }

static const struct { const char *bytes; size_t n; int status; const char *body; } bodies[] = {
    BODY("0\r\n\r\n", 0, ""), BODY("5\r\nhello\r\n0\r\n\r\n", 0, "hello"),
    BODY("2\r\nhe\r\n003\r\nllo\r\n00\r\n\r\nGET /", 0, "hello"),
    BODY("A\r\n0123456789\r\na\r\nABCDEFGHIJ\r\n0\r\n\r\n", 0, "0123456789ABCDEFGHIJ"),
    BODY("1;a\r\nx\r\n0;b=c;d=\"e;\\\"\r\n\r\n", 400, NULL),
    BODY("1;a;b=c ; d = \"e;\\\" \t\"\r\nx\r\n0 ;f\r\n\r\n", 0, "x"),
    BODY("1\r\nx\r\n0\r\nTrailer: z\r\nA:\r\n\r\n", 0, "x"),
    BODY("00000000000000000000001\r\nx\r\n0\r\n\r\n", 0, "x"),
    BODY("", -1, ""), BODY("5\r\nhello\r\n0\r\n", -1, "hello"), BODY("5\r\nhel", -1, "hel"),
    BODY("0\r\nA: b\r\n", -1, ""),
    /* sizes */
    BODY("\r\n", 400, NULL), BODY(";a\r\n", 400, NULL), BODY("+5\r\nhello\r\n", 400, NULL), BODY("-1\r\n", 400, NULL),
    BODY("0x5\r\nhello\r\n", 400, NULL),
    BODY(" 5\r\nhello\r\n", 400, NULL), BODY("5 \r\nhello\r\n", 400, NULL), BODY("5\t\r\nhello\r\n", 400, NULL),
    BODY("5g\r\nhello\r\n", 400, NULL), BODY("5_0\r\n", 400, NULL),
    BODY("10000000000000005\r\nhello\r\n", 400, NULL), BODY("FFFFFFFFFFFFFFFF\r\n", 400, NULL),
    BODY("8000000000000005\r\n", 400, NULL), BODY("5,5\r\n", 400, NULL), BODY("5\0\r\nhello", 400, NULL),
    BODY("\"5\"\r\n", 400, NULL), BODY("5\x0b\r\nhello", 400, NULL),
    /* extensions */
    BODY("5;\r\nhello\r\n", 400, NULL), BODY("5;=a\r\n", 400, NULL), BODY("5;a=\r\n", 400, NULL),
    BODY("5;a=\"b\r\n", 400, NULL), BODY("5;a\rb\r\n", 400, NULL),
    BODY("5;a\nhello", 400, NULL), BODY("5;a\0b\r\n", 400, NULL), BODY("5;a b\r\n", 400, NULL),
    BODY("5 a\r\n", 400, NULL),
    /* ends of lines and chunks */
    BODY("5\nhello\n0\n\n", 400, NULL), BODY("5\r\nhello\n0\r\n\r\n", 400, NULL), BODY("5\rhello\r0\r\r", 400, NULL),
    BODY("5\r\nhelloX\r\n0\r\n\r\n", 400, NULL),
    BODY("5\r\nhello0\r\n\r\n", 400, NULL), BODY("5\r\nhello\r0\r\n\r\n", 400, NULL),
    BODY("5\r\r\nhello\r\n0\r\n\r\n", 400, NULL), BODY("5\r\nhello\r\n\r\n0\r\n\r\n", 400, NULL),
    /* trailers */
    BODY("0\r\nno colon\r\n\r\n", 400, NULL), BODY("0\r\nA : b\r\n\r\n", 400, NULL),
    BODY("0\r\n A: b\r\n\r\n", 400, NULL), BODY("0\r\nA: b\r\n c\r\n\r\n", 400, NULL),
    BODY("0\r\nA: b\n\r\n", 400, NULL), BODY("0\r\nA: b\r\n\n", 400, NULL), BODY("0\r\nA: \0\r\n\r\n", 400, NULL),
    BODY("0\r\n: b\r\n\r\n", 400, NULL), BODY("0\r\n\rA: b\r\n\r\n", 400, NULL),
    BODY("0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, NULL),
};

START_TEST(chunks)
{
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        for (size_t step = 1; step <= 8; step++) {
            const char *bytes = bodies[i].bytes, *next = strstr(bytes, "GET");     /* what follows is left alone */
            char        body[128];
            size_t      n = bodies[i].n, used, all = next ? (size_t)(next - bytes) : n;
            int         status = read_body(bytes, n, step < 8 ? step : n, true, 0, body, &used);
            ck_assert_msg(status == bodies[i].status, "%s by %zu: %d, not %d", bytes, step, status, bodies[i].status);
            ck_assert_msg(status > 0 || strcmp(body, bodies[i].body) == 0, "%s by %zu: %s", bytes, step, body);
            ck_assert_msg(status != 0 || used == all, "%s: used %zu", bytes, used);
        }
    }
}
END_TEST

START_TEST(lengths)
{
    char   body[64];
    size_t used;
    for (size_t step = 1; step < 12; step++) {
        ck_assert_int_eq(read_body("helloGET /", 10, step, false, 5, body, &used), 0);
        ck_assert_str_eq(body, "hello");
        ck_assert_uint_eq(used, 5);
        ck_assert_int_eq(read_body("hell", 4, step, false, 5, body, &used), -1);
    }
    ck_assert_int_eq(read_body("GET", 3, 3, false, 0, body, &used), 0);
    ck_assert_uint_eq(used, 0);
}
END_TEST

/* What has no end in sight is not waited for. */
START_TEST(lines_too_long)
{
    static const struct { const char *begin; char fill; int status; size_t most; } cases[] = {
        { "", '0', 400, CHUNK_LINE_BYTES }, { "5;", 'a', 400, CHUNK_LINE_BYTES },
        { "0\r\nX: ", 'a', 400, CHUNK_LINE_BYTES + 8 },
    };
    char  *bytes = xmalloc(65536), *body = xmalloc(65536);
    size_t used;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].begin);
        memset(bytes, cases[i].fill, 65536);
        memcpy(bytes, cases[i].begin, n);
        ck_assert_int_eq(read_body(bytes, cases[i].most + n, 999, true, 0, body, &used), cases[i].status);
        ck_assert_int_eq(read_body(bytes, CHUNK_LINE_BYTES / 2, 999, true, 0, body, &used), -1);
    }
    size_t n = (size_t)sprintf(bytes, "0\r\n");
    for (int i = 0; n < TRAILER_BYTES + 1000; i++)
        n += (size_t)sprintf(bytes + n, "X%d: 0123456789012345678901234567890123456789\r\n", i);
    ck_assert_int_eq(read_body(bytes, n, 999, true, 0, body, &used), 431);
    free(bytes);
    free(body);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("head");
    TCase *c = tcase_create("head");
    tcase_add_test(c, heads_read_or_refused);
    tcase_add_test(c, what_a_head_says);
    tcase_add_test(c, a_byte_too_many);
    tcase_add_test(c, heads_too_large);
    tcase_add_test(c, chunks);
    tcase_add_test(c, lengths);
    tcase_add_test(c, lines_too_long);
    suite_add_tcase(s, c);
    return suite_run(s);
}
