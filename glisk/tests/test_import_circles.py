"""No module needs itself by way of others, imports for type checkers included."""

from graphlib import CycleError, TopologicalSorter

import grimp

PACKAGES = ("glisk", "authors", "tokens", "reveals", "webhooks", "sandbox", "benchmarks")
# Within these a drain and its parts know each other.
DRAINS = ("glisk.engine.", "tokens.pipeline.")


def test_imports_make_no_circle() -> None:
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    imports = {
        name: {
            other
            for other in graph.find_modules_directly_imported_by(name)
            if not any(name.startswith(drain) and other.startswith(drain) for drain in DRAINS)
        }
        for name in graph.modules
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' <- '.join(error.args[1])}") from None
