"""Every family against llama.cpp, and its maps against autograd: a family joins by being registered in `tinymodels`.

llama.cpp judges at two places: on the models as they are, where every logit of every position must agree, and on
models with one key changed, where it also says whether the key has any effect. A graph that forgot a feature, or
gave meaning to a key that llama.cpp does not read, fails on the second even if the first could not tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ggufjac.analyses.judge.verify import Verification, twin
from ggufjac.errors import UserError
from ggufjac.families import ARCHITECTURES
from ggufjac.families.bases.source import Source
from ggufjac.families.parts import Part
from ggufjac.llamacpp.quantize import quantize
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.network.forward import propagate, run_of
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader import GGUFFile
from ggufjac.reader.types import GGMLType
from ggufjac.rules import PRESETS
from judge import pulled_back
from tinymodels import BOS, EOS, FAMILIES, GELU, VOCAB_SIZE, make

PROMPT = [BOS, *np.random.default_rng(7).integers(3, VOCAB_SIZE, 39).tolist()]
LENGTHS = (1, 7, 40)
QUANTISED = ("Q4_K_M", "Q4_0", "Q8_0", "IQ3_M")

#: The largest difference of logits over their spread, and of hidden states over theirs. Measured: 1e-6 to 1e-5.
TOLERANCE = 1e-4
#: The same for logits behind a GELU, which llama.cpp rounds to float16 on the way in and out. Measured: up to 2e-3.
ROUNDED = 5e-3
#: What a feature must move the logits by, over their spread, to be counted as tested: 100 times the tolerance.
MOVED = 1e-2
#: Biases that are no part of the map up to the output norm: after it, in the steps of a recurrence, in the choice of
#: experts or positions.
NO_CONSTANTS = ("output.bias", "ssm_dt.bias", "exp_probs_b.bias", "indexer.k_norm.bias")
#: What is part of it besides biases.
CONSTANTS = (".bias", "per_layer_token_embd.weight")
#: Families that add something that is in no tensor: 1 to what their MLPs' up gives.
ADD = ("minimax-m3",)


@dataclass(frozen=True)
class Case:
    """One form of one family."""

    family: str
    variant: str = ""

    @property
    def overrides(self) -> dict[str, Any]:
        return FAMILIES[self.family].variants[self.variant] if self.variant else {}

    def __str__(self) -> str:
        return f"{self.family}, {self.variant}" if self.variant else self.family


PLAIN = [Case(family) for family in FAMILIES]
CASES = [*PLAIN, *(Case(family, variant) for family in FAMILIES for variant in FAMILIES[family].variants)]
Tiny = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The path of a case's file, which is made once."""
    folder = tmp_path_factory.mktemp("families")
    made: dict[tuple[str, str], Path] = {}

    def path_of(case: Case, **keys: Any) -> Path:
        known = (str(case), repr(keys))
        if known not in made:
            merged = {**case.overrides, "keys": {**case.overrides.get("keys", {}), **keys}}
            made[known] = make(case.family, folder / f"{len(made)}.gguf", **merged)
        return made[known]

    return path_of


