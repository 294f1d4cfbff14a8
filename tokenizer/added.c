/* tokenizer/added.c - see added.h: finds added tokens in a text, and loads them from the files of a checkpoint. */
#include "tokenizer/added.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/fields.h"
#include "tokenizer/unicode.h"

/* ---- finding them in a text ---- */

/* Start of the character that ends before `at`. */
static size_t back(const char *s, size_t at)
{
    while (at > 0 && ((uint8_t)s[--at] & 0xc0) == 0x80) {}
    return at;
}

/* Whether the character before `at` is part of a word; false at the start of the text. */
static bool word_ends(const char *s, size_t at)
{
    int len;
    size_t b = back(s, at);
    return at > 0 && unicode_word(utf8_get(s + b, at - b, &len));
}

/* Whether the character at `at` is part of a word; false at the end of the text. */
static bool word_starts(const char *s, size_t n, size_t at)
{
    int len;
    return at < n && unicode_word(utf8_get(s + at, n - at, &len));
}

/* Where the white space that ends at `at` begins. The search stops at `least`, so that a token never takes spaces
 * that the token before it has taken. */
static size_t spaces_before(const char *s, size_t at, size_t least)
{
    int len;
    while (at > least) {
        size_t b = back(s, at);
        if (!unicode_space(utf8_get(s + b, at - b, &len)))
            break;
        at = b;
    }
    return at > least ? at : least;
}

/* Where the white space that begins at `at` ends. */
static size_t spaces_after(const char *s, size_t n, size_t at)
{
    int len;
    while (at < n && unicode_space(utf8_get(s + at, n - at, &len)))
        at += (size_t)len;
    return at;
}

/* Adds the bytes [from, to) of piece p to out, as the added token `id` or, with -1, as plain text. An empty part adds
 * nothing. Returns -1 when the memory runs out. */
static int add_part(struct text *out, const struct piece *p, size_t from, size_t to, int32_t id)
{
    struct piece part = piece_cut(p, (uint32_t)from, (uint32_t)to);
    part.id = id;
    return from < to ? text_add_piece(out, part) : 0;
}

/* The longest token that s starts with and that whoever wrote its bytes may write: returns its length (0: there is
 * none) and gives its place in a->token. Where a reserved token stands in bytes of a greater origin, the next shorter
 * token is tried. */
static size_t longest(const struct added *a, const struct trie *trie, const char *s, const uint8_t *from, size_t n,
                      int32_t *index)
{
    size_t len = trie_longest(trie, s, n, index);
    while (len && from && a->token[*index].most < FROM_OTHERS && origin_most(from, len) > a->token[*index].most)
        len = trie_longest(trie, s, len - 1, index);
    return len;
}

/* Walks over the piece and takes the longest token at each place, as the reference does. Where a token wants to be a
 * word of its own and is not, its bytes stay plain text and the search goes on behind them. A token with lstrip or
 * rstrip also takes the white space beside it. */
int added_cut(const struct added *a, const struct trie *trie, const char *in, const uint8_t *from_whom,
              const struct piece *p, struct text *out, struct err *e)
{
    size_t done = 0, len;
    int rc = 0;
    for (size_t i = 0; i < p->len && rc == 0; i += len) {
        int32_t index;
        len = 1;
        if (trie->root_child[(uint8_t)in[i]] < 0 ||
            !(len = longest(a, trie, in + i, from_whom ? from_whom + i : NULL, p->len - i, &index))) {
            len = 1;
            continue;
        }
        const struct added_token *t = &a->token[index];
        size_t from = i, to = i + len;
        if (t->single_word && (word_ends(in, from) || word_starts(in, p->len, to)))
            continue; /* and the search goes on behind it */
        if (t->lstrip)
            from = spaces_before(in, from, done);
        if (t->rstrip)
            to = spaces_after(in, p->len, to);
        if (done < from)
            rc = add_part(out, p, done, from, -1);
        if (rc == 0)
            rc = add_part(out, p, from, to, t->id);
        done = to;
    }
    if (rc == 0 && done < p->len)
        rc = add_part(out, p, done, p->len, -1);
    return rc < 0 ? err_memory(e) : 0;
}

/* ---- loading ---- */

enum { SPARE_BYTES = 4096 };   /* that normalizers may add to a token */

