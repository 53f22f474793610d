"""`show` on damaged and foreign files: one line, whatever is wrong in them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.maps.lens.lens import Lens, LensOrigin


@pytest.fixture(scope="module")
def saved(results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("saved")
    for kind, result in results.items():
        result.save(folder / f"{kind}.safetensors")
    return sorted(folder.iterdir())


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> int:
    status = run(["show", str(path)])
    told = capsys.readouterr()
    if status:
        assert status == 2
        assert len(told.err.splitlines()) == 1, told.err
        assert len(told.err) < 1000
    return status


def test_bytes_that_changed(saved: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw, path, refused = random.Random(5), tmp_path / "x.safetensors", 0
    for source in saved:
        whole = source.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            head = int.from_bytes(data[:8], "little")
            at = draw.choice((draw.randrange(8 + head), draw.randrange(len(data))))
            change = draw.randrange(4)
            if change == 0:
                data[at] ^= 1 << draw.randrange(8)
            elif change == 1:
                data[at : at + 20] = bytes(20)
            elif change == 2:
                del data[at:]
            else:
                data[at:at] = draw.randbytes(7)
            path.write_bytes(data)
            if shown(path, capsys) == 0:
                assert load(path) == load(source)  # what changed says nothing
            else:
                refused += 1
    assert refused > 30 * len(saved)


def test_facts_that_changed(saved: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In files without a checksum, as older versions wrote them, and with one of what they were."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    draw, path = random.Random(6), tmp_path / "x.safetensors"
    values = (None, -1, 10**30, 0.5, "", "x" * 5000, [], [1], {}, {"a": 1}, True, "\x1b[31m")
    outcomes = set()
    for source in saved:
        with safe_open(source, "pt") as opened:
            metadata, arrays = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        for i in range(12):
            plain = json.loads(metadata["ggufjac.result"])
            place = plain
            while True:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                key = draw.choice(keys)
                if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.2:
                    break
                place = place[key]
            if draw.random() < 0.3:
                del place[key]
            else:
                place[key] = draw.choice(values)
            new = {**metadata, "ggufjac.result": json.dumps(plain)}
            if i % 4:
                del new["ggufjac.sha256"]
            kept = {name: array for name, array in arrays.items() if draw.random() < 0.9}
            save_file(kept or arrays, path, metadata=new)
            outcomes.add(shown(path, capsys))
    assert outcomes == {0, 2}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        "3",
        '"x"',
        "{}",
        '{"schema": []}',
        '{"schema": {"a": 1}}',
        "[" * 50_000,
        "\x00",
        '{"schema": "ggufjac.analysis/2"}',
    ],
)
def test_other_json_in_the_right_place(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"ggufjac.result": text})
    assert shown(path, capsys) == 2
    path.write_text(text)
    assert shown(path, capsys) == 2


def test_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path, tmp_path / "none", Path(os.devnull)):
        assert shown(path, capsys) == 2


def test_a_fault_of_a_report_is_no_damage(saved: Sequence[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is what was written is not called damaged."""
    from ggufjac.reports.views import VIEWS

    def broken(result: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(VIEWS, "terminal", broken)
    with pytest.raises(KeyError):
        run(["show", str(saved[0])])


class TestLenses:
    """`show` prints a lens as `lens show` does, and tells it from a result by what is in the file."""

    @pytest.fixture(params=[".pt", ".safetensors"])
    def lens(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path = tmp_path / f"lens{request.param}"
        Lens({0: torch.eye(4), 1: 2 * torch.eye(4)}, 3, LensOrigin(model="tiny", rules="lrp")).save(path)
        return path

    def test_a_lens_is_printed(self, lens: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["lens", "show", str(lens)]) == 0
        expected = capsys.readouterr().out
        assert "tiny" in expected
        assert run(["show", str(lens)]) == 0
        assert capsys.readouterr().out == expected

    def test_it_is_only_printed(self, lens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for flag, place in (("--json", "-"), ("--html", "x.html"), ("--plot", "plots")):
            assert run(["show", str(lens), flag, place if place == "-" else str(tmp_path / place)]) == 2
            assert f"{flag}: {lens} is a lens" in capsys.readouterr().err.replace("\n", " ")

    def test_a_damaged_one_is_one_line(self, lens: Path, capsys: pytest.CaptureFixture[str]) -> None:
        whole = lens.read_bytes()
        for data in (b"", b"PK", whole[: len(whole) // 2], b"no lens at all", bytes(100)):
            lens.write_bytes(data)
            assert shown(lens, capsys) == 2

    def test_what_torch_wrote_else_is_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name, content in (("a.pt", {"weight": torch.eye(2)}), ("b.pt", [1]), ("c.pt", object)):
            torch.save(content, tmp_path / name)
            assert run(["show", str(tmp_path / name)]) == 2
            said = capsys.readouterr().err
            assert len(said.splitlines()) == 1
            assert "lens" in said
        assert shown(tmp_path / "missing.pt", capsys) == 2
