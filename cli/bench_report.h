/* cli/bench_report.h - what `openautoglm bench` has measured, as a table for people and as JSON for programs. */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H
#include <jansson.h>
#include <stdio.h>

#include "cli/stream.h"

enum { BENCH_FAULTS = 16 };    /* different errors that are told apart */

struct series { float *v; size_t n, cap; };        /* owned; seconds */

struct measured {
    struct series ttft, tpot, itl, e2e;
    long   completed, failed;
    long   prompt_tokens, completion_tokens;
    bool   counted;            /* false: some answers came without usage, and their pieces were counted as tokens */
    double seconds;            /* from the first request to the end of the last */
    struct { char text[160]; long n; } fault[BENCH_FAULTS];    /* the last one stands for all others */
    int    n_faults;
};

void measured_add(struct measured *m, const struct stream_answer *a, double now);
void measured_fail(struct measured *m, const char *why);
void measured_free(struct measured *m);

void measured_print(struct measured *m, FILE *out);
json_t *measured_json(struct measured *m);

#endif
