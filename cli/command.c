#include "cli/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"

int command_fail(int status, const struct err *e)
{
    char line[sizeof e->text + 32];
    int  n = snprintf(line, sizeof line, "openautoglm: %s\n", e->text);
    log_bytes(line, (size_t)n);
    return status;
}

static void set_log_level(const char *name)
{
    static const char *const level[] = { "debug", "info", "warn", "error" };
    for (int i = 0; i < 4; i++)
        if (strcmp(name, level[i]) == 0)
            log_set_level((enum log_level)i);
}

int command_options(struct config *c, unsigned groups, const char *usage, int argc, char **argv)
{
    struct err e;
    int rc = options_parse(c, groups, argc, argv, &e);
    if (rc == 0 && c->help) {
        printf("usage: openautoglm %s\n\n", usage);
        options_help(stdout, groups);
        options_free(c);
        return 0;
    }
    if (rc == 0 && c->rest.n > 0 && !(groups & OPT_CHAT))
        rc = err_set(&e, "%s takes no argument '%s'", argv[0], c->rest.item[0]);
    if (rc != 0) {
        options_free(c);
        return command_fail(EXIT_USAGE, &e);
    }
    set_log_level(c->log_level);
    return -1;
}

int command_find_model(struct config *c, struct err *e)
{
    static const char name[] = "models/open-autoglm-v1";
    if (*c->model)
        return 0;
    char    program[512], beside[600], above[600];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    snprintf(beside, sizeof beside, "%s/../%s", program, name);
    snprintf(above, sizeof above, "%s/../../%s", program, name);   /* build/asan/openautoglm */
    const char *const places[] = { name, beside, above, "/usr/share/openautoglm/models/open-autoglm-v1" };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], R_OK) == 0) {
            free(c->model);
            c->model = xstrdup(places[i]);
            return 0;
        }
    return err_field(e, "model", "there is no %s here; say where a model is with --model DIR", name);
}

static const char *or_null(const char *s) { return *s ? s : NULL; }

void command_engine_options(const struct config *c, struct engine_options *out)
{
    static struct progress loading = { .what = "loading" };
    *out = (struct engine_options){
        .model_dir = c->model, .device = c->device, .weights = c->weights, .threads = (int)c->threads,
        .max_num_seqs = (int)c->max_num_seqs, .max_queue = (int)c->max_queue, .max_model_len = (int)c->max_model_len,
        .max_batched_tokens = (int)c->max_batched_tokens, .max_pause = c->max_pause, .kv_bytes = (size_t)c->kv_bytes,
        .kv_cache_dtype = c->kv_cache_dtype, .activations = c->activations,
        .image_cache_bytes = (size_t)c->image_cache_bytes, .memory_bytes = (size_t)c->memory_bytes,
        .gpu_memory_fraction = c->gpu_memory_fraction, .gpu_memory = (size_t)c->gpu_memory,
        .max_pixels = c->max_pixels, .min_pixels = c->min_pixels, .max_image_side = (int)c->max_image_side,
        .max_image_pixels = c->max_image_pixels,
        .max_image_bytes = (size_t)c->max_image_bytes, .max_images = (int)c->max_images,
        .content_format = c->content_format, .chat_template = or_null(c->chat_template), .trace = or_null(c->trace),
        .trust_special_tokens = c->trust_special_tokens,
        .no_prefix_cache = !c->prefix_cache, .no_graphs = !c->gpu_graphs, .device_resize = c->device_resize, .vary = !c->deterministic, .no_selftest = !c->selftest,
        .progress = progress_bytes, .progress_arg = &loading,
    };
}

void command_tell_ignored(const struct config *c, const struct engine_plan *p)
{
    char names[256];
    options_changed(c, OPT_GPU, names, sizeof names);
    if (*names && !p->discrete)
        log_warn("%s: only a GPU heeds this; %s computes", names, p->device);
}
