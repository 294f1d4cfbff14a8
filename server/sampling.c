/* server/sampling.c - reads the fields of a request that say how to generate. Numbers with a range stand in a table;
 * what would change the answer and cannot be done is refused, as known.h says. */
#include "server/sampling.h"

#include <float.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"
#include "server/constraint.h"
#include "server/fields.h"
#include "server/known.h"
#include "server/token_fields.h"

/* Numbers with a range. */
static const struct {
    const char *name;
    double      least, most;
    bool        may_be_0;
    size_t      offset;        /* where the float is in struct params */
} reals[] = {
    { "temperature", 0, 2, true, offsetof(struct params, temperature) },
    { "top_p", 0, 1, false, offsetof(struct params, top_p) },
    { "min_p", 0, 1, true, offsetof(struct params, min_p) },
    { "frequency_penalty", -2, 2, true, offsetof(struct params, frequency_penalty) },
    { "presence_penalty", -2, 2, true, offsetof(struct params, presence_penalty) },
    /* llama.cpp's name; if both are given, the next one wins. */
    { "repeat_penalty", 0, 10, false, offsetof(struct params, repetition_penalty) },
    { "repetition_penalty", 0, 10, false, offsetof(struct params, repetition_penalty) },
};

/* Reads the numbers of the table. A positive number that is too small for a float becomes the smallest one, because 0
 * would mean something else. */
static int parse_reals(struct params *p, const json_t *in, struct err *e)
{
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        float *field = (float *)((char *)p + reals[i].offset);
        double v = (double)*field;
        if (member_real(in, "", reals[i].name, reals[i].least, reals[i].most, &v, e) != 0)
            return -1;
        if (v == 0 && !reals[i].may_be_0)
            return fields_wrong(e, "invalid_value", "", reals[i].name, "must be greater than 0");
        *field = v < FLT_MIN && !reals[i].may_be_0 ? FLT_MIN : (float)v;
    }
    bool drawn = true;
    if (member_bool(in, "", "do_sample", &drawn, e) != 0)
        return -1;
    if (!drawn)
        p->temperature = 0;            /* in transformers and at Z.ai it wins over the temperature */
    return 0;
}

/* How long the answer may be, and has to be. The first of four names counts; llama.cpp's has -1 for "no limit", and
 * max_new_tokens is that of transformers, TGI and SGLang. A completion may be of no tokens. */
static int parse_lengths(struct sampling *s, const json_t *in, bool chat, struct err *e)
{
    struct params *p = &s->params;
    int64_t most[4] = { 0 }, least = 0;
    if (member_int(in, "", "max_completion_tokens", 1, INT32_MAX, &most[0], e) != 0 ||
        member_int(in, "", "max_tokens", chat, INT32_MAX, &most[1], e) != 0 ||
        member_int(in, "", "n_predict", -1, INT32_MAX, &most[2], e) != 0 ||
        member_int(in, "", "max_new_tokens", 1, INT32_MAX, &most[3], e) != 0 ||
        member_int(in, "", "min_tokens", 0, INT32_MAX, &least, e) != 0)
        return -1;
    if (most[2] == 0 && json_object_get(in, "n_predict") && !json_is_null(json_object_get(in, "n_predict")))
        return fields_wrong(e, "invalid_value", "", "n_predict", "must be -1 or at least 1");
    int i = 0;
    while (i < 3 && most[i] == 0)
        i++;
    p->max_tokens = most[i] < 0 ? INT32_MAX : (int)most[i];
    s->prompt_only = most[0] == 0 && most[1] == 0 && json_is_number(json_object_get(in, "max_tokens"));
    if (s->prompt_only)
        p->max_tokens = 1;             /* the engine's least: this one is not told */
    p->min_tokens = (int)least;
    if (p->max_tokens > 0 && p->min_tokens > p->max_tokens)
        return fields_wrong(e, "invalid_value", "", "min_tokens", "must be at most max_tokens (%d)", p->max_tokens);
    return 0;
}

/* -1 and 0 for top_k both mean "all tokens". A seed is any 64-bit number, also a negative one. */
static int parse_integers(struct sampling *s, const json_t *in, bool chat, struct err *e)
{
    struct params *p = &s->params;
    int64_t top_k = p->top_k, seed = 0, n = 1, priority = 0;
    if (member_int(in, "", "top_k", -1, INT32_MAX, &top_k, e) != 0 ||
        member_int(in, "", "seed", INT64_MIN, INT64_MAX, &seed, e) != 0 ||
        member_int(in, "", "n", 1, SAMPLING_MAX_N, &n, e) != 0 ||
        member_int(in, "", "priority", INT32_MIN, INT32_MAX, &priority, e) != 0)
        return -1;
    s->n = (int)n;
    p->priority = (int)priority;
    p->top_k = top_k < 0 ? 0 : (int)top_k;
    p->seed = (uint64_t)seed;
    p->has_seed = json_is_number(json_object_get(in, "seed"));
    return parse_lengths(s, in, chat, e);
}

