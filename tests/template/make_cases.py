#!/usr/bin/env python3
"""Writes cases.json: templates, contexts, and what the reference renders.

    make_cases.py > cases.json

A case that the reference refuses has "error": true; both must refuse. Templates
in the manner of the published families are in families.py. Needs jinja2.
"""
import json
import re
import warnings

import families
import reference

warnings.simplefilter("ignore")

C = {
    "s": "Hello World", "u": "Grüße Жизнь 你好 🙂", "e": "", "n": 7, "z": 0, "neg": -3, "f": 2.5, "t": True, "no": False,
    "nul": None,
    "l": [3, 1, 2], "ls": ["b", "a", "C"], "d": {"a": 1, "b": [1, 2], "items": "x", "_p": 5}, "ed": {}, "el": [],
    "html": "<a href='x'>&\"</a>",
    "users": [{"name": "Bob", "age": 30}, {"name": "alice", "age": 25}, {"name": "Carl", "age": 30, "n": {"k": 1}}],
    "lines": "one\ntwo\r\nthree\n\nfour", "json": {"q": "a\"b\\c/\u0007\u007f\u2028é🙂",
                                                   "v": [1.0, 1e-7, 1e16, 123456.789, True, None]},
}

EXPRESSIONS = """
1 + 2 * 3 ** 2 // 4 % 3 | -2 ** 2 | 2 ** 3 ** 2 | 2 ** -1 | -7 // 2 | -7 % 3 | 7 % -3 | 7.5 // 2 | -7.5 % 2 | 1 / 3 | 10 / 5 | 1e16 | 1e15 | 1.5e-5 | 0.0001 | 1e22 | 100.0 | 1_000 + 0x1F + 0o17 + 0b11
9223372036854775807 + 1 | 9223372036854775807 | 1 / 0 | 1 // 0 | 1.0 % 0 | 2 ** 63 | true + 1 | true | none | None | True and 0 | 0 or "x" | not 1 | not not "a" | -n~s | +t | "a" ~ 1 ~ none ~ 1.0 | "a" + "b" * 3 | 3 * [1, 2] | [1] + [2] | (1,) + (2,) | () | (1,) | (1, 2) | "a" + 1 | [1] + (2,) | -"a"
1 < 2 < 3 | 1 < 3 < 2 | 3 > 2 >= 2 != 1 | 1 == 1.0 == true | "a" < "b" | [1, 2] < [1, 3] | "a" < 1 | none < 1 | 1 in l | 9 not in l | "lo" in s | 1 in s | "a" in d | missing in l | 2 in missing | "x" in none | l in [[3, 1, 2]] | 1 in range(3) | none == false | missing == missing2 | missing == none
"yes" if t | "yes" if no | "yes" if no else "no" | 1 if 0 else 2 if 0 else 3 | (1 if no) is undefined | (1 if no).x
missing | missing.x | missing["x"] | missing + 1 | missing ~ "a" | missing is defined | missing | default("q") | missing.x is defined | d.zz.y | nul.x | nul.x.y | nul[0] | n.x | s.zz | l[10] | l[-1] | l["x"] | d["a"] | d.a | d.items | d["items"] | d._p | d["_p"] | s._p | s.__class__ | l.append | l.append(1) | d.update({}) | d.pop("a") | d.setdefault | l.sort() | l[true] | l[1.0] | d[l] | users[0].name | users.0.name | s.upper | s[0] | s[-1] | s[50]
s[1:] | s[:-1] | s[::-1] | s[1:8:2] | s[8:1:-2] | u[2:9] | u[::-1] | u[-2] | l[1:] | l[::-1] | l[5:] | l[::0] | missing[1:] | nul[1:] | d[1:] | range(10)[2:8:3] | (1, 2, 3)[1:] | s[none:3] | s["a":] | l[1:2, 3]
"x" "y" 'z' | 'it\\'s \\n \\x41 \\u00e9 \\U0001F642 \\101 \\q \\\\' | "\\é" | "tab\\there" | {"a": 1, "b": {"c": [1, (2,), none, true, 1.5, "q'"]}} | {"a": 1}.a | [1, 2,] | {"a": 1,} | {1: 2, 1.0: 3, true: 4} | {[1]: 2} | ["'", '"', "'\\"", "\\n\\t\\r\\\\", "\\x07\\x7f\\u00a0\\u200b é 你"]
s.upper() | s.lower() | u.upper() | u.lower() | "ß".upper() | "ΑΣ".lower() | "İ".lower() | "ǆa".title() | "heLLo wORLD's".title() | "heLLo".capitalize() | "ﬁx".capitalize() | "aBc".swapcase() | "Straße".casefold() | "  a ".strip() | "xxaxx".strip("x") | "abcba".lstrip("ab") | "abcba".rstrip("ab") | "\\u3000a\\u00a0".strip() | s.strip(none) | s.strip(1)
"a,b,,c".split(",") | "a,b,,c".split(",", 1) | " a  b c ".split() | " a  b c ".split(none, 1) | " a  b c ".rsplit(none, 1) | "a,b,c".rsplit(",", 1) | "abc".split("") | "".split() | "".split(",") | lines.splitlines() | lines.splitlines(true) | "a b c".split(maxsplit=1) | "a-b-c".split(sep="-") | "</think>x</think>y".split("</think>")[-1].lstrip("\\n")
s.startswith("He") | s.startswith(("x", "He")) | s.endswith("ld") | s.endswith("o", 0, 5) | s.startswith(1) | s.find("o") | s.find("o", 5) | s.find("zz") | s.rfind("o") | s.index("W") | s.index("zz") | u.find("你") | u.rfind(" ") | s.count("l") | s.count("") | "aaaa".count("aa") | s.replace("l", "L") | s.replace("l", "L", 2) | "abc".replace("", "-") | u.replace("你", "") | ", ".join(ls) | "".join([1]) | "-".join("abc") | "5".zfill(3) | "-5".zfill(4) | "a".center(4) ~ "|" | "a".center(5, "*") | "a".ljust(3) ~ "|" | "a".rjust(3, "é") | "a".center(3, "xx")
"k=v=w".partition("=") | "k=v=w".rpartition("=") | "kv".partition("=") | "prefix".removeprefix("pre") | "name.txt".removesuffix(".txt") | "12".isdigit() | "１２".isdigit() | "²".isdigit() | "²".isdecimal() | "½".isnumeric() | "abc".isalpha() | "ab1".isalnum() | " ".isspace() | "".isspace() | "ab".islower() | "AB1".isupper() | "Ab Cd".istitle() | "a_1".isidentifier() | "a\\tb".expandtabs(4) | "é".isascii() | "\\n".isprintable() | "x".encode("utf8")
"{} {}".format(1, "a") | "{1}{0}".format(1, 2) | "{a}-{b}".format(a=1, b=2) | "{0.a} {0[b][1]}".format(d) | "{:>5}|{:<5}|{:^5}|{:*^7}".format(1, 2, 3, "x") | "{:05d} {:+d} {:,} {:x} {:#x} {:b}".format(42, 1, 1234567, 255, 255, 5) | "{:.2f} {:e} {:g} {:%}".format(3.14159, 12345.678, 0.00001, 0.5) | "{!r} {!s}".format("a", "a") | "{{}}".format() | "{".format() | "{}".format() | "{:d}".format("x") | "{:{}}|".format("a", 5) | "{:.3}".format("abcdef") | "{a.__class__}".format(a=1) | "{0} {}".format(1, 2) | "{:10.3f}|".format(2.5) | "{}".format(none)
"%s and %d" % ("a", 3) | "%5.2f|%-5s|%05d|%x|%X|%o|%e|%g" % (3.14159, "ab", 42, 255, 255, 8, 12345.678, 0.0001) | "%(a)s" % d | "%s" % l | "%s%s" % (1,) | "%d" % "x" | "%%" % () | "%r %s" % ("a", none) | "%c" % 65 | "%s" % (l,) | "abc" % 1 | "%*d" % (5, 3) | "%+d % d" % (3, 3) | "%.3s" % "abcdef" | "%i" % 3.7 | "%s" % missing | "%q" % 1
l.index(1) | l.index(9) | l.count(3) | l.copy() | (1, 2).index(2) | d.get("a") | d.get("zz") | d.get("zz", "q") | d.keys() | d.values() | d.items() | d.keys() | d.copy() | d.items()|list | d.keys()|list | "a" in d.keys() | d.items()|length | d.get("a", default=1) | n.real | f.is_integer() | range(5) | range(2, 8, 2)|list | range(5, 0, -2)|list | range(0)|list | range(100001) | range(1, 2, 0) | range("a") | dict(a=1, b=2) | dict([(1, 2)]) | dict({"x": 1}, y=2) | namespace(a=1).a | namespace(_a=1)
18446744073709551615 | -9223372036854775808 | -9223372036854775809 | 0x10000000000000000 | 1_000_000_000_000_000_000_000 | 10 ** 4299 == 10 ** 4299 + 1 | 10 ** 4300 | 2 ** 20000 | 10 ** 18 * 10 ** 18 | 2 ** 64 - 2 ** 64 + 5 | -(2 ** 70) // 7 | -(2 ** 70) % 7 | 2 ** 70 // -7 | 2 ** 70 % -7 | 10 ** 50 % (10 ** 20 + 1) | 10 ** 50 // (10 ** 20 + 1) | (-2) ** 63 | (-2) ** 63 - 1 | (-2) ** 63 // -1 | (-2) ** 63 % -1 | -((-2) ** 63) | 2 ** 64 / 2 | 2 ** 64 / 0 | 2 ** 64 // 0 | 1 ** 10 ** 30 | (-1) ** 10 ** 30 | 0 ** 10 ** 30 | 10 ** 400 * 1.0 | 10 ** 400 / 2
2 ** 64 == 2.0 ** 64 | 2 ** 64 + 1 == 2.0 ** 64 | 2 ** 64 + 1 > 2.0 ** 64 | 2 ** 63 > 9223372036854775807 | 9223372036854775807 == 9223372036854775808.0 | -(2 ** 64) < 5 | 10 ** 400 > 1e308 | [2 ** 64, 1, -(2 ** 64), 1.5]|sort | [2 ** 64, 1]|sum | [2 ** 64, 2 ** 65]|max | 2 ** 64 in [1, 2 ** 64] | {2 ** 64: "x"}[2.0 ** 64] | {2 ** 64: 1, 2.0 ** 64: 2} | 2 ** 64 and 1 | not 2 ** 64 | 2 ** 64 is integer | 2 ** 64 is number | 2 ** 64 is float | 2 ** 64 is odd | 2 ** 64 is divisibleby 3 | (2 ** 64).bit_length() | (2 ** 64).real | (2 ** 64).imag | l[:2 ** 64] | l[-(2 ** 64):] | l[2 ** 64] | s[2 ** 64:] | "ab" * 2 ** 64 | range(2 ** 64)
2 ** 64 | (2 ** 64)|string | 2 ** 64 ~ "x" | [2 ** 64, {"m": -(2 ** 64)}] | {"maximum": 18446744073709551615}|tojson | (2 ** 64)|pprint | "%d %s %x %o %+d" % (2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64) | "%30d|%030d|%-30d|%#X" % (2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64) | "{} {:,} {:>30} {:x} {:#x} {:_b} {:+,d}".format(2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64, 2 ** 64, 2 ** 70, -(2 ** 70)) | "{:e} {:.3g} {:.1f}".format(2 ** 64, 2 ** 64, 2 ** 64) | "%f" % 10 ** 400 | "%d" % 1e25 | "%c" % 2 ** 64 | (2 ** 64)|abs | (-(2 ** 64))|abs | (2 ** 64)|int | (2 ** 64)|float | (10 ** 400)|float | 1e30|int | -1e20|int | 1e300|int|string|length | "18446744073709551615"|int | "-99999999999999999999"|int | "0xffffffffffffffffff"|int(0, 16) | "99999999999999999999.5"|int | (2 ** 64)|round | (10 ** 20 + 5)|round(-1) | (10 ** 20 + 15)|round(-1) | (-(10 ** 20) - 5)|round(-1) | (2 ** 64)|round(-100) | (-9223372036854775807 - 1)|round(-9) | -7.388363100441165e+17 // 44 | (2 ** 64 + 2 ** 11)|float | (2 ** 64 + 2 ** 11 + 1)|float | (-(2 ** 200) - 1)|float | -1.5e30|int
s.translate({72: "J", 101: none, 108: 76, 111: "00"}) | s.translate({}) | u.translate({252: "ue", 22909: none}) | s.maketrans("lo", "01") | s.translate(s.maketrans("lo", "01", "H")) | s.translate(s.maketrans({"l": "LL", "o": none, 32: "_"})) | s.maketrans("ab", "c") | s.maketrans({"ab": 1}) | s.maketrans("ab") | s.translate(5) | s.translate({72: 1.5}) | (html|safe).translate({97: "b"})
True is sameas true | 1 is sameas true | true is sameas 1 | t is sameas true | no is sameas false | 1 == true and 1 is sameas true | (1 == 1) is sameas true | (not no) is sameas true | nul is sameas none | missing is sameas none | 1 is sameas 1 | 1 is sameas 1.0 | 256 is sameas 256 | 257 is sameas 257 | 1.0 is sameas 1.0 | f is sameas f | f is sameas 2.5 | s is sameas s | s is sameas "Hello World" | "a" is sameas "a" | "é" is sameas "é" | "你" is sameas "你" | "" is sameas e | s[0] is sameas "H" | s[:] is sameas s | s.strip() is sameas s | s.replace("x", "y") is sameas s | (s + "") is sameas s | (s ~ "") is sameas s | s.upper() is sameas s.upper() | d.b is sameas d["b"] | [] is sameas [] | l|list is sameas l | users|first is sameas users[0]
""".strip()

