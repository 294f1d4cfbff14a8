/* selftest/golden.h - one golden case of `openautoglm selftest`, and how
 * its lines look. */
#ifndef SELFTEST_GOLDEN_H
#define SELFTEST_GOLDEN_H
#include <stdbool.h>

struct model; /* model/model.h */

struct report { int failed; };       /* stages that were not ok */

/* One line: ok or FAIL, the stage, and the numbers. */
void report_say(struct report *r, bool ok, const char *stage, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The golden.safetensors in `dir` against the model that it belongs to: a line per stage, or one that says why the file
 * cannot be used. */
void golden_run(struct report *r, const struct model *m, const char *dir);

#endif
