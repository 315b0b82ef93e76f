"""Pages to look at: `avqa report`, and ``explanation.html`` of `avqa ask --explain`.

Each is one HTML file that holds all it needs: no server, and no request leaves it.
"""
