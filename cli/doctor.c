/* cli/doctor.c - the order of what is looked at, and the model. See doctor.h. */
#include "cli/doctor.h"

#include <stdbool.h>
#include <string.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/examine.h"
#include "fetch/hub.h"
#include "server/app.h"

static const double GIB = 1 << 30;

/* Where models that are fetched by name lie. */
static void examine_hub(struct findings *f)
{
    struct hub h;
    struct err e;
    if (hub_open(&h, &e) != 0)
        finding(f, VERDICT_WARN, "models by name", NULL, "%s", e.text);
    else
        finding(f, VERDICT_OK, "models by name", json_pack("{s:s, s:s, s:b}", "endpoint", h.endpoint, "cache", h.cache,
                                                           "offline", h.offline),
                "from %s into %s%s", h.endpoint, h.cache, h.offline ? " (HF_HUB_OFFLINE: nobody is asked)" : "");
}

/* What the engine would do with the model: the same plan that `serve` makes before it listens. */
static void examine_plan(struct findings *f, struct config *c)
{
    struct engine_plan p;
    struct err         e;
    const char *weights;
    command_size_bodies(c);
    struct engine_options opt = command_engine_options(c);
    opt.request_bytes = app_bytes(c);
    if (engine_plan(&opt, &p, &e) != 0) {
        finding(f, VERDICT_FAIL, "model", json_pack("{s:s}", "folder", c->engine.model), "%s", e.text);
        return;
    }
    finding(f, VERDICT_OK, "model", json_pack("{s:s, s:s, s:I}", "folder", c->engine.model, "type", p.model_type,
                                              "parameters", (json_int_t)p.n_params),
            "%s: %s, %.2f million parameters", c->engine.model, p.model_type, (double)p.n_params / 1e6);
    weights = strcmp(p.weights_dtype, "auto") == 0 ? "as in the file" : p.weights_dtype;
    json_t *values = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i}", "device", p.device, "weights", p.weights_dtype, "kv",
                               p.kv_dtype, "max_num_seqs", p.max_num_seqs, "max_model_len", p.max_model_len,
                               "kv_tokens", p.kv_tokens);
    finding(f, VERDICT_OK, "choice", values, "%s computes; weights %s, %s KV cache of at most %d tokens, %d requests "
            "at once, %d tokens of context", p.device, weights, p.kv_dtype, p.kv_tokens, p.max_num_seqs,
            p.max_model_len);
    values = json_pack("{s:b, s:I, s:I, s:I}", "fits", p.fits, "total_bytes", (json_int_t)p.total,
                       "floor_bytes", (json_int_t)p.floor, "available_bytes", (json_int_t)p.available);
    if (p.fits)
        finding(f, VERDICT_OK, "fits", values, "at most %.2f GiB of the %.2f GiB that may be used (`openautoglm plan` "
                "has the parts)", (double)p.total / GIB, (double)p.available / GIB);
    else
        finding(f, VERDICT_FAIL, "fits", values, "no: %s", e.text);
}

/* Without a model that was named, one that is not there is no failure: the machine may be looked at before anything is
 * fetched. */
static void examine_model(struct findings *f, struct config *c)
{
    struct err e;
    bool named = options_given(c, "model") || *c->engine.model;
    if (command_find_model(c, false, &e) == 0)
        examine_plan(f, c);
    else
        finding(f, named ? VERDICT_FAIL : VERDICT_NOTE, "model", NULL, "%s", e.text);
}

static void print_json(const struct findings *f)
{
    json_t *all = json_pack("{s:s, s:s, s:O}", "version", VERSION, "verdict", verdict_name(f->worst), "findings",
                            f->list);
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

/* The findings, and one sentence for the worst of them. */
static void print_summary(const struct findings *f)
{
    static const char *const text[] = {
        [VERDICT_OK] = "All is well.", [VERDICT_NOTE] = "All is well.",
        [VERDICT_WARN] = "It works; the lines with `warn` say what could be better.",
        [VERDICT_FAIL] = "The lines with `fail` say what does not work.",
    };
    findings_print(f, stdout);
    printf("\n%s\n", text[f->worst]);
}

/* Lines of the log that other commands write while they choose a device would say the same once more. */
int command_doctor(int argc, char **argv)
{
    struct config   c;
    struct findings f;
    int rc = command_options(&c, OPT_ENGINE | OPT_PLAN, "doctor [MODEL] [OPTION...]", argc, argv);
    if (rc >= 0)
        return rc;
    log_set_level(LOG_ERROR);
    findings_init(&f);
    examine_processor(&f);
    examine_memory(&f);
    examine_limits(&f);
    examine_gpus(&f);
    examine_hub(&f);
    examine_model(&f, &c);
    if (c.json)
        print_json(&f);
    else
        print_summary(&f);
    rc = f.worst == VERDICT_FAIL ? 1 : 0;
    findings_free(&f);
    options_free(&c);
    return rc;
}
