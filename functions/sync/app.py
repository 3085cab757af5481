"""The in-cluster function: a Deployment's loop, or one run of a CronJob (``--once``)."""

from __future__ import annotations

import os
import sys

from regcred.wiring.sync import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
