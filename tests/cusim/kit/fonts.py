"""The fonts of python/openautoglm/fonts.py, cut down to the characters that screens are painted with: fonts.py FOLDER

Under their own names, so that OPENAUTOGLM_FONTS=FOLDER finds them: 50 MB become less than one.
"""
import logging
import os
import sys

from fontTools import subset
from openautoglm import fonts
from openautoglm import tokenizer


def main():
    folder, = sys.argv[1:]
    logging.getLogger("fontTools.subset").setLevel(logging.ERROR)       # names tables that no painting needs
    fonts.need()
    os.makedirs(folder, exist_ok=True)
    for path in fonts.LATIN + fonts.CJK:
        options = subset.Options(font_number=0, layout_features=["*"], notdef_outline=True)
        font = subset.load_font(path, options)
        cut = subset.Subsetter(options)
        cut.populate(text="".join(tokenizer.CHARACTERS))
        cut.subset(font)
        subset.save_font(font, os.path.join(folder, os.path.basename(path)), options)


if __name__ == "__main__":
    main()
