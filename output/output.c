/* output/output.c - from text to content, thoughts and calls.
 *
 * What comes is added to `held` and taken from its beginning as soon as it is certain what it is: first the thoughts
 * are split off, then what is left is searched for calls. White space before a call, behind one and around thoughts
 * belongs to nobody: it is kept in `blank` until it is known what follows. */
#include <stdlib.h>
#include <string.h>

#include "output/format.h"

/* ---- what was found ---- */

bool output_ok(const struct output *o) { return !o->failed; }

static void fail(struct output *o, const struct buf *why)
{
    o->failed = true;
    o->starved |= !why || why->starved;
}

/* Appends to a part of the output; beyond its limit the whole output fails, since half an answer would look like a
 * whole one. */
static void take(struct output *o, struct buf *b, const char *s, size_t n)
{
    if (o->failed || n == 0)
        return;
    buf_add(b, s, n);
    if (!buf_ok(b))
        fail(o, b);
}

/* What the reader of places could not make room for fails like all else. */
static void check_grounding(struct output *o)
{
    if (!o->failed && (!buf_ok(&o->content) || !buf_ok(&o->boxes)))
        fail(o, buf_ok(&o->content) ? &o->boxes : &o->content);
}

/* Text of the answer itself; where places in the image are told apart, they leave it here. */
static void add_content(struct output *o, const char *s, size_t n)
{
    if (!o->grounding) {
        take(o, &o->content, s, n);
    } else if (!o->failed) {
        grounding_add(o->grounding, s, n, &o->content, &o->boxes);
        check_grounding(o);
    }
    o->content_begun |= n > 0;
}

/* Text between calls: white space at its end waits, since it is nobody's if a call follows. */
static void add_text(struct output *o, const char *s, size_t n)
{
    size_t end = n;
    while (end > 0 && is_blank(s[end - 1]))
        end--;
    if (end > 0 && o->blank.len > 0) {
        add_content(o, o->blank.data, o->blank.len);
        buf_clear(&o->blank);
    }
    add_content(o, s, end);
    take(o, &o->blank, s + end, n - end);
}

/* The entry of the call that is being read. */
static struct output_call *current(struct output *o)
{
    return &o->call[o->n_calls - 1];
}

void call_took(struct output *o, const char *s, size_t n) { take(o, &o->parser->raw, s, n); }

/* What was taken is a part of a call now, and where that is sent at once it will not become content any more. */
static void made_of_it(struct output *o)
{
    if (!o->options.whole)
        buf_clear(&o->parser->raw);
}

/* A call's name is known: from here on it exists for the client. Calls beyond OUTPUT_MAX_CALLS, or beyond the first
 * where only one may be made, are read to their end and dropped. Called once per call, by the parser of the format. */
void call_announce(struct output *o, const char *name, size_t n)
{
    struct call_parser *p = o->parser;
    if (o->failed)
        return;
    p->announced = true;
    made_of_it(o);
    p->ignored = (o->options.single && o->made > 0) || o->made == OUTPUT_MAX_CALLS;
    if (p->ignored)
        return;
    struct output_call *grown = realloc(o->call, ((size_t)o->n_calls + 1) * sizeof *grown);
    char *copy = grown ? strndup(name, n) : NULL;
    o->call = grown ? grown : o->call;
    if (!copy) {
        fail(o, NULL);
        return;
    }
    grown[o->n_calls++] = (struct output_call){ .index = o->made++, .name = copy };
    buf_init(&current(o)->arguments, o->options.max_bytes);
}

/* The parser hands on more of the current call's arguments, as JSON text. */
void call_argue(struct output *o, const char *s, size_t n)
{
    if (o->failed)
        return;
    made_of_it(o);
    if (!o->parser->ignored)
        take(o, &current(o)->arguments, s, n);
}

static void call_free(struct output_call *c)
{
    free(c->name);
    buf_free(&c->arguments);
}

/* ---- a call from its mark to its end ---- */

/* How many bytes before the first place where `mark` stands, or where it may have begun at the end of the text. *whole:
 * it stands there in full. */
