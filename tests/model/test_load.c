/* Opening checkpoints: dry and loaded count the same, and a damaged
 * configuration or a missing tensor is one line that names it. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/measure.h"
#include "checkpoint/safetensors.h"
#include "selftest/trial.h"
#include "tests/suite.h"

static char dir[] = "/tmp/openautoglm-test-XXXXXX";

/* The tiny checkpoint `from` with links to its files, except config.json. */
static void copy_of(const char *from, json_t *config)
{
    static const char *const files[] = { "model.safetensors", "preprocessor_config.json", "generation_config.json" };
    char target[512], path[512], *here = realpath(from, NULL);
    for (int i = 0; i < 3; i++) {
        snprintf(target, sizeof target, "%.400s/%s", here, files[i]);
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
        if (access(target, F_OK) == 0)
            ck_assert_int_eq(symlink(target, path), 0);
    }
    snprintf(path, sizeof path, "%s/config.json", dir);
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    free(here);
}

static json_t *config_of(const char *from)
{
    char path[512];
    snprintf(path, sizeof path, "%s/config.json", from);
    json_t *c = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(c);
    return c;
}

static struct model *open_dry(const char *where, struct err *e)
{
    struct model_options opt = { .backend = &backend_ref };
    return model_open(where, &opt, e);
}

static const char *const checkpoints[] = { "tests/model/glm4v/grouped", "tests/model/qwen2_vl/tied",
                                           "tests/model/llama/yarn",
                                           "tests/model/qwen2_5_vl/windows", "tests/model/qwen3_vl/deepstack",
                                           "tests/model/mllama/tiles", "tests/model/idefics/resampler",
                                           "tests/model/open_autoglm/tiny-plain" };

struct told { int calls; size_t done, all; };

static void see(void *arg, size_t done, size_t all)
{
    struct told *s = arg;
    ck_assert_uint_ge(done, s->done);
    ck_assert_uint_le(done, all);
    *s = (struct told){ s->calls + 1, done, all };
}

