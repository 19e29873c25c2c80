"""Budgets: what model calls use, booked attempt by attempt, and limits that are never exceeded.

    reserved -> whole      the reply arrived whole, and the server counted it
             -> refused    the server did not take the request, or answered with an error: nothing was paid
             -> unknown    the reply was cut off on the way: paid or not, at most the reserved amount

A reply from a cassette is booked once, as `replayed`: nothing was paid.

records   Prices, Budget and BudgetUse; an Attempt at a model call, and Spending, the sum of attempts
ledger    Ledger: the books of a run, or of one method within a run (a ledger with a parent)
call_log  CallLog: attempts as lines of a file, so that a resumed run knows what was spent
"""

from metagym.budget.ledger import Ledger, add_attempt, open_ledger
from metagym.budget.records import (
    Attempt,
    AttemptOutcome,
    Budget,
    BudgetUse,
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
    "Ledger",
    "Prices",
    "Purpose",
    "Spending",
    "add_attempt",
    "current_purpose",
    "open_ledger",
    "spending_on",
]
