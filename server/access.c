/* server/access.c - finds the key of a request and asks it whether there may be more; see access.h. */
#include "server/access.h"

#include <math.h>
#include <stdio.h>
#include <strings.h>

#include "base/clock.h"
#include "server/keys.h"

bool access_identify(struct app *a, struct exchange *x)
{
    if (!a->keys)
        return true;
    const char *given = exchange_header(x, "Authorization"), *other = exchange_header(x, "x-api-key");
    if (given && strncasecmp(given, "Bearer ", 7) == 0)
        x->key = keys_find(a->keys, given + 7);
    if (!x->key && other)              /* as Anthropic's clients send it */
        x->key = keys_find(a->keys, other);
    return x->key != NULL;
}

/* A time as OpenAI writes it in these headers: "12ms", "1.5s", "6m0s". */
static void write_time(double seconds, char *out, size_t size)
{
    long ms = lrint(ceil(seconds * 1e3));
    if (ms < 1000)
        snprintf(out, size, "%ldms", ms);
    else if (ms < 60000)
        snprintf(out, size, "%.4gs", (double)ms / 1e3);
    else
        snprintf(out, size, "%ldm%lds", ms / 60000, ms % 60000 / 1000);
}

/* x-ratelimit-limit-, -remaining- and -reset- of requests or of tokens. */
static void add_headers(struct exchange *x, const char *of, int most, double left, double full)
{
    char name[48], time[32];
    if (most == 0)
        return;
    snprintf(name, sizeof name, "x-ratelimit-limit-%s", of);
    exchange_add_header(x, name, "%d", most);
    snprintf(name, sizeof name, "x-ratelimit-remaining-%s", of);
    exchange_add_header(x, name, "%.0f", floor(fmax(left, 0)));
    snprintf(name, sizeof name, "x-ratelimit-reset-%s", of);
    write_time(full, time, sizeof time);
    exchange_add_header(x, name, "%s", time);
}

int access_begin(struct app *a, struct exchange *x, struct err *e)
{
    struct key_state state;
    if (!x->key)
        return 0;
    x->key_counts = keys_enter(a->keys, x->key, clock_seconds(), &state, e) == 0;
    add_headers(x, "requests", state.limits.requests, state.requests, state.requests_full);
    add_headers(x, "tokens", state.limits.tokens, state.tokens, state.tokens_full);
    if (x->key_counts)
        return 0;
    x->retry_after = fmax(ceil(state.wait), 1);
    return -1;
}

void access_spend(struct app *a, struct exchange *x, int tokens)
{
    if (x->key)
        keys_spend(a->keys, x->key, clock_seconds(), tokens);
}

void access_end(struct app *a, struct exchange *x)
{
    if (!x->key)
        return;
    if (x->key_counts)
        keys_leave(a->keys, x->key);
    keys_drop(a->keys, x->key);
    x->key = NULL;
    x->key_counts = false;
}
