/* tests/image/test_image.c - decoding and resizing against the hashes that
 * make_fixtures.py wrote with Pillow and torchvision, and hostile files. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/formats.h"
#include "image/image.h"
#include "image/resize.h"
#include "image/taps.h"
#include "tests/suite.h"

#define FOLDER "tests/image/"

static const struct image_limits limits = { 1 << 20, 4096, 4096 * 4096 };
static const struct image_limits small = { 1 << 20, 200, 40000 };

/* --- helpers -------------------------------------------------------------- */

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    uint32_t c = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) c = table[(c ^ p[i]) & 255] ^ (c >> 8);
    return c ^ 0xFFFFFFFFu;
}

static size_t bytes_of(const struct pixels *p) { return (size_t)p->width * (size_t)p->height * 3; }

static const char *crc_of(const struct pixels *p, char text[9])
{
    snprintf(text, 9, "%08x", crc32_of(p->data, bytes_of(p)));
    return text;
}

static uint32_t next(uint32_t *x) { return *x = *x * 1664525u + 1013904223u; }

/* The pictures of the resize cases: noise() of make_fixtures.py. */
static struct pixels noise(int w, int h, uint32_t seed)
{
    struct pixels p;
    ck_assert_int_eq(pixels_alloc(&p, w, h, NULL), 0);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w * 3; x++) {
            uint8_t v = (uint8_t)(next(&seed) >> 24);
            if (y % 4 == 3) v = v >= 128 ? 255 : 0;
            p.data[(size_t)y * (size_t)w * 3 + (size_t)x] = v;
        }
    return p;
}

/* Exactly as long as the file, so that the address sanitizer sees every byte
 * read beyond it. */