START_TEST(test_dry)
{
    struct err e;
    struct device *dev;
    struct model *dry = open_dry(checkpoints[_i], &e);
    ck_assert_msg(dry != NULL, "%s", e.text);
    ck_assert_int_eq(backend_ref.open(&dev, &(struct device_options){ .threads = 1 }, &e), 0);
    struct told seen = { 0 };
    struct model_options opt = { .backend = &backend_ref, .device = dev, .progress = see, .progress_arg = &seen };
    struct model *m = model_open(checkpoints[_i], &opt, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    ck_assert_int_gt(seen.calls, 4);
    ck_assert_uint_eq(seen.done, seen.all);
    ck_assert_uint_ge(seen.all, 2 * m->n_params);      /* bytes of the files */
    ck_assert_uint_eq(dry->weight_bytes, m->weight_bytes);
    ck_assert_uint_eq(dry->n_params, m->n_params);
    ck_assert_uint_gt(dry->weight_bytes, 2 * dry->n_params - dry->n_params / 2);
    ck_assert_uint_eq(model_measure_forward(dry, 7, 2, 3, 0).scratch, model_measure_forward(m, 7, 2, 3, 0).scratch);
    ck_assert_uint_gt(model_measure_forward(dry, 70, 2, 3, 0).scratch, model_measure_forward(dry, 7, 2, 3, 0).scratch);
    if (m->family->plan_image) {
        struct image_plan p;
        ck_assert_int_eq(m->family->plan_image(m, 500, 700, NULL, &p, &e), 0);
        ck_assert_uint_gt(model_measure_encode(dry, &p).scratch, 0);
        ck_assert_int_eq(p.width % m->image_align, 0);
    }
    model_close(dry);
    model_close(m);
    backend_ref.close(dev);
}
END_TEST

/* One field of config.json ("section.field") set to `value` (JSON text; NULL: removed). */
static const struct { const char *from, *field, *value, *error; } bad[] = {
    { "tests/model/llama/yarn", "model_type", "\"gpt9\"", "model_type \"gpt9\" is not supported; docs" },
    { "tests/model/llama/yarn", "model_type", "\"qwen9\"", "\"qwen9\" is not supported, \"qwen2\" would be; docs" },
    { "tests/model/llama/yarn", "model_type", "7", "model_type: must be a string" },
    { "tests/model/llama/yarn", "model_type", NULL, "no model_type" },
    { "tests/model/llama/yarn", "hidden_size", "0", "config.json: hidden_size: 0 is not in" },
    { "tests/model/llama/yarn", "hidden_size", NULL, "hidden_size: is missing" },
    { "tests/model/llama/yarn", "hidden_size", "64", "model.embed_tokens.weight has shape (280, 32), not (280, 64)" },
    { "tests/model/llama/yarn", "vocab_size", "281", "model.embed_tokens.weight has shape (280, 32), not (281, 32)" },
    { "tests/model/llama/yarn", "num_hidden_layers", "4", "tensor model.layers.3.input_layernorm.weight is missing" },
    { "tests/model/llama/yarn", "num_key_value_heads", "3", "num_key_value_heads: 3 does not divide 2 heads" },
    { "tests/model/llama/yarn", "tie_word_embeddings", "false", "tensor lm_head.weight is missing" },
    { "tests/model/llama/yarn", "attention_bias", "true", "self_attn.q_proj.bias is missing" },
    { "tests/model/llama/yarn", "hidden_act", "\"tanh\"", "hidden_act: \"tanh\" is not supported" },
    { "tests/model/llama/yarn", "rms_norm_eps", "\"small\"", "rms_norm_eps: must be a number" },
    { "tests/model/llama/yarn", "rope_parameters.rope_type", "\"ntk\"", "rope_parameters.rope_type: \"ntk\" is not "
        "supported" },
    { "tests/model/llama/yarn", "rope_parameters", "[]", "rope_parameters: must be an object" },
    { "tests/model/llama/yarn", "quantization_config", "{}", "quantization_config" },
    { "tests/model/llama/llama3", "rope_parameters.factor", NULL, "rope_parameters.factor: is missing" },
    { "tests/model/phi3/long", "rope_parameters.long_factor", "[1, 2]", "long_factor: must be 6 numbers" },
    { "tests/model/qwen3_moe/normed", "num_experts_per_tok", "9", "num_experts_per_tok: 9 is more than there are" },
    { "tests/model/qwen3_moe/normed", "num_experts", "9", "mlp.gate.weight has shape (8, 32), not (9, 32)" },
    { "tests/model/qwen3_moe/normed", "moe_intermediate_size", "20", "experts.0.gate_proj.weight has shape (16, 32)" },
    { "tests/model/glm4_moe/groups", "n_group", "3", "n_group: 3 groups do not divide 8 experts" },
    { "tests/model/glm4_moe/groups", "topk_group", "1", "topk_group: 1 of 4 groups do not have 3 experts" },
    { "tests/model/qwen3_vl_moe/deepstack", "text_config.moe_intermediate_size", "20", "gate_up_proj has shape" },
    { "tests/model/smollm3/listed", "no_rope_layers", "[1, 0]", "no_rope_layers: has 2 entries for 3 layers" },
    { "tests/model/smollm3/listed", "no_rope_layers", "[1, 0, 2]", "no_rope_layers: 2 is not in 0..1" },
    { "tests/model/glm4v/grouped", "vision_config.num_heads", "3",
      "vision_config.num_heads: 3 heads do not divide 32" },
    { "tests/model/glm4v/grouped", "vision_config.out_hidden_size", "64", "out_hidden_size: 64 is not the text's "
        "hidden size" },
    { "tests/model/glm4v/grouped", "vision_config.patch_size", "5", "patch_size: is not the model's 5" },
    { "tests/model/glm4v/grouped", "vision_config.depth", "7", "tensor model.visual.blocks.2.norm1.weight is missing" },
    { "tests/model/glm4v/grouped", "vision_config.image_size", "99", "position_embedding.weight has shape" },
    { "tests/model/glm4v/grouped", "vision_config", "3", "vision_config: must be an object" },
    { "tests/model/glm4v/grouped", "image_token_id", "280", "image_token_id: 280 is not in 0..279" },
    { "tests/model/glm46v/dense", "text_config.model_type", "\"glm4\"", "\"glm4\" is not supported (glm4v_text, " },
    { "tests/model/glm46v/dense", "text_config.model_type", "\"glm4v_moe_text\"",
      "layers.0.mlp.gate_proj.weight is missing" },
    { "tests/model/glm46v/dense", "text_config.model_type", "7", "text_config.model_type: must be" },
    { "tests/model/glm_ocr/tied", "vision_config.attention_bias", "true", "blocks.0.attn.qkv.bias is missing" },
    { "tests/model/glm_ocr/tied", "vision_config.intermediate_size", "44", "mlp.gate_proj.weight has shape" },
    { "tests/model/glm_ocr/tied", "text_config.head_dim", "12", "self_attn.q_proj.weight has shape" },
    { "tests/model/internvl_chat/tiles", "llm_config.model_type", "\"internlm2\"",
      "llm_config.model_type: \"internlm2\" is not supported (llama" },
    { "tests/model/internvl_chat/tiles", "select_layer", "-4", "select_layer: must be -1" },
    { "tests/model/internvl_chat/tiles", "ps_version", "\"v1\"", "ps_version: \"v1\" is not supported (v2)" },
    { "tests/model/internvl_chat/tiles", "pad2square", "true", "pad2square: must be false" },
    { "tests/model/internvl_chat/tiles", "force_image_size", "32", "force_image_size: must be that of the tower" },
    { "tests/model/internvl_chat/tiles", "max_dynamic_patch", "1000", "max_dynamic_patch: 1000 is not in 1..64" },
    { "tests/model/deepseek_vl/head", "vision_config.model_type", "\"clip_vision_model\"", "is not supported (siglip" },
    { "tests/model/deepseek_vl/head", "vision_config.image_size", "25", "position_embedding.weight has shape" },
    { "tests/model/deepseek_vl/head", "image_token_id", "280", "image_token_id: 280 is not in 0..279" },
    { "tests/model/mllama/tiles", "text_config.cross_attention_layers", "[3, 1]", "must be layers in rising order" },
    { "tests/model/mllama/tiles", "text_config.cross_attention_layers", "[0, 1, 2, 3]", "leaves no layer with self-" },
    { "tests/model/mllama/tiles", "text_config.cross_attention_layers", "[1]", "layers.3.self_attn.q_proj.weight is "
      "missing" },
    { "tests/model/mllama/tiles", "text_config.tie_word_embeddings", "true", "tie_word_embeddings: must be false" },
    { "tests/model/mllama/tiles", "vision_config.max_num_tiles", "3", "max_num_tiles of 3" },
    { "tests/model/mllama/tiles", "vision_config.vision_output_dim", "64", "vision_output_dim: is not 96" },
    { "tests/model/mllama/tiles", "vision_config.image_size", "16", "size: a tile of the image processor is not" },
    { "tests/model/mllama/tiles", "vision_config.intermediate_layers_indices", "[1, 0]", "in rising order" },
    { "tests/model/mllama/tiles", "image_token_index", "288", "288 is not in 0..287" },
    { "tests/model/idefics/resampler", "cross_layer_interval", "3", "3 does not divide 4 layers" },
    { "tests/model/idefics/resampler", "additional_vocab_size", "2", "has shape (3, 32), not (2, 32)" },
    { "tests/model/idefics/resampler", "alpha_type", "\"vector\"", "alpha_cross_attn has shape (1), not (1, 1, 32)" },
    { "tests/model/idefics/resampler", "perceiver_config.resampler_depth", "3", "blocks.2.0.context_layer_norm.weight "
      "is missing" },
    { "tests/model/idefics/resampler", "vision_config.image_size", "16", "position_embedding.weight has shape" },
    { "tests/model/qwen2_5_vl/windows", "vision_config.window_size", "3",
      "window_size: 3 is less than an image token" },
    { "tests/model/qwen3_vl/deepstack", "vision_config.deepstack_visual_indexes", "[1, 0]", "rising order" },
    { "tests/model/qwen3_vl/deepstack", "vision_config.num_position_embeddings", "35", "35 is not a square" },
    { "tests/model/gemma3/types", "mm_tokens_per_image", "9", "mm_tokens_per_image: 9 is not a square whose side "
        "divides 4 patches" },
    { "tests/model/gemma3/types", "boi_token_index", "280", "boi_token_index: 280 is not in 0..279" },
    { "tests/model/gemma3/types", "vision_config.image_size", "12", "position_embedding.weight has shape" },
    { "tests/model/gemma3/types", "text_config.layer_types",
      "[\"full_attention\"]", "layer_types: must be a list of 3" },
    { "tests/model/gemma/bias", "hidden_act", "\"selu\"", "hidden_act: \"selu\" is not an activation" },
    { "tests/model/gemma/grouped", "head_dim", "16", "q_proj.weight has shape (48, 32), not (64, 32)" },
    { "tests/model/gemma2/types", "final_logit_softcapping", "0", "final_logit_softcapping: 0 is not in" },
    { "tests/model/gemma2/windows", "layer_types", "[\"sliding_attention\"]", "layer_types: must be a list of 5" },
    { "tests/model/gemma2/windows", "use_bidirectional_attention", "true", "true is not supported" },
    { "tests/model/paligemma/published", "text_config.model_type", "\"llama\"", "\"llama\" is not supported (gemma" },
    { "tests/model/paligemma/published", "projection_dim", "48",
      "projection_dim: 48 is not the text's hidden size 32" },
    { "tests/model/paligemma/published", "image_token_index", "100000", "image_token_index: 100000 is not in" },
    { "tests/model/paligemma/second", "vision_config.image_size", "16", "position_embedding.weight has shape" },
    { "tests/model/gemma3_text/types", "layer_types", "[\"full_attention\", \"chunked_attention\", 3]",
      "layer_types: layer 1 is \"chunked_attention\"" },
    { "tests/model/gemma3_text/types", "sliding_window", "0", "sliding_window: 0 is not in" },
    { "tests/model/gemma3_text/types", "final_logit_softcapping", "30.0", "softcapping is not supported" },
    { "tests/model/smolvlm/published", "scale_factor", "3",
      "max_image_size: tiles of 16 pixels are no whole blocks of 3 x 3 patches of 4" },
    { "tests/model/smolvlm/published", "vision_config.image_size", "20", "position_embedding.weight has shape" },
    { "tests/model/llava_next/published", "vision_feature_select_strategy", "\"full\"",
      "\"full\" does not go with a tower of clip_vision_model" },
    { "tests/model/llava_next/published", "image_grid_pinpoints", "[[16, 32]]", "differs from config.json's" },
    { "tests/model/llava_next/published", "vision_feature_layer", "-9", "vision_feature_layer: -9 is not in" },
    { "tests/model/llava_next/published", "text_config.model_type", "\"gpt2\"", "\"gpt2\" is not supported (llama" },
    { "tests/model/llava_onevision/tiles", "vision_aspect_ratio", "\"pad\"", "\"pad\" is not supported" },
    { "tests/model/idefics2/published", "perceiver_config.num_key_value_heads", "3", "3 does not divide 4 heads" },
    { "tests/model/idefics2/published", "perceiver_config.resampler_n_latents", "4",
      "latents has shape (3, 32), not (4, 32)" },
    { "tests/model/open_autoglm/tiny-plain", "fusion", "\"sum\"", "fusion: \"sum\" is not dynamic, mean or concat" },
    { "tests/model/open_autoglm/tiny-plain", "vision_config.stem", "[[1,2]]", "stem: block 0 is not" },
};

static void set_field(json_t *config, const char *field, const char *value)
{
    char section[64];
    const char *dot = strchr(field, '.');
    json_t *o = config;
    if (dot) {
        snprintf(section, sizeof section, "%.*s", (int)(dot - field), field);
        o = json_object_get(config, section);
        ck_assert_msg(json_is_object(o), "%s", section);
        field = dot + 1;
    }
    if (!value)
        json_object_del(o, field);
    else
        json_object_set_new(o, field, json_loads(value, JSON_DECODE_ANY, NULL));
}

START_TEST(test_refuses)
{
    struct err e = { 0 };
    json_t *config = config_of(bad[_i].from);
    set_field(config, bad[_i].field, bad[_i].value);
    copy_of(bad[_i].from, config);
    ck_assert_ptr_null(open_dry(dir, &e));
    ck_assert_msg(strstr(e.text, bad[_i].error) != NULL, "\"%s\" does not say \"%s\"", e.text, bad[_i].error);
    ck_assert_ptr_null(strchr(e.text, '\n'));
    json_decref(config);
}
END_TEST

/* The old spelling: a flat file, rope_theta at the top, rope_scaling with "type". */
START_TEST(test_old_spelling)
{
    struct err e;
    json_t *config = config_of("tests/model/qwen2_vl/tied"), *text = json_object_get(config, "text_config"), *v;
    json_t *rope = json_incref(json_object_get(text, "rope_parameters"));
    const char *key;
    json_object_del(text, "rope_parameters");
    json_object_set_new(text, "rope_theta", json_incref(json_object_get(rope, "rope_theta")));
    json_object_set_new(text, "rope_scaling", json_pack("{s:s,s:O}", "type", "mrope", "mrope_section",
                                                        json_object_get(rope, "mrope_section")));
    json_object_del(text, "model_type");
    json_object_foreach(text, key, v)
        json_object_set(config, key, v);
    json_object_del(config, "text_config");
    json_object_set_new(config, "tie_word_embeddings", json_true());
    copy_of("tests/model/qwen2_vl/tied", config);
    struct model *m = open_dry(dir, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    ck_assert_int_eq(m->hidden, 48);
    ck_assert_int_eq(m->context, 512);
    ck_assert_int_eq(m->n_unused, 0);
    ck_assert_int_eq(m->eos[0], 256);
    model_close(m);
    json_decref(rope);
    json_decref(config);
}
END_TEST

/* Every `step`-th tensor of f from `first` on as F32 in a file of its own; an odd header, so that nothing is
 * aligned. */
static void write_shard(const struct weights_file *f, int first, int step, const char *name, json_t *map)
{
    char path[256];
    int n;
    const struct stored *t = weights_all(f, &n);
    json_t *header = json_object();
    size_t at = 0;
    for (int i = first; i < n; i += step) {
        json_t *shape = json_array();
        for (int d = 0; d < t[i].n_dims; d++)
            json_array_append_new(shape, json_integer(t[i].dims[d]));
        json_object_set_new(header, t[i].name, json_pack("{s:s,s:o,s:[I,I]}", "dtype", "F32", "shape", shape,
                                                         "data_offsets",
                                                         (json_int_t)at, (json_int_t)(at + 2 * t[i].bytes)));
        json_object_set_new(map, t[i].name, json_string(name));
        at += 2 * t[i].bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t len = strlen(text) + 1 - strlen(text) % 2; /* odd */
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *out = fopen(path, "wb");
    fwrite(&len, 8, 1, out);
    fprintf(out, "%-*s", (int)len, text);
    for (int i = first; i < n; i += step)
        for (size_t k = 0; k < t[i].bytes / 2; k++) {
            const uint8_t *bf16 = (const uint8_t *)t[i].data + 2 * k;
            fwrite((uint8_t[4]){ 0, 0, bf16[0], bf16[1] }, 4, 1, out);
        }
    fclose(out);
    free(text);
    json_decref(header);
}

static float *logits_of(const char *where, struct model_options opt, size_t *n)
{
    static const int32_t ids[] = { 5, 77, 130, 9, 256, 31, 8 };
    struct err e;
    struct trial t;
    struct device *dev;
    ck_assert_int_eq(backend_ref.open(&dev, &(struct device_options){ .threads = 1 }, &e), 0);
    opt.backend = &backend_ref;
    opt.device = dev;
    struct model *m = model_open(where, &opt, &e);
    ck_assert_msg(m != NULL, "%s", e.text);
    ck_assert_int_eq(m->n_unused, 0);
    *n = 7 * (size_t)m->vocab;
    float *out = malloc(*n * sizeof *out);
    trial_open(&t, m, 16, F32);
    ck_assert_int_eq(trial_prompt(&t, ids, 7, 7, out, &e), 0);
    trial_close(&t);
    model_close(m);
    backend_ref.close(dev);
    return out;
}

/* The same weights as float32, in two shards with an index, unaligned, or converted: the same logits to the bit. */
START_TEST(test_shards)
{
    static const char from[] = "tests/model/llama/llama3";
    struct err e;
    char path[256];
    size_t n, n_again;
    json_t *config = config_of(from), *map = json_object(), *index = json_pack("{s:O}", "weight_map", map);
    struct weights_file *f = weights_open(from, &e);
    ck_assert_msg(f != NULL, "%s", e.text);
    copy_of(from, config);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    write_shard(f, 0, 2, "model-00001-of-00002.safetensors", map);
    write_shard(f, 1, 2, "model-00002-of-00002.safetensors", map);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    ck_assert_int_eq(json_dump_file(index, path, 0), 0);
    float *want = logits_of(from, (struct model_options){ 0 }, &n), *have = logits_of(dir, (struct model_options){ 0 },
                                                                                      &n_again);
    ck_assert_uint_eq(n, n_again);
    ck_assert(!memcmp(want, have, n * sizeof *want));
    free(have);
    have = logits_of(from, (struct model_options){ .convert = true, .weights = F32 }, &n_again);
    ck_assert(!memcmp(want, have, n * sizeof *want));
    free(have);
    have = logits_of(dir, (struct model_options){ .convert = true, .weights = BF16 }, &n_again);
    ck_assert(!memcmp(want, have, n * sizeof *want));
    free(want);
    free(have);
    weights_close(f);
    json_decref(map);
    json_decref(index);
    json_decref(config);
}
END_TEST

static uint32_t state = 99;
static uint32_t draw(void) { return state = state * 1664525u + 1013904223u, state >> 8; }

/* Numbers, strings and lists in place of one another: opened or refused, nothing else. */
static void mutate(json_t *o, int depth)
{
    static const char *const values[] = { "0", "1", "-1", "3", "2147483647", "9223372036854775807", "1e300", "0.5",
                                          "true", "null", "\"x\"", "[]", "{}", "[1,2,3]", "65536", "[1e9]" };
    size_t n = json_object_size(o), k = n ? draw() % n : 0;
    void *it = json_object_iter(o);
    while (it && k--)
        it = json_object_iter_next(o, it);
    if (!it)
        return;
    json_t *v = json_object_iter_value(it);
    if (json_is_object(v) && depth < 3 && draw() % 4)
        mutate(v, depth + 1);
    else
        json_object_iter_set_new(o, it, json_loads(values[draw() % (sizeof values / sizeof *values)], JSON_DECODE_ANY,
                                                   NULL));
}

START_TEST(test_mutations)
{
    struct err e;
    int opened = 0;
    for (int i = 0; i < 400; i++) {
        json_t *config = config_of(checkpoints[_i]);
        for (uint32_t k = 0, n = 1 + draw() % 2; k < n; k++)
            mutate(config, 0);
        copy_of(checkpoints[_i], config);
        struct model *m = open_dry(dir, &e);
        opened += m != NULL;
        model_close(m);
        json_decref(config);
    }
    ck_assert_int_gt(opened, 20);
    ck_assert_int_lt(opened, 395);
}
END_TEST

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    Suite *s = suite_create("load");
    TCase *t = tcase_create("open");
    int n = sizeof checkpoints / sizeof *checkpoints;
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_dry, 0, n);
    tcase_add_loop_test(t, test_refuses, 0, sizeof bad / sizeof *bad);
    tcase_add_test(t, test_old_spelling);
    tcase_add_test(t, test_shards);
    tcase_add_loop_test(t, test_mutations, 0, n);
    suite_add_tcase(s, t);
    int failed = suite_run(s);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return failed != 0 || system(command) != 0;
}
