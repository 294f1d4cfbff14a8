/* engine/places.c - see places.h. */
#include "engine/places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 1 << 30 };     /* of a chat with the texts of its images */

/* ---- in the text ---- */

/* The number of placeholders that a rendered chat has and should have, in one sentence. Returns -1. */
static int wrong_places(int have, int want, const char *field, struct err *e)
{
    return err_field(e, field, "the rendered chat has %d image placeholders for %d images%s", have, want,
                     have < want ? "; the chat template has no place for an image in one of these messages"
                                 : "; a text must not contain the image token");
}

/* Where the next mark stands in the text, from `at` on; NULL: there is none. What others than the template wrote is
 * text, whatever it says. */
static const char *next_mark(const struct rendering *chat, const char *mark, const char *at)
{
    size_t n = strlen(mark);
    for (const char *end = chat->text + chat->n; (at = memmem(at, (size_t)(end - at), mark, n)); at++)
        if (!chat->from || origin_most(chat->from + (at - chat->text), n) == FROM_TEMPLATE)
            return at;
    return NULL;
}

/* Appends a part of the chat to `out`, and whose each byte is to `from`. What the family wrote counts as the
 * template's. */
static void add_part(const struct rendering *chat, const char *begin, const char *end, struct buf *out,
                     struct buf *from)
{
    buf_add(out, begin, (size_t)(end - begin));
    if (chat->from)
        buf_add(from, chat->from + (begin - chat->text), (size_t)(end - begin));
}

static void add_ours(const struct rendering *chat, size_t n, struct buf *from)
{
    for (size_t i = 0; chat->from && i < n; i++)
        buf_byte(from, FROM_TEMPLATE);
}

/* Is what stands here neither white space, as Python has it, nor the "<" of a tag? */
static bool begins_word(const char *s, size_t n)
{
    static const char *const spaces[] = {
        " ", "\t", "\n", "\v", "\f", "\r", "\x1c", "\x1d", "\x1e", "\x1f", "\xc2\x85", "\u00a0", "\u1680", "\u2000",
        "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a", "\u2028",
        "\u2029", "\u202f", "\u205f", "\u3000", "<" };
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (n >= strlen(spaces[i]) && memcmp(s, spaces[i], strlen(spaces[i])) == 0)
            return false;
    return n > 0;
}

/* Fills out and from with the chat, an image's text for each mark; returns how many marks there were. */
static int write_all(const struct prompt *p, const struct model *m, const struct text *t, int n_images,
                     const struct rendering *chat, struct buf *out, struct buf *from)
{
    int image = 0;
    const char *at = chat->text, *mark, *end = chat->text + chat->n;
    for (; (mark = next_mark(chat, t->image_mark, at)); image++) {
        add_part(chat, at, mark, out, from);
        size_t before = out->len;
        if (image < n_images)
            m->family->image_text(m, &p->images[image].plan, t->image_mark, t->image_place, image > 0 && mark == at,
                                  out);
        at = mark + strlen(t->image_mark);
        if (m->family->word_spaced && begins_word(at, (size_t)(end - at)))
            buf_byte(out, ' ');
        add_ours(chat, out->len - before, from);
    }
    add_part(chat, at, end, out, from);
    return image;
}

int places_write(const struct prompt *p, const struct model *m, const struct text *t, int n_images,
                 struct rendering *chat, struct err *e)
{
    struct buf out, from;
    if (!m->family->image_text || !t->image_mark)
        return 0;
    buf_init(&out, TEXT_BYTES);
    buf_init(&from, TEXT_BYTES);
    buf_str(&out, "");
    int marks = write_all(p, m, t, n_images, chat, &out, &from), rc = 0;
    if (marks != n_images)
        rc = wrong_places(marks, n_images, "messages", e);
    else if (!buf_ok(&out) || !buf_ok(&from))
        rc = buf_error(buf_ok(&out) ? &from : &out, e, "the text of the images is too long");
    if (rc == 0) {
        bool known = chat->from != NULL;
        rendering_free(chat);
        chat->n = out.len;
        chat->text = buf_take(&out);
        chat->from = known ? (uint8_t *)buf_take(&from) : NULL;
    }
    buf_free(&out);
    buf_free(&from);
    return rc;
}

/* ---- in the tokens ---- */

static bool is_place(const struct model *m, int32_t id) { return m->image_token >= 0 && id == m->image_token; }

int places_count(const struct model *m, const struct ids *ids)
{
    int n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += is_place(m, ids->id[i]);
    return n;
}

/* Returns -1 with an error that clients know by its code, and that says how long the prompt may be. */
static int too_long(size_t n, int max, const char *field, struct err *e)
{
    err_field(e, field, "the prompt has %zu tokens, but at most %d fit into the context (one is left for the answer)",
              n, max);
    if (e) {
        snprintf(e->code, sizeof e->code, "context_length_exceeded");
        e->have = (long)n;
        e->most = (long)max + 1;
    }
    return -1;
}

