"""Names of the first layout: the old place says where they are now."""

import importlib
import re

import pytest

from squadqa.moved import MOVED

NAMES = [
    (old, name, new)
    for old, places in MOVED.items()
    for new, names in places.items()
    for name in names.split()
]


def test_the_table_is_not_empty():
    assert len(NAMES) > 80 and {"modeling", "runs", "step", "distributed"} <= set(MOVED)


@pytest.mark.parametrize("old", sorted(MOVED))
def test_the_old_place_names_the_new_one(old):
    module = importlib.import_module(f"squadqa.{old}")
    for _, name, new in (row for row in NAMES if row[0] == old):
        assert name not in vars(module), f"{old}.{name} is there after all"
        with pytest.raises(ImportError, match=re.escape(f"squadqa.{new}") if new else "is gone"):
            exec(f"from squadqa.{old} import {name}")
    with pytest.raises(AttributeError):
        getattr(module, "no_such_name")  # noqa: B009


def test_the_new_places_are_there():
    "A place is a module that has the name, or a function that does its work."
    for _, name, new in NAMES:
        module, _, successor = new.partition(".")
        if not module:
            continue
        found = importlib.import_module(f"squadqa.{module}")
        assert not successor or hasattr(found, successor), f"{new} is not there, for {name}"
