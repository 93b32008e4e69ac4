"""All mutants."""

from tests.mutants.core import CORE
from tests.mutants.store import STORE

ALL = (*CORE, *STORE)
