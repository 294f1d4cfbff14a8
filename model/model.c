/* model/model.c - opening and closing a model, see model.h. */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/nearest.h"
#include "model/load.h"
#include "checkpoint/safetensors.h"

/* NULL: no family reads checkpoints of this type. */
static const struct family *family_find(const char *type)
{
    for (const struct family *const *f = families; *f; f++)
        for (int i = 0; i < 4 && (*f)->types[i]; i++)
            if (!strcmp((*f)->types[i], type))
                return *f;
    return NULL;
}

/* The error names the type that is nearest, if one is near: a newer version of a model is often another type. */
static int unknown_type(const char *dir, const char *type, struct err *e)
{
    struct nearest near;
    nearest_begin(&near, type, strlen(type));
    for (const struct family *const *f = families; *f; f++)
        for (int i = 0; i < 4 && (*f)->types[i]; i++)
            nearest_offer(&near, (*f)->types[i]);
    return err_set(e, "%s: config.json: model_type \"%.60s\" is not supported%s%s%s; docs/families.md lists what is",
                   dir, type, *near.best ? ", \"" : "", near.best, *near.best ? "\" would be" : "");
}

/* Weights that another tool has quantised have other tensors and another meaning. They would mostly fail later, with a
 * message that nobody understands; -1 always. */
static int quantised(struct hparams *config, const char *dir, struct err *e)
{
    struct hparams q = hparams_object(config, "quantization_config");
    const char *method = hparams_string(&q, "quant_method", "of an unknown method");
    if (hparams_end(config) != 0)
        return -1;
    return err_set(e, "%s: config.json: quantization_config: weights quantised by other tools (%.40s) are not "
                      "supported; take the checkpoint in bf16, f16 or f32", dir, method);
}

/* generation_config.json's ids, else those of the text section or of the whole, behind what the family knows. A model
 * of vectors makes no answers that could end, and SigLIP's configurations may name CLIP's token, which its vocabulary
 * does not have. */
static void read_eos(struct model *m, struct hparams *generation, struct hparams *config)
{
    if (m->image_alone)
        return;
    struct hparams text = hparams_section(config, "text_config");
    struct hparams *from[] = { generation, config, &text };
    int *eos = m->eos + m->n_eos, most = MODEL_MAX_EOS - m->n_eos, n = 0;
    for (int i = 0; i < 3 && n == 0; i++)
        n = hparams_ints(from[i], "eos_token_id", eos, most, 0, m->vocab - 1);
    m->n_eos += n;
}

/* Reads generation_config.json, if there is one: which tokens end an answer, and how the checkpoint's makers sample.
 * `do_sample: false` means temperature 0, whatever else is written there. */
static int read_generation(struct model *m, const char *dir, struct hparams *config, struct err *e)
{
    struct hparams g;
    if (hparams_open(&g, dir, "generation_config.json", false, e) != 0)
        return -1;
    read_eos(m, &g, config);
    bool greedy = hparams_has(&g, "do_sample") && !hparams_bool(&g, "do_sample", true);
    m->temperature = greedy ? 0 : (float)hparams_number(&g, "temperature", -1, 0, 100);
    m->top_p = (float)hparams_number(&g, "top_p", -1, 0, 1);
    m->top_k = (int)hparams_int(&g, "top_k", -1, -1, 1 << 30);
    m->repetition_penalty = (float)hparams_number(&g, "repetition_penalty", -1, 1e-3, 1e3);
    int rc = hparams_end(&g) | hparams_end(config);
    hparams_close(&g);
    return rc;
}

/* Buffers that old files carry and no forward pass reads. */
static bool harmless(const char *name)
{
    static const char *const ends[] = { "inv_freq", "position_ids", "num_batches_tracked", "masked_bias" };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n >= strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

/* Tensors that nobody read, and those that were read twice, for the selftest: both are signs of a family that does not
 * match its checkpoint. */
static void count_unused(struct model *m, const struct loader *l)
{
    const struct stored *t = weights_all(m->file, &m->n_tensors);
    for (int i = 0; i < m->n_tensors; i++) {
        m->n_repeated += l->used[i] > 1;
        if (!l->used[i] && !harmless(t[i].name)) {
            m->first_unused = m->first_unused ? m->first_unused : t[i].name;
            m->n_unused++;
        }
    }
}

/* The family loads itself. Uploads may still be under way; what goes wrong with them is asked for here, once. */
static int load(struct model *m, struct loader *l, struct err *e)
{
    if (m->family->load(m, l) != 0 || load_end(l) != 0)
        return -1;
    count_unused(m, l);
    if (m->device) {
        const char *why = m->backend->sync(m->device);
        if (why)
            return err_set(e, "%s: loading: %s", l->dir, why);
    }
    if (m->image_mark < 0)
        m->image_mark = m->image_token;
    return read_generation(m, l->dir, &l->config, e);
}

int32_t model_place(const struct model *m, int k) { return m->n_slots ? m->first_slot + k : m->image_token; }

/* Ids from first_slot on may be of any text; those of an image follow its token. */
bool model_is_place(const struct model *m, const int32_t *ids, int i)
{
    int k = ids[i] - m->first_slot;
    if (!m->n_slots)
        return ids[i] == m->image_token;
    return k >= 0 && k < m->n_slots && k < i && ids[i - k - 1] == m->image_token;
}

/* Finds the family by config.json's model_type and has it load itself. Whatever fails, nothing stays behind:
 * model_close() takes a model that is only partly there. */
struct model *model_open(const char *dir, const struct model_options *opt, struct err *e)
{
    struct loader l;
    struct model *m = xcalloc(1, sizeof *m);
    m->backend = opt->backend;
    m->device = opt->device;
    m->image_token = m->image_mark = -1;
    m->image_align = 1;
    int rc = loader_open(&l, m, dir, opt, e);
    if (rc == 0) {
        const char *type = hparams_string(&l.config, "model_type", NULL);
        m->family = type ? family_find(type) : NULL;
        if (hparams_end(&l.config) != 0)
            rc = -1;
        else if (!type)
            rc = err_set(e, "%s: config.json: no model_type", dir);
        else if (!m->family)
            rc = unknown_type(dir, type, e);
        else if (hparams_has(&l.config, "quantization_config"))
            rc = quantised(&l.config, dir, e);
        else
            strncpy(m->type, type, sizeof m->type - 1);
    }
    if (rc == 0)
        rc = load(m, &l, e);
    m->n_ids = m->n_ids ? m->n_ids : m->vocab;
    loader_close(&l);
    if (rc == 0)
        return m;
    model_close(m);
    return NULL;
}

/* Takes a model of which only the first parts are there, and NULL. */
void model_close(struct model *m)
{
    if (!m)
        return;
    if (m->family && m->family->unload && m->impl)
        m->family->unload(m);
    loaded_free(m);
    weights_close(m->file);
    free(m->impl);
    free(m);
}
