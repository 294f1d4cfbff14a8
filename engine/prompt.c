/* engine/prompt.c - see prompt.h. It runs on the thread of the connection: many prompts are made at the same time, and
 * only reading what never changes (model, tokenizer, template) needs no lock. What they share and what could run out,
 * memory for decoding and for pixels, is behind budgets that make them wait for each other. */
#include "engine/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "engine/places.h"
#include "engine/prompt_images.h"

/* Also what it took of the budget for pixels goes back, which may let another prompt go on. */
void prompt_free(struct prompt *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    for (int i = 0; i < p->n_images; i++) {
        pixels_free(&p->images[i].px);
        pixels_free(&p->images[i].picture);
        if (p->images[i].passes)
            passes_free(p->images[i].passes);
        free(p->images[i].passes);
        free(p->images[i].run);
    }
    if (p->n_pixels)
        budget_give(p->pixels, p->n_pixels);
    free(p->images);
    free(p->ids);
    free(p->pos);
    free(p->sees);
    free(p);
}

static struct prompt *prompt_new(void)
{
    struct prompt *p = calloc(1, sizeof *p);
    if (p)
        atomic_init(&p->refs, 1);
    return p;
}

int prompt_tokens(const struct prompt *p) { return p->n; }
const int32_t *prompt_ids(const struct prompt *p) { return p->ids; }

int prompt_image_tokens(const struct prompt *p)
{
    int n = 0;
    for (int i = 0; i < p->n_images; i++)
        n += p->images[i].plan.n_tokens;
    return n;
}

int prompt_images(const struct prompt *p) { return p->n_images; }

struct token_span prompt_span(const struct prompt *p, int token)
{
    if (p->whole && token < p->n)
        return (struct token_span){ 0, p->n };
    for (int i = 0; p->spans && i < p->n_images; i++) {
        const struct prompt_image *image = &p->images[i];
        int runs = image_runs(&image->plan), each = image->plan.n_tokens / runs;
        for (int r = 0; r < runs && token >= image->start && token < image->end; r++) {
            int first = image->run ? image->run[r] : image->start;
            if (token >= first && token < first + each)
                return (struct token_span){ first, first + each };
        }
    }
    return (struct token_span){ token, token + 1 };
}

int prompt_sees_from(const struct prompt *p, int token, int window)
{
    int first = prompt_span(p, token).first, from = token < window ? 0 : token - window + 1;
    return first < from ? first : from;
}

struct prompt_place prompt_place(const struct prompt *p, int i)
{
    const struct prompt_image *image = &p->images[i];
    return (struct prompt_place){ image->start, image->end - image->start, image->plan.width, image->plan.height };
}

struct prompt_picture prompt_picture(const struct prompt *p, int i)
{
    const struct prompt_image *image = &p->images[i];
    const struct pixels *px = image->plan.n_views ? &image->picture : &image->px;
    return (struct prompt_picture){ image->passes ? NULL : px->data, px->width, px->height };
}

static void keep_tail(struct prompt *p, const char *text, size_t n)
{
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) && text[n - 1])
        n--;
    p->n_tail = n < PROMPT_TAIL ? (int)n : PROMPT_TAIL;
    if (n > 0)                         /* without a text there is no pointer */
        memcpy(p->tail, text + n - (size_t)p->n_tail, (size_t)p->n_tail);
}

bool prompt_ends_with(const struct prompt *p, const char *text)
{
    int n = (int)strlen(text);
    return n <= p->n_tail && memcmp(p->tail + p->n_tail - n, text, (size_t)n) == 0;
}

/* Does any token see an image whose places are still to come? */
static bool looks_ahead(const struct prompt *p)
{
    for (int i = 0, begun = 0; i < p->n; i++) {
        while (begun < p->n_images && p->images[begun].start <= i)
            begun++;
        if (p->sees[i].end > begun)
            return true;
    }
    return false;
}

/* What the family says of every token from the places of the images alone: its position, and the images that it
 * sees. */
static int set_positions(struct prompt *p, const struct model *m, struct err *e)
{
    const struct family *f = m->family;
    p->next_pos = p->n;
    p->spans = m->image_spans;
    p->whole = m->prompts_whole;
    if (!f->positions && !f->sees)
        return 0;
    struct image_plan *plans = malloc(((size_t)p->n_images + 1) * sizeof *plans);
    p->pos = f->positions ? malloc(3 * (size_t)p->n * sizeof *p->pos) : NULL;
    p->sees = f->sees ? malloc((size_t)p->n * sizeof *p->sees) : NULL;
    if (!plans || (f->positions && !p->pos) || (f->sees && !p->sees)) {
        free(plans);
        return err_memory(e);
    }
    for (int i = 0; i < p->n_images; i++)
        plans[i] = p->images[i].plan;
    if (f->positions)
        p->next_pos = f->positions(m, p->ids, p->n, plans, p->n_images, p->pos);
    if (f->sees)
        p->next_sees = f->sees(m, p->ids, p->n, plans, p->n_images, p->sees);
    p->looks_ahead = f->sees && looks_ahead(p);
    free(plans);
    return 0;
}

