/* cli/findings.h - what was looked at and what was found, one verdict each, for people or for programs.
 *
 *     struct findings f;
 *     findings_init(&f);
 *     finding(&f, VERDICT_OK, "memory", json_pack("{s:I}", "bytes", n), "%.1f GiB", gib);
 *     findings_print(&f, stdout);
 *     findings_free(&f); */
#ifndef CLI_FINDINGS_H
#define CLI_FINDINGS_H
#include <jansson.h>
#include <stdio.h>

enum verdict {
    VERDICT_OK,                /* as it should be                                   */
    VERDICT_NOTE,              /* worth knowing, and no reason to change anything   */
    VERDICT_WARN,              /* it works, but less well than it could             */
    VERDICT_FAIL,              /* it does not work                                  */
};

struct findings {
    json_t      *list;         /* owned: [{"name", "verdict", "text", "values"}, ...] */
    enum verdict worst;
};

void findings_init(struct findings *f);
void findings_free(struct findings *f);

/* Adds a line. `values` is what programs read, an object that becomes the list's; NULL: nothing beside the text. */
void finding(struct findings *f, enum verdict v, const char *name, json_t *values, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* A line each, below 100 columns. */
void findings_print(const struct findings *f, FILE *out);
const char *verdict_name(enum verdict v);

#endif
