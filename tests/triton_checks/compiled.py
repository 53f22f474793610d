"""Every kernel compiles for the cards that people have, without having one: `python -m pytest compiled.py --target 90`.

What is asserted of the code: where bits are promised, a * b + c rounds twice, and bfloat16 is rounded to the nearest;
no kernel puts its tiles on the stack, which is memory; and what matrix units have summed of a tile is added by other
units, as they cut digits off.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ggufjac.quants.triton_kernels import kernels
from ggufjac.quants.triton_kernels.launch import Card, Launch
from ggufjac.reader.types import GGMLType
from triton_checks.samples import TYPES, launches

NAMES = {
    torch.uint8: "*u8",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
}
#: Alignment of tensors, and the divisor of sizes, that Triton compiles for where they have it.
ALIGNED = 16
#: Bytes of a thread's stack that do little harm: some numbers, where a tile would take 256 and more.
SPILLED = 96
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def compiled(made: Launch, capability: int) -> Any:
    """What Triton makes of a launch for a card of this compute capability (80: 8.0)."""
    names = made.kernel.arg_names
    signature = dict.fromkeys(names, "constexpr")
    constants = {(names.index(name),): value for name, value in made.constants.items()}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for i, (value, parameter) in enumerate(zip(made.arguments, made.kernel.params, strict=False)):
        special = not parameter.do_not_specialize
        if isinstance(value, torch.Tensor):
            signature[names[i]] = NAMES[value.dtype]
        elif value == 1 and special:
            constants[(i,)] = 1
            continue
        else:
            signature[names[i]] = "i32"
        if isinstance(value, torch.Tensor) or (special and value % ALIGNED == 0):
            attributes[(i,)] = [["tt.divisibility", ALIGNED]]
    source = ASTSource(fn=made.kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=made.options)


def stack(cubin: bytes, folder: Path) -> int:
    """Bytes of a thread's stack."""
    file = folder / "kernel.cubin"
    file.write_bytes(cubin)
    ran = subprocess.run([CUOBJDUMP, "-res-usage", file], capture_output=True, text=True, check=True)
    found = re.search(r"STACK:(\d+)", ran.stdout)
    assert found, ran.stdout
    return int(found[1])


def in_hand(made: Launch) -> int:
    """Numbers of a product's result that are summed by one thread."""
    c = made.constants
    width = c["R"] if made.kernel is kernels.apply else c["G"] * c["PLANES"] * c["WIDE"]
    return int(c["M"] * width // (32 * made.options["num_warps"]))


@pytest.mark.parametrize("type", TYPES, ids=lambda type: type.name)
def test_kernels_compile(type: GGMLType, target: int, tmp_path: Path) -> None:
    card = Card(528, hopper=target == 90)
    for what, made in launches(type, card, all=type == GGMLType.Q4_K):
        done = compiled(made, target)
        assert done.asm["cubin"], what
        assert stack(done.asm["cubin"], tmp_path) <= SPILLED, what
        if not made.options["enable_fp_fusion"]:
            assert "fma.rn.f32" not in done.asm["ptx"], what
        if "expand to torch.bfloat16" in what:
            assert "cvt.rn" in done.asm["ptx"]
        if made.constants.get("DOT"):
            assert "mma" in done.asm["ptx"], what
        if made.constants.get("DOT") and made.constants["TYPE"] == tl.float32:
            added = re.findall(r"add(?:\.rn)?\.f32(x2)?", done.asm["ptx"])  # two at once from 12.0 on
            assert len(added) + added.count("x2") >= in_hand(made), what
