/* engine/probe.c - see probe.h. */
#include "engine/probe.h"

#include <limits.h>
#include <stdlib.h>

/* Room for what is looked at: logits of every row of the prompt, or features of every image token. Taken before the
 * request is submitted, so that the engine's thread allocates nothing. -1: memory, or more numbers than an int counts.
 * */
int probed_init(struct probed *p, enum probe how, const struct prompt *prompt, const struct model *m, struct err *e)
{
    size_t width = (size_t)(how == PROBE_LOGITS ? m->vocab : model_features(m)), rows = 0;
    *p = (struct probed){ 0 };
    switch (how) {
    case PROBE_NOT:
        return 0;
    case PROBE_LOGITS:
        rows = (size_t)prompt->n;
        break;
    case PROBE_IMAGES:
        if (m->image_row_width < m->hidden)
            return err_set(e, "%s has no features of an image in the prompt: the text looks at it through "
                           "cross-attention", m->type);
        for (int i = 0; i < prompt->n_images; i++)
            rows += (size_t)prompt->images[i].plan.n_tokens;
    }
    if (rows > INT_MAX / width)
        return err_set(e, "%zu rows of %zu numbers are more than can be given at a time", rows, width);
    p->data = malloc((rows * width + 1) * sizeof *p->data);
    p->n = (int)(rows * width);
    return p->data ? 0 : err_memory(e);
}

void probed_free(struct probed *p)
{
    free(p->data);
    p->data = NULL;
}

/* A request that was put back begins again with the rows that it has not told. */
const char *probe_logits(struct runner *r, const struct step_seq *q, int first)
{
    size_t row = (size_t)(q->start + q->n - q->yield.rows), vocab = (size_t)r->m->vocab;
    for (int k = 0; k < q->yield.rows; k++)
        q->r->n_told += step_known_token(q, k) >= 0;
    return runner_logits(r, first, q->yield.rows, q->r->probed.data + row * vocab);
}

bool probe_images_ready(const struct request *r)
{
    for (int i = 0; i < r->prompt->n_images; i++)
        if (!r->images[i] || !r->images[i]->encoded)
            return false;
    return true;
}

const char *probe_images(struct runner *r, struct request *q)
{
    const char *failed = NULL;
    float *out = q->probed.data;
    for (int i = 0; i < q->prompt->n_images && !failed; i++) {
        failed = runner_features(r, q->images[i], out);
        out += (size_t)q->images[i]->plan.n_tokens * (size_t)model_features(r->m);
    }
    return failed;
}
