/* tokenizer/tokenizer.c - see tokenizer.h: the parts of a tokenizer put together, and the way of a text through them.
 *
 * Encoding: the text is made valid UTF-8 and cut at the added tokens; what is between them is normalized and cut
 * again at the added tokens that are searched for after that, then split into pieces. The model turns each piece into
 * ids, and the post-processor puts its tokens around them. Decoding lists the strings of the ids and hands them to
 * the decoder. */
#include "tokenizer/tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/added.h"
#include "tokenizer/decode.h"
#include "tokenizer/fields.h"
#include "tokenizer/json_file.h"
#include "tokenizer/model.h"
#include "tokenizer/names.h"
#include "tokenizer/normalize.h"
#include "tokenizer/post.h"
#include "tokenizer/split.h"

/* What an id stands for when decoding. */
struct token {
    const char *text;    /* borrowed from the model or the added tokens; NULL: no such id */
    const char *content; /* as in the file: differs for added tokens that are normalized  */
    uint32_t    len;
    bool        special;
    bool        added;
    uint8_t     most;    /* enum origin of the texts in which it counts, up to this one   */
};

/* The order of the parts is the order in which a text meets them. */
struct tokenizer {
    struct added       added;
    struct normalizer *normalizer; /* owned, like all that follow */
    struct splitter   *splitter;
    struct token_model      *model;
    struct post       *post;
    struct token_decoder    *decoder;
    struct token      *token;      /* (size) */
    int                size;
    struct token_names names;
};

enum { TEXT_IN_MAX = 1 << 29 };      /* bytes of a text to encode */

void ids_free(struct ids *ids)
{
    free(ids->id);
    memset(ids, 0, sizeof *ids);
}

int ids_add(struct ids *ids, int32_t id)
{
    if (ids->n == ids->cap && grow(&ids->id, &ids->cap, ids->n + 1, sizeof *ids->id) < 0)
        return -1;
    ids->id[ids->n++] = id;
    return 0;
}

/* ---- loading ---- */

/* Lists the text of every id for decoding: the model's tokens, then the added ones over them. To the reference,
 * special is the string, not the id: an added token is special where the one whose content is its text is. */
static void list_tokens(struct tokenizer *t)
{
    const struct vocab *v = &t->model->vocab;
    t->size = (int)v->ids;
    for (size_t i = 0; i < t->added.n; i++)
        if (t->added.token[i].id >= t->size)
            t->size = t->added.token[i].id + 1;
    t->token = xcalloc((size_t)t->size, sizeof *t->token);
    for (size_t i = 0; i < v->ids; i++) {
        size_t n = 0;
        t->token[i].text = t->token[i].content = vocab_text(v, (int32_t)i, &n);
        t->token[i].len = (uint32_t)n;
        t->token[i].most = FROM_OTHERS;
    }
    for (size_t i = 0; i < t->added.n; i++) {
        const struct added_token *a = &t->added.token[i];
        t->token[a->id] = (struct token){ a->text, a->content, (uint32_t)a->text_len, false, true, FROM_OTHERS };
    }
    for (size_t i = 0; i < t->added.n; i++) {
        const struct added_token *a = &t->added.token[i];
        struct token *k = &t->token[a->id];
        const struct added_token *same = added_find(&t->added, k->text, k->len);
        k->special = same && same->special;
    }
}

/* Makes the parts out of the fields of tokenizer.json. The added tokens come last, as they need the model for their
 * ids and the normalizer for their texts. tokenizer_close() frees what is there after a failure. */
