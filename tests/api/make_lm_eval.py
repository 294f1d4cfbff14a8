"""Makes lm_eval.json: the requests that lm-evaluation-harness sends, and what transformers says of them.

    python tests/api/make_lm_eval.py RECORDED.jsonl     a request a line, {"body": ...}, as the harness has sent it

They were recorded with lm_eval 0.4.13 as a task of multiple choice that test_lm_eval.py describes. The log probability
of every token of each prompt, given those before it, is computed in float32 on the checkpoint of
tests/model/llama/llama3.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).parent


def main():
    model = transformers.AutoModelForCausalLM.from_pretrained(HERE.parent / "model/llama/llama3", dtype=torch.float32)
    rows = []
    for line in open(sys.argv[1]):
        body = json.loads(line)["body"]
        scores = []
        for ids in body["prompt"]:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append([round(float(logits[i, ids[i + 1]]), 6) for i in range(len(ids) - 1)])
        rows.append({"body": body, "logprobs": scores})
    text = ",\n ".join(json.dumps(r) for r in rows)
    (HERE / "lm_eval.json").write_text(f"[{text}]\n")


if __name__ == "__main__":
    main()
