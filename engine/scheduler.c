/* engine/scheduler.c - see scheduler.h for the rules. In the order of a step: rows for those that run (give_rows, with
 * pages from need_pages), then who is let in (admit), then the image to encode. What a request holds changes in four
 * places alone: it gets pages in need_pages() and take_prefix(), gives back all of them in give_back_pages(), and those
 * behind a window in give_back_unseen(). */
#include "engine/scheduler.h"

#include <assert.h>
#include <string.h>

static int pages_of(int tokens) { return (tokens + KV_PAGE - 1) / KV_PAGE; }

static bool goes_before(const struct request *a, const struct request *b)
{
    if (a->params.priority != b->params.priority)
        return a->params.priority < b->params.priority;
    return a->number < b->number;
}

/* A request that was put back returns to where its age belongs, which is nearly always the front of the waiting list; a
 * new one goes to the end at once. */
void list_push(struct request_list *l, struct request *r)
{
    struct request *after = l->last;
    while (after && goes_before(r, after))
        after = after->prev;
    r->prev = after;
    r->next = after ? after->next : l->first;
    *(r->next ? &r->next->prev : &l->last) = r;
    *(after ? &after->next : &l->first) = r;
    l->n++;
}

void list_remove(struct request_list *l, struct request *r)
{
    *(r->prev ? &r->prev->next : &l->first) = r->next;
    *(r->next ? &r->next->prev : &l->last) = r->prev;
    r->prev = r->next = NULL;
    l->n--;
}

/* Hash of all tokens up to the end of page i, images included by their content. */
static struct hash page_hash(const struct request *r, int i)
{
    struct {
        int32_t ids[KV_PAGE];
        int64_t stretched;
        struct { struct hash key; int64_t offset; } image[KV_PAGE];
    } block;
    int begin = i * KV_PAGE, end = begin + KV_PAGE, n = 0;
    memset(&block, 0, sizeof block);
    block.stretched = r->stretched;
    memcpy(block.ids, r->ids + begin, sizeof block.ids);
    for (int k = 0; k < r->prompt->n_images; k++) {
        const struct prompt_image *img = &r->prompt->images[k];
        if (img->start < end && img->end > begin) {
            block.image[n].key = img->key;
            block.image[n++].offset = img->start - begin;
        }
    }
    struct hash parent = i ? r->hash[i - 1] : r->salt;
    return hash_chain(parent, &block, offsetof(__typeof__(block), image) + (size_t)n * sizeof block.image[0]);
}

/* The hashes of the first pages, as many as are full. Each one contains the one before it, and those that are there are
 * never computed twice: the ids of a request only grow at the end. */
static void hash_pages(struct request *r, int full_pages)
{
    for (; r->n_hashed < full_pages; r->n_hashed++)
        r->hash[r->n_hashed] = page_hash(r, r->n_hashed);
}

/* Last page first: the beginning of a prompt, which others share more often, is then handed out last. */
static void give_back_pages(struct scheduler *s, struct request *r)
{
    for (int c = 0; c < TEXT_CACHES; c++) {
        struct held *h = &r->kv[c];
        for (int i = h->n - 1; i >= h->gone; i--)
            pages_unref(s->cache[c].pages, h->page[i]);
        h->n = h->gone = 0;
    }
    r->n_computed = 0;
}

/* Has r become so long that all of its tokens are rotated by the other table? Then its pages hold nothing of use, and
 * it begins again, as the reference does. */
static void stretch(struct scheduler *s, struct request *r)
{
    if (!s->stretch_after || r->stretched || r->n_ids <= s->stretch_after)
        return;
    give_back_pages(s, r);
    r->n_hashed = 0;
    r->stretched = true;
}

/* Gives back all that a request holds, pages and images. It may be admitted again later, from its beginning. */
void scheduler_release(struct scheduler *s, struct request *r)
{
    give_back_pages(s, r);
    for (int i = 0; i < r->prompt->n_images; i++)
        if (r->images[i]) {
            images_release(s->images, r->images[i]);
            r->images[i] = NULL;
        }
}

