#!/bin/sh
# release/install.sh PROGRAM DESTDIR PREFIX - copies the program, the library beside it and what belongs to them to
# DESTDIR/PREFIX.
# The man page and the completion are made by the program itself.
set -eu
program=$1 to=$2$3
cd "$(dirname "$0")/.."

put() { # MODE FILE... FOLDER
    mode=$1
    shift
    for folder; do :; done
    mkdir -p "$folder"
    while [ $# -gt 1 ]; do
        install -m "$mode" "$1" "$folder"
        shift
    done
}

put 755 "$program" "$to/bin"
plugin=$(dirname "$program")/libopenautoglm_cuda.so
[ ! -f "$plugin" ] || put 755 "$plugin" "$to/bin"

library=$(dirname "$program")/libopenautoglm.so
if [ -f "$library" ]; then
    soname=$(basename "$(ls "$library".[0-9]*)")
    put 644 library/openautoglm.h "$to/include"
    mkdir -p "$to/lib/pkgconfig"
    install -m 644 "$library" "$to/lib/$soname"
    ln -sf "$soname" "$to/lib/libopenautoglm.so"
    sed "s|@PREFIX@|$3|; s|@VERSION@|$(cat VERSION)|" release/openautoglm.pc >"$to/lib/pkgconfig/openautoglm.pc"
fi

model=models/open-autoglm-v1
put 644 $model/*.json $model/*.jinja $model/*.safetensors $model/README.md "$to/share/openautoglm/$model"
put 644 config/default.json openapi.yaml "$to/share/openautoglm"
put 644 README.md CHANGELOG.md LICENSE "$to/share/doc/openautoglm"
put 644 docs/*.md "$to/share/doc/openautoglm/docs"

mkdir -p "$to/share/man/man1" "$to/share/bash-completion/completions" "$to/share/zsh/site-functions" \
    "$to/lib/systemd/system"
"$program" manual >"$to/share/man/man1/openautoglm.1"
"$program" completion bash >"$to/share/bash-completion/completions/openautoglm"
"$program" completion zsh >"$to/share/zsh/site-functions/_openautoglm"
put 644 release/openautoglm.socket "$to/lib/systemd/system"
sed "s|@PREFIX@|$3|" release/openautoglm.service >"$to/lib/systemd/system/openautoglm.service"
