/* tokenizer/replace.c - see replace.h. */
#include "tokenizer/replace.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/fields.h"

/* The pattern, and what stands in place of its matches. */
struct replace {
    struct pattern pattern;
    char  *content; /* owned */
    size_t content_len;
};

/* Reads the field "pattern" of o. An empty literal becomes an empty expression: both match everywhere, and
 * search_next() needs a literal that is not empty. */
int pattern_parse(struct pattern *p, const json_t *o, const char *where, struct err *e)
{
    const char *s;
    size_t n;
    bool is_regex;
    memset(p, 0, sizeof *p);
    if (field_pattern(o, where, &s, &n, &is_regex, e) < 0)
        return -1;
    if (is_regex || !n) {
        p->regex = regex_compile(s, n, e);
        return p->regex ? 0 : err_prefix(e, "%s.pattern", where);
    }
    p->literal = xmalloc(n + 1);
    memcpy(p->literal, s, n + 1);
    p->literal_len = n;
    return 0;
}

void pattern_free(struct pattern *p)
{
    regex_free(p->regex);
    free(p->literal);
    memset(p, 0, sizeof *p);
}

struct search pattern_search(const struct pattern *p)
{
    return (struct search){ p->regex, p->literal, p->literal_len, 0, SIZE_MAX };
}

/* A literal is searched for byte by byte: in valid UTF-8 it cannot match inside a character. A regular expression may
 * match nothing at all; such a match right behind the last one does not count, and the search goes on a character
 * further. */
int search_next(struct search *f, struct regex_match *m, const char *s, size_t n, size_t *start, size_t *end,
                struct err *e)
{
    if (!f->regex) {
        const char *hit = f->from < n ? memmem(s + f->from, n - f->from, f->literal, f->literal_len) : NULL;
        if (!hit)
            return 0;
        *start = (size_t)(hit - s);
        *end = f->from = *start + f->literal_len;
        return 1;
    }
    while (f->from <= n) {
        int rc = regex_find(f->regex, m, s, n, f->from, start, end, e);
        if (rc <= 0)
            return rc;
        if (*start == *end && f->last == *end) {
            int len = 1;
            if (f->from < n)
                utf8_get(s + f->from, n - f->from, &len);
            f->from += (size_t)len;
            continue;
        }
        f->from = f->last = *end;
        return 1;
    }
    return 0;
}

/* Reads "pattern" and "content". Returns NULL on failure, with the error set. */
struct replace *replace_new(const json_t *o, const char *where, struct err *e)
{
    const char *s;
    struct replace *r = xcalloc(1, sizeof *r);
    if (pattern_parse(&r->pattern, o, where, e) < 0 ||
        field_string(o, where, "content", &s, &r->content_len, e) < 0) {
        replace_free(r);
        return NULL;
    }
    r->content = xmalloc(r->content_len + 1);
    memcpy(r->content, s, r->content_len + 1);
    return r;
}

void replace_free(struct replace *r)
{
    if (!r)
        return;
    pattern_free(&r->pattern);
    free(r->content);
    free(r);
}

/* Copies the input of w with every match replaced. An empty input stays empty, as in the reference. Each match is
 * charged to the effort, as a match may be empty and yet cost a search. */
int replace_run(const struct replace *r, struct rewrite *w, struct regex_match *match, struct err *e)
{
    enum { MATCH = 16 };           /* a search costs as much as so many bytes */
    struct search f = pattern_search(&r->pattern);
    size_t done = 0, start, end;
    int rc = 0;
    while (w->n && (rc = search_next(&f, match, w->in, w->n, &start, &end, e)) == 1) {
        if (!effort_spend(w->out->effort, MATCH))
            return effort_error(e);
        rewrite_copy(w, done, start);
        rewrite_for(w, r->content, r->content_len, start, end);
        done = end;
    }
    rewrite_copy(w, done, w->n);
    return rc;
}