static int build(struct tokenizer *t, const struct json_file *f, struct err *e)
{
    const json_t *j = f->root;
    const char *version;
    size_t n;
    if (field_string_or_null(j, "", "version", &version, &n, e) < 0)
        return -1;
    if (version && strcmp(version, "1.0"))
        return err_set(e, "version: \"%.40s\" is not supported", version);
    if (!(t->normalizer = normalizer_new(json_object_get(j, "normalizer"), e)) ||
        !(t->splitter = splitter_new(json_object_get(j, "pre_tokenizer"), e)) ||
        !(t->post = post_new(json_object_get(j, "post_processor"), e)) ||
        !(t->decoder = decoder_new(json_object_get(j, "decoder"), e)) ||
        !(t->model = model_new(f, e)) ||
        added_load(&t->added, json_object_get(j, "added_tokens"), t->names.added, t->model, t->normalizer, e) < 0)
        return -1;
    list_tokens(t);
    return 0;
}

/* Makes a message one line: messages quote the file, which may hold any character. */
static void one_line(struct err *e)
{
    for (char *p = e ? e->text : ""; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

/* Says that there is no tokenizer.json. Old checkpoints have only what their tokenizer was made from: where one of
 * these files is there, the message tells how to make a tokenizer.json of it. */
static int no_tokenizer(const char *dir, const char *path, struct err *e)
{
    static const char *const older[] = { "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
                                         "vocab.json", "vocab.txt", "tiktoken.model" };
    char other[4096];
    for (size_t i = 0; i < sizeof older / sizeof *older; i++)
        if ((size_t)snprintf(other, sizeof other, "%s/%s", dir, older[i]) < sizeof other && file_exists(other))
            return err_set(e, "%.200s: No such file or directory; make it from %s (transformers: "
                              "AutoTokenizer.from_pretrained().save_pretrained())", path, older[i]);
    return err_set(e, "%.400s: No such file or directory", path);
}

/* Puts the name of the tokenizer.json of a folder into path; -1 where it is too long or there is no such file. */
static int find_file(char *path, size_t size, const char *dir, struct err *e)
{
    if ((size_t)snprintf(path, size, "%s/tokenizer.json", dir) >= size)
        return err_set(e, "the name of the model folder is too long");
    return file_exists(path) ? 0 : no_tokenizer(dir, path, e);
}

/* Each of the files that is there must be one that can be opened: a folder of that name, for one, shows here, before
 * anything large is read. */
int tokenizer_check(const char *dir, struct err *e)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                         "added_tokens.json", "chat_template.json", "chat_template.jinja" };
    char path[4096];
    if (find_file(path, sizeof path, dir, e) < 0)
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        int fd = file_exists(path) ? file_open(path, e) : -1;
        if (fd >= 0)
            close(fd);
        else if (file_exists(path))
            return -1;
    }
    return 0;
}

/* The names of special tokens are read before the parts are built, since they bring added tokens of their own. Errors
 * of the parts get the name of the file in front. */
struct tokenizer *tokenizer_open(const char *dir, struct err *e)
{
    char path[4096];
    struct json_file f;
    if (find_file(path, sizeof path, dir, e) < 0 || json_file_read(&f, path, false, true, e) < 0)
        return NULL;
    struct tokenizer *t = xcalloc(1, sizeof *t);
    int rc = token_names_read(&t->names, dir, json_object_get(f.root, "added_tokens"), e);
    if (rc == 0 && (rc = build(t, &f, e)) < 0)
        err_prefix(e, "%s", path);
    json_file_free(&f);
    if (rc < 0) {
        one_line(e);
        tokenizer_close(t);
        return NULL;
    }
    return t;
}

struct tokenizer *tokenizer_none(struct err *e)
{
    char empty[] = "{}";
    struct json_file f = { .root = json_pack("{s:{s:s, s:{}, s:s}}", "model", "type", "WordLevel", "vocab", "unk_token",
                                             ""),
                           .vocab = { empty, 2, 0 } };
    struct tokenizer *t = xcalloc(1, sizeof *t);
    t->names = (struct token_names){ json_object(), json_array() };
    int rc = f.root ? build(t, &f, e) : err_memory(e);
    json_decref(f.root);
    if (rc == 0)
        return t;
    tokenizer_close(t);
    return NULL;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    added_free(&t->added);
    normalizer_free(t->normalizer);
    splitter_free(t->splitter);
    model_free(t->model);
    post_free(t->post);
    decoder_free(t->decoder);
    free(t->token);
    token_names_free(&t->names);
    free(t);
}

