"""The bundle: everything that crosses the air gap, in one directory with sums and a signature."""
