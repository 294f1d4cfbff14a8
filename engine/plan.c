/* engine/plan.c - see plan.h. */
#include "engine/plan.h"

#include <stdio.h>
#include <string.h>

#include "engine/room.h"
#include "grammar/tokens.h"
#include "model/measure.h"

enum { MIB = 1 << 20, MAX_ROWS = 512, MIN_GPU_ROWS = 32, MAX_GPU_ROWS = 2048, MIN_LEN = 256,
       WHOLE_TEXT = 512,             /* tokens of a usual text, where a prompt is computed in one step */
       USUAL_LEN = 8192,             /* two screenshots and what was said about them */
       HOST_SLACK = 64 << 10,        /* alignment of the arena's tables */
       LEAST_PIXELS = 4096 * 4096,   /* of an upload: always accepted by default ... */
       USUAL_PIXELS = 48 << 20,      /* ... and this where there is memory: a photo of 8064 x 6048 is within it */
       RESIZE_MOST = 8 };            /* pictures of the planned size: larger uploads are resized by the host */

/* Measured: the program with its libraries, threads and tables, before anything of the model. */
static const size_t PROGRAM_BYTES = 24 * (size_t)MIB;

/* Wide rows and long filters take this at most, but for pictures that no camera makes. */
static const size_t DECODE_ROWS = 16 * (size_t)MIB;

/* On a CPU, as many as make the reading of the weights a small part of multiplying with them. On a GPU that does 2e14
 * operations a second a step should last about a tenth of one. How long those wait who are answered meanwhile is the
 * business of pace.h. */
static int rows_for(const struct model *m)
{
    if (!m->backend->discrete)
        return MAX_ROWS;
    double rows = 2e13 / (2.0 * (double)(m->n_params ? m->n_params : 1));
    if (rows < MIN_GPU_ROWS)
        return MIN_GPU_ROWS;
    return rows > MAX_GPU_ROWS ? MAX_GPU_ROWS : (int)rows;
}

/* Rows that a prompt with one image needs in one step: of the image; or, where the whole prompt is read both ways, of a
 * usual text as well. */
static int image_rows(const struct engine_config *o, const struct model *m)
{
    struct image_options opt = { .min_pixels = o->min_pixels, .max_pixels = o->max_pixels };
    struct image_plan best;
    if (!m->image_spans && !m->prompts_whole)
        return 0;
    m->family->largest_image(m, &opt, LEAST_PIXELS, &best);
    return m->prompts_whole ? best.n_tokens + WHOLE_TEXT : best.n_tokens / image_runs(&best);
}

/* A step has room for one token of every request at least, beside an image that has to be computed in one step. */
static void choose_rows(struct engine_config *o, const struct model *m)
{
    int least = o->max_num_seqs + image_rows(o, m);
    o->max_batched_tokens = o->max_batched_tokens ? o->max_batched_tokens : rows_for(m);
    if (o->max_batched_tokens < least)
        o->max_batched_tokens = least;
}

/* Decoding the largest upload may take a quarter of the host's memory by default; what was usual before photos grew is
 * always accepted. */
static int64_t usual_pixels(const struct engine_plan *p)
{
    size_t pixels = (p->discrete ? p->host_available : p->available) / 4 / IMAGE_BYTES_PER_PIXEL;
    if (pixels < LEAST_PIXELS)
        return LEAST_PIXELS;
    return pixels < USUAL_PIXELS ? (int64_t)pixels : USUAL_PIXELS;
}

/* Sides and pixels of an upload are limited each on its own. */
static void limit_uploads(struct engine_config *o, const struct engine_plan *p)
{
    int64_t side = o->max_image_side;
    o->max_image_pixels = o->max_image_pixels ? o->max_image_pixels : usual_pixels(p);
    if (side && side * side < o->max_image_pixels)
        o->max_image_pixels = side * side;
}

/* Images that are being decoded: as much as the largest upload needs in the format that needs most, its views twice
 * where it is turned, those that other views are made of, and for every view DECODE_ROWS for rows and tables. Others
 * are decoded side by side within it. */
static size_t decoding_bytes(const struct image_recipe *recipe, int64_t pixels)
{
    size_t views = 0;
    for (int i = 0; i < recipe->n; i++)
        views += (size_t)recipe->view[i].width * (size_t)recipe->view[i].height * 3;
    return (size_t)pixels * IMAGE_BYTES_PER_PIXEL + 2 * views + (size_t)recipe->n * DECODE_ROWS;
}