/* Takes a request that is put back out of the step that is being planned, where it may already have got rows. */
static void drop_from_step(struct step *out, const struct request *r)
{
    for (int i = 0; i < out->n_seqs; i++)
        if (out->seq[i].r == r) {
            out->n_rows -= out->seq[i].n;
            out->n_out -= step_drawn(&out->seq[i]);
            out->n_states -= out->seq[i].yield.rows - step_drawn(&out->seq[i]);
            memmove(&out->seq[i], &out->seq[i + 1], (size_t)(out->n_seqs - i - 1) * sizeof out->seq[0]);
            out->n_seqs--;
            return;
        }
}

/* The cache that has to give r a page before its first `len` tokens have all they need; -1: none. */
static int lacking(const struct scheduler *s, const struct request *r, int len)
{
    for (int c = 0; c < TEXT_CACHES; c++)
        if (s->cache[c].pages && r->kv[c].n * KV_PAGE < len)
            return c;
    return -1;
}

/* Pages for the first `len` tokens of r; puts back younger requests, at last r itself (then -1). */
static int need_pages(struct scheduler *s, struct step *out, struct request *r, int len)
{
    for (int c; (c = lacking(s, r, len)) >= 0;) {
        struct held *h = &r->kv[c];
        int id = pages_alloc(s->cache[c].pages);
        if (id >= 0) {
            h->page[h->n++] = id;
            continue;
        }
        struct request *victim = s->running.last;
        drop_from_step(out, victim);
        list_remove(&s->running, victim);
        scheduler_release(s, victim);
        list_push(&s->waiting, victim);
        s->preemptions++;
        if (victim == r)
            return -1;
    }
    return 0;
}

/* Does image i have to be encoded before the rest of the prompt can be computed? Its rows are needed only if some of
 * its placeholders are still to come. With cross attention every later token reads its keys and values, also when the
 * placeholders themselves were found in the prefix cache. */
static bool needs_encoding(const struct scheduler *s, const struct request *r, int i)
{
    const struct prompt_image *img = &r->prompt->images[i];
    if (r->params.share_image && !r->images[i]->shared)
        return true;
    return !r->images[i]->encoded && (s->image_kv || img->end > r->n_computed);
}

/* How far r can be computed before an image has to be encoded. */
static int computable(const struct scheduler *s, const struct request *r)
{
    if (r->params.share_image)
        return r->n_computed;          /* what is wanted is the image's vector alone */
    for (int i = 0; i < r->prompt->n_images; i++)
        if (needs_encoding(s, r, i)) {
            int start = r->prompt->looks_ahead || r->prompt->whole ? 0 : r->prompt->images[i].start;
            return start > r->n_computed ? start : r->n_computed;
        }
    return r->n_ids;
}

int step_known_token(const struct step_seq *q, int k)
{
    int row = q->start + q->n - q->yield.rows + k;
    return row < request_telling_rows(q->r) ? q->r->ids[row + 1] : -1;
}

/* Of a prompt that is pooled: states from the first one on that was not added yet. */
static struct yield yield_states(const struct request *r, int end)
{
    int first = pooled_next(&r->pooled, r->prompt->n);
    first = r->n_computed > first ? r->n_computed : first;
    return first < end ? (struct yield){ YIELD_STATES, end - first } : (struct yield){ YIELD_NOTHING, 0 };
}

/* A request has its next token when the last one that is known has been computed; before that its rows yield something
 * only if the logprobs of its prompt are asked for, and are not told yet. */
static struct yield yield_of(const struct request *r, int n)
{
    int end = r->n_computed + n, telling = request_telling_rows(r), first = end - (end == r->n_ids);
    if (r->params.pooling)
        return yield_states(r, end);
    if (r->params.probe == PROBE_IMAGES)
        return (struct yield){ YIELD_NOTHING, 0 };
    if (r->n_told < telling)
        first = r->n_computed > r->n_told ? r->n_computed : r->n_told;
    int rows = first < end ? end - first : 0;
    return rows ? (struct yield){ YIELD_TOKENS, rows } : (struct yield){ YIELD_NOTHING, 0 };
}

