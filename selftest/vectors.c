/* selftest/vectors.c - see vectors.h. */
#include "selftest/vectors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "selftest/record.h"
#include "selftest/trial.h"

enum { MOST = 64, MAX_SIDE = 4096 };
static const double limit = 1e-4;    /* of the distance of two vectors, beside their length */

struct case_of { struct trial *t; const struct weights_file *file; float *have; };

struct outcome {
    double worst;                    /* distance of what was computed to the file's vector, beside that one's length  */
    int    own;                      /* how many are nearer to their own vector of the file than to any other         */
};

/* Is vector i of all that the file has under this name the nearest one? Those that are equal are as near. */
static bool nearest(const struct case_of *c, const char *name, int i)
{
    struct err e;
    size_t n = (size_t)c->t->m->shared;
    const float *want = record_floats(c->file, name, i, n, &e), *other;
    double own = want ? record_cosine(c->have, want, n) : 0;
    bool mine = want && isfinite(own);
    for (int k = 0; mine && k < MOST && record_find(c->file, name, k); k++)
        mine = (other = record_floats(c->file, name, k, n, &e)) && record_cosine(c->have, other, n) <= own + 1e-9;
    return mine;
}

/* Compares what was computed with the file's vector i of this name. */
static int widen(const struct case_of *c, const char *name, int i, struct outcome *out, struct err *e)
{
    size_t n = (size_t)c->t->m->shared;
    const float *want = record_floats(c->file, name, i, n, e);
    double far = 0, length = 0;
    for (size_t k = 0; want && k < n; k++) {
        double d = (double)c->have[k] - (double)want[k];
        far += d * d;
        length += (double)want[k] * (double)want[k];
    }
    far = sqrt(far / length);
    out->worst = far <= out->worst ? out->worst : far;         /* also where it is no number */
    out->own += want && nearest(c, name, i);
    return want ? 0 : -1;
}

/* Text i. 1: here it is, 0: there is none, -1: an error. */
static int text(const struct case_of *c, int i, struct outcome *out, struct err *e)
{
    const struct model *m = c->t->m;
    int n, rc = 0;
    if (!record_find(c->file, "ids.%d", i))
        return 0;
    int32_t *ids = record_ints(c->file, "ids.%d", i, &n, e);
    if (!ids)
        return -1;
    if (n < 1 || n > m->context)
        rc = err_set(e, "text %d has %d tokens, for a context of %d", i, n, m->context);
    for (int k = 0; k < n && rc == 0; k++)
        if (ids[k] < 0 || ids[k] >= m->vocab)
            rc = err_set(e, "token %d of text %d is %d", k, i, ids[k]);
    if (rc == 0) {
        int32_t *own = xcalloc((size_t)m->context, sizeof *own);
        memcpy(own, ids, (size_t)n * sizeof *own);
        n = m->family->text_ids(m, own, n, 0);
        rc = trial_text_vector(c->t, own, n, c->have, e);
        free(own);
    }
    free(ids);
    return rc == 0 && widen(c, "text.%d", i, out, e) == 0 ? 1 : -1;
}

/* Picture i, likewise. */
static int picture(const struct case_of *c, int i, struct outcome *out, struct err *e)
{
    const struct stored *s = record_find(c->file, "image.%d", i);
    if (!s)
        return 0;
    if (strcmp(s->dtype, "U8") != 0 || s->n_dims != 3 || s->dims[2] != 3 || s->dims[0] < 1 || s->dims[1] < 1 ||
        s->dims[0] > MAX_SIDE || s->dims[1] > MAX_SIDE)
        return err_set(e, "image.%d is not an image", i);
    if (trial_image_vector(c->t, s->data, (int)s->dims[1], (int)s->dims[0], c->have, e) != 0)
        return -1;
    return widen(c, "vector.%d", i, out, e) == 0 ? 1 : -1;
}

/* With rounded weights no vector can be the file's, which was made with whole ones. What has to hold then is that each
 * is still told apart from all others of its kind; how far they are is said. */
static int all(struct report *r, const struct case_of *c, const char *stage,
               int (*one)(const struct case_of *, int, struct outcome *, struct err *), struct err *e)
{
    struct outcome out = { 0 };
    const char *rounded = trial_rounded(c->t->m);
    int n = 0, rc = 1;
    while (n < MOST && (rc = one(c, n, &out, e)) > 0)
        n++;
    if (rc >= 0 && n && rounded)
        report_say(r, out.own == n, stage, "%d of %d vectors are nearest to their own; with %s weights within %.1e of "
                   "their lengths", out.own, n, rounded, out.worst);
    else if (rc >= 0 && n)
        report_say(r, out.worst < limit, stage, "%d vectors, within %.1e of their lengths", n, out.worst);
    return rc < 0 ? -1 : 0;
}

void golden_vectors(struct report *r, const struct model *m, const char *dir)
{
    char path[4200];
    struct err e = { 0 };
    struct trial t;
    printf("golden case %s\n", dir);
    snprintf(path, sizeof path, "%.4100s/vectors.safetensors", dir);
    struct weights_file *file = weights_open_file(path, &e);
    int rc = file ? 0 : -1;
    if (rc == 0) {
        trial_open(&t, m, m->context, m->backend->kv);
        struct case_of c = { &t, file, xcalloc((size_t)m->shared, sizeof(float)) };
        rc = m->share_text ? all(r, &c, "  texts", text, &e) : 0;
        rc = rc == 0 ? all(r, &c, "  pictures", picture, &e) : rc;
        free(c.have);
        trial_close(&t);
    }
    if (rc != 0)
        report_say(r, false, "  case", "%s", e.text);
    weights_close(file);
}
