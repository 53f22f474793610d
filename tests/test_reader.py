"""The reader against gguf's own writer and reader, and against files that are wrong in every way the format allows."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from ggufjac.errors import UserError
from ggufjac.readable import visible
from ggufjac.reader import GGMLType, GGUFFile, TensorInfo

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


# A writer of our own, which can write what gguf's refuses to.


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def array(item: int, count: int, values: bytes) -> bytes:
    return struct.pack("<IQ", item, count) + values


def row(name: str | bytes, dims: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0, n_dims: int = -1) -> bytes:
    shape = struct.pack(f"<I{len(dims)}Q", len(dims) if n_dims < 0 else n_dims, *dims)
    return string(name) + shape + struct.pack("<IQ", kind, offset)


ARCHITECTURE = pair("general.architecture", STRING, string("llama"))


def model(
    pairs: tuple[bytes, ...] = (ARCHITECTURE,),
    rows: tuple[bytes, ...] = (row("a"),),
    data: bytes = bytes(range(32)),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_tensors: int = -1,
    n_pairs: int = -1,
    alignment: int = 32,
) -> bytes:
    n_tensors = len(rows) if n_tensors < 0 else n_tensors
    n_pairs = len(pairs) if n_pairs < 0 else n_pairs
    head = magic + struct.pack("<IQQ", version, n_tensors, n_pairs) + b"".join(pairs) + b"".join(rows)
    return head + bytes(-len(head) % alignment) + data


Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(content: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        return path

    return to_file


def refusal(path: Path) -> str:
    """What the reader says about a bad file: one line that starts with the file's name, without that name."""
    with pytest.raises(UserError) as caught:
        GGUFFile.open(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


# Files that gguf writes, read by both.

SCALARS: dict[str, tuple[str, Any]] = {
    "s.uint8": ("add_uint8", 200),
    "s.int8": ("add_int8", -100),
    "s.uint16": ("add_uint16", 60000),
    "s.int16": ("add_int16", -30000),
    "s.uint32": ("add_uint32", 4_000_000_000),
    "s.int32": ("add_int32", -2_000_000_000),
    "s.float32": ("add_float32", 0.5),
    "s.uint64": ("add_uint64", 2**64 - 1),
    "s.int64": ("add_int64", -(2**63)),
    "s.float64": ("add_float64", 0.1),
    "s.true": ("add_bool", True),
    "s.false": ("add_bool", False),
    "s.string": ("add_string", "Größe\n\0 <s>"),
}
ARRAYS: dict[str, list[Any]] = {
    "a.int": [1, -2, 3],
    "a.float": [0.5, -1.5],
    "a.bool": [True, False, True],
    "a.string": ["a", "", "▁of", "<0x0A>"],
}


#: The types that the installed gguf knows as well: llama.cpp's newest are ahead of it.
OF_GGUF = [kind for kind in GGMLType if kind in list(gguf.GGMLQuantizationType)]


def write_everything(path: Path, alignment: int) -> dict[str, tuple[np.ndarray[Any, Any], GGMLType]]:
    """One value of every metadata type and one tensor of every type: what the tensors hold, in the file's order."""
    rng = np.random.default_rng(alignment)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(alignment)
    for key, (method, value) in SCALARS.items():
        getattr(writer, method)(key, value)
    for key, values in ARRAYS.items():
        writer.add_array(key, values)
    tensors = {}
    for kind in OF_GGUF:
        shape = (3, 5, 2 * kind.block_bytes)
        data = rng.integers(0, 256, shape, np.uint8)
        tensors[f"t.{kind.name}"] = (data, kind)
        writer.add_tensor(f"t.{kind.name}", data, raw_dtype=gguf.GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_reads_what_gguf_writes(tmp_path: Path, alignment: int) -> None:
    path = tmp_path / "model.gguf"
    tensors = write_everything(path, alignment)
    with GGUFFile.open(path) as file:
        assert file.path == path
        assert file.paths == (path,)
        assert file.size == path.stat().st_size
        assert (file.version, file.alignment, file.architecture) == (3, alignment, "llama")
        for key, (_, value) in SCALARS.items():
            assert file.metadata[key] == value
            assert type(file.metadata[key]) is type(value)
        for key, values in ARRAYS.items():
            assert list(file.metadata[key]) == values
            assert file.array_length(key) == len(values)
        reader = gguf.GGUFReader(path)
        # gguf counts the three fields of the header among the pairs.
        assert list(file.metadata) == [key for key in reader.fields if not key.startswith("GGUF.")]
        assert file.n_kv == len(file.metadata) == len(reader.fields) - 3
        assert list(file.tensors) == list(tensors)
        for theirs in reader.tensors:
            ours = file.tensors[theirs.name]
            data, kind = tensors[theirs.name]
            assert ours == TensorInfo(theirs.name, (3, 5, 2 * kind.block), kind, theirs.data_offset, data.nbytes, 0)
            assert list(reversed(ours.shape)) == theirs.shape.tolist()
            assert (ours.n_weights, ours.rows, ours.row_bytes) == (30 * kind.block, 15, 2 * kind.block_bytes)
            np.testing.assert_array_equal(file.data(theirs.name), data.reshape(15, -1))


def test_block_sizes_are_those_of_gguf() -> None:
    for kind in OF_GGUF:
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)] == (kind.block, kind.block_bytes)
        assert gguf.GGMLQuantizationType(kind).name == kind.name


