"""The fonts that screens are painted with: Debian's, or those of the same names in the folder $OPENAUTOGLM_FONTS.

Debian's must all be there, because the same seed shall give the same screens everywhere. A folder of one's own may hold
fewer; one Latin font and one Chinese one are needed.
"""
import os
import sys

_T, _O = "/usr/share/fonts/truetype/", "/usr/share/fonts/opentype/"
DEBIAN_LATIN = [_T + p for p in (
    "roboto/unhinted/RobotoTTF/Roboto-Regular.ttf", "roboto/unhinted/RobotoTTF/Roboto-Medium.ttf",
    "noto/NotoSans-Regular.ttf", "noto/NotoSans-Bold.ttf", "open-sans/OpenSans-Regular.ttf",
    "open-sans/OpenSans-Semibold.ttf", "dejavu/DejaVuSans.ttf", "dejavu/DejaVuSansCondensed.ttf",
    "liberation/LiberationSans-Regular.ttf", "liberation/LiberationSans-Bold.ttf", "noto/NotoSerif-Regular.ttf")]
DEBIAN_CJK = [_O + "noto/NotoSansCJK-Regular.ttc", _O + "noto/NotoSansCJK-Bold.ttc", _T + "wqy/wqy-zenhei.ttc"]


def _here(paths):
    folder = os.environ.get("OPENAUTOGLM_FONTS")
    if not folder:
        return paths
    own = [os.path.join(folder, os.path.basename(p)) for p in paths]
    return [p for p in own if os.path.exists(p)]


LATIN, CJK = _here(DEBIAN_LATIN), _here(DEBIAN_CJK)


def need():
    """Ends the program with one line if screens cannot be painted."""
    missing = [p for p in LATIN + CJK if not os.path.exists(p)]
    if os.environ.get("OPENAUTOGLM_FONTS") and not (LATIN and CJK):
        sys.exit(f"{os.environ['OPENAUTOGLM_FONTS']} (OPENAUTOGLM_FONTS): needs a Latin and a Chinese font with the "
                 f"names of those "
                 "that ./setup.sh eval installs")
    if missing:
        sys.exit(f"{len(missing)} of the {len(LATIN + CJK)} fonts that screens are painted with are missing, "
                 f"{missing[0]} for one: "
                 "./setup.sh eval installs them (Debian's packages)")
