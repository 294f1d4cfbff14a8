"""Golden vectors: what transformers (fp32, eager) computes of texts and pictures with models that lead both into one
space, and of pictures with MobileNetV2, whose logits are those of its classes.

    python/vectors.py [family[/variant] ...]       writes tests/model/<family>/<variant>/

Each case is a tiny checkpoint with random weights in the layout of the hub.  vectors.safetensors holds the pictures
(H, W, 3, bytes, as they are sent), the reference's pixel values of the first (as many as are kept), the ids of every
text, and the vectors of all before they get the length 1.  vectors.json holds the texts, the logits of every picture
with every text, what these become as probabilities, and the pixel values of a spread of image sizes, by their hashes.
"""
import hashlib
import json
import os
import sys
import tempfile

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import golden
import published
import tiny

ROOT = golden.ROOT
SIZES = [(37, 211), (64, 64), (100, 30), (7, 9), (300, 299), (1, 50), (13, 1300), (55, 77), (28, 28)]
TEXTS = ["a red button", "the end<|endoftext|> and more</s> of it", "A photo of two cats, isn't it?",
         "设置 Ça va, CAFÉ crème!", "x", "", "tap\n\n on   1234 it's",
         "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"]
LINES = ("a photo of a cat a dog a red button a screenshot of the settings one two three four five six seven eight "
         "nine ten eleven twelve thirteen fourteen café crème ça va tap it's isn't 设置 按钮 1234").split()


def bytelevel(special, bos):
    """256 bytes, then the special tokens; `bos` and the end are put around every text."""
    t = tiny.tokenizer(special, None)
    end = (special[-1], tiny.at(special, special[-1]))
    first = [(special[0], tiny.at(special, special[0]))] if bos else []
    t.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([s for s, _ in first] + ["$A", end[0]]), special_tokens=[*first, end])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=t.backend_tokenizer, eos_token=end[0],
                                                pad_token=end[0])


def clip_tokenizer():
    """Of the published shape: words end in </w>, and the vocabulary has every byte with it and without."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    t = transformers.CLIPTokenizer().backend_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, end_of_word_suffix="</w>",
                                  show_progress=False)
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = t.pre_tokenizer
    trained.train_from_iterator(LINES, trainer)
    merges = [tuple(m) for m in json.loads(trained.to_str())["model"]["merges"]]
    words = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges] + [start, end]
    return transformers.CLIPTokenizer(vocab={w: i for i, w in enumerate(dict.fromkeys(words))}, merges=merges)


def siglip_tokenizer():
    """Pieces with likelihoods, texts in small letters without punctuation. Pads and ends with the same token."""
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(
        Regex(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"), ""), normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator([" ".join(LINES)] * 4, trainers.UnigramTrainer(
        vocab_size=160, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False))
    t.decoder = decoders.Metaspace()
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", t.token_to_id("</s>"))])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=t, eos_token="</s>", pad_token="</s>",
                                                unk_token="<unk>", model_input_names=["input_ids"])


def gemma_tokenizer():
    """SigLIP 2 has Gemma's: bytes where a letter has no token, a padding token of its own."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.train_from_iterator([" ".join(LINES).lower()], trainers.BpeTrainer(vocab_size=200, show_progress=False))
    model = json.loads(t.to_str())["model"]
    words = [*special, *(f"<0x{b:02X}>" for b in range(256)), *sorted(model["vocab"], key=model["vocab"].get)]
    out = transformers.Siglip2Tokenizer(vocab={w: i for i, w in enumerate(dict.fromkeys(words))},
                                        merges=[tuple(m) for m in model["merges"]], padding_side="right",
                                        model_input_names=["input_ids"])
    b = out.backend_tokenizer
    b.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return out


def layers(hidden, inner, heads, n, **more):
    return {"hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": heads, "num_hidden_layers": n,
            **more}


