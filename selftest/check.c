/* selftest/check.c - looks at a checkpoint without its reference at hand. What each check proves stands in check.h;
 * hashes that the reference gave for a picture drawn by arithmetic are recorded below. */
#include "selftest/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "model/pixels.h"
#include "selftest/values.h"

/* The known picture whose resize alone is recorded, and what it becomes. */
enum { WIDTH = 270, HEIGHT = 600, TO_WIDTH = 151, TO_HEIGHT = 333 };

/* ---- records of the reference: python/known.py ---- */

/* The settings are known by what they do: size, filter, shape, and the values of black and white. */
static const struct record {
    int width, height;               /* the known picture                                      */
    int to_width, to_height;
    enum filter  filter;
    enum resizer resizer;
    int shape[4];
    const double *mean, *std;
    const char *sha256;
} records[] = {
    { 270, 600, 280, 588, FILTER_BICUBIC, RESIZER_TORCHVISION, { 840, 1176, 1, 1 }, pixel_clip_mean, pixel_clip_std,
      "0a8a944f5a6c8fbf394ab109642c830c6750e65f43c3220cc97a078bd9fa14c4" },         /* GLM-4.1V, Qwen2-VL, Qwen2.5-VL */
    { 270, 600, 256, 608, FILTER_BICUBIC, RESIZER_TORCHVISION, { 608, 1536, 1, 1 }, pixel_half, pixel_half,
      "0fd3b9e03eed4c10eed3091b936fba2541bc98c631b281ceeaf1847795c12a54" },         /* Qwen3-VL                       */
    { 270, 600, 256, 576, FILTER_BICUBIC, RESIZER_PIL, { 3, 576, 256, 1 }, pixel_half, pixel_half,
      /* open-autoglm                   */
      "3618676451fc6b8644856ca500ba69893dd591e602f7a4c6dcba4a46ee76ed61" },
    { 1080, 2400, 1092, 2408, FILTER_BICUBIC, RESIZER_TORCHVISION, { 13416, 1176, 1, 1 }, pixel_clip_mean,
      pixel_clip_std, "56e33c1e1d4e0b551c2a43a0a90cb6cbb0176928470e5b08d4da6862971e101d" },
    { 1080, 2400, 1088, 2400, FILTER_BICUBIC, RESIZER_TORCHVISION, { 10200, 1536, 1, 1 }, pixel_half, pixel_half,
      "bcd4fcb5c9c1ca8187abd2e12a730e88d26b395bc722c26b46141dcc3ee47468" },
    { 1080, 2400, 288, 672, FILTER_BICUBIC, RESIZER_PIL, { 3, 672, 288, 1 }, pixel_half, pixel_half,
      "7f190b619fd4b5c6357d10552a229b7738c8a94bdaa40d26d40dbdd4dd9643d9" },
    /* CLIP base */
    { 270, 600, 224, 224, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 224, 224, 1 }, pixel_clip_mean, pixel_clip_std,
      "73a973ac54ac5acd65f4fbdadec093f95920710b227eb49417b7dbdfd284e2f8" },
    { 1080, 2400, 224, 224, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 224, 224, 1 }, pixel_clip_mean, pixel_clip_std,
      "0f1347692de821dff6940ecd1dc2263e5a42c90f94098bb3646e3596ae750bc4" },
    /* CLIP large 336, LLaVA 1.5 */
    { 270, 600, 336, 336, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 336, 336, 1 }, pixel_clip_mean, pixel_clip_std,
      "1000b76b9a5d5272d9cccd048035b2592771d4e5c030dc9434e13e41e4e2ca5f" },
    { 1080, 2400, 336, 336, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 336, 336, 1 }, pixel_clip_mean, pixel_clip_std,
      "ee9dd80e71b61ef59de472e5de35a14ac61f493b87d0fdb80ee1aa7a9733c5b0" },
    /* SigLIP base */
    { 270, 600, 224, 224, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 224, 224, 1 }, pixel_half, pixel_half,
      "9e63bedb7ada8a6893816a9b44b0ef9d4986c25ae2ada53ea13478942211d8f8" },
    { 1080, 2400, 224, 224, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 224, 224, 1 }, pixel_half, pixel_half,
      "a9d2f84c79c1da237e08caffdec99aa42d163982ffc0eb17974717452cf1e01e" },
    /* SigLIP so400m */
    { 270, 600, 384, 384, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 384, 384, 1 }, pixel_half, pixel_half,
      "0cb710866cbb9b30b2f0e2581f68157776bb181fb63e0a14e9c3db6363592cdb" },
    { 1080, 2400, 384, 384, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 384, 384, 1 }, pixel_half, pixel_half,
      "f32e34a2a50a93d8681ae9352ec04a0e59b31a0eebeeb4680d66ec96e3f76ef0" },
    /* Llama 3.2 Vision */
    { 270, 600, 560, 1120, FILTER_BILINEAR, RESIZER_TORCHVISION, { 4, 3, 560, 560 }, pixel_clip_mean, pixel_clip_std,
      "aa43aaebaa022f5dce84d0573e8410abcfbe9e82a811668bc57067bb961d12aa" },
    { 1080, 2400, 560, 1680, FILTER_BILINEAR, RESIZER_TORCHVISION, { 4, 3, 560, 560 }, pixel_clip_mean, pixel_clip_std,
      "b779b26978613469abfd89f87afb24077b910e8aec08ff5b7534fb19718d519c" },
    /* Idefics3 */
    { 270, 600, 728, 1456, FILTER_LANCZOS, RESIZER_TORCHVISION, { 9, 3, 364, 364 }, pixel_half, pixel_half,
      "cb894cd56fc90171e902fa49032ec7ab7f83185e738952331fd50e4e76f33561" },
    { 1080, 2400, 728, 1456, FILTER_LANCZOS, RESIZER_TORCHVISION, { 9, 3, 364, 364 }, pixel_half, pixel_half,
      "ec662c82dbccf4030a88d0a00248652a03e995fa83e7dbb0e51e6289b97e5500" },
    /* SmolVLM 2.2B */
    { 270, 600, 768, 1536, FILTER_LANCZOS, RESIZER_TORCHVISION, { 9, 3, 384, 384 }, pixel_half, pixel_half,
      "dc6e22fa8b412e3d4981474247f25edb592b0f79042f7131a2da6b4d9934c7e6" },
    { 1080, 2400, 768, 1536, FILTER_LANCZOS, RESIZER_TORCHVISION, { 9, 3, 384, 384 }, pixel_half, pixel_half,
      "29300aaffc59474ca385d34412e6348b863662aacb4564b0a08e25391d73517b" },
    /* SmolVLM 256M, 500M */
    { 270, 600, 1024, 2048, FILTER_LANCZOS, RESIZER_TORCHVISION, { 9, 3, 512, 512 }, pixel_half, pixel_half,
      "835ac126522ef567a1a8fcf0a2adae178e43fa932a4fc1a33127c70bb89eecf2" },
    { 1080, 2400, 1024, 2048, FILTER_LANCZOS, RESIZER_TORCHVISION, { 9, 3, 512, 512 }, pixel_half, pixel_half,
      "cf7839ee968af1cd42e88fdc54774070f277f6eebabc0c9ae15cfc7cc889bb0e" },
    /* LLaVA-NeXT */
    { 270, 600, 336, 336, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 3, 336, 336 }, pixel_clip_mean, pixel_clip_std,
      "faabe7871bb78516e89ff04711fe0833f409fb527ec7782bc549ce35c790926c" },
    { 1080, 2400, 336, 336, FILTER_BICUBIC, RESIZER_TORCHVISION, { 4, 3, 336, 336 }, pixel_clip_mean, pixel_clip_std,
      "268716a03460378e51ec37e8c39fcd667074e9c637dbe11fd86c4f0062170190" },
    /* Gemma 3 */
    { 270, 600, 896, 896, FILTER_BILINEAR, RESIZER_TORCHVISION, { 3, 896, 896, 1 }, pixel_half, pixel_half,
      "694261484929025f2d563e1a652f77077487ec9e85ae7e2bd418fa327a19e5e0" },
    { 1080, 2400, 896, 896, FILTER_BILINEAR, RESIZER_TORCHVISION, { 3, 896, 896, 1 }, pixel_half, pixel_half,
      "7e1a6e5dba0d0121ca54bd8db61f485dd26fdf2c6603eba2c184d6271c25d902" },
    /* Pixtral */
    { 270, 600, 272, 608, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 608, 272, 1 }, pixel_clip_mean, pixel_clip_std,
      "5c381fb0c8ce8fef7dff2e2c063ded9d5b076725b514270d6e864edf3e69eb4e" },
    { 1080, 2400, 464, 1024, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 1024, 464, 1 }, pixel_clip_mean, pixel_clip_std,
      "f5127eab0e7798048a33a8811c714d04c29b8d6e85360cbbd038e2817b583e47" },
    /* Mistral Small 3.1 */
    { 270, 600, 280, 616, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 616, 280, 1 }, pixel_clip_mean, pixel_clip_std,
      "f89d7f6d98a5f4b6d5bd6abbeda65c66a455c06560841a4b30482c8f7189ba36" },
    { 1080, 2400, 700, 1540, FILTER_BICUBIC, RESIZER_TORCHVISION, { 3, 1540, 700, 1 }, pixel_clip_mean, pixel_clip_std,
      "b4462f83eb063c6e49637031e7541e2785fe3af2635325669622eac55e5ffa69" },
};

