/* server/known.c - tables of the fields that are known and not done, and the test whether a value is one of the
 * neutral ones. The rule that they follow stands in known.h. */
#include "server/known.h"

#include <stdlib.h>
#include <string.h>

#include "server/fields.h"

/* From the request classes of OpenAI's API, vLLM, SGLang and llama.cpp. What depends on another field that is refused
 * (mirostat_tau, dry_base, grammar_triggers, ...) need not be here. */
const struct known_field known_of_request[] = {
    /* what the answer may hold */
    { "suffix", "\"\"" }, { "logits_processors", "[]" }, { "stop_regex", "\"\" []" },
    { "guided_whitespace_pattern", "\"\"" },
    { "custom_logit_processor", "\"\" []" }, { "repetition_detection", "" }, { "thinking_token_budget", "-1" },
    { "reasoning_budget_tokens", "-1" }, { "thinking_budget", "-1" }, { "max_thinking_tokens", "-1" },
    { "no_repeat_ngram_size", "0" }, { "vllm_xargs", "{}" }, { "custom_params", "{}" },
    { "t_max_predict_ms", "<0 0" }, { "n_indent", "0" }, { "watermarking", "false" },
    /* how it is sampled */
    { "use_beam_search", "false" }, { "num_beams", "1" }, { "top_a", "0" }, { "smoothing_factor", "0" },
    { "length_penalty", "1" }, { "early_stopping", "false" }, { "n_cmpl", "1" },
    { "typical_p", "1" }, { "typ_p", "1" }, { "tfs_z", "1" }, { "top_n_sigma", "<0 0" }, { "xtc_probability", "0" },
    { "dynatemp_range", "0" }, { "dry_multiplier", "0" }, { "mirostat", "0" }, { "adaptive_target", "<0" },
    { "min_keep", "0 1" }, { "samplers", "\"\" []" },
    /* the model, the prompt */
    { "lora", "[]" }, { "lora_path", "\"\" []" }, { "chat_template", "\"\"" },
    { "prompt_embeds", "[]" }, { "input_ids", "[]" }, { "image_data", "[]" }, { "images_config", "{}" },
    { "media_io_kwargs", "{}" }, { "max_dynamic_patch", "" }, { "min_dynamic_patch", "" },
    { "use_audio_in_video", "false" }, { "session_params", "{}" },
    { "kv_transfer_params", "{}" }, { "ec_transfer_params", "{}" }, { "web_search_options", "" },
    { "modalities", "[text]" }, { "audio", "{}" },
    { "reasoning", "{}" },
    /* what is told beside it */
    { "logprob_token_ids", "[]" }, { "n_probs", "0" }, { "post_sampling_probs", "false" },
    { "return_tokens", "false" }, { "return_tokens_as_token_ids", "false" },
    { "return_prompt_text", "false" }, { "return_prompt_token_ids", "false" }, { "return_hidden_states", "false" },
    { "return_routed_experts", "false" }, { "return_cached_tokens_details", "false" },
    { "return_meta_info", "false" }, { "return_progress", "false" },
    { "verbose", "false" }, { "response_fields", "[]" }, { 0 }
};

enum json_kind { KIND_STRING, KIND_BOOL, KIND_OBJECT };

/* From OpenAI's API, vLLM and SGLang: what they are for has no part in an answer of this server. */
static const struct { const char *name; enum json_kind kind; } ignored[] = {
    { "user", KIND_STRING }, { "safety_identifier", KIND_STRING }, { "prompt_cache_key", KIND_STRING },
    { "prompt_cache_retention", KIND_STRING }, { "service_tier", KIND_STRING }, { "store", KIND_BOOL },
    { "metadata", KIND_OBJECT }, { "prediction", KIND_OBJECT }, { "cache_prompt", KIND_BOOL },
    { "spaces_between_special_tokens", KIND_BOOL }, { "stream_reasoning", KIND_BOOL },
};

/* Fields that have no influence are still checked for their types: a client that sends the wrong type has made a
 * mistake that it wants to hear of. */
