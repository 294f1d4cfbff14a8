/* cli/talk.c - the turns of a conversation. See talk.h; its commands are in talk_commands.c.
 *
 * The whole conversation is sent to the engine with every question, as a client of the server would do; its prefix
 * cache has the keys and values of all turns before. Ctrl-C ends an answer, and what came of it stays. */
#include "cli/talk.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/attach.h"
#include "cli/history.h"
#include "cli/talk_commands.h"

enum { LOOK_MS = 100, ANSWER_BYTES = 16 << 20 };       /* how often Ctrl-C is looked for */

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* ---- what is shown ---- */

static bool has_colours(void)
{
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(none && *none) && term && strcmp(term, "dumb") != 0;
}

/* Text of models and files has no power over the terminal: of control characters only ends of lines and tabs are
 * written. */
static void show_text(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        int len;
        uint32_t c = utf8_get(s + i, n - i, &len);
        bool control = (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
        fwrite(control ? "?" : s + i, 1, control ? 1 : (size_t)len, stdout);
        i += (size_t)len;
    }
}

void talk_note(const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fputs(has_colours() ? "\033[2m" : "", stdout);
    show_text(text, strlen(text));
    fputs(has_colours() ? "\033[0m\n" : "\n", stdout);
    fflush(stdout);
}

/* ---- messages ---- */

/* Text as JSON takes it: what is no UTF-8 is replaced. */
static json_t *make_text(const char *s, size_t n)
{
    char *clean = xmalloc(3 * n + 1);
    json_t *text = json_stringn(clean, utf8_sanitize(clean, s, n));
    free(clean);
    return text;
}

static void add_message(struct talk *t, const char *role, json_t *content)
{
    json_array_append_new(t->messages, json_pack("{s:s, s:o}", "role", role, "content", content));
}

/* A message of the user: the pictures that were not sent yet, and then the text. */
static void add_question(struct talk *t, const char *text)
{
    json_t *parts = json_array();
    for (int i = t->n_sent; i < t->pictures.n; i++)
        json_array_append_new(parts, json_pack("{s:s}", "type", "image"));
    json_array_append_new(parts, json_pack("{s:s, s:o}", "type", "text", "text", make_text(text, strlen(text))));
    add_message(t, "user", parts);
}

static void drop_last(struct talk *t) { json_array_remove(t->messages, json_array_size(t->messages) - 1); }

static bool has_system(const struct talk *t)
{
    const char *role = json_string_value(json_object_get(json_array_get(t->messages, 0), "role"));
    return role && strcmp(role, "system") == 0;
}

/* Replaces the system's message, or takes it away if the text is empty. */
void talk_set_system(struct talk *t, const char *text)
{
    if (has_system(t))
        json_array_remove(t->messages, 0);
    if (*text)
        json_array_insert_new(t->messages, 0, json_pack("{s:s, s:o}", "role", "system", "content",
                                                        make_text(text, strlen(text))));
}

void talk_clear(struct talk *t)
{
    while (json_array_size(t->messages) > (has_system(t) ? 1u : 0u))
        drop_last(t);
    pictures_cut(&t->pictures, 0);
    t->n_sent = 0;
}

/* Adds a picture to the next question and shows it. -1: the file is no picture that could be sent, and it was not
 * added. */
int talk_attach(struct talk *t, const char *path, struct err *e)
{
    if (pictures_read(&t->pictures, path, t->c->engine.max_image_bytes, e) != 0)
        return -1;
    const struct chat_image *last = &t->pictures.image[t->pictures.n - 1];
    struct image_info info;
    if (image_probe(last->data, last->n, &info, e) != 0) {
        pictures_cut(&t->pictures, t->pictures.n - 1);
        return err_prefix(e, "%s", path);
    }
    preview_show(t->preview, last->data, last->n);
    talk_note("%s: %d x %d, goes with the next question", path, info.width, info.height);
    return 0;
}

/* ---- a turn ---- */

/* Shows the answer as it comes and keeps it. Returns how it ended; after EVENT_ERROR, e has the engine's words. */
static enum event_kind take_answer(struct request *r, struct buf *text, struct event *last, struct err *e)
{
    struct event ev;
    for (;;) {
        struct pollfd p = { .fd = request_fd(r), .events = POLLIN };
        poll(&p, 1, LOOK_MS);
        if (interrupted)
            request_cancel(r);
        while (request_next(r, &ev)) {
            enum event_kind kind = ev.kind;
            if (ev.text) {
                show_text(ev.text, ev.n_text);
                buf_add(text, ev.text, ev.n_text);
            }
            fflush(stdout);
            if (kind == EVENT_ERROR)
                *e = ev.err;
            *last = ev;
            event_free(&ev);
            if (kind != EVENT_DELTA)
                return kind;
        }
    }
}