# Errors here, where Python goes on: there are no bytes, a prompt must not change by
# itself, and no chat template has a use for the others.
UNSUPPORTED = re.compile(r"\b(encode|random|swapcase|pprint|filesizeformat|striptags|wordwrap|xmlattr)\b")

FILTERS = """
-3|abs | f|abs | "a"|abs | d|attr("a") | d|attr("keys") is callable | s|attr("zz") | [1, 2, 3, 4, 5]|batch(2)|list | [1, 2, 3, 4, 5]|batch(2, "-")|list | [1, 2, 3, 4, 5]|slice(3)|list | [1, 2, 3, 4, 5]|slice(3, "-")|list | s|capitalize | "a"|center(5) ~ "|" | l|count | l|length | s|length | u|length | 5|length | nul|length | missing|length | missing|d("x") | ""|d("x") | ""|d("x", true) | none|default("x") | none|default("x", boolean=true) | missing|default | missing.a|default("x")
{"b": 1, "A": 2, "c": 0}|dictsort | {"b": 1, "A": 2}|dictsort(true) | {"b": 1, "A": 2}|dictsort(by="value") | {"b": 1, "A": 2}|dictsort(reverse=true) | {"b": 1}|dictsort(by="x") | html|e | html|escape|e | html|safe ~ "<" | (html|safe) + "<" | html|forceescape | (html|e).upper() | 1000|filesizeformat | 1|filesizeformat | 1536|filesizeformat(true) | l|first | el|first | ""|first | l|last | el|last | s|last | 5|first | "3.7"|float | "x"|float | "x"|float(1.5) | "inf"|float | " 1e3 "|float | "3.7"|int | "x"|int | "x"|int(5) | "0x1f"|int(base=16) | "1_000"|int | " 12 "|int | 3.99|int | -3.99|int | none|int | missing|int | true|int | "12abc"|int(default=-1)
"%s-%s"|format(1, "a") | "%(a)s"|format(a=1) | "%s"|format(1, a=2) | users|groupby("age")|list | users|groupby("name")|map(attribute="grouper")|list | users|groupby("zz", default=0)|length | lines|indent | lines|indent(2, true) | lines|indent("> ", blank=true) | 5|indent | d|items|list | missing|items|list | l|items|list | ls|join | ls|join(", ") | users|join("/", attribute="name") | [1, none, true]|join("|") | s|join("-") | missing|join("x") | s|list | d|list | 5|list | s|lower | u|upper
ls|map("upper")|list | ls|map("upper") is iterable | users|map(attribute="name")|join(",") | users|map(attribute="n.k", default="-")|list | ls|map("nofilter")|list | []|map("nofilter")|list | ls|map|list | [1, 2]|map("string")|list | ls|map("replace", "a", "x")|list | l|max | l|min | ls|max | ls|min(true) | el|max | users|max(attribute="age") | [1, "a"]|max | users|map(attribute="name")|max | json|pprint | [1, 2]|pprint | {"b": 1, "a": 2}|pprint
[0, 1, "", "a"]|select|list | [1, 2, 3]|select("odd")|list | [1, 2, 3]|reject("odd")|list | [1, 2, 3]|select("gt", 1)|list | users|selectattr("n")|map(attribute="name")|list | users|selectattr("age", "equalto", 30)|map(attribute="name")|list | users|rejectattr("age", "eq", 30)|list | users|selectattr("n", "defined")|list|length | users|selectattr|list | l|select("notest")|list | (el|select) and "true" | (l|select("odd"))|length | l|select("odd")|first | l|reverse|list | s|reverse | d|reverse|list | (l|reverse)|length | 5|reverse
s|replace("o", "0") | s|replace("o", "0", 1) | 121|replace(1, 2) | 2.5|round | 3.5|round | 2.675|round(2) | 1234.5|round(-2) | 2.1|round(0, "ceil") | 2.9|round(0, "floor") | 7|round | 2.55|round(1, "x") | "a"|round | s|string | 5|string | none|string | l|sort | l|sort(reverse=true) | ls|sort | ls|sort(case_sensitive=true) | users|sort(attribute="name")|map(attribute="name")|list | users|sort(attribute="age,name")|map(attribute="name")|list | [1, "a"]|sort | d|sort | "cab"|sort|join | "<p>a &amp; b</p>  <!-- c --> d"|striptags | l|sum | users|sum(attribute="age") | [[1], [2]]|sum(start=[]) | ls|sum | [0.1, 0.2]|sum | "hello wORLD (it's) a-b"|title | u|title
json|tojson | json|tojson(ensure_ascii=true) | {"b": 1, "a": [1, {"c": none}], "e": {}, "l": []}|tojson(indent=2) | {"b": 1, "a": 2}|tojson(sort_keys=true) | {"a": [1, 2]}|tojson(separators=(",", ":")) | {"a": [1, 2]}|tojson(separators=(",", ":"), indent=1) | {1: 2, none: 3, true: 4, 1.5: 5}|tojson | {(1,): 2}|tojson | missing|tojson | [missing]|tojson | (1, 2)|tojson | "é<>&'\\u2028"|tojson | 1e400|tojson | l|map("string")|tojson | [1]|tojson(indent="--") | 1.0|tojson | "<"|e|tojson | range(3)|tojson | namespace(a=1)|tojson
"  a "|trim | "xxaxx"|trim("x") | 5|trim | "hello big world"|truncate(9) | "hello big world"|truncate(9, true) | "hello big world"|truncate(9, false, "") | "hello big world"|truncate(11, leeway=0) | "hello"|truncate(2) | ["b", "a", "B"]|unique|list | ["b", "a", "B"]|unique(true)|list | users|unique(attribute="age")|map(attribute="name")|list | "a b/c?é"|urlencode | {"a b": "c&d", "e": 1}|urlencode | "a b-c d_e"|wordcount | "aaa bbb ccc ddd"|wordwrap(7) | "abcdefghij kl"|wordwrap(4) | "a\\nb c"|wordwrap(3) | {"class": "x", "id": none, "n": 1}|xmlattr | {"a b": 1}|xmlattr | s|nofilter | s|upper|lower|title | -1|abs | s|random|default
""".strip()

