"""A sample of all mutants of the core, at random and the same for the same seed."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from hashlib import sha256
from itertools import islice
from linecache import getline
from typing import Any

from cosmic_ray import commands
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import WorkItem

from benchmarks.mutants.checkout import core


def take_sample(db: WorkDB, size: int, seed: int) -> None:
    """Leave in the session so many mutants, chosen at random of those that compile.

    A mutant's rank depends on itself alone: the sample stays what it is when other code changes.
    """
    commands.init(core(), db, {})
    alike: Counter[str] = Counter()
    ranked = {}
    for item in sorted(db.work_items, key=place):
        one = item.mutations[0]
        line = getline(str(one.module_path.resolve()), one.start_pos[0]).strip()
        what = f"{seed} {one.module_path} {one.definition_name} {one.operator_name} {line}"
        alike[what] += 1
        ranked[sha256(f"{what} {alike[what]}".encode()).hexdigest()] = item
    db.clear()
    chosen = (item for _, item in sorted(ranked.items()) if _is_worth_judging(item))
    db.add_work_items(islice(chosen, size))
    print(f"{db.num_work_items} of about {len(ranked)} mutants", file=sys.stderr)


def place(item: WorkItem) -> tuple[Any, ...]:
    one = item.mutations[0]
    return str(one.module_path), one.start_pos, one.operator_name, one.occurrence


def _is_worth_judging(item: WorkItem) -> bool:
    """Tell whether it compiles and is no annotation, which nothing reads at run time."""
    one = item.mutations[0]
    code = one.module_path.read_text()
    mutated = MutationVisitor.mutate_code(code, get_operator(one.operator_name)(), one.occurrence)
    try:
        return bool(without_annotations(mutated or code) != without_annotations(code))
    except SyntaxError:
        return False


def without_annotations(code: str) -> str:
    """Return what the code means at run time; raise `SyntaxError` if it means nothing."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)
