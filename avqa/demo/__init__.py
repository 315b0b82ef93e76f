"""The built-in sample and the demo: whole ways through the program, by its own commands."""
