"""Supervisors: `hub dev` and `hub serve --workers N` start and restart child processes.

child_process.py   one child process: start, restart, stop
dev.py             hub dev: embedded Valkey, simulated LLM, node and workers
dev_processes.py   the sockets, the data directory and the child processes of hub dev
dev_state.py       the URLs of the running hub dev: its output and its state file
multiprocess.py    hub serve --workers N: several node processes on the same ports
"""