/* Scratch of the largest image, and the pages that it takes in the cache. */
static size_t size_images(struct setup *s, const struct model *m)
{
    struct engine_config *o = &s->config;
    struct image_options opt = { .min_pixels = o->min_pixels, .max_pixels = o->max_pixels };
    struct image_plan best;
    if (!m->family->plan_image)
        return 0;
    m->family->largest_image(m, &opt, o->max_image_pixels, &best);
    struct image_recipe recipe = plan_recipe(&best);
    size_t rgb = image_recipe_bytes(&recipe);
    size_t places = (size_t)(best.n_tokens + best.n_cells) * sizeof(int);
    struct pass_memory pass = model_measure_encode(m, &best);
    size_t encode = pass.scratch + rgb + places + MIB;
    s->sizes.host = pass.host + pass.host / 8 + places + HOST_SLACK;
    s->device_resize = o->device_resize && m->backend->ops.resample ? RESIZE_MOST * rgb : 0;
    encode += s->device_resize;
    s->sizes.image_row_pages = (best.n_tokens + IMAGE_ROW_PAGE - 1) / IMAGE_ROW_PAGE;
    s->sizes.image_kv_pages = m->image_kv.layers ? images_most_kv_pages(&best) : 0;
    s->plan.max_image_tokens = best.n_tokens;
    s->plan.max_plan_bytes = rgb;
    s->plan.max_together = best.n_together;
    s->plan.max_image_pixels = o->max_image_pixels;
    s->plan.image_peak = decoding_bytes(&recipe, o->max_image_pixels);
    size_t kept = s->device_resize ? s->device_resize : rgb, most = (size_t)o->max_num_seqs * kept;
    size_t share = (s->plan.discrete ? s->plan.host_available : s->plan.available) / 16;
    size_t least = (size_t)o->max_images * kept;
    most = most < share ? most : share;
    s->plan.pixels = most > least ? most : least;
    return encode + encode / 8;
}

/* As many of the largest images as requests run at once or as one request may have, whichever is more; or what a
 * sixteenth of the rest holds, at least one. */
static void size_image_cache(struct setup *s, const struct model *m, size_t left)
{
    struct engine_config *o = &s->config;
    size_t usual = (size_t)(o->max_num_seqs > o->max_images ? o->max_num_seqs : o->max_images);
    size_t one = (size_t)s->sizes.image_row_pages * runner_row_page_bytes(m) +
                 (size_t)s->sizes.image_kv_pages * runner_image_kv_page_bytes(m, s->sizes.kv);
    if (!one)
        return;
    size_t count = (o->image_cache_bytes ? o->image_cache_bytes : left / 16) / one;
    if (!o->image_cache_bytes && count > usual)
        count = usual;
    count = count ? count : 1;
    s->sizes.image_row_pages *= (int)count;
    s->sizes.image_kv_pages *= (int)count;
    s->plan.image_cache = count * one;
}

static int pages_of(int tokens) { return (tokens + KV_PAGE - 1) / KV_PAGE; }

/* What a request of `len` tokens holds at the most: pages of one of the text's caches, and bytes of all. */
static int held_pages(const struct setup *s, const struct model *m, int cache, int len)
{
    const struct kv_shape *shape = model_text_cache(m, cache);
    return shape->layers ? scheduler_held(shape->window, len, s->config.max_batched_tokens) : 0;
}

static size_t held_bytes(const struct setup *s, const struct model *m, int len)
{
    size_t bytes = 0;
    for (int c = 0; c < TEXT_CACHES; c++)
        bytes += (size_t)held_pages(s, m, c, len) * runner_kv_page_bytes(m, c, s->sizes.kv);
    return bytes;
}

/* Bytes that the KV cache may grow to by default. A GPU gives all that is left. The host, where other programs live,
 * gives one whole context, and beyond it what max_num_seqs requests of USUAL_LEN tokens need, up to half of what is
 * free beside the rest of the plan. */
static size_t usual_kv(const struct setup *s, const struct model *m, size_t left)
{
    const struct engine_config *o = &s->config;
    if (s->plan.discrete)
        return left;
    size_t whole = held_bytes(s, m, o->max_model_len);
    int usual = o->max_model_len < USUAL_LEN ? o->max_model_len : USUAL_LEN;
    size_t want = (size_t)o->max_num_seqs * held_bytes(s, m, usual);
    want = want < left / 2 ? want : left / 2;
    want = want > whole ? want : whole;
    return want < left ? want : left;
}

/* So many pages, or a few less, that every layer's begin with a huge page of the machine's: memory is taken by huge
 * pages, and each layer's first would be two of them, once for keys and once for values. */
