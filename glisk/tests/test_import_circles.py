"""No module needs itself by way of others, imports for type checkers included."""

from graphlib import CycleError, TopologicalSorter

import grimp

PACKAGES = ("glisk", "authors", "tokens", "reveals", "webhooks", "sandbox", "benchmarks")


def test_imports_make_no_circle() -> None:
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' <- '.join(error.args[1])}") from None
