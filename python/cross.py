"""Golden cases of the families whose text looks at images through cross-attention: Mllama (Llama 3.2 Vision) and
Idefics, the open reproduction of Flamingo.

An image is one token of the prompt.  What is recorded of it are the keys and values that the first cross-attention
layer makes of it, cell by cell, as image_keys.N and image_values.N; and of the same checkpoint a prompt without images,
as plain_ids and plain_logits.
"""
import re

import torch
import transformers
from PIL import Image

IMAGE = {"type": "image"}
MLLAMA_TEMPLATE = """<|begin_of_text|>{% for m in messages %}{{ m.role }}:
{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'image' %}<|image|>\
{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|eot_id|>{% endfor %}\
{% if add_generation_prompt %}assistant:
{% endif %}"""


IDEFICS_TEMPLATE = """<s>{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}\
{% for p in m.content %}{% if p.type == 'image' %}<image>{% elif p.type == 'text' %}{{ p.text|trim }}{% endif %}\
{% endfor %}{% endif %}<end_of_utterance>{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}\
{% if add_generation_prompt %}assistant:{% endif %}"""


def idefics_special(vocab):
    """Those from <fake_token_around_image> on have their rows of embedding and head in tensors of their own."""
    named = ["</s>", "<s>"]
    return named + [f"<reserved_{i}>" for i in range(256 + len(named), vocab)] + IDEFICS_ADDED


IDEFICS_ADDED = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]


def mllama_special(vocab):
    """The image's token is the first one behind the vocabulary of the head."""
    named = ["<|end_of_text|>", "<|begin_of_text|>", "<|eot_id|>"]
    return named + [f"<|reserved_{i}|>" for i in range(256 + len(named), vocab)] + ["<|image|>"]


def special(family, vocab):
    """The added tokens of a tiny tokenizer, and the template."""
    if family == "mllama":
        return mllama_special(vocab), MLLAMA_TEMPLATE
    return idefics_special(vocab), IDEFICS_TEMPLATE


def ratios(tiles):
    return [[h, w] for h in range(1, tiles + 1) for w in range(1, tiles + 1) if h * w <= tiles]


def mllama(text, vision, tiles):
    width = vision["hidden_size"] * (1 + len(vision["intermediate_layers_indices"]))
    return {"text_config": text, "image_token_index": text["vocab_size"],
            "vision_config": vision | {"vision_output_dim": width, "max_num_tiles": tiles,
                                       "supported_aspect_ratios": ratios(tiles)}}


