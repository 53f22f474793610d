"""Which card the kernels are compiled for."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", type=int, default=90, help="a compute capability, 90 for 9.0")


@pytest.fixture
def target(request: pytest.FixtureRequest) -> int:
    found: int = request.config.getoption("--target")
    return found
