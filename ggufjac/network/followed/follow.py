"""The map of what llama.cpp really computed: its run of a prompt, recorded, and the pass that follows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch

from ggufjac.families import Family
from ggufjac.families.parts import Run
from ggufjac.llamacpp.recording import Recorder, Recording
from ggufjac.llamacpp.run import Runner
from ggufjac.network.followed.run import FollowedRun
from ggufjac.network.followed.settings import LlamaSettings

if TYPE_CHECKING:
    from ggufjac.llamacpp.tensors import Array
    from ggufjac.network.forward import ForwardPass

#: llama.cpp's name for the final state, after the output norm.
RESULT = "result_norm"
#: What the weights of products are called; the others are those of adapters.
_WEIGHTS = (".weight", ".lora_a", ".lora_b")
#: Projections that only give attention probabilities, which are recorded themselves.
_UNUSED = re.compile(r"\.attn_(q_b|k_b)\.weight$")
#: Projections whose outputs are what a layer's activation is taken of.
_GATES = re.compile(r"\.(ffn_gate(_up)?(_exps|_shexp)?|inp_gate)\.weight$")
#: The projection by which a layer makes values of the latent vectors that it keeps, or keys that are the values.
_LATENT = re.compile(r"^blk\.(\d+)\.attn_(v_b|kv)\.weight$")
#: What is added to the positions of a block, which has so many rows.
_BLOCKS = re.compile(r"^blk\.(\d+)\.attn_compressor_ape\.weight$")
_UP = re.compile(r"^(blk\.\d+)\.ffn_up\.weight$")


def follow(family: Family, run: Run, settings: LlamaSettings, positions: Sequence[int] | None = None) -> FollowedRun:
    """`run` as llama.cpp runs it on the family's file: runs the prompt there and captures what it computes.

    positions: those whose logits are wanted (None: the last one). Raises UserError where llama.cpp cannot run the file.
    """
    ids = run.tokens.tolist()
    with runner(family, run.n_ctx, settings) as llama:
        recording = llama.record(ids, recorder(family, len(ids)), positions)
        settings = replace(settings, threads=llama.threads)
    given = {item.name: getattr(run, item.name) for item in fields(run)}
    kept = (len(ids) - 1,) if positions is None else tuple(positions)
    return FollowedRun(**given, recording=recording, settings=settings, kept=kept)


def runner(family: Family, n_ctx: int, settings: LlamaSettings) -> Runner:
    """llama.cpp with the family's file, for prompts of up to n_ctx tokens."""
    path = family.source.file.path
    return Runner(path, n_ctx, kv=settings.cache, threads=settings.threads, repack=settings.repack)


def concluded(done: ForwardPass) -> ForwardPass:
    """A pass that followed llama.cpp, with llama.cpp's own result in the place of ours."""
    if not isinstance(done.run, FollowedRun):
        return done
    recording = done.run.recording
    output = _result(recording)
    if len(output) > len(recording.logits):  # a graph that keeps every position
        output = output[list(done.run.kept)]
    return replace(
        done,
        output=torch.from_numpy(output).to(done.output),
        logits=torch.from_numpy(recording.logits).to(done.logits),
    )


def _result(recording: Recording) -> Array:
    """The final state; where llama.cpp gives it no name (plamo3), it is what entered the head."""
    if RESULT in recording.named:
        return recording.named[RESULT]
    (entered,) = recording.inputs.get("output.weight") or recording.inputs["token_embd.weight"]
    return entered


def recorder(family: Family, n_tokens: int) -> Recorder:
    """What copies, of llama.cpp's run of a prompt, all that following it takes."""
    tensors = family.source.file.tensors
    names = [name for name in tensors if name.endswith(_WEIGHTS) and not _UNUSED.search(name)]
    gates = {name for name in names if _is_gate(name, names)} if family.gelu else set()
    latent = [int(match[1]) for name in names if (match := _LATENT.match(name))]
    blocks = {int(match[1]): n_tokens // tensors[name].rows for name in names if (match := _BLOCKS.match(name))}
    return Recorder(n_tokens, names, gates.__contains__, latent, blocks, named=[RESULT])


def _is_gate(name: str, names: list[str]) -> bool:
    """Whether the product with this weight is what an activation is taken of."""
    plain = _UP.match(name)
    return bool(_GATES.search(name)) or (plain is not None and f"{plain[1]}.ffn_gate.weight" not in names)
