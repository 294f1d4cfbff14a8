/* cli/findings.c - the list behind `openautoglm doctor`. See findings.h. */
#include "cli/findings.h"

#include <stdarg.h>

#include "base/wrap.h"

enum { NAME_COLUMN = 7, TEXT_COLUMN = 24 };

const char *verdict_name(enum verdict v)
{
    static const char *const name[] = { "ok", "note", "warn", "fail" };
    return name[v];
}

void findings_init(struct findings *f)
{
    *f = (struct findings){ .list = json_array() };
}

void findings_free(struct findings *f)
{
    json_decref(f->list);
    f->list = NULL;
}

/* Bytes of a text that are no UTF-8 (of a folder's name) would make jansson refuse it: then there is no text. */
void finding(struct findings *f, enum verdict v, const char *name, json_t *values, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    json_t *text = json_vsprintf(fmt, ap);
    va_end(ap);
    if (!text)
        text = json_string("?");
    if (!values)
        values = json_object();
    json_array_append_new(f->list, json_pack("{s:s, s:s, s:o, s:o}", "name", name, "verdict", verdict_name(v), "text",
                                             text, "values", values));
    f->worst = v > f->worst ? v : f->worst;
}

/* A line for each finding: verdict, name, and the text, which is broken between words. */
void findings_print(const struct findings *f, FILE *out)
{
    size_t  i;
    json_t *one;
    json_array_foreach(f->list, i, one) {
        fprintf(out, "%-*s%-*s", NAME_COLUMN, json_string_value(json_object_get(one, "verdict")),
                TEXT_COLUMN - NAME_COLUMN, json_string_value(json_object_get(one, "name")));
        wrap_print(out, json_string_value(json_object_get(one, "text")), TEXT_COLUMN, TEXT_COLUMN);
    }
}
