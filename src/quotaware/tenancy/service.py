"""The service over the tree: one object behind the Python face, the API, the dashboard and the command line."""

from __future__ import annotations

from .auditing import Auditing
from .channeling import Channeling
from .membership import Membership
from .pricing import Pricing
from .requests import Requests
from .sharing import Sharing
from .standing import Standing
from .starts import Starts


class Tenancy(Starts, Membership, Requests, Sharing, Standing, Auditing, Pricing, Channeling):
    """Organizations, teams, projects, keys, people and requests, all in one store.

    Used as it is, it acts for the host and may do everything; `by(actor)` is the same for somebody else. Methods block.
    They raise NotFound for an id that is not there (or is another organization's), AlreadyExists (`fields["field"]`)
    for a name or id that is taken, PermissionDenied naming what is missing, ConfigurationError naming the field of a
    bad value, InvalidRequest with figures where a parent's budget is passed, StoreError, and Conflict where other
    writers kept coming between. Limits and alerts are given as values or as text (`"$50/month"`, `"80% email"`).
    """