def test_numeric_arrays_and_tensors_are_read_only_views(write: Write) -> None:
    values = pair("a", ARRAY, array(I32, 3, struct.pack("<3i", 1, -2, 3)))
    path = write(model((ARCHITECTURE, values)))
    with GGUFFile.open(path) as file:
        for view in (file.metadata["a"], file.data("a")):
            assert not view.flags.owndata
            assert not view.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                view[...] = 0
        assert file.metadata["a"].dtype == np.int32


def test_nested_empty_and_odd_arrays(write: Write) -> None:
    inner = array(I8, 2, b"\x01\xff") + array(I8, 0, b"")
    strings = array(STRING, 1, string("x")) + array(STRING, 0, b"")
    path = write(
        model(
            (
                pair("bytes", ARRAY, array(U8, 2, b"\x01\xff")),
                pair("nested", ARRAY, array(ARRAY, 2, inner)),
                pair("nested.strings", ARRAY, array(ARRAY, 2, strings)),
                pair("nested.twice", ARRAY, array(ARRAY, 1, array(ARRAY, 1, array(BOOL, 2, b"\0\7")))),
                pair("bad utf-8", STRING, string(b"a\xffb")),
                pair("odd bool", BOOL, b"\x02"),
                pair("empty", ARRAY, array(F64, 0, b"")),
            ),
            rows=(),
            data=b"",
            alignment=1,
        )
    )
    with GGUFFile.open(path) as file:
        data = file.metadata
        assert data["bytes"].tolist() == [1, 255]
        assert [part.tolist() for part in data["nested"]] == [[1, -1], []]
        assert data["nested.strings"] == [["x"], []]
        assert data["nested.twice"][0][0].tolist() == [False, True]
        assert data["bad utf-8"] == "a\ufffdb"
        assert data["odd bool"] is True
        # The value ends with the file, where there is no byte left to view.
        assert data["empty"].shape == (0,)
        assert len(file.tensors) == 0


def test_version_2_scalars_and_missing_last_padding(write: Write) -> None:
    path = write(model(rows=(row("scalar", ()), row("b", (3,), 0, 32)), data=bytes(44), version=2))
    with GGUFFile.open(path) as file:
        assert file.version == 2
        assert file.tensors["scalar"].shape == (1,)
        assert file.data("b").shape == (1, 12)


def test_raw_metadata_is_the_section_byte_for_byte(write: Write) -> None:
    pairs = (ARCHITECTURE, pair("n", U8, b"\x05"))
    with GGUFFile.open(write(model(pairs))) as file:
        assert bytes(file.raw_metadata) == b"".join(pairs)
        entry = file.metadata.entries["n"]
        assert (entry.start - 24, entry.end - 24) == (len(pairs[0]), len(b"".join(pairs)))


