/* engine/pooling.c - see pooling.h. */
#include "engine/pooling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/sentence.h"

/* What the checkpoint's files say, in the engine's words. */
static enum pooling pooling_of(const struct sentence *s)
{
    switch (s->pooling) {
    case SENTENCE_LAST: return POOLING_LAST;
    case SENTENCE_MEAN: return POOLING_MEAN;
    case SENTENCE_CLS:  return POOLING_CLS;
    }
    return POOLING_NOT;
}

/* How hidden states become one vector: as the option says, or else as the checkpoint does; a model that maps texts and
 * images into one space has a way of its own. Where none is possible c->how is POOLING_NOT, and c->why ends the error
 * that a client gets. */
void pooling_choose(struct pooling_choice *c, const char *option, const char *dir, const struct model *m)
{
    static const struct { const char *name; enum pooling how; } named[] = {
        { "last", POOLING_LAST }, { "mean", POOLING_MEAN }, { "cls", POOLING_CLS },
    };
    struct sentence s;
    sentence_read(&s, dir);
    *c = (struct pooling_choice){ .how = pooling_of(&s), .normalised = !s.there || s.normalised };
    if (m->shared && !s.there)
        *c = (struct pooling_choice){ .how = m->share_last ? POOLING_LAST : POOLING_MEAN,
                                      .normalised = m->shared_normalised };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (strcmp(option, named[i].name) == 0) {
            c->how = named[i].how;
            return;
        }
    if (strcmp(option, "none") == 0)
        snprintf(c->why, sizeof c->why, "this server was started with --pooling none");
    else if (*s.unsupported)
        snprintf(c->why, sizeof c->why, "the checkpoint %s; --pooling last, mean or cls overrides that", s.unsupported);
    if (*c->why)
        c->how = POOLING_NOT;
}

int pooled_init(struct pooled *p, enum pooling how, int width, struct err *e)
{
    *p = (struct pooled){ .how = how, .width = width };
    if (how == POOLING_NOT)
        return 0;
    p->sum = calloc((size_t)width, sizeof *p->sum);
    return p->sum ? 0 : err_memory(e);
}

void pooled_free(struct pooled *p)
{
    free(p->sum);
    p->sum = NULL;
}

int pooled_next(const struct pooled *p, int n)
{
    switch (p->how) {
    case POOLING_NOT:
        break;
    case POOLING_LAST:
        return p->n ? n : n - 1;
    case POOLING_CLS:
        return p->n ? n : 0;
    case POOLING_MEAN:
        return p->n;
    }
    return n;
}

/* Of all states that come, the first and the last pooling each take one. */
void pooled_add(struct pooled *p, const float *states, int n)
{
    int take = p->how == POOLING_MEAN || n == 0 ? n : 1 - (p->n > 0);
    for (int i = 0; i < take; i++)
        for (int k = 0; k < p->width; k++)
            p->sum[k] += (double)states[(size_t)i * (size_t)p->width + (size_t)k];
    p->n += take;
}

void pooled_result(const struct pooled *p, float *out)
{
    for (int k = 0; k < p->width; k++)
        out[k] = (float)(p->sum[k] / (p->n ? p->n : 1));
}
