"""The commands, a file per family: parse, call, print. Nothing heavy is imported here."""
