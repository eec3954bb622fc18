"""Scripts that make the tables of docs/results.md. A package, as opacus installs another of this name."""
