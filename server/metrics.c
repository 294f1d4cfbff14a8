/* server/metrics.c - GET /metrics, the Prometheus text format.
 *
 * Our own names (openautoglm_...) and, for routers and dashboards made for
 * vLLM, its names for the same figures: the current ones and the old gpu_*. */
#include "server/metrics.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/handlers.h"
#include "server/routes.h"

static const int statuses[] = { 200, 204, 304, 400, 401, 404, 405, 413, 414, 415, 429, 431, 499, 500, 503, 505 };
enum { N_STATUSES = sizeof statuses / sizeof *statuses };
_Static_assert((int)N_STATUSES < (int)APP_STATUSES, "struct app counts too few statuses");

/* Counts an answered request. Statuses that are not in the list share one row, "other". */
void metrics_count(struct app *a, int route, int status)
{
    int i = 0;
    while (i < N_STATUSES && statuses[i] != status)
        i++;
    atomic_fetch_add(&a->http_requests[route][i], 1);
}

/* ---- writing ---- */

/* The two lines that Prometheus wants before a figure. */
static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

struct figure {
    const char *own, *vllm;        /* names; vllm: "" if it has none    */
    const char *type;              /* "gauge" or "counter"              */
    const char *help;
    double      value;
};

/* One figure under vLLM's name, with the model's name as a label, as dashboards made for vLLM select by it. */
static void write_vllm(struct buf *out, const char *name, const char *type, const char *help, double value,
                       const char *label)
{
    char full[96];
    snprintf(full, sizeof full, "vllm:%s", name);
    head(out, full, type, help);
    buf_printf(out, "%s{model_name=\"%s\"} %.17g\n", full, label, value);
}

/* One figure under our own name, and under vLLM's if it has one. */
static void write_figure(struct buf *out, const struct figure *f, const char *label)
{
    char name[96];
    snprintf(name, sizeof name, "openautoglm_%s", f->own);
    head(out, name, f->type, f->help);
    buf_printf(out, "%s %.17g\n", name, f->value);
    if (*f->vllm)
        write_vllm(out, f->vllm, f->type, f->help, f->value, label);
}

/* A histogram in Prometheus' form: every bucket counts all that are no longer than its bound, so buckets only grow.
 * With a label the name is one of vLLM's, without it one of ours. */
