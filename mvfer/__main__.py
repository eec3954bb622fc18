"""`python -m mvfer`: the command `mvfer` where no script of that name is on the path."""

import sys

from mvfer.cli.main import main

sys.exit(main())
