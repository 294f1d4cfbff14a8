/* Unigram (sentencepiece): of all ways to cut a piece into tokens, the one with
 * the highest sum of scores. One pass over the bytes that keeps the best way to
 * reach each of them (Viterbi): n times the longest token. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/fields.h"
#include "tokenizer/model.h"
#include "tokenizer/trie.h"

/* How much lower than the least score of a token that of an unknown character is. */
static const double UNK_PENALTY = 10;

/* A loaded model, read-only from then on. */
struct unigram {
    struct trie trie;     /* of all tokens         */
    double *score;        /* owned, (ids)          */
    size_t  cap;
    double  unk_score;    /* of a character that is no token */
    int32_t unk;          /* -1: none              */
    bool    byte_fallback;
    int32_t byte[256];    /* ids of <0x..>         */
};

/* The best way to reach a byte of the piece. */
struct best {
    double  score;
    int32_t id;
    int32_t from; /* where its last token starts; -1: not reached */
    int32_t to;   /* where the next token of the best way ends    */
};

/* Takes this way to a byte if it is the first one or better than the best so far: of equal ways the first stays. */
static void offer(struct best *b, double score, int32_t id, size_t from)
{
    if (b->from < 0 || score > b->score)
        *b = (struct best){ score, id, (int32_t)from, 0 };
}

/* Fills best[0..n] with the best way to each byte that begins a character, and to the end. A character that is no
 * token counts as unknown, at a cost beyond that of the worst token. */
static int viterbi(const struct unigram *u, const char *s, size_t n, struct best *best, struct err *e)
{
    for (size_t i = 0; i <= n; i++)
        best[i] = (struct best){ 0, 0, -1, 0 };
    int len;
    for (size_t i = 0; i < n; i += (size_t)len) {
        bool single = false;
        int32_t at = 0;
        utf8_get(s + i, n - i, &len);
        for (size_t k = i; k < n && (at = trie_step(&u->trie, at, (uint8_t)s[k])) >= 0; k++) {
            int32_t id = u->trie.node[at].value;
            if (id < 0)
                continue;
            offer(&best[k + 1], u->score[id] + best[i].score, id, i);
            single |= k + 1 == i + (size_t)len;
        }
        if (single)
            continue;
        if (u->unk < 0)
            return err_set(e, "a character is unknown and the model has no unk_id");
        offer(&best[i + (size_t)len], u->unk_score + best[i].score, u->unk, i);
    }
    return 0;
}

/* Appends the ids of a stretch of the best way. It is a token or unknown text; that becomes the tokens of its bytes,
 * if all of them have one, or the unknown token. */
static int add_stretch(const struct token_model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    const struct unigram *u = m->data;
    int32_t id = vocab_find(&m->vocab, s, n);
    if (id < 0 && u->byte_fallback) {
        size_t i = 0;
        while (i < n && u->byte[(uint8_t)s[i]] >= 0)
            i++;
        if (i == n) {
            for (i = 0; i < n; i++)
                if (ids_add(out, u->byte[(uint8_t)s[i]]) < 0)
                    return err_memory(e);
            return 0;
        }
    }
    if (id < 0 && (id = u->unk) < 0)
        return err_set(e, "a character is unknown and the model has no unk_id");
    return ids_add(out, id) < 0 ? err_memory(e) : 0;
}

/* Turns the best way round and follows it forwards. Unknown neighbours become one stretch. */
static int follow(const struct token_model *m, const char *s, size_t n, struct best *best, struct ids *out,
                  struct err *e)
{
    const struct unigram *u = m->data;
    for (size_t at = n; at > 0; at = (size_t)best[at].from)
        best[best[at].from].to = (int32_t)at;
    for (size_t at = 0, end; at < n; at = end) {
        end = (size_t)best[at].to;
        while (best[end].id == u->unk && end < n && best[best[end].to].id == u->unk)
            end = (size_t)best[end].to;
        if (add_stretch(m, s + at, end - at, out, e) < 0)
            return -1;
    }
    return 0;
}

