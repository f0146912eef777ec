"""Compare a package with its template, and update it."""