/* 270 x 600 resized to 151 x 333, as bytes. */
static const struct { enum filter filter; enum resizer resizer; const char *sha256; } resizes[] = {
    { FILTER_LANCZOS, RESIZER_PIL, "ae959a5728fe7306fda54754861d046f6ea1913d4de22c10626cc1dc4cef7a81" },
    { FILTER_BILINEAR, RESIZER_PIL, "5d3518cc4bac7c7b3eaef0113dee7a5d47669d11efee6e598216708bc28a3272" },
    { FILTER_BICUBIC, RESIZER_PIL, "819d8ff79e7af7e6817e06268d56129b6500ff1f9ad457910a5093b97ed0813a" },
    { FILTER_LANCZOS, RESIZER_TORCHVISION, "6f0bd26c278607a0aef366424adfb85fb09c0826a52b7d17ddef697d886c356f" },
    { FILTER_BILINEAR, RESIZER_TORCHVISION, "1ba53b56bbbc71cafab474450e06ba87db4f59f24cc0ac3b647d6aa05eabc568" },
    { FILTER_BICUBIC, RESIZER_TORCHVISION, "d563c9e41d9438c6e2cd25f2107d0b722c19c6f778c67fcc9231e04e492f3143" },
};

/* Fills in a verdict. */
static void say(struct verdict *v, const char *stage, bool ok, const char *fmt, ...)
{
    va_list ap;
    v->stage = stage;
    v->ok = ok;
    va_start(ap, fmt);
    vsnprintf(v->text, sizeof v->text, fmt, ap);
    va_end(ap);
}

