"""What fused products cost a GPU in instructions, read from the machine code that is compiled for it: no GPU is needed.

    python -m benchmarks instructions [--types Q4_K,Q6_K] [--card 90] [--rows 1,4,16,32]

Each row is a product of a few rows of x with packed weights of an 8B model, in float32. "Instructions" are those of the
innermost loop, for one weight and one lane of a warp. The last two columns say what the processors of an H100 can issue
(132 multiprocessors, four instructions for 32 lanes each a cycle, 1.75 GHz): packed bytes per second at most, and as a
share of the 3.0 TB/s that copies move there. Memory, and the time that one waits for it, are not in it: it is a bound.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.table import Table
from ggufjac.reader.types import GGMLType

HEADINGS = ("type", "product", "rows", "instructions", "GB/s at most", "share of a copy")
#: Of an H100: what it issues per second, in instructions of a lane, and what a copy reads and writes, in bytes.
ISSUED, COPIED = 132 * 4 * 32 * 1.75e9, 3.0e12
TYPES, ROWS = "Q4_K,Q6_K,Q8_0,Q4_0,IQ4_XS,MXFP4,F16", "1,4,16,32,64"
#: A line of the disassembler: address and instruction; and a jump to an address.
LINE, JUMP = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(.*?);"), re.compile(r"BRA\b.*0x([0-9a-f]+)")


def table(types: str = TYPES, card: int = 90, rows: str = ROWS) -> Table:
    note = f"Compiled for compute capability {card // 10}.{card % 10}; float32; W of 4096 x 14336 weights."
    return Table(HEADINGS, _rows(types.split(","), card, [int(m) for m in rows.split(",")]), note, left=2)


def _rows(types: list[str], capability: int, rows: list[int]) -> Iterator[list[str]]:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import torch

    from ggufjac.quants.triton_kernels import launch
    from triton_checks.compiled import compiled
    from triton_checks.samples import empty

    card, n_out, n_in = launch.Card(528, hopper=capability == 90), 4096, 14336
    for type in (GGMLType[name] for name in types):
        bytes_each = type.block_bytes / type.block
        packed = empty(n_out, int(n_in * bytes_each), dtype=torch.uint8)
        for what in ("apply", "adjoint"):
            for m in rows:
                if what == "apply":
                    made, _ = launch.apply_parts(type, packed, empty(m, n_in), card)
                else:
                    made, _ = launch.adjoint_parts(type, packed, n_in, empty(m, n_out), card)
                c = made.constants
                weights = c["R"] * c["G"] * c["PLANES"] * c["WIDE"] / (32 * made.options["num_warps"])
                each = innermost(compiled(made, capability).asm["cubin"]) / weights * made.grid[2]
                rate = ISSUED / each * bytes_each
                yield [type.name, what, str(m), f"{each:.1f}", f"{rate / 1e9:.0f}", f"{rate / COPIED:.0%}"]


def innermost(cubin: bytes) -> int:
    """Instructions of the longest loop, which is the only one that counts."""
    from triton_checks.compiled import CUOBJDUMP

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        ran = subprocess.run([CUOBJDUMP, "-sass", file.name], capture_output=True, text=True, check=True)
    code = [(int(found[1], 16), found[2]) for line in ran.stdout.splitlines() if (found := LINE.match(line))]
    jumps = ((at, int(found[1], 16)) for at, text in code if (found := JUMP.search(text)))
    return max((sum(to <= place <= at for place, _ in code) for at, to in jumps if to < at), default=len(code))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--card", type=int, default=90, help="its compute capability, 90 for 9.0")
    parser.add_argument("--rows", default=ROWS, help="of x, comma-separated")
    args = parser.parse_args()
    table(args.types, args.card, args.rows).print()


if __name__ == "__main__":
    main()