@pytest.fixture
def model(case: Case, tiny: Tiny) -> Iterator[Model]:
    with Model.open(tiny(case)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


#: DeepSeek V4 with blocks of 128 positions, and with angles as small as in the test of llama4.
LONG_BLOCKS: dict[str, Any] = {"ratios": (4, 128), "keys": {"rope.scaling.factor": 64.0}}


def every(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=str)


def test_every_family_has_a_tiny_model_and_a_description() -> None:
    assert set(FAMILIES) == set(ARCHITECTURES)
    for name, family in ARCHITECTURES.items():
        assert name in family.architectures
        assert 20 < len(family.summary()) < 400


# --- llama.cpp is the judge -----------------------------------------------------------------------------------


def judge(model: Model, prompts: list[list[int]]) -> None:
    """Every logit at every position, and every hidden state from llama.cpp's states before it."""
    gelu = model.family.gelu
    assert gelu == (model.family.source.architecture in GELU)
    found: Verification = twin(model, prompts, gelu_table=gelu, threads=1)
    for check, prompt in zip(found.checks, prompts, strict=True):
        assert check.worst < (ROUNDED if gelu else TOLERANCE)
        if gelu:
            assert check.same_gelu is not None
            assert check.same_gelu < TOLERANCE
        arch, names = model.file.architecture, [layer.name for layer in check.layers]
        for i in range(model.family.n_layer):
            assert f"{FAMILIES[arch].state}-{i}" in names
            assert sum(name.endswith(f"-{i}") for name in names) >= FAMILIES[arch].steps
        assert FAMILIES[arch].normalised in ("", *names)
        worst = max(check.layers, key=lambda layer: layer.relative)
        assert worst.relative < TOLERANCE, f"{worst.name}, prompt of {len(prompt)} tokens"


@every(CASES)
def test_logits_and_states_equal_llama_cpps(model: Model) -> None:
    judge(model, [PROMPT[:n] for n in LENGTHS])


@every([case for case in PLAIN if case.family in GELU])
def test_gelu_without_llama_cpps_table_differs_by_its_rounding_alone(model: Model) -> None:
    found = twin(model, [PROMPT[:n] for n in LENGTHS], layers=False, threads=1)
    assert all(TOLERANCE < check.worst < ROUNDED for check in found.checks)


@pytest.mark.parametrize("ftype", QUANTISED)
@every([*PLAIN, Case("llama", "experts")])
def test_quantised_weights_give_what_llama_cpp_gives_on_their_expansion(
    case: Case, ftype: str, tiny: Tiny, tmp_path: Path
) -> None:
    target = tmp_path / f"{ftype}.gguf"
    quantize(tiny(case), target, ftype)
    with Model.open(target) as model:
        judge(model, [PROMPT])


@every([Case("gpt-oss"), Case("qwen3moe")])
def test_experts_in_mxfp4_give_what_llama_cpp_gives_on_their_expansion(case: Case, tiny: Tiny, tmp_path: Path) -> None:
    target = tmp_path / "mxfp4.gguf"
    quantize(tiny(case), target, "MXFP4_MOE")
    with Model.open(target) as model:
        types = {info.type for name, info in model.file.tensors.items() if "_exps.weight" in name}
        assert types == {GGMLType.MXFP4}
        judge(model, [PROMPT])


@every([Case("phi3"), Case("llama", "longrope")])
def test_a_prompt_beyond_the_original_context_takes_the_long_factors(model: Model) -> None:
    long = [BOS, *np.random.default_rng(8).integers(3, VOCAB_SIZE, 299).tolist()]
    judge(model, [long])
    assert relative(logits_of(model, PROMPT, n_ctx=512), logits_of(model, PROMPT)) > MOVED


def test_gemma2_has_a_window_also_where_the_file_gives_none(tmp_path: Path) -> None:
    small = {"n_layer": 2, "n_embd": 64, "n_ff": 64, "n_head": 1, "n_head_kv": 1, "head_dim": 32, "n_ctx": 8192}
    path = make("gemma2", tmp_path / "tiny.gguf", **small, keys={"attention.sliding_window": None})
    long = [BOS, *np.random.default_rng(9).integers(3, VOCAB_SIZE, 4199).tolist()]
    with Model.open(path) as model, Runner(path, len(long), kv="f32", threads=1) as runner:
        ours = logits_of(model, long, n_ctx=4352, gelu_table=True)
        assert relative(ours[-100:], runner.logits(long, all_positions=True)[-100:]) < ROUNDED


def test_smallthinker_has_a_window_of_4096_whatever_the_file_says(tmp_path: Path) -> None:
    """RoPE is stretched as in the test of llama4."""
    small = {"n_layer": 2, "n_embd": 64, "n_ff": 64, "n_head": 1, "n_head_kv": 1, "head_dim": 32, "n_ctx": 8192}
    path = make("smallthinker", tmp_path / "tiny.gguf", **small, keys={"rope.scaling.factor": 4096.0})
    long = [BOS, *np.random.default_rng(9).integers(3, VOCAB_SIZE, 4199).tolist()]
    with Model.open(path) as model, Runner(path, len(long), kv="f32", threads=1) as runner:
        ours = logits_of(model, long, n_ctx=4352)
        assert relative(ours[-100:], runner.logits(long, all_positions=True)[-100:]) < TOLERANCE


def test_llama4_has_chunks_and_a_temperature_in_long_prompts(tmp_path: Path) -> None:
    """RoPE is stretched until all angles are small: llama.cpp's, in float32, are off by 5e-4 at position 8192."""
    small = {"n_layer": 4, "n_embd": 32, "n_ff": 32, "n_head": 1, "n_head_kv": 1, "head_dim": 32, "n_ctx": 16384}
    keys = {"rope.scaling.factor": 4096.0, "expert_count": 4, "expert_used_count": 2}
    path = make("llama4", tmp_path / "tiny.gguf", **small, step=5, keys=keys)
    long = [BOS, *np.random.default_rng(9).integers(3, VOCAB_SIZE, 8239).tolist()]
    with Model.open(path) as model, Runner(path, len(long), kv="f32", threads=1) as runner:
        ours = logits_of(model, long, n_ctx=8448)
        assert relative(ours[-100:], runner.logits(long, all_positions=True)[-100:]) < TOLERANCE


@every([Case("qwen4exp"), Case("qwen4exp", "n-grams first")])
def test_qwen4exps_blocks_and_ngrams_in_a_text_longer_than_llama_cpps_batch(case: Case, tiny: Tiny) -> None:
    """With tokens that end a text within it, beyond which no n-gram reaches."""
    long = [BOS, *np.random.default_rng(8).integers(3, VOCAB_SIZE, 599).tolist()]
    for i in (5, 6, 20, 21, 23, 100):
        long[i] = EOS
    with Model.open(tiny(case)) as model, Runner(tiny(case), len(long), kv="f32", threads=1) as runner:
        assert relative(logits_of(model, long, n_ctx=768), runner.logits(long, all_positions=True)) < TOLERANCE


def test_deepseek4_has_blocks_of_128_positions(tmp_path: Path) -> None:
    """Tensors and keys of layers with long blocks, which prompts of 40 tokens have none of."""
    path = make("deepseek4", tmp_path / "tiny.gguf", **LONG_BLOCKS)
    long = [BOS, *np.random.default_rng(8).integers(3, VOCAB_SIZE, 299).tolist()]
    with Model.open(path) as model:
        judge(model, [long])
        expected = logits_of(model, long)
        for name in ("kv.weight", "gate.weight", "ape.weight", "norm.weight"):
            changed = Model(model.file, type(model.family)(Neutral(model.file, f"blk.1.attn_compressor_{name}")))
            assert relative(logits_of(changed, long), expected) > MOVED, name
        map_ = model.linearize(long, dtype=torch.float64)
        assert map_.reconstruction_error() < 1e-13
        ordinary, y = model.linearize(long, dtype=torch.float64, rules="ordinary"), normal(1, model.family.d)
        pulled = pulled_back(model.family, long, ordinary.inputs, y, PRESETS["ordinary"])
        assert (ordinary.rmatmat(y) - pulled).abs().max() < 1e-10 * pulled.abs().max()


def test_deepseek4_guesses_no_later_tokens_without_tensors_for_that(tmp_path: Path) -> None:
    path = make("deepseek4", tmp_path / "tiny.gguf", keys={"nextn_predict_layers": 1})
    with Model.open(path) as model:
        assert model.family.n_layer == 2
        judge(model, [PROMPT])


def test_a_layer_of_deci_with_nothing_in_it_hands_on_its_input(tmp_path: Path) -> None:
    path = make("deci", tmp_path / "tiny.gguf", heads=(4, 0, 4), shared=(2, 0, 2), empty=1)
    with Model.open(path) as model, Runner(path, len(PROMPT), kv="f32", threads=1) as runner:
        assert relative(logits_of(model, PROMPT), runner.logits(PROMPT, all_positions=True)) < TOLERANCE
        map_ = model.linearize(PROMPT[:7], dtype=torch.float64)
        assert map_.reconstruction_error() < 1e-13
        pulled = map_.rmatmat(normal(1, map_.shape[0]))
        assert pulled.norm() > 0


# --- the map --------------------------------------------------------------------------------------------------


@every(CASES)
def test_the_last_position_alone_is_what_it_is_among_all(model: Model) -> None:
    alone, among = (
        model.linearize(PROMPT[:7], dtype=torch.float64).logits,
        model.run(PROMPT[:7], torch.float64).logits[-1],
    )
    assert (alone - among).abs().max() < 1e-12 * among.std()


@every(CASES)
def test_terms_add_up_to_the_output(model: Model) -> None:
    single, double = (model.linearize(PROMPT[:7], dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert single.reconstruction_error() < 1e-5
    assert double.reconstruction_error() < 1e-13
    biased = model.file.architecture in ADD or any(
        name.endswith(CONSTANTS) and not name.endswith(NO_CONSTANTS) for name in model.file.tensors
    )
    assert (double.constant.norm() > 1e-2 * double.output.norm()) == biased
    torch.testing.assert_close(double.output, single.output.double(), rtol=1e-4, atol=1e-4)


@every(CASES)
def test_every_state_has_a_lens(model: Model) -> None:
    """The output norm reads any state that a layer hands on, however wide, and the embeddings."""
    family = model.family
    with torch.no_grad():
        done = propagate(family, run_of(PROMPT[:3]), model.embed(PROMPT[:3], torch.float64), last_only=False)
        for state in done.states:
            op, seen = family.output_norm.build(done.run, state)
            assert seen.shape == (3, family.d)
            torch.testing.assert_close(op.apply(state, 1.0), seen, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen, done.output, rtol=0, atol=0)


class NoRounding(TorchDispatchMode):
    """Fails where an operation on float64 gives float32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given, got = (
            {leaf.dtype for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)} for tree in ((args, kwargs), out)
        )
        assert not (torch.float64 in given and torch.float32 in got), f"{func} rounds float64 to float32"
        return out


@every(CASES)
def test_nothing_in_float64_passes_through_float32(model: Model) -> None:
    with NoRounding():
        map_ = model.linearize(PROMPT[:3], dtype=torch.float64)
        assert map_.rmatmat(normal(1, map_.shape[0])).dtype == torch.float64


@every(CASES)
def test_map_is_autograds_by_the_same_rules(case: Case, model: Model) -> None:
    """Every preset on the plain form of a family, the default one and the two that reach furthest on the others."""
    ids, y = PROMPT[:5], normal(3, model.family.d)
    presets = PRESETS if not case.variant else ("detached", "lrp", "ordinary")
    maps = {name: model.linearize(ids, dtype=torch.float64, rules=name) for name in presets}
    for name, map_ in maps.items():
        expected = pulled_back(model.family, ids, map_.inputs, y, PRESETS[name])
        scale = expected.abs().max()
        few = map_.rmatmat(y)
        assert (few - expected).abs().max() < 1e-10 * scale, name
        if name in ("detached", "ordinary"):  # the full map folds MLPs with one live factor, and with two
            whole = torch.einsum("nd,dti->nti", y, map_.jacobian())
            assert (whole - expected).abs().max() < 1e-10 * scale, name
        v = normal(3, *map_.shape[1:])
        assert (map_.matmat(v) * y).sum() == pytest.approx(float((v * few).sum()), rel=1e-10), name
        assert torch.equal(map_.output, maps["detached"].output), name
        if PRESETS[name].reconstructs:
            assert map_.reconstruction_error() < 1e-13, name


@every(CASES)
def test_maps_at_many_positions_are_those_at_each(model: Model) -> None:
    """One pass and one sweep of columns that end at different positions, beside a prompt that ends there."""
    ids, positions = PROMPT[:7], (1, 3, 4, 6)
    of_logits = normal(len(positions), model.family.n_vocab)
    for rules in ("half", "lrp-qk"):
        options = MapOptions("float64", rules=rules)
        text = model.linearize_text(ids, positions, options)
        w, offsets = text.functionals(of_logits)
        order = [3, 0, 2, 1]  # columns need not come in the order of their positions
        terms = text.attribute(w[order], order)
        for row, i in zip(terms, order, strict=True):
            n = positions[i] + 1
            alone = model.linearize_with(ids[:n], options)
            f, offset = alone.functional(of_logits[i])
            expected = alone.attribute(f[None])[0]
            scale = expected.abs().max()
            assert (row[:n] - expected[:-1]).abs().max() < 1e-10 * scale
            assert (row[-1] - expected[-1]).abs() < 1e-10 * scale
            assert not row[n:-1].any()
            assert offsets[i] == pytest.approx(offset, rel=1e-10, abs=1e-10)
            assert (text.logits[i] - alone.logits).norm() < 1e-12 * alone.logits.norm()
        if PRESETS[rules].reconstructs:
            assert text.reconstruction_error() < 1e-13


@every(PLAIN)
def test_gate_and_half_are_other_maps(case: Case, model: Model) -> None:
    y = normal(3, model.family.d)
    rules = ("detached", "gate", "half")
    up, gate, half = (model.linearize(PROMPT[:5], dtype=torch.float64, rules=name).rmatmat(y) for name in rules)
    if FAMILIES[case.family].gated:
        assert (up - gate).norm() > 0.05 * up.norm()
        assert (up - half).norm() > 0.02 * up.norm()
    else:
        assert torch.equal(up, gate)
        assert torch.equal(up, half)


@every(CASES)
def test_ordinary_map_is_the_derivative(model: Model) -> None:
    ids = PROMPT[:5]
    ordinary = model.linearize(ids, dtype=torch.float64, rules="ordinary")
    x = normal(2, len(ids), model.family.d)
    tangent = ordinary.matmat(x)
    step = 1e-5
    with torch.no_grad():
        ahead, behind = (
            propagate(model.family, run_of(ids), ordinary.inputs + sign * step * x).output[..., 0, :]
            for sign in (1, -1)
        )
    assert ((ahead - behind) / (2 * step) - tangent).norm() < 1e-6 * tangent.norm()
    assert (model.linearize(ids, dtype=torch.float64).matmat(x) - tangent).norm() > 1e-2 * tangent.norm()


def test_only_the_chosen_experts_are_met(tiny: Tiny) -> None:
    with Model.open(tiny(Case("qwen3moe"))) as model:
        family = model.family
        experts = family.experts(0, family.routing(0), family.n_ff_expert(0))
        met: list[int] = []

        def expert(number: int) -> Part:
            met.append(number)
            return experts.expert(number)

        x = normal(2, family.d)
        replace(experts, expert=expert).build(run_of(range(2)), x)
        chosen, _ = experts.routing.choose(experts.router.value(run_of(range(2)), x))
    assert met == sorted(set(chosen.flatten().tolist()))
    assert len(met) < family.n_expert


# --- power: what could be forgotten moves the logits ----------------------------------------------------------

#: Keys that fix shapes, or make llama.cpp end the process (a head rotated in part where it must be whole).
STRUCTURE = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.kv_lora_rank",
    "attention.q_lora_rank",
    "attention.key_length_mla",
    "attention.value_length_mla",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "attention.shared_kv_layers",
    "embedding_length_per_layer_input",
    "rope.dimension_count_swa",
    "leading_dense_block_count",
    "expert_shared_count",
    "interleave_moe_layer_step",
    "nextn_predict_layers",
    "expert_chunk_feed_forward_length",
    "adapters.count",
    "adapters.lora_rank",
    "expert_count",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "experts_per_group",
    "rope.dimension_count",
    "attention.recurrent_layers",
    "attention.indexer.head_count",
    "attention.indexer.key_length",
    "attention.compress_ratios",
    "attention.output_group_count",
    "attention.output_lora_rank",
    "attention.kv_lora_rank_swa",
    "attention.key_length_mla_swa",
    "attention.value_length_mla_swa",
    "kda.head_dim",
    "attention.indexer.kpool",
    "expert_latent_length",
    "hyper_connection.count",
    "hyper_connection.low_rank",
    "ple.conv_kernel",
    "ple.heads_per_ngram",
    "ple.ngram_size",
    "full_attention_interval",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
    "attention.decay_lora_rank",
    "attention.gate_lora_rank",
    "attention.iclr_lora_rank",
    "attention.value_residual_mix_lora_rank",
    "time_decay_extra_dim",
    "time_mix_extra_dim",
    "token_shift_count",
    "wkv.head_size",
}
#: Another value for every other key; None leaves the key out.
OTHERWISE: dict[str, Any] = {
    "adapters.router_gain": 0.3,
    "adapters.token_ids_activate": [20, 44, 287, 74],
    "adapters.token_ids_substitute": [20, 21, 22, 23],
    "activation.situ_beta": 4.0,
    "activation.situ_linear_beta": 6.0,
    "activation_sparsity_scale": None,
    "altup.active_idx": 1,
    "altup.num_inputs": 3,
    "attention.clamp_kqv": None,
    "attention.compress_ratios": 2,
    "attention.compress_rope_freq_base": 60.0,
    "attention.indexer.block_size": 8,
    "attention.indexer.local_blocks": 2,
    "attention.indexer.top_k": 4,
    "attention.indexer.types": True,
    "attention.layer_norm_epsilon": 0.3,
    "attention.layer_norm_rms_epsilon": 0.3,
    "attention.max_alibi_bias": None,
    "attention.output_scale": None,
    "attention.rope_pattern": None,
    "attention.scale": None,
    "attention.sliding_window": 3,
    "attention.sliding_window_pattern": 4,
    "attention.temperature_length": 7,
    "attention.temperature_scale": None,
    "attention.value_scale": None,
    "attn_logit_softcapping": None,
    "attn_res.block_size": 1,
    "embedding_scale": None,
    "expert_group_count": None,
    "expert_group_scale": 0.05,
    "expert_group_used_count": 1,
    "expert_gating_func": 4,
    "expert_used_count": 1,
    "expert_weights_norm": None,
    "expert_weights_scale": 0.4,
    "final_logit_softcapping": None,
    "hash_layer_count": 2,
    "hyper_connection.epsilon": 0.5,
    "hyper_connection.magnitude": 0.7,
    "hyper_connection.sinkhorn_iterations": 1,
    "kda.gate_lower_bound": -0.2,
    "logit_scale": 1.0,
    "n_deepstack_layers": None,
    "num_loops": 3,
    "ple.eos_token_id": 8,
    "ple.head_offsets": np.array([9, 50, 1, 100], np.uint64),
    "ple.head_vocab_sizes": np.array([31, 40, 29, 50], np.uint64),
    "ple.image_token_id": None,
    "ple.layer_multipliers": np.array([3, 5, 7], np.uint64),
    "ple.layers": None,
    "rescale_every_n_layers": None,
    "router_logit_softcapping": None,
    "residual_scale": None,
    "rope.dimension_sections": [0, 6, 5, 0],
    "rope.freq_base": 300.0,
    "rope.freq_base_swa": 70.0,
    "rope.scaling.alpha": 2.0,
    "rope.scaling.attn_factor": None,
    "rope.scaling.factor": None,
    "rope.scaling.finetuned": True,
    "rope.scaling.original_context_length": 24,
    "rope.scaling.type": "none",
    "rope.scaling.yarn_attn_factor": 2.0,
    "rope.scaling.yarn_beta_fast": 1.5,
    "rope.scaling.yarn_beta_slow": 0.05,
    "rope.scaling.yarn_ext_factor": 0.0,
    "rope.scaling.yarn_log_multiplier": None,
    "skip_loop_final_norm": False,
    "ssm.dt_b_c_rms": False,
    "swiglu_clamp_exp": None,
    "swiglu_clamp_shexp": None,
    "use_parallel_residual": False,
}


def own_keys(path: Path) -> dict[str, Any]:
    """The keys of a file's architecture, without its prefix."""
    with GGUFFile.open(path) as file:
        prefix = f"{file.architecture}."
        return {key.removeprefix(prefix): str(file.metadata[key]) for key in file.metadata if key.startswith(prefix)}


def logits_of(model: Model, ids: list[int], n_ctx: int = 256, **options: Any) -> NDArray[np.float32]:
    with torch.no_grad():
        run = replace(run_of(ids, **options), n_ctx=n_ctx)
        return propagate(model.family, run, model.embed(ids), last_only=False).logits.numpy()


def relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).max() / b.std())


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@every(CASES)
def test_every_key_has_the_effect_that_it_has_in_llama_cpp(case: Case, tiny: Tiny) -> None:
    present = {key: value for key, value in own_keys(tiny(case)).items() if value != str(OTHERWISE.get(key))}
    if case.variant:  # what does not differ is tested with the plain form, and so is the other of two values
        plain = own_keys(tiny(Case(case.family)))
        present = {key: value for key, value in present.items() if value != plain.get(key)}
    for key in present.keys() - STRUCTURE:
        ours, theirs = [], []
        for path in (tiny(case), tiny(case, **{key: OTHERWISE[key]})):
            try:
                runner = Runner(path, len(PROMPT), kv="f32", threads=1)
            except UserError:  # the key is needed, or fixes a shape, or without it some tensors have no use
                with pytest.raises(UserError, match=r"not part of|is missing|has the shape"):
                    Model.open(path)
                break
            with Model.open(path) as model, runner:
                ours.append(logits_of(model, PROMPT, gelu_table=model.family.gelu))
                theirs.append(runner.logits(PROMPT, all_positions=True))
        else:
            limit = ROUNDED if case.family in GELU else TOLERANCE
            assert relative(ours[1], theirs[1]) < limit, key
            if key in FAMILIES[case.family].ignored:
                assert relative(*ours) == relative(*theirs) == 0, key
            else:
                assert relative(*ours) > MOVED, key


def test_xielus_eps_has_the_effect_that_it_has_in_llama_cpp(tmp_path: Path) -> None:
    """At one position, where no argument is as near to 0 as rounding reaches."""
    ours, theirs = [], []
    for i, eps in enumerate((-1e-6, -0.5)):
        path = make("apertus", tmp_path / f"{i}.gguf", eps=eps)
        with Model.open(path) as model, Runner(path, 1, kv="f32", threads=1) as runner:
            ours.append(logits_of(model, PROMPT[:1]))
            theirs.append(runner.logits(PROMPT[:1], all_positions=True))
        assert relative(ours[-1], theirs[-1]) < TOLERANCE
    assert relative(*ours) > MOVED


class Neutral(Source):
    """A file in which one tensor has the value that a graph without it would have: norms and factors 1, the rest 0."""

    def __init__(self, file: GGUFFile, name: str) -> None:
        super().__init__(file)
        self._name = name

    def integer_table(self, name: str, *shape: int) -> Tensor:
        table = super().integer_table(name, *shape)
        return torch.zeros_like(table) if name == self._name else table

    def _tensor(self, name: str, shape: tuple[int, ...]) -> QuantTensor:
        tensor = super()._tensor(name, shape)
        if name != self._name:
            return tensor
        value = float(name.endswith(".weight") and (len(shape) == 1 or name.endswith("_norm.weight")))
        values = np.full(tensor.shape, value, np.float32)
        return QuantTensor(name, GGMLType.F32, tensor.n_in, values.view(np.uint8))


@every(CASES)
def test_every_tensor_matters(case: Case, model: Model, tiny: Tiny) -> None:
    names = set(model.file.tensors)
    if case.variant:
        with Model.open(tiny(Case(case.family))) as plain:
            names -= set(plain.file.tensors)
    ahead = tuple(f"blk.{i}." for i in range(model.family.n_layer, model.family.source.count("block_count")))
    # the tensors of layers that guess the tokens after the next one, and those that nothing uses, do not
    names = {name for name in names if not name.startswith((*ahead, *FAMILIES[case.family].idle))}
    blocks = sorted((name.split(".", 2)[1:] for name in names if name.startswith("blk.")), key=lambda b: int(b[0]))
    last = {f"blk.{i}.{rest}" for rest, i in {rest: i for i, rest in blocks}.items()}  # of its kind
    expected = logits_of(model, PROMPT)
    for name in names:
        if name == "rope_factors_long.weight":  # for longer contexts than this
            continue
        if name in last or not name.startswith("blk."):
            changed = Model(model.file, type(model.family)(Neutral(model.file, name)))
            try:
                found = logits_of(changed, PROMPT)
            except UserError as error:  # without embeddings or a head nothing is left
                if not re.search("every logit is zero|the last norm", str(error)):
                    raise
                continue
            assert relative(found, expected) > MOVED, name


# --- files that do not fit ------------------------------------------------------------------------------------


@every(PLAIN)
def test_wrong_sizes_are_refused(case: Case, tiny: Tiny) -> None:
    hidden = [key for key in own_keys(tiny(case)) if key.endswith("expert_feed_forward_length")]
    for key in FAMILIES[case.family].sizes:
        key = hidden[0] if hidden and key == "feed_forward_length" else key
        with pytest.raises(UserError, match=r"^[^\n]*gguf: [^\n]+$"):
            Model.open(tiny(case, **{key: 128}))


def test_tensors_that_are_no_part_of_the_model_are_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"'rope_freqs\.weight' is not part of a llama model"):
        Model.open(tiny(Case("llama", "llama 3"), **{"rope.scaling.type": "longrope"}))