/* A tensor that nobody used is a sign of a variant that this program does not know, and whose answers would be wrong
 * without an error. */
void check_tensors(const struct model *m, struct verdict *v)
{
    char first[96] = "";
    if (m->first_unused)
        snprintf(first, sizeof first, "; unused: %.64s%s", m->first_unused, m->n_unused > 1 ? ", ..." : "");
    say(v, "tensors", m->n_unused == 0 && m->n_repeated == 0, "%d of %d used, %d of them more than once, %.2f million "
        "parameters%s", m->n_tensors - m->n_unused, m->n_tensors, m->n_repeated, (double)m->n_params / 1e6, first);
}

/* ---- the picture ---- */

/* Noise over a gradient, from arithmetic that any language has. */
static uint8_t known_pixel(uint32_t x, uint32_t y, uint32_t c)
{
    uint32_t v = (x * 2654435761u) ^ (y * 2246822519u) ^ (c * 3266489917u);
    v ^= v >> 15;
    v = v * 668265263u >> 24;
    return (uint8_t)((v + 3 * ((x + y) / 16 % 256)) / 4);
}

/* Draws the picture that both sides know, computed from the places of its pixels. Nothing is read from a file, so that
 * the check needs none. `out` is the caller's. */
static int known_picture(struct pixels *out, int width, int height, struct err *e)
{
    *out = (struct pixels){ malloc((size_t)width * (size_t)height * 3), width, height };
    if (!out->data)
        return err_set(e, "out of memory");
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                out->data[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c] =
                    known_pixel((uint32_t)x, (uint32_t)y, (uint32_t)c);
    return 0;
}

/* The views that a plan makes of the known picture. */
static int known_views(struct pixels *out, int width, int height, const struct image_plan *p, struct err *e)
{
    struct pixels px;
    if (known_picture(&px, width, height, e) != 0)
        return -1;
    int rc = views_of(out, &px, p, e);
    pixels_free(&px);
    return rc;
}