static size_t whole_huge_pages(const struct setup *s, size_t pages, size_t least, size_t layer_page)
{
    const size_t huge = (size_t)2 << 20;
    if (s->plan.discrete || huge % layer_page != 0)
        return pages;
    size_t whole = pages - pages % (huge / layer_page);
    return whole >= least ? whole : pages;
}

/* The longest context, in whole pages, of which one request fits into so many bytes. */
static int longest_context(const struct setup *s, const struct model *m, size_t bytes)
{
    int fits = 0, over = pages_of(s->config.max_model_len) + 1;
    while (over - fits > 1) {
        int middle = fits + (over - fits) / 2;
        *(held_bytes(s, m, middle * KV_PAGE) <= bytes ? &fits : &over) = middle;
    }
    return fits * KV_PAGE;
}

static size_t least_of(size_t a, size_t b) { return a < b ? a : b; }

/* Shares the budget among the text's caches. Each has the pages of one whole context; what is left goes to both alike
 * until that with the window has enough for all requests at once, and then to the other alone. */
static void share_kv(struct setup *s, const struct model *m, size_t budget)
{
    const struct engine_config *o = &s->config;
    size_t whole = held_bytes(s, m, o->max_model_len), left = budget > whole ? budget - whole : 0;
    size_t n[TEXT_CACHES], more[TEXT_CACHES], page[TEXT_CACHES];
    for (int c = 0; c < TEXT_CACHES; c++) {
        n[c] = (size_t)held_pages(s, m, c, o->max_model_len);
        more[c] = n[c] * (size_t)(o->max_num_seqs - 1);
        page[c] = runner_kv_page_bytes(m, c, s->sizes.kv);
    }
    size_t both = least_of(left / (page[0] + page[1]), least_of(more[0], more[1]));
    size_t rest = least_of((left - both * (page[0] + page[1])) / page[0], more[0] - both);
    n[0] += both + rest;
    n[1] += both;
    s->plan.kv = 0;
    for (int c = 0; c < TEXT_CACHES; c++) {
        const struct kv_shape *shape = model_text_cache(m, c);
        if (n[c])
            n[c] = whole_huge_pages(s, n[c], (size_t)held_pages(s, m, c, o->max_model_len),
                                    page[c] / 2 / (size_t)shape->layers);
        s->sizes.kv_pages[c] = (int)n[c];
        s->plan.kv += n[c] * page[c];
    }
    s->plan.kv_floor = s->plan.discrete || whole > s->plan.kv ? s->plan.kv : whole;
}

/* How many pages the KV caches get of the memory that is `left`: at most for max_num_seqs full contexts, at least for
 * one. Where not even one fits, a context that nobody asked for is made shorter; one that was asked for stays, and the
 * plan then does not fit. Also sets kv_floor, one whole context, which a cache that grows must be able to have. -1:
 * --kv-bytes is too small for any context. */
static int size_kv(struct setup *s, const struct model *m, size_t left, struct err *e)
{
    struct engine_config *o = &s->config;
    size_t budget = o->kv_bytes ? o->kv_bytes : usual_kv(s, m, left);
    if (budget < held_bytes(s, m, o->max_model_len)) {
        int len = longest_context(s, m, budget);
        if (o->kv_bytes && len < MIN_LEN)
            return err_field(e, "kv_bytes", "a KV cache of %zu bytes holds %d tokens; at least %d are needed",
                             o->kv_bytes, len, MIN_LEN);
        /* The context that was asked for is kept, even where it does not fit (the plan says so); a default yields. */
        int least = MIN_LEN < o->max_model_len ? MIN_LEN : o->max_model_len;
        if (!s->plan.max_model_len)
            o->max_model_len = len > least ? len : least;
    }
    share_kv(s, m, budget);
    return 0;
}

static bool caches_hold(enum dtype t) { return t == F32 || t == F16 || t == BF16 || t == Q8 || t == F8; }

int kv_option(const struct engine_config *o, enum dtype *out, struct err *e)
{
    const char *name = o->kv_cache_dtype;
    if (dtype_named(name, out) && caches_hold(*out))
        return 0;
    return err_field(e, "kv_cache_dtype", "there is no KV cache of type '%s'", name);
}

const char *weights_name(const struct engine_config *o, const struct model *m)
{
    return m->prepared ? dtype_name(m->prepared_as) : o->weights;
}

/* Are activations rounded to int8 with weights of this type, where the backend does that at all? */
static bool rounds_activations(const struct engine_config *o, const struct model *m)
{
    const char *weights = weights_name(o, m);
    return (strcmp(weights, "int8") == 0 || strcmp(weights, "int4") == 0) && strcmp(o->activations, "float") != 0;
}

