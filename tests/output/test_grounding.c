/* Answers with places: what transformers makes of them (make_grounding.py), whole and cut at every place, and what is
 * beyond the limits. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "output/output.h"
#include "tests/suite.h"

/* The answer in pieces of `first` bytes, the next `step` bytes and so on; sent after each piece if `stream`. `text` and
 * `boxes` collect all that was told. */
static void read_answer(const char *s, size_t n, size_t first, size_t step, bool stream, struct buf *text,
                        struct buf *boxes)
{
    struct output o;
    struct err e;
    struct output_options options = { .grounded = true, .whole = !stream, .max_bytes = 1 << 20 };
    buf_init(text, 1 << 20);
    buf_init(boxes, 1 << 20);
    ck_assert_int_eq(output_init(&o, &options, &e), 0);
    for (size_t at = 0, end = first;; at = end, end += step) {
        end = end < n ? end : n;
        output_add(&o, s + at, end - at);
        if (end == n)
            output_end(&o);
        if (stream || end == n) {
            buf_add(text, o.content.data ? o.content.data : "", o.content.len);
            if (o.boxes.len && boxes->len)
                buf_byte(boxes, ',');
            buf_add(boxes, o.boxes.data ? o.boxes.data : "", o.boxes.len);
            output_sent(&o);
            ck_assert(!output_has_news(&o));
        }
        if (end == n)
            break;
    }
    ck_assert(output_ok(&o));
    output_free(&o);
}

static void check(const json_t *row, size_t first, size_t step, bool stream)
{
    const json_t *asked = json_object_get(row, "text"), *said = json_object_get(row, "said");
    const char *s = json_string_value(asked);
    struct buf text, boxes, list;
    read_answer(s, json_string_length(asked), first, step, stream, &text, &boxes);
    ck_assert_msg(text.len == json_string_length(said) &&
                  !memcmp(text.data ? text.data : "", json_string_value(said), text.len),
                  "\"%s\" cut at %zu: \"%s\", not \"%s\"", s, first, text.data, json_string_value(said));
    buf_init(&list, 1 << 20);
    buf_printf(&list, "[%s]", boxes.data ? boxes.data : "");
    json_t *have = json_loads(list.data, 0, NULL);
    ck_assert_msg(have && json_equal(have, json_object_get(row, "grounding")), "\"%s\" cut at %zu: %s", s, first,
                  list.data);
    json_decref(have);
    buf_free(&list);
    buf_free(&text);
    buf_free(&boxes);
}

START_TEST(test_as_the_reference)
{
    json_error_t why;
    json_t *rows = json_load_file("tests/output/grounding.json", 0, &why), *row;
    size_t i, boxes = 0;
    ck_assert_msg(rows != NULL, "%s", why.text);
    json_array_foreach(rows, i, row) {
        size_t n = json_string_length(json_object_get(row, "text"));
        check(row, n, 1, false);
        check(row, 1, 1, true);
        for (size_t cut = 0; cut <= n; cut++)
            check(row, cut, n, true);
        boxes += json_array_size(json_object_get(row, "grounding"));
    }
    ck_assert_uint_ge(i, 100);
    ck_assert_uint_ge(boxes, 30);
    json_decref(rows);
}
END_TEST

/* Numbers that are too large, or none. */
START_TEST(test_cells_of_no_image)
{
    static const char s[] = "<object><patch_index_1000000000000><patch_index_0001></object>"
                            "<object><patch_index_0001><patch_index_99999999999999999999></object>"
                            "<object><patch_index_-001><patch_index_0001></object>"
                            "<object><patch_index_0001><patch_index_0001></object>";
    struct buf text, boxes;
    read_answer(s, sizeof s - 1, 1, 1, true, &text, &boxes);
    ck_assert_uint_eq(text.len, 0);
    ck_assert_str_eq(boxes.data, "{\"phrase\":\"<patch_index_1><patch_index_1>\","
                                 "\"box\":[0.03125,0.0,0.0625,0.03125]}");
    buf_free(&text);
    buf_free(&boxes);
}
END_TEST

/* Repeats `part` so often that no limit holds it. */
static void flood(const char *begin, const char *part, size_t times, bool text_stays)
{
    struct buf s, text, boxes;
    buf_init(&s, 1 << 20);
    buf_str(&s, begin);
    for (size_t i = 0; i < times; i++)
        buf_str(&s, part);
    read_answer(s.data, s.len, 7, 7, true, &text, &boxes);
    ck_assert_msg((text.len >= times) == text_stays, "%s%s...: %zu bytes stay", begin, part, text.len);
    ck_assert_msg(boxes.len < s.len, "%zu bytes of boxes", boxes.len);
    buf_free(&s);
    buf_free(&text);
    buf_free(&boxes);
}

START_TEST(test_limits)
{
    flood("", "<", 20000, true);
    flood("<phrase>", "a", 20000, true);
    flood("<phrase>a</phrase><object>", "<patch_index_0001>", 20000, false);
    flood("<object>", "<patch_index_0001><patch_index_0002></delimiter_of_multi_objects/>", 3000, false);
    flood("<patch_index_", "1", 20000, true);
    flood("<phrase><object></object></phrase>", " \n", 20000, false);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("grounding");
    TCase *t = tcase_create("grounding");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_as_the_reference);
    tcase_add_test(t, test_cells_of_no_image);
    tcase_add_test(t, test_limits);
    suite_add_tcase(s, t);
    return suite_run(s);
}
