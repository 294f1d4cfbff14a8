/* tests/image/test_memory.c - every allocation of decoding and resizing fails
 * once: the call must say so, leak nothing, and leave no pixels behind.
 *
 * The sources are included with their allocator replaced; the libraries' own
 * allocations are not touched. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static int calls_left = -1; /* -1: never fail */

static int time_to_fail(void)
{
    if (calls_left < 0) return 0;
    return calls_left-- == 0;
}

static void *malloc_or_fail(size_t n) { return time_to_fail() ? NULL : malloc(n); }
static void *calloc_or_fail(size_t n, size_t size) { return time_to_fail() ? NULL : calloc(n, size); }

#define malloc malloc_or_fail
#define calloc calloc_or_fail
#include "image/pixels.c"
#include "image/png.c"
#include "image/png_text.c"
#include "image/resize.c"
#include "image/taps.c"
#include "image/webp.c"
/* Names that it shares with others. */
#define explain gif_explain
#define find_frame gif_find_frame
#define put_row gif_put_row
#define read_bytes gif_read_bytes
#define read_rows gif_read_rows
#include "image/gif.c"
#include "tests/suite.h"
#undef malloc
#undef calloc

static int resize_both(struct err *e)
{
    uint8_t bytes[20 * 30 * 3] = { 0 };
    struct pixels in = { bytes, 20, 30 }, out;
    static const struct { int w, h; enum filter filter; } ways[] = {
        { 40, 15, FILTER_BICUBIC }, { 19, 15, FILTER_LANCZOS }, { 20, 31, FILTER_BOX },
        { 5, 30, FILTER_BILINEAR }, { 7, 7, FILTER_NEAREST },
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (pixels_resize(&out, &in, ways[i].w, ways[i].h, ways[i].filter, RESIZER_PIL, e)) {
            ck_assert_ptr_null(out.data);
            return -1;
        }
        pixels_free(&out);
    }
    return 0;
}

static int decode_files(struct err *e)
{
    static const char *const names[] = { "orientation_6.webp", "lossy_alpha.webp", "animated_alpha.webp",
                                         "rgba8.png", "rgba8_interlaced.png", "raw_profile_compressed.png",
                                         "placed.gif", "interlaced.gif" };
    static const struct image_limits limits = { 1 << 20, 4096, 1 << 24 };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/image/fixtures/%s", names[i]);
        FILE *f = fopen(path, "rb");
        ck_assert_ptr_nonnull(f);
        uint8_t bytes[16384];
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        struct pixels out;
        if (image_decode(bytes, n, &limits, NULL, &out, e)) {
            ck_assert_ptr_null(out.data);
            return -1;
        }
        pixels_free(&out);
    }
    return 0;
}

static void fail_each_in_turn(int (*f)(struct err *e), int at_least)
{
    for (int n = 0;; n++) {
        struct err e = { 0 };
        calls_left = n;
        int rc = f(&e);
        calls_left = -1;
        if (rc == 0) {
            ck_assert_int_ge(n, at_least);
            return;
        }
        ck_assert_ptr_nonnull(strstr(e.text, "not enough memory for an image"));
        ck_assert_int_eq(e.status, 503);
    }
}

START_TEST(resizing_survives) { fail_each_in_turn(resize_both, 30); }
END_TEST

START_TEST(decoding_survives) { fail_each_in_turn(decode_files, 6); }
END_TEST

int main(void)
{
    Suite *s = suite_create("image memory");
    TCase *c = tcase_create("memory");
    tcase_add_test(c, resizing_survives);
    tcase_add_test(c, decoding_survives);
    suite_add_tcase(s, c);
    return suite_run(s);
}