static char *copy(const char *s, size_t n)
{
    char *p = xmalloc(n + 1);
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

/* Gives t->text what the normalizer makes of t->content: tokens with `normalized` are searched for in text that has
 * been normalized already. Needs content_len to be set; on failure t->text stays as it was. */
static int normalize(struct added_token *t, const struct normalizer *n, struct err *e)
{
    struct text out;
    struct piece p = { 0, (uint32_t)t->content_len, 1, -1, true }, result;
    struct effort effort = effort_for(t->content_len, SPARE_BYTES);
    text_begin(&out, &effort);
    struct regex_match *match = regex_match_new(t->content_len);
    int rc = match ? normalizer_run(n, t->content, NULL, &p, match, &out, &result, e) : err_memory(e);
    if (rc == 0) {
        t->text = copy(out.bytes.data ? out.bytes.data + result.at : "", result.len);
        t->text_len = result.len;
    }
    regex_match_free(match);
    text_free(&out);
    return rc;
}

/* Reads one entry of added_tokens and adds it to a, or lets it replace an entry with the same string. Takes the id of
 * the model where the model has the string, else *next_id, which then counts on. Entries with an empty string are
 * left out, as in the reference. */
static int load_one(struct added *a, const json_t *o, const char *where, const struct token_model *m,
                    const struct normalizer *n, int32_t *next_id, struct err *e)
{
    struct added_token t = { .most = FROM_OTHERS };
    const char *s;
    int64_t file_id;
    if (!json_is_object(o))
        return err_set(e, "%s: expected an object", where);
    if (field_string(o, where, "content", &s, &t.content_len, e) < 0 ||
        field_int(o, where, "id", 0, VOCAB_MAX_ID, &file_id, e) < 0 ||
        field_bool(o, where, "single_word", &t.single_word, e) < 0 ||
        field_bool(o, where, "lstrip", &t.lstrip, e) < 0 || field_bool(o, where, "rstrip", &t.rstrip, e) < 0 ||
        field_bool(o, where, "normalized", &t.normalized, e) < 0 || field_bool(o, where, "special", &t.special, e) < 0)
        return -1;
    if (!t.content_len)
        return 0;
    /* The same string further up in the lists, if there is one. */
    int32_t known = vocab_find(&a->index, s, t.content_len);
    struct added_token *old = known >= 0 ? &a->token[known] : NULL;
    t.id = old ? old->id : vocab_find(&m->vocab, s, t.content_len);
    if (t.id < 0)
        t.id = (*next_id)++;
    t.content = copy(s, t.content_len);
    if (!t.normalized || normalizer_is_empty(n)) {
        t.text = copy(s, t.content_len);
        t.text_len = t.content_len;
    } else if (normalize(&t, n, e) < 0) {
        free(t.content);
        return err_prefix(e, "%s", where);
    }
    /* Of equal strings the later one counts, but a special token stays special. */
    if (old) {
        t.special |= old->special;
        free(old->content);
        free(old->text);
        *old = t;
        return 0;
    }
    if (vocab_add(&a->index, s, t.content_len, (int64_t)a->n, e) < 0 ||
        grow(&a->token, &a->cap, a->n + 1, sizeof *a->token) < 0) {
        free(t.content);
        free(t.text);
        return err_prefix(e, "%s", where);
    }
    a->token[a->n++] = t;
    return 0;
}

/* Builds the trie of all tokens that have (or do not have) `normalized`; *any tells whether there are some. */
static int build(struct added *a, struct trie *trie, bool normalized, bool *any)
{
    struct trie_key *keys = xcalloc(a->n, sizeof *keys);
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++)
        if (a->token[i].normalized == normalized && a->token[i].text_len)
            keys[n++] = (struct trie_key){ a->token[i].text, a->token[i].text_len, (int32_t)i };
    *any = n > 0;
    int rc = trie_build(trie, keys, n);
    free(keys);
    return rc;
}

/* Reads both lists in order, so that the configuration's tokens come after those of tokenizer.json, then builds one
 * trie for the original text and one for the normalized text. After a failure `a` holds what was read so far and is
 * still to be freed. */
int added_load(struct added *a, const json_t *spec, const json_t *more, const struct token_model *m,
               const struct normalizer *n, struct err *e)
{
    char where[PATH_MAX_LEN];
    int32_t next_id = (int32_t)m->size;
    int rc = 0;
    memset(a, 0, sizeof *a);
    if (spec && !json_is_null(spec) && !json_is_array(spec))
        return err_set(e, "added_tokens: expected an array");
    for (size_t i = 0; i < json_array_size(spec) && rc == 0; i++) {
        path_join(where, "", "added_tokens", (long)i);
        rc = load_one(a, json_array_get(spec, i), where, m, n, &next_id, e);
    }
    for (size_t i = 0; i < json_array_size(more) && rc == 0; i++)
        rc = load_one(a, json_array_get(more, i), "the configuration's tokens", m, n, &next_id, e);
    if (rc < 0)
        return -1;
    if (build(a, &a->plain, false, &a->has_plain) < 0 || build(a, &a->normalized, true, &a->has_normalized) < 0)
        return err_memory(e);
    return 0;
}

void added_free(struct added *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->token[i].content);
        free(a->token[i].text);
    }
    free(a->token);
    vocab_free(&a->index);
    trie_free(&a->plain);
    trie_free(&a->normalized);
    memset(a, 0, sizeof *a);
}

/* A token that has been reserved for less keeps the lesser bound. */
void added_reserve(struct added *a, int32_t id, enum origin most)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->token[i].id == id && a->token[i].most > most)
            a->token[i].most = (uint8_t)most;
}

const struct added_token *added_find(const struct added *a, const char *s, size_t n)
{
    int32_t i = vocab_find(&a->index, s, n);
    return i < 0 ? NULL : &a->token[i];
}
