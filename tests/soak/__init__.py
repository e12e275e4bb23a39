"""The soak: publishers and clients under a schedule of faults, and a ledger that says what came of
it. Run by `scripts/soak`.
"""