/* Where the tokens of an image see each other both ways, a step has all of them or none: n rows of r, or fewer, so that
 * the last one does not stand before another that it sees; or more, if only the whole run is left to compute and the
 * step has room for it. */
static int whole_spans(const struct request *r, int n, int room)
{
    int first = r->n_computed, last = first + n - 1;
    if (n <= 0)
        return n;
    struct token_span span = prompt_span(r->prompt, last);
    if (span.end == last + 1)
        return n;
    if (span.first > first)
        return span.first - first;
    return span.end - first <= room ? span.end - first : 0;
}

/* Gives r as many rows as the budget, its images and the pages allow, and no more than can yield what they have to. -1:
 * it was put back. */
static int give_rows(struct scheduler *s, struct step *out, struct request *r)
{
    int n = computable(s, r) - r->n_computed, left = out->most_rows - out->n_rows;
    n = whole_spans(r, n < left ? n : left, s->max_rows - out->n_rows);
    if (s->whole && r->n_computed + n < r->n_ids)
        return 0;
    struct yield yield = yield_of(r, n);
    int over = (yield.kind == YIELD_TOKENS ? yield.rows : 0) - (s->max_out - out->n_out);
    n -= n > 0 && over > 0 ? over : 0;
    if (n <= 0)
        return 0;
    if (need_pages(s, out, r, r->n_computed + n) < 0)
        return -1;
    struct step_seq *q = &out->seq[out->n_seqs++];
    *q = (struct step_seq){ r, r->n_computed, n, yield_of(r, n) };
    out->n_rows += n;
    out->n_out += step_drawn(q);
    out->n_states += q->yield.rows - step_drawn(q);
    return 0;
}

/* All but the newest token have been computed: what is missing is one row, and gives the next token. */
static bool decoding(const struct request *r) { return r->n_ids - r->n_computed == 1; }

/* give_rows() puts back only requests behind r, or r itself when it is the last: r->next stays right. */
static void plan_running(struct scheduler *s, struct step *out, bool decodes)
{
    for (struct request *r = s->running.first; r; r = r->next)
        if (decoding(r) == decodes && give_rows(s, out, r) < 0)
            return;
}

/* All images or none: so nobody waits while holding some. */
static int acquire_images(struct scheduler *s, struct request *r)
{
    for (int i = 0; i < r->prompt->n_images; i++) {
        r->images[i] = images_acquire(s->images, r->prompt->images[i].key, &r->prompt->images[i].plan);
        if (!r->images[i]) {
            scheduler_release(s, r);
            return -1;
        }
    }
    return 0;
}

/* A request that waits for room comes by at every step: its images are counted as looked up when it is first let in. */
static void count_images(struct scheduler *s, const struct request *r)
{
    s->images->queries += (uint64_t)r->prompt->n_images;
    for (int i = 0; i < r->prompt->n_images; i++)
        s->images->hits += r->images[i]->encoded;
}

/* Without a prefix cache the answers to one prompt share its pages all the same: their salt is theirs alone then. */
static bool shares(const struct scheduler *s, const struct request *r)
{
    return !s->whole && (s->prefix_cache || r->group);
}

/* At least the last token is left to compute, and all rows that have to yield something. */
static int most_cached(const struct scheduler *s, const struct request *r)
{
    int most = r->n_told < request_telling_rows(r) ? r->n_told : r->n_ids - 1;
    int wanted = pooled_next(&r->pooled, r->prompt->n);
    most = r->params.pooling && wanted < most ? wanted : most;
    return shares(s, r) && r->params.probe != PROBE_IMAGES ? most / KV_PAGE : 0;
}

void scheduler_prepare(struct scheduler *s)
{
    struct request *r = s->waiting.first;
    for (int i = s->running.n; r && i < s->max_seqs; i++, r = r->next) {
        stretch(s, r);
        hash_pages(r, most_cached(s, r));
    }
}