/* Part (2) of the check: 1: the recorded bytes, 0: there is no record for this filter, -1: other bytes. */
static int check_resize(enum filter filter, enum resizer resizer)
{
    struct pixels small;
    struct image_plan plan = { .width = TO_WIDTH, .height = TO_HEIGHT, .filter = filter, .resizer = resizer };
    char sha256[65];
    for (size_t i = 0; i < sizeof resizes / sizeof *resizes; i++)
        if (resizes[i].filter == filter && resizes[i].resizer == resizer) {
            if (known_views(&small, WIDTH, HEIGHT, &plan, NULL) != 0)
                return -1;
            sha256_hex(sha256, small.data, (size_t)TO_WIDTH * TO_HEIGHT * 3);
            pixels_free(&small);
            return strcmp(sha256, resizes[i].sha256) ? -1 : 1;
        }
    return 0;
}

/* ---- pixel values ---- */

struct places {                      /* where the value of a pixel is                         */
    bool   tiles;                    /* (tiles, 3, tile_h, tile_w); else patches in merge blocks, ... */
    bool   pixels;                   /* ... each (pixels, 3) and not (3, frames, pixels)      */
    int    tile_w, tile_h;
    int    patch, merge, frames;
    size_t n;                        /* values                                                */
};

/* Tiles into which one side of a view is cut; a view that is smaller than a tile lies in the corner of one. */
static int tiles_of(int side, int tile) { return (side + tile - 1) / tile; }

/* Tiles of all views of a plan together. */
static int tiles_in_all(const struct places *l, const struct image_recipe *r)
{
    int n = 0;
    for (int i = 0; i < r->n; i++)
        if (!r->view[i].hidden)
            n += tiles_of(r->view[i].width, l->tile_w) * tiles_of(r->view[i].height, l->tile_h);
    return n;
}

/* Finds out from the shape alone how pixel values are laid out: as three planes of every tile, as patches of pixels, or
 * as patches in blocks that are merged into one token. Tiles of no view may follow. -1: a shape of no kind. */
static int places_of(struct places *out, const struct model *m, const struct image_plan *p, const int shape[4])
{
    struct image_recipe r = plan_recipe(p);
    *out = (struct places){ .n = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2] * (size_t)shape[3] };
    out->pixels = shape[1] == m->image_align * m->image_align && shape[2] == 3 && shape[3] == 1;
    if (out->pixels) {
        out->merge = out->frames = 1;
        out->patch = m->image_align;
        return r.n == 1 && out->n == 3 * (size_t)p->width * (size_t)p->height ? 0 : -1;
    }
    bool one = shape[0] == 3 && shape[3] == 1;
    out->tiles = one || (shape[1] == 3 && shape[3] > 1);
    if (out->tiles) {
        out->tile_h = one ? shape[1] : shape[2];
        out->tile_w = one ? shape[2] : shape[3];
        return out->tile_h > 0 && tiles_in_all(out, &r) <= (one ? 1 : shape[0]) ? 0 : -1;
    }
    out->merge = (int)lrint(sqrt((double)shape[0] / p->n_tokens));
    out->patch = out->merge ? m->image_align / out->merge : 0;
    if (r.n > 1 || out->patch < 1 || p->n_tokens * out->merge * out->merge != shape[0])
        return -1;
    out->frames = shape[1] / (3 * out->patch * out->patch);
    return out->n == 3 * (size_t)out->frames * (size_t)p->width * (size_t)p->height ? 0 : -1;
}

/* Where the value of channel c of pixel (x, y) of a view is, in frame t. first: the tiles of earlier views. Written
 * down here independently of the code that is checked. */