/* Leaves only the last `keep` tokens of the prompt, and the images that are among them. An image that only a part of
 * would be left of is an error. */
static int cut_front(struct prompt *p, int keep, struct err *e)
{
    int cut = p->n - keep, gone = 0;
    if (cut <= 0)
        return 0;
    while (gone < p->n_images && p->images[gone].end <= cut)
        gone++;
    for (int i = gone; i < p->n_images; i++) {
        struct prompt_image *image = &p->images[i];
        if (image->start < cut)
            return err_field(e, "truncate_prompt_tokens",
                             "truncate_prompt_tokens: the prompt would begin within image %d", i + 1);
        image->start -= cut;
        image->end -= cut;
        for (int r = 0; image->run && r < image->plan.runs; r++)
            image->run[r] -= cut;
    }
    for (int i = 0; i < gone; i++)
        free(p->images[i].run);
    if (p->n_images > gone)
        memmove(p->images, p->images + gone, (size_t)(p->n_images - gone) * sizeof *p->images);
    p->n_images -= gone;
    p->n_gone = gone;
    memmove(p->ids, p->ids + cut, (size_t)keep * sizeof *p->ids);
    p->n = keep;
    return 0;
}

/* Checks the number of place tokens, and counts the tokens of the whole prompt into *total. */
static int measure(const struct prompt *p, const struct model *m, const struct ids *ids, int n_images,
                   const char *field, size_t *total, struct err *e)
{
    int places = places_count(m, ids), want = 0;
    *total = ids->n;
    for (int i = 0; i < n_images; i++) {
        const struct image_plan *plan = &p->images[i].plan;
        want += image_runs(plan);
        *total += (size_t)(plan->n_tokens - (m->n_slots ? 0 : image_runs(plan)));
    }
    if (places != want && want == n_images)
        return wrong_places(places, want, field, e);
    if (places != want)
        return err_field(e, field, "the prompt has %d runs of image tokens, but the images have %d; a text must not "
                         "contain the image token", places, want);
    return *total ? 0 : err_field(e, field, "the prompt is empty");
}

/* Writes the places of run r of an image; before slots, the token that announces them. */
static void write_run(struct prompt *p, const struct model *m, struct prompt_image *image, int r)
{
    int each = image->plan.n_tokens / image_runs(&image->plan);
    if (m->n_slots)
        p->ids[p->n++] = m->image_token;
    if (r == 0)
        image->start = p->n;
    if (image->run)
        image->run[r] = p->n;
    for (int k = 0; k < each; k++)
        p->ids[p->n++] = model_place(m, k);
    image->end = p->n;
}

int places_expand(struct prompt *p, const struct model *m, const struct ids *ids, int n_images, int max_len, int keep,
                  const char *field, struct err *e)
{
    size_t total;
    if (measure(p, m, ids, n_images, field, &total, e) < 0)
        return -1;
    if (keep < 0)
        keep = max_len;
    size_t left = keep > 0 && (size_t)keep < total ? (size_t)keep : total;
    if (left > (size_t)max_len)
        return too_long(left, max_len, field, e);
    p->ids = malloc(total * sizeof *p->ids);
    if (!p->ids)
        return err_memory(e);
    for (int i = 0; i < n_images; i++)
        if (p->images[i].plan.runs > 1 &&
            !(p->images[i].run = malloc((size_t)p->images[i].plan.runs * sizeof(int))))
            return err_memory(e);
    int image = 0, run = 0;
    for (size_t i = 0; i < ids->n; i++) {
        if (!is_place(m, ids->id[i])) {
            p->ids[p->n++] = ids->id[i];
            continue;
        }
        write_run(p, m, &p->images[image], run++);
        if (run == image_runs(&p->images[image].plan))
            image++, run = 0;
    }
    return keep > 0 ? cut_front(p, keep, e) : 0;
}

int places_join(const struct prompt *p, const struct model *m, const int32_t *ids, size_t n, int n_images,
                struct ids *out, struct err *e)
{
    int image = 0, run = 0;
    *out = (struct ids){ .id = malloc((n + 1) * sizeof *out->id) };
    if (!out->id)
        return err_memory(e);
    for (size_t i = 0; i < n && image <= n_images; i++) {
        out->id[out->n++] = ids[i];
        if (!is_place(m, ids[i]))
            continue;
        if (image == n_images) {
            image++;
            break;
        }
        const struct image_plan *plan = &p->images[image].plan;
        int each = plan->n_tokens / image_runs(plan), places = !m->n_slots;
        for (; places < each && i + 1 < n && ids[i + 1] == model_place(m, places); places++)
            i++;
        if (places != each)
            return err_field(e, "input_ids", "image %d has %d places among the tokens, but its size gives it %d",
                             image + 1, run * each + places, plan->n_tokens);
        if (++run == image_runs(plan))
            image++, run = 0;
    }
    if (image == n_images)
        return 0;
    return err_field(e, "input_ids", "the tokens have places for %s images than the %d that came with them",
                     image > n_images ? "more" : "fewer", n_images);
}
