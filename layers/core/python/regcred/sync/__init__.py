"""The verb *sync*: projects credentials from Vault into the namespaces of one cluster that request them."""

from regcred.sync.engine import Engine, Options
from regcred.sync.loop import Loop
from regcred.sync.pace import Pace
from regcred.sync.report import Report
from regcred.sync.single_run import run_once

__all__ = ["Engine", "Loop", "Options", "Pace", "Report", "run_once"]
