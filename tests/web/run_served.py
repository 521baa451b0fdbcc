"""`isthmus serve` in a process of its own, with the encoders of `served`: python -m tests.web.run_served INDEX …"""

import sys

from isthmus import encoders
from isthmus.cli import main
from tests.web import served

encoders.load = served.load  # here, not below, because workers import this file too

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
