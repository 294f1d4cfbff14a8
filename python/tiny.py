"""Tiny checkpoints with random weights, in the layout of the Hugging Face hub.

Every family gets several configurations that differ where implementations go
wrong: key-value heads, odd numbers of layers, rope sections, tied embeddings,
biases.  A checkpoint is some 100 KB: bf16 weights, a byte-level tokenizer and
a short chat template of the family's shape.  The variant "published" has
tokenizer and template of the published shape (published.py).
"""
import json
import os
import re

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import cross
import deepseek_vl
import gemma
import idefics2
import idefics3
import internvl
import internvl_chat
import kosmos2
import llava
import llava15
import paligemma
import pixtral
import published

GLM = ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_image|>",
       "<|image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|video|>", "<|end_of_video|>"]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>",
        "<|video_pad|>", "<|vision_pad|>"]
LLAMA = ["<|end_of_text|>", "<|begin_of_text|>", "<|eot_id|>"]

GEMMA_TEMPLATE = """<bos>{% for m in messages %}<start_of_turn>{{ m.role }}
{% if m.content is string %}\
{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'image' %}<start_of_image>{% elif p.type == 'text' %}\
{{ p.text }}{% endif %}{% endfor %}{% endif %}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

GLM_TEMPLATE = """[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>
{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'image' %}\
<|begin_of_image|><|image|><|end_of_image|>{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}\
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
QWEN_TEMPLATE = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}\
{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
LLAMA_TEMPLATE = """<|begin_of_text|>{% for m in messages %}{{ m.role }}:
{{ m.content }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}assistant:
{% endif %}"""


def tokenizer(special, template):
    """256 bytes, then the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    out = PreTrainedTokenizerFast(tokenizer_object=t, eos_token=special[0], pad_token=special[0])
    out.chat_template = template
    return out


def at(special, name):
    return 256 + special.index(name)


def glm_ids():
    return {"image_token_id": at(GLM, "<|image|>"), "video_token_id": at(GLM, "<|video|>"),
            "image_start_token_id": at(GLM, "<|begin_of_image|>"), "image_end_token_id": at(GLM, "<|end_of_image|>"),
            "video_start_token_id": at(GLM, "<|begin_of_video|>"), "video_end_token_id": at(GLM, "<|end_of_video|>")}


def qwen_ids():
    return {"image_token_id": at(QWEN, "<|image_pad|>"), "video_token_id": at(QWEN, "<|video_pad|>"),
            "vision_start_token_id": at(QWEN, "<|vision_start|>"), "vision_end_token_id": at(QWEN, "<|vision_end|>")}


def text(vocab, hidden, heads, kv, layers, inner, **more):
    return {"vocab_size": vocab, "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv,
            "num_hidden_layers": layers, "intermediate_size": inner, "max_position_embeddings": 512,
            "eos_token_id": 256, "pad_token_id": 256, "bos_token_id": 256, **more}


def glm4v_vision(**more):
    return {"depth": 2, "hidden_size": 32, "num_heads": 2, "image_size": 24, "patch_size": 4, "out_hidden_size": 32,
            "intermediate_size": 40, "spatial_merge_size": 2, "temporal_patch_size": 2, **more}


def rope(theta, section=None, **more):
    return {"rope_type": "default", "rope_theta": theta, **({"mrope_section": section} if section else {}), **more}


V = 280

# family -> variant -> (configuration, what the image processor is told)
CASES = {
    "glm4v": {
        "grouped": ({"text_config": text(V, 32, 2, 1, 3, 48,
                                         rope_parameters=rope(10000.0, [2, 1, 1], partial_rotary_factor=.5)),
                     "vision_config": glm4v_vision(), **glm_ids()}, {"patch_size": 4}),
        "tied": ({"text_config": text(V, 48, 4, 2, 2, 32, rope_parameters=rope(500.0, [1, 2, 3]), rms_norm_eps=1e-6),
                  "vision_config": glm4v_vision(depth=3, hidden_size=24, num_heads=3, patch_size=6, image_size=42,
                                                out_hidden_size=48, attention_bias=True, rms_norm_eps=1e-4),
                  "tie_word_embeddings": True, **glm_ids()}, {"patch_size": 6}),
    },
    "glm4": {
        "grouped": (text(V, 32, 4, 2, 3, 48, head_dim=16, attention_bias=True,
                         rope_parameters=rope(10000.0, partial_rotary_factor=.5)), None),
        "plain": (text(V, 48, 3, 3, 2, 64, head_dim=16, attention_bias=False, tie_word_embeddings=True,
                       rope_parameters=rope(300.0, partial_rotary_factor=1.)), None),
    },
    "qwen2_vl": {
        "grouped": ({"text_config": text(V, 32, 4, 2, 3, 48, rope_parameters=rope(10000.0, [2, 1, 1])),
                     "vision_config": {"depth": 3, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
                                       "mlp_ratio": 2}, **qwen_ids()}, {"patch_size": 4}),
        "tied": ({"text_config": text(V, 48, 3, 3, 2, 40, rope_parameters=rope(400.0, [1, 3, 4]), rms_norm_eps=1e-5),
                  "vision_config": {"depth": 2, "embed_dim": 24, "hidden_size": 48, "num_heads": 3, "patch_size": 6,
                                    "mlp_ratio": 3}, "tie_word_embeddings": True, **qwen_ids()}, {"patch_size": 6}),
    },
    "qwen2_5_vl": {
        "windows": ({"text_config": text(V, 32, 4, 2, 3, 48, rope_parameters=rope(10000.0, [2, 1, 1])),
                     "vision_config": {"depth": 4, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
                                       "intermediate_size": 24, "out_hidden_size": 32, "window_size": 24,
                                       "fullatt_block_indexes": [1, 3]},
                     **qwen_ids()}, {"patch_size": 4}),
        "tied": ({"text_config": text(V, 48, 3, 3, 2, 40, rope_parameters=rope(400.0, [1, 3, 4]), rms_norm_eps=1e-5),
                  "vision_config": {"depth": 3, "hidden_size": 24, "num_heads": 3, "patch_size": 6,
                                    "intermediate_size": 40, "out_hidden_size": 48, "window_size": 24,
                                    "fullatt_block_indexes": [2]},
                  "tie_word_embeddings": True, **qwen_ids()}, {"patch_size": 6}),
    },
    "qwen3_vl": {
        "deepstack": ({"text_config": text(V, 32, 4, 2, 3, 48, head_dim=16,
                                           rope_parameters=rope(10000.0, [3, 3, 2], mrope_interleaved=True)),
                       "vision_config": {"depth": 3, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
                                         "intermediate_size": 24, "out_hidden_size": 32, "num_position_embeddings": 36,
                                         "deepstack_visual_indexes": [0, 1]},
                       "vision_start_token_id": 259, "vision_end_token_id": 261, "image_token_id": 260,
                       "video_token_id": 262},
                      {"patch_size": 4}),
        "tied": ({"text_config": text(V, 48, 3, 1, 4, 32, head_dim=12,
                                      rope_parameters=rope(400.0, [2, 2, 2], mrope_interleaved=True)),
                  "vision_config": {"depth": 2, "hidden_size": 24, "num_heads": 3, "patch_size": 6,
                                    "intermediate_size": 32, "out_hidden_size": 48, "num_position_embeddings": 49,
                                    "deepstack_visual_indexes": [1]},
                  "tie_word_embeddings": True,
                  "vision_start_token_id": 259, "vision_end_token_id": 261, "image_token_id": 260,
                  "video_token_id": 262},
                 {"patch_size": 6}),
    },
    "llama": {
        "llama3": (text(V, 48, 6, 2, 3, 64, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
                        rope_parameters={
            "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}), None),
        "linear": (text(V, 32, 4, 4, 2, 48, tie_word_embeddings=True, rope_parameters={
            "rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}), None),
        "dynamic": (text(V, 32, 4, 1, 2, 48, head_dim=12, tie_word_embeddings=True, rope_parameters={
            "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}), None),
        "yarn": (text(V, 32, 2, 1, 3, 48, tie_word_embeddings=True, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}), None),
    },
    "qwen2": {
        "grouped": (text(V, 32, 4, 2, 3, 48, rope_parameters=rope(1000000.0)), None),
        "yarn": (text(V, 48, 3, 3, 2, 48, tie_word_embeddings=True, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 256}), None),
        "windows": (text(V, 32, 4, 2, 4, 48, use_sliding_window=True, sliding_window=7, max_window_layers=1,
                         rope_parameters=rope(10000.0)), None),
    },
    "gemma3_text": {
        "windows": (text(V, 32, 4, 2, 5, 48, head_dim=16, sliding_window=9, sliding_window_pattern=3,
                         query_pre_attn_scalar=24, tie_word_embeddings=True, rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}), None),
        "types": (text(V, 24, 2, 1, 3, 40, head_dim=12, sliding_window=33, attention_bias=True,
                       query_pre_attn_scalar=12, tie_word_embeddings=False,
                       layer_types=["full_attention", "sliding_attention", "sliding_attention"], rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 500.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}), None),
    },
    "qwen3": {
        "grouped": (text(V, 32, 4, 2, 3, 48, head_dim=16, rope_parameters=rope(1000000.0)), None),
        "bias": (text(V, 48, 2, 1, 2, 48, head_dim=20, attention_bias=True, tie_word_embeddings=True,
                      rope_parameters=rope(10000.0)), None),
    },
}

QWEN3_IDS = {"vision_start_token_id": 259, "vision_end_token_id": 261, "image_token_id": 260, "video_token_id": 262}


def experts(n, chosen, inner, **more):
    return {"num_experts": n, "num_experts_per_tok": chosen, "moe_intermediate_size": inner, **more}


def glm_experts(n, chosen, inner, **more):
    return {"n_routed_experts": n, "num_experts_per_tok": chosen, "moe_intermediate_size": inner, **more}


CASES["qwen3_moe"] = {
    "normed": (text(V, 32, 4, 2, 3, 40, head_dim=16, rope_parameters=rope(10000.0), mlp_only_layers=[1],
                    **experts(8, 3, 16, norm_topk_prob=True)), None),
    "every-second": (text(V, 48, 3, 1, 3, 32, head_dim=16, attention_bias=True, tie_word_embeddings=True,
                          rope_parameters=rope(300.0), decoder_sparse_step=2, **experts(5, 2, 20)), None),
}
CASES["qwen3_vl_moe"] = {
    "deepstack": ({"text_config": text(V, 32, 4, 2, 2, 40, head_dim=16, **experts(6, 2, 16),
                                       rope_parameters=rope(10000.0, [3, 3, 2], mrope_interleaved=True)),
                   "vision_config": {"depth": 3, "hidden_size": 16, "num_heads": 2, "patch_size": 4,
                                     "intermediate_size": 24, "out_hidden_size": 32, "num_position_embeddings": 36,
                                     "deepstack_visual_indexes": [0, 1]}, **QWEN3_IDS}, {"patch_size": 4}),
    "tied": ({"text_config": text(V, 24, 2, 1, 3, 32, head_dim=12, mlp_only_layers=[0], **experts(4, 3, 12),
                                  rope_parameters=rope(400.0, [2, 2, 2], mrope_interleaved=True)),
              "vision_config": {"depth": 2, "hidden_size": 24, "num_heads": 3, "patch_size": 4,
                                "intermediate_size": 32, "out_hidden_size": 24, "num_position_embeddings": 49,
                                "deepstack_visual_indexes": [1]},
              "tie_word_embeddings": True, **QWEN3_IDS}, {"patch_size": 4}),
}
CASES["glm4_moe"] = {
    "groups": (text(V, 32, 4, 2, 3, 40, head_dim=16, attention_bias=True, use_qk_norm=True,
                    rope_parameters=rope(10000.0, partial_rotary_factor=.5),
                    **glm_experts(8, 3, 16, n_group=4, topk_group=2, routed_scaling_factor=2.5)), None),
    "shared": (text(V, 48, 3, 3, 2, 32, head_dim=16, tie_word_embeddings=True, first_k_dense_replace=0,
                    rope_parameters=rope(300.0, partial_rotary_factor=1.), n_shared_experts=2,
                    **glm_experts(5, 2, 12, norm_topk_prob=False)), None),
}
CASES["glm4v_moe"] = {
    "groups": ({"text_config": text(V, 32, 2, 1, 3, 40, **glm_experts(6, 2, 16, n_group=2, topk_group=1),
                                    rope_parameters=rope(10000.0, [2, 1, 1], partial_rotary_factor=.5)),
                "vision_config": glm4v_vision(), **glm_ids()}, {"patch_size": 4}),
    "tied": ({"text_config": text(V, 24, 2, 2, 2, 32, rope_parameters=rope(500.0, [1, 2, 3], partial_rotary_factor=1.),
                                  attention_bias=False, **glm_experts(4, 2, 12, routed_scaling_factor=1.5)),
              "vision_config": glm4v_vision(hidden_size=24, num_heads=3, patch_size=4, image_size=28,
                                            out_hidden_size=24),
              "tie_word_embeddings": True, **glm_ids()}, {"patch_size": 4}),
}
# The tower and either text of the two above, which the text's own model_type names.
CASES["glm46v"] = {
    "dense": ({"text_config": text(V, 32, 2, 1, 2, 40, rope_parameters=rope(
                   10000.0, [2, 1, 1], partial_rotary_factor=.5)),
               "vision_config": glm4v_vision(hidden_size=16, image_size=28, attention_bias=True),
               **glm_ids()}, {"patch_size": 4}),
    "experts": ({"text_config": text(V, 24, 2, 1, 2, 32, model_type="glm4v_moe_text", **glm_experts(4, 2, 12),
                                     rope_parameters=rope(500.0, [1, 2, 3], partial_rotary_factor=1.)),
                 "vision_config": glm4v_vision(hidden_size=24, num_heads=3, out_hidden_size=24,
                                               model_type="glm4v_moe_vision"),
                 "tie_word_embeddings": True, **glm_ids()}, {"patch_size": 4}),
}

CASES["glm_ocr"] = {
    "biases": ({"text_config": text(V, 32, 4, 2, 2, 40, head_dim=16, rope_parameters=rope(10000.0, [3, 3, 2])),
                "vision_config": glm4v_vision(hidden_size=16, intermediate_size=24), **glm_ids()}, {"patch_size": 4}),
    "tied": ({"text_config": text(V, 24, 2, 1, 3, 32, head_dim=16, rope_parameters=rope(
                  500.0, [2, 1, 1], partial_rotary_factor=.5)),
              "vision_config": glm4v_vision(hidden_size=24, num_heads=3, out_hidden_size=24, attention_bias=False),
              "tie_word_embeddings": True, **glm_ids()}, {"patch_size": 4}),
}

CASES["smollm3"] = {
    "listed": (text(V, 32, 4, 2, 3, 40, no_rope_layers=[0, 1, 1], attention_bias=True, mlp_bias=True,
                    tie_word_embeddings=False, rope_parameters=rope(10000.0)), None),
    "every-second": (text(V, 48, 3, 1, 5, 32, no_rope_layer_interval=2, rope_parameters=rope(300.0)), None),
}


def longrope(pairs, original, **more):
    """Phi-3's: factors that rise with the frequency's number; longer sequences than `original` take the long ones."""
    return {"original_max_position_embeddings": original, "rope_parameters": rope(10000.0) | {
        "rope_type": "longrope", "short_factor": [round(1 + .03 * i, 2) for i in range(pairs)],
        "long_factor": [round(1.2 + 1.1 * i, 2) for i in range(pairs)]} | more}


CASES["phi3"] = {
    "crossing": (text(V, 32, 4, 2, 3, 48, **longrope(4, 70)), None),          # in the middle of the answer
    "long": (text(V, 48, 3, 1, 2, 40, tie_word_embeddings=True, **longrope(6, 16, partial_rotary_factor=.75)), None),
    "window": (text(V, 32, 4, 4, 2, 40, sliding_window=11, rope_parameters=rope(10000.0)), None),
}
CASES |= cross.cases(text, V) | gemma.texts(text, V)

CASES[gemma.FAMILY] = {
    "windows": gemma.case(CASES["gemma3_text"]["windows"][0], 256, (24, 2, 3, 32), 24, 4, gemma.PUBLISHED),
    "types": gemma.case(CASES["gemma3_text"]["types"][0], 256, (32, 1, 2, 48), 16, 4, 16),
}

# Full-size pictures on a narrow model: the published settings of the processor.
CASES["phone"] = {
    "glm4v": ({"text_config": text(V, 32, 2, 1, 2, 48,
                                   rope_parameters=rope(10000.0, [2, 1, 1], partial_rotary_factor=.5)) |
               {"max_position_embeddings": 8192},
               "vision_config": glm4v_vision(depth=1, hidden_size=24, num_heads=2, image_size=336, patch_size=14),
               **glm_ids()}, {"patch_size": 14}),
}
CASES[kosmos2.FAMILY] = kosmos2.CASES
CASES[idefics3.FAMILY] = idefics3.cases(text)
PUBLISHED = {"shortest_edge": 112 * 112, "longest_edge": 9633792}

# Tokenizers and templates of the published shapes, on a configuration that another variant has.
for family, base in {"smollm3": "listed", "qwen3_moe": "normed", "qwen3_vl_moe": "tied", "glm4_moe": "groups",
                     "glm4v_moe": "tied", "glm46v": "dense", "glm_ocr": "biases", "glm4v": "grouped", "glm4": "grouped",
                     "qwen2_vl": "grouped", "qwen2_5_vl": "windows",
                     "qwen3_vl": "tied", "llama": "llama3", "qwen2": "grouped", "qwen3": "grouped",
                     "phi3": "crossing", "gemma3_text": "windows", gemma.FAMILY: "windows",
                     "gemma": "grouped", "gemma2": "windows",
                     "mllama": "tiles", "idefics": "resampler"}.items():
    config, told = CASES[family][base]
    CASES[family]["published"] = published.configure(family, config), told

CASES[deepseek_vl.FAMILY] = deepseek_vl.CASES
CASES |= llava.cases(text) | llava15.CASES | {pixtral.FAMILY: pixtral.CASES, internvl.FAMILY: internvl.CASES,
          internvl_chat.FAMILY: internvl_chat.CASES}
CASES[idefics2.FAMILY] = idefics2.cases(text)
for family, base in {"llava": "clip", "mistral": "wide", pixtral.FAMILY: "merged", internvl.FAMILY: "tiles",
                     internvl_chat.FAMILY: "tiles",
                     deepseek_vl.FAMILY: "head"}.items():
    config, told = CASES[family][base]
    CASES[family]["published"] = published.configure(family, config), told
for family in [idefics3.FAMILY, idefics2.FAMILY, *llava.FAMILIES]:
    config, told = CASES[family]["published"]
    CASES[family]["published"] = published.configure(family, config), told

CASES[paligemma.FAMILY] = paligemma.cases(gemma.texts(text, V), published.configure)

CLASSES = {"smollm3": "SmolLM3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM", "glm4_moe": "Glm4MoeForCausalLM",
           "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration", "glm4v_moe": "Glm4vMoeForConditionalGeneration",
           "phone": "Glm4vForConditionalGeneration", "glm4v": "Glm4vForConditionalGeneration",
           "glm46v": "Glm46VForConditionalGeneration", "glm_ocr": "GlmOcrForConditionalGeneration",
           "glm4": "Glm4ForCausalLM", "qwen2_vl": "Qwen2VLForConditionalGeneration",
           "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration", "qwen3_vl": "Qwen3VLForConditionalGeneration",
           "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
           "phi3": "Phi3ForCausalLM", kosmos2.FAMILY: "Kosmos2ForConditionalGeneration",
           llava.NEXT: "LlavaNextForConditionalGeneration", llava.ONEVISION: "LlavaOnevisionForConditionalGeneration",
           "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM",
           paligemma.FAMILY: "PaliGemmaForConditionalGeneration",
           "gemma3_text": "Gemma3ForCausalLM", gemma.FAMILY: "Gemma3ForConditionalGeneration",
           "llava": "LlavaForConditionalGeneration",
           "mistral": "MistralForCausalLM", pixtral.FAMILY: "Mistral3ForConditionalGeneration",
           **dict.fromkeys([internvl.FAMILY, internvl_chat.FAMILY], "InternVLForConditionalGeneration"),
           **cross.CLASSES,
           deepseek_vl.FAMILY: "DeepseekVLForConditionalGeneration",
           idefics2.FAMILY: "Idefics2ForConditionalGeneration"}


def randomize(model, seed):
    """Weights at which every part matters: no zero biases, no unit norms, residual branches as strong as the stream."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if re.search("gate(_attn|_ffn)?$|alpha_", name):             # of which the tangens hyperbolicus is taken
                p.copy_(.3 + .5 * torch.rand(p.shape, generator=g))
            elif p.ndim == 1 and "norm" in name and name.endswith("weight"):
                p.copy_(.6 + .8 * torch.rand(p.shape, generator=g))
            elif p.ndim == 1:
                p.copy_(.3 * torch.randn(p.shape, generator=g))
            elif "embed_tokens" in name or "pos_embed" in name or "position_embedding" in name or \
                    "positional_embedding" in name:
                # Where embeddings are scaled and the head is tied, the last token would be the next one, too.
                text = model.config.get_text_config()
                size = 1. if text.model_type in ("gemma", "gemma2") else .7
                scaled = "embed_tokens" in name and (getattr(text, "scale_embedding", False) or size == 1)
                p.copy_((size * p.shape[1] ** -.5 if scaled else .7) * torch.randn(p.shape, generator=g))
            elif ".experts." in name:
                p.copy_(1.4 * p.shape[-1] ** -.5 * torch.randn(p.shape, generator=g))
            else:
                fan = p[0].numel()
                p.copy_(1.4 * fan ** -.5 * torch.randn(p.shape, generator=g))
            p.copy_(p.bfloat16().float())
        for name, b in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                b.copy_((.2 * torch.randn(b.shape, generator=g)).bfloat16())
    return model.eval()


def class_of(family, variant):
    named = pixtral.CLASSES.get(variant) if family == pixtral.FAMILY else CLASSES.get(f"{family}/{variant}")
    if family == idefics3.FAMILY:
        named = idefics3.model_class(variant)
    return getattr(transformers, named or CLASSES[family])


def build(family, variant, seed):
    config, _ = CASES[family][variant]
    cls = class_of(family, variant)
    c = cls.config_class(**json.loads(json.dumps(config)))
    c._attn_implementation = "eager"
    model = randomize(cls._from_config(c, dtype=torch.float32, attn_implementation="eager"), seed)
    if variant == "published" and family == idefics2.FAMILY:
        return idefics2.of_words(model)
    if variant == "published" and family in gemma.QUIET:
        return gemma.quiet(model)
    return llava15.quiet(model) if family in llava15.CASES and variant == "published" else model


def special_of(family):
    if family.startswith(("glm", "phone")):
        return GLM, GLM_TEMPLATE
    if family == idefics3.FAMILY:
        return idefics3.SPECIAL, idefics3.TEMPLATE
    if family == idefics2.FAMILY:
        return idefics2.SPECIAL, idefics2.TEMPLATE
    if family == deepseek_vl.FAMILY:
        return deepseek_vl.SPECIAL, deepseek_vl.TEMPLATE
    if family in llava.FAMILIES:
        return llava.SPECIAL, llava.TEMPLATE
    if family.startswith("gemma"):
        return gemma.SPECIAL, GEMMA_TEMPLATE
    if family == pixtral.FAMILY:
        return pixtral.TINY, published.template(family)
    if family in (internvl.FAMILY, internvl_chat.FAMILY):
        return QWEN + internvl.TOKENS, published.template(family)
    if family in cross.CLASSES:
        return cross.special(family, V)
    return (LLAMA, LLAMA_TEMPLATE) if family in ("llama", "phi3") else (QWEN, QWEN_TEMPLATE)


def predict_a_second(out, layers):
    """Adds the layer with which GLM-OCR was trained to predict a second token, and which nobody reads."""
    path, at = out + "/model.safetensors", "model.language_model.layers."
    t = load_file(path)
    last, extra = f"{at}{layers - 1}.", f"{at}{layers}."
    save_file(t | {k.replace(last, extra): v.clone() for k, v in t.items() if k.startswith(last)}, path,
              {"format": "pt"})


def save(model, family, variant, out):
    os.makedirs(out, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    model.float()
    if family == "glm_ocr":
        predict_a_second(out, model.config.text_config.num_hidden_layers)
    if variant == "published" or family in (kosmos2.FAMILY, paligemma.FAMILY):
        t = published.save(family, out)
    else:
        t = tokenizer(*special_of(family))
        t.bos_token = "<s>" if family == "idefics" else None
        t.save_pretrained(out)
    _, told = CASES[family][variant]
    if family == kosmos2.FAMILY:
        return t, kosmos2.save_processor(told, out)
    if family == gemma.FAMILY:
        return t, gemma.save_processor(told, out)
    if family == idefics3.FAMILY:
        return t, idefics3.save_processor(variant, told, out)
    if family == idefics2.FAMILY:
        return t, idefics2.save_processor(told, out)
    if family in llava.FAMILIES:
        return t, llava.save_processor(family, told, out)
    own = {"llava": llava15, pixtral.FAMILY: pixtral, internvl.FAMILY: internvl,
           internvl_chat.FAMILY: internvl_chat, deepseek_vl.FAMILY: deepseek_vl,
           paligemma.FAMILY: paligemma}.get(family)
    if own:
        return t, own.save_processor(told, out)
    if told and family in cross.CLASSES:
        p = cross.processor(family, told)
    elif told:
        kind = "Glm46VImageProcessor" if family in ("glm46v", "glm_ocr") else "Qwen2VLImageProcessor"
        kind = "Glm4vImageProcessor" if family.startswith(("glm4v", "phone")) else kind
        more = {"image_mean": [.5, .5, .5], "image_std": [.5, .5, .5]} if family.startswith("qwen3_vl") else {}
        side = told["patch_size"] * 2
        p = getattr(transformers, kind)(merge_size=2, temporal_patch_size=2, **told, **more,
                                        size=PUBLISHED if family == "phone" else
                                        {"shortest_edge": side * side * 4, "longest_edge": side * side * 64})
    if told:
        with open(out + "/preprocessor_config.json", "w") as f:
            d = {k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}
            json.dump(d, f, indent=1)
        return t, p
    return t, None
