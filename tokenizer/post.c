/* tokenizer/post.c - see post.h.
 *
 * Every post-processor becomes a template: the ids of special tokens around those of the text. One that only moves
 * offsets becomes nothing. */
#include "tokenizer/post.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/fields.h"
#include "tokenizer/text.h"
#include "tokenizer/vocab.h"

/* Part of a template: the text's ids, or one special token. */
struct part {
    bool    text;
    int32_t id;
};

/* What one post-processor puts around the text. Templates run one after the other; each takes what the last one
 * made. */
struct template {
    struct part *part; /* owned, (n) */
    size_t n, cap;
};

struct post {
    struct template *template; /* owned, (n), in the order in which they run */
    size_t n, cap;
};

enum { MAX_PARTS = 1024, MAX_TEMPLATES = 16, MAX_DEPTH = 8 };

/* Appends a part to the template: the text, or the special token `id`. */
static void add_part(struct template *t, bool text, int64_t id)
{
    xgrow(&t->part, &t->cap, t->n + 1, sizeof *t->part);
    t->part[t->n++] = (struct part){ text, (int32_t)id };
}

/* Appends an empty template. The pointer is good until the next call. */
static struct template *add_template(struct post *p)
{
    xgrow(&p->template, &p->cap, p->n + 1, sizeof *p->template);
    memset(&p->template[p->n], 0, sizeof *p->template);
    return &p->template[p->n++];
}

/* Reads the id of a pair such as ["[CLS]", 101] in the field `name`. */
static int token_pair(const json_t *o, const char *where, const char *name, int64_t *id, struct err *e)
{
    json_t *pair;
    if (field_array(o, where, name, &pair, e) < 0)
        return -1;
    const json_t *v = json_array_get(pair, 1);
    if (!json_is_string(json_array_get(pair, 0)) || !json_is_integer(v) || json_array_size(pair) != 2)
        return err_set(e, "%s.%s: expected [\"token\", id]", where, name);
    *id = json_integer_value(v);
    return *id < 0 || *id > VOCAB_MAX_ID ? err_set(e, "%s.%s: the id is out of range", where, name) : 0;
}

/* BertProcessing and RobertaProcessing put one token in front of the text and one behind it. */
static int parse_bert(struct post *p, const json_t *o, const char *where, struct err *e)
{
    int64_t cls, sep;
    if (token_pair(o, where, "cls", &cls, e) < 0 || token_pair(o, where, "sep", &sep, e) < 0)
        return -1;
    struct template *t = add_template(p);
    add_part(t, false, cls);
    add_part(t, true, -1);
    add_part(t, false, sep);
    return 0;
}

/* Adds the ids of the special token that a template names; special_tokens (`tokens`) says which these are. */
static int add_special(struct template *t, const json_t *tokens, const char *name, const char *where, struct err *e)
{
    json_t *ids;
    char at[PATH_MAX_LEN];
    const json_t *token = json_object_get(tokens, name);
    if (!token)
        return err_set(e, "%s: special_tokens has no \"%.60s\"", where, name);
    path_join(at, where, "special_tokens", -1);
    if (field_array(token, at, "ids", &ids, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *v = json_array_get(ids, i);
        int64_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id > VOCAB_MAX_ID)
            return err_set(e, "%s: an id of \"%.60s\" is not one", at, name);
        if (t->n >= MAX_PARTS)
            return err_set(e, "%s: the template is too long", where);
        add_part(t, false, id);
    }
    return 0;
}

/* TemplateProcessing: reads the template for one text, "single". A template for two texts is never needed here, and
 * so the sequence "B" is an error. */
