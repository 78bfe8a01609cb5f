"""Shapes in signatures are checked while testing: the hook must stand before the first import of sparsecode."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import pkgutil
import random
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

gc.disable()  # until all is imported: little of it is garbage, and to look for that takes a fifth of the time


def pytest_collection_finish() -> None:
    """Garbage is looked for from here on, in what the tests make, and not at every thousandth object."""
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Global random numbers are the same for a test and its fixtures whatever ran before, in this process or in another."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.default_generator.manual_seed(0)  # of the CPU: torch.manual_seed is slow, for devices that are not there


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before any test is imported; not where pytest-xdist starts the processes that run them, which needs none of this."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return
    import torch
    from checking import check_types
    from threadpoolctl import threadpool_limits

    # The kernels stay as they are: numba compiles functions, not the wrappers that the hook puts around them.
    spec, here = importlib.util.find_spec("sparsecode"), Path(__file__).parents[1] / "sparsecode"
    folders = list(spec.submodule_search_locations or ()) if spec else []
    # another copy, by PYTHONPATH: the processes that tests start import the one in the working folder
    if [Path(folder).resolve() for folder in folders] != [here.resolve()]:
        pytest.exit(f"sparsecode is {folders}; these tests are of {here}: set PYTHONPATH to its parent", returncode=4)
    rooms = [f"sparsecode.{module.name}" for module in pkgutil.iter_modules(folders) if module.name != "kernels"]
    # imported under the hook, they would be compiled anew
    for large in ("lightning_fabric", "llvmlite.binding", "matplotlib.figure", "rich.progress", "tyro"):
        importlib.import_module(large)
    check_types(rooms)
    # One thread each, and none that waits at work: parallel workers, and what they start, would fight over the cores.
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")  # NumPy's, which pytest's plugins have loaded by now
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"})


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations unenforced, as for users: for tests of what a function itself says to arguments of a wrong type."""
    from jaxtyping import config

    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture
def rng() -> torch.Generator:
    """Random numbers for a test's own data, the same on every run."""
    import torch

    return torch.Generator().manual_seed(0)


@pytest.fixture
def global_rng_untouched() -> Generator[None]:
    """Fails the test if it moves NumPy's or torch's global generator (beartype itself draws from Python's)."""
    import numpy as np
    import torch

    def states() -> tuple[Any, ...]:
        name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the global one is what is watched
        return name, np.asarray(keys).tolist(), rest, torch.get_rng_state().tolist()

    before = states()
    yield
    assert states() == before


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:  # pyright: ignore[reportUnusedFunction] - pytest does
    """What is built from data, by tests and by the processes they start, stays out of the user's cache.

    Compiled kernels are kept in it: they are checked when loaded, and take most of a minute to compile.
    """
    from sparsecode.files import cache_folder

    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("NUMBA_CACHE_DIR"):
            patch.setenv("NUMBA_CACHE_DIR", str(cache_folder() / "kernels"))
        patch.setenv("SPARSECODE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest does
    """Figures are written with few pixels, which takes less time; in tests marked `draws` each is checked before that."""
    from looked_at import faults
    from matplotlib.figure import Figure

    draws = request.node.get_closest_marker("draws")
    savefig = Figure.savefig

    def coarse(figure: Figure, *arguments: Any, **options: Any) -> None:
        if draws:
            assert faults(figure) == []
        savefig(figure, *arguments, **(options | {"dpi": 30} if options.get("dpi") == 120 else options))

    monkeypatch.setattr(Figure, "savefig", coarse)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run on handwritten digits, trained through the command line with toys.SHORT, with figures.

    All tests share it: what changes it puts it back, or takes a copy.
    """
    from toys import SHORT  # here, because it imports sparsecode

    from sparsecode.cli import main

    out = tmp_path_factory.mktemp("cli") / "digits"
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, "--figures"]) == 0
    return out
