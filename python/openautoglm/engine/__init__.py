"""Models on the C engine, without PyTorch: what `from openautoglm import AutoGLMVisionModel` gives.

`library` finds and describes libopenautoglm.so, `handle` opens a model in it,
`images` and `inputs` turn what people have into what it takes, `tokenizer` and
`model` are the two classes that people use, `generation` reads several answers
at a time.
"""
