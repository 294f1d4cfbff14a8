/* What stands in a prompt for its images, where a family writes more than one run of places: a family made for this
 * test, with the tokenizer of a tiny checkpoint. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/places.h"
#include "tests/suite.h"

enum { MARK = 262, PLACE = 263, END = 264 };
#define M "<|begin_of_image|>"
#define P "<|image|>"
#define E "<|end_of_image|>"

/* "\nMARK PLACE,PLACE, ... END"; images that follow each other share the line. */
static void written(const struct model *m, const struct image_plan *p, const char *mark, const char *place, bool joined,
                    struct buf *out)
{
    (void)m;
    buf_printf(out, "%s%s", joined ? "" : "\n", mark);
    for (int i = 0; i < image_runs(p); i++)
        buf_printf(out, "%s%s", i ? "," : "", place);
    buf_str(out, E);
}

static const struct family family = { .image_text = written };
static const struct model model = { .family = &family, .image_token = PLACE, .image_mark = MARK, .vocab = 280 };

static struct text text;
static struct prompt_image images[3];
static struct prompt prompt;
static struct err e;

static void setup(void)
{
    e = (struct err){ 0 };
    ck_assert_msg(text_open(&text, "tests/model/glm4v/grouped", NULL, "string", PLACE, MARK, &e) == 0, "%s", e.text);
    memset(images, 0, sizeof images);
    images[0].plan = (struct image_plan){ .n_tokens = 6, .runs = 3 };
    images[1].plan = (struct image_plan){ .n_tokens = 2 };
    images[2].plan = (struct image_plan){ .n_tokens = 4, .runs = 2 };
    prompt = (struct prompt){ .images = images, .n_images = 3 };
}

static void teardown(void)
{
    text_close(&text);
    free(prompt.ids);
    for (int i = 0; i < 3; i++)
        free(images[i].run);
}

/* The chat's text with its images written into it. '!' in whose: that byte is the client's. */
static int write_chat(const char *s, const char *whose, int n_images, struct rendering *out)
{
    *out = (struct rendering){ .text = strdup(s), .n = strlen(s), .from = whose ? malloc(strlen(s) + 1) : NULL };
    for (size_t i = 0; whose && i < out->n; i++)
        out->from[i] = i < strlen(whose) && whose[i] == '!' ? FROM_REQUEST : FROM_TEMPLATE;
    return places_write(&prompt, &model, &text, n_images, out, &e);
}

static void is_written(const char *chat, const char *whose, int n_images, const char *want)
{
    struct rendering r;
    ck_assert_msg(write_chat(chat, whose, n_images, &r) == 0, "%s", e.text);
    ck_assert_uint_eq(r.n, strlen(want));
    ck_assert_mem_eq(r.text, want, r.n);
    ck_assert(!r.from == !whose);
    rendering_free(&r);
}

/* The three images in the tokens of a chat; `ids` becomes those in which a run is one token. */
static void expand_three(struct ids *ids, int keep)
{
    struct rendering r;
    ck_assert_int_eq(write_chat("a" M M "b" M "c", "", 3, &r), 0);
    ck_assert_int_eq(tokenizer_encode_chat(text.tokenizer, r.text, r.from, r.n, false, ids, &e), 0);
    ck_assert_msg(places_expand(&prompt, &model, ids, 3, 100, keep, "messages", &e) == 0, "%s", e.text);
    rendering_free(&r);
}

START_TEST(texts_take_the_place_of_marks)
{
    is_written("a" M "b", "", 1, "a\n" M P "," P "," P E "b");
    is_written("a" M "b", NULL, 1, "a\n" M P "," P "," P E "b");
    is_written("a" M M "b" M, "", 3, "a\n" M P "," P "," P E M P E "b\n" M P "," P E);
    is_written("", "", 0, "");
}
END_TEST

