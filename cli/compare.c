/* cli/compare.c - `openautoglm compare --model A --against B --data F`: what is lost between two checkpoints, or
 * between two precisions of one.
 *
 * Both models read every line of the data, and at each token their predictions are compared (selftest/compare.h): A is
 * what counts as right. Rows of images are left out, because nothing is predicted there. With --generate both also
 * answer greedily, each going on from its own words, and the answers are compared: how far they are equal, and how far
 * apart they tap. With --answers only what the assistant wrote counts, since nobody generates a prompt. Caches
 * are float32 unless another type is asked for, so that the weights and the activations alone make the difference. */
#include "cli/compare.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/compare_lines.h"
#include "cli/npy.h"
#include "cli/point.h"
#include "engine/device.h"
#include "selftest/compare.h"
#include "selftest/trial.h"

enum { USAGE = 2, A = 0, B = 1, STEP = 64, MOST_TOKENS = 1 << 20 };

static const char usage[] =
    "usage: openautoglm compare --model DIR --data FILE [OPTION...]\n"
    "\n"
    "How far the predictions of one model are from another's: mean and 99.9 % Kullback-Leibler\n"
    "divergence in nats, how often the same token is likeliest, the perplexity of both.\n"
    "FILE holds a JSON object a line: {\"text\": \"...\"} or {\"messages\": [...]}, a chat as the\n"
    "API takes it.\n"
    "\n"
    "  --model DIR                what counts as right\n"
    "  --against DIR              what is compared with it (the same)\n"
    "  --weights TYPE             of --model: auto, f32, bf16, int8, int4 or fp8 (auto: as in the file)\n"
    "  --against-weights TYPE     of --against (auto)\n"
    "  --activations TYPE         of --model: auto, float or int8 (auto)\n"
    "  --against-activations TYPE of --against (auto)\n"
    "  --kv-cache-dtype TYPE      of --model: f32, bf16, f16, int8 or fp8 (f32)\n"
    "  --against-kv-cache-dtype TYPE of --against (f32)\n"
    "  --device NAME              what computes (cpu)\n"
    "  --threads N                threads of the CPU; 0: one per core (0)\n"
    "  --max-tokens N             most tokens of a line; a longer one is an error (4096)\n"
    "  --generate N               both also answer every line, in up to N tokens: how far the answers\n"
    "                             are equal, and how far apart the points are that they tap (0)\n"
    "  --answers                  count the tokens of the assistant's messages alone, as the others are\n"
    "                             never generated; each line is a chat that has some\n"
    "  --logits FILE.npy          write what was compared, float32 (positions, 2, vocabulary)\n"
    "  --json                     print one line of JSON\n";

/* One of the two models, on a device of its own: devices differ in what they round activations to. */
struct side {
    struct engine_config config;   /* strings borrowed from the command line   */
    const struct backend *backend; /* NULL: not found                          */
    struct device *device;         /* owned */
    enum dtype     kv;             /* of its caches                            */
    struct model  *m;              /* owned */
    float *logits;                 /* owned, (most_rows(), vocab)              */
    struct trial trial;            /* of the line that is being read           */
    struct reading reading;
    int32_t *answer;               /* owned, (generate)                        */
    int n_answer;
};

/* What the answers had in common. Points are in thousandths of the screen. */
struct answers {
    int n, equal;                  /* answers; those that are the same to the end           */
    double share;                  /* sum of the shares before the first difference         */
    int taps, missed;              /* answers of A that tap; those where B does not         */
    double shift, most;            /* sum of the distances between the points, the largest  */
};

struct task {
    struct side side[2];
    const char *data, *logits;     /* borrowed; logits NULL: not wanted        */
    int max_tokens, generate;
    bool json, answers_only;
    FILE *out;                     /* owned: of --logits                       */
    struct comparison compared;
    struct answers answers;
    int n_lines;
};

/* ---- the command line ---- */

/* Where the value of an option goes. A number has a range from 0 to `most`. */
struct place { const char *name; char **text; const char **path; int *number; int most; };

/* Gives option `o` its value: a path, a text, or a whole number from 0 to o->most. Exactly one of the three targets is
 * set. The text stays that of the command line, which outlives the command. */
