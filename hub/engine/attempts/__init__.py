"""One attempt at an answer: its parts become events, which are numbered, joined and published."""
