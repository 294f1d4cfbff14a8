/* engine/prompt_images.c - uploads become the pixels that a prompt has: each is planned from its header, then decoded
 * and resized, here or as far as the device leaves it. Budgets for memory make prompts wait for each other. */
#include "engine/prompt_images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Names the image in an error that has no field yet; returns -1. */
static int blame_image(const struct chat *chat, int i, struct err *e)
{
    const char *field = chat->images[i].field;
    if (e && e->field[0])
        return -1;
    err_prefix(e, "image %d (%s)", i + 1, field);
    if (e)
        snprintf(e->field, sizeof e->field, "%s", field);
    return -1;
}

/* The first of the numbers that is not 0. */
static int64_t first_said(int64_t a, int64_t b, int64_t c) { return a ? a : b ? b : c; }

/* The image's own settings, then the request's, then the server's. */
static struct image_options image_options(const struct prompt_limits *limits, const struct chat *chat,
                                          const struct chat_image *img)
{
    enum { LOW_DETAIL_TOKENS = 64 };
    const struct image_sizes *asked = &chat->sizes;
    struct image_options out = limits->image;
    int64_t ceiling = out.max_pixels;
    out.n_images = chat->n_images;
    out.min_pixels = first_said(img->min_pixels, asked->min_pixels, out.min_pixels);
    out.max_pixels = first_said(img->max_pixels, asked->max_pixels, out.max_pixels);
    out.size_shortest = first_said(0, asked->shortest_edge, out.size_shortest);
    out.size_longest = first_said(0, asked->longest_edge, out.size_longest);
    if (ceiling && out.max_pixels > ceiling)
        out.max_pixels = ceiling;                  /* a request may ask for less, not more */
    if (img->detail && strcmp(img->detail, "low") == 0)
        out.max_tokens = LOW_DETAIL_TOKENS;
    return out;
}

/* Size and tokens of one image from its header alone: whatever is wrong with it is told before any pixel is decoded. */
static int plan_image(struct prompt_image *out, const struct model *m, const struct prompt_limits *limits,
                      const struct chat *chat, const struct chat_image *img, struct err *e)
{
    struct image_options opt = image_options(limits, chat, img);
    struct image_info *info = &out->info;
    int rc = img->width || img->height ? image_rgb(img->width, img->height, img->n, info, e)
                                       : image_probe(img->data, img->n, info, e);
    if (rc < 0 || image_check(info, &limits->upload, e) < 0)
        return -1;
    bool turned = info->orientation >= 5;
    int w = turned ? info->height : info->width, h = turned ? info->width : info->height;
    if (m->family->plan_image(m, w, h, &opt, &out->plan, e) < 0)
        return -1;
    if (out->plan.n_tokens > limits->max_image_tokens)
        return err_set(e, "%dx%d pixels would take %d tokens, but an image may take %d", w, h, out->plan.n_tokens,
                       limits->max_image_tokens);
    if (limits->max_together && out->plan.n_together > limits->max_together)
        return err_set(e, "%dx%d pixels would become %d patches at a time, more than the %d that are planned for", w, h,
                       out->plan.n_together, limits->max_together);
    struct image_recipe to = plan_recipe(&out->plan);
    size_t bytes = image_bytes(info, &to), rgb = image_recipe_bytes(&to);
    if (limits->max_plan_bytes && rgb > limits->max_plan_bytes)
        return err_set(e, "%dx%d pixels would become %zu bytes, more than the %zu that are planned for", w, h, rgb,
                       limits->max_plan_bytes);
    if (bytes > limits->decoding->size)
        return err_set(e, "%dx%d pixels need %zu MiB to be decoded, more than the %zu that are planned for", w, h,
                       bytes >> 20, limits->decoding->size >> 20);
    return 0;
}

/* The plans of all images, before any of them is decoded. An error names the image that it is about. */
int prompt_plan_images(struct prompt *p, const struct model *m, const struct prompt_limits *limits,
                       const struct chat *chat, struct err *e)
{
    if (chat->n_images > 0 && m->image_token < 0 && !m->image_alone)
        return err_field(e, chat->images[0].field, "this model takes no images");
    if (chat->n_images > limits->max_images)
        return err_field(e, "messages", "%d images, but at most %d are allowed in one request", chat->n_images,
                         limits->max_images);
    p->images = calloc((size_t)chat->n_images + 1, sizeof *p->images);
    if (!p->images)
        return err_memory(e);
    for (int i = 0; i < chat->n_images; i++)
        if (plan_image(&p->images[i], m, limits, chat, &chat->images[i], e) < 0)
            return blame_image(chat, i, e);
    return 0;
}

/* Device memory that resizing an image there takes: the picture, tables and what every pass gives. */
static size_t resize_bytes(const struct passes *p, int width, int height)
{
    enum { ALIGN = 64 };
    size_t bytes = (size_t)width * (size_t)height * 3 + ALIGN;
    struct pass pass;
    for (int i = 0; passes_nth(p, i, &width, &height, &pass); i++) {
        size_t table = (size_t)pass.taps->n * ((size_t)pass.taps->stride + 2) * sizeof(int);
        bytes += (size_t)width * (size_t)height * 3 + table + 4 * ALIGN;
    }
    return bytes;
}

