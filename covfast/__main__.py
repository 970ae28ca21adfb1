"""`python -m covfast`: the command line without its installed script."""

import sys

from covfast.cli import main

sys.exit(main())