static size_t place_of(const struct places *l, const struct image_view *v, size_t first, int x, int y, int c, int t)
{
    if (l->tiles) {
        size_t tile = first + (size_t)(y / l->tile_h * tiles_of(v->width, l->tile_w) + x / l->tile_w);
        return ((tile * 3 + (size_t)c) * (size_t)l->tile_h + (size_t)(y % l->tile_h)) * (size_t)l->tile_w +
               (size_t)(x % l->tile_w);
    }
    int side = l->patch * l->merge, across = v->width / side;            /* a block, blocks in a row */
    int block = y / side * across + x / side;
    int inner = y % side / l->patch * l->merge + x % side / l->patch;    /* patch of the block       */
    size_t patch = (size_t)block * (size_t)(l->merge * l->merge) + (size_t)inner;
    if (l->pixels)
        return (patch * (size_t)(side * side) + (size_t)(y % side * side + x % side)) * 3 + (size_t)c;
    return (((patch * 3 + (size_t)c) * (size_t)l->frames + (size_t)t) * (size_t)l->patch + (size_t)(y % l->patch)) *
           (size_t)l->patch + (size_t)(x % l->patch);
}

struct ends { float black[3], white[3]; };

/* The values that a picture of one colour gets, per channel: from those of black and white all others follow on a
 * straight line. Overwrites `data`. */
static void end_values(const struct model *m, const struct image_plan *p, const struct places *l, uint8_t byte,
                       uint8_t *rgb, float *data, float out[3])
{
    int shape[4];
    struct image_view corner = { .width = p->width, .height = p->height };
    memset(rgb, byte, plan_bytes(p));
    m->family->pixel_values(m, p, rgb, data, shape);
    for (int c = 0; c < 3; c++)
        out[c] = data[place_of(l, &corner, 0, 0, 0, c, 0)];
}

/* How many values of one view are not those of their pixels. */
static size_t misplaced_of(const struct places *l, const struct image_view *v, size_t first, const struct ends *ends,
                           const uint8_t *rgb, const float *data)
{
    size_t wrong = 0;
    for (int y = 0; y < v->height; y++)
        for (int x = 0; x < v->width; x++)
            for (int c = 0; c < 3; c++, rgb++)
                for (int t = 0; t < (l->tiles ? 1 : l->frames); t++) {
                    float span = ends->white[c] - ends->black[c], want = ends->black[c] + span * (float)*rgb / 255;
                    wrong += !(fabsf(data[place_of(l, v, first, x, y, c, t)] - want) <= 1e-5f * fabsf(span));
                }
    return wrong;
}

/* Part (3) of the check: how many values of all views are not those of their pixels. */
static size_t misplaced(const struct places *l, const struct image_plan *p, const struct ends *ends,
                        const uint8_t *rgb, const float *data)
{
    struct image_recipe r = plan_recipe(p);
    size_t wrong = 0, first = 0;
    for (int i = 0; i < r.n; i++) {
        const struct image_view *v = &r.view[i];
        if (v->hidden)
            continue;
        wrong += misplaced_of(l, v, first, ends, rgb, data);
        rgb += (size_t)v->width * (size_t)v->height * 3;
        if (l->tiles)
            first += (size_t)tiles_of(v->width, l->tile_w) * (size_t)tiles_of(v->height, l->tile_h);
    }
    return wrong;
}

/* Part (1) of the check: the hash that the reference gave for these settings; NULL: they are not recorded. Settings
 * are told apart by what they do and not by a model's name. */
static const char *find_record(int width, int height, const struct image_plan *p, const int shape[4],
                               const struct ends *ends)
{
    for (const struct record *r = records; r < records + sizeof records / sizeof *records; r++) {
        bool same = r->width == width && r->height == height && r->to_width == p->width && r->to_height == p->height &&
                    r->filter == p->filter && r->resizer == p->resizer && !memcmp(r->shape, shape, sizeof r->shape);
        for (int c = 0; c < 3; c++)
            same = same && fabs(ends->black[c] + r->mean[c] / r->std[c]) < 1e-5 &&
                   fabs(ends->white[c] - (1 - r->mean[c]) / r->std[c]) < 1e-5;
        if (same)
            return r->sha256;
    }
    return NULL;
}

/* Puts what the three parts found into one line. Later findings take the place of earlier ones, the worst last. */
static void conclude(struct verdict *v, int width, int height, const struct image_plan *p, const char *sha256,
                     const char *recorded, int resize, size_t wrong)
{
    char found[160];
    bool same = recorded && !strcmp(sha256, recorded);
    if (recorded)
        snprintf(found, sizeof found, "recorded %.16s", recorded);
    else
        snprintf(found, sizeof found, "no record of the whole for these settings%s",
                 resize > 0 ? "; the filter's bytes as recorded, every value its pixel's"
                            : "; every value is its pixel's");
    if (resize < 0)
        snprintf(found, sizeof found, "the filter's bytes are not the recorded ones");
    if (wrong)
        snprintf(found, sizeof found, "%zu values are not those of their pixels", wrong);
    say(v, "preprocess", (same || !recorded) && resize >= 0 && wrong == 0,
        "%d x %d becomes %d x %d, %d tokens; sha256 %.16s, %s", width, height, p->width, p->height, p->n_tokens,
        sha256, found);
}