/* What the answer cost, in a line below it. */
static void note_cost(const struct event *end, bool cut)
{
    talk_note("%s%d tokens read, %d of them known from before; %d answered; first after %.2f s, all in %.2f s",
              cut ? "stopped; " : "", end->prompt_tokens, end->cached_tokens, end->completion_tokens, end->ttft,
              end->total);
}

/* A question that cannot be answered is taken back, and its pictures wait for the next one. */
static void ask(struct talk *t, const char *text)
{
    struct err     e = { 0 };
    struct event   end = { 0 };
    struct buf     answer;
    add_question(t, text);
    struct chat chat = { .messages = t->messages, .images = t->pictures.image, .n_images = t->pictures.n };
    struct prompt  *p = engine_prompt(t->engine, &chat, &e);
    struct request *r = p ? engine_submit(t->engine, p, &t->params, &e) : NULL;
    buf_init(&answer, ANSWER_BYTES);
    interrupted = 0;
    bool failed = !r || take_answer(r, &answer, &end, &e) == EVENT_ERROR;
    bool cut = interrupted;
    request_free(r);
    if (r)
        fputc('\n', stdout);
    if (failed) {
        drop_last(t);
        talk_note("%s", e.text);
    } else {
        add_message(t, "assistant", make_text(answer.data ? answer.data : "", answer.len));
        t->n_sent = t->pictures.n;
        note_cost(&end, cut);
    }
    interrupted = 0;
    buf_free(&answer);
}

/* Pictures within the line are attached, and what is left is the question. */
static void take_line(struct talk *t, const char *line)
{
    struct attached *found = xmalloc(sizeof *found);
    struct err e = { 0 };
    struct buf text;
    bool   well = true;
    buf_init(&text, 2 * EDITOR_LINE);
    buf_str(&text, "");
    attach_find(line, found, &text);
    for (int i = 0; i < found->n && well; i++)
        well = talk_attach(t, found->path[i], &e) == 0;
    const char *rest = text.data ? text.data : "";
    rest += strspn(rest, " \n");
    if (well && found->n == 0 && *rest == '/')
        well = talk_command(t, rest, &e) == 0;
    else if (well && *rest)
        ask(t, rest);
    if (!well)
        talk_note("%s", e.text);
    buf_free(&text);
    free(found);
}

/* ---- the conversation ---- */

/* Starts a conversation: options over the checkpoint's defaults, the history of what was typed, and a greeting that
 * says what can be done. */
static void begin(struct talk *t)
{
    struct engine_info info;
    char history[PATH_MAX] = "";
    if (t->c->history)
        history_default(history);
    t->messages = json_array();
    talk_set_system(t, t->c->system);
    params_default(t->engine, &t->params);
    t->params.max_tokens = t->c->max_tokens;
    if (options_given(t->c, "temperature"))
        t->params.temperature = (float)t->c->temperature;
    t->params.has_seed = options_given(t->c, "seed");
    t->params.seed = (uint64_t)t->c->seed;
    t->editor = editor_open(history);
    t->preview = preview_choose(t->c->preview);
    editor_set_complete(t->editor, talk_complete, t);
    engine_info(t->engine, &info);
    const char *pictures = info.takes_images ? "; paste, drag or write @PATH of a picture" : "";
    talk_note("%s on %s, %d tokens of context%s. /help lists the commands, Ctrl-D leaves.", info.model_type,
              info.device, info.max_model_len, pictures);
    if (t->pictures.n > 0)
        talk_note("%d pictures go with the next question", t->pictures.n);
}

/* The conversation until it is left. Takes over the pictures in `first`, which go with the first question. */
void talk(const struct config *c, struct engine *g, struct pictures *first)
{
    struct talk     t = { .c = c, .engine = g, .pictures = *first };
    enum editor_end end = EDITOR_LINE_READ;
    first->n = 0;
    sigaction(SIGINT, &(struct sigaction){ .sa_handler = interrupt }, NULL);
    begin(&t);
    while (!t.leave && end != EDITOR_CLOSED) {
        char *line = editor_read(t.editor, "> ", &end);
        if (line && line[strspn(line, " \n")])
            take_line(&t, line);
        free(line);
    }
    editor_close(t.editor);
    pictures_cut(&t.pictures, 0);
    json_decref(t.messages);
    signal(SIGINT, SIG_DFL);
}
