"""The verb *sync*: projects credentials from Vault into the namespaces of one cluster whose workloads ask for them."""

from regcred.sync.applier import Report
from regcred.sync.engine import Engine, Options, run_once

__all__ = ["Engine", "Options", "Report", "run_once"]
