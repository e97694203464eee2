"""`quotaware doctor`: looks for what usually goes wrong, and says what to do.

Each check is a function that is given the evidence and yields findings, or raises `NotLooked` where there is nothing
that it could look at. `checks.py` has the table of them.
"""
