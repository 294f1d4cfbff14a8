#!/bin/sh
# docker/cuda-compiler.sh DIR VERSION - nvcc with headers and the static runtime, from NVIDIA's Python packages, laid
# out as a toolkit is: DIR/bin/nvcc, DIR/include, DIR/lib64.
set -eu
dir=$1 version=$2
python3 -m venv "$dir.venv"
"$dir.venv/bin/pip" install -q --disable-pip-version-check --no-deps "nvidia-cuda-nvcc==$version.*" \
    "nvidia-cuda-runtime==$version.*" "nvidia-cuda-crt==$version.*" "nvidia-nvvm==$version.*" \
    "nvidia-cuda-cccl==$version.*" nvidia-cublas
mv "$(echo "$dir.venv"/lib/python3*/site-packages/nvidia/cu1[0-9])" "$dir"
[ -e "$dir/lib64" ] || ln -s lib "$dir/lib64"
"$dir/bin/nvcc" --version | tail -n 1