int ignored_check(const json_t *in, struct err *e)
{
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        const char *name = ignored[i].name;
        const json_t *text = NULL;
        json_t     *object = NULL;
        bool        flag = false;
        int         rc = 0;
        switch (ignored[i].kind) {
        case KIND_STRING: rc = member_text(in, "", name, &text, e); break;
        case KIND_BOOL:   rc = member_bool(in, "", name, &flag, e); break;
        case KIND_OBJECT: rc = member_object(in, "", name, &object, e); break;
        }
        if (rc != 0)
            return -1;
    }
    return 0;
}

/* Members of structured_outputs. */
const struct known_field known_of_structured[] = {
    { "disable_any_whitespace", "false" }, { "whitespace_pattern", "\"\"" }, { 0 }
};

/* Fields of an image part that stand beside its image_url or within it. */
const struct known_field known_of_image[] = {
    { "resized_height", "" }, { "resized_width", "" }, { "max_dynamic_patch", "" }, { "min_dynamic_patch", "" },
    { "modalities", "image" }, { 0 }
};

/* Members of mm_processor_kwargs, which go to the image processor of the model. */
const struct known_field known_of_processor[] = {
    { "do_resize", "true" }, { "do_rescale", "true" }, { "do_normalize", "true" }, { "do_convert_rgb", "true" },
    { "do_center_crop", "false" }, { "do_pad", "false" }, { "resample", "" }, { "rescale_factor", "" },
    { "image_mean", "" }, { "image_std", "" }, { "patch_size", "" }, { "temporal_patch_size", "" },
    { "merge_size", "" }, { "crop_size", "" }, { "num_crops", "" }, { "max_dynamic_patch", "" },
    { "min_dynamic_patch", "" }, { 0 }
};

/* Members of mm_processor_kwargs.size. */
const struct known_field known_of_size[] = {
    { "height", "" }, { "width", "" }, { "max_height", "" }, { "max_width", "" }, { 0 }
};

static bool is_string(const json_t *v, const char *s, size_t n)
{
    return json_string_length(v) == n && memcmp(json_string_value(v), s, n) == 0;
}

/* Are all elements of the list this word, which is written in brackets? The empty list's always are. */
static bool all_are(const json_t *list, const char *word, size_t n)
{
    if (n < 2 || *word != '[')
        return false;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)) || !is_string(json_array_get(list, i), word + 1, n - 2))
            return false;
    return true;
}

/* `word` begins with a number that x must equal, or with < and a number that x must be below; it ends at a blank or at
 * the table's end. */
static bool is_number(double x, const char *word)
{
    bool   below = *word == '<';
    char  *end;
    double limit = strtod(word + below, &end);
    return end != word && (*end == ' ' || *end == 0) && (below ? x < limit : x == limit);
}

/* Is v what this word of known_field.neutral, of n bytes, stands for? */
static bool matches(const json_t *v, const char *word, size_t n)
{
    switch (json_typeof(v)) {
    case JSON_NULL:   return true;
    case JSON_TRUE:   return n == 4 && memcmp(word, "true", n) == 0;
    case JSON_FALSE:  return n == 5 && memcmp(word, "false", n) == 0;
    case JSON_STRING: return json_string_length(v) > 0 ? is_string(v, word, n) : n == 2 && memcmp(word, "\"\"", n) == 0;
    case JSON_ARRAY:  return all_are(v, word, n);
    case JSON_OBJECT: return n == 2 && memcmp(word, "{}", n) == 0 && json_object_size(v) == 0;
    default:          return is_number(json_number_value(v), word);
    }
}

/* Goes through the words of the table's row one after the other. */
static bool is_neutral(const struct known_field *f, const json_t *v)
{
    if (json_is_null(v))
        return true;
    for (const char *word = f->neutral; *word;) {
        size_t n = strcspn(word, " ");
        if (matches(v, word, n))
            return true;
        word += n + (word[n] == ' ');
    }
    return false;
}

/* The value decides, not the name: a field with a neutral value passes. */
int known_check(const struct known_field *table, const json_t *in, const char *at, struct err *e)
{
    for (const struct known_field *f = table; f->name; f++) {
        const json_t *v = json_object_get(in, f->name);
        if (v && !is_neutral(f, v))
            return fields_wrong(e, "unsupported_parameter", at, f->name, "is not supported");
    }
    return 0;
}
