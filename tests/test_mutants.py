"""Damaged files on which an analysis once gave a traceback or a number that is none (found by tests/mutants.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants import attempt


@pytest.mark.parametrize(
    ("family", "seed"),
    [
        ("minimax-m2", 100070),
        ("glm5-next", 40),
        ("jamba", 181),
        ("granitehybrid", 292),
        ("jais", 1040),
        ("phi2", 1567),
        ("command-r", 500626),
        ("maincoder", 681),
        ("phimoe", 500088),
        ("codeshell", 500253),
        ("deepseek", 500260),
        ("glm5-next", 500896),
        ("minimax-01", 1002031),
        ("mistral3", 1002526),
        ("laguna", 1000493),
        ("rwkv7", 3002821),
        ("exaone4", 3003240),
        ("starcoder2", 3007868),
        ("qwen3vlmoe", 3008486),
        ("granite_swa", 3009682),
        ("jais", 3015616),
        ("cohere2moe", 7002591),
    ],
)
def test_a_report_or_a_line(family: str, seed: int, tmp_path: Path) -> None:
    assert attempt(seed, (family,), tmp_path) in ("report", "refused")
