#!/usr/bin/env python3
"""Writes tests/image/fixtures/ and tests/image/expected.json with Pillow and
torchvision (both only needed to make the fixtures, not to run the tests).

    python tests/image/make_fixtures.py [--keep-resizes | --views]

--keep-resizes leaves the resize cases as they are, for which (and the views)
alone torchvision is needed; --views makes the views again and nothing else.

Decoding is expected to equal Pillow: exif_transpose, then alpha over white as
transformers' convert_to_rgb does. Where Pillow is not followed (`spec=`), the
expected pixels are computed here from the samples. The pictures of the resize
cases come from a generator that test_image.c has too.
"""
import io
import json
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 61, 43  # odd, and no multiple of a JPEG block
files, large, resizes = {}, {}, []


def crc(data):
    return f"{zlib.crc32(data):08x}"


def base(w=W, h=H):
    """A picture with edges, ramps and colour."""
    y, x = np.mgrid[0:h, 0:w]
    r = x * 255 // max(w - 1, 1)
    g = y * 255 // max(h - 1, 1)
    b = np.where((x // 7 + y // 5) % 2 == 0, 230, 20)
    return np.stack([r, g, b], -1).astype(np.uint8)


def alpha_ramp(w=W, h=H):
    y, x = np.mgrid[0:h, 0:w]
    a = (x * 9 + y * 5) % 400
    return np.where(a > 300, 0, np.minimum(a, 255)).astype(np.uint8)


def to_rgb(im):
    im = ImageOps.exif_transpose(im)
    if "A" in im.getbands() or im.info.get("transparency") is not None:
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, (255, 255, 255, 255)), im)
    return np.asarray(im.convert("RGB"))


def over_white(rgb, a):
    rgba = np.concatenate([rgb, a[..., None]], -1).astype(np.uint8)
    return to_rgb(Image.fromarray(rgba, "RGBA"))


def add(name, data, spec=None, error=None, accept_broken=False, files=files):
    with open(os.path.join(HERE, "fixtures", name), "wb") as f:
        f.write(data)
    if error:
        files[name] = {"error": error}
        if not accept_broken:
            try:
                Image.open(io.BytesIO(data)).load()
            except Exception:
                return
            raise SystemExit(f"{name}: Pillow accepts it")
        return
    a = spec if spec is not None else to_rgb(Image.open(io.BytesIO(data)))
    files[name] = {"width": a.shape[1], "height": a.shape[0], "crc": crc(np.ascontiguousarray(a).tobytes())}


def saved(im, kind, **options):
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()


# --- JPEG ---------------------------------------------------------------------


def tiff(entries, o, head, end=b""):
    ifd = struct.pack(o + "H", len(entries))
    for tag, kind, count, value in entries:
        ifd += struct.pack(o + "HHI", tag, kind, count) + value
    return head + struct.pack(o + "I", 8) + ifd + struct.pack(o + "I", 0) + end


def exif(orientation, big=False, head=None):
    o = ">" if big else "<"
    entries = [(0x010E, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(o + "HH", orientation, 0))]
    return tiff(entries, o, head or (b"MM\0*" if big else b"II*\0"))