size_t before_mark(const char *s, size_t n, const char *mark, bool *whole)
{
    size_t len = strlen(mark);
    const char *at = memmem(s, n, mark, len);
    *whole = at != NULL;
    if (at)
        return (size_t)(at - s);
    for (size_t k = len - 1 < n ? len - 1 : n; k > 0; k--)
        if (memcmp(s + n - k, mark, k) == 0)
            return n - k;
    return n;
}

/* Frees what the call has taken and keeps the buffers' limits. */
static void reset(struct call_parser *p)
{
    buf_free(&p->raw);
    buf_free(&p->name);
    buf_free(&p->key);
    buf_free(&p->value);
    struct buf raw = p->raw, name = p->name, key = p->key, value = p->value;
    *p = (struct call_parser){ .raw = raw, .name = name, .key = key, .value = value };
}

/* A mark has been read. What was held back before it belongs to the call now, should it turn out to be none. */
static void open_call(struct output *o, const char *mark, size_t n)
{
    struct call_parser *p = o->parser;
    p->open = true;
    call_took(o, o->blank.data ? o->blank.data : "", o->blank.len);
    call_took(o, mark, n);
    buf_clear(&o->blank);
}

/* It was no call after all, or stopped being one: what has not been made a part of it is text. */
static void spoil(struct output *o)
{
    struct call_parser *p = o->parser;
    if (p->announced && !p->ignored && o->options.whole && !o->failed) {
        call_free(current(o));
        o->n_calls--;
        o->made--;
    }
    if (p->raw.len > 0)
        add_text(o, p->raw.data, p->raw.len);
    reset(p);
}

/* Behind a complete call its closing mark may come, after white space; where it does not, the call counts all the
 * same: its JSON said where it ended. */
static size_t close_call(struct output *o, const char *s, size_t n, bool end)
{
    const char *close = o->options.tools->close;
    size_t i = 0, len = close ? strlen(close) : 0;
    while (close && i < n && is_blank(s[i]))
        i++;
    size_t k = n - i < len ? n - i : len;
    bool   fits = close && memcmp(s + i, close, k) == 0;
    if (fits && k < len && !end)
        return 0;                      /* the mark may still come */
    reset(o->parser);
    return fits && k == len ? i + len : 0;
}

/* Text inside a call, handed to the format's parser. Returns how much was used. A call that the parser gives up is
 * spoiled: its text is content after all. Where the parser's own buffers overflow, the whole output fails. */
static size_t read_call(struct output *o, const char *s, size_t n, bool end)
{
    struct call_parser *p = o->parser;
    size_t used = 0;
    if (p->closing)
        return close_call(o, s, n, end);
    enum step step = o->options.tools->step(o, s, n, &used, end);
    struct buf *parts[] = { &p->name, &p->key, &p->value };
    for (int i = 0; i < 3; i++)
        if (!buf_ok(parts[i]))
            fail(o, parts[i]);
    if (step == STEP_BAD)
        spoil(o);
    p->closing = step == STEP_DONE;
    return used;
}

/* ---- content ---- */

/* Where a call may begin without a mark: the first thing that is no white space is a brace, and nothing but calls was
 * there before. Between two such calls there may be a semicolon, which counts as white space. Says how many bytes were
 * taken; -1: this is no such place. */
static long bare_call(struct output *o, const char *s, size_t n)
{
    size_t i = 0;
    if (!o->options.tools->bare || o->content_begun)
        return -1;
    while (i < n && (is_blank(s[i]) || (s[i] == ';' && o->made > 0)))
        i++;
    if (i == n || s[i] == '{') {
        take(o, &o->blank, s, i);
        if (i < n)
            open_call(o, "", 0);
        return (long)i;
    }
    return -1;
}

/* Text outside of calls. As much as certainly belongs to no mark is content; the beginning of something that may become
 * a mark stays in `held` until more has come, or `end` says that nothing will. A format may also have calls without a
 * mark, which bare_call() looks for first. */
static size_t read_text(struct output *o, const char *s, size_t n, bool end)
{
    const struct tool_format *f = o->options.tools;
    if (!f) {
        add_content(o, s, n);
        return n;
    }
    long bare = bare_call(o, s, n);
    if (bare >= 0 && (bare > 0 || o->parser->open))
        return (size_t)bare;
    bool   whole = false;
    size_t before = before_mark(s, n, f->open, &whole);
    if (!whole && end)
        before = n;
    add_text(o, s, before);
    if (!whole)
        return before;
    open_call(o, f->open, strlen(f->open));
    return before + strlen(f->open);
}

