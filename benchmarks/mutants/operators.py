"""Which mutants there are: cosmic-ray's operators, and some of our own for what they leave out.

Half of what keeps a promise here stands in SQL, or is a call that checks something. Of the many
replacements of one operator by another only those are taken that a mistake would make.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from cosmic_ray import plugins
from cosmic_ray.operators.keyword_replacer import KeywordReplacementOperator
from cosmic_ray.operators.operator import Example, Operator
from parso import parse
from parso.tree import NodeOrLeaf

Position = tuple[tuple[int, int], tuple[int, int]]
_CORE = re.compile(
    r"ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt"
    r"|Lt_GtE|GtE_Lt|Gt_LtE|LtE_Gt)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_FloorDiv|FloorDiv_Mul|Div_Mul|Mod_FloorDiv"
    r"|BitOr_BitAnd|BitAnd_BitOr|BitXor_BitOr|LShift_RShift|RShift_LShift|Pow_Mul)"
    r"|ReplaceUnaryOperator_(USub_UAdd|Delete_Not)|AddNot|Replace(True|False|And|Or|Break|Continue)"
    r"With\w+|ExceptionReplacer|NumberReplacer|RemoveDecorator|ZeroIterationForLoop"
)


class NotIn(KeywordReplacementOperator):
    """`x in y` becomes `x not in y`."""

    from_keyword, to_keyword = "in", "not in"

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Position]:
        if node.parent is not None and node.parent.type == "comparison":
            yield from super().mutation_positions(node)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (Example("x in y", "x not in y"),)


class RemoveCall(Operator):
    """A statement that is a call or raises becomes `pass`; what is only logged is left."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Position]:
        if node.parent is not None and node.parent.type == "simple_stmt":
            is_call = node.type == "atom_expr" and not node.get_code().strip().startswith("logger.")
            if is_call or node.type == "raise_stmt":
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        nothing = parse("pass").children[0]
        nothing.prefix = node.get_first_leaf().prefix
        return nothing

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (
            Example("if x:\n    check(x)\n", "if x:\n    pass\n"),
            Example("raise X\n", "pass\n"),
        )


class Sql(Operator):
    """One condition, lock or order of an SQL text becomes its opposite, or its neighbour."""

    _SQL = re.compile(r"\b(SELECT|WHERE|AND|UPDATE|CASE|CHECK)\b")
    _CHANGES = {
        " AND ": " OR ",
        " OR ": " AND ",
        "NOT EXISTS": "EXISTS",
        " EXISTS": " NOT EXISTS",
        "IS NULL": "IS NOT NULL",
        "IS NOT NULL": "IS NULL",
        " < ": " <= ",
        " <= ": " < ",
        " > ": " >= ",
        " >= ": " > ",
        " + ": " - ",
        " - ": " + ",
        "<> ": "= ",
        " SKIP LOCKED": "",
        "FOR UPDATE": "FOR KEY SHARE",
        " DESC": "",
        "GREATEST(": "LEAST(",
        "LEAST(": "GREATEST(",
    }
    # Longer ones first, and no EXISTS within NOT EXISTS.
    _PARTS = re.compile("|".join(map(re.escape, sorted(_CHANGES, key=len, reverse=True))))

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[Position]:
        yield from ((node.start_pos, node.end_pos) for _ in self._parts(node))

    def mutate(self, node: Any, index: int) -> Any:
        found = self._parts(node)[index]
        changed = self._CHANGES[found[0]]
        node.value = node.value[: found.start()] + changed + node.value[found.end() :]
        return node

    def _parts(self, node: NodeOrLeaf) -> list[re.Match[str]]:
        text = node if node.type == "string" else node.parent
        if node.type not in ("string", "fstring_string") or text is None:
            return []
        is_docstring = text.parent is None or text.parent.type == "simple_stmt"
        if is_docstring or not self._SQL.search(text.get_code()):
            return []
        # A leaf of parso's has a value; its stubs say so of no common class.
        return list(self._PARTS.finditer(node.value))  # type: ignore[attr-defined]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (Example("x = 'WHERE a AND b'", "x = 'WHERE a OR b'"),)


OURS: tuple[type[Operator], ...] = (NotIn, RemoveCall, Sql)


def use_operators() -> None:
    """Let cosmic-ray know these operators and no others, in this process."""
    core = plugins.OPERATOR_PROVIDERS["core"]
    taken = {name: core[name] for name in core if _CORE.fullmatch(name)}
    plugins.OPERATOR_PROVIDERS.update(core=taken, glisk={each.__name__: each for each in OURS})
