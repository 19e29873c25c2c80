"""Budgets: what model calls take, booked attempt by attempt, and limits that are never passed.

    reserved -> whole      the reply arrived, and the server counted it
             -> refused    the server never took the request; nothing was paid
             -> unknown    the reply was cut off on the way: paid or not, at most the reserved amount

records   prices, budgets, one attempt, and sums of attempts
ledger    the books of a run, and of one method within a run
charge    one model call on a ledger: reserve before each attempt, settle after it
call_log  attempts as lines of a file, so that a resumed run knows what was spent
"""

from metagym.budget.account import Account
from metagym.budget.charge import Charge
from metagym.budget.ledger import Ledger, current_purpose, open_ledger, spending_on
from metagym.budget.records import Attempt, Budget, Outcome, Outlay, Prices, Purpose, Spending

__all__ = [
    "Account",
    "Attempt",
    "Budget",
    "Charge",
    "Ledger",
    "Outcome",
    "Outlay",
    "Prices",
    "Purpose",
    "Spending",
    "current_purpose",
    "open_ledger",
    "spending_on",
]
