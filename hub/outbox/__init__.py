"""The PostgreSQL outbox: events that an application writes into a table of its own database.

A row becomes visible with the transaction that wrote it, so an event is published if, and only if,
the transaction was committed.

schema      the names in the database, and the statements that create the tables
rows        one row as a publish request, with the checks of POST /publish
partitions  which rows a consumer reads, and how consumers share them
connection  connecting, and what errors of PostgreSQL mean
session     the locks, reads and deletes of one consumer
consumer    reads rows, publishes them, and deletes them afterwards
inspection  what waits and what was refused, for the commands and `hub doctor`

Only hub/wiring and hub/cli import this package, because it needs the extra `outbox`.
"""
