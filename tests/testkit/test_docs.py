"""The examples in the test kit's docstrings are right."""

import doctest
import importlib
import pkgutil

import pytest

import softdpu.testkit

MODULES = [f"softdpu.testkit.{module.name}" for module in pkgutil.iter_modules(softdpu.testkit.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
