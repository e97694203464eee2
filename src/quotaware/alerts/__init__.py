"""Alerts: from what becomes due to what people read.

    due.py        an event of the outbox, read and told in words
    denials.py    a call was refused; sweeper.py: forecasts, keys that end
    routes.py     who is told where; channels/: one file a way to tell
    sender.py     one sender an organization: routes, sends, tries again, gives up
    log.py        what was sent; service.py: the parts together, and the Python face
    addresses.py  where webhooks may go; sending.py: one POST; secrets.py: what is kept encrypted

Thresholds are no business of this room: the ledger decides them in the step that crosses them.
"""
