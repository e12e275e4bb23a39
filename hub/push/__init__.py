"""Web Push: notifications on the devices of users who have no open connection.

vapid.py has the keys, web_push.py sends one message to one subscription (RFC 8030, 8291, 8292), and
routes.py serves the routes of browsers. Only web_push.py needs the extra `push`.
"""
