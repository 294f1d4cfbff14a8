/* cli/bench_report.c - see bench_report.h. Percentiles are the value at rank ceil(p n), so that each of them was
 * measured. */
#include "cli/bench_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct { const char *name; double p; } points[] = {
    { "p50", .5 }, { "p90", .9 }, { "p95", .95 }, { "p99", .99 }, { "max", 1 },
};
enum { N_POINTS = sizeof points / sizeof *points };

static void series_add(struct series *s, double v)
{
    if (grow(&s->v, &s->cap, s->n + 1, sizeof *s->v) == 0)
        s->v[s->n++] = (float)v;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void series_sort(struct series *s)
{
    if (s->n > 0)
        qsort(s->v, s->n, sizeof *s->v, compare_floats);
}

/* Of a sorted series that is not empty. */
static double percentile(const struct series *s, double p)
{
    size_t rank = (size_t)ceil(p * (double)s->n);
    return (double)s->v[rank > 0 ? rank - 1 : 0];
}

static double mean(const struct series *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += (double)s->v[i];
    return sum / (double)s->n;
}

/* Time to the first piece, time for each token after it, gaps between pieces, and all of it. */
void measured_add(struct measured *m, const struct stream_answer *a, double now)
{
    int tokens = a->completion_tokens >= 0 ? a->completion_tokens : a->pieces;
    if (m->completed == 0)
        m->counted = true;
    m->completed++;
    m->counted &= a->completion_tokens >= 0;
    m->completion_tokens += tokens;
    m->prompt_tokens += a->prompt_tokens > 0 ? a->prompt_tokens : 0;
    series_add(&m->e2e, now - a->began);
    if (a->pieces == 0)
        return;
    series_add(&m->ttft, a->first - a->began);
    if (tokens > 1)
        series_add(&m->tpot, (a->last - a->first) / (tokens - 1));
    for (size_t i = 0; i < a->n_gaps; i++)
        series_add(&m->itl, (double)a->gap[i]);
}

/* Counts a failure under its reason. The reasons come from servers: they are made harmless, and beyond BENCH_FAULTS of
 * them the others share one line. */
void measured_fail(struct measured *m, const char *why)
{
    int  i = 0;
    char text[sizeof m->fault[0].text];
    snprintf(text, sizeof text, "%s", why);
    for (char *p = text; *p; p++)              /* a server's words must not do anything to a terminal */
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
            *p = '?';
    m->failed++;
    while (i < m->n_faults && strcmp(m->fault[i].text, text) != 0)
        i++;
    if (i == BENCH_FAULTS) {
        i--;
        snprintf(m->fault[i].text, sizeof m->fault[i].text, "other errors");
    }
    if (i == m->n_faults) {
        m->n_faults++;
        memcpy(m->fault[i].text, text, sizeof text);
    }
    m->fault[i].n++;
}

void measured_free(struct measured *m)
{
    free(m->ttft.v);
    free(m->tpot.v);
    free(m->itl.v);
    free(m->e2e.v);
}

struct line { const char *name, *title; struct series *s; };

#define LINES(m) { { "ttft_ms", "first piece", &(m)->ttft }, { "tpot_ms", "each token after it", &(m)->tpot }, \
                   { "itl_ms", "between two pieces", &(m)->itl }, { "e2e_ms", "whole answer", &(m)->e2e } }
enum { N_LINES = 4 };

static double per_second(const struct measured *m, double n) { return m->seconds > 0 ? n / m->seconds : 0; }

/* The report for people. Series without a value have no line. */
void measured_print(struct measured *m, FILE *out)
{
    const struct line lines[N_LINES] = LINES(m);
    fprintf(out, "  answered    %ld in %.2f s, %ld failed\n", m->completed, m->seconds, m->failed);
    fprintf(out, "  throughput  %.2f answers/s, %.1f tokens/s answered%s, %.1f tokens/s read\n\n",
            per_second(m, (double)m->completed), per_second(m, (double)m->completion_tokens),
            m->counted || m->completed == 0 ? "" : " (pieces counted)", per_second(m, (double)m->prompt_tokens));
    fprintf(out, "  %-20s %9s", "milliseconds", "mean");
    for (int k = 0; k < N_POINTS; k++)
        fprintf(out, " %9s", points[k].name);
    fputc('\n', out);
    for (int i = 0; i < N_LINES; i++) {
        series_sort(lines[i].s);
        if (lines[i].s->n == 0)
            continue;
        fprintf(out, "  %-20s %9.1f", lines[i].title, 1e3 * mean(lines[i].s));
        for (int k = 0; k < N_POINTS; k++)
            fprintf(out, " %9.1f", 1e3 * percentile(lines[i].s, points[k].p));
        fputc('\n', out);
    }
    if (m->n_faults > 0)
        fputs("\n  errors\n", out);
    for (int i = 0; i < m->n_faults; i++)
        fprintf(out, "  %6ld  %s\n", m->fault[i].n, m->fault[i].text);
}

static json_t *series_json(struct series *s)
{
    series_sort(s);
    if (s->n == 0)
        return json_null();
    json_t *out = json_pack("{s:I, s:f}", "count", (json_int_t)s->n, "mean", 1e3 * mean(s));
    for (int k = 0; k < N_POINTS; k++)
        json_object_set_new(out, points[k].name, json_real(1e3 * percentile(s, points[k].p)));
    return out;
}

/* The same for scripts; times are in milliseconds. */
json_t *measured_json(struct measured *m)
{
    const struct line lines[N_LINES] = LINES(m);
    json_t *faults = json_object();
    for (int i = 0; i < m->n_faults; i++)
        json_object_set_new(faults, m->fault[i].text, json_integer(m->fault[i].n));
    json_t *out = json_pack("{s:I, s:I, s:f, s:I, s:I, s:b, s:f, s:f, s:f, s:o}", "completed",
                            (json_int_t)m->completed, "failed", (json_int_t)m->failed, "seconds", m->seconds,
                            "prompt_tokens", (json_int_t)m->prompt_tokens, "completion_tokens",
                            (json_int_t)m->completion_tokens, "tokens_counted_by_server", m->counted,
                            "answers_per_second", per_second(m, (double)m->completed), "completion_tokens_per_second",
                            per_second(m, (double)m->completion_tokens), "prompt_tokens_per_second",
                            per_second(m, (double)m->prompt_tokens), "errors", faults);
    for (int i = 0; i < N_LINES; i++)
        json_object_set_new(out, lines[i].name, series_json(lines[i].s));
    return out;
}
