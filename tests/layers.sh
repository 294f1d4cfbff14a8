#!/bin/sh
# tests/layers.sh - checks who includes whom (CONTRIBUTING.md, "Habits") and that third-party headers stay where they belong.
# Prints every include that breaks a rule; exit 1 if there is one.
set -u
cd "$(dirname "$0")/.."

allowed() { # FILE -> an extended pattern of what it may include of ours
    case $1 in
    base/*) echo 'base/' ;;
    config/*) echo 'base/|config/' ;;
    tokenizer/*) echo 'base/|tokenizer/' ;;
    image/*) echo 'base/|image/' ;;
    kernels/*) echo 'base/|kernels/' ;;
    model/*) echo 'base/|kernels/|image/|model/' ;;
    engine/*) echo 'base/|model/|kernels/|tokenizer/|image/|engine/' ;;
    server/command_*) echo 'base/|model/|kernels/|tokenizer/|image/|engine/|server/|config/' ;;
    server/*) echo 'base/|config/|engine/engine\.h|server/' ;;
    esac
}

parts="base config tokenizer image kernels model engine server"

only() { # HEADER FILES: this header is included by these files alone
    grep -rlE "#include <$1>" --include='*.[ch]' $parts | grep -vxE "$2" | sed "s|$| includes <$1>|"
}

broken=$(
    find $parts -name '*.[ch]' | sort | while read -r f; do
        grep -oE '^#include "[^"]+"' "$f" | sed 's/#include "//; s/"//' | grep -vE "^($(allowed "$f"))" | sed "s|^|$f includes |"
    done
    only 'jpeglib\.h' 'image/jpeg\.c'
    only 'png\.h' 'image/png\.c'
    only 'zlib\.h' 'image/png_text\.c'
    only 'webp/.*\.h' 'image/webp\.c'
    only 'gif_lib\.h' 'image/gif\.c'
    only 'utf8proc\.h' 'tokenizer/.*\.c'
    only 'pcre2\.h' 'tokenizer/.*\.c'
)
[ -z "$broken" ] && { echo "layers: every include is where it may be"; exit 0; }
printf '%s\n' "$broken"
exit 1
