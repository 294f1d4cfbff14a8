/* Byte pair encoding: a piece starts as characters, and the pair of neighbours
 * whose merge has the lowest rank is merged until none is left.
 *
 * The neighbours are a linked list in an array, the possible merges a heap of
 * (rank, position): n log n for a piece of n characters, however they repeat. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/fields.h"
#include "tokenizer/model.h"

/* What a pair of ids becomes. */
struct merge {
    int32_t  left, right; /* left = -1: empty slot */
    uint32_t rank;
    int32_t  to;
};

/* A loaded model, read-only from then on. */
struct bpe {
    struct merge *merge; /* owned, (slots): open addressing by (left, right) */
    size_t   slots, used; /* slots: a power of two */
    char    *prefix;     /* owned; of characters that do not begin a word    */
    char    *suffix;     /* owned; of the last character of a word           */
    size_t   prefix_len, suffix_len;
    bool     has_unk, fuse_unk, byte_fallback, ignore_merges;
    int32_t  unk;        /* -1: named, but not in the vocabulary */
    int32_t  byte[256];  /* ids of <0x..>         */
    int32_t  ascii[128]; /* ids of single characters, -1: none */
};

/* A part of the piece, at first one character; a link of the list. */
struct symbol {
    int32_t id;         /* -1: merged into the one on its left */
    int32_t prev, next; /* index, -1 at the ends */
};

/* A merge that was possible when it was queued. */
struct chance {
    uint32_t rank, at;
    int32_t  to;
};

/* The working memory for one piece; what small pieces need is in the struct itself, on the stack. */
enum { SMALL = 64 };
struct work {
    struct symbol *symbol; /* (n) */
    struct chance *heap;   /* (queued), a binary heap */
    size_t n, symbols_cap, queued, heap_cap;
    struct symbol small_symbol[SMALL];
    struct chance small_heap[2 * SMALL];
};

/* Where the search for a pair in the table of merges begins. */
static size_t pair_slot(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15ULL;
    return (size_t)(h >> 32) & (b->slots - 1);
}

/* The merge of two neighbouring ids, or NULL. The table is at most half full, so the search always ends. */
static const struct merge *find_merge(const struct bpe *b, int32_t left, int32_t right)
{
    for (size_t i = pair_slot(b, left, right); b->merge[i].left >= 0; i = (i + 1) & (b->slots - 1))
        if (b->merge[i].left == left && b->merge[i].right == right)
            return &b->merge[i];
    return NULL;
}

/* ---- one piece ---- */

