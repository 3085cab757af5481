"""``python -m regcred.cli`` is ``regcred``."""

from regcred.cli import main

if __name__ == "__main__":
    main()
