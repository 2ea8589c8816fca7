"""Fuzzing of everything that reads what a stranger wrote (promise P10): `make fuzz`, or a short run in the test suite."""