/* Draws the known picture, makes the model's pixel values of it, and applies the three parts. The values of black and
 * white are taken first, with the same memory. */
void check_preprocess(const struct model *m, int width, int height, struct verdict *v)
{
    struct image_plan p;
    struct places l;
    struct ends ends;
    struct pixels px = { 0 };
    struct err e = { 0 };
    int shape[4];
    char sha256[65];
    if (m->family->plan_image(m, width, height, NULL, &p, &e) != 0 || known_views(&px, width, height, &p, &e) != 0) {
        say(v, "preprocess", false, "%d x %d: %s", width, height, e.text);
        return;
    }
    m->family->pixel_values(m, &p, px.data, NULL, shape);
    if (places_of(&l, m, &p, shape) != 0) {
        say(v, "preprocess", false, "%d x %d becomes values (%d, %d, %d, %d)", width, height, shape[0], shape[1],
            shape[2], shape[3]);
        pixels_free(&px);
        return;
    }
    float   *data = xmalloc(l.n * sizeof *data);
    uint8_t *even = xmalloc(plan_bytes(&p));
    end_values(m, &p, &l, 0, even, data, ends.black);
    end_values(m, &p, &l, 255, even, data, ends.white);
    free(even);
    m->family->pixel_values(m, &p, px.data, data, shape);
    sha256_hex(sha256, data, l.n * sizeof *data);
    size_t wrong = misplaced(&l, &p, &ends, px.data, data);
    free(data);
    pixels_free(&px);
    conclude(v, width, height, &p, sha256, find_record(width, height, &p, shape, &ends),
             check_resize(p.filter, p.resizer), wrong);
}

/* Where the places of an image count on as text does: all n tokens one after the other, the same on all axes. */
static void check_row(const int32_t *pos, int n, int next, struct verdict *v)
{
    int wrong = next != pos[0] + n;
    for (int i = 0; i < 3 * n; i++)
        wrong += pos[i] != pos[0] + i % n;
    say(v, "positions", wrong == 0, "%d, %d, %d, ...", pos[0], pos[0] + 1, pos[0] + 2);
}

/* One token, the known picture, one token. The rule for positions on three axes is written down here once more,
 * independently of model/patches.c: the picture's tokens count rows and columns from 1 on, and the text goes on behind
 * the longer side. Where there is no decoder with a rope, positions are counted. */
void check_positions(const struct model *m, struct verdict *v)
{
    struct image_plan p;
    struct err e;
    if (!m->family->positions || !m->decoder || m->family->plan_image(m, WIDTH, HEIGHT, NULL, &p, &e) != 0) {
        say(v, "positions", true, "0, 1, 2, ...");
        return;
    }
    int n = p.n_tokens + 2, side = p.grid_h > p.grid_w ? p.grid_h : p.grid_w, wrong = 0;
    int32_t *ids = xcalloc((size_t)n, sizeof *ids), *pos = xcalloc((size_t)n * 3, sizeof *pos);
    for (int i = 0; i < n; i++)
        ids[i] = i > 0 && i < n - 1 ? m->image_token : !m->image_token;
    int next = m->family->positions(m, ids, n, &p, 1, pos);
    if (p.n_tokens > 1 && pos[2] == pos[1] + 1) {
        check_row(pos, n, next, v);
        free(ids);
        free(pos);
        return;
    }
    for (int i = 0; i < p.n_tokens; i++)
        wrong += pos[1 + i] != 1 || pos[n + 1 + i] != 1 + i / p.grid_w || pos[2 * n + 1 + i] != 1 + i % p.grid_w;
    for (int axis = 0; axis < 3; axis++)
        wrong += (pos[axis * n] != 0) + (pos[axis * n + n - 1] != 1 + side);
    say(v, "positions", wrong == 0 && next == 2 + side, "%d tokens of the picture, then %d", p.n_tokens, 1 + side);
    free(ids);
    free(pos);
}
