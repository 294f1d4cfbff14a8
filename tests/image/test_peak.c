/* tests/image/test_peak.c - what decoding holds at one time is never more than
 * image_bytes() says before, whatever the format, and little where rows can be
 * resized as they come: every allocation of this program and of the libraries
 * in it is counted. */
#include <check.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "image/image.h"
#include "tests/suite.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COUNTS = 0 };    /* they have an allocator of their own */
static long held, peak;
#else
enum { COUNTS = 1 };
static long held, peak;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void  __libc_free(void *p);

static void *count(void *p)
{
    held += p ? (long)malloc_usable_size(p) : 0;
    peak = held > peak ? held : peak;
    return p;
}

static void forget(void *p) { held -= p ? (long)malloc_usable_size(p) : 0; }

/* The libraries' too: everything else in here is hidden from them. */
#pragma GCC visibility push(default)
void *malloc(size_t n) { return count(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return count(__libc_calloc(n, size)); }

void *realloc(void *p, size_t n)
{
    forget(p);
    void *out = __libc_realloc(p, n);
    if (!out && n) count(p);
    return count(out);
}

void free(void *p)
{
    forget(p);
    __libc_free(p);
}
#pragma GCC visibility pop
#endif

enum { SLACK = 64 << 10 };    /* what the allocator rounds up, and texts */

static const struct image_limits limits = { 1 << 20, 0, 1 << 24 };
static uint8_t file[1 << 20];

static size_t read_fixture(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "tests/image/fixtures/%s", name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s (tests run in the root of the repository)", path);
    size_t n = fread(file, 1, sizeof file, f);
    fclose(f);
    return n;
}

static const struct resize_to sizes[] = {
    { 280, 196, FILTER_BICUBIC, RESIZER_TORCHVISION }, { 28, 560, FILTER_LANCZOS, RESIZER_PIL },
    { 224, 28, FILTER_LANCZOS, RESIZER_PIL },
    { 1204, 924, FILTER_BICUBIC, RESIZER_TORCHVISION }, { 900, 1200, FILTER_BICUBIC, RESIZER_PIL },
    { 56, 56, FILTER_NEAREST, RESIZER_PIL },
};

/* Tiles beside a small picture of them, a quarter, and a strip of which nearly all is cut off. */
static const struct image_recipe views = {
    .filter = FILTER_LANCZOS, .how = RESIZER_TORCHVISION, .n = 5,
    .view = { { .from = IMAGE_SOURCE, .to_w = 560, .to_h = 500, .width = 560, .height = 500, .hidden = true },
              { .from = 0, .to_w = 600, .to_h = 600, .width = 600, .height = 600 },
              { .from = 1, .to_w = 200, .to_h = 200, .width = 200, .height = 200 },
              { .from = IMAGE_SOURCE, .x = 3, .y = 4, .w = 300, .h = 200, .to_w = 150, .to_h = 130, .left = 20,
                .width = 200, .height = 200 },
              { .from = IMAGE_SOURCE, .to_w = 80, .to_h = 9000, .top = -4000, .width = 80, .height = 80 } },
};

/* Returns the bytes that decoding held. */
static size_t check_peak(const char *name, size_t n, const struct image_recipe *to)
{
    struct image_info info;
    struct pixels px;
    struct err e = { 0 };
    if (image_probe(file, n, &info, &e) != 0) return 0;
    size_t said = image_bytes(&info, to);
    long before = held;
    peak = held;
    int rc = image_decode(file, n, &limits, to, &px, &e);
    size_t took = (size_t)(peak - before);
    pixels_free(&px);
    ck_assert_msg(took <= said + SLACK, "%s (%s): %zu bytes were held, %zu foretold", name, to ? "resized" : "whole",
                  took, said);
    ck_assert_msg(rc != 0 || said <= 3 * took + (1 << 20), "%s: only %zu bytes of %zu were held", name, took, said);
    return took;
}

START_TEST(what_is_held_is_foretold)
{
    json_t *all = json_load_file("tests/image/expected.json", 0, NULL), *want;
    const char *group[] = { "files", "large" }, *name;
    for (int g = 0; g < 2; g++)
        json_object_foreach(json_object_get(all, group[g]), name, want) {
            size_t n = read_fixture(name);
            check_peak(name, n, NULL);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                struct image_recipe one = image_resized(&sizes[i]);
                check_peak(name, n, &one);
            }
            check_peak(name, n, &views);
        }
    json_decref(all);
}
END_TEST

/* Less than a byte for each pixel: the picture was never there as a whole. */
START_TEST(rows_are_resized_as_they_come)
{
    static const char *const names[] = { "large.jpg", "large_turned.jpg", "large.png", "large_rgba16.png" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct image_recipe one = image_resized(&sizes[0]);
        size_t took = check_peak(names[i], read_fixture(names[i]), &one);
        ck_assert_msg(took < 1200 * 900, "%s: %zu bytes", names[i], took);
        ck_assert_uint_gt(took, 280 * 196 * 3);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("image peak");
    TCase *c = tcase_create("peak");
    tcase_set_timeout(c, 120);
    if (COUNTS) {
        tcase_add_test(c, what_is_held_is_foretold);
        tcase_add_test(c, rows_are_resized_as_they_come);
    } else {
        printf("skip: the sanitizers count memory otherwise\n");
    }
    suite_add_tcase(s, c);
    return suite_run(s);
}
