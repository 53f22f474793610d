"""How far a long work has come: what sweeps tell, what is made of it, when a line is due. No test asks the clock."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console

import ggufjac
from conftest import IDS
from ggufjac.analyses.common.stopwatch import Progress
from ggufjac.analyses.lens.corpus import corpus_of
from ggufjac.analyses.lens.fit import fit
from ggufjac.analyses.lens.options import LensFitOptions, LensReadOptions
from ggufjac.analyses.lens.planning import columns_of, expected_fit, expected_reading
from ggufjac.analyses.lens.read import lens
from ggufjac.analyses.options import AnalysisOptions
from ggufjac.analyses.plan import PlannedStep, expected, plan, plan_of, worth_planning
from ggufjac.analyses.steps import PLANNED
from ggufjac.analyses.table import COMMANDS
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reports import progress
from ggufjac.reports.progress import FIRST, LATEST, Counted, Plain, Tracker
from tinymodels import make


class Clock:
    """Seconds as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Listener(Progress):
    """Keeps the steps in their order, and how many columns passed layers in each."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}
        self.here = ""

    def lap(self, step: str) -> None:
        self.here = step
        self.steps.setdefault(step, 0)

    def passed(self, columns: int) -> None:
        self.steps[self.here] += columns


def step(lap: str, seconds: float, passing: int = 0) -> PlannedStep:
    return PlannedStep("work", 1, 1, 0, 0, seconds, lap, passing)


def heard(model: Model, command: str, prompt: Sequence[int], **options: object) -> tuple[Listener, AnalysisOptions]:
    listener, entry = Listener(), COMMANDS[command]
    chosen = entry.options_class(**options)
    given = {"compare": ([model], [prompt, prompt[::-1]]), "steer": (model, prompt, prompt)}
    with torch.no_grad():
        entry.function(*given.get(command, (model, prompt)), chosen, listener)
    return listener, chosen


class TestSweeps:
    @pytest.mark.parametrize("pieces", [1 << 30, 1])
    def test_every_column_is_told_once_a_layer(self, tiny: Model, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ggufjac.maps.sweeps.PIECE_BYTES", pieces)
        monkeypatch.setattr("ggufjac.maps.sweeps.FEWEST_ROWS", 1 if pieces == 1 else 128)
        told: list[int] = []
        linear = tiny.linearize_with(IDS, AnalysisOptions(), passed=told.append)
        n = len(linear.operators)
        assert sum(told) == n - 1  # the pass up the network; the output norm is none of its layers
        for columns, transposed in ((5, True), (3, False)):
            told.clear()
            d, n_tokens, d_in = linear.shape
            if transposed:
                linear.rmatmat(torch.randn(columns, d))
            else:
                linear.matmat(torch.randn(columns, n_tokens, d_in))
            assert sum(told) == n * columns
            assert len(told) == (n if pieces > 1 else n * columns)

    def test_columns_that_pass_in_chunks_are_told_alike(self, tiny: Model) -> None:
        told: list[int] = []
        tight = tiny.linearize_with(IDS, AnalysisOptions(memory=1 << 17), passed=told.append)
        assert tight.cut(tight.shape[0], transposed=True)[0] < tight.shape[0]
        told.clear()
        tight.jacobian()
        assert sum(told) == tight.shape[0] * len(tight.operators)


class TestPlans:
    @pytest.mark.parametrize("command", PLANNED)
    def test_steps_are_those_of_the_analysis(self, tiny: Model, command: str) -> None:
        options = {"layers": {"layerwise": True}, "steer": {"tokens": 2}}.get(command, {})
        found, chosen = heard(tiny, command, IDS[:6], **options)
        sides = 2 if command == "compare" else 1
        made = plan_of([(tiny, 6)] * sides, command, chosen)
        assert made.what == command
        assert {planned.lap for planned in made.steps} <= found.steps.keys()
        # what is not planned takes no sweep
        rest = found.steps.keys() - {planned.lap for planned in made.steps}
        assert rest <= {"decoding", "comparing"}, rest
        assert made.seconds > 0
        assert made.peak > 0

    @pytest.mark.parametrize("command", ["analyze", "attribute"])
    def test_a_short_form_takes_less(self, tiny: Model, command: str) -> None:
        whole, brief = (plan(tiny, 6, command, fast=fast) for fast in (False, True))
        assert brief.flops < whole.flops
        assert {step.lap for step in brief.steps} < {step.lap for step in whole.steps}

    @pytest.mark.parametrize(
        ("command", "options"),
        [("analyze", {"verify": False, "fast": True}), ("attribute", {"fast": True}), ("extremes", {"top": 2})],
    )
    def test_what_passes_is_what_was_planned(self, tiny: Model, command: str, options: dict[str, object]) -> None:
        """Where no search decides how long it goes on, to the column."""
        found, chosen = heard(tiny, command, IDS[:5], **options)
        planned: dict[str, int] = {}
        for each in plan_of([(tiny, 5)], command, chosen).steps:
            planned[each.lap] = planned.get(each.lap, 0) + each.passing
        for lap, passing in planned.items():
            assert found.steps[lap] == pytest.approx(passing, rel=0.1), lap

    def test_blocks_that_are_passed_again_are_tried(self, tmp_path: Path) -> None:
        """Half-way through two passes stands a layer whose tensors are called after the first pass."""
        with Model.open(make("nanbeige", tmp_path / "tiny.gguf", loops=2)) as model:
            assert plan(model, 4, "attribute").seconds > 0

    def test_what_has_no_short_form_says_so(self, tiny: Model) -> None:
        with pytest.raises(UserError, match="layers has no short form"):
            plan(tiny, 4, "layers", fast=True)

    def test_short_work_is_not_planned(self, tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        options = COMMANDS["analyze"].options_class()
        assert not worth_planning([(tiny, 4)], "analyze", options)
        assert expected([(tiny, 4)], "analyze", options) is None
        monkeypatch.setattr("ggufjac.analyses.plan.A_WHILE", 0)
        assert expected([(tiny, 4)], "analyze", options) is not None


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.open(make("llama", tmp_path_factory.mktemp("deep") / "tiny.gguf", n_layer=4)) as opened:
        yield opened


class TestPlansOfLenses:
    """Laps, and the columns that pass, are those of a reading and of a fit."""

    N, LENGTH, SKIP = 6, 9, 2

    def passing(self, steps: Sequence[PlannedStep]) -> dict[str, int]:
        found: dict[str, int] = {}
        for each in steps:
            found[each.lap] = found.get(each.lap, 0) + each.passing
        return found

    @pytest.mark.parametrize("more", [{}, {"layers": (1,), "positions": 2}, {"layers": (1, 3), "positions": 1}])
    @pytest.mark.parametrize("pays", [True, False])
    def test_a_reading(self, deep: Model, more: dict[str, object], pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        for place in ("costs", "sources"):
            monkeypatch.setattr(f"ggufjac.analyses.lens.{place}.columns_pay", lambda *_: pays)
        monkeypatch.setattr("ggufjac.analyses.plan.A_WHILE", 0)
        options = LensReadOptions(prompts=2, length=self.LENGTH, skip=self.SKIP, **more)  # type: ignore[arg-type]
        listener, lenses = Listener(), ("logit", "own", "corpus")
        texts = corpus_of(deep, [IDS[:9], IDS[3:12]], "two", length=self.LENGTH, skip=self.SKIP)
        with torch.no_grad():
            lens(deep, IDS[: self.N], options, listener, lenses, texts)
        made = expected_reading(deep, self.N, options, lenses, 7)
        assert made is not None
        assert made.what == "lens-read"
        assert made.seconds > 0
        assert made.peak > 0
        planned = self.passing(made.steps)
        assert planned.keys() == listener.steps.keys()
        for lap, passing in planned.items():
            assert listener.steps[lap] == pytest.approx(passing, rel=0.1), lap

    def test_a_fit(self, deep: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ggufjac.analyses.plan.A_WHILE", 0)
        options = LensFitOptions(prompts=3, length=self.LENGTH, skip=self.SKIP)
        listener = Listener()
        texts = corpus_of(deep, [IDS[:9], IDS[2:11], IDS[3:12]], "three", length=self.LENGTH, skip=self.SKIP)
        fit(deep, texts, options, progress=listener)
        made = expected_fit(deep, 3, options)
        assert made is not None
        assert listener.steps == self.passing(made.steps)
        d, n_layer = deep.family.d, deep.family.n_layer
        assert columns_of(made) == 3 * d
        fewer = expected_fit(deep, 1, options)
        assert fewer is not None
        assert 3 * fewer.flops == made.flops
        # what it adds up is held
        assert made.working >= 4 * (n_layer - 1) * d * d
        assert expected_fit(deep, 0, options) is None

    def test_by_name(self, deep: Model) -> None:
        reading, fitting = plan(deep, 6, "lens-read"), plan(deep, 20, "lens-fit", texts=5)
        assert (reading.what, fitting.what, fitting.n_tokens) == ("lens-read", "lens-fit", 20)
        assert [step.sweeps for step in fitting.steps] == [5, 5]
        with pytest.raises(UserError, match="no position to learn from"):
            plan(deep, 8, "lens-fit")
        with pytest.raises(UserError, match="lens-fit has no short form"):
            plan(deep, 20, "lens-fit", fast=True)

    def test_it_is_told_beforehand(
        self, deep: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Plain, "due", lambda *_: False)
        fitting = ["lens", "fit", str(deep.file.path), "--prompts", "2", "--length", "12", "--skip", "3"]
        commands = [
            ["lens", "read", str(deep.file.path), "the bridge is out", "--lens", "own"],
            [*fitting, "--out", str(tmp_path / "l.pt")],
        ]
        assert [run(command) for command in commands] == [0, 0]
        assert capfd.readouterr().err == ""
        monkeypatch.setattr("ggufjac.analyses.plan.A_WHILE", 0)
        monkeypatch.setattr("ggufjac.reports.progress.FIRST", 0.0)
        (tmp_path / "l.pt").unlink()
        for command in commands:
            assert run(command) == 0
            told = capfd.readouterr().err.splitlines()
            assert len(told) == 1
            assert told[0].startswith("about ")
            assert told[0].endswith(" columns")
        assert run(commands[1]) == 0  # there is nothing left
        assert capfd.readouterr().err == ""


class TestTracker:
    def test_what_passes_decides_within_a_step(self) -> None:
        clock = Clock()
        tracker = Tracker("working", [step("a", 10.0, 100), step("b", 20.0), step("b", 10.0)], clock)
        assert tracker.share == 0
        tracker.lap("a")
        tracker.passed(30)
        tracker.passed(20)
        clock.now = 5.0
        assert tracker.share == pytest.approx(5 / 40)
        assert tracker.left == pytest.approx(35.0)  # as planned
        assert tracker.line() == "working: a, 12%, about 35 s left"

    def test_a_step_is_never_over_before_it_ends(self) -> None:
        tracker = Tracker("working", [step("a", 10.0, 100), step("b", 10.0)], Clock())
        tracker.lap("a")
        tracker.passed(1000)
        assert tracker.share is not None
        assert tracker.share < 0.5
        tracker.lap("b")
        assert tracker.share == pytest.approx(0.5)

    def test_a_step_that_tells_nothing_goes_by_the_clock(self) -> None:
        clock = Clock()
        tracker = Tracker("working", [step("a", 10.0)], clock)
        tracker.lap("a")
        clock.now = 4.0
        assert tracker.share == pytest.approx(0.4)
        clock.now = 400.0
        assert tracker.share == pytest.approx(progress.MOST)

    def test_the_pace_of_what_is_done_counts(self) -> None:
        clock = Clock()
        tracker = Tracker("working", [step("a", 100.0, 10), step("b", 100.0, 10)], clock)
        tracker.lap("a")
        clock.now = 200.0  # twice as long as planned
        tracker.lap("b")
        assert tracker.left is not None
        assert 150 < tracker.left < 200

    def test_a_step_that_was_not_planned(self) -> None:
        tracker = Tracker("working", [step("a", 10.0)], Clock())
        tracker.lap("z")
        tracker.passed(5)
        assert tracker.share == 0

    def test_without_a_plan_only_the_time_is_told(self) -> None:
        clock = Clock()
        tracker = Tracker("working", (), clock)
        tracker.lap("a")
        clock.now = 12.0
        assert (tracker.share, tracker.left) == (None, None)
        assert tracker.line() == "working: a, 12 s so far"


class TestLines:
    def test_short_work_has_none(self) -> None:
        when = Plain()
        assert not any(when.due(elapsed / 10, elapsed / 100) for elapsed in range(int(10 * FIRST)))
        assert not any(when.due(elapsed, None) for elapsed in range(int(LATEST)))
        assert when.due(LATEST, None)

    def test_the_first_then_every_tenth_then_every_half_minute(self) -> None:
        when = Plain()
        assert when.due(FIRST, 0.02)
        assert not when.due(FIRST + 1, 0.5)  # too soon after the last one
        assert when.due(FIRST + 6, 0.5)
        assert not when.due(FIRST + 20, 0.55)
        assert when.due(FIRST + 6 + LATEST, 0.55)
        assert when.due(FIRST + 6 + 2 * LATEST, None)

    def test_pieces_of_work(self) -> None:
        clock = Clock()
        counted = Counted("running", clock)
        counted.begin(4, 10)
        clock.now = 3.0
        assert counted.line() == "running: 4 of 10, 3.0 s so far"
        counted.reach(6)
        assert counted.line() == "running: 6 of 10, 60%, about 6.0 s left"

    def test_no_terminal_gets_plain_lines_and_a_terminal_one_that_changes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Plain, "due", lambda *_: True)
        shown = {}
        for terminal in (False, True):
            out = io.StringIO()
            console = Console(file=out, force_terminal=terminal, width=80)
            with progress.watched("working", None, console) as tracker:
                tracker.lap("[a] step")  # is text, not markup
                while "[a] step" not in out.getvalue():
                    pass
            shown[terminal] = out.getvalue()
        assert "\x1b" not in shown[False]
        assert "\x1b" in shown[True]

    def test_python_is_silent_unless_asked(self, tiny: Model, capfd: pytest.CaptureFixture[str]) -> None:
        ggufjac.attribute(tiny, IDS[:4])
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("asked", [False, True])
    def test_what_to_expect_is_told_beforehand(
        self, tiny: Model, asked: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ggufjac.analyses.plan.A_WHILE", 0)
        monkeypatch.setattr("ggufjac.reports.progress.FIRST", 0.0)
        monkeypatch.setattr(Plain, "due", lambda *_: False)
        for command in ("attribute", "layers"):
            getattr(ggufjac, command)(tiny, IDS[:4], progress=asked)
        told = capfd.readouterr().err.splitlines()
        assert len(told) == (2 if asked else 0)
        assert all(line.startswith("about ") for line in told)
