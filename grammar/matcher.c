/* The pushdown automaton at work. Open calls are a list whose head is the innermost one; lists share their ends, and
 * equal lists are the same one, so that two ways are equal if their numbers are. What a walk through the tree of tokens
 * makes of calls and ways lies on two stacks and is dropped as the walk goes back.
 *
 * A mask is put together of what each way's place knows of all tokens in advance (known.h) and of walks from its exits,
 * where the context counts. */
#include "grammar/matcher.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "grammar/known.h"
#include "grammar/program.h"
#include "grammar/trie.h"

enum {
    BOTTOM = 0,                /* the list of no open calls                                */
    BUCKETS = 256,
    MAX_FRAMES = 200000,
    WORK_AT_ONCE = 1500000,    /* steps of some 50 ns that a mask may take                 */
    WORK_PER_TOKEN = 200000,   /* that every token adds                                    */
    CHEAP = 4,                 /* so many nodes that become known cost as much as a step   */
    SEEN = 16,                 /* likewise ways that are compared with a new one           */
};

struct frame {                 /* an open call */
    int32_t jump, count;       /* which, and how often its rule is through already */
    int32_t up;                /* the call around it                               */
    int32_t depth;
    int32_t next;              /* of the same bucket; -1                           */
};

struct way { int32_t place, ticks, frame; };

struct matcher {
    struct grammar *g;         /* owned reference */
    struct tokens *t;          /* borrowed        */
    struct frame *frame;       /* owned */
    size_t n_frames, cap_frames;
    int32_t bucket[BUCKETS];
    struct way *way;           /* owned: those of now, behind them those of the walk */
    size_t n_ways, cap_ways;
    size_t now;                /* how many are of now             */
    size_t since;              /* first one of the set that is being made           */
    bool   done;               /* the text may end where that set is                */
    bool   can_end;            /* it may end now                                    */
    int64_t credit, work;      /* work that is left, and that was done              */
    bool   starved;
    uint32_t *mask;            /* borrowed, during matcher_mask()                   */
};

/* ---- lists of open calls ---- */

static unsigned bucket_of(int32_t jump, int32_t count, int32_t up)
{
    uint32_t h = (uint32_t)jump * 2654435761u ^ (uint32_t)count * 40503u ^ (uint32_t)up * 2246822519u;
    return (h ^ h >> 15) % BUCKETS;
}

/* The list of open calls with one more before `up`. Equal lists are the same one, so it is looked up before it is made.
 * -1: too deep, too many, or memory, which m->starved tells apart. */
static int32_t push(struct matcher *m, int32_t jump, int32_t count, int32_t up)
{
    unsigned b = bucket_of(jump, count, up);
    for (int32_t f = m->bucket[b]; f >= 0; f = m->frame[f].next)
        if (m->frame[f].jump == jump && m->frame[f].count == count && m->frame[f].up == up)
            return f;
    int32_t depth = m->frame[up].depth + 1;
    if (depth > GRAMMAR_MAX_DEPTH || m->n_frames == MAX_FRAMES)
        return -1;
    if (grow(&m->frame, &m->cap_frames, m->n_frames + 1, sizeof *m->frame) < 0) {
        m->starved = true;
        return -1;
    }
    m->frame[m->n_frames] = (struct frame){ jump, count, up, depth, m->bucket[b] };
    return m->bucket[b] = (int32_t)m->n_frames++;
}

/* Forgets the frames that came last. */
static void pop_frames(struct matcher *m, size_t n)
{
    while (m->n_frames > n) {
        const struct frame *f = &m->frame[--m->n_frames];
        m->bucket[bucket_of(f->jump, f->count, f->up)] = f->next;
    }
}

/* ---- sets of ways ---- */

static void begin_set(struct matcher *m)
{
    m->since = m->n_ways;
    m->done = false;
}

static void enter(struct matcher *m, int32_t place, int32_t ticks, int32_t frame);

/* A rule is through: where it was called from, the text goes on behind the call, or with the rule again. */
static void leave(struct matcher *m, int32_t frame)
{
    if (frame == BOTTOM) {
        m->done = true;
        return;
    }
    struct frame f = m->frame[frame];
    const struct jump *j = &m->g->jump[f.jump];
    int32_t count = f.count + 1;
    if (count >= j->min)
        enter(m, j->to, 0, f.up);
    if (count < j->max) {
        int32_t again = push(m, f.jump, j->max == INT32_MAX && count >= j->min ? j->min : count, f.up);
        if (again >= 0)
            enter(m, m->g->part[j->rule].start, 0, again);
    }
}

