"""A part of the GPU check that finds something, and then fails."""


def measure(run):
    run.check("one", 1, "1", True)
    run.row("Figures", what="rows", value=7)
    raise ValueError("the GPU is on fire")
