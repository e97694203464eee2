"""The command line: `quotaware` and `python -m quotaware` (extra `cli`).

Every command is written once, against the management API: a running app's over the network, or that of a store which is
opened here (`client.py`). What is printed for a person, and with `--json` for a script, is in `printing.py`.
"""