/* ---- thoughts ---- */

/* Before it is known whether the model thinks: white space, and then the mark or something else. */
static size_t before_thoughts(struct output *o, const char *s, size_t n, bool end)
{
    const char *open = o->options.reasoning->open;
    size_t i = 0, len = strlen(open);
    while (i < n && is_blank(s[i]))
        i++;
    size_t k = n - i < len ? n - i : len;
    if (memcmp(s + i, open, k) != 0 || (k < len && end))
        o->thoughts = THOUGHTS_ENDED;  /* what is held is the answer's beginning */
    else if (k == len)
        o->thoughts = THOUGHTS_BEGIN;
    return k == len && o->thoughts == THOUGHTS_BEGIN ? i + len : 0;
}

static void add_thought(struct output *o, const char *s, size_t n)
{
    if (!o->options.hidden)
        take(o, &o->reasoning, s, n);
}

/* The text up to the closing mark, without the white space at both of its ends, and without that which follows the
 * mark. */
static size_t read_thoughts(struct output *o, const char *s, size_t n)
{
    const char *close = o->options.reasoning->close;
    bool   whole = false;
    size_t before = before_mark(s, n, close, &whole), end = before, from = 0;
    while (o->thoughts == THOUGHTS_BEGIN && from < before && is_blank(s[from]))
        from++;
    if (from < before)
        o->thoughts = THOUGHTS;
    while (end > from && is_blank(s[end - 1]))
        end--;
    if (end > from && o->blank.len > 0) {
        add_thought(o, o->blank.data, o->blank.len);
        buf_clear(&o->blank);
    }
    add_thought(o, s + from, end - from);
    take(o, &o->blank, s + end, before - end);
    if (!whole)
        return before;
    buf_clear(&o->blank);
    o->thoughts = THOUGHTS_OVER;
    return before + strlen(close);
}

/* ---- the door ---- */

/* Takes what is certain from the beginning of what is held. 0: nothing. */
static size_t advance(struct output *o, const char *s, size_t n, bool end)
{
    size_t i = 0;
    switch (o->thoughts) {
    case THOUGHTS_MAY_COME:
        return before_thoughts(o, s, n, end);
    case THOUGHTS_BEGIN:
    case THOUGHTS:
        return read_thoughts(o, s, n);
    case THOUGHTS_OVER:
        while (i < n && is_blank(s[i]))
            i++;
        o->thoughts = i < n ? THOUGHTS_ENDED : THOUGHTS_OVER;
        return i;
    case THOUGHTS_ENDED:
        break;
    }
    return o->parser && o->parser->open ? read_call(o, s, n, end) : read_text(o, s, n, end);
}

/* Everything that tells whether advance() has got anywhere without taking a byte. */
static int place(const struct output *o)
{
    const struct call_parser *p = o->parser;
    return (int)o->thoughts * 8 + (p && p->open) * 4 + (p && p->closing) * 2;
}

/* Takes text from `held` until nothing changes any more, neither the amount nor the place in the grammar of marks. The
 * rest moves to the front. One move at the end, instead of one per part, keeps a long answer linear. */
static void work(struct output *o, bool end)
{
    size_t at = 0;
    while (!o->failed && at < o->held.len) {
        int    was = place(o);
        size_t used = advance(o, o->held.data + at, o->held.len - at, end);
        at += used;
        if (used == 0 && was == place(o))
            break;
    }
    if (at > 0) {
        memmove(o->held.data, o->held.data + at, o->held.len - at);
        o->held.len -= at;
    }
}

/* Buffers of at most max_bytes each. Where the template has begun the thoughts already (`begun`), the answer starts
 * within them; otherwise they may come or not. output_free() is due also after -1. */