static int set_option(const struct place *o, const char *v, struct err *e)
{
    if (o->path)
        *o->path = v;
    if (o->text)
        *o->text = (char *)(uintptr_t)v;
    if (!o->number)
        return 0;
    char *end;
    long n = strtol(v, &end, 10);
    if (end == v || *end || n < 0 || n > o->most)
        return err_set(e, "%s is a whole number from 0 to %d, not '%s'", o->name, o->most, v);
    *o->number = (int)n;
    return 0;
}

/* Options are pairs of a name and a value, but for --json and --answers. */
static int read_arguments(struct task *t, int argc, char **argv, struct err *e)
{
    struct engine_config *a = &t->side[A].config, *b = &t->side[B].config;
    char *device = "cpu";
    int threads = 0;
    const struct place options[] = {
        { "--model", .text = &a->model }, { "--against", .text = &b->model },
        { "--weights", .text = &a->weights }, { "--against-weights", .text = &b->weights },
        { "--activations", .text = &a->activations }, { "--against-activations", .text = &b->activations },
        { "--kv-cache-dtype", .text = &a->kv_cache_dtype }, { "--against-kv-cache-dtype", .text = &b->kv_cache_dtype },
        { "--device", .text = &device }, { "--data", .path = &t->data }, { "--logits", .path = &t->logits },
        { "--threads", .number = &threads, .most = 1024 },
        { "--max-tokens", .number = &t->max_tokens, .most = MOST_TOKENS },
        { "--generate", .number = &t->generate, .most = MOST_TOKENS },
    };
    for (int i = 1; i < argc; i++) {
        const struct place *o = options, *end = options + sizeof options / sizeof *options;
        if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "--answers")) {
            *(strcmp(argv[i], "--json") == 0 ? &t->json : &t->answers_only) = true;
            continue;
        }
        while (o < end && strcmp(o->name, argv[i]) != 0)
            o++;
        if (o == end)
            return err_set(e, "compare has no option %s", argv[i]);
        if (i + 1 == argc)
            return err_set(e, "%s needs a value", argv[i]);
        if (set_option(o, argv[++i], e) != 0)
            return -1;
    }
    if (!a->model || !t->data)
        return err_set(e, "compare needs --model and --data");
    b->model = b->model ? b->model : a->model;
    a->device = b->device = device;
    a->threads = b->threads = threads;
    return 0;
}

/* ---- the models ---- */

/* Rows of a step: STEP, or more where an image's places have to be computed together. */
static int most_rows(const struct model *m)
{
    struct image_plan largest;
    if (!m->image_spans)
        return STEP;
    m->family->largest_image(m, &(struct image_options){ 0 }, 1, &largest);
    return STEP + largest.n_tokens;
}

/* Opens one of the two checkpoints on a device of its own, with the types of numbers that were asked for, and
 * room for the logits of one step. After -1 side_close() frees what is there. */
static int side_open(struct side *s, int generate, struct err *e)
{
    struct model_options opt = { .backend = s->backend = backend_find(s->config.device, e) };
    struct device_options wanted = { .threads = s->config.threads };
    if (!opt.backend || kv_option(&s->config, &s->kv, e) < 0 || weights_option(&s->config, &opt, e) < 0 ||
        activations_option(&wanted.activations, &s->config, opt.backend, s->config.weights, e) < 0 ||
        opt.backend->open(&s->device, &wanted, e) != 0)
        return -1;
    opt.device = s->device;
    s->m = model_open(s->config.model, &opt, e);
    if (!s->m)
        return -1;
    if (s->m->prompts_whole)
        return err_set(e, "%s: this model reads prompts both ways, so it predicts none of their tokens that could be "
                       "compared", s->config.model);
    s->logits = calloc((size_t)most_rows(s->m) * (size_t)s->m->vocab, sizeof *s->logits);
    s->answer = calloc((size_t)generate + 1, sizeof *s->answer);
    return s->logits && s->answer ? 0 : err_memory(e);
}

static void side_close(struct side *s)
{
    free(s->logits);
    free(s->answer);
    model_close(s->m);
    if (s->device)
        s->backend->close(s->device);
}

