"""Run a notebook's code cells as a kernel does: ``python -m helpers.notebook_run FILE``.

Prints, as the last line, a JSON list of what each cell shows below it: the type of its last
expression's value, its text and its HTML; null where there is none.
"""

import ast
import json
import sys
from pathlib import Path


def cells_of(path):
    """The code cells' sources, in order."""
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def shown(value):
    """What a notebook makes of a value."""
    html = getattr(value, "_repr_html_", lambda: None)()
    picture = getattr(value, "_repr_png_", lambda: None)()
    return {
        "type": type(value).__name__,
        "text": repr(value),
        "html": html,
        "picture": len(picture or b""),
    }


def run(source, names):
    """Execute a cell; the value of its last expression, shown."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return None if value is None else shown(value)


if __name__ == "__main__":
    names = {"__name__": "__main__"}
    found = [run(source, names) for source in cells_of(sys.argv[1])]
    print(json.dumps(found))
