"""Text to tokens and back.

One regular expression, longest alternative first, cuts any text into tokens:
phrases of the action language, `[x` and `,y]` (one token for each coordinate,
x and y apart), words of the questions, single characters.  The same thing as
tokenizer.json: a Split pre-tokenizer with this expression and a WordLevel
model, so that training and serving agree.
"""
import re

from . import vocabulary as v

SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|image|>", "<|unk|>")
PAD, END, USER, ASSISTANT, IMAGE, UNKNOWN = range(len(SPECIAL))
ACTIONS = ('do(action="Tap", element=', 'do(action="Type", text="', 'do(action="Swipe", start=', ', end=',
           'do(action="Back")', 'finish(message="', '")')
COORDINATES = 1000


def _question_words():
    """Every word of the English templates, with and without a space before it."""
    out = {*v.COLORS, *v.KINDS, *v.KINDS.values(), *v.DIRECTIONS, v.YES[0], v.NO[0]}
    for english, _ in v.TEMPLATES.values():
        for template in english:
            out |= set(re.findall(r"[A-Za-z]+", re.sub(r"\{\d\}", "|", template)))
    return sorted(w for w in out | {" " + w for w in out} if len(w) > 1)


def _characters():
    chinese = [*v.ZH, *v.ZH_COLORS.values(), *v.ZH_KINDS.values(), *v.ZH_DIRECTIONS.values(), v.YES[1], v.NO[1],
               *(t for _, zh in v.TEMPLATES.values() for t in zh), "是否"]
    return [chr(c) for c in range(32, 127)] + sorted({c for t in chinese for c in t if ord(c) > 126})


WORDS, CHARACTERS = _question_words(), _characters()
TOKENS = [*SPECIAL, *ACTIONS, *(f"[{i}" for i in range(COORDINATES)), *(f",{i}]" for i in range(COORDINATES)),
          *WORDS, *CHARACTERS]
ID = {t: i for i, t in enumerate(TOKENS)}
FIRST_X, FIRST_Y = ID["[0"], ID[",0]"]


def _escape(t):
    """As re.escape, but only what PCRE2 and Oniguruma read the same way."""
    return re.sub(r"([\\.^$|?*+()\[\]{}])", r"\\\1", t)


def _longest(tokens):
    return sorted(tokens, key=len, reverse=True)


PATTERN = "|".join((*map(_escape, _longest(SPECIAL + ACTIONS)), r"\[[0-9]{1,3}(?=,[0-9]{1,3}\])", r",[0-9]{1,3}\]",
                    *(_escape(w) + "(?![A-Za-z])" for w in _longest(WORDS)), r"[\s\S]"))
_find = re.compile(PATTERN).findall


def encode(text):
    return [ID.get(t, UNKNOWN) for t in _find(text)]


def decode(ids):
    return "".join(TOKENS[i] for i in ids if i not in (PAD, END))


def prompt(question):
    """The tokens of one user message, after those of its images."""
    return encode(question) + [ASSISTANT]


def answer(text):
    return encode(text) + [END]


def to_json():
    """The contents of tokenizer.json."""
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, t in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": ID, "unk_token": SPECIAL[UNKNOWN]},
    }