/* Everything that a place leads to without a byte. No more is followed than the depth allows the text to be ended
 * within. */
static void expand(struct matcher *m, int32_t place, int32_t ticks, int32_t frame)
{
    const struct place *p = &m->g->place[place];
    if (p->accept && ticks >= m->g->part[p->rule].min)
        leave(m, frame);
    for (int32_t i = p->jump; i < p->jump + p->n_jumps; i++) {
        const struct jump *j = &m->g->jump[i];
        if (m->frame[frame].depth + m->g->place[j->to].height > GRAMMAR_MAX_DEPTH)
            continue;
        int32_t inner = j->tail ? frame : push(m, i, 0, frame);
        if (inner >= 0)
            enter(m, m->g->part[j->rule].start, 0, inner);
    }
}

/* One more way, unless the set has it. Of a place without steps only what it leads to is kept. */
static void enter(struct matcher *m, int32_t place, int32_t ticks, int32_t frame)
{
    const struct place *p = &m->g->place[place];
    m->credit -= 1 + (int64_t)(m->n_ways - m->since) / SEEN;
    m->work++;
    if (m->frame[frame].depth + p->height > GRAMMAR_MAX_DEPTH)
        return;
    if (p->n_steps || p->n_jumps) {
        if (m->n_ways - m->since >= MATCHER_WAYS)
            return;
        for (size_t i = m->since; i < m->n_ways; i++)
            if (m->way[i].place == place && m->way[i].frame == frame && m->way[i].ticks == ticks)
                return;
        if (grow(&m->way, &m->cap_ways, m->n_ways + 1, sizeof *m->way) < 0) {
            m->starved = true;
            return;
        }
        m->way[m->n_ways++] = (struct way){ place, ticks, frame };
    }
    expand(m, place, ticks, frame);
}

/* By a step into a place; ticks are counted, and those of a rule that does not count stay 0. */
static void step_into(struct matcher *m, int32_t place, int32_t ticks, int32_t frame)
{
    const struct place *p = &m->g->place[place];
    const struct part *r = &m->g->part[p->rule];
    if (r->counts) {
        if (!p->late && ticks >= r->max)
            return;                    /* not even a part of one more */
        if (p->late && ticks < r->min)
            return;
        bool capped = r->max == INT32_MAX && ticks >= r->min;
        ticks += p->tick && !capped;
    }
    enter(m, place, ticks, frame);
}

/* The step of `p` that `byte` takes, by halving: steps are disjoint and in order. NULL: none, the byte is not allowed
 * here. */
static const struct step *find_step(const struct grammar *g, const struct place *p, uint8_t byte)
{
    int lo = 0, hi = p->n_steps;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        const struct step *s = &g->step[p->step + mid];
        if (byte < s->lo)
            hi = mid;
        else if (byte > s->hi)
            lo = mid + 1;
        else
            return s;
    }
    return NULL;
}

/* The set that a byte makes of the ways from .. to - 1, behind all others. false: it is empty and not an end. */
static bool take(struct matcher *m, size_t from, size_t to, uint8_t byte)
{
    begin_set(m);
    for (size_t i = from; i < to; i++) {
        struct way w = m->way[i];
        const struct step *s = find_step(m->g, &m->g->place[w.place], byte);
        m->credit--;
        if (s)
            step_into(m, s->to, w.ticks, w.frame);
    }
    return m->n_ways > m->since || m->done;
}

/* ---- masks ---- */

/* A bit for every byte with which any of the ways from .. to - 1 goes on: most children of a node are then passed over
 * without looking at the ways. */
static void bytes_of(const struct matcher *m, size_t from, size_t to, uint64_t out[4])
{
    memset(out, 0, 4 * sizeof *out);
    for (size_t i = from; i < to; i++) {
        const struct place *p = &m->g->place[m->way[i].place];
        for (int k = 0; k < p->n_steps; k++) {
            const struct step *s = &m->g->step[p->step + k];
            for (int word = s->lo / 64; word <= s->hi / 64; word++) {
                int lo = s->lo > word * 64 ? s->lo - word * 64 : 0;
                int hi = s->hi < word * 64 + 63 ? s->hi - word * 64 : 63;
                out[word] |= (hi - lo == 63 ? ~0ull : ((1ull << (hi - lo + 1)) - 1)) << lo;
            }
        }
    }
}

