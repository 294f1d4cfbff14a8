#!/usr/bin/env python3
"""Makes tests/tokenizer/fixtures: small tokenizer.json files that use every part
of the format, and what the reference (the `tokenizers` library) does with them.

    python tests/tokenizer/make_fixtures.py

Most have a model whose ids show every byte and the end of every piece, so that
a piece that is cut one character too late is seen. expected.json holds
    "texts":  [text, ...]
    "cases":  {name: {"ids": [[id, ...] or null if it fails, ...], (for each text)
                      "special": [...],                            (with special tokens)
                      "decode": [[[id, ...], text, text without special tokens], ...]}}
"""
import json
import pathlib
import random
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

import nasty

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "python"))
from charsmap import charsmap          # noqa: E402

HERE = pathlib.Path(__file__).parent / "fixtures"
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
RULES = {"Ａ": "A", "ﬁ": "fi", "①": "1", "\u0301": "", "é": "e", "ｶ": "カ", "\u00a0": " ", "\u3000": " ",
         "㍿": "株式会社", "½": "1/2"}                # of a small precompiled_charsmap
N, P, D, C = normalizers, pre_tokenizers, decoders, processors

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
         r"\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+"]


def ends():
    """A byte model without merges that marks the last byte of each piece."""
    vocab = {}
    for c in ALPHABET:
        vocab[c] = len(vocab)
        vocab[c + "</w>"] = len(vocab)
    return models.BPE(vocab=vocab, merges=[], end_of_word_suffix="</w>")


def build(norm=None, pre=None, post=None, dec=None, model=None, tokens=(), bytelevel=True):
    t = Tokenizer(model or ends())
    if norm:
        t.normalizer = norm
    parts = [p for p in (pre if isinstance(pre, list) else [pre]) if p]
    if bytelevel:
        parts.append(P.ByteLevel(add_prefix_space=False, use_regex=False))
    if parts:
        t.pre_tokenizer = P.Sequence(parts) if len(parts) > 1 else parts[0]
    if post:
        t.post_processor = post
    if dec:
        t.decoder = dec
    elif bytelevel:
        t.decoder = D.ByteLevel()
    for tok in tokens:
        t.add_special_tokens([tok]) if tok.special else t.add_tokens([tok])
    return t


TRAIN = nasty.strings(400, seed=99) + [" ".join(random.Random(5).choices(nasty.WORDS, k=400))]


def train(model, trainer, norm=None, pre=None, dec=None, texts=None, **kw):
    t = build(norm, pre, None, dec, model, bytelevel=False, **kw)
    t.train_from_iterator(texts or TRAIN, trainer)
    return t


def norms():
    yield "nfc", N.NFC()
    yield "nfd", N.NFD()
    yield "nfkc", N.NFKC()
    yield "nfkd", N.NFKD()
    yield "lowercase", N.Lowercase()
    yield "strip", N.Strip(left=True, right=True)
    yield "strip-left", N.Strip(left=True, right=False)
    yield "strip-right", N.Strip(left=False, right=True)
    yield "accents", N.Sequence([N.NFD(), N.StripAccents()])
    yield "nmt", N.Nmt()
    yield "replace", N.Sequence([N.Replace(" ", "▁"), N.Replace(Regex(r"\d+"), "<n>"), N.Replace(Regex("x*"), "y")])
    yield "prepend", N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
    yield "precompiled", N.Precompiled(charsmap(RULES))


