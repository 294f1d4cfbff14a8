/* cli/classify.c - `openautoglm classify --labels "a cat,a dog" --image F`: which of some classes pictures (or a text)
 * belong to, without a server. The classes are those of the command line, where a model leads texts and pictures into
 * one space, or else the model's own. */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/pictures.h"

struct classes {               /* and what was given of each thing */
    const struct config *c;    /* borrowed */
    struct engine *g;          /* borrowed */
    struct engine_info info;
    int    n;
    float *label;              /* owned, (n, info.vector): vectors of the labels, of length 1; NULL: the model's own */
    float *probs;              /* owned, (n): of one thing                                                       */
    json_t *told;              /* owned: what --json prints                                                      */
};

/* Waits for a vector; free(). NULL: an error. */
static float *await(struct request *r, struct err *e)
{
    struct event ev = { 0 };
    struct pollfd p = { .fd = request_fd(r), .events = POLLIN };
    while (!request_next(r, &ev))
        poll(&p, 1, -1);
    if (ev.kind == EVENT_ERROR)
        *e = ev.err;
    float *v = ev.vector;
    ev.vector = NULL;
    event_free(&ev);
    request_free(r);
    return v;
}

static struct request *submit(const struct classes *q, struct prompt *p, bool image, bool label, struct err *e)
{
    struct params params = { .repetition_penalty = 1, .share_image = image && q->info.shares };
    params.classes = !label && !q->label;
    params.pooling = params.classes || !q->info.pooling.how ? POOLING_LAST : q->info.pooling.how;
    return p ? engine_submit(q->g, p, &params, e) : NULL;
}

/* The label as it is read: within --template, where there is one. */
static char *phrase(const struct classes *q, const char *label)
{
    const char *t = q->c->template, *at = strstr(t, "{}");
    size_t n = strlen(t) + strlen(label) + 1;
    char *out = xmalloc(n);
    if (at)
        snprintf(out, n, "%.*s%s%s", (int)(at - t), t, label, at + 2);
    else
        snprintf(out, n, "%s", label);
    return out;
}

/* All labels' vectors, of length 1. They are submitted together, so that they are computed together. */
static int read_labels(struct classes *q, struct err *e)
{
    const struct string_list *labels = &q->c->labels;
    struct request *r[OPTIONS_MAX_LIST] = { 0 };
    int width = q->info.vector, rc = 0;
    q->label = xcalloc((size_t)labels->n * (size_t)width, sizeof *q->label);
    for (int i = 0; i < labels->n && rc == 0; i++) {
        char *text = phrase(q, labels->item[i]);
        r[i] = submit(q, engine_prompt_text(q->g, text, strlen(text), true, 0, e), false, true, e);
        rc = r[i] ? 0 : -1;
        free(text);
    }
    for (int i = 0; i < labels->n; i++) {
        float *v = r[i] && rc == 0 ? await(r[i], e) : NULL;
        if (r[i] && rc != 0)
            request_free(r[i]);
        rc = v ? rc : -1;
        if (v)
            memcpy(q->label + (size_t)i * (size_t)width, v, (size_t)width * sizeof *v);
        if (v)
            engine_unit(q->label + (size_t)i * (size_t)width, width);
        free(v);
    }
    return rc;
}

static const char *name_of(const struct classes *q, int i)
{
    return q->label ? q->c->labels.item[i] : q->info.class_name[i];
}

static int likelier(const void *a, const void *b, void *arg)
{
    const float *probs = arg;
    int i = *(const int *)a, k = *(const int *)b;
    if (probs[i] != probs[k])
        return probs[i] > probs[k] ? -1 : 1;
    return i - k;
}

/* The classes from the likeliest to the least likely; there may be a hundred thousand. */
static int *order(const struct classes *q)
{
    int *at = xcalloc((size_t)q->n, sizeof *at);
    for (int i = 0; i < q->n; i++)
        at[i] = i;
    qsort_r(at, (size_t)q->n, sizeof *at, likelier, q->probs);
    return at;
}

/* A block of the table, or one more object for --json. */
static void tell(struct classes *q, const char *what, const char *kind)
{
    int *at = order(q), top = q->c->top && q->c->top < q->n ? q->c->top : q->n;
    json_t *probs = json_array();
    if (!q->c->json)
        printf("%s\n", what);
    for (int i = 0; i < q->n; i++) {
        if (!q->c->json && i < top)
            printf("  %5.1f %%  %s\n", 100 * (double)q->probs[at[i]], name_of(q, at[i]));
        json_array_append_new(probs, json_pack("{s:s, s:f}", "label", name_of(q, at[i]), "prob",
                                               (double)q->probs[at[i]]));
    }
    json_array_append_new(q->told, json_pack("{s:s, s:s, s:o}", kind, what, "label", name_of(q, at[0]), "probs",
                                             probs));
    free(at);
}