def xmp(orientation, element=False):
    tag = (f"><tiff:Orientation>{orientation}</tiff:Orientation></" if element
           else f' tiff:Orientation="{orientation}"/></')
    return (f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{tag}x:xmpmeta>').encode()


def raw_profile(data):
    """As ImageMagick writes it."""
    text = data.hex()
    return f"\nexif\n{len(data):8}\n".encode() + b"\n".join(text[i : i + 72].encode() for i in range(0, len(text),
                                                                                                     72)) + b"\n"


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def segments(data):
    """The segments before the scan as (marker, bytes) and the rest."""
    at, out = 2, []
    while data[at + 1] != 0xDA:
        n = struct.unpack(">H", data[at + 2 : at + 4])[0] + 2
        out.append((data[at + 1], data[at : at + n]))
        at += n
    return out, data[at:]


def jpegs():
    im = Image.fromarray(base())
    small = Image.fromarray(base(20, 13))
    for name, sub in (("444", 0), ("422", 1), ("420", 2)):
        add(f"rgb_{name}.jpg", saved(im, "JPEG", quality=80, subsampling=sub))
    plain = saved(im, "JPEG", quality=70)
    add("one_pixel.jpg", saved(Image.fromarray(base(1, 1)), "JPEG"))
    add("rgb_keep.jpg", saved(im, "JPEG", quality=80, keep_rgb=True))
    add("progressive.jpg", saved(im, "JPEG", quality=80, progressive=True))
    add("progressive_gray.jpg", saved(im.convert("L"), "JPEG", quality=80, progressive=True))
    add("restart.jpg", saved(im, "JPEG", quality=80, restart_marker_blocks=2))
    add("gray.jpg", saved(im.convert("L"), "JPEG", quality=80))
    cmyk = saved(im.convert("CMYK"), "JPEG", quality=80)
    add("cmyk.jpg", cmyk)
    head, scan = segments(cmyk)
    body = b"".join(b for m, b in head if m != 0xEE)
    add("cmyk_no_adobe.jpg", b"\xff\xd8" + body + scan)
    add("ycck.jpg", b"\xff\xd8" + b"".join(b[:-1] + b"\2" if m == 0xEE else b for m, b in head) + scan)
    for o in range(1, 9):
        add(f"orientation_{o}.jpg", saved(small, "JPEG", quality=70, exif=b"Exif\0\0" + exif(o)))
    add("orientation_big_endian.jpg", saved(small, "JPEG", quality=70, exif=b"Exif\0\0" + exif(6, big=True)))
    add("orientation_bad.jpg", saved(small, "JPEG", quality=70, exif=b"Exif\0\0" + exif(9)))
    small_jpeg = saved(small, "JPEG", quality=70)

    def app1(*bodies):
        return small_jpeg[:2] + b"".join(segment(0xE1, b) for b in bodies) + small_jpeg[2:]

    space, block = b"http://ns.adobe.com/xap/1.0/\0", b"Exif\0\0"
    add("xmp_attribute.jpg", app1(space + xmp(6)))
    add("xmp_element.jpg", app1(space + xmp(8, True)))
    add("xmp_twice.jpg", app1(space + xmp(6), space + xmp(3)))
    add("xmp_bad.jpg", app1(space + xmp(9) + xmp(6)))
    add("xmp_spaced.jpg", app1(space + xmp(6).replace(b"=", b" = ")))
    add("xmp_extended.jpg", app1(b"http://ns.adobe.com/xmp/extension/\0" + xmp(6)))
    add("xmp_cut.jpg", app1(space + b'tiff:Orientation="'))
    add("exif_before_xmp.jpg", app1(space + xmp(6), block + exif(3)))
    add("exif_bad_before_xmp.jpg", app1(space + xmp(6), block + exif(9)))
    add("exif_without_before_xmp.jpg", app1(space + xmp(6), block + tiff([(0x010E, 2, 4, b"abc\0")], "<", b"II*\0")))
    for kind in (1, 2, 4, 6, 7, 8, 9, 13):
        add(f"exif_type_{kind}.jpg", app1(block + tiff([(0x0112, kind, 1, b"\6\0\0\0")], "<", b"II*\0")))
    add("exif_count_0.jpg", app1(space + xmp(8), block + tiff([(0x0112, 3, 0, b"\6\0\0\0")], "<", b"II*\0")))
    add("exif_count_3.jpg", app1(block + tiff([(0x0112, 3, 3, b"\x1a\0\0\0")], "<", b"II*\0", b"\6\0\1\0\1\0")))
    add("exif_far.jpg", app1(block + tiff([(0x0112, 3, 3, b"\xff\xff\xff\xff")], "<", b"II*\0")))
    add("exif_magic_turned.jpg", app1(block + exif(6, head=b"II\0*")))
    add("exif_prefix_twice.jpg", app1(block + block + exif(6)))
    head, scan = segments(plain)
    late = b"".join(b for m, b in head) + segment(0xE1, b"Exif\0\0" + exif(8))
    add("orientation_late.jpg", b"\xff\xd8" + late + scan)
    add("fill_bytes.jpg", b"\xff\xd8" + b"\xff\xff\xff".join([b""] + [b for m, b in head]) + scan)
    add("trailing.jpg", plain + b"rubbish" * 20)
    add("no_end.jpg", plain[:-2], error="premature end of data after row", accept_broken=True)
    add("cut.jpg", plain[: len(plain) * 2 // 3], error="premature end of data after row")
    add("cut_header.jpg", plain[:200], error="JPEG: premature end of the header")
    add("cut_progressive.jpg", saved(im, "JPEG", quality=80, progressive=True)[:-300], error="premature end of data")
    broken = bytearray(plain)
    broken[-200:-190] = bytes(range(10, 20))  # inside the scan: libjpeg warns, Pillow accepts
    add("damaged_scan.jpg", bytes(broken))
    huge = plain.replace(struct.pack(">HH", H, W), struct.pack(">HH", 60000, 60000))
    add("claims_60000.jpg", huge, error="JPEG: 60000x60000 is larger than 4096 a side", accept_broken=True)
    bits = bytearray(plain)
    bits[plain.index(b"\xff\xc0") + 4] = 12
    add("twelve_bits.jpg", bytes(bits), error="JPEG: 12 bits a sample are not supported")


def scan_bomb():
    """A progressive JPEG with hundreds of refinement scans of nothing."""
    im = Image.fromarray(base(16, 16)).convert("L")
    data = saved(im, "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    last = data[at:-2]
    add("many_scans.jpg", data[:-2] + last * 400 + b"\xff\xd9", error="JPEG: more than 64 scans", accept_broken=True)


# --- PNG ----------------------------------------------------------------------

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pack_rows(samples, depth):
    out = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            line = row.astype(">u2").tobytes()
        elif depth == 8:
            line = row.astype(np.uint8).tobytes()
        else:
            bits = ((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)
            line = np.packbits(bits).tobytes()
        out += b"\0" + line
    return out


def png(samples, depth, kind, interlace=False, palette=None, trns=None, before=b"", after=b""):
    h, w = samples.shape[:2]
    if interlace:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        raw = b"".join(pack_rows(p, depth) for p in parts if p.size)
    else:
        raw = pack_rows(samples, depth)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, interlace)) + before
    if palette is not None:
        out += chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    if trns is not None:
        out += chunk(b"tRNS", trns)
    return out + chunk(b"IDAT", zlib.compress(raw, 9)) + after + chunk(b"IEND", b"")


def pngs():
    rgb, a = base().astype(int), alpha_ramp().astype(int)
    gray = (rgb.sum(-1) // 3).astype(int)
    both = {"": False, "_interlaced": True}
    for tag, lace in both.items():
        add(f"rgb8{tag}.png", png(rgb, 8, RGB, lace))
        add(f"rgb16{tag}.png", png(rgb * 257 - (rgb % 3) * 70 * (rgb > 0), 16, RGB, lace))
        add(f"rgba8{tag}.png", png(np.dstack([rgb, a]), 8, RGBA, lace))
        add(f"rgba16{tag}.png", png(np.dstack([rgb * 250 + 7, a * 257]), 16, RGBA, lace))
        add(f"gray_alpha8{tag}.png", png(np.dstack([gray, a]), 8, GRAY_ALPHA, lace))
        add(f"gray_alpha16{tag}.png", png(np.dstack([gray * 250 + 100, a * 257]), 16, GRAY_ALPHA, lace))
        for depth in (1, 2, 4, 8):
            add(f"gray{depth}{tag}.png", png(gray >> (8 - depth), depth, GRAY, lace))
            n = 1 << depth
            colours = np.stack([np.arange(n) * 255 // (n - 1), 255 - np.arange(n) * 200 // (n - 1),
                                np.arange(n) * 7 % 256], -1)
            add(f"palette{depth}{tag}.png", png(gray >> (8 - depth), depth, PALETTE, lace, colours))
            trns = bytes(np.arange(n) * 255 // (n - 1))[: max(n // 2, 1)]
            add(f"palette{depth}_alpha{tag}.png", png(gray >> (8 - depth), depth, PALETTE, lace, colours, trns))
    wide = gray * 257 - (gray % 3) * 80 * (gray > 0)
    add("gray16.png", png(wide, 16, GRAY), spec=np.repeat((wide >> 8)[..., None], 3, -1).astype(np.uint8))
    add("gray8_transparent.png", png(gray, 8, GRAY, trns=struct.pack(">H", int(gray[5, 5]))))
    add("gray1_transparent.png", png(gray >> 7, 1, GRAY, trns=struct.pack(">H", 1)))
    add("rgb8_transparent.png", png(rgb, 8, RGB, trns=struct.pack(">HHH", *map(int, rgb[5, 5]))))
    low, value = gray >> 6, 2
    add("gray2_transparent.png", png(low, 2, GRAY, trns=struct.pack(">H", value)),
        spec=over_white(np.repeat((low * 85)[..., None], 3, -1), np.where(low == value, 0, 255)))
    deep = rgb * 257
    same = (deep == deep[5, 5]).all(-1)
    add("rgb16_transparent.png", png(deep, 16, RGB, trns=struct.pack(">HHH", *map(int, deep[5, 5]))),
        spec=over_white(rgb, np.where(same, 0, 255)))
    add("one_pixel.png", png(rgb[:1, :1], 8, RGB))
    add("thin_interlaced.png", png(rgb[:, :2], 8, RGB, True))
    for o in (3, 6):
        add(f"orientation_{o}.png", png(rgb[:13, :20], 8, RGB, before=chunk(b"eXIf", exif(o))))
    add("orientation_after.png", png(rgb[:13, :20], 8, RGB, after=chunk(b"eXIf", exif(8, True))))
    tiny, profile, name = rgb[:13, :20], b"Raw profile type exif\0", b"XML:com.adobe.xmp\0"
    block = b"Exif\0\0" + exif(6)
    add("raw_profile.png", png(tiny, 8, RGB, before=chunk(b"tEXt", profile + raw_profile(block))))
    add("raw_profile_bare.png", png(tiny, 8, RGB, after=chunk(b"tEXt", profile + raw_profile(exif(8, True)))))
    add("raw_profile_compressed.png",
        png(tiny, 8, RGB, before=chunk(b"zTXt", profile + b"\0" + zlib.compress(raw_profile(block)))))
    add("raw_profile_international.png",
        png(tiny, 8, RGB, before=chunk(b"iTXt", profile + b"\0\0\0\0" + raw_profile(block))))
    add("raw_profile_twice.png", png(tiny, 8, RGB, before=chunk(b"tEXt", profile + raw_profile(block)),
                                     after=chunk(b"tEXt", profile + raw_profile(exif(3)))))
    packed = zlib.compress(xmp(6) + bytes(range(256)) * 4)
    add("xmp_packed_cut.png", png(tiny, 8, RGB, before=chunk(b"zTXt", name + b"\0" + packed[:-60])))
    add("xmp_packed_damaged.png",
        png(tiny, 8, RGB, before=chunk(b"zTXt", name + b"\0" + packed[:2] + b"\xff" + packed[3:])))
    add("exif_before_raw_profile.png", png(tiny, 8, RGB, before=chunk(b"eXIf", exif(3)),
                                           after=chunk(b"tEXt", profile + raw_profile(block))))
    add("exif_text.png", png(tiny, 8, RGB, before=chunk(b"tEXt", b"exif\0" + block)))
    add("exif_twice.png", png(tiny, 8, RGB, before=chunk(b"eXIf", exif(3)), after=chunk(b"eXIf", exif(6))))
    add("xmp.png", png(tiny, 8, RGB, before=chunk(b"iTXt", name + b"\0\0\0\0" + xmp(6))))
    add("xmp_compressed.png",
        png(tiny, 8, RGB, after=chunk(b"iTXt", name + b"\1\0en\0\0" + zlib.compress(xmp(8, True)))))
    add("xmp_text.png", png(tiny, 8, RGB, before=chunk(b"zTXt", name + b"\0" + zlib.compress(xmp(5)))))
    add("xmp_broken.png", png(tiny, 8, RGB, before=chunk(b"iTXt", name + b"\0\0" + xmp(6))))
    add("exif_before_xmp.png", png(tiny, 8, RGB, before=chunk(b"iTXt", name + b"\0\0\0\0" + xmp(6)) + chunk(b"eXIf",
                                                                                                            exif(3))))
    profile_bomb = chunk(b"zTXt", profile + b"\0" + zlib.compress(raw_profile(block) + b" " * 3000000, 9))
    add("profile_bomb.png", png(tiny, 8, RGB, before=profile_bomb), spec=np.rot90(base()[:13, :20], -1))
    add("gamma.png", png(rgb, 8, RGB, before=chunk(b"gAMA", struct.pack(">I", 100000))))
    add("profile.png", png(rgb[:13, :20], 8, RGB, before=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(600)))))
    add("photo_filters.png", saved(Image.fromarray(base(90, 70)), "PNG", optimize=True))
    frames = [Image.fromarray(base(20, 13)), Image.fromarray(255 - base(20, 13))]
    add("animated.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    good = png(rgb, 8, RGB)
    add("cut.png", good[: len(good) * 2 // 3], error="PNG: premature end of data after row")
    add("cut_header.png", good[:30], error="PNG: damaged or cut header")
    for name, at, error in (("bad_crc", -16, "PNG: IDAT: CRC error"), ("bad_sum", -20, "PNG: IDAT: incorrect data "
        "check")):
        add(f"{name}.png", good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], error=error, accept_broken=True)
    flip = bytearray(good)
    at = good.index(b"IDAT") + 200
    flip[at] ^= 0x55
    add("damaged.png", bytes(flip), error="PNG: ")
    claims = good.replace(struct.pack(">II", W, H), struct.pack(">II", 60000, 60000))
    add("claims_60000.png", claims, error="PNG: 60000x60000 is larger than 4096 a side", accept_broken=True)
    add("zero_side.png", good.replace(struct.pack(">II", W, H), struct.pack(">II", 0, H)),
        error="PNG: a side of 0x43 is zero")
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3000000), 9))
    add("text_bomb.png", png(rgb[:13, :20], 8, RGB, before=text), spec=base()[:13, :20])


# --- WebP ---------------------------------------------------------------------


def webps():
    im, small = Image.fromarray(base()), Image.fromarray(base(20, 13))
    mixed = Image.fromarray(np.dstack([base(), alpha_ramp()]), "RGBA")
    add("lossy.webp", saved(im, "WEBP", quality=70))
    add("lossless.webp", saved(im, "WEBP", lossless=True))
    add("lossy_alpha.webp", saved(mixed, "WEBP", quality=70))
    add("lossless_alpha.webp", saved(mixed, "WEBP", lossless=True, exact=True))
    add("one_pixel.webp", saved(Image.fromarray(base(1, 1)), "WEBP"))
    for o in (5, 6):
        add(f"orientation_{o}.webp", saved(small, "WEBP", quality=70, exif=exif(o)))
    add("xmp.webp", saved(small, "WEBP", quality=70, xmp=xmp(6)))
    add("xmp_unannounced.webp", saved(small, "WEBP", quality=70, xmp=xmp(6)).replace(b"VP8X\x0a\0\0\0\x04",
                                                                                     b"VP8X\x0a\0\0\0\0"))
    add("exif_before_xmp.webp", saved(small, "WEBP", quality=70, exif=exif(3), xmp=xmp(6)))
    frames = [Image.fromarray(v) for v in (base(20, 13), 255 - base(20, 13))]
    add("animated.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    add("animated_lossy.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], quality=60))
    part = np.zeros((13, 20, 4), np.uint8)
    part[4:9, 6:15, :3], part[4:9, 6:15, 3] = base(9, 5), alpha_ramp(9, 5)
    more = np.dstack([base(20, 13), np.full((13, 20), 255, np.uint8)])
    add("animated_alpha.webp", saved(Image.fromarray(part, "RGBA"), "WEBP", save_all=True,
                                     append_images=[Image.fromarray(more, "RGBA")], lossless=True))
    inner = saved(Image.fromarray(base(9, 5)), "WEBP", lossless=True)[12:]
    frame = b"".join(struct.pack("<I", v)[:3] for v in (3, 2, 8, 4, 100)) + b"\0" + inner
    for name, flags in (("placed", 0x02), ("placed_alpha", 0x12)):
        vp8x = struct.pack("<I", flags) + struct.pack("<I", 19)[:3] + struct.pack("<I", 12)[:3]
        body = b"WEBP"
        for tag, c in ((b"VP8X", vp8x), (b"ANIM", bytes(6)), (b"ANMF", frame)):
            body += tag + struct.pack("<I", len(c)) + c + b"\0" * (len(c) & 1)
        add(f"animated_{name}.webp", b"RIFF" + struct.pack("<I", len(body)) + body)
    good = saved(im, "WEBP", quality=70)
    add("cut.webp", good[: len(good) * 2 // 3], error="WebP: premature end of data")
    add("cut_header.webp", good[:25], error="WebP: premature end of data")
    big = bytearray(saved(im, "WEBP", quality=70))
    at = bytes(big).index(b"\x9d\x01\x2a") + 3
    big[at : at + 4] = struct.pack("<HH", 16383, 16383)
    add("claims_16383.webp", bytes(big), error="WebP: 16383x16383 is larger than 4096 a side", accept_broken=True)


# --- GIF ----------------------------------------------------------------------


def lzw(indices, bits):
    """Codes of single pixels, the table cleared before it makes them longer."""
    clear = 1 << bits
    codes, room = [], max(clear - 2, 1)
    for i in range(0, len(indices), room):
        codes += [clear, *indices[i : i + room]]
    value = sum(c << (bits + 1) * i for i, c in enumerate([*codes, clear + 1]))
    data = value.to_bytes((bits + 1) * (len(codes) + 1) // 8 + 1, "little")
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def gif(indices, screen=None, at=(0, 0), table=None, local=None, transparent=None, interlaced=False, bits=8,
        background=0, before=b""):
    h, w = indices.shape
    kind = lambda t: 0x80 | (len(t) // 3).bit_length() - 2 if t else 0  # noqa: E731
    out = b"GIF89a" + struct.pack("<HHBBB", *(screen or (w, h)), kind(table), background, 0) + (table or b"") + before
    if transparent is not None:
        out += b"!\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
    out += b"," + struct.pack("<HHHHB", *at, w, h, kind(local) | (0x40 if interlaced else 0)) + (local or b"")
    if interlaced:
        indices = np.concatenate([indices[0::8], indices[4::8], indices[2::4], indices[1::2]])
    return out + bytes([bits]) + lzw(indices.reshape(-1).tolist(), bits) + b";"


def gifs():
    rgb = base()
    small = rgb[:13, :20]
    index = (np.arange(13)[:, None] * 3 + np.arange(20)) % 8
    table = bytes([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200, 90, 90, 0, 0, 90, 90, 90, 0, 90, 255, 255, 255])
    other, ramp = table[::-1], bytes(i for i in range(8) for _ in range(3))
    ahead = b"!\xfe\x05hello\0" + b"!\xff\x0bNETSCAPE2.0\x03\1\0\0\0" + b"!\x01\x02ab\x01c\0"
    add("rgb.gif", saved(Image.fromarray(rgb), "GIF", interlace=False))
    add("gray.gif", saved(Image.fromarray(rgb).convert("L"), "GIF"))
    add("one_bit.gif", saved(Image.fromarray(rgb).convert("1"), "GIF"))
    add("rgba.gif", saved(Image.fromarray(np.dstack([rgb, alpha_ramp()]), "RGBA"), "GIF"))
    add("interlaced.gif", saved(Image.fromarray(rgb), "GIF", interlace=True))
    frames = [Image.fromarray(v) for v in (small, 255 - small)]
    add("animated.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50, loop=0,
                              disposal=2))
    add("one_pixel.gif", gif(index[:1, :1], table=table))
    add("global.gif", gif(index, table=table, bits=3))
    add("version_87.gif", gif(index, table=table).replace(b"GIF89a", b"GIF87a"))
    add("local.gif", gif(index, table=table, local=other))
    add("only_local.gif", gif(index, local=other, interlaced=True))
    add("no_table.gif", gif(index * 30))
    add("ramp.gif", gif(index * 30, table=ramp))
    add("beyond_table.gif", gif(index, table=table[:12]))
    add("beyond_local.gif", gif(index, table=table, local=other[:6]))
    add("transparent.gif", gif(index, table=table, transparent=3))
    add("transparent_gray.gif", gif(index * 30, transparent=60))
    add("transparent_beyond.gif", gif(index, table=table[:12], transparent=200))
    add("placed.gif", gif(index, (31, 25), (4, 7), table=table, background=5))
    add("placed_transparent.gif", gif(index, (31, 25), (4, 7), table=table, transparent=2, interlaced=True))
    add("placed_transparent_0.gif", gif(index, (31, 25), (4, 7), table=table, transparent=0))
    add("beyond_screen.gif", gif(index, (10, 40), (4, 7), table=table))
    add("no_screen.gif", gif(index, (0, 0), table=table))
    for h in range(1, 10):
        add(f"interlaced_{h}.gif", gif(index[:h, :5], table=table, interlaced=True))
    add("extensions.gif", gif(index, table=table, transparent=1, before=ahead))
    add("rubbish_between.gif", gif(index, table=table, before=b"\0\0x"))
    good = gif(index, table=table)
    add("no_trailer.gif", good[:-1])
    add("no_terminator.gif", good[:-2])
    add("cut.gif", good[:-60], error="GIF: premature end of data")
    add("cut_block.gif", good[:-3], error="GIF: premature end of data")
    add("cut_header.gif", good[:25], error="GIF: damaged or cut header")
    add("cut_descriptor.gif", good[:42], error="GIF: premature end of the header")
    add("no_frame.gif", good[: 13 + 24] + b";", error="GIF: no frame")
    add("zero_frame.gif", gif(index[:0], (5, 5), table=table), error="GIF: a frame without pixels")
    early = gif(index[:9], (20, 13), table=table)
    add("end_too_soon.gif", early.replace(struct.pack("<HH", 20, 9), struct.pack("<HH", 20, 13)),
        error="GIF: premature end of data")
    bad = bytearray(good)
    bad[-40:-30] = b"\xff" * 10
    add("damaged.gif", bytes(bad), error="GIF: damaged data")
    add("claims_65535.gif", gif(index, (65535, 65535), table=table), error="GIF: 65535x65535 is larger than 4096 a "
        "side", accept_broken=True)


# --- memory -------------------------------------------------------------------


def large_ones():
    """A megapixel that compresses well: what a decoder holds for each pixel outweighs its tables."""
    w, h = 1200, 900
    y, x = np.mgrid[0:h, 0:w]
    rgb = np.stack([x // 300 * 80, y // 300 * 100, (x // 300 + y // 300) % 3 * 120], -1).astype(np.uint8)
    a = np.where(x < 500, 255, 90).astype(np.uint8)
    im, mixed = Image.fromarray(rgb), Image.fromarray(np.dstack([rgb, a]), "RGBA")
    turned = b"Exif\0\0" + exif(6)
    for name, data in {
        "large.jpg": saved(im, "JPEG", quality=60),
        "large_turned.jpg": saved(im, "JPEG", quality=60, exif=turned),
        "large_progressive.jpg": saved(im, "JPEG", quality=60, progressive=True, subsampling=0),
        "large_progressive_420.jpg": saved(im, "JPEG", quality=60, progressive=True),
        "large_progressive_cmyk.jpg": saved(im.convert("CMYK"), "JPEG", quality=60, progressive=True),
        "large.png": png(rgb, 8, RGB),
        "large_rgba16.png": png(np.dstack([rgb, a]).astype(int) * 257, 16, RGBA),
        "large_interlaced.png": png(rgb, 8, RGB, True),
        "large_interlaced_rgba.png": png(np.dstack([rgb, a]), 8, RGBA, True, before=chunk(b"eXIf", exif(8))),
        "large.gif": saved(im, "GIF", interlace=False),
        "large_interlaced.gif": saved(im, "GIF", interlace=True),
        "large_lossy.webp": saved(im, "WEBP", quality=60),
        "large_lossy_alpha.webp": saved(mixed, "WEBP", quality=60),
        "large_lossless.webp": saved(im, "WEBP", lossless=True),
        "large_lossless_alpha.webp": saved(mixed, "WEBP", lossless=True, exif=turned),
    }.items():
        add(name, data, files=large)


def strangers():
    add("empty", b"", error="the image is empty")
    add("text", b"Hello, this is no image at all.", error="not a JPEG, PNG, WebP or GIF image")
    add("bmp", saved(Image.fromarray(base(4, 4)), "BMP"), error="not a JPEG, PNG, WebP or GIF image",
        accept_broken=True)


# --- resizing -----------------------------------------------------------------

PIL_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
TORCH = {0: "NEAREST_EXACT", 1: "LANCZOS", 2: "BILINEAR", 3: "BICUBIC"}
SIZES = [(37, 211, 56, 224), (37, 211, 28, 28), (1, 1000, 28, 140), (1000, 1, 140, 28), (1, 1, 64, 48), (1, 1, 1, 1),
         (1, 7, 1, 3), (7, 1, 3, 1), (1080, 2400, 1092, 2408), (1080, 2400, 288, 640), (1080, 2400, 1008, 2240),
         (2400, 1080, 640, 288), (4096, 4096, 336, 336), (4096, 4096, 1, 2), (4096, 3, 2, 5), (3, 4096, 5, 2),
         (300, 200, 300, 137), (300, 200, 137, 200), (300, 200, 300, 411), (300, 200, 611, 200), (640, 480, 224, 224),
         (224, 224, 640, 480), (5, 5, 980, 14), (123, 77, 124, 78), (123, 77, 122, 76), (600, 800, 400, 300),
         (200, 300, 50, 50), (26, 26, 15, 4), (26, 27, 15, 4), (9, 8, 31, 11), (10, 8, 31, 11), (11, 8, 11, 3),
         (122, 4, 353, 282), (4, 6, 94, 34), (4, 6, 94, 35), (4, 2, 5, 123), (4, 2, 6, 123)]


def noise(w, h, seed):
    """The generator of test_image.c: a 32-bit LCG, top byte; every fourth row
    is black and white."""
    n = w * h * 3
    x = np.empty(n, np.uint32)
    # x[i] = A^i * seed + C * (A^(i-1) + ... + 1), by doubling
    a, c = np.uint64(1664525), np.uint64(1013904223)
    mask = np.uint64(0xFFFFFFFF)
    x[0] = (int(seed) * 1664525 + 1013904223) & 0xFFFFFFFF
    done, ak, ck = 1, a, c
    while done < n:
        m = min(done, n - done)
        x[done : done + m] = (x[:m].astype(np.uint64) * ak + ck) & mask
        ak, ck = (ak * ak) & mask, (ck * ak + ck) & mask
        done += m
    p = (x >> 24).astype(np.uint8).reshape(h, w, 3)
    p[3::4] = np.where(p[3::4] >= 128, 255, 0)
    return p


def resize_cases():
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as tvf

    torch.set_num_threads(1)
    for i, (w, h, tw, th) in enumerate(SIZES):
        a = noise(w, h, i + 1)
        im, t = Image.fromarray(a), torch.from_numpy(a).permute(2, 0, 1)
        case = {"from": [w, h], "to": [tw, th], "seed": i + 1, "pil": {}, "torchvision": {}}
        for name, number in PIL_FILTERS.items():
            if w * h > 4000000 and name in ("box", "hamming"):
                continue
            case["pil"][name] = crc(np.asarray(im.resize((tw, th), number)).tobytes())
            if number in TORCH:
                r = tvf.resize(t, [th, tw], interpolation=InterpolationMode[TORCH[number]], antialias=True)
                case["torchvision"][name] = crc(np.ascontiguousarray(r.permute(1, 2, 0).numpy()).tobytes())
        resizes.append(case)


# --- views ----------------------------------------------------------------------

# Several pictures made of one, with the words of torchvision: (what it is, size of the picture, its steps). A step
# takes what came before, or the picture; `keep` puts it among the results.
VIEWS = [
    ("short side, centre crop", (123, 77), [("size", 90, 56), ("cut", 17, 0, 56, 56), ("keep",)]),
    ("short side kept, centre crop", (123, 56), [("cut", 33, 0, 56, 56), ("keep",)]),
    ("a strip, of which nearly all is cut off", (3, 400), [("size", 28, 3733), ("cut", 0, 1852, 28, 28), ("keep",)]),
    ("padded at the right and below", (123, 77), [("size", 107, 67), ("pad", 0, 0, 5, 45, 0, 0, 0), ("keep",)]),
    ("padded all around", (77, 123), [("size", 70, 112), ("pad", 21, 0, 21, 0, 122, 116, 104), ("keep",)]),
    ("padded without a resize", (50, 31), [("pad", 3, 12, 3, 13, 1, 2, 3), ("keep",)]),
    ("cut on one side, padded on the other", (40, 90), [("size", 28, 80), ("cut", 0, 20, 28, 40),
                                                        ("pad", 6, 0, 6, 0, 9, 8, 7), ("keep",)]),
    ("tiles and all of it", (230, 140), [("size", 168, 112), ("keep",), ("picture",), ("size", 56, 56), ("keep",)]),
    ("a small picture of the tiles", (230, 140), [("size", 224, 136), ("size", 224, 168), ("keep",),
                                                  ("size", 56, 56), ("keep",)]),
    ("quarters and all of it", (101, 67),
     [("cut", 0, 0, 50, 33), ("size", 60, 40), ("keep",), ("picture",), ("cut", 50, 0, 51, 33), ("size", 60, 40),
      ("keep",), ("picture",), ("cut", 0, 33, 50, 34), ("size", 50, 34), ("keep",), ("picture",),
      ("cut", 50, 33, 51, 34), ("size", 28, 34), ("keep",), ("picture",), ("size", 60, 40), ("keep",)]),
    ("padded to a square, then resized", (60, 200), [("pad", 70, 0, 70, 0, 122, 116, 104), ("size", 84, 84),
                                                     ("keep",)]),
    ("likewise, lying", (211, 34), [("pad", 0, 88, 0, 89, 5, 250, 100), ("size", 56, 56), ("keep",)]),
]


def view_cases():
    """For each case and filter the hash of all results, one behind the other."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as tvf

    torch.set_num_threads(1)
    cases = []
    for i, (name, (w, h), steps) in enumerate(VIEWS):
        picture = torch.from_numpy(noise(w, h, i + 1)).permute(2, 0, 1)
        hashes = {}
        for filter_name, number in PIL_FILTERS.items():
            if number not in TORCH:
                continue
            t, results = picture, []
            for word, *n in steps:
                if word == "picture":
                    t = picture
                elif word == "size":
                    t = tvf.resize(t, n[::-1], interpolation=InterpolationMode[TORCH[number]], antialias=True)
                elif word == "cut":
                    t = tvf.crop(t, n[1], n[0], n[3], n[2])
                elif word == "pad":
                    t = tvf.pad(t, n[:4], fill=n[4:])
                else:
                    results.append(np.ascontiguousarray(t.permute(1, 2, 0).numpy()).tobytes())
            hashes[filter_name] = crc(b"".join(results))
        cases.append({"name": name, "from": [w, h], "seed": i + 1, "torchvision": hashes})
    with open(os.path.join(HERE, "views.json"), "w") as f:
        f.write("[\n" + ",\n".join("  " + json.dumps(c) for c in cases) + "\n]\n")


def main():
    if "--keep-resizes" not in sys.argv:
        view_cases()
    if "--views" in sys.argv:
        return
    os.makedirs(os.path.join(HERE, "fixtures"), exist_ok=True)
    for f in os.listdir(os.path.join(HERE, "fixtures")):
        os.remove(os.path.join(HERE, "fixtures", f))
    jpegs()
    scan_bomb()
    pngs()
    webps()
    gifs()
    large_ones()
    strangers()
    if "--keep-resizes" in sys.argv:
        with open(os.path.join(HERE, "expected.json")) as f:
            resizes.extend(json.load(f)["resizes"])
    else:
        resize_cases()
    with open(os.path.join(HERE, "expected.json"), "w") as f:
        f.write("{")
        for key, group in (("files", files), ("large", large)):
            rows = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(group.items())]
            f.write(f'"{key}": {{\n' + ",\n".join(rows) + '\n},\n')
        f.write('"resizes": [\n')
        f.write(",\n".join("  " + json.dumps(c) for c in resizes) + "\n]}\n")
    size = sum(os.path.getsize(os.path.join(HERE, "fixtures", f)) for f in [*files, *large])
    print(f"{len(files) + len(large)} files, {size} bytes, {len(resizes)} resize cases")


if __name__ == "__main__":
    main()
