"""`python -m hearth_node`, where the package is not installed."""

import sys

from hearth_node.main import main

sys.exit(main())
