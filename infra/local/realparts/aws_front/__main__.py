"""`python -m realparts.aws_front`."""

from __future__ import annotations

from realparts.serving import arguments, serve

from .control import Control
from .faults import Faults
from .front import Front
from .store import Store


def main() -> None:
    """Serve both ports until the process is ended."""
    args = arguments()
    store, faults = Store(args.directory), Faults()
    front = Front(store, faults, moto=args.upstream, ecr_key=args.ecr_key.read_bytes())
    serve({args.port: front.application(), args.control_port: Control(store, faults).application()})


if __name__ == "__main__":
    main()
