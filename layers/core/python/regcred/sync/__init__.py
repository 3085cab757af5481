"""The verb *sync*: projects credentials from Vault into the namespaces of one cluster whose workloads ask for them."""

from regcred.sync.applier import Report
from regcred.sync.engine import Engine, Options
from regcred.sync.loop import Loop, Pace
from regcred.sync.once import run_once

__all__ = ["Engine", "Loop", "Options", "Pace", "Report", "run_once"]