def test_large_vocabulary_opens_at_once(write: Write) -> None:
    n = 262144
    tokens = pair("tokens", ARRAY, array(STRING, n, b"".join(string(f"token{i}") for i in range(n))))
    path = write(model((ARCHITECTURE, tokens)))
    start = time.process_time()
    file = GGUFFile.open(path)
    assert file.array_length("tokens") == n
    assert time.process_time() - start < 0.5
    assert file.metadata["tokens"][-1] == f"token{n - 1}"
    assert file.metadata["tokens"] is file.metadata["tokens"]
    file.close()


def test_views_outlive_the_file_and_nothing_new_is_read(write: Write) -> None:
    file = GGUFFile.open(write(model()))
    view = file.data("a")
    file.close()
    file.close()
    assert view.tolist() == [list(range(32))]
    with pytest.raises(ValueError, match="is closed"):
        file.data("a")


@pytest.mark.parametrize("advice", ["willneed", "dontneed", "sequential"])
def test_advice_changes_no_data(write: Write, advice: Any) -> None:
    rows = (row("a", (4096,)), row("b", (4096,), 0, 16384))
    data = np.arange(32768, dtype=np.uint8)
    with GGUFFile.open(write(model(rows=rows, data=data.tobytes()))) as file:
        for name in file.tensors:
            file.advise(name, advice)
        np.testing.assert_array_equal(file.data("b")[0], data[16384:])


def test_unknown_tensor_is_a_key_error(write: Write) -> None:
    with GGUFFile.open(write(model())) as file, pytest.raises(KeyError):
        file.data("b")


# Typed access.


@pytest.fixture
def typed(write: Write) -> GGUFFile:
    return GGUFFile.open(
        write(
            model(
                (
                    pair("int", U16, b"\x07\0"),
                    pair("float", F32, struct.pack("<f", 1e6)),
                    pair("nan", F32, struct.pack("<f", float("nan"))),
                    pair("inf", F64, struct.pack("<d", float("-inf"))),
                    pair("bool", BOOL, b"\1"),
                    pair("text", STRING, string("x")),
                    pair("ints", ARRAY, array(I32, 3, struct.pack("<3i", 1, 2, 3))),
                    pair("floats", ARRAY, array(F32, 2, struct.pack("<2f", 1, float("inf")))),
                    pair("bools", ARRAY, array(BOOL, 2, b"\1\0")),
                    pair("texts", ARRAY, array(STRING, 1, string("x"))),
                    pair("nested", ARRAY, array(ARRAY, 1, array(U8, 0, b""))),
                )
            )
        )
    )


def test_typed_access_gives_the_value(typed: GGUFFile) -> None:
    data = typed.metadata
    assert data.require("int", int) == 7
    assert data.require("float", float) == 1e6
    assert data.require("bool", bool) is True
    assert data.require("text", str) == "x"
    assert data.require("texts", list) == ["x"]
    assert data.require("ints", np.ndarray).tolist() == [1, 2, 3]
    assert data.optional("int", int, 3) == 7
    assert data.optional("absent", int, 3) == 3
    assert data.optional("absent", float, None) is None


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("absent", int, "key absent is missing"),
        ("int", float, "value of int must be a float, but it is of type uint16"),
        ("int", bool, "must be a bool"),
        ("float", int, "value of float must be an integer, but it is of type float32"),
        ("bool", int, "value of bool must be an integer, but it is of type bool"),
        ("text", int, "must be an integer, but it is of type string"),
        ("ints", int, "must be an integer, but it is of type array of 3 int32"),
        ("ints", list, "must be an array of strings, but it is of type array of 3 int32"),
        ("texts", np.ndarray, "must be an array of numbers, but it is of type array of 1 string"),
        ("nested", list, "must be an array of strings, but it is of type array of 1 array"),
        ("nan", float, "is nan, not a finite number"),
        ("inf", float, "is -inf, not a finite number"),
    ],
)
def test_typed_access_names_key_and_type(typed: GGUFFile, key: str, kind: type, words: str) -> None:
    with pytest.raises(UserError) as caught:
        typed.metadata.require(key, kind)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{typed.path}: ")


