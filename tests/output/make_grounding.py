"""Writes grounding.json: answers with places, and what transformers' Kosmos-2 makes of them.

    python tests/output/make_grounding.py

Some lie by hand below; the others are put together from pieces of answers, by a seed.
"""
import json
import pathlib
import random

from transformers.models.kosmos2.processing_kosmos2 import clean_text_and_extract_entities_with_bboxes

DOG = "<phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>"
HAND = [
    "", " ", "plain", " A dog.\n", DOG, "An image of" + DOG + " and<phrase> a fire</phrase><object><patch_index_0005>"
    "<patch_index_0911></object>.",
    "<grounding> it<object><patch_index_0000><patch_index_1023></object>",
    "<phrase>two </phrase><object><patch_index_0001><patch_index_0033></delimiter_of_multi_objects/><patch_index_0100>"
    "<patch_index_0100></object> more",
    "<object><patch_index_0007><patch_index_0009></delimiter_of_multi_objects/><patch_index_0040><patch_index_0136>"
    "</object>",
    "<phrase>a</phrase> <object><patch_index_0007><patch_index_0009></object>",
    "<phrase></phrase><object><patch_index_0007><patch_index_0009></object>",
    "<phrase> \n </phrase><object><patch_index_0007><patch_index_0009></object>",
    "<phrase>a <b</phrase><object><patch_index_0007><patch_index_0009></object>",
    "<phrase>a > b</phrase><object><patch_index_7><patch_index_00000000009></object>",
    "<phrase>a<object><patch_index_0007><patch_index_0009></object></phrase>",
    "<phrase>a</phrase><object><patch_index_0007></object>", "<phrase>a</phrase><object></object>",
    "<phrase>a</phrase><object><patch_index_0007><patch_index_0009>",
    "<phrase>a</phrase><object><patch_index_0007><patch_index_0009><patch_index_0010></object>",
    "<phrase>a</phrase><object><patch_index_0007><patch_index_0009></delimiter_of_multi_objects/></object>",
    "<phrase>a</phrase><object><patch_index_0007> <patch_index_0009></object>",
    "<phrase>a</phrase><object><patch_index_x><patch_index_0009></object>", "<object><patch_index_><patch_index_1>"
    "</object>", "a < b and c > d", "a <b\n> c", "<<object><patch_index_0007><patch_index_0009></object>",
    "<object<object><patch_index_0007><patch_index_0009></object>>", "x <", "x < \t",
    "<object><patch_index_0001><patch_index_0033></delimiter_of_multi_objects/><patch_index_0100></object>",
    "é<phrase> Größe 图</phrase><object><patch_index_0512><patch_index_0545></object>!",
    "<phrase>far</phrase><object><patch_index_1024><patch_index_99999></object>",
    "<object><patch_index_33><patch_index_1057></object>",
    "<object><patch_index_999999999999><patch_index_0000000000000000000005></object>",
    "</object></phrase><object>", "\x1c\x0b a\x1f",
]
PIECES = ["<phrase>", "</phrase>", "<object>", "</object>", "</delimiter_of_multi_objects/>", "<grounding>", " ", "\n",
          "<", ">", " a cat", "x", "<patch_index_0010>", "<patch_index_0999>", "<patch_index_0042>", "</image>", DOG]


def made(rng):
    """Pieces in any order, of which boxes and phrases are more often whole than by chance."""
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(2, 16)))


def row(text):
    said, entities = clean_text_and_extract_entities_with_bboxes(text)
    return {"text": text, "said": said,
            "grounding": [{"phrase": name, "box": list(box)} for name, _, boxes in entities for box in boxes]}


def main():
    rng = random.Random(2)
    rows = [row(t) for t in HAND + [made(rng) for _ in range(120)]]
    lines = ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows)
    (pathlib.Path(__file__).parent / "grounding.json").write_text("[" + lines + "]\n", encoding="utf-8")
    print(len(rows), "texts,", sum(len(r["grounding"]) for r in rows), "boxes")


if __name__ == "__main__":
    main()