CLIP = ["<|startoftext|>", "<|endoftext|>"]
# family -> variant -> (configuration, tokenizer, image processor, what texts are padded to)
CASES = {
    "clip": {
        # As the oldest checkpoints: the end is said to be token 2, and sizes are single numbers.
        "old": ({"projection_dim": 24,
                 "text_config": layers(32, 48, 4, 2, vocab_size=258, max_position_embeddings=20, eos_token_id=2,
                                       bos_token_id=0),
                 "vision_config": layers(48, 64, 3, 3, image_size=24, patch_size=8)},
                lambda: bytelevel(CLIP, True), ("CLIPImageProcessor", {"size": 24, "crop_size": 24}), None),
        "published": ({"projection_dim": 32,
                       "text_config": layers(48, 32, 3, 3, vocab_size=700, max_position_embeddings=16,
                                             hidden_act="gelu"),
                       "vision_config": layers(32, 40, 4, 2, image_size=28, patch_size=7, hidden_act="gelu")},
                      clip_tokenizer, ("CLIPImageProcessor", {"size": {"shortest_edge": 28},
                                                              "crop_size": {"height": 28, "width": 28}}), None),
    },
    "siglip": {
        # 27 is no multiple of 8: the last pixels of a row are not looked at.
        "uneven": ({"text_config": layers(32, 48, 4, 2, vocab_size=257, max_position_embeddings=12,
                                          projection_size=40),
                    "vision_config": layers(40, 56, 2, 3, image_size=27, patch_size=8)},
                   lambda: bytelevel(["</s>"], False), ("SiglipImageProcessor", {"size": {"height": 27, "width": 27}}),
                   "max_length"),
        "published": ({"text_config": layers(32, 40, 2, 2, vocab_size=160, max_position_embeddings=16),
                       "vision_config": layers(32, 48, 4, 2, image_size=32, patch_size=8)},
                      siglip_tokenizer, ("SiglipImageProcessor", {"size": {"height": 32, "width": 32}}), "max_length"),
    },
    "siglip2": {
        "naflex": ({"text_config": layers(32, 48, 4, 2, vocab_size=480, max_position_embeddings=12),
                    "vision_config": layers(32, 40, 2, 2, num_patches=25, patch_size=4)},
                   gemma_tokenizer, ("Siglip2ImageProcessor", {"patch_size": 4, "max_num_patches": 30}), "max_length"),
        "published": ({"text_config": layers(36, 32, 3, 2, vocab_size=480, max_position_embeddings=16),
                       "vision_config": layers(36, 48, 3, 2, num_patches=16, patch_size=6)},
                      gemma_tokenizer, ("Siglip2ImageProcessor", {"patch_size": 6, "max_num_patches": 24}),
                      "max_length"),
    },
}
SMALL = {"depth_multiplier": .1, "expand_ratio": 3.0, "id2label": {0: "background", 1: "tench, Tinca", 2: "çà"},
         "label2id": {"background": 0, "tench, Tinca": 1, "çà": 2}}
CASES["mobilenet_v2"] = {
    # 50 pixels become 25, 13, 7, 4 and 2: padded on both sides, or at the end alone.
    "same": (SMALL | {"finegrained_output": False}, None,
             ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 56},
                                            "crop_size": {"height": 50, "width": 50}}), None),
    "published": (SMALL | {"tf_padding": False, "first_layer_is_expansion": False, "min_depth": 4,
                           "depth_divisible_by": 4, "layer_norm_eps": .01, "hidden_act": "relu"}, None,
                  ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 72},
                                                 "crop_size": {"height": 64, "width": 64}}), None),
}
CLASSES = {"mobilenet_v2": "MobileNetV2ForImageClassification", "clip": "CLIPModel", "siglip": "SiglipModel",
           "siglip2": "Siglip2Model"}


def build(family, config, tok, seed):
    cls = getattr(transformers, CLASSES[family])
    if tok:
        config = json.loads(json.dumps(config))
        config["text_config"]["vocab_size"] = len(tok)
        config["text_config"].setdefault("eos_token_id", tok.eos_token_id)
    c = cls.config_class(**config)
    more = {"attn_implementation": "eager"} if tok else {}
    model = cls._from_config(c, dtype=torch.float32, **more)
    scale = {n: p for n, p in model.named_parameters() if n.startswith("logit_")}
    for p in scale.values():                       # randomize() wants a first row of everything
        p.data = torch.zeros(1)
    tiny.randomize(model, seed)
    for n, p in scale.items():
        p.data = torch.tensor(2.25 if n == "logit_scale" else -1.5)
        if family != "clip":
            p.data = p.data[None]
    g = torch.Generator().manual_seed(seed)
    for n, b in model.named_buffers():
        if n.endswith("running_mean"):
            b.copy_((.3 * torch.randn(b.shape, generator=g)).bfloat16())
        if n.endswith("running_var"):
            b.copy_((.5 + torch.rand(b.shape, generator=g)).bfloat16())
    return model