TESTS = """
t is boolean | n is boolean | s.upper is callable | s is callable | range is callable | missing is callable | s is defined | missing is not defined | 10 is divisibleby 5 | 10 is divisibleby(3) | 10 is divisibleby 0 | 1 is eq 1 | 1 is equalto(1.0) | 1 is ne 2 | 2 is gt 1 | 2 is greaterthan 3 | 2 is ge 2 | 1 is lt 2 | 1 is lessthan 0 | 1 is le 1 | 4 is even | 4 is odd | true is odd | false is false | 0 is false | true is true | 1 is true | "upper" is filter | "zz" is filter | "odd" is test | 1.0 is float | 1 is float | 1 is in [1, 2] | 3 is in [1, 2] | "a" is in "abc" | 1 is integer | true is integer | l is iterable | n is iterable | missing is iterable | d is iterable | "ab" is lower | "AB" is upper | 5 is lower | d is mapping | l is mapping | none is none | missing is none | 1 is number | true is number | "1" is number | l is sequence | s is sequence | d is sequence | n is sequence | d.keys() is sequence | (l|select) is sequence | none is sameas none | s is string | n is string | (html|e) is string | (html|e) is escaped | s is escaped | l is sameas l | s is notest | no and s is notest | n is defined and n is number | n is not none and n > 3 | not n is string | n is string or n is integer | s is defined is defined | n is not divisibleby 2 | d.a is defined | d.zz is defined | loop is defined
""".strip()