/* A thing's vector becomes probabilities. */
static int judge(struct classes *q, struct prompt *p, bool image, const char *what, struct err *e)
{
    struct request *r = submit(q, p, image, false, e);
    float *v = r ? await(r, e) : NULL;
    if (!v)
        return -1;
    if (q->label) {
        engine_unit(v, q->info.vector);
        engine_match_logits(&q->info.match, v, q->label, q->n, q->info.vector, q->probs);
    } else {
        memcpy(q->probs, v, (size_t)q->n * sizeof *v);
    }
    engine_probabilities(q->probs, q->n, q->label ? q->info.match.sigmoid : q->info.classes_sigmoid);
    free(v);
    tell(q, what, image ? "image" : "text");
    return 0;
}

static int judge_image(struct classes *q, const struct chat_image *image, struct err *e)
{
    json_t *messages = json_pack("[{s:s, s:[{s:s}]}]", "role", "user", "content", "type", "image");
    struct chat chat = { .messages = messages, .images = image, .n_images = 1, .no_generation_prompt = true };
    int rc = judge(q, engine_prompt(q->g, &chat, e), true, image->field, e);
    json_decref(messages);
    return rc;
}

/* Whose classes are they? -1: nobody's. */
static int choose_classes(struct classes *q, struct err *e)
{
    int n = q->c->labels.n;
    engine_info(q->g, &q->info);
    if (n && !q->info.match.there)
        return err_set(e, q->info.n_classes ? "--labels: this model has classes of its own"
                                            : "this model does not classify: it was not trained to compare texts with "
                                              "pictures");
    if (!n && !q->info.n_classes)
        return err_set(e, q->info.match.there ? "--labels is missing, such as --labels \"a cat,a dog\""
                                              : "this model does not classify: it has no head for classes");
    q->n = n ? n : q->info.n_classes;
    q->probs = xcalloc((size_t)q->n, sizeof *q->probs);
    q->told = json_array();
    return n ? read_labels(q, e) : 0;
}

/* Judges every picture and then the text, and prints each verdict as it comes; with --json one list of all at the end.
 * -1: an error, of which nothing but `e` is left. */
static int run(const struct config *c, struct engine *g, const struct pictures *pictures, struct err *e)
{
    struct classes q = { .c = c, .g = g };
    int rc = choose_classes(&q, e);
    for (int i = 0; i < pictures->n && rc == 0; i++)
        rc = judge_image(&q, &pictures->image[i], e);
    if (rc == 0 && *c->text)
        rc = judge(&q, engine_prompt_text(g, c->text, strlen(c->text), true, 0, e), false, c->text, e);
    if (rc == 0 && c->json) {
        json_dumpf(q.told, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        putchar('\n');
    }
    free(q.label);
    free(q.probs);
    json_decref(q.told);
    return rc;
}

static int prepare(struct config *c, struct pictures *pictures, struct err *e)
{
    if (c->image.n == 0 && !*c->text)
        return err_set(e, "classify needs a picture (--image FILE) or a text (--text TEXT)");
    if (*c->template && !strstr(c->template, "{}"))
        return err_field(e, "template", "--template: \"%.60s\" has no {} for the label", c->template);
    if (pictures_read_all(pictures, &c->image, c->engine.max_image_bytes, e) != 0)
        return -1;
    return command_find_model(c, true, e);
}

int command_classify(int argc, char **argv)
{
    struct config   c;
    struct err      e;
    struct pictures pictures = { .n = 0 };
    struct engine  *g = NULL;
    int rc = command_options(&c, OPT_ENGINE | OPT_CLASSIFY, "classify [--labels A,B,...] --image FILE...", argc, argv);
    if (rc >= 0)
        return rc;
    if (!options_given(&c, "log-level"))
        log_set_level(LOG_WARN);
    rc = EXIT_USAGE;
    if (prepare(&c, &pictures, &e) == 0) {
        struct engine_options opt = command_engine_options(&c);
        g = engine_open(&opt, &e);
    }
    if (g) {
        rc = run(&c, g, &pictures, &e) == 0 ? 0 : EXIT_FAILURE;
        engine_close(g);
    }
    if (rc != 0)
        command_fail(rc, &e);
    pictures_cut(&pictures, 0);
    options_free(&c);
    return rc;
}
