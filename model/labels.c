/* model/labels.c - see labels.h. */
#include "model/labels.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LABELS = 1 << 17, MAX_NAME = 1024 };

/* The name of class i, in the model's memory. */
static char *name_of(struct loader *l, struct hparams *names, int i)
{
    char key[16];
    snprintf(key, sizeof key, "%d", i);
    const json_t *v = json_object_get(names->object, key);
    if (v && (!json_is_string(v) || json_string_length(v) > MAX_NAME))
        hparams_fail(names, key, "is no name of a class");
    char *out = load_keep(l, MAX_NAME + 1);
    if (json_is_string(v) && json_string_length(v) <= MAX_NAME)
        memcpy(out, json_string_value(v), json_string_length(v));
    else
        snprintf(out, MAX_NAME, "LABEL_%d", i);
    return out;
}

void labels_load(struct loader *l, int def)
{
    struct model *m = l->m;
    struct hparams names = hparams_object(&l->config, "id2label");
    size_t named = json_object_size(names.object);
    if (named > MAX_LABELS)
        hparams_fail(&l->config, "id2label", "has more than %d classes", MAX_LABELS);
    m->n_classes = (int)hparams_int(&l->config, "num_labels", named ? (int64_t)named : def, 1, MAX_LABELS);
    if (named && (size_t)m->n_classes != named)
        hparams_fail(&l->config, "num_labels", "is %d, but id2label has %zu classes", m->n_classes, named);
    if (hparams_end(&l->config) != 0)
        return;
    m->class_name = load_keep(l, (size_t)m->n_classes * sizeof *m->class_name);
    for (int i = 0; i < m->n_classes; i++)
        m->class_name[i] = name_of(l, &names, i);
    const char *problem = hparams_string(&l->config, "problem_type", "");
    m->classes_sigmoid = m->n_classes == 1 || strcmp(problem, "multi_label_classification") == 0;
}
