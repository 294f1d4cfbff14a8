/* cli/plan.c - `openautoglm plan`: what a model will need, before
 * anything of it is loaded. Exit status 0: it fits, 1: it does not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "server/app.h"
#include "cli/command.h"
#include "server/reply.h"

#define REQUESTS "bodies, their JSON and files, answers (--max-body-total, --max-body-bytes)"

enum where { ANYWHERE, ON_GPU, ON_HOST };

struct row { const char *name, *what; size_t bytes; enum where where; };    /* where: of plans for such devices alone */

/* Is this row of interest for the planned device? Some exist on GPUs alone, some only where the host computes. */
static bool shown(const struct row *row, const struct engine_plan *p)
{
    return row->where == ANYWHERE || (row->where == ON_GPU) == p->discrete;
}

/* For people: a line for each row, in MiB, and whether it fits with what to do if it does not. */
static void print_table(const struct engine_plan *p, const char *model, const struct row *row, size_t n)
{
    printf("%s: %s, %.2f million parameters, %s weights, %s KV cache, device %s\n\n", model, p->model_type,
           (double)p->n_params / 1e6, p->weights_dtype, p->kv_dtype, p->device);
    for (size_t i = 0; i < n; i++)
        if (shown(&row[i], p))
            printf("  %-14s %12.1f MiB  %s\n", row[i].name, (double)row[i].bytes / (1 << 20), row[i].what);
    printf("\n  %d requests at once, %d tokens of context, at most %d tokens of KV cache, %d tokens a step,\n"
           "  at most %d tokens for an image and %.1f million pixels for an upload\n\n",
           p->max_num_seqs, p->max_model_len, p->kv_tokens, p->max_batched_tokens, p->max_image_tokens,
           (double)p->max_image_pixels / 1e6);
    puts(p->fits ? "It fits."
                 : "It does not fit: lower --max-model-len, --max-num-seqs, --kv-bytes or --max-body-bytes.");
}

/* For programs: the same in bytes, as one line. The names of the rows become members. */
static void print_json(const struct engine_plan *p, const char *model, const struct row *row, size_t n)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_str(&out, "{\"model\": ");
    json_write_string(&out, model, strlen(model));
    buf_printf(&out, ", \"model_type\": \"%s\", \"device\": \"%s\", \"weights_dtype\": \"%s\", \"kv_dtype\": \"%s\", "
                     "\"n_params\": %zu", p->model_type, p->device, p->weights_dtype, p->kv_dtype, p->n_params);
    for (size_t i = 0; i < n; i++) {
        if (!shown(&row[i], p))
            continue;
        buf_str(&out, ", \"");
        for (const char *c = row[i].name; *c; c++)
            buf_byte(&out, *c == ' ' ? '_' : *c);
        buf_printf(&out, "_bytes\": %zu", row[i].bytes);
    }
    buf_printf(&out,
               ", \"max_num_seqs\": %d, \"max_model_len\": %d, \"kv_tokens\": %d, \"kv_floor_tokens\": %d, "
               "\"max_batched_tokens\": %d, \"max_image_tokens\": %d, \"max_image_pixels\": %lld, \"fits\": %s}",
               p->max_num_seqs, p->max_model_len, p->kv_tokens, p->kv_floor_tokens, p->max_batched_tokens,
               p->max_image_tokens, (long long)p->max_image_pixels, p->fits ? "true" : "false");
    puts(out.data);
    buf_free(&out);
}

/* Asks the engine for a plan, which reads headers and configuration but no weights, and shows it. The wording of some
 * rows depends on whether the device has memory of its own. */
int command_plan(int argc, char **argv)
{
    struct config         c;
    struct err            e;
    struct engine_options opt;
    struct engine_plan    p;
    int rc = command_options(&c, OPT_ENGINE | OPT_PLAN, "plan [MODEL] [OPTION...]", argc, argv);
    if (rc >= 0)
        return rc;
    rc = command_find_model(&c, false, &e);
    if (rc == 0) {
        command_size_bodies(&c);
        opt = command_engine_options(&c);
        opt.request_bytes = app_bytes(&c);
        rc = engine_plan(&opt, &p, &e);
    }
    if (rc != 0) {
        command_fail(EXIT_USAGE, &e);
    } else {
        command_tell_ignored(&c, &p);
        const struct row row[] = {
            { "weights", "as the device uses them", p.weights, ANYWHERE },
            { "kv", p.discrete ? "keys and values of the texts" : "keys and values of the texts: grows up to this",
              p.kv, ANYWHERE },
            { "kv floor", "of which one whole context", p.kv_floor, ON_HOST },
            { "image cache", "encoded images", p.image_cache, ANYWHERE },
            { "scratch", "of the largest step", p.scratch, ANYWHERE },
            { "logits", "of a step's last tokens", p.logits, ANYWHERE },
            { "image peak", p.discrete ? "in the host: images being decoded" : "images being decoded", p.image_peak,
              ANYWHERE },
            { "pixels", p.discrete ? "in the host: of requests' images" : "of requests' images", p.pixels, ANYWHERE },
            { "requests", p.discrete ? "in the host: " REQUESTS : REQUESTS, p.requests, ANYWHERE },
            { "program", p.discrete ? "in the host: code, libraries, threads" : "code, libraries, threads", p.program,
              ANYWHERE },
            { "total", p.discrete ? "in the GPU" : "at most", p.total, ANYWHERE },
            { "floor", "with keys and values of one whole context", p.floor, ON_HOST },
            { "available", p.discrete ? "may be used (--gpu-memory-fraction)" : "may be used (--memory-bytes)",
              p.available, ANYWHERE },
            { "host", "image peak, pixels, requests and program", p.host, ON_GPU },
            { "host available", "may be used (--memory-bytes)", p.host_available, ON_GPU },
        };
        (c.json ? print_json : print_table)(&p, c.engine.model, row, sizeof row / sizeof *row);
    }
    options_free(&c);
    if (rc != 0)
        return EXIT_USAGE;
    return p.fits ? 0 : 1;
}
