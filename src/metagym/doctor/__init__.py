"""Check an installation, its data, its machine and its model server; name the command that fixes each problem."""

from metagym.doctor.examination import examine
from metagym.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
