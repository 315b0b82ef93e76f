"""The commands, a file per family: parse, call, print. Nothing heavy is imported here.

``options`` has what several of them ask for, ``reporting`` how they report.
"""
