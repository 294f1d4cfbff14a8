#!/usr/bin/env python3
"""Writes tokenizer/unicode_tables.inc: what the reference (the `tokenizers`
library) takes every code point for, found by asking it.

    python tests/tokenizer/make_unicode.py > tokenizer/unicode_tables.inc

The reference mixes Unicode versions: its regular expressions know Unicode 16
or later, its accent stripping an old one. PCRE2 and utf8proc have versions of
their own, so these tables decide wherever an answer can be seen in the ids.
Needs a Python whose unicodedata is version 14 (that of the oldest PCRE2 that
the project supports): regex_new lists what came later.
"""
import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
CODES = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, CODES))


def ranges(codes):
    out = []
    for c in codes:
        if out and (out[-1][1] + 1 == c or (out[-1][1] == 0xD7FF and c == 0xE000)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def matched(pattern):
    """The code points that the reference's regular expressions match."""
    split = pre_tokenizers.Split(Regex(f"{pattern}+"), "removed", invert=True)
    return [c for _, (a, b) in split.pre_tokenize_str(ALL) for c in CODES[a:b]]


def alone(pre):
    """Those that are cut off from an `a` before them."""
    return [c for c in CODES if len(pre.pre_tokenize_str("a" + chr(c))) == 2]


def removed(norm):
    return [c for c in CODES if norm.normalize_str("a" + chr(c)) == "a"]


def table(name, codes):
    print(f"static const struct range {name}[] = {{")
    line = "   "
    for a, b in ranges(codes):
        item = f" {{ 0x{a:x}, 0x{b:x} }},"
        if len(line) + len(item) > 118:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};\n")


def scripts():
    """Runs of one script, as UnicodeScripts groups them; script 0 is "any"."""
    pre = pre_tokenizers.UnicodeScripts()

    def joined(a, b):
        return len(pre.pre_tokenize_str(chr(a) + chr(b))) == 1

    latin, cyrillic = ord("a"), ord("б")
    reps, out = [], []
    for c in CODES:
        if out and out[-1][2] and joined(out[-1][1], c) and not (joined(latin, c) and joined(cyrillic, c)):
            script = out[-1][2]
        elif joined(latin, c) and joined(cyrillic, c):
            script = 0
        else:
            script = next((i + 1 for i, r in enumerate(reps) if joined(r, c)), None)
            if script is None:
                reps.append(c)
                script = len(reps)
        if out and out[-1][2] == script and out[-1][1] + 1 == c:
            out[-1][1] = c
        else:
            out.append([c, c, script])
    return [r for r in out if r[2]]


def lower_new():
    """Lower case that utf8proc 2.8 (Unicode 15) does not know: ranges that move by one distance."""
    low = normalizers.Lowercase()
    out = []
    for c in CODES:
        to = low.normalize_str(chr(c))
        if len(to) != 1 or ord(to) == c or chr(c).lower() == to:
            continue
        step = ord(to) - c
        if out and out[-1][1] + 1 == c and out[-1][2] == step:
            out[-1][1] = c
        else:
            out.append([c, c, step])
    return out


def main():
    print("/* Made by tests/tokenizer/make_unicode.py: what the reference takes each code\n"
          " * point for. Do not edit. */\n")
    table("table_word", [c for c in CODES
                         if pre_tokenizers.Whitespace().pre_tokenize_str("a" + chr(c))[0][0] == "a" + chr(c)])
    table("table_punctuation", alone(pre_tokenizers.Punctuation()))
    table("table_numeric", alone(pre_tokenizers.Digits(individual_digits=True)))
    table("table_mark", removed(normalizers.StripAccents()))
    print("static const struct script_range table_script[] = {")
    line = "   "
    for a, b, s in scripts():
        item = f" {{ 0x{a:x}, 0x{b:x}, {s} }},"
        if len(line) + len(item) > 118:
            print(line)
            line = "   "
        line += item
    print(line + "\n};\n")
    print("static const struct lower_range table_lower_new[] = {")
    for a, b, step in lower_new():
        print(f"    {{ 0x{a:x}, 0x{b:x}, {step} }},")
    print("};\n")
    names = []
    for name in "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So".split():
        new = [c for c in matched(rf"\p{{{name}}}") if not unicodedata.category(chr(c)).startswith(name)]
        if new:
            table(f"new_{name}", new)
            names.append(name)
    for name in "Alphabetic Han Hiragana Katakana Hangul Arabic".split():
        new = [c for c in matched(rf"\p{{{name}}}") if unicodedata.category(chr(c)) == "Cn"]
        if new:
            table(f"new_{name}", new)
            names.append(name)
    print("static const struct property_new table_new[] = {")
    for name in names:
        print(f'    {{ "{name}", new_{name}, sizeof new_{name} / sizeof *new_{name} }},')
    print("};")


if __name__ == "__main__":
    sys.exit(main())