def pres():
    for name, b in (("removed", "removed"), ("isolated", "isolated"), ("previous", "merged_with_previous"),
                    ("next", "merged_with_next"), ("contiguous", "contiguous")):
        yield f"split-{name}", P.Split(Regex(r"[\s\p{P}]"), b)
        yield f"split-{name}-invert", P.Split(Regex(r"\p{L}+|\p{N}"), b, invert=True)
        yield f"split-{name}-string", P.Split(" ", b)
    yield "split-empty", P.Split(Regex("x*"), "contiguous")
    yield "qwen2", P.Split(Regex(QWEN2), "isolated")
    yield "llama3", P.Split(Regex(LLAMA3), "isolated")
    yield "o200k", P.Split(Regex(O200K), "isolated")
    yield "kimi", P.Split(Regex(KIMI), "isolated")
    yield "deepseek", [P.Split(Regex(r), "isolated") for r in DEEPSEEK] + [P.Digits(individual_digits=True)]
    yield "oniguruma", P.Split(Regex(r"\h{2,}|(?m:a.)|^\w{1,2}+$|[[:punct:]&&[^!?]]|[^\P{Lu}A-F]|\p{^L}{,"
                                     r"2}x|\S\z|[\d\s&&[^ 0]]|(?<=e)\W"), "isolated")
    yield "whitespace", P.Whitespace()
    yield "whitespace-split", P.WhitespaceSplit()
    yield "punctuation", P.Punctuation()
    yield "punctuation-contiguous", P.Punctuation("contiguous")
    yield "digits", P.Digits()
    yield "digits-single", P.Digits(individual_digits=True)
    yield "metaspace-always", P.Metaspace()
    yield "metaspace-first", [P.Split(Regex("[,.]"), "isolated"), P.Metaspace(prepend_scheme="first", split=False)]
    yield "metaspace-never", P.Metaspace(prepend_scheme="never")
    yield "delimiter", P.CharDelimiterSplit("a")
    yield "scripts", P.UnicodeScripts()
    yield "fixed-length", P.FixedLength(3)
    yield "bytelevel-regex", "gpt2"


def posts():
    cls, sep = ("!", 0), ('"</w>', 3)
    yield "template", C.TemplateProcessing(single="! $A " + '"</w>:1', pair="! $A $B", special_tokens=[cls, sep])
    yield "template-twice", C.TemplateProcessing(single="$A ! $A", pair="$A $B", special_tokens=[cls])
    yield "bert-post", C.BertProcessing(sep, cls)
    yield "roberta-post", C.RobertaProcessing(sep, cls)
    yield "bytelevel-post", C.ByteLevel(trim_offsets=True)
    yield "sequence-post", C.Sequence([C.ByteLevel(), C.TemplateProcessing(single="! $A", pair="! $A $B",
                                                                           special_tokens=[cls])])


DECODE_VOCAB = ["a", "b", "▁a", "▁", "▁▁", "##b", "##", "b</w>", "</w>", "<0x41>", "<0xE4>", "<0xBD>", "<0xA0>",
                "<0xFF>", "<0x+a>", "<0xZZ>",
                ".", ",", "n't", "'s", "do not", " ", "  x ", "Ġhello", "ä", "½", "é", "你", "|", "<pad>", "|a|",
                "<unk>", "", "x x"]


def decs():
    yield "fuse", D.Fuse()
    yield "bytefallback", D.ByteFallback()
    yield "llama-decoder", D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    yield "strip-decoder", D.Strip("b", 1, 2)
    yield "replace-decoder", D.Replace(Regex("[ab]+"), "<>")
    yield "metaspace-decoder", D.Metaspace()
    yield "metaspace-decoder-never", D.Metaspace(prepend_scheme="never")
    yield "bpe-decoder", D.BPEDecoder()
    yield "bytelevel-decoder", D.ByteLevel()
    yield "no-decoder", None


def added():
    return [AddedToken("<|endoftext|>", special=True, normalized=False), AddedToken("<|im_start|>", special=True,
                                                                                    normalized=False),
            AddedToken("<|", normalized=False), AddedToken("[MASK]", special=True, normalized=False, lstrip=True),
            AddedToken("<tool>", normalized=False, rstrip=True), AddedToken("<image>", normalized=False, lstrip=True,
                                                                            rstrip=True),
            AddedToken("Added", normalized=True), AddedToken("the", normalized=False, single_word=True),
            AddedToken("É", normalized=True, special=True), AddedToken("   ", normalized=False),
            AddedToken("a", normalized=True, single_word=True)]