/* Allows the tokens below a node that the ways from .. to - 1 allow. Each byte of the tree makes a set of ways behind
 * the last; on the way back it is dropped, with the calls that were opened for it. Stops where the credit is used up,
 * which the caller sees by its sign. */
static void walk(struct matcher *m, int32_t node, size_t from, size_t to)
{
    const struct trie_node *n = m->t->node;
    uint64_t bytes[4];
    bytes_of(m, from, to, bytes);
    for (int32_t child = node + 1; child < n[node].end; child = n[child].end) {
        uint8_t byte = n[child].byte;
        m->credit--;
        m->work++;
        if (!(bytes[byte / 64] >> byte % 64 & 1))
            continue;
        if (m->credit < 0)
            return;
        size_t frames = m->n_frames, ways = m->n_ways;
        if (take(m, from, to, byte)) {
            tokens_allow(m->t, n[child].token, m->mask);
            if (n[child].end > child + 1 && m->n_ways > ways)
                walk(m, child, ways, m->n_ways);
        }
        m->n_ways = ways;
        pop_frames(m, frames);
    }
}

/* The exits of a place's knowledge, those at the same place together: the ways that leave it there are always the
 * same. */
static void walk_exits(struct matcher *m, const struct known_place *k, const struct way *w, int32_t first)
{
    for (int32_t i = 0; i < k->n_exits && m->credit >= 0;) {
        int32_t place = k->exit[i].place;
        size_t frames = m->n_frames, ways = m->n_ways;
        begin_set(m);
        expand(m, first + place, m->g->part[m->g->place[w->place].rule].min, w->frame);
        for (; i < k->n_exits && k->exit[i].place == place; i++)
            if (m->n_ways > ways)
                walk(m, k->exit[i].node, ways, m->n_ways);
        m->n_ways = ways;
        pop_frames(m, frames);
    }
}

/* Adds the tokens that a place allows in any context: a short list, or a whole mask. */
static void allow_known(const struct matcher *m, const struct known_place *k)
{
    for (int32_t i = 0; i < k->n_ids; i++)
        m->mask[k->id[i] / 32] |= 1u << k->id[i] % 32;
    size_t words = tokens_mask_words(m->t->n);
    for (size_t i = 0; k->bits && i < words; i++)
        m->mask[i] |= k->bits[i];
}

/* Adds to the mask what way `i` allows. Normally that is what its place knows of all tokens in advance, and walks of
 * the tree from its exits. Near the limit of depth that knowledge allows too much, and the whole tree is walked
 * instead. -1: memory is out. */
static int mask_of(struct matcher *m, size_t i)
{
    struct way w = m->way[i];
    const struct place *p = &m->g->place[w.place];
    if (p->n_steps == 0)
        return 0;
    if (m->frame[w.frame].depth + m->g->tallest > GRAMMAR_MAX_DEPTH) {
        walk(m, 0, i, i + 1);          /* not everything that is known is deep enough from the end */
        return 0;
    }
    int64_t work = 0;
    const struct known_place *k = known_of(m->t, m->g, w.place, w.ticks, &work);
    if (!k)
        return -1;
    m->credit -= work / CHEAP;
    m->work += work;
    allow_known(m, k);
    walk_exits(m, k, &w, m->g->part[p->rule].start);
    return 0;
}

/* A mask that would have cost more than the credit is an error: a smaller one would silently forbid what the grammar
 * allows. What earlier masks did not use is saved up to WORK_AT_ONCE. */
int matcher_mask(struct matcher *m, uint32_t *bits, struct err *e)
{
    size_t words = tokens_mask_words(m->t->n);
    int n = 0;
    memset(bits, 0, words * sizeof *bits);
    m->mask = bits;
    m->credit = m->credit + WORK_PER_TOKEN < WORK_AT_ONCE ? m->credit + WORK_PER_TOKEN : WORK_AT_ONCE;
    for (size_t i = 0; i < m->now && m->credit >= 0; i++)
        if (mask_of(m, i) < 0)
            m->starved = true;
    if (m->starved)
        return err_memory(e);
    if (m->credit < 0)
        return err_set(e, "the grammar allows so many ways to go on that finding the next token takes too long");
    for (size_t i = 0; i < words; i++)
        n += __builtin_popcount(bits[i]);
    return n;
}