def test_impossible_experts_are_refused(tiny: Tiny) -> None:
    case = Case("llama", "grouped experts")
    with pytest.raises(UserError, match="cannot take 9 of 8 experts"):
        Model.open(tiny(case, expert_used_count=9))
    with pytest.raises(UserError, match="2 of 8 experts cannot come from 1 of 8 groups"):
        Model.open(tiny(case, expert_group_count=8, expert_group_used_count=1))


def test_rope_is_checked(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="cannot rotate 66 of 64"):
        Model.open(tiny(Case("llama"), **{"rope.dimension_count": 66}))
    with pytest.raises(UserError, match=r"unknown rope\.scaling\.type 'spiral'"):
        Model.open(tiny(Case("llama"), **{"rope.scaling.type": "spiral"}))


def test_keys_and_values_of_a_layer_of_another_kind_are_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="layer 4 cannot take the keys and values of layer 3, which has other heads"):
        Model.open(tiny(Case("gemma4", "e2b"), **{"attention.shared_kv_layers": 4}))


def test_glm4s_fourth_section_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="fourth section"):
        Model.open(tiny(Case("glm4", "sections"), **{"rope.dimension_sections": [8, 4, 2, 2]}))


@pytest.mark.parametrize(
    ("family", "key", "value", "says"),
    [
        ("gemma4", "embedding_length_per_layer_input", 256, "'per_layer_model_proj.weight' is missing"),
        ("gemma4", "attention.shared_kv_layers", 2, "1 layers have keys and values of their own"),
        ("gemma4", "attention.sliding_window_pattern", 3, "no list of the local layers"),
        ("llama4", "attention.sliding_window", 0, "without chunks is not known"),
        ("ernie4_5-moe", "interleave_moe_layer_step", 2, "are not known"),
        ("grok", "rope.scaling.yarn_ext_factor", 0.5, "yarn_ext_factor of 0.5 is not known"),
        ("grok", "attn_logit_softcapping", 0.0, "scores cannot be limited to 0.0"),
        ("deepseek2-ocr", "rope.scaling.factor", 2.0, "stretched by 2.0 is not known"),
        ("deepseek2-ocr", "rope.freq_base", 500.0, "a RoPE of base 500.0"),
        ("paddleocr", "rope.dimension_sections", [0, 0, 0, 4], "one of the first three must be positive"),
        ("deci", "feed_forward_length", [0, 768, 512], "layer 0 has attention and no MLP"),
        ("afmoe", "attention.sliding_window", 0, "at least 1"),
        ("dots1", "expert_gating_func", 9, r"expert_gating_func is 9; known are 1 \(softmax\)"),
        ("dots1", "expert_gating_func", None, "expert_gating_func is 0"),
        ("deepseek2", "rope.dimension_count", 64, "some must remain"),
        ("glm4moe", "nextn_predict_layers", 2, "leaves no block"),
        ("graniteswitch", "adapters.token_ids_substitute", [9, 320, 9, 9], "has 320; the model's tokens are 0 to 319"),
        ("graniteswitch", "adapters.token_ids_activate", [9], "'1 entries'; it must be an array of 4 integers"),
        ("graniteswitch", "adapters.token_ids_activate", 9, "'something else'; it must be an array of integers"),
        ("deepseek4", "expert_gating_func", 2, "models with a sigmoid are not known"),
        ("deepseek4", "attention.compress_ratios", [4, 64], "layer 1 has blocks of 64 positions; known are 4, 128"),
        ("deepseek4", "attention.compress_ratios", [0, 0], "no layer has blocks of 4 or 128 positions"),
        ("deepseek4", "attention.indexer.key_length", 64, "no layer has blocks of 128 positions"),
        ("deepseek4", "attention.indexer.key_length", 16, "cannot rotate 32 of 16 entries of the indexer"),
        ("deepseek4", "hyper_connection.count", 2, "there are 2 planes; llama.cpp knows 4 alone"),
        ("deepseek4", "attention.output_group_count", 3, "4 heads do not make 3 groups"),
        ("deepseek4", "attention.head_count_kv", 2, "must have one head of keys"),
        ("rwkv7", "token_shift_count", 1, "have token_shift_count 2; it is 1"),
        ("arwkv7", "token_shift_count", None, "have token_shift_count 1; it is 2"),
        ("rwkv6", "wkv.head_size", 96, "256 entries do not make whole heads of 96"),
        ("rwkv6qwen2", "attention.head_count_kv", 3, "4 heads cannot share 3 key/value heads"),
        ("qwen4exp", "ple.layers", [1], "one layer with a delta net"),
        ("qwen4exp", "ple.ngram_size", 1, "do not say 0 rows"),
        ("qwen4exp", "ple.head_vocab_sizes", np.array([37, 41, 43, 0], np.uint64), "do not say 4 rows"),
        ("qwen4exp", "ple.head_offsets", np.array([0, 37, 78, 200], np.uint64), "176 rows, and the n-grams need 247"),
        ("qwen4exp", "ple.layer_multipliers", 5, "an array of integers"),
        ("qwen4exp", "rope.dimension_count", 64, "cannot rotate 64 of an indexer's 48"),
        ("qwen4exp", "attention.compress_ratios", 65, "no blocks of 65 positions"),
    ],
)
def test_forms_that_are_not_known_are_refused(family: str, key: str, value: Any, says: str, tiny: Tiny) -> None:
    with pytest.raises(UserError, match=says):
        Model.open(tiny(Case(family), **{key: value}))


@pytest.mark.parametrize(
    ("value", "message"),
    [([2, 2], None), ([2], "one per layer"), (["2", "2"], "something else"), ([2.5, 2.5], "something else")],
)
def test_a_key_with_one_value_per_layer(tmp_path: Path, value: list[Any], message: str | None) -> None:
    path = make("llama", tmp_path / "tiny.gguf", keys={"attention.head_count_kv": value})
    if message is None:
        with Model.open(path) as model:
            assert model.family.n_head_kv(1) == 2
    else:
        with pytest.raises(UserError, match=message):
            Model.open(path)
