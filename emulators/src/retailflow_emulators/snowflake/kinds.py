"""Kinds of nodes of sqlglot's trees: which ones a change of a statement looks at, so that it need not be called for others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from sqlglot import exp

Kind = type[exp.Expr]
Rewrite = Callable[[exp.Expr], exp.Expr]
_Rewrite = TypeVar("_Rewrite", bound=Rewrite)


class Kinds:
    """Some kinds, which nodes are of by ``isinstance``."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = frozenset(kinds)
        self._families: dict[Kind, frozenset[Kind]] = {}

    def of(self, node: exp.Expr) -> frozenset[Kind]:
        """Those of the kinds that a node is of."""
        kind = type(node)
        if kind not in self._families:
            self._families[kind] = self._kinds.intersection(kind.__mro__)
        return self._families[kind]


LOOKED_AT: dict[Rewrite, Kinds] = {}


def looks_at(*kinds: Kind) -> Callable[[_Rewrite], _Rewrite]:
    """Declare a change that leaves nodes of any other kind as they are."""

    def declare(rewrite: _Rewrite) -> _Rewrite:
        LOOKED_AT[rewrite] = Kinds(kinds)
        return rewrite

    return declare