static int parse_template(struct post *p, const json_t *o, const char *where, struct err *e)
{
    json_t *single, *tokens;
    char at[PATH_MAX_LEN];
    if (field_array(o, where, "single", &single, e) < 0 || field_object(o, where, "special_tokens", &tokens, e) < 0)
        return -1;
    struct template *t = add_template(p);
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i), *sequence = json_object_get(piece, "Sequence"),
                     *special = json_object_get(piece, "SpecialToken");
        const char *id;
        size_t n;
        path_join(at, where, "single", (long)i);
        if (!sequence == !special)
            return err_set(e, "%s: expected {\"Sequence\": ...} or {\"SpecialToken\": ...}", at);
        if (field_string(sequence ? sequence : special, at, "id", &id, &n, e) < 0)
            return -1;
        if (sequence && strcmp(id, "A"))
            return err_set(e, "%s: a template for one text has no sequence \"%.60s\"", at, id);
        if (t->n >= MAX_PARTS)
            return err_set(e, "%s: the template is too long", where);
        if (sequence)
            add_part(t, true, -1);
        else if (add_special(t, tokens, id, where, e) < 0)
            return -1;
    }
    return 0;
}

/* Adds the templates of one post-processor of the file to p. `depth` and the number of templates bound what a file
 * may nest. `where` is the place in the file, for messages. */
static int parse(struct post *p, const json_t *o, const char *where, int depth, struct err *e)
{
    static const char *const words[] = { "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel",
                                         "Sequence" };
    int type;
    json_t *list;
    char at[PATH_MAX_LEN];
    if (!json_is_object(o))
        return err_set(e, "%s: expected an object", where);
    if (depth > MAX_DEPTH || p->n >= MAX_TEMPLATES)
        return err_set(e, "%s: too many post-processors", where);
    if (field_word(o, where, "type", words, 5, &type, e) < 0)
        return -1;
    if (type == 0)
        return parse_template(p, o, where, e);
    if (type == 1 || type == 2)
        return parse_bert(p, o, where, e);
    if (type == 3)
        return 0; /* only offsets, which we do not keep */
    if (field_array(o, where, "processors", &list, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        path_join(at, where, "processors", (long)i);
        if (parse(p, json_array_get(list, i), at, depth + 1, e) < 0)
            return -1;
    }
    return 0;
}

struct post *post_new(const json_t *spec, struct err *e)
{
    struct post *p = xcalloc(1, sizeof *p);
    if (spec && !json_is_null(spec) && parse(p, spec, "post_processor", 0, e) < 0) {
        post_free(p);
        return NULL;
    }
    return p;
}

void post_free(struct post *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        free(p->template[i].part);
    free(p->template);
    free(p);
}

/* Replaces the ids from `from` on by the template with them in it. `special`: with the special tokens. A template may
 * hold the text more than once: `most` is how many ids it may make. */
static int run_template(const struct template *t, struct ids *out, size_t from, bool special, size_t most,
                        struct err *e)
{
    size_t n = out->n - from;
    int32_t *text = malloc((n + 1) * sizeof *text);
    int rc = text ? 0 : err_memory(e);
    if (text && n)
        memcpy(text, out->id + from, n * sizeof *text);
    out->n = from;
    for (size_t k = 0; k < t->n && rc == 0; k++) {
        size_t more = t->part[k].text ? n : special;
        if (more > most - (out->n - from))
            rc = effort_error(e);
        else if (grow(&out->id, &out->cap, out->n + more, sizeof *out->id) < 0)
            rc = err_memory(e);
        else if (more)
            memcpy(out->id + out->n, t->part[k].text ? text : &t->part[k].id, more * sizeof *text);
        out->n += rc == 0 ? more : 0;
    }
    free(text);
    return rc;
}

/* The bound on the number of ids is derived from the text's own ids once, so that templates that repeat the text
 * cannot multiply each other without end. */
int post_run(const struct post *p, struct ids *out, size_t from, bool special, struct err *e)
{
    enum { GROWTH = 4, SPARE = 1 << 16 };
    size_t most = GROWTH * (out->n - from) + SPARE;
    int rc = 0;
    for (size_t i = 0; i < p->n && rc == 0; i++)
        rc = run_template(&p->template[i], out, from, special, most, e);
    return rc;
}