/* A tokenizer that has more tokens than the model's embedding would make the model read beyond its rows. */
static int check_ids(const struct model *m, const struct ids *ids, struct err *e)
{
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] < 0 || ids->id[i] >= m->n_ids)
            return err_set(e, "the tokenizer gives id %d, but the model has a vocabulary of %d", ids->id[i], m->n_ids);
    return 0;
}

/* Multimodal processors tokenise the rendered text like any other, so the post-processor applies, unless the template
 * has written bos already; a text model's template writes its special tokens itself. */
static int encode_chat(const struct model *m, const struct text *t, const struct rendering *r, bool asked,
                       struct ids *ids, struct err *e)
{
    const char *bos = tokenizer_bos(t->tokenizer);
    size_t n = bos ? strlen(bos) : 0;
    bool starts_with_bos = n && n <= r->n && memcmp(r->text, bos, n) == 0 &&
                           (!r->from || origin_most(r->from, n) == FROM_TEMPLATE);
    bool special = asked || (m->image_token >= 0 && !starts_with_bos && !m->family->bos_within);
    if (tokenizer_encode_chat(t->tokenizer, r->text, r->from, r->n, special, ids, e) < 0)
        return -1;
    return check_ids(m, ids, e);
}

/* The ids of a text as the family makes its vector of them, in *own, which is the caller's; only the last `keep` tokens
 * of it count, 0 or -1: all. */
static int ids_of_vector(const struct model *m, const struct ids *ids, int keep, int pad, struct ids *own,
                         struct err *e)
{
    size_t first = keep > 0 && (size_t)keep < ids->n ? ids->n - (size_t)keep : 0, n = ids->n - first;
    size_t room = n > (size_t)m->context ? n : (size_t)m->context;
    if (n == 0 || n > INT32_MAX)
        return err_field(e, "prompt", n ? "the text is too long" : "the prompt is empty");
    own->id = malloc(room * sizeof *own->id);
    if (!own->id)
        return err_memory(e);
    memcpy(own->id, ids->id + first, n * sizeof *own->id);
    own->n = (size_t)m->family->text_ids(m, own->id, (int)n, pad);
    return 0;
}

/* There is no tokenizer either. */
static int check_reads(const struct model *m, const char *field, struct err *e)
{
    return m->no_texts ? err_field(e, field, "this model reads no texts, but images") : 0;
}

/* What a chat says in a model that has no chats: the texts of its one message, a line each. *images: how many there
 * are. */
static int single_text(const json_t *messages, struct buf *out, int *images, struct err *e)
{
    const json_t *content = json_object_get(json_array_get(messages, 0), "content"), *part;
    size_t i;
    *images = 0;
    if (json_array_size(messages) != 1)
        return err_field(e, "messages", "must be one message: this model makes vectors of single texts and images");
    if (json_is_string(content))
        buf_add(out, json_string_value(content), json_string_length(content));
    json_array_foreach((json_t *)content, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (!json_is_string(text)) {
            ++*images;
            continue;
        }
        if (out->len)
            buf_byte(out, '\n');
        buf_add(out, json_string_value(text), json_string_length(text));
    }
    return buf_ok(out) ? 0 : err_memory(e);
}

/* The ids of such a chat: those of its text, or of its one image, which has one place. */
static int single_ids(struct prompt *p, const struct model *m, const struct text *t, const struct prompt_limits *limits,
                      const struct chat *chat, struct err *e)
{
    enum { MOST = 1 << 30 };
    struct buf text;
    struct ids ids = { 0 }, own = { 0 };
    int images, rc;
    buf_init(&text, MOST);
    rc = single_text(chat->messages, &text, &images, e);
    if (rc == 0 && images + (text.len > 0) > 1)
        rc = err_field(e, "messages", "must hold a text or one image: this model has no vectors of several things");
    if (rc == 0 && images == 1) {
        p->ids = calloc(1, sizeof *p->ids);
        p->n = 1;
        rc = p->ids ? 0 : err_memory(e);
    } else if (rc == 0 && (rc = check_reads(m, "messages", e)) == 0) {
        rc = tokenizer_encode(t->tokenizer, text.data ? text.data : "", text.len, true, &ids, e);
        if (rc == 0)
            rc = check_ids(m, &ids, e);
        if (rc == 0)
            rc = ids_of_vector(m, &ids, chat->keep_tokens, limits->pad, &own, e);
        if (rc == 0)
            rc = places_expand(p, m, &own, 0, limits->max_len, 0, "messages", e);
    }
    ids_free(&ids);
    ids_free(&own);
    buf_free(&text);
    return rc;
}

/* In the order of what it costs: sizes from the images' headers, the text, and only when the prompt is known to fit,
 * pixels. */
