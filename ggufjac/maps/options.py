"""How a map is made: the options that every analysis has, from the command line to `Model.linearize`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from ggufjac import parse
from ggufjac.errors import UserError
from ggufjac.network.followed.settings import LlamaSettings
from ggufjac.option import Options, option
from ggufjac.rules import DETACHED, PRESETS, Rules, rules_called

if TYPE_CHECKING:
    import torch

#: What the precisions are called.
DTYPES = ("float32", "float64", "bfloat16")
Dtype: TypeAlias = "Literal['float32', 'float64', 'bfloat16'] | torch.dtype"


@dataclass(frozen=True, kw_only=True)
class MapOptions(Options):
    """How a map is made.

    dtype: float32 or float64, kept from the embeddings to the logits; or bfloat16 for a quick look: coefficients and
    values in float32, sweeps on columns of bfloat16 with float32 sums. rules: a preset of `ggufjac.rules`, or choices
    one by one ("product=half,attention=lrp"; None: the usual ones); path: the live factor of gated MLPs, over the
    rules'. memory: bytes that the map, what it is made of and what is made of it may take on the device, beside the
    mapped file and the program itself (None: a quarter of what is there; of a card 90% of what is free). device:
    torch's name for where values live and are computed. run: whose computation is explained, that of exact arithmetic
    or llama.cpp's own of the file as it is, roundings included; cache, repack, threads: how llama.cpp is run then
    (threads None: as many as torch uses). n_ctx: the context that the model is run with, where its positions depend on
    it (LongRoPE; None: as long as the prompt).
    """

    #: Whether a command offers bfloat16, and llama.cpp's own run.
    quick: ClassVar[bool] = False
    follows: ClassVar[bool] = True

    dtype: Dtype = option(
        "float32",
        "default float32; bfloat16: a quick look, right to about a percent",
        kw_only=False,
        choices=DTYPES,
    )
    rules: str | None = option(
        None,
        f"how the model is linearised: {', '.join(PRESETS)} (default detached), or NAME=CHOICE,...",
        metavar="RULES",
    )
    path: Literal["up", "gate"] | None = option(
        None, "live factor of gated MLPs: another word for --rules detached and --rules gate", choices=("up", "gate")
    )
    memory: int | None = option(
        None,
        "what the analysis may take beside the mapped file and the program itself (about 260 MB), e.g. 8GiB "
        "(default: a quarter of the machine's, 90% of what a card has free)",
        parse=parse.byte_count,
        metavar="SIZE",
        resource=True,
    )
    device: str = option(
        "cpu", "where to compute, in torch's words: cpu (default), cuda, mps, xpu", metavar="NAME", resource=True
    )
    threads: int | None = option(
        None, "CPU threads (default: all of this process)", parse=parse.positive, metavar="N", resource=True
    )
    run: Literal["exact", "llama.cpp"] = option(
        "exact",
        "explain exact arithmetic on the file's weights (default), or llama.cpp's own run with all it rounds",
        choices=("exact", "llama.cpp"),
    )
    cache: Literal["f16", "f32"] = option(
        "f16", "with --run llama.cpp: the type of its key/value cache (default f16)", choices=("f16", "f32")
    )
    repack: bool = option(False, "with --run llama.cpp: let it lay out weights anew for faster kernels")
    n_ctx: int | None = option(None, "the context length", hidden=True)

    def __post_init__(self) -> None:
        if not isinstance(self.dtype, str):
            object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        super().__post_init__()
        if self.rules is None:
            object.__setattr__(self, "rules", self.usual_rules())
        if not self.linearisation.reconstructs:
            self.require_derivatives()

    def usual_rules(self) -> str | None:
        """The rules where none are named; None where that is decided later."""
        return "detached"

    @property
    def linearisation(self) -> Rules:
        """The rules that are meant. Raises UserError for what there is not."""
        rules = DETACHED if self.rules is None else rules_called(self.rules)
        return rules if self.path is None else replace(rules, product=self.path)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype)

    @property
    def torch_dtype(self) -> torch.dtype:
        import torch

        found: torch.dtype = getattr(torch, self.dtype_name)
        return found

    @property
    def values_dtype(self) -> torch.dtype:
        """The precision of coefficients and values: float32 where columns are bfloat16."""
        import torch

        return torch.float32 if self.dtype == "bfloat16" else self.torch_dtype

    @property
    def llama(self) -> LlamaSettings:
        """How llama.cpp is run where its run is followed."""
        import torch

        return LlamaSettings(self.threads or torch.get_num_threads(), self.cache, self.repack)

    def require_derivatives(self) -> None:
        """Raise UserError where the computation that is explained has no derivatives: one that rounds is a staircase,
        flat wherever it is not broken."""
        if self.run != "exact":
            raise UserError(
                "the derivatives of a computation that rounds are 0 almost everywhere; the ordinary Jacobian and rules "
                "with a derivative in them go with exact arithmetic alone (--run exact)"
            )