/* The first page that a token sees which comes behind n others of the prompt: the pages before it are not needed any
 * more. */
static int first_page(const struct request *r, int window, int n)
{
    return window ? prompt_sees_from(r->prompt, n, window) / KV_PAGE : 0;
}

int scheduler_held(int window, int len, int max_rows)
{
    int all = pages_of(len), most = (window + max_rows) / KV_PAGE + 2;
    return window && most < all ? most : all;
}

/* How many of the first n pages of r's tokens are known in a cache, so that the token behind them finds all that it
 * sees: from the first one on, or those of the last window. */
static int known_pages(const struct scheduler *s, const struct request *r, int c, int n)
{
    int best = 0, row = 0, window = s->cache[c].window;
    for (int i = 0; i < n; i++) {
        row = pages_find(s->cache[c].pages, r->hash[i]) >= 0 ? row + 1 : 0;
        if (row >= i + 1 - first_page(r, window, (i + 1) * KV_PAGE))
            best = i + 1;
        else if (!window)
            break;
    }
    return best;
}

/* The longest beginning of r that all caches know. What one of them knows of a shorter one may be less than it knows of
 * a longer one, so they are asked until they agree. */
static int known_prefix(const struct scheduler *s, const struct request *r, int most)
{
    for (int n = most, before; ; ) {
        before = n;
        for (int c = 0; c < TEXT_CACHES; c++)
            n = s->cache[c].pages ? known_pages(s, r, c, n) : n;
        if (n == before)
            return n;
    }
}

/* Takes the pages of the longest beginning of r that is known, as far as they are seen from behind it. What it finds is
 * counted when r is let in for the first time and not when it comes back. */
static void take_prefix(struct scheduler *s, struct request *r)
{
    int most = most_cached(s, r);
    hash_pages(r, most);
    int n = known_prefix(s, r, most);
    for (int c = 0; c < TEXT_CACHES; c++) {
        if (!s->cache[c].pages)
            continue;
        struct held *h = &r->kv[c];
        h->gone = first_page(r, s->cache[c].window, n * KV_PAGE);
        for (h->n = h->gone; h->n < n; h->n++) {
            h->page[h->n] = pages_find(s->cache[c].pages, r->hash[h->n]);
            pages_ref(s->cache[c].pages, h->page[h->n]);
        }
    }
    r->n_computed = n * KV_PAGE;
    if (r->n_cached < 0) {
        r->n_cached = r->n_computed;
        s->prefix_queries += (uint64_t)r->n_ids;
        s->prefix_hits += (uint64_t)r->n_computed;
    }
}

/* Another answer to the same prompt is computing it. */
static bool waits_for_leader(const struct request *r)
{
    return r->group && r->group->leader != r && !r->group->computed;
}

/* Can r get the pages that it will hold at one time, beside those that it has? */
static bool provide(const struct scheduler *s, const struct request *r)
{
    for (int c = 0; c < TEXT_CACHES; c++) {
        const struct held *h = &r->kv[c];
        int most = scheduler_held(s->cache[c].window, r->n_ids, s->max_rows), rest = pages_of(r->n_ids) - h->n;
        int missing = most - (h->n - h->gone) < rest ? most - (h->n - h->gone) : rest;
        if (s->cache[c].pages && !pages_provide(s->cache[c].pages, missing > 0 ? missing : 0))
            return false;
    }
    return true;
}

/* Moves r from those that wait to those that run, with its images, the pages of its known prefix, and rows in this
 * step. -1: there is no room for it, and it holds nothing; out->starved names it if waiting would not help. */
