"""How large everything is: full on a GPU, smaller where the check itself is tried on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

#: The matrices of an 8B and of a 70B model: rows x columns.
SHAPES_8B = ((4096, 14336), (14336, 4096), (1024, 4096))
SHAPES_70B = ((8192, 28672), (28672, 8192))
#: What makes a model small, whatever its name.
SMALL = ("n_embd=512", "n_ff=1024", "n_head=8", "n_head_kv=2", "head_dim=64", "n_vocab=1024", "n_ctx=512", "n_layer=3")
TINY = ("n_embd=256", "n_ff=512", "n_head=4", "n_head_kv=2", "head_dim=64", "n_vocab=512", "n_ctx=512", "n_layer=2")


@dataclass(frozen=True)
class Scale:
    """shapes: of products, the first ones for every type. narrow, wide: rows of their blocks. seconds: for one timing.

    rotated: bytes that the weights of one timing take together, so that no cache holds them. models, smallest: changes
    to the shapes of models, the second for SmolLM2. families: 0 for all of them. copied: bytes of the copies that are
    timed.
    """

    name: str
    shapes: tuple[tuple[int, int], ...]
    narrow: tuple[int, ...]
    wide: tuple[int, ...]
    seconds: float
    rotated: int
    copied: int
    columns: tuple[int, ...] = (1, 3, 16, 33, 64, 200)
    models: tuple[str, ...] = ()
    smallest: tuple[str, ...] = ()
    families: int = 0


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            "full",
            (SHAPES_8B[0], SHAPES_70B[1], SHAPES_8B[1], SHAPES_8B[2], SHAPES_70B[0]),
            (1, 2, 4, 8, 16, 32, 64),
            (256, 1024, 4096),
            seconds=0.05,
            rotated=256 << 20,
            copied=2 << 30,
        ),
        Scale(
            "small",
            ((1024, 3584), (3584, 1024)),
            (1, 4, 16, 64),
            (256,),
            seconds=0.02,
            rotated=0,
            copied=64 << 20,
            models=SMALL,
            smallest=("n_layer=6",),
            families=6,
        ),
        Scale(
            "tiny",
            ((96, 512),),
            (1, 16),
            (128,),
            seconds=0.001,
            rotated=0,
            copied=1 << 20,
            columns=(1, 33),
            models=TINY,
            smallest=TINY,
            families=2,
        ),
    )
}
