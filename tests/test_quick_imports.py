"""imports.py: no garbage is looked for while modules are imported, and is afterwards, whatever happened."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from denoiselab.imports import quick_imports


def test_garbage_is_collected_again_afterwards() -> None:
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), quick_imports():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_a_caller_without_collection_keeps_it_so() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_wandb_imports_comes_before_lightning() -> None:
    code = """
import sys
from denoiselab.imports import quick_imports
with quick_imports():
    assert "wandb.apis.public" in sys.modules and not {"lightning", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
