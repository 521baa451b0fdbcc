"""A program that is killed in the middle of writing, without killing one."""

import os
from pathlib import Path


class Killed(BaseException):
    """What a stopped call raises: no code under test may catch it."""


def stopped(monkeypatch, at, do, *given, **named):
    """Call `do(*given, **named)`, stop it before step `at`, and return whether it was: False once it has fewer steps.

    A step is whatever changes what a reader of the folder may find: a file that takes its place, one that goes, and the
    order to write to the disk.
    """
    done = 0

    def step(call):
        def counted(*arguments, **settings):
            nonlocal done
            if done == at:
                raise Killed
            done += 1
            return call(*arguments, **settings)

        return counted

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "replace"), (os, "fsync"), (Path, "unlink")):
            patch.setattr(owner, name, step(getattr(owner, name)))
        try:
            do(*given, **named)
        except Killed:
            return True
    return False
