/* server/command_plan.c - `openautoglm plan`: what a model will need, before
 * anything of it is loaded. Exit status 0: it fits, 1: it does not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "server/command.h"
#include "server/reply.h"

struct row { const char *name, *what; size_t bytes; };

static void print_table(const struct engine_plan *p, const char *model, const struct row *row, size_t n)
{
    printf("%s: %s, %.2f million parameters, %s weights, %s KV cache, device %s\n\n", model, p->model_type,
           (double)p->n_params / 1e6, p->weights_dtype, p->kv_dtype, p->device);
    for (size_t i = 0; i < n; i++)
        printf("  %-14s %12.1f MiB  %s\n", row[i].name, (double)row[i].bytes / (1 << 20), row[i].what);
    printf("\n  %d requests at once, %d tokens of context, %d tokens of KV cache, %d tokens a step,\n"
           "  at most %d tokens for an image\n\n",
           p->max_num_seqs, p->max_model_len, p->kv_tokens, p->max_batched_tokens, p->max_image_tokens);
    puts(p->fits ? "It fits." : "It does not fit: lower --max-num-seqs, --max-model-len or --kv-bytes.");
}

static void print_json(const struct engine_plan *p, const char *model, const struct row *row, size_t n)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_str(&out, "{\"model\": ");
    json_write_string(&out, model, strlen(model));
    buf_printf(&out, ", \"model_type\": \"%s\", \"device\": \"%s\", \"weights_dtype\": \"%s\", \"kv_dtype\": \"%s\", \"n_params\": %zu",
               p->model_type, p->device, p->weights_dtype, p->kv_dtype, p->n_params);
    for (size_t i = 0; i < n; i++) {
        buf_str(&out, ", \"");
        for (const char *c = row[i].name; *c; c++)
            buf_byte(&out, *c == ' ' ? '_' : *c);
        buf_printf(&out, "_bytes\": %zu", row[i].bytes);
    }
    buf_printf(&out,
               ", \"max_num_seqs\": %d, \"max_model_len\": %d, \"kv_tokens\": %d, \"max_batched_tokens\": %d, "
               "\"max_image_tokens\": %d, \"fits\": %s}",
               p->max_num_seqs, p->max_model_len, p->kv_tokens, p->max_batched_tokens, p->max_image_tokens,
               p->fits ? "true" : "false");
    puts(out.data);
    buf_free(&out);
}

int command_plan(int argc, char **argv)
{
    struct config         c;
    struct err            e;
    struct engine_options opt;
    struct engine_plan    p;
    int rc = command_options(&c, OPT_ENGINE | OPT_PLAN, "plan [--model DIR] [OPTION...]", argc, argv);
    if (rc >= 0)
        return rc;
    rc = command_find_model(&c, &e);
    if (rc == 0) {
        command_engine_options(&c, &opt);
        rc = engine_plan(&opt, &p, &e);
    }
    if (rc != 0) {
        command_fail(EXIT_USAGE, &e);
    } else {
        command_tell_ignored(&c, &p);
        const struct row row[] = {
            { "weights", "as the device uses them", p.weights },
            { "kv", "keys and values of the texts", p.kv },
            { "image cache", "encoded images", p.image_cache },
            { "scratch", "of the largest step", p.scratch },
            { "logits", "of a step's last tokens", p.logits },
            { "image peak", p.discrete ? "in the host: requests being read, images being decoded"
                                       : "requests being read, images being decoded", p.image_peak },
            { "program", p.discrete ? "in the host: code, libraries, threads" : "code, libraries, threads", p.program },
            { "total", p.discrete ? "in the GPU" : "", p.total },
            { "available", p.discrete ? "may be used (--gpu-memory-fraction)" : "may be used (--memory-bytes)", p.available },
            { "host", "image peak and program", p.host },
            { "host available", "may be used (--memory-bytes)", p.host_available },
        };
        size_t n = sizeof row / sizeof *row;
        (c.json ? print_json : print_table)(&p, c.model, row, p.discrete ? n : n - 2);
    }
    options_free(&c);
    return rc != 0 ? EXIT_USAGE : p.fits ? 0 : 1;
}