struct prompt *prompt_from_chat(const struct model *m, const struct text *t, const struct prompt_limits *limits,
                                const struct chat *chat, struct prompt_stats *stats, struct err *e)
{
    struct ids ids = { 0 };
    struct rendering text = { 0 };
    struct prompt *p = prompt_new();
    if (!p) {
        err_memory(e);
        return NULL;
    }
    if (prompt_plan_images(p, m, limits, chat, e) < 0)
        goto fail;
    p->n_images = chat->n_images;
    if (m->image_alone && single_ids(p, m, t, limits, chat, e) < 0)
        goto fail;
    if (!m->image_alone &&
        (text_render(t, chat, &text, e) < 0 || places_write(p, m, t, chat->n_images, &text, e) < 0 ||
         encode_chat(m, t, &text, chat->special_tokens, &ids, e) < 0 ||
         places_expand(p, m, &ids, chat->n_images, limits->max_len, chat->keep_tokens, "messages", e) < 0))
        goto fail;
    if (prompt_decode_images(p, limits, chat, stats, e) < 0 || set_positions(p, m, e) < 0)
        goto fail;
    keep_tail(p, text.text, text.n);
    ids_free(&ids);
    rendering_free(&text);
    return p;
fail:
    ids_free(&ids);
    rendering_free(&text);
    prompt_free(p);
    return NULL;
}

/* What a program took from a prompt that was made before, tokens and images, becomes one again. */
struct prompt *prompt_from_places(const struct model *m, const struct prompt_limits *limits, const int32_t *ids,
                                  size_t n, const struct chat *images, struct prompt_stats *stats, struct err *e)
{
    struct ids joined = { 0 }, given = { .id = (int32_t *)ids, .n = n };
    struct prompt *p = prompt_new();
    if (!p) {
        err_memory(e);
        return NULL;
    }
    int rc = prompt_plan_images(p, m, limits, images, e);
    p->n_images = rc == 0 ? images->n_images : 0;
    if (rc == 0)
        rc = check_ids(m, &given, e);
    if (rc == 0)
        rc = places_join(p, m, ids, n, p->n_images, &joined, e);
    if (rc == 0)
        rc = places_expand(p, m, &joined, p->n_images, limits->max_len, 0, "input_ids", e);
    if (rc == 0)
        rc = prompt_decode_images(p, limits, images, stats, e);
    if (rc == 0)
        rc = set_positions(p, m, e);
    free(joined.id);
    if (rc == 0)
        return p;
    prompt_free(p);
    return NULL;
}

/* The text comes from one writer, so the tokens that build a chat count in it; an image's place would have no image. */
struct prompt *prompt_from_ids(const struct model *m, const struct prompt_limits *limits, const struct ids *ids,
                               int keep_tokens, struct err *e)
{
    struct prompt *p = prompt_new();
    if (!p) {
        err_memory(e);
        return NULL;
    }
    struct ids own = { 0 };
    int rc = check_reads(m, "prompt", e);
    if (rc == 0)
        rc = check_ids(m, ids, e);
    if (rc == 0 && m->family->text_ids) {
        rc = ids_of_vector(m, ids, keep_tokens, limits->pad, &own, e);
        ids = &own;
        keep_tokens = 0;
    }
    if (rc == 0 && places_count(m, ids) > 0)
        rc = err_field(e, "prompt", "the prompt holds the image token, but no images come with it");
    if (rc == 0)
        rc = places_expand(p, m, ids, 0, limits->max_len, keep_tokens, "prompt", e);
    if (rc == 0)
        rc = set_positions(p, m, e);
    ids_free(&own);
    if (rc == 0)
        return p;
    prompt_free(p);
    return NULL;
}

/* A prompt of plain text. keep_tokens: as in prompt_from_ids(). */
struct prompt *prompt_from_text(const struct model *m, const struct text *t, const struct prompt_limits *limits,
                                const char *text, size_t n, bool special, int keep_tokens, struct err *e)
{
    struct ids ids = { 0 };
    struct prompt *p = NULL;
    if (check_reads(m, "prompt", e) < 0)
        return NULL;
    if (tokenizer_encode(t->tokenizer, text, n, special, &ids, e) == 0)
        p = prompt_from_ids(m, limits, &ids, keep_tokens, e);
    ids_free(&ids);
    return p;
}

/* Two texts as one prompt: their tokens one behind the other, as a tokenizer without a template for pairs, or with one
 * that treats both alike, has them. */
struct prompt *prompt_from_pair(const struct model *m, const struct text *t, const struct prompt_limits *limits,
                                const char *a, size_t n_a, const char *b, size_t n_b, bool special, int keep_tokens,
                                struct err *e)
{
    struct ids ids = { 0 };
    struct prompt *p = NULL;
    if (tokenizer_encode(t->tokenizer, a, n_a, special, &ids, e) == 0 &&
        tokenizer_encode(t->tokenizer, b, n_b, special, &ids, e) == 0)
        p = prompt_from_ids(m, limits, &ids, keep_tokens, e);
    ids_free(&ids);
    return p;
}
