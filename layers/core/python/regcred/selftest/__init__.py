"""The selftest: creates a credential from a definition, tries it for a while, revokes it, and reports.

It tests what Regcred's own tests can't: the real vendor, with the user's account. It needs no Vault.
"""

from regcred.selftest.decide import SelftestPlan, SelftestPlanError, plan
from regcred.selftest.report import CheckResult, SelftestCheck, SelftestReport
from regcred.selftest.run import Selftest, SelftestParts

__all__ = [
    "CheckResult",
    "Selftest",
    "SelftestCheck",
    "SelftestParts",
    "SelftestPlan",
    "SelftestPlanError",
    "SelftestReport",
    "plan",
]
