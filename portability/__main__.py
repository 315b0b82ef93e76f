"""``python -m portability [NAME ...]``: the path in each surrounding; docs/install.md's table."""

from __future__ import annotations

import datetime
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from portability.choosing import asked_for
from portability.path import Failed
from portability.surroundings import ALL, ROOT, Absent

PAGE = ROOT / "docs" / "install.md"
BEGIN, END = "<!-- make portability -->\n", "<!-- end -->\n"
HEAD = "| `make portability ONLY=…` | what | last result |\n|---|---|---|\n"


def main() -> int:
    """Entry point: 1 if one failed."""
    chosen = asked_for(__doc__, ALL)
    failed = False
    for name in chosen:
        print(f"{name}: {ALL[name][0]}", flush=True)
        result, said = run(name)
        failed = failed or result.startswith("FAILED")
        print(f"{name}: {result}\n{said}", flush=True)
        write(PAGE, name, result)
    return int(failed)


def run(name: str) -> tuple[str, str]:
    """The result of one surrounding for the table, and all that was said if it failed."""
    folder = Path(tempfile.mkdtemp(prefix=f"avqa-{name}-"))
    today = datetime.date.today().isoformat()
    try:
        return f"passed {today}: {ALL[name][1](folder)}", ""
    except Absent as reason:
        return f"not run: {reason}", ""
    except Failed as error:
        return f"FAILED {today}", str(error)
    except Exception:  # a fault of these scripts must not hide what comes after
        return f"FAILED {today}", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(page: Path, name: str, result: str) -> None:
    """Put a result into the page's table; the others' stay."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    results = dict(re.findall(r"^\| `([^`]+)` \| .* \| (.*) \|$", table, re.MULTILINE))
    results[name] = result
    rows = (f"| `{each}` | {ALL[each][0]} | {results.get(each, 'not run')} |\n" for each in ALL)
    page.write_text(f"{before}{BEGIN}{HEAD}{''.join(rows)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