static uint8_t *read_fixture(const char *name, size_t *n)
{
    char path[256];
    snprintf(path, sizeof path, FOLDER "fixtures/%s", name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s (tests run in the root of the repository)", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = malloc(*n ? *n : 1);
    ck_assert_uint_eq(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static json_t *expected(void)
{
    json_error_t e;
    json_t *j = json_load_file(FOLDER "expected.json", 0, &e);
    ck_assert_msg(j != NULL, "%s", e.text);
    return j;
}

static void for_each_fixture(void (*f)(const uint8_t *p, size_t n))
{
    json_t *all = expected(), *want;
    const char *name;
    json_object_foreach(json_object_get(all, "files"), name, want) {
        size_t n;
        uint8_t *p = read_fixture(name, &n);
        f(p, n);
        free(p);
    }
    json_decref(all);
}

/* --- decoding --------------------------------------------------------------- */

static void check_file(const char *name, json_t *want)
{
    size_t n;
    uint8_t *p = read_fixture(name, &n);
    struct pixels px;
    struct err e = { 0 };
    int rc = image_decode(p, n, &limits, NULL, &px, &e);
    const char *error = json_string_value(json_object_get(want, "error"));
    if (error) {
        ck_assert_msg(rc == -1, "%s was accepted", name);
        ck_assert_msg(strstr(e.text, error) != NULL, "%s: \"%s\" does not contain \"%s\"", name, e.text, error);
        ck_assert_msg(!strchr(e.text, '\n'), "%s: more than one line", name);
        ck_assert_ptr_null(px.data);
    } else {
        char got[9];
        ck_assert_msg(rc == 0, "%s: %s", name, e.text);
        ck_assert_int_eq(px.width, json_integer_value(json_object_get(want, "width")));
        ck_assert_int_eq(px.height, json_integer_value(json_object_get(want, "height")));
        ck_assert_msg(!strcmp(crc_of(&px, got), json_string_value(json_object_get(want, "crc"))),
                      "%s: pixels differ from the reference", name);
    }
    pixels_free(&px);
    free(p);
}

START_TEST(decoding_equals_the_reference)
{
    json_t *all = expected(), *want;
    const char *name;
    json_object_foreach(json_object_get(all, "files"), name, want) check_file(name, want);
    json_object_foreach(json_object_get(all, "large"), name, want) check_file(name, want);
    json_decref(all);
}
END_TEST

START_TEST(probe_reads_the_header)
{
    static const struct { const char *name; struct image_info info; } cases[] = {
        { "rgb_420.jpg", { IMAGE_JPEG, 61, 43, 1, 0 } },         { "orientation_7.jpg", { IMAGE_JPEG, 20, 13, 7, 0 } },
        { "orientation_late.jpg", { IMAGE_JPEG, 61, 43, 8, 0 } }, { "orientation_6.png", { IMAGE_PNG, 20, 13, 6, 0 } },
        { "orientation_5.webp", { IMAGE_WEBP, 20, 13, 5, 0 } },
        { "claims_60000.png", { IMAGE_PNG, 60000, 60000, 1, 0 } },
        { "orientation_bad.jpg", { IMAGE_JPEG, 20, 13, 1, 0 } }, { "animated.webp", { IMAGE_WEBP, 20, 13, 1, 0 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        uint8_t *p = read_fixture(cases[i].name, &n);
        struct image_info got;
        ck_assert_int_eq(image_probe(p, n, &got, NULL), 0);
        ck_assert_msg(got.format == cases[i].info.format && got.width == cases[i].info.width &&
                      got.height == cases[i].info.height && got.orientation == cases[i].info.orientation,
                      "%s: %d %dx%d %d", cases[i].name, (int)got.format, got.width, got.height, got.orientation);
        free(p);
    }
}
END_TEST

/* Row by row as they are decoded, and turned afterwards, pictures become what they do in memory. */
static void resize_while_decoding(const uint8_t *p, size_t n)
{
    static const struct { int w, h; } sizes[] = { { 61, 43 }, { 28, 56 }, { 7, 150 }, { 84, 3 }, { 1, 1 }, { 20, 40 },
                                                  { 13, 90 }, { 140, 20 } };
    struct pixels whole;
    struct err e = { 0 };
    if (image_decode(p, n, &limits, NULL, &whole, &e)) return;
    for (int k = 0; k < 2 * (int)(sizeof sizes / sizeof *sizes); k++)
        for (int filter = FILTER_NEAREST; filter <= FILTER_HAMMING; filter++) {
            struct resize_to to = { sizes[k / 2].w, sizes[k / 2].h, (enum filter)filter,
                                    k % 2 ? RESIZER_PIL : RESIZER_TORCHVISION };
            struct pixels want, got;
            int rc = pixels_resize(&want, &whole, to.width, to.height, to.filter, to.how, NULL);
            struct image_recipe recipe = image_resized(&to);
            ck_assert_int_eq(image_decode(p, n, &limits, &recipe, &got, &e), rc);
            ck_assert_msg(rc || (got.width == to.width && got.height == to.height && !memcmp(got.data, want.data,
                                                                                             bytes_of(&want))),
                          "%dx%d to %dx%d, filter %d, %s", whole.width, whole.height, to.width, to.height, filter,
                          k % 2 ? "Pillow" : "torchvision");
            pixels_free(&want);
            pixels_free(&got);
        }
    pixels_free(&whole);
}

START_TEST(decoding_to_a_size_is_decoding_and_resizing) { for_each_fixture(resize_while_decoding); }
END_TEST

START_TEST(limits_are_checked_first)
{
    size_t n;
    uint8_t *p = read_fixture("rgb8.png", &n);
    struct pixels px;
    struct err e;
    struct image_limits l = { n - 1, 4096, 1 << 24 };
    ck_assert_int_eq(image_decode(p, n, &l, NULL, &px, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "bytes, more than"));
    l = (struct image_limits){ n, 60, 1 << 24 };
    ck_assert_int_eq(image_decode(p, n, &l, NULL, &px, &e), -1);
    ck_assert_str_eq(e.text, "PNG: 61x43 is larger than 60 a side");
    l = (struct image_limits){ n, 61, 61 * 43 - 1 };
    ck_assert_int_eq(image_decode(p, n, &l, NULL, &px, &e), -1);
    ck_assert_str_eq(e.text, "PNG: 61x43 has more than 2622 pixels");
    l.max_pixels++;
    l.max_side = 0; /* any */
    ck_assert_int_eq(image_decode(p, n, &l, NULL, &px, &e), 0);
    pixels_free(&px);
    free(p);
}
END_TEST

/* Also the round trip of png_write. */
START_TEST(the_largest_picture_works)
{
    struct pixels p, back;
    struct err e;
    struct buf file;
    ck_assert_int_eq(pixels_alloc(&p, 4096, 4096, &e), 0);
    for (size_t i = 0; i < bytes_of(&p); i++) p.data[i] = (uint8_t)(i / 3 % 4096 / 16 + i / 12288 % 7);
    buf_init(&file, 64 << 20);
    ck_assert_int_eq(png_write(&p, &file, &e), 0);
    struct image_limits l = { 64 << 20, 4096, 4096 * 4096 };
    ck_assert_int_eq(image_decode(file.data, file.len, &l, NULL, &back, &e), 0);
    ck_assert(back.width == 4096 && back.height == 4096);
    ck_assert_mem_eq(back.data, p.data, bytes_of(&p));
    buf_free(&file);
    pixels_free(&back);
    pixels_free(&p);
}
END_TEST

START_TEST(png_write_respects_the_buffer)
{
    struct pixels p = noise(50, 50, 1);
    struct buf file;
    struct err e;
    buf_init(&file, 1000);
    ck_assert_int_eq(png_write(&p, &file, &e), -1);
    ck_assert_str_eq(e.text, "PNG: the file is too large");
    buf_free(&file);
    pixels_free(&p);
}
END_TEST

/* --- hostile files ---------------------------------------------------------- */

static void try_to_decode(const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, p, n);
    struct pixels px;
    struct image_info info;
    struct err e = { 0 };
    image_probe(exact, n, &info, NULL);
    int rc = image_decode(exact, n, &small, NULL, &px, &e);
    ck_assert((rc == 0) == (px.data != NULL));
    ck_assert((rc == 0) == (e.text[0] == 0));
    if (!rc) ck_assert_int_le(px.width * px.height, (int)small.max_pixels);
    pixels_free(&px);
    free(exact);
}

/* The header byte by byte, what follows in steps. */
static void cut_everywhere(const uint8_t *p, size_t n)
{
    size_t step = 1 + n / 400;
    for (size_t i = 0; i < n; i += i < 64 ? 1 : step) try_to_decode(p, i);
}

START_TEST(cut_files_are_harmless) { for_each_fixture(cut_everywhere); }
END_TEST

static void change_bytes(const uint8_t *p, size_t n)
{
    uint32_t x = (uint32_t)n;
    uint8_t *copy = malloc(n ? n : 1);
    for (int round = 0; n && round < 100; round++) {
        memcpy(copy, p, n);
        /* Mostly in the first bytes, where the structure is. */
        size_t within = round % 2 && n > 64 ? 64 : n;
        for (uint32_t k = next(&x) >> 29; k < 8; k++) {
            size_t at = (next(&x) >> 8) % within;
            copy[at] = (uint8_t)(next(&x) >> 24);
        }
        try_to_decode(copy, n);
    }
    free(copy);
}

START_TEST(changed_files_are_harmless) { for_each_fixture(change_bytes); }
END_TEST

START_TEST(a_scan_bomb_is_refused)
{
    size_t n;
    uint8_t *p = read_fixture("many_scans.jpg", &n);
    struct pixels px;
    struct err e;
    /* The header may claim the largest size: it is the number of scans that costs. */
    for (size_t i = 0; i + 9 < n; i++)
        if (p[i] == 0xFF && p[i + 1] == 0xC2) memcpy(p + i + 5, "\x10\0\x10\0", 4);
    ck_assert_int_eq(image_decode(p, n, &limits, NULL, &px, &e), -1);
    ck_assert_str_eq(e.text, "JPEG: more than 64 scans");
    free(p);
}
END_TEST

/* --- resizing --------------------------------------------------------------- */

static const struct { const char *name; enum filter filter; } filters[] = {
    { "nearest", FILTER_NEAREST }, { "lanczos", FILTER_LANCZOS }, { "bilinear", FILTER_BILINEAR },
    { "bicubic", FILTER_BICUBIC }, { "box", FILTER_BOX },         { "hamming", FILTER_HAMMING },
};

static int check_resizer(const struct pixels *in, json_t *size, json_t *want, enum resizer how)
{
    int w = (int)json_integer_value(json_array_get(size, 0)), h = (int)json_integer_value(json_array_get(size, 1));
    int count = 0;
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *crc = json_string_value(json_object_get(want, filters[i].name));
        if (!crc) continue;
        struct pixels out;
        struct err e = { 0 };
        char got[9];
        ck_assert_msg(pixels_resize(&out, in, w, h, filters[i].filter, how, &e) == 0, "%s", e.text);
        ck_assert_msg(!strcmp(crc_of(&out, got), crc), "%dx%d -> %dx%d %s %s differs", in->width, in->height, w, h,
                      filters[i].name, how == RESIZER_PIL ? "of Pillow" : "of torchvision");
        pixels_free(&out);
        count++;
    }
    return count;
}

START_TEST(resizing_equals_the_reference)
{
    json_t *all = expected(), *c;
    size_t i;
    int count = 0;
    json_array_foreach(json_object_get(all, "resizes"), i, c) {
        json_t *from = json_object_get(c, "from"), *to = json_object_get(c, "to");
        struct pixels in = noise((int)json_integer_value(json_array_get(from, 0)),
                                 (int)json_integer_value(json_array_get(from, 1)),
                                 (uint32_t)json_integer_value(json_object_get(c, "seed")));
        count += check_resizer(&in, to, json_object_get(c, "pil"), RESIZER_PIL);
        count += check_resizer(&in, to, json_object_get(c, "torchvision"), RESIZER_TORCHVISION);
        pixels_free(&in);
    }
    ck_assert_int_gt(count, 300);
    json_decref(all);
}
END_TEST

/* The plain loops, which this machine may not choose, must give the same bytes. */
START_TEST(both_loops_agree)
{
    const struct resize_loops *best = resize_loops_best();
    if (best == &resize_loops_c) {
        printf("skip: this machine has only the plain loops\n");
        return;
    }
    uint32_t x = 5;
    for (int round = 0; round < 400; round++) {
        int from = 1 + (int)(next(&x) >> 24), to = 1 + (int)(next(&x) >> 24);
        enum filter f = filters[1 + (next(&x) >> 16) % 5].filter;
        struct extent side = { from, to, 0, to };
        struct taps t;
        ck_assert_int_eq(taps_init(&t, &side, f, round % 2 ? RESIZER_PIL : RESIZER_TORCHVISION), 0);
        struct pixels in = noise(from + 6, 2, x); /* 6 more pixels: ROW_SLACK */
        const uint8_t *const two[2] = { in.data, in.data + (size_t)in.width * 3 };
        uint8_t a[256 * 3], b[256 * 3], c[256 * 3], d[256 * 3];
        resize_loops_c.taps_rows((uint8_t *[2]){ a, c }, two, &t);
        best->taps_rows((uint8_t *[2]){ b, d }, two, &t);
        ck_assert_mem_eq(a, b, (size_t)to * 3);
        ck_assert_mem_eq(c, d, (size_t)to * 3);
        pixels_free(&in);
        size_t n = 1 + (next(&x) >> 24) % 200;
        in = noise((int)n, from + 1, x);
        for (int i = 0; i < to; i++) {
            const uint8_t *rows[257];
            for (int j = 0; j <= t.count[i]; j++) rows[j] = in.data + (size_t)(t.start[i] + j) * n * 3;
            resize_loops_c.taps_column(a, rows, &t, i, n);
            best->taps_column(b, rows, &t, i, n);
            ck_assert_mem_eq(a, b, n);
        }
        pixels_free(&in);
        taps_free(&t);
    }
}
END_TEST

/* The recipes of make_fixtures.py's VIEWS, in their order. Of a view: what it is made of, the rectangle, its size, its
 * place, the canvas, the colour. */
static const struct image_recipe recipes[] = {
    { .n = 1, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 90, 56, -17, 0, 56, 56, { 0 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 123, 56, -33, 0, 56, 56, { 0 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 28, 3733, 0, -1852, 28, 28, { 0 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 107, 67, 0, 0, 112, 112, { 0 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 70, 112, 21, 0, 112, 112, { 122, 116, 104 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 50, 31, 3, 12, 56, 56, { 1, 2, 3 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 28, 80, 6, -20, 40, 40, { 9, 8, 7 }, false } } },
    { .n = 2, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 168, 112, 0, 0, 168, 112, { 0 }, false },
                        { IMAGE_SOURCE, 0, 0, 0, 0, 56, 56, 0, 0, 56, 56, { 0 }, false } } },
    { .n = 3, .view = { { IMAGE_SOURCE, 0, 0, 0, 0, 224, 136, 0, 0, 224, 136, { 0 }, true },
                        { 0, 0, 0, 0, 0, 224, 168, 0, 0, 224, 168, { 0 }, false },
                        { 1, 0, 0, 0, 0, 56, 56, 0, 0, 56, 56, { 0 }, false } } },
    { .n = 5, .view = { { IMAGE_SOURCE, 0, 0, 50, 33, 60, 40, 0, 0, 60, 40, { 0 }, false },
                        { IMAGE_SOURCE, 50, 0, 51, 33, 60, 40, 0, 0, 60, 40, { 0 }, false },
                        { IMAGE_SOURCE, 0, 33, 50, 34, 50, 34, 0, 0, 50, 34, { 0 }, false },
                        { IMAGE_SOURCE, 50, 33, 51, 34, 28, 34, 0, 0, 28, 34, { 0 }, false },
                        { IMAGE_SOURCE, 0, 0, 101, 67, 60, 40, 0, 0, 60, 40, { 0 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, -70, 0, 200, 200, 84, 84, 0, 0, 84, 84, { 122, 116, 104 }, false } } },
    { .n = 1, .view = { { IMAGE_SOURCE, 0, -88, 211, 211, 56, 56, 0, 0, 56, 56, { 5, 250, 100 }, false } } },
};
enum { RECIPES = sizeof recipes / sizeof *recipes };

/* A picture that is in memory becomes the views. */
static struct pixels views_of(const struct pixels *in, const struct image_recipe *to)
{
    struct image_info info = { .format = IMAGE_RGB, .width = in->width, .height = in->height, .orientation = 1 };
    struct pixels out;
    struct err e = { 0 };
    double unused = 0;
    ck_assert_msg(image_from_rgb(in->data, &info, to, &out, &unused, &e) == 0, "%s", e.text);
    return out;
}

START_TEST(views_equal_the_reference)
{
    json_error_t why;
    json_t *all = json_load_file(FOLDER "views.json", 0, &why), *c;
    size_t i;
    ck_assert_msg(all != NULL, "%s", why.text);
    ck_assert_uint_eq(json_array_size(all), RECIPES);
    json_array_foreach(all, i, c) {
        json_t *from = json_object_get(c, "from");
        struct pixels in = noise((int)json_integer_value(json_array_get(from, 0)),
                                 (int)json_integer_value(json_array_get(from, 1)),
                                 (uint32_t)json_integer_value(json_object_get(c, "seed")));
        for (int f = 0; f < 4; f++) {       /* those that torchvision has */
            struct image_recipe to = recipes[i];
            char got[9];
            to.filter = filters[f].filter;
            to.how = RESIZER_TORCHVISION;
            struct pixels out = views_of(&in, &to);
            const char *want = json_string_value(json_object_get(json_object_get(c, "torchvision"), filters[f].name));
            snprintf(got, sizeof got, "%08x", crc32_of(out.data, image_recipe_bytes(&to)));
            ck_assert_msg(!strcmp(got, want), "%s: %s differs", json_string_value(json_object_get(c, "name")),
                          filters[f].name);
            pixels_free(&out);
        }
        pixels_free(&in);
    }
    json_decref(all);
}
END_TEST

/* Row by row as they are decoded, and turned afterwards, files become the views that their pixels do. */
static void views_while_decoding(const uint8_t *p, size_t n)
{
    struct pixels whole, got;
    struct err e = { 0 };
    if (image_decode(p, n, &limits, NULL, &whole, &e)) return;
    for (int k = 0; k < 2 * RECIPES; k++) {
        struct image_recipe to = recipes[k / 2];
        to.filter = FILTER_BICUBIC;
        to.how = k % 2 ? RESIZER_PIL : RESIZER_TORCHVISION;
        struct pixels want = views_of(&whole, &to);
        ck_assert_msg(image_decode(p, n, &limits, &to, &got, &e) == 0, "%s", e.text);
        ck_assert(got.width == want.width && got.height == want.height);
        ck_assert_msg(!memcmp(got.data, want.data, image_recipe_bytes(&to)), "recipe %d of %dx%d", k / 2, whole.width,
                      whole.height);
        pixels_free(&want);
        pixels_free(&got);
    }
    pixels_free(&whole);
}

START_TEST(decoding_to_views_is_decoding_and_making_them) { for_each_fixture(views_while_decoding); }
END_TEST

START_TEST(bad_recipes_are_errors)
{
    static const struct image_view good = { IMAGE_SOURCE, 0, 0, 0, 0, 8, 8, 0, 0, 8, 8, { 0 }, false },
        bad[] = { { 0, 0, 0, 0, 0, 8, 8, 0, 0, 8, 8, { 0 }, false }, { -2, 0, 0, 0, 0, 8, 8, 0, 0, 8, 8, { 0 }, false },
                  { IMAGE_SOURCE, 0, 0, 5, 0, 8, 8, 0, 0, 8, 8, { 0 }, false },
                  { IMAGE_SOURCE, 0, 0, 0, 0, 0, 8, 0, 0, 8, 8, { 0 }, false },
                  { IMAGE_SOURCE, 0, 0, 0, 0, 8, 8, 8, 0, 8, 8, { 0 }, false },
                  { IMAGE_SOURCE, 0, 0, 0, 0, 8, 8, 0, -8, 8, 8, { 0 }, false },
                  { IMAGE_SOURCE, 0, 0, 0, 0, 1 << 30, 8, 0, 0, 8, 8, { 0 }, false },
                  { IMAGE_SOURCE, 0, 0, 0, 0, 8, 8, 0, 0, 1 << 20, 1 << 20, { 0 }, false },
                  { IMAGE_SOURCE, 0, 0, 0, 0, 8, 8, 0, 0, 8, 8, { 0 }, true } };
    struct pixels in = noise(5, 4, 3), out;
    struct image_info info = { .format = IMAGE_RGB, .width = 5, .height = 4, .orientation = 1 };
    double unused = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct image_recipe to = { .filter = FILTER_BICUBIC, .n = 1, .view = { bad[i] } };
        struct err e = { 0 };
        ck_assert_int_eq(image_from_rgb(in.data, &info, &to, &out, &unused, &e), -1);
        ck_assert_msg(strstr(e.text, "cannot make an image") != NULL, "%zu: %s", i, e.text);
        ck_assert_ptr_null(out.data);
    }
    struct image_recipe to = { .filter = FILTER_BOX, .how = RESIZER_TORCHVISION, .n = 1, .view = { good } };
    ck_assert_int_eq(image_from_rgb(in.data, &info, &to, &out, &unused, NULL), -1);
    pixels_free(&in);
}
END_TEST

START_TEST(bad_resizes_are_errors)
{
    struct pixels in = noise(4, 4, 1), out;
    struct err e;
    ck_assert_int_eq(pixels_resize(&out, &in, 0, 4, FILTER_BICUBIC, RESIZER_PIL, &e), -1);
    ck_assert_int_eq(pixels_resize(&out, &in, 4, -1, FILTER_NEAREST, RESIZER_PIL, &e), -1);
    ck_assert_int_eq(pixels_resize(&out, &in, 1 << 20, 1 << 20, FILTER_BICUBIC, RESIZER_PIL, &e), -1);
    ck_assert_int_eq(pixels_resize(&out, &in, 2, 2, (enum filter)9, RESIZER_PIL, &e), -1);
    ck_assert_str_eq(e.text, "no resize filter has the number 9");
    ck_assert_int_eq(pixels_resize(&out, &in, 2, 2, FILTER_BOX, RESIZER_TORCHVISION, &e), -1);
    ck_assert_ptr_null(out.data);
    pixels_free(&in);
}
END_TEST

START_TEST(crop_is_black_outside)
{
    struct pixels in = noise(5, 4, 9), out;
    static const int boxes[][4] = { { 0, 0, 5, 4 }, { 1, 2, 3, 2 }, { -2, -1, 9, 7 }, { 5, 0, 2, 2 }, { -3, 3, 4, 4 },
                                    { 2, -9, 1, 4 }, { 0, 4, 5, 1 } };
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) {
        const int *b = boxes[i];
        ck_assert_int_eq(pixels_crop(&out, &in, b[0], b[1], b[2], b[3], NULL), 0);
        for (int y = 0; y < b[3]; y++)
            for (int x = 0; x < b[2] * 3; x++) {
                int sx = x / 3 + b[0], sy = y + b[1];
                bool inside = sx >= 0 && sx < 5 && sy >= 0 && sy < 4;
                ck_assert_int_eq(out.data[y * b[2] * 3 + x], inside ? in.data[(sy * 5 + sx) * 3 + x % 3] : 0);
            }
        pixels_free(&out);
    }
    ck_assert_int_eq(pixels_crop(&out, &in, 0, 0, 0, 1, NULL), -1);
    pixels_free(&in);
}
END_TEST

int main(void)
{
    const struct { const char *name; const TTest *test; } cases[] = {
        { "decode to a size", decoding_to_a_size_is_decoding_and_resizing },
        { "decode", decoding_equals_the_reference }, { "probe", probe_reads_the_header },
        { "limits", limits_are_checked_first },      { "largest", the_largest_picture_works },
        { "write", png_write_respects_the_buffer },  { "cut", cut_files_are_harmless },
        { "changed", changed_files_are_harmless },   { "scans", a_scan_bomb_is_refused },
        { "resize", resizing_equals_the_reference }, { "loops", both_loops_agree },
        { "bad sizes", bad_resizes_are_errors },     { "crop", crop_is_black_outside },
        { "views", views_equal_the_reference },      { "bad views", bad_recipes_are_errors },
        { "decode to views", decoding_to_views_is_decoding_and_making_them },
    };
    Suite *s = suite_create("image");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TCase *c = tcase_create(cases[i].name);
        tcase_set_timeout(c, 240);
        tcase_add_test(c, cases[i].test);
        suite_add_tcase(s, c);
    }
    return suite_run(s);
}