/* The number type of both caches; what "auto" loses is little beside what rounded activations lose. */
static int choose_kv(struct setup *s, const struct model *m, struct err *e)
{
    s->sizes.kv = rounds_activations(&s->config, m) ? m->backend->kv_rounded : m->backend->kv;
    if (strcmp(s->config.kv_cache_dtype, "auto") != 0 && kv_option(&s->config, &s->sizes.kv, e) < 0)
        return -1;
    snprintf(s->plan.kv_dtype, sizeof s->plan.kv_dtype, "%s", dtype_name(s->sizes.kv));
    return 0;
}

/* --memory-bytes is about the host; a GPU has a share of its own. Without it the host gives what others have not taken,
 * less a margin, and nine tenths of all at most. */
static void set_available(struct engine_plan *p, const struct engine_config *o, const struct memory *memory)
{
    size_t host = memory->host / 10 * 9, margin = room_margin(memory->host);
    if (memory->free && memory->free < host + margin)
        host = memory->free > margin ? memory->free - margin : 0;
    host = o->memory_bytes ? o->memory_bytes : host;
    p->available = p->discrete ? (size_t)((double)memory->device * o->gpu_memory_fraction) : host;
    p->host_available = p->discrete ? host : 0;
}

/* The sums. With the model in the machine's own memory both halves come out of the same; a GPU has one, the host the
 * other. */