static double bits_per_weight(const struct model *m)
{
    return 8.0 * (double)m->weight_bytes / (double)(m->n_params ? m->n_params : 1);
}

/* ---- one line ---- */

/* Encodes the images and stands before the first token of the prompt. */
static int side_begin(struct side *s, const struct prompt *p, int generate, struct err *e)
{
    int rc = 0;
    trial_open(&s->trial, s->m, p->n + generate, s->kv);
    for (int i = 0; i < p->n_images && rc == 0; i++)
        rc = trial_views(&s->trial, p->images[i].px.data, &p->images[i].plan, e);
    s->reading = (struct reading){ 0 };
    if (rc == 0)
        reading_open(&s->reading, &s->trial, p->ids, p->n, generate);
    return rc;
}

static void side_end(struct side *s)
{
    reading_close(&s->reading);
    trial_close(&s->trial);
}

/* Row i of `n` rows of both sides, one after the other. */
static int write_logits(struct task *t, int i, struct err *e)
{
    for (int s = 0; s < 2; s++) {
        size_t vocab = (size_t)t->side[s].m->vocab;
        if (fwrite(t->side[s].logits + (size_t)i * vocab, sizeof(float), vocab, t->out) != vocab)
            return err_set(e, "%s cannot be written", t->logits);
    }
    return 0;
}

/* Is what the models predict for the token behind row i of a line compared? The places of images are not predicted. */
static bool counts(const struct task *t, const struct line *line, int i)
{
    const struct prompt *p = line->prompt;
    if (i + 1 == p->n)
        return !line->answer;
    return !model_is_place(t->side[A].m, p->ids, i + 1) && (!line->answer || line->answer[i + 1]);
}

/* Both models read rows first .. first + n of the prompt, and what they predict there is compared. */
static int compare_step(struct task *t, const struct line *line, int first, int n, struct err *e)
{
    const struct prompt *p = line->prompt;
    size_t vocab = (size_t)t->side[A].m->vocab;
    for (int s = 0; s < 2; s++)
        if (reading_next(&t->side[s].reading, n, n, t->side[s].logits, e) != 0)
            return -1;
    for (int i = 0; i < n; i++) {
        int32_t next = first + i + 1 < p->n ? p->ids[first + i + 1] : -1;
        if (!counts(t, line, first + i))
            continue;
        if (comparison_rows(&t->compared, t->side[A].logits + (size_t)i * vocab, t->side[B].logits + (size_t)i * vocab,
                            1, (int)vocab, &next, e) != 0 ||
            (t->out && write_logits(t, i, e) != 0))
            return -1;
    }
    return 0;
}

/* Goes on from `row`, the logits of the prompt's last token, with the likeliest token each time. The one that ends the
 * answer belongs to it. */
static int answer(struct side *s, const float *row, int most, struct err *e)
{
    s->n_answer = 0;
    for (;;) {
        int32_t id = comparison_likeliest(row, s->m->vocab);
        s->answer[s->n_answer++] = id;
        if (s->n_answer == most || ends_answer(s->m, id))
            return 0;
        reading_add(&s->reading, id);
        if (reading_next(&s->reading, 1, 1, s->logits, e) != 0)
            return -1;
        row = s->logits;
    }
}

/* The point that an answer taps. -1: none. */
static int tap_of(const struct lines *l, const struct side *s, int *x, int *y)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    int rc = tokenizer_decode(l->text.tokenizer, s->answer, (size_t)s->n_answer, true, &text, NULL);
    rc = rc == 0 && text.data ? point_find(text.data, "element", x, y) : -1;
    buf_free(&text);
    return rc;
}

/* Counts one pair of greedy answers: how long they are equal, and, where the right one taps, how far from it the other
 * one taps. An answer that was to tap and does not is a miss and has no distance. */
