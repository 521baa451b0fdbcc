"""What the role of a method asks of its toy: one file a role, in `roles`."""

import importlib
import inspect
from typing import get_args

import pytest

from isthmus.core.roles import Role

# a procedure and a study have no call beyond the demo
ROLES = [role for role in get_args(Role) if role not in ("procedure", "study")]


def checks(role):
    module = importlib.import_module(f"tests.contract.roles.{role}")
    return {name: check for name, check in inspect.getmembers(module, callable) if name.startswith("check_")}


def test_role(entry, subtests):
    make = entry.load().toy
    role = make().role
    assert role in get_args(Role)
    for name, check in checks(role).items() if role in ROLES else ():
        with subtests.test(name):
            check(make)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_checked(role):
    assert checks(role)
