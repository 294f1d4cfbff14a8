"""Strings that tokenizers get wrong, made from a seed: the same on every machine."""
import random

WORDS = ("the quick brown Fox JUMPS don't I'LL we've they'd it's naïve café CAFÉ Straße "
         "ΑΒΓ αβγς Привет мир שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดี ประเทศไทย 你好 世界 中文字符 "
         "こんにちは カタカナ 한국어 조합형 tiếng Việt İstanbul ıI ǅ ﬁ ﬃ Ⅷ ① ½ ² ﷺ Ａｂｃ ｶﾞ ㍿ "
         "def main(argc, argv): return x[0]->y; /* c */ #include <stdio.h> http://a.b/c?d=e&f "
         "1 12 123 1234 12345678901234567890 3.14 1,000 0x1F 1e-10 ١٢٣ ৪৫ 一二三 Ⅳ "
         "camelCase HTTPServer snake_case kebab-case U.S.A. e.g. ... !!! ?! -- —— “quoted” ‘x’ «y»").split(" ")
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "❤️", "🇩🇪🇫🇷", "1️⃣", "👨🏿‍🦲", "🧑‍💻", "☺", "🫨", "🫩", "\U0001f9d1\u200d", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
MARKS = ["e\u0301", "é", "o\u0302\u0323", "o\u0323\u0302", "ộ", "a\u0315\u0300\u05ae\u0300b", "\u0301alone",
         "a\u0301\u0327\u0316",
         "각", "각", "\u1100\u1161\u11a8\u11a8", "が", "か\u3099", "Å", "\u212b", "\u2126", "q\u0307\u0323", "\u0344",
         "\u0958", "नि", "ก็", "z" + "\u0300\u0316" * 12, "\u0d4b", "\ufb2c", "a\u0898\u0301", "\U00011935\U00011930"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u3000", "\u2003", "\u200b", "\ufeff",
          "\u2028", "\u2029", "\u0085",
          "\u180e", "\u202f", "\u205f", "\u1680", "\x0b", "\x0c", "       ", "\t\t ", "\n   \n", "\r", "\u2009 "]
CONTROL = ["\x00", "\x01", "\x07", "\x1b[0m", "\x7f", "\u0080", "\u009f", "\u00ad", "\u061c", "\u200c", "\u200d",
           "\u200e", "\u2060", "\ue000", "\ufffd",
           "\ufffe", "\uffff", "\U0010ffff", "\U000f0000", "\u0378", "\U00031350", "\U0002ebf0", "\U00010d50",
           "\u1c89", "\ua7dc", "\U0001e030",
           "\u32ff", "\ua7f2", "\U0001fbf0", "\u0149", "\u017f", "\u212a", "ẞ", "\U00013440", "\U00011f50",
           "\U0001e4f0"]
LONG = ["a" * 40, "ab" * 30, "=" * 33, "-" * 17, "0" * 25, "中" * 21, "é" * 15, "A" * 19, "!?" * 11, " " * 29 + "x",
        "\n" * 9, "😀" * 7, "\u0301" * 9]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<s>", "</s>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "<pad>", "<0x0A>", "▁",
           "▁▁the", "##ing", "<tool>",
           "</w>", "Ġ", "Ċ", "<|", "|>", "[", "<image>", "<added>", "Added", "ADDED", "added"]


def one(rng):
    """One string of up to about 30 parts."""
    out = []
    for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 30))):
        kind = rng.random()
        if kind < 0.38:
            out.append(rng.choice(WORDS))
        elif kind < 0.62:
            out.append(rng.choice(SPACES if rng.random() < 0.3 else [" "]))
        elif kind < 0.68:
            out.append(rng.choice(EMOJI))
        elif kind < 0.74:
            out.append(rng.choice(MARKS))
        elif kind < 0.80:
            out.append(rng.choice(CONTROL))
        elif kind < 0.85:
            out.append(rng.choice(LONG))
        elif kind < 0.90:
            out.append(rng.choice(SPECIAL))
        elif kind < 0.95:
            out.append(chr(rng.randrange(0x20, 0x7f)) * rng.choice((1, 1, 2, 5)))
        else:
            c = rng.choice((rng.randrange(0xd800), rng.randrange(0xe000, 0x3400 + 0xe000),
                            rng.randrange(0x10000, 0x32000)))
            out.append(chr(c))
    return "".join(out)


def strings(count, seed=1):
    rng = random.Random(seed)
    fixed = ["", " ", "\n", "a", " a", "a ", "  a  b  ", "Hello, world!", "\x00"] + MARKS + EMOJI + CONTROL
    return (fixed + [one(rng) for _ in range(count)])[:count] if count > len(fixed) else [one(rng)
                                                                                          for _ in range(count)]
