#!/bin/sh
# setup.sh [TARGET...] - installs the Debian packages that are missing, then runs `make TARGET...`.
# `setup.sh packages` only installs those that building needs.
# A second run finds everything there and goes straight to make.
set -eu
cd "$(dirname "$0")"

build="gcc make libc6-dev pkg-config libjansson-dev libjpeg62-turbo-dev libpng-dev zlib1g-dev libwebp-dev libgif-dev
       libpcre2-dev libutf8proc-dev libcurl4-openssl-dev libssl-dev python3-yaml"
demo="curl ca-certificates"
phone="python3 python3-venv ca-certificates fonts-roboto-unhinted fonts-wqy-zenhei"
test="check g++ curl haproxy $phone"
peers="cmake g++ python3 python3-venv ca-certificates"
screens="fonts-roboto-unhinted fonts-noto-core fonts-open-sans fonts-dejavu-core fonts-dejavu-extra fonts-liberation
         fonts-noto-cjk fonts-wqy-zenhei"

packages=$build
for goal in "$@"; do
    case $goal in
    demo) packages="$packages $demo" ;;
    phone) packages="$packages $phone" ;;
    bench-peers) packages="$packages $peers" ;;
    test* | *-test | check | coverage) packages="$packages $test" ;;
    dist) packages="$packages mmdebstrap zstd python3 binutils" ;;
    train | eval | golden | venv* | gpu-kit) packages="$packages $test $screens" ;;
    esac
done

missing=
for p in $packages; do
    case $(dpkg-query -W -f='${Status}' "$p" 2>/dev/null || true) in
    *" installed") ;;
    *) case " $missing " in *" $p "*) ;; *) missing="$missing $p" ;; esac ;;
    esac
done

if [ -n "$missing" ]; then
    echo "setup: installing$missing"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "setup: run this as root, or install sudo" >&2; exit 1; }
        as_root=sudo
        echo "setup: sudo is needed to install packages"
    fi
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

[ "${1:-}" != packages ] || exit 0
exec make "-j$(nproc)" "$@"
