"""Checkpoints whose configuration contradicts their tensors, or asks for what their family does not do: one line that
names the file, the field or the tensor, before anything is loaded."""

import json
import shutil
import subprocess

import pytest

from conftest import BIN, ROOT
from test_vectors import rewritten


def change(name, *keys, to):
    """Sets a member of a JSON file of the checkpoint."""
    def damage(folder):
        root = part = json.loads((folder / name).read_text())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = to
        (folder / name).write_text(json.dumps(root))
    return damage


def config(*keys, to):
    return change("config.json", *keys, to=to)


def processor(*keys, to):
    return change("preprocessor_config.json", *keys, to=to)


def both(*damages):
    return lambda folder: [damage(folder) for damage in damages]


FAR = [[12 << 59, 12 << 59]]                        # canvases whose tiles, multiplied, overflow 64 bits to 0

# checkpoint -> what is done to a copy of it, and what the line has
REFUSED = {
    "kosmos-2/published": {
        "queries": (config("latent_query_num", to=63), "image_to_text_projection.latent_query"),
        "slots": (config("latent_query_num", to=4000), "latent_query"),
        "heads": (config("text_config", "attention_heads", to=5), "attention_heads"),
        "layers": (config("text_config", "layers", to=3), "layers.2."),
        "image": (config("vision_config", "image_size", to=42), "position_embedding"),
        "crop": (processor("crop_size", to={"height": 14, "width": 28}), "crop_size"),
        "context": (config("text_config", "max_position_embeddings", to=1 << 20), "max_position_embeddings"),
        "cross": (config("text_config", "add_cross_attention", to=True), "add_cross_attention"),
        "token": (change("tokenizer.json", "added_tokens", to=[]), '"<image>"'),
        "far": (change("tokenizer.json", "added_tokens", 5, "id", to=1 << 20), '"<image>"'),
    },
    "llava/clip": {
        "text": (config("text_config", "model_type", to="mamba"), "text_config.model_type"),
        "tower": (config("vision_config", "model_type", to="dinov2"), "vision_config.model_type"),
        "length": (config("notes", to="a" * (17 << 20)), "config.json"),
        "layer": (config("vision_feature_layer", to=-9), "vision_feature_layer"),
        "first": (config("vision_feature_layer", to=0), "vision_feature_layer"),
        "no layer": (config("vision_feature_layer", to=[]), "vision_feature_layer"),
        "several": (config("vision_feature_layer", to=[-2, -3]), "vision_feature_layer"),
        "strategy": (config("vision_feature_select_strategy", to="cls"), "vision_feature_select_strategy"),
        "token": (config("image_token_index", to=100000), "image_token_index"),
        "projector": (config("text_config", "hidden_size", to=64), "shape"),
        "patch": (config("vision_config", "patch_size", to=14), "patch_embedding"),
        "crop": (processor("crop_size", to={"height": 14, "width": 14}), "crop_size"),
        "side": (processor("crop_size", to={"height": 16}), "crop_size.width"),
        "longest": (processor("size", to={"shortest_edge": 16, "longest_edge": 32}), "longest_edge"),
        "neither": (processor("size", to={"edge": 16}), "size.height"),
        "list": (processor("size", to=[]), "size"),
        "mean": (processor("image_mean", to=[0.5, 0.5, 1e300]), "image_mean"),
    },
    "llava_next/mistral": {
        "canvases": (both(processor("image_grid_pinpoints", to=FAR), config("image_grid_pinpoints", to=FAR)),
                     "image_grid_pinpoints: must be at most 64 pairs"),
        "three": (both(processor("image_grid_pinpoints", to=[[12, 24, 1]]),
                       config("image_grid_pinpoints", to=[[12, 24, 1]])), "pairs"),
        "no list": (config("image_grid_pinpoints", to="12x24"), "image_grid_pinpoints: must be a list"),
    },
    "llava_onevision/tiles": {
        "colour": (processor("image_mean", to=[0.5, 2, 0.5]), "image_mean"),
        "resize": (processor("do_resize", to=False), "do_resize"),
    },
    "glm_ocr/tied": {
        "resize": (processor("do_resize", to=False), "do_resize"),
        "sides": (processor("size", to={"height": 16, "width": 16}), "size.height"),
        "frames": (processor("temporal_patch_size", to=1), "temporal_patch_size"),
    },
    "qwen2_vl/tied": {
        "resize": (processor("do_resize", to=False), "do_resize"),
        "width": (processor("size", "width", to=16), "size.width"),
        "frames": (processor("temporal_patch_size", to=4), "temporal_patch_size"),
    },
    "idefics/states": {
        "resize": (processor("do_resize", to=False), "do_resize"),
    },
    "idefics2/whole": {
        "sides": (processor("size", to={"height": 16, "width": 16}), "size.height"),
    },
    "smolvlm/idefics3": {
        "sides": (processor("size", to={"height": 16, "width": 16}), "size.height"),
    },
    "llama/yarn": {
        "head": (config("head_dim", to=1024), "num_attention_heads: heads of 1024"),
    },
    "mllama/tiles": {
        "resize": (processor("do_resize", to=False), "do_resize"),
        "pad": (processor("do_pad", to=False), "do_pad"),
        "channels": (config("vision_config", "num_channels", to=4), "num_channels"),
        "ratios": (config("vision_config", "supported_aspect_ratios", to={}),
                   "supported_aspect_ratios: must be a list"),
    },
    "pixtral/merged": {
        "heads": (config("vision_config", "num_attention_heads", to=5), "num_attention_heads"),
        "layer": (config("vision_feature_layer", to=-5), "vision_feature_layer"),
        "merge": (config("spatial_merge_size", to=3), "patch_merger.merging_layer"),
        "patch": (config("vision_config", "patch_size", to=8), "patch_conv"),
        "processor": (processor("patch_size", to=5), "patch_size"),
        "resize": (processor("do_resize", to=False), "do_resize"),
        "crop": (processor("do_center_crop", to=True), "do_center_crop"),
        "sides": (processor("size", to={"height": 16, "width": 16}), "size.height"),
        "text": (config("text_config", "model_type", to="gpt2"), "text_config.model_type"),
        "head_dim": (config("text_config", "head_dim", to=16), "q_proj"),
        "channels": (config("vision_config", "num_channels", to=1), "num_channels"),
        "no layer": (config("vision_feature_layer", to=[]), "vision_feature_layer"),
    },
    "deepseek_vl/tied": {
        "size": (processor("size", to={"height": 32, "width": 32}), "size"),
        "pad": (processor("do_pad", to=False), "do_pad"),
        "least": (processor("min_size", to=17), "min_size"),
        "mean": (processor("image_mean", to=[2, 2, 2]), "image_mean"),
        "text": (config("text_config", "model_type", to="gpt2"), "text_config.model_type"),
        "aligner": (config("text_config", "hidden_size", to=96), "shape"),
    },
    "internvl_chat/tiles": {
        "token": (change("tokenizer.json", "added_tokens", to=[]), '"<IMG_CONTEXT>"'),
        "text": (config("llm_config", "model_type", to="internlm2"), "llm_config.model_type"),
        "image": (config("vision_config", "image_size", to=24), "force_image_size"),
        "norms": (config("vision_config", "qk_normalization", to=True), "attn.q_norm"),
    },
    "internvl/tiles": {
        "norm": (config("vision_config", "norm_type", to="batch_norm"), "norm_type"),
        "channels": (config("vision_config", "num_channels", to=4), "num_channels"),
        "image": (config("vision_config", "image_size", to=[20, 20]), "image_size"),
        "oblong": (config("vision_config", "image_size", to=[16, 32]), "image_size"),
        "layer": (config("vision_feature_layer", to=-2), "vision_feature_layer"),
        "positions": (config("vision_config", "patch_size", to=[2, 2]), "patch_embeddings"),
        "size": (processor("size", to={"height": 32, "width": 32}), "size"),
        "tiles": (processor("max_patches", to=1000), "max_patches"),
    },
}
ROWS = [(case, what) for case, rows in REFUSED.items() for what in rows]


@pytest.mark.parametrize("case,what", ROWS, ids=lambda x: x)
def test_one_line(case, what, tmp_path):
    shutil.copytree(ROOT / "tests/model" / case, tmp_path / "case")
    damage, said = REFUSED[case][what]
    damage(tmp_path / "case")
    done = subprocess.run([BIN, "plan", "--model", tmp_path / "case"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and len(done.stderr.splitlines()) == 1 and said in done.stderr, done.stderr


def test_heads_that_are_not_the_hidden_size(tmp_path):
    """With tensors to match: Llama's own attention may have them, that to images cannot."""
    def narrowed(name, shape, part):
        if ".layers." not in name or ".self_attn." not in name or "vision" in name:
            return shape, part
        shape = [36, 32] if "o_proj" in name else [32, 36]
        return shape, part[:2 * 32 * 36]

    folder = rewritten(tmp_path / "case", "idefics/states", narrowed)
    config("num_attention_heads", to=8)(folder)
    done = subprocess.run([BIN, "plan", "--model", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done
    assert "num_attention_heads: 8 heads of keys with 4 numbers" in done.stderr, done.stderr