static void compare_answers(struct task *t, const struct lines *l)
{
    const struct side *a = &t->side[A], *b = &t->side[B];
    struct answers *r = &t->answers;
    int same = 0, xa, ya, xb, yb;
    while (same < a->n_answer && same < b->n_answer && a->answer[same] == b->answer[same])
        same++;
    r->n++;
    r->equal += same == a->n_answer && same == b->n_answer;
    r->share += (double)same / (a->n_answer > b->n_answer ? a->n_answer : b->n_answer);
    if (tap_of(l, a, &xa, &ya) != 0)
        return;
    r->taps++;
    if (tap_of(l, b, &xb, &yb) != 0) {
        r->missed++;
        return;
    }
    double shift = hypot(xa - xb, ya - yb);
    r->shift += shift;
    r->most = shift > r->most ? shift : r->most;
}

/* Sends one prompt through both models, STEP rows at a time, and compares their predictions row by row. If the prompt
 * ends where an answer is due and --generate was given, both answer from the last row's logits. Caches live for one
 * prompt. */
static int compare_prompt(struct task *t, const struct lines *l, const struct line *line, struct err *e)
{
    const struct prompt *p = line->prompt;
    int more = line->open ? t->generate : 0, rc = 0, n = 0;
    for (int s = 0; s < 2; s++)
        if (side_begin(&t->side[s], p, more, e) != 0)
            rc = -1;
    for (int first = 0; first < p->n && rc == 0; first += n) {
        n = trial_step_end(t->side[A].reading.t, p->ids, p->n, first + STEP) - first;
        rc = compare_step(t, line, first, n, e);
    }
    for (int s = 0; s < 2 && more && rc == 0; s++)
        rc = answer(&t->side[s], t->side[s].logits + (size_t)(n - 1) * (size_t)t->side[s].m->vocab, more, e);
    if (more && rc == 0)
        compare_answers(t, l);
    for (int s = 0; s < 2; s++)
        side_end(&t->side[s]);
    return rc;
}

/* ---- all lines ---- */

/* All lines of the data. The limit of a prompt is the smaller of the two contexts and --max-tokens. Data without a
 * single line is an error, since a comparison of nothing would look like perfect agreement. */
static int compare_lines(struct task *t, struct err *e)
{
    struct lines l;
    struct line line;
    int context = t->side[A].m->context < t->side[B].m->context ? t->side[A].m->context : t->side[B].m->context;
    int rc = lines_open(&l, t->data, t->side[A].m, t->side[A].config.model,
                        t->max_tokens < context ? t->max_tokens : context, e);
    l.answers = t->answers_only;
    while (rc == 0 && (rc = lines_next(&l, &line, e)) == 1) {
        rc = compare_prompt(t, &l, &line, e);
        if (rc != 0)
            err_prefix(e, "%s: line %d", t->data, l.number);
        line_free(&line);
        t->n_lines++;
    }
    lines_close(&l);
    if (rc == 0 && t->n_lines == 0)
        return err_set(e, "%s: there is no line to compare", t->data);
    return rc;
}

static int open_logits(struct task *t, struct err *e)
{
    if (!t->logits)
        return 0;
    t->out = fopen(t->logits, "wb");
    return t->out && npy_begin(t->out) ? 0 : err_set(e, "%s cannot be written", t->logits);
}

/* Ends the file of --logits, whose header can only say now how many rows it has. Gives rc back, or -1 if only this
 * failed. */
static int close_logits(struct task *t, int rc, struct err *e)
{
    char shape[100];
    if (!t->out)
        return rc;
    snprintf(shape, sizeof shape, "%zu, 2, %d", t->compared.n, t->side[A].m->vocab);
    bool ok = npy_end(t->out, shape);
    ok = fclose(t->out) == 0 && ok;
    return rc == 0 && !ok ? err_set(e, "%s cannot be written", t->logits) : rc;
}

/* ---- the result ---- */

/* "auto" is told by what it came to. */
static json_t *side_json(const struct side *s)
{
    return json_pack("{s:s, s:s, s:s, s:f}", "model", s->config.model, "weights", s->config.weights, "activations",
                     s->config.activations, "bits_per_weight", bits_per_weight(s->m));
}

/* One line of JSON for scripts; docs/quantisation.md describes its names. Answers and taps are there only if some were
 * compared. */