static void add_up(struct engine_plan *p)
{
    size_t device = p->weights + p->kv + p->image_cache + p->scratch + p->logits;
    size_t host = p->image_peak + p->pixels + p->requests + p->program;
    p->total = p->discrete ? device : device + host;
    p->floor = p->total - p->kv + p->kv_floor;
    p->host = p->discrete ? host : 0;
    p->fits = p->total <= p->available && p->host <= p->host_available;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Scratch is one block, for whatever runs: a step with the most rows, what follows it with vectors, or an image. Where
 * an image's encoding lets steps of single tokens in between, their scratch lies behind the image's. */
static void size_scratch(struct setup *s, const struct model *m)
{
    int rows = s->config.max_batched_tokens, seqs = s->config.max_num_seqs, out = s->sizes.max_out;
    size_t project = model_measure_project(m), encode = size_images(s, m);
    size_t step = larger(model_measure_forward(m, rows, seqs, out, rows).scratch, project);
    if (encode && !m->backend->async)
        encode += larger(model_measure_forward(m, seqs, seqs, out, seqs).scratch, project);
    size_t results = 4096;                      /* of a row: its token, and the most likely ones */
    s->plan.logits = (size_t)out * ((m->no_head ? 0 : (size_t)m->vocab * sizeof(float)) + results);
    s->sizes.scratch = larger(step, encode) + s->plan.logits;
}

/* The program itself, and the vocabulary as grammars see it. */
static size_t program_bytes(const struct model *m) { return PROGRAM_BYTES + tokens_bytes(m->vocab); }

/* What the weights, the scratch and the host's part leave goes to the caches: first to the images', then to the
 * text's. */
static int size_caches(struct setup *s, const struct model *m, struct err *e)
{
    struct engine_plan *p = &s->plan;
    size_t host = p->image_peak + p->pixels + p->requests + program_bytes(m) + s->sizes.host;
    size_t fixed = p->weights + (p->discrete ? 0 : s->sizes.scratch + host);
    size_image_cache(s, m, p->available > fixed ? p->available - fixed : 0);
    size_t staging = runner_staging_bytes(&s->sizes, m);
    fixed = p->weights + s->sizes.scratch + p->image_cache + (p->discrete ? staging : host + 2 * staging);
    return size_kv(s, m, p->available > fixed ? p->available - fixed : 0, e);
}

/* Those of the plan's numbers that people want to see and that nothing is computed from. */
static void describe(struct setup *s, const struct model *m)
{
    const struct engine_config *o = &s->config;
    struct engine_plan *p = &s->plan;
    p->kv_tokens = s->sizes.kv_pages[0] * KV_PAGE;
    p->kv_floor_tokens = p->kv_floor == p->kv ? p->kv_tokens : held_pages(s, m, 0, o->max_model_len) * KV_PAGE;
    p->max_num_seqs = o->max_num_seqs;
    p->max_model_len = o->max_model_len;
    p->max_batched_tokens = o->max_batched_tokens;
    p->n_params = m->n_params;
    snprintf(p->model_type, sizeof p->model_type, "%s", m->type);
    snprintf(p->device, sizeof p->device, "%s", m->backend->name);
    snprintf(p->weights_dtype, sizeof p->weights_dtype, "%s", weights_name(o, m));
}

/* One next token of every request; and where those are few, as many rows as pay off when the logprobs of a long prompt
 * are told: the weights of the logits are read once for all of them. Bounded by what the logits take. */
static int most_out(const struct engine_config *o, const struct model *m)
{
    enum { TOLD = 32, LOGITS_BYTES = 32 * MIB };
    int fit = LOGITS_BYTES / ((int)sizeof(float) * m->vocab), told = fit < TOLD ? fit : TOLD;
    return told > o->max_num_seqs ? told : o->max_num_seqs;
}

/* From what is fixed to what can give way: the model's weights, the options' limits, scratch for the largest step and
 * image, and then the caches, which get what is left. A plan that does not fit is made all the same, so that it can be
 * shown. */
int setup_make(struct setup *s, const struct engine_options *opt, const struct model *m, const struct memory *memory,
               struct err *e)
{
    *s = (struct setup){ .config = opt->config };
    struct engine_config *o = &s->config;
    struct engine_plan *p = &s->plan;
    choose_rows(o, m);
    if (choose_kv(s, m, e) < 0)
        return -1;
    if (o->max_model_len > m->context)
        return err_field(e, "max_model_len", "max_model_len is %d, but the model's context is %d", o->max_model_len,
                         m->context);
    p->max_model_len = o->max_model_len;           /* 0: not asked for, see size_kv */
    o->max_model_len = o->max_model_len ? o->max_model_len : m->context;
    if (o->max_batched_tokens > o->max_model_len * o->max_num_seqs)
        o->max_batched_tokens = o->max_model_len * o->max_num_seqs;
    if (m->texts_whole && o->max_batched_tokens < o->max_model_len)
        o->max_batched_tokens = o->max_model_len;
    p->discrete = m->backend->discrete;
    p->weights = m->weight_bytes;
    p->requests = opt->request_bytes;
    set_available(p, o, memory);
    limit_uploads(o, p);
    s->sizes.max_seqs = o->max_num_seqs;
    s->sizes.max_out = most_out(o, m);
    s->sizes.max_rows = o->max_batched_tokens;
    s->sizes.max_len = o->max_model_len;
    s->sizes.no_graphs = !o->gpu_graphs;
    size_scratch(s, m);
    if (size_caches(s, m, e) < 0)
        return -1;
    s->sizes.max_len = o->max_model_len;           /* it may have become shorter */
    s->sizes.staging = runner_staging_bytes(&s->sizes, m);
    p->program = program_bytes(m) + s->sizes.host + (p->discrete ? s->sizes.staging : 0);
    p->scratch = s->sizes.scratch - p->logits + (p->discrete ? 1 : 2) * s->sizes.staging;
    add_up(p);
    describe(s, m);
    return 0;
}

/* The error of a plan that does not fit. It names every part with its size, and the options by which one can be made
 * smaller, since nobody can guess which of them is the large one. */
void setup_refusal(const struct setup *s, struct err *e)
{
    const struct engine_plan *p = &s->plan;
    const char *model = s->config.model;
    const char *advice = "lower --max-model-len, --max-num-seqs, --max-pixels, --max-image-pixels or --max-body-bytes";
    if (p->discrete && p->total > p->available)
        err_set(e, "%s does not fit into the GPU: %zu MiB needed (weights %zu, KV cache %zu for %d tokens, images %zu, "
                   "scratch %zu), %zu MiB may be used; %s",
                model, p->total / MIB, p->weights / MIB, p->kv / MIB, p->kv_tokens, p->image_cache / MIB,
                (p->scratch + p->logits) / MIB, p->available / MIB, advice);
    else if (p->discrete)
        err_set(e, "the host's memory does not suffice: %zu MiB needed for the program, requests and decoding images, "
                   "%zu MiB may be used; lower --max-image-pixels or --max-body-bytes",
                p->host / MIB, p->host_available / MIB);
    else
        err_set(e, "%s does not fit: %zu MiB needed (weights %zu, KV cache %zu for %d tokens, images %zu, scratch %zu, "
                   "requests %zu, program and image decoding %zu), %zu MiB may be used; %s",
                model, p->total / MIB, p->weights / MIB, p->kv / MIB, p->kv_tokens, p->image_cache / MIB,
                (p->scratch + p->logits) / MIB, p->requests / MIB,
                (p->program + p->image_peak + p->pixels) / MIB, p->available / MIB, advice);
    if (e)
        snprintf(e->code, sizeof e->code, "does_not_fit");
}