/* One stop string. Its number and length are bounded, because the engine looks for every one of them after each token;
 * U+0000 would cut it short. */
static int add_stop(struct params *p, const json_t *v, struct err *e)
{
    if (!json_is_string(v))
        return fields_wrong(e, "invalid_type", "", "stop", "must be a string or an array of strings");
    if (json_string_length(v) == 0)
        return fields_wrong(e, "invalid_value", "", "stop", "must not hold an empty string");
    if (json_string_length(v) > ENGINE_MAX_STOP_BYTES)
        return fields_wrong(e, "invalid_value", "", "stop", "may hold at most %d bytes a string",
                            ENGINE_MAX_STOP_BYTES);
    if (p->n_stop == ENGINE_MAX_STOP)
        return fields_wrong(e, "invalid_value", "", "stop", "may hold at most %d strings", ENGINE_MAX_STOP);
    if (strlen(json_string_value(v)) != json_string_length(v))
        return fields_wrong(e, "invalid_value", "", "stop", "must not hold U+0000");
    p->stop[p->n_stop++] = json_string_value(v);
    return 0;
}

/* A string or a list of strings. A request's own list replaces the default. */
static int parse_stop(struct params *p, const json_t *in, struct err *e)
{
    const json_t *v = json_object_get(in, "stop");
    if (!v || json_is_null(v))
        return 0;
    p->n_stop = 0;
    if (!json_is_array(v))
        return add_stop(p, v, e);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (add_stop(p, json_array_get(v, i), e) != 0)
            return -1;
    return 0;
}

/* Token ids that end the answer. Ids beyond the vocabulary are allowed and never occur. */
static int parse_stop_ids(struct params *p, const json_t *in, struct err *e)
{
    json_t *list = NULL;
    if (member_array(in, "", "stop_token_ids", &list, e) != 0)
        return -1;
    if (json_array_size(list) > ENGINE_MAX_STOP_IDS)
        return fields_wrong(e, "invalid_value", "", "stop_token_ids", "may hold at most %d ids", ENGINE_MAX_STOP_IDS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        int64_t id = -1;
        if (json_whole(json_array_get(list, i), &id) == JSON_NOT_WHOLE)
            return fields_wrong(e, "invalid_type", "", "stop_token_ids", "must be an array of token ids");
        if (id < 0 || id > INT32_MAX)
            return fields_wrong(e, "invalid_value", "", "stop_token_ids", "holds at %zu what is no token id", i);
        p->stop_ids[p->n_stop_ids++] = (int32_t)id;
    }
    return 0;
}

/* Chats have a switch and a number of alternatives; completions have one number for both, and 0 of it means "the
 * chosen token alone". */
static int parse_logprobs(struct params *p, const json_t *in, bool chat, struct err *e)
{
    int64_t top = 0;
    if (!chat) {
        top = -1;
        if (member_int(in, "", "logprobs", 0, ENGINE_MAX_TOP_LOGPROBS, &top, e) != 0)
            return -1;
        p->logprobs = top >= 0;
        p->top_logprobs = top < 0 ? 0 : (int)top;
        return 0;
    }
    if (member_bool(in, "", "logprobs", &p->logprobs, e) != 0 ||
        member_int(in, "", "top_logprobs", 0, ENGINE_MAX_TOP_LOGPROBS, &top, e) != 0)
        return -1;
    if (top > 0 && !p->logprobs)
        return fields_wrong(e, "invalid_value", "", "top_logprobs", "needs \"logprobs\": true");
    p->top_logprobs = (int)top;
    return 0;
}

/* llama.cpp's window of the penalties; here they look at the whole text. */
static int check_window(const struct params *p, const json_t *in, struct err *e)
{
    int64_t last = -1;
    if (member_int(in, "", "repeat_last_n", -1, INT32_MAX, &last, e) != 0)
        return -1;
    bool penalties = p->repetition_penalty != 1 || p->frequency_penalty != 0 || p->presence_penalty != 0;
    if (last == -1 || !penalties)
        return 0;
    return fields_wrong(e, "unsupported_parameter", "", "repeat_last_n", "is not supported but for -1");
}