/* The order of merges: the lower rank first, and of equal ranks the one further left. */
static bool before(struct chance a, struct chance b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

/* Moves entry i of the heap towards the root until its parent comes before it. */
static void sift_up(struct chance *heap, size_t i)
{
    struct chance c = heap[i];
    for (; i && before(c, heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

/* Moves entry i of a heap of n entries away from the root until it comes before its children. */
static void sift_down(struct chance *heap, size_t n, size_t i)
{
    struct chance c = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], c))
            break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

/* Makes room for `need` entries of `size` bytes in an array that begins as a field of struct work. array_ptr points
 * to the pointer to the array; `small` is that field. Returns -1 when the memory runs out; the array then stays as it
 * was. */
static int make_room(void *array_ptr, const void *small, size_t *cap, size_t need, size_t size)
{
    void *p, *old;
    if (need <= *cap)
        return 0;
    memcpy(&old, array_ptr, sizeof old);
    if (need > UINT32_MAX / 2 || !(p = realloc(old == small ? NULL : old, 2 * need * size)))
        return -1;
    if (old == small)
        memcpy(p, small, *cap * size);
    memcpy(array_ptr, &p, sizeof p);
    *cap = 2 * need;
    return 0;
}

/* Appends a symbol to the list. Returns -1 when the memory runs out. */
static int add_symbol(struct work *w, int32_t id)
{
    if (make_room(&w->symbol, w->small_symbol, &w->symbols_cap, w->n + 1, sizeof *w->symbol) < 0)
        return -1;
    int32_t i = (int32_t)w->n++;
    w->symbol[i] = (struct symbol){ id, i - 1, -1 };
    if (i)
        w->symbol[i - 1].next = i;
    return 0;
}

/* Appends a chance for the pair that starts at symbol `at`, if the pair can merge. `sorted`: keeps the heap in order;
 * without it the caller sorts once at the end, which is faster for many. Returns -1 when the memory runs out. */
static int queue_pair(const struct bpe *b, struct work *w, int32_t at, bool sorted)
{
    const struct symbol *left = &w->symbol[at];
    if (left->next < 0)
        return 0;
    const struct merge *m = find_merge(b, left->id, w->symbol[left->next].id);
    if (!m)
        return 0;
    if (make_room(&w->heap, w->small_heap, &w->heap_cap, w->queued + 1, sizeof *w->heap) < 0)
        return -1;
    w->heap[w->queued] = (struct chance){ m->rank, (uint32_t)at, m->to };
    if (sorted)
        sift_up(w->heap, w->queued);
    w->queued++;
    return 0;
}

/* Merges pairs in the order of their ranks until none can merge. Entries of the heap are not removed when a symbol
 * changes: an entry that no longer fits its pair is skipped when its turn comes. What is left are the symbols with id
 * >= 0. Returns -1 when the memory runs out. */
static int merge_all(const struct bpe *b, struct work *w)
{
    /* All pairs of the piece go into the heap unsorted, which is then put in order once. */
    for (size_t i = 0; i + 1 < w->n; i++)
        if (queue_pair(b, w, (int32_t)i, false) < 0)
            return -1;
    for (size_t i = w->queued / 2; i-- > 0;)
        sift_down(w->heap, w->queued, i);
    while (w->queued) {
        struct chance c = w->heap[0];
        w->heap[0] = w->heap[--w->queued];
        if (w->queued)
            sift_down(w->heap, w->queued, 0);
        struct symbol *left = &w->symbol[c.at];
        if (left->id < 0 || left->next < 0)
            continue;
        struct symbol *right = &w->symbol[left->next];
        const struct merge *m = find_merge(b, left->id, right->id);
        if (!m || m->to != c.to) /* one of the two has changed since */
            continue;
        /* The left symbol becomes the merged one; the right one leaves the list. Both have new neighbours now. */
        left->id = c.to;
        right->id = -1;
        left->next = right->next;
        if (left->next >= 0)
            w->symbol[left->next].prev = (int32_t)c.at;
        if ((left->prev >= 0 && queue_pair(b, w, left->prev, true) < 0) || queue_pair(b, w, (int32_t)c.at, true) < 0)
            return -1;
    }
    return 0;
}

/* The id of one character, or -1. A character that does not begin the word gets the prefix, and one that ends it the
 * suffix; the string with these is then in `name`. The caller asks buf_ok(name) whether that failed. */
static int32_t char_id(const struct token_model *m, const struct bpe *b, const char *s, size_t n, bool first, bool last,
                       struct buf *name)
{
    if ((first || !b->prefix_len) && (!last || !b->suffix_len)) {
        if (n == 1 && (uint8_t)*s < 128)
            return b->ascii[(uint8_t)*s];
        return vocab_find(&m->vocab, s, n);
    }
    buf_clear(name);
    if (!first)
        buf_add(name, b->prefix, b->prefix_len);
    buf_add(name, s, n);
    if (last)
        buf_add(name, b->suffix, b->suffix_len);
    return buf_ok(name) ? vocab_find(&m->vocab, name->data, name->len) : -1;
}

/* Adds an unknown character as its bytes. Returns 1, or 0 and adds nothing where one of them has no token, or -1 when
 * the memory runs out. */
static int add_bytes(const struct bpe *b, struct work *w, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b->byte[(uint8_t)s[i]] < 0)
            return 0;
    for (size_t i = 0; i < n; i++)
        if (add_symbol(w, b->byte[(uint8_t)s[i]]) < 0)
            return -1;
    return 1;
}

/* Makes the characters of a piece symbols. Unknown ones wait in `unknown`, so that neighbours can become one; the
 * order in which they are flushed (not in front of byte tokens) is that of the reference. */
static int split_chars(const struct token_model *m, struct work *w, const char *s, size_t n, struct buf *name,
                       struct err *e)
{
    const struct bpe *b = m->data;
    bool unknown = false;
    int len;
    for (size_t i = 0; i < n; i += (size_t)len) {
        utf8_get(s + i, n - i, &len);
        bool first = i == 0, last = i + (size_t)len == n, named;
        int32_t id = char_id(m, b, s + i, (size_t)len, first, last, name);
        if (!buf_ok(name))
            return err_memory(e);
        if (id >= 0) {
            if ((unknown && add_symbol(w, b->unk) < 0) || add_symbol(w, id) < 0)
                return err_memory(e);
            unknown = false;
            continue;
        }
        /* Bytes are those of the name, where the model puts something around the character. */
        named = (!first && b->prefix_len) || (last && b->suffix_len);
        if (b->byte_fallback) {
            int rc = named ? add_bytes(b, w, name->data, name->len) : add_bytes(b, w, s + i, (size_t)len);
            if (rc < 0)
                return err_memory(e);
            if (rc)
                continue;
        }
        if (!b->has_unk)
            continue;
        if (b->unk < 0)
            return err_set(e, "the model's unk_token is not in its vocabulary");
        if (unknown && !b->fuse_unk && add_symbol(w, b->unk) < 0)
            return err_memory(e);
        unknown = true;
    }
    return unknown && add_symbol(w, b->unk) < 0 ? err_memory(e) : 0;
}

/* The encode of struct token_model. With ignore_merges a piece that is a token is taken whole. Else it is split into
 * characters, whose symbols are merged; the ids left over go to out. Pieces of up to SMALL characters allocate
 * nothing. */
static int encode(const struct token_model *m, const char *s, size_t n, struct ids *out, struct err *e)
{
    const struct bpe *b = m->data;
    if (b->ignore_merges) {
        int32_t id = vocab_find(&m->vocab, s, n);
        if (id >= 0)
            return ids_add(out, id) < 0 ? err_memory(e) : 0;
    }
    struct work w;
    struct buf name;
    w.symbol = w.small_symbol;
    w.heap = w.small_heap;
    w.n = w.queued = 0;
    w.symbols_cap = SMALL;
    w.heap_cap = 2 * SMALL;
    buf_init(&name, 1 << 20);
    int rc = split_chars(m, &w, s, n, &name, e);
    if (rc == 0 && merge_all(b, &w) < 0)
        rc = err_memory(e);
    for (size_t i = 0; i < w.n && rc == 0; i++)
        if (w.symbol[i].id >= 0 && ids_add(out, w.symbol[i].id) < 0)
            rc = err_memory(e);
    if (w.symbol != w.small_symbol)
        free(w.symbol);
    if (w.heap != w.small_heap)
        free(w.heap);
    buf_free(&name);
    return rc;
}

/* ---- loading ---- */

/* Reads the next merge, "a b" or ["a", "b"], into two buffers. Returns 0, or 1 for the line "#version", which is no
 * merge, or -1 where the text is neither. tmp is working memory. */
static int halves(struct cursor *c, struct buf *left, struct buf *right, struct buf *tmp)
{
    const char *s;
    size_t n;
    buf_clear(left);
    buf_clear(right);
    if (cursor_take(c, '[')) {
        if (cursor_string(c, tmp, &s, &n) < 0)
            return -1;
        buf_add(left, s, n);
        if (!cursor_take(c, ',') || cursor_string(c, tmp, &s, &n) < 0)
            return -1;
        buf_add(right, s, n);
        return cursor_take(c, ']') ? 0 : -1;
    }
    if (cursor_string(c, tmp, &s, &n) < 0)
        return -1;
    if (n >= 8 && !memcmp(s, "#version", 8))
        return 1;
    const char *space = memchr(s, ' ', n);
    if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - s)))
        return -1;
    buf_add(left, s, (size_t)(space - s));
    buf_add(right, space + 1, n - (size_t)(space + 1 - s));
    return 0;
}

