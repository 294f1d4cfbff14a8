"""Kosmos-2 for golden.py, tiny.py and published.py: configurations, a tokenizer of XLM-RoBERTa's kind, inputs.

The published checkpoint has no chat template.  TEMPLATE is the server's own: bos, the image, then the texts, as the
reference's processor builds a prompt.
"""
import functools
import json
import os

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPImageProcessor, Kosmos2Processor
from transformers.models.kosmos2.processing_kosmos2 import clean_text_and_extract_entities_with_bboxes

from charsmap import charsmap

FAMILY = "kosmos-2"
NAMED = ["<s>", "<pad>", "</s>", "<unk>"]
TAGS = ["</doc>", "<image>", "</image>", "</chunk>", "</line>", "<phrase>", "</phrase>", "<object>", "</object>",
        "</delimiter_of_multi_objects/>", "<grounding>"]
PATCHES = 40               # of the published 1,024 tokens of places
PATCH_TOKENS = [f"<patch_index_{i:04d}>" for i in range(PATCHES)]
PIECES = 240
RULES = {"Ａ": "A", "ﬁ": "fi", "①": "1", "\u0301": "", "e\u0301": "é", "\u00a0": " ", "\u3000": " ", "½": "1/2",
         "²": "2", "\n": " ", "\t": " ", "\r": " ", "A\u030a": "Å", "\u212b": "Å", "\u2003": " "}


def case(embed, layers, heads, inner, queries, vision, side, patch, vocab, **text):
    width, depth, vision_heads, vision_inner = vision
    return {"text_config": {"vocab_size": vocab, "embed_dim": embed, "layers": layers, "attention_heads": heads,
                            "ffn_dim": inner, "max_position_embeddings": 512, **text},
            "vision_config": {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": vision_heads,
                              "intermediate_size": vision_inner, "image_size": side, "patch_size": patch},
            "latent_query_num": queries}, {"side": side}


def cut():
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])


@functools.cache
def pieces(trained_on):
    t = Tokenizer(models.Unigram())
    t.normalizer, t.pre_tokenizer = normalizers.Precompiled(charsmap(RULES)), cut()
    t.train_from_iterator([trained_on], trainers.UnigramTrainer(
        vocab_size=PIECES, special_tokens=NAMED, unk_token="<unk>", show_progress=False))
    return json.loads(t.to_str())["model"]["vocab"]


def backend(trained_on, renamed=None):
    """The tokenizer; renamed: other texts for some of the added tokens."""
    name = lambda s: (renamed or {}).get(s, s)
    t = Tokenizer(models.Unigram([(name(s), score) for s, score in pieces(trained_on)], unk_id=NAMED.index("<unk>")))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizers.Precompiled(charsmap(RULES)), cut(), decoders.Metaspace()
    t.add_special_tokens([AddedToken(name(s), special=True, normalized=False) for s in NAMED])
    t.add_tokens([AddedToken(name(s), lstrip=True, normalized=False) for s in TAGS + PATCH_TOKENS])
    t.post_processor = processors.TemplateProcessing(
        single=[name("<s>"), "$A", name("</s>")], pair=[name("<s>"), "$A", name("</s>"), "$B", name("</s>")],
        special_tokens=[(name(s), NAMED.index(s)) for s in ("<s>", "</s>")])
    return t


SHAPE = {"class": "XLMRobertaTokenizer", "special": NAMED, "plain": TAGS + PATCH_TOKENS, "places": ["<image>"],
         "template": "kosmos2", "file": None, "bos": "<s>", "eos": ["</s>"], "pad": "<pad>"}
CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "<grounding> Where is the button?"}]}]
CONVERSATION = [{"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text",
                                              "text": "<grounding>  Cafe\u0301 ﬁ 12345:<phrase> it</phrase>"},
                                             {"type": "image"}, {"type": "text", "text": "in 图片?\n\nAn"}]}]

CASES = {
    "published": case(32, 2, 4, 48, 64, (24, 2, 3, 32), 28, 14, 304),
    "plain": case(24, 3, 2, 40, 5, (32, 3, 2, 40), 20, 4, 300, scale_embedding=False, layer_norm_eps=1e-3,
                  activation_function="gelu_new"),
}


def save_processor(told, out):
    size = {"height": told["side"], "width": told["side"]}
    p = CLIPImageProcessor(size=size, crop_size=size)
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS. The prompt is the processor's own."""
    n, parts = model.config.latent_query_num, [m["content"] for m in messages]
    text = " ".join(p["text"] for c in parts for p in ([{"text": c}] if isinstance(c, str) else c) if "text" in p)
    p = Kosmos2Processor(proc, tok, PATCHES)(images=Image.fromarray(images[0]), text=text, num_image_tokens=n,
                                    return_tensors="pt")
    ours, mask, pixels = p["input_ids"][0].tolist(), p["image_embeds_position_mask"], p["pixel_values"]
    assert ids[:2] == ours[:2] and ids[2:] == ours[2 + n:], "the template is not the processor's way"
    assert list(pixels.shape[2:]) == list(images[0].shape[:2]), "not of the final size"

    def more(x):
        return {"pixel_values": pixels, "image_embeds_position_mask": torch.nn.functional.pad(
            mask, (0, x.shape[1] - mask.shape[1]))}

    with torch.no_grad():
        features = model.get_image_features(pixels).pooler_output[0]
    return ours, more, {"image.0": torch.from_numpy(images[0]), "pixels.0": pixels[0].flatten(1),
                        "image_tokens.0": features,
                        "positions": torch.arange(len(ours)).int().expand(3, -1).contiguous()}


@torch.no_grad()
def padded(model):
    """A prompt with padding in it, which the positions do not count, and how the text model goes on."""
    best = None
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        ids = torch.randint(len(NAMED) + 64, 300, (1, 14), generator=g)
        ids[0, 0], ids[0, [1, 2, 6, 11]] = NAMED.index("<s>"), NAMED.index("<pad>")
        said = model.text_model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, min_new_tokens=24,
                                         do_sample=False, output_logits=True, return_dict_in_generate=True)
        margin = float(-torch.cat(said.logits).topk(2).values.diff().max())
        row = {"ids": ids[0].tolist(), "greedy": said.sequences[0, ids.shape[1]:].tolist(), "least_margin": margin}
        variety = len(set(row["greedy"])) if margin > .05 else 0
        if best is None or variety > best[0]:
            best = variety, row
    return best[1]


def chats(text_only):
    """Of published.chats(): this family looks at one image."""
    image, part = {"type": "image"}, {"type": "text", "text": "Cafe\u0301 <grounding> "}
    return {"parts": ([{"role": "user", "content": [part, image, {"type": "text", "text": "\u0338="}]}], {}),
            "grounding": ([{"role": "user", "content": [image, part | {"text": "What?"}]}], {"grounding": True}),
            "grounding asked twice": ([{"role": "user", "content": [image, part]}], {"grounding": True})}


def tokens(ids, image):
    """Of a whole prompt: the token `image` stays before the slots that it announces."""
    return len(ids) + CASES["published"][0]["latent_query_num"] * ids.count(image)


def grounded(text):
    """What becomes of an answer: the reference's own text and boxes."""
    said, entities = clean_text_and_extract_entities_with_bboxes(text)
    return {"said": said, "grounding": [{"phrase": name, "box": box} for name, _, boxes in entities for box in boxes]}
