"""The entry point of sync: a loop in a Deployment, or one run in a CronJob (``--once``)."""

from __future__ import annotations

import os
import sys

from regcred.wiring.sync import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
