"""The golden cases written as checkpoints of other ages, tools and precisions write them: the same model, other files.

    python tests/api/spellings.py          asks transformers whether it agrees, for every case and spelling

Each spelling changes the configuration and the tensors (name -> array of uint16, the bits of bfloat16) where they lie
and says whether it had anything to change.
"""
import copy
import json
import struct

import numpy as np


def read_tensors(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    return {name: np.frombuffer(data[8 + n:][t["data_offsets"][0]:t["data_offsets"][1]], np.uint16).reshape(t["shape"])
            for name, t in json.loads(data[8:8 + n]).items() if name != "__metadata__"}


def as_float(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_tensors(path, tensors, kind):
    """kind: BF16, F16, F32"""
    arrays = {k: t if kind == "BF16" else as_float(t).astype(np.float16 if kind == "F16" else np.float32) for k,
              t in tensors.items()}
    header, at = {}, 0
    for name, a in arrays.items():
        header[name] = {"dtype": kind, "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values()))


def write_shards(folder, tensors, kind, n=3):
    """With an index, the tensors dealt out in turn."""
    names, where = list(tensors), {}
    for i in range(n):
        file = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        write_tensors(folder / file, {k: tensors[k] for k in names[i::n]}, kind)
        where |= dict.fromkeys(names[i::n], file)
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 0},
                                                                     "weight_map": where}))


def text_of(config):
    return config.get("text_config", config)


def rope_at_the_top(config, tensors):
    """rope_theta, partial_rotary_factor and rope_scaling with "type", as before transformers 5"""
    text = text_of(config)
    rope = text.pop("rope_parameters", None)
    if rope is None:
        return False
    if "full_attention" in rope:          # Gemma 3: two kinds of layers
        text["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    for key in "rope_theta", "partial_rotary_factor":
        if key in rope:
            text[key] = rope.pop(key)
    kind = rope.pop("rope_type")
    if kind != "default" or rope:
        text["rope_scaling"] = {"type": "mrope" if "mrope_section" in rope and config["model_type"].startswith("qwen2")
                                else kind, **rope}
    return True


def flat(config, tensors):
    """No text_config, as Qwen2-VL was published"""
    if config["model_type"] not in ("qwen2_vl", "qwen2_5_vl"):
        return False
    config |= {k: v for k, v in config.pop("text_config").items() if k not in ("model_type", "dtype")}
    return True


def flat_and_old(config, tensors):
    return flat(config, tensors) and rope_at_the_top(config, tensors)


def other_names(config, tensors):
    """The tensors of the Qwen2-VLs under their new names, or the old ones if the file has those"""
    if config["model_type"] not in ("qwen2_vl", "qwen2_5_vl"):
        return False
    new = any(k.startswith("model.language_model.") for k in tensors)
    for k in list(tensors):
        if new:
            to = k.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
        else:
            to = "model." + k if k.startswith("visual.") else k.replace("model.", "model.language_model.", 1)
        tensors[to] = tensors.pop(k)
    return True


def old_dtype(config, tensors):
    for part in config, config.get("text_config", {}), config.get("vision_config", {}):
        if "dtype" in part:
            part["torch_dtype"] = part.pop("dtype")
    return True


def no_defaults(config, tensors):
    """Fields that have the value of the class left out; Gemma's classes have other activations and are tied"""
    other = ("hidden_act", "tie_word_embeddings") if text_of(config)["model_type"].startswith("gemma") else ()
    for part in config, config.get("text_config", {}), config.get("vision_config", {}):
        for key, value in {"spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3, "hidden_act": "silu",
                           "attention_dropout": 0.0,
                           "use_cache": True, "initializer_range": 0.02, "use_sliding_window": False,
                           "tie_word_embeddings": False}.items():
            if part.get(key) == value and key not in other and not (
                    key == "hidden_act" and part is config.get("vision_config")):
                part.pop(key)
    return True


def head_of(embedding):
    """The name of the head's weights by that of the embedding's"""
    above = embedding.removesuffix("model.embed_tokens.weight")
    return (above if above.endswith(".") else "") + "lm_head.weight"


def head_beside_tied(config, tensors):
    """tie_word_embeddings, and the head in the file all the same"""
    name = next(k for k in tensors if k.endswith("embed_tokens.weight"))
    if (not (config.get("tie_word_embeddings") or text_of(config).get("tie_word_embeddings")) or
        head_of(name) in tensors):
        return False
    tensors[head_of(name)] = tensors[name]
    return True


def head_alone(config, tensors):
    """tie_word_embeddings, and the head in the file instead of the embedding: what safetensors.torch.save_model()
    leaves of the two"""
    name = next(k for k in tensors if k.endswith("embed_tokens.weight"))
    if (not (config.get("tie_word_embeddings") or text_of(config).get("tie_word_embeddings")) or
        head_of(name) in tensors):
        return False
    tensors[head_of(name)] = tensors.pop(name)
    return True


def buffers(config, tensors):
    """What old files carry and nobody reads"""
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(4, np.uint16)
    return True


SPELLINGS = [rope_at_the_top, flat, flat_and_old, other_names, old_dtype, no_defaults, head_beside_tied, head_alone,
             buffers]


def spell(case, spelling):
    """The configuration and tensors of a case, spelled so; None: this spelling has nothing to say about it."""
    config = json.loads((case / "config.json").read_text())
    tensors = read_tensors(case / "model.safetensors")
    changed = copy.deepcopy(config)
    return (changed, tensors) if spelling(changed, tensors) and (changed != config or spelling in (other_names,
        head_beside_tied, head_alone, buffers)) else None


def main():
    import pathlib
    import shutil
    import sys
    import tempfile

    import torch
    import transformers
    root = pathlib.Path(__file__).resolve().parents[1] / "model"
    sys.path.insert(0, str(root.parents[1] / "python"))
    import tiny
    transformers.logging.set_verbosity_error()
    bad = 0
    for case in sorted(p.parent for p in root.glob("*/*/golden.json")):
        model_class, ids = getattr(transformers, tiny.CLASSES[case.parent.name]), torch.arange(30)[None]
        want = None
        for spelling in [None, *SPELLINGS]:
            with tempfile.TemporaryDirectory() as tmp:
                tmp = pathlib.Path(tmp) / "m"
                shutil.copytree(case, tmp)
                if spelling:
                    if not (spelled := spell(case, spelling)):
                        continue
                    (tmp / "config.json").write_text(json.dumps(spelled[0]))
                    write_tensors(tmp / "model.safetensors", spelled[1], "BF16")
                try:
                    model, info = model_class.from_pretrained(tmp, dtype=torch.float32, attn_implementation="eager",
                                                              output_loading_info=True)
                    with torch.no_grad():
                        out = model(input_ids=ids).logits
                    said = "missing " + str(info["missing_keys"]) if info["missing_keys"] else ""
                except Exception as e:
                    out, said = None, f"{type(e).__name__}: {e}"[:150]
                want = out if spelling is None else want
                ok = out is not None and torch.equal(out, want) and not said
                bad += not ok
                if not ok:
                    print(f"{case.parent.name}/{case.name} {spelling and spelling.__name__}: differs {said}")
    print(f"{bad} differ")


if __name__ == "__main__":
    main()
