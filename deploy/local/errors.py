"""What goes wrong on a machine, in sentences for the person at the terminal.

LocalError
├── BinariesMissing   no PostgreSQL or Valkey that runs here
├── PortTaken         somebody else listens on a port that was asked for
├── ProcessError      a program did not start, or ended when it should run
└── StateInUse        another launcher runs on the same data
"""


class LocalError(Exception):
    pass


class BinariesMissing(LocalError):
    pass


class PortTaken(LocalError):
    def __init__(self, port: int) -> None:
        super().__init__(
            f"Port {port} is taken by another program. Choose another one: ./parley up --port {port + 100}"
        )
        self.port = port


class ProcessError(LocalError):
    """The text ends with the last lines of the program's log."""


class StateInUse(LocalError):
    pass
