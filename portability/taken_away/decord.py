"""In decord's place on a path: where it has no wheel it is not there."""

raise ImportError("decord was taken away, to see what is without it")
