/* tokenizer/vocab.c - see vocab.h. All strings lie end to end in one block, by id; a table with open addressing
 * finds the id of a string. Half a hash in every slot spares nearly all comparisons that would fail. */
#include "tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Mixes eight bytes at a time; the length goes in as well, so that the zeros that fill up the last eight do no harm. */
uint64_t bytes_hash(const char *s, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15ULL, x;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&x, s, 8);
        h = (h ^ x) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    x = 0;
    memcpy(&x, s, n);
    h = (h ^ x) * 0xc4ceb9fe1a85ec53ULL;
    return h ^ h >> 29;
}

void vocab_free(struct vocab *v)
{
    free(v->pool);
    free(v->text);
    free(v->slot);
    memset(v, 0, sizeof *v);
}

/* The slot of s, whose hash is h, or the empty one where it belongs. At least half of the slots are empty, so the
 * search ends. */
static size_t find_slot(const struct vocab *v, const char *s, size_t n, uint64_t h)
{
    size_t i = h & (v->slots - 1);
    for (; v->slot[i].id1; i = (i + 1) & (v->slots - 1)) {
        if (v->slot[i].hash != h >> 32)
            continue;
        const struct vocab_text *t = &v->text[v->slot[i].id1 - 1];
        if (t->len == n && !memcmp(v->pool + t->at, s, n))
            break;
    }
    return i;
}

/* Makes the table at least twice as large as the number of strings and enters anew what was in it. */
void vocab_reserve(struct vocab *v, size_t count)
{
    size_t slots = v->slots ? v->slots : 64, old_slots = v->slots;
    while (slots < count * 2)
        slots *= 2;
    if (slots == v->slots)
        return;
    struct vocab_slot *old = v->slot;
    v->slot = xcalloc(slots, sizeof *v->slot);
    v->slots = slots;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].id1) {
            const struct vocab_text *t = &v->text[old[i].id1 - 1];
            uint64_t h = bytes_hash(v->pool + t->at, t->len);
            v->slot[find_slot(v, v->pool + t->at, t->len, h)] = old[i];
        }
    free(old);
}

/* An entry that is there already, with the same id and string, changes nothing. Everything is checked and all room
 * made before the first change. A string that was there under another id keeps its text for that id. */
int vocab_add(struct vocab *v, const char *s, size_t n, int64_t id, struct err *e)
{
    int shown = n < 60 ? (int)n : 60;
    if (id < 0 || id > VOCAB_MAX_ID)
        return err_set(e, "id %lld of \"%.*s\" is not between 0 and %d", (long long)id, shown, s, VOCAB_MAX_ID);
    if (n > 1 << 20 || v->used + n + 1 >= UINT32_MAX)
        return err_set(e, "the strings are too long");
    if ((size_t)id < v->ids && v->text[id].len == n && v->text[id].at != UINT32_MAX &&
        !memcmp(v->pool + v->text[id].at, s, n))
        return 0;
    if ((size_t)id < v->ids && v->text[id].at != UINT32_MAX)
        return err_set(e, "\"%.60s\" and \"%.*s\" have the same id %lld", v->pool + v->text[id].at, shown, s,
                       (long long)id);
    vocab_reserve(v, v->count + 1);
    if (grow(&v->pool, &v->cap, v->used + n + 1, 1) < 0 ||
        grow(&v->text, &v->ids_cap, (size_t)id + 1, sizeof *v->text) < 0)
        return err_memory(e);
    for (; v->ids <= (size_t)id; v->ids++)
        v->text[v->ids] = (struct vocab_text){ UINT32_MAX, 0 };
    uint64_t h = bytes_hash(s, n);
    size_t i = find_slot(v, s, n, h);
    if (!v->slot[i].id1)
        v->count++;
    memcpy(v->pool + v->used, s, n);
    v->pool[v->used + n] = 0;
    v->text[id] = (struct vocab_text){ (uint32_t)v->used, (uint32_t)n };
    v->used += n + 1;
    v->slot[i] = (struct vocab_slot){ (uint32_t)(h >> 32), (uint32_t)id + 1 };
    return 0;
}

/* A vocabulary without any string has no table yet. */
int32_t vocab_find(const struct vocab *v, const char *s, size_t n)
{
    if (!v->slots)
        return -1;
    return (int32_t)v->slot[find_slot(v, s, n, bytes_hash(s, n))].id1 - 1;
}

/* NULL: the id is beyond the vocabulary, or is one of the gaps that some vocabularies have. */
const char *vocab_text(const struct vocab *v, int32_t id, size_t *n)
{
    if (id < 0 || (size_t)id >= v->ids || v->text[id].at == UINT32_MAX)
        return NULL;
    if (n)
        *n = v->text[id].len;
    return v->pool + v->text[id].at;
}