static int let_in(struct scheduler *s, struct step *out, struct request *r)
{
    if (acquire_images(s, r) < 0) {
        out->starved = s->images->starved ? r : NULL;
        return -1;
    }
    if (r->n_cached < 0)
        count_images(s, r);
    stretch(s, r);
    take_prefix(s, r);
    if (!provide(s, r)) {                          /* it would only be put back again */
        scheduler_release(s, r);
        out->starved = s->running.n == 0 ? r : NULL;
        return -1;
    }
    list_remove(&s->waiting, r);
    list_push(&s->running, r);
    return give_rows(s, out, r);
}

/* Rule 3. Whoever is let in has all its images in the cache, the pages of its known prefix, and can get pages for the
 * rest: the first in line for whom that cannot be had stops the others too, so that nobody is passed for ever. Those
 * that wait for another one to compute their prompt are passed: that one is before them, in a list or running. */
static void admit(struct scheduler *s, struct step *out)
{
    for (struct request *r = s->waiting.first, *next; r; r = next) {
        next = r->next;
        if (s->running.n == s->max_seqs || out->n_rows >= out->most_rows)
            return;
        if (!waits_for_leader(r) && let_in(s, out, r) < 0)
            return;
    }
}

/* Rule 4: the first image that anybody who runs is waiting for. The list is in order of age, so the oldest request goes
 * first. */
static void plan_encoding(const struct scheduler *s, struct step *out)
{
    for (struct request *r = s->running.first; r; r = r->next)
        for (int i = 0; i < r->prompt->n_images; i++)
            if (needs_encoding(s, r, i)) {
                out->encode = r;
                out->encode_image = i;
                return;
            }
}

/* Rule 1 alone. It is also how scheduler_plan() begins, which is why it resets the whole step. */
void scheduler_plan_single(struct scheduler *s, struct step *out)
{
    out->n_seqs = out->n_rows = out->n_out = out->n_states = 0;
    out->most_rows = s->max_rows;
    out->encode = out->starved = NULL;
    for (struct request *r = s->running.first; r; r = r->next)
        stretch(s, r);
    plan_running(s, out, true);
    out->n_single = out->n_rows;
}

/* Where others get their next token in this step, prompts get fewer rows. After somebody was put back for want of pages
 * nobody is let in at the same step: he would take the pages that were just given up. */
void scheduler_plan(struct scheduler *s, struct step *out)
{
    uint64_t before = s->preemptions;
    scheduler_plan_single(s, out);
    if (out->n_rows > 0 && out->n_rows + s->beside_rows < s->max_rows)
        out->most_rows = out->n_rows + s->beside_rows;
    plan_running(s, out, false);
    if (s->preemptions == before)
        admit(s, out);
    plan_encoding(s, out);
}

/* Makes the pages from .. full - 1 known, in all caches. */
static void publish(struct scheduler *s, struct request *r, int from, int full)
{
    hash_pages(r, full);
    for (int c = 0; c < TEXT_CACHES; c++)
        for (int i = from; s->cache[c].pages && i < full; i++)
            pages_publish(s->cache[c].pages, r->kv[c].page[i], r->hash[i]);
}

/* Gives back the pages behind the window of r's next token. The first ones go first: they are the first to be handed
 * out again. */
static void give_back_unseen(struct scheduler *s, struct request *r)
{
    for (int c = 0; c < TEXT_CACHES; c++) {
        struct held *h = &r->kv[c];
        int first = first_page(r, s->cache[c].window, r->n_computed);
        for (; s->cache[c].pages && h->gone < first; h->gone++)
            pages_unref(s->cache[c].pages, h->page[h->gone]);
    }
}

/* The keys and values of n more tokens are in the request's pages. Pages that became full with them may now be shared
 * by others that begin with the same tokens, even while this request still runs. */
void scheduler_done(struct scheduler *s, struct request *r, int n)
{
    int from = r->n_computed / KV_PAGE;
    r->n_computed += n;
    assert(r->n_computed <= r->n_ids && lacking(s, r, r->n_computed) < 0);
    if (shares(s, r))
        publish(s, r, from, r->n_computed / KV_PAGE);
    give_back_unseen(s, r);
    if (r->n_computed >= r->prompt->n)
        request_lead(r);
}
