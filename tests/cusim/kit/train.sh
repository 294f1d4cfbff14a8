#!/bin/sh
# train.sh OUT MINUTES [OPTION...] - trains the native model for so many minutes on this machine's GPU, from the weights
# in models/open-autoglm-v1. OUT/model gets the trained model, ready to be served, every two minutes; OUT/log.txt the
# figures. OPTIONs are those of python/openautoglm/train.py and come last, so they win. Needs Python 3 with torch,
# numpy, pillow and safetensors. Before the minutes count, the training heads learn; after them 40 screens are asked
# about.
set -u
case ${2:-} in
'' | *[!0-9.]*) echo "usage: train.sh OUT MINUTES [OPTION...]"; exit 2 ;;
esac
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd) minutes=$2
shift 2
cd "$(dirname "$0")" || exit 2
command -v python3 >/dev/null || { echo "train.sh: python3 is not there"; exit 2; }

for module in torch numpy PIL safetensors; do
    if ! python3 -c "import $module" 2>"$out/log.txt"; then
        [ "$module" != PIL ] || module="PIL (the package pillow)"
        echo "train.sh: python3 has no $module: $(tail -n 1 "$out/log.txt")"
        exit 2
    fi
done
device=$(python3 -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
[ "$device" = cuda ] || echo "train.sh: PyTorch sees no GPU: the CPU trains"
cores=$(nproc) workers=1
[ "$cores" -le 3 ] || workers=$((cores - 2))
[ "$workers" -le 16 ] || workers=16

more=300                                # seconds for what comes before and after the minutes: then it hangs
[ "$device" = cuda ] || more=7200
limit=$(python3 -c "print(int(60 * $minutes) + $more)")

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export OPENAUTOGLM_FONTS="$PWD/fonts" PYTHONPATH="python${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
{
    timeout -k 5 "$limit" python3 -m openautoglm.train --device "$device" --workers "$workers" \
        --init models/open-autoglm-v1 --stages full:1 --freeze-norms --lr 6e-4 --decay .85 --dense .4 --check 2 \
        --minutes "$minutes" --out "$state" --export "$out/model" "$@"
    echo $? >"$state/status"
} 2>&1 | tee "$out/log.txt"
exit "$(cat "$state/status")"
