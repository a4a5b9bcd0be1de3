"""What ``benchmarks/parity.py`` is made of, one idea a file."""
