/* engine/replay.c - see replay.h. A key is made of the powers of two that a shape was rounded up to. */
#include "engine/replay.h"

/* The smallest k with 2^k >= n. */
static int log2_up(int n)
{
    int k = 0;
    while (1 << k < n)
        k++;
    return k;
}

/* 2^k, but no more than there may be. */
static int rounded(int k, int most) { return 1 << k < most ? 1 << k : most; }

/* A chunk of a prompt may be one row too, but that may be an image's, which comes from the pool: a recorded step has
 * no such rows. */
bool replay_suits(const struct step *step)
{
    for (int i = 0; i < step->n_seqs; i++) {
        const struct step_seq *q = &step->seq[i];
        if (q->n != 1 || q->yield.rows != 1 || q->start < q->r->prompt->n)
            return false;
    }
    return true;
}

/* The key names the powers of two and not the rounded numbers, which the largest shape may have cut. Rows that were
 * added belong to nobody; staging_fill() lets them write nowhere and see nothing. */
void replay_round(struct shape *s, const struct shape *largest)
{
    int rows = log2_up(s->rows), pages = log2_up(s->pages), image_pages = log2_up(s->image_pages);
    s->rows = s->seqs = s->out = rounded(rows, largest->seqs);
    s->pages = rounded(pages, largest->pages);
    s->image_rows = 0;
    s->key = (rows * 32 + pages) * 32;
    if (s->image_pages) {
        s->image_pages = rounded(image_pages, largest->image_pages);
        s->key += 1 + image_pages;
    }
}

/* A recording must find all memory where it will be at every replay. So the scratch of every step begins at the same
 * place, and a shape's arrays lie in the same order. A shape that comes only once is not worth a recording. */
struct tensor replay_forward(struct replay *p, const struct model *m, struct run *run, const struct forward *f, int key)
{
    struct recorded *k = p->recorded;
    while (k < p->recorded + p->n && k->key != key)
        k++;
    run->used = run->base;
    bool known = k < p->recorded + p->n;
    if (known && k->replays) {
        run->backend->replay(run->dev, key);
        run->used = k->used;
        return k->logits;
    }
    if (known)
        run->backend->record(run->dev, key);
    struct tensor logits = m->family->forward(m, run, f);
    if (known)
        run->backend->replay(run->dev, key);
    if (key >= 0 && (known || p->n < MAX_RECORDED)) {
        *k = (struct recorded){ .key = key, .replays = known, .logits = logits, .used = run->used };
        p->n += !known;
    }
    return logits;
}
