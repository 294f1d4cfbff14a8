"""LLaVA 1.5 and Mistral for golden.py, tiny.py and published.py: configurations, sentencepiece's kind of tokenizer in
the form that Llama's has in tokenizer.json, and the inputs of a model with pictures of one size."""
import functools
import json
import os

import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers

NAMED = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
MARKS = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
         "[/TOOL_RESULTS]"]
ROOM = 130                 # merges


def spaces():
    """A text begins with a space, and spaces are letters."""
    return normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])


@functools.cache
def vocabulary(trained_on):
    """Named tokens, bytes, then letters and merges, none of which goes beyond a word."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = spaces()
    words = [w for line in trained_on.splitlines() for w in line.split(" ")]
    t.train_from_iterator(words, trainers.BpeTrainer(vocab_size=len(NAMED) + 300 + ROOM, limit_alphabet=120,
                                                     special_tokens=NAMED + BYTES, show_progress=False))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], [tuple(m) for m in model["merges"]]


def backend(trained_on, special, renamed=None):
    """The tokenizer; renamed: other texts for some of the added tokens."""
    def name(s):
        return (renamed or {}).get(s, s)

    vocab, merges = vocabulary(trained_on)
    t = Tokenizer(models.BPE({name(s): i for s, i in vocab.items()}, merges, unk_token=name("<unk>"),
                             byte_fallback=True, fuse_unk=True))
    t.normalizer = spaces()
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(name(s), special=True, normalized=False) for s in NAMED + special])
    t.post_processor = processors.TemplateProcessing(
        single=[name("<s>"), "$A"], pair=[name("<s>"), "$A", name("<s>"), "$B"],
        special_tokens=[(name("<s>"), t.token_to_id(name("<s>")))])
    return t


def shape(trained_on, special, template, **more):
    return {"class": "LlamaTokenizer", "special": NAMED + special, "plain": [], "template": template, "bos": "<s>",
            "eos": ["</s>"], "pad": "</s>", "named": {"unk_token": "<unk>"},
            "backend": lambda renamed: backend(trained_on, special, renamed), **more}


def shapes(trained_on):
    """Of published.SHAPES."""
    return {"llava": shape(trained_on, ["<image>", "<pad>"], "llava", file="chat_template.json", added=1) | {
                "pad": "<pad>"},
            "mistral": shape(trained_on, MARKS, "mistral", file="tokenizer_config.json")}


def text(model_type, vocab, hidden, heads, kv, layers, inner, **more):
    return {"model_type": model_type, "vocab_size": vocab, "hidden_size": hidden, "num_attention_heads": heads,
            "num_key_value_heads": kv, "num_hidden_layers": layers, "intermediate_size": inner,
            "max_position_embeddings": 512, "eos_token_id": 256, "pad_token_id": 256, "bos_token_id": 256, **more}


def vision(model_type, width, heads, layers, inner, side, patch, **more):
    return {"model_type": model_type, "hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers,
            "intermediate_size": inner, "image_size": side, "patch_size": patch, **more}


CLIP = ({"text_config": text("llama", 320, 32, 4, 2, 2, 48, rope_parameters={"rope_type": "default",
                                                                             "rope_theta": 10000.0}),
         "vision_config": vision("clip_vision_model", 24, 3, 4, 32, 28, 7, projection_dim=16),
         "image_token_index": 260},
        {"pictures": [(50, 36), (31, 90)], "processor": "CLIPImageProcessor", "size": {"shortest_edge": 28},
         "crop": 28})
SIGLIP = ({"text_config": text("qwen2", 280, 48, 3, 3, 2, 40, tie_word_embeddings=True,
                               rope_parameters={"rope_type": "default", "rope_theta": 1000.0}),
           "vision_config": vision("siglip_vision_model", 32, 2, 3, 40, 20, 5, vision_use_head=False),
           "image_token_index": 260, "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
           "projector_hidden_act": "gelu_pytorch_tanh", "multimodal_projector_bias": False},
          {"pictures": [(37, 20), (9, 31)], "processor": "SiglipImageProcessor", "size": {"height": 20, "width": 20}})
MISTRAL = (text("mistral", 280, 32, 4, 2, 2, 48, head_dim=12, sliding_window=None,
                rope_parameters={"rope_type": "default", "rope_theta": 1e6}), None)
WINDOW = (text("mistral", 280, 32, 2, 2, 3, 40, sliding_window=16, tie_word_embeddings=True,
               rope_parameters={"rope_type": "default", "rope_theta": 1e4}), None)
CASES = {"llava": {"clip": CLIP, "siglip": SIGLIP}, "mistral": {"wide": MISTRAL, "window": WINDOW}}


def quiet(model):
    """Makes bytes unlikely: those that are no text together have another text in a stream than in the whole."""
    with torch.no_grad():
        rows = model.lm_head.weight[len(NAMED):len(NAMED) + len(BYTES)]
        rows.copy_((.1 * rows).bfloat16().float())
    return model


def save_processor(told, out):
    more = {"crop_size": {"height": told["crop"], "width": told["crop"]}} if "crop" in told else {}
    p = getattr(transformers, told["processor"])(size=told["size"], **more)
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS: the prompt is the processor's own, and so are the pictures' sizes."""
    c = model.config
    clip = c.vision_config.model_type == "clip_vision_model"
    processor = transformers.LlavaProcessor(
        proc, tok, patch_size=c.vision_config.patch_size,
        vision_feature_select_strategy=c.vision_feature_select_strategy,
        image_token=tok.convert_ids_to_tokens(c.image_token_id), num_additional_image_tokens=int(clip))
    said = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    p = processor(images=[Image.fromarray(i) for i in images], text=said, return_tensors="pt")
    ids, pixels = p["input_ids"][0].tolist(), p["pixel_values"]
    with torch.no_grad():
        features = model.get_image_features(pixels).pooler_output
    out = {"positions": torch.arange(len(ids)).int().expand(3, -1).contiguous()}
    for i, image in enumerate(images):
        out |= {f"image.{i}": torch.from_numpy(image), f"pixels.{i}": pixels[i].flatten(1),
                f"image_tokens.{i}": features[i]}
    return ids, lambda x: {"pixel_values": pixels}, out