static void print_json(const struct task *t, const struct divergence *d)
{
    const struct answers *r = &t->answers;
    json_t *out = json_pack("{s:o, s:o, s:i, s:I, s:f, s:f, s:f, s:f, s:[f, f]}", "model", side_json(&t->side[A]),
                            "against", side_json(&t->side[B]), "lines", t->n_lines, "positions",
                            (json_int_t)d->positions, "kl_mean", d->kl_mean, "kl_999", d->kl_999, "kl_max", d->kl_most,
                            "top1_agreement", d->agreement, "perplexity", d->perplexity[A], d->perplexity[B]);
    if (r->n)
        json_object_set_new(out, "answers",
                            json_pack("{s:i, s:i, s:f}", "answers", r->n, "equal", r->equal, "share", r->share / r->n));
    if (r->taps)
        json_object_set_new(out, "taps",
                            json_pack("{s:i, s:i, s:f, s:f}", "taps", r->taps, "missed", r->missed, "shift_mean",
                                      r->taps > r->missed ? r->shift / (r->taps - r->missed) : 0.0, "shift_max",
                                      r->most));
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(out);
}

/* The same for people, a line for each figure; the first column is its name. */
static void print_text(const struct task *t, const struct divergence *d)
{
    const struct answers *r = &t->answers;
    for (int s = 0; s < 2; s++) {
        const struct side *x = &t->side[s];
        printf("%-25s %s, weights %s, activations %s, %.2f bits per weight\n", s == A ? "model" : "against",
               x->config.model, x->config.weights, x->config.activations, bits_per_weight(x->m));
    }
    printf("%-25s %d lines, %zu tokens\n", "compared", t->n_lines, d->positions);
    printf("%-25s mean %.6f, 99.9 %% %.6f, largest %.6f nats\n", "KL divergence", d->kl_mean, d->kl_999, d->kl_most);
    printf("%-25s %.2f %%\n", "same likeliest token", 100 * d->agreement);
    printf("%-25s %.4f against %.4f\n", "perplexity", d->perplexity[A], d->perplexity[B]);
    if (r->n)
        printf("%-25s %d of %d equal, share before the first difference %.3f\n", "answers", r->equal, r->n,
               r->share / r->n);
    if (r->taps)
        printf("%-25s %d, %d missed, apart by mean %.2f, largest %.0f thousandths of the screen\n", "taps", r->taps,
               r->missed, r->taps > r->missed ? r->shift / (r->taps - r->missed) : 0.0, r->most);
}

/* ---- the command ---- */

/* The command after its arguments are read. Returns the exit status: USAGE for what the user can set right (a
 * checkpoint that does not open, vocabularies of different sizes), 1 for what fails on the way. */
static int run(struct task *t, struct err *e)
{
    for (int s = 0; s < 2; s++)
        if (side_open(&t->side[s], t->generate, e) != 0)
            return USAGE;
    if (t->side[A].m->vocab != t->side[B].m->vocab)
        return err_set(e, "the models have vocabularies of %d and %d tokens", t->side[A].m->vocab,
                       t->side[B].m->vocab), USAGE;
    int rc = open_logits(t, e);
    if (rc == 0)
        rc = compare_lines(t, e);
    if (close_logits(t, rc, e) != 0)
        return 1;
    struct divergence d = comparison_result(&t->compared);
    if (t->json)
        print_json(t, &d);
    else
        print_text(t, &d);
    return 0;
}

/* Both sides start with weights and activations `auto` and float32 caches. Only warnings are logged, because standard
 * output is the result. */
int command_compare(int argc, char **argv)
{
    struct err e = { 0 };
    struct task t = { .max_tokens = 4096 };
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return fputs(usage, stdout), 0;
    for (int s = 0; s < 2; s++)
        t.side[s].config = (struct engine_config){
            .weights = "auto", .activations = "auto", .kv_cache_dtype = "f32"
        };
    log_set_level(LOG_WARN);
    int rc = read_arguments(&t, argc, argv, &e) == 0 ? run(&t, &e) : USAGE;
    if (rc != 0)
        fprintf(stderr, "openautoglm: %s\n", e.text);
    for (int s = 0; s < 2; s++)
        side_close(&t.side[s]);
    comparison_free(&t.compared);
    return rc;
}