def cases():
    for name, n in norms():
        yield name, build(norm=n)
    for name, p in pres():
        if p == "gpt2":
            t = build(bytelevel=False, dec=D.ByteLevel())
            t.pre_tokenizer = P.ByteLevel(add_prefix_space=True, use_regex=True)
            yield name, t
        else:
            yield name, build(pre=p)
    for name, p in posts():
        yield name, build(post=p)
    yield "added", build(tokens=added())
    yield "added-lowercase", build(norm=N.Lowercase(), tokens=added())
    yield "added-metaspace-first", build(pre=P.Metaspace(prepend_scheme="first"), norm=N.NFKC(), tokens=added())
    vocab = {s: i for i, s in enumerate(DECODE_VOCAB)}
    for name, d in decs():
        t = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
        if d:
            t.decoder = d
        t.add_special_tokens([AddedToken("<pad>", special=True, normalized=False),
                              AddedToken("<eos>", special=True, normalized=False)])
        yield name, t
    special = ["<unk>", "<s>"]
    bt = dict(vocab_size=420, special_tokens=special, show_progress=False)
    yield "bpe-bytelevel", train(models.BPE(), trainers.BpeTrainer(initial_alphabet=ALPHABET, **bt),
                                 pre=P.ByteLevel(add_prefix_space=False), dec=D.ByteLevel())
    t = train(models.BPE(), trainers.BpeTrainer(initial_alphabet=ALPHABET, **bt),
              pre=P.ByteLevel(add_prefix_space=False), dec=D.ByteLevel())
    j = json.loads(t.to_str())
    j["model"]["ignore_merges"] = True
    j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"][:20]]
    yield "bpe-ignore-merges", Tokenizer.from_str(json.dumps(j))
    yield "bpe-unk", train(models.BPE(unk_token="<unk>"), trainers.BpeTrainer(limit_alphabet=40, **bt),
                           pre=P.WhitespaceSplit())
    yield "bpe-fuse-unk", train(models.BPE(unk_token="<unk>", fuse_unk=True),
                                trainers.BpeTrainer(limit_alphabet=40, **bt), pre=P.Whitespace())
    yield "bpe-affixes", train(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"),
                               trainers.BpeTrainer(limit_alphabet=60, continuing_subword_prefix="##",
                                                   end_of_word_suffix="</w>", **bt),
                               pre=P.Whitespace(), dec=D.BPEDecoder())
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    t = train(models.BPE(unk_token="<unk>", byte_fallback=True), trainers.BpeTrainer(limit_alphabet=60, vocab_size=700,
              special_tokens=special + bytes_, show_progress=False),
              norm=N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
              dec=D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]))
    j = json.loads(t.to_str())
    j["added_tokens"] = j["added_tokens"][:2]
    yield "bpe-bytefallback", Tokenizer.from_str(json.dumps(j))
    ut = dict(vocab_size=400, unk_token="<unk>", special_tokens=special, show_progress=False)
    yield "unigram", train(models.Unigram(), trainers.UnigramTrainer(**ut), texts=TRAIN[-1:], norm=N.NFKC(),
                           pre=P.Metaspace(), dec=D.Metaspace())
    j = json.loads(train(models.Unigram(), trainers.UnigramTrainer(**ut), texts=TRAIN[-1:],
                         pre=P.Metaspace(split=False), dec=D.Metaspace()).to_str())
    j["model"]["vocab"] = j["model"]["vocab"][:250] + [[b, -20.0] for b in bytes_] + [["😀😀", -30.0], ["你好", -3]]
    j["model"]["byte_fallback"] = True
    yield "unigram-bytefallback", Tokenizer.from_str(json.dumps(j))
    yield "wordlevel", train(models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=200,
                                                                                            special_tokens=special,
                             show_progress=False), pre=P.WhitespaceSplit())


def encode(t, text, special):
    try:
        return t.encode(text, add_special_tokens=special).ids
    except BaseException:  # a panic of the library is no Exception
        return None


def decode(t, ids, skip):
    try:
        return t.decode(ids, skip_special_tokens=skip)
    except BaseException:
        return None


def main():
    texts = nasty.strings(34, seed=7) + nasty.MARKS[:12:2] + ["", " a  b ", "Hello, World! it's   ok\n\n x",
                                                              "added Added ADDED theAdded the <|im_start|>a [MASK] "
                                                              "<tool>  <image>  é É",
                                         "   the   \n[MASK]\t  <image> <|endoftext|><|endoftext|>"]
    expected = {"texts": texts, "cases": {}}
    HERE.mkdir(exist_ok=True)
    for name, t in cases():
        (HERE / name).mkdir(exist_ok=True)
        (HERE / name / "tokenizer.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False,
                                                               separators=(",", ":")) + "\n")
        t = Tokenizer.from_file(str(HERE / name / "tokenizer.json"))
        rng = random.Random(name)
        ids = [encode(t, s, False) for s in texts]
        special = [encode(t, s, True) for s in texts]
        lists = [[rng.randrange(t.get_vocab_size() + 2) for _ in range(rng.choice((0, 1, 2, 5, 12)))]
                 for _ in range(25)]
        lists += [i for i in ids if i and len(i) < 60][:6]
        dec = [[i, decode(t, i, False), decode(t, i, True)] for i in lists]
        expected["cases"][name] = {"ids": ids, "special": special if special != ids else None, "decode": dec}
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
