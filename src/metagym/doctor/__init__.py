"""What is wrong with an installation, its data, its model server and its machine; and the command that mends it."""

from metagym.doctor.examination import examine
from metagym.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
