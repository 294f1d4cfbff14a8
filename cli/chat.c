/* cli/chat.c - `openautoglm chat --image x.png "what is this?"`: one answer, on the terminal, without a server. Without
 * a question, on a terminal, a conversation (talk.c). */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/pictures.h"
#include "cli/talk.h"

/* The messages as a client would send them: the system's text if there is one, then one message of the user with all
 * pictures before the question. */
static json_t *make_messages(const struct config *c, int n_images)
{
    json_t *list = json_array(), *parts = json_array();
    if (*c->system)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", "system", "content", c->system));
    for (int i = 0; i < n_images; i++)
        json_array_append_new(parts, json_pack("{s:s}", "type", "image"));
    json_array_append_new(parts, json_pack("{s:s, s:s}", "type", "text", "text", c->rest.item[0]));
    json_array_append_new(list, json_pack("{s:s, s:o}", "role", "user", "content", parts));
    return list;
}

/* Writes the text as it comes. Returns -1 with the engine's error if the generation failed; the line is ended in
 * either case. */
static int print_answer(struct request *r, struct err *e)
{
    struct event ev;
    for (;;) {
        struct pollfd p = { .fd = request_fd(r), .events = POLLIN };
        poll(&p, 1, -1);
        while (request_next(r, &ev)) {
            enum event_kind kind = ev.kind;
            if (ev.text)
                fwrite(ev.text, 1, ev.n_text, stdout);
            fflush(stdout);
            if (kind == EVENT_ERROR)
                *e = ev.err;
            event_free(&ev);
            if (kind != EVENT_DELTA) {
                fputc('\n', stdout);
                return kind == EVENT_END ? 0 : -1;
            }
        }
    }
}

/* Opens an engine for a single request at a time. The plan is made first, so that options which the device ignores are
 * named before a large model is loaded. */
static struct engine *open_engine(const struct config *c, struct err *e)
{
    struct engine_options opt = command_engine_options(c);
    struct engine_plan    plan;
    opt.config.max_num_seqs = 1;
    if (engine_plan(&opt, &plan, e) != 0)
        return NULL;
    command_tell_ignored(c, &plan);
    return engine_open(&opt, e);
}

/* A prompt that was submitted belongs to the engine. */
static int ask(const struct config *c, struct engine *g, const struct pictures *pictures, struct err *e)
{
    struct params params;
    params_default(g, &params);
    params.max_tokens = c->max_tokens;
    if (options_given(c, "temperature"))
        params.temperature = (float)c->temperature;
    params.has_seed = options_given(c, "seed");
    params.seed = (uint64_t)c->seed;
    struct chat chat = { .messages = make_messages(c, pictures->n),
                         .images = pictures->image,
                         .n_images = pictures->n };
    struct prompt  *p = engine_prompt(g, &chat, e);
    struct request *r = p ? engine_submit(g, p, &params, e) : NULL;
    int rc = r && print_answer(r, e) == 0 ? 0 : EXIT_FAILURE;
    request_free(r);
    json_decref(chat.messages);
    return rc;
}

static bool is_conversation(const struct config *c)
{
    return c->rest.n == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* Everything that can be wrong with the command line and the pictures is found before the model is loaded. */
static int prepare(struct config *c, struct pictures *pictures, struct err *e)
{
    if (c->rest.n > 1 || (c->rest.n == 0 && !is_conversation(c)))
        return err_set(e, c->rest.n ? "chat takes one question; quote it" : "chat needs a question");
    if (pictures_read_all(pictures, &c->image, c->engine.max_image_bytes, e) != 0)
        return -1;
    return command_find_model(c, true, e);
}

/* Only warnings are logged unless the user asks for more, because the answer goes to the same terminal. */
int command_chat(int argc, char **argv)
{
    struct config   c;
    struct err      e;
    struct pictures pictures = { .n = 0 };
    struct engine  *g = NULL;
    int rc = command_options(&c, OPT_ENGINE | OPT_CHAT, "chat [--image FILE]... [\"QUESTION\"]", argc, argv);
    if (rc >= 0)
        return rc;
    if (!options_given(&c, "log-level"))
        log_set_level(LOG_WARN);
    rc = EXIT_USAGE;
    if (prepare(&c, &pictures, &e) == 0 && (g = open_engine(&c, &e)) != NULL) {
        rc = 0;
        if (is_conversation(&c))
            talk(&c, g, &pictures);
        else
            rc = ask(&c, g, &pictures, &e);
        engine_close(g);
    }
    if (rc != 0)
        command_fail(rc, &e);
    pictures_cut(&pictures, 0);
    options_free(&c);
    return rc;
}
