"""`python -m fhec_train` is `fhec-train`."""

import sys

from .command import main

sys.exit(main())
