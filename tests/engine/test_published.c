/* Text of the published shapes (tests/model/FAMILY/published, python/published.py): chats through template, structural
 * tokens, normaliser, split pattern and merges to ids, and an answer's ids back to text, as the reference's. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "engine/detok.h"
#include "engine/text.h"
#include "model/model.h"
#include "tests/model/golden.c"
#include "tests/model/tested.h"
#include "tests/suite.h"

struct published {
    struct text text;
    json_t *chats, *golden;    /* owned: chats.json, golden.json */
    char    dir[64];
};

static json_t *load(const struct published *p, const char *name)
{
    char path[128];
    json_error_t why;
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    json_t *root = json_load_file(path, 0, &why);
    ck_assert_msg(root != NULL, "%s: %s", path, why.text);
    return root;
}

/* The checkpoint's text as the server opens it: the model says what stands for images. */
static void open_published(struct published *p, const char *family)
{
    struct err e;
    snprintf(p->dir, sizeof p->dir, "tests/model/%s/published", family);
    struct model *m = model_open(p->dir, &(struct model_options){ .backend = &backend_ref }, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    ck_assert_msg(text_open(&p->text, p->dir, NULL, "auto", m->image_token, m->image_mark, &e) == 0, "%s", e.text);
    model_close(m);
    p->chats = load(p, "chats.json");
    p->golden = load(p, "golden.json");
}

static void close_published(struct published *p)
{
    text_close(&p->text);
    json_decref(p->chats);
    json_decref(p->golden);
}

static const char *spelled(const struct published *p, int id)
{
    const char *text = id < 0 ? NULL : tokenizer_token(p->text.tokenizer, id);
    return text ? text : "(none)";
}

/* Fails at the first id that is another one, and says what text stands there. */
static void check_ids(const struct published *p, const char *what, const struct ids *have, const json_t *want)
{
    for (size_t i = 0; i < have->n || i < json_array_size(want); i++) {
        int should = i < json_array_size(want) ? (int)json_integer_value(json_array_get(want, i)) : -1;
        int is = i < have->n ? have->id[i] : -1;
        ck_assert_msg(is == should, "%s, %s: token %zu is %d %s, not %d %s", p->dir, what, i, is, spelled(p, is),
                      should, spelled(p, should));
    }
}

/* Renders the request as the engine does, with its tools and what it gives the template, and compares the prompt's ids;
 * places of images are one token each, as nobody has looked at a picture yet. */
static void check_chat(const struct published *p, const json_t *chat, const json_t *want)
{
    struct tokenizer *t = p->text.tokenizer;
    const char *name = json_string_value(json_object_get(chat, "name"));
    struct chat request = { .messages = json_object_get(chat, "messages"), .tools = json_object_get(chat, "tools"),
                            .template_kwargs = json_object_get(chat, "chat_template_kwargs") };
    struct rendering r;
    struct ids ids = { 0 };
    struct err e;
    ck_assert_msg(text_render(&p->text, &request, &r, &e) == 0, "%s, %s: %s", p->dir, name, e.text);
    ck_assert_msg(tokenizer_encode_chat(t, r.text, r.from, r.n, false, &ids, &e) == 0, "%s: %s", p->dir, e.text);
    check_ids(p, name, &ids, want);
    ids_free(&ids);
    rendering_free(&r);
}

/* Whoever wrote them: by our rule, and as the reference where all is trusted. */
START_TEST(test_chats)
{
    struct published p;
    json_t *chat;
    size_t i, differ = 0;
    open_published(&p, families_tested[_i]);
    json_array_foreach(json_object_get(p.chats, "chats"), i, chat) {
        json_t *ids = json_object_get(chat, "ids"), *trusting = json_object_get(chat, "trusting");
        p.text.trust_special_tokens = false;
        check_chat(&p, chat, ids);
        p.text.trust_special_tokens = true;
        check_chat(&p, chat, trusting ? trusting : ids);
        differ += trusting != NULL;
    }
    ck_assert_uint_ge(i, 10);
    ck_assert_uint_eq(differ, 2);
    close_published(&p);
}
END_TEST

START_TEST(test_texts)
{
    struct published p;
    json_t *row;
    size_t i;
    open_published(&p, families_tested[_i]);
    json_array_foreach(json_object_get(p.chats, "texts"), i, row) {
        struct ids ids = { 0 };
        struct err e;
        json_t *v = json_object_get(row, "text");
        const char *text = json_string_value(v);
        ck_assert_msg(tokenizer_encode(p.text.tokenizer, text, json_string_length(v), true, &ids, &e) == 0, "%s",
                      e.text);
        check_ids(&p, text, &ids, json_object_get(row, "ids"));
        ids_free(&ids);
    }
    ck_assert_uint_ge(i, 8);
    close_published(&p);
}
END_TEST

/* Takes an answer token by token: what is sent is whole characters at any time, and in all the text of the whole. */
static void check_stream(const struct published *p, const int32_t *ids, int n, const struct buf *whole)
{
    struct params params = { .max_tokens = n };
    struct detok d;
    struct buf sent;
    buf_init(&sent, 1 << 16);
    ck_assert(detok_init(&d, p->text.tokenizer, &params) == 0);
    for (int i = 0; i < n; i++) {
        size_t before = sent.len;
        ck_assert(detok_add(&d, ids[i], &sent) == NULL);
        json_t *piece = json_stringn(sent.len > before ? sent.data + before : "", sent.len - before);
        ck_assert_msg(piece != NULL, "%s: not whole characters after token %d", p->dir, i);
        json_decref(piece);
    }
    detok_end(&d, &sent);
    /* A space that is stripped where a text begins stays: the prompt comes before. */
    size_t space = sent.len == whole->len + 1 && *sent.data == ' ';
    ck_assert_msg(sent.len - space == whole->len && !memcmp(sent.data + space, whole->data, whole->len),
                  "%s: \"%s\" was sent, not \"%s\"", p->dir, sent.data, whole->data);
    detok_free(&d);
    buf_free(&sent);
}

START_TEST(test_answer)
{
    struct published p;
    struct golden golden;
    struct buf whole;
    struct err e;
    int n;
    open_published(&p, families_tested[_i]);
    golden_open(&golden, p.dir);
    int32_t *ids = golden_ints(&golden, "greedy", 0, &n);
    const json_t *want = json_object_get(p.golden, "text");
    buf_init(&whole, 1 << 16);
    ck_assert_msg(tokenizer_decode(p.text.tokenizer, ids, (size_t)n, true, &whole, &e) == 0, "%s", e.text);
    ck_assert_msg(whole.len == json_string_length(want) && !memcmp(whole.data, json_string_value(want), whole.len),
                  "%s: \"%s\", not \"%s\"", p.dir, whole.data, json_string_value(want));
    check_stream(&p, ids, n, &whole);
    buf_free(&whole);
    free(ids);
    weights_close(golden.file);
    close_published(&p);
}
END_TEST

int main(void)
{
    log_set_level(LOG_ERROR);
    Suite *s = suite_create("published");
    TCase *t = tcase_create("published");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_chats, 0, N_FAMILIES_TESTED);
    tcase_add_loop_test(t, test_texts, 0, N_FAMILIES_TESTED);
    tcase_add_loop_test(t, test_answer, 0, N_FAMILIES_TESTED);
    suite_add_tcase(s, t);
    return suite_run(s);
}