/* ---- encoding ---- */

/* What the id stands for, or NULL where the vocabulary has no such id. */
static const struct token *token_of(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->size && t->token[id].text ? &t->token[id] : NULL;
}

/* Whether all of s is valid UTF-8. Stretches of ASCII pass eight bytes at a time. */
static bool valid_utf8(const char *s, size_t n)
{
    int len;
    for (size_t i = 0; i < n; i += (size_t)len) {
        uint64_t eight;
        for (; i + 8 <= n; i += 8) {
            memcpy(&eight, s + i, 8);
            if (eight & 0x8080808080808080ULL)
                break;
        }
        if (i == n)
            break;
        if (utf8_get(s + i, n - i, &len) == 0xfffd && len == 1)
            return false;
    }
    return true;
}

/* Makes the n bytes at s the only piece of t. Malformed parts become U+FFFD; then nobody can tell any more whose
 * which byte is, and all of them count as of the greatest origin. `from`: the origins, or NULL. */
static int take_text(const char *s, const uint8_t *from, size_t n, struct text *t, struct err *e)
{
    int len = 0;
    char *clean = NULL;
    if (n > TEXT_IN_MAX)
        return err_set(e, "the text has more than %d MiB", TEXT_IN_MAX >> 20);
    if (!valid_utf8(s, n)) {
        if (!(clean = malloc(3 * n)))
            return err_memory(e);
        n = utf8_sanitize(clean, s, n);
        s = clean;
    }
    buf_add(&t->bytes, s, n);
    t->traced = from != NULL;
    if (from && !clean)
        buf_add(&t->from, from, n);
    for (size_t i = 0; from && clean && i < n; i++)
        buf_byte(&t->from, FROM_OTHERS);
    if (n)
        utf8_get(s, n, &len);
    free(clean);
    struct piece all = { 0, (uint32_t)n, (uint32_t)len, -1, true };
    if (!buf_ok(&t->bytes) || !buf_ok(&t->from) || text_add_piece(t, all) < 0)
        return err_memory(e);
    return 0;
}

/* Lets two texts change places. */
static void swap(struct text *a, struct text *b)
{
    struct text c = *a;
    *a = *b;
    *b = c;
}

/* The origins of a text's bytes from `at` on, or NULL where they are not traced. */
static const uint8_t *origins(const struct text *t, size_t at)
{
    return t->traced ? (const uint8_t *)t->from.data + at : NULL;
}

/* Cuts the pieces of the text at the added tokens of a trie; those that are added tokens already stay. The bytes
 * stay, the pieces are new. `spare` lends its memory for them and takes the old ones. */
static int cut_added(const struct tokenizer *t, const struct trie *trie, struct text *text, struct text *spare,
                     struct err *e)
{
    spare->n = 0;
    for (size_t i = 0; i < text->n; i++) {
        const struct piece *p = &text->piece[i];
        if (p->id >= 0 ? text_add_piece(spare, *p) < 0
                       : added_cut(&t->added, trie, text->bytes.data + p->at, origins(text, p->at), p, spare, e) < 0)
            return err_memory(e);
    }
    text_take_pieces(text, spare);
    return 0;
}

/* Normalizes the pieces that are no added tokens; text and spare change places. Pieces of which nothing is left are
 * left out. The reference now cuts at added tokens and takes each piece for one of its own, and so the flag `origin`
 * becomes whether its head is not empty. */