def test_missing_architecture_and_wrong_array_length(write: Write) -> None:
    with GGUFFile.open(write(model(()))) as file:
        with pytest.raises(UserError, match=r"general\.architecture is missing"):
            _ = file.architecture
        with pytest.raises(UserError, match="key x is missing"):
            file.array_length("x")
    with GGUFFile.open(write(model())) as file, pytest.raises(UserError, match="must be an array"):
        file.array_length("general.architecture")


# Files that are something else.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"GG", "of another kind"),
        (b"GGUF", "the version takes 4 bytes, but the file ends 0 bytes on"),
        (b"\xde\xad\xbe\xefworld", "of another kind (it starts with b'\\xde\\xad"),
        (b"Entry not found", "text, which begins with 'Entry not found', and no model; download the model again"),
        ("Invalid username".encode("utf-16"), "text in UTF-16, which begins with"),
        ("<html><body>no".encode("utf-16"), "HTML"),
        (b"Ein Fehler: " + "ä".encode() * 506, "text, which begins with 'Ein Fehler"),
        (b"PK\x03\x04" + bytes(22) + b"\x0a\0\0\0model.gguf", "a zip archive with a GGUF file in it"),
        (b"MZqFpD='\n" + bytes(99), "a llamafile"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00", "a rar archive"),
        (b"model.gguf".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"FUGG", "bytes swapped"),
        (struct.pack("<Q", 640) + b'{"__metadata__":{}}', "safetensors"),
        (struct.pack("<Q", 0x04034B50) + b'{"a":{}}', "safetensors"),
        (b"PK\x03\x04rest", "PyTorch"),
        (b"\x80\x02}q\x00", "pickle"),
        (b"  <!DOCTYPE html><html>", "HTML"),
        (b"<?xml version='1.0'?><Error>", "XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}', "Ollama manifest"),
        (b'\xef\xbb\xbf{"hidden_size": 64}', "JSON"),
        (b"tjgg\x03\0\0\0", "GGJT"),
        (b"\x1f\x8b\x08", "gzip"),
        (bytes(4096), "zeros"),
    ],
)
def test_other_files_are_named_for_what_they_are(write: Write, content: bytes, words: str) -> None:
    assert words in refusal(write(content))


def test_paths_that_hold_no_file(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path)
    assert "there is no such file" in refusal(tmp_path / "absent.gguf")
    (tmp_path / "file").write_bytes(b"x")
    assert "cannot be read" in refusal(tmp_path / "file" / "below")
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file(write: Write) -> None:
    path = write(model())
    path.chmod(0)
    assert "cannot be read (Permission denied)" in refusal(path)