static void write_histogram(struct buf *out, const char *name, const char *help, const struct histogram *h,
                            const double *bounds, const char *label)
{
    char labels[160] = "";
    if (*label)
        snprintf(labels, sizeof labels, "model_name=\"%s\",", label);
    head(out, name, "histogram", help);
    for (int i = 0; i < ENGINE_LATENCY_BUCKETS; i++)
        buf_printf(out, "%s_bucket{%sle=\"%.9g\"} %llu\n", name, labels, bounds[i],
                   (unsigned long long)h->bucket[i]);
    buf_printf(out, "%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, (unsigned long long)h->count);
    if (*label)
        snprintf(labels, sizeof labels, "{model_name=\"%s\"}", label);
    buf_printf(out, "%s_sum%s %.9g\n%s_count%s %llu\n", name, labels, h->sum, name, labels,
               (unsigned long long)h->count);
}

/* The model's name as a label value. */
static void label_of(const struct app *a, char *out, size_t size)
{
    size_t n = 0;
    for (const char *p = app_model_name(a); *p && n + 3 < size; p++) {
        if (*p == '"' || *p == '\\')
            out[n++] = '\\';
        out[n++] = *p == '\n' ? ' ' : *p;
    }
    out[n] = '\0';
}

/* ---- the figures ---- */

/* Memory that the process really holds, from /proc; 0 where that cannot be read. */
static double resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%lu %lu", &pages, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void write_tls(struct buf *out, struct tls *tls)
{
    head(out, "openautoglm_tls_handshakes_total", "counter", "Handshakes of TLS by their result.");
    for (int failed = 0; failed <= 1; failed++)
        buf_printf(out, "openautoglm_tls_handshakes_total{result=\"%s\"} %llu\n", failed ? "failed" : "done",
                   (unsigned long long)tls_handshakes(tls, failed));
    const struct figure end = { "tls_certificate_expiry_timestamp_seconds", "", "gauge",
                                "Unix time at which the certificate ends.", tls_expires(tls) };
    write_figure(out, &end, "");
}

/* Figures of the HTTP side, which exist before the model is loaded. Routes and statuses that nobody asked for are left
 * out, as most pairs never occur. The counters are read one by one while requests go on, so two of them may differ by
 * a request. */
static void write_http(struct buf *out, struct app *a)
{
    head(out, "openautoglm_http_requests_total", "counter",
         "Requests by route and status (499: the client went away).");
    for (int r = 0; r <= n_routes; r++)
        for (int s = 0; s <= N_STATUSES; s++) {
            unsigned long long n = atomic_load(&a->http_requests[r][s]);
            char status[16] = "other";
            if (s < N_STATUSES)
                snprintf(status, sizeof status, "%d", statuses[s]);
            if (n)
                buf_printf(out, "openautoglm_http_requests_total{method=\"%s\",route=\"%s\",status=\"%s\"} %llu\n",
                           r < n_routes ? routes[r].method : "other", r < n_routes ? routes[r].path : "other", status,
                           n);
        }
    const struct figure figures[] = {
        { "http_connections", "", "gauge", "Open connections.", a->http ? http_connections(a->http) : 0 },
        { "http_busy", "", "gauge", "Those whose request is being answered.", a->http ? http_busy(a->http) : 0 },
        { "generations", "", "gauge", "Generations that hold a place, from admission to their end.",
          atomic_load(&a->inflight) },
        { "answer_bytes", "", "gauge", "Bytes of answers that wait for their clients.",
          (double)atomic_load(&a->answers.taken) },
        { "ready", "", "gauge", "1 when /ready is 200.", atomic_load(&a->state) == APP_READY },
        { "uptime_seconds", "", "gauge", "Since the start.", clock_seconds() - a->started },
        { "resident_bytes", "", "gauge", "Memory of the process.", resident_bytes() },
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        write_figure(out, &figures[i], "");
    if (a->tls)
        write_tls(out, a->tls);
    if (a->keys)
        keys_metrics(a->keys, out);
}

/* Counts of the engine, each under our name and, where vLLM has the same figure, under its name as well. The three old
 * gpu_ names and the block size are for routers that still ask for them. */
static void write_counts(struct buf *out, const struct engine_stats *s, const char *label)
{
    const struct figure figures[] = {
        { "requests_running", "num_requests_running", "gauge", "Requests being computed.", s->running },
        { "requests_waiting", "num_requests_waiting", "gauge", "Requests waiting to be computed.", s->waiting },
        { "kv_used_ratio", "kv_cache_usage_perc", "gauge",
          "Share of the KV pages in use, 0 to 1; where layers with a window have their own, of the fuller cache.",
          s->kv_used },
        { "kv_pages", "", "gauge", "KV pages of all caches.", s->kv_pages },
        { "kv_pages_used", "", "gauge", "KV pages in use.", s->kv_pages_used },
        { "preemptions_total", "num_preemptions_total", "counter", "Requests put back for want of pages.",
          (double)s->preemptions },
        { "prompt_tokens_total", "prompt_tokens_total", "counter", "Tokens of prompts.", (double)s->prompt_tokens },
        { "completion_tokens_total", "generation_tokens_total", "counter", "Tokens generated.",
          (double)s->completion_tokens },
        { "cached_tokens_total", "prompt_tokens_cached_total", "counter", "Prompt tokens taken from the cache.",
          (double)s->cached_tokens },
        { "prefix_queries_total", "prefix_cache_queries_total", "counter", "Tokens looked up in the prefix cache.",
          (double)s->prefix_queries },
        { "prefix_hits_total", "prefix_cache_hits_total", "counter", "Tokens found there.", (double)s->prefix_hits },
        { "image_queries_total", "mm_cache_queries_total", "counter",
          "Images looked up in the cache of encoded images.", (double)s->image_queries },
        { "image_hits_total", "mm_cache_hits_total", "counter", "Images found there.", (double)s->image_hits },
        { "images_decoded_total", "", "counter", "Image files decoded.", (double)s->images_decoded },
        { "steps_total", "", "counter", "Steps of the engine.", (double)s->steps },
        { "steps_between_total", "", "counter", "Steps for others while an image was being encoded.",
          (double)s->steps_between },
        { "rejected_total", "", "counter", "Requests refused because the queue was full.", (double)s->rejected },
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        write_figure(out, &figures[i], label);
    write_vllm(out, "gpu_cache_usage_perc", "gauge", "Old name of kv_cache_usage_perc.", s->kv_used, label);
    write_vllm(out, "gpu_prefix_cache_queries_total", "counter", "Old name of prefix_cache_queries_total.",
               (double)s->prefix_queries, label);
    write_vllm(out, "gpu_prefix_cache_hits_total", "counter", "Old name of prefix_cache_hits_total.",
               (double)s->prefix_hits, label);
    buf_printf(out, "# TYPE vllm:cache_config_info gauge\n"
                    "vllm:cache_config_info{block_size=\"%d\",num_gpu_blocks=\"%d\",model_name=\"%s\"} 1\n",
               s->page_tokens, s->full_pages, label);
}

/* Requests by the reason why they ended, again in both forms; vLLM calls a cancelled one "abort". */
static void write_finished(struct buf *out, const struct engine_stats *s, const char *label)
{
    const struct { const char *reason, *vllm; uint64_t n; } row[] = {
        { "stop", "stop", s->finished_stop }, { "length", "length", s->finished_length },
        { "cancelled", "abort", s->finished_cancelled }, { "error", "error", s->finished_error },
    };
    head(out, "openautoglm_requests_finished_total", "counter", "Finished requests by reason.");
    for (int i = 0; i < 4; i++)
        buf_printf(out, "openautoglm_requests_finished_total{reason=\"%s\"} %llu\n", row[i].reason,
                   (unsigned long long)row[i].n);
    head(out, "vllm:request_success_total", "counter", "Finished requests by reason.");
    for (int i = 0; i < 4; i++)
        buf_printf(out, "vllm:request_success_total{finished_reason=\"%s\",model_name=\"%s\"} %llu\n", row[i].vllm,
                   label, (unsigned long long)row[i].n);
}

/* How long things took, and how large they were. Those that a NULL stands beside have no counterpart in vLLM. */
static void write_histograms(struct buf *out, const struct engine_stats *s, const char *label)
{
    const double *seconds = engine_latency_bounds, *counts = engine_count_bounds;
    const struct { const char *own, *vllm, *help; const struct histogram *h; const double *bounds; } row[] = {
        { "openautoglm_time_to_first_token_seconds", "vllm:time_to_first_token_seconds",
          "From submission to the first token.", &s->ttft, seconds },
        { "openautoglm_inter_token_latency_seconds", "vllm:inter_token_latency_seconds",
          "Between two tokens of a request.", &s->inter_token, seconds },
        { "openautoglm_request_time_per_output_token_seconds", "vllm:request_time_per_output_token_seconds",
          "From the first token of a request to its last, by the tokens between.", &s->per_token, seconds },
        { "openautoglm_e2e_request_latency_seconds", "vllm:e2e_request_latency_seconds",
          "From submission to the last token.", &s->e2e, seconds },
        { "openautoglm_request_queue_time_seconds", "vllm:request_queue_time_seconds",
          "From submission to the first step.", &s->queue, seconds },
        { "openautoglm_request_prefill_time_seconds", "vllm:request_prefill_time_seconds",
          "From the first step to the first token, without the encoding of images.", &s->prefill, seconds },
        { "openautoglm_request_decode_time_seconds", "vllm:request_decode_time_seconds",
          "From the first token to the last.", &s->decode, seconds },
        { "openautoglm_request_inference_time_seconds", "vllm:request_inference_time_seconds",
          "From the first step to the last token.", &s->inference, seconds },
        { "openautoglm_image_decode_seconds", NULL, "Decoding and resizing of an image.", &s->image_decode, seconds },
        { "openautoglm_image_encode_seconds", NULL, "The vision encoder, per image.", &s->image_encode, seconds },
        { "openautoglm_step_seconds", NULL, "One step of the engine.", &s->step, seconds },
        { "openautoglm_step_tokens", "vllm:iteration_tokens_total", "Tokens of one step.", &s->step_tokens, counts },
        { "openautoglm_request_prompt_tokens", "vllm:request_prompt_tokens", "Tokens of a prompt.", &s->prompt_size,
          counts },
        { "openautoglm_request_completion_tokens", "vllm:request_generation_tokens", "Tokens of an answer.",
          &s->answer_size, counts },
        { "openautoglm_request_max_tokens", "vllm:request_params_max_tokens",
          "Tokens that an answer might have had, by its request or by the context.", &s->answer_room, counts },
        { "openautoglm_request_longest_completion_tokens", "vllm:request_max_num_generation_tokens",
          "Tokens of the longest answer to a prompt.", &s->longest_answer, counts },
        { "openautoglm_request_n", "vllm:request_params_n", "Answers that a prompt was to get.", &s->answers, counts },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        write_histogram(out, row[i].own, row[i].help, row[i].h, row[i].bounds, "");
        if (row[i].vllm)
            write_histogram(out, row[i].vllm, row[i].help, row[i].h, row[i].bounds, label);
    }
    write_histogram(out, "vllm:time_per_output_token_seconds", "Old name of inter_token_latency_seconds.",
                    &s->inter_token, seconds, label);
}

/* While the model is loading only the figures of the HTTP side are there. */
void metrics_get(struct app *a, struct exchange *x)
{
    char label[128];
    label_of(a, label, sizeof label);
    struct engine *g = atomic_load(&a->engine);
    x->status = 200;
    x->content_type = "text/plain; version=0.0.4; charset=utf-8";
    write_http(&x->reply, a);
    if (!g)
        return;
    struct engine_stats s;
    engine_stats(g, &s);
    write_counts(&x->reply, &s, label);
    write_finished(&x->reply, &s, label);
    write_histograms(&x->reply, &s, label);
}
