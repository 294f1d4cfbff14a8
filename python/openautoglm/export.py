"""Writes a run as a Hugging Face model directory: python -m openautoglm.export RUN DIR

RUN is a training directory (its last.pt) or a checkpoint file.  The weights
are folded (see Model.fold) and rounded to bf16; the training heads stay behind.
"""
import json
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from . import preprocess
from . import tokenizer as t
from .chat_template import TEMPLATE
from .config import Config
from .model import Model


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, ensure_ascii=False, indent=1)
        f.write("\n")


def write_weights(model, directory):
    """config.json and model.safetensors of a folded model"""
    os.makedirs(directory, exist_ok=True)
    write_json(os.path.join(directory, "config.json"), model.c.to_dict())
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    path = os.path.join(directory, "model.safetensors")
    save_file(tensors, path, {"format": "pt"})
    os.chmod(path, 0o644)


def write_text_files(directory):
    """Everything that does not depend on the weights"""
    write_json(os.path.join(directory, "tokenizer.json"), t.to_json())
    write_json(os.path.join(directory, "tokenizer_config.json"), {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|pad|>", "eos_token": "<|end|>",
        "unk_token": "<|unk|>",
        "model_max_length": Config.max_position_embeddings, "clean_up_tokenization_spaces": False})
    write_json(os.path.join(directory, "generation_config.json"), {"eos_token_id": t.END, "pad_token_id": t.PAD,
                                                                   "do_sample": False, "temperature": 0})
    write_json(os.path.join(directory, "preprocessor_config.json"), preprocess.CONFIG)
    with open(os.path.join(directory, "chat_template.jinja"), "w") as f:
        f.write(TEMPLATE)


def write(model, directory):
    """A folded model as a directory that can be served"""
    write_weights(model, directory)
    write_text_files(directory)


def weights(directory):
    """The tensors of an exported model, in fp32, and its configuration"""
    with safe_open(os.path.join(directory, "model.safetensors"), "pt") as f:
        return {k: f.get_tensor(k).float() for k in f.keys()}, Config.load(os.path.join(directory, "config.json"))


def load(directory):
    """The exported model, computing in fp32: the reference for the C implementation."""
    state, c = weights(directory)
    model = Model(c).fold()
    model.load_state_dict(state)
    return model


def main(argv=None):
    run, directory = argv or sys.argv[1:]
    z = torch.load(os.path.join(run, "last.pt") if os.path.isdir(run) else run, map_location="cpu")
    model = Model(Config.from_dict(z["config"]))
    model.load_state_dict(z["model"])
    write(model.fold(), directory)


if __name__ == "__main__":
    main()
