"""HTTP in and out: routes, one file per resource; who may; errors as RFC 9457 problems.

public.py and internal.py put the resources together: two applications on two listeners, so that
what backends may do is never reachable where browsers are.
"""
