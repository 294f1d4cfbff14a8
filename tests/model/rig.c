/* tests/model/rig.c - a trial (selftest/trial.h) with a device and a model of its
 * own, failing the test where something goes wrong. Included by tests. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/measure.h"
#include "selftest/trial.h"

struct rig {
    const struct backend *backend;
    struct device *dev;
    struct model  *m;
    struct trial   t;
};

/* opt: how the weights are packed; kv: of the caches; activations: of products with quantised weights. */
static void rig_open_as(struct rig *g, const char *backend, const char *dir, int max_rows, enum dtype kv,
                        struct model_options opt, enum activations activations)
{
    struct err e;
    g->backend = backend_find(backend, &e);
    ck_assert_msg(g->backend != NULL, "%s", e.text);
    ck_assert_int_eq(g->backend->open(&g->dev, &(struct device_options){ .threads = 2, .activations = activations },
                                      &e), 0);
    opt.backend = g->backend;
    opt.device = g->dev;
    g->m = model_open(dir, &opt, &e);
    ck_assert_msg(g->m != NULL, "%s", e.text);
    trial_open(&g->t, g->m, max_rows, kv);
}

static inline void rig_open(struct rig *g, const char *backend, const char *dir, int max_rows, enum dtype kv)
{
    rig_open_as(g, backend, dir, max_rows, kv, (struct model_options){ 0 }, ACTIVATIONS_AUTO);
}

static void rig_close(struct rig *g)
{
    trial_close(&g->t);
    model_close(g->m);
    g->backend->close(g->dev);
}

static void rig_prompt(struct rig *g, const int32_t *ids, int n, int chunk, float *logits)
{
    struct err e;
    trial_rewind(&g->t);
    ck_assert_msg(trial_prompt(&g->t, ids, n, chunk, logits, &e) == 0, "%s", e.text);
}

static void rig_image(struct rig *g, const uint8_t *rgb, int w, int h)
{
    struct err e;
    ck_assert_msg(trial_image(&g->t, rgb, w, h, &e) == 0, "%s", e.text);
}
