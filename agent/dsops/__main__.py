"""`python -m dsops` is the command `dsops`."""

from dsops.main import main

main()
