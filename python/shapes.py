"""Names and shapes of the tensors of published checkpoints, without their numbers.

    python/shapes.py          writes tests/api/shapes.json

A model of the published configuration is made on the device `meta`, which holds no data.  A row has the
configuration, and the tensors with the numbers in their names taken out: [name with {}, lists of numbers, shape].
What the model cards say of sizes stands in tests/api/test_shapes.py.
"""
import json
import os
import re

import torch
import transformers

import internvl_chat
import tiny
import vectors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "api", "shapes.json")


def text(vocab, hidden, inner, layers, heads, kv, context, **more):
    return {"vocab_size": vocab, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv, "max_position_embeddings": context, **more}


def layers(hidden, inner, heads, n, **more):
    return {"hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": heads, "num_hidden_layers": n,
            **more}


def qwen(vocab, hidden, inner, layers, heads, kv, theta, **more):
    return text(vocab, hidden, inner, layers, heads, kv, 32768, **{"rope_theta": theta} | more)


QWEN7 = qwen(152064, 3584, 18944, 28, 28, 4, 1e6)
MROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
QWEN3_ROPE = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
GLM_ROPE = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": .5}
MOE30 = {"head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
         "norm_topk_prob": True}
GLM_MOE = text(151552, 4096, 10944, 46, 96, 8, 131072, head_dim=128, n_routed_experts=128, num_experts_per_tok=8,
               moe_intermediate_size=1408, attention_bias=True)
SHORT = [1.0] * 48
LLAMA7 = text(32064, 4096, 11008, 32, 32, 32, 4096, model_type="llama")
CLIP = {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
        "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768}
SIGLIP = {"hidden_size": 1152, "image_size": 384, "intermediate_size": 4304, "model_type": "siglip_vision_model",
          "num_attention_heads": 16, "num_hidden_layers": 26, "patch_size": 14, "vision_use_head": False}
SMOLLM2 = text(49280, 2048, 8192, 24, 32, 32, 8192, model_type="llama", rope_theta=130000.)
SMOLLM2_SMALL = text(49280, 576, 1536, 30, 9, 3, 8192, model_type="llama", rope_theta=1e5)
LLAMA8 = text(128259, 4096, 14336, 32, 32, 8, 131072, model_type="llama", rope_theta=5e5)
MISTRAL7 = text(32003, 4096, 14336, 32, 32, 8, 32768, model_type="mistral", sliding_window=4096)
SO400M = SIGLIP | {"num_hidden_layers": 27, "vision_use_head": True}
IDEFICS_TOWER = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27,
                 "patch_size": 14}


def idefics3(name, kind, words, scale, tower):
    """SmolVLM is the same with another name."""
    image = 128257 if kind == "idefics3" else 49190
    return name, {"model_type": kind, "text_config": words, "vision_config": tower, "scale_factor": scale,
                  "image_token_id": image}


def two_towers(name, words, tower, **more):
    return name, {"text_config": words, "vision_config": tower} | more


def paligemma(config, kind, width):
    return {"text_config": config | {"model_type": kind}, "image_token_index": 257152, "projection_dim": width,
            "vision_config": SIGLIP | {"image_size": 224, "num_hidden_layers": 27, "projection_dim": width}}


GEMMA2B = text(257216, 2048, 16384, 18, 8, 1, 8192)
GEMMA22B = text(257216, 2304, 9216, 26, 8, 4, 8192, sliding_window=4096)

