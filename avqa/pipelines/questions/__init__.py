"""`avqa questions`: what a data set asks (``show``), and its texts' features (``encode``)."""