def cases(text, vocab):
    """family -> variant -> (configuration, what the image processor is told).  Sizes of images: (width, height)."""
    tiles = mllama(text(vocab, 32, 4, 2, 4, 48, cross_attention_layers=[1, 3],
                        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
                   {"hidden_size": 32, "attention_heads": 2, "num_hidden_layers": 2, "num_global_layers": 1,
                    "intermediate_size": 40, "image_size": 12, "patch_size": 4,
                    "intermediate_layers_indices": [0, 1]}, 4)
    groups = mllama(text(vocab, 36, 3, 3, 4, 32, cross_attention_layers=[0, 3], rms_norm_eps=1e-6, rope_parameters={
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}),
                    {"hidden_size": 24, "attention_heads": 3, "num_hidden_layers": 2, "num_global_layers": 2,
                     "intermediate_size": 24, "image_size": 16, "patch_size": 4, "hidden_act": "quick_gelu",
                     "norm_eps": 1e-4, "intermediate_layers_indices": [1]}, 3)
    plain = text(vocab, 32, 4, 2, 4, 48, cross_attention_layers=[2],
                 rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    sizes = {"vocab_size": vocab, "additional_vocab_size": 3, "max_position_embeddings": 512, "eos_token_id": 256,
             "pad_token_id": 256, "bos_token_id": 257}
    resampler = sizes | {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
        "cross_layer_interval": 2, "qk_layer_norms": True, "use_resampler": True,
        "perceiver_config": {"use_resampler": True, "resampler_n_latents": 5, "resampler_depth": 2,
                             "resampler_n_heads": 2, "resampler_head_dim": 12, "qk_layer_norms_perceiver": True},
        "vision_config": {"embed_dim": 24, "image_size": 12, "patch_size": 4, "num_hidden_layers": 2,
                          "num_attention_heads": 2, "intermediate_size": 40}}
    states = sizes | {
        "hidden_size": 36, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3,
        "cross_layer_interval": 1, "alpha_type": "vector", "rms_norm_eps": 1e-5,
        "vision_config": {"embed_dim": 16, "image_size": 16, "patch_size": 4, "num_hidden_layers": 2,
                          "num_attention_heads": 2, "intermediate_size": 24, "hidden_act": "quick_gelu",
                          "layer_norm_eps": 1e-4}}
    return {"idefics": {
        "resampler": (resampler, {"side": 12, "sizes": [(21, 12), (25, 60)]}),
        "states": (states, {"side": 16, "sizes": [(16, 16), (16, 30), (70, 21)]}),
    }, "mllama": {
        "tiles": (tiles, {"side": 12, "tiles": 4, "sizes": [(21, 12), (25, 60)]}),
        "groups": (groups, {"side": 16, "tiles": 3, "sizes": [(20, 20), (16, 30), (70, 21)]}),
        "text": (plain | {"vocab_size": vocab}, None),
    }}


CLASSES = {"idefics": "IdeficsForVisionText2Text",
           "mllama": "MllamaForConditionalGeneration", "mllama/text": "MllamaForCausalLM"}
CHATS = {("mllama", "groups"): [
    {"role": "user", "content": [{"type": "text", "text": "In "}, IMAGE, IMAGE, {"type": "text", "text": "and?"}]},
    {"role": "assistant", "content": "Both."},
    {"role": "user", "content": [IMAGE, {"type": "text", "text": "Here?"}]}]}
# The end of a text behind an answer: what follows sees no image until the next one.
CHATS["idefics", "states"] = [*CHATS["mllama", "groups"][:2], {"role": "user", "content": [
    {"type": "text", "text": "And in this one"}, IMAGE, {"type": "text", "text": "Here?"}]}]
PLAIN = [{"role": "user", "content": "Which one, 图?"}]


def processor(family, told):
    if family == "idefics":
        return transformers.IdeficsImageProcessor(image_size=told["side"])
    return transformers.MllamaImageProcessor(
        size={"height": told["side"], "width": told["side"]}, max_image_tiles=told["tiles"],
        image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])


def grid_of(p):
    """Tiles of the one image, in the form of Qwen's grids."""
    table = ratios(p["pixel_values"].shape[2])
    return [1, *(2 * n for n in table[int(p["aspect_ratio_ids"][0, 0]) - 1])]


def mllama_mask(ids, image_token, tiles, most):
    """What the processor makes of the prompt, of which every token of the answer repeats the last row."""
    from transformers.models.mllama.processing_mllama import (convert_sparse_cross_attention_mask_to_dense,
                                                              get_cross_attention_token_mask)
    sparse = get_cross_attention_token_mask(ids, image_token)
    return torch.from_numpy(convert_sparse_cross_attention_mask_to_dense([sparse], [tiles], most, len(ids)))


def mllama_inputs(model, proc, images, ids, *_):
    c = model.config
    p = dict(proc(images=[[Image.fromarray(i) for i in images]], return_tensors="pt"))
    tiles, out = p.pop("num_tiles")[0], {}
    mask = mllama_mask(ids, c.image_token_index, tiles, proc.max_image_tiles)
    for i, im in enumerate(images):
        out[f"image.{i}"] = torch.from_numpy(im)
        out[f"pixels.{i}"] = p["pixel_values"][0, i][[0, 1, proc.max_image_tiles - 1]]
    with torch.no_grad():
        states = model.model.vision_model(**p).last_hidden_state
        states = model.model.multi_modal_projector(states)[0].flatten(1, 2)
        layer = model.model.language_model.layers[c.text_config.cross_attention_layers[0]].cross_attn
        for i, x in enumerate(states[:2]):                          # tile by tile: those without a part of it, too
            keys = layer.k_norm(layer.k_proj(x).view(len(x), -1, layer.head_dim))
            out |= {f"image_values.{i}": layer.v_proj(x)} if i else {f"image_keys.{i}": keys.flatten(1)}
    given = {"cross_attention_states": states.flatten(0, 1)[None].view(-1, states.shape[1] // proc.max_image_tiles,
                                                                      states.shape[2])}

    def more(x):
        longer = mask[:, -1:].expand(-1, x.shape[1] - mask.shape[1], -1, -1)
        return given | {"cross_attention_mask": torch.cat((mask, longer), 1)}

    return ids, more, out


def without_images(family, model, ids):
    """What the model is called with for a prompt that has none.  Idefics wants a picture all the same, and a mask that
    lets nobody see it."""
    x = torch.tensor([ids])
    if family != "idefics":
        return {"input_ids": x}
    side = model.config.vision_config.image_size
    return {"input_ids": x, "pixel_values": torch.zeros(1, 1, 3, side, side),
            "image_attention_mask": torch.zeros(1, len(ids), 1, dtype=torch.bool)}


def idefics_inputs(model, proc, images, _, tok, messages):
    """The reference's prompt is made of pieces of text and pictures: those between the places of the chat's text."""
    whole = transformers.IdeficsProcessor(proc, tok)
    told = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    pieces = re.split("(<image>)", told.removeprefix(tok.bos_token))
    left = [Image.fromarray(i) for i in images]
    prompt = [left.pop(0) if s == "<image>" else s for s in pieces if s]
    p = whole(text=[prompt], return_tensors="pt")
    mask, ids, out = p["image_attention_mask"], p["input_ids"][0].tolist(), {}
    for i, (im, x) in enumerate(zip(images, p["pixel_values"][0])):
        out[f"image.{i}"], out[f"pixels.{i}"] = torch.from_numpy(im), x
    with torch.no_grad():
        states = model.model.vision_model(pixel_values=p["pixel_values"][0]).last_hidden_state
        given = {"image_encoder_embeddings": states}
        if model.config.use_resampler:
            states = model.model.perceiver_resampler(states)
            given = {"perceiver_embeddings": states}
        attn = model.model.gated_cross_attn_layers[0].cross_attn
        for i, x in enumerate(states[:2]):
            keys = attn.k_proj(x).view(len(x), -1, attn.head_dim)
            keys = attn.k_layer_norm(keys) if attn.qk_layer_norms else keys
            out |= {f"image_values.{i}": attn.v_proj(x)} if i else {f"image_keys.{i}": keys.flatten(1)}

    def more(x):
        longer = mask[:, -1:].expand(-1, x.shape[1] - mask.shape[1], -1)
        return given | {"image_attention_mask": torch.cat((mask, longer), 1)}

    return ids, more, out


def idefics_tokens(ids, image):
    """How many there are with the tokens around images, of which neighbours share one."""
    alone = [i for i, t in enumerate(ids) if t == image and (i == 0 or ids[i - 1] != image)]
    return len(ids) + ids.count(image) + len(alone)


INPUTS = {"mllama": mllama_inputs, "idefics": idefics_inputs}
GRIDS = {"MllamaImageProcessor": grid_of}