int output_init(struct output *o, const struct output_options *options, struct err *e)
{
    *o = (struct output){ .options = *options };
    struct buf *all[] = { &o->content, &o->reasoning, &o->held, &o->blank, &o->boxes };
    for (int i = 0; i < 5; i++)
        buf_init(all[i], options->max_bytes);
    if (options->grounded && !(o->grounding = malloc(sizeof *o->grounding)))
        return err_memory(e);
    if (o->grounding)
        grounding_init(o->grounding);
    o->thoughts = THOUGHTS_ENDED;
    if (options->reasoning)
        o->thoughts = options->begun ? THOUGHTS_BEGIN : THOUGHTS_MAY_COME;
    o->parser = options->tools ? calloc(1, sizeof *o->parser) : NULL;
    if (options->tools && !o->parser)
        return err_memory(e);
    for (int i = 0; i < 4 && o->parser; i++) {
        struct call_parser *p = o->parser;
        struct buf *parts[] = { &p->raw, &p->name, &p->key, &p->value };
        buf_init(parts[i], options->max_bytes);
    }
    return 0;
}

void output_free(struct output *o)
{
    struct buf *all[] = { &o->content, &o->reasoning, &o->held, &o->blank, &o->boxes };
    for (int i = 0; i < 5; i++)
        buf_free(all[i]);
    if (o->grounding)
        grounding_free(o->grounding);
    free(o->grounding);
    for (int i = 0; i < o->n_calls; i++)
        call_free(&o->call[i]);
    free(o->call);
    if (o->parser)
        reset(o->parser);
    free(o->parser);
    *o = (struct output){ 0 };
}

void output_echo(struct output *o, const char *s, size_t n) { take(o, &o->content, s, n); }

void output_add(struct output *o, const char *s, size_t n)
{
    take(o, &o->held, s, n);
    work(o, false);
}

/* What is still held cannot become a mark any more, and a call that is not complete never will be. */
void output_end(struct output *o)
{
    struct call_parser *p = o->parser;
    work(o, true);
    if (p && p->open && !p->closing) {
        spoil(o);
        work(o, true);
    }
    void (*add)(struct output *, const char *, size_t) = add_content;
    if (o->thoughts == THOUGHTS || o->thoughts == THOUGHTS_BEGIN)
        add = add_thought;
    if (add == add_thought || o->made == 0)
        add(o, o->blank.data ? o->blank.data : "", o->blank.len);
    add(o, o->held.data ? o->held.data : "", o->held.len);
    if (o->grounding && !o->failed) {
        grounding_end(o->grounding, &o->content);
        check_grounding(o);
    }
    buf_clear(&o->held);
    buf_clear(&o->blank);
}

/* Whether the client has something to be told since the last time. */
bool output_has_news(const struct output *o)
{
    bool news = o->content.len > 0 || o->reasoning.len > 0 || o->boxes.len > 0;
    for (int i = 0; i < o->n_calls; i++)
        news |= !o->call[i].told || o->call[i].arguments.len > 0;
    return news;
}

/* Memory that the output holds now, for the count of what waits for clients. */
size_t output_bytes(const struct output *o)
{
    size_t n = o->content.len + o->reasoning.len + o->held.len + o->blank.len + o->boxes.len;
    n += o->grounding ? grounding_bytes(o->grounding) : 0;
    for (int i = 0; i < o->n_calls; i++)
        n += o->call[i].arguments.len + OUTPUT_MAX_NAME;
    const struct call_parser *p = o->parser;
    return n + (p ? p->raw.len + p->key.len + p->value.len : 0);
}

/* A call that is still being read keeps its place; only its new arguments have to be told from now on. Buffers give
 * back what a large piece took. */
void output_sent(struct output *o)
{
    enum { KEPT = 64 << 10 };
    const struct call_parser *p = o->parser;
    bool goes_on = p && p->announced && !p->ignored && o->n_calls > 0;
    buf_reuse(&o->content, KEPT);
    buf_reuse(&o->reasoning, KEPT);
    buf_reuse(&o->boxes, KEPT);
    for (int i = 0; i < o->n_calls - goes_on; i++)
        call_free(&o->call[i]);
    if (goes_on) {
        o->call[0] = *current(o);
        o->call[0].told = true;
        buf_reuse(&o->call[0].arguments, KEPT);
    }
    o->n_calls = goes_on;
}

int output_error(const struct output *o, struct err *e)
{
    if (o->starved)
        return err_memory(e);
    return err_set(e, "the answer is too long");
}
