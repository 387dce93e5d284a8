"""The outside world in one process: simulators of the providers that Parley talks to.

One file a provider (`smtp.py`, `sms.py`) with its HTTP surface beside it, and one shared log of effects: what a
person at the far end would have seen. For `./parley up`, compose, tests and benchmarks, never for production.
"""
