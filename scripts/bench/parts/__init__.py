"""One module a measurement; each has `run(bench) -> Iterator[Row]`."""