static int32_t find(const struct vocab *v, const struct buf *b)
{
    return vocab_find(v, b->data ? b->data : "", b->len);
}

static int not_there(const struct buf *b, struct err *e)
{
    return err_set(e, "\"%.60s\" is not in the vocabulary", b->data ? b->data : "");
}

/* Enters the merge of left and right; left then holds what they become. */
static int add_merge(struct token_model *m, struct bpe *b, uint32_t rank, struct buf *left, const struct buf *right,
                     struct err *e)
{
    int32_t l = find(&m->vocab, left), r = find(&m->vocab, right);
    if (l < 0 || r < 0)
        return not_there(l < 0 ? left : right, e);
    if (right->len < b->prefix_len)
        return err_set(e, "\"%.60s\" is shorter than the continuing_subword_prefix", right->data);
    if (right->len)
        buf_add(left, right->data + b->prefix_len, right->len - b->prefix_len);
    int32_t to = buf_ok(left) ? find(&m->vocab, left) : -1;
    if (to < 0)
        return not_there(left, e);
    size_t i = pair_slot(b, l, r);
    while (b->merge[i].left >= 0 && (b->merge[i].left != l || b->merge[i].right != r))
        i = (i + 1) & (b->slots - 1);
    b->used += b->merge[i].left < 0;
    b->merge[i] = (struct merge){ l, r, rank, to };
    return 0;
}

