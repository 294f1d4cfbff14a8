"""Golden files: what transformers (fp32, eager) computes on the tiny checkpoints.

    python/golden.py [family[/variant] ...]       writes tests/model/<family>/<variant>/

golden.safetensors holds the images (H, W, 3, bytes, already of the final size),
ids, 3-D positions, image features, the logits of the last rows, the greedy
continuation and the margin of each of its tokens.  golden.json holds the chat
they came from, what else was in the request, the text of the continuation, and
the preprocessing of a spread of image sizes.  The variant "published"
(published.py) also gets chats.json: the prompts of many more chats.
"""
import hashlib
import json
import os
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

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
import tiny

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "model")
SIZES = [(37, 211), (64, 64), (100, 30), (1080, 2400), (7, 9), (300, 299), (13, 1300), (55, 77),
         (4096, 4096), (1, 1000)]
SCREENSHOT = "models/open-autoglm-v1/samples/home-en.png"
KEEP = 12          # rows of logits ...
FEWER = 4          # ... and where the vocabulary is larger
STEPS = 24
LONG = {"gemma3_text": 400, "gemma2": 400}      # tokens of a second prompt, many windows long

# family -> what makes the inputs of its model; qwen_inputs() where there is none
INPUTS = {paligemma.FAMILY: paligemma.inputs, kosmos2.FAMILY: kosmos2.inputs, gemma.FAMILY: gemma.inputs,
          idefics3.FAMILY: idefics3.inputs, idefics2.FAMILY: idefics2.inputs,
          **dict.fromkeys(llava.FAMILIES, llava.inputs), "llava": llava15.inputs, pixtral.FAMILY: pixtral.inputs,
          **dict.fromkeys([internvl.FAMILY, internvl_chat.FAMILY], internvl.inputs),
          deepseek_vl.FAMILY: deepseek_vl.inputs, **cross.INPUTS}

# family -> what golden.json says of an image's preprocessing where it is no grid
ROWS = {idefics3.FAMILY: idefics3.row_of, idefics2.FAMILY: idefics2.row_of,
        **dict.fromkeys(llava.FAMILIES, llava.row_of)}


def picture(w, h, seed):
    """Noise over gradients: no two patches alike."""
    g = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w]
    base = np.stack([x * 255 / w, y * 255 / h, (x + y) * 255 / (w + h)], -1)
    return np.clip(base + g.normal(0, 40, (h, w, 3)), 0, 255).astype(np.uint8)


def chat(family, variant, images):
    """(messages, what else the request has)"""
    if (family, variant) in cross.CHATS:
        return cross.CHATS[family, variant], {}
    if variant == "published":
        return published.conversation(family, bool(images))
    if family == kosmos2.FAMILY:
        return kosmos2.CHAT, {}
    if family == paligemma.FAMILY:
        return paligemma.CHAT, {}
    if family == idefics2.FAMILY:
        return idefics2.CHAT, {}
    if len(images) == 1:
        return llava.chat(), {}
    if not images:
        return [{"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Tap on 设置, then \"Wi-Fi\"."}], {}
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is it?"}]},
            {"role": "assistant", "content": "do(action=\"Tap\", element=[1,2])"},
            {"role": "user", "content": [{"type": "text", "text": "Now "}, {"type": "image"},
                                         {"type": "text", "text": "?"}]}], {}


def expand(ids, image_token, counts):
    out, counts = [], list(counts)
    for i in ids:
        out += [image_token] * counts.pop(0) if i == image_token else [i]
    return out


def torn(tok, ids):
    """The characters of an answer whose bytes come from several tokens."""
    return {c for c in tok.decode(ids) if ord(c) > 127} - {c for i in ids for c in tok.decode([i])} - {"\ufffd"}


