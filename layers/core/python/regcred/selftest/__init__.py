"""A selftest: mint from a definition, try the credential for a while, end it, and report. It needs no Vault.

It is the proof for what no test of Regcred can reach: the vendor itself, with the user's own account.
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
