"""Golden scores: what transformers (fp32, eager) computes with tiny checkpoints ...ForSequenceClassification.

    python/rankers.py       writes tests/model/rankers/

scores.json holds texts, or pairs of a query and a document, and the logits of the classes for the tokens of each; a
pair is its two texts' tokens, one behind the other.
"""
import json
import os

import torch
import transformers

import golden
import tiny

CASES = {"qwen3": ("Qwen3ForSequenceClassification", "qwen3", "grouped", {"num_labels": 1}),
         "qwen2": ("Qwen2ForSequenceClassification", "qwen2", "grouped",
                   {"id2label": {0: "bad", 1: "good", 2: "neither"}})}
QUERY, DOCUMENTS = "Which button opens Wi-Fi?", ["Tap on 设置.", "the red one", "a"]


@torch.no_grad()
def write(name):
    kind, family, base, more = CASES[name]
    cls, out = getattr(transformers, kind), os.path.join(golden.ROOT, "rankers", name)
    config = tiny.CASES[family][base][0] | more
    model = cls._from_config(cls.config_class(**json.loads(json.dumps(config))), dtype=torch.float32,
                             attn_implementation="eager")
    tiny.randomize(model, 1)
    tok = tiny.tokenizer(*tiny.special_of(family))
    pairs = [[QUERY, d] for d in DOCUMENTS]
    rows = [model(input_ids=torch.tensor([tok(a)["input_ids"] + tok(b)["input_ids"]])).logits[0] for a, b in pairs]
    texts = [model(input_ids=torch.tensor([tok(d)["input_ids"]])).logits[0] for d in DOCUMENTS]
    os.makedirs(out, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    tok.save_pretrained(out)
    with open(out + "/scores.json", "w") as f:
        json.dump({"query": QUERY, "documents": DOCUMENTS, "pairs": torch.stack(rows).tolist(),
                   "texts": torch.stack(texts).tolist()}, f, indent=1)
    print(name, torch.stack(rows).tolist())


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for case in CASES:
        write(case)