/* Sets out->passes if the device is to resize this image: it has room for it, and the image becomes one picture and not
 * several views. Else the host does it. */
static int ask_device(struct prompt_image *out, size_t room, struct err *e)
{
    const struct image_info *info = &out->info;
    struct resize_to to = { out->plan.width, out->plan.height, out->plan.filter, out->plan.resizer };
    bool turned = info->orientation >= 5;
    int w = turned ? info->height : info->width, h = turned ? info->width : info->height;
    if (out->plan.n_views || (w == to.width && h == to.height) || (size_t)w * (size_t)h * 3 > room)
        return 0;
    struct passes p;
    if (passes_init(&p, w, h, &to) != 0)
        return err_memory(e);
    bool fits = resize_bytes(&p, w, h) <= room;
    if (fits && (out->passes = malloc(sizeof p))) {
        *out->passes = p;
        return 0;
    }
    passes_free(&p);
    return fits ? err_memory(e) : 0;
}

/* As long as the device has not resized it, it is what was sent. */
size_t prompt_image_bytes(const struct prompt_image *image)
{
    const struct image_info *info = &image->info;
    return image->passes ? (size_t)info->width * (size_t)info->height * 3 : plan_bytes(&image->plan);
}

/* What an image is known by in the caches. The same pixels planned for another size are another image, since its
 * features would be others. */
static struct hash image_key(const struct prompt_image *image)
{
    struct { struct hash pixels; int w, h, to_w, to_h, grid_h, grid_w, n_tokens, n_views; } id = {
        hash_bytes(image->px.data, prompt_image_bytes(image)),
        image->px.width, image->px.height, image->plan.width, image->plan.height, image->plan.grid_h,
        image->plan.grid_w, image->plan.n_tokens, image->plan.n_views };
    return hash_bytes(&id, sizeof id);
}

/* Decodes one image to its planned size; or, where that is left to the device, as it was sent. */
static int decode_image(struct prompt_image *out, const struct prompt_limits *limits, const struct chat_image *img,
                        struct prompt_stats *stats, double *resize_seconds, struct err *e)
{
    struct image_recipe views = plan_recipe(&out->plan), *to = out->passes ? NULL : &views;
    size_t taken = budget_take(limits->decoding, image_bytes(&out->info, to));
    double began = clock_seconds();
    int rc = out->info.format == IMAGE_RGB
                 ? image_from_rgb(img->data, &out->info, to, &out->px, resize_seconds, e)
                 : image_decode_timed(img->data, img->n, &limits->upload, to, &out->px, resize_seconds, e);
    budget_give(limits->decoding, taken);
    if (rc < 0)
        return -1;
    out->key = image_key(out);
    stats->decode_seconds += clock_seconds() - began;
    stats->decoded++;
    return 0;
}

/* Must the picture be kept beside its views? */
static bool keeps_picture(const struct prompt_image *image, const struct chat *chat)
{
    return chat->keep_pictures && image->plan.n_views > 0;
}

/* The picture itself, in a second decoding. */
static int decode_picture(struct prompt_image *out, const struct prompt_limits *limits, const struct chat_image *img,
                          struct err *e)
{
    double unused = 0;
    size_t taken = budget_take(limits->decoding, image_bytes(&out->info, NULL));
    int rc = out->info.format == IMAGE_RGB
                 ? image_from_rgb(img->data, &out->info, NULL, &out->picture, &unused, e)
                 : image_decode(img->data, img->n, &limits->upload, NULL, &out->picture, e);
    budget_give(limits->decoding, taken);
    return rc;
}

/* Takes what the pixels of all images together may need, waiting for requests that end: none is waited for while others
 * are held. */
static void take_pixels(struct prompt *p, const struct prompt_limits *limits, const struct chat *chat)
{
    size_t bytes = 0;
    for (int i = 0; i < p->n_images; i++) {
        const struct image_info *info = &p->images[i].info;
        bytes += prompt_image_bytes(&p->images[i]);
        bytes += keeps_picture(&p->images[i], chat) ? (size_t)info->width * (size_t)info->height * 3 : 0;
    }
    p->pixels = limits->pixels;
    p->n_pixels = bytes ? budget_take(p->pixels, bytes) : 0;
}

/* Where each image is to be resized is decided first, because that decides how much memory its pixels take. -1: what
 * was decoded so far goes with the prompt. */
int prompt_decode_images(struct prompt *p, const struct prompt_limits *limits, const struct chat *chat,
                         struct prompt_stats *stats, struct err *e)
{
    int gone = p->n_gone;
    for (int i = 0; i < p->n_images; i++)
        if (limits->device_resize && ask_device(&p->images[i], limits->device_resize, e) < 0)
            return blame_image(chat, gone + i, e);
    take_pixels(p, limits, chat);
    for (int i = 0; i < p->n_images; i++)
        if (decode_image(&p->images[i], limits, &chat->images[gone + i], stats, &p->resize_seconds, e) < 0 ||
            (keeps_picture(&p->images[i], chat) &&
             decode_picture(&p->images[i], limits, &chat->images[gone + i], e) < 0))
            return blame_image(chat, gone + i, e);
    p->decode_seconds = stats->decode_seconds;
    return 0;
}
