/* server/cors.h - which web pages may call the server (the Fetch standard's CORS).
 *
 * A browser asks before a page's request (the preflight) and then lets the page
 * see an answer only if it names the page's origin. Off unless origins are
 * configured; this protects users of browsers, not the server. */
#ifndef SERVER_CORS_H
#define SERVER_CORS_H
#include "config/options.h"
#include "server/exchange.h"

/* Brings the configured origins into the form in which browsers send them; -1 for what is no origin. */
int cors_check(struct string_list *origins, struct err *e);

/* Adds the headers that let the asking page read the answer, errors included. */
void cors_allow(const struct string_list *origins, struct exchange *x);

bool cors_is_preflight(const struct string_list *origins, const struct exchange *x);

/* `methods`: those of the path, "GET, HEAD". Whatever headers the page wants to send are allowed: clients have their
 * own (x-stainless-..., openai-organization), and those that nobody knows are ignored. */
void cors_answer_preflight(struct exchange *x, const char *methods);

#endif
