"""open-autoglm-v1: a small vision-language model for phone screens.

The package draws screens and asks about them (`vocabulary`, `canvas`, `screens`,
`questions`), turns questions into tokens (`tokenizer`) and packed batches
(`data`), defines the model (`config`, `model`), trains it (`losses`, `train`,
`embeddings`), writes it in Hugging Face layout (`export`, `chat_template`), makes the fixtures
that the C implementation is tested against (`golden`), and measures the result
through the HTTP API (`evaluate`).  Serving needs none of this.
"""