TEMPLATES = [
    # whitespace
    "a\n", "a\n\n", "a\r\nb\rc\n", "  {% if t %}\nx\n  {% endif %}\n y", "  {%- if t -%}\n x \n{%- endif %}  z",
    "a {%+ if t %} b {% endif +%}\nc", "{{ n -}}  \n x", "x \n {{- n }}", "  {{ n }}\n", "a{# c #}\nb",
    "a\n  {# c #}\nb",
    "a {#- c -#} b", "{#+ c #}x", "{% raw %}{{ x }}{% if %}{% endraw %}", "{%- raw -%}\n {{ x }} {%- endraw -%}  y",
    "  {% raw %}\n a\n  {% endraw %}\nb", "\t{% set a = 1 %}\n\t{{ a }}", "{% if t %}\n\n{% endif %}x",
    "{%if t%}a{%endif%}", "{{n}}{{-n-}}{{n}}",
    "{{ '}}' }}{{ \"{%\" }}", "{{ {'a': {'b': 1}}}}", "{{ {'a':{}} }}", "{% set x = '-%}' -%}\n {{ x }}",
    "\u3000{%- if t %}\u00a0{%- endif %}x", "{", "{ {", "{{ n }", "{% if t %}", "{# open", "{% raw %} open",
    "{{ n }}}", "%}", "{{ }}", "{% %}", "{{ 'a }}", "{{ a b }}", "{{ (1 }}", "{{ 1) }}", "{{ [1} }}",
    # if
    "{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if missing %}a{% else %}b{% endif %}",
    "{% if no %}{% elif no %}{% elif t %}x{% endif %}", "{% if el %}a{% elif ed %}b{% elif e %}c{% elif z %}d{% elif "
                                                        "nul %}e{% else %}f{% endif %}", "{% if %}{% endif %}",
                                                        "{% else %}", "{% endif %}", "{% if t: %}x{% endif %}",
    "{% if no %}{{ s|nofilter }}{% endif %}ok", "{% if no %}{% else %}{{ s is notest }}{% endif %}",
    "{{ 1 if t else s|nofilter }}",
    # for
    "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l if x > 1 %}{{ loop }}{% endfor %}",
    "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in el %}a{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for x in missing %}a{% else %}b{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}",
    "{% for x in l if x != 1 %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ x }} {% endfor %}",
    "{% for x in l if x > 5 %}{% else %}E{% endfor %}", "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ "
                                                        "loop.nextitem }}|{% endfor %}",
                                                        "{% for x in [1,1,2,2,1] %}{{ x if loop.changed(x) }}{% "
                                                        "endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% "
                                                                     "endfor %}",
                                                                     "{% for x in l %}{{ loop.first }}{{ loop.last "
                                                                     "}}{% endfor %}",
    "{% for x in [1,2,3,4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% "
    "endfor %}", "{% for x in [1] %}{% continue %}{% else %}E{% endfor %}", "{% for x in [1] %}{% break %}{% else "
                                                                            "%}E{% endfor %}", "{% break %}",
                                                                            "{% for x in l %}{% macro m() %}{% break "
                                                                            "%}{% endmacro %}{% endfor %}",
                                                                            "{% for x in [[1,[2,3]],[4]] recursive "
                                                                            "%}{{ loop.depth }}{% if x is iterable "
                                                                            "%}({{ loop(x) }}){% else %}{{ x }}{% "
                                                                            "endif %}{% endfor %}",
    "{% for a in [1,2] %}{% for b in [3,4] %}{{ loop.index }}{{ a }}{{ b }} {% endfor %}{{ loop.index }}{% endfor %}",
    "{% for (a, b), c in [((1,2),3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1,)] %}{% endfor %}",
    "{% for a, b in [(1,2,3)] %}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}",
    "{% for x in l|map('string') %}{{ loop.length }}{{ loop.last }}{{ x }}{% endfor %}", "{{ loop }}",
    "{% for x in range(3) %}{% for y in range(x) %}{{ y }}{% else %}-{% endfor %}{% endfor %}",
    # scopes
    "{% set x = 1 %}{% for i in l %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if t %}{% set x = "
                                                                                "2 %}{% endif %}{{ x }}",
                                                                                "{% for i in [1] %}{{ q }}{% endfor "
                                                                                "%}{% set q = 2 %}",
                                                                                "{% for i in l %}{{ n }}{% set n = i "
                                                                                "%}{{ n }}{% endfor %}{{ n }}",
                                                                                "{% if no %}{% set n = 1 %}{% endif "
                                                                                "%}{{ n }}",
                                                                                "{% macro m() %}{{ q }}{% endmacro "
                                                                                "%}{% set q = 5 %}{{ m() }}",
                                                                                "{% set ns = namespace(c=0) %}{% for "
                                                                                "i in l %}{% set ns.c = ns.c + i "
                                                                                "%}{% endfor %}{{ ns.c }}",
                                                                                "{% set ns.x = 1 %}",
                                                                                "{% set d.x = 1 %}",
                                                                                "{% set ns = namespace() %}{% set "
                                                                                "ns._x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set (a, b) = (b, a) %}{{ a }}", "{% set ns = namespace() %}{% set "
                                                                               "ns.a, x = 1, 2 %}{{ ns.a }}{{ x }}",
                                                                               "{% set x %}a{{ n }}b{% endset %}{{ x "
                                                                               "}}|{{ x|length }}",
                                                                               "{% set x | upper | replace('A', '-') "
                                                                               "%}abc{% endset %}{{ x }}",
                                                                               "{% set x = 1, 2 %}{{ x }}",
                                                                               "{% set 1 = 2 %}",
                                                                               "{% set x %}{% set y = 1 %}{{ y }}{% "
                                                                               "endset %}{{ y }}{{ x }}",
                                                                               "{% with a = 1, b = n %}{{ a }}{{ b "
                                                                               "}}{% endwith %}{{ a }}",
                                                                               "{% with %}{% set q = 1 %}{{ q }}{% "
                                                                               "endwith %}{{ q }}",
                                                                               "{% with a = 1, b = a %}{{ b }}{% "
                                                                               "endwith %}",
    # macros
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, c=3) }}|{{ m() }}|{{ m(b=1, "
    "a=2) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(z=1) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ caller() }}{% "
                                                                                "endmacro %}{% call m(1) %}body{{ n "
                                                                                "}}{% endcall %}",
                                                                                "{% macro m() %}{{ caller(1, y=2) "
                                                                                "}}{% endmacro %}{% call(x, y) m() "
                                                                                "%}{{ x }}-{{ y }}{% endcall %}",
                                                                                "{% macro m() %}x{% endmacro %}{% "
                                                                                "call m() %}y{% endcall %}",
                                                                                "{% macro m() %}{{ caller }}{{ "
                                                                                "caller() }}{% endmacro %}{{ m() }}",
                                                                                "{% call n() %}{% endcall %}",
                                                                                "{% call n %}{% endcall %}",
    "{% macro f(x) %}{{ x }}{% if x > 0 %}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "{% macro m(a, a) %}{% endmacro %}",
    "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }}",
    "{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ "
                                                                        "m.name }}{{ m.arguments }}{{ m }}",
                                                                        "{{ m(*[1], **{'b': 2}) }}{% macro m(a, b) "
                                                                        "%}{% endmacro %}",
                                                                        "{% macro m(a, b) %}{{ a }}{{ b }}{% "
                                                                        "endmacro %}{{ m(*[1], **{'b': 2}) }}",
                                                                        "{{ range(a=1, a=2) }}", "{{ dict(*[1], 2) }}",
                                                                        "{{ m(1) }}{% macro m(x) %}{{ x }}{% "
                                                                        "endmacro %}",
    # other statements
    "{% filter upper %}a{{ n }}b{% endfilter %}", "{% filter replace('a', 'b')|upper %}banana{% endfilter %}",
    "{% generation %}x{% set q = 1 %}{% endgeneration %}{{ q }}", "{% print 1, 'a' %}", "{% import 'x' as y %}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% nosuch %}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ "
                                                              "c.current }}{{ c.next() }}{{ c.next() }}{% set _ = "
                                                              "c.reset() %}{{ c.current }}",
                                                              "{% set j = joiner('|') %}{% for x in l %}{{ j() }}{{ "
                                                              "x }}{% endfor %}",
                                                              "{% set j = joiner() %}{{ j() }}a{{ j() }}b",
    "{{ raise_exception('bad ' ~ n) }}", "{% if t %}{{ raise_exception('x') }}{% endif %}",
    "{{ strftime_now('%d %b %Y') }}", "{{ strftime_now('%Y-%m-%dT%H:%M:%S %A %B %j %p %y %% %f|%z|%Z|') }}",
    "{{ strftime_now() }}", "{{ namespace(a=1, b='x').b }}", "{{ 5() }}", "{{ s() }}", "{{ missing() }}",
    "{{ d.zz() }}", "{{ s.upper(1) }}", "{{ s.replace('a') }}", "{{ s.split(x=1) }}", "{{ {**d} }}", "{{ [*l] }}",
    "{{ l|map(attribute='x', foo=1)|list }}", "{{ x.y.z }}", "{{ x is divisibleby }}", "{{ s|replace }}",
    "{{ 'a' if s is defined if t }}",
    "{% set content = 'a<think>b</think>c' %}{% set r = "
    "content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{{ r }}|{{ "
    "content.split('</think>')[-1] }}", "{% for x in (l|list)[::-1] %}{{ x }}{% endfor %}",
    "{%- for m in users -%}{%- if loop.first and m.name != 'X' -%}first {% endif -%}{{ m['name'] + '\\n' }}{%- "
    "endfor -%}", "{{ users[0]['name'] + ': ' + users[0].age|string }}", "{% set x = [] %}{% for u in users %}{% set "
                                                                         "x = x + [u.name] %}{% endfor %}{{ x }}",
                                                                         "{{ users | map(attribute='name') | "
                                                                         "map('lower') | select('in', ['bob']) | "
                                                                         "list | tojson }}",
    "{% set ns = namespace(found=false) %}{% for u in users if not ns.found %}{% if u.age == 30 %}{% set ns.found = "
    "true %}{% endif %}{{ u.name }}{% endfor %}", "{% for u in users|reverse %}{{ u.name }}{% endfor %}",
    "{{ ('a', 'b')|join }}{{ 'abc'|list }}{{ {'a': 1}|list }}", "{{ d.items()|map('first')|list }}",
    "{% for g in users|groupby('age') %}{{ g.grouper }}{{ g.list|length }}{{ g[0] }}{% endfor %}",
    "{{ '%s' % namespace }}"[:0] + "{{ [missing, none] }}", "{{ none|default('a') }}{{ none or 'b' }}",
    "{{ \"\\u003cb\\u003e\" }}",
]


def feature_cases():
    for block in (EXPRESSIONS, FILTERS, TESTS):
        for line in block.split("\n"):
            for e in line.split(" | "):
                yield "{{ " + e.strip() + " }}", C
    for t in TEMPLATES:
        yield t, C


def main():
    templates, contexts, cases = {}, {"features": C}, []
    for template, context in feature_cases():
        cases.append({"template": template, "context": "features"})
    for name, template, conversations in families.all():
        templates[name] = template
        for number, context in enumerate(conversations):
            key = f"conversation {number}"
            assert contexts.setdefault(key, context) == context
            cases.append({"family": name, "context": key})
    for case in cases:
        got = reference.render(case.get("template") or templates[case["family"]], contexts[case["context"]])
        refused = "text" not in got or UNSUPPORTED.search(case.get("template", ""))
        case.update({"error": True} if refused else {"text": got["text"]})

    # What Python prints with an address is different each time.
    cases = [c for c in cases if not re.search(r"0x[0-9a-f]{12}|<method", c.get("text", ""))]

    def lines(values):
        return ",\n".join(json.dumps(v, ensure_ascii=False) for v in values)

    def members(map):
        return ",\n".join(json.dumps(k) + ": " + json.dumps(v, ensure_ascii=False) for k, v in map.items())

    print(f'{{"now": "{reference.NOW}",\n"templates": {{\n{members(templates)}\n}},\n"contexts": '
          f'{{\n{members(contexts)}\n}},\n'
          f'"cases": [\n{lines(cases)}\n]}}')


if __name__ == "__main__":
    main()
