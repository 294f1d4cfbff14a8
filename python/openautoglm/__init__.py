"""openautoglm: vision-language models on the C engine, and the training of a small one.

    from openautoglm import AutoGLMVisionModel, AutoGLMTokenizer

runs models in this process, without PyTorch; docs/python.md describes it, and
the code is in `engine`.

The other modules are what open-autoglm-v1, a small model for phone screens, was
made with.  They draw screens and ask about them (`vocabulary`, `canvas`,
`screens`, `questions`), turn questions into tokens (`tokenizer`) and packed
batches (`data`), define the model (`config`, `model`), train it (`losses`,
`train`, `embeddings`), write it in Hugging Face layout (`export`,
`chat_template`), make the fixtures that the C implementation is tested against
(`golden`), and measure the result through the HTTP API (`evaluate`).  Running
models needs none of these; they need the packages of the extra "training".
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.errors import (
        BusyError,
        ClosedError,
        DeviceError,
        LoadError,
        OpenAutoGLMError,
        OutOfMemoryError,
        RequestError,
    )
    from .engine.handle import Info
    from .engine.inputs import Inputs
    from .engine.model import AutoGLMVisionModel, GenerateOutput, ModelOutput
    from .engine.tokenizer import AutoGLMTokenizer

    __version__: str

__all__ = ["AutoGLMTokenizer", "AutoGLMVisionModel", "BusyError", "ClosedError", "DeviceError", "GenerateOutput",
           "Info", "Inputs", "LoadError", "ModelOutput", "OpenAutoGLMError", "OutOfMemoryError", "RequestError",
           "__version__"]

_MODULES = {"AutoGLMTokenizer": "tokenizer", "AutoGLMVisionModel": "model", "GenerateOutput": "model",
            "Info": "handle", "Inputs": "inputs", "ModelOutput": "model"}


def __getattr__(name: str) -> Any:
    """Loads a part when it is first asked for: the modules of the training need neither the library nor cffi."""
    import importlib

    if name == "__version__":
        return importlib.import_module(".engine.library", __name__).version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(".engine." + _MODULES.get(name, "errors"), __name__)
    value = getattr(module, name)
    globals()[name] = value
    return value
