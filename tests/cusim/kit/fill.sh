#!/bin/sh
# tests/cusim/kit/fill.sh KIT DEVICE ARCH - the rest of the kit, once its programs and plug-ins are there: the shared
# libraries that they need but for glibc's, models, golden cases, scripts, and kit.json, which says what it is and which
# glibc it needs. Ends with an error if the folder is larger than what can be carried.
set -eu
cd "$(dirname "$0")/../../.."
kit=$1 device=$2 arch=$3 most=56

copy() { # FILE... with their folders
    for f in "$@"; do
        mkdir -p "$kit/$(dirname "$f")"
        cp -RL "$f" "$kit/$(dirname "$f")/"
    done
}

copy VERSION models/open-autoglm-v1 tests/cusim/gpu.py tests/cusim/gpu_test.py tests/cusim/gpu_bench.py \
    tests/cusim/gpu_kit.py python/full.py python/openautoglm
for case in tests/model/*/*/; do
    copy "${case%/}"
done
find "$kit" -name __pycache__ -prune -exec rm -rf {} +
cp tests/cusim/kit/run.sh tests/cusim/kit/train.sh "$kit/"

programs=$(find "$kit/build" -type f)
mkdir -p "$kit/build/lib"
# shellcheck disable=SC2086
ldd $programs | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | while read -r lib; do
    case ${lib##*/} in
    libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | ld-linux*) ;;
    *) cp -L "$lib" "$kit/build/lib/" ;;
    esac
done
# shellcheck disable=SC2086
if ldd $programs 2>/dev/null | grep 'not found'; then
    echo "gpu-kit: a library is not here"
    exit 1
fi

# shellcheck disable=SC2046
glibc=$(objdump -T $(find "$kit/build" -type f) 2>/dev/null | grep -o 'GLIBC_2[0-9.]*' | sort -uV | tail -n 1)
glibc=${glibc#GLIBC_}
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
printf '{"version": "%s", "commit": "%s", "device": "%s", "arch": "%s", "glibc": "%s"}\n' \
    "$(cat VERSION)" "$commit" "$device" "$arch" "$glibc" >"$kit/kit.json"

size=$(($(du -sb "$kit" | cut -f1) / 1048576 + 1))
echo "$kit: $size MiB, needs glibc $glibc and $(find "$kit" -type f | wc -l) files"
[ "$size" -le "$most" ] || { echo "gpu-kit: at most $most MiB can be carried"; exit 1; }
