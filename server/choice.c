/* server/choice.c - one of the answers to a request. What each function promises stands in choice.h. */
#include "server/choice.h"

#include <stdio.h>
#include <string.h>

enum { IDS_BYTES = 64 << 20, KEPT_BYTES = 64 << 10 };

int choice_init(struct choice *c, int index, const struct output_options *options, struct err *e)
{
    *c = (struct choice){ .index = index };
    logprobs_init(&c->probs);
    buf_init(&c->ids, IDS_BYTES);
    buf_init(&c->prompt_probs, IDS_BYTES);
    return output_init(&c->output, options, e);
}

void choice_free(struct choice *c)
{
    if (c->ended)
        event_free(&c->end);
    request_free(c->request);
    output_free(&c->output);
    logprobs_free(&c->probs);
    buf_free(&c->ids);
    buf_free(&c->prompt_probs);
    c->request = NULL;
}

static void add_ids(struct choice *c, const struct event *ev)
{
    for (int i = 0; i < ev->n_ids; i++)
        buf_printf(&c->ids, c->ids.len ? ",%d" : "%d", ev->ids[i]);
}

/* The engine always makes a token. Where none is wanted, nothing of it is told, nor why it was the last. */
static void drop_answer(struct event *ev)
{
    ev->n_text = 0;
    ev->n_logprobs = ev->n_ids = ev->n_tokens = ev->completion_tokens = 0;
    ev->finish = ev->finish == FINISH_CANCELLED ? FINISH_CANCELLED : FINISH_LENGTH;
    ev->stop = NULL;
    ev->by_stop_id = false;
}

/* What an event tells of the prompt's tokens. A prompt of one token has no such event, so the lists that echo it begin
 * with the first event of any kind. */
static void take_prompt(struct choice *c, const struct engine *g, const struct choice_wants *wants,
                        const struct event *ev)
{
    if (c->echo_awaited) {
        if (c->leads)
            logprobs_add_prompt(c->echoed ? c->echoed : &c->probs, g, c->first_id, ev->prompt_logprobs,
                                ev->n_prompt_logprobs);
        if (c->echoed)
            logprobs_copy(&c->probs, c->echoed);
        c->echo_awaited = false;
    }
    if (wants->prompt_logprobs && ev->n_prompt_logprobs > 0)
        logprobs_of_prompt(&c->prompt_probs, g, ev->prompt_logprobs, ev->n_prompt_logprobs);
}

/* The last event carries the final counts, which replace those that were summed. */
int choice_take(struct choice *c, const struct engine *g, const struct choice_wants *wants)
{
    struct event ev;
    int n = 0;
    if (c->echo_awaited && !c->leads && c->echoed->n == 0)
        return 0;                  /* the answer that leads has not been told of the prompt */
    while (!c->ended && request_next(c->request, &ev)) {
        n++;
        if (wants->prompt_only)
            drop_answer(&ev);
        take_prompt(c, g, wants, &ev);
        if (ev.text)
            output_add(&c->output, ev.text, ev.n_text);
        if (wants->logprobs)
            logprobs_add(&c->probs, g, ev.logprobs, ev.n_logprobs, wants->chat);
        if (wants->ids)
            add_ids(c, &ev);
        thought_tokens_add(&c->thoughts, g, ev.ids, ev.n_ids);
        c->tokens += ev.n_tokens;
        c->time = ev.time;
        if (ev.kind == EVENT_DELTA) {
            event_free(&ev);
            continue;
        }
        c->end = ev;
        c->ended = true;
        c->tokens = ev.completion_tokens;
        output_end(&c->output);
    }
    return n;
}

bool choice_has_news(const struct choice *c)
{
    if (c->echo_awaited && !c->ended)
        return false;
    return (c->ended && !c->end_sent) || output_has_news(&c->output) || !output_ok(&c->output) || c->probs.n > 0 ||
           c->ids.len > 0;
}

size_t choice_bytes(const struct choice *c)
{
    return output_bytes(&c->output) + logprobs_bytes(&c->probs) + c->ids.len + c->prompt_probs.len;
}

/* What was told is dropped; the buffers keep a little room for what comes next. */
void choice_sent(struct choice *c)
{
    output_sent(&c->output);
    logprobs_clear(&c->probs);
    buf_reuse(&c->ids, KEPT_BYTES);
    buf_reuse(&c->prompt_probs, KEPT_BYTES);
}

/* Ends a choice with an error of the server's own, as if the engine had said it. What was not told yet is lost. */
void choice_fail(struct choice *c, const struct err *why)
{
    if (c->ended)
        event_free(&c->end);
    choice_sent(c);
    c->ended = true;
    c->end = (struct event){ .kind = EVENT_ERROR, .err = *why };
}

/* Why a choice has ended without a usable answer, as an error that lives in `room`; NULL: it has not ended, or ended
 * well. A request that was cancelled by nobody outside must have been cancelled by the server's end. Errors without a
 * status are the server's fault: 500. */
const struct err *choice_failure(const struct choice *c, struct err *room)
{
    if (!c->ended)
        return NULL;
    if (c->end.kind == EVENT_END && c->end.finish != FINISH_CANCELLED && output_ok(&c->output) && buf_ok(&c->ids) &&
        buf_ok(&c->prompt_probs))
        return NULL;
    if (c->end.kind == EVENT_ERROR) {
        *room = c->end.err;
    } else if (!output_ok(&c->output)) {
        output_error(&c->output, room);
    } else if (!buf_ok(&c->ids) || !buf_ok(&c->prompt_probs)) {
        buf_error(buf_ok(&c->ids) ? &c->prompt_probs : &c->ids, room, "the answer has too many tokens");
    } else {
        err_set(room, "the server is shutting down");
        room->status = 503;
        snprintf(room->code, sizeof room->code, "shutting_down");
    }
    if (room->status == 0)
        room->status = 500;
    return room;
}