def test_a_file_that_is_another_users(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(model())
    monkeypatch.setattr(Path, "open", forbidden)
    assert "cannot be read (Permission denied): your user may not open it" in refusal(path)


@pytest.mark.parametrize("name", ["new\nline.gguf", "zero\0byte.gguf", "\x1b[31mred.gguf"])
def test_odd_path_names_stay_on_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        GGUFFile.open(tmp_path / name)
    assert str(caught.value).isprintable()
    assert visible(name) in str(caught.value)


# Files that are wrong.

HUGE = 2**64 - 1


def arch(name: str) -> bytes:
    return pair("general.architecture", STRING, string(name))


U8_PAIR = pair("k", U8, b"\1")

MALFORMED: dict[str, tuple[bytes, str]] = {
    "version 1": (model(version=1), "is GGUF version 1, but the versions 2 and 3 are supported"),
    "version 0": (model(version=0), "is GGUF version 0"),
    "version 4": (model(version=4), "is GGUF version 4"),
    "big-endian": (model(version=0x03000000), "big-endian"),
    "too many tensors": (model(n_tensors=HUGE), f"the number of tensors is {HUGE}, more than"),
    "too many pairs": (model(n_pairs=2**40), f"the number of metadata pairs is {2**40}, more than"),
    "one pair too many": (model((U8_PAIR,), (), b"", n_pairs=2, alignment=1), "metadata pairs is 2, more than"),
    "one tensor too many": (model(n_tensors=2), "damaged"),
    "empty key": (model((pair("", U8, b"\1") + b"pad",)), "metadata key 0 is empty"),
    "key not UTF-8": (model((pair(b"a\xff", U8, b"\1"),)), "not UTF-8"),
    "long key": (model((struct.pack("<Q", HUGE) + bytes(99),)), "metadata key 0 has a name of"),
    "duplicate key": (model((U8_PAIR, U8_PAIR)), "the metadata key k is there twice"),
    "unknown value type": (model((pair("k", 13, bytes(8)),)), "the metadata value of k has the unknown type 13"),
    "unknown element type": (model((pair("k", ARRAY, array(99, 0, b"")),)), "unknown type 99"),
    "huge string": (model((pair("k", STRING, struct.pack("<Q", HUGE)),)), "the metadata value of k has strings"),
    "huge array": (model((pair("k", ARRAY, array(F64, 2**61, b"")),)), "number of elements of the metadata value"),
    "huge string array": (model((pair("k", ARRAY, array(STRING, 2**60, b"")),)), "more than"),
    "huge string in array": (
        model((pair("k", ARRAY, array(STRING, 2, struct.pack("<Q", HUGE) + bytes(8))),)),
        "the metadata value of k has strings that go past the end",
    ),
    "huge nested array": (model((pair("k", ARRAY, array(ARRAY, 1, array(U8, HUGE, b""))),)), "more than"),
    "deep array": (
        model((pair("k", ARRAY, array(ARRAY, 1, b"") * 40 + array(U8, 0, b"")),)),
        "nests arrays more than 16 deep",
    ),
    "alignment 0": (model((pair("general.alignment", U32, bytes(4)),)), "general.alignment is 0, not a power of two"),
    "alignment 48": (model((pair("general.alignment", U32, b"0\0\0\0"),)), "general.alignment is 48"),
    "alignment as text": (model((pair("general.alignment", STRING, string("32")),)), "must be of type uint32"),
    "alignment as int32": (model((pair("general.alignment", I32, b" \0\0\0"),)), "must be of type uint32"),
    "alignment 2**31": (
        model((pair("general.alignment", U32, struct.pack("<I", 1 << 31)),)),
        "the tensor a ends at byte 2147483680, but the file has only",
    ),
    "duplicate tensor": (model(rows=(row("a"), row("a", offset=32)), data=bytes(64)), "the tensor a is there twice"),
    "tensor name not UTF-8": (model(rows=(row(b"\xff\xfe"),)), "tensor 0 has a name that is not UTF-8"),
    "endless tensor name": (model(rows=(row("x" * 1025),)), "tensor 0 has a name of 1025 bytes, more than the 1024"),
    "tensor name with a newline": (model(rows=(row("a\nb", (2**63,)),)), "the tensor a⏎b has a dimension of"),
    "five dimensions": (model(rows=(row("a", (1, 1, 1, 1, 8)),)), "the tensor a has 5 dimensions, where at most 4"),
    "many dimensions": (model(rows=(row("a", n_dims=2**32 - 1),)), "dimensions, where at most 4"),
    "negative dimension": (model(rows=(row("a", (HUGE,)),)), f"the tensor a has a dimension of {HUGE}"),
    "overflowing dimensions": (model(rows=(row("a", (2**62,) * 4),)), "the tensor a ends at byte"),
    "unknown tensor type": (model(rows=(row("a", kind=77),)), "the type 77, unknown; the known types are F32"),
    "ik_llama.cpp's type": (model(rows=(row("a", kind=156),)), "156, IQ3_KS of the fork ik_llama.cpp, which llama.cpp"),
    "ik_llama.cpp's rows": (model(rows=(row("a", kind=337),)), "IQ2_K with interleaved rows of the fork ik_llama.cpp"),
    "rows of a known type": (model(rows=(row("a", kind=212),)), "Q4_K with interleaved rows of the fork ik_llama.cpp"),
    "PrismML's type": (model(rows=(row("a", kind=142),)), "PQ2_0 of the fork PrismML-Eng/llama.cpp"),
    "activations as weights": (model(rows=(row("a", kind=15),)), "Q8_K, which holds intermediate values"),
    "Ollama's gpt-oss": (model((arch("gptoss"),), (row("a", kind=4),)), "MXFP4 by the number that Ollama"),
    "Q4_2": (model(rows=(row("a", kind=4),)), "Q4_2, which llama.cpp dropped; download a newer conversion"),
    "bitnet.cpp's type": (model((arch("bitnet-b1.58"),), (row("a", kind=36),)), "one of bitnet.cpp's (I2_S, TL1, TL2)"),
    "blocks of 64": (model(rows=(row("a", (3200,), 12),)), "rows of 3200 weights as Q4_K, which is"),
    "retired tensor type": (model(rows=(row("a", kind=31),)), "Q4_0_4_4, which llama.cpp dropped in favour of Q4_0"),
    "broken row": (model(rows=(row("a", (40,), 2),)), "rows of 40 weights, not a multiple of 32, the block of"),
    "misaligned offset": (model(rows=(row("a"), row("b", offset=33)), data=bytes(96)), "33, not a multiple of the al"),
    "overlap": (model(rows=(row("a", (16,)), row("b", offset=32)), data=bytes(96)), "overlaps what comes before"),
    "gap": (model(rows=(row("a"), row("b", offset=64)), data=bytes(96)), "leaves a gap behind what comes before"),
    "first tensor not at 0": (model(rows=(row("a", offset=32),), data=bytes(64)), "offset 32, which leaves a gap"),
    "huge offset": (model(rows=(row("a", offset=HUGE - 31),)), "leaves a gap"),
    "tensor past the end": (model(rows=(row("a", (9,)),)), "the tensor a ends at byte"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_in_one_line(write: Write, name: str) -> None:
    content, words = MALFORMED[name]
    assert words in refusal(write(content))


def test_unknown_tensor_type_lists_the_known_ones(write: Write) -> None:
    message = refusal(write(model(rows=(row("a", kind=77),))))
    for kind in GGMLType:
        assert kind.name in message


def test_every_truncation_is_refused(write: Write) -> None:
    texts = pair("t", ARRAY, array(STRING, 3, string("a") + string("bc") + string("")))
    whole = model((ARCHITECTURE, texts, pair("n", ARRAY, array(ARRAY, 1, array(U16, 1, b"\0\0")))))
    GGUFFile.open(write(whole)).close()
    for length in range(len(whole)):
        refusal(write(whole[:length]))


def test_empty_tensors_and_long_names_are_no_damage(write: Write) -> None:
    """The last one lies where the file ends, without the padding in front of it."""
    rows = (row("flag", (0,)), row("a", (9,)), row("x" * 80, (8, 0), offset=64))
    for data in (bytes(64), bytes(36)):
        with GGUFFile.open(write(model(rows=rows, data=data))) as file:
            flag, last = file.tensors["flag"], file.tensors["x" * 80]
            assert (flag.shape, flag.n_weights, flag.nbytes, flag.rows, flag.row_bytes) == ((0,), 0, 0, 1, 0)
            assert (last.shape, last.rows, last.row_bytes) == ((0, 8), 0, 32)
            assert file.data("flag").shape == (1, 0)
            assert file.data("x" * 80).shape == (0, 32)
            assert file.data("a").shape == (1, 36)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.gguf.part", "is an unfinished download, as its name says"),
        ("m.gguf.downloadInProgress", "unfinished download"),
        ("sha256-ab12-partial", "unfinished download"),
        ("m.gguf.part1of2", "is a piece of m.gguf that was cut anywhere"),
        ("m.gguf-split-a", "is a piece of m.gguf that was cut anywhere"),
    ],
)
def test_pieces_are_known_by_their_names(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(model()[:-9])
    assert f"{words}" in refusal(path)
    assert "as it is, the tensor a ends at byte" in refusal(path)
    path.write_bytes(b"\xde\xad\xbe\xef")
    assert words in refusal(path)
    path.write_bytes(model())
    GGUFFile.open(path).close()  # a whole model may have any name


# Models in several files.


def write_split(folder: Path, n_tensors: int = 3) -> list[Path]:
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=1)
    writer.add_uint32("llama.block_count", 2)
    for i in range(n_tensors):
        writer.add_tensor(f"t{i}", np.full((2, 8), i, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_any_part_opens_the_whole_model(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    assert [path.name for path in paths] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for path in paths:
        with GGUFFile.open(path) as file:
            assert file.paths == tuple(paths)
            assert file.path == paths[0]
            assert file.size == sum(part.stat().st_size for part in paths)
            assert file.metadata["llama.block_count"] == 2
            assert [info.shard for info in file.tensors.values()] == [0, 1, 2]
            for i, name in enumerate(file.tensors):
                np.testing.assert_array_equal(file.data(name).view(np.float32), np.full((2, 8), i))


def test_missing_parts_are_named(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    paths[1].unlink()
    assert f"{paths[1]} is missing; put all parts into one folder" in refusal(paths[0])
    paths[0].unlink()
    assert f"{paths[0]} is missing (and 1 more of 3)" in refusal(paths[2])


def test_a_renamed_part(tmp_path: Path) -> None:
    renamed = write_split(tmp_path)[1].rename(tmp_path / "part.gguf")
    assert "is part 2 of 3 of a split model, but its name does not end in -00002-of-00003.gguf" in refusal(renamed)


def test_parts_that_were_joined_by_cat(tmp_path: Path) -> None:
    whole = tmp_path / "model.gguf"
    parts = write_split(tmp_path)
    whole.write_bytes(b"".join(path.read_bytes() for path in parts))
    assert "holds the 3 parts of a split model one behind the other, as `cat` writes them" in refusal(whole)


def test_an_empty_part(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    paths[1].write_bytes(b"")
    with pytest.raises(UserError, match=r"00002-of-00003\.gguf: is empty; download the model again"):
        GGUFFile.open(paths[0])


def test_parts_that_do_not_belong_together(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    whole = [path.read_bytes() for path in paths]

    paths[1].write_bytes(whole[2])
    with pytest.raises(
        UserError, match=r"00002-of-00003\.gguf: is part 3 of its model \(split\.no\), but is named as part 2"
    ):
        GGUFFile.open(paths[0])

    paths[1].write_bytes(whole[1])
    rewrite(paths[1], pair("split.count", U16, b"\3\0"), pair("split.count", U16, b"\4\0"))
    with pytest.raises(UserError, match=r"00002-of-00003\.gguf: belongs to a model of 4 parts"):
        GGUFFile.open(paths[2])

    paths[1].write_bytes(whole[1])
    rewrite(paths[1], string("t1"), string("t0"))
    with pytest.raises(UserError, match=r"the tensor t0 is also in model-00001-of-00003\.gguf"):
        GGUFFile.open(paths[0])

    paths[1].write_bytes(whole[1])
    rewrite(paths[1], string("split.no"), string("split.on"))
    with pytest.raises(UserError, match=r"00002-of-00003\.gguf: the metadata key split\.no is missing"):
        GGUFFile.open(paths[0])

    paths[1].write_bytes(whole[1][:-40])
    with pytest.raises(UserError, match=r"00002-of-00003\.gguf: the tensor t1 ends at byte"):
        GGUFFile.open(paths[0])

    paths[1].write_bytes(whole[1])
    rewrite(
        paths[0],
        string("split.tensors.count") + struct.pack("<Ii", I32, 3),
        string("split.tensors.count") + struct.pack("<Ii", I32, 4),
    )
    assert "the 3 parts of the model hold 3 tensors, but split.tensors.count says 4" in refusal(paths[0])


def test_impossible_split_counts(write: Write) -> None:
    count = pair("split.count", U64, struct.pack("<Q", 2**60))
    assert f"split.count is {2**60}, more than 65535" in refusal(write(model((count,))))
    assert "split.count must be an integer" in refusal(write(model((pair("split.count", STRING, string("2")),))))
