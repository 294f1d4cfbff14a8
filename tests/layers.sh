#!/bin/sh
# tests/layers.sh - checks who includes whom (CONTRIBUTING.md, "Who may include whom") and that third-party headers stay
# where they belong. Prints every include that breaks a rule; exit 1 if there is one.
set -u
cd "$(dirname "$0")/.."

own='kernels/[a-z_]*\.h'           # headers that all backends share
doors='template/(template|prefill)\.h|selftest/check\.h|checkpoint/sentence\.h'   # what the engine sees of these rooms
seen='grammar/(grammar|tokens|matcher)\.h'
library='server/(fields|messages|sampling|template_fields|tool_fields)\.h'   # a request's fields, not HTTP

allowed() { # FILE -> an extended pattern of what it may include of ours
    case $1 in
    base/*) echo 'base/' ;;
    config/*) echo 'base/|config/' ;;
    image/*) echo 'base/|image/' ;;
    checkpoint/*) echo 'base/|checkpoint/' ;;
    template/*) echo 'base/|template/' ;;
    output/*) echo 'base/|output/' ;;
    tokenizer/*) echo 'base/|tokenizer/' ;;
    grammar/*) echo 'base/|grammar/' ;;
    kernels/ref/*) echo "base/|$own|kernels/ref/" ;;
    kernels/cpu/*) echo "base/|$own|kernels/cpu/|kernels/ref/ref\.h" ;;
    kernels/cuda/*) echo "base/|$own|kernels/cuda/" ;;
    kernels/*) echo "base/|$own" ;;
    model/families/*) echo "base/|$own|image/|checkpoint/|model/" ;;
    model/*) echo "base/|$own|image/|checkpoint/|model/[a-z_]*\.h" ;;
    selftest/*) echo "base/|$own|image/|checkpoint/|model/[a-z_]*\.h|selftest/" ;;
    engine/*) echo "$seen|$doors|base/|$own|config/|image/|model/[a-z_]*\.h|tokenizer/|engine/" ;;
    fetch/*) echo 'base/|fetch/' ;;
    server/*) echo 'base/|config/|engine/engine\.h|grammar/grammar\.h|output/output\.h|fetch/remote\.h|server/' ;;
    library/*) echo "$library|base/|config/|engine/engine\.h|fetch/find\.h|library/" ;;
    cli/*) echo '[a-z]*/' ;;
    esac
}

rooms="base config image checkpoint template tokenizer grammar output kernels model selftest engine fetch server
       library cli"

only() { # HEADER FILES: this header is included by these files alone
    grep -rlE "#include <$1>" --include='*.[ch]' $rooms | grep -vxE "$2" | sed "s|$| includes <$1>|"
}

broken=$(
    find $rooms -name '*.[ch]' -o -name '*.inc' -o -name '*.cu' -o -name '*.cuh' | sort | while read -r f; do
        grep -oE '^#include "[^"]+"' "$f" | sed 's/#include "//; s/"//' |
            grep -vE "^($(allowed "$f"))" | sed "s|^|$f includes |"
    done
    only 'curl/.*\.h' 'fetch/transfer\.c'
    only 'openssl/.*\.h' 'server/tls\.c'
    only 'jpeglib\.h' 'image/jpeg\.c'
    only 'png\.h' 'image/png\.c'
    only 'zlib\.h' 'image/png_text\.c'
    only 'webp/.*\.h' 'image/webp\.c'
    only 'gif_lib\.h' 'image/gif\.c'
    only 'utf8proc\.h' '(tokenizer|template)/.*\.c'
    only 'pcre2\.h' 'tokenizer/.*\.c'
)
[ -z "$broken" ] && { echo "layers: every include is where it may be"; exit 0; }
printf '%s\n' "$broken"
exit 1