/* The defaults of the checkpoint, before the request's own fields are read over them. */
void sampling_init(struct sampling *s, const struct engine *g)
{
    struct engine_info info;
    engine_info(g, &info);
    *s = (struct sampling){ .vocab = info.vocab, .n = 1 };
    params_default(g, &s->params);
}

/* What would change the answer and that we cannot do is refused, not ignored. */
static int refuse_unsupported(const json_t *in, int n, struct err *e)
{
    int64_t best_of = 1;
    if (known_check(known_of_request, in, "", e) != 0 || ignored_check(in, e) != 0 ||
        member_int(in, "", "best_of", 0, 128, &best_of, e) != 0)
        return -1;
    if (best_of > 1 && best_of != n)
        return fields_wrong(e, "unsupported_value", "", "best_of", "must be n: every answer that is made is given");
    return 0;
}

/* Reads what is to be told beside the text, and how much of the prompt counts. Log probabilities of the prompt are told
 * in whole answers only, because a stream has begun before they are complete. */
static int parse_prompt_fields(struct sampling *s, const json_t *in, struct err *e)
{
    const json_t *salt = NULL;
    int64_t keep = 0;
    if (member_bool(in, "", "return_token_ids", &s->params.return_ids, e) != 0 ||
        member_bool(in, "", "timings_per_token", &s->timings_per_token, e) != 0 ||
        member_text(in, "", "cache_salt", &salt, e) != 0 ||
        member_int(in, "", "truncate_prompt_tokens", -1, INT32_MAX, &keep, e) != 0)
        return -1;
    if (salt && json_string_length(salt) == 0)
        return fields_wrong(e, "invalid_value", "", "cache_salt", "must not be empty");
    if (keep == 0 && json_is_number(json_object_get(in, "truncate_prompt_tokens")))
        return fields_wrong(e, "invalid_value", "", "truncate_prompt_tokens", "must be -1 or at least 1");
    int64_t told = -1;
    if (member_int(in, "", "prompt_logprobs", 0, ENGINE_MAX_TOP_LOGPROBS, &told, e) != 0)
        return -1;
    if (told >= 0 && json_is_true(json_object_get(in, "stream")))
        return fields_wrong(e, "invalid_value", "", "prompt_logprobs", "is not told in a stream");
    s->params.prompt_logprobs = s->prompt_logprobs = told >= 0;
    s->params.top_prompt_logprobs = told > 0 ? (int)told : 0;
    s->params.cache_salt = salt ? json_string_value(salt) : NULL;
    s->params.n_cache_salt = salt ? json_string_length(salt) : 0;
    s->keep_tokens = (int)keep;
    return 0;
}

/* Everything of a request that says how to generate. What is refused is checked before the switches, so that a request
 * for something that this server cannot do hears that first. no_stop_trim is SGLang's name of
 * include_stop_str_in_output. */
int sampling_parse(struct sampling *s, const json_t *in, bool chat, struct err *e)
{
    struct params *p = &s->params;
    json_t *options = NULL;
    bool    skip_special = true, no_trim = false;
    if (parse_reals(p, in, e) != 0 || parse_integers(s, in, chat, e) != 0 || parse_stop(p, in, e) != 0 ||
        parse_stop_ids(p, in, e) != 0 || parse_logprobs(p, in, chat, e) != 0 ||
        refuse_unsupported(in, s->n, e) != 0 || constraint_parse(s, in, e) != 0 || check_window(p, in, e) != 0 ||
        token_fields_parse(s, in, e) != 0 || parse_prompt_fields(s, in, e) != 0)
        return -1;
    if (member_bool(in, "", "ignore_eos", &p->ignore_eos, e) != 0 ||
        member_bool(in, "", "skip_special_tokens", &skip_special, e) != 0 ||
        member_bool(in, "", "include_stop_str_in_output", &p->include_stop, e) != 0 ||
        member_bool(in, "", "no_stop_trim", &no_trim, e) != 0 ||        /* SGLang's name of it */
        member_bool(in, "", "stream", &s->stream, e) != 0 ||
        member_object(in, "", "stream_options", &options, e) != 0 ||
        member_bool(options, "stream_options", "include_usage", &s->include_usage, e) != 0 ||
        member_bool(options, "stream_options", "continuous_usage_stats", &s->continuous_usage, e) != 0)
        return -1;
    p->keep_special_tokens = !skip_special;
    p->include_stop |= no_trim;
    return 0;
}

void sampling_free(struct sampling *s)
{
    free(s->bias);
    free(s->allowed);
    grammar_unref(s->grammar);
    *s = (struct sampling){ 0 };
}
