/* tokenizer/vocab.h - the two-way map between token strings and ids.
 *
 * Strings live in one pool; a hash table with open addressing leads from string
 * to id, an array from id to string. Ids may have gaps. Filled once, then
 * read-only. */
#ifndef TOKENIZER_VOCAB_H
#define TOKENIZER_VOCAB_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { VOCAB_MAX_ID = (1 << 22) - 1 };

struct vocab {
    char     *pool;          /* owned; every string ends in a NUL      */
    size_t    used, cap;
    struct vocab_text *text; /* owned, (ids): where each id's string is */
    size_t    ids, ids_cap;  /* largest id + 1                          */
    struct vocab_slot *slot; /* owned, (slots)                          */
    size_t    slots;         /* a power of two                          */
    size_t    count;         /* strings                                 */
};

struct vocab_text {
    uint32_t at, len; /* in the pool; at = UINT32_MAX: no such id */
};

/* Part of the hash saves looking at most strings that are not meant. */
struct vocab_slot {
    uint32_t hash;
    uint32_t id1; /* id + 1; 0: empty */
};

void vocab_free(struct vocab *v);

/* Makes room for `count` strings; fewer calls of vocab_add need to grow. */
void vocab_reserve(struct vocab *v, size_t count);

/* Maps s to id; a string that was there before leads to the new id from now on
 * (both ids keep the text). -1: the id is out of range or taken, or the string
 * is longer than 1 MiB. */
int vocab_add(struct vocab *v, const char *s, size_t n, int64_t id, struct err *e);

int32_t     vocab_find(const struct vocab *v, const char *s, size_t n); /* -1: not there */
const char *vocab_text(const struct vocab *v, int32_t id, size_t *n);   /* NULL: no such id */

/* For tables keyed by bytes: a fast mixing hash (not against adversaries: only
 * what the file holds is ever inserted). */
uint64_t bytes_hash(const char *s, size_t n);

#endif