# family, or family/variant as in tiny.py -> (name on the hub, configuration)
PUBLISHED = {
    "llama": ("Llama-3.1-8B", text(128256, 4096, 14336, 32, 32, 8, 131072, rope_theta=5e5, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192})),
    "qwen2": ("Qwen2.5-7B", QWEN7),
    "qwen3": ("Qwen3-8B", qwen(151936, 4096, 12288, 36, 32, 8, 1e6, head_dim=128)),
    "phi3": ("Phi-3.5-mini", text(32064, 3072, 8192, 32, 32, 32, 131072, original_max_position_embeddings=4096,
                                  rope_scaling={"type": "longrope", "short_factor": SHORT, "long_factor": SHORT})),
    "smollm3": ("SmolLM3-3B", text(128256, 2048, 11008, 36, 16, 4, 65536, rope_theta=5e6, no_rope_layer_interval=4)),
    "glm4": ("GLM-4-9B-0414", text(151552, 4096, 13696, 40, 32, 2, 32768, head_dim=128, attention_bias=True,
                                   rope_parameters=GLM_ROPE)),
    "glm4v": ("GLM-4.1V-9B", {"text_config": text(151552, 4096, 13696, 40, 32, 2, 65536, rope_parameters=GLM_ROPE | {
        "mrope_section": [8, 12, 12]}), "vision_config": {}}),
    "glm46v": ("GLM-4.6V-Flash", {"text_config": text(151552, 4096, 13696, 40, 32, 2, 131072, rope_parameters=GLM_ROPE |
               {"rope_theta": 5e5, "mrope_section": [8, 12, 12]}), "vision_config": {}}),
    "glm_ocr": ("GLM-OCR", {"text_config": text(59392, 1536, 4608, 16, 16, 8, 131072, head_dim=128, rope_parameters={
        "rope_type": "default", "rope_theta": 1e4, "mrope_section": [16, 24, 24]}), "vision_config": {}}),
    "qwen2_vl": ("Qwen2-VL-7B", {"text_config": QWEN7 | {"rope_parameters": MROPE}, "vision_config": {
        "hidden_size": 3584}}),
    "qwen2_5_vl": ("Qwen2.5-VL-7B", {"text_config": QWEN7 | {"rope_parameters": MROPE}, "vision_config": {
        "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}}),
    "qwen3_vl": ("Qwen3-VL-8B", {"text_config": qwen(151936, 4096, 12288, 36, 32, 8, 5e6, head_dim=128,
                                                     rope_parameters=QWEN3_ROPE),
                                 "vision_config": {"out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24]}}),
    "qwen3_moe": ("Qwen3-30B-A3B", qwen(151936, 2048, 6144, 48, 32, 4, 1e6, **MOE30)),
    "qwen3_vl_moe": ("Qwen3-VL-30B-A3B", {
        "text_config": qwen(151936, 2048, 6144, 48, 32, 4, 5e6, rope_parameters=QWEN3_ROPE,
                            tie_word_embeddings=False, **MOE30),
        "vision_config": {"out_hidden_size": 2048, "deepstack_visual_indexes": [8, 16, 24]}}),
    "kosmos-2": ("kosmos-2", {}),
    "gemma": ("gemma-2b", GEMMA2B | {"vocab_size": 256000, "head_dim": 256}),
    "gemma2": ("gemma-2-2b", GEMMA22B | {"vocab_size": 256000, "head_dim": 256}),
    "paligemma": ("paligemma-3b-pt-224", paligemma(GEMMA2B, "gemma", 2048)),
    "paligemma/second": ("paligemma2-3b-pt-224", paligemma(GEMMA22B, "gemma2", 2304)),
    "gemma3_text": ("gemma-3-1b", text(262144, 1152, 6912, 26, 4, 1, 32768, head_dim=256, sliding_window=512)),
    "mistral": ("Mistral-7B-v0.3", text(32768, 4096, 14336, 32, 32, 8, 32768, rope_theta=1e6, sliding_window=None)),
    "mllama": ("Llama-3.2-11B-Vision", {"vision_config": {"image_size": 560}, "text_config": {}}),
    "llava": ("llava-1.5-7b", {"text_config": LLAMA7, "vision_config": CLIP, "image_token_index": 32000}),
    "llava_next": ("llava-v1.6-vicuna-7b", {"text_config": LLAMA7, "vision_config": CLIP,
                                            "image_token_index": 32000}),
    "llava_onevision": ("llava-onevision-qwen2-7b", {
        "text_config": QWEN7 | {"model_type": "qwen2", "vocab_size": 152128}, "vision_config": SIGLIP}),
    "deepseek_vl": ("deepseek-vl-1.3b", {
        "text_config": text(102400, 2048, 5504, 24, 16, 16, 16384, model_type="llama"), "tie_word_embeddings": False,
        "vision_config": {"hidden_size": 1024, "image_size": 384, "intermediate_size": 4096, "num_attention_heads": 16,
                          "model_type": "siglip_vision_model", "num_hidden_layers": 24, "patch_size": 16}}),
    "internvl": ("InternVL3-8B", {"tie_word_embeddings": False,
                                  "text_config": QWEN7 | {"model_type": "qwen2", "vocab_size": 151674},
                                  "vision_config": {"image_size": [448, 448], "patch_size": [14, 14]}}),
    "pixtral": ("Mistral-Small-3.1-24B", {
        "tie_word_embeddings": False,
        "text_config": text(131072, 5120, 32768, 40, 32, 8, 131072, head_dim=128, rope_theta=1e9, sliding_window=None,
                            model_type="mistral"),
        "vision_config": {"model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "image_size": 1540,
                          "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}}),
    "smolvlm": idefics3("SmolVLM2-2.2B", "smolvlm", SMOLLM2, 3, IDEFICS_TOWER | {"image_size": 384}),
    "smolvlm/small": idefics3("SmolVLM-256M", "smolvlm", SMOLLM2_SMALL, 4, {
        "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
        "image_size": 512, "patch_size": 16}),
    "smolvlm/idefics3": idefics3("Idefics3-8B-Llama3", "idefics3", LLAMA8, 2, IDEFICS_TOWER | {"image_size": 364}),
    "idefics": ("idefics-9b", {
        "vocab_size": 32000, "additional_vocab_size": 2, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "cross_layer_interval": 4, "qk_layer_norms": True,
        "use_resampler": True, "perceiver_config": {
            "use_resampler": True, "resampler_n_latents": 64, "resampler_depth": 6, "resampler_n_heads": 16,
            "resampler_head_dim": 96, "qk_layer_norms_perceiver": True},
        "vision_config": {"embed_dim": 1280, "image_size": 224, "patch_size": 14, "num_hidden_layers": 32,
                          "num_attention_heads": 16, "intermediate_size": 5120}}),
    "idefics2": ("idefics2-8b", {
        "text_config": MISTRAL7, "vision_config": IDEFICS_TOWER | {"image_size": 980},
        "perceiver_config": {"hidden_size": 4096, "resampler_n_latents": 64, "resampler_depth": 3,
                             "resampler_n_heads": 16, "resampler_head_dim": 96, "num_key_value_heads": 4}}),
    "gemma3": ("gemma-3-4b", {
        "mm_tokens_per_image": 256, "text_config": text(262208, 2560, 10240, 34, 8, 4, 131072, head_dim=256,
                                                        sliding_window=1024),
        "vision_config": SO400M | {"image_size": 896, "vision_use_head": False}}),
    "clip": two_towers("clip-vit-base-patch32", {"hidden_size": 512}, {"patch_size": 32}),
    "clip/large": two_towers("clip-vit-large-patch14-336",
                             layers(768, 3072, 12, 12, projection_dim=768),
                             layers(1024, 4096, 16, 24, image_size=336, patch_size=14, projection_dim=768),
                             projection_dim=768),
    "siglip": two_towers("siglip-so400m-patch14-384", layers(1152, 4304, 16, 27), SO400M),
    "siglip/base": two_towers("siglip-base-patch16-224", {}, {}),
    "siglip2": two_towers("siglip2-base-patch16-naflex", {"vocab_size": 256000}, {}),
    "siglip2/so400m": two_towers("siglip2-so400m-patch16-naflex", layers(1152, 4304, 16, 27, vocab_size=256000),
                                 layers(1152, 4304, 16, 27)),
    "mobilenet_v2": ("mobilenet_v2_1.0_224", {"num_labels": 1001}),
    "glm4_moe": ("GLM-4.5-Air", GLM_MOE | {"rope_parameters": GLM_ROPE | {"rope_theta": 1e6}}),
    "glm4v_moe": ("GLM-4.5V", {"text_config": GLM_MOE | {"rope_parameters": GLM_ROPE | {
        "mrope_section": [8, 12, 12]}}, "vision_config": {}}),
}



def cropped(side):
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def sized(side):
    return {"size": {"height": side, "width": side}}


def tiles(longest, side):
    return {"size": {"longest_edge": longest}, "max_image_size": {"longest_edge": side}}


# What the image processor is told, where the model needs it to be.
PROCESSORS = {"llava": cropped(336), "clip": cropped(224), "clip/large": cropped(336),
              "smolvlm": tiles(1536, 384), "smolvlm/small": tiles(2048, 512), "smolvlm/idefics3": tiles(1456, 364),
              "pixtral": {"size": {"longest_edge": 1540}}, "gemma3": sized(896), "siglip": sized(384),
              "siglip/base": sized(224),
              "mobilenet_v2": {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}}

PUBLISHED[internvl_chat.FAMILY] = PUBLISHED["internvl"]
CHAT = {"side": 448, "least": 1, "most": 12, "thumbnail": True}       # what InternVL's published form says of tiles


def folded(shapes):
    """Rows of [name with {}, the numbers of each {}, shape] that stand for all of `shapes`."""
    rows = {}
    for name, shape in shapes.items():
        numbers = tuple(int(n) for n in re.findall(r"(?<=\.)\d+(?=\.)", name))
        rows.setdefault((re.sub(r"(?<=\.)\d+(?=\.)", "{}", name), shape), []).append(numbers)
    for (name, shape), all_numbers in rows.items():
        axes = [sorted(set(axis)) for axis in zip(*all_numbers)]
        spans = [[a[0], a[-1] + 1] if len(a) == a[-1] + 1 - a[0] else a for a in axes]
        assert len(all_numbers) == torch.tensor([len(a) for a in axes]).prod() or not axes, name
        yield [name, [s if s is not axes[i] else {"each": s} for i, s in enumerate(spans)], list(shape)]


def class_of(key):
    family, _, variant = key.partition("/")
    if family in vectors.CLASSES:
        return getattr(transformers, vectors.CLASSES[family])
    return tiny.class_of(family, variant)


def main():
    rows = []
    for family, (name, config) in PUBLISHED.items():
        cls = class_of(family)
        c = cls.config_class(**json.loads(json.dumps(config)))
        with torch.device("meta"):
            model = cls._from_config(c, dtype=torch.bfloat16)
        tied = getattr(c, "tie_word_embeddings", False) or getattr(c.get_text_config(), "tie_word_embeddings", False)
        tied = set(getattr(model, "all_tied_weights_keys", {}) or {}) if tied else set()
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if k not in tied}
        said = json.loads(c.to_json_string(use_diff=False))
        keep = {k: v for k, v in said.items() if k in config or k in ("model_type", "text_config", "vision_config",
                                                                       "tie_word_embeddings", "image_token_id")}
        keep |= {k: v for k, v in config.items() if k not in said}
        for part in "text_config", "vision_config":
            if part in config:
                keep[part] = {k: v for k, v in keep[part].items() if isinstance(v, (int, float, str, list, dict))}
        keep.setdefault("rope_parameters", said.get("rope_parameters"))
        if family == internvl_chat.FAMILY:
            keep, shapes = internvl_chat.configuration(keep, CHAT), internvl_chat.shapes(shapes)
        rows.append({"family": family, "name": name, "config": keep, "tensors": list(folded(shapes))})
        if family in PROCESSORS:
            rows[-1]["processor"] = PROCESSORS[family]
        print(f"{name}: {sum(torch.Size(s).numel() for s in shapes.values()) / 1e9:.2f} billion", flush=True)
    with open(OUT, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    print(os.path.getsize(OUT) // 1024, "KB")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    main()
