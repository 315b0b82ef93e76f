"""The videos of a store: in which folders and lists, under which ids, and what became of them."""