/* The mark in what a client wrote is text; where everybody is trusted, it is one mark too many. */
START_TEST(only_marks_of_the_template_count)
{
    char whose[sizeof M] = { 0 };
    struct rendering r;
    memset(whose, '!', strlen(M));
    is_written(M M "b", whose, 1, M "\n" M P "," P "," P E "b");
    ck_assert_int_eq(write_chat(M M "b", NULL, 1, &r), -1);
    ck_assert_str_eq(e.field, "messages");
    ck_assert_ptr_nonnull(strstr(e.text, "has 2 image placeholders for 1 images; a text must not"));
    rendering_free(&r);
    ck_assert_int_eq(write_chat("b", "", 2, &r), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "has 0 image placeholders for 2 images; the chat template has no place"));
    rendering_free(&r);
}
END_TEST

/* What a family writes counts as the template's, also the tokens that a client cannot write. */
START_TEST(runs_become_places)
{
    static const int32_t want[] = { 'a', '\n', MARK, PLACE, PLACE, ',', PLACE, PLACE, ',', PLACE, PLACE, END, MARK,
                                    PLACE, PLACE, END, 'b', '\n', MARK, PLACE, PLACE, ',', PLACE, PLACE, END, 'c' };
    struct ids ids = { 0 };
    expand_three(&ids, 0);
    ck_assert_int_eq(prompt.n, (int)(sizeof want / sizeof *want));
    for (int i = 0; i < prompt.n; i++)     /* the letters' ids are the tokenizer's */
        ck_assert_msg(want[i] < 256 ? prompt.ids[i] < 256 : prompt.ids[i] == want[i], "token %d is %d", i,
                      prompt.ids[i]);
    ck_assert_int_eq(images[0].start, 3);
    ck_assert_int_eq(images[0].end, 11);
    ck_assert_int_eq(images[0].run[1], 6);
    ck_assert_int_eq(images[0].run[2], 9);
    ck_assert_ptr_null(images[1].run);
    ck_assert_int_eq(images[1].start, 13);
    ck_assert_int_eq(images[1].end, 15);
    ck_assert_int_eq(images[2].run[1], 22);
    ids_free(&ids);
}
END_TEST

START_TEST(the_front_is_cut_between_images)
{
    struct ids ids = { 0 };
    expand_three(&ids, 14);                /* the first image ends with token 10 of 26 */
    ck_assert_int_eq(prompt.n, 14);
    ck_assert_int_eq(prompt.n_images, 2);
    ck_assert_int_eq(prompt.n_gone, 1);
    ck_assert_int_eq(images[0].start, 1);
    ck_assert_int_eq(images[1].start, 7);
    ck_assert_int_eq(images[1].end, 12);
    ck_assert_int_eq(images[1].run[1], 10);
    images[2].run = NULL;                  /* which has moved */
    free(prompt.ids);
    prompt.ids = NULL;
    prompt.n = 0;
    free(images[1].run);
    text_close(&text);
    setup();
    ck_assert_int_eq(places_expand(&prompt, &model, &ids, 3, 100, 19, "messages", &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "would begin within image 1"));
    ids_free(&ids);
}
END_TEST

