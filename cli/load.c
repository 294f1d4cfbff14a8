/* cli/load.c - draws pictures and writes requests. See load.h. */
#include "cli/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "image/image.h"
#include "kernels/random.h"
#include "server/json_write.h"

enum { SIDE_MOST = 8192, PICTURE_BYTES = 64 << 20 };

/* ---- numbers ---- */

struct dice { uint64_t seed, step; };

/* 0 <= roll < n */
static int roll(struct dice *d, int n) { return (int)(random_unit(d->seed, d->step++) * n); }

int load_size(const char *text, int *width, int *height, struct err *e)
{
    char more;
    if (sscanf(text, "%dx%d%c", width, height, &more) == 2 && *width > 0 && *height > 0 && *width <= SIDE_MOST &&
        *height <= SIDE_MOST)
        return 0;
    return err_field(e, "image-size", "option image-size: '%s' is no size such as 1080x2400, each side up to %d", text,
                     SIDE_MOST);
}

/* ---- pictures ---- */

static void fill(struct pixels *p, int x, int y, int w, int h, const uint8_t colour[3])
{
    for (int j = y; j < y + h && j < p->height; j++)
        for (int i = x; i < x + w && i < p->width; i++)
            memcpy(p->data + ((size_t)j * (size_t)p->width + (size_t)i) * 3, colour, 3);
}

static void choose_colour(struct dice *d, uint8_t out[3])
{
    for (int i = 0; i < 3; i++)
        out[i] = (uint8_t)roll(d, 256);
}

/* Something that is as hard to compress and to look at as a screen: areas of one colour, and lines of small marks. */
static void draw(struct pixels *p, struct dice *d)
{
    uint8_t colour[3];
    int unit = (p->width < p->height ? p->width : p->height) / 40 + 1;
    choose_colour(d, colour);
    fill(p, 0, 0, p->width, p->height, colour);
    for (int i = 0; i < 30; i++) {
        choose_colour(d, colour);
        fill(p, roll(d, p->width), roll(d, p->height), unit * (2 + roll(d, 12)), unit * (1 + roll(d, 6)), colour);
    }
    for (int line = 0; line < 24; line++) {
        int x = roll(d, p->width), y = roll(d, p->height);
        choose_colour(d, colour);
        for (int mark = 0; mark < 30; mark++)
            fill(p, x + mark * unit / 2, y + roll(d, unit / 2 + 1), unit / 4 + 1, unit / 3 + 1, colour);
    }
}

/* Draws picture i of a load and writes it as a data: URL of a PNG. The same seed draws the same pictures, so that two
 * runs are alike. */
static int make_picture(const struct load *l, int i, struct buf *url, struct err *e)
{
    struct dice   d = { l->seed + 0x5eedu + (uint64_t)i * 7919u, 0 };
    struct pixels p = { malloc((size_t)l->width * (size_t)l->height * 3), l->width, l->height };
    struct buf    png;
    buf_init(&png, PICTURE_BYTES);
    int rc = p.data ? 0 : err_memory(e);
    if (rc == 0) {
        draw(&p, &d);
        rc = png_write(&p, &png, e);
    }
    char *text = rc == 0 ? malloc(base64_length(png.len) + 1) : NULL;
    if (rc == 0 && !text)
        rc = err_memory(e);
    if (rc == 0) {
        base64_encode(text, (const uint8_t *)png.data, png.len);
        buf_str(url, "data:image/png;base64,");
        buf_add(url, text, base64_length(png.len));
    }
    free(text);
    pixels_free(&p);
    buf_free(&png);
    return rc == 0 && !buf_ok(url) ? buf_error(url, e, "the picture is too large") : rc;
}

/* Draws as many pictures as the requests will need, at most LOAD_PICTURES, before the clock starts. */
int load_draw(struct load *l, long requests, struct err *e)
{
    long wanted = requests * l->images;
    int  n = wanted < LOAD_PICTURES ? (int)wanted : LOAD_PICTURES;
    for (int i = 0; i < n; i++) {
        buf_init(&l->picture[i], (size_t)2 * PICTURE_BYTES);
        l->n_pictures++;
        if (make_picture(l, i, &l->picture[i], e) != 0)
            return -1;
    }
    return 0;
}

void load_free(struct load *l)
{
    for (int i = 0; i < l->n_pictures; i++)
        buf_free(&l->picture[i]);
    l->n_pictures = 0;
}

/* ---- requests ---- */

/* About one token a word, with most vocabularies. */
static void write_words(const struct load *l, long i, struct buf *out)
{
    static const char *const words[] = {
        "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
        "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company",
        "system", "program", "question", "work", "number", "night", "point", "home", "water", "room", "mother", "area",
        "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue",
        "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game", "line", "end", "city",
    };
    struct dice d = { l->seed + (uint64_t)i * 104729u, 0 };
    buf_printf(out, "%ld", i + 1);
    for (int k = 1; k < l->words; k++)
        buf_printf(out, " %s", words[roll(&d, (int)(sizeof words / sizeof *words))]);
}

/* Writes request i as a chat that streams its answer and its usage. Every request has other words and another seed, so
 * that no answer comes out of a cache; pictures take turns. */
int load_body(const struct load *l, long i, struct buf *out, struct err *e)
{
    buf_str(out, "{\"model\":");
    json_write_string(out, l->model, strlen(l->model));
    buf_printf(out, ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_tokens\":%d,"
                    "\"temperature\":%g,\"seed\":%llu", l->max_tokens, l->temperature,
               (unsigned long long)((l->seed + (uint64_t)i) & 0x7fffffff));
    if (l->ignore_eos)
        buf_str(out, ",\"ignore_eos\":true");
    buf_str(out, ",\"messages\":[{\"role\":\"user\",\"content\":[");
    for (int k = 0; k < l->images; k++) {
        const struct buf *p = &l->picture[(i * l->images + k) % l->n_pictures];
        buf_str(out, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"");
        buf_add(out, p->data, p->len);
        buf_str(out, "\"}},");
    }
    buf_str(out, "{\"type\":\"text\",\"text\":\"");
    write_words(l, i, out);
    buf_str(out, "\"}]}]}");
    return buf_ok(out) ? 0 : buf_error(out, e, "a request is too large");
}
