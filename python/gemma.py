"""Tokenizers of Gemma's shape: SentencePiece's BPE, as it is published.

Spaces become "\u2581", nothing cuts a text before the merges do, bytes have tokens of their own, and bos goes in front.
"""
import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FIRST = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>", "<unused1>", "<start_of_turn>", "<end_of_turn>"]
LAST = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
SPECIAL = FIRST + LAST


def backend(text, merges, renamed=None):
    """A vocabulary of the special tokens, runs of line breaks, bytes, the characters of `text` and so many merges."""
    def name(s):
        return (renamed or {}).get(s, s)

    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Replace(" ", "\u2581")
    letters = len(set(text.replace(" ", "\u2581")) - {"\n"})
    t.train_from_iterator(text.splitlines(), trainers.BpeTrainer(vocab_size=letters + merges, show_progress=False))
    trained = sorted(t.get_vocab().items(), key=lambda x: x[1])
    lines = ["\n" * n for n in range(1, 5)]
    tokens = [name(s) for s in FIRST] + lines + [f"<0x{b:02X}>" for b in range(256)] + [s for s, _ in trained]
    vocab = {s: i for i, s in enumerate(dict.fromkeys(tokens + [name(s) for s in LAST]))}
    learned = [tuple(m) for m in json.loads(t.to_str())["model"]["merges"]]
    out = Tokenizer(models.BPE(vocab, [(lines[n], "\n") for n in range(3)] + learned, unk_token=name("<unk>"),
                               fuse_unk=True, byte_fallback=True))
    out.normalizer = normalizers.Replace(" ", "\u2581")
    out.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    out.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    out.add_special_tokens([AddedToken(name(s), special=True, normalized=False) for s in SPECIAL])
    bos = name("<bos>")
    out.post_processor = processors.TemplateProcessing(single=[bos, "$A"], pair=[bos, "$A", bos, "$B"],
                                                       special_tokens=[(bos, out.token_to_id(bos))])
    return out
