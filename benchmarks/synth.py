"""Write a GGUF file of any size with random quantised weights, at the speed of the disk.

    python -m benchmarks.synth llama3.1-8b OUT.gguf                 # 32 layers, Q4_K_M as llama.cpp mixes it
    python -m benchmarks.synth qwen3-32b OUT.gguf --type Q8_0 --set n_layer=8 --set n_vocab=4096

llama.cpp loads it and prompts tokenise, byte by byte. What such a model says means nothing; what it costs to say or to
analyse it is what a trained model of the same shape costs.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

from benchmarks.synthetic.blocks import Pool
from benchmarks.synthetic.layouts import Layout, Matrix, layout
from benchmarks.synthetic.mixtures import MIXTURES, types
from benchmarks.synthetic.shapes import SHAPES, Shape, named
from benchmarks.synthetic.sink import Sink
from ggufjac.atomic import require_writable, write
from ggufjac.errors import UserError
from ggufjac.reader.tensors import align
from ggufjac.reader.types import GGMLType

#: The tokens that every vocabulary starts with; numbered ones that no text gives fill the rest.
SPECIAL = ("<unk>", "<s>", "</s>")
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
LETTERS = tuple("▁etaoinsrhldcumfpgwybvkxjqzETAOINSRHLDCUMFPGWYBVKXJQZ0123456789.,;:!?-'\"()")
#: More than header and vocabulary take.
HEADER_BYTES = 64 << 20
ALIGNMENT = 32


def synthesize(path: Path, shape: Shape, file_type: str = "Q4_K_M", *, leave: int = 4 << 30) -> int:
    """Write the model and return its size in bytes; the file appears when it is complete.

    leave: bytes of the disk that must stay free. Raises UserError when they would not, for unknown types, and for
    shapes that no model can have.
    """
    _check(shape)
    require_writable(path)
    need = size_of(shape, file_type)
    free = shutil.disk_usage(path.absolute().parent).free
    if free - need < leave:
        raise UserError(
            f"{path}: the file takes {need / 1e9:.1f} GB and {leave / 1e9:.1f} GB are to stay free, but the disk has "
            f"{free / 1e9:.1f} GB; make room, or a smaller model with --set n_layer=..."
        )
    write(path, lambda part: fill(part, shape, file_type))
    return path.stat().st_size


def size_of(shape: Shape, file_type: str) -> int:
    """At most so many bytes does the file take."""
    made, chosen = _planned(shape, file_type)
    return HEADER_BYTES + sum(
        align(_nbytes(t.shape, chosen.get(t.name, GGMLType.F32)), ALIGNMENT) for t in made.tensors
    )


def _planned(shape: Shape, file_type: str) -> tuple[Layout, dict[str, GGMLType]]:
    made = layout(shape)
    return made, types(file_type, shape, [t for t in made.tensors if isinstance(t, Matrix)])


def _check(s: Shape) -> None:
    least = len(SPECIAL) + len(BYTES) + len(LETTERS)
    if s.n_vocab < least:
        raise UserError(f"n_vocab={s.n_vocab}: the bytes and letters of the tokenizer alone take {least}")
    for name in ("n_layer", "n_embd", "n_ff", "n_head", "n_head_kv", "head_dim", "n_ctx"):
        if getattr(s, name) < 1:
            raise UserError(f"{name}={getattr(s, name)}: it must be at least 1")
    if s.n_head % s.n_head_kv:
        raise UserError(f"{s.n_head} heads cannot share {s.n_head_kv} key/value heads evenly")


def _nbytes(shape: tuple[int, ...], type_: GGMLType) -> int:
    return math.prod(shape) // type_.block * type_.block_bytes


def fill(path: Path, shape: Shape, file_type: str = "Q4_K_M", threads: int = 1) -> None:
    """Write the model into a file that may be there already; with several threads, into one that lies in memory."""
    made, chosen = _planned(shape, file_type)
    largest: dict[GGMLType, int] = {}
    for tensor in made.tensors:
        if isinstance(tensor, Matrix):
            type_ = chosen[tensor.name]
            largest[type_] = max(largest.get(type_, 0), math.prod(tensor.shape))
    pools = {type_: Pool(type_, n_weights) for type_, n_weights in largest.items()}
    places = _header(path, made, chosen, file_type)
    # weights of one type and size come from the same bytes, so they are written one after the other
    matrices = sorted((t for t in made.tensors if isinstance(t, Matrix)), key=lambda t: (chosen[t.name], t.deviation))
    with Sink(path, places[""], threads) as sink:
        for tensor in made.tensors:
            if not isinstance(tensor, Matrix):
                sink.put(places[tensor.name], memoryview(tensor.values.tobytes()))
        before = None
        for matrix in matrices:
            alike = chosen[matrix.name], matrix.deviation
            if alike != before:
                sink.settle()
                before = alike
            at = places[matrix.name]
            for piece in pools[alike[0]].pieces(math.prod(matrix.shape), matrix.deviation):
                sink.put(at, piece)
                at += piece.nbytes


def _header(path: Path, made: Layout, chosen: dict[str, GGMLType], file_type: str) -> dict[str, int]:
    """Write everything but the tensors; where each of them lies in the file, and under "" the file's size."""
    writer = GGUFWriter(path, made.shape.arch)
    writer.add_name("synthetic")
    writer.add_file_type(_file_type_number(file_type))
    for key, value in made.keys.items():
        full = f"{made.shape.arch}.{key}"
        if isinstance(value, int):
            writer.add_uint32(full, value)
        elif isinstance(value, float):
            writer.add_float32(full, value)
        else:
            writer.add_string(full, value)
    _tokenizer(writer, made.shape.n_vocab)
    for tensor in made.tensors:
        type_ = chosen.get(tensor.name, GGMLType.F32)
        nbytes = _nbytes(tensor.shape, type_)
        raw = GGMLQuantizationType(int(type_))
        writer.add_tensor_info(tensor.name, tensor.shape, "float32", nbytes, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    at = align(writer.fout[0].tell(), ALIGNMENT)
    writer.close()
    places = {}
    for tensor in made.tensors:
        places[tensor.name] = at
        at += align(_nbytes(tensor.shape, chosen.get(tensor.name, GGMLType.F32)), ALIGNMENT)
    return places | {"": at}


def _tokenizer(writer: GGUFWriter, n_vocab: int) -> None:
    plain = [*SPECIAL, *BYTES, *LETTERS]
    filler = n_vocab - len(plain)
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds += [TokenType.BYTE] * len(BYTES) + [TokenType.NORMAL] * len(LETTERS) + [TokenType.UNUSED] * filler
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*plain, *(f"<filler {i}>" for i in range(filler))])
    writer.add_token_scores([0.0] * n_vocab)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)


def _file_type_number(file_type: str) -> int:
    for prefix in ("MOSTLY_", "ALL_"):
        if f"{prefix}{file_type}" in LlamaFileType.__members__:
            return int(LlamaFileType[f"{prefix}{file_type}"])
    raise UserError(f"no file type {file_type!r}; choose one of {', '.join(MIXTURES)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help=", ".join(SHAPES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", default="Q4_K_M", help=", ".join(MIXTURES))
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=NUMBER", help="n_layer=8, n_vocab=4096, ..."
    )
    parser.add_argument("--leave", type=float, default=4.0, metavar="GB", help="gigabytes of the disk to leave free")
    args = parser.parse_args()
    try:
        since = time.perf_counter()
        size = synthesize(args.out, named(args.shape, args.set), args.type, leave=int(args.leave * 1e9))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    seconds = time.perf_counter() - since
    print(f"{args.out}: {size / 1e9:.2f} GB in {seconds:.1f} s ({size / seconds / 1e9:.2f} GB/s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
