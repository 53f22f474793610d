"""What a file that is not GGUF most likely is, told from its first bytes, and what to do about it."""

from __future__ import annotations

#: Bytes of the start of a file that `describe` wants to see.
HEAD_BYTES = 1024

_CONVERT = "convert the model with llama.cpp's convert_hf_to_gguf.py"

_PREFIXES = (
    (b"PK\x03\x04", f"a zip archive, probably PyTorch weights; {_CONVERT}"),
    (b"\x80\x02", f"a Python pickle, probably PyTorch weights; {_CONVERT}"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"tjgg", "an old ggml file (GGJT), from before GGUF; download the model as GGUF"),
    (b"fmgg", "an old ggml file (GGMF), from before GGUF; download the model as GGUF"),
    (b"lmgg", "an old ggml file, from before GGUF; download the model as GGUF"),
    (b"algg", "an old ggml LoRA adapter, not a model"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
)


def describe(head: bytes) -> str:
    """A sentence's worth on what starts with `head` (at most HEAD_BYTES bytes) and how to get a GGUF file instead."""
    # Asked first: the length that a safetensors file starts with can look like any of the prefixes.
    if head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return f"a safetensors file; {_CONVERT}"
    for prefix, what in _PREFIXES:
        if head.startswith(prefix):
            return what
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML or XML page, probably an error message in place of the download; download the model again"
    if text.startswith(b"{"):
        if b"schemaversion" in text or b"vnd.ollama" in text or b"vnd.docker" in text:
            return "an Ollama manifest; the model is the blob that it names under application/vnd.ollama.image.model"
        return "JSON, not a model"
    if not head.strip(b"\0"):
        return "nothing but zeros at its start, probably an unfinished download; download the model again"
    return f"of another kind (it starts with {head[:4]!r}, a GGUF file starts with b'GGUF')"
