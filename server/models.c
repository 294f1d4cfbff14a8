/* server/models.c - what is served: /v1/models for clients, and the forms in
 * which SGLang's and vLLM's routers ask for the same. */
#include <stdio.h>
#include <string.h>

#include "server/fields.h"
#include "server/handlers.h"
#include "server/reply.h"

static int not_found(struct err *e, const char *name)
{
    err_field(e, "model", "the model \"%.200s\" does not exist here", name);
    e->status = 404;
    snprintf(e->code, sizeof e->code, "model_not_found");
    return -1;
}

/* A request may leave the model out, or leave it empty; one that names a model which is not served gets 404, because
 * it was probably meant for another server. */
int check_model(struct app *a, const json_t *in, struct err *e)
{
    const char *name = NULL;
    if (member_string(in, "", "model", &name, e) != 0)
        return -1;
    return name && *name && !app_knows_model(a, name) ? not_found(e, name) : 0;
}

/* One model as OpenAI lists it, with vLLM's additions: `root` is the name that every answer has, also where this one is
 * another name of the same model, and max_model_len is there once the model is loaded. */
static void write_model(struct buf *out, struct app *a, const char *name)
{
    buf_str(out, "{\"id\":");
    json_write_string(out, name, strlen(name));
    buf_printf(out, ",\"object\":\"model\",\"created\":%ld,\"owned_by\":\"openautoglm\",\"root\":", (long)a->created);
    json_write_string(out, app_model_name(a), strlen(app_model_name(a)));
    struct engine *g = atomic_load(&a->engine);
    if (g) {
        struct engine_info info;
        engine_info(g, &info);
        buf_printf(out, ",\"max_model_len\":%d", info.max_model_len);
    }
    buf_byte(out, '}');
}

/* GET /v1/models: every name that the server answers to. All are the same model. */
void models_list(struct app *a, struct exchange *x)
{
    x->status = 200;
    buf_str(&x->reply, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < a->cfg->served_model_name.n; i++) {
        buf_str(&x->reply, i ? "," : "");
        write_model(&x->reply, a, a->cfg->served_model_name.item[i]);
    }
    buf_str(&x->reply, "]}");
}

/* GET /v1/models/NAME. The name may hold slashes; it is everything behind the prefix. */
void models_get(struct app *a, struct exchange *x)
{
    struct err  e;
    const char *name = x->path + strlen("/v1/models/");
    if (!app_knows_model(a, name)) {
        not_found(&e, name);
        reply_error(x, &e);
        return;
    }
    x->status = 200;
    write_model(&x->reply, a, name);
}

/* One more member of an object whose first member is there already. */
static void write_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_string(out, value, strlen(value));
}

/* The members that SGLang's /get_model_info has and its router reads; the object is left open, so that the caller can
 * add more. */
static void write_info(struct buf *out, struct app *a, struct engine *g)
{
    struct engine_info info;
    engine_info(g, &info);
    buf_str(out, "{\"served_model_name\":");
    json_write_string(out, app_model_name(a), strlen(app_model_name(a)));
    write_member(out, "model_path", info.model_dir);
    write_member(out, "tokenizer_path", info.model_dir);
    write_member(out, "model_type", info.model_type);
    buf_str(out, ",\"architectures\":[");
    json_write_string(out, info.model_type, strlen(info.model_type));
    buf_printf(out,
               "],\"is_generation\":%s,\"has_image_understanding\":%s,\"max_model_len\":%d,\"context_length\":%d,"
               "\"vocab_size\":%d",
               info.makes_texts ? "true" : "false", info.takes_images ? "true" : "false", info.max_model_len,
               info.max_model_len, info.vocab);
}

/* GET /get_model_info and its shorter name. */
void model_info(struct app *a, struct exchange *x)
{
    struct err     e;
    struct engine *g = app_engine(a, &e);
    if (!g) {
        reply_error(x, &e);
        return;
    }
    x->status = 200;
    write_info(&x->reply, a, g);
    buf_byte(&x->reply, '}');
}

/* GET /version, in vLLM's form. */
void version_get(struct app *a, struct exchange *x)
{
    (void)a;
    x->status = 200;
    buf_str(&x->reply, "{\"version\":\"" VERSION "\"}");
}

/* GET /server_info: the same and what a router wants to know to spread requests: how many are computed at once and how
 * many may wait. */
void server_info(struct app *a, struct exchange *x)
{
    struct err         e;
    struct engine_info info;
    struct engine     *g = app_engine(a, &e);
    if (!g) {
        reply_error(x, &e);
        return;
    }
    engine_info(g, &info);
    x->status = 200;
    write_info(&x->reply, a, g);
    write_member(&x->reply, "version", VERSION);
    write_member(&x->reply, "device", info.device);
    buf_printf(&x->reply, ",\"tp_size\":1,\"dp_size\":1,\"max_running_requests\":%d,\"max_queued_requests\":%d}",
               info.max_num_seqs, a->cfg->engine.max_queue);
}

/* GET /get_load, as SGLang's router polls it: how many requests run or wait, and how many tokens the cache holds. */
void load_get(struct app *a, struct exchange *x)
{
    struct err     e;
    struct engine *g = app_engine(a, &e);
    if (!g) {
        reply_error(x, &e);
        return;
    }
    struct engine_stats s;
    engine_stats(g, &s);
    x->status = 200;
    buf_printf(&x->reply, "[{\"dp_rank\":0,\"num_reqs\":%d,\"num_waiting_reqs\":%d,\"num_tokens\":%d}]",
               s.running + s.waiting, s.waiting, s.full_pages_used * s.page_tokens);
}