static int normalize(const struct tokenizer *t, struct text *text, struct text *spare, struct regex_match *match,
                     struct err *e)
{
    text_clear(spare);
    spare->traced = text->traced;
    for (size_t i = 0; i < text->n; i++) {
        struct piece p = text->piece[i];
        if (p.id < 0 && normalizer_run(t->normalizer, text->bytes.data, origins(text, 0), &p, match, spare, &p, e) < 0)
            return -1;
        if (p.id < 0 && p.len)
            p = (struct piece){ p.at, p.len, p.head, -1, p.head > 0 };
        if ((p.id >= 0 || p.len) && text_add_piece(spare, p) < 0)
            return err_memory(e);
    }
    swap(text, spare);
    return 0;
}

/* Cuts and rewrites the text as the model wants it. Added tokens are found twice: most in the text as it came, those
 * with `normalized` after normalizing. */
static int prepare(const struct tokenizer *t, struct text *text, struct regex_match *match, struct err *e)
{
    struct text spare;
    int rc = 0;
    text_begin(&spare, text->effort);
    if (t->added.has_plain)
        rc = cut_added(t, &t->added.plain, text, &spare, e);
    if (rc == 0 && !normalizer_is_empty(t->normalizer))
        rc = normalize(t, text, &spare, match, e);
    if (rc == 0 && t->added.has_normalized)
        rc = cut_added(t, &t->added.normalized, text, &spare, e);
    if (rc == 0)
        rc = splitter_run(t->splitter, text, match, e);
    text_free(&spare);
    return rc;
}

/* A reserved token that stands among the ids from `from` on, which the model made of n bytes of plain text that hold
 * it; NULL: there is none. Vocabularies may have such tokens, and the lattice of Unigram then finds them like any
 * word. A token of one character is passed over, as text cannot be cut inside it. */
static const struct token *made_reserved(const struct tokenizer *t, const char *s, size_t n, const struct ids *out,
                                         size_t from)
{
    for (size_t i = from; i < out->n; i++) {
        const struct token *k = token_of(t, out->id[i]);
        int len;
        if (k && k->most < FROM_OTHERS && memmem(s, n, k->text, k->len)) {
            utf8_get(k->text, k->len, &len);
            if ((size_t)len < k->len)
                return k;
        }
    }
    return NULL;
}

/* Encodes plain text that is to hold no reserved token: where the model makes one, the text is cut behind the first
 * character of every place where it stands, and each part is encoded on its own. Each level rules out one token, so
 * the depth is bounded by their number. */
static int encode_plain(const struct tokenizer *t, const char *s, size_t n, struct ids *out, struct err *e)
{
    size_t from = out->n;
    if (model_encode(t->model, s, n, out, e) < 0)
        return -1;
    const struct token *k = made_reserved(t, s, n, out, from);
    if (!k)
        return 0;
    out->n = from;
    while (n) {
        const char *hit = memmem(s, n, k->text, k->len);
        int len = 0;
        if (hit)
            utf8_get(hit, k->len, &len);
        size_t part = hit ? (size_t)(hit - s) + (size_t)len : n;
        if (encode_plain(t, s, part, out, e) < 0)
            return -1;
        s += part;
        n -= part;
    }
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *s, size_t n, bool post, struct ids *out, struct err *e)
{
    return tokenizer_encode_chat(t, s, NULL, n, post, out, e);
}

/* Takes the text through all parts in turn. What a failure leaves behind is undone: out then holds what it held
 * before. Only a chat, whose origins are known, is kept from making reserved tokens of plain text. */