def text_ids(tok, length, padding):
    """As the processors are told to: cut to the length, the end kept."""
    told = {"padding": "max_length", "max_length": length} if padding else {"max_length": length}
    return [tok(t, truncation=True, **told)["input_ids"] for t in TEXTS]


def save(model, tok, proc, out):
    os.makedirs(out, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    model.float()
    if tok:
        tok.save_pretrained(out)
    with open(out + "/preprocessor_config.json", "w") as f:
        d = {k: v for k, v in json.loads(proc.to_json_string()).items() if not k.startswith("_")}
        json.dump(d, f, indent=1)


def pixels_of(proc, image):
    """(what the model is called with, the values without padding)"""
    p = proc(images=[Image.fromarray(image)], return_tensors="pt")
    v = p["pixel_values"][0]
    if "spatial_shapes" in p:
        v = v[:int(p["spatial_shapes"][0].prod())]
    return p, v


@torch.no_grad()
def write(family, variant):
    config, make, (kind, told), padding = CASES[family][variant]
    out, tok, proc = os.path.join(ROOT, family, variant), make and make(), getattr(transformers, kind)(**told)
    model = build(family, config, tok, 1)
    ids = text_ids(tok, model.config.text_config.max_position_embeddings, padding) if tok else []
    images = [golden.picture(w, h, w) for w, h in ((40, 31), (28, 28), (13, 90))]
    arrays = {}
    for i, one in enumerate(ids):
        arrays[f"ids.{i}"] = torch.tensor(one, dtype=torch.int32)
        v = model.get_text_features(input_ids=torch.tensor([one]))
        arrays[f"text.{i}"] = (v if isinstance(v, torch.Tensor) else v.pooler_output)[0]
    for i, image in enumerate(images):
        p, values = pixels_of(proc, image)
        v = model.get_image_features(**p) if tok else model.mobilenet_v2(**p)
        arrays[f"image.{i}"] = torch.from_numpy(image)
        arrays[f"vector.{i}"] = (v if isinstance(v, torch.Tensor) else v.pooler_output)[0]
    if tok:
        cut = {k: torch.stack([v / v.norm() for n, v in arrays.items() if n.startswith(k)]) for k in ("text", "vector")}
        logits = cut["vector"] @ cut["text"].t() * model.logit_scale.exp()
        if family != "clip":
            logits += model.logit_bias
    else:
        logits = torch.cat([model(**pixels_of(proc, image)[0]).logits for image in images])
    single = family.startswith("siglip")
    rows = [pixels_of(proc, golden.picture(w, h, w * 10000 + h))[1].numpy() for w, h in SIZES]
    save(model, tok, proc, out)
    save_file({k: v.contiguous() for k, v in arrays.items()}, out + "/vectors.safetensors")
    with open(out + "/vectors.json", "w") as f:
        json.dump({"texts": TEXTS if tok else [], "logits": logits.tolist(),
                   "probabilities": (logits.sigmoid() if single else logits.softmax(-1)).tolist(),
                   "preprocessing": [{"size": list(s), "sha256": hashlib.sha256(v.astype("<f4").tobytes()).hexdigest()}
                                     for s, v in zip(SIZES, rows)]}, f, indent=1)
    size = sum(os.path.getsize(os.path.join(out, n)) for n in os.listdir(out)) // 1024
    print(f"{family}/{variant}: {len(tok or [])} tokens, {arrays['vector.0'].numel()} wide, {size} KB", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in sys.argv[1:] or CASES:
        family, _, only = name.partition("/")
        for variant in [only] if only else CASES[family]:
            write(family, variant)
