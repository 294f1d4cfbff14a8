/* server/cors.c - which web pages of other origins may read the answers (Cross-Origin Resource Sharing). What each
 * function promises stands in cors.h. */
#include "server/cors.h"

#include <string.h>
#include <strings.h>

enum { MAX_REQUESTED = 4096 };         /* bytes of header names that a preflight may list */

static bool is_any(const char *origin) { return strcmp(origin, "*") == 0; }

/* Cuts off white space, a last slash and the port that a scheme has anyway: browsers send none of them. */
static void normalise(char *s)
{
    static const struct { const char *scheme, *port; } usual[] = { { "http://", ":80" }, { "https://", ":443" } };
    size_t skip = strspn(s, " \t"), n = strlen(s + skip);
    memmove(s, s + skip, n + 1);
    while (n > 0 && strchr(" \t/", s[n - 1]))
        s[--n] = '\0';
    for (int i = 0; i < 2; i++) {
        const char *scheme = usual[i].scheme, *port = usual[i].port;
        size_t      k = strlen(port);
        if (strncasecmp(s, scheme, strlen(scheme)) == 0 && n > k && strcmp(s + n - k, port) == 0)
            s[n - k] = '\0';
    }
}

/* scheme://host or scheme://host:port, or what pages without an origin send. */
static bool is_origin(const char *s)
{
    size_t scheme = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    if (is_any(s) || strcmp(s, "null") == 0)
        return true;
    if (scheme == 0 || strncmp(s + scheme, "://", 3) != 0 || !s[scheme + 3])
        return false;
    for (const char *p = s + scheme + 3; *p; p++)
        if (*p <= ' ' || *p == 0x7f || strchr("/?#@,*\"<>\\", *p))
            return false;
    return true;
}

/* Brings the configured origins into the form that browsers send, so that the comparison of every request is one of
 * two strings, and refuses what can never match. */
int cors_check(struct string_list *origins, struct err *e)
{
    for (int i = 0; i < origins->n; i++) {
        normalise(origins->item[i]);
        if (!is_origin(origins->item[i]))
            return err_field(e, "allow-origin", "option allow-origin: \"%.100s\" is no origin; one is https://host, "
                             "http://host:port or *, and several are separated by commas", origins->item[i]);
    }
    return 0;
}

/* What the answer names: *, the configured origin that asked, or the only one that there is. NULL: none of them
 * asked. */
static const char *origin_for(const struct string_list *origins, const struct exchange *x)
{
    const char *asks = exchange_header(x, "Origin"), *named = origins->n == 1 ? origins->item[0] : NULL;
    for (int i = 0; i < origins->n; i++) {
        if (is_any(origins->item[i]))
            return "*";
        if (asks && strcasecmp(asks, origins->item[i]) == 0)
            named = asks;
    }
    return named;
}

/* Runs for every answer, errors too: a page that may not read an error sees only "network error". Nothing of the
 * request is echoed but an origin that is configured. */
void cors_allow(const struct string_list *origins, struct exchange *x)
{
    const char *origin = origin_for(origins, x);
    if (origins->n == 0)
        return;
    if (!origin || !is_any(origin))
        exchange_add_header(x, "Vary", "Origin");        /* a cache must not give it to another page */
    if (!origin)
        return;
    exchange_add_header(x, "Access-Control-Allow-Origin", "%s", origin);
    exchange_add_header(x, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After, X-Session-ID, "
                        "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
                        "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens");
}

bool cors_is_preflight(const struct string_list *origins, const struct exchange *x)
{
    return origins->n > 0 && strcmp(x->method, "OPTIONS") == 0 && exchange_header(x, "Access-Control-Request-Method");
}

/* A list of header names and nothing else, as it is to be sent back. */
static bool are_names(const char *list)
{
    size_t n = 0;
    while (head_token_byte((unsigned char)list[n]) || (list[n] && strchr(", \t", list[n])))
        n++;
    return n > 0 && n <= MAX_REQUESTED && !list[n];
}

/* A browser asks first (OPTIONS) before it sends a request with JSON or a key. The headers that it wants to send are
 * allowed as it names them, provided they are names and nothing else. */
void cors_answer_preflight(struct exchange *x, const char *methods)
{
    const char *asked = exchange_header(x, "Access-Control-Request-Headers");
    x->status = 204;
    exchange_add_header(x, "Access-Control-Allow-Methods", "%s", methods);
    exchange_add_header(x, "Access-Control-Allow-Headers", "%s",
                        asked && are_names(asked) ? asked : "Authorization, Content-Type, X-Request-Id, X-Session-ID");
    exchange_add_header(x, "Access-Control-Max-Age", "600");
}
