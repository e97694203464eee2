"""Quotas for LLM calls, inside the app that makes them.

quota = Quota("memory://", limits=["$50/month", "600 requests/minute"])
app.add_middleware(QuotaMiddleware, quota=quota)
"""

from .alerts.notices import Notice
from .alerts.settings import Alerts, Smtp, Webhook
from .context import Identity, with_caller
from .core.explanation import Explanation
from .core.limits import Limit
from .core.prices import Price
from .core.totals import Denied, Total
from .core.usage import Usage
from .errors import (
    AlreadyExists,
    ApiError,
    AuthenticationError,
    ConfigurationError,
    InvalidKeyFormat,
    LimitSyntaxError,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    QuotawareError,
    RateLimitExceeded,
    StoreError,
    StoreUnavailable,
)
from .inbound.denials import denial_of
from .inbound.middleware import QuotaMiddleware
from .quota import Quota
from .stores.opening import register_store
from .usage import UsageRecord
from .version import __version__ as __version__

__all__ = [
    "Alerts",
    "AlreadyExists",
    "ApiError",
    "AuthenticationError",
    "ConfigurationError",
    "Denied",
    "Explanation",
    "Identity",
    "InvalidKeyFormat",
    "Limit",
    "LimitSyntaxError",
    "NotFound",
    "Notice",
    "PermissionDenied",
    "Price",
    "Quota",
    "QuotaExceeded",
    "QuotaMiddleware",
    "QuotawareError",
    "RateLimitExceeded",
    "Smtp",
    "StoreError",
    "StoreUnavailable",
    "Total",
    "Usage",
    "UsageRecord",
    "Webhook",
    "denial_of",
    "register_store",
    "with_caller",
]