/* The encode of struct token_model. Pieces of up to 128 bytes allocate nothing. */
static int encode(const struct token_model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    struct best small[129], *best = small;
    if (n > 128 && !(best = malloc((n + 1) * sizeof *best)))
        return err_memory(e);
    int rc = viterbi(m->data, s, n, best, e);
    if (rc == 0)
        rc = follow(m, s, n, best, out, e);
    if (best != small)
        free(best);
    return rc;
}

/* ---- loading ---- */

static void unigram_free(void *data)
{
    struct unigram *u = data;
    trie_free(&u->trie);
    free(u->score);
    free(u);
}

/* Reads one entry of the vocabulary, ["token", score]. Its place in the list is its id. Keeps the least score in
 * unk_score. */
static int load_entry(struct token_model *m, struct unigram *u, struct cursor *c, struct buf *tmp, struct err *e)
{
    const char *s;
    size_t n;
    double score;
    if (!cursor_take(c, '[') || cursor_string(c, tmp, &s, &n) < 0)
        return err_set(e, "expected [\"token\", score]");
    if (vocab_add(&m->vocab, s, n, (int64_t)m->size, e) < 0)
        return -1;
    if (!cursor_take(c, ',') || cursor_number(c, &score) < 0 || !cursor_take(c, ']'))
        return err_set(e, "expected [\"token\", score]");
    if (grow(&u->score, &u->cap, m->size + 1, sizeof *u->score) < 0)
        return err_memory(e);
    u->score[m->size] = score;
    if (!m->size || score < u->unk_score)
        u->unk_score = score; /* the least one so far */
    m->size++;
    return 0;
}

/* Reads the vocabulary, [["token", score], ...]. An unknown character then costs UNK_PENALTY more than the worst
 * token. */
static int load_vocab(struct token_model *m, struct unigram *u, struct cursor c, struct err *e)
{
    struct buf tmp;
    int rc = 0;
    buf_init(&tmp, 4 << 20);
    vocab_reserve(&m->vocab, c.n / 32);
    cursor_take(&c, '[');
    if (!cursor_take(&c, ']')) {
        do
            rc = load_entry(m, u, &c, &tmp, e);
        while (rc == 0 && cursor_take(&c, ','));
        if (rc == 0 && !cursor_take(&c, ']'))
            rc = err_set(e, "expected a comma");
    }
    buf_free(&tmp);
    u->unk_score -= UNK_PENALTY;
    return rc < 0 ? err_prefix(e, "model.vocab[%zu]", m->size) : 0;
}

/* Makes the trie of all tokens, which finds those that begin at a byte. Returns -1 when the memory runs out. */
static int build_trie(const struct token_model *m, struct unigram *u)
{
    struct trie_key *keys = xcalloc(m->size, sizeof *keys);
    for (size_t i = 0; i < m->size; i++) {
        keys[i].s = vocab_text(&m->vocab, (int32_t)i, &keys[i].n);
        keys[i].value = (int32_t)i;
    }
    int rc = trie_build(&u->trie, keys, m->size);
    free(keys);
    return rc;
}

/* Loads a Unigram model. Without unk_id a text with an unknown character is an error. model_free() frees what is
 * there after a failure. */
int unigram_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e)
{
    json_t *list;
    int64_t unk = -1;
    const json_t *v = json_object_get(o, "unk_id");
    struct unigram *u = xcalloc(1, sizeof *u);
    m->data = u;
    m->free = unigram_free;
    m->encode = encode;
    if (field_array(o, "model", "vocab", &list, e) < 0 ||
        field_bool_or(o, "model", "byte_fallback", &u->byte_fallback, e) < 0)
        return -1;
    if (load_vocab(m, u, f->vocab, e) < 0)
        return -1;
    if (v && !json_is_null(v) && field_int(o, "model", "unk_id", 0, (int64_t)m->size - 1, &unk, e) < 0)
        return -1;
    u->unk = (int32_t)unk;
    vocab_byte_tokens(&m->vocab, u->byte);
    return build_trie(m, u) < 0 ? err_memory(e) : 0;
}
