"""verify's float32 copies: gone with their process, however that ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import PATIENCE
from ggufjac.analyses.judge.copies import LOCK, PREFIX, expanded, forget, sweep
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.registry.lock import locked

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and places of POSIX")


@pytest.fixture
def model_path(tiny_path: Path, tmp_path: Path) -> Path:
    """A model of this test's own."""
    return Path(shutil.copy(tiny_path, tmp_path / "model.gguf"))


#: Makes the copy of a model, says where, and waits.
COPYING = """
import signal, sys, time
from pathlib import Path
from ggufjac.analyses.judge.copies import expanded, forget
from ggufjac.cli.standard import listen
from ggufjac.maps.model import Model

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever began this run may have had them ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
listen()
with Model.open(sys.argv[1]) as model, expanded(model, Path(sys.argv[2])) as path:
    if len(sys.argv) > 3:
        forget(path)
    print(path, flush=True)
    time.sleep(1000)
"""


@POSIX
class TestCopies:
    def copying(self, model_path: Path, where: Path, *more: str) -> tuple[subprocess.Popen[str], Path]:
        child = subprocess.Popen(
            [sys.executable, "-c", COPYING, str(model_path), str(where), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        return child, Path(child.stdout.readline().strip())

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
    def test_a_signal_takes_the_copy_along(self, model_path: Path, tmp_path: Path, name: str) -> None:
        where = tmp_path / "copies"
        where.mkdir()
        child, path = self.copying(model_path, where)
        assert path.stat().st_size > 1_000_000
        child.send_signal(getattr(signal, name))
        _, told = child.communicate(timeout=PATIENCE)
        assert list(where.iterdir()) == []
        if name != "SIGINT":
            assert child.returncode == 128 + getattr(signal, name)
            assert told == f"ggufjac: ended by {name}\n"

    def test_what_a_killed_process_leaves_goes_with_the_next_copy(
        self, model_path: Path, tiny: Model, tmp_path: Path
    ) -> None:
        where = tmp_path / "copies"
        where.mkdir()
        dead, left = self.copying(model_path, where)
        alive, kept = self.copying(model_path, where)
        dead.kill()
        dead.communicate(timeout=PATIENCE)
        assert left.exists()
        (where / f"{PREFIX}mine").mkdir()  # one that is about to get its lock
        (where / "letter.txt").write_text("dear")
        try:
            with expanded(tiny, where) as path:
                assert path.exists()
                assert not left.parent.exists()
                assert kept.exists()
        finally:
            alive.kill()
            alive.communicate(timeout=PATIENCE)
        assert sorted(p.name for p in where.iterdir()) == sorted([kept.parent.name, f"{PREFIX}mine", "letter.txt"])
        sweep(where)
        assert not kept.parent.exists()

    def test_one_that_is_mapped_leaves_nothing_however_its_process_ends(self, model_path: Path, tmp_path: Path) -> None:
        child, path = self.copying(model_path, tmp_path, "forget")
        child.kill()
        child.communicate(timeout=PATIENCE)
        assert not path.exists()

    def test_verify_forgets_its_copy_before_it_computes(
        self, tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ggufjac.analyses.judge import verify

        seen: list[list[str]] = []
        plain = verify._twin_check

        def checked(*args: Any, **more: Any) -> Any:
            seen.append([path.name for path in tmp_path.rglob("*.gguf")])
            return plain(*args, **more)

        monkeypatch.setattr(verify, "_twin_check", checked)
        assert verify.twin(tiny, ["out"], directory=tmp_path).agrees
        assert seen == [[]]
        assert list(tmp_path.iterdir()) == []

    def test_a_copy_is_locked_while_it_is_used(self, tiny: Model, tmp_path: Path) -> None:
        with expanded(tiny, tmp_path) as path:
            forget(path)
            with pytest.raises(UserError, match="used by another process"), locked(path.parent / LOCK, "it", "used"):
                pass
            sweep(tmp_path)
            assert path.parent.exists()