def qwen_inputs(model, proc, images, ids, *_):
    """What the families with rows of patches take: (ids with every image's places, what else the model is called with
    for some ids, the arrays to record)"""
    image_token, out, at = model.config.image_token_id, {}, 0
    p = proc(images=[Image.fromarray(i) for i in images], return_tensors="pt")
    grid, pixels = p["image_grid_thw"], p["pixel_values"]
    counts = [int(g.prod()) // 4 for g in grid]
    ids = expand(ids, image_token, counts)

    def more(x):
        return {"pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": (x == image_token).int()}

    for i, (im, g) in enumerate(zip(images, grid)):
        assert (int(g[1]) * proc.patch_size, int(g[2]) * proc.patch_size) == im.shape[:2], "not of the final size"
        n = int(g.prod())
        out[f"image.{i}"], out[f"pixels.{i}"] = torch.from_numpy(im), pixels[at:at + n][[0, 1, n - 1]]
        at += n
    with torch.no_grad():
        f = model.model.get_image_features(pixels, grid)
        deep = getattr(f, "deepstack_features", None) or []
        out |= {f"image_tokens.{i}": x for i, x in enumerate(f.pooler_output)}
        for k, layer in enumerate(deep):
            for i, x in enumerate(layer.split(counts) if isinstance(layer, torch.Tensor) else layer):
                out[f"deepstack.{k}.{i}"] = x
    x = torch.tensor([ids])
    pos, _ = model.model.get_rope_index(x, mm_token_type_ids=(x == image_token).int(), image_grid_thw=grid)
    out["positions"] = pos[:, 0].int()
    return ids, more, out


def run(family, variant, seed, tok, proc, images):
    model = tiny.build(family, variant, seed)
    messages, told = chat(family, variant, images)
    ids = published.rendered(tok, published.as_known(family, messages), told)
    more, out = lambda x: {}, {}
    if images:
        ids, more, out = INPUTS.get(family, qwen_inputs)(model, proc, images, ids, tok, messages)
    if images and family in cross.INPUTS:
        plain = tok.apply_chat_template(cross.PLAIN, add_generation_prompt=True, return_dict=False, **told)
        out["plain_ids"] = torch.tensor(plain, dtype=torch.int32)
        with torch.no_grad():
            out["plain_logits"] = model(**cross.without_images(family, model, plain)).logits[0, -FEWER:]
    if family == paligemma.FAMILY:
        plain = published.rendered(tok, paligemma.PLAIN, told)
        out["plain_ids"] = torch.tensor(plain, dtype=torch.int32)
        with torch.no_grad():
            out["plain_logits"] = model(**paligemma.without_images(plain)).logits[0, -FEWER:]
    x = torch.tensor([ids])
    bad = {getattr(model.config, "image_token_id", -1), getattr(model.config, "video_token_id", -1)}
    with torch.no_grad():
        logits = model(input_ids=x, attention_mask=torch.ones_like(x), **more(x)).logits[0]
        new, margin, cache = [], [], x
        for _ in range(STEPS):                       # no cache: the definition
            l = model(input_ids=cache, attention_mask=torch.ones_like(cache), **more(cache),
                      use_cache=False).logits[0, -1]
            top = l.topk(2)
            new.append(int(top.indices[0]))
            margin.append(float(top.values[0] - top.values[1]))
            if new[-1] in bad:
                break
            cache = torch.cat((cache, top.indices[:1][None]), 1)
    out.update(ids=x[0].int(), logits=logits[-(FEWER if variant == "published" else KEEP):],
               greedy=torch.tensor(new, dtype=torch.int32), margins=torch.tensor(margin))
    score = (min(margin) > .05) * 100 + len(set(new)) - 1000 * bool(bad & set(new))
    quiet = family in (*llava15.CASES, *gemma.QUIET)
    if variant == "published" and not quiet and family != idefics2.FAMILY:
        score += 0 if torn(tok, new) else -50
    score -= 500 * ("\ufffd" in tok.decode(new) and quiet)
    score -= 50 * (family == idefics2.FAMILY and idefics2.begins_a_word(tok, new))
    return model, out, score


def preprocessing(family, proc, call):
    """What becomes of images of many sizes."""
    rows = []
    for w, h in SIZES:
        try:
            p = proc(images=[Image.fromarray(picture(w, h, w * 10000 + h))], return_tensors="pt", **call)
            p = {"pixel_values": p} if isinstance(p, torch.Tensor) else p        # of Idefics
            v = p["pixel_values"].numpy()
            what = ROWS[family](p) if family in ROWS else {}
            if "image_grid_thw" in p:
                what = {"grid": p["image_grid_thw"][0].tolist()}
            rows.append({"size": [w, h], **what, "sum": float(v.astype(np.float64).sum()),
                         "sha256": hashlib.sha256(v.astype("<f4").tobytes()).hexdigest()})
        except (ValueError, RuntimeError) as e:
            rows.append({"size": [w, h], "error": str(e)})
    return rows


def image_sizes(family, variant, told):
    """Of the pictures in the golden prompt."""
    if told and "sizes" in told:
        return told["sizes"]
    if not told or family in (idefics3.FAMILY, idefics2.FAMILY):
        return idefics3.SIZES if told else []
    if family in llava.FAMILIES:
        return llava.sizes(family, variant)
    if "pictures" in told:
        return told["pictures"]
    if "sides" in told:                  # two pictures, always of this size
        return [(told["sides"], told["sides"])] * 2
    if "side" in told:                   # one picture, always of this size
        return [(told["side"], told["side"])]
    f = told["patch_size"] * 2
    return [(f * 5, f * 4), (f * 3, f * 7)]


def long_prompt(model, n):
    """Many windows' length of random tokens, and how the model goes on."""
    ids = torch.randint(3, 250, (1, n), generator=torch.Generator().manual_seed(1))
    x, margins = ids, []
    for _ in range(STEPS):
        with torch.no_grad():
            top = model(input_ids=x, attention_mask=torch.ones_like(x), use_cache=False).logits[0, -1].topk(2)
        x = torch.cat((x, top.indices[:1][None]), 1)
        margins.append(float(top.values[0] - top.values[1]))
    return {"ids": ids[0].tolist(), "greedy": x[0, n:].tolist(), "least_margin": min(margins)}


def golden(family, variant):
    out = os.path.join(ROOT, family, variant)
    os.makedirs(out, exist_ok=True)
    told = tiny.CASES[family][variant][1]
    images = [picture(w, h, i + 1) for i, (w, h) in enumerate(image_sizes(family, variant, told))]
    tok, proc = tiny.save(tiny.build(family, variant, 0), family, variant, out)
    best = None
    for seed in range(1, 40 if variant == "published" else 25):
        model, arrays, score = run(family, variant, seed, tok, proc, images)
        if best is None or score > best[2]:
            best = model, arrays, score, seed
        if score > 106:
            break
    model, arrays, score, seed = best
    messages, more = chat(family, variant, images)
    call = (told or {}).get("call", {})
    more_told = {"long": long_prompt(model, LONG[family])} if family in LONG and variant != "published" else {}
    if family == kosmos2.FAMILY and variant == "published":
        more_told["padded"] = kosmos2.padded(model)
    tiny.save(model, family, variant, out)     # which rounds the model's buffers
    save_file({k: v.contiguous() for k, v in arrays.items()}, out + "/golden.safetensors")
    with open(out + "/golden.json", "w") as f:
        said = {"text": tok.decode(arrays["greedy"], skip_special_tokens=True)} if variant == "published" else {}
        if family == "idefics" and said:         # what follows on the prompt keeps the space in front of its first word
            prompt, answer = arrays["ids"].tolist(), arrays["greedy"].tolist()
            before = tok.decode(prompt, skip_special_tokens=True)
            said["said"] = tok.decode(prompt + answer, skip_special_tokens=True)[len(before):]
        if family == kosmos2.FAMILY:
            said |= kosmos2.grounded(tok.decode(arrays["greedy"], skip_special_tokens=True))
        json.dump({"seed": seed, "messages": messages, **published.more_of(more),
                   "least_margin": float(arrays["margins"].min()), **said,
                   **({"preprocessing": preprocessing(family, proc, call)} if proc else {}),
                   **({"canvases": proc.canvases()} if family == internvl_chat.FAMILY else {}),
                   **more_told}, f, indent=1)
    if variant == "published":
        with open(out + "/chats.json", "w") as f:
            parts = [f'"{k}":[\n' + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "]"
                     for k, rows in published.prompts(family, out, tok, bool(images)).items()]
            f.write("{" + ",\n".join(parts) + "}\n")
    size = sum(os.path.getsize(os.path.join(out, n)) for n in os.listdir(out)) // 1024
    print(f"{family}/{variant}: {len(arrays['ids'])} tokens, seed {seed}, "
          f"least margin {float(arrays['margins'].min()):.3f}, "
          f"{len(set(arrays['greedy'].tolist()))} different tokens, {size} KB", flush=True)


def phone():
    """A screenshot of the size that the phone agent sends, with an alpha channel, through the published settings."""
    family, variant, out = "phone", "glm4v", os.path.join(ROOT, "phone", "glm4v")
    im = Image.open(os.path.join(ROOT, "..", "..", SCREENSHOT)).convert("RGB")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Open the settings."}]}]
    tok, proc = tiny.save(tiny.build(family, variant, 0), family, variant, out)
    p, best = proc(images=[im], return_tensors="pt"), None
    for seed in range(1, 6):
        model = tiny.build(family, variant, seed)
        ids = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        x = torch.tensor([expand(ids, model.config.image_token_id, [int(p["image_grid_thw"].prod()) // 4])])
        g = model.generate(input_ids=x, attention_mask=torch.ones_like(x), **p, max_new_tokens=STEPS,
                           min_new_tokens=STEPS, mm_token_type_ids=(x == model.config.image_token_id).int(),
                           do_sample=False, output_logits=True, return_dict_in_generate=True)
        logits = torch.cat(g.logits)
        margin, new = logits.topk(2).values.diff().abs().min().item(), g.sequences[0, x.shape[1]:]
        print(f"phone: {x.shape[1]} tokens, seed {seed}, least margin {margin:.3f}, "
              f"{len(set(new.tolist()))} different", flush=True)
        if best is None or margin > best[0]:
            best = margin, model, new, logits, seed
        if margin > .02 and len(set(new.tolist())) > 4:
            break
    margin, model, new, logits, seed = best
    tiny.save(model, family, variant, out)
    save_file({"ids": x[0].int(), "greedy": new.int(), "logits": logits[:1].contiguous()}, out + "/golden.safetensors")
    with open(out + "/golden_phone.json", "w") as f:
        json.dump({"seed": seed, "messages": messages, "image": SCREENSHOT, "least_margin": margin}, f, indent=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in sys.argv[1:] or tiny.CASES:
        family, _, only = name.partition("/")
        if family == "phone":
            phone()
            continue
        for variant in [only] if only else tiny.CASES[family]:
            golden(family, variant)