int tokenizer_encode_chat(const struct tokenizer *t, const char *s, const uint8_t *origin, size_t n, bool post,
                          struct ids *out, struct err *e)
{
    enum { SPARE = 1 << 20 };
    struct text text;
    struct effort effort = effort_for(n, SPARE);
    size_t from = out->n;
    text_begin(&text, &effort);
    struct regex_match *match = regex_match_new(n);
    int rc = match ? 0 : err_memory(e);
    if (rc == 0 && n)
        rc = take_text(s, origin, n, &text, e);
    if (rc == 0)
        rc = prepare(t, &text, match, e);
    for (size_t i = 0; i < text.n && rc == 0; i++) {
        const struct piece *p = &text.piece[i];
        if (p->id < 0)
            rc = origin ? encode_plain(t, text.bytes.data + p->at, p->len, out, e)
                        : model_encode(t->model, text.bytes.data + p->at, p->len, out, e);
        else if (ids_add(out, p->id) < 0)
            rc = err_memory(e);
    }
    if (rc == 0)
        rc = post_run(t->post, out, from, post, e);
    if (rc < 0)
        out->n = from;
    regex_match_free(match);
    text_free(&text);
    return rc;
}

/* ---- decoding ---- */

/* The text of the ids, appended to out. `inner`: they stand inside a running text (see decoder_run). Ids outside the
 * vocabulary give nothing, and neither do special tokens with `skip_special`. */
static int decode(const struct tokenizer *t, const int32_t *id, size_t n, bool skip_special, bool inner,
                  struct buf *out, struct err *e)
{
    enum { SPARE = 4096 };      /* a token may be on its own, and many of them make a text */
    struct text text;
    size_t total = 0;
    int rc = 0;
    for (size_t i = 0; i < n; i++)
        total += token_of(t, id[i]) ? token_of(t, id[i])->len : 0;
    struct effort effort = effort_for(total, SPARE);
    text_begin(&text, &effort);
    buf_add(&text.bytes, "", 0);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct token *k = token_of(t, id[i]);
        if (!k || (skip_special && k->special))
            continue;
        struct piece p = { (uint32_t)text.bytes.len, k->len, 0, -1, false };
        buf_add(&text.bytes, k->text, k->len);
        rc = text_add_piece(&text, p);
    }
    if (!buf_ok(&text.bytes))
        rc = buf_error(&text.bytes, e, "the decoded text is too long");
    else if (rc < 0)
        rc = err_memory(e);
    else if (text.n)
        rc = decoder_run(t->decoder, &text, inner, out, e);
    text_free(&text);
    return rc;
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, bool skip_special, struct buf *out,
                     struct err *e)
{
    return decode(t, id, n, skip_special, false, out, e);
}

/* A failure shows in `out` as it does where a buffer runs out of memory, so that callers ask once after many pieces. */
int tokenizer_piece(const struct tokenizer *t, int32_t id, struct buf *out)
{
    struct err e;
    int rc = decode(t, &id, 1, false, true, out, &e);
    if (rc < 0) {
        out->failed = true;
        out->starved |= e.status == 503;
    }
    return rc;
}

int tokenizer_size(const struct tokenizer *t) { return t->size; }

const char *tokenizer_token(const struct tokenizer *t, int32_t id)
{
    const struct token *k = token_of(t, id);
    return k ? k->content : NULL;
}

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
    const struct added_token *a = added_find(&t->added, token, strlen(token));
    return a ? a->id : vocab_find(&t->model->vocab, token, strlen(token));
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    const struct token *k = token_of(t, id);
    return k && k->special;
}

bool tokenizer_is_added(const struct tokenizer *t, int32_t id)
{
    const struct token *k = token_of(t, id);
    return k && k->added;
}

/* Kept in two places: the added tokens are asked when a text is cut, the list of tokens when the model has made ids. */
void tokenizer_reserve(struct tokenizer *t, int32_t id, enum origin most)
{
    if (!tokenizer_is_added(t, id))
        return;
    added_reserve(&t->added, id, most);
    if (t->token[id].most > most)
        t->token[id].most = (uint8_t)most;
}

bool tokenizer_streams(const struct tokenizer *t) { return decoder_streams(t->decoder); }

const json_t *tokenizer_names(const struct tokenizer *t) { return t->names.special; }

const char *tokenizer_bos(const struct tokenizer *t)
{
    return json_string_value(json_object_get(t->names.special, "bos_token"));
}
