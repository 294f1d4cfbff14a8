/* server/keys.h - the API keys of a running server: whose a request is, and whether its key may ask for more now.
 *
 *     struct key *k = keys_find(keys, given);            // NULL: nobody's
 *     if (keys_enter(keys, k, now, &state, &e) == 0) {   // else 429; `state` says when it is worth while to come again
 *         ... keys_spend(keys, k, now, tokens) ...
 *         keys_leave(keys, k);
 *     }
 *     keys_drop(keys, k);
 *
 * What a key may ask in a minute is a bucket that fills evenly: after a quiet minute all of it can be asked at once.
 * Tokens are taken when they are known, a prompt's before its answer and an answer's behind it, so a bucket may be
 * overdrawn; then the key waits until it is filled again.
 *
 * keys_reload() may come at any time. A key that has a name from before goes on with its bucket and its running
 * requests, under its new limits; those of a key that is gone are answered to their end. */
#ifndef SERVER_KEYS_H
#define SERVER_KEYS_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "server/key_file.h"

struct key;
struct keys;

/* The keys of the file, or else the one that is given. NULL with e->text empty: neither is there, and everybody may
 * ask. NULL with a text: the file or the key is wrong. */
struct keys *keys_open(const char *key, const char *file, struct err *e);
void         keys_close(struct keys *keys);          /* after the last exchange */

/* Reads the file again. -1: it is wrong, and the keys stay as they were. */
int  keys_reload(struct keys *keys, struct err *e);
int  keys_count(struct keys *keys);

/* Takes as long whichever of the keys it is, or none. To be given back with keys_drop(). */
struct key *keys_find(struct keys *keys, const char *given);
void        keys_drop(struct keys *keys, struct key *key);
const char *key_name(const struct key *key);         /* the same as long as the key is held */

struct key_state {             /* of a key, at one moment */
    struct key_limits limits;
    double requests, tokens;               /* left in the buckets                     */
    double requests_full, tokens_full;     /* seconds until they are full             */
    double wait;                           /* seconds until a request may begin       */
};

/* A request begins. -1: a limit is reached (status 429), and nothing was taken. */
int  keys_enter(struct keys *keys, struct key *key, double now, struct key_state *state, struct err *e);
void keys_leave(struct keys *keys, struct key *key);
void keys_spend(struct keys *keys, struct key *key, double now, int tokens);

/* Rows of Prometheus' text form, one of each kind for every key that there is now. */
void keys_metrics(struct keys *keys, struct buf *out);

#endif
