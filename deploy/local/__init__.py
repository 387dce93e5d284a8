"""The whole of Parley on one machine without containers: PostgreSQL, Valkey, services, workers, sandbox.

`./parley` is its command line. `servers`, `processes` and `stack` are used by tests and benchmarks as well. The
modules that start servers need the standard library alone: they run with any Python of the machine.
"""