/* ---- the text goes on ---- */

/* Keeps the frames that ways of now need: all others are dropped, and these get new numbers in their order. */
static void drop_frames(struct matcher *m)
{
    enum { MANY = 4096 };
    if (m->n_frames < MANY)
        return;
    int32_t *number = calloc(m->n_frames, sizeof *number);
    if (!number)
        return;
    for (size_t i = 0; i < m->now; i++)
        for (int32_t f = m->way[i].frame; f != BOTTOM && !number[f]; f = m->frame[f].up)
            number[f] = 1;
    size_t n = 1, all = m->n_frames;
    memset(m->bucket, 0xFF, sizeof m->bucket);
    for (size_t f = 1; f < all; f++) {
        if (!number[f])
            continue;
        struct frame x = m->frame[f];
        x.up = number[x.up];
        unsigned b = bucket_of(x.jump, x.count, x.up);
        x.next = m->bucket[b];
        m->bucket[b] = (int32_t)n;
        m->frame[n] = x;
        number[f] = (int32_t)n++;
    }
    m->n_frames = n;
    for (size_t i = 0; i < m->now; i++)
        m->way[i].frame = number[m->way[i].frame];
    free(number);
}

/* Every byte makes a set of ways behind the last one. When the bytes are over, the last set moves to the front and
 * becomes that of now. If a byte was not allowed, the new ways and the calls that were opened for them are dropped, so
 * that the matcher is as it was. */
bool matcher_bytes(struct matcher *m, const char *s, size_t n)
{
    size_t from = 0, to = m->now, frames = m->n_frames;
    bool ok = true, done = m->can_end;
    for (size_t i = 0; i < n && ok; i++) {
        ok = take(m, from, to, (uint8_t)s[i]);
        from = m->since;
        to = m->n_ways;
        done = m->done;
    }
    ok = ok && !m->starved;
    if (ok) {
        memmove(m->way, m->way + from, (to - from) * sizeof *m->way);
        m->now = to - from;
        m->can_end = done;
    } else
        pop_frames(m, frames);
    m->n_ways = m->now;
    drop_frames(m);
    return ok;
}

/* A token without bytes, or one outside the vocabulary, is never allowed. */
bool matcher_accept(struct matcher *m, int32_t token)
{
    if (token < 0 || token >= m->t->n || m->t->at[token] == m->t->at[token + 1])
        return false;
    return matcher_bytes(m, (const char *)m->t->text + m->t->at[token],
                         (size_t)(m->t->at[token + 1] - m->t->at[token]));
}

bool matcher_can_end(const struct matcher *m) { return m->can_end; }

int64_t matcher_work(const struct matcher *m) { return m->work; }

/* Starts with the ways that the start of the root rule leads to without a byte. Frame 0 is the list of no open calls,
 * which all others end in. NULL with `e`: memory is out. */
struct matcher *matcher_new(struct grammar *g, struct tokens *t, struct err *e)
{
    struct matcher *m = calloc(1, sizeof *m);
    if (!m || grow(&m->frame, &m->cap_frames, 16, sizeof *m->frame) < 0) {
        free(m);
        err_memory(e);
        return NULL;
    }
    m->g = grammar_ref(g);
    m->t = t;
    m->frame[0] = (struct frame){ .jump = -1, .next = -1 };
    m->n_frames = 1;
    memset(m->bucket, 0xFF, sizeof m->bucket);
    m->credit = WORK_AT_ONCE;
    begin_set(m);
    enter(m, g->part[0].start, 0, BOTTOM);
    m->now = m->n_ways;
    m->can_end = g->empty;
    if (m->starved) {
        matcher_free(m);
        err_memory(e);
        return NULL;
    }
    return m;
}

void matcher_free(struct matcher *m)
{
    if (!m)
        return;
    grammar_unref(m->g);
    free(m->frame);
    free(m->way);
    free(m);
}
