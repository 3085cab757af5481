"""The verb *sync*: projects credentials from Vault into the namespaces of one cluster that request them."""

from regcred.sync.engine import Engine, Options
from regcred.sync.loop import Loop
from regcred.sync.once import run_once
from regcred.sync.pace import Pace
from regcred.sync.report import Report

__all__ = ["Engine", "Loop", "Options", "Pace", "Report", "run_once"]
