"""Budgets: the use of model calls, booked attempt by attempt, and limits that are never exceeded.

records  Prices, Budget, BudgetUse; an Attempt at a model call, Spending, the sum of attempts, and CallLog, their file
ledger   Ledger: the books of a run, or of one method within a run (a ledger with a parent)
"""

from metagym.budget.ledger import Ledger, add_attempt, open_ledger
from metagym.budget.records import (
    Attempt,
    AttemptOutcome,
    Budget,
    BudgetUse,
    CallLog,
    Prices,
    Purpose,
    Spending,
    current_purpose,
    spending_on,
)

__all__ = [
    "Attempt",
    "AttemptOutcome",
    "Budget",
    "BudgetUse",
    "CallLog",
    "Ledger",
    "Prices",
    "Purpose",
    "Spending",
    "add_attempt",
    "current_purpose",
    "open_ledger",
    "spending_on",
]
