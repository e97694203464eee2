"""The management API: `table.py` is its table of routes, one file a noun; `app.py` serves them."""
