"""What scikit-learn asks of an estimator beyond `fit` and `transform`: reading and setting its parameters."""

import inspect
from typing import Any, Self

from isthmus.core.errors import NotFound

__all__ = ["Params"]


class Params:
    """Adds `get_params`, `set_params` and a repr to a class whose constructor only stores its arguments.

    `sklearn.base.clone` and grid search work with it; scikit-learn itself is not imported.

    >>> class Shrink(Params):
    ...     def __init__(self, *, factor: float = 0.5) -> None:
    ...         self.factor = factor
    >>> Shrink().set_params(factor=0.1)
    Shrink(factor=0.1)
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments as they are now."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change arguments by name and return the estimator; an unknown name raises `NotFound`."""
        known = list(inspect.signature(type(self)).parameters)
        for name, value in params.items():
            if name not in known:
                raise NotFound.named(f"parameter of {type(self).__name__}", name, known)
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = {n: v for n, v in self.get_params().items() if v != defaults[n].default}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in changed.items())})"
