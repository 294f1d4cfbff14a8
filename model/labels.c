/* model/labels.c - see labels.h. */
#include "model/labels.h"

#include <stdio.h>
#include <stdlib.h>
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

/* Names for n classes. */
static void labels_of(struct loader *l, int n)
{
    struct model *m = l->m;
    struct hparams names = hparams_object(&l->config, "id2label");
    m->n_classes = n;
    m->class_name = load_keep(l, (size_t)n * sizeof *m->class_name);
    for (int i = 0; i < n; i++)
        m->class_name[i] = name_of(l, &names, i);
    const char *problem = hparams_string(&l->config, "problem_type", "");
    m->classes_sigmoid = n == 1 || strcmp(problem, "multi_label_classification") == 0;
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
    if (hparams_end(&l->config) == 0)
        labels_of(l, m->n_classes);
}

/* The id of a token by its text, from the tokenizer's file. -1: an error is noted. */
static int token_id(struct loader *l, struct hparams *tokenizer, const char *token)
{
    size_t i;
    const json_t *model = json_object_get(tokenizer->object, "model"), *one;
    const json_t *v = json_object_get(json_object_get(model, "vocab"), token);
    json_array_foreach(json_object_get(tokenizer->object, "added_tokens"), i, one) {
        const char *text = json_string_value(json_object_get(one, "content"));
        if (text && strcmp(text, token) == 0)
            v = json_object_get(one, "id");
    }
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= l->m->vocab)
        return load_fail(l, "%s: config.json: classifier_from_token: \"%.40s\" is no token", l->dir, token);
    return (int)json_integer_value(v);
}

/* The head's rows for these tokens become one for each class, or with two tokens and `differ` one for the second less
 * the first: softmax over the two is then a sigmoid of it. */
static void from_tokens(struct loader *l, struct weight *out, const char *head, const int *ids, int n, bool differ)
{
    struct model *m = l->m;
    int classes = differ ? 1 : n, in = m->hidden;
    float *rows = load_rows_of(l, head, m->vocab, in, ids, n);
    if (!rows)
        return;
    for (int i = 0; i < in && differ; i++)
        rows[i] = rows[in + i] - rows[i];
    load_packed(l, out, LAYOUT_LINEAR, classes, in, rows, NULL);
}

/* One or two names of tokens. Returns how many. */
static int read_tokens(struct loader *l, int ids[2])
{
    json_t *list = json_object_get(l->config.object, "classifier_from_token");
    struct hparams tokenizer;
    int n = (int)json_array_size(list);
    if (n < 1 || n > 2) {
        hparams_fail(&l->config, "classifier_from_token", "must be one or two tokens");
        return 0;
    }
    if (hparams_open(&tokenizer, l->dir, "tokenizer.json", true, l->e) != 0) {
        l->failed = true;
        return 0;
    }
    for (int i = 0; i < n && !l->failed; i++) {
        const char *token = json_string_value(json_array_get(list, (size_t)i));
        ids[i] = token_id(l, &tokenizer, token ? token : "");
    }
    hparams_close(&tokenizer);
    return n;
}

void classes_load(struct loader *l, struct weight *out, const char *head)
{
    struct model *m = l->m;
    struct hparams *h = &l->config;
    int ids[2] = { 0 }, n;
    if (load_has(l, "/score.weight")) {
        labels_load(l, 2);
        if (hparams_end(h) != 0)
            return;
        load_linear(l, out, m->n_classes, m->hidden, load_has(l, "/score.bias") ? WITH_BIAS : NO_BIAS, "/score");
    } else if (hparams_has(h, "classifier_from_token")) {
        const char *method = hparams_string(h, "method", "from_2_way_softmax");
        bool differ = hparams_bool(h, "is_original_qwen3_reranker", false) || strcmp(method, "no_post_processing") != 0;
        n = read_tokens(l, ids);
        if (hparams_end(h) != 0 || l->failed)
            return;
        if (differ && n != 2) {
            hparams_fail(h, "classifier_from_token", "must be two tokens, or method no_post_processing");
            return;
        }
        from_tokens(l, out, head, ids, n, differ);
        labels_of(l, differ ? 1 : n);
    } else {
        return;
    }
    m->classes = out;
    m->no_head = true;
}