START_TEST(places_are_joined_again)
{
    struct ids ids = { 0 }, joined = { 0 };
    expand_three(&ids, 0);
    ck_assert_int_eq(places_join(&prompt, &model, prompt.ids, (size_t)prompt.n, 3, &joined, &e), 0);
    ck_assert_uint_eq(joined.n, ids.n);
    ck_assert_mem_eq(joined.id, ids.id, ids.n * sizeof *ids.id);
    ids_free(&joined);
    static const struct { int at, n_images; const char *text; } wrong[] = {
        { 7, 3, "image 1 has 3 places among the tokens, but its size gives it 6" },
        { 13, 3, "image 2 has 1 places among the tokens, but its size gives it 2" },
        { -1, 2, "more images than the 2" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int at = wrong[i].at, kept = at < 0 ? 0 : prompt.ids[at];
        if (at >= 0)
            prompt.ids[at] = 'x';
        ck_assert_int_eq(places_join(&prompt, &model, prompt.ids, (size_t)prompt.n, wrong[i].n_images, &joined, &e),
                         -1);
        ck_assert_msg(strstr(e.text, wrong[i].text) != NULL, "%s", e.text);
        if (at >= 0)
            prompt.ids[at] = kept;
        ids_free(&joined);
    }
    ck_assert_int_eq(places_join(&prompt, &model, prompt.ids, 7, 1, &joined, &e), -1);
    ids_free(&joined);
    ck_assert_int_eq(places_join(&prompt, &model, prompt.ids, 8, 1, &joined, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "fewer images than the 1"));
    ids_free(&joined);
    ids_free(&ids);
}
END_TEST

/* Slots: ids of any text, which are places where the image's token is before them. */
START_TEST(slots_follow_the_token_of_an_image)
{
    static const struct model slotted = { .family = &family, .image_token = PLACE, .first_slot = 4, .n_slots = 6,
                                          .vocab = 280 };
    static const int32_t chat[] = { 'a', PLACE, END, 4, 5, PLACE, 9 },
        want[] = { 'a', PLACE, 4, 5, 6, 7, 8, 9, END, 4, 5, PLACE, 4, 5, 6, 7, 8, 9, 9 };
    enum { N = sizeof want / sizeof *want };
    struct ids ids = { .id = (int32_t *)(uintptr_t)chat, .n = sizeof chat / sizeof *chat }, joined = { 0 };
    images[0].plan = images[1].plan = (struct image_plan){ .n_tokens = 6 };
    ck_assert_msg(places_expand(&prompt, &slotted, &ids, 2, 100, 0, "messages", &e) == 0, "%s", e.text);
    ck_assert_int_eq(prompt.n, N);
    ck_assert_mem_eq(prompt.ids, want, sizeof want);
    ck_assert_int_eq(images[0].start, 2);
    ck_assert_int_eq(images[0].end, 8);
    ck_assert_int_eq(images[1].start, 12);
    ck_assert_int_eq(images[1].end, 18);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(model_is_place(&slotted, want, i), (i >= 2 && i < 8) || (i >= 12 && i < 18));
    ck_assert_int_eq(places_join(&prompt, &slotted, want, N, 2, &joined, &e), 0);
    ck_assert_uint_eq(joined.n, ids.n);
    ck_assert_mem_eq(joined.id, chat, sizeof chat);
    ids_free(&joined);
    prompt.ids[16] = 4;
    ck_assert_int_eq(places_join(&prompt, &slotted, prompt.ids, N, 2, &joined, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "image 2 has 4 places among the tokens, but its size gives it 6"));
    ids_free(&joined);
}
END_TEST

/* Where everybody is trusted, a client may write places that no image has. */
START_TEST(places_of_no_image)
{
    struct rendering r;
    struct ids ids = { 0 };
    ck_assert_int_eq(write_chat(M P, NULL, 1, &r), 0);
    ck_assert_int_eq(tokenizer_encode_chat(text.tokenizer, r.text, r.from, r.n, false, &ids, &e), 0);
    ck_assert_int_eq(places_expand(&prompt, &model, &ids, 1, 100, 0, "messages", &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "4 runs of image tokens, but the images have 3"));
    rendering_free(&r);
    ids_free(&ids);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("places");
    TCase *t = tcase_create("places");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, texts_take_the_place_of_marks);
    tcase_add_test(t, only_marks_of_the_template_count);
    tcase_add_test(t, runs_become_places);
    tcase_add_test(t, the_front_is_cut_between_images);
    tcase_add_test(t, places_are_joined_again);
    tcase_add_test(t, places_of_no_image);
    tcase_add_test(t, slots_follow_the_token_of_an_image);
    suite_add_tcase(s, t);
    return suite_run(s);
}