/* Doubles the table of merges and enters all of them anew. */
static void enlarge(struct bpe *b)
{
    struct merge *old = b->merge;
    size_t slots = b->slots;
    b->slots = slots ? slots * 2 : 1024;
    b->merge = xmalloc(b->slots * sizeof *b->merge);
    for (size_t i = 0; i < b->slots; i++)
        b->merge[i].left = -1;
    for (size_t i = 0; i < slots; i++) {
        if (old[i].left < 0)
            continue;
        size_t k = pair_slot(b, old[i].left, old[i].right);
        while (b->merge[k].left >= 0)
            k = (k + 1) & (b->slots - 1);
        b->merge[k] = old[i];
    }
    free(old);
}

/* Reads model.merges, whose text is at c, into the table. The rank of a merge is its place in the list. The message
 * of a failure names that place. */
static int load_merges(struct token_model *m, struct bpe *b, struct cursor c, struct err *e)
{
    struct buf left, right, tmp;
    uint32_t rank = 0;
    long i = 0;
    int rc = 0;
    buf_init(&left, 4 << 20);
    buf_init(&right, 4 << 20);
    buf_init(&tmp, 4 << 20);
    do
        enlarge(b);
    while (b->slots < c.n / 12); /* most merges take 12 bytes or more: half full */
    cursor_take(&c, '[');
    if (!cursor_take(&c, ']')) {
        do {
            int got = halves(&c, &left, &right, &tmp);
            if (b->used * 2 >= b->slots)
                enlarge(b);
            if (got < 0)
                rc = err_set(e, "expected \"a b\" or [\"a\", \"b\"]");
            else if (got == 0)
                rc = add_merge(m, b, rank++, &left, &right, e);
            i++;
        } while (rc == 0 && cursor_take(&c, ','));
        if (rc == 0 && !cursor_take(&c, ']'))
            rc = err_set(e, "expected a comma behind it");
    }
    buf_free(&left);
    buf_free(&right);
    buf_free(&tmp);
    return rc < 0 ? err_prefix(e, "model.merges[%ld]", i - 1) : 0;
}

static char *copy(const char *s, size_t n)
{
    char *p = xmalloc(n + 1);
    if (n)
        memcpy(p, s, n);
    p[n] = 0;
    return p;
}

static void bpe_free(void *data)
{
    struct bpe *b = data;
    free(b->merge);
    free(b->prefix);
    free(b->suffix);
    free(b);
}

/* Loads a BPE model: its fields, the vocabulary, the ids of bytes and ASCII characters, and the merges. model_free()
 * frees what is there after a failure. */
int bpe_load(struct token_model *m, const struct json_file *f, const json_t *o, struct err *e)
{
    const char *prefix, *suffix, *unk;
    size_t unk_len;
    json_t *merges;
    struct bpe *b = xcalloc(1, sizeof *b);
    m->data = b;
    m->free = bpe_free;
    m->encode = encode;
    if (vocab_load(m, f, o, e) < 0 || field_array(o, "model", "merges", &merges, e) < 0 ||
        field_string_or_null(o, "model", "continuing_subword_prefix", &prefix, &b->prefix_len, e) < 0 ||
        field_string_or_null(o, "model", "end_of_word_suffix", &suffix, &b->suffix_len, e) < 0 ||
        field_string_or_null(o, "model", "unk_token", &unk, &unk_len, e) < 0 ||
        field_bool_or(o, "model", "fuse_unk", &b->fuse_unk, e) < 0 ||
        field_bool_or(o, "model", "byte_fallback", &b->byte_fallback, e) < 0 ||
        field_bool_or(o, "model", "ignore_merges", &b->ignore_merges, e) < 0)
        return -1;
    b->prefix = copy(prefix, b->prefix_len);
    b->suffix = copy(suffix, b->suffix_len);
    b->has_unk = unk != NULL;
    b->unk = unk ? vocab_find(&m->vocab, unk, unk_len) : -1;
    vocab_byte_tokens(&m->vocab, b->byte);
    for (int c = 0; c < 128; c++)
        b->ascii[c] = vocab_find(&m->vocab, &(char){ (char)c }, 1);
    return load_merges(m, b, f->merges, e);
}
