/* Grammars that were compiled lately, by a hash of what they were compiled of: a client sends the same schema with
 * every request. The oldest go when there are too many, or when they take too much memory. One is compiled at a time,
 * so that the memory that compiling takes is bounded; who finds what he wants does not wait for that. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "grammar/grammar.h"

enum { MAX_KEPT = 64, MAX_KEPT_BYTES = 16 << 20, MAX_KEY = 64 << 20 };

struct kept { struct hash key; struct grammar *g; uint64_t used; };

static struct {
    pthread_mutex_t lock, compiling;
    struct kept kept[MAX_KEPT];        /* g NULL: free */
    uint64_t clock;                    /* counts uses  */
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER, .compiling = PTHREAD_MUTEX_INITIALIZER };

/* A text goes into the key with its length before it: two lists of texts can then not run together into the same key.
 * */
static void write_text(struct buf *out, const char *s, size_t n)
{
    buf_add(out, &n, sizeof n);
    if (n)
        buf_add(out, s, n);
}

static void write_string(struct buf *out, const char *s) { write_text(out, s ? s : "", s ? strlen(s) : 0); }

/* A schema as it would be sent. Without memory for that the source has no key and is compiled each time. */
static void write_json(struct buf *out, const json_t *v)
{
    char *json = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (v && !json)
        out->failed = true;
    write_string(out, json);
    free(json);
}

/* Everything that makes a difference to what is compiled. Many sources may have the same root: it is written where it
 * differs from *root, the last one that was. */
static void write_source(struct buf *out, const struct grammar_source *s, const json_t **root, int depth)
{
    bool new_root = s->root && s->root != *root;
    int head[] = { (int)s->kind, s->closed, s->n_parts, s->least, s->most, s->n_tags, s->n_triggers, s->at_least_one,
                   s->at_most_one, s->separator != NULL, s->root != NULL, new_root };
    if (depth > GRAMMAR_MAX_NESTING)
        out->failed = true;
    buf_add(out, head, sizeof head);
    write_json(out, s->json);
    if (new_root)
        write_json(out, *root = s->root);
    write_text(out, s->text, s->n);
    write_string(out, s->separator);
    for (int i = 0; i < s->n_parts && buf_ok(out); i++)
        write_source(out, &s->part[i], root, depth + 1);
    for (int i = 0; i < s->n_triggers; i++)
        write_string(out, s->trigger[i]);
    for (int i = 0; i < s->n_tags && buf_ok(out); i++) {
        write_string(out, s->tag[i].begin);
        write_string(out, s->tag[i].end);
        write_source(out, &s->tag[i].content, root, depth + 1);
    }
}

/* With the lock held: the one with that key, for one more owner. */
static struct grammar *find(struct hash key)
{
    for (int i = 0; i < MAX_KEPT; i++)
        if (cache.kept[i].g && hash_equal(cache.kept[i].key, key)) {
            cache.kept[i].used = ++cache.clock;
            return grammar_ref(cache.kept[i].g);
        }
    return NULL;
}

/* With the lock held: a free place. The one that was used longest ago makes room, while there is too much. */
static struct kept *make_room(size_t bytes)
{
    for (;;) {
        struct kept *oldest = NULL, *free_one = NULL;
        size_t all = bytes;
        for (int i = 0; i < MAX_KEPT; i++) {
            struct kept *k = &cache.kept[i];
            if (!k->g) {
                free_one = k;
                continue;
            }
            all += grammar_bytes(k->g);
            oldest = !oldest || k->used < oldest->used ? k : oldest;
        }
        if ((free_one && all <= MAX_KEPT_BYTES) || !oldest)
            return free_one;
        grammar_unref(oldest->g);
        oldest->g = NULL;
    }
}

static struct grammar *look_up(struct hash key)
{
    pthread_mutex_lock(&cache.lock);
    struct grammar *g = find(key);
    pthread_mutex_unlock(&cache.lock);
    return g;
}

/* Looks before and after it has waited for its turn to compile, because the one who had the turn may have wanted the
 * same grammar. A source whose key does not fit into MAX_KEY bytes is compiled each time and not kept. Gives a
 * reference that the caller owns; NULL with `e` if the source is wrong or memory is out. */
struct grammar *grammar_cached(const struct grammar_source *source, struct err *e)
{
    struct buf text;
    buf_init(&text, MAX_KEY);
    const json_t *root = NULL;
    write_source(&text, source, &root, 0);
    bool known = buf_ok(&text);
    struct hash key = hash_bytes(text.data, text.len);
    buf_free(&text);
    struct grammar *g = known ? look_up(key) : NULL;
    if (g)
        return g;
    pthread_mutex_lock(&cache.compiling);
    g = known ? look_up(key) : NULL;           /* somebody else may have wanted the same */
    if (!g && (g = grammar_compile(source, e)) && known) {
        pthread_mutex_lock(&cache.lock);
        struct kept *k = make_room(grammar_bytes(g));
        if (k)
            *k = (struct kept){ key, grammar_ref(g), ++cache.clock };
        pthread_mutex_unlock(&cache.lock);
    }
    pthread_mutex_unlock(&cache.compiling);
    return g;
}
