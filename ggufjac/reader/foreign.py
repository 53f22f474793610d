"""What a file that is not GGUF most likely is, told from its first bytes, and what to do about it."""

from __future__ import annotations

#: Bytes of the start of a file that `describe` wants to see.
HEAD_BYTES = 1024

_CONVERT = "convert the model with llama.cpp's convert_hf_to_gguf.py"

_PREFIXES = (
    (b"\x80\x02", f"a Python pickle, probably PyTorch weights; {_CONVERT}"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"tjgg", "an old ggml file (GGJT), from before GGUF; download the model as GGUF"),
    (b"fmgg", "an old ggml file (GGMF), from before GGUF; download the model as GGUF"),
    (b"lmgg", "an old ggml file, from before GGUF, or a model of whisper.cpp (speech); download the model as GGUF"),
    (b"algg", "an old ggml LoRA adapter, not a model"),
    (b"FUGG", "a GGUF file with its bytes swapped; download one that is little-endian"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive; unpack it first"),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, probably Keras weights, which have no way to GGUF; download the model as GGUF",
    ),
    (b"\x93NUMPY", "a NumPy array, not a model"),
)

#: Cosmopolitan's executables, which a llamafile is: on most systems, and on some BSDs.
_LLAMAFILE = (b"MZqFpD='", b"jartsr='")

#: Bytes of a letter in UTF-8 or UTF-16.
_LONGEST_LETTER = 4

#: Where a tar archive says so.
_TAR = slice(257, 262)


def describe(head: bytes) -> str:
    """A sentence's worth on what starts with `head` (at most HEAD_BYTES bytes) and how to get a GGUF file instead."""
    # Asked first: the length that a safetensors file starts with can look like any of the prefixes.
    if head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return f"a safetensors file; {_CONVERT}"
    for prefix, what in _PREFIXES:
        if head.startswith(prefix):
            return what
    if head.startswith(b"PK\x03\x04"):
        return _zip(head)
    if head.startswith(_LLAMAFILE):
        return "a llamafile, a program with the model inside; `unzip FILE '*.gguf'` gets the model out"
    if head[_TAR] == b"ustar":
        return "a tar archive; unpack it first"
    if not head.strip(b"\0"):
        return "nothing but zeros at its start, probably an unfinished download; download the model again"
    return _text(head) or f"of another kind (it starts with {head[:4]!r}, a GGUF file starts with b'GGUF')"


def _zip(head: bytes) -> str:
    """A zip archive, by the name of the first file in it."""
    length = int.from_bytes(head[26:28], "little")
    name = head[30 : 30 + length]
    if name.lower().endswith(b".gguf"):
        return "a zip archive with a GGUF file in it; unpack it first"
    return f"a zip archive, probably PyTorch weights; {_CONVERT}"


def _text(head: bytes) -> str | None:
    """Text in place of a model, by what it says; None for what is no text."""
    coding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = head.decode(coding)
    except UnicodeDecodeError as error:
        if len(head) < HEAD_BYTES or error.start < HEAD_BYTES - _LONGEST_LETTER:
            return None
        text = head[: error.start].decode(coding)  # a letter was cut
    text = text.strip()
    start = text.lower()
    if start.startswith(("<!doctype", "<html", "<?xml")):
        return "an HTML or XML page, probably an error message in place of the download; download the model again"
    if start.startswith("{"):
        if any(word in start for word in ("schemaversion", "vnd.ollama", "vnd.docker")):
            return "an Ollama manifest; the model is the blob that it names under application/vnd.ollama.image.model"
        return "JSON (settings, or an index of other files), not a model; give the .gguf file"
    if len(text) < 4 or not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    kind = "text in UTF-16" if coding == "utf-16" else "text"
    return f"{kind}, which begins with {text.splitlines()[0][:40]!r}, and no model; download the model again"
